//! Answers to commands that may come later.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Context, Message};

use crate::connection::Connection;

/// Who is to be told what became of a command; nobody, if it came by `do_send`.
pub(super) type ReplySlot<T> = Rc<Cell<Option<OneshotSender<T>>>>;

/// What a command is answered with whose answer may come later: by whoever has the slot, without a
/// task that waits for it.
#[expect(unnameable_types, reason = "actix wants it public, and nobody has to name it")]
pub struct Reply<T>(When<T>);

impl<T> Reply<T> {
    pub(super) fn now(answer: T) -> Reply<T> {
        Reply(When::Now(answer))
    }

    pub(super) fn later(slot: ReplySlot<T>) -> Reply<T> {
        Reply(When::Later(slot))
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// When the answer is there.
enum When<T> {
    Now(T),
    Later(ReplySlot<T>),
}

impl<M: Message> MessageResponse<Connection, M> for Reply<M::Result> {
    fn handle(self, _: &mut Context<Connection>, asker: Option<OneshotSender<M::Result>>) {
        match self.0 {
            When::Now(answer) => reply_to(asker, answer),
            When::Later(slot) => slot.set(asker),
        }
    }
}

pub(super) fn reply_to<T>(asker: Option<OneshotSender<T>>, answer: T) {
    if let Some(asker) = asker {
        // Who stopped waiting is not told.
        let _ = asker.send(answer);
    }
}

//! Replies to commands, some of which are sent later.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Context, Message};

use crate::connection::Connection;

/// Where a later reply is sent to; empty if the command came by `do_send`, or was replied to.
pub(super) type ReplySlot<T> = Rc<Cell<Option<OneshotSender<T>>>>;

/// The result of a handler whose reply may be sent later: through the slot, without a task that waits
/// for it.
#[expect(
    unnameable_types,
    reason = "a handler's result must be public, and no user has to name it"
)]
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

/// Whether the reply exists already.
enum When<T> {
    Now(T),
    Later(ReplySlot<T>),
}

impl<M: Message> MessageResponse<Connection, M> for Reply<M::Result> {
    fn handle(self, _: &mut Context<Connection>, to: Option<OneshotSender<M::Result>>) {
        match self.0 {
            When::Now(answer) => reply_to(to, answer),
            When::Later(slot) => slot.set(to),
        }
    }
}

/// Sends a reply, if one was asked for.
pub(super) fn reply_to<T>(to: Option<OneshotSender<T>>, answer: T) {
    if let Some(to) = to {
        // An error says that the caller dropped its future.
        let _ = to.send(answer);
    }
}

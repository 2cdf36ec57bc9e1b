//! Replies to commands, some of which are sent later.

use std::cell::RefCell;
use std::rc::Rc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};

/// Where a later reply is sent to; empty if the command came by `do_send`, or was replied to.
pub(super) type ReplySlot<T> = Rc<RefCell<Option<OneshotSender<T>>>>;

/// The result of a handler whose reply may be sent later: through the slot, without a task that waits
/// for it.
#[expect(
    unnameable_types,
    reason = "a handler's result must be public, and no user has to name it"
)]
#[derive(Debug)]
pub enum Reply<T> {
    /// The reply itself.
    Now(T),
    /// Where the reply is sent to later.
    Later(ReplySlot<T>),
}

impl<A: Actor, M: Message> MessageResponse<A, M> for Reply<M::Result> {
    fn handle(self, _: &mut A::Context, to: Option<OneshotSender<M::Result>>) {
        match self {
            Reply::Now(answer) => reply_to(to, answer),
            Reply::Later(slot) => *slot.borrow_mut() = to,
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

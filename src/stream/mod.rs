//! A connection as a stream of events and a sender of messages, for programs that have no actors.
//!
//! [`ConnectionBuilder::stream`](crate::ConnectionBuilder::stream) starts it. The connection itself stays an actor, on
//! the background thread of the crate or where the application wants it. Events cross to the consumer in batches, as
//! they were read; messages cross to the connection in batches, as many as were queued.

mod background;
mod block;
mod buffer;
mod builder;
mod events;
mod gathered;
mod inbox;
mod inlet;
mod outbox;
mod pump;
mod sender;

pub use crate::stream::block::InRuntime;
pub use crate::stream::events::Events;
pub use crate::stream::sender::Sender;

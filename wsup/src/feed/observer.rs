//! What else than the output sees the events of a feed.

use actix_ws_client::Payload;
use actix_ws_client::feed::Topic;
use actix_ws_client::feed::event::{Gap, LineState, Rotated, TopicState, Update};

/// Sees each event that the printer gets, in the same order.
pub(crate) trait Observer: Send {
    fn updates(&mut self, updates: &[Update<Payload>]);
    fn gap(&mut self, gap: &Gap);
    fn topic(&mut self, state: &TopicState);
    fn line(&mut self, state: &LineState);
    fn rotated(&mut self, rotated: &Rotated);
    /// The user has added topics, before any event of them.
    fn added(&mut self, topics: &[Topic]);
    /// The user has removed topics.
    fn removed(&mut self, topics: &[Topic]);
}

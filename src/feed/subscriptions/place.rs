//! What the server has of one topic.

use crate::feed::topic::RequestId;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) state: OnServer,
    /// Whether the slot is in the queue.
    pub(super) is_queued: bool,
    /// Whether data has come since the topic was asked for.
    pub(super) ticked: bool,
    /// Whether it has, and the topic has been wanted since.
    pub(super) is_flowing: bool,
    /// Whether the venue has refused to end the subscription.
    pub(super) is_stuck: bool,
    /// Whether the topic has to leave and be asked for again.
    pub(super) is_renewed: bool,
}

/// What the server has of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnServer {
    #[default]
    Off,
    Asked(RequestId),
    /// Asked for, and not answered in time. A late answer still counts.
    Unanswered(RequestId),
    On,
    Leaving(RequestId),
}

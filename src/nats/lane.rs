//! The publications of one topic.

use std::time::Instant;

/// What a publisher does with the updates of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Role {
    /// It publishes them.
    Owner {
        /// The revision of the lease, which is published with each message. An owner that finds a higher one in the
        /// stream than its own has lost the topic, and publishes nothing more. 0 for a topic that is not shared.
        fence: u64,
        /// Until when it may publish; `None` without an end. Checked before each publication.
        until: Option<Instant>,
    },
    /// It publishes nothing, and keeps the newest of them, to publish what is missing in the stream if it becomes the
    /// owner.
    Standby,
    /// It drops them.
    #[default]
    None,
}

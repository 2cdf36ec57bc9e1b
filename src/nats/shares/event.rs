//! What a member says of shares, and of a change of the topics.

use std::sync::Arc;

use derive_more::{Display, Error};

use crate::feed::Topic;
use crate::nats::share::ShareState;

/// What an application may want to say of shares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareEvent {
    /// What this process is for a share has changed.
    #[non_exhaustive]
    State {
        /// The number of the share, from 1.
        share: u32,
        /// What it is now.
        state: ShareState,
    },
    /// Topics were added to the feed, or removed from it, because a share came or went.
    #[non_exhaustive]
    Topics {
        /// Those that were added.
        added: Vec<Topic>,
        /// Those that were removed.
        removed: Vec<Topic>,
    },
    /// A process that owns shares, or was there first, has other topics or options under the same name. This one takes no
    /// share, and is no member any more. Start it with the same topics, or under another name.
    #[non_exhaustive]
    Refused {
        /// The other member, as the bucket names it.
        member: Arc<str>,
    },
}

/// Why the topics were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Other processes share the feed. Stop them, change the topics of the last one, and start them with the new ones.
    #[display("other processes share the feed: topics are changed while only one does")]
    NotAlone,
    /// This process is no member any more.
    #[display("this process is no member any more")]
    Left,
}

/// How the topics were changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The number of topics that were added.
    pub added: usize,
    /// The number of topics that were removed.
    pub removed: usize,
    /// The number of shares that there are now.
    pub shares: u32,
}

//! What a member does with one share.

use std::time::Instant;

use crate::nats::lane::Role;
use crate::nats::lease::{Holder, MemberId, Own};

/// What a member does with one share.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Its lease, if it is the owner: it publishes until that ends.
    pub(crate) own: Option<Own>,
    /// Since when it has had that lease, renewals included.
    pub(crate) owned_since: Option<Instant>,
    /// Whether it has to be taken anew, for a fence above those of all shares.
    pub(crate) is_outdated: bool,
    /// The owner stops, to give the share away.
    pub(crate) settling: Option<Settling>,
    /// Counts how often it stopped, so that a late answer is not taken for that of a later time.
    pub(crate) settled: u64,
    pub(crate) topics: Topics,
    /// Counts how often the topics were added, so that a late answer is not taken for that of a later time.
    pub(crate) added: u64,
    /// The role that was set last, and whether it has to be set although it is the same.
    pub(crate) role: Role,
    pub(crate) is_role_due: bool,
    /// The state that was reported last.
    pub(crate) reported: Option<ShareState>,
    /// Since when the share has had no owner, as this member sees it.
    pub(crate) free_since: Option<Instant>,
    /// Since when it has had no standby.
    pub(crate) bare_since: Option<Instant>,
    /// Since when this member has claimed the share, and since when that claim has been ready.
    pub(crate) claimed: Option<Instant>,
    pub(crate) ready: Option<Instant>,
    /// It subscribes to the topics to stand by in the place of this member.
    pub(crate) relieves: Option<Relief>,
    /// Until when it keeps the topics although it has withdrawn its claim.
    pub(crate) keeps_until: Option<Instant>,
    /// It has given the share away, and keeps the topics until the receiver has taken it.
    pub(crate) gift: Option<Gift>,
    /// The writes that are under way: of the lease, the claim, the standby.
    pub(crate) lease: Slot<LeaseWrite>,
    pub(crate) claim: Slot<bool>,
    pub(crate) standby: Slot<bool>,
}

impl Part {
    /// Whether a claim or a standby is on its way to the bucket.
    pub(crate) fn writes_entry(&self) -> bool {
        let slots = [&self.claim, &self.standby];
        slots.iter().any(|slot| slot.pending.as_ref().is_some_and(|write| write.what))
    }

    /// Whether a claim or a standby that says `ready` may still arrive at the bucket, whose entries have these revisions.
    pub(crate) fn is_in_doubt(&self, [claim, standby]: [u64; 2]) -> bool {
        self.claim.in_doubt == Some(claim) || self.standby.in_doubt == Some(standby)
    }
}

/// A write of one entry. There is never more than one under way.
#[derive(Debug)]
pub(crate) struct Slot<W> {
    pub(crate) pending: Option<Pending<W>>,
    /// When the next one may be sent, after one that failed.
    pub(crate) not_before: Option<Instant>,
    /// The revision that a write replaces which says `ready` and got no answer: it may still arrive, as long as the entry
    /// has this revision.
    pub(crate) in_doubt: Option<u64>,
}

impl<W> Default for Slot<W> {
    fn default() -> Slot<W> {
        Slot { pending: None, not_before: None, in_doubt: None }
    }
}

impl<W> Slot<W> {
    /// Whether an entry may be written.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.pending.is_none() && self.not_before.is_none_or(|time| time <= now)
    }
}

/// A write that has no answer yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending<W> {
    pub(crate) what: W,
    pub(crate) sent: Instant,
    /// The revision that it replaces.
    pub(crate) expected: u64,
    pub(crate) text: String,
}

impl Pending<bool> {
    /// Whether it says that this member has the topics.
    pub(crate) fn says_ready(&self) -> bool {
        self.what && self.text.parse().is_ok_and(|holder: Holder| holder.is_ready)
    }
}

/// Why a lease is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseWrite {
    Take,
    Renew,
    /// To name the next owner, or nobody.
    Give,
}

/// An owner that publishes nothing new, and waits until all that it had received is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settling {
    pub(crate) to: Option<MemberId>,
    /// When it waits no longer, and goes on.
    pub(crate) by: Instant,
    pub(crate) is_done: bool,
}

/// A share that its owner has given to another member, which may be gone before it takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gift {
    pub(crate) since: Instant,
    /// The revision that names the receiver, once it is known. A newer one is written by the receiver, or by another member
    /// that takes the share instead.
    pub(crate) revision: Option<u64>,
}

/// A member that is about to stand by in the place of another one, which stands by until this one has the topics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relief {
    pub(crate) of: MemberId,
    /// Since when.
    pub(crate) since: Instant,
    /// Since when it has the topics.
    pub(crate) ready: Option<Instant>,
}

/// Whether the feed has the topics of a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Topics {
    #[default]
    No,
    /// They were added, and some are neither confirmed nor refused.
    Adding,
    Yes,
}

/// What a member is for a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareState {
    /// It owns it, and publishes its topics.
    #[non_exhaustive]
    Owned {
        /// The revision with which it was taken, which is published with each message.
        fence: u64,
    },
    /// It asks the owner for it, and subscribes to its topics meanwhile.
    Claimed,
    /// It is subscribed to its topics, and takes it if its owner is gone.
    Standby,
    /// It is nothing for it any more.
    Released,
}

impl ShareState {
    /// Returns the name of the state in lower case: `owned`.
    pub fn name(&self) -> &'static str {
        match self {
            ShareState::Owned { .. } => "owned",
            ShareState::Claimed => "claimed",
            ShareState::Standby => "standby",
            ShareState::Released => "released",
        }
    }
}

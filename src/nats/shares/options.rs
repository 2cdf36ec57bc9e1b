//! What is shared, and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::feed::Topic;
use crate::nats::error::Error;
use crate::nats::plan::Plan;
use crate::nats::shares::event::ShareEvent;

/// The topics of one feed, shared between the processes that name the same bucket.
///
/// The topics are divided into shares. Each share has one owner, by a lease in the bucket, and each member has its fair
/// part: the feed of a member is started without topics, and gets those of the shares that it owns, asks for or stands
/// by for. The [`Publisher`](crate::nats::Publisher) has to be a [shared](crate::nats::Publisher::shared) one. Every
/// process has to be started with the same topics in the same order and with the same options.
///
/// `docs/nats.md` says how shares are taken and handed over, and what may be missing then.
#[derive(Clone)]
#[must_use = "shares do nothing until they are started"]
pub struct Shares {
    pub(crate) bucket: String,
    pub(crate) topics: Vec<Topic>,
    pub(crate) per_share: usize,
    pub(crate) lease: Duration,
    pub(crate) most: u32,
    pub(crate) standby: bool,
    pub(crate) overlaps: bool,
    pub(crate) on_event: OnEvent,
}

/// The closure of [`Shares::on_event`].
pub(crate) type OnEvent = Arc<dyn Fn(ShareEvent) + Send + Sync>;

/// The shortest and the longest lease.
const LEASES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];

impl Shares {
    /// Creates shares of these topics under a name, which is that of the bucket: `topics_per_share` in each, in their order.
    pub fn new<N: Into<Topic>>(
        name: impl Into<String>,
        topics: impl IntoIterator<Item = N>,
        topics_per_share: usize,
    ) -> Shares {
        Shares {
            bucket: name.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            per_share: topics_per_share,
            lease: Duration::from_secs(5),
            most: u32::MAX,
            standby: false,
            overlaps: true,
            on_event: Arc::new(|_| ()),
        }
    }

    /// Sets how long a share stays with an owner that is not heard of: it is taken over within this time and 2 s. Between
    /// 1 s and 10 min. Default: 5 s. A shorter one is renewed more often, and lost in a shorter pause of process or broker.
    pub fn lease(mut self, lease: Duration) -> Shares {
        self.lease = lease;
        self
    }

    /// Sets the most shares that this process owns. Default: any number.
    pub fn most(mut self, shares: u32) -> Shares {
        self.most = shares;
        self
    }

    /// Has a second member subscribed to each share, which takes it over without a gap if its owner dies. Default: only an
    /// orderly hand-over is without a gap. It doubles the subscriptions at the venue.
    pub fn standby(mut self) -> Shares {
        self.standby = true;
        self
    }

    /// Hands shares over by unsubscribing before the next owner subscribes, for topics without numbers: what both brought
    /// could not be told apart. Default: the next owner is subscribed first. Not with [`standby`](Shares::standby).
    pub fn break_first(mut self) -> Shares {
        self.overlaps = false;
        self
    }

    /// Sets a closure that is called with each event. Default: none.
    pub fn on_event(mut self, call: impl Fn(ShareEvent) + Send + Sync + 'static) -> Shares {
        self.on_event = Arc::new(call);
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let option = |option, why: &str| Err(Error::Option { option, why: why.into() });
        let is_name = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
        if self.bucket.is_empty() || !self.bucket.chars().all(is_name) {
            return option("name", "expected letters, digits, - and _");
        }
        if !(LEASES[0]..=LEASES[1]).contains(&self.lease) {
            return option("lease", "expected 1 s to 10 min");
        }
        if self.topics.is_empty() {
            return option("topics", "expected at least one");
        }
        if self.standby && !self.overlaps {
            return option("standby", "not possible with `break_first`");
        }
        Ok(())
    }

    /// Returns the number that all members have to have in common.
    pub(crate) fn fingerprint(&self, plan: &Plan) -> u64 {
        let lease = self.lease.as_millis().to_string();
        let flag = |is_set: bool| if is_set { "1" } else { "0" };
        plan.fingerprint(&[&lease, flag(self.standby), flag(self.overlaps)])
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("bucket", &self.bucket)
            .field("topics", &self.topics.len())
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

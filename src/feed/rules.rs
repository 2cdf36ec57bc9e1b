//! What a venue allows and what a feed expects of it: rates, sizes, deadlines, silence. Data alone.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::ConfigError;

/// What a venue allows on one line. By default nothing is limited but the time for an answer.
///
/// ```
/// use actix_ws_client::feed::{HOUR, Rules, SECOND};
///
/// // At most 5 frames a second and 480 requests an hour, frames of at most 4 KiB.
/// let rules = Rules::default()
///     .frames(5, SECOND)
///     .requests(480, HOUR)
///     .frame_bytes(4096)
///     .topics_per_line(200)
///     .heartbeat(20 * SECOND);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub(crate) frames: Vec<Window>,
    pub(crate) requests: Vec<Window>,
    pub(crate) frame_bytes: usize,
    pub(crate) topics_per_frame: usize,
    pub(crate) topics_per_line: usize,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) answer_within: Duration,
    pub(crate) acknowledged: bool,
}

/// A limit on a rate: at most `count` in any period of `length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) count: u32,
    pub(crate) length: Duration,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            frames: Vec::new(),
            requests: Vec::new(),
            frame_bytes: usize::MAX,
            topics_per_frame: usize::MAX,
            topics_per_line: usize::MAX,
            heartbeat: None,
            answer_within: Duration::from_secs(10),
            acknowledged: true,
        }
    }
}

impl Rules {
    /// Limits the frames that one socket sends in any period of this length, pings and pongs included.
    /// Several limits hold together. Default: no limit.
    ///
    /// Requests leave room for as many control frames as any period so far has had, and for one more.
    pub fn frames(mut self, count: u32, length: Duration) -> Rules {
        self.frames.push(Window { count, length });
        self
    }

    /// Limits logins, subscriptions and unsubscriptions on one socket in any period of this length. Several
    /// limits hold together. Default: no limit. Heartbeats and answers to challenges do not count.
    pub fn requests(mut self, count: u32, length: Duration) -> Rules {
        self.requests.push(Window { count, length });
        self
    }

    /// Limits the payload of a subscription, in bytes. Default: no limit. A larger request is split. A
    /// topic whose own request is larger is refused for good.
    pub fn frame_bytes(mut self, bytes: usize) -> Rules {
        self.frame_bytes = bytes;
        self
    }

    /// Limits the topics of one request. Default: no limit.
    pub fn topics_per_frame(mut self, topics: usize) -> Rules {
        self.topics_per_frame = topics;
        self
    }

    /// Limits the topics of one line: a feed has as many shards as that demands. Default: no limit, one
    /// shard.
    pub fn topics_per_line(mut self, topics: usize) -> Rules {
        self.topics_per_line = topics;
        self
    }

    /// Sets the time between two heartbeats of the dialect's. Default: none is sent. If neither a
    /// [`Said::Alive`](crate::feed::Said::Alive) nor any other message follows a heartbeat within
    /// [`answer_within`](Rules::answer_within), the line has failed.
    pub fn heartbeat(mut self, every: Duration) -> Rules {
        self.heartbeat = Some(every);
        self
    }

    /// Sets how long the venue may take for the answer to a login, a request or a heartbeat. Default: 10 s.
    pub fn answer_within(mut self, time: Duration) -> Rules {
        self.answer_within = time;
        self
    }

    /// Sets whether the venue answers subscriptions. Default: `true`. With `false` a topic counts as
    /// confirmed when its request is sent.
    pub fn acknowledged(mut self, answers: bool) -> Rules {
        self.acknowledged = answers;
        self
    }

    /// Refuses limits under which nothing could ever be sent.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let windows = [("rules: frames", &self.frames), ("rules: requests", &self.requests)];
        for (option, windows) in windows {
            if windows.iter().any(|window| window.count == 0 || window.length.is_zero()) {
                return Err(ConfigError::option(option, "count and length must be above zero"));
            }
        }
        let sizes = [
            ("rules: frame_bytes", self.frame_bytes),
            ("rules: topics_per_frame", self.topics_per_frame),
            ("rules: topics_per_line", self.topics_per_line),
        ];
        if let Some((option, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(ConfigError::option(option, "must be above zero"));
        }
        let times = [
            ("rules: heartbeat", self.heartbeat),
            ("rules: answer_within", Some(self.answer_within)),
        ];
        match times.iter().find(|(_, time)| *time == Some(Duration::ZERO)) {
            Some((option, _)) => Err(ConfigError::option(option, "must be above zero")),
            None => Ok(()),
        }
    }
}

/// How long a topic may bring no data, and what follows if it does not.
///
/// The limit counts from the topic's confirmation. A silent topic is reported once, as
/// [`TopicIs::Silent`](crate::feed::event::TopicIs::Silent), and once more when data comes again. If its
/// whole line has brought no data for half of the limit, the line is reported, and none of its topics.
#[derive(Clone)]
pub struct Silence {
    pub(crate) limit: Duration,
    pub(crate) action: SilenceAction,
    pub(crate) actions_per_hour: u32,
    pub(crate) open_if: Option<OpenIf>,
}

/// What follows the silence of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SilenceAction {
    /// It is reported.
    Report,
    /// It is reported, and the topic subscribed again.
    Resubscribe,
    /// It is reported, and the line dialled again.
    Fail,
}

/// The closure of `Silence::open_if`.
pub(crate) type OpenIf = Arc<dyn Fn(SystemTime) -> bool + Send + Sync>;

impl Silence {
    /// Creates a limit for each topic. Its silence is reported, and nothing else is done.
    pub fn topic(limit: Duration) -> Silence {
        Silence { limit, action: SilenceAction::Report, actions_per_hour: 12, open_if: None }
    }

    /// Subscribes a silent topic again, or dials a silent line again.
    pub fn resubscribe(mut self) -> Silence {
        self.action = SilenceAction::Resubscribe;
        self
    }

    /// Dials the line of a silent topic again.
    pub fn fail(mut self) -> Silence {
        self.action = SilenceAction::Fail;
        self
    }

    /// Sets how often in an hour a line may be dialled, or its topics subscribed, for silence. Default: 12.
    /// Beyond it silence is reported alone.
    pub fn at_most_per_hour(mut self, actions: u32) -> Silence {
        self.actions_per_hour = actions;
        self
    }

    /// Sets a closure that says whether the market is open. While it is closed no silence is reported, and
    /// the limit counts anew from its opening. Default: always open.
    pub fn open_if(mut self, open: impl Fn(SystemTime) -> bool + Send + Sync + 'static) -> Silence {
        self.open_if = Some(Arc::new(open));
        self
    }
}

impl fmt::Debug for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Silence")
            .field("limit", &self.limit)
            .field("action", &self.action)
            .field("actions_per_hour", &self.actions_per_hour)
            .finish_non_exhaustive()
    }
}

/// What happens to updates that come faster than the handlers take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Delivers every update, in the order of the shard. One slow handler holds its shard: the lines read no further,
    /// and TCP makes the venue wait. The default.
    #[default]
    Wait,
    /// Delivers the newest update of each topic. One envelope of the shard is in the mailbox of a handler at a time; what
    /// comes until the handler has returned from it replaces what waits of the same topic.
    ///
    /// - [`Update::skipped`](crate::feed::event::Update::skipped) is the number of updates that were replaced. They are
    ///   no gap. Updates that no line brought are reported as a [`Gap`](crate::feed::event::Gap), as ever, and two gaps
    ///   of a topic that wait become one, which may cover updates that were skipped.
    /// - Topics are delivered in the order in which they began to wait. If a shard has n topics, one waits for n calls of
    ///   the handler at most before its newest update is delivered, and n times the number of shards if several
    ///   deliver to the same handler. A batch has the newest update of all topics that wait.
    /// - Each handler has its own queue, with one update of each topic at most: a slow one delays no other, and the
    ///   shard is never held.
    /// - Within a topic the order of events is kept, among topics it is not. Of the states of a topic that wait only
    ///   the newest is delivered.
    ///
    /// A topic that has had a [snapshot](crate::feed::Said::snapshot) needs every increment after it, so its updates are
    /// not replaced by newer increments, only by a newer snapshot. At most 1,024 of them wait; at the next one they are
    /// dropped, and reported as a gap with the cause
    /// [`GapCause::Overflow`](crate::feed::event::GapCause::Overflow). With
    /// [`Builder::resync`](crate::feed::Builder::resync) a new snapshot of the topic is asked for then.
    Latest,
}

/// The threads that the lines of a feed live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Threads {
    /// This number of threads of the feed's own, which end with it. A handler that blocks its own thread
    /// does not stop them. Needs an actix `System`.
    Own(usize),
    /// The thread that starts the feed: in a tokio `LocalSet`, in tests with a paused clock, in a
    /// simulation.
    Here,
}

impl Default for Threads {
    fn default() -> Threads {
        Threads::Own(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_under_which_nothing_can_be_sent_are_refused_by_name() {
        let second = Duration::from_secs(1);
        let refused = |rules: Rules| rules.check().unwrap_err().to_string();
        assert!(refused(Rules::default().frames(0, second)).starts_with("rules: frames: "));
        assert!(
            refused(Rules::default().requests(1, Duration::ZERO)).starts_with("rules: requests: ")
        );
        assert!(refused(Rules::default().frame_bytes(0)).starts_with("rules: frame_bytes: "));
        assert!(
            refused(Rules::default().topics_per_line(0)).starts_with("rules: topics_per_line: ")
        );
        assert!(
            refused(Rules::default().heartbeat(Duration::ZERO)).starts_with("rules: heartbeat: ")
        );
        assert!(Rules::default().frames(1, second).heartbeat(second).check().is_ok());
    }
}

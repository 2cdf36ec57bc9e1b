//! Recording a feed, and replaying it.

use std::sync::Arc;

use actix::{Actor, Addr, WeakRecipient};

use crate::error::ConfigError;
use crate::feed::actor::{Feed, Origin, Parts};
use crate::feed::builder::{Builder, start_feed};
use crate::feed::dialect::Dialect;
use crate::feed::plan::LinePlan;
use crate::feed::replay::{self, Player, Replay};
use crate::feed::shard::FromShard;
use crate::record::Recorder;

impl<D: Dialect> Builder<D> {
    /// Records the feed: what each of its lines receives and sends, as
    /// [`ConnectionBuilder::record`](crate::ConnectionBuilder::record) does, and all else that its shards decide by, so that
    /// it can be [replayed](Builder::replay). Default: nothing is recorded.
    ///
    /// ```no_run
    /// use actix_ws_client::feed::{Builder, Dialect};
    /// use actix_ws_client::record::Recorder;
    ///
    /// # fn recorded<D: Dialect>(builder: Builder<D>) -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = Recorder::builder("recordings").start()?;
    /// let feed = builder.record(&recorder).start()?;
    /// # drop(feed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn record(mut self, recorder: &Recorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Replays a recording through the feed, in place of [`start`](Builder::start): nothing is dialled. Dialect, rules, lines,
    /// silence, resync and rotation have to be those of the feed that was recorded; topics come from the recording, and the
    /// builder's are not used. Handlers may be others.
    ///
    /// The handlers get the same updates, gaps and states in the same order, as the recorded feed's had of each shard; see
    /// [`Replay`]. What is read of [`Overflow`](crate::feed::Overflow) is not: the replay waits for handlers that are slow. The
    /// closure of [`Feed::builder`] is called once for each recorded socket, for its dialect alone, with
    /// [`is_replay`](crate::feed::Attempt::is_replay).
    ///
    /// At the end of the recording the feed ends. It takes `Status` and `Close` meanwhile. Any other command does nothing, and
    /// `Add` is answered with [`Answer::Closed`](crate::feed::command::Answer::Closed).
    ///
    /// # Errors
    /// As [`start`](Builder::start). What is wrong with the recording ends the feed, with the reason as
    /// [`Stopped::refusal`](crate::feed::event::Stopped::refusal) and in [`Replay::report`].
    #[must_use = "a feed whose last address is dropped closes"]
    pub fn replay(self, replay: Replay) -> Result<Addr<Feed<D::Item>>, ConfigError> {
        let threads = self.check()?;
        let Builder { make, customize, budgets, lines, rotate, recipients, .. } = self;
        let (rules, refused, recording) = (Arc::new(self.rules), Arc::default(), None);
        let plan = LinePlan { make, customize, budgets, rules, lines, rotate, refused, recording };
        let (plan, stopped) = (Arc::new(plan), recipients.stopped.clone());
        let parts = replay::Parts { plan, recipients, silence: self.silence, resync: self.resync };
        let thread = threads.as_ref().and_then(|threads| threads.handles().first().cloned());
        let play = Box::new(move |feed: WeakRecipient<FromShard>| {
            Player::new(parts, replay, feed).start().recipient()
        });
        let (origin, topics, topics_per_line) = (Origin::Recording(Some(play)), Vec::new(), 0);
        let parts = Parts { topics_per_line, lines, origin, stopped, topics, threads };
        start_feed(Feed::new(parts), thread)
    }
}

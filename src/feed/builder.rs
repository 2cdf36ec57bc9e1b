//! Building and starting a feed.

#[cfg(feature = "record")]
mod recording;

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};

use crate::budget::Budget;
use crate::connection::ConnectionBuilder;
use crate::error::ConfigError;
use crate::feed::actor::{Feed, Origin, Parts, Spawn};
use crate::feed::dialect::{Attempt, Dial, DialMaker, Dialect, Failure};
use crate::feed::dialling::{self, Customize};
use crate::feed::event::{Batch, Gap, TopicState, Update};
use crate::feed::line::now;
use crate::feed::plan::LinePlan;
use crate::feed::recipients::{Event, Recipients};
use crate::feed::rotate::Rotate;
use crate::feed::rules::{Overflow, Rules, Silence, Threads};
use crate::feed::shard::Shard;
use crate::feed::snapshot::Resync;
use crate::feed::threads::OwnThreads;
use crate::feed::topic::Topic;
use crate::feed::twins::MAX_LINES;
use crate::record::Recorder;

/// The options and recipients of a feed that is not started yet. Made by [`Feed::builder`].
#[must_use = "a builder does nothing until it is started"]
pub struct Builder<D: Dialect> {
    make: DialMaker<D>,
    rules: Rules,
    customize: Customize,
    budgets: Vec<Budget>,
    silence: Option<Silence>,
    resync: Option<Resync<D::Item>>,
    rotate: Rotate,
    threads: Threads,
    lines: u8,
    topics: Vec<Topic>,
    recipients: Recipients<D::Item>,
    /// Where the feed is recorded, if it is.
    recorder: Option<Recorder>,
}

impl<T: Clone + Send + 'static> Feed<T> {
    /// Creates the builder of a feed from an async closure that makes each dial: the dialect of the session,
    /// and where to dial.
    ///
    /// The closure runs before each dial, within `connect_timeout`, on the thread of the line. Its error is
    /// retried as the policy says, unless it is [`Failure::for_good`].
    ///
    /// ```
    /// use actix_ws_client::feed::{Dialect, Feed, Request, RequestId, Said, Topic};
    /// # use actix_ws_client::View;
    /// # struct Venue { token: String }
    /// # impl Dialect for Venue {
    /// #     type Item = f64;
    /// #     fn subscribe(&mut self, _: RequestId, _: &[Topic]) -> Request { Request::text("") }
    /// #     fn read<'m>(&mut self, _: View<'m>) -> Said<'m, f64> { Said::Nothing }
    /// # }
    /// # async fn token() -> Result<String, std::io::Error> { Ok(String::new()) }
    ///
    /// const URLS: [&str; 2] = ["wss://a.example/ws", "wss://b.example/ws"];
    ///
    /// let builder = Feed::builder(async |attempt| {
    ///     Ok(Venue { token: token().await? }.at(attempt.pick(&URLS)))
    /// });
    /// # drop(builder);
    /// ```
    pub fn builder<D, F>(make: F) -> Builder<D>
    where
        D: Dialect<Item = T>,
        F: AsyncFn(Attempt) -> Result<Dial<D>, Failure> + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let make: DialMaker<D> = Arc::new(move |attempt| {
            let make = make.clone();
            Box::pin(async move { make(attempt).await })
        });
        Builder {
            make,
            rules: Rules::default(),
            customize: Arc::new(|builder| builder),
            budgets: Vec::new(),
            silence: None,
            resync: None,
            rotate: Rotate::default(),
            threads: Threads::default(),
            lines: 1,
            topics: Vec::new(),
            recipients: Recipients::default(),
            recorder: None,
        }
    }
}

impl<D: Dialect> Builder<D> {
    /// Sets what the venue allows. Default: [`Rules::default`], no limits.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Adds a budget: limits of dials and sockets that all lines share, also with other feeds and connections
    /// that have a clone of it, see [`Budget`]. If it is called more than once, all of them hold. Default: none.
    ///
    /// A login that is refused, or not answered, within 5 s of the opening counts as a failed dial.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budgets.push(budget.clone());
        self
    }

    /// Sets a closure that sets options of each line's connection: TLS, proxy, pings, limits. Default: none.
    /// It must not set what the feed sets itself: URL, header lines and recipients.
    ///
    /// Other defaults than those of a single connection: messages of up to 64 MiB are accepted, a Close with
    /// 1008 or 1009 is retried, after the longest delay of the policy, and `stable_after` is 60 s, but a line
    /// that is active is stable at once.
    pub fn connection(
        mut self,
        options: impl Fn(ConnectionBuilder) -> ConnectionBuilder + Send + Sync + 'static,
    ) -> Self {
        self.customize = Arc::new(options);
        self
    }

    /// Sets how long a topic may bring no data, and what follows. Default: no limit.
    pub fn silence(mut self, silence: Silence) -> Self {
        self.silence = Some(silence);
        self
    }

    /// Sets how snapshots of topics are asked for, for those that consist of a snapshot and increments. Default: none is asked
    /// for, and a [`Said::snapshot`](crate::feed::Said::snapshot) is delivered unless it is older than what was delivered.
    pub fn resync(mut self, resync: Resync<D::Item>) -> Self {
        self.resync = Some(resync);
        self
    }

    /// Sets the number of lines that carry each topic, from 1 to [`MAX_LINES`], which is 8. Default: 1.
    ///
    /// Each line has a connection, a login and subscriptions of its own. An update is delivered once, from the line
    /// that has it first, so that the loss of one line leaves no gap. [`Attempt::pick`] gives each line another URL;
    /// [`Attempt::line`] says which one dials. What follows for a line:
    ///
    /// | | |
    /// |---|---|
    /// | the last line of a shard is lost | another one is dialled at once, unless the venue has asked for its delay. All lines of a shard wait for at most 10 s |
    /// | a line brings nothing while another goes on | once it has brought no data for five times its usual interval, at least 1 s, and the others 20 updates of topics that are confirmed on both, it has 1 s more, and is then dialled again. At most one line of a shard in 30 s |
    /// | a topic is refused on one line | the others carry it; it is reported once every open line has refused it |
    /// | a line is refused for good | it ends, in every shard, and the others go on. The feed ends once every line is refused |
    ///
    /// # What it does not promise
    ///
    /// With [`Sequence::contiguous`](crate::feed::Sequence::contiguous) and
    /// [`Sequence::chained`](crate::feed::Sequence::chained) each number is delivered once, in order, or reported as a
    /// gap. With [`Sequence::id`](crate::feed::Sequence::id) each is delivered once, in the order of arrival. With
    /// [`Sequence::rising`](crate::feed::Sequence::rising) what one line leaves out is missing without a report if the
    /// other is behind. With [`Sequence::none`](crate::feed::Sequence::none) one line leads a topic and the updates
    /// of the others are dropped; when it is lost, as many updates may be missing or doubled as one line is behind the
    /// other, and [`LineState::led`](crate::feed::event::LineState::led) says of how many topics.
    pub fn lines(mut self, lines: u8) -> Self {
        self.lines = lines;
        self
    }

    /// Sets what happens to updates that come faster than the handlers take them. Default: [`Overflow::Wait`], all are
    /// delivered, and the venue waits.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.recipients.overflow = overflow;
        self
    }

    /// Sets when lines are replaced by new ones, see [`Rotate`]. Default: when the venue announces the end of a line, with
    /// [`Notice::RotateWithin`](crate::feed::Notice::RotateWithin), or by
    /// [`command::Rotate`](crate::feed::command::Rotate).
    ///
    /// ```
    /// # use actix_ws_client::feed::{Builder, Dialect, HOUR, Rotate};
    /// # fn rotated<D: Dialect>(builder: Builder<D>) -> Builder<D> {
    /// builder.rotate(Rotate::at_age(23 * HOUR))
    /// # }
    /// ```
    ///
    /// The new line is supervised as any other: it logs in and subscribes for itself, within the budgets of the feed.
    /// The old one is closed once the new one is active, and has brought each topic that the old one brings; for topics
    /// that are quiet on both it waits for 5 s. One line of a shard is replaced at a time. What follows:
    ///
    /// | | |
    /// |---|---|
    /// | the new line is lost, or its dial fails | it is dialled again; after three failures the rotation has failed |
    /// | the old line is lost | it is not dialled: the new one has its place |
    /// | a topic that the old line carries is refused for now on the new one | the rotation has failed |
    /// | a topic has brought data on the old line, and none on the new one for 30 s | the rotation has failed |
    /// | a rotation has failed | the new line is closed, the old one goes on. The next try is after 10 min, or by a new notice or command |
    ///
    /// The new line has the letter that follows those of [`lines`](Builder::lines): of two lines, `a` is replaced by `c`
    /// and later that by `a`. In [`Attempt::line`] it has the number of the line whose place it takes. Each end of a
    /// rotation is an [`event::Rotated`](crate::feed::event::Rotated).
    pub fn rotate(mut self, rotate: Rotate) -> Self {
        self.rotate = rotate;
        self
    }

    /// Sets the threads that the lines live on. Default: one of the feed's own.
    pub fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// Adds topics. Further ones can be added while the feed runs, by
    /// [`command::Add`](crate::feed::command::Add).
    pub fn topics<N: Into<Topic>>(mut self, topics: impl IntoIterator<Item = N>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Registers an actor for updates, gaps and states of topics.
    ///
    /// The feed keeps the actor alive until `Stopped` was delivered. If the actor keeps the feed's `Addr` in
    /// turn, neither ever ends: let it keep a `WeakAddr`.
    pub fn handler<A>(mut self, addr: &Addr<A>) -> Self
    where
        A: Actor + Handler<Update<D::Item>> + Handler<Gap> + Handler<TopicState>,
        A::Context: ToEnvelope<A, Update<D::Item>> + ToEnvelope<A, Gap> + ToEnvelope<A, TopicState>,
    {
        self.recipients.add_addr(addr);
        self.on::<Update<D::Item>>(addr.clone().recipient())
    }

    /// Registers an actor as [`handler`](Builder::handler) does, for all updates of one read at once: the
    /// fast way.
    pub fn batch_handler<A>(mut self, addr: &Addr<A>) -> Self
    where
        A: Actor + Handler<Batch<D::Item>> + Handler<Gap> + Handler<TopicState>,
        A::Context: ToEnvelope<A, Batch<D::Item>> + ToEnvelope<A, Gap> + ToEnvelope<A, TopicState>,
    {
        self.recipients.add_addr(addr);
        self.on::<Batch<D::Item>>(addr.clone().recipient())
    }

    /// Registers a recipient of one kind of event.
    pub fn on<M: Event<D::Item>>(mut self, recipient: Recipient<M>) -> Self {
        self.recipients.add(recipient);
        self
    }

    /// Starts the feed. It lives until the last clone of its address is dropped.
    ///
    /// # Errors
    /// An option that cannot be, by its name; [`ConfigError::NoRuntime`] for [`Threads::Own`] outside an
    /// actix `System`, and for [`Threads::Here`] outside a `System` or a tokio `LocalSet`.
    #[must_use = "a feed whose last address is dropped closes"]
    pub fn start(self) -> Result<Addr<Feed<D::Item>>, ConfigError> {
        let threads = self.check()?;
        let mut seen = HashSet::new();
        let mut topics = self.topics;
        topics.retain(|topic| seen.insert(topic.clone()));
        let topics_per_line = self.rules.topics_per_line;
        let rules = Arc::new(self.rules);
        let Builder { make, customize, budgets, lines, rotate, recorder, .. } = self;
        let customize = recording(customize, recorder.as_ref());
        let recording = recorder.map(|recorder| (recorder.clone(), recorder.feed_number()));
        let refused = Arc::default();
        let plan = LinePlan { make, customize, budgets, rules, lines, rotate, refused, recording };
        let stopped = self.recipients.stopped.clone();
        let handles = threads.as_ref().map(|threads| threads.handles().to_vec());
        let first = handles.as_ref().and_then(|handles| handles.first().cloned());
        let parts = (self.recipients, self.silence, self.resync);
        let spawn = spawner(Arc::new(plan), parts, handles.unwrap_or_default());
        let origin = Origin::Shards(spawn);
        let feed = Feed::new(Parts { topics_per_line, lines, origin, stopped, topics, threads });
        start_feed(feed, first)
    }

    /// Refuses options that cannot be, and starts the threads.
    pub(super) fn check(&self) -> Result<Option<OwnThreads>, ConfigError> {
        self.rules.check()?;
        if self.silence.as_ref().is_some_and(|silence| silence.limit.is_zero()) {
            return Err(ConfigError::option("silence", "the limit must be above zero"));
        }
        self.resync.as_ref().map_or(Ok(()), Resync::check)?;
        self.rotate.check()?;
        if !(1..=MAX_LINES).contains(&self.lines) {
            let text = format!("must be from 1 to {MAX_LINES}, and is {}", self.lines);
            return Err(ConfigError::option("lines", text));
        }
        dialling::builder(&self.customize, &self.budgets, || false).check()?;
        match self.threads {
            Threads::Own(0) => Err(ConfigError::option("threads", "must be above zero")),
            Threads::Own(count) => OwnThreads::start(count).map(Some),
            Threads::Here => Ok(None),
        }
    }
}

/// Returns the closure that also has connections recorded.
#[cfg(feature = "record")]
fn recording(customize: Customize, recorder: Option<&Recorder>) -> Customize {
    let Some(recorder) = recorder.cloned() else { return customize };
    Arc::new(move |builder| customize(builder).record(&recorder))
}

#[cfg(not(feature = "record"))]
fn recording(customize: Customize, _: Option<&Recorder>) -> Customize {
    customize
}

/// Starts a feed on this thread of its own, or else here.
fn start_feed<T: Clone + Send + 'static>(
    feed: Feed<T>,
    thread: Option<actix_rt::ArbiterHandle>,
) -> Result<Addr<Feed<T>>, ConfigError> {
    match thread {
        Some(thread) => Ok(Feed::start_in_arbiter(&thread, move |_| feed)),
        None => start_here(feed),
    }
}

/// What each shard has a clone of, beside the plan of its lines.
type ShardParts<T> = (Recipients<T>, Option<Silence>, Option<Resync<T>>);

/// Returns what starts a shard: on one thread after the other, or on the current one if there are none.
fn spawner<D: Dialect>(
    plan: Arc<LinePlan<D>>,
    (recipients, silence, resync): ShardParts<D::Item>,
    threads: Vec<actix_rt::ArbiterHandle>,
) -> Spawn<D::Item> {
    Box::new(move |id, feed| {
        let (plan, recipients, silence) = (plan.clone(), recipients.clone(), silence.clone());
        let resync = resync.clone();
        let shard =
            move || Shard::new(id, plan, recipients, silence, feed, now()).with_resync(resync);
        match threads.get(id.0 as usize % threads.len().max(1)) {
            Some(thread) => Shard::start_in_arbiter(thread, move |_| shard()).recipient(),
            None => shard().start().recipient(),
        }
    })
}

fn start_here<T: Clone + Send + 'static>(feed: Feed<T>) -> Result<Addr<Feed<T>>, ConfigError> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(ConfigError::NoRuntime);
    }
    // tokio has no way to ask for a `LocalSet`: spawning panics where there is none.
    catch_unwind(AssertUnwindSafe(|| feed.start())).map_err(|_| ConfigError::NoRuntime)
}

impl<D: Dialect> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("rules", &self.rules)
            .field("threads", &self.threads)
            .field("topics", &self.topics.len())
            .finish_non_exhaustive()
    }
}

//! The actor of a feed: it assigns topics to shards, answers commands, and ends when its last address is
//! dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, Recipient, ResponseFuture,
    WeakRecipient,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::feed::assignment::{Assignment, Removed};
use crate::feed::command::{
    Add, AddTo, Answer, Close, FeedStatus, Pause, Remove, Resume, Resync, Rotate, Status,
};
use crate::feed::event::Stopped;
use crate::feed::figures::Figures;
use crate::feed::recipients::Recipients;
use crate::feed::said::Refusal;
use crate::feed::shard::{FromShard, ShardStatus, ToShard, Wish};
use crate::feed::threads::OwnThreads;
use crate::feed::topic::{ShardId, Topic, letter};

/// Many supervised connections that keep topics subscribed.
///
/// Built by [`Feed::builder`](Feed::builder). It lives as long as an `Addr` of it does; when the last one is dropped it closes
/// its lines and ends. It takes the commands of [`feed::command`](crate::feed::command).
pub struct Feed<T: Clone + Send + 'static> {
    assignment: Assignment,
    shards: BTreeMap<ShardId, Recipient<ToShard<T>>>,
    origin: Origin<T>,
    stopped: Vec<Recipient<Stopped>>,
    /// Topics to add at the start.
    initial: Vec<Topic>,
    /// The number of lines of each shard.
    lines: u8,
    /// The numbers of the lines that may not dial any more, in any shard, one bit for each.
    refused: u64,
    /// Why no line may dial any more.
    refusal: Option<Refusal>,
    is_paused: bool,
    is_closing: bool,
    /// The callers of `Close`.
    closing: Vec<oneshot::Sender<()>>,
    /// The figures of shards that have ended.
    figures: Figures,
    /// The threads of the shards, which end with the feed.
    threads: Option<OwnThreads>,
}

/// Starts a shard.
pub(crate) type Spawn<T> =
    Box<dyn Fn(ShardId, WeakRecipient<FromShard>) -> Recipient<ToShard<T>> + Send>;

/// Where what a feed delivers comes from.
pub(crate) enum Origin<T: Clone + Send + 'static> {
    /// Shards, which are started as topics need them.
    Shards(Spawn<T>),
    /// A recording: one player, until it is started.
    #[cfg(feature = "record")]
    Recording(Option<Play<T>>),
}

impl<T: Clone + Send + 'static> Origin<T> {
    /// Returns what starts a shard; `None` if there is a recording.
    fn spawn(&self) -> Option<&Spawn<T>> {
        match self {
            Origin::Shards(spawn) => Some(spawn),
            #[cfg(feature = "record")]
            Origin::Recording(_) => None,
        }
    }
}

/// Starts the player of a recording.
#[cfg(feature = "record")]
pub(crate) type Play<T> = Box<dyn FnOnce(WeakRecipient<FromShard>) -> Recipient<ToShard<T>> + Send>;

/// What a feed is started with.
pub(crate) struct Parts<T: Clone + Send + 'static> {
    pub(crate) topics_per_line: usize,
    pub(crate) lines: u8,
    pub(crate) origin: Origin<T>,
    pub(crate) stopped: Vec<Recipient<Stopped>>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) threads: Option<OwnThreads>,
}

impl<T: Clone + Send + 'static> Feed<T> {
    pub(crate) fn new(parts: Parts<T>) -> Feed<T> {
        Feed {
            assignment: Assignment::new(parts.topics_per_line),
            shards: BTreeMap::new(),
            origin: parts.origin,
            stopped: parts.stopped,
            initial: parts.topics,
            lines: parts.lines,
            refused: 0,
            refusal: None,
            is_paused: false,
            is_closing: false,
            closing: Vec::new(),
            figures: Figures::default(),
            threads: parts.threads,
        }
    }

    /// Adds topics, and starts the shards that they need.
    fn add(&mut self, topics: Vec<Wish<T>>, ctx: &mut Context<Feed<T>>) {
        let mut wishes: BTreeMap<ShardId, Vec<Wish<T>>> = BTreeMap::new();
        let Some(spawn) = self.origin.spawn() else { return };
        for wish in topics {
            let added = self.assignment.add(&wish.topic);
            if added.is_new_shard {
                let feed = ctx.address().downgrade().recipient();
                let shard = spawn(added.shard, feed);
                if self.is_paused {
                    shard.do_send(ToShard::Pause);
                }
                self.shards.insert(added.shard, shard);
            }
            wishes.entry(added.shard).or_default().push(wish);
        }
        for (shard, wishes) in wishes {
            self.send(shard, ToShard::Add(wishes));
        }
    }

    /// Adds the topics of a command.
    fn add_all(
        &mut self,
        add: Add,
        own: Option<&Arc<Recipients<T>>>,
        ctx: &mut Context<Feed<T>>,
    ) -> ResponseFuture<Vec<(Topic, Answer)>> {
        if let Some(answer) = self.final_answer() {
            let answer = |topic| (topic, answer.clone());
            let answers = add.topics.into_iter().map(answer).collect();
            return Box::pin(std::future::ready(answers));
        }
        let (wishes, answers) = wishes(add.topics, own);
        self.add(wishes, ctx);
        Box::pin(collect(answers, add.within))
    }

    fn send(&self, shard: ShardId, message: ToShard<T>) {
        if let Some(shard) = self.shards.get(&shard) {
            shard.do_send(message);
        }
    }

    fn close(&mut self, deadline: Duration) {
        self.is_closing = true;
        self.shards.values().for_each(|shard| shard.do_send(ToShard::Close(deadline)));
    }

    /// Notes that a line, or every line, may not dial any more. That is no failure if the line was closed cleanly.
    fn refuse(&mut self, line: Option<u8>, refusal: Refusal, is_clean: bool) {
        let all = u64::MAX >> (64 - u32::from(self.lines));
        self.refused |= line.map_or(all, |line| 1 << line);
        let is_last = self.refused & all == all;
        if is_last && self.refusal.is_some() {
            // It was logged, and the shards have been notified.
            return;
        }
        let (text, letter) = match is_last {
            true => ("no line of the feed dials any more", None),
            false => ("a line does not dial any more", line.map(letter)),
        };
        let line = letter.map(tracing::field::display);
        match is_clean {
            true => tracing::info!(line, reason = %refusal, "{text}"),
            false => tracing::error!(line, reason = %refusal, "{text}"),
        }
        self.refusal = is_last.then_some(refusal);
        let refused = self.refused;
        self.shards.values().for_each(|shard| shard.do_send(ToShard::Refuse(refused)));
    }

    /// Whether nothing will happen any more.
    fn is_over(&self) -> bool {
        self.shards.is_empty() && (self.is_closing || self.refusal.is_some() || self.is_replay())
    }

    /// Whether it delivers a recording.
    fn is_replay(&self) -> bool {
        self.origin.spawn().is_none()
    }

    /// Starts the player, if it delivers a recording.
    #[cfg(feature = "record")]
    fn play(&mut self, ctx: &mut Context<Feed<T>>) {
        if let Origin::Recording(play) = &mut self.origin
            && let Some(play) = play.take()
        {
            let player = play(ctx.address().downgrade().recipient());
            self.shards.insert(ShardId(0), player);
        }
    }

    fn end(&mut self) {
        let stopped = Stopped { refusal: self.refusal.clone(), figures: self.figures };
        for recipient in &self.stopped {
            recipient.do_send(stopped.clone());
        }
        self.stopped.clear();
        for caller in self.closing.drain(..) {
            // The caller may have been dropped: cancelled.
            let _ = caller.send(());
        }
        if let Some(threads) = self.threads.take() {
            // This thread is one of them: the answers above are sent before it ends.
            actix_rt::spawn(async move {
                tokio::task::yield_now().await;
                drop(threads);
            });
        }
    }

    /// Returns the answer for topics that no shard can answer any more.
    fn final_answer(&self) -> Option<Answer> {
        match &self.refusal {
            Some(refusal) => Some(Answer::Refused(refusal.clone())),
            None => (self.is_closing || self.is_replay()).then_some(Answer::Closed),
        }
    }
}

/// The time for the closing handshake when the last address was dropped, as for a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl<T: Clone + Send + 'static> Actor for Feed<T> {
    type Context = Context<Feed<T>>;

    fn started(&mut self, ctx: &mut Context<Feed<T>>) {
        #[cfg(feature = "record")]
        self.play(ctx);
        let topics = std::mem::take(&mut self.initial);
        self.add(
            topics.into_iter().map(|topic| Wish { topic, reply: None, own: None }).collect(),
            ctx,
        );
        ctx.spawn(Pulse);
    }
}

/// The one future of the actor. It keeps the actor alive until its shards have ended.
struct Pulse;

impl<T: Clone + Send + 'static> ActorFuture<Feed<T>> for Pulse {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        feed: &mut Feed<T>,
        ctx: &mut Context<Feed<T>>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if !ctx.connected() && !feed.is_closing {
            feed.close(CLOSE_TIMEOUT);
        }
        if feed.is_over() {
            feed.end();
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// What was asked about each topic, and the channel of its answer.
type Answers = Vec<(Topic, oneshot::Receiver<Answer>)>;

/// Splits topics into wishes for the shards, and the answers to wait for.
fn wishes<T: Clone + Send + 'static>(
    topics: Vec<Topic>,
    own: Option<&Arc<Recipients<T>>>,
) -> (Vec<Wish<T>>, Answers) {
    topics
        .into_iter()
        .map(|topic| {
            let (reply, answer) = oneshot::channel();
            let own = own.cloned();
            (Wish { topic: topic.clone(), reply: Some(reply), own }, (topic, answer))
        })
        .unzip()
}

/// Waits for all answers, and not longer than allowed.
async fn collect(answers: Answers, within: Option<Duration>) -> Vec<(Topic, Answer)> {
    let deadline = within.and_then(|time| Instant::now().checked_add(time));
    let mut collected = Vec::with_capacity(answers.len());
    for (topic, answer) in answers {
        let answer = match deadline {
            None => answer.await.unwrap_or(Answer::Closed),
            Some(deadline) => match timeout_at(deadline, answer).await {
                Ok(answer) => answer.unwrap_or(Answer::Closed),
                Err(_) => Answer::Pending,
            },
        };
        collected.push((topic, answer));
    }
    collected
}

impl<T: Clone + Send + 'static> Handler<Add> for Feed<T> {
    type Result = ResponseFuture<Vec<(Topic, Answer)>>;

    fn handle(&mut self, add: Add, ctx: &mut Context<Feed<T>>) -> Self::Result {
        self.add_all(add, None, ctx)
    }
}

impl<T: Clone + Send + 'static> Handler<AddTo<T>> for Feed<T> {
    type Result = ResponseFuture<Vec<(Topic, Answer)>>;

    fn handle(&mut self, add: AddTo<T>, ctx: &mut Context<Feed<T>>) -> Self::Result {
        self.add_all(add.add, Some(&add.own), ctx)
    }
}

impl<T: Clone + Send + 'static> Handler<Remove> for Feed<T> {
    type Result = ResponseFuture<Vec<(Topic, Answer)>>;

    fn handle(&mut self, remove: Remove, _: &mut Context<Feed<T>>) -> Self::Result {
        let (wishes, answers) = wishes(remove.topics, None);
        let mut leaving: BTreeMap<ShardId, Vec<Wish<T>>> = BTreeMap::new();
        for mut wish in wishes {
            match self.assignment.remove(&wish.topic) {
                Removed::FromShard(shard) | Removed::NotWanted(Some(shard)) => {
                    leaving.entry(shard).or_default().push(wish);
                }
                removed => {
                    let kept = removed == Removed::Kept;
                    let answer = if kept { Answer::Kept } else { Answer::Removed };
                    wish.reply.take().map(|reply| reply.send(answer));
                }
            }
        }
        for (shard, wishes) in leaving {
            self.send(shard, ToShard::Remove(wishes));
        }
        Box::pin(collect(answers, remove.within))
    }
}

impl<T: Clone + Send + 'static> Handler<Pause> for Feed<T> {
    type Result = ();

    fn handle(&mut self, _: Pause, _: &mut Context<Feed<T>>) {
        self.is_paused = true;
        self.shards.values().for_each(|shard| shard.do_send(ToShard::Pause));
    }
}

impl<T: Clone + Send + 'static> Handler<Resume> for Feed<T> {
    type Result = ();

    fn handle(&mut self, _: Resume, _: &mut Context<Feed<T>>) {
        self.is_paused = false;
        self.shards.values().for_each(|shard| shard.do_send(ToShard::Resume));
    }
}

impl<T: Clone + Send + 'static> Handler<Resync> for Feed<T> {
    type Result = ();

    fn handle(&mut self, resync: Resync, _: &mut Context<Feed<T>>) {
        if let Some(shard) = self.assignment.shard(&resync.topic) {
            self.send(shard, ToShard::Resync(resync.topic));
        }
    }
}

impl<T: Clone + Send + 'static> Handler<Rotate> for Feed<T> {
    type Result = ();

    fn handle(&mut self, rotate: Rotate, _: &mut Context<Feed<T>>) {
        let is_meant = |shard: &ShardId| rotate.shard.is_none_or(|meant| meant == *shard);
        let shards = self.shards.iter().filter(|(shard, _)| is_meant(shard));
        shards.for_each(|(_, shard)| shard.do_send(ToShard::Rotate));
    }
}

impl<T: Clone + Send + 'static> Handler<Close> for Feed<T> {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, close: Close, _: &mut Context<Feed<T>>) -> Self::Result {
        let (caller, closed) = oneshot::channel();
        // Callers that were cancelled leave here.
        self.closing.retain(|caller| !caller.is_closed());
        self.closing.push(caller);
        self.close(close.deadline);
        Box::pin(async move { closed.await.unwrap_or_default() })
    }
}

impl<T: Clone + Send + 'static> Handler<Status> for Feed<T> {
    type Result = ResponseFuture<FeedStatus>;

    fn handle(&mut self, _: Status, _: &mut Context<Feed<T>>) -> Self::Result {
        let mut status = FeedStatus { refusal: self.refusal.clone(), ..FeedStatus::default() };
        status.figures = self.figures;
        let ask = |shard: &Recipient<ToShard<T>>| {
            let (reply, answer) = oneshot::channel::<ShardStatus>();
            shard.do_send(ToShard::Status(reply));
            answer
        };
        let answers: Vec<_> = self.shards.values().map(ask).collect();
        Box::pin(async move {
            for answer in answers {
                // A shard that has just ended is counted with those that have ended, at the next call.
                let shard = answer.await.unwrap_or_default();
                status.figures += shard.figures;
                status.lines.extend(shard.lines);
            }
            status
        })
    }
}

impl<T: Clone + Send + 'static> Handler<FromShard> for Feed<T> {
    type Result = ();

    fn handle(&mut self, report: FromShard, _: &mut Context<Feed<T>>) {
        match report {
            FromShard::Left(shard, topics) => {
                for topic in topics {
                    if self.assignment.left(shard, &topic) {
                        self.send(shard, ToShard::Close(CLOSE_TIMEOUT));
                    }
                }
            }
            FromShard::Refused(line, refusal) => self.refuse(line, refusal, false),
            FromShard::Closed(line, reason) => self.refuse(Some(line), reason, true),
            FromShard::Ended(shard, figures) => {
                self.shards.remove(&shard);
                let topics = Figures { wanted: 0, confirmed: 0, refused: 0, ..figures };
                self.figures += topics;
            }
        }
    }
}

impl<T: Clone + Send + 'static> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

//! The task of a member: it watches the bucket, and carries out what [`Sharing`] decides.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::WeakAddr;
use async_nats::jetstream::kv::Watch;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::feed::{Feed, Topic, command};
use crate::nats::lane::Role;
use crate::nats::lease::{Key, MemberId};
use crate::nats::plan::Plan;
use crate::nats::publisher::PublisherHandle;
use crate::nats::share::{Action, Options, Outcome, Sharing};
use crate::nats::shares::bucket::{self, Bucket};
use crate::nats::shares::event::{ChangeError, Changed, ShareEvent};
use crate::nats::shares::figures::Counted;
use crate::nats::shares::options::Shares;

/// What a handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Leave { deadline: Instant, reply: oneshot::Sender<()> },
    Change { topics: Vec<Topic>, reply: oneshot::Sender<Result<Changed, ChangeError>> },
}

/// What a task is started with.
pub(crate) struct Start {
    pub(crate) shares: Shares,
    pub(crate) counted: Arc<Counted>,
    pub(crate) plan: Plan,
    pub(crate) bucket: Bucket,
    pub(crate) commands: mpsc::Receiver<Command>,
}

/// The task of a member.
pub(crate) struct Task<T: Clone + Send + 'static> {
    shares: Shares,
    counted: Arc<Counted>,
    plan: Plan,
    bucket: Bucket,
    commands: mpsc::Receiver<Command>,
    feed: WeakAddr<Feed<T>>,
    publisher: PublisherHandle,
    sharing: Sharing,
    /// What is under way: one write for each entry, and one thing more for each share.
    jobs: JoinSet<Done>,
    watch: Option<Box<Watch>>,
    /// When a watch was begun last; `None` if one is to be begun.
    watched: Option<Instant>,
    /// Who waits for the end.
    leavers: Vec<oneshot::Sender<()>>,
}

/// What was under way.
enum Done {
    Watching(Option<Box<Watch>>),
    Written(Key, Outcome),
    Added(u32, u64),
    Settled(u32, u64),
    Purged,
}

/// How often a member looks at the clock, as a part of the lease.
const TICKS: u32 = 20;

impl<T: Clone + Send + 'static> Task<T> {
    pub(crate) fn new(
        start: Start,
        feed: WeakAddr<Feed<T>>,
        publisher: PublisherHandle,
    ) -> Task<T> {
        let Start { shares, counted, plan, bucket, commands } = start;
        let sharing = Sharing::new(Options {
            me: MemberId(rand::random::<u64>().max(1)),
            plan: shares.fingerprint(&plan),
            shares: plan.shares(),
            lease: shares.lease,
            most: shares.most,
            overlaps: shares.overlaps,
            standby: shares.standby,
        });
        let (jobs, watch, watched, leavers) = (JoinSet::new(), None, None, Vec::new());
        Task {
            shares,
            counted,
            plan,
            bucket,
            commands,
            feed,
            publisher,
            sharing,
            jobs,
            watch,
            watched,
            leavers,
        }
    }

    /// Runs until everything is handed over.
    pub(crate) async fn run(mut self) {
        let mut ticks = ticks(self.shares.lease / TICKS);
        let mut are_held = true;
        loop {
            tokio::select! {
                found = bucket::next(&mut self.watch) => self.handle_found(found),
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => self.handle_done(done.ok()),
                command = self.commands.recv(), if are_held => match command {
                    Some(command) => self.handle_command(command),
                    None => {
                        are_held = false;
                        self.sharing.leave(Instant::now());
                    }
                },
                _ = ticks.tick() => {}
            }
            if self.step() {
                break;
            }
        }
        self.end().await;
    }

    /// Waits for the last writes, and answers.
    async fn end(mut self) {
        let writes = async { while self.jobs.join_next().await.is_some() {} };
        // The entry of a member that is gone expires without them.
        let _ = timeout(self.shares.lease / 3, writes).await;
        for leaver in self.leavers {
            // The caller may have been dropped: cancelled.
            let _ = leaver.send(());
        }
    }

    fn handle_found(&mut self, found: Option<bucket::Found>) {
        match found {
            Some(it) => self.sharing.handle_entry(it.key, it.revision, &it.text, Instant::now()),
            None => self.watch = None,
        }
    }

    fn handle_done(&mut self, done: Option<Done>) {
        match done {
            Some(Done::Watching(watch)) => self.watch = watch,
            Some(Done::Written(key, outcome)) => {
                self.sharing.handle_written(key, outcome, Instant::now());
            }
            Some(Done::Added(share, added)) => self.sharing.handle_added(share, added),
            Some(Done::Settled(share, settled)) => self.sharing.handle_settled(share, settled),
            Some(Done::Purged) | None => {}
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Leave { deadline, reply } => {
                self.leavers.push(reply);
                self.sharing.leave(deadline);
            }
            Command::Change { topics, reply } => {
                // The caller may have been dropped: cancelled.
                let _ = reply.send(self.change(topics));
            }
        }
    }

    /// Carries out what is decided now. Returns whether nothing follows any more.
    fn step(&mut self) -> bool {
        let now = Instant::now();
        if !self.feed.upgrade().is_some_and(|feed| feed.connected()) {
            self.sharing.leave(now);
        }
        self.keep_watching(now);
        let actions = self.sharing.poll(now);
        let is_over = actions.contains(&Action::Left);
        actions.into_iter().for_each(|action| self.carry_out(action));
        is_over
    }

    /// Begins a watch if there is none, or if what is written does not come back.
    fn keep_watching(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) > self.shares.lease / 3;
        let is_due = match self.watched {
            None => true,
            Some(at) => is_old(at) && (self.watch.is_none() || self.sharing.is_blind(now)),
        };
        if is_due {
            self.watched = Some(now);
            let bucket = self.bucket.clone();
            self.jobs.spawn(async move { Done::Watching(bucket.watch().await) });
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Write { key, text, expected } => {
                let bucket = self.bucket.clone();
                self.jobs.spawn(async move {
                    Done::Written(key, bucket.write(key, text, expected).await)
                });
            }
            Action::Purge(member) => {
                let bucket = self.bucket.clone();
                self.jobs.spawn(async move {
                    bucket.purge(Key::Member(member)).await;
                    Done::Purged
                });
            }
            Action::Add { share, added } => self.add(share, added),
            Action::Remove { share } => {
                let topics = self.plan.share(share).to_vec();
                if let Some(feed) = self.feed.upgrade() {
                    feed.do_send(command::Remove::new(&topics));
                }
                self.notify_topics(Vec::new(), topics);
            }
            Action::Role { share, role } => drop(self.set_role(share, role)),
            Action::Settle { share, settled } => {
                let end = self.publisher.end(self.plan.share(share), Instant::now());
                self.jobs.spawn(async move {
                    end.await;
                    Done::Settled(share, settled)
                });
            }
            Action::Report { share, state } => {
                (self.shares.on_event)(ShareEvent::State { share, state });
            }
            Action::Refused { member } => {
                let member = member.to_string().into();
                (self.shares.on_event)(ShareEvent::Refused { member });
            }
            Action::Left => {}
        }
    }

    fn set_role(&self, share: u32, role: Role) -> impl Future<Output = ()> + Send + use<T> {
        self.publisher.set_role(self.plan.share(share), role)
    }

    fn notify_topics(&self, added: Vec<Topic>, removed: Vec<Topic>) {
        (self.shares.on_event)(ShareEvent::Topics { added, removed });
    }

    /// Adds the topics of a share to the feed. The answer comes when each is confirmed, refused or removed again.
    fn add(&mut self, share: u32, added: u64) {
        let Some(feed) = self.feed.upgrade() else { return };
        let topics = self.plan.share(share).to_vec();
        let answers = feed.send(command::Add::new(&topics));
        self.notify_topics(topics, Vec::new());
        self.jobs.spawn(async move {
            // A feed that has ended has no topics, and its shares are given up.
            let _ = answers.await;
            Done::Added(share, added)
        });
    }

    /// Changes the plan if this is the only member.
    fn change(&mut self, topics: Vec<Topic>) -> Result<Changed, ChangeError> {
        let plan = Plan::new(topics, self.shares.per_share);
        let print = self.shares.fingerprint(&plan);
        let before: HashSet<&Topic> =
            self.sharing.shares_in_feed().flat_map(|share| self.plan.share(share)).collect();
        if !self.sharing.change_plan(print, plan.shares(), Instant::now()) {
            return Err(ChangeError::NotAlone);
        }
        let after: HashSet<&Topic> =
            self.sharing.shares_in_feed().flat_map(|share| plan.share(share)).collect();
        let added: Vec<Topic> = after.difference(&before).copied().cloned().collect();
        let removed: Vec<Topic> = before.difference(&after).copied().cloned().collect();
        let (was, is) = (self.plan.topics(), plan.topics());
        let changed = Changed {
            added: is.difference(&was).count(),
            removed: was.difference(&is).count(),
            shares: plan.shares(),
        };
        // The publisher keeps what comes of a new topic until its share has been taken.
        drop(self.publisher.set_role(&added, Role::Standby));
        drop(self.publisher.set_role(&removed, Role::None));
        if let Some(feed) = self.feed.upgrade() {
            feed.do_send(command::Remove::new(&removed));
            feed.do_send(command::Add::new(&added));
        }
        self.notify_topics(added, removed);
        self.plan = plan;
        // Here and not where the answer is awaited: the caller may be dropped.
        self.counted.set_all(changed.shares);
        Ok(changed)
    }
}

fn ticks(time: Duration) -> Interval {
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

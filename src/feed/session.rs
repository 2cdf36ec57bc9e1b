//! The life of one opened socket of a line, from its opening to its close: login, then subscriptions, then
//! active. A value: messages go in by `handle_…`, requests and changes come out by `poll_…`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::feed::dialect::Dialect;
use crate::feed::pace::{Frame, Pace, after};
use crate::feed::request::Request;
use crate::feed::resync::SnapshotAsk;
use crate::feed::rules::Rules;
use crate::feed::said::{Notice, Refusal, Said};
use crate::feed::sequence::Sequence;
use crate::feed::subscriptions::{Ask, Change, Limits, Subscriptions, Verb};
use crate::feed::topics::{Slot, Topics};

/// One session. What it sends goes out on its own socket, or not at all.
#[derive(Debug)]
pub(crate) struct Session {
    rules: Arc<Rules>,
    pace: Pace,
    stage: Stage,
    subscriptions: Subscriptions,
    /// Answers to challenges that wait to be sent, at most [`MAX_ANSWERS`].
    answers: VecDeque<Request>,
    heartbeat: Option<Heartbeat>,
    /// What ended the session, until it is taken.
    failure: Option<Failed>,
    /// Whether it has ended: nothing is sent any more.
    is_over: bool,
    /// No deadline is judged while the shard holds.
    is_held: bool,
    /// No frame is made while earlier ones wait for room in the send buffer.
    is_congested: bool,
    /// No deadline is judged before this time.
    judge_from: Instant,
    /// No request is sent before this time, which the venue has asked for.
    paused_until: Option<Instant>,
    /// The number of the newest message on this line.
    line_number: Option<u64>,
    /// The number of requests that were sent.
    requests: u64,
    /// Whether the progress may have changed since it was last asked for.
    is_changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The login is not sent yet.
    Opened,
    /// The login is sent, and the answer overdue at this time.
    LoggingIn { answer_by: Instant },
    /// The login was accepted, or none is needed.
    LoggedIn,
}

#[derive(Debug)]
struct Heartbeat {
    every: Duration,
    next: Instant,
    /// When a sign of life is overdue.
    answer_by: Option<Instant>,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The venue refused the login.
    Login(Refusal),
    /// The venue left something without an answer.
    NoAnswer(Refusal),
    /// The venue asked for another dial.
    Asked,
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    LoggingIn,
    Subscribing { left: usize },
    Active,
}

/// Receives what the venue says about topics, in order.
pub(crate) trait Sink<T> {
    /// An update of a wanted topic.
    fn data(&mut self, data: Data<T>, topics: &Topics);
    /// A topic is asked for.
    fn asked(&mut self, slot: Slot);
    /// A change of a topic.
    fn change(&mut self, change: Change, topics: &mut Topics);
    /// Numbers of the whole line are missing, both included.
    fn missing(&mut self, from: u64, to: u64);
    /// What was built of a wanted topic is not the state of the venue.
    fn dispute(&mut self, slot: Slot, topics: &Topics);
    /// Returns the next snapshot to ask for on this socket, of a topic that `may` be asked for.
    fn next_ask(&mut self, now: Instant, may: impl Fn(Slot) -> bool) -> Option<SnapshotAsk>;
    /// An update of a topic that is not wanted: one that was removed, or an unknown one.
    fn unwanted(&mut self, topic: &str, is_known: bool);
    /// The venue is about to end the line within this time.
    fn rotate(&mut self, within: Duration);
}

/// An update of a wanted topic.
#[derive(Debug)]
pub(crate) struct Data<T> {
    pub(crate) slot: Slot,
    pub(crate) sequence: Sequence,
    pub(crate) snapshot: bool,
    pub(crate) item: T,
}

/// The number of answers to challenges that wait at most. Beyond it the oldest is dropped: a newer challenge
/// replaces it.
const MAX_ANSWERS: usize = 16;

/// A timer that fires later than this after its time shows that the thread was suspended or busy: the
/// venue's answer may be unread.
const LATE: Duration = Duration::from_secs(1);

impl Session {
    /// Creates the session of a socket that was just opened.
    pub(crate) fn new(
        rules: Arc<Rules>,
        heartbeat_every: Option<Duration>,
        topics: &Topics,
        now: Instant,
    ) -> Session {
        let beat = |every| Heartbeat { every, next: after(now, every), answer_by: None };
        Session {
            pace: Pace::new(&rules),
            heartbeat: heartbeat_every.or(rules.heartbeat).map(beat),
            rules,
            stage: Stage::Opened,
            subscriptions: Subscriptions::new(topics),
            answers: VecDeque::new(),
            failure: None,
            is_over: false,
            is_held: false,
            is_congested: false,
            judge_from: now,
            paused_until: None,
            line_number: None,
            requests: 0,
            is_changed: true,
        }
    }

    /// Notes that messages came: whatever they say, the venue is alive.
    pub(crate) fn handle_read(&mut self) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.answer_by = None;
        }
    }

    /// Passes on what the dialect has read in a message. [`handle_read`](Session::handle_read) goes before the first of a
    /// read.
    #[inline]
    pub(crate) fn handle_message<D: Dialect>(
        &mut self,
        said: Said<'_, D::Item>,
        now: Instant,
        topics: &mut Topics,
        sink: &mut impl Sink<D::Item>,
    ) {
        // Nearly all messages: the rest of the match stays out of the caller.
        match said {
            Said::Data { topic, sequence, item } => {
                let slot = topics.slot_of_message(topic.as_str());
                self.handle_data((topic.as_str(), slot), (sequence, false, item), topics, sink);
            }
            said => self.handle_said(said, now, topics, sink),
        }
    }

    #[inline(never)]
    fn handle_said<T>(
        &mut self,
        said: Said<'_, T>,
        now: Instant,
        topics: &mut Topics,
        sink: &mut impl Sink<T>,
    ) {
        match said {
            Said::Data { topic, sequence, item } => {
                self.handle_other_data(topic.as_str(), (sequence, false, item), topics, sink);
            }
            Said::Snapshot { topic, sequence, item } => {
                self.handle_other_data(topic.as_str(), (sequence, true, item), topics, sink);
            }
            Said::Many(all) => {
                all.into_iter().for_each(|said| self.handle_said(said, now, topics, sink));
            }
            Said::Resync(topic) => {
                let slot = topics.slot(topic.as_str()).filter(|slot| topics.is_wanted(*slot));
                slot.into_iter().for_each(|slot| sink.dispute(slot, topics));
            }
            Said::Nothing | Said::Alive => {}
            Said::Counted(number) => self.handle_counted(number, sink),
            Said::LoggedIn => self.logged_in(),
            Said::LoginRefused(refusal) => self.fail(Failed::Login(refusal)),
            Said::Confirmed(which) => {
                self.subscriptions.confirm(which, now, topics);
                self.pass_changes(topics, sink);
            }
            Said::Refused(which, refusal) => {
                self.subscriptions.refused(which, &refusal, now, topics);
                self.pass_changes(topics, sink);
            }
            Said::Answer(request) => {
                if self.answers.len() >= MAX_ANSWERS {
                    self.answers.pop_front();
                }
                self.answers.push_back(request);
            }
            Said::Notice(Notice::RotateWithin(within)) => sink.rotate(within),
            Said::Notice(notice) => self.handle_notice(notice, now),
        }
    }

    /// Handles data outside of the usual path.
    #[inline(never)]
    fn handle_other_data<T>(
        &mut self,
        topic: &str,
        data: (Sequence, bool, T),
        topics: &mut Topics,
        sink: &mut impl Sink<T>,
    ) {
        self.handle_data((topic, topics.slot(topic)), data, topics, sink);
    }

    #[inline(always)] // as a function it takes 40 instructions more
    fn handle_data<T>(
        &mut self,
        (topic, slot): (&str, Option<Slot>),
        (sequence, snapshot, item): (Sequence, bool, T),
        topics: &mut Topics,
        sink: &mut impl Sink<T>,
    ) {
        let Some(slot) = slot else { return sink.unwanted(topic, false) };
        if !self.subscriptions.is_flowing(slot) && !self.first_data(slot, topics, sink) {
            return sink.unwanted(topic, true);
        }
        sink.data(Data { slot, sequence, snapshot, item }, topics);
    }

    /// Notes the first data of a topic since it was asked for, or wanted. Returns whether it is wanted.
    #[cold]
    fn first_data<T>(&mut self, slot: Slot, topics: &mut Topics, sink: &mut impl Sink<T>) -> bool {
        let is_wanted = topics.is_wanted(slot);
        if is_wanted {
            self.subscriptions.ticked(slot, topics);
            self.pass_changes(topics, sink);
        }
        is_wanted
    }

    fn handle_counted<T>(&mut self, number: u64, sink: &mut impl Sink<T>) {
        if let Some(last) = self.line_number.replace(number)
            && last.checked_add(1).is_some_and(|next| next < number)
        {
            sink.missing(last + 1, number - 1);
        }
    }

    fn handle_notice(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Pause { at_most } => self.paused_until = Some(after(now, at_most)),
            Notice::Resume => {
                self.paused_until = None;
                self.grant(now);
            }
            // Another line takes its place, and this one goes on meanwhile.
            Notice::RotateWithin(_) => {}
            Notice::Reconnect => self.fail(Failed::Asked),
        }
    }

    /// Notes that a topic was added, removed, or is to be asked for again.
    pub(crate) fn handle_wish<T>(
        &mut self,
        slot: Slot,
        topics: &mut Topics,
        sink: &mut impl Sink<T>,
    ) {
        self.is_changed = true;
        self.subscriptions.wish_changed(slot, topics);
        self.pass_changes(topics, sink);
    }

    /// Asks again for a topic that the venue sends nothing of.
    pub(crate) fn handle_silence(&mut self, slot: Slot, topics: &Topics) {
        self.subscriptions.renew(slot, topics);
    }

    /// Records a Ping or Pong that was sent.
    pub(crate) fn handle_control(&mut self, now: Instant) {
        self.pace.control(now);
    }

    /// Stops judging deadlines while the shard holds. Afterwards the venue has the whole time once more.
    pub(crate) fn handle_hold(&mut self, hold: bool, now: Instant) {
        if self.is_held && !hold {
            self.grant(now);
        }
        self.is_held = hold;
    }

    /// Stops making frames while earlier ones wait for room in the send buffer, or continues.
    pub(crate) fn handle_congestion(&mut self, is_congested: bool) {
        self.is_congested = is_congested;
    }

    /// Ends the session: a frame cannot be sent.
    pub(crate) fn handle_unsent(&mut self, reason: String) {
        self.fail(Failed::NoAnswer(Refusal::for_now(reason)));
    }

    /// Judges what is overdue.
    pub(crate) fn handle_timeout<T>(
        &mut self,
        now: Instant,
        topics: &mut Topics,
        sink: &mut impl Sink<T>,
    ) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.grant(now);
        }
        while let Some(slot) = topics.poll_retry(now) {
            self.is_changed = true;
            self.subscriptions.wish_changed(slot, topics);
        }
        let overdue = self.answer_by().filter(|at| *at <= now && !self.is_over);
        let Some(overdue) = overdue else { return };
        if !self.may_judge(now) {
            return;
        }
        if overdue + LATE < now && self.judge_from < overdue {
            return self.grant(now);
        }
        self.judge(now, topics);
        self.pass_changes(topics, sink);
    }

    fn judge(&mut self, now: Instant, topics: &mut Topics) {
        let no_answer = |what: &str, within: Duration| {
            let text = format!("the venue did not answer {what} within {within:?}");
            Failed::NoAnswer(Refusal::for_now(text))
        };
        let within = self.rules.answer_within;
        if let Stage::LoggingIn { answer_by } = self.stage
            && answer_by <= now
        {
            return self.fail(no_answer("the login", within));
        }
        let beat = self.heartbeat.as_ref().and_then(|heartbeat| heartbeat.answer_by);
        if beat.is_some_and(|at| at <= now) {
            return self.fail(no_answer("a heartbeat", within));
        }
        if self.subscriptions.handle_timeout(now, topics) && !self.subscriptions.has_answered() {
            self.fail(no_answer("any subscription", within));
        }
    }

    /// Returns the next request that may be sent now. The caller sends it on this session's socket.
    pub(crate) fn poll_request<D: Dialect>(
        &mut self,
        dialect: &mut D,
        now: Instant,
        topics: &mut Topics,
        sink: &mut impl Sink<D::Item>,
    ) -> Option<Request> {
        if self.is_over {
            return None;
        }
        let frame = self.due(now).filter(|frame| self.pace.ready_at(*frame, now) <= now);
        let Some(frame) = frame else { return self.poll_snapshot(dialect, now, topics, sink) };
        let request = match frame {
            Frame::Urgent => self.poll_urgent(dialect, now),
            Frame::Request if self.stage == Stage::Opened => match dialect.login() {
                Some(request) => {
                    let answer_by = after(now, self.rules.answer_within);
                    self.stage = Stage::LoggingIn { answer_by };
                    Some(request)
                }
                None => {
                    self.logged_in();
                    return self.poll_request(dialect, now, topics, sink);
                }
            },
            Frame::Request => self.poll_subscription(dialect, now, topics, sink),
            // It is never due: snapshots are asked for when nothing else may be sent.
            Frame::Snapshot => None,
        };
        self.pass_changes(topics, sink);
        if request.is_some() {
            self.pace.sent(frame, now);
            self.requests += 1;
        }
        request
    }

    /// Returns the request for the next snapshot, if nothing else may be sent. Where the venue has no such request, the topic
    /// is subscribed again, unless it was just subscribed.
    fn poll_snapshot<D: Dialect>(
        &mut self,
        dialect: &mut D,
        now: Instant,
        topics: &mut Topics,
        sink: &mut impl Sink<D::Item>,
    ) -> Option<Request> {
        while self.snapshot_ready_at(now).is_some_and(|at| at <= now) {
            let Session { subscriptions, .. } = self;
            let SnapshotAsk { slot, is_first, .. } =
                sink.next_ask(now, |slot| subscriptions.is_confirmed(slot))?;
            let id = self.subscriptions.next_id();
            if let Some(request) = dialect.snapshot(id, topics.topic(slot)) {
                self.pace.sent(Frame::Snapshot, now);
                self.requests += 1;
                return Some(request);
            }
            if !is_first {
                self.subscriptions.renew(slot, topics);
                return self.poll_request(dialect, now, topics, sink);
            }
        }
        None
    }

    /// Returns when a snapshot may be asked for; `None` if something else has to happen first.
    pub(crate) fn snapshot_ready_at(&self, now: Instant) -> Option<Instant> {
        let is_ready = self.stage == Stage::LoggedIn && self.paused_until.is_none();
        let may = is_ready && !self.is_over && !self.is_congested;
        may.then(|| self.pace.ready_at(Frame::Snapshot, now))
    }

    /// Returns the kind of the frame that is due: first the login, then answers, then the heartbeat, then
    /// subscriptions.
    fn due(&self, now: Instant) -> Option<Frame> {
        if self.is_congested {
            return None;
        }
        let is_paused = self.paused_until.is_some();
        let beats = self.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.next <= now);
        if self.stage == Stage::Opened && !is_paused {
            Some(Frame::Request)
        } else if !self.answers.is_empty() || beats {
            Some(Frame::Urgent)
        } else if self.stage == Stage::LoggedIn && !is_paused && self.subscriptions.is_due() {
            Some(Frame::Request)
        } else {
            None
        }
    }

    fn poll_urgent<D: Dialect>(&mut self, dialect: &mut D, now: Instant) -> Option<Request> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        let answer_by = after(now, self.rules.answer_within);
        let heartbeat = self.heartbeat.as_mut()?;
        let Some(request) = dialect.heartbeat() else {
            self.heartbeat = None;
            return None;
        };
        // A fixed cadence; beats that were missed are left out.
        while heartbeat.next <= now {
            heartbeat.next = after(heartbeat.next, heartbeat.every);
        }
        heartbeat.answer_by.get_or_insert(answer_by);
        Some(request)
    }

    fn poll_subscription<D: Dialect>(
        &mut self,
        dialect: &mut D,
        now: Instant,
        topics: &mut Topics,
        sink: &mut impl Sink<D::Item>,
    ) -> Option<Request> {
        let limits = Limits {
            topics_per_frame: self.rules.topics_per_frame,
            topics_per_line: self.rules.topics_per_line,
        };
        // Each turn sends a request, or removes at least one topic from the queue.
        while let Some(mut ask) =
            self.subscriptions.poll_ask(limits, topics, |topic| dialect.kind(topic))
        {
            let Some((id, request)) = self.fit(dialect, &mut ask, topics) else {
                self.subscriptions.cannot_unsubscribe(ask, topics);
                continue;
            };
            if request.len() > self.rules.frame_bytes {
                let text = format!(
                    "the request for this topic alone has {} bytes, more than the {} of \
                     Rules::frame_bytes",
                    request.len(),
                    self.rules.frame_bytes
                );
                self.subscriptions.refuse(ask, &Refusal::for_good(text), now, topics);
                continue;
            }
            let answers = self.rules.acknowledged;
            let answer_by = answers.then(|| after(now, self.rules.answer_within));
            if ask.verb == Verb::Subscribe {
                ask.slots.iter().for_each(|slot| sink.asked(*slot));
            }
            self.subscriptions.asked(id, ask, answer_by, topics);
            return Some(request);
        }
        None
    }

    /// Has the dialect make a request that is small enough, or one for a single topic. `None`: the venue
    /// has no request that ends a subscription.
    fn fit<D: Dialect>(
        &mut self,
        dialect: &mut D,
        ask: &mut Ask,
        topics: &Topics,
    ) -> Option<(u64, Request)> {
        loop {
            let id = self.subscriptions.next_id();
            let list: Vec<_> = ask.slots.iter().map(|slot| topics.topic(*slot).clone()).collect();
            let request = match ask.verb {
                Verb::Subscribe => dialect.subscribe(id, &list),
                Verb::Unsubscribe => dialect.unsubscribe(id, &list)?,
            };
            let (len, most) = (request.len(), self.rules.frame_bytes);
            if len <= most || list.len() == 1 {
                return Some((id, request));
            }
            // As many as would fit if all were equally long, and fewer than before.
            let fitting = (list.len() as u128 * most as u128 / len as u128) as usize;
            self.subscriptions.shorten(ask, fitting.clamp(1, list.len() - 1));
        }
    }

    /// Returns what ended the session, once.
    pub(crate) fn poll_failure(&mut self) -> Option<Failed> {
        self.failure.take()
    }

    /// Returns when `handle_timeout` or `poll_request` is to be called next.
    pub(crate) fn poll_timeout(&self, now: Instant, topics: &Topics) -> Option<Instant> {
        if self.is_over {
            return None;
        }
        let request = self.due(now).map(|frame| self.pace.ready_at(frame, now));
        let beat = self.heartbeat.as_ref().map(|heartbeat| heartbeat.next.max(now));
        // While a frame is due but held back by a limit, its own time is the earliest for a beat too.
        let beat = beat.filter(|at| *at > now);
        let answer = self.answer_by().filter(|_| !self.is_held && self.paused_until.is_none());
        let answer = answer.map(|at| at.max(self.judge_from));
        [request, beat, answer, self.paused_until, topics.next_retry()].into_iter().flatten().min()
    }

    /// Has `poll_progress` return the progress once more.
    pub(crate) fn report_progress(&mut self) {
        self.is_changed = true;
    }

    /// Ends the session: nothing is sent any more.
    pub(crate) fn stop(&mut self) {
        self.is_over = true;
    }

    /// Returns how far the session has come, if that may have changed since the last call.
    pub(crate) fn poll_progress(&mut self, topics: &Topics) -> Option<Progress> {
        std::mem::take(&mut self.is_changed).then(|| self.progress(topics))
    }

    /// Returns how far the session has come.
    pub(crate) fn progress(&self, topics: &Topics) -> Progress {
        if self.stage != Stage::LoggedIn {
            return Progress::LoggingIn;
        }
        match self.subscriptions.left(topics) {
            0 => Progress::Active,
            left => Progress::Subscribing { left },
        }
    }

    /// Returns the subscriptions.
    pub(crate) fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Returns the number of requests that were sent.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Returns the time of the earliest deadline.
    fn answer_by(&self) -> Option<Instant> {
        let login = match self.stage {
            Stage::LoggingIn { answer_by } => Some(answer_by),
            _ => None,
        };
        let beat = self.heartbeat.as_ref().and_then(|heartbeat| heartbeat.answer_by);
        [login, beat, self.subscriptions.answer_by()].into_iter().flatten().min()
    }

    fn may_judge(&self, now: Instant) -> bool {
        !self.is_held && self.paused_until.is_none() && self.judge_from <= now
    }

    /// Gives the venue the whole time for an answer once more.
    fn grant(&mut self, now: Instant) {
        self.judge_from = after(now, self.rules.answer_within);
    }

    fn logged_in(&mut self) {
        self.stage = Stage::LoggedIn;
        self.is_changed = true;
    }

    fn fail(&mut self, failed: Failed) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.failure = Some(failed);
        }
    }

    fn pass_changes<T>(&mut self, topics: &mut Topics, sink: &mut impl Sink<T>) {
        while let Some(change) = self.subscriptions.poll_change() {
            self.is_changed = true;
            sink.change(change, topics);
        }
    }
}

#[cfg(test)]
mod tests;

//! One line of a shard: a supervised connection, and the session of its open socket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::budget::{Limit, Urgency};
use crate::command::status::{Phase, SourceId, Watch};
use crate::command::{self, Command};
use crate::connection::{Connection, Urgent};
use crate::error::Error;
use crate::feed::dialect::Dialect;
use crate::feed::dialling;
use crate::feed::event::{Cause, LineIs, WaitFor};
use crate::feed::input::{self, Opened, Turn};
use crate::feed::intake::{Intake, Reading};
use crate::feed::pace;
use crate::feed::plan::LinePlan;
use crate::feed::rotation::Leg;
use crate::feed::said::Refusal;
use crate::feed::sending::MAX_SENDING;
use crate::feed::session::{Failed, Progress, Session};
use crate::feed::silence::{Action, Finding};
use crate::feed::topic::LineId;
use crate::feed::topics::Topics;
use crate::feed::twins::Link;
use crate::feed::uplink::Uplink;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::message::View;

/// One line.
pub(crate) struct Line<D: Dialect> {
    pub(crate) id: LineId,
    pub(crate) source: SourceId,
    /// The newest opened socket, counted over all lines that have had this number.
    pub(crate) epoch: u64,
    /// The number of those that lines before have opened.
    earlier_epochs: u64,
    role: Role,
    /// Whether it was closed for good, because another one has its place.
    is_leaving: bool,
    /// Whether its connection has ended because another line takes its place, as its last event said.
    has_retired: bool,
    /// The figures of the connection.
    pub(crate) watch: Watch,
    /// The connection; `None` in a replay.
    uplink: Option<Uplink<D>>,
    plan: Arc<LinePlan<D>>,
    open: Option<Open<D>>,
    /// What was last reported.
    state: LineIs,
    /// What it is to the other lines while no socket is open.
    link: Link,
    /// Why the open socket is about to end.
    cause: Option<Cause>,
    /// Why the newest dial or socket failed.
    failure: Option<Cause>,
    /// How urgent the next dial is, as the connection was notified.
    urgency: Urgency,
    /// Whether the feed is paused.
    is_paused: bool,
    /// Whether the shard holds its lines.
    is_held: bool,
}

/// What a line was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// To carry topics that no line has carried. Until its first socket is open.
    First,
    /// To take the place of another line. Until it has.
    Replacement,
    /// To carry topics.
    Carrier,
}

/// The session of the open socket. All that lives as long as the socket is in here.
struct Open<D> {
    epoch: u64,
    session: Session,
    dialect: D,
    has_warned: bool,
    /// Whether every wanted topic was confirmed or refused when last looked.
    is_active: bool,
    since: Instant,
    last_data: Option<Instant>,
    /// The newest round trip of a ping.
    round_trip: Option<Duration>,
}

impl<D: Dialect> Line<D> {
    /// Creates a line with its connection; `None` in a replay.
    pub(crate) fn new(
        id: LineId,
        plan: Arc<LinePlan<D>>,
        (source, watch): (SourceId, Watch),
        uplink: Option<Uplink<D>>,
    ) -> Line<D> {
        Line {
            id,
            source,
            epoch: 0,
            earlier_epochs: 0,
            role: Role::First,
            is_leaving: false,
            has_retired: false,
            watch,
            uplink,
            plan,
            open: None,
            state: LineIs::Down { cause: None },
            link: Link::Dialling,
            cause: None,
            failure: None,
            urgency: Urgency::Start,
            is_paused: false,
            is_held: false,
        }
    }

    /// Returns the connection; `None` in a replay.
    pub(crate) fn uplink(&mut self) -> Option<&mut Uplink<D>> {
        self.uplink.as_mut()
    }

    /// Sends a command to the connection.
    fn send<C>(&self, command: C)
    where
        C: actix::Message + Send + 'static,
        C::Result: Send,
        Connection: actix::Handler<C>,
    {
        if let Some(uplink) = &self.uplink {
            uplink.connection.do_send(command);
        }
    }

    /// Sends a command that is about the open socket.
    fn instruct(&self, command: impl Command) {
        if let Some(handle) = self.uplink.as_ref().and_then(|uplink| uplink.handle.as_ref()) {
            handle.do_send(command);
        }
    }

    /// Begins the session of a socket.
    pub(crate) fn handle_open(
        &mut self,
        opened: Opened<D>,
        topics: &mut Topics,
        intake: &mut Intake<D::Item>,
    ) {
        let Opened { epoch, dial, at, wall, share } = opened;
        self.epoch = self.earlier_epochs + epoch;
        self.cause = None;
        if self.role == Role::First {
            self.role = Role::Carrier;
        }
        topics.set_open(self.id.line, true);
        topics.select(self.id.line);
        intake.open(self.id, self.epoch, at, wall, share);
        let mut session = Session::new(self.plan.rules.clone(), dial.heartbeat_every, topics, at);
        session.handle_hold(self.is_held, at);
        self.open = Some(Open {
            epoch,
            session,
            dialect: dial.dialect,
            has_warned: false,
            is_active: false,
            since: at,
            last_data: None,
            round_trip: None,
        });
    }

    /// Reads the messages of a batch. Returns a refusal if the dialect panicked.
    pub(crate) fn handle_batch<'m>(
        &mut self,
        (epoch, received): (u64, Instant),
        messages: impl ExactSizeIterator<Item = View<'m>>,
        topics: &mut Topics,
        intake: &mut Intake<D::Item>,
    ) -> Result<(), Refusal> {
        let line = self.id;
        let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) else {
            return Ok(());
        };
        let epoch = self.epoch;
        topics.select(line.line);
        open.last_data = Some(received);
        let Open { session, dialect, has_warned, .. } = open;
        session.handle_read();
        intake.outlet.reserve(messages.len());
        let mut reading = Reading::new(intake, line, epoch, received, has_warned);
        guarded(|| {
            for view in messages {
                reading.bytes = view.len();
                let said = dialect.read(view);
                session.handle_message::<D>(said, received, topics, &mut reading);
            }
        })
    }

    /// Counts a Ping or Pong that the connection sent.
    pub(crate) fn handle_control(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.session.handle_control(now);
        }
    }

    /// Notes a round trip, of a Ping that the connection sent.
    pub(crate) fn handle_round_trip(&mut self, round_trip: Duration, now: Instant) {
        self.handle_control(now);
        if let Some(open) = &mut self.open {
            open.round_trip = Some(round_trip);
        }
    }

    /// Notes a failure of the connection. Returns a refusal if no further dial makes sense.
    pub(crate) fn handle_error(
        &mut self,
        broken: input::Broken,
        intake: &mut Intake<D::Item>,
    ) -> Option<Refusal> {
        self.has_retired |= broken.has_retired;
        let cause = Cause::Connection(broken.error);
        if self.open.is_some() {
            // That of a session that failed is known already.
            self.cause.get_or_insert(cause);
        } else {
            intake.rotation.failed(self.id.line);
            self.report(LineIs::Down { cause: Some(cause) }, intake);
            self.wait(broken.after, broken.is_asked_by_venue, broken.at, intake);
        }
        broken.for_good.map(Refusal::for_good)
    }

    /// Ends the session of a socket.
    pub(crate) fn handle_close(
        &mut self,
        ended: input::Ended,
        topics: &mut Topics,
        intake: &mut Intake<D::Item>,
    ) {
        let input::Ended { by_peer, after, has_retired, at } = ended;
        self.has_retired |= has_retired;
        let asks = |(code, _): &(CloseCode, _)| matches!(code.value(), 1008 | 1009);
        let is_asked_by_venue = by_peer.as_ref().is_some_and(asks);
        let closed = |(code, reason)| Error::Closed(CloseFrame::new(code, reason).ok());
        let cause = self.cause.take().or_else(|| by_peer.map(closed).map(Cause::Connection));
        self.open = None;
        topics.set_open(self.id.line, false);
        let led = intake.close(self.id, topics, at);
        self.report_led(LineIs::Down { cause }, led, intake);
        self.wait(after, is_asked_by_venue, at, intake);
    }

    /// Notes a phase of the connection that no other event shows.
    pub(crate) fn handle_phase(&mut self, phase: Phase, intake: &mut Intake<D::Item>) {
        match phase {
            Phase::Connecting => {
                self.end_wait();
                self.link = Link::Dialling;
                self.report(LineIs::Dialling, intake);
            }
            Phase::Closing => self.report(LineIs::Draining, intake),
            Phase::Paused if self.is_paused => {
                self.end_wait();
                self.link = Link::Held;
                self.report(LineIs::Waiting { for_what: WaitFor::Resume }, intake);
            }
            _ => {}
        }
    }

    /// Sends what is due, and returns a refusal if the venue has refused the login for good.
    pub(crate) fn poll(
        &mut self,
        turn: &Turn<D::Item>,
        topics: &mut Topics,
        intake: &mut Intake<D::Item>,
    ) -> Option<Refusal> {
        let limit = turn.limits.iter().find(|(source, _)| *source == self.source);
        if let Some((_, limit)) = limit {
            self.report(LineIs::Waiting { for_what: WaitFor::Budget(*limit) }, intake);
        }
        let failed = match self.poll_session(turn, topics, intake) {
            Ok(failed) => failed?,
            Err(panicked) => Failed::Login(panicked),
        };
        self.failed(failed)
    }

    /// Polls the session. Returns what ended it, if anything did.
    fn poll_session(
        &mut self,
        turn: &Turn<D::Item>,
        topics: &mut Topics,
        intake: &mut Intake<D::Item>,
    ) -> Result<Option<Failed>, Refusal> {
        let (wait, now) = (self.plan.rules.answer_within, turn.now);
        topics.select(self.id.line);
        let Some(open) = &mut self.open else { return Ok(None) };
        let Open { session, dialect, has_warned, is_active, .. } = open;
        let (line, epoch, received) = (self.id, self.epoch, now);
        let mut reading = Reading::new(intake, line, epoch, received, has_warned);
        let epoch = open.epoch;
        if reading.intake.take_line_ended_silence(line) {
            session.report_progress();
        }
        session.handle_timeout(now, topics, &mut reading);
        let sent = turn.sent.iter().find(|sent| sent.source == self.source);
        let mut room = sent.map_or(MAX_SENDING, |sent| sent.room);
        if let Some(reason) = sent.and_then(|sent| sent.unsent.clone()) {
            session.handle_unsent(reason);
        }
        loop {
            session.handle_congestion(room == 0);
            let next = guarded(|| session.poll_request(dialect, now, topics, &mut reading))?;
            let Some(request) = next else { break };
            room = room.saturating_sub(1);
            // After a loss that is not delivered yet, the connection refuses it.
            if let Some(uplink) = &mut self.uplink {
                uplink.request(request, epoch, wait);
            }
        }
        let failed = session.poll_failure();
        let progress = session.poll_progress(topics);
        *is_active = progress.map_or(*is_active, |progress| progress == Progress::Active);
        match progress {
            Some(Progress::LoggingIn) => self.report(LineIs::LoggingIn, intake),
            Some(Progress::Subscribing { left }) => {
                self.report(LineIs::Subscribing { left }, intake);
            }
            // A wish that is withdrawn changes nothing about it.
            Some(Progress::Active) if matches!(self.state, LineIs::Active) => {}
            Some(Progress::Active) => {
                self.instruct(command::Settled { epoch });
                intake.rotation.activate(line.line, now);
                self.report(LineIs::Active, intake);
            }
            None => {}
        }
        Ok(failed)
    }

    /// Ends the socket of a session that failed. Returns a refusal for good.
    fn failed(&mut self, failed: Failed) -> Option<Refusal> {
        let refusal = match failed {
            Failed::Asked => {
                self.send(command::Reconnect);
                return None;
            }
            Failed::Login(refusal) | Failed::NoAnswer(refusal) => refusal,
        };
        let open = self.open.as_ref()?;
        let fail = command::Fail::new(open.epoch, refusal.reason.clone());
        self.cause = Some(Cause::Session(refusal.clone()));
        if !refusal.for_good {
            self.instruct(fail);
            return None;
        }
        self.plan
            .refused
            .fetch_or(dialling::refused_bit(self.plan.slot(self.id)), Ordering::Relaxed);
        self.instruct(fail.for_good());
        Some(refusal)
    }

    /// Acts on a silence. Returns a refusal if no further dial makes sense.
    pub(crate) fn handle_silence(
        &mut self,
        finding: Finding,
        topics: &Topics,
        intake: &mut Intake<D::Item>,
        now: Instant,
    ) -> Option<Refusal> {
        let action = match finding {
            Finding::Line { since, action, .. } => {
                self.report(LineIs::Silent { since }, intake);
                action
            }
            Finding::Topic { action, .. } => action,
        };
        match (action, finding) {
            (Action::Resubscribe, Finding::Topic { slot, .. }) => {
                self.session()?.handle_silence(slot, topics);
                intake.leave(self.id, slot, topics, now);
                None
            }
            (Action::Fail, _) => self.fail("no data has come for longer than the limit of silence"),
            _ => None,
        }
    }

    /// Ends the session for a reason of ours. Returns a refusal if no further dial makes sense.
    pub(crate) fn fail(&mut self, reason: impl Into<Arc<str>>) -> Option<Refusal> {
        self.session()?.stop();
        self.failed(Failed::NoAnswer(Refusal::for_now(reason)))
    }

    /// Dials at once, in place of the rest of a delay. A connection does so at most once a second.
    pub(crate) fn dial(&mut self) {
        self.link = Link::Dialling;
        self.send(command::Reconnect);
    }

    /// Counts its sockets on from those that lines of its number have opened before.
    pub(crate) fn count_from(&mut self, earlier: u64) {
        (self.earlier_epochs, self.epoch) = (earlier, earlier);
    }

    /// Makes it the line that is to take the place of another one.
    pub(crate) fn replace(&mut self) {
        self.role = Role::Replacement;
        self.set_twin(true);
    }

    /// Notes that it has taken the place of another line.
    pub(crate) fn take_over(&mut self) {
        self.role = Role::Carrier;
        if matches!(self.link, Link::Waiting { .. }) {
            self.dial();
        }
    }

    /// Begins or ends a time in which it is not dialled if its socket is lost, because another line takes its place.
    pub(crate) fn retire(&mut self, retires: bool) {
        self.uplink.iter().for_each(|uplink| uplink.retirement.set(retires));
    }

    /// Closes the connection for good, because another line has its place.
    pub(crate) fn leave(&mut self, deadline: Duration) {
        self.is_leaving = true;
        self.session().into_iter().for_each(Session::stop);
        self.close(deadline);
    }

    /// Whether another line has its place, so that its end is no refusal.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving || self.has_retired
    }

    /// Returns what it is for a rotation.
    pub(crate) fn leg(&self, may_rotate: bool) -> Leg {
        let for_what = WaitFor::Budget(Limit::Sockets);
        Leg {
            line: self.id.line,
            is_open: self.is_open(),
            is_active: self.open.as_ref().is_some_and(|open| open.is_active),
            waits_for_socket: matches!(self.state, LineIs::Waiting { for_what: it } if it == for_what),
            may_rotate: may_rotate && !self.is_leaving(),
        }
    }

    /// Returns why the newest dial or socket failed.
    pub(crate) fn failure(&self) -> Option<&Cause> {
        self.failure.as_ref()
    }

    /// Notes whether another line has an open socket: an outage is dialled before a twin where budgets are short.
    pub(crate) fn set_twin(&mut self, has_twin: bool) {
        let urgency = match self.role {
            Role::First => Urgency::Start,
            Role::Replacement => Urgency::Rotation,
            Role::Carrier if has_twin => Urgency::Twin,
            Role::Carrier => Urgency::Outage,
        };
        if std::mem::replace(&mut self.urgency, urgency) != urgency {
            self.send(Urgent(urgency));
        }
    }

    /// Returns what it is to the other lines.
    pub(crate) fn link(&self, now: Instant) -> Link {
        match self.link {
            _ if self.open.is_some() => Link::Open,
            // It waits for a budget.
            Link::Waiting { due } if due <= now => Link::Dialling,
            link => link,
        }
    }

    /// Returns since when the socket is open.
    pub(crate) fn open_since(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.since)
    }

    /// Returns when `poll` is to be called next.
    pub(crate) fn poll_timeout(&self, now: Instant, topics: &mut Topics) -> Option<Instant> {
        topics.select(self.id.line);
        let session = self.open.as_ref().and_then(|open| open.session.poll_timeout(now, topics));
        let waiting = self.uplink.as_ref().and_then(|uplink| uplink.waiting.poll_timeout());
        session.into_iter().chain(waiting).min()
    }

    /// Closes the connection until `resume`.
    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
        self.send(command::Pause);
    }

    pub(crate) fn resume(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            self.send(command::Resume);
        }
    }

    /// Stops the connection's delivery and reading, or continues it.
    pub(crate) fn hold(&mut self, holds: bool, now: Instant) {
        self.is_held = holds;
        self.send(command::Hold(holds));
        if let Some(session) = self.session() {
            session.handle_hold(holds, now);
        }
    }

    /// Closes the connection for good.
    pub(crate) fn close(&self, deadline: Duration) {
        self.send(command::Close::normal().deadline(deadline));
    }

    /// Whether a socket is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Returns the open session.
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        self.open.as_mut().map(|open| &mut open.session)
    }

    /// Returns when the last data came on the open socket.
    pub(crate) fn last_data(&self) -> Option<Instant> {
        self.open.as_ref().and_then(|open| open.last_data)
    }

    /// Returns the newest round trip of a ping on the open socket.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.open.as_ref().and_then(|open| open.round_trip)
    }

    /// Passes a changed wish to the open session.
    pub(crate) fn handle_wish(
        &mut self,
        slot: u32,
        topics: &mut Topics,
        intake: &mut Intake<D::Item>,
        now: Instant,
    ) {
        let (line, epoch) = (self.id, self.epoch);
        topics.select(line.line);
        if let Some(open) = &mut self.open {
            let has_warned = &mut open.has_warned;
            let mut reading = Reading::new(intake, line, epoch, now, has_warned);
            open.session.handle_wish(slot, topics, &mut reading);
        }
    }

    /// Returns what was last reported.
    pub(crate) fn state(&self) -> &LineIs {
        &self.state
    }

    fn wait(
        &mut self,
        after: Option<Duration>,
        is_asked_by_venue: bool,
        now: Instant,
        intake: &mut Intake<D::Item>,
    ) {
        self.link = Link::Held;
        if let Some(after) = after {
            let due = pace::after(now, after);
            self.uplink.iter_mut().for_each(|uplink| uplink.waiting.begin(due));
            if !is_asked_by_venue {
                self.link = Link::Waiting { due };
            }
            self.report(LineIs::Waiting { for_what: WaitFor::Delay(after) }, intake);
        }
    }

    fn end_wait(&mut self) {
        self.uplink.iter_mut().for_each(|uplink| uplink.waiting.end());
    }

    fn report(&mut self, state: LineIs, intake: &mut Intake<D::Item>) {
        self.report_led(state, 0, intake);
    }

    /// Reports a state, and the number of topics that the line leads no more.
    fn report_led(&mut self, state: LineIs, led: usize, intake: &mut Intake<D::Item>) {
        if let LineIs::Down { cause: Some(cause) } = &state {
            self.failure = Some(cause.clone());
        }
        self.state = state.clone();
        intake.push_line(self.id, self.epoch, state, led);
    }
}

/// Calls the dialect. A panic in it is final, as one in any closure of the application's.
fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Refusal> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Refusal::for_good("the dialect panicked"))
}

/// Returns the time, also where the clock is paused or simulated.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use crate::feed::dialect::DialMaker;
    use crate::feed::recipients::Recipients;
    use crate::feed::request::Request;
    use crate::feed::rotate::Rotate;
    use crate::feed::said::Said;
    use crate::feed::topic::{RequestId, ShardId, Topic};
    use crate::feed::wall::Wall;
    use crate::proto::message::View;
    use crate::testing::{Probe, Script, Server};

    struct Login;

    impl Dialect for Login {
        type Item = ();

        fn login(&mut self) -> Option<Request> {
            Some(Request::text("login"))
        }

        fn subscribe(&mut self, _: RequestId, _: &[Topic]) -> Request {
            Request::text("subscribe")
        }

        fn read<'m>(&mut self, _: View<'m>) -> Said<'m, ()> {
            Said::Nothing
        }
    }

    #[actix::test]
    async fn a_request_of_a_lost_session_is_not_sent_on_the_next_socket() {
        let server = Server::start([Script::accept().drop_connection(), Script::accept()]);
        let (probe, url) = (Probe::new(), server.url());
        let make: DialMaker<Login> = Arc::new(move |_| {
            let dial = Login.at(url.clone());
            Box::pin(async move { Ok(dial) })
        });
        let plan = LinePlan {
            make,
            customize: Arc::new(|builder| builder.proxy_from_env(false)),
            budgets: Vec::new(),
            rules: Arc::default(),
            lines: 1,
            rotate: Rotate::default(),
            refused: Arc::default(),
            recording: None,
        };
        let (id, plan) = (LineId::new(ShardId(1), 0), Arc::new(plan));
        let started = Uplink::start(id, &plan, now(), |builder| probe.attach(builder)).unwrap();
        let mut line = Line::new(id, plan, started.0, Some(started.1));
        let mut topics = Topics::default();
        let mut intake = Intake::new(Recipients::default(), None, 1, now());
        let open = probe.next::<event::Open>().await;
        let (epoch, at, wall, share) = (open.epoch, now(), Wall::Clock, 0.0);
        let dial = line.uplink().unwrap().opened(open.connection).unwrap();
        let opened = Opened { epoch, dial, at, wall, share };
        line.handle_open(opened, &mut topics, &mut intake);
        probe.next_where(|open: &event::Open| open.epoch == 2).await;
        // The line has not been notified of it: the login is that of the first session.
        line.poll(&Turn::new(now(), Wall::Clock), &mut topics, &mut intake);
        let connection = line.uplink().unwrap().connection.clone();
        connection.send(command::Send::text("end")).await.unwrap().unwrap();
        assert_eq!(server.next_message().await.as_text(), Some("end"));
    }
}

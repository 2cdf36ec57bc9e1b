//! The actor: what it owns, and how it carries out what the supervision decides.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::Instrument;

use crate::backoff::Schedule;
use crate::budget::{Permit, Urgency, Waiting};
use crate::closure;
use crate::command::status::{Gauge, Outcome, SourceId, Watch};
use crate::command::{self, Closed, Handle, QueuedCommand, SendError};
use crate::connection::handle_queue::{HandleQueue, Shared};
use crate::connection::live::{Live, Opening};
use crate::connection::reply::{ReplySlot, reply_to};
use crate::connection::requests::Attached;
use crate::connection::send_queue::SendQueue;
use crate::connection::trace::{record, traced};
use crate::connection::warnings::Warnings;
use crate::delivery::{Delivery, Handlers};
use crate::dial::{Clock, Dialled, Opened, SharedJar, dial};
use crate::error::{Error, Stage};
use crate::event;
use crate::options::{Attempt, Plan};
use crate::pinger::Signal;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::session::By;
use crate::record::Track;
use crate::supervision::{self, Ask, Due, Effect, Effects, Loss, Supervision};

/// A WebSocket connection that stays: it owns the socket, and comes back with backoff.
///
/// Built by [`Connection::builder`]. It lives as long as an `Addr` of it does; when the last one is
/// dropped it closes with 1001 and ends.
pub struct Connection {
    /// The target, and how to reach it.
    pub(super) plan: Arc<Plan>,
    /// Cookies for later dials, if there are any.
    pub(super) jar: Option<SharedJar>,
    /// The number of this connection.
    pub(super) source: SourceId,
    /// Commands that were sent through handles.
    pub(super) handle_queue: HandleQueue<Item>,
    /// Figures that other threads read.
    pub(super) watch: Watch,
    /// The queue of events to the handlers.
    pub(super) delivery: Delivery,
    /// The questions that are asked over the connection, if the builder was given any.
    pub(super) requests: Option<Box<Attached>>,
    /// Messages that wait for room in the send buffer; `None` while there is none.
    pub(super) send_queue: Option<Box<SendQueue>>,
    /// The host of the newest dial, if `url_with` or a redirect led to another than the plan's.
    pub(super) other_host: Option<Box<str>>,
    /// The state of the connection, and what follows it.
    pub(super) supervision: Supervision,
    /// What that state makes the task poll.
    pub(super) activity: Activity,
    /// The permits of the dial that is under way or of the open socket, if there are budgets.
    pub(super) permit: Option<Box<Permit>>,
    /// The reply to `ConnectionBuilder::run`, sent at the end of the run.
    pub(super) run_reply: Option<oneshot::Sender<Outcome>>,
    /// The replies to each `command::Close`, sent at the end of the run.
    pub(super) close_replies: Vec<ReplySlot<Outcome>>,
    /// Whether sockets record when frames leave, since `command::Ledger` asked for it.
    pub(super) keeps_ledger: bool,
    /// How urgent the next dial is; `None` if only its own past decides.
    pub(super) urgency: Option<Urgency>,
    /// Where the connection is recorded, if it is.
    pub(super) track: Option<Track>,
    /// Limits for warnings that may repeat.
    pub(super) warnings: Warnings,
}

/// What reaches the connection beside its mailbox.
pub(super) enum Item {
    Send(QueuedCommand<command::Send>),
    /// Any other command.
    Command(Box<dyn AnyCommand>),
    /// What the pinger found to be due.
    Signal(Signal),
}

/// A command of any kind, with the channel for its answer.
pub(super) trait AnyCommand: Send {
    /// Executes the command, unless the caller has dropped its future, and answers.
    fn execute(self: Box<Self>, connection: &mut Connection, ctx: &mut actix::Context<Connection>);

    /// Answers that the actor has ended.
    fn refuse(self: Box<Self>);
}

/// What the connection's task polls in the current state of its supervision.
pub(super) enum Activity {
    /// Nothing: the connection is paused, closed, or not started.
    Idle,
    /// The context is to be stopped, so that the supervisor starts the next one.
    Restart,
    /// A dial begins in this poll.
    DialNow,
    /// A dial begins when the timer fires.
    DialLater(Pin<Box<Sleep>>),
    /// A dial begins when the budgets permit it.
    AwaitPermit(Box<Waiting>),
    /// The one dial that is under way.
    Dialling(Pin<Box<dyn Future<Output = Dialled>>>),
    /// The open socket.
    Live(Box<Live>),
}

impl Connection {
    pub(super) fn new(
        plan: Arc<Plan>,
        schedule: Schedule,
        source: SourceId,
        handle_queue: HandleQueue<Item>,
        handlers: Handlers,
        requests: Option<Box<Attached>>,
        run_reply: Option<oneshot::Sender<Outcome>>,
    ) -> Connection {
        let (overflow, room) = (plan.options.overflow, plan.options.read_ahead);
        let delivery = Delivery::new(handlers, overflow, room);
        let options = plan.options.clone();
        let watch = handle_queue.shared().watch().clone();
        let track = options.recorder.as_ref().map(|recorder| {
            let name = options.name.clone();
            recorder.track(
                name.unwrap_or_else(|| format!("connection {source}").into()),
                source.value(),
            )
        });
        if let Some(requests) = &requests {
            requests.attach(Handle::new(handle_queue.shared().clone()));
        }
        Connection {
            plan,
            jar: None,
            source,
            handle_queue,
            watch,
            delivery,
            requests,
            send_queue: None,
            other_host: None,
            supervision: Supervision::new(source, options, schedule, Instant::now()),
            activity: Activity::Idle,
            permit: None,
            run_reply,
            close_replies: Vec::new(),
            keeps_ledger: false,
            urgency: None,
            track,
            warnings: Warnings::default(),
        }
    }

    /// Carries out what the supervision decided, in its order: one arm for each effect.
    pub(super) fn carry_out(&mut self, effects: Effects) {
        // A loss by the server's Close frame is no error.
        let mut has_failed = false;
        for effect in effects {
            match effect {
                Effect::State(state) => {
                    record!(debug, self, phase = %state.phase, epoch = state.epoch, "phase");
                    self.watch.set_phase(state.phase);
                    self.record("state", state.epoch, &state);
                    self.delivery.push(state);
                }
                Effect::Error(event) => {
                    let event::Error { epoch, attempt, error, next, .. } = &event;
                    record!(warn, self, epoch, attempt, %error, %next, "failed");
                    self.watch.failed(error.stage());
                    has_failed = true;
                    self.record("error", *epoch, &event);
                    self.delivery.push(event);
                }
                Effect::Close(close) => {
                    self.log_close(&close);
                    self.record("close", close.epoch, &close);
                    if !has_failed && close.by == By::Remote {
                        self.watch.failed("closed");
                    }
                    if let Some(requests) = &mut self.requests {
                        requests.closed();
                    }
                    self.delivery.push(close);
                }
                Effect::Stopped(stopped) => {
                    self.requests = None;
                    self.record("stopped", stopped.epoch, &stopped);
                    reply_to(self.run_reply.take(), stopped.outcome.clone());
                    reply_to_all(mem::take(&mut self.close_replies), &stopped.outcome);
                    self.delivery.push(stopped);
                }
                Effect::Schedule => self.schedule_dial(),
                Effect::Dial(attempt) => self.dial(attempt),
                Effect::CloseSocket { frame, deadline } => {
                    if let Activity::Live(live) = &mut self.activity {
                        live.close(frame, deadline, Instant::now());
                    }
                }
                Effect::Cancel => self.cancel(),
                Effect::Restart => self.activity = Activity::Restart,
            }
        }
    }

    /// Drops the dial that is under way, or the timer of the next one.
    fn cancel(&mut self) {
        self.permit = None;
        // A dial holds futures of the application's.
        closure::drop_contained(mem::replace(&mut self.activity, Activity::Idle));
    }

    /// Logs the end of a socket, with both Close frames, and what was not sent.
    fn log_close(&self, close: &event::Close) {
        let event::Close { epoch, attempt, code, clean, by, .. } = close;
        let peer = close.peer.as_deref();
        let peer_code = peer.map(|peer| peer.code.value());
        let peer_reason = peer.map(|peer| &*peer.reason);
        let reason = &*close.reason;
        record!(
            info, self, epoch, attempt, %code, reason, clean, %by, peer_code, peer_reason, "closed"
        );
        let (messages, bytes) = (close.unsent_messages, close.unsent_bytes);
        if messages > 0 {
            record!(warn, self, epoch, messages, bytes, "accepted messages were not sent");
        }
    }

    /// Returns the host of the newest dial: that of the URL, until a dial has ended.
    pub(super) fn host(&self) -> &str {
        self.other_host.as_deref().unwrap_or(&self.plan.target.host)
    }

    /// Arranges that the next dial begins when it is due.
    pub(super) fn schedule_dial(&mut self) {
        // Without a runtime, which is gone where the system ends, a timer would panic.
        let has_runtime = tokio::runtime::Handle::try_current().is_ok();
        let next = self.supervision.next_dial().filter(|_| has_runtime);
        if next == Some(Due::AtOnce) && matches!(self.activity, Activity::AwaitPermit(_)) {
            // It keeps its place in the queue.
            return;
        }
        self.activity = match next {
            None => Activity::Idle,
            Some(Due::AtOnce) => Activity::DialNow,
            Some(Due::At(at)) => Activity::DialLater(Box::pin(sleep_until(at))),
        };
    }

    /// Begins a dial.
    fn dial(&mut self, attempt: Attempt) {
        self.watch.set(Gauge::Attempts, self.supervision.dials());
        let jar = self.jar.get_or_insert_default().clone();
        let clock = Clock::new(Stage::Dns, self.supervision.since());
        // All that is logged within the dial, also by TLS, has these fields.
        let name = self.plan.options.name.as_deref();
        let span =
            tracing::error_span!("dial", source = %self.source, name, attempt = attempt.number);
        let dial = dial(self.plan.clone(), attempt, jar, clock);
        self.activity = Activity::Dialling(Box::pin(dial.instrument(span)));
    }

    /// Makes the open socket of a dial that succeeded, and delivers its events.
    pub(super) fn opened(&mut self, opened: Opened) {
        if let Some(permit) = &mut self.permit {
            permit.opened();
        }
        let handshake = opened.handshake;
        // The clock was read when the last stage ended, in this poll.
        let now = self.supervision.since() + handshake.timings.sum();
        let supervision::Opened { attempts, outage, effects } = self.supervision.opened(now);
        let epoch = self.supervision.epoch();
        self.watch.set_epoch(epoch);
        self.jar.take_if(|jar| jar.borrow().is_empty());
        let attempt = self.supervision.attempt();
        record!(info, self, epoch, attempt, attempts, "open");
        let options = self.plan.options.clone();
        let (link, leftover) = (opened.link, opened.leftover);
        let codec = options.codec(opened.deflate, self.delivery.by_fragment());
        let codec = traced(codec, self.source, epoch);
        let opening = Opening { at: now, handshake, attempts, outage };
        let shared: Weak<Shared<Item>> = Arc::downgrade(self.handle_queue.shared());
        let mut live = Live::new(epoch, opening, link, leftover, codec, options, shared);
        if self.keeps_ledger {
            live.keep_ledger();
        }
        if let Some(requests) = &self.requests {
            live.take_answers_by(requests.opened(epoch));
        }
        if let Some(track) = &self.track {
            live.record(track);
        }
        self.watch.stamp(Gauge::Opened, now.into_std());
        self.activity = Activity::Live(Box::new(live));
        self.carry_out(effects);
        let Some(open) = self.open_event() else {
            return;
        };
        if epoch > 1 {
            self.delivery.push(event::Reconnect(open.clone()));
        }
        self.record("open", epoch, &open);
        self.delivery.push(open);
    }

    /// Returns how the open socket was opened.
    pub(super) fn opening(&self) -> Option<&Opening> {
        if let Activity::Live(live) = &self.activity { Some(live.opening()) } else { None }
    }

    /// Returns the `Open` event of the open socket, also for late subscribers.
    pub(super) fn open_event(&self) -> Option<event::Open> {
        let opening = self.opening()?;
        Some(event::Open {
            source: self.source,
            epoch: self.supervision.epoch(),
            name: self.plan.options.name.clone(),
            connection: Handle::new(self.handle_queue.shared().clone()),
            handshake: opening.handshake.clone(),
            attempts: opening.attempts,
            outage: opening.outage.as_deref().cloned(),
        })
    }

    /// Reports a failed dial or an ended socket: the one way that every loss takes.
    pub(super) fn lost(&mut self, loss: Loss, now: Instant) {
        self.end_permit(&loss);
        let effects = self.supervision.lost(loss, now, &mut rand::rng());
        self.carry_out(effects);
    }

    /// Ends the dial or the socket in whose poll code of the application's panicked, where no other place could catch
    /// it: a verifier of TLS, the `Drop` of a message's owner or of a future.
    #[cold]
    pub(super) fn panicked(&mut self) {
        self.handle_queue.is_executing = false;
        let text = "code of the application's panicked within the connection";
        record!(error, self, "{text}");
        let error = Error::Handler(text.into());
        let loss = match mem::replace(&mut self.activity, Activity::Idle) {
            Activity::Live(mut live) => {
                let ((closure, unsent), opened) = (live.closure(), live.opening().at);
                closure::drop_contained(live);
                Loss::Socket { error: Some(error), closure, unsent, opened }
            }
            other => {
                closure::drop_contained(other);
                Loss::Dial(error)
            }
        };
        self.lost(loss, Instant::now());
    }

    /// Asks the supervision for what a command wants.
    ///
    /// # Errors
    /// When the connection is closed, or closing for good.
    pub(super) fn ask(&mut self, ask: Ask) -> Result<(), Closed> {
        let effects = self.supervision.asked(ask, Instant::now())?;
        self.carry_out(effects);
        Ok(())
    }

    /// Closes with 1001, since the last `Addr` was dropped. Called in each poll until the end.
    pub(super) fn close_orphaned(&mut self) {
        let frame = going_away();
        let deadline = self.plan.options.close_timeout;
        // An error says that the connection is closed already.
        let _ = self.ask(Ask::Close { frame: Some(frame), deadline });
    }

    /// Stores the figures that `Watch` reads, and warns of dropped messages.
    pub(super) fn store_figures(&mut self) {
        let dropped = self.delivery.dropped();
        if self.warnings.dropped_more(dropped) {
            record!(warn, self, dropped, "handlers are too slow");
        }
        let watch = &self.watch;
        watch.set(Gauge::QueuedEvents, self.delivery.events() as u64);
        watch.set(Gauge::QueuedBytes, self.delivery.cost() as u64);
        watch.set(Gauge::Dropped, dropped);
        watch.set(Gauge::HandlersEnded, self.delivery.ended_count().into());
        watch.set(Gauge::Unheard, self.delivery.unheard_count().into());
        let unsent = if let Activity::Live(live) = &self.activity { live.unsent() } else { 0 };
        watch.set(Gauge::UnsentBytes, unsent as u64);
    }
}

/// Returns the Close frame of a connection that ends without a command.
fn going_away() -> CloseFrame {
    CloseFrame::new(CloseCode::GOING_AWAY, "").expect("1001 may be sent")
}

/// Sends the outcome to each `command::Close` that waits for it.
fn reply_to_all(replies: Vec<ReplySlot<Outcome>>, outcome: &Outcome) {
    for reply in replies {
        reply_to(reply.take(), outcome.clone());
    }
}

impl Drop for Connection {
    /// Ends the run where the actix system, the arbiter or the `LocalSet` ends first: sends a Close frame if the socket
    /// takes it at once, and replies to each command that waits for its reply.
    fn drop(&mut self) {
        // After a panic of the connection's own code the state of the socket is not known.
        if let Activity::Live(live) = &mut self.activity
            && !std::thread::panicking()
        {
            live.close_now(going_away());
        }
        self.handle_queue.close();
        for queued in self.send_queue.take().into_iter().flat_map(|queue| queue.queue) {
            queued.reply.refused(SendError::Closed(queued.send.payload), queued.rest);
        }
        let replies = mem::take(&mut self.close_replies);
        if !replies.is_empty() {
            reply_to_all(replies, &self.supervision.closed_now());
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("source", &self.source)
            .field("phase", &self.supervision.phase())
            .field("epoch", &self.supervision.epoch())
            .finish_non_exhaustive()
    }
}

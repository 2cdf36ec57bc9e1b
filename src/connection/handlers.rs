//! What each command does: its handler translates, asks, acts.

use actix::MessageResult;
use tokio::time::Instant;

use crate::command::status::{Gauge, Outcome, Status};
use crate::command::{self, Accepted, Closed, SendError, SentFrames, Unsent};
use crate::connection::actor::{Activity, Connection};
use crate::connection::commands::Execute;
use crate::connection::live::Live;
use crate::connection::reply::{Reply, ReplySlot};
use crate::connection::trace::record;
use crate::delivery::Registered;
use crate::error::Error;
use crate::pinger::{Action, Signal};
use crate::proto::message::{ControlPayload, Payload};
use crate::supervision::Ask;

impl Connection {
    /// Counts a refused message, and warns of it at most once a second: a caller that uses `do_send` gets
    /// no error.
    pub(super) fn count_refused(&mut self, err: &SendError) {
        self.watch.add(Gauge::SendsRefused, 1);
        if self.warnings.refused_send() {
            let refused = self.watch.figures().sends_refused;
            record!(warn, self, refused, %err, "a message was refused");
        }
    }
}

impl Execute<command::Send> for Connection {
    type Answer = Reply<Result<Accepted, SendError>>;

    #[inline]
    fn execute(&mut self, send: command::Send) -> Self::Answer {
        self.send_or_queue(send)
    }
}

impl Execute<command::SendBatch> for Connection {
    type Answer = Reply<Result<Accepted, Unsent>>;

    fn execute(&mut self, batch: command::SendBatch) -> Self::Answer {
        self.send_batch(batch)
    }
}

impl Execute<command::Ping> for Connection {
    type Answer = Result<Accepted, SendError>;

    fn execute(&mut self, ping: command::Ping) -> Self::Answer {
        self.control(ping.payload, Live::ping)
    }
}

impl Execute<command::Pong> for Connection {
    type Answer = Result<Accepted, SendError>;

    fn execute(&mut self, pong: command::Pong) -> Self::Answer {
        self.control(pong.payload, Live::pong)
    }
}

impl Connection {
    /// Sends a control frame for the application.
    fn control(
        &mut self,
        payload: ControlPayload,
        send: impl FnOnce(&mut Live, ControlPayload) -> Result<(), SendError>,
    ) -> Result<Accepted, SendError> {
        match &mut self.activity {
            Activity::Live(live) if live.can_send() => {
                send(live, payload).map(|()| Accepted::new(self.supervision.epoch()))
            }
            _ => Err(self.refusal()(Payload::Binary(payload.into_bytes()))),
        }
    }
}

impl Execute<command::Close> for Connection {
    type Answer = Reply<Outcome>;

    fn execute(&mut self, close: command::Close) -> Self::Answer {
        let deadline = close.deadline.unwrap_or(self.plan.options.close_timeout);
        // An error says that the connection is closed already.
        let _ = self.ask(Ask::Close { frame: close.frame, deadline });
        if let Some(outcome) = self.supervision.outcome() {
            return Reply::Now(outcome.clone());
        }
        // A last slot that is still empty belongs to a close that no caller awaits.
        self.close_replies.pop_if(|slot| slot.borrow().is_none());
        let slot = ReplySlot::default();
        self.close_replies.push(slot.clone());
        Reply::Later(slot)
    }
}

impl Execute<command::Reconnect> for Connection {
    type Answer = Result<(), Closed>;

    fn execute(&mut self, _: command::Reconnect) -> Self::Answer {
        self.ask(Ask::Reconnect)
    }
}

impl Execute<command::Pause> for Connection {
    type Answer = Result<(), Closed>;

    fn execute(&mut self, _: command::Pause) -> Self::Answer {
        self.ask(Ask::Pause)
    }
}

impl Execute<command::Resume> for Connection {
    type Answer = Result<(), Closed>;

    fn execute(&mut self, _: command::Resume) -> Self::Answer {
        self.ask(Ask::Resume)
    }
}

impl Execute<command::Fail> for Connection {
    type Answer = bool;

    fn execute(&mut self, fail: command::Fail) -> bool {
        let command::Fail { epoch, reason, verdict } = fail;
        let is_open = matches!(
            &self.activity, Activity::Live(live) if live.epoch() == epoch && !live.is_closing()
        );
        if is_open {
            let error = Error::Session { reason, retry: verdict };
            self.end_socket(Some(error), Some(Instant::now()));
        }
        is_open
    }
}

impl Execute<command::Settled> for Connection {
    type Answer = bool;

    fn execute(&mut self, settled: command::Settled) -> bool {
        let is_open = self.supervision.settled(settled.epoch);
        if let Some(permit) = self.permit.as_ref().filter(|_| is_open) {
            permit.settled();
        }
        is_open
    }
}

impl Execute<command::Hold> for Connection {
    type Answer = ();

    fn execute(&mut self, hold: command::Hold) {
        // What a release lets through is delivered later in this poll.
        self.delivery.hold(hold.0);
    }
}

impl Execute<command::Ledger> for Connection {
    type Answer = MessageResult<command::Ledger>;

    fn execute(&mut self, _: command::Ledger) -> Self::Answer {
        self.keeps_ledger = true;
        let sent = match &mut self.activity {
            Activity::Live(live) => {
                live.keep_ledger();
                live.ledger()
            }
            _ => None,
        };
        let epoch = self.supervision.epoch();
        MessageResult(sent.unwrap_or(SentFrames { epoch, ..SentFrames::default() }))
    }
}

impl Execute<command::Status> for Connection {
    type Answer = MessageResult<command::Status>;

    fn execute(&mut self, _: command::Status) -> Self::Answer {
        let now = Instant::now();
        self.check_handlers();
        self.store_figures();
        MessageResult(Status {
            source: self.source,
            name: self.plan.options.name.clone(),
            phase: self.supervision.phase(),
            waiting_for: self.watch.waiting_for(),
            epoch: self.supervision.epoch(),
            attempt: self.supervision.attempt(),
            since: now.duration_since(self.supervision.since()),
            handshake: self.opening().map(|opening| opening.handshake.clone()),
            figures: self.watch.figures_at(now.into_std()),
            blocked: self.delivery.blocked_since().map(|since| now.duration_since(since)),
            handlers: self.delivery.handler_count(),
            last_close: self.supervision.last_closure(),
            last_error: self.supervision.last_error(),
        })
    }
}

impl Execute<command::Watch> for Connection {
    type Answer = MessageResult<command::Watch>;

    fn execute(&mut self, _: command::Watch) -> Self::Answer {
        MessageResult(self.watch.renewed())
    }
}

impl<M: Registered> Execute<command::Subscribe<M>> for Connection {
    type Answer = Result<(), Closed>;

    fn execute(&mut self, subscribe: command::Subscribe<M>) -> Self::Answer {
        if self.supervision.outcome().is_some() {
            return Err(Closed);
        }
        let open = self.open_event();
        self.delivery.subscribe(subscribe.0, open);
        Ok(())
    }
}

impl<M: Registered> Execute<command::Unsubscribe<M>> for Connection {
    type Answer = bool;

    fn execute(&mut self, gone: command::Unsubscribe<M>) -> Self::Answer {
        self.delivery.unsubscribe(&gone.0)
    }
}

impl Connection {
    /// Carries out what the pinger found to be due for a socket, unless that socket is gone.
    pub(super) fn apply_signal(&mut self, signal: Signal) {
        let now = Instant::now();
        if let Action::Ping = signal.action {
            self.check_handlers();
        }
        let live = match &mut self.activity {
            Activity::Live(live) if live.epoch() == signal.epoch => live,
            _ => return,
        };
        match signal.action {
            Action::Ping => {
                if live.can_send() && live.beat().is_ok() {
                    self.watch.stamp(Gauge::LastPing, now.into_std());
                }
            }
            Action::Silent(silent) => live.silence(silent),
            Action::Orphaned => live.adopt(),
        }
    }
}

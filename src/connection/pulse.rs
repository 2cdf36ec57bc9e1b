//! The life of the actor in its context: its start, its end, and the one future in between, which
//! borrows the actor and polls what its fields hold.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Supervised};
use tokio::time::Instant;

use crate::closure;
use crate::command::status::{Gauge, Phase, WaitCause};
use crate::connection::actor::{Activity, Connection};
use crate::dial::Dialled;
use crate::error::Error;
use crate::supervision::Loss;

/// No dial begins while more events than this wait for the handlers.
const MAX_EVENTS_BEFORE_DIAL: usize = 32;

impl Actor for Connection {
    type Context = Context<Connection>;

    fn started(&mut self, ctx: &mut Context<Connection>) {
        self.schedule_dial();
        ctx.spawn(Pulse);
    }

    fn stopped(&mut self, ctx: &mut Context<Connection>) {
        // Where the supervisor restarts the actor an `Addr` is left, and the queue is kept.
        if !ctx.connected() {
            self.delivery.flush();
        }
    }
}

impl Supervised for Connection {
    fn restarting(&mut self, _ctx: &mut Context<Connection>) {
        self.activity = Activity::Idle;
    }
}

/// Polled after the mailbox, in every poll of the context.
struct Pulse;

impl ActorFuture<Connection> for Pulse {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        connection: &mut Connection,
        ctx: &mut Context<Connection>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        // Without this a panic of the application's code, in one of the few places where nothing else can catch it, would
        // end the actor without `Stopped`.
        closure::contain(|| connection.poll_pulse(ctx, task)).unwrap_or_else(|| {
            if connection.supervision.outcome().is_some() {
                return Poll::Ready(());
            }
            connection.panicked();
            task.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

impl Connection {
    /// Does in order what is due: commands, events, the dial or the socket.
    ///
    /// One function, because the order of its steps is the contract: see `docs/architecture.md`, "The
    /// one future".
    fn poll_pulse(
        &mut self,
        ctx: &mut Context<Connection>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        // Before the close that follows the last `Addr`, as commands in the mailbox are.
        self.poll_handle_queue(ctx, task.waker());
        if !ctx.connected() {
            self.close_orphaned();
        }
        let yielded = self.delivery.poll(task);
        if yielded && self.delivery.is_exclusive() {
            return Poll::Pending;
        }
        while self.poll_activity(ctx, task).is_ready() {}
        self.poll_send_queue(task);
        if let Some(requests) = &mut self.requests {
            requests.poll_deadlines(task);
        }
        if !yielded {
            self.delivery.poll(task);
        }
        if let Activity::Live(live) = &self.activity
            && (live.can_resume(&self.delivery) || live.must_disconnect(&self.delivery))
        {
            // The queue has room again, or the handlers are too slow for this socket: no mailbox wakes
            // the task for either.
            task.waker().wake_by_ref();
        }
        if self.delivery.has_ended() {
            self.report_ended();
            // That may have ended the run.
            task.waker().wake_by_ref();
        }
        self.store_figures();
        // The activity first: in most polls a socket is open.
        let is_idle = matches!(self.activity, Activity::Idle);
        if !is_idle || self.supervision.phase() != Phase::Closed {
            return Poll::Pending;
        }
        if !ctx.connected() {
            self.delivery.flush();
            return Poll::Ready(());
        }
        if self.delivery.is_empty() {
            self.delivery.drop_recipients();
        }
        Poll::Pending
    }

    /// Polls the current activity and does what it leads to. `Ready` asks for another call.
    ///
    /// One match, so that what each activity leads to stands beside it; the socket's arm is the hot path
    /// and stays inline.
    fn poll_activity(
        &mut self,
        ctx: &mut Context<Connection>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        match &mut self.activity {
            Activity::Idle => Poll::Pending,
            Activity::Restart => {
                ctx.stop();
                Poll::Pending
            }
            Activity::DialNow | Activity::DialLater(_) => {
                // Handlers that fall behind get no further socket: the delivery wakes the task when
                // they have caught up.
                if self.delivery.events() > MAX_EVENTS_BEFORE_DIAL {
                    self.watch.set_waiting_for(WaitCause::Handlers);
                    return Poll::Pending;
                }
                self.watch.set_waiting_for(WaitCause::Delay);
                if let Activity::DialLater(timer) = &mut self.activity {
                    ready!(timer.as_mut().poll(task));
                }
                // Last of all, so that no permit is held while something else is waited for.
                if self.awaits_permit() {
                    return Poll::Ready(());
                }
                let effects = self.supervision.due(Instant::now());
                self.carry_out(effects);
                Poll::Ready(())
            }
            Activity::AwaitPermit(_) => {
                ready!(self.poll_permit(task));
                let effects = self.supervision.due(Instant::now());
                self.carry_out(effects);
                Poll::Ready(())
            }
            Activity::Dialling(dial) => {
                let Dialled { result, other_host } = ready!(dial.as_mut().poll(task));
                self.other_host = other_host;
                match result {
                    Ok(opened) => self.opened(opened),
                    Err(error) => {
                        self.activity = Activity::Idle;
                        self.lost(Loss::Dial(error), Instant::now());
                    }
                }
                Poll::Ready(())
            }
            Activity::Live(live) => {
                let polled = live.poll(&mut self.delivery, &self.watch, self.source, task);
                if live.is_closing() && self.supervision.phase() == Phase::Open {
                    let effects = self.supervision.closing(Instant::now());
                    self.carry_out(effects);
                }
                let error = ready!(polled);
                self.end_socket(error, None);
                Poll::Ready(())
            }
        }
    }

    /// Drops the open socket and reports its loss. `now` is the time, unless the socket was polled just before.
    pub(super) fn end_socket(&mut self, error: Option<Error>, now: Option<Instant>) {
        let Activity::Live(mut live) = mem::replace(&mut self.activity, Activity::Idle) else {
            return;
        };
        let ((closure, unsent), opened) = (live.closure(), live.opening().at);
        let now = now.unwrap_or_else(|| live.now());
        // First of all, so that nothing that follows can reach the old socket. It may hold a transport of the
        // application's.
        closure::drop_contained(live);
        self.watch.set(Gauge::Opened, 0);
        self.lost(Loss::Socket { error, closure, unsent, opened }, now);
    }
}

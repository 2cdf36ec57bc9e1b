//! The life of the actor in its context: its start, its end, and the one future in between, which
//! borrows the actor and polls what its fields hold.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Supervised};
use tokio::time::Instant;

use crate::command::status::Phase;
use crate::connection::actor::{Activity, Connection};
use crate::dial::Dialled;
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

    /// One function, because the order of its steps is the contract: see `docs/architecture.md`, "The
    /// one future".
    fn poll(
        self: Pin<&mut Self>,
        connection: &mut Connection,
        ctx: &mut Context<Connection>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        // Before the close that follows the last `Addr`, as commands in the mailbox are.
        connection.poll_handle_queue(ctx, task.waker());
        if !ctx.connected() {
            connection.close_orphaned();
        }
        let yielded = connection.delivery.poll(task);
        if yielded && connection.delivery.is_exclusive() {
            return Poll::Pending;
        }
        while connection.poll_activity(ctx, task).is_ready() {}
        connection.poll_send_queue(task);
        if !yielded {
            connection.delivery.poll(task);
        }
        if let Activity::Live(live) = &connection.activity
            && (live.can_resume(&connection.delivery) || live.must_disconnect(&connection.delivery))
        {
            // The queue has room again, or the handlers are too slow for this socket: no mailbox wakes
            // the task for either.
            task.waker().wake_by_ref();
        }
        connection.store_figures();
        // The activity first: in most polls a socket is open.
        let is_idle = matches!(connection.activity, Activity::Idle);
        if !is_idle || connection.supervision.phase() != Phase::Closed {
            return Poll::Pending;
        }
        if !ctx.connected() {
            connection.delivery.flush();
            return Poll::Ready(());
        }
        if connection.delivery.is_empty() {
            connection.delivery.drop_recipients();
        }
        Poll::Pending
    }
}

impl Connection {
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
                    return Poll::Pending;
                }
                if let Activity::DialLater(timer) = &mut self.activity {
                    ready!(timer.as_mut().poll(task));
                }
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
                let Activity::Live(live) = mem::replace(&mut self.activity, Activity::Idle) else {
                    return Poll::Pending;
                };
                let (closure, opened, now) = (live.closure(), live.opening().at, live.now());
                // First of all, so that nothing that follows can reach the old socket.
                drop(live);
                self.lost(Loss::Socket { error, closure, opened }, now);
                Poll::Ready(())
            }
        }
    }
}

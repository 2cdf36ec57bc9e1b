//! The one future in a connection's context. It borrows the actor, and moves all that can move.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use actix::{ActorFuture, Context};

use crate::command::status::Phase;
use crate::connection::{BACKLOG, Connection, Due, Ended, Life};

/// Polled after the mailbox, in every poll of the context.
pub(super) struct Pulse;

impl ActorFuture<Connection> for Pulse {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        connection: &mut Connection,
        ctx: &mut Context<Connection>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        // As the mailbox does, it comes before the end that the last `Addr` leaves.
        connection.poll_lane(ctx, task.waker());
        if !ctx.connected() {
            connection.orphaned();
        }
        let turned = connection.delivery.poll(task);
        if turned && connection.delivery.is_brief() {
            return Poll::Pending;
        }
        while connection.poll_life(ctx, task).is_ready() {}
        connection.poll_waiting(task);
        if !turned {
            connection.delivery.poll(task);
        }
        if let Life::Live(live) = &connection.life
            && (live.can_resume(&connection.delivery) || live.must_disconnect(&connection.delivery))
        {
            // The handlers took all that had stopped the reading, or nothing more: no mailbox will
            // wake us.
            task.waker().wake_by_ref();
        }
        connection.store_figures();
        if !matches!(connection.life, Life::Closed) {
            return Poll::Pending;
        }
        if !ctx.connected() {
            connection.delivery.hand_over();
            return Poll::Ready(());
        }
        if connection.delivery.is_empty() {
            connection.delivery.release();
        }
        Poll::Pending
    }
}

impl Connection {
    /// Moves from one phase to the next, if it is time. `Ready` asks for another look.
    fn poll_life(&mut self, ctx: &mut Context<Connection>, task: &mut TaskContext<'_>) -> Poll<()> {
        match &mut self.life {
            Life::Waiting(Due::Later) | Life::Paused | Life::Closed => Poll::Pending,
            Life::Waiting(due) => {
                // Who does not keep up is not sent more: delivery wakes us when it has moved.
                if self.delivery.events() > BACKLOG {
                    return Poll::Pending;
                }
                if let Due::At(timer) = due {
                    ready!(timer.as_mut().poll(task));
                }
                self.begin_dial();
                Poll::Ready(())
            }
            Life::Dialling(dial) => match ready!(dial.as_mut().poll(task)) {
                Ok(opened) => {
                    self.opened(opened);
                    Poll::Ready(())
                }
                Err(err) => {
                    self.life = Life::Waiting(Due::Later);
                    self.lost(Some(err), None, ctx);
                    Poll::Pending
                }
            },
            Life::Live(live) => {
                let polled = live.poll(&mut self.delivery, &self.watch, self.source, task);
                if live.is_closing() {
                    self.enter(Phase::Closing);
                }
                let error = ready!(polled);
                let Life::Live(live) = std::mem::replace(&mut self.life, Life::Waiting(Due::Later))
                else {
                    return Poll::Pending;
                };
                let (closure, opened, at) = (live.closure(), live.opened(), live.now());
                let ended = Ended { error, closure, opened, at };
                drop(live);
                self.lost(ended.error.clone(), Some(ended), ctx);
                Poll::Pending
            }
        }
    }
}

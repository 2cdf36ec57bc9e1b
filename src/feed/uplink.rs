//! The connection behind a line.

use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use actix::Addr;

use crate::budget::Limit;
use crate::command::Handle;
use crate::command::status::{SourceId, Watch};
use crate::connection::{Connection, ConnectionBuilder};
use crate::error::ConfigError;
use crate::feed::dialect::{Dial, Dialect};
use crate::feed::dialling::{self, Made};
use crate::feed::input;
use crate::feed::plan::LinePlan;
use crate::feed::request::Request;
use crate::feed::retirement::Retirement;
use crate::feed::sending::Sending;
use crate::feed::topic::LineId;
use crate::feed::waiting::Waiting;

/// The connection of a line, and what the line learns from it beside its events.
pub(crate) struct Uplink<D> {
    pub(super) connection: Addr<Connection>,
    made: Arc<Made<D>>,
    pub(super) retirement: Retirement,
    pub(super) waiting: Waiting,
    /// The newest socket, for commands that are about it.
    pub(super) handle: Option<Handle>,
    sending: Sending,
    /// Why a request cannot be sent, until the next turn.
    unsent: Option<String>,
}

/// The number of a connection, and its figures.
pub(crate) type Shown = (SourceId, Watch);

impl<D: Dialect> Uplink<D> {
    /// Starts the connection of a line on this thread. `register` adds the recipients of its events.
    pub(crate) fn start(
        id: LineId,
        plan: &LinePlan<D>,
        now: Instant,
        register: impl FnOnce(ConnectionBuilder) -> ConnectionBuilder,
    ) -> Result<(Shown, Uplink<D>), ConfigError> {
        let (made, retirement) = (Arc::new(Made::new()), Retirement::default());
        let (refused, retired, slot) = (plan.refused.clone(), retirement.clone(), plan.slot(id));
        let may_not_dial = move || dialling::is_refused(&refused, slot) || retired.ends();
        let builder = dialling::builder(&plan.customize, &plan.budgets, may_not_dial);
        let builder = dialling::with_maker(
            builder.name(format!("line {id}")),
            slot,
            &plan.make,
            &plan.refused,
            &made,
        );
        let (source, watch) = (builder.source(), builder.watch());
        let waiting = Waiting::new(watch.clone(), now);
        let connection = register(builder).start()?;
        let (handle, sending, unsent) = (None, Sending::default(), None);
        let uplink = Uplink { connection, made, retirement, waiting, handle, sending, unsent };
        Ok(((source, watch), uplink))
    }

    /// Notes an opened socket. Returns the dial that led to it.
    pub(crate) fn opened(&mut self, handle: Handle) -> Option<Dial<D>> {
        (self.handle, self.sending, self.unsent) = (Some(handle), Sending::default(), None);
        self.made.lock().dial.take()
    }

    /// Returns why no further dial makes sense, if the application's closure said so at the last one.
    pub(crate) fn take_failure(&self) -> Option<Arc<str>> {
        self.made.lock().failure.take().map(|failure| failure.reason)
    }

    /// Whether the connection has ended because another line takes its place.
    pub(crate) fn has_retired(&self) -> bool {
        self.retirement.has_ended()
    }

    /// Sends a request on the socket of this epoch.
    pub(super) fn request(&mut self, request: Request, epoch: u64, wait: Duration) {
        if let Some(handle) = &self.handle {
            self.sending.send(request, epoch, wait, handle);
        }
    }

    /// Returns the limit of a budget that the connection waits for, if it is another one than at the last call.
    pub(crate) fn poll_limit(&mut self, now: Instant) -> Option<Limit> {
        self.waiting.poll(now)
    }

    /// Returns what became of the requests before a turn, unless all were sent.
    pub(crate) fn poll_sent(
        &mut self,
        source: SourceId,
        task: &mut Context<'_>,
    ) -> Option<input::Sent> {
        if self.sending.is_empty() && self.unsent.is_none() {
            return None;
        }
        let unsent = self.unsent.take().or_else(|| self.sending.poll(task));
        let (room, is_usual) = (self.sending.room(), self.sending.is_empty() && unsent.is_none());
        (!is_usual).then_some(input::Sent { source, room, unsent })
    }

    /// Has the task woken when a request that was made in a turn is answered.
    pub(crate) fn wake_when_sent(&mut self, task: &mut Context<'_>) {
        let room = self.sending.room();
        let unsent = self.sending.poll(task);
        if unsent.is_some() || self.sending.room() != room {
            // It was answered at once: for the next turn.
            self.unsent = self.unsent.take().or(unsent);
            task.waker().wake_by_ref();
        }
    }
}

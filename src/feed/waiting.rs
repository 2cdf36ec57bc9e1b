//! What a line waits for before it dials, where the connection has no event for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix::Addr;

use crate::budget::Limit;
use crate::command;
use crate::command::status::{WaitCause, Watch};
use crate::connection::Connection;

/// A look at the connection from time to time, from the end of its delay until it dials.
pub(crate) struct Waiting {
    watch: Watched,
    /// When to look next; `None` unless it is about to dial.
    next: Option<Instant>,
    /// What was found at the last look.
    found: Option<Limit>,
}

enum Watched {
    Asked(Pin<Box<actix::dev::Request<Connection, command::Watch>>>),
    Known(Watch),
    Ended,
}

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

impl Waiting {
    pub(crate) fn new(connection: &Addr<Connection>, now: Instant) -> Waiting {
        let watch = Watched::Asked(Box::pin(connection.send(command::Watch)));
        Waiting { watch, next: Some(now + INTERVAL), found: None }
    }

    /// Begins to look when a delay has passed.
    pub(crate) fn begin(&mut self, at: Instant) {
        (self.next, self.found) = (Some(at + INTERVAL), None);
    }

    /// Ends it: the connection dials, or does not want to.
    pub(crate) fn end(&mut self) {
        (self.next, self.found) = (None, None);
    }

    /// Returns the limit of a budget that the connection waits for, if it is another one than at the last look.
    pub(crate) fn poll(&mut self, now: Instant, task: &mut Context<'_>) -> Option<Limit> {
        if let Watched::Asked(request) = &mut self.watch
            && let Poll::Ready(answer) = request.as_mut().poll(task)
        {
            self.watch = answer.map_or(Watched::Ended, Watched::Known);
        }
        self.next = self.next.map(|at| if at <= now { now + INTERVAL } else { at });
        let Watched::Known(watch) = &self.watch else { return None };
        self.next?;
        let Some(WaitCause::Budget(limit)) = watch.waiting_for() else { return None };
        (self.found.replace(limit) != Some(limit)).then_some(limit)
    }

    /// Returns when to call `poll` next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }
}

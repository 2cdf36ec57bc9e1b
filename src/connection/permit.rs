//! The budgets of a connection: when they let a dial begin, and what its end means to them.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix::Handler;

use crate::budget::{self, Failure, Urgency};
use crate::command::status::{Gauge, WaitCause};
use crate::connection::actor::{Activity, Connection};
use crate::connection::trace::record;
use crate::error::{Error, ProxyError, Stage};
use crate::proto::session::By;
use crate::supervision::Loss;

impl Connection {
    /// Starts to wait for a permit of each budget. Returns `false` if the dial needs none, or has them.
    pub(super) fn awaits_permit(&mut self) -> bool {
        let budgets = &self.plan.options.budgets;
        if budgets.is_empty() || self.permit.is_some() {
            return false;
        }
        let is_first = self.supervision.epoch() == 0;
        let urgency = if is_first { Urgency::Start } else { Urgency::Outage };
        let urgency = self.urgency.unwrap_or(urgency);
        let waiting = budget::permit(budgets.clone(), urgency);
        self.activity = Activity::AwaitPermit(Box::new(waiting));
        true
    }

    /// Polls the wait for permits, and notes what it waits for.
    pub(super) fn poll_permit(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let Activity::AwaitPermit(waiting) = &mut self.activity else {
            return Poll::Ready(());
        };
        let before = waiting.limit();
        if let Poll::Ready(permit) = Pin::new(&mut **waiting).poll(task) {
            self.permit = Some(Box::new(permit));
            return Poll::Ready(());
        }
        if let Some(limit) = waiting.limit().filter(|limit| before != Some(*limit)) {
            self.watch.set_waiting_for(WaitCause::Budget(limit));
            if before.is_none() {
                self.watch.add(Gauge::BudgetWaits, 1);
            }
            record!(debug, self, %limit, "waiting for a budget");
        }
        Poll::Pending
    }

    /// Reports the end of a dial or a socket to the budgets.
    pub(super) fn end_permit(&mut self, loss: &Loss) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        match loss {
            Loss::Dial(error) => permit.failed(failure(error)),
            Loss::Socket { error, closure, .. } => {
                // A socket that we closed ends with the drop of its permit.
                if error.is_some() || closure.by != By::Local {
                    permit.lost();
                }
            }
        }
    }
}

/// Says how urgent the next dial is, beside what others do. A dial that waits in the queues of budgets moves forward when
/// it becomes more urgent.
#[derive(Clone, Copy, Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Urgent(pub(crate) Urgency);

impl Handler<Urgent> for Connection {
    type Result = ();

    fn handle(&mut self, Urgent(urgency): Urgent, _: &mut actix::Context<Connection>) {
        let before = self.urgency.replace(urgency).unwrap_or(Urgency::Start);
        if urgency < before && matches!(self.activity, Activity::AwaitPermit(_)) {
            self.awaits_permit();
        }
    }
}

/// Returns what a failed dial means to the budgets.
fn failure(error: &Error) -> Failure {
    let by_server = match error {
        Error::Url(_) | Error::Headers(_) | Error::Handler(_) => false,
        Error::Timeout(stage) => *stage != Stage::Handler,
        // Other connections may have other credentials.
        Error::Refused(refusal) => {
            refusal.status != 401 && !(refusal.status == 403 && refusal.authorized)
        }
        Error::Proxy(ProxyError::Auth(_)) => false,
        Error::Proxy(ProxyError::Status(refusal)) => refusal.status != 407,
        _ => true,
    };
    let refusal = if let Error::Refused(refusal) = error { Some(refusal) } else { None };
    Failure {
        answered: matches!(error, Error::Refused(_) | Error::Handshake(_) | Error::Redirect(_)),
        // Whatever the verdict: a server that bans a client may say so with any status.
        retry_after: refusal.and_then(|refusal| refusal.retry_after()),
        by_server,
    }
}

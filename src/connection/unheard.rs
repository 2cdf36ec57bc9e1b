//! Handlers that have ended: what is logged of them, and when that ends the run.

use tokio::time::Instant;

use crate::connection::actor::Connection;
use crate::connection::trace::record;
use crate::delivery::Ended;
use crate::error::Error;

impl Connection {
    /// Looks for handlers that have ended, in case no event finds that out.
    pub(super) fn check_handlers(&mut self) {
        self.delivery.drop_ended();
        self.report_ended();
    }

    /// Logs handlers that have ended since the last call. Ends the run if events have no handler left, and
    /// the builder asked for that.
    pub(super) fn report_ended(&mut self) {
        let Some(Ended { kinds, unheard }) = self.delivery.take_ended() else {
            return;
        };
        if self.supervision.is_ending() {
            // With the run, and after a `Close` of the application's, handlers end too.
            return;
        }
        if unheard.is_empty() {
            record!(warn, self, kinds, "a handler has ended");
            return;
        }
        record!(error, self, kinds, unheard, "the last handler of an event has ended");
        if self.plan.options.end_when_unheard {
            let error = Error::Unheard(unheard.into());
            let effects = self.supervision.unheard(error, Instant::now());
            self.carry_out(effects);
        }
    }
}

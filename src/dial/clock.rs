//! The stage that a dial is in, and how long each has taken.

use std::cell::Cell;

use tokio::time::Instant;

use crate::command::status::Timings;
use crate::error::Stage;

/// The clock of one dial. Cells, because the stages and the deadline around them share it.
pub(crate) struct Clock {
    /// When the dial has to end; `None` for never.
    deadline: Option<Instant>,
    stage: Cell<Stage>,
    /// When the current stage began.
    since: Cell<Instant>,
    /// How long the stages before it took. A stage that occurs again, after a redirect, adds up.
    spent: Cell<Timings>,
}

impl Clock {
    /// Begins the first stage.
    pub(crate) fn new(stage: Stage, now: Instant) -> Clock {
        let (stage, since) = (Cell::new(stage), Cell::new(now));
        Clock { deadline: None, stage, since, spent: Cell::default() }
    }

    /// Sets when the dial has to end.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Clock {
        Clock { deadline, ..self }
    }

    /// Returns when the dial has to end; `None` for never.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the current stage.
    pub(crate) fn get(&self) -> Stage {
        self.stage.get()
    }

    /// Returns when the current stage began.
    pub(crate) fn since(&self) -> Instant {
        self.since.get()
    }

    /// Ends the current stage and begins another.
    pub(crate) fn set(&self, stage: Stage) {
        let now = Instant::now();
        self.spent.set(self.timings(now));
        self.since.set(now);
        self.stage.set(stage);
    }

    /// Returns how long each stage has taken so far, the current one included.
    pub(crate) fn timings(&self, now: Instant) -> Timings {
        let mut spent = self.spent.get();
        let part = match self.stage.get() {
            Stage::Handler => &mut spent.handler,
            Stage::Dns => &mut spent.dns,
            Stage::Connect => &mut spent.connect,
            Stage::Proxy => &mut spent.proxy,
            Stage::Tls => &mut spent.tls,
            Stage::Upgrade => &mut spent.upgrade,
            // Not a stage of a dial.
            Stage::Write => return spent,
        };
        *part = Some(part.unwrap_or_default() + now.duration_since(self.since.get()));
        spent
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stages_follow_one_another_and_one_that_occurs_again_adds_up() {
        let seconds = Duration::from_secs;
        let clock = Clock::new(Stage::Dns, Instant::now());
        for (stage, lasted) in [(Stage::Connect, 1), (Stage::Dns, 2), (Stage::Upgrade, 4)] {
            advance(seconds(lasted)).await;
            clock.set(stage);
        }
        advance(seconds(8)).await;
        let (dns, connect) = (Some(seconds(5)), Some(seconds(2)));
        let expected = Timings { dns, connect, upgrade: Some(seconds(8)), ..Timings::default() };
        assert_eq!(clock.timings(Instant::now()), expected);
    }
}

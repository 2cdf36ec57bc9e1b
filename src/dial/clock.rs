//! The stage that a dial is in, and how long each took.

use std::cell::Cell;

use tokio::time::Instant;

use crate::command::status::Timings;
use crate::error::Stage;

/// A dial's clock.
pub(crate) struct Clock {
    stage: Cell<Stage>,
    since: Cell<Instant>,
    spent: Cell<Timings>,
}

impl Clock {
    /// Begins with this stage.
    pub(crate) fn new(stage: Stage, now: Instant) -> Clock {
        Clock { stage: Cell::new(stage), since: Cell::new(now), spent: Cell::default() }
    }

    /// The stage that is under way.
    pub(crate) fn get(&self) -> Stage {
        self.stage.get()
    }

    /// When the stage that is under way began.
    pub(crate) fn since(&self) -> Instant {
        self.since.get()
    }

    /// Ends the stage that is under way and begins another.
    pub(crate) fn set(&self, stage: Stage) {
        self.set_at(Instant::now(), stage);
    }

    /// As [`set`](Clock::set), where the stage that is under way had next to nothing to do: the time
    /// is not asked for.
    pub(crate) fn pass(&self, stage: Stage) {
        self.set_at(self.since.get(), stage);
    }

    fn set_at(&self, now: Instant, stage: Stage) {
        self.spent.set(self.timings(now));
        self.since.set(now);
        self.stage.set(stage);
    }

    /// What each stage took so far, also the one that is under way.
    pub(crate) fn timings(&self, now: Instant) -> Timings {
        let mut spent = self.spent.get();
        let part = match self.stage.get() {
            Stage::Handler => &mut spent.handler,
            Stage::Dns => &mut spent.dns,
            Stage::Connect => &mut spent.connect,
            Stage::Proxy => &mut spent.proxy,
            Stage::Tls => &mut spent.tls,
            Stage::Upgrade => &mut spent.upgrade,
            // No part of a dial.
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
    async fn stages_follow_one_another_and_one_that_is_passed_takes_nothing() {
        let seconds = Duration::from_secs;
        let clock = Clock::new(Stage::Dns, Instant::now());
        advance(seconds(1)).await;
        clock.pass(Stage::Connect);
        advance(seconds(2)).await;
        clock.set(Stage::Upgrade);
        advance(seconds(4)).await;
        let (dns, connect) = (Some(Duration::ZERO), Some(seconds(3)));
        let expected = Timings { dns, connect, upgrade: Some(seconds(4)), ..Timings::default() };
        assert_eq!(clock.timings(Instant::now()), expected);
    }
}

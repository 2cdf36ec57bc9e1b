//! How many shares a process has, counted from its events.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::nats::share::ShareState;
use crate::nats::shares::event::ShareEvent;

/// How many shares there are, and what this process is for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareFigures {
    /// The shares of the feed, over all processes.
    pub all: u32,
    /// Those that this process owns.
    pub owned: u32,
    /// Those that it stands by for.
    pub standby: u32,
    /// Those that it asks for.
    pub claimed: u32,
}

/// The states of the shares of a process.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: u32,
    states: BTreeMap<u32, ShareState>,
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how many shares there are.
    pub(crate) fn set_all(&self, shares: u32) {
        self.lock().all = shares;
    }

    /// Notes an event.
    pub(crate) fn handle(&self, event: &ShareEvent) {
        match event {
            ShareEvent::State { share, state: ShareState::Released } => {
                self.lock().states.remove(share);
            }
            ShareEvent::State { share, state } => {
                self.lock().states.insert(*share, *state);
            }
            ShareEvent::Topics { .. } | ShareEvent::Refused { .. } => {}
        }
    }

    /// Counts.
    pub(crate) fn figures(&self) -> ShareFigures {
        let state = self.lock();
        let mut figures = ShareFigures { all: state.all, ..ShareFigures::default() };
        for state in state.states.values() {
            match state {
                ShareState::Owned { .. } => figures.owned += 1,
                ShareState::Standby => figures.standby += 1,
                ShareState::Claimed => figures.claimed += 1,
                ShareState::Released => {}
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_by_what_they_are_now() {
        let counted = Counted::default();
        counted.set_all(5);
        let owned = ShareState::Owned { fence: 7 };
        for (share, state) in [
            (1, ShareState::Claimed),
            (1, owned),
            (2, owned),
            (3, ShareState::Standby),
            (4, ShareState::Claimed),
            (5, ShareState::Standby),
            (2, ShareState::Released),
            (5, ShareState::Standby),
        ] {
            counted.handle(&ShareEvent::State { share, state });
        }
        let expected = ShareFigures { all: 5, owned: 1, standby: 2, claimed: 1 };
        assert_eq!(counted.figures(), expected);
    }
}

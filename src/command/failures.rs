//! How often a connection failed, by the stage that failed.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::STAGES;

/// How often a connection failed since its start: dials that failed and sockets that were lost, by the stage that
/// failed. Read by [`Watch::failures`](crate::Watch::failures).
///
/// After each of them the connection dials again, unless it ends. A socket that we closed is no failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures([u32; STAGES.len()]);

impl Failures {
    /// Returns each stage, named as by [`Error::stage`](crate::Error::stage), with its failures. The stage `closed` is a
    /// Close frame from the server.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        STAGES.iter().copied().zip(self.0.iter().copied())
    }
}

/// The counts of a running connection.
#[derive(Debug, Default)]
pub(crate) struct FailureCounts([AtomicU32; STAGES.len()]);

impl FailureCounts {
    /// Counts a failure. Only the connection's thread does.
    pub(crate) fn add(&self, stage: &str) {
        if let Some(at) = STAGES.iter().position(|other| *other == stage) {
            let count = &self.0[at];
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Failures {
        Failures(std::array::from_fn(|at| self.0[at].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_of_an_error_is_counted() {
        let source = include_str!("../error.rs");
        let body =
            source.split_once("pub fn stage(&self)").unwrap().1.split_once("\n    }\n").unwrap().0;
        let stages: Vec<&str> =
            body.split("=> \"").skip(1).map(|it| it.split('"').next().unwrap()).collect();
        assert_eq!(stages, STAGES);
    }

    #[test]
    fn a_failure_is_counted_under_its_stage() {
        let counts = FailureCounts::default();
        ["io", "closed", "io", "nowhere"].into_iter().for_each(|stage| counts.add(stage));
        let failures = counts.read();
        let counted: Vec<_> = failures.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("io", 2), ("closed", 1)]);
    }
}

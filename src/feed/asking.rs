//! The snapshots that a shard has asked for by the closure of `Resync::with`, until they are answered.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::feed::dialect::Failure;
use crate::feed::resync::SnapshotAsk;
use crate::feed::sequence::Sequence;
use crate::feed::snapshot::AskMaker;
use crate::feed::topic::Topic;

/// The asks that are under way, at most [`MAX_ASKING`]. They end when it is dropped.
pub(crate) struct Asking<T: 'static> {
    make: AskMaker<T>,
    tasks: JoinSet<Answer<T>>,
}

/// What one ask has led to.
pub(crate) struct Answer<T> {
    pub(crate) topic: Topic,
    pub(crate) ask: SnapshotAsk,
    pub(crate) result: Result<(Sequence, T), Failure>,
}

/// The number of asks that are under way at most. At it no further one is made.
const MAX_ASKING: usize = 256;
/// How long one ask may take.
const TIMEOUT: Duration = Duration::from_secs(60);

impl<T: 'static> Asking<T> {
    pub(crate) fn new(make: AskMaker<T>) -> Asking<T> {
        Asking { make, tasks: JoinSet::new() }
    }

    /// Whether a further ask may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.tasks.len() < MAX_ASKING
    }

    /// Calls the closure.
    pub(crate) fn ask(&mut self, topic: Topic, ask: SnapshotAsk) {
        let make = self.make.clone();
        self.tasks.spawn_local(async move {
            let result = timeout(TIMEOUT, make(topic.clone())).await;
            let too_late = |_| Err(Failure::new(format_args!("no answer within {TIMEOUT:?}")));
            Answer { topic, ask, result: result.unwrap_or_else(too_late) }
        });
    }

    /// Returns an answer that has come. One of a closure that panicked never comes: the wait for it ends.
    pub(crate) fn poll(&mut self, task: &mut Context<'_>) -> Option<Answer<T>> {
        loop {
            match self.tasks.poll_join_next(task) {
                Poll::Ready(Some(Ok(answer))) => {
                    if let Answer { topic, result: Err(failure), .. } = &answer {
                        tracing::warn!(%topic, reason = %failure, "there is no snapshot");
                    }
                    return Some(answer);
                }
                Poll::Ready(Some(Err(_))) => {
                    tracing::error!("the closure of Resync::with has panicked");
                }
                Poll::Ready(None) | Poll::Pending => return None,
            }
        }
    }
}

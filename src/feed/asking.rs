//! The snapshots that a shard has asked for by the closure of `Resync::with`, until they are answered.

use std::collections::VecDeque;
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
    /// `None` in a replay, where the answers come from the recording.
    make: Option<AskMaker<T>>,
    tasks: JoinSet<Answer<T>>,
    /// The number of asks without an answer.
    open: usize,
    /// Answers that came while a turn was under way, for the next one.
    early: VecDeque<Option<Answer<T>>>,
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
    pub(crate) fn new(make: Option<AskMaker<T>>) -> Asking<T> {
        Asking { make, tasks: JoinSet::new(), open: 0, early: VecDeque::new() }
    }

    /// Whether a further ask may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.open < MAX_ASKING
    }

    /// Calls the closure.
    pub(crate) fn ask(&mut self, topic: Topic, ask: SnapshotAsk) {
        self.open += 1;
        let Some(make) = self.make.clone() else { return };
        self.tasks.spawn_local(async move {
            let result = timeout(TIMEOUT, make(topic.clone())).await;
            let too_late = |_| Err(Failure::new(format_args!("no answer within {TIMEOUT:?}")));
            Answer { topic, ask, result: result.unwrap_or_else(too_late) }
        });
    }

    /// Notes that a shard handles an answer.
    pub(crate) fn answered(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Returns an answer that has come; `None` in it from a closure that panicked. The wait for that ends.
    pub(crate) fn poll(&mut self, task: &mut Context<'_>) -> Option<Option<Answer<T>>> {
        self.early.pop_front().or_else(|| self.poll_tasks(task))
    }

    /// Has the task woken when an ask that was made in a turn is answered.
    pub(crate) fn wake_when_answered(&mut self, task: &mut Context<'_>) {
        while let Some(answer) = self.poll_tasks(task) {
            self.early.push_back(answer);
            task.waker().wake_by_ref();
        }
    }

    fn poll_tasks(&mut self, task: &mut Context<'_>) -> Option<Option<Answer<T>>> {
        match self.tasks.poll_join_next(task) {
            Poll::Ready(Some(Ok(answer))) => {
                if let Answer { topic, result: Err(failure), .. } = &answer {
                    tracing::warn!(%topic, reason = %failure, "there is no snapshot");
                }
                Some(Some(answer))
            }
            Poll::Ready(Some(Err(_))) => {
                tracing::error!("the closure of Resync::with has panicked");
                Some(None)
            }
            Poll::Ready(None) | Poll::Pending => None,
        }
    }
}

//! Limits that many connections share: how many dials in a window of time, and how many sockets.

mod queue;
mod quota;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::budget::queue::{Place, Queue, QuotaId, Turn, Wakers};
use crate::budget::quota::{DialId, Quota};

pub(crate) use crate::budget::queue::Urgency;
pub(crate) use crate::budget::quota::Failure;
pub use crate::budget::quota::Limit;
pub use crate::budget::quota::room::Room;

/// A limit of dials and sockets that all connections share that have a clone of it.
///
/// Servers limit clients by address, key or account, not by connection: with
/// [`ConnectionBuilder::budget`](crate::ConnectionBuilder::budget) any number of connections, on any
/// threads, stay within one limit. A dial that has no permit waits, in
/// [`Phase::Waiting`](crate::Phase::Waiting).
///
/// | rule | |
/// |---|---|
/// | order | connections whose socket was lost before those that open their first; else first come, first served |
/// | several budgets | a dial takes a permit of each at once, or waits with none; those behind it that need fewer may pass |
/// | what counts | a dial counts from its beginning until `window` after its outcome is known, since the server counts when it arrives |
/// | what does not | a dial without an HTTP reply, or that was cancelled: it is given back |
/// | `Retry-After` | if one dial is refused with it, no dial begins for that time, at most one hour |
/// | failures | after three in a row, one dial at a time begins, until a socket was open for 5 s. After each that fails, the next waits for longer: 1 s, 2 s, 4 s, up to 10 s |
///
/// A socket that is lost within 5 s is a failed dial. One that we close is not, nor one that
/// [`Settled`](crate::command::Settled) was sent to, and neither is a dial whose
/// credentials were refused (401, or 403 if it had any) or whose `url_with` or `headers_with` failed.
///
/// Use one budget for each server: where two servers share one, failures of one slow down the dials to the other.
///
/// ```
/// use std::time::Duration;
///
/// use actix_ws_client::{Budget, Connection};
///
/// let second = Duration::from_secs(1);
/// let budget = Budget::dials(300, 300 * second).and(3, second).sockets(100);
/// let books = Connection::builder("wss://venue.example/books").budget(&budget);
/// let trades = Connection::builder("wss://venue.example/trades").budget(&budget);
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Registered>);

/// The budgets of the process. One lock for all, so that a dial can take permits of several at once.
static QUEUE: Mutex<Queue> = Mutex::new(Queue::new());

/// A budget in the queue. It is removed with its last clone.
struct Registered(QuotaId);

impl Budget {
    /// Creates a budget of at most `count` dials in any span of `window`. A count of zero counts as one; a window of
    /// zero is no limit; one of more than 24 hours counts as 24 hours.
    #[must_use]
    pub fn dials(count: u32, window: Duration) -> Budget {
        let mut quota = Quota::default();
        quota.limit_dials(count, window);
        Budget(Arc::new(Registered(queue(|queue| (queue.add(quota), Wakers::default())))))
    }

    /// Adds another limit of dials, as in [`dials`](Budget::dials). All limits hold. Applies to all clones.
    #[must_use]
    pub fn and(self, count: u32, window: Duration) -> Budget {
        self.change(|quota| quota.limit_dials(count, window))
    }

    /// Sets the most sockets that are open, or being opened, at once. Zero counts as one. Default: any number. Applies
    /// to all clones.
    #[must_use]
    pub fn sockets(self, count: u32) -> Budget {
        self.change(|quota| quota.limit_sockets(count))
    }

    /// Returns how many dials may begin now and how many sockets may be opened. A `Retry-After` and failed dials, for
    /// which dials wait too, are not considered.
    pub fn room(&self) -> Room {
        let now = Instant::now().into_std();
        queue(|queue| (queue.room(self.id(), now), Wakers::default()))
    }

    fn change(self, change: impl FnMut(&mut Quota)) -> Budget {
        let now = Instant::now().into_std();
        queue(|queue| ((), queue.change(self.id(), now, change)));
        self
    }

    fn id(&self) -> QuotaId {
        self.0.0
    }
}

/// Equal if one is a clone of the other.
impl PartialEq for Budget {
    fn eq(&self, other: &Budget) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Budget {}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.id()).finish()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        queue(|queue| (queue.remove(self.0), Wakers::default()));
    }
}

/// Calls a closure with the queue, and wakes tasks once the lock is released.
fn queue<T>(call: impl FnOnce(&mut Queue) -> (T, Wakers)) -> T {
    let (value, wakers) = call(&mut QUEUE.lock().unwrap_or_else(PoisonError::into_inner));
    wakers.wake();
    value
}

/// Waits for a permit of each of these budgets. To drop the future leaves the queue.
pub(crate) struct Waiting {
    budgets: Arc<[Budget]>,
    urgency: Urgency,
    /// `None` before the first poll and after the last.
    place: Option<Place>,
    /// The timer until the next time to ask.
    timer: Option<Pin<Box<Sleep>>>,
    limit: Option<Limit>,
}

/// Returns a future that waits for a permit of each of these budgets.
pub(crate) fn permit(budgets: Arc<[Budget]>, urgency: Urgency) -> Waiting {
    Waiting { budgets, urgency, place: None, timer: None, limit: None }
}

impl Waiting {
    /// Returns the limit that it waits for, as of its last poll.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.limit
    }
}

impl Future for Waiting {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        loop {
            let now = Instant::now().into_std();
            let (place, urgency, waker) = (self.place, self.urgency, cx.waker().clone());
            let ids = self.budgets.iter().map(Budget::id);
            let (place, turn) = queue(|queue| {
                let place = place.unwrap_or_else(|| queue.enter(urgency, ids));
                let (turn, wakers) = queue.turn(place, waker, now);
                ((place, turn), wakers)
            });
            match turn {
                Turn::Granted(dial) => {
                    (self.place, self.timer, self.limit) = (None, None, None);
                    let budgets = self.budgets.clone();
                    return Poll::Ready(Permit { budgets, dial, stage: Stage::Dialling });
                }
                Turn::Wait { limit, until } => {
                    (self.place, self.limit) = (Some(place), Some(limit));
                    self.timer = until.map(|until| Box::pin(sleep_until(until.into())));
                }
            }
            let due = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            if !due {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let now = Instant::now().into_std();
            queue(|queue| ((), queue.leave(place, now)));
        }
    }
}

/// The permits of one dial, and later of its socket.
///
/// To drop them before the outcome of the dial gives them back; to drop them afterwards says that we closed the socket.
#[derive(Debug)]
pub(crate) struct Permit {
    budgets: Arc<[Budget]>,
    dial: DialId,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Dialling,
    Open,
    Ended,
}

impl Permit {
    /// Records that the dial opened a socket.
    pub(crate) fn opened(&mut self) {
        self.stage = Stage::Open;
        self.report(Queue::open);
    }

    /// Records that the open socket works.
    pub(crate) fn settled(&self) {
        self.report(Queue::settle);
    }

    /// Records that the dial failed.
    pub(crate) fn failed(mut self, failure: Failure) {
        self.stage = Stage::Ended;
        self.report(|queue, ids, dial, now| queue.fail(ids, dial, now, failure));
    }

    /// Records that the socket was lost.
    pub(crate) fn lost(mut self) {
        self.stage = Stage::Ended;
        self.report(|queue, ids, dial, now| queue.close(ids, dial, now, true));
    }

    fn report(
        &self,
        to: impl FnOnce(&mut Queue, &[QuotaId], DialId, std::time::Instant) -> Wakers,
    ) {
        let now = Instant::now().into_std();
        let ids: Vec<QuotaId> = self.budgets.iter().map(Budget::id).collect();
        queue(|queue| ((), to(queue, &ids, self.dial, now)));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.stage {
            Stage::Dialling => self.report(Queue::cancel),
            Stage::Open => {
                self.report(|queue, ids, dial, now| queue.close(ids, dial, now, false));
            }
            Stage::Ended => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn one(budget: &Budget) -> Waiting {
        permit([budget.clone()].into(), Urgency::Start)
    }

    /// Whether a permit is there without a wait.
    async fn is_free(budget: &Budget) -> bool {
        timeout(Duration::ZERO, one(budget)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_comes_when_the_window_has_room() {
        let budget = Budget::dials(1, 10 * SECOND);
        let start = Instant::now();
        let mut first = one(&budget).await;
        advance(SECOND).await;
        first.opened();
        let _second = one(&budget).await;
        assert_eq!(start.elapsed(), 11 * SECOND + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_wait_is_the_first_to_go_unless_another_is_more_urgent() {
        let budget = Budget::dials(1, SECOND);
        one(&budget).await.failed(Failure { answered: true, ..Failure::default() });
        let mut tasks = JoinSet::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, urgency) in [
            ("first", Urgency::Start),
            ("second", Urgency::Start),
            ("rotation", Urgency::Rotation),
            ("twin", Urgency::Twin),
            ("outage", Urgency::Outage),
        ] {
            let (waiting, order) = (permit([budget.clone()].into(), urgency), order.clone());
            tasks.spawn(async move {
                let mut permit = waiting.await;
                order.lock().unwrap().push(name);
                permit.opened();
            });
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        let order = order.lock().unwrap();
        assert_eq!(*order, ["outage", "twin", "rotation", "first", "second"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_and_a_dropped_permit_take_nothing() {
        let budget = Budget::dials(1, 10 * SECOND).sockets(1);
        let permit = one(&budget).await;
        assert!(!is_free(&budget).await);
        drop(permit);
        assert!(is_free(&budget).await);
        let mut socket = one(&budget).await;
        socket.opened();
        drop(socket);
        advance(11 * SECOND).await;
        assert!(is_free(&budget).await);
    }

    /// The one that keeps the time for the others goes away.
    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_leaves_its_turn_to_the_next() {
        let budget = Budget::dials(1, 10 * SECOND);
        one(&budget).await.failed(Failure { answered: true, ..Failure::default() });
        let leader = tokio::spawn(one(&budget));
        tokio::task::yield_now().await;
        let next = tokio::spawn(one(&budget));
        tokio::task::yield_now().await;
        leader.abort();
        timeout(11 * SECOND, next).await.expect("its turn comes").unwrap();
    }

    /// Two threads, each of which needs what the other has, and both a permit of each of two budgets.
    #[test]
    fn permits_of_several_budgets_are_taken_at_once_on_any_threads() {
        let (a, b) = (Budget::dials(3, SECOND).sockets(2), Budget::dials(3, SECOND).sockets(2));
        let (open, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = |budgets: Arc<[Budget]>| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(async {
                for _ in 0..200 {
                    let _permit = timeout(10 * SECOND, permit(budgets.clone(), Urgency::Start))
                        .await
                        .expect("no deadlock");
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    open.fetch_sub(1, Ordering::SeqCst);
                }
            });
        };
        std::thread::scope(|scope| {
            for budgets in [[&a, &b], [&b, &a], [&a, &b], [&b, &a]] {
                let run = &run;
                scope.spawn(move || run(budgets.map(Budget::clone).into()));
            }
        });
        assert!(most.into_inner() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_budget_twice_is_one() {
        let budget = Budget::dials(1, SECOND);
        let twice = permit([budget.clone(), budget].into(), Urgency::Start);
        timeout(Duration::ZERO, twice).await.expect("one permit is enough");
    }
}

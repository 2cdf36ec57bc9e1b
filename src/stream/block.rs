//! Waiting for a future on a thread without a runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use derive_more::{Display, Error};

/// A method that blocks its thread was called on a thread of a tokio runtime, whose other tasks would stand
/// still. Await the method of the same name without `blocking_`.
#[derive(Clone, Copy, Debug, Display, Error, PartialEq, Eq)]
#[display(
    "called inside a tokio runtime, whose thread would be blocked: await the async method there"
)]
pub struct InRuntime;

/// Whether this thread belongs to a tokio runtime.
pub(super) fn is_in_runtime() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

/// Polls the future on this thread until it completes, and parks the thread in between.
///
/// # Errors
/// On a thread of a tokio runtime; the future is then dropped.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, InRuntime> {
    if is_in_runtime() {
        return Err(InRuntime);
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut cx, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return Ok(output),
            // Where it was woken since, this returns at once.
            Poll::Pending => thread::park(),
        }
    }
}

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

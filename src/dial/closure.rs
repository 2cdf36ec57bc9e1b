//! The application's closures, run so that a panic in one fails the dial and nothing else.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::error::Error;

/// Calls a closure of the application's and awaits its future.
///
/// # Errors
/// [`Error::Handler`] with the message of the panic, when one of them panics.
pub(super) async fn run<F: Future>(call: impl FnOnce() -> F) -> Result<F::Output, Error> {
    // `AssertUnwindSafe`: after a panic the closure's future is dropped and not polled again.
    let future = catch_unwind(AssertUnwindSafe(call)).map_err(panicked)?;
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panicked(panic))),
    })
    .await
}

fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let message = panic.downcast_ref::<&str>().map(|message| (*message).to_owned());
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    Error::Handler(message.unwrap_or_else(|| "it panicked".to_owned()).into())
}

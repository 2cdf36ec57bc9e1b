//! Several URLs: each failed dial goes on to the next.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use actix_ws_client::error::{Error, Verdict};
use actix_ws_client::{Attempt, ConnectionBuilder};

/// The builder, told to dial these URLs in turn: the first one again after a stable life. A failure
/// that is final for one of them ends the run only behind such a failure of each other one.
pub(crate) fn dial_in_turn(
    builder: ConnectionBuilder,
    urls: &[String],
    verdict: impl Fn(&Error) -> Verdict + Send + Sync + 'static,
) -> ConnectionBuilder {
    let count = urls.len();
    let urls: Arc<[String]> = urls.into();
    // Final failures in a row.
    let last = Arc::new(AtomicUsize::new(0));
    let finals = last.clone();
    let builder = builder.url_with(move |attempt: Attempt| {
        if attempt.number == 1 {
            last.store(0, Relaxed);
        }
        let url = urls[(attempt.number.max(1) - 1) as usize % urls.len()].clone();
        async move { Ok::<_, Infallible>(url) }
    });
    builder.retry_if(move |error| match verdict(error) {
        Verdict::Stop if finals.fetch_add(1, Relaxed) + 1 < count => Verdict::RETRY,
        Verdict::Stop => Verdict::Stop,
        retry => {
            finals.store(0, Relaxed);
            retry
        }
    })
}

//! Several URLs: after a failed dial the next one is dialled.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use actix_ws_client::error::{Error, Verdict};
use actix_ws_client::{Attempt, ConnectionBuilder};

/// Makes the builder dial these URLs in turn, beginning with the first one again after a stable
/// connection. A failure that is final for one URL ends the run only if the dials of all others failed
/// so directly before it.
pub(crate) fn dial_in_turn(
    builder: ConnectionBuilder,
    urls: &[String],
    verdict: impl Fn(&Error) -> Verdict + Send + Sync + 'static,
) -> ConnectionBuilder {
    let count = urls.len();
    // The fragments were warned of when the arguments were read.
    let bare = urls.iter().map(|url| url.split('#').next().unwrap_or_default().to_owned());
    let urls: Arc<[String]> = bare.collect();
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

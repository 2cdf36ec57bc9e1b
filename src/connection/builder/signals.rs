//! The signals that end a run.

use std::future::pending;
use std::io;

use actix_rt::signal;

/// Waits for Ctrl-C (SIGINT), or for SIGTERM where the system has it. Never returns if the system lets us listen for
/// neither.
pub(super) async fn wait() {
    if let Err(err) = signalled().await {
        tracing::warn!(%err, "cannot listen for signals");
        pending::<()>().await;
    }
}

#[cfg(unix)]
async fn signalled() -> io::Result<()> {
    use std::future::poll_fn;
    use std::task::Poll;

    use signal::unix::{SignalKind, signal};

    let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    poll_fn(|cx| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if came { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

#[cfg(not(unix))]
async fn signalled() -> io::Result<()> {
    signal::ctrl_c().await
}

//! What any program of this kind needs: log records on stderr, and signals.

use std::env;
use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Writes log records to stderr: those that `RUST_LOG` asks for, otherwise errors.
pub(crate) fn log_to_stderr() {
    let asked = env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let targets = asked.unwrap_or(Targets::new().with_default(LevelFilter::ERROR));
    let records = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    tracing_subscriber::registry().with(records.with_filter(targets)).init();
}

/// Waits for Ctrl-C, or for the SIGTERM of a service manager.
pub(crate) async fn stop_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

//! What comes from outside and asks a run to end: signals, and the loss of who reads stdout.

use std::io;

use tokio::sync::mpsc;

/// SIGINT and SIGTERM, and each Ctrl-C that is typed; Ctrl-C where there are no signals.
pub(crate) struct Signals {
    #[cfg(unix)]
    typed: Option<mpsc::Receiver<()>>,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Takes the signals over from the system's default, which would kill the process.
    pub(crate) fn new() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Signals { interrupt, terminate: signal(SignalKind::terminate())?, typed: None })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(()) = typed(&mut self.typed) => {}
        }
    }

    /// Takes what is typed at a prompt for a signal too: there the terminal makes none of it.
    pub(crate) fn and_typed(&mut self, interrupts: mpsc::Receiver<()>) {
        self.typed = Some(interrupts);
    }
}

#[cfg(unix)]
async fn typed(interrupts: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match interrupts {
        Some(interrupts) => interrupts.recv().await,
        None => None,
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> io::Result<Signals> {
        Ok(Signals {})
    }

    pub(crate) fn and_typed(&mut self, _: mpsc::Receiver<()>) {}

    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Waits until nobody can read stdout any more, so that a quiet connection need not wait for its
/// next line to find out. Where that cannot be seen (a file, another system) it waits for ever, and
/// the next write tells.
pub(crate) async fn reader_gone() {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use tokio::io::Interest;
        use tokio::io::unix::AsyncFd;
        // Only watched: the descriptor stays a blocking one.
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        // Deprecated, but its successor is newer than the tokio that the library asks for; what it
        // is blamed for cannot happen to an `OwnedFd`.
        #[allow(deprecated)]
        let stdout = stdout.and_then(|fd| AsyncFd::with_interest(fd, Interest::ERROR));
        if let Ok(stdout) = stdout
            && stdout.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
    }
    std::future::pending().await
}

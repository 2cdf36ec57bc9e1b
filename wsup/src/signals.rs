//! The outside events that end a run: signals, and the loss of the reader of stdout.

use std::io;

use tokio::sync::mpsc;

/// SIGINT, SIGTERM and each Ctrl-C at the prompt. Only Ctrl-C where the system has no signals.
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
    /// Replaces the default action of the signals, which ends the process.
    pub(crate) fn new() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Signals { interrupt, terminate: signal(SignalKind::terminate())?, typed: None })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(()) = typed(&mut self.typed) => {}
        }
    }

    /// Adds the Ctrl-C of a prompt, for which the terminal sends no signal.
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

/// SIGHUP. Never where the system has no signals.
pub(crate) struct Hangups {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Hangups {
    /// Replaces the default action of the signal, which ends the process.
    pub(crate) fn new() -> io::Result<Hangups> {
        Ok(Hangups {
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if self.hangup.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}

/// Waits until stdout has lost its reader, so that the run ends even while no line is printed. Where this
/// cannot be observed (a file, another system) it never completes, and the next write fails instead.
pub(crate) async fn reader_gone() {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use tokio::io::Interest;
        use tokio::io::unix::AsyncFd;
        // Only polled for errors: the descriptor stays in blocking mode.
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        // Deprecated, but its successor is newer than the oldest tokio that the library accepts. The
        // reason for the deprecation does not apply to an `OwnedFd`.
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

//! The threads of a feed's own.

use actix::{Arbiter, System};
use actix_rt::ArbiterHandle;

use crate::error::ConfigError;

/// Threads that end when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnThreads(Vec<ArbiterHandle>);

impl OwnThreads {
    /// Starts threads.
    ///
    /// # Errors
    /// [`ConfigError::NoRuntime`] outside an actix `System`, which an `Arbiter` belongs to.
    pub(crate) fn start(count: usize) -> Result<OwnThreads, ConfigError> {
        if System::try_current().is_none() {
            return Err(ConfigError::NoRuntime);
        }
        Ok(OwnThreads((0..count).map(|_| Arbiter::new().handle()).collect()))
    }

    /// Returns a thread for each.
    pub(crate) fn handles(&self) -> &[ArbiterHandle] {
        &self.0
    }
}

impl Drop for OwnThreads {
    fn drop(&mut self) {
        for thread in &self.0 {
            // It may have ended with its system.
            thread.stop();
        }
    }
}

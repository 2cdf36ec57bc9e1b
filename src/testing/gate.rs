//! What scripts wait for.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A gate at which scripts wait until the test opens it. Clones are the same gate.
///
/// ```
/// use actix_ws_client::testing::{Gate, Script};
///
/// let gate = Gate::new();
/// let script = Script::accept().serve_until(&gate).send_text("now");
/// gate.open();
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Creates a closed gate.
    #[expect(clippy::new_without_default, reason = "a default would not say that it is closed")]
    pub fn new() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    /// Opens the gate, for scripts that wait at it and for all later ones.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        // There are no permits; closing the semaphore ends the wait.
        let _ = self.0.acquire().await;
    }
}

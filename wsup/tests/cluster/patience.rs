//! Waiting for what has to come.

use std::time::{Duration, Instant};

/// Nothing that these tests wait for takes as long.
const PATIENCE: Duration = Duration::from_secs(45);

/// How often they look.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until it is so. Returns how long that took.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(LOOK).await;
    }
    began.elapsed()
}

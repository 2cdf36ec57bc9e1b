//! A wait of a test for something: it panics at the line that awaits it.

use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A future of something that a test expects. If it does not come in time, polling panics with a report, at the
/// line of the `.await`.
pub(super) struct Wait<F, R> {
    wait: Pin<Box<F>>,
    report: R,
    /// Where the wait was made.
    made_at: &'static Location<'static>,
}

impl<T, F, R> Wait<F, R>
where
    F: Future<Output = Option<T>>,
    R: Fn() -> String,
{
    /// Creates a wait that ends in vain where `wait` returns `None`.
    #[track_caller]
    pub(super) fn new(wait: F, report: R) -> Wait<F, R> {
        Wait { wait: Box::pin(wait), report, made_at: Location::caller() }
    }
}

impl<T, F, R> Future for Wait<F, R>
where
    F: Future<Output = Option<T>>,
    R: Fn() -> String + Unpin,
{
    type Output = T;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(self.wait.as_mut().poll(cx)) {
            Some(found) => Poll::Ready(found),
            None => {
                let (report, made_at) = ((self.report)(), self.made_at);
                // Within `join!` or `timeout` the line that polls is not the test's.
                let is_elsewhere = Location::caller().file() != made_at.file();
                let place = if is_elsewhere { format!("{made_at}: ") } else { String::new() };
                panic!("{place}{report}");
            }
        }
    }
}

/// Looks for something, and again after each notification. Returns `None` if it is not there in time.
pub(super) async fn found_within<T>(
    timeout: Duration,
    changed: &Notify,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let mut notified = pin!(changed.notified());
        notified.as_mut().enable();
        if let Some(found) = look() {
            return Some(found);
        }
        timeout_at(deadline, notified).await.ok()?;
    }
}

/// Returns the last lines of a story, at most [`MAX_LINES`], each indented and cut; the first says how many are
/// left out.
pub(super) fn last_lines(lines: &[String]) -> String {
    if lines.is_empty() {
        return "\n  nothing".into();
    }
    let left_out = if lines.len() > MAX_LINES { lines.len() + 1 - MAX_LINES } else { 0 };
    let head = (left_out > 0).then(|| format!("({left_out} more before)"));
    let cut = |line: String| match line.char_indices().nth(MAX_COLUMNS) {
        Some((end, _)) => format!("\n  {}…", &line[..end]),
        None => format!("\n  {line}"),
    };
    head.into_iter().chain(lines[left_out..].iter().cloned()).map(cut).collect()
}

/// The most lines of a story that a report shows.
pub(super) const MAX_LINES: usize = 10;

/// The most characters of a line that a report shows.
const MAX_COLUMNS: usize = 140;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_story_ends_with_its_last_lines() {
        let lines =
            |count: usize| (1..=count).map(|line| format!("line {line}")).collect::<Vec<_>>();
        assert_eq!(last_lines(&[]), "\n  nothing");
        assert_eq!(last_lines(&lines(2)), "\n  line 1\n  line 2");
        assert_eq!(last_lines(&lines(10)).lines().skip(1).count(), 10);
        let long = last_lines(&lines(30));
        assert!(long.starts_with("\n  (21 more before)\n  line 22\n"), "{long}");
        assert_eq!((long.lines().skip(1).count(), long.ends_with("line 30")), (10, true));
        let wide = last_lines(&["ä".repeat(200)]);
        assert_eq!(wide.trim(), format!("{}…", "ä".repeat(MAX_COLUMNS)));
    }
}

//! How the lines of a feed dial: the defaults of their connections, and what the application's closure makes for each dial.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::budget::Budget;
use crate::connection::{Connection, ConnectionBuilder};
use crate::error::{Error, Verdict};
use crate::feed::dialect::{Attempt, Dial, DialMaker, Dialect, Failure};
use crate::feed::topic::LineId;
use crate::options;
use crate::proto::codec::Limits;

/// The closure of `Builder::connection`.
pub(crate) type Customize = Arc<dyn Fn(ConnectionBuilder) -> ConnectionBuilder + Send + Sync>;

/// Makes the builder of a line, without what belongs to one line alone.
pub(crate) fn builder(
    customize: &Customize,
    budgets: &[Budget],
    is_refused: impl Fn() -> bool + Send + Sync + 'static,
) -> ConnectionBuilder {
    let judge = move |err: &Error| match err {
        _ if is_refused() => Verdict::Stop,
        // A venue closes with 1008 where a rate was exceeded, and with 1009 where a frame was too large: a
        // feed that gave up would be wrong, and one that came back at once would be banned.
        Error::Closed(Some(frame)) if matches!(frame.code().value(), 1008 | 1009) => {
            Verdict::Retry { at_least: None, from_cap: true }
        }
        other => other.verdict(),
    };
    let limits = Limits { frame: MAX_MESSAGE, message: MAX_MESSAGE, ..Limits::default() };
    // A feed's dials are limited by its budgets, not line by line.
    let builder =
        Connection::builder(PLACEHOLDER).limits(limits).stable_after(STABLE_AFTER).dial_limit(None);
    budgets.iter().fold(customize(builder.retry_if(judge)), ConnectionBuilder::budget)
}

/// The URL that the builder checks. Each dial has one of its own, from the application's closure.
const PLACEHOLDER: &str = "wss://feed.invalid/";
/// The limit of a message, in bytes: snapshots of order books are large.
const MAX_MESSAGE: usize = 64 << 20;
/// How long a socket has to be open to count as stable if its session was never active, for one refused topic
/// may keep it from that. Longer than a login may take, so that one that is refused is not tried faster.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// What the closure of `Feed::builder` made for the dial that is under way. `url_with` and `headers_with`
/// need closures that are `Sync`, so it is under a lock, but only the line's thread takes it.
pub(crate) struct Made<D>(Mutex<MadeState<D>>);

/// What is under the lock of [`Made`].
pub(crate) struct MadeState<D> {
    /// The dial, until its socket is open.
    pub(crate) dial: Option<Dial<D>>,
    /// The failure of the closure, if it is final.
    pub(crate) failure: Option<Failure>,
}

/// Adds the closures that make URL and header lines of each dial.
pub(crate) fn with_maker<D: Dialect>(
    builder: ConnectionBuilder,
    line: LineId,
    make: &DialMaker<D>,
    refused: &Arc<AtomicU64>,
    made: &Arc<Made<D>>,
) -> ConnectionBuilder {
    let (make, for_url, for_headers) = (make.clone(), made.clone(), made.clone());
    let refused = refused.clone();
    let destination = async move |attempt: options::Attempt| {
        if is_refused(&refused, line) {
            return Err(Failure::new("the venue has refused the login").for_good());
        }
        let number = attempt.number;
        let result = make(Attempt::new(attempt, line)).await;
        let mut made = for_url.lock();
        match result {
            Ok(mut dial) => {
                dial.attempt = number;
                let destination = dial.destination.clone();
                (made.dial, made.failure) = (Some(dial), None);
                Ok(destination)
            }
            Err(failure) => {
                made.failure = failure.for_good.then(|| failure.clone());
                Err(failure)
            }
        }
    };
    let headers = async move |_: options::Attempt| {
        let headers = for_headers.lock().dial.as_ref().map(|dial| dial.headers.clone());
        Ok::<_, Failure>(headers.unwrap_or_default())
    };
    builder.destination_with(destination).headers_with(headers)
}

impl<D> Made<D> {
    /// Creates it without a dial.
    pub(crate) fn new() -> Made<D> {
        Made(Mutex::new(MadeState { dial: None, failure: None }))
    }

    /// Locks it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, MadeState<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a line is refused for good, in all shards.
pub(crate) fn is_refused(refused: &AtomicU64, line: LineId) -> bool {
    refused.load(Ordering::Relaxed) & refused_bit(line) != 0
}

/// Returns the bit of a line's number.
pub(crate) fn refused_bit(line: LineId) -> u64 {
    1 << (line.line % 64)
}

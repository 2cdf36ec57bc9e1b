//! Reconnection by a policy of one's own: an iterator, the trait of the `backoff` crate, and the
//! default one with other bounds. Each dials a port where nobody listens until it gives up.
//!
//! `cargo run --example custom_backoff`.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use actix_ws_client::backoff::Backoff;
use actix_ws_client::{Connection, OutcomeKind, Reconnect, event};

/// Each delay is the sum of the last two, up to a limit; then it gives up.
#[derive(Clone)]
struct Fibonacci {
    now: Duration,
    next: Duration,
}

const FIRST: Fibonacci =
    Fibonacci { now: Duration::from_millis(10), next: Duration::from_millis(10) };
const LIMIT: Duration = Duration::from_millis(80);

impl Backoff for Fibonacci {
    fn next_backoff(&mut self) -> Option<Duration> {
        let delay = self.now;
        *self = Fibonacci { now: self.next, next: self.now + self.next };
        (delay <= LIMIT).then_some(delay)
    }

    /// Called when a socket that was open for `stable_after` is lost, not at each opening: a server
    /// that accepts and drops would be dialled without end.
    fn reset(&mut self) {
        *self = FIRST;
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let millis = Duration::from_millis;

    println!("* the delays of an iterator");
    let given = Reconnect::delays(move || [millis(10), millis(40), millis(20)]);
    run(given, None).await?;

    println!("* an iterator without an end, which max_attempts ends");
    let doubled = Reconnect::delays(move || successors(Some(millis(10)), |last| Some(*last * 2)));
    run(doubled, Some(5)).await?;

    println!("* the trait Backoff");
    run(Reconnect::custom(|| FIRST), None).await?;

    // For more than one client this is the best of them: all its delays are random, so that those
    // who lost the same server don't come back to it in the same instant.
    println!("* the default policy with bounds of one's own");
    let random = Reconnect::exponential().floor(millis(10)).initial(millis(20)).cap(millis(80));
    run(random.into(), Some(4)).await
}

/// Dials until the policy gives up, and prints each delay.
async fn run(policy: Reconnect, max_attempts: Option<u32>) -> Result<(), Box<dyn Error>> {
    // Nobody listens on the port of a socket that was closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let run = Connection::builder(format!("ws://127.0.0.1:{port}/"))
        .proxy_from_env(false)
        .reconnect(policy)
        .max_attempts(max_attempts)
        .on_error(event::call(|failed: event::Error| match failed.next.after() {
            Some(after) => println!("dial {} failed, the next one in {after:.0?}", failed.attempt),
            None => println!("dial {} failed, that was the last", failed.attempt),
        }))
        .run();
    match run.await?.kind {
        OutcomeKind::GaveUp => Ok(()),
        other => Err(format!("{other}, where it should have given up").into()),
    }
}

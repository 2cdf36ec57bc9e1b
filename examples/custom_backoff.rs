//! Custom reconnect policies: an iterator, the trait `Policy`, and the default policy with other
//! bounds. Each dials a closed port until it gives up.
//!
//! `cargo run --example custom_backoff`

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use actix_ws_client::backoff::Policy;
use actix_ws_client::{Connection, OutcomeKind, Reconnect, event};

/// Waits for the sum of the last two delays each time, up to a limit; then it gives up.
#[derive(Clone)]
struct Fibonacci {
    now: Duration,
    next: Duration,
}

const FIRST: Fibonacci =
    Fibonacci { now: Duration::from_millis(10), next: Duration::from_millis(10) };
const LIMIT: Duration = Duration::from_millis(80);

impl Policy for Fibonacci {
    fn next_delay(&mut self) -> Option<Duration> {
        let delay = self.now;
        *self = Fibonacci { now: self.next, next: self.now + self.next };
        (delay <= LIMIT).then_some(delay)
    }

    /// Called when a socket is lost that was open for at least `stable_after`. It is not called at
    /// each opening, or a server that accepts and drops at once would be dialled at the first delay
    /// for ever.
    fn reset(&mut self) {
        *self = FIRST;
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let millis = Duration::from_millis;

    println!("* the delays of an iterator: 10, 40 and 20 ms");
    let given = Reconnect::delays(move || [millis(10), millis(40), millis(20)]);
    run(given, None).await?;

    println!("* an endless iterator, ended by max_attempts");
    let doubled = Reconnect::delays(move || successors(Some(millis(10)), |last| Some(*last * 2)));
    run(doubled, Some(5)).await?;

    println!("* an implementation of the trait Policy");
    run(Reconnect::custom(|| FIRST), None).await?;

    // The best of these for more than one client: every delay is random, so that clients that lost
    // the same server do not dial it again at the same instant.
    println!("* the default policy with other bounds");
    let random = Reconnect::exponential().floor(millis(10)).initial(millis(20)).cap(millis(80));
    run(random.into(), Some(4)).await
}

/// Dials until the policy gives up, and prints each delay.
async fn run(policy: Reconnect, max_attempts: Option<u32>) -> Result<(), Box<dyn Error>> {
    // Nothing listens on the port of a socket that was closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let run = Connection::builder(format!("ws://127.0.0.1:{port}/"))
        .proxy_from_env(false)
        .reconnect(policy)
        .max_attempts(max_attempts)
        .on_error_to(event::call(|failed: event::Error| match failed.next.after() {
            Some(after) => println!("dial {} failed, the next one in {after:.0?}", failed.attempt),
            None => println!("dial {} failed, that was the last", failed.attempt),
        }))
        .run();
    match run.await?.kind {
        OutcomeKind::GaveUp => Ok(()),
        other => Err(format!("{other}, where it should have given up").into()),
    }
}

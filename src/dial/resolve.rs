//! Resolves a host name, and races the connections to its addresses (RFC 8305, Happy Eyeballs).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, sleep_until};

use crate::error::Error;

/// How long a connection attempt runs before the next one is started beside it (RFC 8305, 5, "Connection Attempt
/// Delay").
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The most addresses that one dial tries.
const MAX_ADDRESSES: usize = 16;

/// Resolves a host to its addresses, in the order in which they are tried. An IP address is not looked up.
///
/// # Errors
/// `Dns`, also when the name has no address.
pub(super) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |err| Error::Dns { host: host.to_owned(), source: Arc::new(err) };
    let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(failed)?.collect();
    if found.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(interleave(found))
}

/// Alternates the address families, beginning with that of the first address (RFC 8305, 4).
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addrs.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let mut ordered = Vec::new();
    while ordered.len() < MAX_ADDRESSES && !(one.is_empty() && other.is_empty()) {
        ordered.extend(one.pop_front());
        ordered.extend(other.pop_front());
    }
    ordered
}

/// Connects to the address that answers first. An attempt starts when the one before it has failed, or has run for
/// [`CONNECTION_ATTEMPT_DELAY`]; those that still run when one succeeds are dropped.
///
/// # Errors
/// Every address with its error, in the order in which they failed.
///
/// One poll function drives all of it, because each step decides on the next: an end of one attempt starts another.
pub(super) async fn race<T, F, Fut>(
    addrs: Vec<SocketAddr>,
    connect: F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Fn(SocketAddr) -> Fut,
    Fut: Future<Output = io::Result<T>>,
{
    let mut waiting: VecDeque<SocketAddr> = addrs.into();
    let mut running: Vec<(SocketAddr, Pin<Box<Fut>>)> = Vec::new();
    let mut failed = Vec::new();
    let mut next = pin!(sleep_until(Instant::now()));
    // Whether the next attempt starts without waiting for the timer: at first, and after a failure (RFC 8305, 5).
    let mut begin = true;
    poll_fn(move |cx| {
        loop {
            if begin || (!waiting.is_empty() && next.as_mut().poll(cx).is_ready()) {
                begin = false;
                if let Some(addr) = waiting.pop_front() {
                    running.push((addr, Box::pin(connect(addr))));
                    next.as_mut().reset(Instant::now() + CONNECTION_ATTEMPT_DELAY);
                }
            }
            // All attempts are polled in every pass, also the new one: it has registered no waker yet.
            let failures = failed.len();
            if let Some(won) = poll_running(&mut running, &mut failed, cx) {
                return Poll::Ready(Ok(won));
            }
            if running.is_empty() && waiting.is_empty() {
                return Poll::Ready(Err(std::mem::take(&mut failed)));
            }
            if failed.len() == failures {
                // Nothing has changed in this pass. The poll registers the timer; if it has fired meanwhile, the loop
                // starts the next attempt.
                if waiting.is_empty() || next.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            } else {
                begin = true;
            }
        }
    })
    .await
}

/// Polls the running attempts in their order. Returns the first connection that succeeded; moves failures to `failed`.
fn poll_running<T, Fut>(
    running: &mut Vec<(SocketAddr, Pin<Box<Fut>>)>,
    failed: &mut Vec<(SocketAddr, io::Error)>,
    cx: &mut Context<'_>,
) -> Option<T>
where
    Fut: Future<Output = io::Result<T>>,
{
    let mut index = 0;
    while let Some((addr, attempt)) = running.get_mut(index) {
        match attempt.as_mut().poll(cx) {
            Poll::Pending => index += 1,
            Poll::Ready(Ok(won)) => return Some(won),
            Poll::Ready(Err(err)) => {
                failed.push((*addr, err));
                drop(running.remove(index));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::task::Waker;

    use tokio::time::sleep;

    use super::*;

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, last], 80))
    }

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    #[test]
    fn families_alternate_and_the_list_is_bounded() {
        let mixed = vec![v6(1), v6(2), v4(1), v4(2), v6(3)];
        assert_eq!(interleave(mixed), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        let many = (0..100).map(v6).collect();
        assert_eq!(interleave(many).len(), MAX_ADDRESSES);
    }

    /// The test has no runtime, so that a lookup would panic.
    #[test]
    fn an_address_is_not_looked_up() {
        for (host, addr) in [("::1", v6(1)), ("127.0.0.1", v4(1))] {
            let found = pin!(lookup(host, 80)).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(found, Poll::Ready(Ok(addrs)) if addrs == [addr]), "{host}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ipv4_is_there_soon_after_a_black_holed_ipv6() {
        let begin = Instant::now();
        let won = race(vec![v6(1), v4(1)], async |addr: SocketAddr| {
            if addr.is_ipv6() {
                sleep(Duration::from_secs(60)).await;
            }
            Ok(addr)
        });
        assert_eq!(won.await.unwrap(), v4(1));
        assert_eq!(begin.elapsed(), CONNECTION_ATTEMPT_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_goes_to_the_next_address_at_once() {
        let begin = Instant::now();
        let won = race(vec![v6(1), v4(1)], async |addr: SocketAddr| match addr.is_ipv6() {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(addr),
        });
        assert_eq!(won.await.unwrap(), v4(1));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_still_wins_if_it_answers_first() {
        let won = race(vec![v6(1), v4(1)], async |addr: SocketAddr| {
            let time = if addr.is_ipv6() { 300 } else { 600 };
            sleep(Duration::from_millis(time)).await;
            Ok(addr)
        });
        assert_eq!(won.await.unwrap(), v6(1));
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_is_listed_with_its_own_error() {
        let asked = RefCell::new(Vec::new());
        let lost = race(vec![v6(1), v4(1), v4(2)], async |addr: SocketAddr| {
            asked.borrow_mut().push(addr);
            Err::<(), _>(io::Error::other(addr.to_string()))
        });
        let tried = lost.await.unwrap_err();
        let listed: Vec<_> = tried.iter().map(|(addr, err)| (*addr, err.to_string())).collect();
        let expected: Vec<_> = [v6(1), v4(1), v4(2)].map(|addr| (addr, addr.to_string())).into();
        assert_eq!(listed, expected);
        assert_eq!(*asked.borrow(), [v6(1), v4(1), v4(2)]);
    }
}

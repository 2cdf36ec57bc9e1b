//! Races the connections to the addresses of a host (RFC 8305, 5, Happy Eyeballs).

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::dial::addresses::Addresses;

/// How long a connection attempt runs before the next one is started beside it (RFC 8305, 5, "Connection Attempt
/// Delay").
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the address that answers first. An attempt starts when the one before it has failed, or has run for
/// [`CONNECTION_ATTEMPT_DELAY`]; those that still run when one succeeds are dropped. Addresses that arrive meanwhile take
/// part (RFC 8305, 3).
///
/// # Errors
/// Every address with its error, in the order in which they failed.
///
/// One poll function drives all of it, because each step decides on the next: an end of one attempt starts another.
pub(super) async fn race<T, F, Fut>(
    mut addrs: Addresses,
    connect: F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Fn(SocketAddr) -> Fut,
    Fut: Future<Output = io::Result<T>>,
{
    let mut running: Vec<(SocketAddr, Pin<Box<Fut>>)> = Vec::new();
    let mut failed = Vec::new();
    let mut next = pin!(sleep_until(Instant::now()));
    // Whether the next attempt starts without waiting for the timer: at first, and after a failure (RFC 8305, 5). It stays
    // set while there is no address, so that one which arrives late is tried at once.
    let mut begin = true;
    poll_fn(move |cx| {
        loop {
            let is_complete = addrs.poll_late(cx).is_ready();
            if addrs.has_next()
                && (begin || next.as_mut().poll(cx).is_ready())
                && let Some(addr) = addrs.take()
            {
                begin = false;
                running.push((addr, Box::pin(connect(addr))));
                next.as_mut().reset(Instant::now() + CONNECTION_ATTEMPT_DELAY);
            }
            // All attempts are polled in every pass, also the new one: it has registered no waker yet.
            let failures = failed.len();
            if let Some(won) = poll_running(&mut running, &mut failed, cx) {
                return Poll::Ready(Ok(won));
            }
            if running.is_empty() && !addrs.has_next() && is_complete {
                return Poll::Ready(Err(std::mem::take(&mut failed)));
            }
            if failed.len() == failures {
                // Nothing has changed in this pass. The poll registers the timer; if it has fired meanwhile, the loop
                // starts the next attempt.
                if !addrs.has_next() || next.as_mut().poll(cx).is_pending() {
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

    use tokio::time::sleep;

    use super::*;

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, last], 80))
    }

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    fn known(addrs: impl Into<Vec<SocketAddr>>) -> Addresses {
        Addresses::new(addrs.into(), None)
    }

    /// The first addresses, and others that arrive after these milliseconds.
    fn late(first: SocketAddr, after: u64, others: Vec<SocketAddr>) -> Addresses {
        let late = async move {
            sleep(Duration::from_millis(after)).await;
            others
        };
        Addresses::new(vec![first], Some(Box::pin(late)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_arrives_during_an_attempt_takes_part() {
        for (after, expected) in [(100, 250), (400, 400)] {
            let begin = Instant::now();
            let won = race(late(v6(1), after, vec![v4(1)]), async |addr: SocketAddr| {
                if addr.is_ipv6() {
                    sleep(Duration::from_secs(60)).await;
                }
                Ok(addr)
            });
            assert_eq!(won.await.unwrap(), v4(1));
            assert_eq!(begin.elapsed(), Duration::from_millis(expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_arrives_after_all_others_failed_is_tried_at_once() {
        let begin = Instant::now();
        let won = race(late(v4(1), 100, vec![v6(1)]), async |addr: SocketAddr| {
            if addr.is_ipv4() { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(addr) }
        });
        assert_eq!(won.await.unwrap(), v6(1));
        assert_eq!(begin.elapsed(), Duration::from_millis(100));
        let lost = race(late(v4(1), 100, vec![]), async |_: SocketAddr| {
            Err::<(), _>(io::ErrorKind::ConnectionRefused.into())
        });
        assert_eq!(lost.await.unwrap_err().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn ipv4_is_there_soon_after_a_black_holed_ipv6() {
        let begin = Instant::now();
        let won = race(known([v6(1), v4(1)]), async |addr: SocketAddr| {
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
        let won = race(known([v6(1), v4(1)]), async |addr: SocketAddr| match addr.is_ipv6() {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(addr),
        });
        assert_eq!(won.await.unwrap(), v4(1));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_still_wins_if_it_answers_first() {
        let won = race(known([v6(1), v4(1)]), async |addr: SocketAddr| {
            let time = if addr.is_ipv6() { 300 } else { 600 };
            sleep(Duration::from_millis(time)).await;
            Ok(addr)
        });
        assert_eq!(won.await.unwrap(), v6(1));
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_is_listed_with_its_own_error() {
        let asked = RefCell::new(Vec::new());
        let lost = race(known([v6(1), v4(1), v4(2)]), async |addr: SocketAddr| {
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

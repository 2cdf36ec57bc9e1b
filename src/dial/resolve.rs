//! Resolves a host to the addresses that a dial tries (RFC 8305, 3): the two families are looked up apart, and a dial
//! begins as soon as one of them will do.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::dial::addresses::{Addresses, Late};
use crate::dial::lookups::{Family, Lookup};
use crate::dial::resolver::{self, Answer, Resolver, SYSTEM};
use crate::error::Error;

/// How long IPv4 addresses wait for IPv6 ones (RFC 8305, 3, "Resolution Delay").
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Resolves a host to its addresses. A family that fails is no error if the other one does not; one that is not
/// answered in time arrives late. An IP address and `localhost` are not looked up.
///
/// # Errors
/// `Dns`, when neither family has an address.
pub(super) async fn resolve(host: &str, port: u16) -> Result<Addresses, Error> {
    if let Some(known) = without_look_up(host, port) {
        return known.map(|known| Addresses::new(known, None)).map_err(|err| dns(host, err));
    }
    resolve_families(&SYSTEM, host, port).await.map_err(|err| dns(host, err))
}

/// Resolves a host to its IPv4 addresses. There may be none.
///
/// # Errors
/// `Dns`, when the look-up fails.
pub(super) async fn resolve_v4(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let found = match without_look_up(host, port) {
        Some(known) => known.map_err(|err| dns(host, err))?,
        None => {
            let found = look_up(&SYSTEM, host, Family::V4).await;
            with_port(&found.map_err(|err| dns(host, err))?, port)
        }
    };
    Ok(found.into_iter().filter(SocketAddr::is_ipv4).collect())
}

fn dns(host: &str, source: Arc<io::Error>) -> Error {
    Error::Dns { host: host.to_owned(), source }
}

/// Returns the addresses of a host that needs no look-up: an IP address, or a name of the loopback interface, which must
/// not be sent to a name server (RFC 6761, 6.3).
fn without_look_up(host: &str, port: u16) -> Option<Result<Vec<SocketAddr>, Arc<io::Error>>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(Ok(vec![SocketAddr::new(ip, port)]));
    }
    // No name has a `%`: the URL standard forbids it.
    if host.contains('%') {
        return Some(
            resolver::parse_zoned(host).map(|found| with_port(&found, port)).map_err(Arc::new),
        );
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost").then(|| {
        let both: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        Ok(both.map(|ip| SocketAddr::new(ip, port)).into())
    })
}

/// Looks up both families, and returns when a dial can begin: with the IPv6 addresses as soon as they have arrived; with
/// the IPv4 ones when IPv6 has failed, or has not answered within [`RESOLUTION_DELAY`] of them.
async fn resolve_families(
    resolver: &Resolver,
    host: &str,
    port: u16,
) -> Result<Addresses, Arc<io::Error>> {
    let ask = |family| {
        let (resolver, host) = (resolver.clone(), host.to_owned());
        Box::pin(async move { look_up(&resolver, &host, family).await })
    };
    let (mut v6, mut v4) = (ask(Family::V6), ask(Family::V4));
    match either(v6.as_mut(), v4.as_mut()).await {
        First::V6(Ok(found)) => Ok(Addresses::new(with_port(&found, port), Some(late(v4, port)))),
        First::V6(Err(failed)) => match v4.await {
            Ok(found) => Ok(Addresses::new(with_port(&found, port), None)),
            Err(err) => Err(more_telling(failed, err)),
        },
        First::V4(Ok(found)) => {
            let mut known = with_port(&found, port);
            match timeout(RESOLUTION_DELAY, v6.as_mut()).await {
                Ok(Ok(preferred)) => {
                    known.splice(0..0, with_port(&preferred, port));
                    Ok(Addresses::new(known, None))
                }
                Ok(Err(_)) => Ok(Addresses::new(known, None)),
                Err(_) => Ok(Addresses::new(known, Some(late(v6, port)))),
            }
        }
        First::V4(Err(failed)) => match v6.await {
            Ok(found) => Ok(Addresses::new(with_port(&found, port), None)),
            Err(err) => Err(more_telling(err, failed)),
        },
    }
}

/// The family that was answered first.
enum First {
    V6(Answer),
    V4(Answer),
}

/// Waits for one of the families, IPv6 if both are answered.
async fn either(
    mut v6: Pin<&mut impl Future<Output = Answer>>,
    mut v4: Pin<&mut impl Future<Output = Answer>>,
) -> First {
    poll_fn(|cx| {
        // Both are polled, so that both look-ups have started.
        if let Poll::Ready(answer) = v6.as_mut().poll(cx) {
            return Poll::Ready(First::V6(answer));
        }
        v4.as_mut().poll(cx).map(First::V4)
    })
    .await
}

/// Returns the addresses of a family that the dial does not wait for.
fn late(answer: impl Future<Output = Answer> + 'static, port: u16) -> Late {
    Box::pin(async move { answer.await.map(|found| with_port(&found, port)).unwrap_or_default() })
}

async fn look_up(resolver: &Resolver, host: &str, family: Family) -> Answer {
    resolver.look_up(Lookup { name: host.into(), family }).await
}

/// Returns the error of the two families that says more: a failure, rather than that there is no address.
fn more_telling(v6: Arc<io::Error>, v4: Arc<io::Error>) -> Arc<io::Error> {
    if v4.kind() == io::ErrorKind::NotFound { v6 } else { v4 }
}

fn with_port(found: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    let mut found = found.to_vec();
    found.iter_mut().for_each(|addr| addr.set_port(port));
    found
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use tokio::time::Instant;

    use super::*;

    fn v6(last: u16, port: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], port))
    }

    fn v4(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    type Found = io::Result<Vec<SocketAddr>>;

    /// The sending sides decide when a family is answered, and with what.
    struct Names {
        v6: mpsc::Sender<Found>,
        v4: mpsc::Sender<Found>,
    }

    fn resolver() -> (Resolver, Names) {
        let ((v6, answer6), (v4, answer4)) = (mpsc::channel(), mpsc::channel());
        let answers = (Mutex::new(answer6), Mutex::new(answer4));
        let look_up = move |lookup: &Lookup| {
            let answer = match lookup.family {
                Family::V6 => &answers.0,
                Family::V4 => &answers.1,
            };
            answer.lock().unwrap().recv().unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        (Resolver::new(look_up, resolver::spawn), Names { v6, v4 })
    }

    fn taken(addresses: &mut Addresses) -> Vec<SocketAddr> {
        std::iter::from_fn(|| addresses.take()).collect()
    }

    /// The test has no runtime, so that a look-up would panic.
    #[test]
    fn an_address_and_localhost_are_not_looked_up() {
        let loopback = ["[::1]:80", "127.0.0.1:80"];
        for (host, expected) in [
            ("::1", &loopback[..1]),
            ("127.0.0.1", &loopback[1..]),
            ("localhost", &loopback),
            ("LOCALHOST.", &loopback),
            ("feed.localhost", &loopback),
            ("fe80::1%7", &["[fe80::1%7]:80"]),
        ] {
            let found = pin!(resolve(host, 80)).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(mut found)) = found else { panic!("{host}") };
            let found: Vec<_> = taken(&mut found).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "local"] {
            assert!(without_look_up(host, 80).is_none(), "{host}");
        }
    }

    #[tokio::test]
    async fn ipv6_begins_at_once_and_ipv4_follows() {
        let (resolver, names) = resolver();
        names.v6.send(Ok(vec![v6(1, 0), v6(2, 0)])).unwrap();
        let mut found = resolve_families(&resolver, "h", 80).await.unwrap();
        assert_eq!(found.take(), Some(v6(1, 80)));
        names.v4.send(Ok(vec![v4(1, 0)])).unwrap();
        poll_fn(|cx| found.poll_late(cx)).await;
        assert_eq!(taken(&mut found), [v4(1, 80), v6(2, 80)]);
    }

    #[tokio::test]
    async fn ipv4_waits_a_moment_for_ipv6() {
        let (resolver, names) = resolver();
        names.v4.send(Ok(vec![v4(1, 0)])).unwrap();
        let begin = Instant::now();
        // Its queries are dropped.
        let mut found = resolve_families(&resolver, "h", 80).await.unwrap();
        let waited = begin.elapsed();
        assert!(RESOLUTION_DELAY <= waited && waited < RESOLUTION_DELAY * 10, "{waited:?}");
        assert_eq!(taken(&mut found), [v4(1, 80)]);
        names.v6.send(Ok(vec![v6(1, 0)])).unwrap();
        assert_eq!(found.next().await, Some(v6(1, 80)));
    }

    #[tokio::test]
    async fn ipv6_within_the_delay_goes_first() {
        let (resolver, names) = resolver();
        let mut resolved = pin!(resolve_families(&resolver, "h", 80));
        assert!(poll_fn(|cx| Poll::Ready(resolved.as_mut().poll(cx).is_pending())).await);
        names.v4.send(Ok(vec![v4(1, 0)])).unwrap();
        names.v6.send(Ok(vec![v6(1, 0)])).unwrap();
        let mut found = resolved.await.unwrap();
        assert_eq!(found.next().await, Some(v6(1, 80)));
        assert_eq!(found.next().await, Some(v4(1, 80)));
        assert_eq!(found.next().await, None);
    }

    #[tokio::test]
    async fn a_family_that_fails_is_no_failure_of_the_name() {
        for fails in [Family::V6, Family::V4] {
            let (resolver, names) = resolver();
            let (good, addr) = match fails {
                Family::V6 => (&names.v4, v4(1, 0)),
                Family::V4 => (&names.v6, v6(1, 0)),
            };
            let bad = if fails == Family::V6 { &names.v6 } else { &names.v4 };
            bad.send(Err(io::ErrorKind::NotFound.into())).unwrap();
            let mut resolved = pin!(resolve_families(&resolver, "h", 0));
            assert!(poll_fn(|cx| Poll::Ready(resolved.as_mut().poll(cx).is_pending())).await);
            good.send(Ok(vec![addr])).unwrap();
            let mut found = resolved.await.unwrap();
            assert_eq!(taken(&mut found), [addr], "{fails:?}");
        }
    }

    #[tokio::test]
    async fn the_failure_says_more_than_that_there_is_no_address() {
        let (not_found, temporary) = (io::ErrorKind::NotFound, io::ErrorKind::TimedOut);
        for (kind6, kind4, expected) in [
            (not_found, temporary, temporary),
            (temporary, not_found, temporary),
            (not_found, not_found, not_found),
        ] {
            let (resolver, names) = resolver();
            names.v6.send(Err(kind6.into())).unwrap();
            names.v4.send(Err(kind4.into())).unwrap();
            let failed = resolve_families(&resolver, "h", 80).await;
            assert_eq!(failed.err().unwrap().kind(), expected);
        }
    }
}

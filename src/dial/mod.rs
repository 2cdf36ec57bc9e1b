//! One attempt to open a socket: staged, under one deadline.

mod awc;
mod body;
mod clock;
mod head;
mod link;
pub(crate) mod preview;
mod proxy;
mod redact;
mod resolve;
mod socket;
mod socks;
mod trace;
mod upgrade;

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::command::status::Handshake;
use crate::cookies::Jar;
use crate::dial::body::Refused;
use crate::dial::link::Plain;
use crate::dial::upgrade::{Rejected, Upgraded};
use crate::error::{ConfigError, ConnectError, Error, ProxyError, RedirectError, Refusal, Stage};
use crate::headers::Headers;
use crate::options::{Attempt, Plan};
use crate::proto::compression::Agreed;
use crate::tls;

pub(crate) use crate::dial::clock::Clock;
pub(crate) use crate::dial::link::Link;

/// A socket that is open for frames.
pub(crate) struct Opened {
    /// What frames go over.
    pub(crate) link: Link,
    /// Bytes that came behind the reply's head.
    pub(crate) leftover: BytesMut,
    /// How messages are compressed, if they are.
    pub(crate) deflate: Option<Agreed>,
    /// What was agreed.
    pub(crate) handshake: Arc<Handshake>,
}

/// How long the body of a refusal may take to come, within the deadline of the dial.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Cookies, from one dial to the next.
pub(crate) type SharedJar = Rc<RefCell<Jar>>;

/// Makes one attempt, which begins when `stage` does.
///
/// # Errors
/// Each stage has its own; `Timeout` names the one in which the deadline passed.
#[expect(clippy::manual_async_fn, reason = "an `async fn` has room for each argument twice")]
pub(crate) fn dial(
    plan: Arc<Plan>,
    attempt: Attempt,
    jar: SharedJar,
    stage: Clock,
) -> impl Future<Output = Result<Opened, Error>> {
    async move {
        let deadline = stage.since().checked_add(plan.options.connect_timeout);
        let rejected = {
            // Where they stay: `timeout_at` would have them moved thrice.
            let mut dialled = pin!(follow(plan, &attempt, &jar, &stage));
            let mut late = pin!(deadline.map(sleep_until));
            let ended = poll_fn(|cx| match dialled.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => {
                    let late = late.as_mut().as_pin_mut();
                    late.map_or(Poll::Pending, |late| late.poll(cx)).map(|()| None)
                }
            });
            match ended.await {
                Some(Ok(opened)) => return Ok(opened),
                Some(Err(rejected)) => rejected,
                None => return Err(Error::Timeout(stage.get())),
            }
        };
        match rejected {
            Rejected::Failed(err) => Err(err),
            Rejected::Refused(refused) => Err(Error::Refused(kept(refused, deadline).await)),
            Rejected::ByProxy(refused) => {
                Err(Error::Proxy(ProxyError::Status(kept(refused, deadline).await)))
            }
        }
    }
}

/// A refusal with its body. The status is known: whatever becomes of the body, it is not lost.
async fn kept(refused: Box<Refused>, deadline: Option<Instant>) -> Arc<Refusal> {
    let until = Instant::now() + BODY_TIMEOUT;
    let until = deadline.map_or(until, |deadline| deadline.min(until));
    Arc::new(Box::pin(refused.read_body(until)).await)
}

/// The plan with the URL and the headers that the application makes for this attempt.
async fn made(
    mut plan: Arc<Plan>,
    attempt: &Attempt,
    stage: &Clock,
) -> Result<Arc<Plan>, Rejected> {
    let cannot = |err: ConfigError| Error::Handler(err.to_string().into());
    let (urls, headers) = (plan.options.url_with.clone(), plan.options.headers_with.clone());
    stage.set(Stage::Handler);
    if let Some(maker) = urls {
        let made = guarded(|| maker.make(attempt.clone())).await?;
        let url = made.map_err(|err| Error::Url(err.into()))?;
        plan = Arc::new(plan.addressed(&url).map_err(cannot)?);
    }
    if let Some(maker) = headers {
        let made = guarded(|| maker.make(attempt.clone())).await?;
        let lines = made.map_err(|err| Error::Headers(err.into()))?;
        plan = Arc::new(plan.headed(lines).map_err(cannot)?);
    }
    stage.set(Stage::Dns);
    Ok(plan)
}

/// Attempts, as far as redirects lead. All are one dial, under one deadline.
async fn follow(
    mut plan: Arc<Plan>,
    attempt: &Attempt,
    jar: &RefCell<Jar>,
    stage: &Clock,
) -> Result<Opened, Rejected> {
    // What few dials need is boxed, here and below: what all of them need is small, then.
    if plan.options.url_with.is_some() || plan.options.headers_with.is_some() {
        plan = Box::pin(made(plan, attempt, stage)).await?;
    }
    let limit = plan.options.redirects;
    let mut followed = 0;
    loop {
        let result = once(&plan, jar, stage).await;
        match &result {
            Ok(opened) => keep(&plan, jar, &opened.handshake.headers),
            Err(Rejected::Refused(refused)) => keep(&plan, jar, refused.headers()),
            // A proxy's cookies are not the server's.
            Err(Rejected::Failed(_) | Rejected::ByProxy(_)) => {}
        }
        let refused = match result {
            Err(Rejected::Refused(refused)) if limit > 0 && refused.is_redirect() => refused,
            result => return result,
        };
        if followed == limit {
            return Err(Error::Redirect(RedirectError::TooMany { limit }).into());
        }
        followed += 1;
        tracing::debug!(status = refused.status(), followed, "redirected");
        plan = Arc::new(plan.redirected(refused.location()).map_err(Error::Redirect)?);
        stage.set(Stage::Dns);
    }
}

/// Keeps what a reply sets, if that is wanted: else the jar stays empty.
fn keep(plan: &Plan, jar: &RefCell<Jar>, headers: &Headers) {
    if plan.options.cookie_jar {
        let keep = |line| jar.borrow_mut().keep(plan.target.place(), line, SystemTime::now());
        headers.get_all("set-cookie").for_each(keep);
    }
}

async fn once(plan: &Plan, jar: &RefCell<Jar>, stage: &Clock) -> Result<Opened, Rejected> {
    let (plain, peer) = match &plan.detour {
        Some(detour) => Box::pin(proxy::tunnel(plan, detour, stage)).await?,
        None => connect(plan, &plan.target.host, plan.target.port, stage).await?,
    };
    let link = match &plan.tls {
        Some(tls) => {
            stage.set(Stage::Tls);
            Link::Tls(Box::new(Box::pin(tls.connect(&plan.target.host, plain)).await?))
        }
        None => Link::Plain(plain),
    };
    let session = match &link {
        Link::Tls(stream) => tls::session(stream),
        Link::Plain(_) => None,
    };
    stage.set(Stage::Upgrade);
    let Upgraded { link, leftover, status, headers, deflate } =
        upgrade::upgrade(plan, Some(jar), link).await?;
    let extensions = deflate.is_some().then(|| headers.list(EXTENSIONS));
    // Verified: one of those that were offered.
    let subprotocol = headers.get("Sec-WebSocket-Protocol").map(str::to_owned);
    let timings = stage.timings(Instant::now());
    let handshake =
        Handshake { status, headers, subprotocol, extensions, peer, tls: session, timings };
    Ok(Opened { link, leftover, deflate, handshake: Arc::new(handshake) })
}

/// What was agreed, as the server says it.
const EXTENSIONS: &str = "sec-websocket-extensions";

/// The transport to the first host on the way: the proxy's or the server's own.
async fn connect(
    plan: &Plan,
    host: &str,
    port: u16,
    stage: &Clock,
) -> Result<(Plain, Option<SocketAddr>), Error> {
    if let Some(factory) = &plan.options.transport {
        stage.set(Stage::Connect);
        let made = guarded(|| factory.make(host, port)).await?;
        return made.map(|own| (Plain::Own(own), None)).map_err(|err| match inside(&err) {
            Some(own) => own,
            None => Error::Io(err.into()),
        });
    }
    let sockets = || plan.options.sockets.get();
    let won = match resolve::address(host, port) {
        Some(addr) => {
            stage.pass(Stage::Connect);
            let connected = socket::connect(addr, sockets).await;
            connected.map(|tcp| (tcp, addr)).map_err(|err| vec![(addr, err)])
        }
        None => {
            let race = async {
                let addrs = resolve::lookup(host, port).await?;
                stage.set(Stage::Connect);
                let connect = async |addr| Ok((socket::connect(addr, sockets).await?, addr));
                Ok::<_, Error>(resolve::race(addrs, connect).await)
            };
            Box::pin(race).await?
        }
    };
    let (tcp, addr): (TcpStream, SocketAddr) = won.map_err(|tried: Vec<_>| {
        let own = tried.iter().find_map(|(_, err)| inside(err));
        own.unwrap_or_else(|| Error::Connect(ConnectError { tried: tried.into() }))
    })?;
    // Which of the host's own addresses it is, where that was left open, only the system knows.
    let told = Some(addr).filter(|addr| !addr.ip().to_canonical().is_unspecified());
    let peer = told.or_else(|| tcp.peer_addr().ok());
    Ok((Plain::Tcp(tcp), peer))
}

/// An error of ours that had to pass for one of the system's.
fn inside(err: &io::Error) -> Option<Error> {
    err.get_ref()?.downcast_ref::<Error>().cloned()
}

/// Runs a future of the application's. A panic in it takes nothing else down.
async fn guarded<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output, Error> {
    let panicked = |panic: Box<dyn Any + Send>| {
        let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Error::Handler(words.unwrap_or_else(|| "it panicked".to_owned()).into())
    };
    let future = catch_unwind(AssertUnwindSafe(make)).map_err(panicked)?;
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panicked(panic))),
        }
    })
    .await
}

impl From<Error> for Rejected {
    fn from(err: Error) -> Rejected {
        Rejected::Failed(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::Options;

    /// The largest block that glibc keeps at hand, in bytes.
    const AT_HAND: usize = 1032;

    #[test]
    fn a_dial_is_a_block_that_is_at_hand() {
        let plan = Plan::new("ws://h/", Options::new(Reconnect::never())).unwrap();
        let clock = Clock::new(Stage::Dns, Instant::now());
        let dial = dial(Arc::new(plan), Attempt::new(0, None), SharedJar::default(), clock);
        let size = size_of_val(&dial);
        assert!(size <= AT_HAND, "{size}");
    }
}

//! One attempt to open a socket: in stages, under one deadline.

mod addresses;
mod awc;
mod clock;
mod closure;
mod connect;
mod head;
mod hosts;
pub(crate) mod link;
mod lookups;
pub(crate) mod preview;
mod proxy;
mod race;
mod record;
mod redact;
mod refusal;
mod reply;
mod resolve;
mod resolver;
mod socket;
mod socks;
mod trace;
mod upgrade;

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use crate::command::status::Handshake;
use crate::cookies::Jar;
use crate::dial::refusal::{DialError, UnreadRefusal};
use crate::dial::upgrade::Upgraded;
use crate::error::{
    Certainty, ConfigError, Error, ProxyError, RedirectError, Refusal, Stage, TlsError,
};
use crate::headers::Headers;
use crate::options::{Attempt, Plan};
use crate::proto::compression::Agreed;
use crate::tls;

pub(crate) use crate::dial::clock::Clock;
pub(crate) use crate::dial::link::Link;

/// A socket that is open for frames.
pub(crate) struct Opened {
    /// The transport that carries the frames.
    pub(crate) link: Link,
    /// Bytes that arrived behind the head of the reply: the first frames.
    pub(crate) leftover: BytesMut,
    /// The parameters of permessage-deflate, if it was agreed on.
    pub(crate) deflate: Option<Agreed>,
    /// What `event::Open` reports.
    pub(crate) handshake: Arc<Handshake>,
}

/// How a dial ended.
pub(crate) struct Dialled {
    pub(crate) result: Result<Opened, Error>,
    /// The host that was dialled last, if `url_with` or a redirect led to another than the plan's.
    pub(crate) other_host: Option<Box<str>>,
}

/// How long the body of a refusal may take to arrive, within the deadline of the dial.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The cookies of one connection, shared by its dials.
pub(crate) type SharedJar = Rc<RefCell<Jar>>;

/// Makes one attempt. Its deadline, `connect_timeout`, begins when the stage of `clock` did.
///
/// Each stage has its own error; `Timeout` names the stage in which the deadline passed.
pub(crate) async fn dial(
    mut plan: Arc<Plan>,
    attempt: Attempt,
    jar: SharedJar,
    clock: Clock,
) -> Dialled {
    let asked = plan.clone();
    let deadline = clock.since().checked_add(plan.options.connect_timeout);
    let clock = clock.until(deadline);
    let opened = {
        let opening = pin!(follow_redirects(&mut plan, &attempt, &jar, &clock));
        // Asked of the clock again, so that the future does not hold it twice.
        match clock.deadline() {
            Some(deadline) => {
                let opened = timeout_at(deadline, opening).await;
                opened.unwrap_or_else(|_| Err(Error::Timeout(clock.get()).into()))
            }
            // Beyond the range of the clock: no deadline.
            None => opening.await,
        }
    };
    let other_host =
        (plan.target.host != asked.target.host).then(|| plan.target.host.as_str().into());
    drop((plan, asked));
    Dialled { result: finish(opened, clock.deadline()).await, other_host }
}

/// Reads the body of a refusal, if it is one.
async fn finish(
    opened: Result<Opened, DialError>,
    deadline: Option<Instant>,
) -> Result<Opened, Error> {
    match opened {
        Ok(opened) => Ok(opened),
        Err(DialError::Failed(err)) => Err(err),
        Err(DialError::Refused(refused)) => {
            Err(Error::Refused(read_refusal(refused, deadline).await))
        }
        Err(DialError::RefusedByProxy(refused)) => {
            Err(Error::Proxy(ProxyError::Status(read_refusal(refused, deadline).await)))
        }
    }
}

/// Reads the body of a refusal. Outside the deadline of the stages: the status is known, and must not be lost to a body
/// that does not arrive.
async fn read_refusal(refused: Box<UnreadRefusal>, deadline: Option<Instant>) -> Arc<Refusal> {
    let until = Instant::now() + BODY_TIMEOUT;
    let until = deadline.map_or(until, |deadline| deadline.min(until));
    Arc::new(refused.read_body(until).await)
}

/// Opens a socket to the plan's URL, or to where redirects lead from there: all of it is one dial, under one deadline.
/// Leaves the plan of the newest try in `plan`.
async fn follow_redirects(
    plan: &mut Arc<Plan>,
    attempt: &Attempt,
    jar: &RefCell<Jar>,
    clock: &Clock,
) -> Result<Opened, DialError> {
    *plan = call_closures(plan.clone(), attempt, clock).await?;
    let limit = plan.options.redirects;
    let mut followed = 0;
    loop {
        let refused = match open_once(plan, jar, clock).await {
            Err(DialError::Refused(refused)) if limit > 0 && refused.is_redirect() => refused,
            result => return result,
        };
        // Its head came to no end, so that the deadline passed.
        if clock.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::Timeout(clock.get()).into());
        }
        if followed == limit {
            return Err(Error::Redirect(RedirectError::TooMany { limit }).into());
        }
        followed += 1;
        let (host, status) = (plan.target.host.as_str(), refused.status());
        tracing::debug!(host, status, followed, "redirected");
        let location = refused.location().map_err(Error::Redirect)?;
        let redirected = plan.redirected(location.as_deref()).map_err(Error::Redirect)?;
        let left_out = plan.lines_left_out(&redirected).join(", ");
        if !left_out.is_empty() {
            let host = redirected.target.host.as_str();
            tracing::info!(host, left_out, "redirected to another origin, without these headers");
        }
        *plan = Arc::new(redirected);
        clock.set(Stage::Dns);
    }
}

/// Opens a socket without following a redirect. Stores the cookies of the reply, and notes in a refusal whether the
/// request had credentials.
async fn open_once(plan: &Plan, jar: &RefCell<Jar>, clock: &Clock) -> Result<Opened, DialError> {
    let mut result = open(plan, jar, clock).await;
    match &mut result {
        Ok(opened) => store_cookies(plan, jar, &opened.handshake.headers),
        Err(DialError::Refused(refused)) => {
            refused.authorized = plan.is_authorized();
            store_cookies(plan, jar, refused.headers());
        }
        // The cookies of a proxy are not the server's.
        Err(DialError::RefusedByProxy(refused)) => {
            let proxy = plan.detour.as_ref().map(|detour| &detour.proxy);
            refused.authorized = proxy.is_some_and(|proxy| proxy.credentials.is_some());
        }
        Err(DialError::Failed(_)) => {}
    }
    result
}

/// Replaces the URL and the headers of the plan by those of `url_with` and `headers_with`, for this attempt.
async fn call_closures(
    mut plan: Arc<Plan>,
    attempt: &Attempt,
    clock: &Clock,
) -> Result<Arc<Plan>, Error> {
    let (urls, headers) = (plan.options.url_with.clone(), plan.options.headers_with.clone());
    if urls.is_none() && headers.is_none() {
        return Ok(plan);
    }
    let invalid = |err: ConfigError| match err {
        // It may pass, and is not the closure's fault.
        ConfigError::Authorities { .. } => {
            let text = err.to_string();
            Error::Tls(TlsError::new(text, io::Error::other(err), Certainty::Passing))
        }
        err => Error::Handler(err.to_string().into()),
    };
    clock.set(Stage::Handler);
    if let Some(urls) = urls {
        let url = closure::run(|| urls.make(attempt.clone())).await?;
        let url = url.map_err(|err| Error::Url(err.into()))?;
        plan = Arc::new(plan.with_destination(url).map_err(invalid)?);
    }
    if let Some(headers) = headers {
        let lines = closure::run(|| headers.make(attempt.clone())).await?;
        let lines = lines.map_err(|err| Error::Headers(err.into()))?;
        plan = Arc::new(plan.with_headers(lines).map_err(invalid)?);
    }
    clock.set(Stage::Dns);
    Ok(plan)
}

/// Adds the cookies of a reply to the jar, if `cookie_jar` is on.
fn store_cookies(plan: &Plan, jar: &RefCell<Jar>, headers: &Headers) {
    if plan.options.cookie_jar {
        let store = |line| jar.borrow_mut().store(plan.target.place(), line, SystemTime::now());
        headers.get_all("set-cookie").for_each(store);
    }
}

/// Goes through the stages once: the transport to the server, TLS, the upgrade.
async fn open(plan: &Plan, jar: &RefCell<Jar>, clock: &Clock) -> Result<Opened, DialError> {
    let (transport, peer) = match &plan.detour {
        // Boxed, so that a dial without a proxy does not reserve the memory of one through a proxy.
        Some(detour) => Box::pin(proxy::tunnel(plan, detour, clock)).await?,
        None => {
            let host = plan.target.zoned_host();
            connect::connect(plan, &host, plan.target.port, clock).await?
        }
    };
    let link = match &plan.tls {
        Some(tls) => {
            clock.set(Stage::Tls);
            Link::Tls(Box::new(tls.connect(&plan.target.host, transport).await?))
        }
        None => Link::Plain(transport),
    };
    let (session, certificate_wanted) = match &link {
        Link::Tls(stream) => (tls::session(stream), tls::client_certificate_wanted(stream)),
        Link::Plain(_) => (None, false),
    };
    clock.set(Stage::Upgrade);
    let Upgraded { link, leftover, status, headers, deflate } =
        upgrade::upgrade(plan, Some(jar), link, clock.deadline()).await.map_err(|err| {
            match (&plan.tls, err) {
                (Some(tls), DialError::Failed(err)) => {
                    tls.explain_late(err, certificate_wanted).into()
                }
                (_, err) => err,
            }
        })?;
    let extensions = deflate.is_some().then(|| headers.list("Sec-WebSocket-Extensions"));
    // The upgrade has verified that it is one of those offered.
    let subprotocol = headers.get("Sec-WebSocket-Protocol").map(str::to_owned);
    let timings = clock.timings(Instant::now());
    let handshake =
        Handshake { status, headers, subprotocol, extensions, peer, tls: session, timings };
    Ok(Opened { link, leftover, deflate, handshake: Arc::new(handshake) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::Options;

    /// Futures nest: a buffer that one of the stages holds across an await adds to every dial that waits.
    #[test]
    fn a_dial_takes_less_than_four_kib() {
        let plan = Plan::new("ws://h/", Options::new(Reconnect::never())).unwrap();
        let clock = Clock::new(Stage::Dns, Instant::now());
        let dial = dial(Arc::new(plan), Attempt::new(0, None), SharedJar::default(), clock);
        let size = size_of_val(&dial);
        assert!(size < 4 << 10, "{size}");
    }
}

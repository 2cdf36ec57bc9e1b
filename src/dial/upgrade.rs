//! The upgrade by awc, over a transport that sees the reply's head first.
//!
//! awc makes the request, with the key, and checks the digest of the key in the reply. Both pass
//! through a service of ours that stands in the place of awc's connector: it takes the key out of
//! the request, and makes a reply of the digest. What goes over the wire is written and read here, so
//! that nothing is encoded twice: interim replies are passed over, the head is bounded and verified
//! in full, and a refusal is kept whole.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_service::{Service, always_ready};
use awc::error::{SendRequestError, WsClientError};
use awc::http::Uri;
use awc::http::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use awc::middleware::Transform;
use awc::{BoxedSocket, Client, ConnectRequest, ConnectResponse};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::dial::body::Refused;
use crate::dial::head::{self, Head};
use crate::dial::link::Link;
use crate::dial::trace::Trace;
use crate::error::{Error, HandshakeError};
use crate::headers::Headers;
use crate::options::Plan;
use crate::proto::compression::Agreed;
use crate::proto::framed::{decoded, over};
use crate::tls;

/// An upgrade that went through.
pub(super) struct Upgraded {
    pub(super) link: Link,
    /// Bytes that came behind the head: the first frames.
    pub(super) leftover: BytesMut,
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// How messages are compressed, if they are.
    pub(super) deflate: Option<Agreed>,
}

/// An upgrade that did not.
pub(crate) enum Rejected {
    /// Some part of it failed.
    Failed(Error),
    /// The server answered with another status; the body is still to be read.
    Refused(Box<Refused>),
    /// The proxy did not open the way; the body is still to be read.
    ByProxy(Box<Refused>),
}

/// Interim replies that are passed over (RFC 9110, 15.2).
const MAX_INTERIM: u32 = 8;

/// Bytes that most replies fit into, so that they come in one read.
const USUAL_HEAD: usize = 768;

/// The longest path and query that a request is made for, in bytes: no server takes more.
const MAX_RESOURCE: usize = 64 << 10;

/// Upgrades `link` to a WebSocket. `cookies` are those of the jar.
///
/// # Errors
/// A refusal, or why the reply will not do.
pub(super) async fn upgrade(
    plan: &Plan,
    cookies: Option<String>,
    mut link: Link,
) -> Result<Upgraded, Rejected> {
    if plan.target.resource.len() > MAX_RESOURCE {
        return Err(unsent(&"the URL is too long"));
    }
    let errand = Rc::<Errand>::default();
    let mut handshake = pin!(handshake(errand.clone()));
    // What follows has all it needs from here: awc need not be woken before there is a reply.
    let early = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
    let key = match (early, errand.key.take()) {
        (Poll::Pending, Some(key)) => key,
        (Poll::Ready(Err(err)), _) => return Err(unsent(&err)),
        _ => return Err(unsent(&"awc made no key")),
    };
    let trace = Trace::new(&plan.options);
    let request = request(plan, cookies, key.as_bytes());
    let unwritten = write(&mut link, &request).await.err();
    if let (Some(trace), None) = (&trace, &unwritten) {
        trace.wrote(&request);
    }
    let mut inbox = BytesMut::with_capacity(USUAL_HEAD);
    let head = match reply(&mut link, &mut inbox, trace.as_ref()).await {
        Ok(head) => head,
        Err(Unread::Bad(err)) => return Err(Error::Handshake(err).into()),
        Err(Unread::Broken(err)) => return Err(broken(unwritten, err).into()),
    };
    if head.status != 101 {
        return Err(Rejected::Refused(Box::new(Refused { head, inbox, link })));
    }
    let options = &plan.options;
    let offered = options.request.chosen().map_or(&[][..], |request| &request.subprotocols);
    let deflate = head.verify(&options.compression, offered).map_err(Error::Handshake)?;
    errand.accept.set(HeaderValue::from_bytes(head.accept()).ok());
    if handshake.await.is_err() {
        return Err(Error::Handshake(HandshakeError::Accept).into());
    }
    let Head { status, headers, .. } = head;
    Ok(Upgraded { link, leftover: inbox, status, headers, deflate })
}

/// The request's head (RFC 6455, 4.1), `Host` first (RFC 9110, 7.2).
fn request(plan: &Plan, cookies: Option<String>, key: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    for part in ["GET ", &plan.target.resource, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in plan.lines(cookies) {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: ",
    );
    head.extend_from_slice(key);
    head.extend_from_slice(b"\r\n\r\n");
    head
}

async fn write(link: &mut Link, request: &[u8]) -> io::Result<()> {
    link.write_all(request).await?;
    link.flush().await
}

/// Why there is no reply to be judged.
enum Unread {
    Bad(HandshakeError),
    Broken(io::Error),
}

/// Reads until the final head is there.
async fn reply(
    link: &mut Link,
    inbox: &mut BytesMut,
    trace: Option<&Trace>,
) -> Result<Head, Unread> {
    let mut interim = 0;
    loop {
        let Some(head) = head::take(inbox).map_err(Unread::Bad)? else {
            if link.read_buf(inbox).await.map_err(Unread::Broken)? == 0 {
                let words = "the connection ended before the reply did";
                return Err(Unread::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, words)));
            }
            continue;
        };
        if let Some(trace) = trace {
            trace.came(&head);
        }
        match head.status {
            100 | 102..=199 if interim == MAX_INTERIM => {
                return Err(Unread::Bad(HandshakeError::Interim));
            }
            100 | 102..=199 => interim += 1,
            _ => return Ok(head),
        }
    }
}

/// A transport that broke before the reply: under TLS 1.3 that is where a refused client
/// certificate shows. What broke first was the transport, unless TLS knows better: who refuses a
/// request may hang up before it has read it all, and there may be a reply all the same.
fn broken(unwritten: Option<io::Error>, err: io::Error) -> Error {
    match tls::alert(&err) {
        Some(alert) => Error::Tls(alert),
        None => {
            let first = unwritten.unwrap_or(err);
            match tls::alert(&first) {
                Some(alert) => Error::Tls(alert),
                None => Error::Io(first.into()),
            }
        }
    }
}

fn unsent(err: &dyn fmt::Display) -> Rejected {
    Rejected::Failed(Error::Handshake(HandshakeError::Request(err.to_string().into())))
}

/// awc's part in a handshake: makes the key, waits for the digest, and checks it.
async fn handshake(errand: Rc<Errand>) -> Result<(), WsClientError> {
    let request = CLIENT.with(|(client, uri)| client.ws(uri.clone()));
    // Those that the server gets are written here.
    let request = request.set_header(HOST, HeaderValue::from_static("h"));
    // Taken out by the call that begins the first poll of what follows.
    NEXT.set(Some(errand));
    request.connect().await.map(drop)
}

thread_local! {
    /// The client of all connections of this thread, and what it is asked for.
    static CLIENT: (Client, Uri) = {
        let builder = Client::builder().wrap(Courier).disable_redirects().disable_timeout();
        (builder.no_default_headers().finish(), Uri::from_static("ws://h/"))
    };

    /// What the next request is about.
    static NEXT: Cell<Option<Rc<Errand>>> = const { Cell::new(None) };
}

/// What passes between awc and a dial.
#[derive(Default)]
struct Errand {
    /// The key of the request, once awc has made it.
    key: Cell<Option<HeaderValue>>,
    /// The digest in the reply, once it is there.
    accept: Cell<Option<HeaderValue>>,
}

/// What stands in the place of awc's connector.
struct Courier;

impl<S> Transform<S, ConnectRequest> for Courier {
    type Transform = Courier;

    fn new_transform(self, _connector: S) -> Courier {
        self
    }
}

impl Service<ConnectRequest> for Courier {
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = Reply;

    always_ready!();

    fn call(&self, request: ConnectRequest) -> Reply {
        let errand = NEXT.take().unwrap_or_default();
        if let ConnectRequest::Tunnel(head, _) = request {
            errand.key.set(head.headers().get(SEC_WEBSOCKET_KEY).cloned());
        }
        Reply(errand)
    }
}

/// The reply that awc gets: a 101 with the digest alone, for the rest was verified here.
struct Reply(Rc<Errand>);

impl Future for Reply {
    type Output = Result<ConnectResponse, SendRequestError>;

    /// Whoever brings the digest polls again.
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.accept.take() {
            Some(accept) => Poll::Ready(switched(accept).ok_or(SendRequestError::Timeout)),
            None => Poll::Pending,
        }
    }
}

/// A 101 with this digest, for awc to check.
fn switched(accept: HeaderValue) -> Option<ConnectResponse> {
    SWITCHED.with(|made| made.get_or_init(switching).as_ref().map(|make| make(accept)))
}

type MakeReply = Box<dyn Fn(HeaderValue) -> ConnectResponse>;

thread_local! {
    /// Makes replies of one that awc's own codec has read once.
    static SWITCHED: OnceCell<Option<MakeReply>> = const { OnceCell::new() };
}

fn switching() -> Option<MakeReply> {
    let head = b"HTTP/1.1 101 x\r\n\r\n";
    let ConnectResponse::Tunnel(mut head, _) =
        decoded(&head[..], nowhere(), ConnectResponse::Tunnel)?
    else {
        return None;
    };
    // A map with room for these alone is copied faster than one with room for many.
    let mut lines = HeaderMap::new();
    lines.insert(UPGRADE, HeaderValue::from_static("websocket"));
    lines.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    *head.headers_mut() = lines;
    Some(Box::new(move |accept| {
        let mut head = head.clone();
        head.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        ConnectResponse::Tunnel(head, over(nowhere()))
    }))
}

/// The transport that awc gives back.
fn nowhere() -> BoxedSocket {
    Box::new(tokio::io::empty())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::backoff::Reconnect;
    use crate::dial::link::Plain;
    use crate::options::{Options, Secret};

    fn plan() -> Plan {
        let mut options = Options::new(Reconnect::never());
        options.proxy_from_env = false;
        options.compression = crate::proto::compression::Compression::off();
        options.headers = vec![("x-aPI-key".into(), Secret::new("b C"))];
        options.request.get_mut().cookie = Some(Secret::new("own=1"));
        Plan::new("ws://h:81/a?b", options).unwrap()
    }

    #[test]
    fn a_request_has_its_lines_in_order() {
        let request = request(&plan(), Some("kept=2".into()), b"KEY=");
        let agent = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /a?b HTTP/1.1\r\nHost: h:81\r\nOrigin: http://h:81\r\n\
             User-Agent: actix-ws-client/{agent}\r\nCookie: kept=2; own=1\r\nx-aPI-key: b C\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: KEY=\r\n\r\n"
        );
        assert_eq!(String::from_utf8(request).unwrap(), expected);
    }

    /// Two upgrades of one thread, which both wait for their reply, have each its own key.
    #[tokio::test]
    async fn every_upgrade_has_a_key_of_its_own() {
        let plan = plan();
        let asked = async || {
            let (ours, mut theirs) = duplex(1 << 10);
            let link = Link::Plain(Plain::Own(Box::new(ours)));
            let mut upgrade = pin!(upgrade(&plan, None, link));
            let early = poll_fn(|cx| Poll::Ready(upgrade.as_mut().poll(cx))).await;
            assert!(early.is_pending());
            tokio::task::yield_now().await;
            let mut request = vec![0; 1 << 10];
            let length = theirs.read(&mut request).await.unwrap();
            let request = String::from_utf8(request[..length].to_vec()).unwrap();
            let (_, key) = request.split_once("Sec-WebSocket-Key: ").unwrap();
            key.trim_end().to_owned()
        };
        let (one, other) = tokio::join!(asked(), asked());
        assert!(one.len() == 24 && other.len() == 24 && one != other, "{one} {other}");
    }
}

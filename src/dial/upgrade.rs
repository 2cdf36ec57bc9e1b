//! The upgrade by awc, over a transport that sees the reply's head first.
//!
//! awc writes the request, with the key, and checks the digest of the key in the reply. What it
//! does not do is done here on the way: interim replies are passed over, the head is bounded and
//! verified in full, and a refusal is kept whole.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_service::fn_service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::error::WsClientError;
use awc::http::Uri;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Ready};

use crate::dial::body::Refused;
use crate::dial::head::{self, Head};
use crate::dial::link::Link;
use crate::dial::trace::Trace;
use crate::error::{Error, HandshakeError};
use crate::headers::Headers;
use crate::options::{Options, Plan};
use crate::proto::compression::{Agreed, Compression};
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
const USUAL_HEAD: usize = 1 << 10;

/// awc's own time limits must not come before the deadline of the dial.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Upgrades `link` to a WebSocket. `cookies` are those of the jar.
///
/// # Errors
/// A refusal, or why the reply will not do.
pub(super) async fn upgrade(
    plan: &Plan,
    cookies: Option<String>,
    link: Link,
) -> Result<Upgraded, Rejected> {
    let gate = Owned(Rc::new(RefCell::new(Some(Gate::new(link, &plan.options)))));
    let answer = request(plan, cookies, &gate.0)?.connect().await;
    let gate = gate.0.take().expect("only this function takes the gate");
    match (gate.verdict, answer) {
        (Some(Verdict::Accepted(head, deflate)), Ok(_)) => Ok(Upgraded {
            link: gate.link,
            leftover: gate.inbox,
            status: head.status,
            headers: head.headers,
            deflate,
        }),
        (Some(Verdict::Accepted(..)), Err(_)) => {
            Err(Rejected::Failed(Error::Handshake(HandshakeError::Accept)))
        }
        (Some(Verdict::Refused(head)), _) => {
            let refused = Refused { head, inbox: gate.inbox, link: gate.link };
            Err(Rejected::Refused(Box::new(refused)))
        }
        (Some(Verdict::Bad(err)), _) => Err(Rejected::Failed(Error::Handshake(err))),
        (Some(Verdict::Broken(err)), _) => Err(Rejected::Failed(broken(err))),
        (None, Err(err)) => Err(Rejected::Failed(unsent(err))),
        (None, Ok(_)) => Err(Rejected::Failed(Error::Handshake(HandshakeError::NotHttp))),
    }
}

fn request(
    plan: &Plan,
    cookies: Option<String>,
    gate: &SharedGate,
) -> Result<awc::ws::WebsocketsRequest, Rejected> {
    let target = &plan.target;
    let gate = gate.clone();
    let transport = fn_service(move |info: ConnectInfo<Uri>| {
        let io = GateIo(gate.clone());
        async move { Ok::<_, ConnectError>(Connection::new(info.request().clone(), io)) }
    });
    let connector =
        awc::Connector::new().connector(transport).limit(0).timeout(NEVER).handshake_timeout(NEVER);
    let client = awc::ClientBuilder::new()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .finish();
    // TLS is ours already, so that awc is asked for plain `ws`.
    let uri = format!("ws://{}{}", target.authority, target.resource);
    let parsed = uri.parse::<Uri>().map_err(|err| not_sent(&err))?;
    let mut request = client.ws(parsed).set_camel_case_headers(true);
    for (name, value) in plan.lines(cookies) {
        request = request.header(name, value.reveal());
    }
    Ok(request)
}

fn not_sent(err: &dyn fmt::Display) -> Rejected {
    Rejected::Failed(Error::Handshake(HandshakeError::Request(err.to_string().into())))
}

fn unsent(err: WsClientError) -> Error {
    Error::Handshake(HandshakeError::Request(err.to_string().into()))
}

/// A transport that broke before the reply: under TLS 1.3 that is where a refused client
/// certificate shows.
fn broken(err: io::Error) -> Error {
    match tls::alert(&err) {
        Some(alert) => Error::Tls(alert),
        None => Error::Io(err.into()),
    }
}

type SharedGate = Rc<RefCell<Option<Gate>>>;

/// Our share of the gate. A dial that is cancelled closes its socket, whatever awc still holds.
struct Owned(SharedGate);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.take();
    }
}

/// The transport as awc sees it.
struct Gate {
    link: Link,
    /// What was read and not yet parsed.
    inbox: BytesMut,
    /// What awc may read.
    outbox: BytesMut,
    /// The compression that was offered.
    compression: Compression,
    /// The subprotocols that were offered.
    subprotocols: Vec<String>,
    /// Interim replies so far.
    interim: u32,
    /// Why the request could not be written. There may be a reply all the same: who refuses it may
    /// hang up before it has read it all.
    unwritten: Option<io::Error>,
    /// What the reply was, once it is known.
    verdict: Option<Verdict>,
    /// Logs both heads, if anybody listens.
    trace: Option<Trace>,
}

enum Verdict {
    Accepted(Head, Option<Agreed>),
    Refused(Head),
    Bad(HandshakeError),
    Broken(io::Error),
}

impl Gate {
    fn new(link: Link, options: &Options) -> Gate {
        let (inbox, outbox) = (BytesMut::with_capacity(USUAL_HEAD), BytesMut::new());
        let compression = options.compression;
        let subprotocols = options.request.get().subprotocols.clone();
        Gate {
            link,
            inbox,
            outbox,
            compression,
            subprotocols,
            interim: 0,
            unwritten: None,
            verdict: None,
            trace: Trace::new(options),
        }
    }

    /// Reads until the final head is there, and judges it.
    fn poll_verdict(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.verdict.is_none() {
            match head::take(&mut self.inbox) {
                Err(err) => self.verdict = Some(Verdict::Bad(err)),
                Ok(Some(head)) => self.judge(head),
                Ok(None) => {
                    let read = std::pin::pin!(self.link.read_buf(&mut self.inbox));
                    match ready!(Future::poll(read, cx)) {
                        Ok(0) => {
                            let err = io::Error::new(
                                io::ErrorKind::UnexpectedEof,
                                "the connection ended before the reply did",
                            );
                            self.end(err);
                        }
                        Ok(_) => {}
                        Err(err) => self.end(err),
                    }
                }
            }
        }
        Poll::Ready(())
    }

    /// Nothing more can be read: what broke first was the transport, unless TLS knows better.
    fn end(&mut self, err: io::Error) {
        let told = tls::alert(&err).is_some();
        let first = self.unwritten.take().filter(|_| !told);
        self.verdict = Some(Verdict::Broken(first.unwrap_or(err)));
    }

    fn judge(&mut self, head: Head) {
        if let Some(trace) = &self.trace {
            trace.came(&head);
        }
        match head.status {
            101 => {
                self.verdict = Some(match head.verify(&self.compression, &self.subprotocols) {
                    Ok(deflate) => {
                        self.outbox.extend_from_slice(&head.digest_only());
                        Verdict::Accepted(head, deflate)
                    }
                    Err(err) => Verdict::Bad(err),
                });
            }
            100..=199 if self.interim < MAX_INTERIM => self.interim += 1,
            100..=199 => self.verdict = Some(Verdict::Bad(HandshakeError::Interim)),
            _ => self.verdict = Some(Verdict::Refused(head)),
        }
    }
}

/// awc's handle on the gate. After the upgrade it leads nowhere.
struct GateIo(SharedGate);

impl fmt::Debug for GateIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GateIo")
    }
}

fn over() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl AsyncRead for GateIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        let Some(gate) = shared.as_mut() else {
            return Poll::Ready(Err(over()));
        };
        ready!(gate.poll_verdict(cx));
        if gate.outbox.is_empty() {
            return Poll::Ready(Err(over()));
        }
        let count = gate.outbox.len().min(buf.remaining());
        buf.put_slice(&gate.outbox[..count]);
        gate.outbox.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GateIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut shared = self.0.borrow_mut();
        let Some(gate) = shared.as_mut() else {
            return Poll::Ready(Err(over()));
        };
        if gate.unwritten.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut gate.link).poll_write(cx, buf));
        if let (Ok(count), Some(trace)) = (&written, &mut gate.trace) {
            trace.wrote(&buf[..*count]);
        }
        Poll::Ready(written.or_else(|err| {
            gate.unwritten = Some(err);
            Ok(buf.len())
        }))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        let Some(gate) = shared.as_mut() else {
            return Poll::Ready(Err(over()));
        };
        if gate.unwritten.is_none() {
            gate.unwritten = ready!(Pin::new(&mut gate.link).poll_flush(cx)).err();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl actix_rt::net::ActixStream for GateIo {
    fn poll_read_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }

    fn poll_write_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}

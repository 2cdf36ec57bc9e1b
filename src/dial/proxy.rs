//! A tunnel through a proxy: the connection to the proxy, and CONNECT (RFC 9110, 9.3.6) or SOCKS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::dial::addresses::Addresses;
use crate::dial::clock::Clock;
use crate::dial::head::{self, Head};
use crate::dial::link::{BaseTransport, Link};
use crate::dial::record::{Record, Recorded};
use crate::dial::refusal::{DialError, UnreadRefusal};
use crate::dial::{connect, resolve, socks};
use crate::error::{Error, ProxyError, Stage, TlsError};
use crate::options::{Detour, Plan, Target};
use crate::proxy::{Proxy, Scheme};
use crate::tls;

/// A transport that ends at the server, and the address of the proxy if it is known.
type Tunnel = (BaseTransport, Option<SocketAddr>);

/// Opens a tunnel to the target.
///
/// # Errors
/// `Proxy`; `Dns` if we resolve the name of the target, as SOCKS4 and SOCKS5 demand, and it has no address; `Timeout` in
/// either stage.
pub(super) async fn tunnel(
    plan: &Plan,
    detour: &Detour,
    stage: &Clock,
) -> Result<Tunnel, DialError> {
    let addrs = match detour.proxy.scheme {
        Scheme::Socks4 | Scheme::Socks5 => Some(resolve_target(plan, detour.proxy.scheme).await?),
        _ => None,
    };
    stage.set(Stage::Proxy);
    let limit = plan.options.proxy_timeout.and_then(|limit| Instant::now().checked_add(limit));
    let deadline = limit.into_iter().chain(stage.deadline()).min();
    let opened = async {
        match (detour.proxy.scheme, addrs) {
            (Scheme::Http | Scheme::Https, _) => {
                let reached = connect_to_proxy(plan, detour).await?;
                let peer = reached.peer;
                Ok((request_tunnel(reached, detour, plan, deadline).await?, peer))
            }
            (_, None) => Ok(socks_by_name(plan, detour).await?),
            (_, Some(addrs)) => Ok(socks_by_address(plan, detour, addrs).await?),
        }
    };
    match limit {
        Some(limit) => timeout_at(limit, opened).await.map_err(|_| Error::Timeout(Stage::Proxy))?,
        None => opened.await,
    }
}

/// Resolves the name of the target, for a scheme with which the proxy does not.
async fn resolve_target(plan: &Plan, scheme: Scheme) -> Result<Addresses, Error> {
    let target = &plan.target;
    if scheme != Scheme::Socks4 {
        return resolve::resolve(&target.zoned_host(), target.port).await;
    }
    let addrs = resolve::resolve_v4(&target.host, target.port).await?;
    if addrs.is_empty() {
        let none = io::Error::other("the name has no IPv4 address, and SOCKS4 supports no other");
        return Err(Error::Dns { host: target.host.clone(), source: Arc::new(none) });
    }
    Ok(Addresses::new(addrs, None))
}

/// The transport to the proxy itself.
struct Reached {
    plain: BaseTransport,
    /// The address of the proxy, if it is known.
    peer: Option<SocketAddr>,
    /// Whether the proxy requested a client certificate and there was none to send.
    certificate_wanted: bool,
}

/// Connects to the proxy itself, with TLS if its URL says so.
async fn connect_to_proxy(plan: &Plan, detour: &Detour) -> Result<Reached, Error> {
    let proxy = &detour.proxy;
    let within = Clock::new(Stage::Proxy, Instant::now());
    let reached = connect::connect(plan, &proxy.zoned_host(), proxy.port, &within).await;
    let (plain, peer) = reached.map_err(|err| match err {
        // A closure of the application's failed, not the proxy.
        Error::Handler(_) => err,
        err => Error::Proxy(ProxyError::Unreachable(Arc::new(err))),
    })?;
    let Some(tls) = &detour.tls else {
        return Ok(Reached { plain, peer, certificate_wanted: false });
    };
    let record = Record::default();
    let plain = Recorded::new(plain, record.clone());
    let secured = tls.connect(&proxy.host, plain).await.map_err(|err| match err {
        Error::Tls(err) => Error::Proxy(ProxyError::Tls(hint_at_plain_proxy(err, &record))),
        err => err,
    })?;
    let certificate_wanted = tls::client_certificate_wanted(&secured);
    let plain = BaseTransport::Custom(Box::new(secured));
    Ok(Reached { plain, peer, certificate_wanted })
}

/// Names a proxy that does not speak TLS as the reason why the handshake failed, as far as its first byte shows that.
fn hint_at_plain_proxy(err: TlsError, record: &Record) -> TlsError {
    match record.get(0) {
        // RFC 8446, 5.1: the types of records, from change_cipher_spec to heartbeat.
        Some(20..=24) => err,
        Some(_) => err.with_text("the proxy does not speak TLS: write http:// in its URL"),
        None if err.is_broken_off() => {
            let reason = format!("{err}; if the proxy speaks no TLS, write http:// in its URL");
            err.with_text(reason)
        }
        None => err,
    }
}

/// Opens a SOCKS tunnel to a host whose name the proxy resolves.
async fn socks_by_name(plan: &Plan, detour: &Detour) -> Result<Tunnel, Error> {
    let Reached { plain, peer, .. } = connect_to_proxy(plan, detour).await?;
    let target = socks::Target::Name(&plan.target.host, plan.target.port);
    let plain = socks::connect(plain, &detour.proxy, target).await.map_err(Error::Proxy)?;
    Ok((plain, peer))
}

/// Opens a SOCKS tunnel to the first address that the proxy can reach. They are tried one after the other, in the order
/// of a direct dial.
async fn socks_by_address(
    plan: &Plan,
    detour: &Detour,
    mut addrs: Addresses,
) -> Result<Tunnel, Error> {
    let mut next = addrs.next().await;
    loop {
        let addr = next.expect("there is one, and the last one returns");
        // After a refusal a SOCKS proxy closes the connection, so that each address needs a new one.
        let Reached { plain, peer, .. } = connect_to_proxy(plan, detour).await?;
        let err = match socks::connect(plain, &detour.proxy, socks::Target::Addr(addr)).await {
            Ok(plain) => return Ok((plain, peer)),
            Err(err) => err,
        };
        // The proxy cannot reach this address, or does not support its family. Another address may do. Any other reply
        // would be the same for all of them.
        if matches!(err, ProxyError::Socks { reply: 1 | 3..=6 | 8 | 91, .. }) {
            next = addrs.next().await;
            if next.is_some() {
                continue;
            }
        }
        return Err(Error::Proxy(err));
    }
}

/// Requests a tunnel from an HTTP proxy, and reads the head of its reply.
async fn request_tunnel(
    reached: Reached,
    detour: &Detour,
    plan: &Plan,
    deadline: Option<Instant>,
) -> Result<BaseTransport, DialError> {
    let Reached { mut plain, certificate_wanted, .. } = reached;
    let failed = |err| transport_error(err, detour, certificate_wanted);
    let request = request(&detour.proxy, &plan.target, plan.proxy_user_agent());
    plain.write_all(request.as_bytes()).await.map_err(failed)?;
    plain.flush().await.map_err(failed)?;
    let mut inbox = BytesMut::new();
    let mut interim = 0;
    loop {
        let invalid = |err: &dyn ToString| Error::Proxy(ProxyError::Reply(err.to_string().into()));
        let Some(head) = head::take(&mut inbox).map_err(|err| invalid(&err))? else {
            let read = head::read_more(&mut plain, &mut inbox, deadline).await;
            if matches!(read, Some(Ok(count)) if count > 0) {
                continue;
            }
            let error = match read {
                Some(read) => failed(read.err().unwrap_or_else(ended_early)),
                None => Error::Timeout(Stage::Proxy),
            };
            // The status of a refusal is not lost to what ended its head.
            return Err(cut_refusal(plain, inbox).unwrap_or_else(|| error.into()));
        };
        match head.status {
            // A 2xx to CONNECT has no body, whatever its header lines say (RFC 9110, 9.3.6).
            200..=299 => {
                head.verify_tunnel().map_err(|err| invalid(&err))?;
                return Ok(with_unread(plain, inbox));
            }
            // 101 is a refusal here: no upgrade was requested of the proxy.
            100 | 102..=199 if interim < head::MAX_INTERIM_REPLIES => interim += 1,
            _ => return Err(refused(head, inbox, plain)),
        }
    }
}

/// Returns the refusal that a reply is.
fn refused(head: Head, inbox: BytesMut, plain: BaseTransport) -> DialError {
    let refused = UnreadRefusal::new(head, inbox, Link::Plain(plain));
    DialError::RefusedByProxy(Box::new(refused))
}

/// Returns the error for a proxy that ended the connection.
fn ended_early() -> io::Error {
    let reason = "the proxy ended the connection before its reply";
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

/// Returns the refusal that a head which is cut is, if its status had arrived.
fn cut_refusal(plain: BaseTransport, mut inbox: BytesMut) -> Option<DialError> {
    let head = head::take_cut(&mut inbox).filter(|head| !matches!(head.status, 200..=299))?;
    Some(refused(head, inbox, plain))
}

/// Makes the head of the request. The credentials are all that the application chose of it, and they are encoded, so that
/// no line can be injected.
fn request(proxy: &Proxy, target: &Target, user_agent: Option<&str>) -> String {
    let (host, port) = (&target.host, target.port);
    let authority = match host.parse() {
        Ok(IpAddr::V6(addr)) => format!("[{addr}]:{port}"),
        _ => format!("{host}:{port}"),
    };
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(agent) = user_agent {
        head.push_str(&format!("User-Agent: {agent}\r\n"));
    }
    if let Some(credentials) = &proxy.credentials {
        // RFC 7617, 2
        let pair = STANDARD.encode(format!("{}:{}", credentials.user, credentials.password));
        head.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// Returns the error for a transport to the proxy that failed before its reply. With TLS 1.3 the proxy judges our
/// certificate only then.
fn transport_error(err: io::Error, detour: &Detour, certificate_wanted: bool) -> Error {
    let err = match tls::alert(&err) {
        Some(alert) => Error::Tls(alert),
        None => Error::Io(err.into()),
    };
    let explained = match &detour.tls {
        Some(tls) => tls.explain_late(err, certificate_wanted),
        None => err,
    };
    Error::Proxy(match explained {
        Error::Tls(err) => ProxyError::Tls(err),
        Error::Io(err) => ProxyError::Io(err),
        other => ProxyError::Unreachable(Arc::new(other)),
    })
}

/// Returns a transport that reads `inbox` first: what arrived behind the proxy's reply is from the server.
fn with_unread(plain: BaseTransport, inbox: BytesMut) -> BaseTransport {
    if inbox.is_empty() { plain } else { BaseTransport::Custom(Box::new(Unread { inbox, plain })) }
}

/// A transport of which some bytes were read already.
struct Unread {
    /// The bytes that are read first.
    inbox: BytesMut,
    plain: BaseTransport,
}

impl AsyncRead for Unread {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() {
            return Pin::new(&mut self.plain).poll_read(cx, buf);
        }
        let count = self.inbox.len().min(buf.remaining());
        buf.put_slice(&self.inbox[..count]);
        self.inbox.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unread {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.plain).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.plain).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.plain).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::{Options, Secret, TransportFactory};

    fn asked(proxy: &str, url: &str) -> String {
        request(&Proxy::parse(proxy).unwrap(), &Target::parse(url).unwrap(), Some("a/1"))
    }

    #[test]
    fn a_request_names_host_and_port_and_brackets_ipv6() {
        assert_eq!(
            asked("http://p", "ws://example.com/secret?x"),
            "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\nUser-Agent: a/1\r\n\r\n"
        );
        let v6 = asked("http://p", "wss://[::1]/");
        assert!(v6.starts_with("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"), "{v6}");
    }

    #[test]
    fn credentials_are_decoded_and_encoded() {
        let head = asked("http://us%40er:p%C3%BC:w@p", "ws://u:other@h/");
        let pair = STANDARD.encode("us@er:p\u{fc}:w");
        assert!(head.ends_with(&format!("Proxy-Authorization: Basic {pair}\r\n\r\n")), "{head}");
        assert!(asked("http://u@p", "ws://h").contains(&STANDARD.encode("u:")));
    }

    #[tokio::test]
    async fn a_host_without_ipv4_is_not_asked_of_socks4() {
        let mut options = Options::new(Reconnect::default());
        options.proxy = Some(Secret::new("socks4://p"));
        let mut plan = Plan::new("ws://h/", options).unwrap();
        plan.target.host = "::1".into(); // as if the name led there alone
        let err = resolve_target(&plan, Scheme::Socks4).await.err().unwrap();
        assert!(matches!(&err, Error::Dns { host, .. } if host == "::1"), "{err:?}");
        assert!(resolve_target(&plan, Scheme::Socks5).await.is_ok());
    }

    /// Opens a tunnel to 127.0.0.1 or 127.0.0.2 through a SOCKS4 proxy that sends these replies.
    async fn replied(replies: [u8; 2]) -> Result<Tunnel, Error> {
        let visits = AtomicUsize::new(0);
        let mut options = Options::new(Reconnect::default());
        options.proxy = Some(Secret::new("socks4://p"));
        options.transport = Some(TransportFactory::new(move |_, _| {
            let visit = visits.fetch_add(1, Ordering::Relaxed);
            let reply = [0, replies[visit], 0, 0, 0, 0, 0, 0];
            let last = u8::try_from(visit + 1).unwrap();
            let (ours, mut theirs) = duplex(64);
            async move {
                tokio::spawn(async move {
                    let mut asked = [0; 9];
                    theirs.read_exact(&mut asked).await.unwrap();
                    assert_eq!(asked, [4, 1, 0, 80, 127, 0, 0, last, 0]);
                    theirs.write_all(&reply).await.unwrap();
                });
                Ok(ours)
            }
        }));
        let plan = Plan::new("ws://h/", options).unwrap();
        let addrs = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], 80)));
        let addrs = Addresses::new(addrs.into(), None);
        socks_by_address(&plan, plan.detour.as_ref().unwrap(), addrs).await
    }

    #[tokio::test]
    async fn an_address_that_the_proxy_cannot_reach_gives_way_to_the_next() {
        assert!(replied([91, 90]).await.is_ok());
        let failed = |tunnel: Result<Tunnel, Error>| match tunnel {
            Err(Error::Proxy(ProxyError::Socks { reply, .. })) => reply,
            _ => 0,
        };
        assert_eq!(failed(replied([91, 91]).await), 91);
        // A refusal of the user is the same for every address.
        assert_eq!(failed(replied([93, 90]).await), 93);
    }

    #[tokio::test]
    async fn what_came_behind_the_reply_is_read_first() {
        let (ours, mut theirs) = duplex(64);
        theirs.write_all(b" world").await.unwrap();
        let plain = BaseTransport::Custom(Box::new(ours));
        let mut link = with_unread(plain, BytesMut::from(&b"hello"[..]));
        let mut read = [0; 11];
        // In small reads, and with nothing lost between the two sources.
        for part in read.chunks_mut(3) {
            link.read_exact(part).await.unwrap();
        }
        assert_eq!(&read, b"hello world");
        link.write_all(b"back").await.unwrap();
        let mut back = [0; 4];
        theirs.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"back");
    }
}

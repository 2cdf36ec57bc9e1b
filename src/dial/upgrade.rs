//! The upgrade: the request written, the reply read and verified (RFC 6455, 4.1).
//!
//! Interim replies are passed over, the head is bounded and verified in full, and a refusal is kept whole. awc makes the key
//! and checks its digest (`awc.rs`); it sees nothing of what goes over the wire.

use std::cell::RefCell;
use std::io;
use std::time::SystemTime;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cookies::Jar;
use crate::dial::awc::{Key, PendingKey};
use crate::dial::head::{self, Head};
use crate::dial::link::Link;
use crate::dial::refusal::{DialError, UnreadRefusal};
use crate::dial::trace::Trace;
use crate::error::{Error, HandshakeError};
use crate::headers::Headers;
use crate::options::Plan;
use crate::proto::compression::Agreed;
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

/// Bytes that most requests fit into, and most replies, so that they come in one read.
const TYPICAL_HEAD: usize = 768;

/// The longest path and query that a request is made for, in bytes: no server takes more.
const MAX_RESOURCE: usize = 64 << 10;

/// Upgrades `link` to a WebSocket. The cookies of `jar` go with the request.
///
/// # Errors
/// A refusal, or why the reply will not do.
pub(super) async fn upgrade(
    plan: &Plan,
    jar: Option<&RefCell<Jar>>,
    mut link: Link,
) -> Result<Upgraded, DialError> {
    if plan.target.resource.len() > MAX_RESOURCE {
        let err = HandshakeError::Request("the URL is too long".into());
        return Err(Error::Handshake(err).into());
    }
    let (pending, key) = PendingKey::new().map_err(Error::Handshake)?;
    let trace = Trace::new(&plan.options);
    let request = request(plan, jar.and_then(|jar| cookies(plan, &jar.borrow())), &key);
    let write_error = write_request(&mut link, &request).await.err();
    if let (Some(trace), None) = (&trace, &write_error) {
        trace.log_request(&request);
    }
    drop(request);
    let mut inbox = BytesMut::with_capacity(TYPICAL_HEAD);
    let head = match read_reply(&mut link, &mut inbox, trace.as_ref()).await {
        Ok(head) => head,
        Err(ReplyError::Invalid(err)) => return Err(Error::Handshake(err).into()),
        Err(ReplyError::Transport(err)) => return Err(transport_error(write_error, err).into()),
    };
    if head.status != 101 {
        return Err(DialError::Refused(Box::new(UnreadRefusal { head, inbox, link })));
    }
    let options = &plan.options;
    let offered = options.request.chosen().map_or(&[][..], |request| &request.subprotocols);
    let deflate = head.verify(&options.compression, offered).map_err(Error::Handshake)?;
    pending.check(head.accept()).map_err(Error::Handshake)?;
    let Head { status, headers, .. } = head;
    Ok(Upgraded { link, leftover: inbox, status, headers, deflate })
}

/// What the jar has for this target.
fn cookies(plan: &Plan, jar: &Jar) -> Option<String> {
    if jar.is_empty() { None } else { jar.header(plan.target.place(), SystemTime::now()) }
}

/// The request's head (RFC 6455, 4.1), `Host` first (RFC 9110, 7.2).
fn request(plan: &Plan, cookies: Option<String>, key: &Key) -> BytesMut {
    let mut head = BytesMut::with_capacity(TYPICAL_HEAD);
    let mut add = |part: &str| head.extend_from_slice(part.as_bytes());
    ["GET ", &plan.target.resource, " HTTP/1.1\r\n"].into_iter().for_each(&mut add);
    plan.lines(cookies.as_deref(), |name, value| {
        add(name);
        add(": ");
        value.iter().copied().for_each(&mut add);
        add("\r\n");
    });
    add("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: ");
    head.extend_from_slice(key);
    head.extend_from_slice(b"\r\n\r\n");
    head
}

async fn write_request(link: &mut Link, request: &[u8]) -> io::Result<()> {
    link.write_all(request).await?;
    link.flush().await
}

/// Why there is no reply to be judged.
enum ReplyError {
    Invalid(HandshakeError),
    Transport(io::Error),
}

/// Reads until the final head is there.
async fn read_reply(
    link: &mut Link,
    inbox: &mut BytesMut,
    trace: Option<&Trace>,
) -> Result<Head, ReplyError> {
    let mut interim = 0;
    loop {
        let Some(head) = head::take(inbox).map_err(ReplyError::Invalid)? else {
            if link.read_buf(inbox).await.map_err(ReplyError::Transport)? == 0 {
                let reason = "the connection ended before the reply did";
                return Err(ReplyError::Transport(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    reason,
                )));
            }
            continue;
        };
        if let Some(trace) = trace {
            trace.log_reply(&head);
        }
        match head.status {
            100 | 102..=199 if interim == head::MAX_INTERIM_REPLIES => {
                return Err(ReplyError::Invalid(HandshakeError::Interim));
            }
            100 | 102..=199 => interim += 1,
            _ => return Ok(head),
        }
    }
}

/// A transport that broke before the reply: under TLS 1.3 that is where a refused client
/// certificate shows. What broke first was the transport, unless TLS knows better: who refuses a
/// request may hang up before it has read it all, and there may be a reply all the same.
fn transport_error(write_error: Option<io::Error>, err: io::Error) -> Error {
    match tls::alert(&err) {
        Some(alert) => Error::Tls(alert),
        None => {
            let first = write_error.unwrap_or(err);
            match tls::alert(&first) {
                Some(alert) => Error::Tls(alert),
                None => Error::Io(first.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use tokio::io::{AsyncBufReadExt, BufReader, duplex};

    use super::*;
    use crate::backoff::Reconnect;
    use crate::dial::link::BaseTransport;
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
        let request = request(&plan(), Some("kept=2".into()), b"KEY=KEY=KEY=KEY=KEY=KEY=");
        let agent = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /a?b HTTP/1.1\r\nHost: h:81\r\nOrigin: http://h:81\r\n\
             User-Agent: actix-ws-client/{agent}\r\nCookie: kept=2; own=1\r\nx-aPI-key: b C\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: KEY=KEY=KEY=KEY=KEY=KEY=\r\n\r\n"
        );
        assert_eq!(request, expected);
    }

    #[tokio::test]
    async fn a_reply_is_read_behind_a_request_of_any_length() {
        for length in [1, 2 * TYPICAL_HEAD, MAX_RESOURCE - 1] {
            let (ours, theirs) = duplex(MAX_RESOURCE / 2);
            let target = format!("ws://h:81/{}", "a".repeat(length));
            let plan = Plan::new(&target, Options::new(Reconnect::never())).unwrap();
            let served = async {
                let mut theirs = BufReader::new(theirs);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    theirs.read_line(&mut head).await.unwrap();
                }
                let (_, key) = head.trim_end().split_once("Sec-WebSocket-Key: ").unwrap();
                let digest = actix_http::ws::hash_key(key.as_bytes());
                let reply = format!(
                    "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\nrest",
                    str::from_utf8(&digest).unwrap()
                );
                theirs.write_all(reply.as_bytes()).await.unwrap();
                theirs
            };
            let link = Link::Plain(BaseTransport::Custom(Box::new(ours)));
            let (upgraded, _theirs) = tokio::join!(upgrade(&plan, None, link), served);
            let upgraded = upgraded.ok().unwrap();
            assert_eq!((upgraded.status, &upgraded.leftover[..]), (101, &b"rest"[..]));
            assert!(upgraded.leftover.capacity() <= TYPICAL_HEAD, "{length}");
        }
    }

    /// Two upgrades of one thread, which both wait for their reply, have each its own key.
    #[tokio::test]
    async fn every_upgrade_has_a_key_of_its_own() {
        let plan = plan();
        let asked = async || {
            let (ours, mut theirs) = duplex(1 << 10);
            let link = Link::Plain(BaseTransport::Custom(Box::new(ours)));
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

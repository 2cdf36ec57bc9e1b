//! The upgrade: the request written, the reply read and verified (RFC 6455, 4.1).
//!
//! Interim replies are skipped, the head is bounded and verified in full, and the body of a refusal can be read. awc makes
//! the key and checks its digest (`awc.rs`); it sees nothing of what is sent and received.

use std::cell::RefCell;
use std::io;
use std::time::SystemTime;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::cookies::Jar;
use crate::dial::awc::{Key, PendingKey};
use crate::dial::head::{self, Head};
use crate::dial::link::Link;
use crate::dial::refusal::{DialError, UnreadRefusal};
use crate::dial::trace::Trace;
use crate::error::{Error, HandshakeError, Stage};
use crate::headers::Headers;
use crate::options::Plan;
use crate::proto::compression::Agreed;
use crate::tls;

/// A transport that was upgraded to a WebSocket.
pub(super) struct Upgraded {
    pub(super) link: Link,
    /// Bytes that arrived behind the head of the reply: the first frames.
    pub(super) leftover: BytesMut,
    /// The status and the header lines of the reply.
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// The parameters of permessage-deflate, if it was agreed on.
    pub(super) deflate: Option<Agreed>,
}

/// The initial capacity for a head, in bytes: most requests and most replies fit.
const TYPICAL_HEAD: usize = 768;

/// Upgrades `link` to a WebSocket. The request carries the cookies of `jar`.
///
/// # Errors
/// `Refused` for a status other than 101, also if the rest of its head has not come at the deadline; `Handshake` for a
/// reply that breaks a rule; `Io` or `Tls` for a transport that failed; `Timeout`.
pub(super) async fn upgrade(
    plan: &Plan,
    jar: Option<&RefCell<Jar>>,
    mut link: Link,
    deadline: Option<Instant>,
) -> Result<Upgraded, DialError> {
    let (pending, key) = PendingKey::new().map_err(Error::Handshake)?;
    let trace = Trace::new(&plan.options);
    let cookies = jar.and_then(|jar| cookies(plan, &jar.borrow()));
    let request = request(plan, cookies, &key);
    // A server that refuses a request may reply and hang up before it has read all of it. So a failed write does not
    // end the attempt: there may be a reply to read.
    let write_error = write_request(&mut link, &request).await.err();
    if let (Some(trace), None) = (&trace, &write_error) {
        trace.log_request(&request);
    }
    drop(request);
    let mut inbox = BytesMut::with_capacity(TYPICAL_HEAD);
    let head = match read_reply(&mut link, &mut inbox, trace.as_ref(), deadline).await {
        Ok(head) => head,
        Err(ReplyError::Timeout) => return Err(Error::Timeout(Stage::Upgrade).into()),
        Err(ReplyError::Invalid(err)) => return Err(Error::Handshake(err).into()),
        Err(ReplyError::Transport(err)) => return Err(transport_error(write_error, err).into()),
    };
    if head.status != 101 {
        return Err(DialError::Refused(Box::new(UnreadRefusal::new(head, inbox, link))));
    }
    let options = &plan.options;
    let offered = options.request.if_set().map_or(&[][..], |request| &request.subprotocols);
    // RFC 6455, 4.1: the client fails the connection if any part of the reply is wrong.
    let deflate = head.verify(&options.compression, offered).map_err(Error::Handshake)?;
    pending.check(head.accept()).map_err(Error::Handshake)?;
    let Head { status, headers, .. } = head;
    Ok(Upgraded { link, leftover: inbox, status, headers, deflate })
}

/// Returns the value of `Cookie` for the target, if the jar has any cookie for it.
fn cookies(plan: &Plan, jar: &Jar) -> Option<Vec<u8>> {
    if jar.is_empty() { None } else { jar.header(plan.target.place(), SystemTime::now()) }
}

/// Makes the head of the request (RFC 6455, 4.1), with `Host` first (RFC 9110, 7.2).
pub(super) fn request(plan: &Plan, cookies: Option<Vec<u8>>, key: &Key) -> BytesMut {
    let mut head = BytesMut::with_capacity(TYPICAL_HEAD);
    let mut add = |part: &[u8]| head.extend_from_slice(part);
    [b"GET ", plan.target.resource.as_bytes(), b" HTTP/1.1\r\n"].into_iter().for_each(&mut add);
    plan.lines(cookies.as_deref(), |name, value| {
        add(name.as_bytes());
        add(b": ");
        value.iter().copied().for_each(&mut add);
        add(b"\r\n");
    });
    add(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: ");
    head.extend_from_slice(key);
    head.extend_from_slice(b"\r\n\r\n");
    head
}

async fn write_request(link: &mut Link, request: &[u8]) -> io::Result<()> {
    link.write_all(request).await?;
    link.flush().await
}

/// Why no reply could be read.
enum ReplyError {
    /// What arrived is no reply.
    Invalid(HandshakeError),
    /// The transport failed or ended first.
    Transport(io::Error),
    /// The deadline passed first.
    Timeout,
}

/// Reads the head of the final reply, and skips interim ones.
async fn read_reply(
    link: &mut Link,
    inbox: &mut BytesMut,
    trace: Option<&Trace>,
    deadline: Option<Instant>,
) -> Result<Head, ReplyError> {
    let mut interim = 0;
    loop {
        let Some(head) = head::take(inbox).map_err(ReplyError::Invalid)? else {
            let read = head::read_more(link, inbox, deadline).await;
            if matches!(read, Some(Ok(count)) if count > 0) {
                continue;
            }
            if let Some(head) = head::take_cut(inbox) {
                return Ok(head);
            }
            let reason = "the connection ended before the reply did";
            let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, reason);
            return Err(match read {
                None => ReplyError::Timeout,
                Some(read) => ReplyError::Transport(read.err().unwrap_or_else(ended)),
            });
        };
        if let Some(trace) = trace {
            trace.log_reply(&head);
        }
        match head.status {
            100 | 102..=199 if interim == head::MAX_INTERIM_REPLIES => {
                return Err(ReplyError::Invalid(HandshakeError::Interim));
            }
            // 101 is the one status below 200 that is final (RFC 9110, 15.2).
            100 | 102..=199 => interim += 1,
            _ => return Ok(head),
        }
    }
}

/// Returns the error for a transport that failed before the reply.
///
/// An alert of TLS explains the failure best, wherever it was read: with TLS 1.3 a server refuses a client certificate
/// after the handshake. Without one, the first failure counts: that of the write, if it failed.
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

    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, duplex};

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
        for length in [1, 2 * TYPICAL_HEAD, (64 << 10) - 1] {
            let (ours, theirs) = duplex(32 << 10);
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
            let (upgraded, _theirs) = tokio::join!(upgrade(&plan, None, link, None), served);
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
            let mut upgrade = pin!(upgrade(&plan, None, link, None));
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

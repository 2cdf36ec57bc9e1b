//! awc's part in the opening handshake: it makes the key, and checks the digest of the key.
//!
//! awc gets no transport. [`Exchange`] stands in the place of its connector: it takes the key out of awc's request, and
//! answers with a 101 that holds the digest of the reply, which `upgrade.rs` has read, bounded and verified by then.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_http::h1::ClientCodec;
use actix_http::ws::hash_key;
use actix_http::{ResponseHead, ServiceConfig, StatusCode};
use actix_service::{Service, always_ready};
use awc::error::{SendRequestError, WsClientError};
use awc::http::Uri;
use awc::http::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use awc::middleware::Transform;
use awc::ws::Codec;
use awc::{BoxedSocket, Client, ClientResponse, ConnectRequest, ConnectResponse};
use tokio::runtime;
use tokio::task::LocalSet;

use crate::dial::redact::quoted;
use crate::error::HandshakeError;
use crate::proto::framed::{Framed, unbuffered};

/// The value of `Sec-WebSocket-Key`: 16 random bytes in base64 (RFC 6455, 4.1).
pub(super) type Key = [u8; 24];

/// A key whose digest the server still owes: a request of awc's that waits for its reply.
pub(super) struct PendingKey {
    request: Pin<Box<dyn Future<Output = Answer>>>,
    exchange: Rc<Exchange>,
    key: Key,
}

type Answer = Result<(ClientResponse, Framed<BoxedSocket, Codec>), WsClientError>;

impl PendingKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`HandshakeError::Request`] when awc makes no request.
    pub(super) fn new() -> Result<(PendingKey, Key), HandshakeError> {
        let (request, exchange) =
            AWC.with(|awc| (awc.client.ws(awc.uri.clone()), awc.exchange.clone()));
        // The server never sees this request. awc would else format a `Host` out of the URI.
        let request = request.set_header(HOST, HeaderValue::from_static("h"));
        let request = Box::pin(request.connect());
        let mut pending = PendingKey { request, exchange, key: [0; 24] };
        match (pending.poll(), pending.exchange.key.take()) {
            (Poll::Pending, Some(key)) => {
                pending.key = key;
                Ok((pending, key))
            }
            (Poll::Ready(Err(err)), _) => Err(HandshakeError::Request(err.to_string().into())),
            _ => Err(HandshakeError::Request("awc made no key".into())),
        }
    }

    /// Checks the value of `Sec-WebSocket-Accept` against the key (RFC 6455, 4.2.2, 5.4).
    ///
    /// # Errors
    /// [`HandshakeError::Accept`] when it is not the digest of the key.
    pub(super) fn check(mut self, accept: &[u8]) -> Result<(), HandshakeError> {
        self.exchange.accept.set(HeaderValue::from_bytes(accept).ok());
        let answer = self.poll();
        self.exchange.accept.set(None);
        match answer {
            Poll::Ready(Ok(_)) => Ok(()),
            _ => {
                let (came, expected) = (quoted(accept), quoted(&hash_key(&self.key)));
                Err(HandshakeError::Accept(
                    format!(
                        "Sec-WebSocket-Accept is {came}, expected {expected}, the digest of our key"
                    )
                    .into(),
                ))
            }
        }
    }

    /// Polls awc's request. Nothing needs to wake it: the exchange is its only source.
    fn poll(&mut self) -> Poll<Answer> {
        self.request.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }
}

thread_local! {
    // Kept for the thread: a client of awc's takes longer to build than the rest of a handshake takes.
    static AWC: Awc = Awc::new();
}

/// What the handshakes of a thread share.
struct Awc {
    client: Client,
    /// The URI of every request, which goes nowhere.
    uri: Uri,
    exchange: Rc<Exchange>,
}

impl Awc {
    fn new() -> Awc {
        let exchange = Rc::new(Exchange {
            key: Cell::default(),
            accept: Cell::default(),
            config: service_config(),
        });
        let builder = Client::builder().wrap(Connector(exchange.clone()));
        let client = builder.disable_redirects().disable_timeout().no_default_headers().finish();
        Awc { client, uri: Uri::from_static("http://h/"), exchange }
    }
}

/// What passes between a handshake and awc. Both values are taken in the poll in which they are set, so that handshakes
/// that run at the same time do not see each other's.
struct Exchange {
    /// The key of the request that awc has just made.
    key: Cell<Option<Key>>,
    /// The digest for the request that is polled.
    accept: Cell<Option<HeaderValue>>,
    /// The settings of the codec that a reply comes with.
    config: ServiceConfig,
}

impl Exchange {
    /// Makes the reply for awc: the lines that it looks at, and a codec over no transport.
    fn reply(&self, accept: HeaderValue) -> ConnectResponse {
        let mut head = ResponseHead::new(StatusCode::SWITCHING_PROTOCOLS);
        head.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        head.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        let nowhere: BoxedSocket = Box::new(tokio::io::empty());
        ConnectResponse::Tunnel(head, unbuffered(nowhere, ClientCodec::new(self.config.clone())))
    }
}

/// The service in the place of awc's connector.
struct Connector(Rc<Exchange>);

impl<S> Transform<S, ConnectRequest> for Connector {
    type Transform = Connector;

    fn new_transform(self, _connector: S) -> Connector {
        self
    }
}

impl Service<ConnectRequest> for Connector {
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = Reply;

    always_ready!();

    fn call(&self, request: ConnectRequest) -> Reply {
        if let ConnectRequest::Tunnel(head, _) = request {
            let key = head.headers().get(SEC_WEBSOCKET_KEY);
            self.0.key.set(key.and_then(|key| key.as_bytes().try_into().ok()));
        }
        Reply(self.0.clone())
    }
}

/// The reply to awc's request: pending until there is a digest.
struct Reply(Rc<Exchange>);

impl Future for Reply {
    type Output = Result<ConnectResponse, SendRequestError>;

    /// Registers no waker: `PendingKey::check` sets the digest and polls.
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        let accept = self.0.accept.take();
        accept.map_or(Poll::Pending, |accept| Poll::Ready(Ok(self.0.reply(accept))))
    }
}

/// Makes the settings of a codec. `ServiceConfig` spawns a task that updates the `Date` header twice a second, and we
/// write no heads: spawned on the caller's `LocalSet`, the task would wake a thread without connections for ever. So the
/// settings are made inside a runtime that never runs, and the task is dropped with that.
fn service_config() -> ServiceConfig {
    let Ok(idle) = runtime::Builder::new_current_thread().build() else {
        return ServiceConfig::default();
    };
    let config = {
        let _idle = idle.enter();
        let tasks = LocalSet::new();
        let _tasks = tasks.enter();
        ServiceConfig::default()
    };
    // To drop a runtime blocks, which panics inside a task of another runtime.
    idle.shutdown_background();
    config
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A `LocalSet` completes when all of its tasks have.
    #[tokio::test]
    async fn a_wrong_digest_is_refused_and_no_task_is_left() {
        let tasks = LocalSet::new();
        let checked = |right| {
            let (pending, key) = PendingKey::new().unwrap();
            let digest = hash_key(&key);
            pending.check(if right { &digest } else { b"x" })
        };
        let all = async { [true, false, true].map(checked) };
        let checked = tasks.run_until(all).await;
        assert!(matches!(checked, [Ok(()), Err(HandshakeError::Accept(_)), Ok(())]), "{checked:?}");
        timeout(Duration::from_secs(5), tasks).await.expect("a task is left");
    }

    #[tokio::test]
    async fn handshakes_at_the_same_time_have_keys_of_their_own() {
        let (one, one_key) = PendingKey::new().unwrap();
        let (other, other_key) = PendingKey::new().unwrap();
        assert_ne!(one_key, other_key);
        let refused = one.check(&hash_key(&other_key)).unwrap_err().to_string();
        let text = |digest: [u8; 28]| String::from_utf8(digest.to_vec()).unwrap();
        let (came, expected) = (text(hash_key(&other_key)), text(hash_key(&one_key)));
        let words = format!("is \"{came}\", expected \"{expected}\"");
        assert!(refused.contains(&words), "{refused}");
        assert_eq!(other.check(&hash_key(&other_key)), Ok(()));
    }
}

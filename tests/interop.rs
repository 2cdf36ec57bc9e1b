//! The same conversation with two other implementations: tungstenite and actix-ws, plain and over
//! TLS.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpServer, web};
use actix_ws::{CloseReason, Item};
use actix_ws_client::proto::message::ControlPayload;
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Probe, ServerTls};
use actix_ws_client::{
    CloseCode, Connection, ConnectionBuilder, OutcomeKind, Payload, Reconnect, Tls, command, event,
};
use futures_util::{SinkExt, StreamExt};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message as Theirs;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{
    CloseCode as TheirCode, Data, OpCode,
};

/// A certificate for loopback: a server's, and as PEM for the client.
fn certificate() -> (ServerTls, String) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    (ServerTls::from_pem(pem.as_bytes(), key.as_bytes()), pem)
}

fn loopback() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Runs the conversation. Each server below echoes messages, except for three texts that are
/// commands:
///
/// `fragments`: send the message "in three parts" in three frames; `ping`: send a Ping "are you
/// there?", and the text "yes" once its Pong is received; `close`: send a Close 4000 "bye".
async fn conversation(builder: impl Fn() -> ConnectionBuilder) {
    let probe = Probe::new();
    let connection = probe.attach(builder().no_reconnect()).start().unwrap();
    probe.next::<event::Open>().await;
    let say = |payload: Payload| connection.send(command::Send::from(payload));
    let sent =
        ["grüße".into(), Payload::from(vec![1, 2, 3]), Payload::from(vec![7; 300_000]), "".into()];
    for payload in sent {
        say(payload.clone()).await.unwrap().unwrap();
        assert_eq!(probe.next_message().await.payload, payload);
    }
    say("fragments".into()).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("in three parts"));
    say("ping".into()).await.unwrap().unwrap();
    assert_eq!(&probe.next::<event::Ping>().await.payload[..], b"are you there?");
    assert_eq!(probe.next_message().await.payload.as_text(), Some("yes"));
    let payload = ControlPayload::new("and you?").unwrap();
    connection.send(command::Ping { payload }).await.unwrap().unwrap();
    let pong = probe.next::<event::Pong>().await;
    assert_eq!(&pong.payload[..], b"and you?");
    assert!(pong.round_trip.is_some());

    // The client closes first.
    let close = command::Close::new(CloseCode::from(4001), "done").unwrap();
    let outcome = connection.send(close).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code.value(), &*close.reason, close.by), (4001, "done", By::Local));
    assert!(close.clean, "{close:?}");
    probe.stopped().await;

    // The server closes first, and the client reconnects.
    let probe = Probe::new();
    let soon = Reconnect::fixed(Duration::from_millis(20));
    let connection = probe.attach(builder().reconnect(soon)).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Send::text("close")).await.unwrap().unwrap();
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code.value(), &*close.reason, close.by), (4000, "bye", By::Remote));
    assert!(close.clean, "{close:?}");
    assert_eq!(probe.next::<event::Open>().await.epoch, 2);
    drop(connection);
    probe.stopped().await;
    assert!(probe.all::<event::Error>().is_empty());
    probe.check().unwrap();
}

/// The server side of the conversation, by tungstenite.
async fn tungstenite<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let part = |text: &'static str, data, last| {
        Theirs::Frame(Frame::message(text, OpCode::Data(data), last))
    };
    while let Some(Ok(message)) = socket.next().await {
        let replies = match message {
            Theirs::Text(text) if text == "fragments" => vec![
                part("in ", Data::Text, false),
                part("three ", Data::Continue, false),
                part("parts", Data::Continue, true),
            ],
            Theirs::Text(text) if text == "ping" => vec![Theirs::Ping("are you there?".into())],
            Theirs::Pong(payload) if payload == "are you there?" => vec![Theirs::text("yes")],
            Theirs::Text(text) if text == "close" => {
                let frame = CloseFrame { code: TheirCode::from(4000), reason: "bye".into() };
                vec![Theirs::Close(Some(frame))]
            }
            Theirs::Text(_) | Theirs::Binary(_) => vec![message],
            _ => vec![],
        };
        for reply in replies {
            socket.send(reply).await.unwrap();
        }
    }
}

/// Serves with tungstenite, over TLS if there is a certificate.
fn serve_tungstenite(tls: Option<ServerTls>) -> SocketAddr {
    let (listener, addr) = loopback();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    actix::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &tls {
                Some(tls) => tungstenite(tls.accept(stream).await.unwrap()).await,
                None => tungstenite(stream).await,
            }
        }
    });
    addr
}

#[actix::test]
async fn a_conversation_with_tungstenite() {
    let addr = serve_tungstenite(None);
    conversation(|| Connection::builder(format!("ws://{addr}/"))).await;
}

#[actix::test]
async fn a_conversation_with_tungstenite_over_tls() {
    let (secured, pem) = certificate();
    let addr = serve_tungstenite(Some(secured));
    let tls = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    let url = format!("wss://localhost:{}/", addr.port());
    conversation(|| Connection::builder(&url).tls(tls.clone())).await;
}

/// The server side of the conversation, by actix-ws.
async fn actix_ws_server(
    request: HttpRequest,
    body: web::Payload,
) -> Result<actix_web::HttpResponse, actix_web::Error> {
    let (response, mut session, stream) = actix_ws::handle(&request, body)?;
    let mut stream = stream.max_frame_size(1 << 20);
    actix_web::rt::spawn(async move {
        while let Some(Ok(message)) = stream.recv().await {
            match message {
                actix_ws::Message::Text(text) if text == "fragments" => {
                    let first = Item::FirstText("in ".into());
                    session.continuation(first).await.unwrap();
                    session.continuation(Item::Continue("three ".into())).await.unwrap();
                    session.continuation(Item::Last("parts".into())).await.unwrap();
                }
                actix_ws::Message::Text(text) if text == "ping" => {
                    session.ping(b"are you there?").await.unwrap();
                }
                actix_ws::Message::Pong(payload) if payload == "are you there?" => {
                    session.text("yes").await.unwrap();
                }
                actix_ws::Message::Text(text) if text == "close" => {
                    let code = actix_ws::CloseCode::Other(4000);
                    let reason = CloseReason { code, description: Some("bye".to_owned()) };
                    session.close(Some(reason)).await.unwrap();
                    return;
                }
                actix_ws::Message::Text(text) => session.text(text).await.unwrap(),
                actix_ws::Message::Binary(bytes) => session.binary(bytes).await.unwrap(),
                actix_ws::Message::Ping(payload) => session.pong(&payload).await.unwrap(),
                actix_ws::Message::Close(reason) => {
                    session.close(reason).await.unwrap();
                    return;
                }
                _ => {}
            }
        }
    });
    Ok(response)
}

/// Serves with actix-web, over TLS if there is a certificate.
fn serve_actix(tls: Option<ServerTls>) -> SocketAddr {
    let (listener, addr) = loopback();
    let server = HttpServer::new(|| App::new().route("/", web::get().to(actix_ws_server)));
    let server = server.workers(1).disable_signals();
    let server = match tls {
        Some(tls) => server.listen_rustls_0_23(listener, ServerConfig::clone(tls.config())),
        None => server.listen(listener),
    };
    actix::spawn(server.unwrap().run());
    addr
}

#[actix::test]
async fn a_conversation_with_actix_ws() {
    let addr = serve_actix(None);
    conversation(|| Connection::builder(format!("ws://{addr}/"))).await;
}

#[actix::test]
async fn a_conversation_with_actix_ws_over_tls() {
    let (secured, pem) = certificate();
    let addr = serve_actix(Some(secured));
    let tls = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    let url = format!("wss://localhost:{}/", addr.port());
    conversation(|| Connection::builder(&url).tls(tls.clone())).await;
}

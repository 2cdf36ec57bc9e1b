//! A relay: browsers connect to this server, and all of them share one connection to the upstream.
//!
//! `cargo run --example relay -- wss://… [PORT]` serves until Ctrl-C or SIGTERM. What the upstream sends goes to every
//! browser, and what a browser sends goes to the upstream. A browser that falls 1,024 messages behind is closed
//! with 1013, and the others do not notice.

use std::error::Error;
use std::time::Duration;

use actix::Addr;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, get, rt, web};
use actix_ws::{CloseCode, CloseReason, Closed, Message, MessageStream, Session};
use actix_ws_client::{Connection, Payload, command, event};
use tokio::select;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::timeout;

/// How many messages may wait for a browser.
const BEHIND: usize = 1024;

/// How long a browser may take for one message before it is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state that all workers share.
struct Relay {
    /// What comes from the upstream. Its only sender is the handler of the connection, and ends with that.
    news: broadcast::Receiver<Payload>,
    /// Accepts commands from any thread, and keeps the connection alive.
    upstream: Addr<Connection>,
}

#[get("/")]
async fn browser(
    request: HttpRequest,
    body: web::Payload,
    relay: web::Data<Relay>,
) -> actix_web::Result<HttpResponse> {
    let (response, mut session, messages) = actix_ws::handle(&request, body)?;
    let (news, upstream) = (relay.news.resubscribe(), relay.upstream.clone());
    rt::spawn(async move {
        let reason = serve(&mut session, messages, news, upstream).await;
        // An error means that the browser is gone, or does not read.
        let _ = timeout(PATIENCE, session.close(reason)).await;
    });
    Ok(response)
}

/// Relays between one browser and the upstream until either ends, and returns what the browser is closed with.
async fn serve(
    session: &mut Session,
    mut messages: MessageStream,
    mut news: broadcast::Receiver<Payload>,
    upstream: Addr<Connection>,
) -> Option<CloseReason> {
    loop {
        let sent = select! {
            news = news.recv() => match news {
                Ok(payload) => timeout(PATIENCE, send(session, payload)).await,
                Err(RecvError::Lagged(missed)) => {
                    let behind = format!("too slow: {missed} messages were missed");
                    return Some((CloseCode::Again, behind).into());
                }
                Err(RecvError::Closed) => return Some(CloseCode::Away.into()),
            },
            message = messages.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    match upstream.send(command::Send::text(text)).await {
                        Ok(Ok(_)) => Ok(Ok(())),
                        // The upstream is not open, or takes no more: the browser may try again.
                        _ => timeout(PATIENCE, session.text("not sent")).await,
                    }
                }
                Some(Ok(Message::Ping(bytes))) => timeout(PATIENCE, session.pong(&bytes)).await,
                Some(Ok(Message::Close(reason))) => return reason,
                Some(Ok(_)) => Ok(Ok(())),
                Some(Err(_)) | None => return None,
            },
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(Closed)) | Err(_) => return None,
        }
    }
}

async fn send(session: &mut Session, payload: Payload) -> Result<(), Closed> {
    match payload {
        Payload::Text(text) => session.text(text).await,
        Payload::Binary(bytes) => session.binary(bytes).await,
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: relay URL [PORT]")?;
    let port = args.next().map_or(Ok(0), |port| port.parse::<u16>())?;

    let (sender, news) = broadcast::channel(BEHIND);
    let on_message = move |message: event::Message| {
        // An error means that there is no browser.
        let _ = sender.send(message.payload.detach());
    };
    let upstream = Connection::builder(url).on_message(on_message).start()?;

    let relay = web::Data::new(Relay { news, upstream: upstream.clone() });
    let app = move || App::new().app_data(relay.clone()).service(browser);
    // Without `disable_signals` actix-web would stop while the browsers are still connected.
    let server = HttpServer::new(app).workers(2).disable_signals().bind(("127.0.0.1", port))?;
    println!("relaying on ws://{}/", server.addrs()[0]);
    let server = server.run();
    let (handle, serving) = (server.handle(), rt::spawn(server));

    let mut terminated = signal(SignalKind::terminate())?;
    select! {
        _ = ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    // The end of the upstream ends its handler, and with it every browser, with 1001.
    let outcome = upstream.send(command::Close::normal()).await?;
    println!("upstream: {outcome}");
    handle.stop(true).await;
    serving.await??;
    println!("stopped");
    Ok(())
}

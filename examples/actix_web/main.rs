//! A web application with a connection: `/health`, `/status`, `POST /say/…`, `/pause` and `/resume`, and a clean
//! shutdown.
//!
//! `cargo run --example actix_web -- wss://…` serves until Ctrl-C or SIGTERM. Without a URL it starts
//! an echo server, sends each of these requests to itself once, and shuts down as after Ctrl-C.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, Responder, get, post, web};
use actix_ws_client::{Connection, Event, Handle, Phase, command};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::net::TcpListener;

/// What all workers share. A handle sends commands from any thread, and does not keep the connection alive.
struct Feed(Handle);

/// How long `/health` waits for the connection's thread, and how long a handler may take for an event.
const HEALTHY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Answers 200 while a socket is open and its events are handled.
#[get("/health")]
async fn health(feed: web::Data<Feed>) -> impl Responder {
    let [answer, handling] = HEALTHY;
    // For this answer the connection looks for handlers that have ended.
    let problem = match tokio::time::timeout(answer, feed.0.send(command::Status)).await {
        Err(_) => "the connection's thread is blocked".to_owned(),
        Ok(Err(_)) => "gone".to_owned(),
        Ok(Ok(now)) => match (now.phase, now.last_error) {
            (Phase::Open, _) if now.figures.unheard > 0 => "a handler has ended".to_owned(),
            (Phase::Open, _) if now.blocked.is_some_and(|time| time > handling) => {
                "a handler is stuck".to_owned()
            }
            (Phase::Open, _) => return HttpResponse::Ok().body("open"),
            (phase, Some(error)) => format!("{phase}: {error}"),
            (phase, None) => phase.to_string(),
        },
    };
    HttpResponse::ServiceUnavailable().body(problem)
}

#[get("/status")]
async fn status(feed: web::Data<Feed>) -> impl Responder {
    let Ok(status) = feed.0.send(command::Status).await else {
        return HttpResponse::ServiceUnavailable().body("gone");
    };
    HttpResponse::Ok().json(json!({
        "phase": status.phase.to_string(),
        "openings": status.epoch,
        "messages_in": status.figures.messages_in,
        "round_trip_ms": status.figures.round_trip.map(|time| time.as_secs_f64() * 1e3),
        "last_error": status.last_error.map(|error| error.to_string()),
    }))
}

#[post("/say/{words}")]
async fn say(words: web::Path<String>, feed: web::Data<Feed>) -> impl Responder {
    match feed.0.send(command::Send::text(words.into_inner())).await {
        Ok(_) => HttpResponse::Accepted().finish(),
        // Not open now, or its send buffer is full: the client may retry.
        _ => HttpResponse::ServiceUnavailable().insert_header(("Retry-After", "1")).finish(),
    }
}

/// Closes the socket, for as long as its server is under maintenance: `/health` is 503 then.
#[post("/pause")]
async fn pause(feed: web::Data<Feed>) -> impl Responder {
    accepted(feed.0.send(command::Pause).await)
}

/// Ends a pause.
#[post("/resume")]
async fn resume(feed: web::Data<Feed>) -> impl Responder {
    accepted(feed.0.send(command::Resume).await)
}

fn accepted(answer: Result<(), command::Closed>) -> HttpResponse {
    match answer {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(closed) => HttpResponse::ServiceUnavailable().body(closed.to_string()),
    }
}

/// Prints an event. Called on the main thread, like the connection.
fn print(event: Event) {
    match event {
        Event::Open(open) => println!("feed: open, epoch {}", open.epoch),
        Event::Message(message) => {
            println!("feed: {}", message.payload.as_text().unwrap_or("(binary)"));
        }
        Event::Error(failed) => println!("feed: {}; {}", failed.error, failed.next),
        Event::Close(close) => println!("feed: closed with {} by {:?}", close.code, close.by),
        _ => {}
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1);
    let demonstration = url.is_none();
    let url = match url {
        Some(url) => url,
        None => echo_server().await?,
    };

    let builder = Connection::builder(url).name("feed").on_event(print);
    let feed = web::Data::new(Feed(builder.handle()));
    let connection = builder.start()?; // lives as long as this address does
    let app = move || {
        let app = App::new().app_data(feed.clone()).service(health).service(status);
        app.service(say).service(pause).service(resume)
    };
    // Without `disable_signals` actix-web would stop on a signal while the connection is still open.
    let server = HttpServer::new(app).workers(2).disable_signals().bind("127.0.0.1:0")?;
    let addr = server.addrs()[0];
    println!("serving http://{addr}/health, /status and POST /say/hello");
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);

    if demonstration {
        ask(addr).await?;
    } else {
        stop_signal().await?;
    }

    // First close the connection, so that its Close frame is sent: a connection that is dropped
    // with the actor system sends none. Meanwhile requests are answered with 503. Then stop the
    // server, which completes the requests that it has begun.
    let outcome = connection.send(command::Close::normal()).await?;
    println!("connection: {}, after {} opening", outcome.kind, outcome.epochs);
    handle.stop(true).await;
    serving.await??;
    println!("server: stopped");
    Ok(())
}

/// Waits for Ctrl-C, or for the SIGTERM of a service manager.
#[cfg(unix)]
async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn stop_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Sends each request once.
async fn ask(addr: SocketAddr) -> Result<(), Box<dyn Error>> {
    let client = awc::Client::new();
    let healthy = async {
        // Before the first opening, `/health` is 503.
        while !client.get(format!("http://{addr}/health")).send().await?.status().is_success() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, Box<dyn Error>>(())
    };
    tokio::time::timeout(Duration::from_secs(10), healthy).await??;
    println!("GET /health: 200");
    let said = client.post(format!("http://{addr}/say/hello")).send().await?;
    println!("POST /say/hello: {}", said.status().as_u16());
    let answered = async {
        loop {
            let mut reply = client.get(format!("http://{addr}/status")).send().await?;
            let json: serde_json::Value = serde_json::from_slice(&reply.body().await?)?;
            if json["messages_in"] == 1 {
                return Ok::<_, Box<dyn Error>>(json);
            }
        }
    };
    let json = tokio::time::timeout(Duration::from_secs(10), answered).await??;
    println!("GET /status: {json}");
    Ok(())
}

/// Starts an echo server by tokio-tungstenite, and returns its URL.
async fn echo_server() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    actix_web::rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            let (sink, stream) = socket.split();
            let text = |message: &tokio_tungstenite::tungstenite::Message| {
                std::future::ready(message.is_text())
            };
            // An error means that the client has gone.
            let _ = stream.try_filter(text).forward(sink).await;
        }
    });
    Ok(url)
}

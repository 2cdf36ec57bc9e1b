//! A web application that holds a connection: `/health`, `/status`, `POST /say/…`, and a clean end.
//!
//! `cargo run --example actix_web -- wss://…` serves until Ctrl-C. Without a URL it brings a server
//! of its own, asks itself for all of that, and ends as Ctrl-C would have it.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use actix_web::{App, HttpResponse, HttpServer, Responder, get, post, web};
use actix_ws_client::{Connection, Phase, Watch, command, event};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::net::TcpListener;

/// What all workers share.
struct Feed {
    /// It can be sent to from any thread. As long as it lives, so does the connection.
    connection: Addr<Connection>,
    /// Read without a message to the actor: a probe that comes each second costs nothing.
    watch: Watch,
}

#[get("/health")]
async fn health(feed: web::Data<Feed>) -> impl Responder {
    match feed.watch.phase() {
        Phase::Open => HttpResponse::Ok().body("open"),
        phase => HttpResponse::ServiceUnavailable().body(phase.to_string()),
    }
}

#[get("/status")]
async fn status(feed: web::Data<Feed>) -> impl Responder {
    let Ok(status) = feed.connection.send(command::Status).await else {
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
    match feed.connection.send(command::Send::text(words.into_inner())).await {
        Ok(Ok(_)) => HttpResponse::Accepted().finish(),
        // Not open now, or the server reads too slowly: whoever asked may try again.
        _ => HttpResponse::ServiceUnavailable().insert_header(("Retry-After", "1")).finish(),
    }
}

/// What the application does with messages. It runs on the main thread, beside the connection.
struct Printer;

impl Actor for Printer {
    type Context = Context<Printer>;
}

impl Handler<event::Open> for Printer {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        println!("feed: open, epoch {}", open.epoch);
    }
}

impl Handler<event::Message> for Printer {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        println!("feed: {}", message.payload.as_text().unwrap_or("(binary)"));
    }
}

impl Handler<event::Error> for Printer {
    type Result = ();

    fn handle(&mut self, failed: event::Error, _: &mut Self::Context) {
        println!("feed: {}; next: {:?}", failed.error, failed.next);
    }
}

impl Handler<event::Close> for Printer {
    type Result = ();

    fn handle(&mut self, close: event::Close, _: &mut Self::Context) {
        println!("feed: closed with {} by {:?}", close.code, close.by);
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

    let builder = Connection::builder(url).name("feed").handler(Printer.start());
    let watch = builder.watch();
    let connection = builder.start()?;

    let feed = web::Data::new(Feed { connection: connection.clone(), watch });
    let app =
        move || App::new().app_data(feed.clone()).service(health).service(status).service(say);
    // The signals are ours: actix-web would stop with the connection still open.
    let server = HttpServer::new(app).workers(2).disable_signals().bind("127.0.0.1:0")?;
    let addr = server.addrs()[0];
    println!("http://{addr}/health, /status, POST /say/hello");
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);

    if demonstration {
        ask(addr).await?;
    } else {
        tokio::signal::ctrl_c().await?;
    }

    // First the connection, with its Close frame: what is dropped with the system says no goodbye.
    // Requests that still come are told 503. Then the server, once it has answered them.
    let outcome = connection.send(command::Close::normal()).await?;
    println!("connection: {}, after {} opening", outcome.kind, outcome.epochs);
    handle.stop(true).await;
    serving.await??;
    println!("server: stopped");
    Ok(())
}

/// Asks for everything once.
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
            let told: serde_json::Value = serde_json::from_slice(&reply.body().await?)?;
            if told["messages_in"] == 1 {
                return Ok::<_, Box<dyn Error>>(told);
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(10), answered).await??;
    println!("GET /status: {told}");
    Ok(())
}

/// Starts a server by tokio-tungstenite, and says where.
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
            // An error here is the end of the client.
            let _ = stream.try_filter(text).forward(sink).await;
        }
    });
    Ok(url)
}

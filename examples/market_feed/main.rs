//! A market-data feed that survives its exchange: several symbols over a few supervised lines, to an
//! exchange that refuses, drops, stalls, mutes and restarts.
//!
//! `cargo run --example market_feed` runs it against an exchange of its own for 15 s; `-- --help`
//! lists the options. The exit code is 0 only if no message was missing while connected.

mod args;
mod book;
mod exchange;
mod line;
mod lines;
mod process;
mod row;
mod server;
mod source;
mod table;
mod venue;

use std::error::Error;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_ws_client::feed::event::{LineState, Rotated, Stopped};
use actix_ws_client::feed::{Dialect, Feed, Rotate, Rules, SECOND, Silence};
use actix_ws_client::{Budget, ConnectionBuilder, Reconnect};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::args::Args;
use crate::book::{Book, Look};
use crate::lines::View;
use crate::source::Source;
use crate::venue::Venue;

#[actix::main]
async fn main() -> ExitCode {
    let Some(args) = Args::of_process() else { return ExitCode::SUCCESS };
    process::log_to_stderr();
    let watched = match args {
        Ok(args) => watch(args).await,
        Err(err) => Err(err.into()),
    };
    match watched {
        Ok(is_whole) => ExitCode::from(u8::from(!is_whole)),
        Err(err) => {
            eprintln!("market_feed: {err}");
            ExitCode::from(if err.is::<io::Error>() { 1 } else { 2 })
        }
    }
}

/// Watches until the time is over. Returns whether no message was missing while connected.
async fn watch(args: Args) -> Result<bool, Box<dyn Error>> {
    let (book, mut stopped) = Book::new(args.names(), args.send.clone());
    let book = book.start();
    let (source, title) = start(&args, &book)?;
    let mut view = View::new(title);
    let end = Instant::now() + args.duration;
    let mut frames = interval(Duration::from_millis(100));
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // One future for all rounds: a signal that comes between two of them is not lost.
    let mut signalled = pin!(process::stop_signal());
    let mut is_over = false;
    while !is_over {
        is_over = tokio::select! {
            _ = frames.tick() => Instant::now() >= end,
            listening = &mut signalled => listening.map(|()| true)?,
            _ = &mut stopped => true,
        };
        let left = end.saturating_duration_since(Instant::now());
        // False once the reader has closed the pipe, as in `| head`.
        is_over |= !view.show(&book.send(Look(source.status().await)).await?, left)?;
    }
    source.close().await;
    // All that was delivered before the close is in the book's mailbox before this.
    view.end(&book.send(Look(None)).await?)
}

/// Starts what the options ask for. Returns it with a title.
fn start(args: &Args, book: &Addr<Book>) -> Result<(Source, String), Box<dyn Error>> {
    if let Some(url) = &args.url {
        return Ok((Source::Server(server::start(url, book)?), args.names().concat()));
    }
    let addr = exchange::open(args)?;
    let rules = Rules::default()
        .frames(exchange::FRAMES.0, exchange::FRAMES.1)
        .frame_bytes(exchange::FRAME_BYTES)
        .topics_per_line(exchange::SYMBOLS_PER_SOCKET)
        .heartbeat(SECOND);
    let feed = Feed::builder(async move |_| Ok(Venue.at(format!("ws://{addr}/?market_feed"))))
        .rules(rules)
        .budget(&Budget::dials(exchange::DIALS.0, exchange::DIALS.1))
        .silence(Silence::topic(SECOND).resubscribe().at_most_per_hour(10_000))
        .connection(in_a_hurry)
        .lines(args.lines)
        .rotate(args.rotate.map(Rotate::at_age).unwrap_or_default())
        .topics(args.names())
        .handler(book)
        .on::<LineState>(book.clone().recipient())
        .on::<Rotated>(book.clone().recipient())
        .on::<Stopped>(book.clone().recipient())
        .start()?;
    let shards = usize::from(args.symbols).div_ceil(exchange::SYMBOLS_PER_SOCKET);
    let lines = shards * usize::from(args.lines);
    let title = format!("Exchange failing on purpose: {} symbols on {lines}", args.symbols);
    let noun = if lines == 1 { "line" } else { "lines" };
    Ok((Source::Feed(feed), format!("{title} {noun}, seed {}, {addr}", args.seed)))
}

/// Sets short delays and timeouts, so that a run of a few seconds shows what otherwise takes minutes.
fn in_a_hurry(builder: ConnectionBuilder) -> ConnectionBuilder {
    let millis = Duration::from_millis;
    let policy = Reconnect::exponential().floor(millis(150)).initial(millis(400)).cap(millis(1500));
    builder.reconnect(policy).ping_interval(millis(500)).ping_timeout(millis(1000))
}

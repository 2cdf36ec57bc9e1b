//! A market-data feed that survives its exchange: one handler actor for several supervised
//! connections, each to one symbol of an exchange that refuses, drops, stalls and restarts.
//!
//! `cargo run --example market_feed` runs it against an exchange of its own for 15 s; `-- --help`
//! lists the options. The exit code is 0 only if no message was missing within any epoch.

mod args;
mod book;
mod exchange;
mod lines;
mod row;
mod table;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use actix::{Actor, Addr, MailboxError};
use actix_ws_client::backoff::DialLimit;
use actix_ws_client::{ConfigError, Connection, ConnectionBuilder, Reconnect, command};
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::Args;
use crate::book::{Book, Look, Picture};
use crate::lines::Lines;
use crate::row::Row;
use crate::table::Table;

#[actix::main]
async fn main() -> ExitCode {
    let args = match Args::parse(env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(err) => {
            eprintln!("market_feed: {err}; --help lists the options");
            return ExitCode::from(2);
        }
    };
    log_to_stderr();
    match watch(args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(err) => {
            eprintln!("market_feed: {err}");
            ExitCode::from(if err.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

/// Writes log records to stderr: those that `RUST_LOG` asks for, otherwise errors.
fn log_to_stderr() {
    let asked = env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let targets = asked.unwrap_or(Targets::new().with_default(LevelFilter::ERROR));
    let records = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    tracing_subscriber::registry().with(records.with_filter(targets)).init();
}

/// Watches until the time is over. Returns whether every sequence was whole.
async fn watch(args: Args) -> Result<bool, Box<dyn Error>> {
    let Feeds { title, first, builders } = feeds(&args)?;
    let row = |(name, builder): &(String, ConnectionBuilder)| {
        (builder.source(), Row::new(name.clone(), first))
    };
    let (book, mut settled) = Book::new(builders.iter().map(row).collect(), args.send);
    let book = book.start();
    let mut connections = Vec::new();
    for (_, builder) in builders {
        // `handler` registers for Open, Message, Error and Close.
        let builder = builder
            .handler(&book)
            .on_pong_to(book.clone().recipient())
            .on_state_to(book.clone().recipient())
            .on_stopped_to(book.clone().recipient());
        connections.push(builder.start()?);
    }
    let mut view = View::new(title)?;
    let end = Instant::now() + args.duration;
    let mut frames = interval(Duration::from_millis(100));
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // One future for all rounds: a signal that comes between two of them is not lost.
    let mut signalled = pin!(stop_signal());
    loop {
        let over = tokio::select! {
            _ = frames.tick() => Instant::now() >= end,
            listening = &mut signalled => listening.map(|()| true)?,
            // Every connection has stopped.
            _ = &mut settled => true,
        };
        let left = end.saturating_duration_since(Instant::now());
        view.show(&book.send(Look).await?, left)?;
        if over {
            break;
        }
    }
    drop(view);
    close(&connections).await?;
    // The connections are closed, but events may still be in the book's mailbox.
    if !settled.is_terminated() {
        settled.await?;
    }
    let picture = book.send(Look).await?;
    lines::summary(&picture)?;
    Ok(verdict(&picture)?)
}

/// Waits for Ctrl-C, or for the SIGTERM of a service manager.
#[cfg(unix)]
async fn stop_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn stop_signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Closes every connection, and waits until its socket is closed.
async fn close(connections: &[Addr<Connection>]) -> Result<(), MailboxError> {
    let close = command::Close::normal().deadline(Duration::from_millis(500));
    let outcomes = join_all(connections.iter().map(|one| one.send(close.clone()))).await;
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}

/// The connections to watch.
struct Feeds {
    /// The title of the table.
    title: String,
    /// The number that the first message of an epoch must have.
    first: Option<u64>,
    builders: Vec<(String, ConnectionBuilder)>,
}

fn feeds(args: &Args) -> io::Result<Feeds> {
    if let Some(url) = &args.url {
        let host = url.split('/').nth(2).unwrap_or(url).to_owned();
        // A real server: the crate's default reconnect policy.
        let builder = Connection::builder(url)
            .name(host.clone())
            .ping_interval(Duration::from_secs(5))
            .ping_timeout(Duration::from_secs(5));
        return Ok(Feeds { title: url.clone(), first: None, builders: vec![(host, builder)] });
    }
    let addr = exchange::open(args.symbols, args.seed, args.skip)?;
    let builders = exchange::SYMBOLS.iter().take(args.symbols.into()).map(|&(symbol, ..)| {
        let builder = Connection::builder(format!("ws://{addr}/{symbol}")).name(symbol);
        (symbol.to_owned(), in_a_hurry(builder))
    });
    Ok(Feeds {
        title: format!(
            "{} symbols of an exchange on {addr} that fails on purpose, seed {}",
            args.symbols, args.seed
        ),
        first: Some(1),
        builders: builders.collect(),
    })
}

/// Sets short delays and timeouts, so that a run of a few seconds shows what otherwise takes
/// minutes.
fn in_a_hurry(builder: ConnectionBuilder) -> ConnectionBuilder {
    let millis = Duration::from_millis;
    let policy = Reconnect::exponential().floor(millis(150)).initial(millis(400)).cap(millis(1500));
    builder
        .reconnect(policy)
        .stable_after(millis(1000))
        .dial_limit(DialLimit { dials: 60, window: Duration::from_secs(60) })
        .ping_interval(millis(500))
        .ping_timeout(millis(1000))
        .idle_timeout(millis(2000))
}

/// The output during the run.
enum View {
    Table(Box<Table>),
    Lines(Lines),
}

impl View {
    fn new(title: String) -> io::Result<View> {
        match Table::new(title.clone()) {
            Some(table) => Ok(View::Table(Box::new(table))),
            None => Lines::new(&title).map(View::Lines),
        }
    }

    fn show(&mut self, picture: &Picture, left: Duration) -> io::Result<()> {
        match self {
            View::Table(table) => table.draw(picture, left),
            View::Lines(lines) => lines.print(picture),
        }
    }
}

/// Returns whether every sequence was whole. Prints what was not to stderr.
fn verdict(picture: &Picture) -> io::Result<bool> {
    let mut whole = true;
    for row in &picture.rows {
        for fault in &row.faults {
            eprintln!("gap: {}, {fault}", row.name);
        }
        let more = row.gaps - row.faults.len() as u64;
        if more > 0 {
            eprintln!("gap: {}, and {more} more", row.name);
        }
        if row.messages == 0 {
            eprintln!("nothing came: {}", row.name);
        }
        whole &= row.is_whole() && row.messages > 0;
    }
    if whole {
        writeln!(io::stdout(), "Every sequence is whole within each epoch.")?;
    }
    Ok(whole)
}

//! The exchange that the example talks to. It changes its books at random, loses updates, sends wrong ones, drops
//! connections, and begins anew with empty books.
//!
//! ```text
//! > {"id":1,"method":"SUBSCRIBE","params":["BTC-00","BTC-01"]}
//! < {"id":1}
//! > {"id":2,"method":"DEPTH","params":["BTC-00"]}                      at most 50 in a second, or it closes with 1008
//! < {"snapshot":"BTC-00","first":17,"last":17,"levels":[["b",99,5],["a",101,2]],"checksum":7}
//! < {"update":"BTC-00","first":18,"last":19,"levels":[["b",99,0]],"checksum":2}
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, oneshot};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::book::{Book, State};

/// A running exchange.
pub(crate) struct Exchange {
    url: String,
    books: Books,
    done: Mutex<Option<oneshot::Receiver<String>>>,
}

/// The number of the last update of each symbol, and its book.
type Books = Arc<Mutex<BTreeMap<String, (u64, Book)>>>;

/// What the connections are notified of.
#[derive(Clone, Debug)]
enum Notice {
    /// An update of a symbol, and whether it is lost on its way.
    Update { symbol: String, text: String, is_lost: bool },
    /// All connections are dropped.
    Drop,
}

/// How many updates there are, and the time between two.
const UPDATES: u32 = 1_500;
const PAUSE: Duration = Duration::from_millis(3);
/// How long a snapshot takes.
const LATENCY: Duration = Duration::from_millis(30);
/// The snapshots that one connection may ask for in a second.
const SNAPSHOTS: usize = 50;
/// The seed of everything that is random.
const SEED: u64 = 20;

/// Returns the symbols of the exchange.
pub(crate) fn symbols() -> Vec<String> {
    (0..20).map(|number| format!("BTC-{number:02}")).collect()
}

impl Exchange {
    /// Starts an exchange on a port of its own.
    pub(crate) async fn start() -> io::Result<Exchange> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}/", listener.local_addr()?);
        let (books, (notices, _)) = (Books::default(), broadcast::channel(4096));
        let (report, done) = oneshot::channel();
        let (changed, notify) = (books.clone(), notices.clone());
        actix::spawn(async move {
            let said = change(&changed, &notify).await;
            let _ = report.send(said);
        });
        let served = books.clone();
        actix::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                actix::spawn(serve(stream, served.clone(), notices.subscribe()));
            }
        });
        Ok(Exchange { url, books, done: Mutex::new(Some(done)) })
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Waits until nothing changes any more, and returns what has happened.
    pub(crate) async fn done(&self) -> String {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        match done {
            Some(done) => done.await.unwrap_or_default(),
            None => String::new(),
        }
    }

    /// Returns the symbols whose books are not those of a client, once there are none, or when the time is over.
    pub(crate) async fn differences(
        &self,
        client: &RefCell<State>,
        within: Duration,
    ) -> Vec<String> {
        let begin = Instant::now();
        loop {
            let is_wrong = |(symbol, (_, book)): &(&String, &(u64, Book))| {
                client.borrow().books.get(*symbol) != Some(book)
            };
            let books = lock(&self.books).clone();
            let wrong = books.iter().filter(is_wrong);
            let wrong: Vec<String> = wrong.map(|(symbol, _)| symbol.clone()).collect();
            if wrong.is_empty() || begin.elapsed() > within {
                return wrong;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn lock(books: &Books) -> MutexGuard<'_, BTreeMap<String, (u64, Book)>> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes the books, and counts what goes wrong on purpose.
async fn change(books: &Books, notices: &broadcast::Sender<Notice>) -> String {
    let mut random = SmallRng::seed_from_u64(SEED);
    let (mut lost, mut wrong, mut dropped, mut restarts) = (0, 0, 0, 0);
    for _ in 0..UPDATES {
        let symbol = &symbols()[random.random_range(0..20)];
        let (mut is_lost, mut is_wrong) = (false, false);
        match random.random_range(0..1000) {
            0..10 => is_lost = true,
            10..15 => is_wrong = true,
            15..18 => {
                dropped += 1;
                let _ = notices.send(Notice::Drop);
            }
            18..20 => {
                restarts += 1;
                lock(books).clear();
                let _ = notices.send(Notice::Drop);
            }
            _ => {}
        }
        lost += u32::from(is_lost);
        wrong += u32::from(is_wrong);
        update(books, notices, &mut random, symbol, (is_lost, is_wrong));
        sleep(PAUSE).await;
    }
    // The last update of each symbol arrives, so that one that was lost before it is noticed.
    for symbol in symbols() {
        update(books, notices, &mut random, &symbol, (false, false));
    }
    format!(
        "{UPDATES} updates, {lost} of them lost and {wrong} wrong; {dropped} connections dropped, \
         {restarts} restarts"
    )
}

/// Changes one to three levels of a book, and notifies the connections.
fn update(
    books: &Books,
    notices: &broadcast::Sender<Notice>,
    random: &mut SmallRng,
    symbol: &str,
    (is_lost, is_wrong): (bool, bool),
) {
    let mut books = lock(books);
    let (number, book) = books.entry(symbol.to_owned()).or_default();
    let first = *number + 1;
    let mut levels = Vec::new();
    for _ in 0..random.random_range(1..4) {
        let (side, price) =
            (['b', 'a'][random.random_range(0..2)], random.random_range(90..110_u64));
        let quantity = random.random_range(0..10_u64);
        match quantity {
            0 => book.remove(&(side, price)),
            _ => book.insert((side, price), quantity),
        };
        levels.push(json!([side, price, quantity + u64::from(is_wrong)]));
        *number += 1;
    }
    let text = text("update", symbol, (first, *number), levels, book);
    let _ = notices.send(Notice::Update { symbol: symbol.to_owned(), text, is_lost });
}

fn text(
    kind: &str,
    symbol: &str,
    (first, last): (u64, u64),
    levels: Vec<Value>,
    book: &Book,
) -> String {
    let checksum = book.values().sum::<u64>();
    json!({ kind: symbol, "first": first, "last": last, "levels": levels, "checksum": checksum })
        .to_string()
}

/// Serves one connection until it is dropped.
async fn serve(stream: TcpStream, books: Books, mut notices: broadcast::Receiver<Notice>) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (mut sink, mut source) = socket.split();
    let mut subscribed: BTreeSet<String> = BTreeSet::new();
    let mut asked: VecDeque<Instant> = VecDeque::new();
    // Snapshots on their way.
    let (later, mut ready) = tokio::sync::mpsc::channel::<String>(1024);
    loop {
        let text = tokio::select! {
            biased;
            notice = notices.recv() => match notice {
                Ok(Notice::Update { symbol, text, is_lost }) => {
                    let is_sent = !is_lost && subscribed.contains(&symbol);
                    is_sent.then_some(text)
                }
                Ok(Notice::Drop) | Err(_) => return,
            },
            snapshot = ready.recv() => snapshot,
            message = source.next() => {
                let Some(Ok(message)) = message else { return };
                let request: Value =
                    serde_json::from_slice(&message.into_data()).unwrap_or_default();
                let params: Vec<String> =
                    serde_json::from_value(request["params"].clone()).unwrap_or_default();
                if request["method"] == "DEPTH" {
                    asked.push_back(Instant::now());
                    asked.retain(|at| at.elapsed() < Duration::from_secs(1));
                    if asked.len() > SNAPSHOTS {
                        let close = CloseFrame { code: 1008.into(), reason: "too many".into() };
                        let _ = sink.send(Message::Close(Some(close))).await;
                        return;
                    }
                    for symbol in params {
                        let (later, text) = (later.clone(), snapshot(&books, &symbol));
                        actix::spawn(async move {
                            sleep(LATENCY).await;
                            // The connection may have ended.
                            let _ = later.send(text).await;
                        });
                    }
                    None
                } else {
                    subscribed.extend(params);
                    Some(json!({ "id": request["id"] }).to_string())
                }
            }
        };
        if let Some(text) = text
            && sink.send(Message::text(text)).await.is_err()
        {
            return;
        }
    }
}

/// Returns the whole book of a symbol.
fn snapshot(books: &Books, symbol: &str) -> String {
    let mut books = lock(books);
    let (number, book) = books.entry(symbol.to_owned()).or_default();
    let levels = book.iter().map(|((side, price), quantity)| json!([side, price, quantity]));
    text("snapshot", symbol, (*number, *number), levels.collect(), book)
}

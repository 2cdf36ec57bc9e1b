//! The exchange that the example talks to: it numbers the trades of each symbol, and drops its first
//! connection.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::Message;

/// A running exchange.
pub(crate) struct Exchange {
    url: String,
    done: Arc<Notify>,
}

/// The number of the last trade of each symbol.
type Trades = Arc<Mutex<BTreeMap<String, u64>>>;

const SYMBOLS: [&str; 3] = ["trade.BTC-USD", "trade.ETH-USD", "trade.SOL-USD"];
/// How many trades of each symbol the first connection carries, and the second.
const TRADES: u32 = 5;

impl Exchange {
    /// Starts an exchange on a port of its own.
    pub(crate) async fn start() -> io::Result<Exchange> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}/", listener.local_addr()?);
        let done = Arc::new(Notify::new());
        let (trades, notify) = (Trades::default(), done.clone());
        actix::spawn(async move {
            actix::spawn(trade(trades.clone()));
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                serve(stream, &trades).await;
                println!("the exchange drops its connection");
                // However soon the client is back, it has missed one.
                (0..2).for_each(|_| make_trades(&trades));
                if connection > 0 {
                    notify.notify_one();
                }
            }
        });
        Ok(Exchange { url, done })
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Waits until the second connection has carried some trades of each symbol.
    pub(crate) async fn done(&self) {
        self.done.notified().await;
    }
}

/// Makes trades, whether a connection is open or not.
async fn trade(trades: Trades) {
    loop {
        make_trades(&trades);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Makes a trade of each symbol.
fn make_trades(trades: &Trades) {
    let mut trades = trades.lock().expect("no panic");
    for symbol in SYMBOLS {
        *trades.entry(symbol.to_owned()).or_default() += 1;
    }
}

/// Serves one connection until it has carried enough trades of each symbol.
async fn serve(stream: TcpStream, trades: &Trades) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let mut subscribed: BTreeSet<String> = BTreeSet::new();
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    let (mut ticks, mut rounds) = (interval(Duration::from_millis(10)), 0);
    while rounds < TRADES {
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                let Ok(text) = message.to_text() else { return };
                if let Some(answer) = answer(text, &mut subscribed)
                    && socket.send(Message::text(answer)).await.is_err()
                {
                    return;
                }
            }
            _ = ticks.tick() => {
                let newest = trades.lock().expect("no panic").clone();
                for symbol in &subscribed {
                    let number = newest[symbol];
                    if sent.insert(symbol.clone(), number) == Some(number) {
                        continue;
                    }
                    let price = 100.0 + number as f64 / 4.0;
                    let tick = json!({ "stream": symbol, "seq": number, "price": price });
                    if socket.send(Message::text(tick.to_string())).await.is_err() {
                        return;
                    }
                    let is_last = subscribed.len() == SYMBOLS.len() && *symbol == SYMBOLS[2];
                    rounds += u32::from(is_last);
                }
            }
        }
    }
}

/// Answers a login or a request. One with an unknown symbol is refused as a whole.
fn answer(text: &str, subscribed: &mut BTreeSet<String>) -> Option<String> {
    let request: Value = serde_json::from_str(text).ok()?;
    if request["method"] == "LOGIN" {
        return Some(json!({ "id": request["id"], "result": "ok" }).to_string());
    }
    let symbols: Vec<String> = serde_json::from_value(request["params"].clone()).ok()?;
    let id = &request["id"];
    if symbols.iter().any(|symbol| !SYMBOLS.contains(&symbol.as_str())) {
        let error = json!({ "code": 2, "msg": "unknown symbol" });
        return Some(json!({ "id": id, "error": error }).to_string());
    }
    for symbol in symbols {
        match request["method"].as_str() {
            Some("SUBSCRIBE") => subscribed.insert(symbol),
            _ => subscribed.remove(&symbol),
        };
    }
    Some(json!({ "id": id, "result": null }).to_string())
}

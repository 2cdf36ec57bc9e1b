//! An exchange that fails on purpose: a real server, by tokio-tungstenite, on loopback.
//!
//! ```text
//! > {"op":"login","key":"demo"}                        < {"event":"login"}
//! > {"op":"subscribe","id":1,"symbols":["BTC-USD"]}    < {"event":"done","id":1}, or
//!                                                      < {"event":"error","id":1,"msg":"unknown symbol"}
//! > ping                                               < pong
//!                         < {"symbol":"BTC-USD","seq":17,"price":64210.5000,"size":0.250}
//! ```
//!
//! Trades are numbered by symbol, from 1, and go on while no client is connected. A client that breaks a limit
//! below is banned: its socket is closed with 1008, and its dials are answered with 403.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::args::Args;

/// The symbols: name, first price, and approximate number of trades per second.
pub(crate) const SYMBOLS: [(&str, f64, u32); 8] = [
    ("BTC-USD", 64_210.5, 80),
    ("ETH-USD", 3_180.25, 60),
    ("SOL-USD", 148.32, 45),
    ("XRP-USD", 0.6127, 30),
    ("ADA-USD", 0.4512, 20),
    ("DOT-USD", 7.318, 12),
    ("LTC-USD", 84.07, 10),
    ("UNI-USD", 9.441, 8),
];

/// The most dials of a client in any period of 10 s, refused ones included.
pub(crate) const DIALS: (u32, Duration) = (20, Duration::from_secs(10));
/// The most frames on a socket in any second, pings included.
pub(crate) const FRAMES: (u32, Duration) = (8, Duration::from_secs(1));
/// The longest frame, in bytes.
pub(crate) const FRAME_BYTES: usize = 64;
/// The most symbols of a socket.
pub(crate) const SYMBOLS_PER_SOCKET: usize = 3;

/// How long a ban lasts.
const BAN: Duration = Duration::from_secs(60);
/// The time that a dead connection is kept before its socket is closed.
const GRAVE: Duration = Duration::from_secs(10);
/// The trades that may wait for one client. A slower one is cut off from the symbol.
const BACKLOG: usize = 1024;

/// How a connection ends.
#[derive(Clone, Copy)]
enum End {
    /// The process dies: TCP ends without a Close frame.
    Kill,
    /// The machine dies: nothing is sent and nothing answered any more.
    Stall,
    /// The publisher dies: pings are answered, trades don't come.
    Mute,
    /// The service restarts: Close 1012.
    Restart,
}

/// How sockets end, in turn; how many dials are refused with 503 after each; and whether a symbol of
/// it is halted before, until it is subscribed again.
const SCHEDULE: [(End, u32, bool); 5] = [
    (End::Kill, 0, false),
    (End::Stall, 1, true),
    (End::Restart, 1, false),
    (End::Mute, 0, false),
    (End::Kill, 2, true),
];

/// What all sockets share.
struct Exchange {
    desks: Vec<Desk>,
    rng: StdRng,
    /// The ends to come; one that was used goes to the back.
    schedule: VecDeque<(End, u32, bool)>,
    /// How much longer than usual sockets live, apart from the first ones.
    longer: Duration,
    /// The number of dials still to refuse.
    refusals: u32,
    /// The number of sockets so far. One of the first ends early, so that a short run shows an outage.
    sockets: usize,
    clients: HashMap<String, Client>,
}

/// A client, by the name in the query of its URL.
struct Client {
    dials: Quota,
    banned: Option<Instant>,
}

/// A limit of a rate, and what has been used of it.
struct Quota((u32, Duration), VecDeque<Instant>);

/// One symbol.
struct Desk {
    name: &'static str,
    price: f64,
    per_second: u32,
    rng: StdRng,
    /// The number of the last trade; 0 before the first subscription, with which trade begins.
    seq: u64,
    is_trading: bool,
    /// The number to leave out.
    skip: Option<u64>,
    clients: Vec<mpsc::Sender<String>>,
}

/// What a client sends.
#[derive(Deserialize)]
struct Ask<'a> {
    op: &'a str,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    key: &'a str,
    #[serde(default, borrow)]
    symbols: Vec<&'a str>,
}

/// Starts the exchange in its own thread, which ends with the process.
///
/// # Errors
/// When no port can be bound, or no runtime or thread can be started.
pub(crate) fn open(args: &Args) -> io::Result<SocketAddr> {
    let (symbols, seed, skip) = (args.symbols, args.seed, args.skip);
    let longer = args.rotate.unwrap_or_default();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trade = move || {
        let desks = (0..usize::from(symbols)).map(|index| Desk::new(index, seed, skip)).collect();
        let exchange = Exchange {
            desks,
            rng: StdRng::seed_from_u64(seed),
            schedule: SCHEDULE.into(),
            longer,
            refusals: 0,
            sockets: 0,
            clients: HashMap::new(),
        };
        LocalSet::new().block_on(&runtime, accept(listener, Rc::new(RefCell::new(exchange))))
    };
    thread::Builder::new().name("exchange".into()).spawn(trade)?;
    Ok(addr)
}

async fn accept(
    listener: std::net::TcpListener,
    exchange: Rc<RefCell<Exchange>>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    for index in 0..exchange.borrow().desks.len() {
        spawn_local(trade(exchange.clone(), index));
    }
    loop {
        let (stream, _) = listener.accept().await?;
        // A trade or a Pong must not wait for the acknowledgement of the one before.
        if stream.set_nodelay(true).is_ok() {
            spawn_local(serve(stream, exchange.clone()));
        }
    }
}

/// Trades one symbol.
async fn trade(exchange: Rc<RefCell<Exchange>>, index: usize) {
    let mut next = Instant::now();
    loop {
        next += exchange.borrow_mut().desks[index].trade();
        sleep_until(next).await;
    }
}

async fn serve(stream: TcpStream, exchange: Rc<RefCell<Exchange>>) {
    let mut client = String::new();
    // tungstenite's trait prescribes this error.
    #[allow(clippy::result_large_err)]
    let admit = |request: &Request, response: Response| {
        client = request.uri().query().unwrap_or_default().to_owned();
        exchange.borrow_mut().admit(&client, response)
    };
    if let Ok(socket) = accept_hdr_async(stream, admit).await {
        Session::new(client, exchange).run(socket).await;
    }
}

/// One opened socket.
struct Session {
    client: String,
    exchange: Rc<RefCell<Exchange>>,
    is_logged_in: bool,
    frames: Quota,
    /// The subscribed symbols, as indices of desks.
    symbols: Vec<usize>,
    trades: mpsc::Sender<String>,
    receiver: mpsc::Receiver<String>,
}

impl Session {
    fn new(client: String, exchange: Rc<RefCell<Exchange>>) -> Session {
        let (trades, receiver) = mpsc::channel(BACKLOG);
        let frames = Quota(FRAMES, VecDeque::new());
        let symbols = Vec::new();
        Session { client, exchange, is_logged_in: false, frames, symbols, trades, receiver }
    }

    /// Sends trades and answers requests until the connection is to end.
    async fn run(mut self, mut socket: WebSocketStream<TcpStream>) {
        let (end, refusals, life, halt) = self.exchange.borrow_mut().fate();
        let (mut over, mut halts) = (pin!(sleep(life)), pin!(sleep(life / 3)));
        let mut is_halted = !halt;
        loop {
            let is_held = self.has_number_to_leave_out();
            tokio::select! {
                () = &mut over, if !is_held => {
                    self.exchange.borrow_mut().refusals = refusals;
                    // Nothing is sent to it any more.
                    drop(self);
                    return meet(end, socket).await;
                }
                () = &mut halts, if !is_halted && !is_held => {
                    is_halted = true;
                    if let Some(&last) = self.symbols.last() {
                        self.exchange.borrow_mut().desks[last].is_trading = false;
                    }
                }
                Some(trade) = self.receiver.recv() => {
                    if socket.send(Message::text(trade)).await.is_err() {
                        return;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Close(_))) => return drain(&mut socket).await,
                    Some(Ok(message)) => match self.answer(&message) {
                        Ok(None) => {}
                        Ok(Some(answer)) => {
                            if socket.send(Message::text(answer)).await.is_err() {
                                return;
                            }
                        }
                        Err(offence) => {
                            self.exchange.borrow_mut().ban(&self.client);
                            drop(self);
                            return close(CloseCode::Policy, offence, socket).await;
                        }
                    },
                    Some(Err(_)) | None => return,
                }
            }
        }
    }

    /// Whether the socket has to live on, so that the number to leave out is reached.
    fn has_number_to_leave_out(&self) -> bool {
        let desk = &self.exchange.borrow().desks[0];
        self.symbols.contains(&0) && desk.skip.is_some_and(|skip| desk.seq <= skip)
    }

    /// Returns the answer to a frame, or the limit that it breaks.
    fn answer(&mut self, message: &Message) -> Result<Option<String>, &'static str> {
        if !self.frames.take() {
            return Err("too many frames");
        }
        if message.len() > FRAME_BYTES {
            return Err("frame too large");
        }
        let Message::Text(text) = message else { return Ok(None) };
        if text.as_str() == "ping" {
            return Ok(Some("pong".into()));
        }
        let Ok(ask) = serde_json::from_str::<Ask<'_>>(text) else { return Err("not a request") };
        let id = ask.id;
        match ask.op {
            "login" if ask.key == "demo" => {
                self.is_logged_in = true;
                return Ok(Some(r#"{"event":"login"}"#.into()));
            }
            "login" => return Ok(Some(r#"{"event":"error","msg":"wrong key"}"#.into())),
            "subscribe" | "unsubscribe" if !self.is_logged_in => return Err("not logged in"),
            "subscribe" | "unsubscribe" => {}
            _ => return Err("not a request"),
        }
        let desks = &mut self.exchange.borrow_mut().desks;
        let find = |name| desks.iter().position(|desk| desk.name == name);
        let Some(symbols) = ask.symbols.into_iter().map(find).collect::<Option<Vec<_>>>() else {
            return Ok(Some(format!(r#"{{"event":"error","id":{id},"msg":"unknown symbol"}}"#)));
        };
        for symbol in symbols {
            let desk = &mut desks[symbol];
            self.symbols.retain(|other| *other != symbol);
            desk.clients.retain(|client| !client.same_channel(&self.trades));
            if ask.op == "subscribe" {
                self.symbols.push(symbol);
                desk.clients.push(self.trades.clone());
                desk.is_trading = true;
            }
        }
        if self.symbols.len() > SYMBOLS_PER_SOCKET {
            return Err("too many symbols");
        }
        Ok(Some(format!(r#"{{"event":"done","id":{id}}}"#)))
    }
}

async fn meet(end: End, mut socket: WebSocketStream<TcpStream>) {
    match end {
        End::Kill => {}
        End::Stall => sleep(GRAVE).await,
        End::Mute => drain(&mut socket).await,
        End::Restart => close(CloseCode::Restart, "restart", socket).await,
    }
}

async fn close(code: CloseCode, reason: &str, mut socket: WebSocketStream<TcpStream>) {
    let frame = CloseFrame { code, reason: reason.into() };
    if socket.close(Some(frame)).await.is_ok() {
        drain(&mut socket).await;
    }
}

/// Reads until the peer has gone; reading also answers pings and a Close.
async fn drain(socket: &mut WebSocketStream<TcpStream>) {
    let gone = async { while let Some(Ok(_)) = socket.next().await {} };
    // A client that stays longer is disconnected.
    let _ = timeout(GRAVE, gone).await;
}

impl Exchange {
    /// Accepts the upgrade, or refuses it: of a client that is banned, and while the exchange is down.
    #[allow(clippy::result_large_err)]
    fn admit(&mut self, client: &str, response: Response) -> Result<Response, ErrorResponse> {
        let new = || Client { dials: Quota(DIALS, VecDeque::new()), banned: None };
        let client = self.clients.entry(client.to_owned()).or_insert_with(new);
        if client.banned.is_some_and(|at| at.elapsed() < BAN) {
            return Err(refusal(StatusCode::FORBIDDEN));
        }
        if !client.dials.take() {
            client.banned = Some(Instant::now());
            return Err(refusal(StatusCode::TOO_MANY_REQUESTS));
        }
        if self.refusals > 0 {
            self.refusals -= 1;
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE));
        }
        Ok(response)
    }

    fn ban(&mut self, client: &str) {
        if let Some(client) = self.clients.get_mut(client) {
            client.banned = Some(Instant::now());
        }
    }

    /// Returns how the next socket ends, how many dials are refused after it, when that is, and whether a
    /// symbol of it is halted before.
    fn fate(&mut self) -> (End, u32, Duration, bool) {
        let (end, refusals, halt) = self.schedule[0];
        self.schedule.rotate_left(1);
        self.sockets += 1;
        let is_first = self.sockets <= self.desks.len().div_ceil(SYMBOLS_PER_SOCKET);
        let life = match (is_first, halt) {
            (_, true) => self.rng.random_range(3_500..4_500),
            (true, false) => self.rng.random_range(1_200..2_400),
            (false, false) => self.rng.random_range(2_000..4_500),
        };
        let longer = if is_first { Duration::ZERO } else { self.longer };
        (end, refusals, Duration::from_millis(life) + longer, halt)
    }
}

impl Desk {
    fn new(index: usize, seed: u64, skip: Option<u64>) -> Desk {
        let (name, price, per_second) = SYMBOLS[index];
        let seed = seed.wrapping_mul(64).wrapping_add(1 + index as u64);
        let (rng, skip) = (StdRng::seed_from_u64(seed), skip.filter(|_| index == 0));
        let (is_trading, clients) = (false, Vec::new());
        Desk { name, price, per_second, rng, seq: 0, is_trading, skip, clients }
    }

    /// Makes a trade, unless the symbol is halted, and sends it to its clients. Returns the pause after
    /// it.
    fn trade(&mut self) -> Duration {
        let pause = 1.0 / f64::from(self.per_second) * self.rng.random_range(0.4..1.6);
        if self.is_trading {
            self.seq += 1;
            if self.skip == Some(self.seq) {
                self.seq += 1;
            }
            self.price *= 1.0 + self.rng.random_range(-0.0004..0.0004);
            let size = self.rng.random_range(0.001..2.0);
            let (name, seq, price) = (self.name, self.seq, self.price);
            let trade =
                format!(r#"{{"symbol":"{name}","seq":{seq},"price":{price:.4},"size":{size:.3}}}"#);
            self.clients.retain(|client| client.try_send(trade.clone()).is_ok());
        }
        Duration::from_secs_f64(pause)
    }
}

impl Quota {
    /// Counts a use. Returns whether it keeps to the limit.
    fn take(&mut self) -> bool {
        let Quota((count, window), used) = self;
        let now = Instant::now();
        while used.front().is_some_and(|at| now.duration_since(*at) >= *window) {
            used.pop_front();
        }
        used.push_back(now);
        used.len() <= *count as usize
    }
}

fn refusal(status: StatusCode) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(status.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("Retry-After", "1".parse().expect("a number is a header value"));
    headers.insert("Connection", "close".parse().expect("a word is a header value"));
    response
}

//! An exchange that fails on purpose: a real server, by tokio-tungstenite, on loopback.
//!
//! Each symbol has its own path. A connection receives ticks numbered from 1 until it ends in the
//! next way of the symbol's schedule; after that the symbol may refuse one or two dials.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// The symbols: name, first price, and approximate number of ticks per second.
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

/// How a connection ends.
#[derive(Clone, Copy)]
enum End {
    /// The process dies: TCP ends without a Close frame.
    Kill,
    /// The machine dies: nothing is sent and nothing answered any more.
    Stall,
    /// The publisher dies: pings are answered, ticks don't come.
    Mute,
    /// The service restarts: Close 1012.
    Restart,
}

/// How the connections of a symbol end, in turn, and how many dials are refused with 503 after
/// each.
const SCHEDULE: [(End, u32); 5] =
    [(End::Kill, 0), (End::Stall, 0), (End::Restart, 1), (End::Mute, 0), (End::Kill, 2)];

/// The time that a dead connection is kept before its socket is closed.
const GRAVE: Duration = Duration::from_secs(10);

/// One symbol's side of the exchange.
struct Desk {
    name: &'static str,
    price: f64,
    per_second: u32,
    /// Seeded by the seed and the symbol.
    rng: StdRng,
    /// The ends to come; one that was used goes to the back.
    schedule: VecDeque<(End, u32)>,
    /// The number of dials still to refuse.
    refusals: u32,
    /// Whether no connection was opened yet: the first one ends early, so that a short run shows an
    /// outage.
    fresh: bool,
    /// The sequence number to leave out.
    skip: Option<u64>,
}

/// Starts the exchange in its own thread, which ends with the process.
///
/// # Errors
/// When no port can be bound, or no runtime or thread can be started.
pub(crate) fn open(symbols: u8, seed: u64, skip: Option<u64>) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trade = move || {
        let desks = (0..usize::from(symbols)).map(|index| Desk::new(index, seed, skip)).collect();
        LocalSet::new().block_on(&runtime, accept(listener, desks))
    };
    thread::Builder::new().name("exchange".into()).spawn(trade)?;
    Ok(addr)
}

async fn accept(listener: std::net::TcpListener, desks: Vec<Desk>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let desks: Vec<_> = desks.into_iter().map(|desk| Rc::new(RefCell::new(desk))).collect();
    let desks: Rc<[_]> = desks.into();
    loop {
        let (stream, _) = listener.accept().await?;
        // A tick or a Pong must not wait for the acknowledgement of the one before.
        if stream.set_nodelay(true).is_ok() {
            tokio::task::spawn_local(serve(stream, desks.clone()));
        }
    }
}

async fn serve(stream: TcpStream, desks: Rc<[Rc<RefCell<Desk>>]>) {
    let mut asked = None;
    // tungstenite's trait prescribes this error.
    #[allow(clippy::result_large_err)]
    let admit = |request: &Request, response: Response| {
        let path = request.uri().path().trim_start_matches('/');
        asked = desks.iter().find(|desk| desk.borrow().name == path).cloned();
        match &asked {
            Some(desk) => desk.borrow_mut().admit(response),
            None => Err(refusal(StatusCode::NOT_FOUND)),
        }
    };
    let accepted = accept_hdr_async(stream, admit).await;
    if let (Ok(socket), Some(desk)) = (accepted, asked) {
        publish(socket, &desk).await;
    }
}

/// Sends ticks until the connection is to end.
async fn publish(mut socket: WebSocketStream<TcpStream>, desk: &RefCell<Desk>) {
    let (end, life, least) = desk.borrow_mut().fate();
    let mut over = pin!(sleep(life));
    let (mut seq, mut next) = (0, Instant::now());
    loop {
        tokio::select! {
            () = &mut over, if seq >= least => return meet(end, socket).await,
            () = sleep_until(next) => {
                let (tick, pause) = desk.borrow_mut().tick(&mut seq);
                next += pause;
                if socket.send(Message::text(tick)).await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Close(_))) => return drain(&mut socket).await,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }
}

async fn meet(end: End, mut socket: WebSocketStream<TcpStream>) {
    match end {
        End::Kill => {}
        End::Stall => sleep(GRAVE).await,
        End::Mute => drain(&mut socket).await,
        End::Restart => {
            let frame = CloseFrame { code: CloseCode::Restart, reason: "restart".into() };
            if socket.close(Some(frame)).await.is_ok() {
                drain(&mut socket).await;
            }
        }
    }
}

/// Reads until the peer has gone; reading also answers pings and a Close.
async fn drain(socket: &mut WebSocketStream<TcpStream>) {
    let gone = async { while let Some(Ok(_)) = socket.next().await {} };
    // A client that stays longer is disconnected.
    let _ = timeout(GRAVE, gone).await;
}

impl Desk {
    fn new(index: usize, seed: u64, skip: Option<u64>) -> Desk {
        let (name, price, per_second) = SYMBOLS[index];
        let mut schedule = VecDeque::from(SCHEDULE);
        // Each symbol starts elsewhere in the schedule, so that a short run shows all of it.
        schedule.rotate_left(index % SCHEDULE.len());
        Desk {
            name,
            price,
            per_second,
            rng: StdRng::seed_from_u64(seed.wrapping_mul(64).wrapping_add(index as u64)),
            schedule,
            refusals: 0,
            fresh: true,
            skip: skip.filter(|_| index == 0),
        }
    }

    /// Accepts the upgrade, or refuses it while the symbol is down.
    #[allow(clippy::result_large_err)]
    fn admit(&mut self, response: Response) -> Result<Response, ErrorResponse> {
        if self.refusals == 0 {
            return Ok(response);
        }
        self.refusals -= 1;
        Err(refusal(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// Returns how the next connection ends, when, and after which number at the earliest, so that
    /// the number to leave out is reached.
    fn fate(&mut self) -> (End, Duration, u64) {
        let (end, refusals) = self.schedule[0];
        self.schedule.rotate_left(1);
        self.refusals = refusals;
        let life = match std::mem::replace(&mut self.fresh, false) {
            true => self.rng.random_range(1_200..3_000),
            false => self.rng.random_range(2_000..4_500),
        };
        (end, Duration::from_millis(life), self.skip.map_or(0, |skip| skip + 1))
    }

    /// Returns the next tick, and the pause after it.
    fn tick(&mut self, seq: &mut u64) -> (String, Duration) {
        *seq += 1;
        if self.skip == Some(*seq) {
            *seq += 1;
        }
        self.price *= 1.0 + self.rng.random_range(-0.0004..0.0004);
        let size = self.rng.random_range(0.001..2.0);
        let (name, price) = (self.name, self.price);
        let tick =
            format!(r#"{{"symbol":"{name}","seq":{seq},"price":{price:.4},"size":{size:.3}}}"#);
        let pause = 1.0 / f64::from(self.per_second) * self.rng.random_range(0.4..1.6);
        (tick, Duration::from_secs_f64(pause))
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

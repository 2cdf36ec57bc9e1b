//! A simulated venue: it serves one protocol, loses its first socket, and notes what a client does wrong.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// How a venue talks on one socket.
pub(crate) trait Protocol: Send + 'static {
    /// Takes the path of the upgrade request.
    fn path(&mut self, _: &str) -> Result<(), String> {
        Ok(())
    }

    /// Takes a message. Returns what is sent, or the rule that the client has broken.
    fn read(&mut self, text: &str) -> Result<Vec<String>, String>;

    /// Returns the updates of this moment, one for each topic that is subscribed.
    fn tick(&mut self, numbers: &Numbers) -> Vec<String>;

    /// Whether the socket may be lost now.
    fn may_end(&self) -> bool {
        true
    }

    /// Formats what is sent.
    fn wrap(&mut self, text: String) -> Message {
        Message::text(text)
    }
}

/// The number of the last update of each topic, for all sockets of a venue.
#[derive(Clone, Default)]
pub(crate) struct Numbers(Arc<Mutex<BTreeMap<String, u64>>>);

impl Numbers {
    /// Returns the next number of a topic.
    pub(crate) fn next(&self, topic: &str) -> u64 {
        let mut numbers = self.0.lock().unwrap();
        let number = numbers.entry(topic.to_owned()).or_default();
        *number += 1;
        *number
    }
}

impl Numbers {
    /// Leaves out numbers, as if updates had come while no socket was open.
    fn skip(&self) {
        self.0.lock().unwrap().values_mut().for_each(|number| *number += 3);
    }

    /// Returns the last number of a topic.
    pub(crate) fn last(&self, topic: &str) -> u64 {
        self.0.lock().unwrap().get(topic).copied().unwrap_or_default()
    }
}

/// A running venue.
pub(crate) struct Sim {
    pub(crate) port: u16,
    broken: Arc<Mutex<Vec<String>>>,
    /// The numbers of all sockets.
    pub(crate) numbers: Numbers,
    pub(crate) sockets: Arc<AtomicUsize>,
    /// The requests of all sockets.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

/// The updates of two topics that the first socket carries before it is lost.
const BEFORE_LOSS: usize = 5;

/// The time between two updates of a topic.
const TICK: Duration = Duration::from_millis(10);

impl Sim {
    /// Runs a venue. The first socket is lost after some updates.
    pub(crate) fn run<P: Protocol>(make: impl Fn() -> P + Send + 'static) -> Sim {
        Sim::start(make, Numbers::default(), true)
    }

    /// Runs a venue that loses no socket.
    pub(crate) fn steady<P: Protocol>(make: impl Fn() -> P + Send + 'static) -> Sim {
        Sim::start(make, Numbers::default(), false)
    }

    /// Runs a venue that loses no socket and counts with these numbers.
    pub(crate) fn with_numbers<P: Protocol>(
        make: impl Fn() -> P + Send + 'static,
        numbers: Numbers,
    ) -> Sim {
        Sim::start(make, numbers, false)
    }

    fn start<P: Protocol>(
        make: impl Fn() -> P + Send + 'static,
        numbers: Numbers,
        loses: bool,
    ) -> Sim {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sim = Sim {
            port,
            broken: Arc::default(),
            numbers: numbers.clone(),
            sockets: Arc::default(),
            requests: Arc::default(),
        };
        let (broken, sockets) = (sim.broken.clone(), sim.sockets.clone());
        let requests = sim.requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = sockets.fetch_add(1, Ordering::SeqCst);
                let (protocol, numbers) = (make(), numbers.clone());
                numbers.skip();
                let (broken, requests) = (broken.clone(), requests.clone());
                std::thread::spawn(move || {
                    let limit = if loses && number == 0 { BEFORE_LOSS } else { usize::MAX };
                    let stream = stream.unwrap();
                    if let Err(rule) = serve(stream, protocol, &numbers, limit, &requests) {
                        broken.lock().unwrap().push(rule);
                    }
                });
            }
        });
        sim
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }

    /// Checks that no client has broken a rule.
    pub(crate) fn is_content(&self) {
        assert_eq!(*self.broken.lock().unwrap(), [""; 0]);
    }
}

/// Serves one socket. Returns the rule that the client has broken.
fn serve<P: Protocol>(
    stream: TcpStream,
    mut protocol: P,
    numbers: &Numbers,
    limit: usize,
    requests: &Mutex<Vec<String>>,
) -> Result<(), String> {
    let mut wrong = Ok(());
    #[expect(clippy::result_large_err, reason = "the callback's type is not ours")]
    let path = |request: &Request, response: Response| {
        wrong = protocol.path(&request.uri().to_string());
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, path) else { return Ok(()) };
    wrong?;
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let (mut ticks, mut next, mut frames) = (0, Instant::now(), VecDeque::new());
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                requests.lock().unwrap().push(text.to_string());
                // No more than 10 frames in a second, whatever else a venue allows.
                frames.push_back(Instant::now());
                frames.retain(|at| at.elapsed() < Duration::from_secs(1));
                let read = match frames.len() {
                    0..=10 => protocol.read(&text),
                    _ => Err("too many frames".to_owned()),
                };
                match read {
                    Ok(replies) => {
                        replies.into_iter().for_each(|it| send(&mut socket, &mut protocol, it))
                    }
                    Err(rule) => {
                        let reason = rule.clone().into();
                        let frame = CloseFrame { code: 1008.into(), reason };
                        let _ = socket.close(Some(frame));
                        return Err(rule);
                    }
                }
            }
            Ok(Message::Close(_)) => {
                while socket.read().is_ok() {}
                return Ok(());
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(err))
                if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(()),
        }
        if next <= Instant::now() {
            next = Instant::now() + TICK;
            let updates = protocol.tick(numbers);
            ticks += usize::from(updates.len() >= 2);
            updates.into_iter().for_each(|it| send(&mut socket, &mut protocol, it));
        }
        if ticks >= limit && protocol.may_end() {
            let _ = socket.get_ref().shutdown(Shutdown::Both);
            return Ok(());
        }
    }
}

fn send<P: Protocol>(socket: &mut WebSocket<TcpStream>, protocol: &mut P, text: String) {
    // A client that is gone is found by the next read.
    let _ = socket.send(protocol.wrap(text));
}

/// Parses a request.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|err| format!("{err}: {text}"))
}

/// Returns the texts of an array.
pub(crate) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let entries = value.as_array().ok_or_else(|| format!("no array: {value}"))?;
    let text = |entry: &Value| entry.as_str().map(str::to_owned).ok_or(format!("no text: {entry}"));
    entries.iter().map(text).collect()
}

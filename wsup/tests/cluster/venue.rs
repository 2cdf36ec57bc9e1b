//! A simulated venue, written from its rules: it numbers the updates of 600 topics whether or not anybody listens, counts
//! dials as they arrive, and notes whoever breaks a limit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::ledger::{Ledger, Name, Names, TOPICS, TOPICS_PER_LINE, name, topic};

/// The time between two updates of a topic.
const PERIOD: Duration = Duration::from_millis(500);

/// How often the venue looks which updates are due.
const TICK: Duration = Duration::from_millis(5);

/// The most dials of all processes together in [`DIALS_WITHIN`]: whoever exceeds it is banned.
const DIALS: usize = 60;

/// The time in which dials are counted.
pub(crate) const DIALS_WITHIN: Duration = Duration::from_secs(10);

/// The most sockets of all processes together.
const SOCKETS: usize = 60;

/// A running venue.
pub(crate) struct Venue {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    ledger: Ledger,
    sockets: BTreeMap<u64, Socket>,
    opened: u64,
    /// When the newest dials arrived.
    dials: VecDeque<Instant>,
    dialled: usize,
    broken: Vec<String>,
    is_open: bool,
}

/// An open socket.
struct Socket {
    of: Name,
    topics: BTreeSet<usize>,
    updates: UnboundedSender<(usize, u64)>,
}

impl Venue {
    /// Opens the venue, on a thread of its own.
    pub(crate) fn open() -> Venue {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            ledger: Ledger::new(),
            sockets: BTreeMap::new(),
            opened: 0,
            dials: VecDeque::new(),
            dialled: 0,
            broken: Vec::new(),
            is_open: true,
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::spawn(tick(shared.clone()));
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    lock(&shared).dial();
                    tokio::spawn(serve(stream, shared.clone()));
                }
            });
        });
        Venue { port, state }
    }

    /// Returns the file of a feed of all topics.
    pub(crate) fn file(&self) -> String {
        let topics: Vec<String> = (0..TOPICS).map(name).collect();
        let (port, dials, within) = (self.port, DIALS, DIALS_WITHIN.as_secs());
        format!(
            r#"
url = "ws://127.0.0.1:{port}/"
topics = {topics:?}

[headers]
X-Process = "${{env:PROCESS}}"

[subscribe]
send = '{{"id":{{id}},"method":"SUBSCRIBE","params":{{topics}}}}'

[unsubscribe]
send = '{{"id":{{id}},"method":"UNSUBSCRIBE","params":{{topics}}}}'

[ack]
id = "/id"
refused = {{ at = "/error", exists = true, reason = "/error" }}

[data]
topic = "/stream"
sequence = {{ kind = "contiguous", first = "/seq", last = "/seq" }}

[rules]
topics_per_line = {TOPICS_PER_LINE}
dials = ["{dials}/{within}s"]
sockets = {SOCKETS}
"#
        )
    }

    /// Makes no update any more.
    pub(crate) fn close_market(&self) {
        lock(&self.state).is_open = false;
    }

    /// Returns whether this many processes listen to each topic.
    pub(crate) fn is_covered(&self, processes: u32) -> bool {
        let state = lock(&self.state);
        let mut listeners = vec![Names::default(); TOPICS];
        for socket in state.sockets.values() {
            socket.topics.iter().for_each(|&topic| listeners[topic].add(socket.of));
        }
        listeners.iter().all(|it| it.len() == processes)
    }

    /// Returns how many sockets each process has, and how many dials arrived.
    pub(crate) fn figures(&self) -> String {
        let state = lock(&self.state);
        let mut sockets: BTreeMap<Name, (usize, usize)> = BTreeMap::new();
        for socket in state.sockets.values() {
            let figures = sockets.entry(socket.of).or_default();
            *figures = (figures.0 + 1, figures.1 + socket.topics.len());
        }
        format!("{} dials; sockets and topics of each: {sockets:?}", state.dialled)
    }

    /// Returns what was sent so far.
    pub(crate) fn ledger(&self) -> Ledger {
        lock(&self.state).ledger.clone()
    }

    /// Returns the rules that were broken.
    pub(crate) fn broken(&self) -> Vec<String> {
        lock(&self.state).broken.clone()
    }
}

impl State {
    /// Takes a dial as it arrives.
    fn dial(&mut self) {
        let now = Instant::now();
        self.dialled += 1;
        self.dials.push_back(now);
        self.dials.retain(|at| now.duration_since(*at) < DIALS_WITHIN);
        if self.dials.len() > DIALS {
            self.broken.push(format!("banned: {} dials in {DIALS_WITHIN:?}", self.dials.len()));
        }
    }

    /// Takes an upgraded socket, and returns its number.
    fn open(&mut self, of: Name, updates: UnboundedSender<(usize, u64)>) -> u64 {
        self.opened += 1;
        self.sockets.insert(self.opened, Socket { of, topics: BTreeSet::new(), updates });
        if self.sockets.len() > SOCKETS {
            self.broken.push(format!("{} sockets", self.sockets.len()));
        }
        self.opened
    }

    /// Takes a request, and returns the answer.
    fn request(&mut self, number: u64, text: &str) -> Result<Value, String> {
        let says = |what: &str| format!("{what}: {text}");
        let request: Value = serde_json::from_str(text).map_err(|_| says("no JSON"))?;
        let id = request["id"].as_u64().ok_or_else(|| says("no id"))?;
        let names = request["params"].as_array().ok_or_else(|| says("no topics"))?;
        let topics: Option<Vec<usize>> = names.iter().map(|it| topic(it.as_str()?)).collect();
        let topics = topics.ok_or_else(|| says("no such topic"))?;
        let socket = self.sockets.get_mut(&number).ok_or("no socket")?;
        match request["method"].as_str() {
            Some("SUBSCRIBE") => socket.topics.extend(topics),
            Some("UNSUBSCRIBE") => socket.topics.retain(|it| !topics.contains(it)),
            _ => return Err(says("no method")),
        }
        match socket.topics.len() {
            0..=TOPICS_PER_LINE => Ok(json!({ "id": id, "result": null })),
            more => Err(format!("{more} topics on a line")),
        }
    }

    /// Makes the next update of a topic.
    fn update(&mut self, topic: usize) {
        let number = self.ledger.make(topic, now_ms());
        for socket in self.sockets.values().filter(|it| it.topics.contains(&topic)) {
            // A socket that has just ended takes no more.
            let _ = socket.updates.send((topic, number));
        }
    }
}

/// Makes the updates of all topics, evenly over the time.
async fn tick(state: Arc<Mutex<State>>) {
    let (began, mut made) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let due = began.elapsed().as_micros() * TOPICS as u128 / PERIOD.as_micros();
        let mut state = lock(&state);
        while made < due {
            if state.is_open {
                state.update((made % TOPICS as u128) as usize);
            }
            made += 1;
        }
    }
}

/// Serves one socket until it ends.
async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut of = None;
    #[expect(clippy::result_large_err, reason = "the callback's type is not ours")]
    let head = |request: &Request, response: Response| {
        let value = request.headers().get("x-process").and_then(|it| it.to_str().ok());
        of = value.and_then(|it| it.chars().next()).map(Name);
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, head).await else { return };
    let Some(of) = of else {
        lock(&state).broken.push("a dial without the header".to_owned());
        return;
    };
    let (updates, mut waiting) = unbounded_channel();
    let number = lock(&state).open(of, updates);
    loop {
        tokio::select! {
            read = socket.next() => match read {
                Some(Ok(Message::Text(text))) => {
                    let answer = lock(&state).request(number, &text);
                    let answer = answer.unwrap_or_else(|rule| {
                        lock(&state).broken.push(format!("{of:?}: {rule}"));
                        json!({ "error": rule })
                    });
                    if socket.send(Message::text(answer.to_string())).await.is_err() {
                        break;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
            update = waiting.recv() => {
                let Some((topic, number)) = update else { break };
                let text = format!(r#"{{"stream":"{}","seq":{number},"to":"{of:?}"}}"#, name(topic));
                if socket.send(Message::text(text)).await.is_err() {
                    break;
                }
                lock(&state).ledger.sent(topic, number, of);
            }
        }
    }
    lock(&state).sockets.remove(&number);
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

/// Returns the wall clock in milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;

    /// Dials the venue as a process.
    async fn dial(venue: &Venue, name: char) -> tokio_tungstenite::WebSocketStream<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", venue.port)).await.unwrap();
        let mut request = format!("ws://127.0.0.1:{}/", venue.port).into_client_request().unwrap();
        request.headers_mut().insert("x-process", name.to_string().parse().unwrap());
        tokio_tungstenite::client_async(request, stream).await.unwrap().0
    }

    fn subscribe(topics: std::ops::Range<usize>) -> Message {
        let names: Vec<String> = topics.map(name).collect();
        Message::text(json!({ "id": 1, "method": "SUBSCRIBE", "params": names }).to_string())
    }

    #[tokio::test]
    async fn it_numbers_what_it_makes_and_notes_to_whom_it_sends() {
        let venue = Venue::open();
        let mut socket = dial(&venue, 'b').await;
        socket.send(subscribe(0..1)).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer.to_text().unwrap(), r#"{"id":1,"result":null}"#);
        let mut numbers = Vec::new();
        for _ in 0..3 {
            let text = socket.next().await.unwrap().unwrap();
            let update: Value = serde_json::from_str(text.to_text().unwrap()).unwrap();
            assert_eq!((&update["stream"], &update["to"]), (&json!("trade.T-000"), &json!("b")));
            numbers.push(update["seq"].as_u64().unwrap());
        }
        assert_eq!(numbers, [numbers[0], numbers[0] + 1, numbers[0] + 2]);
        let ledger = venue.ledger();
        let sent = |topic: usize| ledger.of(topic).iter().filter(|it| !it.to.is_empty()).count();
        assert!(sent(0) >= 3 && sent(1) == 0, "{} {}", sent(0), sent(1));
        assert!(!ledger.of(1).is_empty());
        assert!(!venue.is_covered(0) && !venue.is_covered(1));
        assert_eq!(venue.broken(), [""; 0]);
    }

    #[tokio::test]
    async fn it_notes_a_line_with_too_many_topics() {
        let venue = Venue::open();
        let mut socket = dial(&venue, 'a').await;
        socket.send(subscribe(0..TOPICS_PER_LINE + 1)).await.unwrap();
        socket.next().await.unwrap().unwrap();
        assert_eq!(venue.broken(), ["a: 51 topics on a line"]);
    }

    #[tokio::test]
    async fn it_bans_whoever_dials_too_often() {
        let venue = Venue::open();
        for _ in 0..DIALS {
            dial(&venue, 'a').await;
        }
        assert_eq!(venue.broken(), [""; 0]);
        dial(&venue, 'a').await;
        assert!(venue.broken()[0].starts_with("banned: 61 dials"), "{:?}", venue.broken());
    }
}

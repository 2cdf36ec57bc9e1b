//! A venue that lives by its written rules, in memory and in simulated time. It bans those who break them,
//! and counts all that it sees.
//!
//! Its language is words: `sub TOKEN ID a,b` is answered with `ok ID` or `no ID REASON`, `unsub` likewise,
//! `login TOKEN` with `welcome` or `refused REASON`. An update is `data TOPIC NUMBER`, and `whole TOKEN ID TOPIC` is
//! answered with `whole TOPIC NUMBER`, the number of the newest update.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_ws_client::View;
use actix_ws_client::feed::{Dialect, Refusal, Request, RequestId, Said, Sequence, Topic};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{
    ErrorResponse, Request as Upgrade, Response,
};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// The venue's side.
#[derive(Clone, Default)]
pub(crate) struct Venue(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// At most this many frames of a connection in a second; 0 is no limit.
    pub(crate) frames_per_second: usize,
    /// At most this many dials in any such time, refused ones included. What is beyond is refused with 429.
    pub(crate) dials_in: Option<(usize, Duration)>,
    /// The next dial is refused with 429, and this many seconds of `Retry-After`.
    pub(crate) retry_after: Option<u64>,
    /// A socket is dropped as soon as it is open.
    pub(crate) drops: bool,
    /// At most this many bytes in a frame; 0 is no limit.
    pub(crate) frame_bytes: usize,
    /// Topics that the venue does not have.
    pub(crate) unknown: BTreeSet<String>,
    /// Whether a request with an unknown topic is refused as a whole.
    pub(crate) refuses_whole: bool,
    /// The answer to a login, if it is not `welcome`.
    pub(crate) login: Option<String>,
    /// How long an answer takes.
    pub(crate) delay: Duration,
    /// A Ping is sent this often.
    pub(crate) ping_every: Option<Duration>,
    /// Nothing is read until then.
    pub(crate) deaf_until: Option<Instant>,
    /// The bytes that are under way at most, in each direction; 0 is 64 KiB.
    pub(crate) in_flight: usize,
    /// After this many requests of a connection it is cut, once for each entry.
    pub(crate) cuts: Vec<usize>,
    /// How long the next dial takes to open a socket.
    pub(crate) accept_delay: Duration,
    /// How late the data of connections is whose token has this letter.
    pub(crate) lags: HashMap<char, Duration>,
    /// Topics that connections do not have whose token has this letter.
    pub(crate) unknown_on: BTreeSet<(char, String)>,
    /// The answer to the login of connections whose token has this letter, if it is not `welcome`.
    pub(crate) logins: HashMap<char, String>,

    /// How long a snapshot takes; `None`: it never comes.
    pub(crate) snapshot_delay: Option<Duration>,
    /// At most this many snapshots may be asked for in a second; 0 is no limit.
    pub(crate) asks_per_second: usize,
    /// Whether each subscription brings a snapshot of its topics, and no request does.
    pub(crate) pushes: bool,

    /// When each snapshot was asked for.
    pub(crate) asks: Vec<Instant>,
    /// When each dial arrived.
    pub(crate) dials: Vec<Instant>,
    /// When each dial was refused.
    pub(crate) refused: Vec<Instant>,
    /// When each socket ended.
    pub(crate) ended: Vec<Instant>,
    /// When each heartbeat came, on a connection of which letter.
    beats: Vec<(char, Instant)>,
    /// Times that a rule was broken.
    pub(crate) breaches: Vec<String>,
    /// Requests that were received.
    pub(crate) requests: usize,
    /// Close frames that were received.
    pub(crate) closes: usize,
    /// The most topics that one connection had.
    pub(crate) most_topics: usize,
    /// The data that was written on a connection, whichever it was. `None`: it is not noted.
    pub(crate) carried: Option<BTreeSet<String>>,
    /// The open connections.
    pub(crate) open: BTreeMap<usize, Open>,
    numbers: HashMap<String, u64>,
}

/// An open connection.
pub(crate) struct Open {
    pub(crate) subscribed: BTreeSet<String>,
    /// The first letter of its token; a blank without one.
    pub(crate) letter: char,
    /// Whether it gets no data any more.
    pub(crate) is_frozen: bool,
    to: UnboundedSender<Order>,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

enum Order {
    Say(String),
    Close(u16),
    Cut,
}

impl Venue {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether an update was written on a connection.
    pub(crate) fn has_carried(&self, topic: &str, number: u64) -> bool {
        let data = format!("data {topic} {number}");
        self.state().carried.as_ref().is_some_and(|carried| carried.contains(&data))
    }

    /// Returns the client's end of a new connection.
    pub(crate) fn accept(&self) -> impl Future<Output = io::Result<DuplexStream>> + use<> {
        let in_flight = self.state().in_flight;
        let (client, server) = tokio::io::duplex(if in_flight == 0 { 1 << 16 } else { in_flight });
        self.state().dials.push(Instant::now());
        let id = self.state().dials.len();
        let (venue, delay) = (self.clone(), self.state().accept_delay);
        tokio::task::spawn_local(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            venue.serve(server, id).await;
        });
        std::future::ready(Ok(client))
    }

    /// Serves dials over TCP, and returns their URL without a query.
    pub(crate) async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let venue = self.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                venue.state().dials.push(Instant::now());
                let id = venue.state().dials.len();
                tokio::task::spawn_local(venue.clone().serve(stream, id));
            }
        });
        url
    }

    /// Returns the refusal of a dial, if it is to be refused.
    fn refusal(&self) -> Option<ErrorResponse> {
        let state = &mut *self.state();
        let now = Instant::now();
        let seconds = match state.dials_in {
            _ if state.retry_after.is_some() => state.retry_after.take(),
            Some((most, time)) => {
                let recent = state.dials.iter().filter(|at| now - **at < time).count();
                (recent > most).then_some(0)
            }
            None => None,
        };
        seconds.map(|seconds| {
            state.refused.push(now);
            let response = Response::builder().status(429).header("Retry-After", seconds);
            response.body(None).unwrap()
        })
    }

    /// Sends the next update of a topic to all who have subscribed to it, and returns its number.
    pub(crate) fn tick(&self, topic: &str) -> u64 {
        let mut state = self.state();
        let number = state.numbers.entry(topic.to_owned()).or_default();
        *number += 1;
        let text = format!("data {topic} {number}");
        let number = *number;
        let gets = |open: &&Open| !open.is_frozen && open.subscribed.contains(topic);
        for open in state.open.values().filter(gets) {
            let (order, lag) = (Order::Say(text.clone()), state.lags.get(&open.letter));
            if let Some(lag) = lag {
                let (to, lag) = (open.to.clone(), *lag);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(lag).await;
                    let _ = to.send(order);
                });
            } else {
                let _ = open.to.send(order);
            }
        }
        number
    }

    /// Counts an update of a topic that no one gets.
    pub(crate) fn skip(&self, topic: &str) {
        *self.state().numbers.entry(topic.to_owned()).or_default() += 1;
    }

    /// Returns the number of the newest update of a topic.
    pub(crate) fn newest(&self, topic: &str) -> u64 {
        self.state().numbers.get(topic).copied().unwrap_or_default()
    }

    /// Begins all numbers anew, and cuts all connections.
    pub(crate) fn restart(&self) {
        self.begin_anew();
        self.cut();
    }

    /// Begins all numbers anew.
    pub(crate) fn begin_anew(&self) {
        self.state().numbers.clear();
    }

    /// Answers a request for a snapshot that comes by another way than a connection.
    pub(crate) async fn whole(&self, topic: &str) -> u64 {
        let (number, delay) = (self.newest(topic), self.state().ask());
        match delay {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
        number
    }

    /// Cuts the connections whose token has this letter.
    pub(crate) fn cut_line(&self, letter: char) {
        let state = self.state();
        let open = state.open.values().filter(|open| open.letter == letter);
        open.for_each(|open| drop(open.to.send(Order::Cut)));
    }

    /// Closes the connections whose token has this letter with a code.
    #[allow(dead_code, reason = "not every test closes")]
    pub(crate) fn close_line(&self, letter: char, code: u16) {
        let state = self.state();
        let open = state.open.values().filter(|open| open.letter == letter);
        open.for_each(|open| drop(open.to.send(Order::Close(code))));
    }

    /// Sends no data any more on the connections whose token has this letter.
    pub(crate) fn freeze_line(&self, letter: char) {
        let mut state = self.state();
        let open = state.open.values_mut().filter(|open| open.letter == letter);
        open.for_each(|open| open.is_frozen = true);
    }

    /// Cuts all connections without a Close frame.
    pub(crate) fn cut(&self) {
        self.state().open.values().for_each(|open| drop(open.to.send(Order::Cut)));
    }

    /// Returns when each heartbeat came on connections whose token has this letter.
    pub(crate) fn beats(&self, letter: char) -> Vec<Instant> {
        let state = self.state();
        state.beats.iter().filter(|(of, _)| *of == letter).map(|(_, at)| *at).collect()
    }

    /// Returns all topics that are subscribed, on whichever connection.
    pub(crate) fn subscribed(&self) -> BTreeSet<String> {
        self.state().open.values().flat_map(|open| open.subscribed.clone()).collect()
    }

    async fn serve<S: Stream>(self, stream: S, id: usize) {
        let mut token = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's own")]
        let see = |upgrade: &Upgrade, response: Response| {
            token = upgrade.uri().query().unwrap_or_default().to_owned();
            self.refusal().map_or(Ok(response), Err)
        };
        let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, see).await else { return };
        if self.state().drops {
            self.state().ended.push(Instant::now());
            return;
        }
        let (to, orders) = unbounded_channel();
        let letter = token.chars().find(|c| c.is_alphabetic()).unwrap_or(' ');
        let open = Open { subscribed: BTreeSet::new(), letter, is_frozen: false, to };
        self.state().open.insert(id, open);
        // It reads while the client reads nothing: a client that holds still sends heartbeats.
        let (mut sink, mut stream) = socket.split();
        let breach = tokio::select! {
            () = self.say(&mut sink, orders) => None,
            breach = self.listen_to(&mut stream, id, &token) => breach,
        };
        self.state().open.remove(&id);
        self.state().ended.push(Instant::now());
        if let Some(breach) = breach {
            self.state().breaches.push(breach);
            let close = CloseFrame { code: 1008.into(), reason: "too many".into() };
            let _ = sink.send(Message::Close(Some(close))).await;
        }
    }

    /// Sends what is ordered, and pings, until the socket is to be cut.
    async fn say<S: Stream>(
        &self,
        sink: &mut SplitSink<WebSocketStream<S>, Message>,
        mut orders: UnboundedReceiver<Order>,
    ) {
        let every = self.state().ping_every;
        let mut pings = tokio::time::interval(every.unwrap_or(Duration::from_secs(1 << 30)));
        pings.tick().await;
        loop {
            let message = tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Say(text)) => Message::text(text),
                    Some(Order::Close(code)) => Message::Close(Some(CloseFrame {
                        code: code.into(),
                        reason: "the venue closes".into(),
                    })),
                    Some(Order::Cut) | None => return,
                },
                _ = pings.tick() => Message::Ping(Default::default()),
            };
            let data = message.to_text().ok().filter(|text| text.starts_with("data "));
            let data = data.map(str::to_owned);
            if sink.send(message).await.is_ok() {
                self.state().carried.iter_mut().for_each(|carried| carried.extend(data.clone()));
            }
        }
    }

    /// Reads until the socket ends. Returns the rule that the client broke.
    async fn listen_to<S: Stream>(
        &self,
        stream: &mut SplitStream<WebSocketStream<S>>,
        id: usize,
        token: &str,
    ) -> Option<String> {
        let (mut frames, mut requests) = (Vec::<Instant>::new(), 0);
        let deaf_until = self.state().deaf_until;
        if let Some(until) = deaf_until {
            tokio::time::sleep_until(until).await;
        }
        while let Some(Ok(frame)) = stream.next().await {
            let now = Instant::now();
            frames.push(now);
            let limit = self.state().frames_per_second;
            let recent = frames.iter().filter(|at| **at + Duration::from_secs(1) > now);
            if limit > 0 && recent.count() > limit {
                return Some(format!("more than {limit} frames in a second"));
            }
            self.state().closes += usize::from(frame.is_close());
            let Message::Text(text) = frame else { continue };
            requests += 1;
            self.hear(id, token, &text);
            let cuts = &mut self.state().cuts;
            if cuts.first() == Some(&requests) {
                cuts.remove(0);
                return None;
            }
        }
        None
    }

    fn hear(&self, id: usize, token: &str, text: &str) {
        let state = &mut *self.state();
        state.requests += 1;
        if state.frame_bytes > 0 && text.len() > state.frame_bytes {
            state.breaches.push(format!("a frame of {} bytes", text.len()));
        }
        let words: Vec<&str> = text.split(' ').collect();
        if words.get(1) != Some(&token) {
            state.breaches.push(format!("{text} on the socket of {token}"));
        }
        if let ["whole", _, _, topic] = words[..] {
            let (delay, number) = (state.ask(), state.numbers.get(topic).copied());
            let (Some(open), Some(delay)) = (state.open.get(&id), delay) else { return };
            return open.say(format!("whole {topic} {}", number.unwrap_or_default()), delay);
        }
        let Some(open) = state.open.get_mut(&id) else { return };
        let answer = match words[..] {
            ["beat", _] => {
                state.beats.push((open.letter, Instant::now()));
                "alive".to_owned()
            }
            ["login", _] => match state.logins.get(&open.letter).or(state.login.as_ref()) {
                Some(refusal) => format!("refused {refusal}"),
                None => "welcome".to_owned(),
            },
            ["sub", _, request, list] => {
                let (bad, good): (Vec<&str>, Vec<&str>) = list.split(',').partition(|topic| {
                    state.unknown.contains(*topic)
                        || state.unknown_on.contains(&(open.letter, (*topic).to_owned()))
                });
                if !bad.is_empty() && state.refuses_whole {
                    format!("no {request} unknown-topic")
                } else {
                    open.subscribed.extend(good.iter().map(|topic| (*topic).to_owned()));
                    for topic in good.iter().filter(|_| state.pushes) {
                        let number = state.numbers.get(*topic).copied().unwrap_or_default();
                        let delay = state.snapshot_delay.unwrap_or_default();
                        open.say(format!("whole {topic} {number}"), state.delay + delay);
                    }
                    state.most_topics = state.most_topics.max(open.subscribed.len());
                    format!("of {request} {}", good.join(","))
                }
            }
            ["unsub", _, request, list] => {
                for topic in list.split(',') {
                    open.subscribed.remove(topic);
                }
                format!("ok {request}")
            }
            _ => return,
        };
        open.say(answer, state.delay);
    }
}

impl State {
    /// Counts a request for a snapshot, and returns how long it takes.
    fn ask(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.asks.push(now);
        let recent = self.asks.iter().filter(|at| **at + Duration::from_secs(1) > now).count();
        if self.asks_per_second > 0 && recent > self.asks_per_second {
            self.breaches.push(format!("{recent} snapshots in a second"));
        }
        self.snapshot_delay
    }
}

impl Open {
    /// Sends a message after a delay.
    fn say(&self, text: String, delay: Duration) {
        let to = self.to.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            let _ = to.send(Order::Say(text));
        });
    }
}

/// The client's side: how to talk to the venue.
pub(crate) struct Words {
    pub(crate) token: String,
    pub(crate) logs_in: bool,
}

impl Dialect for Words {
    type Item = u64;

    fn login(&mut self) -> Option<Request> {
        self.logs_in.then(|| Request::text(format!("login {}", self.token)).secret())
    }

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        Request::text(format!("sub {} {id} {}", self.token, topics.join(",")))
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        Some(Request::text(format!("unsub {} {id} {}", self.token, topics.join(","))))
    }

    fn snapshot(&mut self, id: RequestId, topic: &Topic) -> Option<Request> {
        Some(Request::text(format!("whole {} {id} {topic}", self.token)))
    }

    fn heartbeat(&mut self) -> Option<Request> {
        Some(Request::text(format!("beat {}", self.token)))
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, u64> {
        let words: Vec<&str> = message.as_text().unwrap_or_default().split(' ').collect();
        let id = words.get(1).and_then(|id| id.parse::<u64>().ok()).unwrap_or_default();
        match words[..] {
            ["alive"] => Said::Alive,
            ["welcome"] => Said::LoggedIn,
            ["refused", "for-good"] => Said::login_refused(Refusal::for_good("bad key")),
            ["refused", reason] => Said::login_refused(Refusal::for_now(reason)),
            ["ok", _] => Said::confirmed(id),
            ["of", _, list] => Said::confirmed(actix_ws_client::feed::Which::of(
                id,
                list.split(',').filter(|topic| !topic.is_empty()),
            )),
            ["no", _, reason] => Said::refused(id, Refusal::for_good(reason)),
            ["data", topic, number] => {
                let number = number.parse().unwrap_or_default();
                Said::data(topic, Sequence::contiguous(number, number), number)
            }
            ["whole", topic, number] => {
                let number = number.parse().unwrap_or_default();
                Said::snapshot(topic, Sequence::contiguous(number, number), number)
            }
            _ => Said::Nothing,
        }
    }
}

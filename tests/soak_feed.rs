//! A feed on two lines that are cut, frozen, muted and rotated loses nothing, doubles nothing, and leaves nothing behind.
//!
//! The venue, by tungstenite, sends 20,000 messages a second over both lines together. `SOAK_SECONDS` sets how long it takes, 3
//! by default, with a fault every half second; `just soak-feed` has one every 10 s.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler};
use actix_ws_client::feed::{
    Dialect, Feed, Notice, Request, RequestId, SECOND, Said, Sequence, Threads, Topic, command,
    event,
};
use actix_ws_client::{Reconnect, View};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Updates in a second: each is a message on both lines.
const RATE: u64 = 10_000;
const TOPICS: usize = 20;
/// How long a line is frozen or a topic muted at most.
const FAULT_TIME: Duration = Duration::from_secs(5);
/// How long both lines carry everything before the next fault.
const WHOLE_FOR: Duration = Duration::from_millis(400);
/// The messages that wait for a slow client at most: the venue sends no further ones then.
const MOST_WAITING: usize = 100_000;
/// How much the most resident memory of the last quarter may exceed that of the second, in KiB.
const MOST_GROWTH: i64 = 2 << 10;

/// Where the venue is, in the process that is measured.
const VENUE: &str = "SOAK_VENUE";

#[test]
fn two_lines_lose_and_double_nothing_and_leave_nothing_behind() {
    if let Ok(url) = std::env::var(VENUE) {
        return actix::System::new().block_on(soak(url));
    }
    let venue = Venue::default();
    let url = venue.start();
    let mut client = Command::new(std::env::current_exe().unwrap());
    let name = "two_lines_lose_and_double_nothing_and_leave_nothing_behind";
    client.args([name, "--exact", "--nocapture"]).env(VENUE, url).env("MALLOC_ARENA_MAX", "1");
    let output = client.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let state = venue.0.lock().unwrap();
    println!("{} updates sent; faults: {:?}", state.sent, state.faults);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kinds = if seconds() < 60 { 1 } else { Fault::ALL.len() };
    assert!(state.faults.len() >= kinds, "{:?}", state.faults);
}

fn seconds() -> u64 {
    std::env::var("SOAK_SECONDS").map_or(3, |value| value.parse().unwrap())
}

fn every() -> Duration {
    Duration::from_millis(if seconds() < 60 { 500 } else { 10_000 })
}

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Its socket is dropped.
    Kill,
    /// The venue announces its end.
    Rotation,
    /// It gets nothing of one topic for a while.
    Mute,
    /// It gets no data for a while.
    Freeze,
}

impl Fault {
    const ALL: [Fault; 4] = [Fault::Kill, Fault::Rotation, Fault::Mute, Fault::Freeze];
}

#[derive(Clone, Default)]
struct Venue(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The open sockets, in the order of their dials.
    legs: BTreeMap<usize, Leg>,
    dials: usize,
    sent: u64,
    faults: BTreeMap<Fault, u64>,
}

struct Leg {
    /// Texts to send; dropping it ends the socket.
    to: Sender<Utf8Bytes>,
    /// Since when it has all topics.
    whole_since: Option<Instant>,
    is_frozen: bool,
    muted: Option<usize>,
    /// When that ends.
    ends: Option<Instant>,
    is_leaving: bool,
}

impl Venue {
    /// Starts it on a thread of its own, which ends with the process, and returns its URL.
    fn start(&self) -> String {
        let (bound, url) = std::sync::mpsc::channel();
        let venue = self.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
                tokio::spawn(venue.clone().send());
                tokio::spawn(venue.clone().fail());
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(venue.clone().serve(stream));
                }
            });
        });
        url.recv().unwrap()
    }

    /// Serves a socket until it ends.
    async fn serve(self, stream: TcpStream) {
        let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
        let (to, texts) = channel(MOST_WAITING);
        let number = {
            let mut state = self.0.lock().unwrap();
            state.dials += 1;
            let number = state.dials;
            let leg = Leg {
                to,
                whole_since: None,
                is_frozen: false,
                muted: None,
                ends: None,
                is_leaving: false,
            };
            state.legs.insert(number, leg);
            number
        };
        let (mut sink, mut stream) = socket.split();
        tokio::select! {
            () = write(&mut sink, texts) => {}
            () = self.read(&mut stream, number) => {}
        }
        self.0.lock().unwrap().legs.remove(&number);
    }

    /// Answers requests, until the socket ends.
    async fn read<S>(&self, stream: &mut S, number: usize)
    where
        S: futures_util::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>>
            + Unpin,
    {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Text(text) = message else { continue };
            let mut words = text.split(' ');
            let (Some("sub"), Some(id), Some(list)) = (words.next(), words.next(), words.next())
            else {
                panic!("{text} is no request");
            };
            assert_eq!(list.split(',').count(), TOPICS);
            if let Some(leg) = self.0.lock().unwrap().legs.get_mut(&number) {
                let _ = leg.to.try_send(format!("ok {id}").into());
                leg.whole_since = Some(Instant::now());
            }
        }
    }

    /// Sends the topics in turn at the rate, once both lines have them.
    async fn send(self) {
        let whole = || self.0.lock().unwrap().legs.values().filter(|leg| leg.is_whole()).count();
        while whole() < 2 {
            sleep(Duration::from_millis(10)).await;
        }
        let mut ticks = interval(Duration::from_millis(5));
        let (mut due, begin) = (0, Instant::now());
        let mut skipped = 0;
        loop {
            ticks.tick().await;
            let now = (begin.elapsed().as_micros() as u64) * RATE / 1_000_000 - skipped;
            let state = &mut *self.0.lock().unwrap();
            if state.legs.values().any(|leg| leg.to.capacity() < MOST_WAITING / 2) {
                skipped += now - due;
                continue;
            }
            for update in due..now {
                let topic = update as usize % TOPICS;
                let text = format!("data {} {}", name(topic), update / TOPICS as u64 + 1);
                let text = Utf8Bytes::from(text);
                let gets = |leg: &&Leg| leg.whole_since.is_some() && leg.gets(topic);
                for leg in state.legs.values().filter(gets) {
                    let _ = leg.to.try_send(text.clone());
                }
            }
            state.sent = now;
            due = now;
        }
    }

    /// Brings about a fault at each time, on the older and the newer line in turn, where both have carried everything.
    async fn fail(self) {
        for round in 0.. {
            sleep(every()).await;
            let fault = Fault::ALL[round % Fault::ALL.len()];
            while !self.fault(fault, round / Fault::ALL.len() % 2) {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Brings about a fault on one of the two lines. Returns whether it was possible.
    fn fault(&self, fault: Fault, which: usize) -> bool {
        let state = &mut *self.0.lock().unwrap();
        for leg in state.legs.values_mut() {
            if leg.ends.is_some_and(|ends| ends <= Instant::now()) {
                (leg.is_frozen, leg.muted, leg.ends) = (false, None, None);
                leg.whole_since = Some(Instant::now());
            }
        }
        if state.legs.len() != 2 || !state.legs.values().all(Leg::is_whole) {
            return false;
        }
        let number = *state.legs.keys().nth(which).unwrap();
        let leg = state.legs.get_mut(&number).unwrap();
        match fault {
            Fault::Kill => drop(state.legs.remove(&number)),
            Fault::Rotation => {
                let _ = leg.to.try_send("ends".into());
                leg.is_leaving = true;
            }
            Fault::Mute => (leg.muted, leg.ends) = (Some(7), Some(Instant::now() + FAULT_TIME)),
            Fault::Freeze => (leg.is_frozen, leg.ends) = (true, Some(Instant::now() + FAULT_TIME)),
        }
        *state.faults.entry(fault).or_default() += 1;
        true
    }
}

impl Leg {
    fn gets(&self, topic: usize) -> bool {
        !self.is_frozen && self.muted != Some(topic)
    }

    fn is_whole(&self) -> bool {
        let is_whole = self.whole_since.is_some_and(|since| since.elapsed() >= WHOLE_FOR);
        is_whole && !self.is_frozen && self.muted.is_none() && !self.is_leaving
    }
}

/// Sends texts, and drops the socket when no more can come.
async fn write<S: futures_util::Sink<Message> + Unpin>(
    sink: &mut S,
    mut texts: Receiver<Utf8Bytes>,
) {
    let mut some = Vec::new();
    while texts.recv_many(&mut some, 256).await > 0 {
        for text in some.drain(..) {
            if sink.feed(Message::Text(text)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

fn name(topic: usize) -> String {
    format!("t{topic:02}")
}

struct Words;

impl Dialect for Words {
    type Item = u64;

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        Request::text(format!("sub {id} {}", topics.join(",")))
    }

    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, u64> {
        let mut words = message.as_text().unwrap().split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("data"), Some(topic), Some(number)) => {
                let number = number.parse().unwrap();
                Said::data(topic, Sequence::contiguous(number, number), number)
            }
            (Some("ok"), Some(id), None) => Said::confirmed(id.parse::<u64>().unwrap()),
            (Some("ends"), None, None) => Said::Notice(Notice::RotateWithin(30 * SECOND)),
            _ => Said::Nothing,
        }
    }
}

/// What the handler has seen.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// The newest number of each topic.
    newest: BTreeMap<Topic, u64>,
    delivered: u64,
    doubled: u64,
    lost: u64,
    gaps: Vec<String>,
    downs: u64,
    rotated: u64,
}

impl Actor for Book {
    type Context = Context<Book>;
}

impl Handler<event::Batch<u64>> for Book {
    type Result = ();
    fn handle(&mut self, batch: event::Batch<u64>, _: &mut Context<Book>) {
        let seen = &mut *self.0.lock().unwrap();
        for update in &batch {
            let newest = match seen.newest.get_mut(&update.topic) {
                Some(newest) => newest,
                None => seen.newest.entry(update.topic.clone()).or_default(),
            };
            seen.delivered += 1;
            seen.doubled += u64::from(update.item <= *newest);
            seen.lost += update.item.saturating_sub(*newest + 1);
            *newest = update.item.max(*newest);
        }
    }
}

impl Handler<event::Gap> for Book {
    type Result = ();
    fn handle(&mut self, gap: event::Gap, _: &mut Context<Book>) {
        self.0.lock().unwrap().gaps.push(format!("{gap:?}"));
    }
}

impl Handler<event::TopicState> for Book {
    type Result = ();
    fn handle(&mut self, _: event::TopicState, _: &mut Context<Book>) {}
}

impl Handler<event::LineState> for Book {
    type Result = ();
    fn handle(&mut self, line: event::LineState, _: &mut Context<Book>) {
        let is_down = matches!(line.state, event::LineIs::Down { .. });
        self.0.lock().unwrap().downs += u64::from(is_down);
    }
}

impl Handler<event::Rotated> for Book {
    type Result = ();
    fn handle(&mut self, rotated: event::Rotated, _: &mut Context<Book>) {
        assert_eq!(rotated.outcome, event::Rotation::Done);
        self.0.lock().unwrap().rotated += 1;
    }
}

/// What the process has in use.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// The most.
    resident_kib: i64,
    /// The least: a line that is replaced has two sockets for a while.
    descriptors: usize,
    tasks: usize,
}

/// The measured process: runs the feed for the time that is set, and compares what its second quarter has in use with the last.
async fn soak(url: String) {
    let book = Book::default();
    let addr = book.clone().start();
    let feed = Feed::builder(async move |_| Ok(Words.at(url.as_str())))
        .threads(Threads::Here)
        .lines(2)
        .connection(|builder| {
            builder.proxy_from_env(false).reconnect(Reconnect::fixed(Duration::from_millis(100)))
        })
        .topics((0..TOPICS).map(name))
        .batch_handler(&addr)
        .on::<event::LineState>(addr.clone().recipient())
        .on::<event::Rotated>(addr.recipient())
        .start()
        .unwrap();
    let quarter = Duration::from_secs(seconds()) / 4;
    let mut quarters = [Usage::default(); 4];
    for usage in &mut quarters {
        *usage = watch(quarter).await;
    }
    let figures = feed.send(command::Status).await.unwrap().figures;
    feed.send(command::Close::default()).await.unwrap();
    let seen = std::mem::take(&mut *book.0.lock().unwrap());
    let [_, before, _, after] = quarters;
    let words = format!(
        "{} s: {} delivered, {} dropped as known, {} lost, {} doubled, {} gaps, {} sockets lost or replaced, {} rotations\n\
         before {before:?}\nafter  {after:?}",
        seconds(),
        seen.delivered,
        figures.duplicates,
        seen.lost,
        seen.doubled,
        seen.gaps.len(),
        seen.downs,
        seen.rotated,
    );
    println!("{words}");
    assert_eq!((seen.lost, seen.doubled), (0, 0), "{words}");
    assert_eq!(seen.gaps, Vec::<String>::new(), "{words}");
    assert_eq!(seen.newest.len(), TOPICS, "{words}");
    assert!(seen.downs > 0, "{words}");
    if seconds() >= 60 {
        assert!(seen.rotated > 0, "{words}");
        assert!(seen.delivered > RATE * seconds() * 8 / 10, "{words}");
        assert!(after.resident_kib - before.resident_kib <= MOST_GROWTH, "{words}");
        assert_eq!((after.descriptors, after.tasks), (before.descriptors, before.tasks), "{words}");
    }
}

/// Watches what the process has in use for a time.
async fn watch(time: Duration) -> Usage {
    let begin = Instant::now();
    let mut all = Usage { resident_kib: 0, descriptors: usize::MAX, tasks: usize::MAX };
    while begin.elapsed() < time {
        // Nothing reports a change, so /proc is read now and then.
        sleep(Duration::from_millis(100)).await;
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        all = Usage {
            resident_kib: all.resident_kib.max(resident()),
            descriptors: all.descriptors.min(descriptors),
            tasks: all.tasks.min(tasks),
        };
    }
    all
}

fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

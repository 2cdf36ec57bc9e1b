//! A thousand lines of one feed, with a topic each, on two threads: no update of any is lost.
//!
//! The venue, by tungstenite, is a process of its own. It numbers the updates of each line, [`RATE`] a second, and writes those of
//! `SOAK_WRITE_MS` at once, 100 ms by default. `SOAK_SECONDS` sets for how long, 3 by default, and `SOAK_LINES` on how many
//! lines, 50 by default; `just soak-lines` has 1,000 lines.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler};
use actix_ws_client::View;
use actix_ws_client::feed::{
    Dialect, Feed, Request, RequestId, Rules, Said, Sequence, Threads, Topic, command, event,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tokio_tungstenite::tungstenite::Message;

/// Updates of each line in a second.
const RATE: u64 = 100;
/// The threads of the feed.
const THREADS: usize = 2;
/// How much longer than the time of the soak all may take, before it has failed.
const MOST_BEHIND: u64 = 60;

/// The part of the test that a process has, and where the venue is.
const PART: &str = "SOAK_PART";
const VENUE: &str = "SOAK_VENUE";

#[test]
fn a_feed_of_many_lines_loses_nothing() {
    match std::env::var(PART).as_deref() {
        Ok("venue") => return serve(),
        Ok(_) => return actix::System::new().block_on(soak(std::env::var(VENUE).unwrap())),
        Err(_) => {}
    }
    let mut venue = part("venue", "");
    let mut lines = BufReader::new(venue.stdout.take().unwrap()).lines();
    // Before it the harness says what it runs, perhaps on the same line.
    let url = lines.find_map(|line| line.unwrap().split("at ").nth(1).map(str::to_owned)).unwrap();
    let output = part("feed", &url).wait_with_output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        // It may wait for further lines.
        venue.kill().unwrap();
    }
    // It says what it took, and ends.
    lines.for_each(|line| println!("{}", line.unwrap()));
    let ended = venue.wait().unwrap();
    assert!(output.status.success() && ended.success(), "{}, {ended}", output.status);
}

/// Starts a part of the test, in a process that may open a descriptor for each line.
fn part(name: &str, venue: &str) -> Child {
    let exe = std::env::current_exe().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -n 4096 && exec "$0" "$@""#]).arg(exe);
    shell.args(["a_feed_of_many_lines_loses_nothing", "--exact", "--nocapture"]);
    shell.env(PART, name).env(VENUE, venue).env("MALLOC_ARENA_MAX", "1");
    shell.stdout(Stdio::piped()).spawn().unwrap()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn seconds() -> u64 {
    variable("SOAK_SECONDS", 3)
}

fn lines() -> usize {
    variable("SOAK_LINES", 50) as usize
}

/// How often the venue writes on each line.
fn write_every() -> Duration {
    Duration::from_millis(variable("SOAK_WRITE_MS", 100))
}

/// The updates of each line.
fn updates() -> u64 {
    RATE * seconds()
}

/// The venue: on one thread, until all its lines have ended.
fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("at ws://{}/", listener.local_addr().unwrap());
        // When the first number of all lines is due; `None` until each has its topic.
        let (begins, begin) = watch::channel(None);
        let (begins, subscribed) = (Arc::new(begins), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for number in 0..lines() {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (begins, begin, subscribed) = (begins.clone(), begin.clone(), subscribed.clone());
            let subscribed = move || {
                if subscribed.fetch_add(1, Ordering::Relaxed) + 1 == lines() {
                    begins.send_replace(Some(tokio::time::Instant::now()));
                }
            };
            tasks.push(tokio::spawn(serve_line(stream, number, subscribed, begin)));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    println!("the venue took {:.1} s of processor time", processor_time());
}

/// Sends the numbers of one line when they are due, those of one time in one write, and reads until the end.
async fn serve_line(
    stream: TcpStream,
    number: usize,
    subscribed: impl Fn(),
    mut begin: watch::Receiver<Option<tokio::time::Instant>>,
) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let asked = socket.next().await.unwrap().unwrap();
    assert_eq!(asked.to_text().unwrap(), "sub");
    socket.send(Message::text("ok")).await.unwrap();
    subscribed();
    let begin = begin.wait_for(Option::is_some).await.unwrap().unwrap();
    // The lines have their turns one after the other.
    let turn = write_every() * number as u32 / lines() as u32;
    let mut turns = interval_at(begin + turn, write_every());
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sent = 0;
    loop {
        tokio::select! {
            _ = turns.tick(), if sent < updates() => {
                let due = (begin.elapsed().as_micros() as u64) * RATE / 1_000_000;
                for number in sent..due.min(updates()) {
                    socket.feed(Message::text((number + 1).to_string())).await.unwrap();
                }
                sent = due.min(updates()).max(sent);
                socket.flush().await.unwrap();
            }
            read = socket.next() => match read {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    assert_eq!(sent, updates(), "line {number} has ended early");
}

/// What the venue says on a line is about its one topic.
struct Numbers {
    topic: Topic,
    /// Its place in the table of the handler.
    place: usize,
}

impl Dialect for Numbers {
    type Item = (usize, u64);

    fn subscribe(&mut self, _: RequestId, topics: &[Topic]) -> Request {
        assert_eq!(topics.len(), 1);
        self.topic = topics[0].clone();
        self.place = self.topic.parse().unwrap();
        Request::text("sub")
    }

    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, (usize, u64)> {
        match message.as_text() {
            Some("ok") => Said::confirmed(actix_ws_client::feed::Which::Oldest),
            Some(text) => {
                let number = text.parse().unwrap();
                let sequence = Sequence::contiguous(number, number);
                Said::data(&self.topic, sequence, (self.place, number))
            }
            None => Said::Nothing,
        }
    }
}

/// What the handler has seen.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// The newest number of each line, by its place.
    newest: Vec<u64>,
    /// The lines that have all.
    whole: usize,
    delivered: u64,
    batches: u64,
    doubled: u64,
    lost: u64,
    gaps: Vec<String>,
    downs: Vec<String>,
    /// The longest time between the reading of an update and its handler.
    slowest: Duration,
}

impl Actor for Counter {
    type Context = Context<Counter>;
}

impl Handler<event::Batch<(usize, u64)>> for Counter {
    type Result = ();
    fn handle(&mut self, batch: event::Batch<(usize, u64)>, _: &mut Context<Counter>) {
        let seen = &mut *self.0.lock().unwrap();
        seen.batches += 1;
        seen.slowest = batch.iter().map(|it| it.received.elapsed()).fold(seen.slowest, Ord::max);
        for update in &batch {
            let (place, number) = update.item;
            let newest = &mut seen.newest[place];
            seen.delivered += 1;
            seen.doubled += u64::from(number <= *newest);
            seen.lost += number.saturating_sub(*newest + 1);
            *newest = number.max(*newest);
            seen.whole += usize::from(*newest == updates());
        }
    }
}

impl Handler<event::Gap> for Counter {
    type Result = ();
    fn handle(&mut self, gap: event::Gap, _: &mut Context<Counter>) {
        self.0.lock().unwrap().gaps.push(format!("{gap:?}"));
    }
}

impl Handler<event::TopicState> for Counter {
    type Result = ();
    fn handle(&mut self, _: event::TopicState, _: &mut Context<Counter>) {}
}

impl Handler<event::LineState> for Counter {
    type Result = ();
    fn handle(&mut self, line: event::LineState, _: &mut Context<Counter>) {
        if matches!(line.state, event::LineIs::Down { .. }) {
            self.0.lock().unwrap().downs.push(format!("{line:?}"));
        }
    }
}

/// The measured process: runs the feed until each line has brought all its updates.
async fn soak(url: String) {
    let counter = Counter::default();
    counter.0.lock().unwrap().newest = vec![0; lines()];
    let addr = counter.clone().start();
    let feed = Feed::builder(async move |_| {
        Ok(Numbers { topic: Topic::from(""), place: 0 }.at(url.as_str()))
    })
    .threads(Threads::Own(THREADS))
    .rules(Rules::default().topics_per_line(1))
    .connection(|builder| builder.proxy_from_env(false))
    .topics((0..lines()).map(|place| place.to_string()))
    .batch_handler(&addr)
    .on::<event::LineState>(addr.recipient())
    .start()
    .unwrap();
    let mut begin = None;
    let (mut resident, mut descriptors) = (Vec::new(), 0);
    let longest = Duration::from_secs(seconds() + MOST_BEHIND);
    let begun = Instant::now();
    while begun.elapsed() < longest + Duration::from_secs(60) {
        // Nothing reports a change of what a process uses, so /proc is read now and then.
        sleep(Duration::from_millis(100)).await;
        let seen = counter.0.lock().unwrap();
        if seen.delivered > 0 && begin.is_none() {
            begin = Some((Instant::now(), processor_time()));
        }
        if seen.whole == lines() || begin.is_some_and(|(begin, _)| begin.elapsed() > longest) {
            break;
        }
        drop(seen);
        resident.push(resident_kib());
        descriptors = fs::read_dir("/proc/self/fd").unwrap().count().max(descriptors);
    }
    let (began, before) = begin.expect("the lines have begun");
    let (took, processor) = (began.elapsed().as_secs_f64(), processor_time() - before);
    let figures = feed.send(command::Status).await.unwrap().figures;
    let seen = std::mem::take(&mut *counter.0.lock().unwrap());
    let words = format!(
        "{} lines on {THREADS} threads, {} s: {} delivered in {} batches over {took:.1} s, {} lost, {} doubled, \
         {} gaps, {} sockets lost; from read to handler {:?} at most;\n\
         {processor:.1} s of processor time; resident KiB {:?} after a half, {:?} at the end; {descriptors} descriptors",
        lines(),
        seconds(),
        seen.delivered,
        seen.batches,
        seen.lost,
        seen.doubled,
        seen.gaps.len(),
        seen.downs.len(),
        seen.slowest,
        resident.get(resident.len() / 2),
        resident.last(),
    );
    println!("{words}");
    assert_eq!((seen.gaps, seen.downs), (Vec::<String>::new(), Vec::<String>::new()), "{words}");
    assert_eq!((seen.lost, seen.doubled, figures.unwanted), (0, 0, 0), "{words}");
    assert_eq!((seen.whole, seen.delivered), (lines(), updates() * lines() as u64), "{words}");
    feed.send(command::Close::default()).await.unwrap();
}

/// Returns the processor time of this process, in seconds.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the executable before them may have blanks.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    // A tick is a hundredth of a second wherever Linux runs.
    ticks as f64 / 100.0
}

fn resident_kib() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

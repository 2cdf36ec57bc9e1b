//! Budgets: connections that share one stay within its limits together, wait without a cost to their dials, and give
//! back what they do not use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Addr;
use actix_ws_client::budget::Limit;
use actix_ws_client::command::status::WaitCause;
use actix_ws_client::testing::{Gate, Journal, Probe, Script, Server};
use actix_ws_client::{Budget, Connection, ConnectionBuilder, Phase, Reconnect, command, event};
use tokio::time::{Instant, sleep, sleep_until};

const MILLIS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A server in memory, for a paused clock that jumps to the next timer.
#[derive(Clone)]
struct Venue {
    start: Instant,
    dials: Arc<Mutex<Vec<Dial>>>,
    /// The reply to each dial, by its number and by those before it.
    rule: Arc<Rule>,
}

type Rule = dyn Fn(usize, &[Dial]) -> Script + Send + Sync;

#[derive(Clone, Copy, Debug)]
struct Dial {
    begun: Instant,
    /// When the request arrived.
    arrived: Option<Instant>,
    ended: Option<Instant>,
    refused: bool,
}

/// The time from the beginning of a dial to its arrival, and that of its reply.
const LATENCY: Duration = Duration::from_millis(20);

impl Venue {
    fn new(rule: impl Fn(usize, &[Dial]) -> Script + Send + Sync + 'static) -> Venue {
        Venue { start: Instant::now(), dials: Arc::default(), rule: Arc::new(rule) }
    }

    /// A venue that accepts every dial and keeps it open.
    fn kind() -> Venue {
        Venue::new(|_, _| Script::accept())
    }

    /// A venue that refuses what exceeds so many dials in a window of time. Refused dials count too.
    fn limited(count: usize, window: Duration) -> Venue {
        Venue::new(move |number, dials| {
            let now = dials[number].arrived.unwrap();
            let recent = |dial: &&Dial| dial.arrived.is_some_and(|at| at + window > now);
            let recent = dials.iter().filter(recent).count();
            if recent > count { Script::refuse(429) } else { Script::accept() }
        })
    }

    /// A connection to the venue.
    fn connection(&self, budget: &Budget) -> ConnectionBuilder {
        let venue = self.clone();
        Connection::builder("ws://venue/").budget(budget).transport_with(move |_, _| {
            let venue = venue.clone();
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let number = venue.begin();
            actix::spawn(async move {
                sleep(LATENCY).await;
                let script = venue.arrive(number);
                sleep(LATENCY).await;
                script.play(&mut theirs, number, &Journal::new()).await;
                venue.dials.lock().unwrap()[number].ended = Some(Instant::now());
            });
            async { Ok(ours) }
        })
    }

    /// Starts connections, each with a probe.
    fn start(&self, budget: &Budget, count: usize) -> Vec<Line> {
        let start = |_| Line::start(self.connection(budget));
        (0..count).map(start).collect()
    }

    fn begin(&self) -> usize {
        let mut dials = self.dials.lock().unwrap();
        let begun = Instant::now();
        dials.push(Dial { begun, arrived: None, ended: None, refused: false });
        dials.len() - 1
    }

    fn arrive(&self, number: usize) -> Script {
        let mut dials = self.dials.lock().unwrap();
        dials[number].arrived = Some(Instant::now());
        let script = (self.rule)(number, &dials);
        dials[number].refused = format!("{script:?}").contains("status: 4");
        script
    }

    fn dials(&self) -> Vec<Dial> {
        self.dials.lock().unwrap().clone()
    }

    /// When the dials began, in seconds since the start.
    fn begun(&self) -> Vec<f64> {
        self.dials().iter().map(|dial| (dial.begun - self.start).as_secs_f64()).collect()
    }

    async fn at(&self, time: Duration) {
        sleep_until(self.start + time).await;
    }
}

/// A connection and its probe.
struct Line {
    probe: Probe,
    connection: Addr<Connection>,
}

impl Line {
    fn start(builder: ConnectionBuilder) -> Line {
        let probe = Probe::new().patience(1_000 * SECOND);
        let connection = probe.attach(builder).start().unwrap();
        Line { probe, connection }
    }

    async fn opened(&self) -> event::Open {
        self.probe.next::<event::Open>().await
    }

    async fn waiting_for(&self) -> Option<WaitCause> {
        self.connection.send(command::Status).await.unwrap().waiting_for
    }
}

#[actix::test]
async fn thirty_connections_open_within_the_limit_without_a_refusal() {
    tokio::time::pause();
    let venue = Venue::limited(10, 20 * SECOND);
    let lines = venue.start(&Budget::dials(10, 20 * SECOND), 30);
    for line in &lines {
        line.opened().await;
    }
    assert!(venue.start.elapsed() < 43 * SECOND, "{:?}", venue.begun());
    let dials = venue.dials();
    assert!(dials.iter().all(|dial| !dial.refused), "{dials:?}");
    assert_eq!(dials.len(), 30);
}

#[actix::test]
async fn a_server_that_accepts_and_drops_is_dialled_by_one_at_a_time() {
    tokio::time::pause();
    for life in [Duration::ZERO, 700 * MILLIS, 3 * SECOND] {
        let venue = Venue::new(move |_, _| Script::accept().serve_for(life).drop_connection());
        let _lines = venue.start(&Budget::dials(300, 300 * SECOND), 20);
        venue.at(300 * SECOND).await;
        let dials = venue.dials();
        println!("{} dials of {life:?}", dials.len());
        assert!((40..=60).contains(&dials.len()), "{} dials of {life:?}", dials.len());
        let mut ends: Vec<Instant> = dials.iter().filter_map(|dial| dial.ended).collect();
        ends.sort();
        for dial in dials.iter().filter(|dial| dial.begun > ends[2]) {
            let overlaps = |other: &&Dial| {
                other.begun < dial.begun && other.ended.is_none_or(|end| end > dial.begun)
            };
            assert!(dials.iter().find(overlaps).is_none(), "{dial:?} of {life:?}");
        }
    }
}

#[actix::test]
async fn all_open_soon_after_the_server_is_back() {
    tokio::time::pause();
    let back = 60 * SECOND;
    let venue = Venue::new(|_, _| Script::accept());
    let (start, rule) = (venue.start, venue.rule.clone());
    let rule = move |number: usize, dials: &[Dial]| {
        if dials[number].arrived.unwrap() - start < back {
            Script::hang_up()
        } else {
            rule(number, dials)
        }
    };
    let venue = Venue { rule: Arc::new(rule), ..venue };
    let lines = venue.start(&Budget::dials(300, 300 * SECOND), 20);
    for line in &lines {
        line.opened().await;
    }
    // One wait for the next single dial, its proof, and the longest delay of the policy.
    assert!(venue.start.elapsed() < back + 10 * SECOND + 5 * SECOND + 30 * SECOND);
}

#[actix::test]
async fn retry_after_of_one_holds_the_dials_of_all() {
    tokio::time::pause();
    let venue = Venue::new(|number, _| match number {
        7 => Script::refuse(429).header("Retry-After", "8"),
        _ => Script::accept(),
    });
    let lines = venue.start(&Budget::dials(5, SECOND), 20);
    for line in &lines {
        line.opened().await;
    }
    let dials = venue.dials();
    let read = dials[7].ended.unwrap();
    let early = dials.iter().find(|dial| dial.begun > read && dial.begun < read + 8 * SECOND);
    assert!(early.is_none(), "{early:?}, {:?}", venue.begun());
    assert_eq!(dials.len(), 21);
}

#[actix::test]
async fn a_wait_for_the_budget_is_no_part_of_the_dial() {
    tokio::time::pause();
    let venue = Venue::kind();
    let budget = Budget::dials(1, 60 * SECOND);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (called, start) = (calls.clone(), venue.start);
    let line = |called: Arc<Mutex<Vec<Duration>>>| {
        let urls = async move |_| {
            called.lock().unwrap().push(start.elapsed());
            Ok::<_, String>("ws://venue/")
        };
        Line::start(venue.connection(&budget).connect_timeout(5 * SECOND).url_with(urls))
    };
    let lines = [line(called.clone()), line(called)];
    lines[0].opened().await;
    venue.at(30 * SECOND).await;
    let status = lines[1].connection.send(command::Status).await.unwrap();
    assert_eq!(status.phase, Phase::Waiting);
    assert_eq!(status.waiting_for, Some(WaitCause::Budget(Limit::Dials)));
    assert_eq!((status.figures.attempts, status.figures.budget_waits), (0, 1));
    let open = lines[1].opened().await;
    assert_eq!(open.attempts, 1);
    assert!(venue.start.elapsed() < 61 * SECOND);
    assert!(lines[1].probe.all::<event::Error>().is_empty());
    assert!(calls.lock().unwrap()[1] > 60 * SECOND, "{calls:?}");
    assert_eq!(lines[1].waiting_for().await, None);
}

#[actix::test]
async fn a_socket_is_held_until_it_has_ended() {
    tokio::time::pause();
    let venue = Venue::kind();
    let budget = Budget::dials(100, SECOND).sockets(1);
    let mut lines = venue.start(&budget, 2);
    lines[0].opened().await;
    venue.at(100 * SECOND).await;
    assert_eq!(lines[1].waiting_for().await, Some(WaitCause::Budget(Limit::Sockets)));
    lines[0].connection.send(command::Pause).await.unwrap().unwrap();
    lines[1].opened().await;
    lines[0].connection.send(command::Resume).await.unwrap().unwrap();
    venue.at(200 * SECOND).await;
    assert_eq!(lines[0].waiting_for().await, Some(WaitCause::Budget(Limit::Sockets)));
    drop(lines.remove(1));
    lines[0].opened().await;
    assert_eq!(venue.dials().len(), 3);
}

/// Each end of a wait, or of a dial that got no reply, leaves room for the next dial.
#[actix::test]
async fn what_is_cancelled_is_given_back() {
    #[derive(Clone, Copy, Debug)]
    enum End {
        Pause,
        Close,
        Drop,
    }

    tokio::time::pause();
    for end in [End::Pause, End::Close, End::Drop] {
        // The first dial gets no reply.
        let venue = Venue::new(|number, _| match number {
            0 => Script::no_reply(),
            _ => Script::accept(),
        });
        let mut lines = venue.start(&Budget::dials(1, 1_000 * SECOND), 3);
        sleep(SECOND).await;
        let next = lines.pop().unwrap();
        assert_eq!(venue.dials().len(), 1);
        assert_eq!(next.waiting_for().await, Some(WaitCause::Budget(Limit::Dials)));
        // First the one that waits, then the one that dials.
        for line in lines.iter().rev() {
            match end {
                End::Pause => line.connection.send(command::Pause).await.unwrap().unwrap(),
                End::Close => drop(line.connection.send(command::Close::normal()).await.unwrap()),
                End::Drop => {}
            }
        }
        if matches!(end, End::Drop) {
            lines.clear();
        }
        sleep(SECOND).await;
        assert_eq!(venue.dials().len(), 2, "{end:?}");
        next.opened().await;
    }
}

#[actix::test]
async fn a_dial_without_a_reply_does_not_count() {
    tokio::time::pause();
    let venue = Venue::new(|number, _| match number {
        0 => Script::hang_up(),
        _ => Script::accept(),
    });
    let budget = Budget::dials(1, 1_000 * SECOND);
    Line::start(venue.connection(&budget).reconnect(Reconnect::fixed(SECOND))).opened().await;
    assert!(venue.start.elapsed() < 2 * SECOND);
}

#[actix::test]
async fn closures_that_fail_and_credentials_that_are_refused_are_no_failed_dials() {
    tokio::time::pause();
    let venue = Venue::new(|_, _| Script::refuse(401));
    let budget = Budget::dials(100, SECOND);
    let failing = venue.connection(&budget).reconnect(Reconnect::fixed(SECOND));
    let failing = failing.url_with(async |_| Err::<String, _>("no token"));
    let _failing = Line::start(failing);
    let refused: Vec<Line> = venue.start(&budget, 5);
    for line in &refused {
        line.probe.next::<event::Stopped>().await;
    }
    venue.at(10 * SECOND).await;
    assert_eq!(venue.dials().len(), 5);
    let before = Instant::now();
    Line::start(Venue { rule: Arc::new(|_, _| Script::accept()), ..venue }.connection(&budget))
        .opened()
        .await;
    assert!(before.elapsed() < 100 * MILLIS);
}

/// `Reconnect` asks for what the dial waits for already: it must not go to the end of the queue.
#[actix::test]
async fn a_command_to_reconnect_keeps_the_place_in_the_queue() {
    tokio::time::pause();
    let venue = Venue::kind();
    let lines = venue.start(&Budget::dials(1, 10 * SECOND), 3);
    venue.at(SECOND).await;
    lines[1].connection.send(command::Reconnect).await.unwrap().unwrap();
    lines[1].opened().await;
    assert!(venue.start.elapsed() < 11 * SECOND);
    lines[2].opened().await;
}

#[actix::test]
async fn a_lost_connection_goes_before_one_that_was_never_open() {
    tokio::time::pause();
    let gate = Gate::new();
    let dropped = gate.clone();
    let venue = Venue::new(move |number, _| match number {
        0 => Script::accept().serve_until(&dropped).drop_connection(),
        _ => Script::accept(),
    });
    let budget = Budget::dials(1, 60 * SECOND);
    let lost = Line::start(venue.connection(&budget));
    lost.opened().await;
    let first = Line::start(venue.connection(&budget));
    venue.at(10 * SECOND).await;
    gate.open();
    lost.opened().await;
    assert!(first.probe.all::<event::Open>().is_empty());
    first.opened().await;
    assert!(venue.start.elapsed() > 120 * SECOND);
}

#[actix::test]
async fn all_budgets_of_a_connection_hold() {
    tokio::time::pause();
    let venue = Venue::kind();
    let (key, address) = (Budget::dials(1, 10 * SECOND), Budget::dials(1, 30 * SECOND));
    let lines: Vec<Line> =
        (0..2).map(|_| Line::start(venue.connection(&key).budget(&address))).collect();
    let alone = Line::start(venue.connection(&key));
    alone.opened().await;
    lines[1].opened().await;
    let begun: Vec<u64> = venue.begun().iter().map(|at| *at as u64).collect();
    assert_eq!(begun, [0, 10, 30]);
}

/// The beginnings of dials at a real server, in milliseconds after the first.
fn arrivals(server: &Server) -> Vec<u128> {
    let mut first = vec![];
    let mut seen = AtomicUsize::new(0);
    for (at, number, _) in server.journal().notes() {
        if number == *seen.get_mut() {
            seen.fetch_add(1, Ordering::Relaxed);
            first.push(at);
        }
    }
    first.iter().map(|at| at.duration_since(first[0]).as_millis()).collect()
}

#[actix::test]
async fn real_sockets_keep_to_the_window() {
    let server = Server::start(Script::accept());
    let budget = Budget::dials(2, SECOND);
    let line = |_| Line::start(Connection::builder(server.url()).budget(&budget));
    let lines: Vec<Line> = (0..6).map(line).collect();
    for line in &lines {
        line.opened().await;
    }
    let arrivals = arrivals(&server);
    assert_eq!(arrivals.len(), 6);
    for pair in arrivals.windows(3) {
        assert!(pair[2] - pair[0] >= 1_000, "{arrivals:?}");
    }
}

#[actix::test]
async fn real_sockets_wait_for_retry_after() {
    let server = Server::start_with(|number| match number {
        0 => Script::refuse(503).header("Retry-After", "1"),
        _ => Script::accept(),
    });
    let budget = Budget::dials(1, 100 * MILLIS);
    let line = |_| Line::start(Connection::builder(server.url()).budget(&budget));
    let lines: Vec<Line> = (0..3).map(line).collect();
    for line in &lines {
        line.opened().await;
    }
    let arrivals = arrivals(&server);
    assert!(arrivals[1] >= 1_000, "{arrivals:?}");
}

#[actix::test]
async fn real_sockets_that_are_dropped_are_dialled_one_at_a_time() {
    let server = Server::start_with(|number| match number {
        0..7 => Script::accept().drop_connection(),
        _ => Script::accept().send_text("back"),
    });
    let budget = Budget::dials(100, SECOND);
    let policy = Reconnect::fixed(10 * MILLIS);
    let probe = Probe::new();
    let line = |_| {
        let builder = Connection::builder(server.url()).budget(&budget).reconnect(policy.clone());
        probe.attach(builder).start().unwrap()
    };
    let _lines: Vec<Addr<Connection>> = (0..6).map(line).collect();
    probe.next_message().await;
    let arrivals = arrivals(&server);
    assert!(arrivals[6] >= 1_000 && arrivals[7] - arrivals[6] >= 2_000, "{arrivals:?}");
}

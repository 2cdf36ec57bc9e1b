//! The client's host: connections one after another, each with handlers of several kinds.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use actix::{Actor, Addr, Context, ContextFutureSpawner, Handler, WrapFuture};
use actix_ws_client::backoff::DialLimit;
use actix_ws_client::proto::session::By;
use actix_ws_client::{Connection, Error, OutcomeKind, Reconnect, command, event};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use turmoil::net::TcpStream;

use crate::ledger::{self, Dial, Ledger, now};
use crate::model::{self, ALLOWANCE, Bounds, History, Seen};
use crate::server::{host, number_in};

/// How a connection is brought to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By `command::Close`, and a second one.
    Close,
    /// By the drop of its last address.
    Drop,
    /// By a refusal for good.
    Doom,
}

/// What is drawn for one connection.
#[derive(Clone, Debug)]
struct Settings {
    server: usize,
    interval: Duration,
    timeout: Duration,
    connect: Duration,
    close: Duration,
    stable: Duration,
    read_ahead: usize,
    /// Which policy, and a number for it.
    policy: (u8, u64),
    /// How long the slow handler takes for a message, and how much its mailbox holds.
    slow: Option<(Duration, usize)>,
    /// How often the client sends.
    sending: Option<Duration>,
    /// When a handler joins that was not there from the start.
    late: Option<Duration>,
    life: Duration,
    end: End,
}

impl Settings {
    fn draw(server: usize, rng: &mut StdRng) -> Settings {
        let mut millis = |least: u64, most| Duration::from_millis(rng.random_range(least..=most));
        let life = millis(60_000, 180_000);
        let (interval, timeout) = (millis(500, 3_000), millis(300, 3_500));
        let (connect, close) = (millis(1_500, 5_000), millis(300, 3_000));
        let (stable, late) = (millis(500, 10_000), millis(0, 60_000));
        let (slow, sending) = (millis(1, 60), millis(20, 700));
        Settings {
            server,
            interval,
            timeout,
            connect,
            close,
            stable,
            read_ahead: [2 << 10, 32 << 10, 256 << 10][rng.random_range(0..3)],
            policy: (rng.random_range(0..3), rng.random()),
            slow: rng.random_bool(0.5).then(|| (slow, rng.random_range(1..=16))),
            sending: rng.random_bool(0.5).then_some(sending),
            late: rng.random_bool(0.9).then_some(late),
            life,
            end: [End::Close, End::Close, End::Drop, End::Doom][rng.random_range(0..4)],
        }
    }

    /// Policies whose delays the seed decides, where the default would draw them from the system.
    fn reconnect(&self) -> Reconnect {
        let (kind, seed) = self.policy;
        let least = Duration::from_millis(100 + seed % 1_500);
        match kind {
            0 => {
                let pinned = Reconnect::exponential().floor(least).initial(least).cap(least);
                pinned.first(Duration::ZERO).into()
            }
            1 => Reconnect::fixed(least),
            _ => Reconnect::delays(move || {
                let mut rng = StdRng::seed_from_u64(seed);
                let mut most = 200;
                std::iter::from_fn(move || {
                    most = (most * 2).min(5_000);
                    Some(Duration::from_millis(rng.random_range(0..=most)))
                })
            }),
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            connect: self.connect,
            close: self.close,
            silence: self.interval + self.timeout,
            slow: self.slow.is_some(),
        }
    }
}

/// One connection after another to one server.
///
/// # Errors
/// None: what is found wrong is in the ledger.
pub(crate) async fn lives(seed: u64, server: usize, lives: u32, ledger: Ledger) {
    let mut rng = StdRng::seed_from_u64(!(seed << 8 | server as u64));
    for _ in 0..lives {
        let settings = Settings::draw(server, &mut rng);
        Life::begin(settings, rng.random(), &ledger).await;
    }
}

/// One connection, from its start until nothing is left of it.
struct Life {
    settings: Settings,
    ledger: Ledger,
    /// Its number in the ledger.
    number: usize,
    asks: mpsc::UnboundedReceiver<()>,
    rng: StdRng,
    /// Gone when the connection's plan is.
    plan: Weak<()>,
}

impl Life {
    async fn begin(settings: Settings, seed: u64, ledger: &Ledger) {
        let (asks, asked) = mpsc::unbounded_channel();
        let number = {
            let mut book = ledger.book();
            book.servers[settings.server].calm = false;
            book.connections.push(ledger::Connection {
                settings: format!("{settings:?}"),
                dials: Vec::new(),
                alive: 0,
                served: 0,
                asks,
                doomed: false,
                hurried: Vec::new(),
                pauses: Vec::new(),
                closed: None,
                sends: 0,
                histories: Vec::new(),
            });
            book.connections.len() - 1
        };
        let (kept, rng) = (Arc::new(()), StdRng::seed_from_u64(seed));
        let plan = Arc::downgrade(&kept);
        let life = Life { settings, ledger: ledger.clone(), number, asks: asked, rng, plan };
        life.run(kept).await;
    }

    fn wrong(&self, what: impl std::fmt::Display) {
        self.ledger.wrong(format!("connection {}: {what}", self.number));
    }

    async fn run(mut self, kept: Arc<()>) {
        let addr = self.start(kept);
        let end = Instant::now() + self.settings.life;
        let mut late = self.settings.late.map(|after| Instant::now() + after);
        let mut send = self.settings.sending.map(|period| Instant::now() + period);
        loop {
            let next = [Some(end), late, send].into_iter().flatten().min().unwrap_or(end);
            tokio::select! {
                biased;
                Some(()) = self.asks.recv() => self.hurry(&addr),
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            if now >= end {
                break;
            }
            if late.is_some_and(|at| now >= at) {
                late = None;
                self.subscribe(&addr, true);
            }
            if let (Some(at), Some(period)) = (send, self.settings.sending)
                && now >= at
            {
                send = Some(now + period);
                self.send(&addr).await;
            }
        }
        self.end(addr).await;
        self.settle().await;
    }

    fn start(&mut self, kept: Arc<()>) -> Addr<Connection> {
        let settings = &self.settings;
        let (number, ledger) = (self.number, self.ledger.clone());
        let mut builder =
            Connection::builder(format!("ws://{}/connection/{number}", host(settings.server)))
                .ping_interval(settings.interval)
                .ping_timeout(settings.timeout)
                .connect_timeout(settings.connect)
                .close_timeout(settings.close)
                .write_timeout(Duration::from_secs(5))
                .stable_after(settings.stable)
                .read_ahead(settings.read_ahead)
                .reconnect(settings.reconnect())
                .dial_limit(DialLimit::default())
                .transport_with(move |host, port| {
                    let _kept = &kept;
                    let traced = Traced::begin(number, &ledger);
                    async move {
                        let stream = TcpStream::connect((host, port)).await?;
                        Ok(Socket { stream, head: Vec::new(), traced })
                    }
                });
        let mut handlers = vec![None];
        handlers.extend(settings.slow.map(Some));
        for pace in handlers {
            let addr = self.handler(pace, false);
            builder = builder
                .handler(&addr)
                .on_ping_to(addr.clone().recipient())
                .on_pong_to(addr.clone().recipient())
                .on_state_to(addr.clone().recipient())
                .on_stopped_to(addr.recipient());
        }
        let addr = builder.start().expect("the settings are right, and turmoil has a LocalSet");
        self.subscribe(&addr, false);
        addr
    }

    /// A handler, whose history is the ledger's.
    fn handler(&self, pace: Option<(Duration, usize)>, late: bool) -> Addr<Listener> {
        let history = Arc::new(Mutex::new(History { late, ..History::default() }));
        self.ledger.book().connections[self.number].histories.push(history.clone());
        Listener { history, pace }.start()
    }

    /// Adds a handler while the connection runs: all commands in one turn.
    fn subscribe(&self, addr: &Addr<Connection>, late: bool) {
        let handler = self.handler(None, late);
        addr.do_send(command::Subscribe::<event::Open>(handler.clone().recipient()));
        addr.do_send(command::Subscribe::<event::Message>(handler.clone().recipient()));
        addr.do_send(command::Subscribe::<event::Ping>(handler.clone().recipient()));
        addr.do_send(command::Subscribe::<event::Pong>(handler.clone().recipient()));
        addr.do_send(command::Subscribe::<event::Error>(handler.clone().recipient()));
        addr.do_send(command::Subscribe::<event::Close>(handler.clone().recipient()));
        addr.do_send(command::Subscribe::<event::State>(handler.clone().recipient()));
        addr.do_send(command::Subscribe::<event::Stopped>(handler.recipient()));
    }

    fn hurry(&self, addr: &Addr<Connection>) {
        self.ledger.book().connections[self.number].hurried.push(now());
        addr.do_send(command::Reconnect);
    }

    async fn send(&mut self, addr: &Addr<Connection>) {
        let number = self.ledger.book().connections[self.number].sends;
        match addr.send(command::Send::text(number.to_string())).await {
            Ok(Ok(_)) => self.ledger.book().connections[self.number].sends += 1,
            Ok(Err(_)) => {}
            Err(err) => self.wrong(format!("a send was lost: {err}")),
        }
        // Also in any other phase than open.
        match self.rng.random_range(0..200) {
            0 | 1 => self.hurry(addr),
            2 => self.pause(addr).await,
            _ => {}
        }
    }

    async fn pause(&mut self, addr: &Addr<Connection>) {
        let from = now();
        self.ledger.book().connections[self.number].hurried.push(from);
        addr.do_send(command::Pause);
        sleep(Duration::from_millis(self.rng.random_range(0..4_000))).await;
        let mut book = self.ledger.book();
        let connection = &mut book.connections[self.number];
        connection.pauses.push((from, now()));
        connection.hurried.push(now());
        addr.do_send(command::Resume);
    }

    async fn end(&mut self, addr: Addr<Connection>) {
        match self.settings.end {
            End::Drop => {
                self.closes_now();
                drop(addr);
            }
            End::Close => {
                self.closes_now();
                let deadline = self.settings.close;
                let began = now();
                let close = [command::Close::normal(), command::Close::empty()];
                let [one, two] = close.map(|close| addr.send(close.deadline(deadline)));
                let (one, two) = (one.await, two.await);
                if now() > began + deadline + ALLOWANCE {
                    self.wrong(format!("the close took {:?}", now() - began));
                }
                for outcome in [one, two] {
                    if outcome.as_ref().map(|outcome| outcome.kind) != Ok(OutcomeKind::Closed) {
                        self.wrong(format!("the close was answered with {outcome:?}"));
                    }
                }
                if !matches!(addr.send(command::Reconnect).await, Ok(Err(command::Closed))) {
                    self.wrong("a command was taken after the close");
                }
            }
            End::Doom => {
                self.ledger.book().connections[self.number].doomed = true;
                self.hurry(&addr);
                let refused = async {
                    while !self.all_stopped() {
                        sleep(Duration::from_millis(50)).await;
                        if self.asks.try_recv().is_ok() {
                            self.hurry(&addr);
                        }
                    }
                };
                if timeout(Duration::from_secs(180), refused).await.is_err() {
                    self.wrong("a refusal for good did not end the run");
                }
                self.closes_now();
            }
        }
    }

    fn closes_now(&self) {
        self.ledger.book().connections[self.number].closed = Some(now());
    }

    fn all_stopped(&self) -> bool {
        let book = self.ledger.book();
        let histories = &book.connections[self.number].histories;
        histories.iter().all(|history| {
            let history = history.lock().unwrap();
            matches!(history.events.last(), Some((_, Seen::Stopped { .. })))
        })
    }

    /// Nothing may be left: no actor, no socket, no handler, and no session of the server's.
    async fn settle(&self) {
        self.ledger.book().servers[self.settings.server].calm = true;
        let until = Instant::now() + Duration::from_secs(60);
        let mut left = self.left();
        while !left.is_empty() && Instant::now() < until {
            sleep(Duration::from_millis(50)).await;
            left = self.left();
        }
        if !left.is_empty() {
            self.wrong(format!("left at the end: {}", left.join(", ")));
        }
        self.judge();
    }

    fn left(&self) -> Vec<String> {
        let book = self.ledger.book();
        let connection = &book.connections[self.number];
        let handlers = connection.histories.iter().filter(|one| !one.lock().unwrap().gone).count();
        let count = [
            ("the connection", self.plan.strong_count()),
            ("sockets", connection.alive as usize),
            ("sessions of the server's", connection.served as usize),
            ("handlers", handlers),
        ];
        let left = count.into_iter().filter(|(_, count)| *count > 0);
        left.map(|(what, count)| format!("{what} ({count})")).collect()
    }

    /// Holds all that was written down against the model.
    fn judge(&self) {
        let mut book = self.ledger.book();
        let book = &mut *book;
        let connection = &book.connections[self.number];
        let histories: Vec<_> =
            connection.histories.iter().map(|one| one.lock().unwrap()).collect();
        let mut wrong = Vec::new();
        let mut sums = Vec::new();
        for (index, history) in histories.iter().enumerate() {
            match model::check(history, &book.sessions) {
                Ok(sum) => sums.push(sum),
                Err(err) => wrong.push(format!("handler {index}: {err}")),
            }
            if let Err(err) = model::compare(&histories[0], history) {
                wrong.push(format!("handler {index}: {err}"));
            }
            book.counts.events += history.events.len() as u64;
            book.counts.digest = book.counts.digest.rotate_left(1) ^ model::digest(history);
        }
        let bounds = self.settings.bounds();
        if let Some(first) = sums.first()
            && wrong.is_empty()
        {
            wrong.extend(model::check_dials(connection, &first.losses, &bounds));
            book.counts.messages += first.messages;
            book.counts.epochs += first.epochs;
            book.counts.clean += first.clean;
            match self.settings.sending {
                Some(_) => book.counts.silent_sending += first.silent,
                None => book.counts.silent_idle += first.silent,
            }
            book.counts.sent += connection.sends;
        }
        let counts = &mut book.counts;
        counts.dials += connection.dials.len() as u64;
        counts.connections += 1;
        counts.most_dials = counts.most_dials.max(model::most_within_a_minute(&connection.dials));
        if !bounds.slow {
            let opened = connection.dials.iter().filter(|dial| dial.opened.is_some());
            let late = opened.map(|dial| model::late(dial, &bounds)).max().unwrap_or_default();
            let most = match self.settings.sending {
                Some(_) => &mut counts.late_sending,
                None => &mut counts.late_idle,
            };
            *most = late.as_millis().max(u128::from(*most)) as u64;
        }
        let Some((_, Seen::Stopped { epochs, attempts, .. })) = histories[0].events.last() else {
            wrong.push("no Stopped".into());
            book.wrong.extend(tell(self.number, &wrong, connection, &histories[0]));
            return;
        };
        if *attempts != connection.dials.len() as u64 {
            wrong.push(format!("{attempts} attempts are told, not {}", connection.dials.len()));
        }
        let opened = connection.dials.iter().filter(|dial| dial.opened.is_some()).count();
        if *epochs > opened as u64 {
            wrong.push(format!("{epochs} epochs are told, not {opened}"));
        }
        if !wrong.is_empty() {
            let told = tell(self.number, &wrong, connection, &histories[0]);
            book.wrong.extend(told);
        }
    }
}

/// What is wrong with a connection, and the end of what its first handler saw.
fn tell(
    number: usize,
    wrong: &[String],
    connection: &ledger::Connection,
    history: &History,
) -> Vec<String> {
    let mut told = vec![format!("connection {number}, {}", connection.settings)];
    told.extend(wrong.iter().map(|what| format!("  {what}")));
    if std::env::var_os("SIMULATION_HISTORY").is_some() {
        told.extend(history.events.iter().map(|event| format!("    {event:?}")));
        told.extend(connection.dials.iter().map(|dial| format!("    {dial:?}")));
    }
    told
}

/// A handler of every kind of event.
struct Listener {
    history: Arc<Mutex<History>>,
    /// How long a message takes it, and how much its mailbox holds.
    pace: Option<(Duration, usize)>,
}

impl Listener {
    fn see(&mut self, seen: Seen) {
        self.history.lock().unwrap().events.push((now(), seen));
    }
}

impl Actor for Listener {
    type Context = Context<Listener>;

    fn started(&mut self, ctx: &mut Context<Listener>) {
        if let Some((_, capacity)) = self.pace {
            ctx.set_mailbox_capacity(capacity);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.history.lock().unwrap().gone = true;
    }
}

impl Handler<event::Open> for Listener {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Context<Listener>) {
        let session = open.handshake.headers.get("x-session").unwrap_or_default();
        self.see(Seen::Open {
            epoch: open.epoch,
            session: number_in(session, ""),
            attempts: open.attempts,
            reopening: open.outage.is_some(),
        });
    }
}

impl Handler<event::Message> for Listener {
    type Result = ();

    fn handle(&mut self, message: event::Message, ctx: &mut Context<Listener>) {
        let bytes = message.payload.as_bytes();
        let words = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        let (session, rest) = words.split_once(':').unwrap_or_default();
        self.see(Seen::Message {
            epoch: message.epoch,
            session: number_in(session, ""),
            number: number_in(rest, "") as u64,
        });
        if let Some((time, _)) = self.pace {
            sleep(time).into_actor(self).wait(ctx);
        }
    }
}

impl Handler<event::Ping> for Listener {
    type Result = ();

    fn handle(&mut self, ping: event::Ping, _: &mut Context<Listener>) {
        self.see(Seen::Ping { epoch: ping.epoch, payload: ping.payload.to_vec() });
    }
}

impl Handler<event::Pong> for Listener {
    type Result = ();

    fn handle(&mut self, pong: event::Pong, _: &mut Context<Listener>) {
        self.see(Seen::Pong { epoch: pong.epoch, answers: pong.round_trip.is_some() });
    }
}

impl Handler<event::Error> for Listener {
    type Result = ();

    fn handle(&mut self, error: event::Error, _: &mut Context<Listener>) {
        let retry_after = match &error.error {
            Error::Refused(refusal) => refusal.retry_after(),
            _ => None,
        };
        self.see(Seen::Error {
            epoch: error.epoch,
            stage: error.error.stage(),
            retry_after,
            next: model::after(error.next),
        });
    }
}

impl Handler<event::Close> for Listener {
    type Result = ();

    fn handle(&mut self, close: event::Close, _: &mut Context<Listener>) {
        self.see(Seen::Close {
            epoch: close.epoch,
            code: close.code.value(),
            clean: close.clean,
            by: match close.by {
                By::Local => "local",
                By::Remote => "remote",
                By::Nobody => "nobody",
            },
            next: model::after(close.next),
        });
    }
}

impl Handler<event::State> for Listener {
    type Result = ();

    fn handle(&mut self, state: event::State, _: &mut Context<Listener>) {
        self.see(Seen::State { phase: state.phase.to_string() });
    }
}

impl Handler<event::Stopped> for Listener {
    type Result = ();

    fn handle(&mut self, stopped: event::Stopped, _: &mut Context<Listener>) {
        self.see(Seen::Stopped {
            outcome: stopped.outcome.kind.to_string(),
            epochs: stopped.outcome.epochs,
            attempts: stopped.outcome.attempts,
        });
    }
}

/// turmoil's TCP, with its life in the ledger.
struct Socket {
    stream: TcpStream,
    /// What was read, up to the end of the reply's head.
    head: Vec<u8>,
    traced: Traced,
}

/// One dial, and the socket that comes of it, while they live.
struct Traced {
    connection: usize,
    dial: usize,
    ledger: Ledger,
}

impl Traced {
    fn begin(number: usize, ledger: &Ledger) -> Traced {
        let mut book = ledger.book();
        let connection = &mut book.connections[number];
        connection.alive += 1;
        let alive = connection.alive;
        let dial = connection.dials.len();
        let began = now();
        connection.dials.push(Dial { began, opened: None, heard: began, wrote: began, gone: None });
        drop(book);
        if alive > 1 {
            ledger.wrong(format!("connection {number}: {alive} sockets at once"));
        }
        Traced { connection: number, dial, ledger: ledger.clone() }
    }

    fn note(&self, change: impl FnOnce(&mut Dial)) {
        change(&mut self.ledger.book().connections[self.connection].dials[self.dial]);
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.note(|dial| dial.gone = Some(now()));
        self.ledger.book().connections[self.connection].alive -= 1;
    }
}

impl Socket {
    /// Whether the head of a 101 ends in what was read just now.
    fn heads(&mut self, read: &[u8]) -> bool {
        let ends = |head: &[u8]| head.windows(4).any(|four| four == b"\r\n\r\n");
        if ends(&self.head) {
            return false;
        }
        self.head.extend_from_slice(read);
        self.head.starts_with(b"HTTP/1.1 101") && ends(&self.head)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            let opened = self.heads(read);
            self.traced.note(|dial| {
                dial.heard = now();
                if opened {
                    dial.opened = Some(dial.heard);
                }
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.traced.note(|dial| dial.wrote = now());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

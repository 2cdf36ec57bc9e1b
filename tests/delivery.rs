//! Nothing that was read is lost or reordered on the way to a handler, and memory is bounded.

use std::sync::mpsc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, Addr, Arbiter, AtomicResponse, Context, Handler, fut::wrap_future,
};
use actix_ws_client::testing::{Gate, Probe, Script, Server};
use actix_ws_client::{Connection, ConnectionBuilder, Phase, Reconnect, Status, command, event};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const MILLIS: Duration = Duration::from_millis(1);

/// A connection that reconnects soon.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(MILLIS))
}

/// A handler with a mailbox for one event that slowly records what it receives.
struct Slow {
    told: UnboundedSender<String>,
    /// It handles nothing before this is open.
    gate: Gate,
    /// The number of events after which it blocks its thread for 1 ms.
    every: usize,
    count: usize,
    /// Where it reports that its mailbox has its bound.
    started: mpsc::Sender<()>,
}

impl Slow {
    fn see(&mut self, what: String) -> AtomicResponse<Slow, ()> {
        self.count += 1;
        if self.count.is_multiple_of(self.every) {
            std::thread::sleep(MILLIS);
        }
        let (gate, told) = (self.gate.clone(), self.told.clone());
        AtomicResponse::new(Box::pin(wrap_future(async move {
            gate.opened().await;
            // The test may have seen enough.
            let _ = told.send(what);
        })))
    }
}

impl Actor for Slow {
    type Context = Context<Slow>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
        // An error means that nothing waits for it.
        let _ = self.started.send(());
    }
}

impl Handler<event::Open> for Slow {
    type Result = AtomicResponse<Slow, ()>;

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) -> Self::Result {
        self.see(format!("open {}", open.epoch))
    }
}

impl Handler<event::Message> for Slow {
    type Result = AtomicResponse<Slow, ()>;

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) -> Self::Result {
        self.see(message.payload.as_text().unwrap_or("binary").to_owned())
    }
}

impl Handler<event::Error> for Slow {
    type Result = AtomicResponse<Slow, ()>;

    fn handle(&mut self, error: event::Error, _: &mut Self::Context) -> Self::Result {
        self.see(format!("error {}", error.epoch))
    }
}

impl Handler<event::Close> for Slow {
    type Result = AtomicResponse<Slow, ()>;

    fn handle(&mut self, close: event::Close, _: &mut Self::Context) -> Self::Result {
        self.see(format!("close {}", close.epoch))
    }
}

impl Handler<event::Stopped> for Slow {
    type Result = AtomicResponse<Slow, ()>;

    fn handle(&mut self, _: event::Stopped, _: &mut Self::Context) -> Self::Result {
        self.see("stopped".to_owned())
    }
}

/// A slow handler, here or on another arbiter, with its gate and what it records.
fn slow(arbiter: Option<&Arbiter>, every: usize) -> (Addr<Slow>, Gate, UnboundedReceiver<String>) {
    let (told, seen) = unbounded_channel();
    let gate = Gate::new();
    let (started, has_started) = mpsc::channel();
    let actor = Slow { told, gate: gate.clone(), every, count: 0, started };
    let addr = match arbiter {
        Some(arbiter) => {
            let addr = Slow::start_in_arbiter(&arbiter.handle(), move |_| actor);
            // Before that its mailbox has the bound of every actor.
            has_started.recv_timeout(Duration::from_secs(10)).expect("it starts");
            addr
        }
        None => actor.start(),
    };
    (addr, gate, seen)
}

/// The recorded events, up to the last one that is expected.
async fn until(seen: &mut UnboundedReceiver<String>, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|word| word != last) {
        let next = tokio::time::timeout(Duration::from_secs(20), seen.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("no {last} after {} events", all.len()));
        all.push(next.expect("the handler lives"));
    }
    all
}

/// The expected events of sockets with so many messages each; the client closes the last one.
fn lives(epochs: usize, messages: usize) -> Vec<String> {
    let life = |epoch: usize| {
        let messages = (0..messages).map(move |number| format!("{epoch}:{number}"));
        let error = (epoch < epochs).then(|| format!("error {epoch}"));
        let open = std::iter::once(format!("open {epoch}"));
        open.chain(messages).chain(error).chain([format!("close {epoch}")])
    };
    (1..=epochs).flat_map(life).chain(["stopped".to_owned()]).collect()
}

/// Five restarts, ten thousand events, a mailbox for one.
async fn nothing_is_lost_or_reordered(arbiter: Option<&Arbiter>) {
    const EPOCHS: usize = 6;
    const MESSAGES: usize = 1700;
    let server = Server::start_with(|visit| {
        let texts = (0..MESSAGES).map(move |number| format!("{}:{number}", visit + 1));
        let script = Script::accept().send_all(texts);
        if visit + 1 < EPOCHS { script.drop_connection() } else { script }
    });
    let (handler, gate, mut seen) = slow(arbiter, 50);
    gate.open();
    let builder = to(&server).read_ahead(4096).handler(&handler).on_stopped_to(handler.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    let mut told = until(&mut seen, &format!("{EPOCHS}:{}", MESSAGES - 1)).await;
    connection.send(command::Close::normal()).await.unwrap();
    told.extend(until(&mut seen, "stopped").await);
    assert_eq!(told, lives(EPOCHS, MESSAGES));
    assert_eq!(watch.figures().queued_events, 0);
}

#[actix::test]
async fn a_slow_handler_on_the_same_arbiter_misses_nothing() {
    nothing_is_lost_or_reordered(None).await;
}

#[actix::test]
async fn a_slow_handler_on_another_arbiter_misses_nothing() {
    let arbiter = Arbiter::new();
    nothing_is_lost_or_reordered(Some(&arbiter)).await;
    arbiter.stop();
}

#[actix::test]
async fn two_handlers_get_the_same_events_though_one_is_slow() {
    let texts = || (0..2000).map(|number| format!("1:{number}"));
    let server = Server::start(Script::accept().send_all(texts()));
    let arbiter = Arbiter::new();
    let (first, gate, mut seen) = slow(Some(&arbiter), 20);
    let (second, open_gate, mut also_seen) = slow(None, usize::MAX);
    open_gate.open();
    let builder = to(&server).handler(&first).handler(&second);
    let builder = builder.on_stopped_to(first.recipient()).on_stopped_to(second.recipient());
    let connection = builder.start().unwrap();
    // The quick handler is ahead of the blocked one by at most what both mailboxes hold.
    until(&mut also_seen, "open 1").await;
    reached(&connection, |status| status.blocked.is_some()).await;
    let mut ahead = 0;
    while also_seen.try_recv().is_ok() {
        ahead += 1;
    }
    assert!(ahead <= 8, "{ahead}");
    gate.open();
    until(&mut also_seen, "1:1999").await;
    connection.send(command::Close::normal()).await.unwrap();
    until(&mut also_seen, "stopped").await;
    assert_eq!(until(&mut seen, "stopped").await, lives(1, 2000));
    arbiter.stop();
}

/// Waits until the connection's status is as wanted.
async fn reached(connection: &Addr<Connection>, wanted: impl Fn(&Status) -> bool) {
    for _ in 0..10_000 {
        let status = connection.send(command::Status).await.unwrap();
        if wanted(&status) {
            return;
        }
        tokio::time::sleep(MILLIS).await;
    }
    panic!("{:?}", connection.send(command::Status).await);
}

/// What was read, once no more comes for a while.
async fn bytes_in_at_rest(connection: &Addr<Connection>) -> u64 {
    reached(connection, |status| status.blocked.is_some()).await;
    let (mut last, mut still) = (0, 0);
    while still < 10 {
        tokio::time::sleep(10 * MILLIS).await;
        let status = connection.send(command::Status).await.unwrap();
        let bytes = status.figures.bytes_in;
        still = if bytes == last && status.blocked.is_some() { still + 1 } else { 0 };
        last = bytes;
    }
    last
}

#[actix::test]
async fn reading_stops_at_read_ahead_and_goes_on_where_it_was() {
    const READ_AHEAD: usize = 100 << 10;
    // 64 MiB, of which the sockets' own buffers hold a part.
    let texts = (0..1024).map(|number| format!("{number:0>65000}"));
    let server = Server::start(Script::accept().send_all(texts));
    let (handler, gate, mut seen) = slow(None, usize::MAX);
    let builder = to(&server).read_ahead(READ_AHEAD).on_message_to(handler.recipient());
    let connection = builder.start().unwrap();
    let read = bytes_in_at_rest(&connection).await;
    // What is in the mailbox, one read, and one message that had begun come on top.
    assert!(read <= (READ_AHEAD + (320 << 10)) as u64, "{read}");
    let figures = connection.send(command::Status).await.unwrap().figures;
    assert!(figures.queued_bytes <= (READ_AHEAD + (256 << 10)) as u64, "{figures:?}");
    gate.open();
    let all = until(&mut seen, &format!("{:0>65000}", 1023)).await;
    for (number, text) in all.iter().enumerate() {
        assert_eq!(text.trim_start_matches('0').parse().unwrap_or(0), number);
    }
}

#[actix::test]
async fn nothing_is_dialled_while_events_pile_up() {
    let texts = || (0..200).map(|number| number.to_string());
    let server = Server::start_with(move |_| Script::accept().send_all(texts()).drop_connection());
    let (handler, gate, mut seen) = slow(None, usize::MAX);
    let connection = to(&server).handler(&handler).start().unwrap();
    reached(&connection, |status| status.phase == Phase::Waiting).await;
    // The policy waits 1 ms.
    tokio::time::sleep(100 * MILLIS).await;
    assert_eq!(server.dials(), 1);
    gate.open();
    until(&mut seen, "open 3").await;
    assert!(server.dials() >= 3);
}

#[actix::test]
async fn a_close_is_answered_though_a_handler_is_blocked_and_what_was_read_still_arrives() {
    let texts = (0..100).map(|number| format!("1:{number}"));
    let sent = Gate::new();
    let server = Server::start(Script::accept().send_all(texts).serve_until(&sent));
    let (handler, gate, mut seen) = slow(None, usize::MAX);
    let builder = to(&server).handler(&handler).on_stopped_to(handler.recipient());
    let connection = builder.start().unwrap();
    bytes_in_at_rest(&connection).await;
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.epochs, 1);
    assert!(seen.try_recv().is_err());
    gate.open();
    assert_eq!(until(&mut seen, "stopped").await, lives(1, 100));
}

#[actix::test]
async fn what_waits_is_handed_over_when_the_last_address_goes() {
    let texts = (0..100).map(|number| format!("1:{number}"));
    let server = Server::start(Script::accept().send_all(texts));
    let (handler, gate, mut seen) = slow(None, usize::MAX);
    let builder = to(&server).handler(&handler).on_stopped_to(handler.recipient());
    let connection = builder.start().unwrap();
    bytes_in_at_rest(&connection).await;
    drop(connection);
    assert_eq!(server.next_close().await.unwrap().code().value(), 1001);
    gate.open();
    assert_eq!(until(&mut seen, "stopped").await, lives(1, 100));
}

/// A handler that ends after a few messages.
struct Mortal(usize);

impl Actor for Mortal {
    type Context = Context<Mortal>;
}

impl Handler<event::Message> for Mortal {
    type Result = ();

    fn handle(&mut self, _: event::Message, ctx: &mut Self::Context) {
        self.0 -= 1;
        if self.0 == 0 {
            ctx.stop();
        }
    }
}

#[actix::test]
async fn a_handler_that_has_ended_does_not_hold_up_the_others() {
    let server = Server::start(Script::accept().send_all((0..500).map(|it| it.to_string())));
    let probe = Probe::new();
    let mortal = Mortal(3).start();
    let builder = to(&server).on_message_to(mortal.clone().recipient());
    let connection = probe.attach(builder).start().unwrap();
    for number in 0..500 {
        let expected = number.to_string();
        assert_eq!(probe.next_message().await.payload.as_text(), Some(&*expected));
    }
    assert!(!mortal.connected());
    // The nine of the probe are left.
    assert_eq!(connection.send(command::Status).await.unwrap().handlers, 9);
    probe.check().unwrap();
}

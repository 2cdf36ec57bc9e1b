//! What happens to messages that a handler is too slow for.

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use actix_ws_client::command::status::Watch;
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{
    CloseCode, Connection, Error, Overflow, Payload, Phase, Reconnect, command, event,
};
use tokio::sync::{mpsc, oneshot};

/// Messages that the server sends, of 1 KiB each.
const SENT: u64 = 2_000;

/// A handler that handles nothing until it is released, and then records what it receives.
struct Stuck {
    go: Option<oneshot::Receiver<()>>,
    told: mpsc::UnboundedSender<u64>,
}

impl Actor for Stuck {
    type Context = Context<Stuck>;

    fn started(&mut self, ctx: &mut Context<Stuck>) {
        ctx.set_mailbox_capacity(1);
        let go = self.go.take().unwrap();
        ctx.wait(wrap_future(async move { go.await.unwrap() }));
    }
}

impl Handler<event::Message> for Stuck {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Context<Stuck>) {
        let text = message.payload.as_text().unwrap();
        self.told.send(text.trim().parse().unwrap()).unwrap();
    }
}

/// What a stuck handler receives in the end, and the number of dropped messages.
async fn play(overflow: Overflow) -> (Vec<u64>, u64) {
    let numbered = |script: Script, number| script.send_text(format!("{number:1024}"));
    let script = (0..SENT).fold(Script::accept(), numbered).echo();
    let server = Server::start(script);
    let (go, wait) = oneshot::channel();
    let (told, mut got) = mpsc::unbounded_channel();
    let stuck = Stuck { go: Some(wait), told }.start();
    let builder = Connection::builder(server.url())
        .overflow(overflow)
        .read_ahead(64 << 10)
        .on_message_to(stuck.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    read(&watch, overflow).await;
    assert!(watch.figures().queued_bytes < 256 << 10, "{:?}", watch.figures());
    go.send(()).unwrap();
    let numbers = collect(&mut got, &connection, &watch).await;
    (numbers, watch.figures().dropped)
}

/// Waits until the connection has read what it will read while its handler is stuck.
async fn read(watch: &Watch, overflow: Overflow) {
    let enough = || match overflow {
        Overflow::Wait => watch.figures().queued_bytes > 64 << 10,
        _ => watch.figures().messages_in == SENT,
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !enough() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
}

async fn collect(
    got: &mut mpsc::UnboundedReceiver<u64>,
    connection: &Addr<Connection>,
    watch: &Watch,
) -> Vec<u64> {
    let mut numbers = Vec::new();
    while (numbers.len() as u64) + watch.figures().dropped < SENT {
        let next = tokio::time::timeout(Duration::from_secs(20), got.recv()).await;
        numbers.push(next.unwrap_or_else(|_| panic!("{:?}", watch.figures())).unwrap());
    }
    connection.send(command::Close::normal()).await.unwrap();
    numbers
}

#[actix::test]
async fn by_default_nothing_is_lost() {
    let (numbers, dropped) = play(Overflow::Wait).await;
    assert_eq!(dropped, 0);
    assert_eq!(numbers, (0..SENT).collect::<Vec<_>>());
}

#[actix::test]
async fn the_oldest_make_room_and_the_rest_stays_in_order() {
    let (numbers, dropped) = play(Overflow::DropOldest).await;
    assert!(dropped > SENT / 2, "{dropped}");
    assert!(numbers.is_sorted() && numbers.last() == Some(&(SENT - 1)), "{numbers:?}");
}

#[actix::test]
async fn the_newest_find_no_room_and_the_rest_stays_in_order() {
    let (numbers, dropped) = play(Overflow::DropNewest).await;
    assert!(dropped > SENT / 2, "{dropped}");
    assert!(numbers.is_sorted() && numbers.last() < Some(&(SENT - 1)), "{numbers:?}");
    assert_eq!(numbers[..32], (0..32).collect::<Vec<_>>());
}

/// A handler whose mailbox is never full.
struct Roomy(mpsc::UnboundedSender<usize>);

impl Actor for Roomy {
    type Context = Context<Roomy>;

    fn started(&mut self, ctx: &mut Context<Roomy>) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl Handler<event::Message> for Roomy {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Context<Roomy>) {
        self.0.send(message.payload.len()).unwrap();
    }
}

#[actix::test]
async fn nothing_is_dropped_while_no_mailbox_is_full() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let big = Script::accept().expect_message().send_binary(vec![7; 300 << 10]);
        let server = Server::start((0..SENT).fold(big, |script, _| script.send_text("x")).echo());
        let (tell, mut told) = mpsc::unbounded_channel();
        let roomy = Roomy(tell).start();
        // The handler has set the size of its mailbox before anything is sent.
        roomy.send(event_of_no_socket()).await.unwrap();
        assert_eq!(told.recv().await, Some(0));
        let go = event::call(|open: event::Open| {
            assert!(open.connection.do_send(command::Send::text("go")));
        });
        let builder = Connection::builder(server.url()).read_ahead(1 << 10).overflow(overflow);
        let builder = builder.on_open_to(go).on_message_to(roomy.recipient());
        let connection = builder.start().unwrap();
        assert_eq!(told.recv().await, Some(300 << 10));
        for number in 0..SENT {
            let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
            assert_eq!(next, Ok(Some(1)), "{overflow:?}, {number}");
        }
        connection.send(command::Close::normal()).await.unwrap();
    }
}

fn event_of_no_socket() -> event::Message {
    let source = Connection::builder("ws://nowhere/").source();
    let received = std::time::Instant::now();
    event::Message { source, epoch: 0, payload: Payload::Binary(Default::default()), received }
}

#[actix::test]
async fn where_it_is_wanted_the_socket_is_closed_and_comes_back_when_the_handlers_have_caught_up() {
    let numbered = |script: Script, number| script.send_text(format!("{number:1024}"));
    let first = (0..SENT).fold(Script::accept(), numbered).echo();
    let server = Server::start([first, Script::accept().echo()]);
    let (go, wait) = oneshot::channel();
    let (told, mut got) = mpsc::unbounded_channel();
    let stuck = Stuck { go: Some(wait), told }.start();
    let opened = Probe::new();
    let builder = Connection::builder(server.url())
        .overflow(Overflow::Disconnect)
        .read_ahead(64 << 10)
        .close_timeout(Duration::from_millis(200))
        .reconnect(Reconnect::fixed(Duration::from_millis(1)))
        .on_message_to(stuck.recipient())
        .on_close_to(opened.recipient())
        .on_open_to(opened.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), async {
        while watch.epoch() == 0 || watch.phase() != Phase::Waiting {
            tokio::task::yield_now().await;
        }
    });
    closed.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
    assert_eq!(server.dials(), 1, "nobody has caught up");
    go.send(()).unwrap();
    let closed = opened.next::<event::Close>().await;
    assert_eq!((closed.epoch, closed.by, closed.code), (1, By::Local, CloseCode::GOING_AWAY));
    assert_eq!(closed.reason, "handlers are too slow");
    let outage = opened.next_where::<event::Open>(|open| open.epoch == 2).await.outage.unwrap();
    let cause = outage.cause.unwrap();
    assert!(matches!(cause, Error::Overflow), "{cause}");
    assert!(!cause.to_string().contains("by the server"), "{cause}");
    connection.send(command::Close::normal()).await.unwrap();
    let mut numbers = Vec::new();
    while let Ok(number) = got.try_recv() {
        numbers.push(number);
    }
    assert_eq!(
        numbers,
        (0..numbers.len() as u64).collect::<Vec<_>>(),
        "nothing is lost on the way"
    );
    assert!((32..SENT).contains(&(numbers.len() as u64)), "{}", numbers.len());
}

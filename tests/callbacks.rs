//! The events beside Open, Message, Error and Close, and subscriptions at run time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler};
use actix_ws_client::proto::frame::Opcode;
use actix_ws_client::proto::message::Fragment;
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Error, OutcomeKind, Reconnect, command, event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What the handlers recorded, in order.
type Told = mpsc::UnboundedReceiver<String>;

fn told() -> (mpsc::UnboundedSender<String>, Told) {
    mpsc::unbounded_channel()
}

async fn next(told: &mut Told) -> String {
    let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    next.expect("it is told").expect("the connection lives")
}

#[actix::test]
async fn a_reopening_is_told_just_before_its_open() {
    let server = Server::start([Script::accept().drop_connection(), Script::accept().echo()]);
    let (tell, mut told) = told();
    let opens = tell.clone();
    let connection = Connection::builder(server.url())
        .reconnect(Reconnect::fixed(Duration::from_millis(1)))
        .on_open_to(event::call(move |open: event::Open| {
            opens.send(format!("open {}", open.epoch)).unwrap();
        }))
        .on_reconnect_to(event::call(move |again: event::Reconnect| {
            let outage = again.0.outage.expect("there was one");
            tell.send(format!("again {} {}", again.0.epoch, outage.attempts)).unwrap();
        }))
        .start()
        .unwrap();
    assert_eq!(next(&mut told).await, "open 1");
    let mut both = [next(&mut told).await, next(&mut told).await];
    // Two closures are two actors: which of them runs first is not defined.
    both.sort();
    assert_eq!(both, ["again 2 1", "open 2"]);
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn data_carries_the_opcode_of_its_message() {
    let script = Script::accept().send_text("t").send_binary(vec![7]).echo();
    let server = Server::start(script);
    let (tell, mut told) = told();
    let connection = Connection::builder(server.url())
        .on_data_to(event::call(move |data: event::Data| {
            let line = format!("{:?} {} {:?}", data.opcode, data.fin, data.payload.as_bytes());
            tell.send(line).unwrap();
        }))
        .start()
        .unwrap();
    assert_eq!(next(&mut told).await, format!("{:?} true [116]", Opcode::Text));
    assert_eq!(next(&mut told).await, format!("{:?} true [7]", Opcode::Binary));
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_closure_that_panics_takes_only_itself_down() {
    let server = Server::start(Script::accept().send_text("boom").echo());
    let probe = Probe::new();
    let builder = Connection::builder(server.url())
        .on_message_to(event::call(|_: event::Message| panic!("as the test wants it")));
    let connection = probe.attach(builder).start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("boom"));
    connection.send(command::Send::text("still there")).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("still there"));
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    probe.check().unwrap();
}

#[actix::test]
async fn an_unsubscribed_recipient_gets_no_more_events() {
    let server = Server::start(Script::accept().echo());
    let (gone, stays) = (Probe::new(), Probe::new());
    let connection = stays.attach(Connection::builder(server.url())).start().unwrap();
    let recipient = gone.recipient::<event::Message>();
    connection.send(command::Subscribe(recipient.clone())).await.unwrap().unwrap();
    stays.next::<event::Open>().await;
    connection.send(command::Send::text("one")).await.unwrap().unwrap();
    gone.next_message().await;
    stays.next_message().await;
    assert!(connection.send(command::Unsubscribe(recipient.clone())).await.unwrap());
    assert!(!connection.send(command::Unsubscribe(recipient)).await.unwrap());
    connection.send(command::Send::text("two")).await.unwrap().unwrap();
    assert_eq!(stays.next_message().await.payload.as_text(), Some("two"));
    connection.send(command::Close::normal()).await.unwrap();
    stays.stopped().await;
    assert_eq!(gone.all::<event::Message>().len(), 1);
}

#[actix::test]
async fn fragments_are_told_one_by_one_where_that_is_wanted() {
    // A text in three fragments, one of them empty, with a ping between; then a whole message.
    let bytes = b"\x01\x04caf\xc3\x00\x00\x89\x01p\x80\x01\xa9\x81\x05whole";
    let server = Server::start(Script::accept().send_raw(bytes.to_vec()).echo());
    let (tell, mut told) = told();
    let (fragments, pings, messages) = (tell.clone(), tell.clone(), tell);
    let connection = Connection::builder(server.url())
        .on_continuation_to(event::call(move |told: event::Continuation| {
            let part = told.fragment;
            let bytes = part.bytes.escape_ascii();
            fragments
                .send(format!("{} {:?} {bytes} {}", part.index, part.opcode, part.fin))
                .unwrap();
        }))
        .on_message_to(event::call(move |told: event::Message| {
            messages.send(format!("message {:?}", told.payload.as_text())).unwrap();
        }))
        .on_ping_to(event::call(move |_: event::Ping| pings.send("ping".into()).unwrap()))
        .start()
        .unwrap();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(next(&mut told).await);
    }
    // Three closures are three actors: the order between them is not defined.
    all.sort();
    assert_eq!(
        all,
        [
            "0 Text caf\\xc3 false",
            "1 Text  false",
            "2 Text \\xa9 true",
            "message Some(\"whole\")",
            "ping"
        ]
    );
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_late_recipient_of_fragments_takes_none_from_those_of_messages() {
    let script = Script::accept().expect_text("go").send_raw(&b"\x01\x01a\x80\x01b"[..]).echo();
    let server = Server::start(script);
    let (probe, late) = (Probe::new(), Probe::new());
    let connection = probe.attach(Connection::builder(server.url())).start().unwrap();
    let subscribe = command::Subscribe(late.recipient::<event::Continuation>());
    connection.send(subscribe).await.unwrap().unwrap();
    for epoch in 1..=2 {
        probe.next_where(|open: &event::Open| open.epoch == epoch).await;
        connection.send(command::Send::text("go")).await.unwrap().unwrap();
        let message = probe.next_message().await;
        assert_eq!((message.epoch, message.payload.as_text()), (epoch, Some("ab")));
        connection.send(command::Reconnect).await.unwrap().unwrap();
    }
    connection.send(command::Close::normal()).await.unwrap();
    assert!(late.all::<event::Continuation>().is_empty());
}

#[actix::test]
async fn once_the_last_recipient_of_fragments_has_gone_the_next_socket_has_whole_messages() {
    let script = Script::accept().expect_text("go").send_raw(&b"\x01\x01a\x80\x01b"[..]).echo();
    let server = Server::start(script);
    let (probe, gone) = (Probe::new(), Probe::new());
    let recipient = gone.recipient::<event::Continuation>();
    let builder = Connection::builder(server.url()).on_continuation_to(recipient.clone());
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    assert_eq!(gone.next::<event::Continuation>().await.fragment.bytes, "a");
    assert!(connection.send(command::Unsubscribe(recipient)).await.unwrap());
    connection.send(command::Reconnect).await.unwrap().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("ab"));
}

#[actix::test]
async fn data_is_delivered_for_each_fragment_too() {
    let server =
        Server::start(Script::accept().send_raw(&b"\x02\x01a\x80\x01b\x82\x01c"[..]).echo());
    let (tell, mut told) = told();
    let data = tell.clone();
    let connection = Connection::builder(server.url())
        .on_continuation_to(event::call(|_: event::Continuation| {}))
        .on_data_to(event::call(move |told: event::Data| {
            let bytes = told.payload.as_bytes().escape_ascii();
            data.send(format!("{:?} {bytes} {}", told.opcode, told.fin)).unwrap();
        }))
        .start()
        .unwrap();
    assert_eq!(next(&mut told).await, "Binary a false");
    assert_eq!(next(&mut told).await, "Binary b true");
    assert_eq!(next(&mut told).await, "Binary c true");
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn fragments_wait_for_a_slow_handler_in_order_and_none_is_lost() {
    const COUNT: usize = 2_000;
    let mut bytes = b"\x02\x01\x00".to_vec();
    for number in 1..COUNT {
        let first = if number + 1 == COUNT { 0x80 } else { 0x00 };
        bytes.extend_from_slice(&[first, 1, number as u8]);
    }
    let server = Server::start(Script::accept().send_raw(bytes).echo());
    let (tell, mut told) = mpsc::channel(1);
    let connection = Connection::builder(server.url())
        .read_ahead(4 << 10)
        .on_continuation_to(Slow(tell).start().recipient())
        .start()
        .unwrap();
    for index in 0..COUNT {
        let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
        let fragment: Fragment = next.expect("it is told").expect("the handler lives");
        assert_eq!((fragment.index, &fragment.bytes[..]), (index, &[index as u8][..]));
        assert_eq!(fragment.fin, index + 1 == COUNT);
    }
    connection.send(command::Close::normal()).await.unwrap();
}

/// A handler that handles a fragment when the last one was received from a channel.
struct Slow(mpsc::Sender<Fragment>);

impl Actor for Slow {
    type Context = Context<Slow>;
}

impl Handler<event::Continuation> for Slow {
    type Result = ();

    fn handle(&mut self, told: event::Continuation, ctx: &mut Context<Slow>) {
        let tell = self.0.clone();
        ctx.wait(wrap_future(async move { tell.send(told.fragment).await.unwrap() }));
    }
}

#[actix::test]
async fn text_that_is_none_is_taken_where_that_is_wanted() {
    let bytes = b"\x81\x02\xff\xfe\x01\x01\xce\x80\x01\xff";
    let server = Server::start(Script::accept().send_raw(bytes.to_vec()).echo());
    let (tell, mut told) = told();
    let messages = tell.clone();
    let connection = Connection::builder(server.url())
        .skip_utf8_validation(true)
        .on_data_to(event::call(move |told: event::Data| {
            tell.send(format!("{:?} {:?}", told.opcode, told.payload)).unwrap();
        }))
        .on_message_to(event::call(move |told: event::Message| {
            assert!(told.payload.as_text().is_none());
            messages.send("message".to_owned()).unwrap();
        }))
        .start()
        .unwrap();
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(next(&mut told).await);
    }
    all.sort();
    let text = |bytes: &str| format!("Text Binary(b\"{bytes}\")");
    assert_eq!(all, [text("\\xce\\xff"), text("\\xff\\xfe"), "message".into(), "message".into()]);
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_close_whose_reason_is_no_utf8_keeps_its_code_where_text_is_not_checked() {
    let close = b"\x88\x0b\x0f\xa1abgelauf\xe9";
    for (skip, code, reason, by) in [
        (true, 4001, "abgelauf\u{fffd}", By::Remote),
        (false, 1007, "text is not valid UTF-8", By::Local),
    ] {
        let server = Server::start(Script::accept().send_raw(close.to_vec()));
        let builder = Connection::builder(server.url()).skip_utf8_validation(skip);
        let outcome = builder.no_reconnect().run().await.unwrap();
        let (got, why) = outcome.close.unwrap();
        assert_eq!((got.value(), &*why, outcome.by), (code, reason, by));
    }
}

#[actix::test]
async fn masking_keys_are_the_applications_until_they_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let wire = actix::spawn(bytes_behind_upgrade(listener, 7 + 7));
    let left = AtomicU32::new(3);
    let keys = move || {
        // There are two.
        let left = left.fetch_sub(1, Ordering::Relaxed);
        assert!(left > 1, "as the test wants it");
        [b'k', b'e', b'y', left as u8]
    };
    let probe = Probe::new();
    let connection = probe.attach(Connection::builder(url).mask_key(keys)).start().unwrap();
    probe.next::<event::Open>().await;
    let send = async |text: &'static str| connection.send(command::Send::text(text)).await;
    send("a").await.unwrap().unwrap();
    send("b").await.unwrap().unwrap();
    let masked = |text: u8, left: u8| [0x81, 0x81, b'k', b'e', b'y', left, text ^ b'k'];
    assert_eq!(wire.await.unwrap(), [masked(b'a', 3), masked(b'b', 2)].concat());
    send("c").await.unwrap().unwrap();
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
}

/// Upgrades one connection by hand, and reads so many bytes behind it.
async fn bytes_behind_upgrade(listener: TcpListener, count: usize) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let is_key = |name: &str| name.eq_ignore_ascii_case("sec-websocket-key");
    let key = lines.into_iter().find(|(name, _)| is_key(name)).unwrap().1;
    let accept = derive_accept_key(key.as_bytes());
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(reply.as_bytes()).await.unwrap();
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

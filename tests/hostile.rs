//! A server that breaks RFC 6455, or exceeds a limit, gets a Close with the code for that.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix_ws_client::proto::error::ProtocolError;
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, Handle, Limits, OutcomeKind, Phase, Reconnect, command,
    event,
};

/// A connection that reconnects soon.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(Duration::from_millis(20)))
}

/// Each breach: its bytes, how the text of the error begins, and the code on the wire.
async fn breach(bytes: &[u8], code: u16, expected: impl Fn(&ProtocolError) -> bool) {
    breach_within(Limits::default(), bytes, code, expected).await;
}

async fn breach_within(
    limits: Limits,
    bytes: &[u8],
    code: u16,
    expected: impl Fn(&ProtocolError) -> bool,
) {
    let hostile = Script::accept().send_text("before").send_raw(bytes.to_vec());
    let server = Server::start([hostile, Script::accept().send_text("after")]);
    let probe = Probe::new();
    let _connection = probe.attach(to(&server).limits(limits)).start().unwrap();
    let error = probe.next::<event::Error>().await;
    match &error.error {
        Error::Protocol(found) => assert!(expected(found), "{found:?} for {bytes:x?}"),
        other => panic!("{other:?} for {bytes:x?}"),
    }
    assert!(error.next.after().is_some(), "a breach is retried");
    // On the wire, before all else, and in the event as ours.
    assert_eq!(server.next_close().await.unwrap().code().value(), code, "{bytes:x?}");
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code.value(), close.by, close.clean), (code, By::Local, false));
    assert_eq!(probe.next_message().await.payload.as_text(), Some("before"));
    assert_eq!(probe.next_message().await.payload.as_text(), Some("after"));
    assert_eq!(probe.story(), ["open", "message", "error", "close", "open", "message"]);
    probe.check().unwrap();
}

#[actix::test]
async fn frames_that_are_illegal_earn_1002() {
    breach(b"\x81\x82abcd\x09\x0b", 1002, |err| *err == ProtocolError::MaskedByServer).await;
    breach(b"\xc1\x02hi", 1002, |err| *err == ProtocolError::ReservedBit).await;
    breach(b"\x83\x02hi", 1002, |err| matches!(err, ProtocolError::ReservedOpcode { .. })).await;
    breach(b"\x80\x02hi", 1002, |err| *err == ProtocolError::UnexpectedContinuation).await;
    breach(b"\x09\x00", 1002, |err| *err == ProtocolError::FragmentedControl).await;
    breach(b"\x89\x7e\x00\x7e", 1002, |err| *err == ProtocolError::ControlTooLong).await;
    breach(b"\x82\x7e\x00\x05", 1002, |err| *err == ProtocolError::LengthNotMinimal).await;
    breach(b"\x82\x7f\xff", 1002, |err| *err == ProtocolError::LengthOverflow).await;
}

#[actix::test]
async fn fragments_that_are_cut_short_earn_1002() {
    breach(b"\x01\x02hi\x81\x02ho", 1002, |_| true).await;
}

#[actix::test]
async fn closes_that_are_illegal_earn_1002() {
    breach(b"\x88\x01\x03", 1002, |_| true).await;
    breach(b"\x88\x02\x03\xed", 1002, |_| true).await;
    breach(b"\x88\x02\x00\x00", 1002, |_| true).await;
}

#[actix::test]
async fn text_that_is_no_utf8_earns_1007() {
    breach(b"\x81\x02\xc3\x28", 1007, |err| *err == ProtocolError::InvalidUtf8).await;
    // In a fragment, and before the frame is whole.
    breach(b"\x01\x02\xed\xa0", 1007, |err| *err == ProtocolError::InvalidUtf8).await;
    breach(b"\x81\x7e\x01\x00\xff", 1007, |err| *err == ProtocolError::InvalidUtf8).await;
}

fn small() -> Limits {
    let mut limits = Limits::default();
    (limits.frame, limits.message, limits.fragments) = (1000, 2000, 5);
    limits
}

#[actix::test]
async fn a_frame_over_the_limit_earns_1009_at_its_header() {
    // Nothing of the payload is sent.
    breach_within(small(), b"\x82\x7f\x00\x00\x00\x02\x00\x00\x00\x00", 1009, |err| {
        matches!(err, ProtocolError::FrameTooLarge { .. })
    })
    .await;
    breach_within(small(), b"\x82\x7e\x03\xe9", 1009, |err| {
        matches!(err, ProtocolError::FrameTooLarge { .. })
    })
    .await;
}

#[actix::test]
async fn a_message_over_the_limit_earns_1009_in_fragments_too() {
    let first = [&b"\x02\x7e\x03\xe8"[..], &[0; 1000]].concat();
    let next = [&b"\x00\x7e\x03\xe8"[..], &[0; 1000]].concat();
    let long = [&first[..], &next, b"\x80\x01"].concat();
    breach_within(small(), &long, 1009, |err| matches!(err, ProtocolError::MessageTooLarge { .. }))
        .await;
    let many = [&b"\x02\x00"[..], &b"\x00\x00".repeat(5)].concat();
    breach_within(small(), &many, 1009, |err| {
        matches!(err, ProtocolError::TooManyFragments { .. })
    })
    .await;
}

#[actix::test]
async fn what_follows_a_breach_is_not_looked_at() {
    let bytes = b"\xc1\x02hi\x81\x04more\x88\x02\x03\xe8";
    let server = Server::start(Script::accept().send_raw(&bytes[..]));
    let outcome = to(&server).no_reconnect().run().await.unwrap();
    assert_eq!(outcome.close.unwrap().0.value(), 1002);
    assert!(matches!(outcome.error, Some(Error::Protocol(ProtocolError::ReservedBit))));
}

#[actix::test]
async fn a_server_that_heeds_our_close_is_not_waited_for() {
    let server = Server::start(Script::accept().send_raw(&b"\xff\xff"[..]));
    let probe = Probe::new();
    let _connection = probe.attach(to(&server).no_reconnect()).start().unwrap();
    let lasted = probe.next::<event::Close>().await.lasted;
    // From one that sends nothing we read for a second.
    assert!(lasted < Duration::from_millis(600), "{lasted:?}");
}

#[actix::test]
async fn a_server_that_does_not_heed_our_close_is_left_all_the_same() {
    let server = Server::start([
        Script::accept().send_raw(&b"\xff\xff"[..]).flood(vec![0; 64 << 10]),
        Script::accept(),
    ]);
    let probe = Probe::new();
    let builder = to(&server).close_timeout(Duration::from_millis(200));
    let _connection = probe.attach(builder).start().unwrap();
    assert_eq!(probe.next_where(|open: &event::Open| open.epoch == 2).await.attempts, 1);
    assert_eq!(probe.story(), ["open", "error", "close", "open"]);
}

#[actix::test]
async fn a_breach_is_an_error_also_when_we_close_just_after_it() {
    let hostile = Script::accept().send_raw(&b"\xff\xff"[..]).stall_forever();
    let server = Server::start(hostile);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next_where(|state: &event::State| state.phase == Phase::Closing).await;
    let close = command::Close::normal().deadline(Duration::from_millis(50));
    let outcome = connection.send(close).await.unwrap();
    assert_eq!((outcome.kind, outcome.error.is_none()), (OutcomeKind::Closed, true));
    let error = probe.next::<event::Error>().await;
    assert!(matches!(error.error, Error::Protocol(ProtocolError::ReservedBit)), "{error:?}");
    assert_eq!(error.next, event::Next::Stop);
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "error", "close", "stopped"]);
    probe.check().unwrap();
}

#[actix::test]
async fn what_handlers_answer_to_what_came_before_a_breach_is_sent_before_our_close() {
    let questions = (0..20).map(|number| number.to_string());
    let script = Script::accept().expect_text("go").send_all(questions);
    let server = Server::start(script.send_raw(&b"\xff\xff"[..]));
    let probe = Probe::new();
    let handle = Rc::new(RefCell::new(None::<Handle>));
    let answering = handle.clone();
    let builder = to(&server).no_reconnect().on_open_to(event::call(move |open: event::Open| {
        open.connection.do_send(command::Send::text("go"));
        *handle.borrow_mut() = Some(open.connection);
    }));
    // Answers each question, in the poll of its own actor.
    let builder = builder.on_message_to(event::call(move |question: event::Message| {
        let answer = command::Send::from(question.payload);
        assert!(answering.borrow().as_ref().unwrap().do_send(answer));
    }));
    let connection = builder.on_close_to(probe.recipient()).start().unwrap();
    assert_eq!(server.next_close().await.unwrap().code().value(), 1002);
    let answers: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let received = server.messages();
    let received: Vec<&str> = received.iter().map(|it| it.as_text().unwrap()).collect();
    assert_eq!(received[0], "go");
    assert_eq!(received[1..], answers);
    probe.next::<event::Close>().await;
    drop(connection);
}

#[actix::test]
async fn what_follows_the_servers_close_is_told_to_nobody() {
    let server =
        Server::start(Script::accept().send_raw(&b"\x81\x02hi\x88\x02\x03\xe8\x81\x04late"[..]));
    let probe = Probe::new();
    let builder = to(&server).no_reconnect().close_timeout(Duration::from_millis(300));
    let _connection = probe.attach(builder).start().unwrap();
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "message", "close", "stopped"]);
    assert_eq!(probe.next::<event::Close>().await.by, By::Remote);
}

#[actix::test]
async fn a_flood_of_pings_is_answered_with_bounded_memory() {
    let pings = b"\x89\x04ping".repeat(50_000);
    let server = Server::start(Script::accept().send_raw(pings).send_text("done"));
    let probe = Probe::new();
    let builder = to(&server).on_message_to(probe.recipient()).on_error_to(probe.recipient());
    let watch = builder.watch();
    let _connection = builder.start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("done"));
    assert!(watch.figures().unsent_bytes < 64 << 10, "{:?}", watch.figures());
    assert!(probe.all::<event::Error>().is_empty());
}

//! `command::Close` works in every phase, at once, and is answered within its deadline + 100 ms.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use actix_ws_client::proto::session::{By, PeerClose};
use actix_ws_client::testing::{Gate, Gone, Journal, Probe, Script, Server};
use actix_ws_client::{
    CloseCode, Connection, ConnectionBuilder, Outcome, OutcomeKind, Phase, Reconnect, command,
    event,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::oneshot;

/// A connection that comes back soon.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(Duration::from_millis(20)))
}

/// The promise of 100 ms, and what a busy machine adds to it.
const SLACK: Duration = Duration::from_millis(400);

/// Closes with a deadline and holds the answer against it.
async fn close(connection: &Addr<Connection>, deadline: Duration) -> Outcome {
    let asked = Instant::now();
    let outcome = connection.send(command::Close::normal().deadline(deadline)).await.unwrap();
    let took = asked.elapsed();
    assert!(took <= deadline + SLACK, "{took:?}");
    outcome
}

/// After the end no socket is opened, and every command says so.
async fn stays_closed(connection: &Addr<Connection>, server: &Server) {
    let dials = server.dials();
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!(status.phase, Phase::Closed);
    assert!(connection.send(command::Reconnect).await.unwrap().is_err());
    let refused = connection.send(command::Send::text("late")).await.unwrap().unwrap_err();
    assert_eq!(refused, command::SendError::Closed("late".into()));
    // A dial that was wrongly begun would be there by now: the policy waits 20 ms.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.dials(), dials);
}

const SOON: Duration = Duration::from_secs(1);

#[actix::test]
async fn an_open_connection_closes_cleanly() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let outcome = close(&connection, SOON).await;
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 1));
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code, close.clean), (CloseCode::NORMAL, true));
    assert_eq!(close.next, event::Next::Stop);
    probe.stopped().await;
    stays_closed(&connection, &server).await;
    probe.check().unwrap();
}

#[actix::test]
async fn a_close_ends_a_wait_for_the_next_dial() {
    let server = Server::start(Script::refuse(503));
    let probe = Probe::new();
    let builder = Connection::builder(server.url());
    let later = Reconnect::fixed(Duration::from_secs(3600));
    let connection = probe.attach(builder.reconnect(later)).start().unwrap();
    probe.next_where(|state: &event::State| state.phase == Phase::Waiting).await;
    let outcome = close(&connection, Duration::ZERO).await;
    assert_eq!((outcome.kind, outcome.epochs, outcome.attempts), (OutcomeKind::Closed, 0, 1));
    assert!(outcome.close.is_none());
    probe.stopped().await;
    stays_closed(&connection, &server).await;
    assert_eq!(probe.story(), ["error", "stopped"]);
}

#[actix::test]
async fn a_close_before_the_first_dial_opens_nothing() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let outcome = close(&connection, Duration::ZERO).await;
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 0));
    probe.stopped().await;
    stays_closed(&connection, &server).await;
    assert_eq!(probe.story(), ["stopped"]);
}

#[actix::test]
async fn a_close_cancels_a_dial_whose_handshake_stalls() {
    let server = Server::start(Script::no_reply());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    server.next_dial().await;
    let outcome = close(&connection, Duration::ZERO).await;
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 0));
    assert!(matches!(server.next_gone().await, Gone::Eof | Gone::Error(_)));
    stays_closed(&connection, &server).await;
    assert_eq!(probe.story(), ["stopped"]);
}

#[actix::test]
async fn a_close_cancels_a_dial_that_nobody_accepts() {
    let server = Server::start(Script::accept());
    server.pause_accepting();
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next_where(|state: &event::State| state.phase == Phase::Connecting).await;
    assert_eq!(close(&connection, Duration::ZERO).await.kind, OutcomeKind::Closed);
    server.resume_accepting();
    assert!(matches!(server.next_gone().await, Gone::Eof | Gone::Error(_)));
    assert_eq!(probe.story(), ["stopped"]);
}

#[actix::test]
async fn a_server_that_never_answers_is_left_at_the_deadline() {
    let server = Server::start(Script::accept().never_answer_close());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let asked = Instant::now();
    let outcome = close(&connection, Duration::from_millis(300)).await;
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code, close.clean), (CloseCode::NORMAL, false));
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
    stays_closed(&connection, &server).await;
}

#[actix::test]
async fn a_server_that_reads_nothing_is_left_at_the_deadline() {
    let server = Server::start(Script::accept().stall_forever());
    let probe = Probe::new();
    let connection = probe.attach(to(&server).send_buffer(8 << 20)).start().unwrap();
    probe.next::<event::Open>().await;
    let full = command::Send::binary(vec![0; 7 << 20]);
    connection.send(full).await.unwrap().unwrap();
    close(&connection, Duration::from_millis(200)).await;
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
}

/// Fills the send buffer of a connection with messages of 100 KiB. Returns how many were accepted.
async fn fill(connection: &Addr<Connection>) -> u64 {
    let big = || command::Send::binary(vec![0; 100 << 10]);
    let mut accepted = 0;
    while connection.send(big()).await.unwrap().is_ok() {
        accepted += 1;
        assert!(accepted < 1000, "100 MiB are no bound");
    }
    accepted
}

#[actix::test]
async fn what_is_not_sent_before_the_deadline_is_counted_and_no_close_frame_is_claimed() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let accepted = fill(&connection).await;
    let outcome = close(&connection, Duration::from_millis(100)).await;
    // The server reads what left.
    gate.open();
    assert!(matches!(server.next_gone().await, Gone::Eof | Gone::Error(_)));
    let (unsent, bytes) = (outcome.unsent_messages, outcome.unsent_bytes);
    assert_eq!(server.messages().len() as u64 + unsent, accepted);
    // With header and masking key a frame has 14 bytes more. The first one may have left in part.
    let frame = (100 << 10) + 14;
    assert!((unsent - 1) * frame < bytes && bytes <= unsent * frame, "{unsent}, {bytes} bytes");
    let found = outcome.close.map(|(code, reason)| (code, reason.to_string()));
    assert_eq!((outcome.kind, outcome.clean, outcome.by), (OutcomeKind::Closed, false, By::Nobody));
    assert_eq!(found, Some((CloseCode::ABNORMAL, String::new())));
    assert!(server.closes().is_empty());
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code, close.by, close.clean), (CloseCode::ABNORMAL, By::Nobody, false));
    assert_eq!((close.unsent_messages, close.unsent_bytes), (unsent, bytes));
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
}

#[actix::test]
async fn a_close_of_the_server_is_the_first_where_ours_did_not_leave() {
    let gate = Gate::new();
    let script = Script::accept().stall_until(&gate).send_close(4001, "bye").stall_forever();
    // A pipe that takes 4 KiB, and then nothing: the Close frame stays behind the message.
    let builder = Connection::builder("ws://peer/").transport_with(move |_, _| {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let script = script.clone();
        actix::spawn(async move { script.play(&mut theirs, 0, &Journal::new()).await });
        async move { Ok(ours) }
    });
    let probe = Probe::new();
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Send::binary(vec![0; 8 << 10])).await.unwrap().unwrap();
    let outcome = connection.send(command::Close::normal().deadline(SOON / 4));
    connection.send(command::Status).await.unwrap();
    gate.open();
    let outcome = outcome.await.unwrap();
    assert_eq!(outcome.close.unwrap(), (CloseCode::from(4001), "bye".into()));
    assert_eq!((outcome.by, outcome.clean), (By::Remote, false));
    // Eight bytes of header and masking key count too; the pipe took 4 KiB of all that.
    assert_eq!((outcome.unsent_messages, outcome.unsent_bytes), (1, (4 << 10) + 8));
}

#[actix::test]
async fn a_loss_says_what_was_not_sent_with_it() {
    let gate = Gate::new();
    let scripts = [Script::accept().stall_until(&gate).reset(), Script::accept()];
    let server = Server::start(scripts);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    fill(&connection).await;
    gate.open();
    let lost = probe.next::<event::Close>().await;
    assert_eq!((lost.code, lost.by), (CloseCode::ABNORMAL, By::Nobody));
    assert!(lost.unsent_messages > 0 && lost.unsent_bytes > 0, "{lost:?}");
    // The figures are those of one socket: the next one loses nothing.
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    connection.send(command::Send::text("more")).await.unwrap().unwrap();
    assert_eq!(server.next_message().await.as_text(), Some("more"));
    let outcome = close(&connection, SOON).await;
    assert_eq!((outcome.unsent_messages, outcome.unsent_bytes, outcome.clean), (0, 0, true));
}

#[actix::test]
async fn a_deadline_of_zero_does_not_wait_for_the_answer() {
    let server = Server::start(Script::accept().never_answer_close());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    close(&connection, Duration::ZERO).await;
    // The frame is sent nevertheless.
    assert_eq!(server.next_close().await.unwrap().code().value(), 1000);
}

#[actix::test]
async fn a_second_close_hastens_the_first_and_gets_the_same_answer() {
    let server = Server::start(Script::accept().never_answer_close());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let code = CloseCode::from(4001);
    let patient = command::Close::new(code, "first").unwrap().deadline(Duration::from_secs(3600));
    let first = connection.send(patient);
    let second = close(&connection, Duration::from_millis(100)).await;
    let first = first.await.unwrap();
    let third = close(&connection, Duration::ZERO).await;
    for outcome in [first, second, third] {
        let (code, reason) = outcome.close.unwrap();
        assert_eq!((code.value(), &*reason, outcome.epochs), (4001, "first", 1));
    }
    assert_eq!(server.closes().len(), 1);
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
}

#[actix::test]
async fn the_close_of_the_server_is_told_though_we_closed_first() {
    let frame = |code: u16, reason: &str| Some((code, reason.to_owned()));
    // What the server sends once it has our Close, and what of it is a Close frame.
    let cases = [
        (&b"\x88\x11\x0f\xa1session expired"[..], frame(4001, "session expired"), true),
        (b"\x88\x02\x03\xe8", frame(1000, ""), true),
        (b"\x88\x00", frame(1005, ""), true),
        // A message comes first: the server closed by itself, or answers late.
        (b"\x81\x04last\x88\x02\x03\xe9", frame(1001, ""), true),
        // A breach: what follows it is not read (RFC 6455, 7.1.7).
        (b"\x83\x00\x88\x02\x0f\xa1", None, false),
        (b"", None, false),
    ];
    for (bytes, expected, clean) in cases {
        let answers = Gate::new();
        let script = Script::accept().never_answer_close().serve_until(&answers).send_raw(bytes);
        let server = Server::start(script.stall_forever());
        let probe = Probe::new();
        let connection = probe.attach(to(&server)).start().unwrap();
        probe.next::<event::Open>().await;
        let ask = command::Close::normal().deadline(Duration::from_millis(300));
        let outcome = connection.send(ask);
        server.next_close().await;
        answers.open();
        let outcome = outcome.await.unwrap();
        let close = probe.next::<event::Close>().await;
        assert_eq!((close.code, close.by, close.clean), (CloseCode::NORMAL, By::Local, clean));
        let words =
            |peer: Option<Box<PeerClose>>| peer.map(|it| (it.code.value(), it.reason.to_string()));
        assert_eq!(words(close.peer), expected, "{bytes:?}");
        assert_eq!(words(outcome.peer), expected, "{bytes:?}");
        let status = connection.send(command::Status).await.unwrap();
        let last = status.last_close.unwrap();
        assert_eq!((last.code, last.by), (CloseCode::NORMAL, By::Local));
        assert_eq!(words(last.peer), expected, "{bytes:?}");
    }
}

#[actix::test]
async fn the_close_of_the_server_is_told_where_it_closed_first_and_none_where_none_came() {
    let cases = [
        (Script::accept().send_close(4001, "bye"), Some((4001, "bye"))),
        (Script::accept().send_empty_close(), Some((1005, ""))),
        (Script::accept().drop_connection(), None),
        // Our Close for a breach is the first; what the server sends after it is not read.
        (Script::accept().send_raw(&b"\x83\x00"[..]).send_close(4001, "late"), None),
    ];
    for (script, expected) in cases {
        let server = Server::start(script);
        let outcome = to(&server).no_reconnect().run().await.unwrap();
        let peer = outcome.peer.as_ref().map(|peer| (peer.code.value(), &*peer.reason));
        assert_eq!(peer, expected);
    }
}

#[actix::test]
async fn a_close_during_the_servers_close_ends_the_run() {
    // The server closes, and keeps the socket open behind our answer.
    let server = Server::start(
        Script::accept().never_answer_close().send_close(1012, "bye").stall_forever(),
    );
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next_where(|state: &event::State| state.phase == Phase::Closing).await;
    let outcome = close(&connection, Duration::from_millis(100)).await;
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert_eq!(outcome.close.unwrap().0.value(), 1012);
    assert_eq!(probe.next::<event::Close>().await.next, event::Next::Stop);
    stays_closed(&connection, &server).await;
}

#[actix::test]
async fn a_close_frame_of_the_server_does_not_lengthen_our_deadline() {
    let gate = Gate::new();
    // Answers our Close, and keeps the socket open.
    let script = Script::accept().never_answer_close().serve_until(&gate);
    let server = Server::start(script.send_raw(&b"\x88\x02\x03\xe8"[..]).stall_forever());
    let probe = Probe::new();
    let builder = to(&server).close_timeout(Duration::from_secs(3600));
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let outcome = connection.send(command::Close::normal().deadline(SOON / 2));
    server.next_close().await;
    gate.open();
    let outcome = tokio::time::timeout(Duration::from_secs(10), outcome).await;
    assert!(outcome.expect("the deadline holds").unwrap().clean);
}

#[actix::test]
async fn nothing_that_follows_a_close_of_ours_is_an_error() {
    for ask in ["pause", "reconnect", "close"] {
        let gate = Gate::new();
        let script = Script::accept().never_answer_close().serve_until(&gate).reset();
        let server = Server::start([script, Script::accept()]);
        let probe = Probe::new();
        let connection = probe.attach(to(&server)).start().unwrap();
        probe.next::<event::Open>().await;
        match ask {
            "pause" => connection.send(command::Pause).await.unwrap().unwrap(),
            "reconnect" => connection.send(command::Reconnect).await.unwrap().unwrap(),
            _ => connection.do_send(command::Close::normal()),
        }
        server.next_close().await;
        gate.open();
        let close = probe.next::<event::Close>().await;
        assert_eq!((close.code, close.by, close.clean), (CloseCode::NORMAL, By::Local, false));
        assert!(probe.all::<event::Error>().is_empty(), "{ask}: {:?}", probe.story());
        let status = connection.send(command::Status).await.unwrap();
        assert!(status.last_error.is_none(), "{ask}: {:?}", status.last_error);
    }
}

/// A transport that notes when its writing side is ended.
struct Ended<T>(T, Option<oneshot::Sender<()>>);

impl<T: AsyncRead + Unpin> AsyncRead for Ended<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Ended<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        if let Some(ended) = self.1.take() {
            let _ = ended.send(());
        }
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[actix::test]
async fn our_side_is_ended_after_the_closing_handshake_and_after_a_breach() {
    // The server closes, or breaks the protocol, and waits for our end of the transport.
    for bytes in [&b"\x88\x02\x03\xe8"[..], b"\xff\xff"] {
        let (sender, ended) = oneshot::channel();
        let sender = Mutex::new(Some(sender));
        let builder = Connection::builder("ws://peer/").transport_with(move |_, _| {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            let script = Script::accept().never_answer_close().send_raw(bytes).stall_forever();
            actix::spawn(async move { script.play(&mut theirs, 0, &Journal::new()).await });
            let sender = sender.lock().unwrap().take();
            async move { Ok(Ended(ours, sender)) }
        });
        let builder = builder.no_reconnect().close_timeout(Duration::from_secs(3600));
        let connection = builder.start().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert_eq!(ended, Ok(Ok(())), "{bytes:x?}");
        connection.send(command::Close::normal().deadline(Duration::ZERO)).await.unwrap();
    }
}

/// A transport whose writes fail once `fails` is set, and which then has a Close frame to read.
struct Broken {
    stream: DuplexStream,
    fails: Arc<AtomicBool>,
    failed: bool,
}

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.failed) {
            buf.put_slice(b"\x88\x05\x0f\xa1bye");
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Broken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.fails.load(Ordering::Relaxed) {
            self.failed = true;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[actix::test]
async fn a_close_of_the_server_is_read_though_a_write_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let flag = fails.clone();
    let builder = Connection::builder("ws://peer/").transport_with(move |_, _| {
        let (stream, mut theirs) = tokio::io::duplex(4096);
        let script = Script::accept();
        actix::spawn(async move { script.play(&mut theirs, 0, &Journal::new()).await });
        let fails = flag.clone();
        async move { Ok(Broken { stream, fails, failed: false }) }
    });
    let probe = Probe::new();
    let connection = probe.attach(builder.no_reconnect()).start().unwrap();
    probe.next::<event::Open>().await;
    fails.store(true, Ordering::Relaxed);
    connection.send(command::Send::text("x")).await.unwrap().unwrap();
    let close = probe.next::<event::Close>().await;
    // Our answer cannot leave.
    assert_eq!((close.code, close.by, close.clean), (CloseCode::from(4001), By::Remote, false));
    assert_eq!((&*close.reason, close.unsent_messages), ("bye", 1));
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
}

/// A handler that handles no message until it is released.
struct Stuck(Option<oneshot::Receiver<()>>);

impl Actor for Stuck {
    type Context = Context<Stuck>;

    fn started(&mut self, ctx: &mut Context<Stuck>) {
        ctx.set_mailbox_capacity(1);
        let go = self.0.take().unwrap();
        ctx.wait(wrap_future(async move { drop(go.await) }));
    }
}

impl Handler<event::Message> for Stuck {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Context<Stuck>) {}
}

#[actix::test]
async fn a_close_is_answered_behind_as_much_again_as_read_ahead() {
    // 9 messages of 40 KiB: more than `read_ahead`, less than twice that, also with what their buffers leave
    // unused, at most a fifth.
    let messages = (0..9).map(|_| vec![7; 40 << 10]);
    let server = Server::start(Script::accept().send_all(messages));
    let (go, stuck) = oneshot::channel();
    let builder =
        to(&server).read_ahead(256 << 10).on_message_to(Stuck(Some(stuck)).start().recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), async {
        while watch.figures().queued_bytes <= 256 << 10 {
            tokio::task::yield_now().await;
        }
    });
    read.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
    assert!(watch.figures().messages_in < 9, "{:?}", watch.figures());
    // The handler takes nothing, and the server's answer lies behind all its messages.
    let close = command::Close::normal().deadline(Duration::from_secs(5));
    assert!(connection.send(close).await.unwrap().clean);
    assert_eq!(watch.figures().messages_in, 9);
    drop(go);
}

#[actix::test]
async fn an_empty_close_goes_out_empty() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let outcome = connection.send(command::Close::empty()).await.unwrap();
    assert_eq!(server.next_close().await, None);
    assert_eq!(outcome.close.unwrap().0, CloseCode::NO_STATUS);
    assert!(probe.next::<event::Close>().await.clean);
}

#[actix::test]
async fn the_servers_code_is_echoed() {
    for (script, expected) in [
        (Script::accept().send_close(1012, "restart"), Some(1012)),
        (Script::accept().send_close(3999, ""), Some(3999)),
        (Script::accept().send_empty_close(), None),
    ] {
        let server = Server::start(script);
        let outcome = to(&server).no_reconnect().run().await.unwrap();
        let echoed = server.next_close().await.map(|frame| frame.code().value());
        assert_eq!(echoed, expected);
        assert_eq!(outcome.close.unwrap().0.value(), expected.unwrap_or(1005));
        assert!(matches!(server.next_gone().await, Gone::Closed));
    }
}

#[actix::test]
async fn what_was_taken_for_sending_goes_out_before_the_close() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    for number in 0..500 {
        connection.do_send(command::Send::text(number.to_string()));
    }
    close(&connection, SOON).await;
    let arrived: Vec<String> =
        server.messages().iter().map(|it| it.as_text().unwrap().to_owned()).collect();
    let sent: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(arrived, sent);
    assert_eq!(server.closes().len(), 1);
}

#[actix::test]
async fn what_the_server_sends_before_its_answer_still_arrives() {
    let late = (0..100).map(|number| number.to_string());
    let gate = actix_ws_client::testing::Gate::new();
    // Our Close lies unread behind the gate; the server sends what it has before it looks.
    let script = Script::accept().stall_until(&gate).send_all(late);
    let server = Server::start(script);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let answer = connection.send(command::Close::normal().deadline(SOON));
    connection.send(command::Status).await.unwrap();
    gate.open();
    assert!(answer.await.unwrap().close.is_some());
    probe.stopped().await;
    let arrived: Vec<String> = probe
        .all::<event::Message>()
        .iter()
        .map(|it| it.payload.as_text().unwrap().to_owned())
        .collect();
    assert_eq!(arrived, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(probe.next::<event::Close>().await.clean);
    probe.check().unwrap();
}

/// Closes its connection from within a handler.
struct Closer {
    on: &'static str,
    probe: Probe,
}

impl Closer {
    fn reached(&self, what: &'static str, connection: &actix_ws_client::Handle) {
        if self.on == what {
            assert!(connection.do_send(command::Close::normal()));
        }
    }
}

impl Actor for Closer {
    type Context = Context<Closer>;
}

impl Handler<event::Open> for Closer {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        self.reached("open", &open.connection);
    }
}

impl Closer {
    /// The way back, as the last `Open` gave it.
    fn way(&self) -> Option<actix_ws_client::Handle> {
        self.probe.all::<event::Open>().last().map(|open| open.connection.clone())
    }
}

impl Handler<event::Message> for Closer {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Self::Context) {
        self.reached("message", &self.way().unwrap());
    }
}

impl Handler<event::Error> for Closer {
    type Result = ();

    fn handle(&mut self, _: event::Error, _: &mut Self::Context) {
        if let Some(way) = self.way() {
            self.reached("error", &way);
        }
    }
}

impl Handler<event::Close> for Closer {
    type Result = ();

    fn handle(&mut self, _: event::Close, _: &mut Self::Context) {
        self.reached("close", &self.way().unwrap());
    }
}

#[actix::test]
async fn a_close_from_within_a_handler_of_each_event_ends_the_run() {
    for on in ["open", "message", "error", "close"] {
        let server = Server::start(Script::accept().send_text("hi").expect_text("go").reset());
        let probe = Probe::new();
        let closer = Closer { on, probe: probe.clone() }.start();
        let connection = probe.attach(to(&server)).handler(&closer).start().unwrap();
        probe.next_message().await;
        connection.do_send(command::Send::text("go"));
        assert_eq!(probe.stopped().await.kind, OutcomeKind::Closed, "on {on}");
        probe.check().unwrap();
        assert_eq!(probe.all::<event::Open>().len(), 1, "on {on}: {:?}", probe.story());
        stays_closed(&connection, &server).await;
    }
}

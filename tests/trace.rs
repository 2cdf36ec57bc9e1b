//! WebSocketApp's `enableTrace`: the heads of a handshake and each frame are logged if a subscriber
//! enables their targets, and not otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_ws_client::feed::{self, Dialect, Feed, Request, RequestId, Said, Threads, Topic};
use actix_ws_client::proto::message::ControlPayload;
use actix_ws_client::testing::{Gate, Journal, Probe, Script, Server};
use actix_ws_client::{
    Attempt, Connection, ConnectionBuilder, OutcomeKind, Phase, Reconnect, View, command, event,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// One log record: its fields, with the text as `message` and the level as `level`.
type Fields = BTreeMap<&'static str, String>;

/// A subscriber that records every log record with its target.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(String, Fields)>>>);

impl Log {
    /// Records this thread's log records that these `RUST_LOG` directives enable.
    fn start(directives: &str) -> (Log, DefaultGuard) {
        let log = Log::default();
        let targets: Targets = directives.parse().unwrap();
        let subscriber = tracing_subscriber::registry().with(targets);
        let guard = tracing::subscriber::set_default(subscriber.with(log.clone()));
        (log, guard)
    }

    /// Returns the texts of all records that are warnings or errors, and their levels.
    fn bad(&self) -> Vec<(String, String)> {
        let log = self.0.lock().unwrap();
        let bad = log.iter().filter(|(_, fields)| ["WARN", "ERROR"].contains(&&*fields["level"]));
        bad.map(|(_, fields)| (fields["level"].clone(), fields["message"].clone())).collect()
    }

    /// Returns the records of a target, in order.
    fn under(&self, target: &str) -> Vec<Fields> {
        let log = self.0.lock().unwrap();
        let under = log.iter().filter(|(other, _)| other == target);
        under.map(|(_, fields)| fields.clone()).collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let mut taken = Taken::default();
        attrs.record(&mut taken);
        ctx.span(id).unwrap().extensions_mut().insert(taken.0);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut taken = Taken::default();
        for span in ctx.event_scope(event).into_iter().flatten() {
            taken.0.extend(span.extensions().get::<Fields>().unwrap().clone());
        }
        taken.0.insert("level", event.metadata().level().to_string());
        event.record(&mut taken);
        self.0.lock().unwrap().push((event.metadata().target().to_owned(), taken.0));
    }
}

#[derive(Default)]
struct Taken(Fields);

impl Visit for Taken {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

const FRAMES: &str = "actix_ws_client::frames";
const HANDSHAKE: &str = "actix_ws_client::handshake";

/// Returns direction, opcode, fin, length and payload of each logged frame.
fn frames(log: &Log) -> Vec<[String; 5]> {
    let parts = ["way", "opcode", "fin", "len", "payload"];
    log.under(FRAMES).iter().map(|frame| parts.map(|part| frame[part].clone())).collect()
}

fn to(url: impl Into<String>) -> ConnectionBuilder {
    Connection::builder(url).proxy_from_env(false).no_reconnect()
}

/// Starts a server by tokio-tungstenite that sends one of these for each message it receives, and
/// closes.
async fn answering(answers: Vec<Message>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/feed", listener.local_addr().unwrap());
    actix::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        for answer in answers {
            socket.next().await.unwrap().unwrap();
            socket.send(answer).await.unwrap();
        }
        while let Some(Ok(_)) = socket.next().await {}
    });
    url
}

#[actix::test]
async fn each_frame_of_both_directions_is_logged_where_that_is_wanted() {
    let (log, _guard) = Log::start("actix_ws_client::frames=trace");
    let long = "\u{e9}".repeat(70);
    let url = answering(vec![Message::text("a\r\n\"b\""), Message::text(long.as_str())]).await;
    let probe = Probe::new();
    let connection = probe.attach(to(url)).start().unwrap();
    let open = probe.next::<event::Open>().await;
    let sent = connection.send(command::Send::binary(vec![0, 9, 65, 200])).await.unwrap();
    sent.unwrap();
    probe.next_message().await;
    let sent = connection.send(command::Send::fragments("abcdef".to_owned(), 4)).await.unwrap();
    sent.unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some(long.as_str()));
    let close = command::Close::new(4001.into(), "enough").unwrap();
    connection.send(close).await.unwrap();

    let cut = r"\xc3\xa9".repeat(64);
    let expected = [
        ["out", "binary", "true", "4", r"\x00\tA\xc8"],
        ["in", "text", "true", "6", r#"a\r\n\"b\""#],
        ["out", "text", "false", "4", "abcd"],
        ["out", "continuation", "true", "2", "ef"],
        ["in", "text", "true", "140", &format!("{cut}…")],
        ["out", "close", "true", "8", r"\x0f\xa1enough"],
        ["in", "close", "true", "8", r"\x0f\xa1enough"],
    ];
    assert_eq!(frames(&log), expected);
    let source = open.source.to_string();
    for frame in log.under(FRAMES) {
        assert_eq!((frame["source"].as_str(), frame["epoch"].as_str()), (source.as_str(), "1"));
    }
    assert!(log.under(HANDSHAKE).is_empty());
}

#[actix::test]
async fn pings_and_pongs_of_both_sides_are_logged() {
    let (log, _guard) = Log::start("actix_ws_client::frames=trace");
    let server = Server::start(Script::accept().expect_message().send_ping("are you?"));
    let probe = Probe::new();
    let connection = probe.attach(to(server.url())).start().unwrap();
    probe.next::<event::Open>().await;
    connection.do_send(command::Ping { payload: ControlPayload::new("you?").unwrap() });
    probe.next::<event::Pong>().await;
    connection.do_send(command::Send::text("go on"));
    probe.next::<event::Ping>().await;
    connection.send(command::Close::normal()).await.unwrap();
    let frames = frames(&log);
    for expected in [
        ["out", "ping", "true", "4", "you?"],
        ["in", "pong", "true", "4", "you?"],
        ["in", "ping", "true", "8", "are you?"],
        ["out", "pong", "true", "8", "are you?"],
    ] {
        let found = frames.iter().filter(|frame| **frame == expected).count();
        assert_eq!(found, 1, "{expected:?} in {frames:?}");
    }
}

#[actix::test]
async fn both_heads_of_each_handshake_are_logged_where_that_is_wanted() {
    let (log, _guard) = Log::start("actix_ws_client::handshake=trace");
    let second = Server::start(
        Script::accept().header("Set-Cookie", "id=hunter2").header("X-Served-By", "hunter2"),
    );
    let first = Server::start(Script::refuse(302).header("Location", second.url() + "there?x"));
    let builder = to(first.url()).basic_auth("user", "hunter2").header("X-Token", "hunter2");
    let probe = Probe::new();
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Close::normal()).await.unwrap();

    let log = log.under(HANDSHAKE);
    let words: Vec<&str> = log.iter().map(|event| event["message"].as_str()).collect();
    assert_eq!(words, ["request", "reply", "request", "reply"]);
    let heads: Vec<&str> = log.iter().map(|event| event["head"].as_str()).collect();
    let has = |head: usize, line: &str| {
        assert!(
            heads[head].split("\r\n").any(|other| other == line),
            "{line:?} in {}",
            heads[head]
        );
    };
    assert!(heads[0].starts_with("GET / HTTP/1.1\r\n") && heads[0].ends_with("\r\n\r\n"));
    has(0, &format!("Host: {}", first.addr()));
    has(0, "Upgrade: websocket");
    has(0, "Authorization: ***");
    has(0, "X-Token: ***");
    assert!(heads[1].starts_with("302\r\n"), "{}", heads[1]);
    has(1, "Location: ***");
    assert!(heads[2].starts_with("GET /there?x HTTP/1.1\r\n"), "{}", heads[2]);
    has(2, &format!("Host: {}", second.addr()));
    assert!(heads[3].starts_with("101\r\n"), "{}", heads[3]);
    has(3, "Upgrade: websocket");
    has(3, "Set-Cookie: ***");
    has(3, "X-Served-By: ***");
    assert!(heads.iter().all(|head| !head.contains("hunter2")), "{heads:?}");
}

#[actix::test]
async fn without_a_listener_no_frame_and_no_head_is_logged() {
    let (log, guard) = Log::start("actix_ws_client=debug,trace");
    let url = answering(vec![Message::text("word of theirs")]).await;
    let probe = Probe::new();
    let connection = probe.attach(to(url)).start().unwrap();
    probe.next::<event::Open>().await;
    connection.do_send(command::Send::text("word of ours"));
    probe.next_message().await;
    let seen = std::mem::take(&mut *log.0.lock().unwrap());
    assert!(seen.iter().any(|(target, _)| target.starts_with("actix_ws_client")));
    for (target, fields) in seen {
        assert!(target != FRAMES && target != HANDSHAKE, "{target}: {fields:?}");
        let shown = |words: &str| fields.values().any(|value| value.contains(words));
        assert!(!shown("word of") && !shown("Sec-WebSocket"), "{target}: {fields:?}");
    }

    // A subscriber that enables the target later sees the next socket's frames.
    drop(guard);
    let (log, _guard) = Log::start("trace");
    connection.send(command::Close::normal()).await.unwrap();
    assert!(!log.0.lock().unwrap().is_empty());
    assert_eq!(frames(&log), [[""; 5]; 0]);
}

/// The fields without which no record of a dial or of a close can be told from another connection's.
const WHOSE: [&str; 4] = ["source", "name", "host", "attempt"];

#[actix::test]
async fn each_record_of_a_dial_and_of_a_close_says_whose_it_is() {
    let (log, _guard) = Log::start("actix_ws_client=debug");
    let refusing = Server::start(Script::refuse(503));
    let closing = Server::start(Script::accept().send_close(4001, "session expired"));
    let redirecting = Script::refuse(302).header("Location", closing.url());
    let redirecting = Server::start(redirecting);
    // The first dial fails, the second is redirected, and the third has nowhere to go.
    let urls = [refusing.url(), redirecting.url(), "ws://localhost:1/".into()];
    let builder = to("ws://nowhere.invalid/").name("btc").reconnect(Reconnect::fixed(TICK));
    let builder = builder.max_attempts(3).stable_after(Duration::from_secs(60));
    let probe = Probe::new();
    let builder = builder.url_with(move |attempt: Attempt| {
        let url = urls[attempt.number as usize - 1].clone();
        async move { Ok::<_, String>(url) }
    });
    probe.attach(builder).run().await.unwrap();
    let records =
        [log.under("actix_ws_client::connection::actor"), log.under("actix_ws_client::dial")];
    let records: Vec<Fields> = records.into_iter().flatten().collect();
    let of = |text: &str| -> Vec<&Fields> {
        records.iter().filter(|fields| fields["message"] == text).collect()
    };
    let (failed, open, closed) = (of("failed"), of("open"), of("closed"));
    assert_eq!((failed.len(), open.len(), closed.len(), of("redirected").len()), (2, 1, 1, 1));
    for record in [&failed[..], &open, &closed, &of("redirected")].concat() {
        assert!(WHOSE.iter().all(|field| record.contains_key(field)), "{record:?}");
        assert_eq!(record["name"], "btc");
    }
    let hosts: Vec<&str> = failed.iter().map(|fields| &*fields["host"]).collect();
    assert_eq!(hosts, ["127.0.0.1", "localhost"]);
    assert_eq!((&*failed[0]["attempt"], &*failed[0]["next"]), ("1", "dial 2 in 1.0ms"));
    assert_eq!((&*failed[1]["attempt"], &*failed[1]["next"]), ("3", "no further dial"));
    let [closed] = closed[..] else { panic!("{closed:?}") };
    for (field, value) in [("attempt", "2"), ("by", "remote"), ("peer_code", "4001")] {
        assert_eq!(closed[field], value);
    }
    assert_eq!(
        (&*closed["reason"], &*closed["peer_reason"]),
        ("session expired", "session expired")
    );
    // A structure's `Debug` has braces.
    for record in records.iter().flat_map(|fields| fields.values()) {
        assert!(!record.contains(['{', '}']), "{record}");
    }
    let (error, close) = (probe.next::<event::Error>().await, probe.next::<event::Close>().await);
    assert_eq!((error.name.as_deref(), error.attempt), (Some("btc"), 1));
    assert_eq!((close.name.as_deref(), close.attempt), (Some("btc"), 2));
}

const TICK: Duration = Duration::from_millis(1);

/// Asks for the end of its connection, and stops.
struct Brief;

impl actix::Actor for Brief {
    type Context = actix::Context<Brief>;
}

impl actix::Handler<event::Open> for Brief {
    type Result = ();
    fn handle(&mut self, open: event::Open, ctx: &mut actix::Context<Brief>) {
        let close = command::Close::normal().deadline(Duration::from_millis(100));
        open.connection.do_send(close);
        actix::ActorContext::stop(ctx);
    }
}

impl actix::Handler<event::Message> for Brief {
    type Result = ();
    fn handle(&mut self, _: event::Message, _: &mut actix::Context<Brief>) {}
}

#[actix::test]
async fn a_clean_end_of_a_connection_is_no_warning() {
    let (log, _guard) = Log::start("actix_ws_client=debug");
    let closing = |code| Server::start(Script::accept().send_close(code, ""));
    let server = closing(1000);
    to(server.url()).run().await.unwrap();
    let server = closing(1001);
    let builder = Connection::builder(server.url()).proxy_from_env(false);
    builder.reconnect_on_close(false).run().await.unwrap();
    // By us: by a command, by the last address, and by a handler that ends then.
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(server.url())).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Close::normal()).await.unwrap();
    drop(probe.attach(to(server.url())).start().unwrap());
    probe.next::<event::Stopped>().await;
    probe.next::<event::Stopped>().await;
    // A message that comes while the answer to its Close is waited for finds out that it has ended.
    let gate = Gate::new();
    let late = Script::accept().never_answer_close().stall_until(&gate).send_text("late");
    let server = Server::start(late);
    let brief = actix::Actor::start(Brief);
    let builder = to(server.url()).on_open_to(brief.clone()).on_message_to(brief);
    let closing = event::call(move |state: event::State| {
        if state.phase == Phase::Closing {
            gate.open();
        }
    });
    let run = builder.on_state_to(closing).run().await.unwrap();
    assert_eq!(run.kind, OutcomeKind::Closed);
    let ends = log.under("actix_ws_client::connection::actor");
    let ends: Vec<_> = ends.iter().filter(|record| record["message"] == "closed").collect();
    assert_eq!(ends.len(), 4, "the dropped one was never open");
    assert!(ends.iter().all(|record| record["level"] == "INFO"), "{ends:?}");
    assert_eq!(log.bad(), []);
    // The count is that of what is no clean end.
    let server = Server::start(Script::accept().drop_connection());
    assert!(to(server.url()).run().await.unwrap().into_result().is_err());
    assert_eq!(log.bad(), [("WARN".to_owned(), "failed".to_owned())]);
}

/// Subscribes, and reads nothing.
struct Mute;

impl Dialect for Mute {
    type Item = ();

    fn subscribe(&mut self, _: RequestId, _: &[Topic]) -> Request {
        Request::text("subscribe")
    }

    fn read<'m>(&mut self, _: View<'m>) -> Said<'m, ()> {
        Said::Nothing
    }
}

#[actix::test]
async fn a_line_that_the_venue_has_closed_cleanly_and_that_may_not_dial_again_is_no_error() {
    let closing = || Script::accept().expect_message().send_close(1000, "");
    for (last, level) in
        [(closing(), "INFO"), (Script::accept().expect_message().drop_connection(), "ERROR")]
    {
        let (log, _guard) = Log::start("actix_ws_client=info");
        let servers = [Server::start(closing()), Server::start(last)];
        let urls = [servers[0].url(), servers[1].url()];
        let (stopped, mut stops) = unbounded_channel();
        let (down, downs) = watch::channel(false);
        let feed = Feed::builder(async move |attempt: feed::Attempt| {
            let url = &urls[usize::from(attempt.line.line)];
            if attempt.line.line == 1 {
                // It ends last.
                downs.clone().wait_for(|is_down| *is_down).await?;
            }
            Ok(Mute.at(url))
        })
        .threads(Threads::Here)
        .lines(2)
        .connection(|builder| builder.proxy_from_env(false).no_reconnect())
        .topics(["a"])
        .on::<feed::event::LineState>(event::call(move |line: feed::event::LineState| {
            let is_down = matches!(line.state, feed::event::LineIs::Down { .. });
            down.send_if_modified(|was_down| is_down && !std::mem::replace(was_down, true));
        }))
        .on::<feed::event::Stopped>(event::call(move |it: feed::event::Stopped| {
            drop(stopped.send(it));
        }))
        .start()
        .unwrap();
        let stop = stops.recv().await.unwrap();
        assert!(stop.refusal.is_some(), "it has no line left");
        let ends = log.under("actix_ws_client::feed::actor");
        let ends: Vec<_> = ends
            .iter()
            .map(|end| (&*end["level"], &*end["message"], end.get("line").map(String::as_str)))
            .collect();
        let one = ("INFO", "a line does not dial any more", Some("a"));
        assert_eq!(ends, [one, (level, "no line of the feed dials any more", None)]);
        let errors = log.bad().iter().filter(|(level, _)| level == "ERROR").count();
        assert_eq!(errors, usize::from(level == "ERROR"), "{:?}", log.bad());
        drop(feed);
    }
}

#[actix::test]
async fn a_refused_message_is_logged_with_the_count_of_all() {
    let (log, _guard) = Log::start("actix_ws_client=warn");
    let connection = to("ws://127.0.0.1:1/").name("btc").start().unwrap();
    for _ in 0..3 {
        assert!(connection.send(command::Send::text("x")).await.unwrap().is_err());
    }
    let records = log.under("actix_ws_client::connection::handlers");
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (&*record["refused"], &*record["name"], &*record["host"]),
        ("1", "btc", "127.0.0.1")
    );
}

#[actix::test]
async fn the_header_lines_that_a_redirect_leaves_out_are_logged_by_their_names() {
    let (log, _guard) = Log::start("actix_ws_client=info");
    let there = Server::start(Script::accept().send_close(1000, ""));
    let same = Script::refuse(302).header("Location", "/same");
    let away = || Script::refuse(302).header("Location", there.url());
    let here = Server::start([same, away(), away()]);
    let builder = to(here.url().replace("://", "://user:hunter2@"));
    let builder = builder.header("X-Api-Key", "hunter2").header("x-api-key", "hunter2");
    let builder = builder.header("X-Client", "hunter2").cross_origin_headers(["X-Client"]);
    builder.cookie("a=hunter2").header("User-Agent", "me").host("h").run().await.unwrap();
    let logged = log.under("actix_ws_client::dial");
    let found: Vec<_> = logged.iter().filter_map(|record| record.get("left_out")).collect();
    assert_eq!(found, ["Authorization, Cookie, X-Api-Key"], "{logged:?}");
    assert!(!format!("{logged:?}").contains("hunter2"), "{logged:?}");
    // Nothing is left out, nothing is logged.
    to(here.url()).run().await.unwrap();
    assert_eq!(
        log.under("actix_ws_client::dial").iter().filter(|it| it.contains_key("left_out")).count(),
        1
    );
}

#[actix::test]
async fn a_fragment_is_warned_of_wherever_its_url_comes_from() {
    let (log, _guard) = Log::start("actix_ws_client=warn");
    let warnings = || {
        let logged = log.0.lock().unwrap().clone();
        let about = |record: &&(String, Fields)| {
            record.1.get("message").is_some_and(|text| text.contains("fragment"))
        };
        assert!(!format!("{logged:?}").contains("hunter2"), "{logged:?}");
        logged.iter().filter(about).count()
    };
    let server = Server::start(Script::accept().send_close(1000, ""));
    let with_fragment = format!("{}#hunter2", server.url());
    to(&with_fragment).run().await.unwrap();
    assert_eq!(warnings(), 1);
    let url = with_fragment.clone();
    let made = to(server.url()).url_with(move |_: Attempt| {
        let url = url.clone();
        async move { Ok::<_, String>(url) }
    });
    made.run().await.unwrap();
    assert_eq!(warnings(), 2);
    to(server.url()).run().await.unwrap();
    assert_eq!(warnings(), 2);
}

#[actix::test]
async fn what_a_close_leaves_unsent_is_warned_of_with_the_figures() {
    let (log, _guard) = Log::start("actix_ws_client=warn");
    let builder = to("ws://peer/").transport_with(|_, _| {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let script = Script::accept().stall_forever();
        actix::spawn(async move { script.play(&mut theirs, 0, &Journal::new()).await });
        async move { Ok(ours) }
    });
    let probe = Probe::new();
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Send::binary(vec![0; 2 << 10])).await.unwrap().unwrap();
    connection.send(command::Close::normal().deadline(Duration::ZERO)).await.unwrap();
    let records = log.under("actix_ws_client::connection::actor");
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record["message"], "accepted messages were not sent");
    // With eight bytes of header and masking key. The pipe took 1 KiB.
    assert_eq!((&*record["messages"], &*record["bytes"]), ("1", "1032"));
}

#[actix::test]
async fn a_secret_message_is_in_no_record_at_any_level() {
    let (log, _guard) = Log::start("trace");
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(server.url())).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let send = || command::Send::text("hunter2").secret();
    connection.send(send()).await.unwrap().unwrap();
    handle.send(command::Send::fragments("hunter2", 3).secret()).await.unwrap();
    let batch = command::SendBatch::new([command::Send::text("hunter2")]);
    handle.send(batch.secret()).await.unwrap();
    connection.send(command::Send::text("open")).await.unwrap().unwrap();
    for text in ["hunter2", "hunter2", "hunter2", "open"] {
        assert_eq!(server.next_message().await.as_text(), Some(text));
    }
    connection.send(command::Close::normal()).await.unwrap();
    assert!(connection.send(send()).await.unwrap().is_err());
    let sent: Vec<[String; 5]> = frames(&log).into_iter().filter(|it| it[0] == "out").collect();
    let payloads: Vec<&str> = sent.iter().map(|it| &*it[4]).collect();
    assert_eq!(payloads[..6], ["***", "***", "***", "***", "***", "open"]);
    assert_eq!(sent[0][..4], ["out", "text", "true", "7"]);
    for (target, fields) in log.0.lock().unwrap().iter() {
        for part in ["hunter2", "hun", "ter"] {
            let shows = fields.values().any(|value| value.contains(part));
            assert!(!shows || !target.starts_with("actix_ws_client"), "{target}: {fields:?}");
        }
    }
}

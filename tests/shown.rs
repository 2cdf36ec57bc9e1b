//! Each event, and what is decided about it, has one line of text.

use std::time::Duration;

use actix_ws_client::command::status::WaitCause;
use actix_ws_client::error::{Stage, Verdict};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, OutcomeKind, Phase, Reconnect, command, event};
use tokio::sync::mpsc;

/// The text of an event, with every duration replaced by `_`.
fn text(event: impl ToString) -> String {
    let is_time = |word: &str| {
        let word = word.trim_end_matches([':', ';', ',']);
        let number = word.trim_end_matches(['s', 'm', 'µ', 'n']);
        number.len() < word.len() && number.parse::<f64>().is_ok()
    };
    let text = event.to_string();
    let words = text.split(' ').map(|word| match word.chars().last() {
        _ if !is_time(word) => word.to_owned(),
        Some(mark @ (':' | ';' | ',')) => format!("_{mark}"),
        _ => "_".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[actix::test]
async fn each_event_has_one_line_of_text() {
    let fragments = b"\x01\x02fr\x80\x02\xc3\xa4".to_vec();
    let first = Script::accept().send_ping("tick").send_raw(fragments).send_close(1012, "restart");
    let second = Script::accept().send_text("grüße").send_binary(&b"\0\xff"[..]).send_pong("late");
    let server = Server::start([first, second]);
    let probe = Probe::new();
    let (seen, mut others) = mpsc::unbounded_channel();
    let [data, batches, fragments] = [seen.clone(), seen.clone(), seen];
    let builder = Connection::builder(server.url())
        .reconnect(Reconnect::from(Duration::from_millis(10)))
        .on_data_to(event::call(move |event: event::Data| data.send(text(event)).unwrap()))
        .on_batch_to(event::call(move |event: event::Batch| batches.send(text(event)).unwrap()))
        .on_continuation_to(event::call(move |event: event::Continuation| {
            fragments.send(text(event)).unwrap();
        }));
    let connection = probe.attach(builder).start().unwrap();

    assert_eq!(text(probe.next::<event::Open>().await), "open: socket 1, dials: 1");
    assert_eq!(text(probe.next::<event::Ping>().await), "ping: tick");
    let close = text(probe.next::<event::Close>().await);
    assert_eq!(close, "close: 1012 by the server after _: restart; dial 2 in _");
    let again = text(probe.next::<event::Reconnect>().await);
    assert_eq!(again, "reconnected: socket 2, dials: 1, after an outage of _");
    assert_eq!(text(probe.next_message().await), "message: grüße");
    assert_eq!(text(probe.next_message().await), r"message: \x00\xff");
    assert_eq!(text(probe.next::<event::Pong>().await), "pong: late");
    connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(text(probe.next::<event::Stopped>().await), "stopped: closed with 1000");
    assert_eq!(text(&probe.all::<event::State>()[0]), "state: connecting");

    let mut texts = Vec::new();
    while let Ok(text) = others.try_recv() {
        texts.push(text);
    }
    for expected in
        [r"data: \xc3\xa4", r"last fragment 1: \xc3\xa4", "fragment 0: fr", "data: grüße"]
    {
        assert!(texts.iter().any(|text| text == expected), "no {expected} in {texts:?}");
    }
    assert!(texts.iter().any(|text| text.starts_with("batch: ")), "{texts:?}");
}

#[actix::test]
async fn a_failure_says_what_comes_next() {
    let server = Server::start(Script::refuse(401));
    let probe = Probe::new();
    let _connection = probe.attach(Connection::builder(server.url())).start().unwrap();
    let error = text(probe.next::<event::Error>().await);
    assert!(error.starts_with("error: the server refused"), "{error}");
    assert!(error.contains("401") && error.ends_with("; no further dial"), "{error}");
}

#[test]
fn a_verdict_has_a_text() {
    let least = Some(Duration::from_secs(5));
    let cases = [
        (Verdict::RETRY, "retry"),
        (Verdict::Retry { at_least: least, from_cap: false }, "retry after 5.0s at the earliest"),
        (Verdict::Retry { at_least: None, from_cap: true }, "retry after the longest delay"),
        (Verdict::Stop, "stop"),
    ];
    for (verdict, text) in cases {
        assert_eq!(verdict.to_string(), text);
    }
}

#[test]
fn kinds_are_keys_of_a_map() {
    fn is_key<T: Copy + Eq + std::hash::Hash>(_: T) {}
    is_key(Phase::Open);
    is_key(OutcomeKind::Closed);
    is_key(Stage::Dns);
    is_key(WaitCause::Delay);
    is_key(Verdict::Stop);
}

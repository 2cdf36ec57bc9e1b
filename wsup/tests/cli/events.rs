//! Each kind of event, byte for byte.

use std::io::Write;
use std::process::Stdio;
use std::sync::mpsc::channel;

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::process::Wsup;
use crate::server::{self, Server};

fn close(code: u16, reason: &'static str) -> Option<CloseFrame> {
    Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() })
}

#[test]
fn every_event_of_a_life_has_the_keys_of_the_contract_in_their_order() {
    let server = Server::socket(|mut socket| {
        socket.send(Message::text("a \"quote\", é and\nan end\u{1}")).unwrap();
        socket.send(Message::binary(vec![0, 255, 16])).unwrap();
        socket.send(Message::Ping("hi".into())).unwrap();
        socket.send(Message::Pong("unasked".into())).unwrap();
        socket.close(close(1000, "bye \"you\"")).unwrap();
        server::drain(socket);
    });
    let url = server.url();
    let mut wsup = Wsup::json(&[&url, "--reconnect", "never"]);
    wsup.expect(&format!(
        r#"{{"event":"open","source":"1","epoch":1,"status":101,"subprotocol":null,"extensions":null,"peer":"127.0.0.1:{}","attempts":1,"down_ms":null,"cause":null}}"#,
        server.port
    ));
    let ended = wsup.end();
    ended.rest_is(&[
        r#"{"event":"message","source":"1","epoch":1,"type":"text","data":"a \"quote\", é and\nan end\u0001"}"#,
        r#"{"event":"message","source":"1","epoch":1,"type":"binary","base64":"AP8Q"}"#,
        r#"{"event":"ping","source":"1","epoch":1,"base64":"aGk=","rtt_ms":null}"#,
        r#"{"event":"pong","source":"1","epoch":1,"base64":"dW5hc2tlZA==","rtt_ms":null}"#,
        r#"{"event":"close","source":"1","epoch":1,"code":1000,"reason":"bye \"you\"","clean":true,"by":"remote","lasted_ms":#,"retry_in_ms":null,"peer_code":1000,"peer_reason":"bye \"you\"","unsent_messages":0,"unsent_bytes":0}"#,
        r#"{"event":"stopped","source":"1","outcome":"closed","code":1000,"epochs":1,"error":null,"clean":true,"unsent_messages":0,"unsent_bytes":0}"#,
    ]);
    ended.is(0, "closed");
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_pong_to_our_ping_has_its_round_trip() {
    let server = Server::echo();
    let url = server.url();
    let mut wsup = Wsup::json(&[&url, "--ping-interval", "50ms", "--ping-payload", "tick"]);
    wsup.until("open");
    let pong = r#"{"event":"pong","source":"1","epoch":1,"base64":"dGljaw==","rtt_ms":#}"#;
    wsup.expect(pong);
    wsup.expect(pong);
    wsup.signal("INT");
    wsup.end().is(0, "closed");
}

#[test]
fn states_are_told_with_v_only() {
    let state = |phase| format!(r#"{{"event":"state","source":"1","epoch":0,"phase":"{phase}"}}"#);
    let args = ["ws://127.0.0.1:1", "--reconnect", "20ms", "--max-attempts", "2"];
    let mut wsup = Wsup::json(&[&args[..], &["-v"]].concat());
    for _ in 0..2 {
        wsup.expect(&state("connecting"));
        if wsup.until("error")["attempt"] == 1 {
            wsup.expect(&state("waiting"));
        }
    }
    wsup.expect(&state("closed"));
    wsup.end().is(1, "gave_up");

    let ended = Wsup::json(&args).end();
    assert!(ended.rest.iter().all(|line| !line.contains(r#""event":"state""#)));
    ended.is(1, "gave_up");
}

#[test]
fn a_reopening_tells_its_dials_its_time_and_its_cause() {
    let server = Server::run(|listener| {
        drop(server::open(&listener));
        server::refuse(listener.accept().unwrap().0, "HTTP/1.1 503 Busy\r\n\r\n");
        server::drain(server::open(&listener));
    });
    let url = server.url();
    let mut wsup = Wsup::json(&[&url, "--reconnect", "50ms"]);
    wsup.until("open");
    let ended = "transport: the connection ended without a Close frame";
    let error = wsup.expect(&format!(
        r#"{{"event":"error","source":"1","epoch":1,"attempt":1,"stage":"io","during":null,"status":null,"error":"{ended}","retry_in_ms":50,"refusal":null}}"#
    ));
    let close = wsup.expect(
        r#"{"event":"close","source":"1","epoch":1,"code":1006,"reason":"","clean":false,"by":"nobody","lasted_ms":#,"retry_in_ms":50,"peer_code":null,"peer_reason":null,"unsent_messages":0,"unsent_bytes":0}"#,
    );
    assert_eq!(error["retry_in_ms"], close["retry_in_ms"]);
    wsup.expect(
        r#"{"event":"error","source":"1","epoch":1,"attempt":2,"stage":"refused","during":null,"status":503,"error":"the server refused the upgrade with status 503 Busy","retry_in_ms":50,"refusal":{"status":503,"reason":"Busy","headers":{},"body":""}}"#,
    );
    let open = wsup.expect(&format!(
        r#"{{"event":"open","source":"1","epoch":2,"status":101,"subprotocol":null,"extensions":null,"peer":"127.0.0.1:{}","attempts":2,"down_ms":#,"cause":"{ended}"}}"#,
        server.port
    ));
    let down = open["down_ms"].as_u64().unwrap();
    assert!((100..5_000).contains(&down), "{down}");
    wsup.signal("TERM");
    let ended = wsup.end();
    ended.rest_is(&[
        r#"{"event":"close","source":"1","epoch":2,"code":1000,"reason":"","clean":true,"by":"local","lasted_ms":#,"retry_in_ms":null,"peer_code":1000,"peer_reason":"","unsent_messages":0,"unsent_bytes":0}"#,
        r#"{"event":"stopped","source":"1","outcome":"closed","code":1000,"epochs":2,"error":null,"clean":true,"unsent_messages":0,"unsent_bytes":0}"#,
    ]);
    ended.is(0, "closed");
}

#[test]
fn the_delay_of_an_error_is_that_of_the_close_behind_it_under_jitter_too() {
    let server = Server::run(|listener| drop(server::open(&listener)));
    let url = server.url();
    let mut wsup = Wsup::json(&[&url]);
    let error = wsup.until("error");
    let close = wsup.until("close");
    assert!(error["retry_in_ms"].is_u64());
    assert_eq!(error["retry_in_ms"], close["retry_in_ms"]);
}

#[test]
fn a_close_frame_from_the_server_is_no_error_whatever_its_code() {
    let server = Server::run(|listener| {
        for code in [1012, 4000] {
            let mut socket = server::open(&listener);
            socket.close(close(code, "later")).unwrap();
            server::drain(socket);
        }
        let mut socket = server::open(&listener);
        socket.close(close(1008, "go away")).unwrap();
        server::drain(socket);
    });
    let url = server.url();
    let mut wsup = Wsup::json(&[&url, "--reconnect", "20ms"]);
    for (epoch, code) in [(1, 1012), (2, 4000)] {
        wsup.until("open");
        wsup.expect(&format!(
            r#"{{"event":"close","source":"1","epoch":{epoch},"code":{code},"reason":"later","clean":true,"by":"remote","lasted_ms":#,"retry_in_ms":20,"peer_code":{code},"peer_reason":"later","unsent_messages":0,"unsent_bytes":0}}"#
        ));
    }
    let open = wsup.until("open");
    assert_eq!(open["cause"], "closed by the server with 4000: later");
    assert_eq!(open["attempts"], 1);
    let ended = wsup.end();
    ended.rest_is(&[
        r#"{"event":"close","source":"1","epoch":3,"code":1008,"reason":"go away","clean":true,"by":"remote","lasted_ms":#,"retry_in_ms":null,"peer_code":1008,"peer_reason":"go away","unsent_messages":0,"unsent_bytes":0}"#,
        r#"{"event":"stopped","source":"1","outcome":"refused","code":1008,"epochs":3,"error":null,"clean":true,"unsent_messages":0,"unsent_bytes":0}"#,
    ]);
    ended.is(3, "refused");
}

#[test]
fn what_the_server_answers_to_our_close_is_shown() {
    let cases: [(&'static [u8], _, _); 3] = [
        (
            b"\x88\x11\x0f\xa1session expired",
            r#""peer_code":4001,"peer_reason":"session expired""#,
            true,
        ),
        (b"\x88\x00", r#""peer_code":1005,"peer_reason":"""#, true),
        (b"", r#""peer_code":null,"peer_reason":null"#, false),
    ];
    for (answer, peer, clean) in cases {
        let server = || {
            Server::raw(move |mut stream| {
                server::read_close(&mut stream);
                stream.write_all(answer).unwrap();
                std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
            })
        };
        let args = ["--duration", "100ms", "--close-timeout", "200ms"];
        let (json, human) = (server(), server());
        let ended = Wsup::json(&[&[&json.url()[..]], &args[..]].concat()).end();
        ended.rest_is(&[
            &ended.rest[0],
            &format!(
                r#"{{"event":"close","source":"1","epoch":1,"code":1000,"reason":"","clean":{clean},"by":"local","lasted_ms":#,"retry_in_ms":null,{peer},"unsent_messages":0,"unsent_bytes":0}}"#
            ),
            &format!(
                r#"{{"event":"stopped","source":"1","outcome":"closed","code":1000,"epochs":1,"error":null,"clean":{clean},"unsent_messages":0,"unsent_bytes":0}}"#
            ),
        ]);
        ended.is(0, "closed");
        let ended =
            Wsup::spawn(&[&[&human.url()[..]], &args[..]].concat(), Stdio::null(), &[]).end();
        let told = ended.stderr.contains("with 1000; the server answered 4001: session expired;");
        assert_eq!(told, answer.len() > 2, "{}", ended.stderr);
    }
}

#[test]
fn an_empty_close_frame_is_1005() {
    let server = Server::raw(|mut stream| {
        stream.write_all(b"\x88\x00").unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let args = [&server.url(), "--reconnect", "never", "--close-timeout", "100ms"];
    let ended = Wsup::json(&args).end();
    assert!(ended.rest[1].contains(r#""code":1005,"reason":"","clean":true,"by":"remote""#));
    ended.is(0, "closed");
}

#[test]
fn the_name_takes_the_place_of_the_number() {
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| {
        sender.send(server::text(&mut socket)).unwrap();
        server::echo(socket);
    });
    let mut wsup = Wsup::json(&[&server.url(), "--name", "b\"tc", "--send", "x"]);
    assert!(wsup.line().starts_with(r#"{"event":"open","source":"b\"tc","epoch":1"#));
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("x"));
    wsup.signal("INT");
    let ended = wsup.end();
    assert!(ended.rest.iter().all(|line| line.contains(r#""source":"b\"tc""#)));
    ended.is(0, "closed");
}

#[test]
fn dials_are_numbered_until_the_attempts_are_used_up() {
    let url = Server::reply("HTTP/1.1 502 Bad\r\n\r\n").url();
    let ended = Wsup::json(&[&url, "--reconnect", "20ms", "--max-attempts", "3"]).end();
    let error = |attempt, retry| {
        format!(
            r#"{{"event":"error","source":"1","epoch":0,"attempt":{attempt},"stage":"refused","during":null,"status":502,"error":"the server refused the upgrade with status 502 Bad","retry_in_ms":{retry},"refusal":{{"status":502,"reason":"Bad","headers":{{}},"body":""}}}}"#
        )
    };
    ended.rest_is(&[
        &error(1, "20"),
        &error(2, "20"),
        &error(3, "null"),
        r#"{"event":"stopped","source":"1","outcome":"gave_up","code":null,"epochs":0,"error":"the server refused the upgrade with status 502 Bad","clean":null,"unsent_messages":0,"unsent_bytes":0}"#,
    ]);
    ended.is(1, "gave_up");
}

#[test]
fn only_a_stable_life_starts_the_count_of_dials_anew() {
    let server = || {
        Server::run(|listener| {
            for _ in 0..3 {
                drop(server::open(&listener));
            }
            server::drain(server::open(&listener));
        })
    };
    let args = ["--reconnect", "10ms", "--max-attempts", "2"];
    let url = server().url();
    let ended = Wsup::json(&[&[url.as_str()], &args[..]].concat()).end();
    let stopped = r#"{"event":"stopped","source":"1","outcome":"gave_up","code":1006,"epochs":2,"error":"transport: the connection ended without a Close frame","clean":false,"unsent_messages":0,"unsent_bytes":0}"#;
    assert_eq!(ended.rest.last().map(String::as_str), Some(stopped));
    ended.is(1, "gave_up");

    let url = server().url();
    let mut wsup = Wsup::json(&[&[url.as_str(), "--stable-after", "0"], &args[..]].concat());
    for _ in 0..3 {
        assert_eq!(wsup.until("error")["attempt"], 1);
    }
    assert_eq!(wsup.until("open")["epoch"], 4);
    wsup.signal("INT");
    wsup.end().is(0, "closed");
}

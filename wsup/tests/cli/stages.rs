//! Each stage at which a run can fail, and the exit status that comes of it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::process::{Ended, Wsup, assert_like, parse};
use crate::server::{self, Server};

/// Runs once and checks the first line, an error at this stage.
pub(crate) fn fails(args: &[&str], stage: &str, during: &str, status: i32, outcome: &str) -> Ended {
    let ended = Wsup::json(&[&["--reconnect", "never"], args].concat()).end();
    let error = ended.rest.iter().find(|line| line.contains(r#""event":"error""#)).unwrap();
    let error = parse(error);
    assert_eq!(error["stage"], stage, "{error}");
    assert_eq!(error["during"].as_str().unwrap_or("null"), during, "{error}");
    assert!(error["retry_in_ms"].is_null(), "{error}");
    ended.is(status, outcome);
    let stopped = parse(ended.rest.last().unwrap());
    assert_eq!(stopped["error"], error["error"]);
    ended
}

#[test]
fn dns() {
    fails(&["ws://nonexistent.invalid"], "dns", "null", 1, "failed");
}

#[test]
fn connect() {
    let ended = fails(&["ws://127.0.0.1:1"], "connect", "null", 1, "failed");
    assert_eq!(ended.rest.len(), 2, "a failed dial has no close: {:?}", ended.rest);
}

#[test]
fn connect_from_an_address_that_is_not_ours() {
    // RFC 5737: reserved for documentation.
    let url = Server::mute().url();
    fails(&[&url, "--bind", "192.0.2.1"], "connect", "null", 1, "failed");
}

#[test]
fn tls_to_a_server_that_speaks_none() {
    let server = Server::run(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    fails(&[&format!("wss://127.0.0.1:{}", server.port)], "tls", "null", 1, "failed");
}

#[test]
fn tls_of_an_authority_that_nobody_trusts() {
    let (server, _) = server::tls_echo();
    fails(&[&format!("wss://localhost:{}", server.port)], "tls", "null", 3, "refused");
}

#[test]
fn refused_for_good() {
    for (reply, status) in [
        ("HTTP/1.1 401 No\r\n\r\n", 401),
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ] {
        let ended = fails(&[&Server::reply(reply).url()], "refused", "null", 3, "refused");
        assert_eq!(parse(&ended.rest[0])["status"], status);
    }
    // Whatever the policy.
    let url = Server::reply("HTTP/1.1 401 No\r\n\r\n").url();
    Wsup::json(&[&url, "--reconnect", "10ms"]).end().is(3, "refused");
}

#[test]
fn refused_for_now_is_tried_again_not_earlier_than_asked() {
    let url = Server::reply("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n").url();
    let mut wsup = Wsup::json(&[&url, "--reconnect", "10ms"]);
    let error = wsup.until("error");
    assert_eq!(error["status"], 503);
    assert!(error["retry_in_ms"].as_u64().unwrap() >= 7_000, "{error}");
    wsup.signal("INT");
    wsup.end().is(0, "closed");
}

#[test]
fn handshake() {
    let reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    fails(&[&Server::reply(reply).url()], "handshake", "null", 3, "refused");
}

#[test]
fn io_of_a_reset() {
    let server = Server::raw(|stream| {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    fails(&[&server.url()], "io", "null", 1, "failed");
}

#[test]
fn io() {
    let server = Server::run(|listener| drop(server::open(&listener)));
    fails(&[&server.url()], "io", "null", 1, "failed");
}

#[test]
fn timeout_during_the_upgrade() {
    let url = Server::mute().url();
    let ended = fails(&[&url, "--connect-timeout", "1s"], "timeout", "upgrade", 1, "failed");
    assert_like(
        &ended.rest[0],
        r#"{"event":"error","source":"1","epoch":0,"attempt":1,"stage":"timeout","during":"upgrade","status":null,"error":"timed out during upgrade","retry_in_ms":null,"refusal":null}"#,
    );
}

#[test]
fn timeout_during_connect() {
    // A listener whose queue is full: the system drops what else knocks.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let knock = || TcpStream::connect_timeout(&addr, Duration::from_millis(200));
    let _queue: Vec<_> = std::iter::from_fn(|| knock().ok()).collect();
    let url = format!("ws://{addr}");
    fails(&[&url, "--connect-timeout", "1s"], "timeout", "connect", 1, "failed");
}

#[test]
fn timeout_during_tls() {
    let url = format!("wss://127.0.0.1:{}", Server::mute().port);
    fails(&[&url, "--connect-timeout", "1s"], "timeout", "tls", 1, "failed");
}

#[test]
fn silent_to_pings() {
    let server = Server::raw(|stream| {
        // Takes the ping and answers nothing.
        std::io::copy(&mut &stream, &mut std::io::sink()).unwrap();
    });
    let url = server.url();
    let args = [&url, "--ping-interval", "100ms", "--ping-timeout", "100ms"];
    let ended = fails(&args, "silent", "null", 1, "failed");
    assert_like(
        &ended.rest[2],
        r#"{"event":"close","source":"1","epoch":1,"code":1006,"reason":"","clean":false,"by":"nobody","lasted_ms":#,"retry_in_ms":null,"peer_code":null,"peer_reason":null,"unsent_messages":0,"unsent_bytes":0}"#,
    );
    assert!(parse(&ended.rest[2])["lasted_ms"].as_u64().unwrap() >= 200);
}

#[test]
fn silent_for_want_of_messages() {
    // It answers pings; that is no message.
    let url = Server::echo().url();
    let args = [&url, "--idle-timeout", "300ms", "--ping-interval", "50ms"];
    fails(&args, "silent", "null", 1, "failed");
}

#[test]
fn protocol_breaches_earn_their_codes() {
    let half_a_character = b"\x81\x02\xc3\x28";
    let eight_gib = b"\x82\x7f\x00\x00\x00\x02\x00\x00\x00\x00";
    for (frame, code) in
        [(&b"\x83\x00"[..], 1002), (&half_a_character[..], 1007), (&eight_gib[..], 1009)]
    {
        let (sender, receiver) = channel();
        let server = Server::raw(move |mut stream| {
            stream.write_all(frame).unwrap();
            sender.send(server::read_close(&mut stream)).unwrap();
        });
        let url = server.url();
        let ended = fails(&[&url, "--max-message", "256k"], "protocol", "null", 1, "failed");
        assert_eq!(receiver.recv().unwrap(), code);
        let close = parse(&ended.rest[2]);
        assert_eq!((&close["code"], &close["by"]), (&code.into(), &"local".into()), "{close}");
        assert_eq!(close["clean"], false);
    }
}

#[test]
fn max_message_bounds_a_frame_and_a_message_alike() {
    let server = Server::raw(|mut stream| {
        for head in [b"\x02", b"\x00", b"\x00"] {
            let frame = [&head[..], &[0x7e, 0x01, 0x00], &[0; 256]].concat();
            // The last one is refused while it is on its way.
            if stream.write_all(&frame).is_err() {
                return;
            }
        }
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let ended = fails(&[&server.url(), "--max-message", "600"], "protocol", "null", 1, "failed");
    assert_eq!(parse(&ended.rest[2])["code"], 1009);
}

#[test]
fn a_certificate_can_be_trusted_by_file_or_not_looked_at() {
    let (server, pem) = server::tls_echo();
    let path = std::env::temp_dir().join(format!("wsup-ca-{}.pem", server.port));
    std::fs::write(&path, pem).unwrap();
    let url = format!("wss://localhost:{}", server.port);
    let args = [&url, "--cacert", path.to_str().unwrap(), "--send", "hi", "--messages", "1"];
    let ended = Wsup::json(&args).end();
    std::fs::remove_file(path).unwrap();
    assert!(ended.rest[1].ends_with(r#""type":"text","data":"hi"}"#), "{:?}", ended.rest);
    ended.is(0, "closed");

    let (server, _) = server::tls_echo();
    let url = format!("wss://localhost:{}", server.port);
    let ended = Wsup::json(&[&url, "--insecure", "--send", "hi", "--messages", "1"]).end();
    assert!(ended.rest[1].ends_with(r#""type":"text","data":"hi"}"#), "{:?}", ended.rest);
    assert!(ended.stderr.contains("WARN"), "insecurity is warned of: {}", ended.stderr);
    ended.is(0, "closed");
}

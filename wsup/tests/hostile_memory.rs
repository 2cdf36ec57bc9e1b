//! A hostile server cannot make a client grow: peak memory of a real process.

use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{self, Message};

/// How far the peak may exceed that of a process that received one byte, in KiB.
const ROOM: u64 = 1024;

#[test]
fn a_declared_frame_of_8_gib_costs_nothing() {
    // A binary frame of 8 GiB, of which 2 GiB are sent unless the client ends it before.
    let head = [&[0x82, 127][..], &(8u64 << 30).to_be_bytes()].concat();
    let zeros = vec![0; 1 << 20];
    check("8 GiB", Some(1009), move |socket| {
        socket.write_all(&head)?;
        (0..2048).try_for_each(|_| socket.write_all(&zeros))
    });
}

#[test]
fn endless_fragments_end_at_the_limit() {
    let first = [&[0x02, 126][..], &4096u16.to_be_bytes(), &[7; 4096]].concat();
    let more = [&[0x00, 126][..], &4096u16.to_be_bytes(), &[7; 4096]].concat();
    check("fragments", Some(1009), move |socket| {
        socket.write_all(&first)?;
        (0..100_000).try_for_each(|_| socket.write_all(&more))
    });
}

#[test]
fn ten_million_empty_fragments_end_at_the_limit() {
    let many = [0x00, 0].repeat(10_000);
    check("empty fragments", Some(1009), move |socket| {
        socket.write_all(&[0x02, 0])?;
        (0..1_000).try_for_each(|_| socket.write_all(&many))
    });
}

#[test]
fn ten_million_pings_cost_nothing() {
    let many = [0x89, 0].repeat(10_000);
    // Our Close is answered only after all before it was read.
    check("pings", Some(1000), move |socket| {
        (0..1_000).try_for_each(|_| socket.write_all(&many))?;
        socket.write_all(&[0x88, 2, 0x03, 0xe8])
    });
}

/// 1 MiB that inflates to 1 GiB. In fragments: a frame of that length is refused at its header here.
#[test]
fn a_bomb_ends_at_the_limit_of_a_message() {
    let bomb = bomb();
    check("bomb", Some(1009), move |socket| {
        socket.write_all(&[0x42, 0])?;
        bomb.chunks(50_000).try_for_each(|piece| {
            let len = u16::try_from(piece.len()).unwrap();
            socket.write_all(&[&[0x00, 126][..], &len.to_be_bytes(), piece].concat())
        })
    });
}

/// One message of 1 GiB of zeros, compressed.
fn bomb() -> Vec<u8> {
    use actix_ws_client::Compression;
    use actix_ws_client::proto::codec::{Codec, Limits};
    use actix_ws_client::proto::frame::Role;
    use actix_ws_client::proto::message::Outgoing;
    use bytes::BytesMut;

    let agreed = Compression::new().agree([&b"permessage-deflate"[..]]).unwrap();
    let mut codec = Codec::new(Role::Server, Limits::default()).with_deflate(agreed);
    let mut next = || {
        let mut frame = BytesMut::new();
        codec.encode(Outgoing::Message(vec![0; 1 << 20].into()), &mut frame).unwrap();
        // Without the header of 4 bytes, with the tail that ends each part of the stream.
        assert_eq!(frame[1], 126);
        [&frame[4..], &[0, 0, 0xff, 0xff]].concat()
    };
    let bomb = [next(), next().repeat(1023)].concat();
    assert!((900_000..1_200_000).contains(&bomb.len()), "{}", bomb.len());
    bomb
}

/// Runs the client against a server that plays `attack`, and against one that sends one byte.
fn check<F>(name: &str, expected: Option<u16>, attack: F)
where
    F: Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
{
    let (calm, _) = peak(|socket| socket.write_all(&[0x81]));
    let (peak, close) = peak(attack);
    println!("{name}: {peak} KiB, {calm} KiB after one byte");
    assert_eq!(close, expected, "{name}");
    assert!(peak <= calm + ROOM, "{name}: {peak} KiB, {calm} KiB after one byte");
}

/// Returns the peak memory of an attacked client, in KiB, and the code of its Close.
fn peak<F>(play: F) -> (u64, Option<u16>)
where
    F: Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = client(&format!("ws://{}/", listener.local_addr().unwrap()));
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut raw = stream.try_clone().unwrap();
    let mut socket = tungstenite::accept_hdr(stream, deflate).unwrap();
    // Read on a thread of its own: a peer that reads nothing would be another attack.
    let closing = thread::spawn(move || {
        let mut code = None;
        loop {
            match socket.read() {
                Ok(Message::Close(Some(frame))) => code = code.or(Some(frame.code.into())),
                Ok(_) => {}
                Err(_) => return code,
            }
        }
    });
    // The client may end the connection in the middle.
    let _ = play(&mut raw);
    let _ = raw.shutdown(Shutdown::Write);
    let code = closing.join().unwrap();
    let peak = high_water(&client);
    client.kill().unwrap();
    client.wait().unwrap();
    (peak, code)
}

/// Accepts the extension that the client offers.
#[expect(clippy::result_large_err, reason = "the callback's type is not ours")]
fn deflate(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    const EXTENSIONS: &str = "sec-websocket-extensions";
    if request.headers().contains_key(EXTENSIONS) {
        response.headers_mut().insert(EXTENSIONS, "permessage-deflate".parse().unwrap());
    }
    Ok(response)
}

fn client(url: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wsup"))
        .args(["--max-message", "256k", "--reconnect", "600s", "--ping-interval", "off", url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Returns the peak of a process without the pages of its executable, in KiB: which of those an attack needs says nothing
/// of what it stores, and they differ by more than `ROOM`.
fn high_water(client: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", client.id())).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    kib("VmHWM:") - kib("RssFile:")
}

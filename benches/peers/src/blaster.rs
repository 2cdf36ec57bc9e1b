//! The peer of every client: a server that does what the path of the request says.
//!
//! `/flood/CONNECTIONS/SIZE/TEXT/FRAGMENTS/COUNT` sends COUNT messages over CONNECTIONS connections
//! in turn; `/sink/COUNT` receives COUNT messages and replies with one; `/echo` sends back every message.
//! For each request it prints on stdout what was sent or received. It ends when its stdin is closed.

use std::cell::RefCell;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sha1::{Digest as _, Sha1};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use crate::cores;
use crate::frames::{Frames, find, put_head};
use crate::tally::Digest;
use crate::works::Load;

/// The number of messages that are sent on one connection before the next has its turn.
const TURN: u64 = 64;

/// Runs the blaster on one processor. The first line on stdout has its two ports, plain and TLS, the
/// second its certificate.
pub fn run(core: usize) -> Result<()> {
    cores::pin(core)?;
    cores::open_files()?;
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve())
}

async fn serve() -> Result<()> {
    let (plain, secure) = (listen()?, listen()?);
    let (acceptor, certificate) = tls()?;
    println!("{} {}", plain.local_addr()?.port(), secure.local_addr()?.port());
    println!("{}", BASE64_STANDARD.encode(certificate));
    let waiting = Rc::new(Waiting::default());
    loop {
        let (stream, tls) = tokio::select! {
            accepted = plain.accept() => (accepted?.0, None),
            accepted = secure.accept() => (accepted?.0, Some(acceptor.clone())),
        };
        let waiting = waiting.clone();
        spawn_local(async move {
            // A client that closes has finished, or reports the error itself.
            let _ = connection(stream, tls, &waiting).await;
        });
    }
}

fn listen() -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket.listen(4096)?)
}

/// Creates a self-signed certificate for the loopback address, and an acceptor that uses it.
fn tls() -> Result<(TlsAcceptor, Vec<u8>)> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), cert.der().to_vec()))
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Connections that wait until there are enough for a flood.
#[derive(Default)]
struct Waiting(RefCell<Vec<Box<dyn Stream>>>);

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, waiting: &Waiting) -> Result<()> {
    stream.set_nodelay(true)?;
    // Otherwise tens of thousands of connections a minute would use up the ports.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let mut stream: Box<dyn Stream> = match tls {
        Some(acceptor) => Box::new(acceptor.accept(stream).await?),
        None => Box::new(stream),
    };
    let path = upgrade(&mut stream).await?;
    let words: Vec<&str> = path.split('/').skip(1).collect();
    match words[..] {
        ["echo"] => echo(&mut stream).await?,
        ["sink", count] => sink(&mut stream, count.parse()?).await?,
        ["flood", connections, size, text, fragments, count] => {
            let (size, fragments) = (size.parse()?, fragments.parse()?);
            let load = Load { size, text: text == "1", fragments };
            let group = {
                let mut waiting = waiting.0.borrow_mut();
                waiting.push(stream);
                if waiting.len() < connections.parse()? {
                    return Ok(());
                }
                std::mem::take(&mut *waiting)
            };
            return flood(group, &Frames::new(load), count.parse()?).await;
        }
        _ => bail!("nothing known of {path}"),
    }
    gone(&mut stream).await
}

/// Answers the upgrade request (RFC 6455, 4.2), and returns its path.
async fn upgrade(stream: &mut Box<dyn Stream>) -> Result<String> {
    let mut request = Vec::with_capacity(512);
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut request).await? > 0, "no request");
    }
    let request = String::from_utf8(request)?;
    let path = request.split(' ').nth(1).context("no path")?.to_owned();
    let mut headers = request.lines().filter_map(|line| line.split_once(':'));
    let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let accept = accept(key.context("no key")?.1.trim());
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.flush().await?;
    Ok(path)
}

/// Returns the `Sec-WebSocket-Accept` of a key (RFC 6455, 4.2.2).
pub fn accept(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(digest.finalize())
}

async fn flood(mut streams: Vec<Box<dyn Stream>>, frames: &Frames, count: u64) -> Result<()> {
    let mut sum = Digest::EMPTY;
    let turn = if streams.len() > 1 { TURN } else { u64::MAX };
    let mut left = count;
    while left > 0 {
        for stream in &mut streams {
            let (wire, part) = frames.first(left.min(turn));
            stream.write_all(wire).await?;
            sum.merge(part);
            left -= part.count;
        }
    }
    for stream in &mut streams {
        stream.flush().await?;
    }
    println!("{}", sum.line());
    for stream in &mut streams {
        gone(stream).await?;
    }
    Ok(())
}

/// Waits until the client has closed the connection.
async fn gone(stream: &mut Box<dyn Stream>) -> Result<()> {
    let mut buf = [0; 1024];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}

/// Receives this many messages of one frame each, then replies with one message.
async fn sink(stream: &mut Box<dyn Stream>, count: u64) -> Result<()> {
    let mut sum = Digest::EMPTY;
    let mut buf = vec![0; 256 << 10];
    let mut filled = 0;
    while sum.count < count {
        let read = stream.read(&mut buf[filled..]).await?;
        ensure!(read > 0, "the client closed the connection");
        filled += read;
        let mut done = 0;
        while let Some(frame) = find(&buf[done..filled])
            && done + frame.end() <= filled
        {
            let payload = &buf[done..][frame.start..frame.end()];
            if let (1 | 2, Some(mask), [first, .., last]) = (frame.opcode, frame.mask, payload) {
                let end = (payload.len() - 1) % 4;
                sum.add(payload.len(), first ^ mask[0], last ^ mask[end]);
            }
            done += frame.end();
        }
        buf.copy_within(done..filled, 0);
        filled -= done;
    }
    println!("{}", sum.line());
    stream.write_all(b"\x82\x04done").await?;
    Ok(stream.flush().await?)
}

/// Sends back every message, and answers Ping and Close.
async fn echo(stream: &mut Box<dyn Stream>) -> Result<()> {
    let (mut buf, mut reply) = (Vec::new(), Vec::new());
    loop {
        ensure!(stream.read_buf(&mut buf).await? > 0, "the client closed the connection");
        reply.clear();
        let mut done = 0;
        while let Some(frame) = find(&buf[done..])
            && done + frame.end() <= buf.len()
        {
            let opcode = if frame.opcode == 9 { 10 } else { frame.opcode };
            let payload = &buf[done..][frame.start..frame.end()];
            let mask = frame.mask.context("an unmasked frame from a client")?;
            if opcode != 10 || frame.opcode == 9 {
                put_head(&mut reply, 0x80 | opcode, false, payload.len());
                reply.extend(
                    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask),
                );
            }
            done += frame.end();
            if opcode == 8 {
                stream.write_all(&reply).await?;
                return Ok(stream.shutdown().await?);
            }
        }
        buf.drain(..done);
        stream.write_all(&reply).await?;
        stream.flush().await?;
    }
}

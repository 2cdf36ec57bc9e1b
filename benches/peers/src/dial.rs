//! Connecting to the blaster, for every client that accepts a stream of ours.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use anyhow::{Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, ReadBuf,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::blaster::accept;

/// The size in bytes of the buffers for clients that have none of their own.
const BUFFER: usize = 64 << 10;

/// The same for works with many connections.
const SMALL_BUFFER: usize = 4 << 10;

/// The address to connect to, and how.
#[derive(Clone, Debug)]
pub struct Dial {
    port: u16,
    path: String,
    /// As a program has them that knows where it goes.
    url: String,
    authority: String,
    /// The only trusted certificate; `None` without TLS.
    pub certificate: Option<CertificateDer<'static>>,
    /// The TLS configuration of all connections, made at the first.
    config: Arc<OnceLock<Arc<ClientConfig>>>,
    /// Whether there are many connections with little to read on each.
    pub frugal: bool,
}

impl Dial {
    pub fn new(
        port: u16,
        path: String,
        certificate: Option<CertificateDer<'static>>,
        frugal: bool,
    ) -> Dial {
        let scheme = if certificate.is_some() { "wss" } else { "ws" };
        let authority = format!("127.0.0.1:{port}");
        let url = format!("{scheme}://{authority}{path}");
        Dial { port, path, url, authority, certificate, config: Arc::default(), frugal }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns a TLS configuration with ring that trusts only the blaster: the same one for all connections.
    pub fn tls(&self) -> Result<Option<Arc<ClientConfig>>> {
        let Some(certificate) = &self.certificate else { return Ok(None) };
        if let Some(config) = self.config.get() {
            return Ok(Some(config.clone()));
        }
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Some(self.config.get_or_init(|| Arc::new(config)).clone()))
    }

    /// Opens a transport.
    pub async fn io(&self) -> Result<Io> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = self.tls()? else { return Ok(Io::Plain(stream)) };
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Io::Tls(Box::new(stream)))
    }

    /// Opens a WebSocket for clients without HTTP: the upgrade is written by hand (RFC 6455, 4.1).
    pub async fn upgraded(&self) -> Result<Buffered> {
        let buffer = if self.frugal { SMALL_BUFFER } else { BUFFER };
        let io = BufWriter::with_capacity(buffer, self.io().await?);
        let mut io = BufReader::with_capacity(buffer, io);
        // A constant key: the cost of a random one is not measured here.
        let key =
            BASE64_STANDARD.encode(self.path.as_bytes().first_chunk::<5>().unwrap_or(&[0; 5]));
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.path,
            self.authority()
        );
        io.write_all(request.as_bytes()).await?;
        io.flush().await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(io.read_line(&mut head).await? > 0, "no reply");
        }
        let accepted = head.lines().any(|line| line.ends_with(&accept(&key)));
        ensure!(head.starts_with("HTTP/1.1 101 ") && accepted, "refused: {head}");
        Ok(io)
    }
}

/// A transport with a buffer in each direction.
pub type Buffered = BufReader<BufWriter<Io>>;

/// TCP, or TLS over it.
#[derive(Debug)]
pub enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

//! Small servers, each a script on a thread: tungstenite's, or a bare socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

pub(crate) type Socket = WebSocket<TcpStream>;

pub(crate) struct Server {
    pub(crate) port: u16,
}

impl Server {
    /// Runs a script that accepts as many connections as it likes.
    pub(crate) fn run(script: impl FnOnce(TcpListener) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || script(listener));
        Server { port }
    }

    /// Opens one WebSocket and hands it to the script.
    pub(crate) fn socket(script: impl FnOnce(Socket) + Send + 'static) -> Server {
        Server::run(move |listener| script(open(&listener)))
    }

    /// Completes one upgrade and hands the bare stream to the script.
    pub(crate) fn raw(script: impl FnOnce(TcpStream) + Send + 'static) -> Server {
        Server::run(move |listener| script(open_raw(&listener)))
    }

    /// Sends back each message, until the client closes.
    pub(crate) fn echo() -> Server {
        Server::socket(echo)
    }

    /// Answers each upgrade with these bytes.
    pub(crate) fn reply(head: &'static str) -> Server {
        Server::run(move |listener| {
            for stream in listener.incoming() {
                refuse(stream.unwrap(), head);
            }
        })
    }

    /// Takes connections and never says a word. They stay open.
    pub(crate) fn mute() -> Server {
        Server::run(|listener| {
            let _held: Vec<_> = listener.incoming().collect();
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }
}

/// Accepts one WebSocket.
pub(crate) fn open(listener: &TcpListener) -> Socket {
    tungstenite::accept(listener.accept().unwrap().0).unwrap()
}

pub(crate) fn echo<S: Read + Write>(mut socket: WebSocket<S>) {
    while let Ok(message) = socket.read() {
        if message.is_text() || message.is_binary() {
            socket.send(message).unwrap();
        }
    }
}

/// Reads the next data message; `None` when the client has closed.
pub(crate) fn text(socket: &mut Socket) -> Option<String> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return Some(text.to_string()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// Reads until the client has closed.
pub(crate) fn drain(mut socket: Socket) {
    while socket.read().is_ok() {}
}

/// Accepts one upgrade and gives the bare stream.
pub(crate) fn open_raw(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let head = read_head(&mut stream);
    let key = header(&head, "sec-websocket-key").expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(reply.as_bytes()).unwrap();
    stream
}

/// Reads a request and answers it with these bytes.
pub(crate) fn refuse(mut stream: TcpStream, reply: &str) {
    read_head(&mut stream);
    stream.write_all(reply.as_bytes()).unwrap();
}

pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Reads a client's Close frame: the code in it.
pub(crate) fn read_close(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x88, "not a Close frame");
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).unwrap();
    u16::from_be_bytes([payload[0] ^ head[2], payload[1] ^ head[3]])
}

/// A TLS echo server for `localhost`, and the authority to trust it by, as PEM.
pub(crate) fn tls_echo() -> (Server, String) {
    Secure::default().echo()
}

type Versions = &'static [&'static rustls::SupportedProtocolVersion];

pub(crate) const OLD: Versions = &[&rustls::version::TLS12];
pub(crate) const NEW: Versions = &[&rustls::version::TLS13];

/// What a TLS server is to be.
pub(crate) struct Secure {
    pub(crate) name: &'static str,
    pub(crate) versions: Versions,
    /// The certificate that a client has to show, as PEM.
    pub(crate) client: Option<String>,
}

impl Default for Secure {
    fn default() -> Secure {
        Secure { name: "localhost", versions: rustls::ALL_VERSIONS, client: None }
    }
}

impl Secure {
    pub(crate) fn echo(self) -> (Server, String) {
        let made = rcgen::generate_simple_self_signed([self.name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match &self.client {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let config = Arc::new(config);
        let server = Server::run(move |listener| {
            let stream = listener.accept().unwrap().0;
            let session = rustls::ServerConnection::new(config).unwrap();
            if let Ok(socket) = tungstenite::accept(rustls::StreamOwned::new(session, stream)) {
                echo(socket);
            }
        });
        (server, made.cert.pem())
    }
}

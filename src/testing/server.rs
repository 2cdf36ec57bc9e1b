//! A scripted WebSocket server on loopback, on a thread of its own.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle as Task, JoinSet};

use crate::proto::close::CloseFrame;
use crate::proto::message::{Incoming, Payload};
use crate::testing::journal::{Gone, Journal, Note, Request};
use crate::testing::player::drain;
use crate::testing::script::{Leave, Script};
use crate::tls::server::{ServerTls, TlsHandshake};

/// A WebSocket server for tests: real sockets on 127.0.0.1, one [`Script`] for each connection.
///
/// It runs on its own thread and runtime, so that it works in any test and never waits for the
/// client's thread. It records what it receives and sends in a [`Journal`], whose methods it has. Dropping the server ends it, as
/// [`kill`](Server::kill) does.
///
/// Real sockets need the real clock. For a paused clock there is [`MemoryServer`](crate::testing::MemoryServer), for a
/// transport of your own [`Script::play`].
///
/// ```
/// use actix_ws_client::Connection;
/// use actix_ws_client::testing::{Script, Server};
///
/// # actix::System::new().block_on(async {
/// let server = Server::start(Script::refuse(401).body("who are you?"));
/// let outcome = Connection::builder(server.url()).run().await.unwrap();
/// assert_eq!(outcome.error.unwrap().status(), Some(401));
/// assert!(server.requests()[0].header("sec-websocket-key").is_some());
/// # });
/// ```
pub struct Server {
    addr: SocketAddr,
    /// `ws` or `wss`.
    scheme: &'static str,
    journal: Journal,
    controls: UnboundedSender<(Control, mpsc::Sender<()>)>,
    thread: Option<JoinHandle<()>>,
}

/// The script of each connection: one for all, or one after the other with the last repeated.
#[derive(Clone)]
pub struct Scripts(pub(super) Arc<dyn Fn(usize) -> Script + Send + Sync>);

impl From<Script> for Scripts {
    fn from(script: Script) -> Scripts {
        Scripts(Arc::new(move |_| script.clone()))
    }
}

impl From<Vec<Script>> for Scripts {
    /// One after the other; the last one repeats.
    ///
    /// # Panics
    /// If the list is empty.
    fn from(scripts: Vec<Script>) -> Scripts {
        assert!(!scripts.is_empty(), "a server needs a script");
        Scripts(Arc::new(move |connection| scripts[connection.min(scripts.len() - 1)].clone()))
    }
}

impl<const N: usize> From<[Script; N]> for Scripts {
    fn from(scripts: [Script; N]) -> Scripts {
        Scripts::from(Vec::from(scripts))
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripts")
    }
}

/// A request to the server's thread.
enum Control {
    /// Leave new connections in the backlog: TCP connects, and nothing answers.
    Pause,
    Resume,
    /// Close the listener and all connections.
    Kill,
    Restart,
}

impl Server {
    /// Starts a server that plays a script, or one script after the other (the last one repeats).
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn start(scripts: impl Into<Scripts>) -> Server {
        Server::launch(scripts.into(), None)
    }

    /// Like [`start`](Server::start), but over TLS: a `wss` server. See [`ServerTls`] for an
    /// example.
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn start_tls(scripts: impl Into<Scripts>, tls: ServerTls) -> Server {
        Server::launch(scripts.into(), Some(tls))
    }

    fn launch(scripts: Scripts, tls: Option<ServerTls>) -> Server {
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let journal = Journal::new();
        let (controls, receiver) = unbounded_channel();
        let (bound, addr) = mpsc::channel();
        let host = Host { scripts, tls, journal: journal.clone(), accepted: Arc::default() };
        let thread = std::thread::Builder::new()
            .name("testing-server".into())
            .spawn(move || serve(host, receiver, bound))
            .expect("a thread can be started");
        let addr = addr.recv().expect("a port of loopback can be bound");
        Server { addr, scheme, journal, controls, thread: Some(thread) }
    }

    /// Starts a server whose n-th connection, from 0, plays the script that `script(n)` returns.
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn start_with(script: impl Fn(usize) -> Script + Send + Sync + 'static) -> Server {
        Server::start(Scripts(Arc::new(script)))
    }

    /// Returns the address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns `ws://127.0.0.1:PORT/`, or `wss://localhost:PORT/` over TLS, where the certificate
    /// has to be for that name.
    pub fn url(&self) -> String {
        match self.scheme {
            "wss" => format!("wss://localhost:{}/", self.addr.port()),
            scheme => format!("{scheme}://{}/", self.addr),
        }
    }

    /// Returns the record of all connections.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns the number of accepted connections.
    pub fn dials(&self) -> usize {
        self.journal.dials()
    }

    /// Returns all completed TLS handshakes, in order.
    pub fn tls_handshakes(&self) -> Vec<TlsHandshake> {
        self.journal.tls_handshakes()
    }

    /// Returns the heads of all upgrade requests, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.journal.requests()
    }

    /// Returns all received messages and control frames, in order.
    pub fn received(&self) -> Vec<Incoming> {
        self.journal.received()
    }

    /// Returns all received messages, in order.
    pub fn messages(&self) -> Vec<Payload> {
        self.journal.messages()
    }

    /// Returns all received Close frames, in order; `None` is one without a code.
    pub fn closes(&self) -> Vec<Option<CloseFrame>> {
        self.journal.closes()
    }

    /// Waits until the next connection is accepted, and returns its number, from 0.
    ///
    /// # Panics
    /// If none is within 10 s.
    #[track_caller]
    pub fn next_dial(&self) -> impl Future<Output = usize> + '_ {
        self.journal.next_dial()
    }

    /// Waits for the next message on any connection, and returns it.
    ///
    /// # Panics
    /// If none comes within 10 s.
    #[track_caller]
    pub fn next_message(&self) -> impl Future<Output = Payload> + '_ {
        self.journal.next_message()
    }

    /// Waits for the next Close frame on any connection, and returns it; `None` is one without a code.
    ///
    /// # Panics
    /// If none comes within 10 s.
    #[track_caller]
    pub fn next_close(&self) -> impl Future<Output = Option<CloseFrame>> + '_ {
        self.journal.next_close()
    }

    /// Waits until the next connection ends, and returns how.
    ///
    /// # Panics
    /// If none does within 10 s.
    #[track_caller]
    pub fn next_gone(&self) -> impl Future<Output = Gone> + '_ {
        self.journal.next_gone()
    }

    /// Leaves new connections in the backlog: TCP connects, and nothing answers.
    pub fn pause_accepting(&self) {
        self.control(Control::Pause);
    }

    /// Accepts connections again, those in the backlog first.
    pub fn resume_accepting(&self) {
        self.control(Control::Resume);
    }

    /// Closes the listener and drops all connections at once, like a process that dies. Later dials
    /// are refused.
    pub fn kill(&self) {
        self.control(Control::Kill);
    }

    /// Listens on the same port again. The sequence of scripts continues.
    pub fn restart(&self) {
        self.control(Control::Restart);
    }

    /// Sends a request to the server's thread, and waits until it is carried out.
    fn control(&self, control: Control) {
        let (done, is_done) = mpsc::channel();
        if self.controls.send((control, done)).is_ok() {
            // An error means that the thread has panicked; the test then fails for want of a
            // server.
            let _ = is_done.recv();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.controls = unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).field("dials", &self.dials()).finish()
    }
}

/// The state that all connections of a server share.
#[derive(Clone)]
struct Host {
    scripts: Scripts,
    tls: Option<ServerTls>,
    journal: Journal,
    /// The number of accepted connections.
    accepted: Arc<AtomicUsize>,
}

/// Runs the server's thread.
fn serve(
    host: Host,
    receiver: UnboundedReceiver<(Control, mpsc::Sender<()>)>,
    bound: mpsc::Sender<SocketAddr>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(host.run(receiver, bound));
}

impl Host {
    async fn run(
        self,
        mut receiver: UnboundedReceiver<(Control, mpsc::Sender<()>)>,
        bound: mpsc::Sender<SocketAddr>,
    ) {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
        let addr = listener.local_addr().expect("a bound listener has an address");
        let mut listener = Some(Arc::new(listener));
        let connections = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
        let accept = |listener: &Arc<TcpListener>| {
            tokio::spawn(self.clone().accept(listener.clone(), connections.clone()))
        };
        let mut accepting: Option<Task<()>> = listener.as_ref().map(accept);
        let _ = bound.send(addr);
        while let Some((control, done)) = receiver.recv().await {
            if let Some(task) = accepting.take() {
                task.abort();
                // An error means that the task was aborted.
                let _ = task.await;
            }
            match control {
                Control::Pause => {}
                Control::Resume => accepting = listener.as_ref().map(accept),
                Control::Kill => {
                    listener = None;
                    connections.lock().await.shutdown().await;
                }
                Control::Restart => {
                    listener = Some(Arc::new(bind(addr).await));
                    accepting = listener.as_ref().map(accept);
                }
            }
            let _ = done.send(());
        }
    }

    async fn accept(
        self,
        listener: Arc<TcpListener>,
        connections: Arc<tokio::sync::Mutex<JoinSet<()>>>,
    ) {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = self.accepted.fetch_add(1, Ordering::Relaxed);
            self.journal.write(connection, Note::Dial);
            let mut connections = connections.lock().await;
            while connections.try_join_next().is_some() {}
            connections.spawn(self.clone().play(connection, stream));
        }
    }

    async fn play(self, connection: usize, mut stream: TcpStream) {
        // An error here is returned again by the first read.
        let _ = stream.set_nodelay(true);
        let script = (self.scripts.0)(connection);
        let (mut stream, leave) = match &self.tls {
            Some(tls) if !script.hangs_up() => match tls.handshake(stream).await {
                Ok(mut secured) => {
                    self.journal.write(connection, Note::Tls(TlsHandshake::of(&secured)));
                    let leave = script.play_open(&mut secured, connection, &self.journal).await;
                    if leave == Leave::Quietly {
                        // What comes after our close_notify is discarded below TLS: rustls would panic on a
                        // record that it cannot decrypt, in a debug build. An error is returned again there.
                        let _ = secured.shutdown().await;
                    }
                    (secured.into_inner().0, leave)
                }
                Err((err, stream)) => {
                    self.journal.write(connection, Note::Gone(Gone::Tls(err.to_string())));
                    (stream, Leave::Truncated) // closed with bytes unread, TCP could drop the alert
                }
            },
            _ => {
                let leave = script.play_open(&mut stream, connection, &self.journal).await;
                (stream, leave)
            }
        };
        match leave {
            Leave::Quietly | Leave::Truncated => drain(&mut stream).await,
            Leave::Reset => reset(&stream),
        }
    }
}

async fn bind(addr: SocketAddr) -> TcpListener {
    TcpListener::bind(addr).await.expect("a port of loopback can be bound")
}

/// Makes dropping the stream send a reset. The method is deprecated because a linger blocks, which
/// one of zero does not; its replacement is younger than the oldest tokio that this crate supports.
#[allow(deprecated)]
fn reset(stream: &TcpStream) {
    let _ = stream.set_linger(Some(Duration::ZERO));
}

//! A TCP proxy on loopback that damages what passes through it, at a chosen byte.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A TCP proxy for tests, between a client and any server, that damages connections on purpose.
///
/// It listens on a port of 127.0.0.1 and connects to the server once for each connection. What passes
/// is copied in both directions, until a [`Fault`] of that connection applies. It knows nothing of
/// TLS or WebSockets: a fault can be at any byte of a handshake, an upgrade or a frame. At most 16 KiB
/// wait in each direction beside the system's socket buffers.
///
/// It runs on its own thread, as [`Server`](crate::testing::Server) does, and dropping it resets all
/// connections.
///
/// ```
/// use actix_ws_client::testing::{Chaos, Fault, Probe, Script, Server};
/// use actix_ws_client::{Connection, event};
///
/// # actix::System::new().block_on(async {
/// let server = Server::start(Script::accept().send_text("hello"));
/// // The first connection is reset inside the reply to the upgrade; later ones pass unharmed.
/// let chaos = Chaos::start(server.addr(), |connection| match connection {
///     0 => vec![Fault::to_client(20).reset()],
///     _ => vec![],
/// });
/// let probe = Probe::new();
/// let connection = probe.attach(Connection::builder(format!("ws://{}/", chaos.addr()))).start().unwrap();
/// let error = probe.next::<event::Error>().await;
/// assert!(error.next.after().is_some(), "a reset is retried");
/// assert_eq!(probe.next_message().await.payload.as_text(), Some("hello"));
/// # });
/// ```
pub struct Chaos {
    addr: SocketAddr,
    passed: Arc<Mutex<Vec<Passed>>>,
    /// Dropped to end the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How much of one connection has passed through a [`Chaos`], in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What the server was sent.
    pub to_server: u64,
    /// What the client was sent.
    pub to_client: u64,
}

/// Makes the faults of the connection with this number, from 0.
type Faults = Arc<dyn Fn(usize) -> Vec<Fault> + Send + Sync>;

impl Chaos {
    /// Starts a proxy before the server at `server`. `faults(n)` returns the faults of connection `n`,
    /// counted from 0; an empty list lets it pass unharmed.
    ///
    /// # Panics
    /// If no port can be bound or no thread started.
    pub fn start(
        server: SocketAddr,
        faults: impl Fn(usize) -> Vec<Fault> + Send + Sync + 'static,
    ) -> Chaos {
        let (bound, addr) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let passed: Arc<Mutex<Vec<Passed>>> = Arc::default();
        let proxy = Proxy { server, faults: Arc::new(faults), passed: passed.clone() };
        let thread = std::thread::Builder::new()
            .name("testing-chaos".into())
            .spawn(move || proxy.serve(bound, ended))
            .expect("a thread can be started");
        let addr = addr.recv().expect("a port of loopback can be bound");
        Chaos { addr, passed, end: Some(end), thread: Some(thread) }
    }

    /// Returns the address to dial instead of the server's.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns what has passed so far, for each connection in the order of arrival. What a fault
    /// discarded is counted, since it left the sender.
    pub fn passed(&self) -> Vec<Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos").field("addr", &self.addr).field("passed", &self.passed()).finish()
    }
}

/// A direction through a [`Chaos`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A damage to one direction of a connection, from a byte on.
///
/// [`to_server`](Fault::to_server) and [`to_client`](Fault::to_client) name the direction and the
/// number of bytes that pass unharmed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    way: Way,
    at: u64,
    damage: Damage,
}

/// What happens to a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Stall(Duration),
    Freeze,
    Discard,
    Corrupt(u8),
    Slices(usize),
    Bandwidth(u32),
    Fin,
    Reset,
}

/// A direction and a byte of it, of which a [`Fault`] is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it names a place; a method makes the fault"]
pub struct FaultAt {
    way: Way,
    at: u64,
}

impl Fault {
    /// Names a place on the way to the server: behind `bytes` bytes.
    pub fn to_server(bytes: u64) -> FaultAt {
        Fault::at(Way::ToServer, bytes)
    }

    /// Names a place on the way to the client: behind `bytes` bytes.
    pub fn to_client(bytes: u64) -> FaultAt {
        Fault::at(Way::ToClient, bytes)
    }

    /// Names a place in a direction: behind `bytes` bytes.
    pub fn at(way: Way, bytes: u64) -> FaultAt {
        FaultAt { way, at: bytes }
    }
}

impl FaultAt {
    fn with(self, damage: Damage) -> Fault {
        Fault { way: self.way, at: self.at, damage }
    }

    /// Holds what follows for this long, once.
    pub fn stall(self, time: Duration) -> Fault {
        self.with(Damage::Stall(time))
    }

    /// Passes nothing more, and reads nothing more, so that the sender's buffers fill. The connection
    /// stays up.
    pub fn freeze(self) -> Fault {
        self.with(Damage::Freeze)
    }

    /// Reads all that follows and discards it: a black hole in one direction. The connection stays up,
    /// also if the sender closes it.
    pub fn discard(self) -> Fault {
        self.with(Damage::Discard)
    }

    /// Flips the bits of `mask` in the next byte. A mask of 0 changes nothing.
    pub fn corrupt(self, mask: u8) -> Fault {
        self.with(Damage::Corrupt(mask))
    }

    /// Passes what follows in writes of at most `bytes` bytes (at least one), and lets other tasks
    /// run between them.
    pub fn slices(self, bytes: usize) -> Fault {
        self.with(Damage::Slices(bytes.max(1)))
    }

    /// Passes what follows at this rate, in bytes for each second (at least 100), in steps of 10 ms.
    pub fn bandwidth(self, bytes: u32) -> Fault {
        self.with(Damage::Bandwidth(bytes.max(100)))
    }

    /// Ends this direction, as a sender does that shuts it down (FIN). The other direction goes on.
    pub fn fin(self) -> Fault {
        self.with(Damage::Fin)
    }

    /// Resets the connection on both sides (RST).
    pub fn reset(self) -> Fault {
        self.with(Damage::Reset)
    }
}

/// One direction of a connection as a value: what to do with the bytes that are there.
#[derive(Debug)]
struct Lane {
    /// The faults of this direction that still apply, the nearest last.
    faults: Vec<Fault>,
    passed: u64,
    /// The most bytes of one write, and the pause behind it.
    pace: Option<(usize, Duration)>,
}

/// What to do next with the bytes of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Write this many, then wait: not at all, a turn of the runtime, or this long.
    Pass(usize, Option<Duration>),
    /// Flip these bits of the next byte.
    Corrupt(u8),
    Wait(Duration),
    Freeze,
    Discard,
    Fin,
    Reset,
}

impl Lane {
    fn new(faults: &[Fault], way: Way) -> Lane {
        let mut faults: Vec<Fault> =
            faults.iter().copied().filter(|fault| fault.way == way).collect();
        // Stable, and then reversed: of faults at one byte the first one given applies first.
        faults.sort_by_key(|fault| fault.at);
        faults.reverse();
        Lane { faults, passed: 0, pace: None }
    }

    /// Decides on the next step, with `waiting` bytes at hand. A fault behind all bytes applies when
    /// its place is reached, without a byte that follows, unless it needs one.
    fn next(&mut self, waiting: usize) -> Option<Step> {
        while let Some(fault) = self.faults.last().copied().filter(|fault| fault.at <= self.passed)
        {
            if matches!(fault.damage, Damage::Corrupt(_)) && waiting == 0 {
                return None;
            }
            self.faults.pop();
            match fault.damage {
                Damage::Stall(time) => return Some(Step::Wait(time)),
                Damage::Freeze => return Some(Step::Freeze),
                Damage::Discard => return Some(Step::Discard),
                Damage::Corrupt(mask) => return Some(Step::Corrupt(mask)),
                Damage::Fin => return Some(Step::Fin),
                Damage::Reset => return Some(Step::Reset),
                Damage::Slices(bytes) => self.pace = Some((bytes, Duration::ZERO)),
                Damage::Bandwidth(rate) => {
                    let bytes = usize::try_from(rate / TICKS_PER_SECOND).unwrap_or(usize::MAX);
                    self.pace = Some((bytes.max(1), TICK));
                }
            }
        }
        if waiting == 0 {
            return None;
        }
        let before_fault = self.faults.last().map_or(u64::MAX, |fault| fault.at - self.passed);
        let most = usize::try_from(before_fault).unwrap_or(usize::MAX).min(waiting);
        Some(match self.pace {
            Some((bytes, pause)) => Step::Pass(most.min(bytes), Some(pause)),
            None => Step::Pass(most, None),
        })
    }
}

/// The steps of a limited bandwidth.
const TICK: Duration = Duration::from_millis(10);
const TICKS_PER_SECOND: u32 = 100;

/// The bytes that wait in one direction.
const BUFFER: usize = 16 << 10;

/// What the thread of a [`Chaos`] runs.
#[derive(Clone)]
struct Proxy {
    server: SocketAddr,
    faults: Faults,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Proxy {
    fn serve(self, bound: mpsc::Sender<SocketAddr>, ended: oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.expect("a port of loopback can be bound");
            let addr = listener.local_addr().expect("a bound listener has an address");
            let _ = bound.send(addr);
            let accepting = tokio::spawn(self.accept(listener));
            // An error is the end too: the `Chaos` was dropped.
            let _ = ended.await;
            accepting.abort();
        });
    }

    async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        for connection in 0.. {
            let Ok((client, _)) = listener.accept().await else { return };
            while connections.try_join_next().is_some() {}
            self.passed.lock().unwrap_or_else(PoisonError::into_inner).push(Passed::default());
            connections.spawn(self.clone().relay(connection, client));
        }
    }

    /// Copies both directions until both have ended or one demands a reset. Where the server cannot be
    /// reached, the client is reset.
    async fn relay(self, connection: usize, mut client: TcpStream) {
        reset_on_drop(&client);
        let Ok(mut server) = TcpStream::connect(self.server).await else { return };
        reset_on_drop(&server);
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let faults = (self.faults)(connection);
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let count = |way| {
            let passed = self.passed.clone();
            move |bytes: usize| {
                let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
                let count = &mut passed[connection];
                match way {
                    Way::ToServer => count.to_server += bytes as u64,
                    Way::ToClient => count.to_client += bytes as u64,
                }
            }
        };
        let up =
            Lane::new(&faults, Way::ToServer).run(from_client, to_server, count(Way::ToServer));
        let down =
            Lane::new(&faults, Way::ToClient).run(from_server, to_client, count(Way::ToClient));
        // An error of one direction ends both: the sockets are dropped, which resets them.
        let ended = {
            let (mut up, mut down) = (pin!(up), pin!(down));
            let (mut up_ended, mut down_ended) = (false, false);
            poll_fn(|cx| {
                if !up_ended && let Poll::Ready(ended) = up.as_mut().poll(cx) {
                    ended?;
                    up_ended = true;
                }
                if !down_ended && let Poll::Ready(ended) = down.as_mut().poll(cx) {
                    ended?;
                    down_ended = true;
                }
                if up_ended && down_ended {
                    Poll::Ready(Ok::<(), Ended>(()))
                } else {
                    Poll::Pending
                }
            })
            .await
        };
        if ended.is_ok() {
            keep_on_drop(&client);
            keep_on_drop(&server);
        }
    }
}

impl Lane {
    /// Copies one direction. Returns when it has ended; an error ends the connection.
    async fn run(
        mut self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        count: impl Fn(usize),
    ) -> Result<(), Ended> {
        let mut buffer = vec![0; BUFFER];
        let (mut start, mut end) = (0, 0);
        loop {
            match self.next(end - start) {
                None => {
                    end = from.read(&mut buffer).await?;
                    start = 0;
                    if end == 0 {
                        to.shutdown().await?;
                        return Ok(());
                    }
                }
                Some(Step::Pass(bytes, pause)) => {
                    to.write_all(&buffer[start..start + bytes]).await?;
                    start += bytes;
                    self.passed += bytes as u64;
                    count(bytes);
                    match pause {
                        None => {}
                        Some(Duration::ZERO) => tokio::task::yield_now().await,
                        Some(pause) => tokio::time::sleep(pause).await,
                    }
                }
                Some(Step::Corrupt(mask)) => buffer[start] ^= mask,
                Some(Step::Wait(time)) => tokio::time::sleep(time).await,
                Some(Step::Freeze) => std::future::pending().await,
                Some(Step::Discard) => {
                    count(end - start);
                    loop {
                        match from.read(&mut buffer).await? {
                            0 => std::future::pending().await,
                            bytes => count(bytes),
                        }
                    }
                }
                Some(Step::Fin) => {
                    to.shutdown().await?;
                    return Ok(());
                }
                Some(Step::Reset) => return Err(Ended),
            }
        }
    }
}

/// The end of a connection, by a fault or by an error of either socket.
struct Ended;

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Ended {
        Ended
    }
}

/// Makes dropping the stream send a reset. The method is deprecated because a linger blocks, which one
/// of zero does not.
#[allow(deprecated)]
fn reset_on_drop(stream: &TcpStream) {
    let _ = stream.set_linger(Some(Duration::ZERO));
}

/// Makes dropping the stream deliver what it was given, which is the system's default.
#[allow(deprecated)]
fn keep_on_drop(stream: &TcpStream) {
    let _ = stream.set_linger(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps for `bytes` bytes, of which at most `at_once` are at hand.
    fn steps(faults: &[Fault], bytes: usize, at_once: usize) -> Vec<Step> {
        let mut lane = Lane::new(faults, Way::ToClient);
        let (mut left, mut steps) = (bytes, Vec::new());
        loop {
            let waiting = left.min(at_once);
            match lane.next(waiting) {
                None if waiting == 0 => return steps,
                None => panic!("{waiting} bytes wait, and there is no step"),
                Some(step) => {
                    steps.push(step);
                    match step {
                        Step::Pass(passed, _) => {
                            lane.passed += passed as u64;
                            left -= passed;
                        }
                        Step::Corrupt(_) | Step::Wait(_) => {}
                        _ => return steps,
                    }
                }
            }
        }
    }

    #[test]
    fn a_fault_applies_exactly_behind_its_bytes_however_they_arrive() {
        for at_once in [1, 2, 3, 7, 100] {
            for at in 0..=10 {
                for fault in [Fault::to_client(at).reset(), Fault::to_client(at).fin()] {
                    let steps = steps(&[fault], 10, at_once);
                    let (last, before) = steps.split_last().unwrap();
                    assert!(matches!(last, Step::Reset | Step::Fin), "{fault:?}: {steps:?}");
                    let passed = before.iter().map(|step| match step {
                        Step::Pass(bytes, None) => *bytes as u64,
                        other => panic!("{other:?}"),
                    });
                    assert_eq!(passed.sum::<u64>(), at);
                }
            }
        }
    }

    #[test]
    fn faults_apply_in_the_order_of_their_bytes_and_of_the_other_way_not_at_all() {
        let stall = Duration::from_millis(5);
        let faults = [
            Fault::to_client(6).freeze(),
            Fault::to_client(2).corrupt(0x80),
            Fault::to_server(0).reset(),
            Fault::to_client(2).stall(stall),
        ];
        let expected = [
            Step::Pass(2, None),
            Step::Corrupt(0x80),
            Step::Wait(stall),
            Step::Pass(4, None),
            Step::Freeze,
        ];
        assert_eq!(steps(&faults, 10, 100), expected);
    }

    #[test]
    fn slices_and_bandwidth_pace_all_that_follows() {
        let slow = steps(&[Fault::to_client(3).slices(2)], 8, 100);
        let slice = |bytes| Step::Pass(bytes, Some(Duration::ZERO));
        assert_eq!(slow, [Step::Pass(3, None), slice(2), slice(2), slice(1)]);
        let slow = steps(&[Fault::to_client(0).bandwidth(500)], 11, 100);
        let tick = |bytes| Step::Pass(bytes, Some(TICK));
        assert_eq!(slow, [tick(5), tick(5), tick(1)]);
    }

    #[test]
    fn a_corrupt_byte_needs_a_byte() {
        let mut lane = Lane::new(&[Fault::to_client(0).corrupt(1)], Way::ToClient);
        assert_eq!(lane.next(0), None);
        assert_eq!(lane.next(1), Some(Step::Corrupt(1)));
        assert_eq!(lane.next(1), Some(Step::Pass(1, None)));
    }
}

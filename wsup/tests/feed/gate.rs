//! A way to a venue that can be frozen and cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Forwards connections to a venue.
pub(crate) struct Gate {
    pub(crate) port: u16,
    state: Arc<AtomicU8>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

const OPEN: u8 = 0;
const FROZEN: u8 = 1;
const CUT: u8 = 2;

impl Gate {
    /// Forwards to this port.
    pub(crate) fn to(venue: u16) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Gate { port, state: Arc::default(), streams: Arc::default() };
        let (state, streams) = (gate.state.clone(), gate.streams.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if state.load(Ordering::SeqCst) == CUT {
                    continue;
                }
                let server = TcpStream::connect(("127.0.0.1", venue)).unwrap();
                let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                streams.lock().unwrap().extend(both);
                forward(client.try_clone().unwrap(), server.try_clone().unwrap(), state.clone());
                forward(server, client, state.clone());
            }
        });
        gate
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }

    /// Forwards again.
    pub(crate) fn open(&self) {
        self.state.store(OPEN, Ordering::SeqCst);
    }

    /// Forwards nothing. The sockets stay open.
    pub(crate) fn freeze(&self) {
        self.state.store(FROZEN, Ordering::SeqCst);
    }

    /// Ends the first of the sockets.
    pub(crate) fn cut_some(&self, count: usize) {
        // Each has two ends.
        for stream in self.streams.lock().unwrap().drain(..2 * count) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends all sockets, and each that is opened.
    pub(crate) fn cut(&self) {
        self.state.store(CUT, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Forwards one direction, on a thread.
fn forward(mut from: TcpStream, mut to: TcpStream, state: Arc<AtomicU8>) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        loop {
            if state.load(Ordering::SeqCst) == FROZEN {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

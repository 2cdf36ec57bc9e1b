//! A TCP relay between one process and a node of the broker, which can be frozen: the partition.

use std::net::SocketAddr;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::{Receiver, Sender, channel};

/// A running relay, on the runtime of its test.
pub(crate) struct Relay {
    pub(crate) port: u16,
    is_frozen: Sender<bool>,
}

impl Relay {
    /// Relays to a port of this machine.
    pub(crate) async fn to(port: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let (is_frozen, freezes) = channel(false);
        tokio::spawn(accept(listener, SocketAddr::from(([127, 0, 0, 1], port)), freezes));
        Relay { port: here, is_frozen }
    }

    /// Passes nothing on, neither bytes nor the end of a connection, and accepts nothing, until it is thawed: then
    /// everything arrives late.
    pub(crate) fn freeze(&self) {
        self.is_frozen.send_replace(true);
    }

    pub(crate) fn thaw(&self) {
        self.is_frozen.send_replace(false);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, mut freezes: Receiver<bool>) {
    loop {
        let mut end = freezes.clone();
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            () = ended(&mut end) => return,
        };
        if !thawed(&mut freezes).await {
            return;
        }
        let freezes = freezes.clone();
        tokio::spawn(async move {
            // A node that does not run: the process sees the end of its connection.
            let Ok(node) = TcpStream::connect(to).await else { return };
            let ((from_process, to_process), (from_node, to_node)) =
                (stream.into_split(), node.into_split());
            let out = pin!(pump(from_process, to_node, freezes.clone()));
            let back = pin!(pump(from_node, to_process, freezes));
            // With either end both are over, as with a connection that is reset.
            futures_util::future::select(out, back).await;
        });
    }
}

/// Passes bytes on while the relay is not frozen.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut freezes: Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        if !thawed(&mut freezes).await || read == 0 || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}

/// Waits until the relay is not frozen. Returns whether there is a relay still.
async fn thawed(freezes: &mut Receiver<bool>) -> bool {
    freezes.wait_for(|is_frozen| !is_frozen).await.is_ok()
}

/// Waits for the end of the relay.
async fn ended(freezes: &mut Receiver<bool>) {
    while freezes.changed().await.is_ok() {}
}

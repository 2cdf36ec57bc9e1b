//! What became of a message that was sent: its receipt.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// What became of a message, as its [`Receipt`] returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// All of it has left: the transport took it and was flushed, TLS included. Whether the server received
    /// it is unknown.
    Written {
        /// The epoch, which is the number of the opened socket, that it was sent on.
        epoch: u64,
    },
    /// Nothing of it was sent: it was refused and came back in the error, or was dropped before the
    /// connection accepted it.
    Returned,
    /// It was accepted, and the socket ended before all of it had left. The server may or may not have it.
    Unknown,
}

/// A future of what became of one message, from [`Send::receipt`](crate::command::Send::receipt). It
/// completes exactly once, at the latest when the socket has ended.
#[must_use = "a receipt does nothing unless it is awaited"]
pub struct Receipt(oneshot::Receiver<Fate>);

impl Future for Receipt {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        // The other end always sends: an error cannot come.
        Pin::new(&mut self.0).poll(cx).map(|fate| fate.unwrap_or(Fate::Unknown))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

/// The other end of a receipt, which goes with the message. Reports what became of it when it is dropped, if
/// not before.
pub(crate) struct ReceiptEnd {
    sender: Option<oneshot::Sender<Fate>>,
    /// Whether the message is in the send buffer of a socket.
    accepted: bool,
}

impl ReceiptEnd {
    pub(crate) fn new() -> (ReceiptEnd, Receipt) {
        let (sender, fate) = oneshot::channel();
        (ReceiptEnd { sender: Some(sender), accepted: false }, Receipt(fate))
    }

    /// Notes that the message is in the send buffer: it is not returned any more.
    pub(crate) fn accept(&mut self) {
        self.accepted = true;
    }

    /// Reports that all of the message has left.
    pub(crate) fn written(mut self, epoch: u64) {
        self.report(Fate::Written { epoch });
    }

    fn report(&mut self, fate: Fate) {
        if let Some(sender) = self.sender.take() {
            // An error says that the receipt was dropped.
            let _ = sender.send(fate);
        }
    }
}

impl Drop for ReceiptEnd {
    fn drop(&mut self) {
        self.report(if self.accepted { Fate::Unknown } else { Fate::Returned });
    }
}

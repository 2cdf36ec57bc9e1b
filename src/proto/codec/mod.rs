//! The codec: bytes of one connection become messages and control frames, and back.

mod decode;
mod encode;
mod fast_path;
#[cfg(feature = "client")]
mod in_place;
mod partial;

use std::fmt;
use std::sync::Arc;

use crate::proto::assembler::Assembler;
use crate::proto::codec::partial::{PartialFrame, Receiving};
use crate::proto::compression::Agreed;
use crate::proto::deflate::Deflation;
use crate::proto::frame::{FrameHeader, Role};

#[cfg(feature = "client")]
pub(crate) use crate::proto::codec::decode::Step;
#[cfg(feature = "client")]
pub(crate) use crate::proto::codec::fast_path::{FastPath, MessageKind};

/// What a peer may make us hold; passing any of them earns it a Close with code 1009.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of one frame, as it is on the wire; default 16 MiB. Control frames have at most
    /// 125 in any case.
    pub frame: usize,
    /// The most bytes of one message, in fragments or not, and inflated if it is compressed; default
    /// 16 MiB.
    pub message: usize,
    /// The most frames of one message that is in fragments; default 131,072, as in node's `ws`.
    /// Without it empty fragments could keep us busy for ever.
    pub fragments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame: 16 << 20, message: 16 << 20, fragments: 131_072 }
    }
}

/// Both directions of one connection: it knows where in the stream it is and whether a Close has gone
/// by.
///
/// ```
/// use actix_ws_client::proto::codec::{Codec, Limits};
/// use actix_ws_client::proto::frame::Role;
/// use actix_ws_client::proto::message::{Incoming, Outgoing, Payload};
/// use bytes::BytesMut;
///
/// let mut wire = BytesMut::new();
/// let message = Payload::from("hello");
/// Codec::new(Role::Client, Limits::default())
///     .encode(Outgoing::Message(message.clone()), &mut wire)?;
///
/// let mut server = Codec::new(Role::Server, Limits::default());
/// assert_eq!(server.decode(&mut wire)?, Some(Incoming::Message(message)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Codec {
    /// Which side masks.
    role: Role,
    /// The most bytes of one frame. The limits of a message are with the assembler.
    max_frame_len: usize,
    /// Whether anything may still come.
    receiving: Receiving,
    /// Whether the last call of `decode` left a part of a header behind.
    header_begun: bool,
    /// The frame whose header was taken off the buffer, but not yet all of its payload.
    frame: Option<PartialFrame>,
    /// The message in fragments, or compressed, that is in progress.
    assembler: Assembler,
    /// What compresses and inflates, where that was agreed.
    deflation: Option<Box<Deflation>>,
    /// Whether a message in fragments is given out fragment by fragment.
    by_fragment: bool,
    /// Whether text is given out unchecked.
    unchecked: bool,
    /// Whether a Close was encoded.
    close_sent: bool,
    /// Where masking keys come from, if not from the system's generator.
    keys: Option<Box<MaskKeys>>,
    /// Whether that source failed.
    keys_failed: bool,
    /// Who is told of each frame.
    observer: Option<Box<Observer>>,
}

type MaskKeys = Arc<dyn Fn() -> [u8; 4] + Send + Sync>;

type Observer = Box<dyn Fn(Way, &FrameHeader, &[u8]) + Send + Sync>;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the peer.
    In,
    /// To the peer.
    Out,
}

impl Codec {
    /// A codec at the first byte after the opening handshake.
    #[must_use]
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            max_frame_len: limits.frame,
            receiving: Receiving::Open,
            header_begun: false,
            frame: None,
            assembler: Assembler::new(limits.message, limits.fragments),
            deflation: None,
            by_fragment: false,
            unchecked: false,
            close_sent: false,
            keys: None,
            keys_failed: false,
            observer: None,
        }
    }

    /// Compresses from here on, if that was agreed in the opening handshake.
    #[must_use]
    pub fn with_deflate(mut self, agreed: impl Into<Option<Agreed>>) -> Self {
        let agreed = agreed.into();
        self.deflation = agreed.map(|agreed| Box::new(agreed.deflation(self.role)));
        self
    }

    /// Whether a message that comes in fragments is given out as it comes, each as an
    /// [`Incoming::Fragment`](crate::proto::message::Incoming::Fragment), and never whole. One in a
    /// single frame is given out as ever. The limits hold for the whole message all the same.
    /// Default `false`.
    #[must_use]
    pub fn by_fragment(mut self, by_fragment: bool) -> Self {
        self.by_fragment = by_fragment;
        self
    }

    /// Whether text is taken as it is, without the check that it is UTF-8 (RFC 6455, 8.1): it is
    /// given out as [`Incoming::Unchecked`](crate::proto::message::Incoming::Unchecked). The reason
    /// in a Close frame is checked all the same. Default `false`.
    #[must_use]
    pub fn unchecked_text(mut self, unchecked: bool) -> Self {
        self.unchecked = unchecked;
        self.assembler.skip_utf8_check(unchecked);
        self
    }

    /// Takes masking keys from here, and not from the system's generator: for tests that compare
    /// bytes. Keys that can be guessed let a page in a browser speak HTTP to a proxy (RFC 6455, 10.3).
    /// A panic in it is caught: the frame has a key of the system's, and
    /// [`mask_keys_failed`](Self::mask_keys_failed) tells.
    #[must_use]
    pub fn with_mask_keys(mut self, keys: Arc<dyn Fn() -> [u8; 4] + Send + Sync>) -> Self {
        self.keys = Some(Box::new(keys));
        self
    }

    #[inline]
    fn limits(&self) -> Limits {
        let (message, fragments) = self.assembler.limits();
        Limits { frame: self.max_frame_len, message, fragments }
    }

    /// Whether the source of masking keys has panicked.
    #[must_use]
    pub fn mask_keys_failed(&self) -> bool {
        self.keys_failed
    }

    /// Tells `observer` of every frame: which way it goes, its header, and its payload, compressed
    /// if it is. Of a frame that comes it is told once the header is there, with as much of the
    /// payload as is, masked if it is. For a trace.
    #[must_use]
    pub fn with_observer(
        mut self,
        observer: impl Fn(Way, &FrameHeader, &[u8]) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Box::new(Box::new(observer)));
        self
    }

    /// How many more bytes the frame in progress needs, as of the last call of
    /// [`decode`](Self::decode); 0 if there is none or its header is not complete.
    ///
    /// A hint for how much to read, never more than the limits allow. It is the peer's word: to reserve
    /// all of it at once is to trust the peer with that memory.
    #[inline]
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.len - frame.done)
    }

    /// Whether the stream is inside a frame or a message, as of the last call of
    /// [`decode`](Self::decode): if it ended now, something would be lost.
    #[inline]
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.header_begun || self.frame.is_some() || self.assembler.is_active()
    }
}

impl fmt::Debug for Codec {
    /// Without payloads, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("role", &self.role)
            .field("limits", &self.limits())
            .field("receiving", &self.receiving)
            .field("is_partial", &self.is_partial())
            .field("wanted", &self.wanted())
            .field("close_sent", &self.close_sent)
            .finish()
    }
}

#[cfg(test)]
mod tests;

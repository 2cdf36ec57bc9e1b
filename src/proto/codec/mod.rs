//! The codec: turns the bytes of one connection into messages and control frames, and back.

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

/// The limits on what a peer may send. A breach of any is answered with close code 1009.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of one frame's payload, as it is on the wire. Default: 16 MiB. Control frames
    /// have at most 125 bytes in any case.
    pub frame: usize,
    /// The most bytes of one message, whether fragmented or not, and after inflating if it is
    /// compressed. Default: 16 MiB.
    pub message: usize,
    /// The most frames of one fragmented message. Default: 131,072, as in node's `ws`. Without this
    /// limit a peer could send empty fragments for ever.
    pub fragments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame: 16 << 20, message: 16 << 20, fragments: 131_072 }
    }
}

/// Encodes and decodes the frames of one connection. It knows the position in the stream and
/// whether a Close was sent or received.
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
    /// The side that we are on, which decides who masks.
    role: Role,
    /// The most bytes of one frame. The limits of a message are in the assembler.
    max_frame_len: usize,
    /// Whether more frames may arrive.
    receiving: Receiving,
    /// Whether the last call of `decode` left an incomplete header.
    header_begun: bool,
    /// The frame whose header was decoded, but whose payload is not complete.
    frame: Option<PartialFrame>,
    /// The fragmented or compressed message in progress.
    assembler: Assembler,
    /// The compressor and the decompressor, if compression was negotiated.
    deflation: Option<Box<Deflation>>,
    /// Whether a fragmented message is returned fragment by fragment.
    by_fragment: bool,
    /// Whether text is returned without the check that it is UTF-8.
    unchecked: bool,
    /// Whether a Close was encoded.
    close_sent: bool,
    /// The source of masking keys; `None` for the generator of the thread.
    keys: Option<Box<MaskKeys>>,
    /// Whether that source has panicked.
    keys_failed: bool,
    /// The closure that is called with each frame.
    observer: Option<Box<Observer>>,
    /// Whether that closure gets no payload of what is encoded.
    hides_payloads: bool,
}

/// A source of masking keys.
type MaskKeys = Arc<dyn Fn() -> [u8; 4] + Send + Sync>;

/// A closure that is called with the direction, the header and the payload of each frame.
type Observer = Box<dyn Fn(Way, &FrameHeader, &[u8]) + Send + Sync>;

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the peer.
    In,
    /// To the peer.
    Out,
}

impl Codec {
    /// Creates a codec at the first byte after the opening handshake.
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
            hides_payloads: false,
        }
    }

    /// Enables compression, if it was negotiated in the opening handshake.
    #[must_use]
    pub fn with_deflate(mut self, agreed: impl Into<Option<Agreed>>) -> Self {
        let agreed = agreed.into();
        self.deflation = agreed.map(|agreed| Box::new(agreed.deflation(self.role)));
        self
    }

    /// Sets whether a fragmented message is returned as it arrives, each fragment as an
    /// [`Incoming::Fragment`](crate::proto::message::Incoming::Fragment), and never as a whole.
    /// Default: `false`.
    ///
    /// A message in a single frame is always returned whole. The limits hold for the whole message
    /// either way.
    #[must_use]
    pub fn by_fragment(mut self, by_fragment: bool) -> Self {
        self.by_fragment = by_fragment;
        self
    }

    /// Sets whether text is returned without the check that it is UTF-8 (RFC 6455, 8.1), as
    /// [`Incoming::Unchecked`](crate::proto::message::Incoming::Unchecked). Default: `false`.
    ///
    /// A reason in a Close frame that is not UTF-8 is then taken too, with U+FFFD for what cannot be
    /// read, so that its code is not lost.
    #[must_use]
    pub fn unchecked_text(mut self, unchecked: bool) -> Self {
        self.unchecked = unchecked;
        self.assembler.skip_utf8_check(unchecked);
        self
    }

    /// Sets the source of masking keys, for tests that compare bytes. Default: the operating
    /// system's generator, through that of the thread.
    ///
    /// With predictable keys, a page in a browser could make the client send HTTP to a proxy (RFC
    /// 6455, 10.3). If the source panics, the panic is caught, the frame gets a key from the
    /// default source, and [`mask_keys_failed`](Self::mask_keys_failed) returns true.
    #[must_use]
    pub fn with_mask_keys(mut self, keys: Arc<dyn Fn() -> [u8; 4] + Send + Sync>) -> Self {
        self.keys = Some(Box::new(keys));
        self
    }

    /// Returns the limits that the codec was created with.
    #[inline]
    fn limits(&self) -> Limits {
        let (message, fragments) = self.assembler.limits();
        Limits { frame: self.max_frame_len, message, fragments }
    }

    /// Returns whether the source of masking keys has panicked.
    #[must_use]
    pub fn mask_keys_failed(&self) -> bool {
        self.keys_failed
    }

    /// Sets a closure that is called with the direction, the header and the payload of every frame,
    /// for a trace.
    ///
    /// The payload is compressed if the frame is. For an incoming frame the closure is called once
    /// the header is complete, with as much of the payload as has arrived, which is masked if the
    /// frame is.
    #[must_use]
    pub fn with_observer(
        mut self,
        observer: impl Fn(Way, &FrameHeader, &[u8]) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Box::new(Box::new(observer)));
        self
    }

    /// Sets whether the observer gets an empty payload for each frame that is encoded from now on.
    #[cfg(feature = "client")]
    pub(crate) fn hide_payloads(&mut self, hides: bool) {
        self.hides_payloads = hides;
    }

    /// Returns whether the observer gets an empty payload.
    #[cfg(feature = "client")]
    pub(crate) fn hides_payloads(&self) -> bool {
        self.hides_payloads
    }

    /// Returns how many more bytes the frame in progress needs, as of the last call of
    /// [`decode`](Self::decode); 0 if there is none or its header is not complete.
    ///
    /// This is a hint for how much to read, never more than the limits allow. The peer declared the
    /// length: a reader that reserves all of it at once trusts the peer with that memory.
    #[inline]
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.len - frame.done)
    }

    /// Returns whether the stream is inside a frame or a message, as of the last call of
    /// [`decode`](Self::decode). If it ended now, data would be lost.
    #[inline]
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.header_begun || self.frame.is_some() || self.assembler.is_active()
    }
}

impl fmt::Debug for Codec {
    /// Shows no payloads, which may be secret.
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

//! The codec: bytes of one connection become messages and control frames, and back.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

use crate::proto::assembler::Assembler;
use crate::proto::close::CloseFrame;
use crate::proto::error::{ProtocolError, SendAfterClose};
use crate::proto::frame::{FrameHeader, Opcode, Role};
use crate::proto::mask;
use crate::proto::message::{ControlPayload, Incoming, Outgoing, Payload};
use crate::proto::utf8::Utf8;

/// What a peer may make us hold; passing any of them earns it a Close with code 1009.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of one frame; default 16 MiB. Control frames have at most 125 in any case.
    pub frame: usize,
    /// The most bytes of one message, in fragments or not; default 16 MiB.
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
    /// What the peer may make us hold.
    limits: Limits,
    /// Whether anything may still come.
    receiving: Receiving,
    /// Whether the last call of `decode` left a part of a header behind.
    header_begun: bool,
    /// The frame whose header was taken off the buffer, but not yet all of its payload.
    frame: Option<Frame>,
    /// The message in fragments that is in progress.
    assembler: Assembler,
    /// Whether a Close was encoded.
    close_sent: bool,
}

/// What the incoming half may still yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    /// Frames.
    Open,
    /// Nothing: the peer's Close came.
    Closed,
    /// Nothing, not even an error: one was returned.
    Failed,
}

/// A frame whose header is known.
struct Frame {
    /// Its header.
    header: FrameHeader,
    /// Its length, which the limits allow.
    len: usize,
    /// How many bytes of its payload were unmasked, and checked if it is text.
    done: usize,
    /// The check of that text, if it is not a fragment's.
    utf8: Utf8,
}

impl Codec {
    /// A codec at the first byte after the opening handshake.
    #[must_use]
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            receiving: Receiving::Open,
            header_begun: false,
            frame: None,
            assembler: Assembler::new(limits.message, limits.fragments),
            close_sent: false,
        }
    }

    /// Takes the next message or control frame off `src`; `None` if more bytes are needed.
    ///
    /// A frame that is not a fragment is not copied: its payload shares the memory of `src`. What is
    /// wrong is found at the first byte that shows it, however the bytes were cut.
    ///
    /// After a Close or an error nothing more comes: further calls empty `src` and return `None`.
    ///
    /// # Errors
    /// If the peer broke the protocol or passed a limit, once; and once if bytes follow its Close.
    #[inline]
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, ProtocolError> {
        if self.receiving != Receiving::Open {
            return self.decode_after_end(src);
        }
        let result = self.next(src);
        match &result {
            Ok(Some(Incoming::Close(_))) => self.end(Receiving::Closed),
            Err(_) => {
                src.clear();
                self.fuse();
            }
            _ => {}
        }
        result
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

    /// Appends a frame to `dst`, masked with a fresh key if we are the client.
    ///
    /// # Errors
    /// If a Close was encoded before (RFC 6455, 5.5.1); `dst` is then as it was.
    #[inline]
    pub fn encode(&mut self, item: Outgoing, dst: &mut BytesMut) -> Result<(), SendAfterClose> {
        if self.close_sent {
            return Err(SendAfterClose);
        }
        match item {
            Outgoing::Message(Payload::Text(text)) => {
                self.write(Opcode::Text, text.as_bytes(), dst);
            }
            Outgoing::Message(Payload::Binary(bytes)) => self.write(Opcode::Binary, &bytes, dst),
            Outgoing::Ping(payload) => self.write(Opcode::Ping, &payload, dst),
            Outgoing::Pong(payload) => self.write(Opcode::Pong, &payload, dst),
            Outgoing::Close(frame) => {
                self.close_sent = true;
                self.write(Opcode::Close, &close_payload(frame), dst);
            }
        }
        Ok(())
    }

    /// How many bytes [`encode`](Self::encode) appends for a payload of so many.
    #[inline]
    #[must_use]
    pub const fn encoded_len(role: Role, payload_len: usize) -> usize {
        let len = match payload_len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        let key = match role {
            Role::Client => 4,
            Role::Server => 0,
        };
        payload_len.saturating_add(2 + len + key)
    }

    /// Ends the incoming half for good, as after an error.
    pub(super) fn fuse(&mut self) {
        self.end(Receiving::Failed);
    }

    /// Ends the incoming half and frees what it held.
    fn end(&mut self, receiving: Receiving) {
        self.receiving = receiving;
        self.header_begun = false;
        self.frame = None;
        self.assembler.clear();
    }

    /// Answers for an incoming half that has ended.
    #[cold]
    fn decode_after_end(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, ProtocolError> {
        let late = self.receiving == Receiving::Closed && !src.is_empty();
        src.clear();
        if late {
            self.fuse();
            return Err(ProtocolError::DataAfterClose);
        }
        Ok(None)
    }

    /// Takes frames off `src` until there is something to give out.
    #[inline]
    fn next(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, ProtocolError> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin(src)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let item = if frame.is_fragment() {
                self.fragment(frame, src)?
            } else {
                self.whole(frame, src)?
            };
            if item.is_some() || self.frame.is_some() {
                return Ok(item);
            }
        }
    }

    /// Takes a header off `src`, judging each byte as soon as it is there.
    #[inline]
    fn begin(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if let Some(&first) = src.first() {
            self.assembler.expect(FrameHeader::first_byte(first)?.1)?;
        }
        if let Some(&second) = src.get(1) {
            self.check_mask(FrameHeader::is_masked(second))?;
        }
        let Some((header, end)) = FrameHeader::parse(src)? else {
            self.header_begun = !src.is_empty();
            return Ok(None);
        };
        self.header_begun = false;
        src.advance(end);
        let len = self.admit(&header)?;
        Ok(Some(Frame { header, len, done: 0, utf8: Utf8::new() }))
    }

    /// Masked is what comes from a client, and only that (RFC 6455, 5.1).
    #[inline]
    fn check_mask(&self, masked: bool) -> Result<(), ProtocolError> {
        match (self.role, masked) {
            (Role::Client, true) => Err(ProtocolError::MaskedByServer),
            (Role::Server, false) => Err(ProtocolError::UnmaskedByClient),
            _ => Ok(()),
        }
    }

    /// Holds a declared length against the limits, before a byte of it is kept.
    #[inline]
    fn admit(&mut self, header: &FrameHeader) -> Result<usize, ProtocolError> {
        let limits = self.limits;
        let too_large = ProtocolError::FrameTooLarge { len: header.len, limit: limits.frame };
        let len = usize::try_from(header.len).map_err(|_| too_large.clone())?;
        if header.opcode.is_control() {
            return Ok(len);
        }
        if len > limits.frame {
            return Err(too_large);
        }
        if is_fragment(header) {
            self.assembler.begin(header)?;
        } else if len > limits.message {
            return Err(ProtocolError::MessageTooLarge { limit: limits.message });
        }
        Ok(len)
    }

    /// Gives out a frame that is not a fragment, once all of it is in `src`; till then it checks what
    /// came of it.
    #[inline]
    fn whole(
        &mut self,
        mut frame: Frame,
        src: &mut BytesMut,
    ) -> Result<Option<Incoming>, ProtocolError> {
        let fresh = &mut src[frame.done..];
        let fresh = frame.unmask(fresh);
        if frame.done < frame.len {
            if frame.header.opcode == Opcode::Text {
                frame.utf8.feed(fresh)?;
            }
            self.frame = Some(frame);
            return Ok(None);
        }
        let payload = match frame.len {
            0 => Bytes::new(),
            len => src.split_to(len).freeze(),
        };
        item(frame.header.opcode, payload).map(Some)
    }

    /// Moves what came of a fragment from `src` to its message, and gives that out when it is whole.
    fn fragment(
        &mut self,
        mut frame: Frame,
        src: &mut BytesMut,
    ) -> Result<Option<Incoming>, ProtocolError> {
        let fresh = frame.unmask(src);
        let taken = fresh.len();
        self.assembler.push(fresh)?;
        src.advance(taken);
        if frame.done < frame.len {
            self.frame = Some(frame);
            return Ok(None);
        }
        if !frame.header.fin {
            return Ok(None);
        }
        self.assembler.finish().map(Incoming::Message).map(Some)
    }

    /// Appends one whole frame to `dst`.
    #[inline]
    fn write(&self, opcode: Opcode, payload: &[u8], dst: &mut BytesMut) {
        let mask = match self.role {
            Role::Client => Some(mask::key()),
            Role::Server => None,
        };
        dst.reserve(Self::encoded_len(self.role, payload.len()));
        FrameHeader { fin: true, opcode, mask, len: payload.len() as u64 }.write(dst);
        match mask {
            Some(key) => mask::mask_into(dst, payload, key),
            None => dst.extend_from_slice(payload),
        }
    }
}

impl Frame {
    /// Whether the frame is a part of a message.
    #[inline]
    fn is_fragment(&self) -> bool {
        is_fragment(&self.header)
    }

    /// Unmasks what came of the payload since the last time, and gives it out.
    #[inline]
    fn unmask<'a>(&mut self, fresh: &'a mut [u8]) -> &'a mut [u8] {
        let end = fresh.len().min(self.len - self.done);
        let fresh = &mut fresh[..end];
        if let Some(key) = self.header.mask {
            mask::mask(fresh, mask::rotate(key, self.done));
        }
        self.done += end;
        fresh
    }
}

impl fmt::Debug for Codec {
    /// Without payloads, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("role", &self.role)
            .field("limits", &self.limits)
            .field("receiving", &self.receiving)
            .field("is_partial", &self.is_partial())
            .field("wanted", &self.wanted())
            .field("close_sent", &self.close_sent)
            .finish()
    }
}

/// Whether a frame is a part of a message (RFC 6455, 5.4).
#[inline]
fn is_fragment(header: &FrameHeader) -> bool {
    !header.fin || header.opcode == Opcode::Continuation
}

/// What a whole frame that is not a fragment means.
#[inline]
fn item(opcode: Opcode, payload: Bytes) -> Result<Incoming, ProtocolError> {
    let control = |payload| ControlPayload::new(payload).map_err(|_| ProtocolError::ControlTooLong);
    match opcode {
        Opcode::Text => match ByteString::try_from(payload) {
            Ok(text) => Ok(Incoming::Message(Payload::Text(text))),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        },
        Opcode::Binary => Ok(Incoming::Message(Payload::Binary(payload))),
        Opcode::Ping => control(payload).map(Incoming::Ping),
        Opcode::Pong => control(payload).map(Incoming::Pong),
        Opcode::Close => Ok(Incoming::Close(CloseFrame::parse(payload)?)),
        Opcode::Continuation => Err(ProtocolError::UnexpectedContinuation),
    }
}

/// The bytes of a Close frame: nothing, or the code and the reason.
fn close_payload(frame: Option<CloseFrame>) -> Vec<u8> {
    frame.map_or_else(Vec::new, |frame| {
        [&frame.code().value().to_be_bytes(), frame.reason().as_bytes()].concat()
    })
}

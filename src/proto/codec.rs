//! The codec: bytes of one connection become messages and control frames, and back.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

use crate::proto::assembler::Assembler;
use crate::proto::close::CloseFrame;
use crate::proto::compression::Agreed;
use crate::proto::deflate::Deflation;
use crate::proto::error::{ProtocolError, SendAfterClose};
use crate::proto::frame::{FrameHeader, Opcode, Role};
use crate::proto::mask;
use crate::proto::message::{ControlPayload, Incoming, Outgoing, Payload};
use crate::proto::utf8::Utf8;

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
    /// What the peer may make us hold.
    limits: Limits,
    /// Whether anything may still come.
    receiving: Receiving,
    /// Whether the last call of `decode` left a part of a header behind.
    header_begun: bool,
    /// The frame whose header was taken off the buffer, but not yet all of its payload.
    frame: Option<Frame>,
    /// The message in fragments, or compressed, that is in progress.
    assembler: Assembler,
    /// What compresses and inflates, where that was agreed.
    deflation: Option<Box<Deflation>>,
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
    /// Whether it goes to the assembler: a part of a message (RFC 6455, 5.4), or a compressed one.
    is_part: bool,
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
            deflation: None,
            close_sent: false,
        }
    }

    /// Compresses from here on, if that was agreed in the opening handshake.
    #[must_use]
    pub fn with_deflate(mut self, agreed: impl Into<Option<Agreed>>) -> Self {
        let agreed = agreed.into();
        self.deflation = agreed.map(|agreed| Box::new(agreed.deflation(self.role)));
        self
    }

    /// Takes the next message or control frame off `src`; `None` if more bytes are needed.
    ///
    /// `src` is what the last call left of it, and what came since. A frame that is neither a fragment
    /// nor compressed is not copied: its payload shares the memory of `src`. What is wrong is found at the first byte that
    /// shows it, however the bytes were cut.
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
                self.write_message(Opcode::Text, text.as_bytes(), dst);
            }
            Outgoing::Message(Payload::Binary(bytes)) => {
                self.write_message(Opcode::Binary, &bytes, dst);
            }
            Outgoing::Ping(payload) => self.write(Opcode::Ping, &payload, dst),
            Outgoing::Pong(payload) => self.write(Opcode::Pong, &payload, dst),
            Outgoing::Close(frame) => {
                self.close_sent = true;
                self.write(Opcode::Close, &close_payload(frame), dst);
            }
        }
        Ok(())
    }

    /// How many bytes [`encode`](Self::encode) appends for a payload of so many; fewer if it can be
    /// compressed.
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
            let item =
                if frame.is_part { self.fragment(frame, src)? } else { self.whole(frame, src)? };
            if item.is_some() || self.frame.is_some() {
                return Ok(item);
            }
        }
    }

    /// Takes a header off `src`, judging each byte as soon as it is there.
    #[inline]
    fn begin(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        let deflate = self.deflation.is_some();
        let mut compressed = false;
        if let Some(&first) = src.first() {
            self.assembler.expect(FrameHeader::first_byte(first, deflate)?.1)?;
            compressed = FrameHeader::is_compressed(first);
        }
        if let Some(&second) = src.get(1) {
            self.check_mask(FrameHeader::is_masked(second))?;
        }
        let Some((header, end)) = FrameHeader::parse_with(src, deflate)? else {
            self.header_begun = !src.is_empty();
            return Ok(None);
        };
        self.header_begun = false;
        src.advance(end);
        let (len, is_part) = self.admit(&header, compressed)?;
        Ok(Some(Frame { header, is_part, len, done: 0, utf8: Utf8::new() }))
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

    /// Holds a declared length against the limits, before a byte of it is kept. Says whether the frame
    /// goes to the assembler, too.
    #[inline]
    fn admit(
        &mut self,
        header: &FrameHeader,
        compressed: bool,
    ) -> Result<(usize, bool), ProtocolError> {
        let limits = self.limits;
        let too_large = ProtocolError::FrameTooLarge { len: header.len, limit: limits.frame };
        let len = usize::try_from(header.len).map_err(|_| too_large.clone())?;
        if header.opcode.is_control() {
            return Ok((len, false));
        }
        if len > limits.frame {
            return Err(too_large);
        }
        let is_part = !header.fin || compressed || header.opcode == Opcode::Continuation;
        if is_part {
            self.assembler.begin_as(header, compressed)?;
        } else if len > limits.message {
            return Err(ProtocolError::MessageTooLarge { limit: limits.message });
        }
        Ok((len, is_part))
    }

    /// Gives out a frame that is a message or a control frame as it is, once all of it is in `src`; till then it checks what
    /// came of it.
    #[inline]
    fn whole(
        &mut self,
        mut frame: Frame,
        src: &mut BytesMut,
    ) -> Result<Option<Incoming>, ProtocolError> {
        // Nothing is fresh if a careless caller took bytes away.
        let fresh = frame.unmask(src.get_mut(frame.done..).unwrap_or_default());
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

    /// Moves what came of a fragment or a compressed frame from `src` to its message, and gives that
    /// out when it is whole.
    fn fragment(
        &mut self,
        mut frame: Frame,
        src: &mut BytesMut,
    ) -> Result<Option<Incoming>, ProtocolError> {
        let fresh = frame.unmask(src);
        let taken = fresh.len();
        let ends = frame.header.fin && frame.done == frame.len;
        match &mut self.deflation {
            Some(deflation) if self.assembler.is_compressed() => {
                self.assembler.inflate(fresh, ends, &mut deflation.inflater)?;
            }
            _ => self.assembler.push(fresh)?,
        }
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

    /// Appends a data message to `dst`, compressed if that was agreed and is worth it.
    #[inline]
    fn write_message(&mut self, opcode: Opcode, payload: &[u8], dst: &mut BytesMut) {
        if let Some(deflation) = &mut self.deflation
            && let Some(compressed) = deflation.deflater.compress(payload)
        {
            let begin = dst.len();
            self.write(opcode, &compressed, dst);
            FrameHeader::mark_compressed(&mut dst[begin..]);
            return;
        }
        self.write(opcode, payload, dst);
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const ROLES: [Role; 2] = [Role::Client, Role::Server];
    const KEY: [u8; 4] = *b"\x37\xfa\x21\x3d";

    /// All that a stream yields: its items, then its error if it has one.
    type Story = (Vec<Incoming>, Option<ProtocolError>);

    /// The first byte of a frame and its payload.
    type Part<'a> = (u8, &'a [u8]);

    /// A frame for a codec of this role, with its length in the shortest form.
    fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = (role == Role::Server).then_some(KEY);
        let mut bytes = BytesMut::new();
        let header =
            FrameHeader { fin: true, opcode: Opcode::Text, mask, len: payload.len() as u64 };
        header.write(&mut bytes);
        bytes[0] = first;
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        mask::mask(&mut bytes[start..], mask.unwrap_or_default());
        bytes.to_vec()
    }

    fn frames(role: Role, frames: &[Part<'_>]) -> Vec<u8> {
        frames.iter().flat_map(|(first, payload)| frame(role, *first, payload)).collect()
    }

    /// Decodes a stream that arrives in the pieces that end at `ends`; checks on the way what holds for
    /// every stream.
    fn story(codec: &mut Codec, bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Story {
        let (mut src, mut items, mut begin) = (BytesMut::new(), vec![], 0);
        for end in ends.into_iter().chain([bytes.len()]) {
            src.extend_from_slice(&bytes[begin..end]);
            begin = end;
            loop {
                match codec.decode(&mut src) {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(err) => {
                        assert!(src.is_empty() && !codec.is_partial() && codec.wanted() == 0);
                        assert_eq!(codec.decode(&mut BytesMut::from("more")), Ok(None));
                        return (items, Some(err));
                    }
                }
            }
            let limits = codec.limits;
            assert!(codec.wanted() <= limits.frame.max(125));
            assert!(src.len() < limits.frame.min(limits.message).max(125) + 14);
            assert!(src.is_empty() || codec.is_partial());
        }
        (items, None)
    }

    /// Decodes a stream that arrives at once.
    fn decode(role: Role, bytes: &[u8]) -> Story {
        story(&mut Codec::new(role, Limits::default()), bytes, [])
    }

    fn text(text: &'static str) -> Incoming {
        Incoming::Message(Payload::from(text))
    }

    fn control(bytes: &'static [u8]) -> ControlPayload {
        ControlPayload::new(bytes).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 6455, 5.7
        let server: [(&[u8], Incoming); 4] = [
            (b"\x81\x05Hello", text("Hello")),
            (b"\x01\x03Hel\x80\x02lo", text("Hello")),
            (b"\x89\x05Hello", Incoming::Ping(control(b"Hello"))),
            (b"\x8a\x05Hello", Incoming::Pong(control(b"Hello"))),
        ];
        for (bytes, item) in server {
            assert_eq!(decode(Role::Client, bytes), (vec![item], None));
        }
        let client: [(&[u8], Incoming); 2] = [
            (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", text("Hello")),
            (b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", Incoming::Pong(control(b"Hello"))),
        ];
        for (bytes, item) in client {
            assert_eq!(decode(Role::Server, bytes), (vec![item], None));
        }
        for (head, len) in
            [(&b"\x82\x7e\x01\x00"[..], 256), (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 65_536)]
        {
            let bytes = [head, &vec![7; len]].concat();
            let item = Incoming::Message(Payload::from(vec![7; len]));
            assert_eq!(decode(Role::Client, &bytes), (vec![item], None));
        }
    }

    #[test]
    fn control_frames_come_between_fragments_in_order() {
        for role in ROLES {
            let bytes = frames(role, &[(0x01, b"a"), (0x89, b"p"), (0x00, b"b"), (0x80, b"c")]);
            let items = vec![Incoming::Ping(control(b"p")), text("abc")];
            assert_eq!(decode(role, &bytes), (items, None));
        }
    }

    #[test]
    fn a_message_may_be_empty_in_one_frame_or_many() {
        for role in ROLES {
            let bytes = frames(role, &[(0x81, b""), (0x02, b""), (0x00, b""), (0x80, b"")]);
            let items = vec![text(""), Incoming::Message(Payload::from(vec![]))];
            assert_eq!(decode(role, &bytes), (items, None));
        }
    }

    #[test]
    fn a_close_is_read_with_and_without_a_code() {
        for role in ROLES {
            let bytes = frame(role, 0x88, b"\x03\xe9bye");
            let close = CloseFrame::new(1001.into(), "bye").unwrap();
            assert_eq!(decode(role, &bytes), (vec![Incoming::Close(Some(close))], None));
            let bytes = frame(role, 0x88, b"");
            assert_eq!(decode(role, &bytes), (vec![Incoming::Close(None)], None));
        }
    }

    /// What a fresh codec has to say to two bytes, and after how many (RFC 6455, 5.1, 5.2, 5.4, 5.5).
    fn by_the_book(role: Role, first: u8, second: u8) -> Option<(usize, ProtocolError)> {
        let (opcode, masked, len) = (first % 16, second / 128 == 1, second % 128);
        let err = match (first, opcode) {
            _ if first & 0x70 != 0 => ProtocolError::ReservedBit,
            (_, 3..=7 | 11..=15) => ProtocolError::ReservedOpcode { opcode },
            (0..=127, 8..=10) => ProtocolError::FragmentedControl,
            (_, 0) => ProtocolError::UnexpectedContinuation,
            _ if role == Role::Client && masked => return Some((2, ProtocolError::MaskedByServer)),
            _ if role == Role::Server && !masked => {
                return Some((2, ProtocolError::UnmaskedByClient));
            }
            (_, 8..=10) if len > 125 => return Some((2, ProtocolError::ControlTooLong)),
            _ => return None,
        };
        Some((1, err))
    }

    #[test]
    fn all_65536_beginnings_are_judged_at_the_byte_that_decides() {
        for role in ROLES {
            for bytes in (0..=u16::MAX).map(u16::to_be_bytes) {
                let expected = by_the_book(role, bytes[0], bytes[1]);
                for step in [1, 2] {
                    let mut codec = Codec::new(role, Limits::default());
                    let mut src = BytesMut::new();
                    let mut found = None;
                    for (i, piece) in bytes.chunks(step).enumerate() {
                        src.extend_from_slice(piece);
                        if let Err(err) = codec.decode(&mut src) {
                            found = Some((i + 1, err));
                            break;
                        }
                    }
                    let expected = expected.clone().map(|(at, err)| (at.min(2 / step), err));
                    assert_eq!(found, expected, "{role:?} {bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn every_breach_has_its_error() {
        use ProtocolError as E;
        let code = 1005.into();
        let table: [(&[Part], E); 11] = [
            (&[(0x80, b"")], E::UnexpectedContinuation),
            (&[(0x01, b""), (0x80, b""), (0x00, b"")], E::UnexpectedContinuation),
            (&[(0x01, b"a"), (0x81, b"b")], E::UnfinishedMessage),
            (&[(0x02, b"a"), (0x89, b""), (0x01, b"b")], E::UnfinishedMessage),
            (&[(0x88, b"\x03")], E::CloseTooShort),
            (&[(0x88, b"\x03\xed")], E::InvalidCloseCode { code }),
            (&[(0x88, b"\x03\xe8\xff")], E::InvalidUtf8),
            (&[(0x88, b"\x03\xe8"), (0x81, b"late")], E::DataAfterClose),
            (&[(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90")], E::InvalidUtf8),
            (&[(0x01, b"\xf4"), (0x80, b"\x90")], E::InvalidUtf8),
            (&[(0x81, b"ends early \xe2\x82")], E::InvalidUtf8),
        ];
        for role in ROLES {
            for (parts, expected) in &table {
                let bytes = frames(role, parts);
                let (_, err) = decode(role, &bytes);
                assert_eq!(err.as_ref(), Some(expected), "{role:?} {parts:x?}");
            }
        }
    }

    #[test]
    fn text_is_refused_before_its_frame_is_whole() {
        // Autobahn 6.4.3 and 6.4.4: the frame goes on, but its text is lost with the 0x90.
        for role in ROLES {
            let bytes = frame(role, 0x81, b"ok \xf4\x90\x80\x80edited");
            let bad = bytes.len() - b"\x90\x80\x80edited".len();
            let mut codec = Codec::new(role, Limits::default());
            let mut src = BytesMut::new();
            for byte in &bytes[..bad] {
                src.extend_from_slice(&[*byte]);
                assert_eq!(codec.decode(&mut src), Ok(None));
            }
            src.extend_from_slice(&bytes[bad..=bad]);
            assert_eq!(codec.decode(&mut src), Err(ProtocolError::InvalidUtf8));
        }
    }

    #[test]
    fn after_a_close_late_bytes_are_an_error_once() {
        for role in ROLES {
            let mut codec = Codec::new(role, Limits::default());
            let mut src = BytesMut::from(&*frames(role, &[(0x01, b"cut"), (0x88, b"")]));
            assert_eq!(codec.decode(&mut src), Ok(Some(Incoming::Close(None))));
            assert!(!codec.is_partial());
            assert_eq!(codec.decode(&mut src), Ok(None));
            src.extend_from_slice(b"\x81");
            assert_eq!(codec.decode(&mut src), Err(ProtocolError::DataAfterClose));
            src.extend_from_slice(b"\x81\x00");
            assert_eq!(codec.decode(&mut src), Ok(None));
            assert!(src.is_empty());
        }
    }

    fn limits(frame: usize, message: usize, fragments: usize) -> Limits {
        Limits { frame, message, fragments }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_at_the_header() {
        for (role, masked) in [(Role::Client, 0), (Role::Server, 0x80)] {
            let head = [0x82, 127 | masked, 0, 0, 0, 2, 0, 0, 0, 0];
            let mut bytes = BytesMut::from(&head[..]);
            if role == Role::Server {
                bytes.extend_from_slice(&KEY);
            }
            let (_, err) = decode(role, &bytes);
            let expected = ProtocolError::FrameTooLarge { len: 8 << 30, limit: 16 << 20 };
            assert_eq!(err, Some(expected));
        }
    }

    #[test]
    fn what_is_at_a_limit_passes_and_one_byte_more_does_not() {
        for role in ROLES {
            let mut codec = Codec::new(role, limits(4, 6, 3));
            let bytes = frames(
                role,
                &[(0x82, b"1234"), (0x02, b"1234"), (0x00, b"56"), (0x80, b""), (0x89, b"12345")],
            );
            let (items, err) = story(&mut codec, &bytes, []);
            assert_eq!((items.len(), err), (3, None));

            let err = ProtocolError::FrameTooLarge { len: 5, limit: 4 };
            let bytes = frame(role, 0x82, b"12345");
            assert_eq!(story(&mut codec, &bytes[..bytes.len() - 5], []), (vec![], Some(err)));

            let mut codec = Codec::new(role, limits(8, 6, 3));
            let (items, err) = story(&mut codec, &frame(role, 0x82, b"123456"), []);
            assert_eq!((items.len(), err), (1, None));
            let bytes = frame(role, 0x82, b"1234567");
            let err = ProtocolError::MessageTooLarge { limit: 6 };
            let story_of_one = story(&mut codec, &bytes[..bytes.len() - 7], []);
            assert_eq!(story_of_one, (vec![], Some(err.clone())));

            let mut codec = Codec::new(role, limits(4, 6, 3));
            let bytes = frames(role, &[(0x02, b"1234"), (0x80, b"567")]);
            let story_of_two = story(&mut codec, &bytes[..bytes.len() - 3], []);
            assert_eq!(story_of_two, (vec![], Some(err)));
        }
    }

    #[test]
    fn empty_fragments_are_stopped_by_their_number() {
        for role in ROLES {
            let mut bytes = frame(role, 0x01, b"");
            bytes.extend(frame(role, 0x00, b"").repeat(200_000));
            let mut src = BytesMut::from(&*bytes);
            let err = Codec::new(role, Limits::default()).decode(&mut src);
            assert_eq!(err, Err(ProtocolError::TooManyFragments { limit: 131_072 }));
        }
    }

    #[test]
    fn it_tells_how_much_it_wants_and_whether_it_is_inside_something() {
        for role in ROLES {
            let mut codec = Codec::new(role, Limits::default());
            let bytes = frames(role, &[(0x82, &[1; 300]), (0x01, b"abc"), (0x80, b"")]);
            let head = if role == Role::Client { 4 } else { 8 };
            let mut src = BytesMut::new();
            let mut feed = |range: std::ops::Range<usize>| {
                src.extend_from_slice(&bytes[range]);
                let item = codec.decode(&mut src).unwrap();
                (item.is_some(), codec.wanted(), codec.is_partial())
            };
            assert_eq!(feed(0..0), (false, 0, false));
            assert_eq!(feed(0..3), (false, 0, true));
            assert_eq!(feed(3..head), (false, 300, true));
            assert_eq!(feed(head..head + 100), (false, 200, true));
            assert_eq!(feed(head + 100..head + 300), (true, 0, false));
            let second = head + 300;
            let first_of_text = second + head - 2;
            assert_eq!(feed(second..first_of_text + 1), (false, 2, true));
            assert_eq!(feed(first_of_text + 1..first_of_text + 3), (false, 0, true));
            assert_eq!(feed(first_of_text + 3..bytes.len()), (true, 0, false));
        }
    }

    #[test]
    fn bytes_that_vanish_from_the_buffer_are_waited_for() {
        for role in ROLES {
            let bytes = frame(role, 0x82, b"payload");
            let mut codec = Codec::new(role, Limits::default());
            let mut src = BytesMut::from(&bytes[..bytes.len() - 1]);
            assert_eq!(codec.decode(&mut src), Ok(None));
            src.clear();
            assert_eq!(codec.decode(&mut src), Ok(None));
            assert_eq!(codec.wanted(), 1);
        }
    }

    #[test]
    fn an_unfragmented_payload_is_not_copied() {
        for role in ROLES {
            let mut src = BytesMut::from(&*frame(role, 0x82, b"payload"));
            let end = src.as_ptr_range().end;
            let item = Codec::new(role, Limits::default()).decode(&mut src).unwrap();
            let Some(Incoming::Message(payload)) = item else { panic!("{item:?}") };
            assert_eq!(payload.as_bytes().as_ptr_range().end, end);
        }
    }

    #[test]
    fn a_server_writes_these_bytes() {
        let frame = CloseFrame::new(1001.into(), "bye").unwrap();
        let table: [(Outgoing, &[u8]); 6] = [
            (Outgoing::Message(Payload::from("Hello")), b"\x81\x05Hello"),
            (Outgoing::Message(Payload::from(b"\xff".to_vec())), b"\x82\x01\xff"),
            (Outgoing::Ping(control(b"Hello")), b"\x89\x05Hello"),
            (Outgoing::Pong(control(b"")), b"\x8a\x00"),
            (Outgoing::Close(Some(frame)), b"\x88\x05\x03\xe9bye"),
            (Outgoing::Close(None), b"\x88\x00"),
        ];
        for (item, expected) in table {
            let mut dst = BytesMut::from("before");
            Codec::new(Role::Server, Limits::default()).encode(item, &mut dst).unwrap();
            assert_eq!((&dst[..6], &dst[6..]), (&b"before"[..], expected));
        }
    }

    #[test]
    fn the_length_of_a_frame_is_known_beforehand() {
        for role in ROLES {
            for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000] {
                let mut dst = BytesMut::new();
                let message = Outgoing::Message(Payload::from(vec![0; len]));
                Codec::new(role, Limits::default()).encode(message, &mut dst).unwrap();
                assert_eq!(dst.len(), Codec::encoded_len(role, len));
            }
            assert_eq!(Codec::encoded_len(role, usize::MAX), usize::MAX);
        }
    }

    #[test]
    fn a_client_masks_every_frame_with_a_fresh_key() {
        let mut codec = Codec::new(Role::Client, Limits::default());
        let mut keys = HashSet::new();
        for _ in 0..1000 {
            for item in [
                Outgoing::Message(Payload::from("same")),
                Outgoing::Message(Payload::from(b"same".to_vec())),
                Outgoing::Ping(control(b"same")),
                Outgoing::Pong(control(b"same")),
            ] {
                let mut dst = BytesMut::new();
                codec.encode(item, &mut dst).unwrap();
                let (header, end) = FrameHeader::parse(&dst).unwrap().unwrap();
                let key = header.mask.expect("a client masks");
                let mut payload = dst[end..].to_vec();
                mask::mask(&mut payload, key);
                assert_eq!(payload, b"same");
                keys.insert(key);
            }
        }
        // Of 4,000 of 2^32 two are the same in 0.2 % of runs; four hardly ever.
        assert!(keys.len() > 3_996, "{} of 4,000", keys.len());
    }

    #[test]
    fn nothing_is_written_after_a_close() {
        for role in ROLES {
            let mut codec = Codec::new(role, Limits::default());
            let mut dst = BytesMut::new();
            codec.encode(Outgoing::Close(None), &mut dst).unwrap();
            let before = dst.clone();
            for item in [
                Outgoing::Message(Payload::from("late")),
                Outgoing::Pong(control(b"late")),
                Outgoing::Close(None),
            ] {
                assert_eq!(codec.encode(item, &mut dst), Err(SendAfterClose));
                assert_eq!(dst, before);
            }
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let mut codec = Codec::new(Role::Client, Limits::default());
        let mut src = BytesMut::from("\x01\x06secret\u{0}\x09sec");
        assert_eq!(codec.decode(&mut src), Ok(None));
        let shown = format!("{codec:?} {:?}", codec.assembler);
        assert!(!shown.contains("sec") && !shown.contains("115, 101, 99"), "{shown}");
        assert!(shown.contains("is_partial: true") && shown.contains("len: 9"), "{shown}");
    }

    fn payload() -> impl Strategy<Value = Payload> {
        prop_oneof![
            "\\PC{0,40}".prop_map(Payload::from),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Payload::from),
            (65_530_usize..65_540).prop_map(|len| Payload::from(vec![b'x'; len])),
        ]
    }

    fn outgoing() -> impl Strategy<Value = Outgoing> {
        let control = prop::collection::vec(any::<u8>(), 0..=125)
            .prop_map(|bytes| ControlPayload::new(bytes).unwrap());
        prop_oneof![
            3 => payload().prop_map(Outgoing::Message),
            1 => control.clone().prop_map(Outgoing::Ping),
            1 => control.prop_map(Outgoing::Pong),
        ]
    }

    /// What the peer reads when this is sent.
    fn arrives(item: Outgoing) -> Incoming {
        match item {
            Outgoing::Message(payload) => Incoming::Message(payload),
            Outgoing::Ping(payload) => Incoming::Ping(payload),
            Outgoing::Pong(payload) => Incoming::Pong(payload),
            Outgoing::Close(frame) => Incoming::Close(frame),
        }
    }

    /// Where the pieces of a stream of `len` bytes end.
    fn ends(cuts: &[Index], len: usize) -> Vec<usize> {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
        ends.sort_unstable();
        ends
    }

    /// Frames most of which are legal, so that a stream of them gets somewhere.
    fn stream(role: Role) -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            20 => prop::sample::select(&[0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a][..]),
            1 => Just(0x88),
            1 => any::<u8>(),
        ];
        let payload = prop_oneof![
            5 => "\\PC{0,30}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..20),
            1 => (120_usize..140).prop_map(|len| vec![b'x'; len]),
            1 => Just(b"\x03\xe8".to_vec()),
        ];
        let other = (any::<Index>(), any::<u8>());
        (prop::collection::vec((first, payload), 0..8), prop::option::weighted(0.3, other))
            .prop_map(move |(parts, other)| {
                let mut bytes: Vec<u8> =
                    parts.iter().flat_map(|(first, body)| frame(role, *first, body)).collect();
                if let Some((at, byte)) = other
                    && !bytes.is_empty()
                {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            })
    }

    proptest! {
        #[test]
        fn what_one_side_sends_the_other_reads(
            sent in prop::collection::vec(outgoing(), 0..6),
            code in prop_oneof![Just(None), (3000_u16..5000).prop_map(Some)],
            cuts in prop::collection::vec(any::<Index>(), 0..20),
        ) {
            let close = code.map(|code| CloseFrame::new(code.into(), "bye").unwrap());
            let sent: Vec<_> = sent.into_iter().chain([Outgoing::Close(close)]).collect();
            for (from, to) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
                let mut wire = BytesMut::new();
                let mut sender = Codec::new(from, Limits::default());
                for item in &sent {
                    sender.encode(item.clone(), &mut wire).unwrap();
                }
                let mut receiver = Codec::new(to, Limits::default());
                let read = story(&mut receiver, &wire, ends(&cuts, wire.len()));
                prop_assert_eq!(read, (sent.iter().cloned().map(arrives).collect(), None));
            }
        }

        #[test]
        fn a_stream_means_the_same_however_it_is_cut(
            (role, bytes) in prop::sample::select(&ROLES[..])
                .prop_flat_map(|role| (Just(role), stream(role))),
            cuts in prop::collection::vec(any::<Index>(), 0..10),
            limits in prop_oneof![Just(Limits::default()), Just(limits(100, 150, 3))],
        ) {
            let at_once = story(&mut Codec::new(role, limits), &bytes, []);
            let in_pieces = story(&mut Codec::new(role, limits), &bytes, ends(&cuts, bytes.len()));
            prop_assert_eq!(&in_pieces, &at_once);
            let byte_by_byte = story(&mut Codec::new(role, limits), &bytes, 0..bytes.len());
            prop_assert_eq!(byte_by_byte, at_once);
        }

        #[test]
        fn any_bytes_mean_the_same_however_they_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            for role in ROLES {
                let at_once = decode(role, &bytes);
                let mut codec = Codec::new(role, Limits::default());
                prop_assert_eq!(story(&mut codec, &bytes, 0..bytes.len()), at_once);
            }
        }
    }
}

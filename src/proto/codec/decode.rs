//! Decoding: bytes become messages and control frames.

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

use crate::proto::close::CloseFrame;
use crate::proto::codec::partial::{PartialFrame, Receiving};
use crate::proto::codec::{Codec, Way};
use crate::proto::error::ProtocolError;
use crate::proto::frame::{FrameHeader, Opcode, Role};
use crate::proto::message::{ControlPayload, Incoming, Payload};
use crate::proto::utf8::Utf8;

/// The result of one step of decoding.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing is complete: more bytes are needed after those that are left.
    More,
    /// A text or binary message lies whole at the current position, with this many bytes, unmasked
    /// and checked. The caller advances the position past it.
    Whole(Opcode, usize),
    /// A text or binary message that was joined or inflated, and checked.
    Assembled(Opcode, Bytes),
    /// Anything else, with bytes of its own.
    Item(Incoming),
}

impl Codec {
    /// Takes the next message or control frame from `src`. Returns `None` if more bytes are needed.
    ///
    /// `src` must hold what the last call left in it, followed by the bytes that have arrived
    /// since. A frame that is neither a fragment nor compressed is not copied: its payload shares
    /// the memory of `src`. An error is found at the first byte that shows it, however the bytes
    /// were split.
    ///
    /// After a Close or an error, further calls empty `src` and return `None`.
    ///
    /// # Errors
    /// If the peer broke the protocol or exceeded a limit, once; and once if bytes follow its
    /// Close.
    #[inline]
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, ProtocolError> {
        // Most streams are single small frames, which need none of the state below.
        if let Some((kind, payload, behind)) =
            self.fast_path().and_then(|fast_path| fast_path.find(src))
        {
            let len = payload.len();
            src.advance(src.len() - behind.len() - len);
            return self.incoming(kind.opcode(), split_payload(src, len)).map(Some);
        }
        let mut at = 0;
        let step = self.step(src, &mut at);
        src.advance(at.min(src.len()));
        match step {
            Ok(Step::More) => Ok(None),
            Ok(Step::Item(item)) => Ok(Some(item)),
            Ok(Step::Assembled(opcode, bytes)) => self.incoming(opcode, bytes).map(Some),
            Ok(Step::Whole(opcode, len)) => {
                self.incoming(opcode, split_payload(src, len)).map(Some)
            }
            Err(err) => Err(err),
        }
    }

    /// Decodes in `src` from the position `at`, and moves `at` past all bytes that are used up. The
    /// bytes behind it must be there again in the next call, in front of what has arrived since.
    /// After an error or a Close none are left.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    #[inline]
    pub(crate) fn step(&mut self, src: &mut [u8], at: &mut usize) -> Result<Step, ProtocolError> {
        if self.receiving != Receiving::Open {
            return self.step_after_end(src, at);
        }
        let result = self.next_step(src, at);
        match &result {
            // RFC 6455, 5.5.1: no frame follows a Close.
            Ok(Step::Item(Incoming::Close(_))) => self.end(Receiving::Closed),
            // RFC 6455, 7.1.7: nothing that follows an error is processed.
            Err(_) => {
                *at = src.len();
                self.fuse();
            }
            _ => {}
        }
        result
    }

    /// Makes an item of a whole message. Text is checked again: without `unsafe`, only a check
    /// makes a string of bytes.
    #[inline]
    fn incoming(&self, opcode: Opcode, payload: Bytes) -> Result<Incoming, ProtocolError> {
        match opcode {
            Opcode::Text if self.unchecked => Ok(Incoming::Unchecked(payload)),
            Opcode::Text => match ByteString::try_from(payload) {
                Ok(text) => Ok(Incoming::Message(Payload::Text(text))),
                Err(_) => Err(ProtocolError::InvalidUtf8),
            },
            _ => Ok(Incoming::Message(Payload::Binary(payload))),
        }
    }

    /// Ends the incoming half as after an error.
    pub(in crate::proto) fn fuse(&mut self) {
        self.end(Receiving::Failed);
    }

    /// Ends the incoming half and frees what it held.
    fn end(&mut self, receiving: Receiving) {
        self.receiving = receiving;
        self.header_begun = false;
        self.frame = None;
        self.assembler.clear();
    }

    /// Discards all bytes after the end of the incoming half. Bytes after the peer's Close are an
    /// error, once (RFC 6455, 1.4).
    #[cold]
    fn step_after_end(&mut self, src: &[u8], at: &mut usize) -> Result<Step, ProtocolError> {
        let late = self.receiving == Receiving::Closed && *at < src.len();
        *at = src.len();
        if late {
            self.fuse();
            return Err(ProtocolError::DataAfterClose);
        }
        Ok(Step::More)
    }

    /// Decodes frames until there is an item to return.
    #[inline]
    fn next_step(&mut self, src: &mut [u8], at: &mut usize) -> Result<Step, ProtocolError> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.read_header(src.get(*at..).unwrap_or_default(), at)? {
                    Some(frame) => frame,
                    None => return Ok(Step::More),
                },
            };
            // Empty if the caller has removed bytes, against the contract of `decode`.
            let rest = src.get_mut(*at..).unwrap_or_default();
            // A frame that is a message by itself stays in `src` until it is complete. A part is
            // moved to the assembler as it arrives, so the loop goes on with the next frame.
            if !frame.is_part {
                return self.finish_single(frame, rest, at);
            }
            if let Some(step) = self.add_part(frame, rest, at)? {
                return Ok(step);
            }
        }
    }

    /// Reads a header from `src`, and judges each byte as soon as it has arrived: a peer must not
    /// be able to delay an error by sending the rest of the header late.
    #[inline]
    fn read_header(
        &mut self,
        src: &[u8],
        at: &mut usize,
    ) -> Result<Option<PartialFrame>, ProtocolError> {
        let deflate = self.deflation.is_some();
        let mut compressed = false;
        if let Some(&first) = src.first() {
            // RFC 6455, 5.4: a continuation needs a message in progress, a new message needs none.
            self.assembler.expect(FrameHeader::first_byte(first, deflate)?.1)?;
            compressed = FrameHeader::is_compressed(first);
        }
        if let Some(&second) = src.get(1) {
            // RFC 6455, 5.1
            self.check_mask(FrameHeader::is_masked(second))?;
        }
        let Some((header, end)) = FrameHeader::parse_with(src, deflate)? else {
            self.header_begun = !src.is_empty();
            return Ok(None);
        };
        self.header_begun = false;
        *at += end;
        let (len, is_part) = self.check_len(&header, compressed)?;
        if let Some(observer) = &self.observer {
            observer(Way::In, &header, &src[end..src.len().min(end.saturating_add(len))]);
        }
        Ok(Some(PartialFrame { header, is_part, len, done: 0, utf8: Utf8::new() }))
    }

    /// Checks that frames from a client are masked and frames from a server are not (RFC 6455,
    /// 5.1).
    #[inline]
    fn check_mask(&self, masked: bool) -> Result<(), ProtocolError> {
        match (self.role, masked) {
            (Role::Client, true) => Err(ProtocolError::MaskedByServer),
            (Role::Server, false) => Err(ProtocolError::UnmaskedByClient),
            _ => Ok(()),
        }
    }

    /// Checks the declared length against the limits, before any of the payload is stored. Returns
    /// the length, and whether the frame goes to the assembler.
    #[inline]
    fn check_len(
        &mut self,
        header: &FrameHeader,
        compressed: bool,
    ) -> Result<(usize, bool), ProtocolError> {
        let limits = self.limits();
        let too_large = ProtocolError::FrameTooLarge { len: header.len, limit: limits.frame };
        let len = usize::try_from(header.len).map_err(|_| too_large.clone())?;
        // At most 125 bytes, which `FrameHeader` has checked; never part of a message.
        if header.opcode.is_control() {
            return Ok((len, false));
        }
        if len > limits.frame {
            return Err(too_large);
        }
        // RFC 6455, 5.4, and 7692, 6: neither a fragment nor compressed data is a message as it
        // lies.
        let is_part = !header.fin || compressed || header.opcode == Opcode::Continuation;
        if is_part {
            self.assembler.begin(header, compressed)?;
        } else if len > limits.message {
            return Err(ProtocolError::MessageTooLarge { limit: limits.message });
        }
        Ok((len, is_part))
    }

    /// Processes a frame that is a message or a control frame by itself. Returns it once it is
    /// complete; until then only unmasks and checks what has arrived.
    #[inline]
    fn finish_single(
        &mut self,
        mut frame: PartialFrame,
        rest: &mut [u8],
        at: &mut usize,
    ) -> Result<Step, ProtocolError> {
        let fresh = frame.unmask(rest.get_mut(frame.done..).unwrap_or_default());
        let opcode = frame.header.opcode;
        // RFC 6455, 8.1: invalid text may be refused before the frame is complete.
        if opcode == Opcode::Text && !self.unchecked {
            frame.utf8.feed(fresh)?;
        }
        if frame.done < frame.len {
            self.frame = Some(frame);
            return Ok(Step::More);
        }
        frame.utf8.finish()?;
        if !opcode.is_control() {
            return Ok(Step::Whole(opcode, frame.len));
        }
        let payload = rest.get(..frame.len).unwrap_or_default();
        *at += payload.len();
        parse_control(opcode, payload, self.unchecked).map(Step::Item)
    }

    /// Moves what has arrived of a fragment or a compressed frame to its message. Returns the
    /// message once it is complete, or the fragment if fragments are wanted; `None` if another
    /// frame must follow.
    fn add_part(
        &mut self,
        mut frame: PartialFrame,
        rest: &mut [u8],
        at: &mut usize,
    ) -> Result<Option<Step>, ProtocolError> {
        // Bytes that were read directly into the message come before those in `rest`.
        if self.assembler.unprocessed_direct() > 0 {
            self.assembler.process_direct(|placed| {
                frame.unmask(placed);
            })?;
        }
        let fresh = frame.unmask(rest);
        *at += fresh.len();
        // Of the whole message, not of this frame: the decompressor then checks its end.
        let ends = frame.header.fin && frame.done == frame.len;
        match &mut self.deflation {
            Some(deflation) if self.assembler.is_compressed() => {
                self.assembler.inflate(fresh, ends, &mut deflation.inflater)?;
            }
            _ => self.assembler.push(fresh)?,
        }
        if frame.done < frame.len {
            self.frame = Some(frame);
            return Ok(Some(Step::More));
        }
        let fin = frame.header.fin;
        if self.by_fragment && self.assembler.is_fragmented(fin) {
            let fragment = self.assembler.fragment(fin)?;
            return Ok(Some(Step::Item(Incoming::Fragment(fragment))));
        }
        if !fin {
            return Ok(None);
        }
        let (opcode, bytes) = self.assembler.finish()?;
        Ok(Some(Step::Assembled(opcode, bytes)))
    }
}

/// Splits a payload off the front of `src`.
#[inline]
fn split_payload(src: &mut BytesMut, len: usize) -> Bytes {
    // An empty payload must not hold the buffer.
    if len == 0 { Bytes::new() } else { src.split_to(len).freeze() }
}

/// Parses a complete control frame. If `lossy`, the reason of a Close need not be UTF-8.
fn parse_control(opcode: Opcode, payload: &[u8], lossy: bool) -> Result<Incoming, ProtocolError> {
    if opcode == Opcode::Close {
        let read = if lossy { CloseFrame::read_lossy } else { CloseFrame::read };
        return Ok(Incoming::Close(read(payload)?));
    }
    let payload = ControlPayload::new(Bytes::copy_from_slice(payload))
        .map_err(|_| ProtocolError::ControlTooLong)?;
    Ok(match opcode {
        Opcode::Ping => Incoming::Ping(payload),
        _ => Incoming::Pong(payload),
    })
}

//! Bytes become messages and control frames.

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

use crate::proto::close::CloseFrame;
use crate::proto::codec::partial::{PartialFrame, Receiving};
use crate::proto::codec::{Codec, Way};
use crate::proto::error::ProtocolError;
use crate::proto::frame::{FrameHeader, Opcode, Role};
use crate::proto::message::{ControlPayload, Incoming, Payload};
use crate::proto::utf8::Utf8;

/// What one step of decoding came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// There is nothing whole: more bytes are needed behind those that are left.
    More,
    /// A text or binary message lies whole at the place that was reached, with so many bytes,
    /// unmasked and checked. It is for the caller to pass over them.
    Whole(Opcode, usize),
    /// A text or binary message that was put together or inflated, and checked.
    Assembled(Opcode, Bytes),
    /// Anything else. It owns its bytes.
    Item(Incoming),
}

impl Codec {
    /// Takes the next message or control frame off `src`; `None` if more bytes are needed.
    ///
    /// `src` is what the last call left of it, and what came since. A frame that is neither a fragment
    /// nor compressed is not copied: its payload shares the memory of `src`. What is wrong is found at
    /// the first byte that shows it, however the bytes were cut.
    ///
    /// After a Close or an error nothing more comes: further calls empty `src` and return `None`.
    ///
    /// # Errors
    /// If the peer broke the protocol or passed a limit, once; and once if bytes follow its Close.
    #[inline]
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, ProtocolError> {
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

    /// Goes on in `src` from `at`, and moves `at` past all that is used up; what lies behind it is
    /// to be there again in the next call, in front of what came since. After an error or a Close
    /// that is nothing.
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
            Ok(Step::Item(Incoming::Close(_))) => self.end(Receiving::Closed),
            Err(_) => {
                *at = src.len();
                self.fuse();
            }
            _ => {}
        }
        result
    }

    /// Gives out a message that is whole. A text is checked once more: that is the price of no
    /// `unsafe`.
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

    /// Ends the incoming half for good, as after an error.
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

    /// Answers for an incoming half that has ended.
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

    /// Takes frames until there is something to give out.
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
            // Nothing is there if a careless caller took bytes away.
            let rest = src.get_mut(*at..).unwrap_or_default();
            if !frame.is_part {
                return self.finish_single(frame, rest, at);
            }
            if let Some(step) = self.add_part(frame, rest, at)? {
                return Ok(step);
            }
        }
    }

    /// Takes a header off `src`, judging each byte as soon as it is there.
    #[inline]
    fn read_header(
        &mut self,
        src: &[u8],
        at: &mut usize,
    ) -> Result<Option<PartialFrame>, ProtocolError> {
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
        *at += end;
        let (len, is_part) = self.check_len(&header, compressed)?;
        if let Some(observer) = &self.observer {
            observer(Way::In, &header, &src[end..src.len().min(end.saturating_add(len))]);
        }
        Ok(Some(PartialFrame { header, is_part, len, done: 0, utf8: Utf8::new() }))
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
    fn check_len(
        &mut self,
        header: &FrameHeader,
        compressed: bool,
    ) -> Result<(usize, bool), ProtocolError> {
        let limits = self.limits();
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
            self.assembler.begin(header, compressed)?;
        } else if len > limits.message {
            return Err(ProtocolError::MessageTooLarge { limit: limits.message });
        }
        Ok((len, is_part))
    }

    /// Gives out a frame that is a message or a control frame as it is, once all of it is there;
    /// till then it checks what came of it.
    #[inline]
    fn finish_single(
        &mut self,
        mut frame: PartialFrame,
        rest: &mut [u8],
        at: &mut usize,
    ) -> Result<Step, ProtocolError> {
        let fresh = frame.unmask(rest.get_mut(frame.done..).unwrap_or_default());
        let opcode = frame.header.opcode;
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
        parse_control(opcode, payload).map(Step::Item)
    }

    /// Moves what came of a fragment or a compressed frame to its message, and gives that out when
    /// it is whole; or the fragment, where that is wanted. `None` if another frame is to follow.
    fn add_part(
        &mut self,
        mut frame: PartialFrame,
        rest: &mut [u8],
        at: &mut usize,
    ) -> Result<Option<Step>, ProtocolError> {
        if self.assembler.unprocessed_direct() > 0 {
            self.assembler.process_direct(|placed| {
                frame.unmask(placed);
            })?;
        }
        let fresh = frame.unmask(rest);
        *at += fresh.len();
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

/// A payload taken off the front of `src`.
#[inline]
fn split_payload(src: &mut BytesMut, len: usize) -> Bytes {
    // An empty one need not keep the buffer.
    if len == 0 { Bytes::new() } else { src.split_to(len).freeze() }
}

/// What a whole control frame means.
fn parse_control(opcode: Opcode, payload: &[u8]) -> Result<Incoming, ProtocolError> {
    if opcode == Opcode::Close {
        return Ok(Incoming::Close(CloseFrame::read(payload)?));
    }
    let payload = ControlPayload::new(Bytes::copy_from_slice(payload))
        .map_err(|_| ProtocolError::ControlTooLong)?;
    Ok(match opcode {
        Opcode::Ping => Incoming::Ping(payload),
        _ => Incoming::Pong(payload),
    })
}

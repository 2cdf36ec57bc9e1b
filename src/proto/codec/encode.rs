//! Encoding: messages and control frames become bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;

use crate::proto::close::MAX_CONTROL_PAYLOAD;
use crate::proto::codec::{Codec, MaskKeys, Way};
use crate::proto::error::SendAfterClose;
use crate::proto::frame::{FrameHeader, Opcode, Role};
use crate::proto::mask;
use crate::proto::message::{Outgoing, Payload};

impl Codec {
    /// Appends a frame to `dst`. A client's frame is masked with a new key.
    ///
    /// # Errors
    /// If a Close was encoded before (RFC 6455, 5.5.1); `dst` is then unchanged.
    #[inline]
    pub fn encode(&mut self, item: Outgoing, dst: &mut BytesMut) -> Result<(), SendAfterClose> {
        match item {
            Outgoing::Message(payload) => return self.encode_data(&payload, None, dst),
            Outgoing::Fragments(payload, size) => {
                return self.encode_data(&payload, Some(size), dst);
            }
            _ if self.close_sent => return Err(SendAfterClose),
            Outgoing::Ping(payload) => self.write_single(Opcode::Ping, &payload, dst),
            Outgoing::Pong(payload) => self.write_single(Opcode::Pong, &payload, dst),
            Outgoing::Close(frame) => {
                self.close_sent = true;
                let mut bytes = [0; MAX_CONTROL_PAYLOAD];
                let payload = frame.as_ref().map_or(&[][..], |frame| frame.payload(&mut bytes));
                self.write_single(Opcode::Close, payload, dst);
            }
        }
        Ok(())
    }

    /// Appends a borrowed data message, as [`encode`](Self::encode) does; in frames of at most
    /// `fragment` bytes if that is set.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    #[inline]
    pub(crate) fn encode_data(
        &mut self,
        payload: &Payload,
        fragment: Option<usize>,
        dst: &mut BytesMut,
    ) -> Result<(), SendAfterClose> {
        if self.close_sent {
            return Err(SendAfterClose);
        }
        match fragment {
            None => self.write_message(payload, dst),
            Some(size) => self.write_fragments(payload, size, dst),
        }
        Ok(())
    }

    /// Returns how many bytes [`encode`](Self::encode) appends for a payload of this length; it
    /// appends fewer if the payload is compressed.
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

    /// Returns the same as [`encoded_len`](Self::encoded_len) for a message in fragments of at most
    /// `size` bytes.
    #[must_use]
    pub const fn fragments_len(role: Role, payload_len: usize, size: usize) -> usize {
        let size = if size == 0 { 1 } else { size };
        if payload_len <= size {
            return Self::encoded_len(role, payload_len);
        }
        let (full, rest) = (payload_len / size, payload_len % size);
        let full = full.saturating_mul(Self::encoded_len(role, size));
        match rest {
            0 => full,
            rest => full.saturating_add(Self::encoded_len(role, rest)),
        }
    }

    /// Appends a data message, compressed if that was negotiated and makes it smaller.
    #[inline]
    fn write_message(&mut self, payload: &Payload, dst: &mut BytesMut) {
        let opcode = data_opcode(payload);
        if let Some(compressed) = self.compress(payload.as_bytes()) {
            let begin = dst.len();
            self.write_single(opcode, &compressed, dst);
            FrameHeader::mark_compressed(&mut dst[begin..]);
            return;
        }
        self.write_single(opcode, payload.as_bytes(), dst);
    }

    /// Appends a data message in frames of at most `size` bytes, and at least one.
    fn write_fragments(&mut self, payload: &Payload, size: usize, dst: &mut BytesMut) {
        // RFC 7692, 6.1: the message is compressed as a whole, then split into frames.
        let compressed = self.compress(payload.as_bytes());
        let bytes = compressed.as_deref().unwrap_or(payload.as_bytes());
        let begin = dst.len();
        let (mut opcode, mut rest) = (data_opcode(payload), bytes);
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(size.max(1)));
            rest = behind;
            self.write_frame(rest.is_empty(), opcode, piece, dst);
            if rest.is_empty() {
                break;
            }
            // RFC 6455, 5.4: only the first frame has the opcode of the message.
            opcode = Opcode::Continuation;
        }
        // RFC 7692, 6: RSV1 is set on the first frame alone.
        if compressed.is_some() {
            FrameHeader::mark_compressed(&mut dst[begin..]);
        }
    }

    /// Returns the compressed payload, or `None` if it is to be sent as it is.
    #[inline]
    fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.deflation.as_mut()?.deflater.compress(payload)
    }

    /// Appends a message or control frame in a single frame.
    #[inline]
    fn write_single(&mut self, opcode: Opcode, payload: &[u8], dst: &mut BytesMut) {
        self.write_frame(true, opcode, payload, dst);
    }

    /// Appends one frame.
    #[inline]
    fn write_frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8], dst: &mut BytesMut) {
        // RFC 6455, 5.1 and 5.3: only a client masks, with a new key for each frame.
        let mask = match (self.role, &self.keys) {
            (Role::Server, _) => None,
            (Role::Client, None) => Some(mask::key()),
            (Role::Client, Some(keys)) => Some(self.application_key(&keys.clone())),
        };
        let header = FrameHeader { fin, opcode, mask, len: payload.len() as u64 };
        if let Some(observer) = &self.observer {
            observer(Way::Out, &header, if self.hides_payloads { &[] } else { payload });
        }
        dst.reserve(Self::encoded_len(self.role, payload.len()));
        header.write(dst);
        match mask {
            Some(key) => mask::mask_into(dst, payload, key),
            None => dst.extend_from_slice(payload),
        }
    }

    /// Returns a key from the source of the application, or one of our own if the source panics.
    #[cold]
    fn application_key(&mut self, keys: &MaskKeys) -> [u8; 4] {
        catch_unwind(AssertUnwindSafe(|| keys())).unwrap_or_else(|_| {
            self.keys_failed = true;
            mask::key()
        })
    }
}

/// Returns the opcode of the first frame of a message.
#[inline]
fn data_opcode(payload: &Payload) -> Opcode {
    match payload {
        Payload::Text(_) => Opcode::Text,
        Payload::Binary(_) => Opcode::Binary,
    }
}

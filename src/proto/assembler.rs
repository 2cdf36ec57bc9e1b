//! Fragments become messages (RFC 6455, 5.4).

use bytestring::ByteString;

use crate::proto::error::ProtocolError;
use crate::proto::frame::{FrameHeader, Opcode};
use crate::proto::message::Payload;
use crate::proto::utf8::Utf8;

/// Joins the fragments of one message at a time, in one growing buffer.
///
/// It grows with what came, never with what was declared: a peer gets no memory for an announcement.
#[derive(Debug)]
pub struct Assembler {
    /// The most bytes of one message.
    max_len: usize,
    /// The most frames of one message that is in fragments.
    max_fragments: usize,
    /// The message in progress.
    message: Option<Partial>,
}

/// A message of which the last fragment has not ended yet.
struct Partial {
    /// The check of its text as far as it came; `None` for binary.
    utf8: Option<Utf8>,
    /// How many of its frames have begun.
    fragments: usize,
    /// The lengths that they declared, in bytes, in all.
    declared: usize,
    /// What came of them so far, unmasked.
    bytes: Vec<u8>,
}

impl Assembler {
    /// An assembler of messages of at most so many bytes and so many fragments.
    #[must_use]
    pub fn new(max_len: usize, max_fragments: usize) -> Self {
        Self { max_len, max_fragments, message: None }
    }

    /// Whether a message is in progress.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.message.is_some()
    }

    /// Whether a frame of this kind may come now.
    ///
    /// # Errors
    /// If it is a continuation of nothing or one too many, or a new message inside an unfinished one
    /// (RFC 6455, 5.4).
    #[inline]
    pub fn expect(&self, opcode: Opcode) -> Result<(), ProtocolError> {
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => Err(ProtocolError::UnexpectedContinuation),
            (Opcode::Continuation, Some(partial)) if partial.fragments >= self.max_fragments => {
                Err(ProtocolError::TooManyFragments { limit: self.max_fragments })
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(ProtocolError::UnfinishedMessage),
            _ => Ok(()),
        }
    }

    /// Begins the fragment of this header, the first or a further one of its message.
    ///
    /// # Errors
    /// As [`expect`](Self::expect), and if the message would be too large with it.
    pub fn begin(&mut self, header: &FrameHeader) -> Result<(), ProtocolError> {
        self.expect(header.opcode)?;
        let before = self.message.as_ref().map_or(0, |partial| partial.declared);
        let declared = usize::try_from(header.len)
            .ok()
            .and_then(|len| before.checked_add(len))
            .filter(|declared| *declared <= self.max_len)
            .ok_or(ProtocolError::MessageTooLarge { limit: self.max_len })?;
        let partial = self.message.get_or_insert_with(|| Partial {
            utf8: (header.opcode == Opcode::Text).then(Utf8::new),
            fragments: 0,
            declared: 0,
            bytes: Vec::new(),
        });
        partial.declared = declared;
        partial.fragments += 1;
        Ok(())
    }

    /// Appends a piece of the fragment in progress, unmasked.
    ///
    /// # Errors
    /// If the text cannot become UTF-8 any more (RFC 6455, 8.1).
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let Some(partial) = &mut self.message else {
            return Err(ProtocolError::UnexpectedContinuation);
        };
        if let Some(utf8) = &mut partial.utf8 {
            utf8.feed(piece)?;
        }
        partial.reserve(piece.len(), self.max_len);
        partial.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Ends the message and gives it out.
    ///
    /// # Errors
    /// If the text ends inside a character (RFC 6455, 8.1).
    pub fn finish(&mut self) -> Result<Payload, ProtocolError> {
        let Partial { utf8, bytes, .. } =
            self.message.take().ok_or(ProtocolError::UnexpectedContinuation)?;
        let Some(mut utf8) = utf8 else {
            return Ok(Payload::Binary(bytes.into()));
        };
        utf8.finish()?;
        // Checked once more: that is the price of no `unsafe`.
        let text = ByteString::try_from(bytes).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Payload::Text(text))
    }

    /// Forgets the message in progress.
    pub fn clear(&mut self) {
        self.message = None;
    }
}

impl Partial {
    /// Makes room for `more` bytes: twice as much as before, so that tiny fragments don't cost an
    /// allocation each, but not more than the limit, so that a large message has at most that.
    fn reserve(&mut self, more: usize, limit: usize) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - len < more {
            let wanted = capacity.saturating_mul(2).max(LEAST).min(limit).max(len + more);
            self.bytes.reserve_exact(wanted - len);
        }
    }
}

/// What the buffer of a message begins with, in bytes.
const LEAST: usize = 256;

impl std::fmt::Debug for Partial {
    /// Without the payload, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partial")
            .field("is_text", &self.utf8.is_some())
            .field("fragments", &self.fragments)
            .field("declared", &self.declared)
            .field("len", &self.bytes.len())
            .finish()
    }
}

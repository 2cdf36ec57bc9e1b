//! For a reader that owns the buffer and takes the messages out of it without copying.

use crate::proto::codec::Codec;
use crate::proto::codec::fast_path::MessageKind;
use crate::proto::frame::Opcode;

impl Codec {
    /// Returns the kind of a message with this opcode that was found whole.
    #[inline]
    pub(crate) fn kind(&self, opcode: Opcode) -> MessageKind {
        match opcode {
            Opcode::Text if self.unchecked => MessageKind::Unchecked,
            Opcode::Text => MessageKind::Text,
            _ => MessageKind::Binary,
        }
    }

    /// Returns how many bytes the message in progress still needs, if it is one that stays in the
    /// buffer until it is complete; otherwise 0.
    #[inline]
    pub(crate) fn missing_in_place(&self) -> usize {
        let whole = self.frame.as_ref().filter(|frame| !frame.is_part);
        whole.map_or(0, |frame| frame.len - frame.done)
    }

    /// Returns the buffer of the message in progress and how many bytes the fragment in progress
    /// lacks, so that these can be read directly into it; `None` if the fragment has fewer than
    /// `least` bytes or is compressed.
    ///
    /// The reader must remove the bytes behind the fragment from the buffer again, and put them in
    /// front of what it passes to the next [`step`](Codec::step). The buffer has room for at most
    /// `trust` bytes that have not arrived, or for as many as have.
    #[inline]
    pub(crate) fn direct_buffer(
        &mut self,
        least: usize,
        trust: usize,
    ) -> Option<(&mut Vec<u8>, usize)> {
        let frame = self.frame.as_ref().filter(|frame| frame.is_part && frame.len >= least)?;
        if self.assembler.is_compressed() {
            return None;
        }
        let wanted = (frame.len - frame.done).checked_sub(self.assembler.unprocessed_direct())?;
        let place = self.assembler.direct_buffer(wanted, trust)?;
        (wanted > 0).then_some((place, wanted))
    }
}

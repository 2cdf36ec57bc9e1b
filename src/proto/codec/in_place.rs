//! What a reader asks that keeps the buffer, and takes the messages out of it itself.

use crate::proto::codec::Codec;
use crate::proto::codec::fast_path::MessageKind;
use crate::proto::frame::Opcode;

impl Codec {
    /// What a message of this opcode is that was found whole.
    #[inline]
    pub(crate) fn kind(&self, opcode: Opcode) -> MessageKind {
        match opcode {
            Opcode::Text if self.unchecked => MessageKind::Unchecked,
            Opcode::Text => MessageKind::Text,
            _ => MessageKind::Binary,
        }
    }

    /// How many bytes a message that is found whole still needs, if one is in progress: it stays in
    /// the buffer until it is all there.
    #[inline]
    pub(crate) fn missing_in_place(&self) -> usize {
        let whole = self.frame.as_ref().filter(|frame| !frame.is_part);
        whole.map_or(0, |frame| frame.len - frame.done)
    }

    /// Where the rest of a fragment that has `least` bytes or more belongs, and how many it lacks: it
    /// may be read to there. What came behind it is to be cut off again, and to be in front of what
    /// the next [`step`](Codec::step) is shown. No room is made for more than `trust` bytes on the
    /// peer's word alone.
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

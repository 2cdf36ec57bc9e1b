//! What a reader asks that keeps the buffer, and takes the messages out of it itself.

use crate::proto::codec::Codec;
use crate::proto::codec::plain::Kind;
use crate::proto::frame::Opcode;

impl Codec {
    /// What a message of this opcode is that was found whole.
    #[inline]
    pub(crate) fn kind(&self, opcode: Opcode) -> Kind {
        match opcode {
            Opcode::Text if self.unchecked => Kind::Unchecked,
            Opcode::Text => Kind::Text,
            _ => Kind::Binary,
        }
    }

    /// How many bytes a message that is found whole still needs, if one is in progress: it stays in
    /// the buffer until it is all there.
    #[inline]
    pub(crate) fn wanted_whole(&self) -> usize {
        let whole = self.frame.as_ref().filter(|frame| !frame.is_part);
        whole.map_or(0, |frame| frame.len - frame.done)
    }
}

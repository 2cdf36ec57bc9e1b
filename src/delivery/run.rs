//! A run: the messages of one read, which are one entry of the queue.

use std::mem;
use std::time::Instant;

use crate::command::status::SourceId;
use crate::delivery::cost::{self, BLOCK};
use crate::event;
use crate::proto::frame::Opcode;
use crate::proto::message::Payload;
use crate::proto::messages::Messages;

/// Messages that were read together. What was delivered of them is no longer part of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) source: SourceId,
    pub(crate) epoch: u64,
    /// The time at which their last bytes were read.
    pub(crate) received: Instant,
    pub(crate) messages: Messages,
}

/// What a message costs in the queue beside its payload, in bytes: its place in a list that may be half
/// empty.
const MESSAGE_COST: usize = 16;

/// What a run costs beside its messages and their bytes: its own block, and those of its buffer and its
/// list of messages.
const RUN_COST: usize = cost::of_entry::<Run>() + 2 * BLOCK;

/// Returns what a message with a payload of `len` bytes costs in the queue, in bytes.
#[inline]
pub(crate) fn cost(len: usize) -> usize {
    len + MESSAGE_COST
}

impl Run {
    /// Returns one of the messages. It keeps little more memory than its own bytes.
    #[inline]
    pub(super) fn own_message(&self, index: usize) -> Option<event::Message> {
        self.messages.payload_to_keep(index).map(|payload| self.message(payload))
    }

    #[inline]
    pub(super) fn message(&self, payload: Payload) -> event::Message {
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        event::Message { source, epoch, payload, received }
    }

    /// Returns what it costs in the queue, in bytes. Delivered messages are part of that: the buffer and
    /// the list are freed with the last one.
    #[inline]
    pub(super) fn cost(&self) -> usize {
        RUN_COST + self.messages.footprint(BLOCK)
    }

    /// Returns all messages as a batch.
    pub(super) fn batch(&self) -> event::Batch {
        event::Batch::new(self.source, self.epoch, self.received, self.messages.clone())
    }

    /// Takes all messages out as a batch.
    pub(super) fn take_batch(&mut self) -> event::Batch {
        let messages = mem::take(&mut self.messages);
        event::Batch::new(self.source, self.epoch, self.received, messages)
    }

    /// Makes the `Data` of the first message.
    pub(super) fn data(&self, payload: Payload) -> event::Data {
        let (source, epoch) = (self.source, self.epoch);
        let opcode = self.messages.opcode(0).unwrap_or(Opcode::Binary);
        event::Data { source, epoch, payload, opcode, fin: true }
    }

    /// Drops messages until `is_enough` accepts what the rest costs, and at least `least` of them: the
    /// oldest first, or the newest. Keeps the first `kept` in any case. Returns the number of dropped
    /// messages.
    pub(super) fn shed(
        &mut self,
        kept: usize,
        oldest: bool,
        least: usize,
        is_enough: impl Fn(usize) -> bool,
    ) -> usize {
        let len = self.messages.len();
        let droppable = len.saturating_sub(kept);
        if droppable == 0 || is_enough(self.cost()) {
            return 0;
        }
        // Dropping messages frees nothing of the buffer. So this counts as if the rest lay in a buffer of
        // its own, and below it is copied into one.
        let mut left =
            RUN_COST + (0..len).map(|at| self.messages.own_footprint(at, BLOCK)).sum::<usize>();
        let mut dropped = 0;
        while dropped < droppable && (dropped < least || !is_enough(left)) {
            let index = if oldest { kept + dropped } else { len - 1 - dropped };
            left -= self.messages.own_footprint(index, BLOCK);
            dropped += 1;
        }
        self.messages.remove(if oldest { kept } else { len - dropped }, dropped);
        if self.cost() > left {
            self.messages.compact();
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::codec::MessageKind;

    #[test]
    fn a_message_costs_its_bytes_and_16_and_a_run_three_blocks_more() {
        assert_eq!((cost(0), cost(10)), (16, 26));
        assert_eq!(RUN_COST, cost::of_entry::<Run>() + 32);
    }

    #[test]
    fn data_has_the_opcode_of_the_first_message_and_is_a_whole_one() {
        for (kind, opcode) in
            [(MessageKind::Text, Opcode::Text), (MessageKind::Binary, Opcode::Binary)]
        {
            let mut messages = Messages::default();
            messages.push(kind, 0..1);
            messages.push(MessageKind::Binary, 1..2);
            messages.seal(vec![b'a'; 2].into(), 0, 2);
            let run =
                Run { source: SourceId::next(), epoch: 1, received: Instant::now(), messages };
            let data = run.data(run.messages.payload(0).unwrap());
            assert_eq!((data.opcode, data.fin, data.payload.as_bytes()), (opcode, true, &b"a"[..]));
        }
    }
}

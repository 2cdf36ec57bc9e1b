//! A run: the messages of one read, which are one entry of the queue.

use std::mem;
use std::time::Instant;

use crate::command::status::SourceId;
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

/// What a message costs in the queue beside its payload, in bytes: its entry in a buffer that may be
/// half empty.
const MESSAGE_COST: usize = 32;

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

    /// Returns what its messages cost in the queue, in bytes: the whole buffer in which they lie, until
    /// the last one is delivered.
    #[inline]
    pub(super) fn cost(&self) -> usize {
        match self.messages.len() {
            0 => 0,
            left => self.messages.held() + MESSAGE_COST * left,
        }
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

    /// Drops messages until `is_enough` accepts what the rest costs: the oldest first, or the newest.
    /// Keeps the first `kept` in any case. Returns the number of dropped messages.
    pub(super) fn shed(
        &mut self,
        kept: usize,
        oldest: bool,
        is_enough: impl Fn(usize) -> bool,
    ) -> usize {
        // `cost` counts the whole buffer, which does not shrink by dropping messages from it. So this
        // counts as if the rest lay in a buffer of its own, and below it is copied into one if that
        // saves memory.
        let lens = |index| self.messages.bytes(index).map_or(0, <[u8]>::len);
        let mut cost_left: usize = (0..self.messages.len()).map(lens).map(cost).sum();
        let droppable = self.messages.len().saturating_sub(kept);
        let mut dropped = 0;
        while dropped < droppable && !is_enough(cost_left) {
            let index = if oldest { kept + dropped } else { self.messages.len() - 1 - dropped };
            cost_left -= cost(lens(index));
            dropped += 1;
        }
        let at = if oldest { kept } else { self.messages.len() - dropped };
        self.messages.remove(at, dropped);
        if self.cost() > cost_left {
            self.messages.compact();
        }
        dropped
    }
}

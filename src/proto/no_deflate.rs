//! Replaces `deflate` in a build without that feature, with types that have no value.

use crate::proto::error::ProtocolError;

/// Evidence that this build can compress, which cannot exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Available {}

/// No evidence: this build cannot compress.
pub(super) const AVAILABLE: Option<Available> = None;

/// The compression of both directions of one connection.
pub(super) struct Deflation {
    pub(super) inflater: Inflater,
    pub(super) deflater: Deflater,
}

/// How one direction of a connection would be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) window_bits: u8,
    pub(super) takeover: bool,
}

/// How hard we would compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuning {
    pub(super) threshold: usize,
    pub(super) level: u8,
    pub(super) mem_level: u8,
}

/// Would inflate the messages of one peer.
pub(super) struct Inflater(Available);

impl Inflater {
    pub(super) fn new(available: Available, _: Context) -> Self {
        Self(available)
    }

    pub(super) fn push(
        &mut self,
        _: &[u8],
        _: &mut Vec<u8>,
        _: usize,
    ) -> Result<(), ProtocolError> {
        match self.0 {}
    }

    pub(super) fn finish(&mut self) -> Result<(), ProtocolError> {
        match self.0 {}
    }
}

/// Would compress outgoing messages.
pub(super) struct Deflater(Available);

impl Deflater {
    pub(super) fn new(available: Available, _: Context, _: Tuning) -> Self {
        Self(available)
    }

    pub(super) fn compress(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        match self.0 {}
    }
}

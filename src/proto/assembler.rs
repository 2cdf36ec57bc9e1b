//! Fragments become messages (RFC 6455, 5.4).

use bytes::Bytes;

use crate::proto::deflate::Inflater;
use crate::proto::error::ProtocolError;
use crate::proto::frame::{FrameHeader, Opcode};
use crate::proto::message::Fragment;
use crate::proto::utf8::Utf8;

/// Joins the fragments of one message at a time, in one growing buffer.
///
/// It grows with what came: a peer gets no memory for an announcement. Only who reads large fragments
/// right behind one another has room made before, and says for how much the peer is trusted.
#[derive(Debug)]
pub(super) struct Assembler {
    /// The most bytes of one message.
    max_len: usize,
    /// The most frames of one message that is in fragments.
    max_fragments: usize,
    /// Whether text is taken as it is.
    skip_utf8_check: bool,
    /// The message in progress. Apart: mostly there is none.
    message: Option<Box<PartialMessage>>,
    /// How many bytes the last message had that was given out whole.
    last_len: usize,
}

/// A message of which the last fragment has not ended yet.
struct PartialMessage {
    /// What it is: text or binary.
    opcode: Opcode,
    /// The check of its text as far as it came; `None` where there is none.
    utf8: Option<Utf8>,
    /// Whether what comes is compressed (RFC 7692, 6).
    compressed: bool,
    /// How many of its frames have begun.
    fragments: usize,
    /// The lengths that they declared, in bytes, in all.
    declared: usize,
    /// What came of them so far, unmasked and inflated, and was not given out.
    bytes: Vec<u8>,
    /// How many of them were taken in: all but those that were read to their place since.
    processed: usize,
    /// How many bytes were given out.
    released: usize,
}

impl Assembler {
    /// An assembler of messages of at most so many bytes and so many fragments.
    #[must_use]
    pub(super) fn new(max_len: usize, max_fragments: usize) -> Self {
        Self { max_len, max_fragments, skip_utf8_check: false, message: None, last_len: 0 }
    }

    /// Whether text is taken as it is, without the check that it is UTF-8.
    pub(super) fn skip_utf8_check(&mut self, skip: bool) {
        self.skip_utf8_check = skip;
    }

    /// The most bytes and the most frames of one message.
    #[inline]
    pub(super) fn limits(&self) -> (usize, usize) {
        (self.max_len, self.max_fragments)
    }

    /// Whether a message is in progress.
    #[inline]
    #[must_use]
    pub(super) fn is_active(&self) -> bool {
        self.message.is_some()
    }

    /// Whether the message in progress is compressed, and goes to [`inflate`](Self::inflate) then.
    #[inline]
    pub(super) fn is_compressed(&self) -> bool {
        self.message.as_ref().is_some_and(|partial| partial.compressed)
    }

    /// Whether a frame of this kind may come now.
    ///
    /// # Errors
    /// If it is a continuation of nothing or one too many, or a new message inside an unfinished one
    /// (RFC 6455, 5.4).
    #[inline]
    pub(super) fn expect(&self, opcode: Opcode) -> Result<(), ProtocolError> {
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => Err(ProtocolError::UnexpectedContinuation),
            (Opcode::Continuation, Some(partial)) if partial.fragments >= self.max_fragments => {
                Err(ProtocolError::TooManyFragments { limit: self.max_fragments })
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(ProtocolError::UnfinishedMessage),
            _ => Ok(()),
        }
    }

    /// Begins the fragment of this header, the first or a further one of its message; `compressed` if
    /// the header says that a compressed message begins here (RFC 7692, 6).
    ///
    /// # Errors
    /// As [`expect`](Self::expect), and if the message would be too large with it.
    pub(super) fn begin(
        &mut self,
        header: &FrameHeader,
        compressed: bool,
    ) -> Result<(), ProtocolError> {
        self.expect(header.opcode)?;
        let compressed = compressed || self.is_compressed();
        // What can't be compressed grows by less than this; the true length is known when it is
        // inflated.
        let more = if compressed { self.max_len / 8 + 1024 } else { 0 };
        let most = self.max_len.saturating_add(more);
        let before = self.message.as_ref().map_or(0, |partial| partial.declared);
        let declared = usize::try_from(header.len)
            .ok()
            .and_then(|len| before.checked_add(len))
            .filter(|declared| *declared <= most)
            .ok_or(ProtocolError::MessageTooLarge { limit: self.max_len })?;
        let checked = header.opcode == Opcode::Text && !self.skip_utf8_check;
        let partial = self.message.get_or_insert_with(|| {
            Box::new(PartialMessage {
                opcode: header.opcode,
                utf8: checked.then(Utf8::new),
                compressed,
                fragments: 0,
                declared: 0,
                bytes: Vec::new(),
                processed: 0,
                released: 0,
            })
        });
        partial.declared = declared;
        partial.fragments += 1;
        Ok(())
    }

    /// Appends a piece of the fragment in progress, unmasked.
    ///
    /// # Errors
    /// If the text cannot become UTF-8 any more (RFC 6455, 8.1).
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let Some(partial) = &mut self.message else {
            return Err(ProtocolError::UnexpectedContinuation);
        };
        if let Some(utf8) = &mut partial.utf8 {
            utf8.feed(piece)?;
        }
        partial.reserve(piece.len(), self.max_len);
        partial.bytes.extend_from_slice(piece);
        partial.processed = partial.bytes.len();
        Ok(())
    }

    /// Where the next `wanted` bytes of the fragment in progress belong, with room for them and some
    /// more: for as many at once as the last message had, where that is more, but before they come for
    /// no more than `trust`, or as many again as are there. What is put there is then to be
    /// [taken in](Self::process_direct).
    #[cfg(feature = "client")]
    pub(super) fn direct_buffer(&mut self, wanted: usize, trust: usize) -> Option<&mut Vec<u8>> {
        let (last_len, limit) = (self.last_len, self.max_len);
        let partial = self.message.as_mut()?;
        let len = partial.bytes.len();
        let most = len.max(trust);
        // Not for a margin alone.
        if partial.bytes.capacity() - len < wanted.min(MAX_UNUSED_CAPACITY) {
            let more = wanted.max(last_len.saturating_sub(len)).min(most);
            partial.reserve(more + NEXT_HEADER_ROOM, limit);
        }
        Some(&mut partial.bytes)
    }

    /// How many bytes of the fragment in progress lie in their place, and were not taken in.
    pub(super) fn unprocessed_direct(&self) -> usize {
        self.message.as_ref().map_or(0, |partial| partial.bytes.len() - partial.processed)
    }

    /// Takes in what was read to its place, once `unmask` has unmasked it.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) fn process_direct(
        &mut self,
        unmask: impl FnOnce(&mut [u8]),
    ) -> Result<(), ProtocolError> {
        let Some(partial) = &mut self.message else {
            return Err(ProtocolError::UnexpectedContinuation);
        };
        let fresh = &mut partial.bytes[partial.processed..];
        unmask(fresh);
        if let Some(utf8) = &mut partial.utf8 {
            utf8.feed(fresh)?;
        }
        partial.processed = partial.bytes.len();
        Ok(())
    }

    /// Appends what comes of a piece of a compressed message, unmasked; `ends` if it is the last.
    ///
    /// # Errors
    /// As [`push`](Self::push); and if it is no DEFLATE data, or more than a message may have.
    pub(super) fn inflate(
        &mut self,
        piece: &[u8],
        ends: bool,
        inflater: &mut Inflater,
    ) -> Result<(), ProtocolError> {
        let Some(partial) = &mut self.message else {
            return Err(ProtocolError::UnexpectedContinuation);
        };
        let before = partial.bytes.len();
        let inflated = inflater.push(piece, &mut partial.bytes, self.max_len - partial.released);
        partial.processed = partial.bytes.len();
        // What came before a fault is judged before it, however the bytes were cut.
        if let Some(utf8) = &mut partial.utf8 {
            utf8.feed(&partial.bytes[before..])?;
        }
        inflated.map_err(|err| match err {
            ProtocolError::MessageTooLarge { .. } => {
                ProtocolError::MessageTooLarge { limit: self.max_len }
            }
            err => err,
        })?;
        if ends { inflater.finish() } else { Ok(()) }
    }

    /// Whether the message in progress has more than one frame; `fin` if this is its last.
    pub(super) fn is_fragmented(&self, fin: bool) -> bool {
        self.message.as_ref().is_some_and(|partial| !fin || partial.fragments > 1)
    }

    /// Gives out the fragment that has ended, and with the last one ends the message.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub(super) fn fragment(&mut self, fin: bool) -> Result<Fragment, ProtocolError> {
        let Some(partial) = &mut self.message else {
            return Err(ProtocolError::UnexpectedContinuation);
        };
        let (opcode, index) = (partial.opcode, partial.fragments.saturating_sub(1));
        if !fin {
            let bytes = partial.take_bytes();
            partial.released += bytes.len();
            return Ok(Fragment { opcode, index, bytes, fin });
        }
        let (_, bytes) = self.finish()?;
        Ok(Fragment { opcode, index, bytes, fin })
    }

    /// Ends the message and gives it out: whether it is text or binary, and its bytes. A text has
    /// been checked.
    ///
    /// # Errors
    /// If the text ends inside a character (RFC 6455, 8.1).
    pub(super) fn finish(&mut self) -> Result<(Opcode, Bytes), ProtocolError> {
        let mut partial = self.message.take().ok_or(ProtocolError::UnexpectedContinuation)?;
        if let Some(utf8) = &mut partial.utf8 {
            utf8.finish()?;
        }
        let bytes = partial.take_bytes();
        if partial.released == 0 {
            self.last_len = bytes.len();
        }
        Ok((partial.opcode, bytes))
    }

    /// Forgets the message in progress.
    pub(super) fn clear(&mut self) {
        self.message = None;
    }
}

impl PartialMessage {
    /// Makes room for `more` bytes: twice as much as before, so that tiny fragments don't cost an
    /// allocation each, but not more than the limit, so that a large message has at most that.
    fn reserve(&mut self, more: usize, limit: usize) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - len < more {
            let wanted = capacity.saturating_mul(2).max(MIN_CAPACITY).min(limit).max(len + more);
            self.bytes.reserve_exact(wanted - len);
        }
    }

    /// What came so far, in a buffer that has little room for more.
    fn take_bytes(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.processed = 0;
        if bytes.capacity() - bytes.len() > bytes.len().max(MAX_UNUSED_CAPACITY) {
            bytes.shrink_to_fit();
        }
        bytes.into()
    }
}

/// How little room is left in a buffer when more is made, and how much a message may keep beyond its
/// own bytes if these are not more.
const MAX_UNUSED_CAPACITY: usize = 32 << 10;

/// Room behind a message for what is read with its end.
#[cfg(feature = "client")]
const NEXT_HEADER_ROOM: usize = 16;

/// What the buffer of a message begins with, in bytes.
const MIN_CAPACITY: usize = 256;

impl std::fmt::Debug for PartialMessage {
    /// Without the payload, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartialMessage")
            .field("is_text", &self.utf8.is_some())
            .field("fragments", &self.fragments)
            .field("declared", &self.declared)
            .field("len", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(fin: bool, opcode: Opcode, len: u64) -> FrameHeader {
        FrameHeader { fin, opcode, mask: None, len }
    }

    /// Begins and fills a fragment.
    fn add(assembler: &mut Assembler, opcode: Opcode, piece: &[u8]) -> Result<(), ProtocolError> {
        assembler.begin(&header(false, opcode, piece.len() as u64), false)?;
        assembler.push(piece)
    }

    #[test]
    fn fragments_are_joined_in_order() {
        let mut assembler = Assembler::new(100, 3);
        add(&mut assembler, Opcode::Binary, b"\xffa").unwrap();
        add(&mut assembler, Opcode::Continuation, b"").unwrap();
        add(&mut assembler, Opcode::Continuation, b"b").unwrap();
        assert!(assembler.is_active());
        assert_eq!(assembler.finish(), Ok((Opcode::Binary, Bytes::from_static(b"\xffab"))));
        assert!(!assembler.is_active());
    }

    #[test]
    fn a_character_may_be_cut_by_a_fragment() {
        let mut assembler = Assembler::new(100, 3);
        add(&mut assembler, Opcode::Text, b"caf\xc3").unwrap();
        add(&mut assembler, Opcode::Continuation, b"\xa9").unwrap();
        assert_eq!(assembler.finish(), Ok((Opcode::Text, Bytes::from("caf\u{e9}"))));
    }

    #[test]
    fn a_text_is_refused_at_the_byte_that_spoils_it_or_at_its_end() {
        let mut assembler = Assembler::new(100, 3);
        add(&mut assembler, Opcode::Text, b"\xce\xba\xf4").unwrap();
        let err = add(&mut assembler, Opcode::Continuation, b"\x90");
        assert_eq!(err, Err(ProtocolError::InvalidUtf8));

        let mut assembler = Assembler::new(100, 3);
        add(&mut assembler, Opcode::Text, b"\xf4").unwrap();
        assert_eq!(assembler.finish(), Err(ProtocolError::InvalidUtf8));
    }

    #[test]
    fn a_frame_out_of_turn_is_refused() {
        let mut assembler = Assembler::new(100, 3);
        let lone = Err(ProtocolError::UnexpectedContinuation);
        assert_eq!(assembler.expect(Opcode::Continuation), lone);
        assert_eq!(add(&mut assembler, Opcode::Continuation, b""), lone);
        assert_eq!(assembler.push(b""), lone);
        assert_eq!(assembler.finish(), Err(ProtocolError::UnexpectedContinuation));

        add(&mut assembler, Opcode::Text, b"").unwrap();
        for opcode in [Opcode::Text, Opcode::Binary] {
            assert_eq!(assembler.expect(opcode), Err(ProtocolError::UnfinishedMessage));
        }
        for opcode in [Opcode::Continuation, Opcode::Close, Opcode::Ping, Opcode::Pong] {
            assert_eq!(assembler.expect(opcode), Ok(()));
        }
        assembler.clear();
        assert_eq!(assembler.expect(Opcode::Text), Ok(()));
    }

    #[test]
    fn the_fragments_of_a_message_are_counted_and_those_of_the_next_anew() {
        let mut assembler = Assembler::new(100, 2);
        for _ in 0..3 {
            add(&mut assembler, Opcode::Binary, b"").unwrap();
            add(&mut assembler, Opcode::Continuation, b"").unwrap();
            let err = Err(ProtocolError::TooManyFragments { limit: 2 });
            assert_eq!(assembler.expect(Opcode::Continuation), err);
            assembler.finish().unwrap();
        }
    }

    #[test]
    fn the_size_of_a_message_is_limited_by_what_is_declared() {
        let mut assembler = Assembler::new(10, 5);
        let err = Err(ProtocolError::MessageTooLarge { limit: 10 });
        assert_eq!(assembler.begin(&header(false, Opcode::Text, 11), false), err);
        assert!(!assembler.is_active());
        add(&mut assembler, Opcode::Binary, b"1234").unwrap();
        add(&mut assembler, Opcode::Continuation, b"567890").unwrap();
        for len in [1, u64::MAX >> 1, u64::MAX] {
            assert_eq!(assembler.begin(&header(false, Opcode::Continuation, len), false), err);
        }
        add(&mut assembler, Opcode::Continuation, b"").unwrap();
        assert_eq!(assembler.finish().unwrap().1.len(), 10);
    }

    #[test]
    fn its_buffer_grows_seldom_and_never_past_the_limit() {
        let limit = 10_000;
        let mut assembler = Assembler::new(limit, usize::MAX);
        assembler.begin(&header(false, Opcode::Binary, limit as u64), false).unwrap();
        let capacity = |assembler: &Assembler| assembler.message.as_ref().unwrap().bytes.capacity();
        assert_eq!(capacity(&assembler), 0, "nothing for an announcement");
        let mut capacities = vec![];
        for _ in 0..limit {
            assembler.push(b"x").unwrap();
            capacities.push(capacity(&assembler));
        }
        assert_eq!(capacities[255..257], [256, 512], "full before it grows");
        capacities.dedup();
        assert_eq!(capacities, [256, 512, 1024, 2048, 4096, 8192, 10_000]);
    }

    #[cfg(feature = "client")]
    #[test]
    fn room_is_made_for_what_is_wanted_or_usual_but_on_trust_for_no_more_than_that() {
        const TRUST: usize = 1 << 20;
        let mut assembler = Assembler::new(16 << 20, 100);
        let room = |assembler: &mut Assembler, len: usize, wanted: usize| {
            assembler.clear();
            assembler.begin(&header(false, Opcode::Binary, 8 << 20), false).unwrap();
            assembler.push(&vec![1; len]).unwrap();
            let place = assembler.direct_buffer(wanted, TRUST).unwrap();
            assert_eq!(place.len(), len);
            place.capacity() - len
        };
        assert_eq!(room(&mut assembler, 3, 70_000), 70_000 + NEXT_HEADER_ROOM);
        assert_eq!(room(&mut assembler, 3, 8 << 20), TRUST + NEXT_HEADER_ROOM);
        assert_eq!(
            room(&mut assembler, 2 << 20, 8 << 20),
            (2 << 20) + NEXT_HEADER_ROOM,
            "as much as came"
        );
        assert_eq!(room(&mut assembler, 2 << 20, 70_000), 2 << 20, "twice as much, seldom");
        assembler.finish().unwrap();
        assert_eq!(room(&mut assembler, 3, 70_000), TRUST + NEXT_HEADER_ROOM, "the last had two");
        assembler.clear();
        add(&mut assembler, Opcode::Binary, &[1; 200_000]).unwrap();
        assembler.finish().unwrap();
        assert_eq!(
            room(&mut assembler, 3, 70_000),
            200_000 - 3 + NEXT_HEADER_ROOM,
            "the last had so many"
        );
    }

    #[cfg(feature = "client")]
    #[test]
    fn what_was_read_to_its_place_is_unmasked_and_checked_once() {
        let mut assembler = Assembler::new(100, 3);
        add(&mut assembler, Opcode::Text, b"a\xc3").unwrap();
        assembler.begin(&header(true, Opcode::Continuation, 6), false).unwrap();
        for (piece, unmasked) in [(b"BC", b"\xa4c"), (b"DE", b"de")] {
            assembler.direct_buffer(4, 100).unwrap().extend_from_slice(piece);
            assert_eq!(assembler.unprocessed_direct(), 2);
            assembler.process_direct(|bytes| bytes.copy_from_slice(unmasked)).unwrap();
            assert_eq!(assembler.unprocessed_direct(), 0);
        }
        assembler.direct_buffer(1, 100).unwrap().push(0xff);
        assert_eq!(assembler.process_direct(|_| ()), Err(ProtocolError::InvalidUtf8));
        assembler.clear();
        assert_eq!(assembler.process_direct(|_| ()), Err(ProtocolError::UnexpectedContinuation));
    }

    #[cfg(feature = "client")]
    #[test]
    fn a_message_keeps_little_room_that_it_does_not_need() {
        let mut assembler = Assembler::new(1 << 20, 3);
        for len in [1 << 20, 1000, 300_000] {
            assembler.begin(&header(true, Opcode::Binary, len as u64), false).unwrap();
            assembler.direct_buffer(len, 1 << 20).unwrap().resize(len, 7);
            assembler.process_direct(|_| ()).unwrap();
            let (_, bytes) = assembler.finish().unwrap();
            let kept = bytes.try_into_mut().unwrap().capacity();
            assert!((len..=len + MAX_UNUSED_CAPACITY.max(len)).contains(&kept), "{kept} for {len}");
        }
    }

    #[test]
    fn its_buffer_takes_a_large_piece_without_growing_further() {
        let mut assembler = Assembler::new(1 << 20, 2);
        assembler.begin(&header(false, Opcode::Binary, 11_000), false).unwrap();
        assembler.push(&[1; 1_000]).unwrap();
        assembler.push(&[2; 10_000]).unwrap();
        assert_eq!(assembler.message.as_ref().unwrap().bytes.capacity(), 11_000);
    }
}

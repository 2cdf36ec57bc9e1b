//! Joins fragments to messages (RFC 6455, 5.4).

use bytes::Bytes;

use crate::proto::deflate::Inflater;
use crate::proto::error::ProtocolError;
use crate::proto::frame::{FrameHeader, Opcode};
use crate::proto::message::Fragment;
use crate::proto::utf8::Utf8;

/// Joins the fragments of one message at a time, in one growing buffer.
///
/// The buffer grows with the bytes that have arrived, not with the lengths that the peer has
/// declared. The exception is [`direct_buffer`](Self::direct_buffer), whose caller says how many
/// bytes may be allocated in advance.
#[derive(Debug)]
pub(super) struct Assembler {
    /// The most bytes of one message.
    max_len: usize,
    /// The most frames of one fragmented message.
    max_fragments: usize,
    /// Whether text is accepted without the check that it is UTF-8.
    skip_utf8_check: bool,
    /// The message in progress. Boxed, because most connections never have one.
    message: Option<Box<PartialMessage>>,
    /// The length in bytes of the last message that was not handed out by fragments.
    last_len: usize,
}

/// A message whose last fragment is not complete.
struct PartialMessage {
    /// The kind of the message: text or binary.
    opcode: Opcode,
    /// The UTF-8 check of the bytes so far; `None` if the message is binary or is not checked.
    utf8: Option<Utf8>,
    /// Whether the payload is compressed (RFC 7692, 6).
    compressed: bool,
    /// The number of its frames that have begun.
    fragments: usize,
    /// The sum of the lengths in the headers of those frames, in bytes.
    declared: usize,
    /// The bytes received so far, unmasked and inflated, without those that were released.
    bytes: Vec<u8>,
    /// How many of `bytes` are unmasked and checked. The others were read directly into the buffer
    /// since then.
    processed: usize,
    /// The bytes that were already handed out in fragments.
    released: usize,
}

impl Assembler {
    /// Creates an assembler for messages of at most this many bytes and fragments.
    #[must_use]
    pub(super) fn new(max_len: usize, max_fragments: usize) -> Self {
        Self { max_len, max_fragments, skip_utf8_check: false, message: None, last_len: 0 }
    }

    /// Sets whether text is accepted without the check that it is UTF-8.
    pub(super) fn skip_utf8_check(&mut self, skip: bool) {
        self.skip_utf8_check = skip;
    }

    /// Returns the most bytes and the most frames of one message.
    #[inline]
    pub(super) fn limits(&self) -> (usize, usize) {
        (self.max_len, self.max_fragments)
    }

    /// Returns whether a message is in progress.
    #[inline]
    #[must_use]
    pub(super) fn is_active(&self) -> bool {
        self.message.is_some()
    }

    /// Returns whether the message in progress is compressed and its payload goes to
    /// [`inflate`](Self::inflate).
    #[inline]
    pub(super) fn is_compressed(&self) -> bool {
        self.message.as_ref().is_some_and(|partial| partial.compressed)
    }

    /// Checks that a frame of this kind may come now.
    ///
    /// # Errors
    /// If it is a continuation without a message in progress, one fragment too many, or a new
    /// message before the last fragment of the one in progress (RFC 6455, 5.4).
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

    /// Begins the fragment of this header, the first or a further one of its message. `compressed`
    /// says whether the header marks the beginning of a compressed message (RFC 7692, 6).
    ///
    /// # Errors
    /// As [`expect`](Self::expect), and if the message would be too large with this fragment.
    pub(super) fn begin(
        &mut self,
        header: &FrameHeader,
        compressed: bool,
    ) -> Result<(), ProtocolError> {
        self.expect(header.opcode)?;
        let compressed = compressed || self.is_compressed();
        // DEFLATE makes incompressible data longer, by less than this. Whether the message is
        // really too large is known only once it is inflated.
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
    /// If the text cannot become valid UTF-8 any more (RFC 6455, 8.1).
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

    /// Returns the buffer of the message in progress, to read the next `wanted` bytes of the
    /// fragment directly into it. Then call [`process_direct`](Self::process_direct).
    ///
    /// The buffer has room for `wanted` bytes, or for as many as the last message had if that is
    /// more. But room for bytes that have not arrived is limited to `trust`, or to as much as has
    /// arrived if that is more.
    #[cfg(feature = "client")]
    pub(super) fn direct_buffer(&mut self, wanted: usize, trust: usize) -> Option<&mut Vec<u8>> {
        let (last_len, limit) = (self.last_len, self.max_len);
        let partial = self.message.as_mut()?;
        let len = partial.bytes.len();
        let most = len.max(trust);
        // Not for `NEXT_HEADER_ROOM` alone: the buffer that is full except for that would be
        // copied.
        if partial.bytes.capacity() - len < wanted.min(DIRECT_READ_ROOM) {
            let more = wanted.max(last_len.saturating_sub(len)).min(most);
            partial.reserve(more + NEXT_HEADER_ROOM, limit);
        }
        Some(&mut partial.bytes)
    }

    /// Returns how many bytes were read directly into the buffer and are not processed yet.
    pub(super) fn unprocessed_direct(&self) -> usize {
        self.message.as_ref().map_or(0, |partial| partial.bytes.len() - partial.processed)
    }

    /// Unmasks, with `unmask`, and checks the bytes that were read directly into the buffer.
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

    /// Appends the inflated bytes of a piece of a compressed message, which is unmasked. `ends`
    /// says whether it is the last piece.
    ///
    /// # Errors
    /// As [`push`](Self::push), and if the piece is not valid DEFLATE data or the message is too
    /// large.
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
        // The text before a fault is checked before the fault is reported, so that the error does
        // not depend on how the bytes were split.
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

    /// Returns whether the message in progress has more than one frame; `fin` says whether this is
    /// its last.
    pub(super) fn is_fragmented(&self, fin: bool) -> bool {
        self.message.as_ref().is_some_and(|partial| !fin || partial.fragments > 1)
    }

    /// Returns the fragment that is complete. The last one ends the message.
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

    /// Ends the message and returns its kind, text or binary, and its bytes. Text is valid UTF-8,
    /// unless the check is skipped.
    ///
    /// # Errors
    /// If the text ends inside a character (RFC 6455, 8.1).
    pub(super) fn finish(&mut self) -> Result<(Opcode, Bytes), ProtocolError> {
        let mut partial = self.message.take().ok_or(ProtocolError::UnexpectedContinuation)?;
        if let Some(utf8) = &mut partial.utf8 {
            utf8.finish()?;
        }
        let bytes = partial.take_bytes();
        // The length of a last fragment says nothing about the next whole message.
        if partial.released == 0 {
            self.last_len = bytes.len();
        }
        Ok((partial.opcode, bytes))
    }

    /// Drops the message in progress.
    pub(super) fn clear(&mut self) {
        self.message = None;
    }
}

impl PartialMessage {
    /// Makes room for `more` bytes. The capacity is at least doubled, so that tiny fragments do not
    /// cost an allocation each, but doubling stops at the limit of a message.
    fn reserve(&mut self, more: usize, limit: usize) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - len < more {
            let wanted = capacity.saturating_mul(2).max(MIN_CAPACITY).min(limit).max(len + more);
            self.bytes.reserve_exact(wanted - len);
        }
    }

    /// Takes the bytes received so far out of the buffer. The result is shrunk if more than a fifth of
    /// its capacity is unused: it may wait for a handler, or be kept by one, and is counted by its
    /// length.
    fn take_bytes(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.processed = 0;
        if bytes.capacity() - bytes.len() > bytes.len() / 4 {
            bytes.shrink_to_fit();
        }
        bytes.into()
    }
}

#[cfg(feature = "client")]
/// The room that is always enough for `direct_buffer`, in bytes: the buffer grows only when less is
/// left.
const DIRECT_READ_ROOM: usize = 32 << 10;

/// Room behind a message for the bytes that are read with its end, the header of the next frame, in
/// bytes.
#[cfg(feature = "client")]
const NEXT_HEADER_ROOM: usize = 16;

/// The initial capacity of the buffer of a message, in bytes.
const MIN_CAPACITY: usize = 256;

impl std::fmt::Debug for PartialMessage {
    /// Shows no payload, which may be secret.
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

    /// Begins a fragment and appends all of its payload.
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
            "the last message had this many"
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
            assert!((len..=len + DIRECT_READ_ROOM.max(len)).contains(&kept), "{kept} for {len}");
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

    #[test]
    fn compressed_data_may_be_longer_than_the_limit_by_an_eighth_and_1_kib() {
        let mut assembler = Assembler::new(1_000, 3);
        let most = 1_000 + 125 + 1_024;
        assert_eq!(assembler.begin(&header(false, Opcode::Text, most), true), Ok(()));
        let err = Err(ProtocolError::MessageTooLarge { limit: 1_000 });
        assert_eq!(assembler.begin(&header(false, Opcode::Continuation, 1), false), err);
        assembler.clear();
        assert_eq!(assembler.begin(&header(false, Opcode::Text, most + 1), true), err);
    }

    #[test]
    fn a_message_keeps_unused_room_of_a_quarter_of_its_length_and_no_more() {
        for (len, kept) in [(204, 204), (205, 256), (256, 256)] {
            let mut assembler = Assembler::new(1_000, 3);
            add(&mut assembler, Opcode::Binary, &vec![7; len]).unwrap();
            assert_eq!(assembler.message.as_ref().unwrap().bytes.capacity(), MIN_CAPACITY);
            let (_, bytes) = assembler.finish().unwrap();
            assert_eq!((bytes.len(), bytes.try_into_mut().unwrap().capacity()), (len, kept));
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn no_room_is_made_where_what_is_wanted_fits_exactly() {
        let mut assembler = Assembler::new(10_000, 3);
        add(&mut assembler, Opcode::Binary, &[7; 156]).unwrap();
        for (wanted, capacity) in [(100, 256), (101, 512)] {
            assert_eq!(assembler.direct_buffer(wanted, 1_000).unwrap().capacity(), capacity);
        }
    }
}

//! Messages that were read together: one buffer, and the position of each message in it.

use std::ops::Range;

use bytes::{Buf as _, Bytes};
use bytestring::ByteString;

use crate::proto::codec::MessageKind;
use crate::proto::frame::Opcode;
use crate::proto::message::{Payload, View};

/// Messages in order. A message that lies whole in the buffer is not copied. A message that was
/// joined from fragments or inflated is stored beside the buffer, as a *separate* one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    /// The bytes that were read.
    buffer: Bytes,
    /// The offset of the buffer's first byte, in the numbering that the spans use.
    base: usize,
    /// The position and the kind of each message.
    spans: Vec<Span>,
    /// How many messages at the front have been consumed.
    consumed: usize,
    /// The messages that are not in the buffer.
    separate: Vec<Bytes>,
    /// The bytes of memory that are held until the last message is dropped.
    held: usize,
}

/// The position of a message, in the buffer or in `separate`, and its kind: 30 bits of position, 30
/// of length, 4 of kind. One word, because a single read creates thousands of them.
#[derive(Clone, Copy, Debug)]
struct Span(u64);

/// The greatest offset that a message in the buffer may reach, in bytes.
pub(crate) const MAX_OFFSET: usize = (1 << 30) - 1;

/// The length in bytes from which a single message shares the buffer. A shorter one is copied: a
/// copy is cheaper than the atomic counter of a share.
const SHARE_FROM: usize = 256;

impl Messages {
    /// Creates an empty list with room for this many messages.
    pub(crate) fn with_capacity(messages: usize) -> Self {
        Self { spans: Vec::with_capacity(messages), ..Self::default() }
    }

    /// Appends a message that lies in the buffer; `seal` sets the buffer later.
    #[inline]
    pub(crate) fn push(&mut self, kind: MessageKind, place: Range<usize>) {
        self.spans.push(Span::new(place.start, place.len(), kind));
    }

    /// Appends a message with bytes of its own.
    pub(crate) fn push_separate(&mut self, kind: MessageKind, bytes: Bytes) {
        let span = Span::new(self.separate.len(), 0, kind).separate();
        self.held += bytes.len();
        self.separate.push(bytes);
        self.spans.push(span);
    }

    /// Returns the range from the first to the last message in the buffer; empty if there is none.
    pub(crate) fn extent(&self) -> Range<usize> {
        let mut inside = self.spans.iter().filter(|span| !span.is_separate());
        let Some(first) = inside.next() else {
            return 0..0;
        };
        let last = inside.next_back().unwrap_or(first);
        first.range(0).start..last.range(0).end
    }

    /// Sets the buffer, whose first byte has the offset `base`, and which holds `held` bytes of
    /// memory.
    pub(crate) fn seal(&mut self, buffer: Bytes, base: usize, held: usize) {
        self.buffer = buffer;
        self.base = base;
        self.held += held;
    }

    /// Returns the number of messages that are left.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.spans.len() - self.consumed
    }

    /// Returns whether no message is left.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of memory that are held until the last message is dropped, with the lists of
    /// messages, where each block of memory takes `block` bytes more than was asked for. It does not
    /// change while messages are consumed.
    #[inline]
    pub(crate) fn footprint(&self, block: usize) -> usize {
        let separate = self.separate.capacity() * size_of::<Bytes>() + self.separate.len() * block;
        self.held + self.spans.capacity() * size_of::<Span>() + separate
    }

    /// Returns what a message contributes to the footprint of messages that were compacted.
    pub(crate) fn own_footprint(&self, index: usize, block: usize) -> usize {
        let is_separate = self.span(index).is_some_and(Span::is_separate);
        let separate = if is_separate { size_of::<Bytes>() + block } else { 0 };
        size_of::<Span>() + separate + self.bytes(index).map_or(0, <[u8]>::len)
    }

    /// Returns the span of a message, counted from the first that is left.
    fn span(&self, index: usize) -> Option<Span> {
        self.spans.get(self.consumed.checked_add(index)?).copied()
    }

    /// Returns the bytes of a message, counted from the first that is left.
    #[inline]
    pub(crate) fn bytes(&self, index: usize) -> Option<&[u8]> {
        self.span(index).map(|span| self.bytes_of(span))
    }

    /// Returns the bytes of a span.
    #[inline]
    fn bytes_of(&self, span: Span) -> &[u8] {
        if span.is_separate() {
            &self.separate[span.start()]
        } else {
            &self.buffer[span.range(self.base)]
        }
    }

    /// Returns a message as a borrowed view.
    #[inline]
    pub(crate) fn view(&self, index: usize) -> Option<View<'_>> {
        self.span(index).map(|span| span.view(self.bytes_of(span)))
    }

    /// Returns all messages that are left as borrowed views.
    #[inline]
    pub(crate) fn views(&self) -> impl ExactSizeIterator<Item = View<'_>> {
        // Read once, not for each message.
        let (buffer, base) = (&self.buffer[..], self.base);
        self.spans[self.consumed..].iter().map(move |&span| {
            let inside = !span.is_separate();
            span.view(if inside { &buffer[span.range(base)] } else { &self.separate[span.start()] })
        })
    }

    /// Returns a message as a payload that shares the buffer.
    #[inline]
    pub(crate) fn payload(&self, index: usize) -> Option<Payload> {
        let span = self.span(index)?;
        let bytes = match span {
            span if span.is_separate() => self.separate[span.start()].clone(),
            span if span.len() == 0 => Bytes::new(),
            span => self.buffer.slice(span.range(self.base)),
        };
        Some(self.payload_of(span, bytes))
    }

    /// Returns a message as a payload that the application may keep: as
    /// [`payload`](Messages::payload), but a short message is copied.
    #[inline]
    pub(crate) fn payload_to_keep(&self, index: usize) -> Option<Payload> {
        let span = self.span(index)?;
        if span.is_separate() || span.len() >= SHARE_FROM {
            return self.payload(index);
        }
        Some(self.payload_of(span, copy_of(self.bytes_of(span))))
    }

    /// Turns the bytes of a span into a payload.
    ///
    /// Always inlined: as a call it returns the payload through memory, and the words that were
    /// just stored have to be read back before they can be moved on.
    #[inline(always)]
    fn payload_of(&self, span: Span, bytes: Bytes) -> Payload {
        match span.kind() {
            MessageKind::Text => match ByteString::try_from(bytes) {
                Ok(text) => Payload::Text(text),
                Err(_) => Payload::Binary(Bytes::copy_from_slice(self.bytes_of(span))),
            },
            MessageKind::Unchecked | MessageKind::Binary => Payload::Binary(bytes),
        }
    }

    /// Returns the kind of a message as its frame declared it, also for text that is not checked.
    pub(crate) fn opcode(&self, index: usize) -> Option<Opcode> {
        self.span(index).map(|span| span.kind().opcode())
    }

    /// Consumes the first message that is left.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.consumed = (self.consumed + 1).min(self.spans.len());
    }

    /// Takes the first `count` messages out. The memory that they hold is counted as theirs from
    /// then on. If they are a small part of the buffer they are copied, so that they do not hold
    /// all of it.
    pub(crate) fn split_front(&mut self, count: usize) -> Self {
        if count >= self.len() {
            return std::mem::take(self);
        }
        let end = self.consumed + count;
        let mut front = Self::with_capacity(count);
        let mut len = 0;
        for &span in &self.spans[self.consumed..end] {
            if span.is_separate() {
                front.push_separate(span.kind(), self.separate[span.start()].clone());
            } else {
                front.spans.push(span);
                len += span.len();
            }
        }
        self.consumed = end;
        front.seal(self.buffer.clone(), self.base, len);
        // Below a quarter of the memory a copy costs less than holding all of it.
        if len < self.held / 4 {
            front.compact();
        } else {
            self.held = self.held.saturating_sub(len);
        }
        front
    }

    /// Removes `count` messages, from the `at`-th that is left.
    pub(crate) fn remove(&mut self, at: usize, count: usize) {
        let at = self.consumed + at.min(self.len());
        let end = self.spans.len().min(at + count);
        self.spans.drain(at..end);
    }

    /// Removes the messages for which `keep` returns `false`, of those that are left. The memory that they hold
    /// is still counted.
    #[cold]
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(View<'_>) -> bool) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.drain(..std::mem::take(&mut self.consumed));
        spans.retain(|&span| keep(span.view(self.bytes_of(span))));
        self.spans = spans;
    }

    /// Copies the messages that are left into a buffer of their own, so that no more memory is held
    /// than they need.
    pub(crate) fn compact(&mut self) {
        let spans = &self.spans[self.consumed..];
        let mut left = Self::with_capacity(spans.len());
        left.separate.reserve_exact(spans.iter().filter(|span| span.is_separate()).count());
        let mut buffer = Vec::with_capacity(spans.iter().map(|span| span.len()).sum());
        for &span in spans {
            if span.is_separate() {
                left.push_separate(span.kind(), self.separate[span.start()].clone());
            } else {
                let start = buffer.len();
                buffer.extend_from_slice(self.bytes_of(span));
                left.push(span.kind(), start..buffer.len());
            }
        }
        let held = buffer.len();
        left.seal(buffer.into(), 0, held);
        *self = left;
    }
}

impl Span {
    /// Packs a position, a length and a kind into one word.
    ///
    /// # Panics
    /// If start or length is beyond [`MAX_OFFSET`], which the callers ensure.
    #[inline]
    fn new(start: usize, len: usize, kind: MessageKind) -> Self {
        assert!((start | len) <= MAX_OFFSET, "a buffer of messages is looked at up to 1 GiB");
        Self(start as u64 | (len as u64) << LEN_SHIFT | (kind as u64) << KIND_SHIFT)
    }

    /// Marks the start as an index of `separate`.
    fn separate(self) -> Self {
        Self(self.0 | SEPARATE_BIT)
    }

    /// Returns whether the start is an index of `separate`.
    #[inline]
    fn is_separate(self) -> bool {
        self.0 & SEPARATE_BIT != 0
    }

    /// Returns the offset in the buffer, or the index in `separate`.
    #[inline]
    fn start(self) -> usize {
        self.0 as usize & MAX_OFFSET
    }

    /// Returns the length in bytes; 0 for a separate message.
    #[inline]
    fn len(self) -> usize {
        (self.0 >> LEN_SHIFT) as usize & MAX_OFFSET
    }

    /// Returns the kind of the message.
    #[inline]
    fn kind(self) -> MessageKind {
        match self.0 >> KIND_SHIFT & 3 {
            TEXT_BITS => MessageKind::Text,
            UNCHECKED_BITS => MessageKind::Unchecked,
            _ => MessageKind::Binary,
        }
    }

    /// Returns the range in a buffer whose first byte has the offset `base`.
    #[inline]
    fn range(self, base: usize) -> Range<usize> {
        let start = self.start() - base;
        start..start + self.len()
    }

    /// Returns these bytes as a view.
    #[inline]
    fn view(self, bytes: &[u8]) -> View<'_> {
        match self.kind() {
            // Already checked, but without `unsafe` only a second check makes a `str` of it.
            MessageKind::Text => {
                simdutf8::basic::from_utf8(bytes).map_or(View::Binary(bytes), View::Text)
            }
            MessageKind::Unchecked | MessageKind::Binary => View::Binary(bytes),
        }
    }
}

/// The position of the length in a [`Span`].
const LEN_SHIFT: u32 = 30;
/// The position of the kind in a [`Span`].
const KIND_SHIFT: u32 = 60;
/// The bits of checked text.
const TEXT_BITS: u64 = MessageKind::Text as u64;
/// The bits of text that is not checked.
const UNCHECKED_BITS: u64 = MessageKind::Unchecked as u64;
/// The bit of a message that is not in the buffer.
const SEPARATE_BIT: u64 = 1 << 62;

/// Copies bytes into an allocation of their own.
///
/// Two sizes are avoided. Each message also needs an allocation of 24 bytes for its place in an
/// actor's mailbox, and one of 88 bytes for the envelope of an `event::Message`. glibc's allocator
/// caches only seven blocks of a size for each thread, so a copy of either size gets a larger
/// block.
#[inline]
fn copy_of(bytes: &[u8]) -> Bytes {
    match bytes.len() {
        0 => Bytes::new(),
        1..=24 => copy_behind::<24, 48>(bytes),
        73..=88 => copy_behind::<16, 104>(bytes),
        _ => Bytes::copy_from_slice(bytes),
    }
}

/// Copies at most `MAX - N` bytes behind a prefix of `N`, which is not part of the result but makes the
/// allocation larger.
///
/// Put together on the stack: with a `Vec` that was extended twice, a message of 16 bytes took 165
/// instructions more.
#[inline]
fn copy_behind<const N: usize, const MAX: usize>(bytes: &[u8]) -> Bytes {
    let mut block = [0; MAX];
    let end = N + bytes.len();
    block[N..end].copy_from_slice(bytes);
    let mut copy = Bytes::copy_from_slice(&block[..end]);
    copy.advance(N);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text, a separate binary, an empty binary and an unchecked text, in a buffer that begins at 3.
    fn four() -> Messages {
        let mut messages = Messages::with_capacity(4);
        messages.push(MessageKind::Text, 5..8);
        messages.push_separate(MessageKind::Binary, Bytes::from_static(b"own"));
        messages.push(MessageKind::Binary, 10..10);
        messages.push(MessageKind::Unchecked, 11..12);
        assert_eq!(messages.extent(), 5..12);
        messages.seal(Bytes::from_static(b"--abc---\xff"), 3, 9);
        messages
    }

    fn all(messages: &Messages) -> Vec<Vec<u8>> {
        let views: Vec<_> = messages.views().collect();
        let bytes = |index: usize| {
            let bytes = messages.bytes(index).unwrap();
            assert_eq!(messages.view(index), Some(views[index]));
            assert_eq!(views[index].as_bytes(), bytes);
            assert_eq!(messages.payload(index).unwrap().as_bytes(), bytes);
            bytes.to_vec()
        };
        (0..messages.len()).map(bytes).collect()
    }

    #[test]
    fn a_place_is_read_as_it_was_noted() {
        for start in [0, 1, MAX_OFFSET] {
            for len in [0, 1, MAX_OFFSET] {
                for kind in [MessageKind::Text, MessageKind::Unchecked, MessageKind::Binary] {
                    let span = Span::new(start, len, kind);
                    for (span, is_separate) in [(span, false), (span.separate(), true)] {
                        assert_eq!((span.start(), span.len()), (start, len));
                        assert_eq!((span.kind(), span.is_separate()), (kind, is_separate));
                    }
                }
            }
        }
    }

    #[test]
    fn each_is_found_where_it_lies() {
        let messages = four();
        assert_eq!(all(&messages), [&b"abc"[..], b"own", b"", b"\xff"]);
        assert_eq!(messages.view(0), Some(View::Text("abc")));
        assert_eq!(messages.view(3), Some(View::Binary(b"\xff")));
        let opcodes: Vec<_> = (0..4).filter_map(|index| messages.opcode(index)).collect();
        assert_eq!(opcodes, [Opcode::Text, Opcode::Binary, Opcode::Binary, Opcode::Text]);
        assert!(messages.payload(4).is_none() && messages.bytes(usize::MAX).is_none());
        assert_eq!(messages.held, 12);
        assert!(!messages.is_empty());
    }

    #[test]
    fn a_short_one_goes_its_own_way_without_the_buffer() {
        let messages = four();
        for index in 0..messages.len() {
            assert_eq!(messages.payload_to_keep(index), messages.payload(index));
        }
        assert_eq!(messages.payload_to_keep(4), None);
        for len in 1..=SHARE_FROM {
            for kind in [MessageKind::Text, MessageKind::Binary] {
                let mut messages = Messages::default();
                messages.push(kind, 1..1 + len);
                messages.seal(Bytes::from(vec![b'a'; len + 2]), 0, 0);
                let (own, shared) = (messages.payload_to_keep(0), messages.payload(0));
                assert_eq!(own, shared);
                drop(shared);
                assert_eq!(messages.buffer.is_unique(), len < SHARE_FROM, "{len}");
            }
        }
    }

    #[test]
    fn they_go_from_the_front_one_by_one_or_in_parts() {
        let mut messages = four();
        messages.advance();
        assert_eq!(all(&messages), [&b"own"[..], b"", b"\xff"]);
        let front = messages.split_front(2);
        assert_eq!(all(&front), [&b"own"[..], b""]);
        // Few bytes are copied; a separate message is shared by both.
        assert_eq!((front.held, messages.held), (3, 12));
        assert_eq!(all(&messages), [b"\xff"]);
        messages.advance();
        messages.advance();
        assert!(messages.is_empty() && messages.view(0).is_none());
    }

    #[test]
    fn each_part_answers_for_the_memory_that_it_keeps() {
        let chunk = || {
            let mut messages = Messages::default();
            messages.push(MessageKind::Binary, 0..300);
            messages.push(MessageKind::Binary, 300..310);
            messages.push(MessageKind::Binary, 310..400);
            messages.seal(Bytes::from(vec![7; 400]), 0, 1000);
            messages
        };
        let mut messages = chunk();
        assert_eq!(messages.split_front(3).held, 1000, "nothing is left to answer for it");
        assert!(messages.is_empty() && messages.held == 0);
        let mut messages = chunk();
        let most = messages.split_front(1);
        assert_eq!((most.held, messages.held), (300, 700));
        let few = messages.split_front(1);
        assert_eq!((few.held, messages.held), (10, 700));
        assert!(few.buffer.is_unique(), "it keeps nothing of the chunk");
        assert_eq!((all(&few), all(&messages)), (vec![vec![7; 10]], vec![vec![7; 90]]));
    }

    #[test]
    fn what_is_left_of_them_holds_no_more_than_it_has() {
        let mut messages = four();
        messages.advance();
        messages.remove(1, 1);
        assert_eq!(all(&messages), [&b"own"[..], b"\xff"]);
        messages.compact();
        assert_eq!(all(&messages), [&b"own"[..], b"\xff"]);
        assert_eq!(messages.held, 4);
        messages.remove(0, 9);
        messages.compact();
        assert_eq!((messages.len(), messages.held), (0, 0));
    }

    #[test]
    fn a_part_of_a_quarter_of_the_memory_is_shared_and_a_smaller_one_is_copied() {
        for (len, left) in [(99, 400), (100, 300)] {
            let mut messages = Messages::default();
            messages.push(MessageKind::Binary, 0..len);
            messages.push(MessageKind::Binary, len..200);
            messages.seal(Bytes::from(vec![7; 200]), 0, 400);
            let front = messages.split_front(1);
            assert_eq!((front.held, messages.held), (len, left));
            assert_eq!(front.buffer.is_unique(), len < 100);
        }
    }

    #[test]
    fn what_was_compacted_takes_the_sum_of_what_each_message_contributes() {
        const BLOCK: usize = 16;
        // Three messages: a list that grows has room for four.
        let mut messages = four();
        messages.advance();
        messages.compact();
        let parts: Vec<_> = (0..3).map(|index| messages.own_footprint(index, BLOCK)).collect();
        assert_eq!(parts, [8 + size_of::<Bytes>() + BLOCK + 3, 8, 8 + 1]);
        assert_eq!(messages.footprint(BLOCK), parts.iter().sum::<usize>());
    }

    #[test]
    fn a_copy_is_equal_and_of_no_size_that_an_event_allocates() {
        for len in 0..300 {
            let bytes = vec![7; len];
            let copy = copy_of(&bytes);
            assert_eq!(copy, bytes);
            // What lies in front of a copy is part of this capacity.
            let allocated = Vec::from(copy).capacity();
            assert!(allocated >= len && allocated <= len + 24, "{allocated} for {len}");
            // The sizes that share glibc's blocks of 24 and of 88 bytes.
            assert!(!(1..=24).contains(&allocated), "{allocated} for {len}");
            assert!(!(73..=88).contains(&allocated), "{allocated} for {len}");
        }
    }
}

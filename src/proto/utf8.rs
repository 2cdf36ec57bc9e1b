//! Checks UTF-8 that arrives in pieces.

use simdutf8::compat;

use crate::proto::error::ProtocolError;

/// A validator that receives a text piece by piece and rejects it at the first byte that no
/// continuation can make valid (RFC 6455, 8.1).
#[derive(Clone, Debug)]
pub(super) struct Utf8 {
    /// How many bytes the character in progress still needs; 0 between characters.
    needed: u8,
    /// The least value that the next byte inside a character may have.
    lower: u8,
    /// The greatest value that the next byte inside a character may have.
    upper: u8,
}

impl Utf8 {
    /// Creates a validator at the beginning of a text.
    #[inline]
    #[must_use]
    pub(super) const fn new() -> Self {
        Self { needed: 0, lower: 0x80, upper: 0xbf }
    }

    /// Checks the next piece, which may be empty.
    ///
    /// # Errors
    /// If the text cannot become valid UTF-8 any more, whatever follows. The validator must not be
    /// used for that text after an error.
    #[inline]
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let bytes = if self.needed == 0 { bytes } else { self.complete(bytes)? };
        // The usual case, short ASCII, without a call of `characters`.
        if bytes.len() < SIMD_FROM && bytes.is_ascii() {
            return Ok(());
        }
        self.characters(bytes)
    }

    /// Ends the text and makes the validator ready for the next one.
    ///
    /// # Errors
    /// If the text ends inside a character.
    #[inline]
    pub(super) fn finish(&mut self) -> Result<(), InvalidUtf8> {
        match std::mem::take(self).needed {
            0 => Ok(()),
            _ => Err(InvalidUtf8),
        }
    }

    /// Consumes the bytes that the character in progress needs and returns the rest.
    fn complete<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        while self.needed > 0
            && let Some((&byte, rest)) = bytes.split_first()
        {
            if !(self.lower..=self.upper).contains(&byte) {
                return Err(InvalidUtf8);
            }
            // Only the second byte of a character has a range of its own.
            *self = Self { needed: self.needed - 1, ..Self::new() };
            bytes = rest;
        }
        Ok(bytes)
    }

    /// Checks bytes that begin with a whole character and may end inside one.
    fn characters(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let Err(err) = compat::from_utf8(bytes) else {
            return Ok(());
        };
        // `None` means that the input ends inside a character, which the next piece may complete.
        if err.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        let (&lead, rest) = bytes[err.valid_up_to()..]
            .split_first()
            .expect("a text that ends too early has a character in progress");
        *self = Self::after_lead(lead);
        self.complete(rest).map(drop)
    }

    /// Returns what may follow the first byte of a character of two to four bytes (Unicode, table
    /// 3-7). The narrow ranges exclude overlong forms, surrogates and code points above U+10FFFF.
    fn after_lead(lead: u8) -> Self {
        let (needed, lower, upper) = match lead {
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => (1, 0x80, 0xbf),
        };
        Self { needed, lower, upper }
    }
}

impl Default for Utf8 {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

/// The length in bytes from which SIMD is faster than `is_ascii`, which works on words.
const SIMD_FROM: usize = 64;

/// The text is not valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidUtf8;

impl From<InvalidUtf8> for ProtocolError {
    fn from(_: InvalidUtf8) -> Self {
        Self::InvalidUtf8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number of bytes after which the standard library rejects `text` whatever follows; `None` if it
    /// never does.
    fn lost_at(text: &[u8]) -> Option<usize> {
        (1..=text.len()).find(|&end| match std::str::from_utf8(&text[..end]) {
            Ok(_) => false,
            Err(err) => err.error_len().is_some(),
        })
    }

    /// Feeds `text` in pieces that end where `cuts` has a bit. Returns after how many bytes it was
    /// rejected, or whether it may end there.
    fn feed(text: &[u8], cuts: u32) -> Result<bool, usize> {
        let mut utf8 = Utf8::new();
        let mut begin = 0;
        for end in 1..=text.len() {
            if end == text.len() || cuts >> (end - 1) & 1 == 1 {
                utf8.feed(&text[begin..end]).map_err(|_| end)?;
                begin = end;
            }
        }
        Ok(utf8.finish().is_ok())
    }

    /// Compares the validator with the standard library, at every split of `text`.
    fn check(text: &[u8]) {
        let lost = lost_at(text);
        let ends = std::str::from_utf8(text).is_ok();
        for cuts in 0..1 << text.len().saturating_sub(1) {
            // Rejected with the piece that has the invalid byte.
            let expected = match lost {
                None => Ok(ends),
                Some(lost) => Err((lost..text.len())
                    .find(|end| cuts >> (end - 1) & 1 == 1)
                    .unwrap_or(text.len())),
            };
            assert_eq!(feed(text, cuts), expected, "{text:x?} cut at {cuts:b}");
        }
    }

    /// One byte of each kind in Unicode's table 3-7, and both ends of each range.
    const KINDS: [u8; 28] = [
        0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
        0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xfc, 0xfe, 0xff,
    ];

    #[test]
    fn a_cut_character_may_go_on_and_a_surrogate_is_refused_at_its_second_byte() {
        let mut utf8 = Utf8::new();
        assert_eq!(utf8.feed(b"caf\xc3"), Ok(()));
        assert_eq!(utf8.feed(b"\xa9"), Ok(()));
        assert_eq!(utf8.finish(), Ok(()));
        assert_eq!(Utf8::new().feed(b"\xed\xa0"), Err(InvalidUtf8));
    }

    #[test]
    fn one_and_two_bytes_are_judged_as_std_judges_them() {
        for a in 0..=u8::MAX {
            check(&[a]);
            for b in 0..=u8::MAX {
                check(&[a, b]);
            }
        }
    }

    /// All 16.8 million sequences, at all four splits, but for those whose first two bytes are invalid.
    #[test]
    fn three_bytes_are_judged_as_std_judges_them() {
        for a in 0..=u8::MAX {
            let mut one = Utf8::new();
            if one.feed(&[a]).is_err() {
                assert_eq!(lost_at(&[a]), Some(1));
                continue;
            }
            for b in 0..=u8::MAX {
                let (mut split, mut joined) = (one.clone(), Utf8::new());
                let doomed = lost_at(&[a, b]).is_some();
                assert_eq!(split.feed(&[b]).is_err(), doomed);
                assert_eq!(joined.feed(&[a, b]).is_err(), doomed);
                if doomed {
                    continue;
                }
                for c in 0..=u8::MAX {
                    let (lost, ends) = match std::str::from_utf8(&[a, b, c]) {
                        Ok(_) => (false, true),
                        Err(err) => (err.error_len().is_some(), false),
                    };
                    let pieces: [(Utf8, &[u8]); 4] = [
                        (Utf8::new(), &[a, b, c]),
                        (one.clone(), &[b, c]),
                        (split.clone(), &[c]),
                        (joined.clone(), &[c]),
                    ];
                    for (mut utf8, piece) in pieces {
                        let fed = utf8.feed(piece).is_ok();
                        assert_eq!((fed, fed && utf8.finish().is_ok()), (!lost, ends));
                    }
                }
            }
        }
    }

    #[test]
    fn three_and_four_bytes_of_every_kind_are_judged_as_std_judges_them() {
        for a in KINDS {
            for b in KINDS {
                for c in KINDS {
                    check(&[a, b, c]);
                }
            }
        }
        for a in [0x41, 0xc2, 0xe0, 0xed, 0xf0, 0xf1, 0xf4, 0xf5] {
            for b in KINDS {
                for c in [0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xe1, 0xf0] {
                    for d in [0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xe1, 0xf0] {
                        check(&[a, b, c, d]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_character_is_accepted_at_every_split() {
        for character in ('\u{0}'..=char::MAX).step_by(7) {
            let mut bytes = [0; 4];
            let text = character.encode_utf8(&mut bytes).as_bytes();
            for cut in 0..text.len() {
                let mut utf8 = Utf8::new();
                assert_eq!(utf8.feed(&text[..cut]), Ok(()));
                assert_eq!(utf8.feed(&text[cut..]), Ok(()));
                assert_eq!(utf8.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn a_bad_byte_is_found_anywhere_in_short_and_long_texts() {
        for len in [1, 7, 8, 9, 63, 64, 65, 200] {
            for at in 0..len {
                let mut text = vec![b'a'; len];
                assert_eq!(Utf8::new().feed(&text), Ok(()));
                text[at] = 0xff;
                assert_eq!(Utf8::new().feed(&text), Err(InvalidUtf8), "{at} of {len}");
            }
        }
    }

    #[test]
    fn bad_bytes_do_not_make_up_for_each_other() {
        for byte in [0x80, 0xff] {
            for len in 1..200 {
                assert_eq!(Utf8::new().feed(&vec![byte; len]), Err(InvalidUtf8), "{len}");
            }
        }
    }

    #[test]
    fn after_its_end_it_is_ready_for_another_text() {
        let mut utf8 = Utf8::new();
        assert_eq!(utf8.feed(b"\xf0\x9f\x92"), Ok(()));
        assert_eq!(utf8.finish(), Err(InvalidUtf8));
        assert_eq!(utf8.feed(b"fresh"), Ok(()));
        assert_eq!(utf8.finish(), Ok(()));
    }

    proptest! {
        #[test]
        fn a_long_text_in_pieces_is_judged_as_std_judges_the_whole(
            text in "\\PC{0,200}",
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut text = text.into_bytes();
            if let Some((at, byte)) = damage && !text.is_empty() {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let lost = lost_at(&text);
            let mut utf8 = Utf8::new();
            let mut begin = 0;
            cuts.sort_by_key(|cut| cut.index(text.len() + 1));
            let ends = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([text.len()]);
            for end in ends {
                let fed = utf8.feed(&text[begin..end]);
                begin = end;
                prop_assert_eq!(fed.is_err(), lost.is_some_and(|lost| lost <= end));
                if fed.is_err() {
                    return Ok(());
                }
            }
            prop_assert_eq!(utf8.finish().is_ok(), std::str::from_utf8(&text).is_ok());
        }
    }
}

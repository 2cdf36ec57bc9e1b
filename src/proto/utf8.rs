//! UTF-8, checked as the bytes come.

use derive_more::{Display, Error};
use simdutf8::compat;

use crate::proto::error::ProtocolError;

/// A validator that is fed a text piece by piece and refuses it at the first byte that no continuation
/// can mend (RFC 6455, 8.1).
///
/// ```
/// use actix_ws_client::proto::utf8::Utf8;
///
/// let mut utf8 = Utf8::new();
/// assert!(utf8.feed(b"caf\xc3").is_ok()); // may still become "café"
/// assert!(utf8.feed(b"\xa9").is_ok());
/// assert!(utf8.finish().is_ok());
/// assert!(Utf8::new().feed(b"\xed\xa0").is_err()); // a surrogate: already lost
/// ```
#[derive(Clone, Debug)]
pub struct Utf8 {
    /// How many bytes the character in progress still needs; 0 between characters.
    needed: u8,
    /// The least byte that may come next inside a character.
    lower: u8,
    /// The greatest byte that may come next inside a character.
    upper: u8,
}

impl Utf8 {
    /// A validator at the beginning of a text.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            needed: 0,
            lower: 0x80,
            upper: 0xbf,
        }
    }

    /// Checks the next piece; an empty one is fine.
    ///
    /// # Errors
    /// If the text cannot become UTF-8 any more, whatever follows. Feed it nothing after that.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let bytes = if self.needed == 0 {
            bytes
        } else {
            self.complete(bytes)?
        };
        if bytes.len() < SHORT && is_ascii(bytes) {
            return Ok(());
        }
        self.characters(bytes)
    }

    /// Ends the text and makes the validator ready for another.
    ///
    /// # Errors
    /// If the text ends inside a character.
    #[inline]
    pub fn finish(&mut self) -> Result<(), InvalidUtf8> {
        match std::mem::take(self).needed {
            0 => Ok(()),
            _ => Err(InvalidUtf8),
        }
    }

    /// Takes from `bytes` what the character in progress needs and gives back the rest.
    fn complete<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        while self.needed > 0
            && let Some((&byte, rest)) = bytes.split_first()
        {
            if !(self.lower..=self.upper).contains(&byte) {
                return Err(InvalidUtf8);
            }
            *self = Self {
                needed: self.needed - 1,
                ..Self::new()
            };
            bytes = rest;
        }
        Ok(bytes)
    }

    /// Checks `bytes`, which begin with a character and may end inside one.
    fn characters(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let Err(err) = compat::from_utf8(bytes) else {
            return Ok(());
        };
        if err.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        let (&lead, rest) = bytes[err.valid_up_to()..]
            .split_first()
            .expect("a text that ends too early has a character in progress");
        *self = Self::after_lead(lead);
        self.complete(rest).map(drop)
    }

    /// What may follow the first byte of a character of two to four bytes (Unicode, table 3-7).
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
        Self {
            needed,
            lower,
            upper,
        }
    }
}

impl Default for Utf8 {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

/// From this many bytes on SIMD pays.
const SHORT: usize = 64;

/// Whether all bytes are ASCII, eight at a time.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let high = words
        .iter()
        .fold(0, |high, word| high | u64::from_ne_bytes(*word))
        | rest.iter().fold(0, |high, byte| high | u64::from(*byte));
    high & 0x8080_8080_8080_8080 == 0
}

/// The text is not UTF-8: send it as binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Error)]
#[display("text is not utf-8")]
pub struct InvalidUtf8;

impl From<InvalidUtf8> for ProtocolError {
    fn from(_: InvalidUtf8) -> Self {
        Self::InvalidUtf8
    }
}

//! The bearer token that requests must have.

use std::hint::black_box;
use std::path::Path;

use crate::from_file;

/// A token.
#[derive(Clone)]
pub(crate) struct Token(Vec<u8>);

/// The shortest token, in bytes: 16 random ones cannot be guessed over a network.
const MIN_LEN: usize = 16;

/// The largest file with a token, in bytes.
const MAX_FILE: usize = 4096;

impl Token {
    /// Reads a token from a file, without the white space around it.
    ///
    /// # Errors
    /// If the file cannot be read, or what is in it is too short or cannot stand in a header.
    pub(crate) fn read(path: &Path) -> Result<Token, String> {
        let bytes = from_file::read(path, MAX_FILE, "it")?;
        Token::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Token, String> {
        let token = bytes.trim_ascii();
        if token.len() < MIN_LEN {
            let len = token.len();
            return Err(format!("expected a token of at least {MIN_LEN} characters, not of {len}"));
        }
        match token.iter().all(u8::is_ascii_graphic) {
            true => Ok(Token(token.to_vec())),
            false => {
                Err("expected a token of printable ASCII characters without spaces".to_owned())
            }
        }
    }

    /// Whether the value of an `Authorization` header has this token. The time that it takes depends on the length of
    /// the value alone.
    pub(crate) fn is_in(&self, authorization: &[u8]) -> bool {
        const SCHEME: &[u8] = b"bearer ";
        let Some((scheme, given)) = authorization.split_at_checked(SCHEME.len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(SCHEME) && self.is(given)
    }

    fn is(&self, given: &[u8]) -> bool {
        let mut difference = self.0.len() ^ given.len();
        for (at, byte) in given.iter().enumerate() {
            let own = self.0[at % self.0.len()];
            difference |= black_box(usize::from(own ^ byte));
        }
        black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token::parse(b" 0123456789abcdef\n").unwrap();
        assert!(token.is_in(b"Bearer 0123456789abcdef"));
        assert!(token.is_in(b"bearer 0123456789abcdef"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeg",
            "Bearer 1123456789abcdef",
            "Bearer 0123456789abcdef0123456789abcdef",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_or_not_be_sent_is_refused() {
        for wrong in [&b""[..], b"\n", b"short", b"0123456789 abcdef", b"0123456789abcde\xff"] {
            assert!(Token::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

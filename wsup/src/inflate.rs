//! Compressed text in binary messages, shown as text, as wsdump does.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Inflates a payload that is nothing but compressed text. Returns the name of the format and the text:
/// `gzip`, or `zlib` for a zlib stream and for bare deflate. Returns `None` for anything else, and for
/// text of more than `limit` bytes.
pub(crate) fn text(bytes: &[u8], limit: usize) -> Option<(&'static str, String)> {
    match bytes {
        [0x1f, 0x8b, ..] => {
            Some(("gzip", text_of(bounded(&mut MultiGzDecoder::new(bytes), limit)?)?))
        }
        // RFC 1950, 2.2: the method, and a check of the two bytes.
        [method, flags, ..]
            if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31) =>
        {
            let mut decoder = ZlibDecoder::new(bytes);
            let inflated = bounded(&mut decoder, limit)?;
            Some(("zlib", text_of(whole(inflated, decoder.total_in(), bytes)?)?))
        }
        _ => {
            let mut decoder = DeflateDecoder::new(bytes);
            let inflated = bounded(&mut decoder, limit)?;
            Some(("zlib", text_of(whole(inflated, decoder.total_in(), bytes)?)?))
        }
    }
}

/// The formats of compressed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressed {
    Gzip,
    Zlib,
    Deflate,
}

/// Inflates a payload of this format to text of at most `limit` bytes. Returns `None` for anything else.
pub(crate) fn as_text(bytes: &[u8], format: Compressed, limit: usize) -> Option<String> {
    let inflated = match format {
        Compressed::Gzip => bounded(&mut MultiGzDecoder::new(bytes), limit),
        Compressed::Zlib => bounded(&mut ZlibDecoder::new(bytes), limit),
        Compressed::Deflate => bounded(&mut DeflateDecoder::new(bytes), limit),
    };
    String::from_utf8(inflated?).ok()
}

fn bounded(decoder: &mut impl Read, limit: usize) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut inflated).ok()?;
    (inflated.len() <= limit).then_some(inflated)
}

/// Returns the inflated bytes, unless bytes follow the compressed stream.
fn whole(inflated: Vec<u8>, read: u64, bytes: &[u8]) -> Option<Vec<u8>> {
    (read == bytes.len() as u64).then_some(inflated)
}

/// Returns the text if it is UTF-8 and not empty: a few bytes of another kind may happen to inflate to
/// nothing.
fn text_of(inflated: Vec<u8>) -> Option<String> {
    String::from_utf8(inflated).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const WORDS: &[u8] = "hello, hello, é".as_bytes();

    fn all() -> [(&'static str, Vec<u8>); 3] {
        let level = Compression::default;
        let mut gzip = GzEncoder::new(Vec::new(), level());
        let mut zlib = ZlibEncoder::new(Vec::new(), level());
        let mut bare = DeflateEncoder::new(Vec::new(), level());
        gzip.write_all(WORDS).unwrap();
        zlib.write_all(WORDS).unwrap();
        bare.write_all(WORDS).unwrap();
        let made = [gzip.finish(), zlib.finish(), bare.finish()].map(Result::unwrap);
        let [gzip, zlib, bare] = made;
        [("gzip", gzip), ("zlib", zlib), ("zlib", bare)]
    }

    #[test]
    fn whole_compressed_text_is_text_and_nothing_else_is() {
        for (mark, bytes) in all() {
            let words = String::from_utf8(WORDS.to_vec()).unwrap();
            assert_eq!(text(&bytes, WORDS.len()), Some((mark, words)));
            assert_eq!(text(&bytes, WORDS.len() - 1), None, "{mark}: past the bound");
            assert_eq!(text(&bytes[..bytes.len() - 1], 100), None, "{mark}: cut short");
            assert_eq!(text(&[&bytes[..], b"x"].concat(), 100), None, "{mark}: more behind it");
        }
        for bytes in [&b""[..], b"plain", &[0, 255, 16], &[3, 0], &[0x1f, 0x8b]] {
            assert_eq!(text(bytes, 100), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_bomb_is_inflated_to_the_bound_and_no_further() {
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![b'0'; 32 << 20]).unwrap();
        let bomb = bomb.finish().unwrap();
        assert_eq!(text(&bomb, 1 << 20), None);
        let mut decoder = ZlibDecoder::new(&bomb[..]);
        assert_eq!(bounded(&mut decoder, 1 << 20), None);
        assert_eq!(decoder.total_out(), (1 << 20) + 1);
    }
}

//! Masking: the XOR that every byte from a client to a server goes through (RFC 6455, 5.3).

use bytes::BytesMut;

/// A fresh masking key from a cryptographically secure generator (RFC 6455, 10.3); take one for each
/// frame.
#[inline]
#[must_use]
pub fn key() -> [u8; 4] {
    rand::random()
}

/// Masks or unmasks in place; the first byte of `buf` is the first of the payload.
///
/// ```
/// use actix_ws_client::proto::mask::mask;
///
/// let mut hello = *b"\x7f\x9f\x4d\x51\x58"; // RFC 6455, 5.7
/// mask(&mut hello, [0x37, 0xfa, 0x21, 0x3d]);
/// assert_eq!(&hello, b"Hello");
/// ```
#[inline]
pub fn mask(buf: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = buf.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// Appends `src` masked to `dst`, in one pass over memory.
#[inline]
pub fn mask_into(dst: &mut BytesMut, src: &[u8], key: [u8; 4]) {
    dst.reserve(src.len());
    // Each block is masked while it is still in the first-level cache; a multiple of four bytes, so
    // that the key starts anew with each.
    for block in src.chunks(BLOCK) {
        let start = dst.len();
        dst.extend_from_slice(block);
        mask(&mut dst[start..], key);
    }
}

/// How many bytes `mask_into` copies before it masks them.
const BLOCK: usize = 4096;

/// The key for the rest of a payload of which `done` bytes have been masked already.
#[inline]
#[must_use]
pub fn rotate(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

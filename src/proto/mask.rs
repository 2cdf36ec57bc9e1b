//! Masking: the XOR of every payload byte that a client sends to a server (RFC 6455, 5.3).

use std::cell::RefCell;

use bytes::BytesMut;
use rand::RngExt;

/// Returns a new masking key from a cryptographically secure generator (RFC 6455, 10.3). Each frame
/// needs its own.
#[inline]
#[must_use]
pub(super) fn key() -> [u8; 4] {
    KEYS.with_borrow_mut(|keys| {
        if keys.used == keys.drawn.len() {
            keys.draw();
        }
        let key = keys.drawn[keys.used];
        keys.used += 1;
        key.to_ne_bytes()
    })
}

/// Keys that the thread has drawn from its generator in advance: one call for many keys is cheaper
/// than one call for each.
struct Keys {
    /// The keys of the last draw.
    drawn: [u32; 64],
    /// How many of them were returned.
    used: usize,
}

thread_local! {
    static KEYS: RefCell<Keys> = const { RefCell::new(Keys { drawn: [0; 64], used: 64 }) };
}

impl Keys {
    /// Draws new keys.
    #[cold]
    fn draw(&mut self) {
        rand::rng().fill(&mut self.drawn);
        self.used = 0;
    }
}

/// Masks or unmasks a payload in place, from its first byte.
#[inline]
pub(super) fn mask(buf: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    // Eight bytes at a time.
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = buf.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    // At most 7 bytes are left, and 8 is a multiple of 4, so the key starts at its first byte.
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// Appends a payload to `dst` and masks it, in one pass over memory.
#[inline]
pub(super) fn mask_into(dst: &mut BytesMut, src: &[u8], key: [u8; 4]) {
    dst.reserve(src.len());
    // The compiler keeps a block of constant length in registers. The length is a multiple of four,
    // so that the key starts at its first byte in each block.
    let (blocks, rest) = src.as_chunks::<BLOCK>();
    for block in blocks {
        let mut block = *block;
        mask(&mut block, key);
        dst.extend_from_slice(&block);
    }
    if !rest.is_empty() {
        let start = dst.len();
        dst.extend_from_slice(rest);
        mask(&mut dst[start..], key);
    }
}

/// How many bytes `mask_into` masks at a time.
const BLOCK: usize = 128;

/// Returns the key for the rest of a payload of which `done` bytes are masked already.
#[inline]
#[must_use]
pub(super) fn rotate(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// RFC 6455, 5.3, as it is written there.
    fn by_the_book(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    #[test]
    fn the_example_of_the_rfc_is_unmasked() {
        let mut hello = *b"\x7f\x9f\x4d\x51\x58"; // RFC 6455, 5.7
        mask(&mut hello, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(&hello, b"Hello");
    }

    #[test]
    fn a_known_key_masks_hello_and_konnichiwa_as_the_rfc_says() {
        let masked = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            mask(&mut bytes, *b"abcd");
            bytes
        };
        assert_eq!(masked("Hello"), b")\x07\x0f\x08\x0e");
        let expected = b"\x82\xe3\xf0\x87\xe3\xf1\x80\xe5\xca\x81\xe2\xc5\x82\xe3\xcc";
        assert_eq!(masked("こんにちは"), expected);
        // Masking zeros yields the key.
        assert_eq!(masked("\0\0\0\0"), b"abcd");
        assert_eq!(masked(""), b"");
    }

    #[test]
    fn every_short_length_is_masked_as_the_rfc_says() {
        let payload: Vec<u8> = (0..100).collect();
        let key = *b"\x01\x20\x40\x80";
        for len in 0..payload.len() {
            let mut masked = payload[..len].to_vec();
            mask(&mut masked, key);
            assert_eq!(masked, by_the_book(&payload[..len], key));
        }
    }

    proptest! {
        #[test]
        fn masked_in_pieces_is_masked_whole(
            payload in prop::collection::vec(any::<u8>(), 0..100),
            key: [u8; 4],
            cut: prop::sample::Index,
        ) {
            let cut = cut.index(payload.len() + 1);
            let mut masked = payload.clone();
            mask(&mut masked[..cut], key);
            mask(&mut masked[cut..], rotate(key, cut));
            prop_assert_eq!(masked, by_the_book(&payload, key));
        }

        #[test]
        fn masked_while_copying_is_masked_in_place(len in 0..3 * BLOCK, seed: u8, key: [u8; 4]) {
            let payload: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
            let mut dst = BytesMut::from("before");
            mask_into(&mut dst, &payload, key);
            prop_assert_eq!(&dst[..6], b"before");
            prop_assert_eq!(&dst[6..], by_the_book(&payload, key));
        }
    }

    #[test]
    fn keys_are_fresh() {
        let keys: HashSet<_> = (0..10_000).map(|_| key()).collect();
        // Of 10,000 random values of 32 bits, 0.01 are expected twice; five have a probability of 10^-13.
        assert!(keys.len() > 9_995, "{} of 10,000", keys.len());
    }

    #[test]
    fn every_bit_of_a_key_is_even() {
        let mut ones = [0_u32; 32];
        for _ in 0..10_000 {
            let key = u32::from_be_bytes(key());
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += key >> bit & 1;
            }
        }
        // 5,000 are expected, with a deviation of 50; eight deviations have a probability of 10^-15.
        assert!(ones.iter().all(|ones| (4_600..5_400).contains(ones)), "{ones:?}");
    }
}

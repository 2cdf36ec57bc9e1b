//! The records that arrive in a handshake.

/// Follows the headers of records (RFC 8446, 5.1), to see whether one was encrypted as TLS 1.3 does it. What comes after
/// that is authenticated; the handshake of TLS 1.2 and the first message of a server are not.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; 5],
    /// The bytes of the header that have arrived.
    filled: usize,
    /// The bytes of the record that have not arrived.
    left: usize,
    encrypted: bool,
}

/// The type of an encrypted record (RFC 8446, 5.2). A handshake of TLS 1.2 has none.
const APPLICATION_DATA: u8 = 23;

impl Records {
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let body = self.left.min(bytes.len());
                self.left -= body;
                bytes = &bytes[body..];
                continue;
            }
            self.header[self.filled] = first;
            self.filled = (self.filled + 1) % self.header.len();
            if self.filled == 0 {
                let [kind, _, _, high, low] = self.header;
                self.left = u16::from_be_bytes([high, low]).into();
                self.encrypted |= kind == APPLICATION_DATA;
            }
            bytes = rest;
        }
    }

    /// Whether an encrypted record has arrived.
    pub(super) fn has_encrypted(&self) -> bool {
        self.encrypted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encrypted_record_is_found_in_any_pieces() {
        let clear =
            [&[22, 3, 3, 0, 3, 23, 23, 23][..], &[20, 3, 3, 0, 0], &[21, 3, 3, 0, 2, 2, 40]];
        let clear = clear.concat();
        let encrypted = [&clear[..], &[23, 3, 3, 0, 1, 0]].concat();
        for (bytes, expected) in [(clear, false), (encrypted, true)] {
            for size in 1..=bytes.len() {
                let mut records = Records::default();
                bytes.chunks(size).for_each(|piece| records.add(piece));
                assert_eq!(records.has_encrypted(), expected, "{size}");
            }
        }
    }
}

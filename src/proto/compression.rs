//! permessage-deflate (RFC 7692): what a client offers, and what the server accepted.

use derive_more::{Display, Error};

use crate::proto::deflate::{AVAILABLE, Available, Context, Deflater, Deflation, Inflater, Tuning};
use crate::proto::frame::Role;

/// Whether and how messages are compressed: the offer to the server, and our own settings.
///
/// A connection uses this much memory, none of it before the first compressed message of a
/// direction:
///
/// | | with context takeover | without |
/// |---|---|---|
/// | receiving | 47 KiB, whatever the window | 47 KiB, only inside a message |
/// | sending | 131 KiB + 2^(window bits + 2) + 7 · 2^(memory level + 6): 371 KiB with 15 and 8, 161 KiB with 12 and 5 | 0 |
///
/// Without context takeover, one compressor and one decompressor serve all connections of a thread.
/// The default is takeover for incoming messages and none for outgoing ones, so that a connection
/// which has received compressed messages uses 47 KiB.
///
/// In a build without the feature `deflate`, every value is [`off`](Compression::off).
///
/// ```
/// use actix_ws_client::proto::compression::Compression;
///
/// let small = Compression::new().server_max_window_bits(10).client_max_window_bits(10);
/// # if cfg!(feature = "deflate") {
/// assert_eq!(
///     small.offer().as_deref(),
///     Some("permessage-deflate; client_no_context_takeover; \
///           server_max_window_bits=10; client_max_window_bits=10"),
/// );
/// # }
/// assert_eq!(Compression::off().offer(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Evidence that this build can compress; `None` if compression is off.
    available: Option<Available>,
    /// Whether the server is asked to compress each message independently.
    server_no_context_takeover: bool,
    /// Whether we compress each message independently.
    client_no_context_takeover: bool,
    /// The largest window that the server is asked to use; `None` asks for nothing.
    server_max_window_bits: Option<u8>,
    /// The largest window that we use; `None` does not let the server choose a smaller one.
    client_max_window_bits: Option<u8>,
    /// Messages with fewer bytes are sent uncompressed.
    threshold: usize,
    /// The compression level, 1 to 9.
    level: u8,
    /// The memory level, 1 to 9.
    mem_level: u8,
    /// The first value that was out of its range, and was not set.
    invalid: Option<InvalidCompression>,
}

impl Compression {
    /// Creates the default offer: `permessage-deflate; client_no_context_takeover;
    /// client_max_window_bits`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            available: AVAILABLE,
            server_no_context_takeover: false,
            client_no_context_takeover: true,
            server_max_window_bits: None,
            client_max_window_bits: Some(15),
            threshold: 1024,
            level: 6,
            mem_level: 8,
            invalid: None,
        }
    }

    /// Creates a value that offers nothing, so that no message is compressed in either direction.
    #[must_use]
    pub fn off() -> Self {
        Self { available: None, ..Self::new() }
    }

    /// Sets whether the server is asked to compress each message independently (RFC 7692, 7.1.1.1).
    /// Default: false, because the messages of a feed are much alike.
    ///
    /// A server that cannot do so will not compress at all.
    #[must_use]
    pub fn server_no_context_takeover(mut self, alone: bool) -> Self {
        self.server_no_context_takeover = alone;
        self
    }

    /// Sets whether we compress each message independently (RFC 7692, 7.1.1.2). Default: true,
    /// because the compressor uses by far the most memory and most clients send little.
    ///
    /// The server may demand it too.
    #[must_use]
    pub fn client_no_context_takeover(mut self, alone: bool) -> Self {
        self.client_no_context_takeover = alone;
        self
    }

    /// Sets the largest window that the server may use, as a power of two, 8 to 15 (RFC 7692,
    /// 7.1.2.1). Default: `None`, the server's choice.
    ///
    /// It saves no memory on our side. A server that cannot obey will not compress at all.
    #[must_use]
    pub fn server_max_window_bits(mut self, bits: impl Into<Option<u8>>) -> Self {
        let bits = bits.into();
        if self.allows("server_max_window_bits", bits, WINDOW_BITS) {
            self.server_max_window_bits = bits;
        }
        self
    }

    /// Sets the largest window that we use, as a power of two, 8 to 15 (RFC 7692, 7.1.2.2).
    /// Default: 15. The server may demand a smaller one.
    ///
    /// With 8, nothing is sent compressed. With `None` the server cannot demand a smaller one, and
    /// the window is 15.
    #[must_use]
    pub fn client_max_window_bits(mut self, bits: impl Into<Option<u8>>) -> Self {
        let bits = bits.into();
        if self.allows("client_max_window_bits", bits, WINDOW_BITS) {
            self.client_max_window_bits = bits;
        }
        self
    }

    /// Sets the length in bytes below which messages are sent uncompressed. Default: 1,024, as in
    /// node's `ws`.
    ///
    /// A message that gets no smaller is sent uncompressed in any case.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets the compression level, from 1, the fastest, to 9, the smallest. Default: 6.
    #[must_use]
    pub fn level(mut self, level: u8) -> Self {
        if self.allows("level", Some(level), LEVELS) {
            self.level = level;
        }
        self
    }

    /// Sets the memory of the compressor besides its window, from 1, the least, to 9. Default: 8.
    /// See the table above.
    #[must_use]
    pub fn mem_level(mut self, level: u8) -> Self {
        if self.allows("mem_level", Some(level), LEVELS) {
            self.mem_level = level;
        }
        self
    }

    /// Checks that every value that was set was in its range. One that was not has changed nothing.
    ///
    /// # Errors
    /// The first value that was out of its range.
    pub fn check(&self) -> Result<(), InvalidCompression> {
        self.invalid.map_or(Ok(()), Err)
    }

    /// Returns whether a value is in its range, and notes the first one that is not.
    fn allows(&mut self, name: &'static str, value: Option<u8>, range: (u8, u8)) -> bool {
        let (least, most) = range;
        let allowed = value.is_none_or(|value| (least..=most).contains(&value));
        if !allowed && self.invalid.is_none() {
            self.invalid = Some(InvalidCompression { name, least, most });
        }
        allowed
    }

    /// Returns the value of `Sec-WebSocket-Extensions` in the request (RFC 7692, 7.1); `None` if
    /// compression is off.
    #[must_use]
    pub fn offer(&self) -> Option<String> {
        self.available?;
        let mut offer = String::from(NAME);
        let mut add = |parameter: &str| {
            offer.push_str("; ");
            offer.push_str(parameter);
        };
        if self.server_no_context_takeover {
            add(SERVER_NO_TAKEOVER);
        }
        if self.client_no_context_takeover {
            add(CLIENT_NO_TAKEOVER);
        }
        if let Some(bits) = self.server_max_window_bits {
            add(&format!("{SERVER_BITS}={bits}"));
        }
        match self.client_max_window_bits {
            // RFC 7692, 7.1.2.2: the value may be left out, and the server may then choose any.
            Some(15) => add(CLIENT_BITS),
            Some(bits) => add(&format!("{CLIENT_BITS}={bits}")),
            None => {}
        }
        Some(offer)
    }

    /// Compares the server's `Sec-WebSocket-Extensions` lines with the offer. Without such a line
    /// nothing was negotiated.
    ///
    /// # Errors
    /// If the lines are anything but one acceptance of the offer (RFC 7692, 7.1): another extension
    /// or a second one; a parameter that is unknown, repeated, malformed, out of its range or
    /// beyond the offer; or the lack of a parameter that was asked for.
    pub fn agree<'a>(
        &self,
        answer: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Agreed>, NotAsOffered> {
        let lines: Vec<&str> = answer
            .into_iter()
            .map(|line| std::str::from_utf8(line).map_err(|_| NotAsOffered))
            .collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Ok(None);
        }
        // Quoted values are not treated: a comma or a semicolon inside one makes the element
        // invalid, and no parameter that we know has such a value.
        let mut elements =
            lines.iter().flat_map(|line| line.split(',')).map(trim).filter(|one| !one.is_empty());
        let (Some(element), None) = (elements.next(), elements.next()) else {
            return Err(NotAsOffered);
        };
        self.accept(&Acceptance::parse(element)?).map(Some)
    }

    /// Compares the parameters of the acceptance with the offer.
    fn accept(&self, answer: &Acceptance) -> Result<Agreed, NotAsOffered> {
        let available = self.available.ok_or(NotAsOffered)?;
        // RFC 7692, 7.1.1.1: a server accepts this request by repeating it, or must decline the
        // whole offer.
        let is_alone = answer.server_no_context_takeover || !self.server_no_context_takeover;
        let server_bits =
            server_window_bits(self.server_max_window_bits, answer.server_max_window_bits);
        // RFC 7692, 7.1.2.2: allowed only if it was offered, and not larger.
        let client_bits = match (self.client_max_window_bits, answer.client_max_window_bits) {
            (None, None) => Some(15),
            (Some(ours), None) => Some(ours),
            (Some(ours), Some(theirs)) if theirs <= ours => Some(theirs),
            _ => None,
        };
        match (is_alone, server_bits, client_bits) {
            (true, Some(server_bits), Some(client_bits)) => Ok(Agreed {
                available,
                server: Context {
                    window_bits: server_bits,
                    takeover: !answer.server_no_context_takeover,
                },
                client: Context {
                    window_bits: client_bits,
                    takeover: !answer.client_no_context_takeover
                        && !self.client_no_context_takeover,
                },
                tuning: Tuning {
                    threshold: self.threshold,
                    level: self.level,
                    mem_level: self.mem_level,
                },
            }),
            _ => Err(NotAsOffered),
        }
    }
}

/// The least and the greatest window, as a power of two.
const WINDOW_BITS: (u8, u8) = (8, 15);

/// The least and the greatest level.
const LEVELS: (u8, u8) = (1, 9);

impl Default for Compression {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the window of the server; `None` if it is larger than was asked for, or the server did
/// not repeat what was asked for (RFC 7692, 7.1.2.1).
fn server_window_bits(asked: Option<u8>, answered: Option<u8>) -> Option<u8> {
    match (asked, answered) {
        (None, answered) => Some(answered.unwrap_or(15)),
        (Some(asked), Some(answered)) if answered <= asked => Some(answered),
        _ => None,
    }
}

const NAME: &str = "permessage-deflate";
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// The parameters in the server's reply, whatever was offered.
#[derive(Default)]
struct Acceptance {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Acceptance {
    /// Parses one element of the list (RFC 6455, 9.1).
    fn parse(element: &str) -> Result<Self, NotAsOffered> {
        let mut parts = element.split(';').map(trim);
        if parts.next() != Some(NAME) {
            return Err(NotAsOffered);
        }
        let mut answer = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (trim(name), Some(trim(value))),
                None => (part, None),
            };
            let is_new = match (name, value) {
                (SERVER_NO_TAKEOVER, None) => set(&mut answer.server_no_context_takeover),
                (CLIENT_NO_TAKEOVER, None) => set(&mut answer.client_no_context_takeover),
                (SERVER_BITS, Some(value)) => {
                    answer.server_max_window_bits.replace(bits(value)?).is_none()
                }
                (CLIENT_BITS, Some(value)) => {
                    answer.client_max_window_bits.replace(bits(value)?).is_none()
                }
                _ => false,
            };
            // RFC 7692, 7.1: an unknown or repeated parameter makes the whole element invalid.
            if !is_new {
                return Err(NotAsOffered);
            }
        }
        Ok(answer)
    }
}

/// Sets a flag. Returns whether it was unset before.
fn set(flag: &mut bool) -> bool {
    !std::mem::replace(flag, true)
}

/// Parses a number from 8 to 15, a token or quoted, without leading zeros (RFC 7692, 7.1.2).
fn bits(value: &str) -> Result<u8, NotAsOffered> {
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value = quoted.unwrap_or(value);
    (8..=15).find(|bits| value == bits.to_string()).ok_or(NotAsOffered)
}

/// Removes the white space that HTTP allows around a token (RFC 9110, 5.6.3).
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The compression that was negotiated with the peer, and our own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Evidence that this build can compress.
    available: Available,
    /// What the server compresses with.
    server: Context,
    /// What the client compresses with.
    client: Context,
    /// How hard we compress.
    tuning: Tuning,
}

impl Agreed {
    /// Returns whether the server compresses each message independently.
    #[must_use]
    pub fn server_no_context_takeover(&self) -> bool {
        !self.server.takeover
    }

    /// Returns whether the client compresses each message independently.
    #[must_use]
    pub fn client_no_context_takeover(&self) -> bool {
        !self.client.takeover
    }

    /// Returns the size of the server's window, as a power of two.
    #[must_use]
    pub fn server_max_window_bits(&self) -> u8 {
        self.server.window_bits
    }

    /// Returns the size of the client's window, as a power of two.
    #[must_use]
    pub fn client_max_window_bits(&self) -> u8 {
        self.client.window_bits
    }

    /// Creates the compressor and the decompressor of a connection at its first frame.
    pub(super) fn deflation(self, role: Role) -> Deflation {
        let (theirs, ours) = match role {
            Role::Client => (self.server, self.client),
            Role::Server => (self.client, self.server),
        };
        Deflation {
            inflater: Inflater::new(self.available, theirs),
            deflater: Deflater::new(self.available, ours, self.tuning),
        }
    }
}

/// A value of [`Compression`] is out of its range: pass one from the range that the text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Error)]
#[display("{name} must be from {least} to {most}")]
pub struct InvalidCompression {
    /// The method that set the value.
    name: &'static str,
    /// The least allowed value.
    least: u8,
    /// The greatest allowed value.
    most: u8,
}

/// The server's reply is not an acceptance of the offer (RFC 7692, 7.1): fail the handshake. If the
/// server cannot be changed, connect with [`Compression::off`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Error)]
#[display("an extension that was not offered, or not as it was offered")]
pub struct NotAsOffered;

#[cfg(test)]
#[cfg(feature = "deflate")]
mod tests {
    use super::*;

    fn agree(compression: Compression, answer: &str) -> Result<Option<Agreed>, NotAsOffered> {
        compression.agree([answer.as_bytes()])
    }

    /// Takeover of server and client, window bits of server and client.
    fn agreed(compression: Compression, answer: &str) -> (bool, bool, u8, u8) {
        let agreed = agree(compression, answer).unwrap().unwrap();
        (
            !agreed.server_no_context_takeover(),
            !agreed.client_no_context_takeover(),
            agreed.server_max_window_bits(),
            agreed.client_max_window_bits(),
        )
    }

    #[test]
    fn an_offer_says_what_was_set() {
        let offer = |compression: Compression| compression.offer().unwrap();
        let base = Compression::new();
        let default = "permessage-deflate; client_no_context_takeover; client_max_window_bits";
        assert_eq!(offer(base), default);
        let plain = base.client_no_context_takeover(false).client_max_window_bits(None);
        assert_eq!(offer(plain), "permessage-deflate");
        let full = base
            .server_no_context_takeover(true)
            .server_max_window_bits(15)
            .client_max_window_bits(8);
        assert_eq!(
            offer(full),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=15; client_max_window_bits=8"
        );
        assert_eq!(Compression::off().offer(), None);
    }

    #[test]
    fn an_answer_is_agreed_to_within_the_offer() {
        let base = Compression::new().client_no_context_takeover(false);
        let name = "permessage-deflate";
        assert_eq!(agreed(base, name), (true, true, 15, 15));
        assert_eq!(agreed(Compression::new(), name), (true, false, 15, 15));
        // Allowed although it was not asked for (RFC 7692, 7.1.1.1 to 7.1.2.1).
        let unasked = "permessage-deflate;server_no_context_takeover;client_no_context_takeover; \
                       server_max_window_bits=8";
        assert_eq!(agreed(base.client_max_window_bits(None), unasked), (false, false, 8, 15));
        let quoted = " ,permessage-deflate ; client_max_window_bits = \"10\"\t,";
        assert_eq!(agreed(base, quoted), (true, true, 15, 10));
        let small = base.client_max_window_bits(11).server_max_window_bits(12);
        let answer = "permessage-deflate; server_max_window_bits=12";
        assert_eq!(agreed(small, answer), (true, true, 12, 11));
        assert_eq!(base.agree([]), Ok(None));
    }

    #[test]
    fn an_answer_outside_the_offer_is_refused() {
        let base = Compression::new();
        for answer in [
            "",
            ",",
            "x-webkit-deflate-frame",
            "Permessage-Deflate",
            "permessage-deflate;",
            "permessage-deflate; foo",
            "permessage-deflate; foo=1",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate, foo",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover=",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits=\"9,10\"",
            "permessage-deflate; server_max_window_bits=",
        ] {
            assert_eq!(agree(base, answer), Err(NotAsOffered), "{answer}");
        }
        let name = "permessage-deflate";
        let refused =
            |compression, answer| assert_eq!(agree(compression, answer), Err(NotAsOffered));
        refused(Compression::off(), name);
        refused(base.server_no_context_takeover(true), name);
        refused(base.server_max_window_bits(10), name);
        refused(base.server_max_window_bits(10), "permessage-deflate; server_max_window_bits=11");
        refused(base.client_max_window_bits(None), "permessage-deflate; client_max_window_bits=15");
        refused(base.client_max_window_bits(10), "permessage-deflate; client_max_window_bits=11");
        assert_eq!(base.agree([&b"permessage-deflate; \xff"[..]]), Err(NotAsOffered));
        assert_eq!(base.agree([name.as_bytes(), name.as_bytes()]), Err(NotAsOffered));
    }

    /// Without `check` too, which only `start` is known to call.
    #[test]
    fn values_out_of_range_are_not_used() {
        let payload = [b'x'; 2048];
        for value in 0..=u8::MAX {
            let compression = Compression::new()
                .level(value)
                .mem_level(value)
                .server_max_window_bits(value)
                .client_max_window_bits(value)
                .threshold(0);
            let bits = compression.server_max_window_bits.unwrap_or(15);
            let answer = format!("permessage-deflate; server_max_window_bits={bits}");
            let agreed = agree(compression, &answer).unwrap().unwrap();
            let mut deflation = agreed.deflation(Role::Client);
            let compressed = deflation.deflater.compress(&payload);
            assert_eq!(compressed.is_some(), agreed.client.window_bits > 8, "{value}");
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        let base = Compression::new();
        assert_eq!(base.check(), Ok(()));
        let table = [
            (base.server_max_window_bits(7), "server_max_window_bits must be from 8 to 15"),
            (base.client_max_window_bits(16), "client_max_window_bits must be from 8 to 15"),
            (base.level(0), "level must be from 1 to 9"),
            (base.mem_level(10), "mem_level must be from 1 to 9"),
            (base.mem_level(10).level(0).mem_level(9), "mem_level must be from 1 to 9"),
        ];
        for (compression, words) in table {
            assert_eq!(compression.check().unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn a_setting_leaves_the_others_as_they_are() {
        let compression = Compression::new()
            .level(2)
            .mem_level(3)
            .server_max_window_bits(10)
            .client_max_window_bits(11)
            .server_no_context_takeover(true)
            .client_no_context_takeover(false)
            .threshold(7);
        let expected = "permessage-deflate; server_no_context_takeover; \
                        server_max_window_bits=10; client_max_window_bits=11";
        assert_eq!(compression.offer().unwrap(), expected);
        let agreed = agree(compression, expected).unwrap().unwrap();
        assert_eq!(agreed.tuning, Tuning { threshold: 7, level: 2, mem_level: 3 });
        assert_eq!(compression.check(), Ok(()));
    }
}

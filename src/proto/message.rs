//! The items that a connection carries: messages, pings, pongs and closes, which cannot be built in
//! an invalid form.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;
use derive_more::{Display, Error};

use crate::proto::close::{CloseFrame, MAX_CONTROL_PAYLOAD};
use crate::proto::frame::Opcode;

/// A whole data message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias("Message", "frame_data"))]
pub enum Payload {
    /// Text, which is UTF-8.
    Text(ByteString),
    /// Any bytes.
    Binary(Bytes),
}

impl Payload {
    /// Returns the length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns whether the message has no bytes, which is valid.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Returns the bytes, also of a text.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Returns the text, if it is one.
    #[inline]
    #[must_use]
    #[doc(alias("to_text", "as_str"))]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// Returns the bytes, also of a text, without copying.
    #[inline]
    #[must_use]
    #[doc(alias = "into_data")]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Returns a copy with memory of its own. Use it for a message that is kept for long, which
    /// would otherwise hold the whole buffer that it was read into, often 64 KiB.
    #[must_use]
    pub fn detach(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(ByteString::from(&**text)),
            Self::Binary(bytes) => Self::Binary(Bytes::copy_from_slice(bytes)),
        }
    }
}

/// A whole data message, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View<'a> {
    /// Text, which is UTF-8.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

impl<'a> View<'a> {
    /// Returns the length in bytes.
    #[inline]
    #[must_use]
    pub fn len(self) -> usize {
        self.as_bytes().len()
    }

    /// Returns whether the message has no bytes, which is valid.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Returns the bytes, also of a text.
    #[inline]
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Returns the text, if it is one.
    #[inline]
    #[must_use]
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// Returns a copy with memory of its own.
    #[must_use]
    pub fn to_payload(self) -> Payload {
        match self {
            Self::Text(text) => Payload::Text(text.into()),
            Self::Binary(bytes) => Payload::Binary(Bytes::copy_from_slice(bytes)),
        }
    }
}

/// Writes a text as it is, and binary data escaped as in a byte string literal: `\x00\xffok`.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Binary(bytes) => bytes.escape_ascii().fmt(f),
        }
    }
}

/// Writes what [`Payload`] writes.
impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Binary(bytes) => bytes.escape_ascii().fmt(f),
        }
    }
}

/// Writes the bytes escaped as in a byte string literal.
impl fmt::Display for ControlPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// The bytes, also of a text.
impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// The bytes, also of a text.
impl AsRef<[u8]> for View<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Whether it is this text; binary data never is.
impl PartialEq<str> for Payload {
    fn eq(&self, text: &str) -> bool {
        self.as_text() == Some(text)
    }
}

/// Whether it is this text; binary data never is.
impl PartialEq<&str> for Payload {
    fn eq(&self, text: &&str) -> bool {
        self.as_text() == Some(*text)
    }
}

/// Whether it is this text; binary data never is.
impl PartialEq<str> for View<'_> {
    fn eq(&self, text: &str) -> bool {
        self.as_text() == Some(text)
    }
}

/// Whether it is this text; binary data never is.
impl PartialEq<&str> for View<'_> {
    fn eq(&self, text: &&str) -> bool {
        self.as_text() == Some(*text)
    }
}

/// The text, without copying.
impl TryFrom<Payload> for ByteString {
    type Error = NotText;

    fn try_from(payload: Payload) -> Result<Self, NotText> {
        match payload {
            Payload::Text(text) => Ok(text),
            Payload::Binary(bytes) => Err(NotText { bytes }),
        }
    }
}

/// A copy of the text.
impl TryFrom<Payload> for String {
    type Error = NotText;

    fn try_from(payload: Payload) -> Result<Self, NotText> {
        ByteString::try_from(payload).map(|text| text.to_string())
    }
}

/// The text, borrowed.
impl<'a> TryFrom<&'a Payload> for &'a str {
    type Error = NotText;

    fn try_from(payload: &'a Payload) -> Result<Self, NotText> {
        match payload {
            Payload::Text(text) => Ok(text),
            Payload::Binary(bytes) => Err(NotText { bytes: bytes.clone() }),
        }
    }
}

/// The bytes, also of a text, without copying.
impl From<Payload> for Bytes {
    fn from(payload: Payload) -> Self {
        payload.into_bytes()
    }
}

/// Text was expected, and the message is binary. The error has its bytes.
#[derive(Clone, PartialEq, Eq, Display, Error)]
#[display("a binary message of {} bytes where text was expected", bytes.len())]
#[non_exhaustive]
pub struct NotText {
    /// The message.
    pub bytes: Bytes,
}

impl fmt::Debug for NotText {
    /// Shows the length alone: a payload may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotText({} bytes)", self.bytes.len())
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<ByteString> for Payload {
    fn from(text: ByteString) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// The payload of a Ping or a Pong: at most 125 bytes (RFC 6455, 5.5).
///
/// ```
/// use actix_ws_client::proto::message::ControlPayload;
///
/// assert_eq!(&ControlPayload::new("tick")?[..], b"tick");
/// assert!(ControlPayload::new(vec![0; 126]).is_err());
/// # Ok::<(), actix_ws_client::proto::message::ControlTooLong>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPayload(Bytes);

impl ControlPayload {
    /// Creates a payload from these bytes.
    ///
    /// # Errors
    /// If there are more than 125.
    #[inline]
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, ControlTooLong> {
        let bytes = bytes.into();
        match bytes.len() {
            0..=MAX_CONTROL_PAYLOAD => Ok(Self(bytes)),
            len => Err(ControlTooLong { len }),
        }
    }

    /// Returns the bytes, without copying.
    #[inline]
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for ControlPayload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The payload does not fit into a control frame: shorten it, or send a message instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Error)]
#[display("control payload of {len} bytes, over the limit of 125")]
pub struct ControlTooLong {
    /// The length of the payload in bytes.
    pub len: usize,
}

/// An item that was received from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A whole data message, joined from its fragments if it had several.
    Message(Payload),
    /// A whole text message that was not checked to be UTF-8; see
    /// [`Codec::unchecked_text`](crate::proto::codec::Codec::unchecked_text).
    Unchecked(Bytes),
    /// A fragment of a message; see
    /// [`Codec::by_fragment`](crate::proto::codec::Codec::by_fragment).
    Fragment(Fragment),
    /// A Ping, which requires a Pong.
    Ping(ControlPayload),
    /// A Pong, solicited or not.
    Pong(ControlPayload),
    /// A Close, with its code and reason unless it was empty. Nothing follows it.
    Close(Option<CloseFrame>),
}

/// A fragment of a message, as it was received (RFC 6455, 5.4). It may begin or end inside a
/// character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The kind of the message, `Text` or `Binary`, also for a continuation frame.
    pub opcode: Opcode,
    /// The position in the message, from 0.
    pub index: usize,
    /// The payload of the fragment, inflated if it was compressed.
    pub bytes: Bytes,
    /// Whether it is the last fragment of the message.
    pub fin: bool,
}

/// An item to send to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outgoing {
    /// A whole data message, in one frame.
    Message(Payload),
    /// A whole data message, in frames of at most this many bytes, and at least one (RFC 6455,
    /// 5.4).
    Fragments(Payload, usize),
    /// A Ping.
    Ping(ControlPayload),
    /// A Pong, solicited or not (RFC 6455, 5.5.3).
    Pong(ControlPayload),
    /// A Close, empty if `None`. Nothing may follow it.
    Close(Option<CloseFrame>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_shows_its_bytes_whatever_it_is() {
        let text = Payload::from("caf\u{e9}");
        assert_eq!((text.len(), text.is_empty()), (5, false));
        assert_eq!((text.as_bytes(), text.as_text()), (&b"caf\xc3\xa9"[..], Some("caf\u{e9}")));
        assert_eq!(text.into_bytes(), &b"caf\xc3\xa9"[..]);

        let binary = Payload::from(vec![0xff, 0x00]);
        assert_eq!((binary.len(), binary.is_empty()), (2, false));
        assert_eq!((binary.as_bytes(), binary.as_text()), (&b"\xff\x00"[..], None));
        assert_eq!(binary.into_bytes(), &b"\xff\x00"[..]);

        assert!(Payload::from("").is_empty() && Payload::from(Bytes::new()).is_empty());
    }

    #[test]
    fn a_view_shows_the_same_as_its_payload() {
        for payload in ["caf\u{e9}".into(), "".into(), vec![0xff, 0x00].into(), vec![].into()] {
            let payload: Payload = payload;
            let view = match &payload {
                Payload::Text(text) => View::Text(text),
                Payload::Binary(bytes) => View::Binary(bytes),
            };
            assert_eq!((view.len(), view.is_empty()), (payload.len(), payload.is_empty()));
            assert_eq!((view.as_bytes(), view.as_text()), (payload.as_bytes(), payload.as_text()));
            assert_eq!(view.to_payload(), payload);
        }
    }

    #[test]
    fn a_payload_is_written_as_text_or_escaped() {
        let (text, binary) = (Payload::from("caf\u{e9}\n"), Payload::from(b"\0\xffok".to_vec()));
        assert_eq!(text.to_string(), "caf\u{e9}\n");
        assert_eq!(binary.to_string(), r"\x00\xffok");
        assert_eq!(View::Text("a").to_string() + &View::Binary(b"\0").to_string(), r"a\x00");
        assert_eq!(ControlPayload::new("tick\n").unwrap().to_string(), r"tick\n");
    }

    #[test]
    fn a_payload_compares_with_text_and_gives_it_up() {
        let (text, binary) = (Payload::from("text"), Payload::from(b"text".to_vec()));
        assert!(text == "text" && text == *"text" && text != "other");
        assert!(binary != "text" && binary != *"text");
        assert!(View::Text("text") == "text" && View::Text("text") == *"text");
        assert!(View::Binary(b"text") != "text" && View::Binary(b"text") != *"text");
        assert_eq!((text.as_ref(), binary.as_ref()), (&b"text"[..], &b"text"[..]));
        assert_eq!((View::Text("a").as_ref(), View::Binary(b"b").as_ref()), (&b"a"[..], &b"b"[..]));

        let not_text = NotText { bytes: Bytes::from_static(b"text") };
        assert_eq!(<&str>::try_from(&text), Ok("text"));
        assert_eq!(<&str>::try_from(&binary), Err(not_text.clone()));
        assert_eq!(String::try_from(text.clone()), Ok("text".to_owned()));
        assert_eq!(String::try_from(binary.clone()), Err(not_text.clone()));
        assert_eq!(ByteString::try_from(text.clone()), Ok(ByteString::from("text")));
        assert_eq!(ByteString::try_from(binary), Err(not_text.clone()));
        assert_eq!(Bytes::from(text), not_text.bytes);
        assert_eq!(not_text.to_string(), "a binary message of 4 bytes where text was expected");
        assert_eq!(format!("{not_text:?}"), "NotText(4 bytes)");
    }

    #[test]
    fn a_detached_payload_is_equal_and_lets_the_buffer_go() {
        let buffer = Bytes::from(b"text".repeat(1000));
        let text = ByteString::try_from(buffer.slice(..4)).unwrap();
        for payload in [Payload::Text(text), Payload::Binary(buffer.slice(4..8))] {
            let kept = payload.detach();
            assert_eq!(kept, payload);
            assert!(kept.as_bytes().as_ptr() != payload.as_bytes().as_ptr());
        }
        assert!(buffer.is_unique());
    }

    #[test]
    fn a_control_payload_has_at_most_125_bytes() {
        assert_eq!(ControlPayload::default().len(), 0);
        let longest = ControlPayload::new(vec![7; 125]).unwrap();
        assert_eq!(&longest[..], [7; 125]);
        assert_eq!(longest.into_bytes(), vec![7; 125]);
        assert_eq!(ControlPayload::new(vec![7; 126]), Err(ControlTooLong { len: 126 }));
    }
}

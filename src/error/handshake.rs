//! Rules that the reply to an upgrade breaks.

use std::sync::Arc;

use derive_more::{Display, Error as DeriveError};

/// Which rule the reply to the upgrade breaks (RFC 6455, 4.1). The text says what came and what was
/// expected: at most 128 bytes of a value, with escapes for all that is not printable ASCII.
#[derive(Clone, Debug, Display, DeriveError, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The reply is not HTTP. The text says how it begins. Check scheme and port of the URL.
    #[display("it is not HTTP: {_0}")]
    NotHttp(#[error(not(source))] Arc<str>),
    /// The version of the reply, here without `HTTP/`, is not HTTP/1.1.
    #[display("its version is HTTP/{_0}, expected HTTP/1.1")]
    Version(#[error(not(source))] Arc<str>),
    /// The reply's head is longer than 32 KiB or has more than 128 lines. The head of a refusal is cut
    /// instead, so that its status is not lost.
    #[display("its head has more than 32 KiB or 128 lines")]
    HeadTooLong,
    /// A line, which the text names, has NUL in it, or CR without LF (RFC 9110, 5.5).
    #[display("NUL or CR in {_0}")]
    NulOrCr(#[error(not(source))] Arc<str>),
    /// A line, which the text names, ends with LF alone.
    #[display("{_0} ends without CR")]
    BareLf(#[error(not(source))] Arc<str>),
    /// A line that the handshake depends on is malformed. The text quotes its name.
    #[display("malformed header line {_0}")]
    Line(#[error(not(source))] Arc<str>),
    /// `Upgrade` is missing, occurs more than once, or is not `websocket` alone.
    #[display("{_0}")]
    Upgrade(#[error(not(source))] Arc<str>),
    /// `Connection` is missing or does not say `Upgrade`.
    #[display("{_0}")]
    Connection(#[error(not(source))] Arc<str>),
    /// `Sec-WebSocket-Accept` is missing, occurs more than once, or is not the digest of our key.
    #[display("{_0}")]
    Accept(#[error(not(source))] Arc<str>),
    /// The server chose a subprotocol that was not offered, more than one, or none although some were
    /// offered. Names of subprotocols are case-sensitive.
    #[display("{_0}")]
    Subprotocol(#[error(not(source))] Arc<str>),
    /// The server chose an extension that was not offered, or accepted one with parameters that the
    /// offer does not allow (RFC 7692, 7.1).
    #[display("{_0}")]
    Extension(#[error(not(source))] Arc<str>),
    /// More than 8 interim replies came before the final one.
    #[display("more than 8 interim replies")]
    Interim,
    /// The request could not be made, so that nothing was sent.
    #[display("{_0}")]
    Request(#[error(not(source))] Arc<str>),
}

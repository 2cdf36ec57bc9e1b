//! The codec as an implementation of actix-codec's traits, for `Framed`, `FramedRead` and
//! `FramedWrite`.

use std::error::Error;
use std::io;
use std::sync::Arc;

use actix_codec::{Decoder, Encoder, FramedParts};
use bytes::BytesMut;
use derive_more::Display;

use crate::proto::codec::Codec;
use crate::proto::error::{ProtocolError, SendAfterClose};
use crate::proto::message::{Incoming, Outgoing};

pub(crate) use actix_codec::Framed;

/// Why a framed WebSocket stream ended.
#[derive(Clone, Debug, Display)]
#[non_exhaustive]
pub enum FramedError {
    /// The peer broke the protocol: send a Close with the code of the error, then drop the socket.
    #[display("the peer broke the WebSocket protocol: {_0}")]
    Protocol(ProtocolError),

    /// A frame was to be sent after a Close: send it on the next connection.
    #[display("a frame was not sent: {_0}")]
    SendAfterClose(SendAfterClose),

    /// The transport failed, or ended inside a message (`UnexpectedEof`): drop it.
    #[display("the transport failed: {_0}")]
    Io(Arc<io::Error>),
}

/// The text has that of what is wrapped; the source is the cause of that.
impl Error for FramedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Protocol(err) => err.source(),
            Self::SendAfterClose(err) => err.source(),
            Self::Io(err) => err.source(),
        }
    }
}

impl From<ProtocolError> for FramedError {
    fn from(err: ProtocolError) -> Self {
        Self::Protocol(err)
    }
}

impl From<SendAfterClose> for FramedError {
    fn from(err: SendAfterClose) -> Self {
        Self::SendAfterClose(err)
    }
}

impl From<io::Error> for FramedError {
    fn from(err: io::Error) -> Self {
        Self::Io(Arc::new(err))
    }
}

impl Decoder for Codec {
    type Item = Incoming;
    type Error = FramedError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, FramedError> {
        Ok(Codec::decode(self, src)?)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, FramedError> {
        let item = Codec::decode(self, src)?;
        // Between two messages the end of the stream loses nothing and is no error here.
        if item.is_none() && self.is_partial() {
            src.clear();
            self.fuse();
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(item)
    }
}

impl Encoder<Outgoing> for Codec {
    type Error = FramedError;

    fn encode(&mut self, item: Outgoing, dst: &mut BytesMut) -> Result<(), FramedError> {
        Ok(Codec::encode(self, item, dst)?)
    }
}

/// Joins a transport and a codec. The buffers begin empty: nothing was read or written yet.
pub(crate) fn unbuffered<T, C>(io: T, codec: C) -> Framed<T, C> {
    Framed::from_parts(FramedParts::new(io, codec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::codec::Limits;
    use crate::proto::frame::Role;
    use crate::proto::message::Payload;

    fn codec() -> Codec {
        Codec::new(Role::Client, Limits::default())
    }

    #[test]
    fn frames_pass_as_through_the_codec() {
        let mut src = BytesMut::from(&b"\x81\x02hi\x83"[..]);
        let mut codec = codec();
        let item = Decoder::decode(&mut codec, &mut src).unwrap();
        assert_eq!(item, Some(Incoming::Message(Payload::from("hi"))));
        let err = Decoder::decode(&mut codec, &mut src).unwrap_err();
        assert!(matches!(err, FramedError::Protocol(ProtocolError::ReservedOpcode { opcode: 3 })));

        let mut dst = BytesMut::new();
        Encoder::encode(&mut codec, Outgoing::Close(None), &mut dst).unwrap();
        assert_eq!(&dst[..2], b"\x88\x80");
        let err = Encoder::encode(&mut codec, Outgoing::Close(None), &mut dst).unwrap_err();
        assert!(matches!(err, FramedError::SendAfterClose(SendAfterClose)));
    }

    #[test]
    fn an_error_has_the_text_of_what_it_wraps_and_no_source_that_repeats_it() {
        let cases: [(FramedError, &str); 3] = [
            (ProtocolError::InvalidUtf8.into(), "text is not valid UTF-8"),
            (SendAfterClose.into(), "a close frame was sent"),
            (io::Error::other("broken").into(), "broken"),
        ];
        for (err, text) in cases {
            assert!(err.to_string().contains(text), "{err}");
            assert!(err.source().is_none(), "{err}");
        }
    }

    #[test]
    fn the_source_of_an_error_is_that_of_what_it_wraps() {
        #[derive(Debug, Display, derive_more::Error)]
        #[display("outer")]
        struct Outer {
            source: std::fmt::Error,
        }
        let err = FramedError::from(io::Error::other(Outer { source: std::fmt::Error }));
        assert!(err.source().is_some_and(|source| source.is::<std::fmt::Error>()));
    }

    #[test]
    fn an_end_between_messages_is_an_end() {
        let mut codec = codec();
        let mut src = BytesMut::from(&b"\x81\x02hi"[..]);
        assert!(codec.decode_eof(&mut src).unwrap().is_some());
        assert!(codec.decode_eof(&mut src).unwrap().is_none());
    }

    #[test]
    fn an_end_inside_a_message_is_an_error_once() {
        for bytes in [&b"\x81"[..], b"\x81\x02h", b"\x01\x02hi"] {
            let mut codec = codec();
            let mut src = BytesMut::from(bytes);
            let err = codec.decode_eof(&mut src).unwrap_err();
            let FramedError::Io(err) = err else { panic!("{err}") };
            assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof);
            assert!(codec.decode_eof(&mut src).unwrap().is_none());
        }
    }
}

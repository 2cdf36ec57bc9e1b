//! The WebSocket protocol as values: no socket, no clock, no actor.
//!
//! [`codec`] turns bytes from the wire into [`message::Incoming`]; [`session`] says which reply the
//! protocol requires; [`codec`] turns [`message::Outgoing`] into bytes. [`frame`] has the header of
//! one frame, and [`compression`] what permessage-deflate was agreed on in the opening handshake.
//! Inside are the modules for masking, for UTF-8 that comes in pieces, for DEFLATE, and for joining
//! fragments.
//!
//! ```
//! use bytes::BytesMut;
//! use actix_ws_client::proto::codec::{Codec, Limits};
//! use actix_ws_client::proto::frame::Role;
//! use actix_ws_client::proto::message::{Incoming, Outgoing, Payload};
//! use actix_ws_client::proto::session::Session;
//!
//! let mut codec = Codec::new(Role::Client, Limits::default());
//! let mut session = Session::new();
//! let mut from_server = BytesMut::from(&b"\x81\x05hello\x89\x02hi"[..]);
//! let mut to_server = BytesMut::new();
//!
//! let message = codec.decode(&mut from_server)?.expect("a whole text frame");
//! assert_eq!(message, Incoming::Message(Payload::Text("hello".into())));
//!
//! let ping = codec.decode(&mut from_server)?.expect("a whole ping frame");
//! let pong = session.receive(&ping).expect("a ping is owed a pong");
//! codec.encode(pong, &mut to_server)?;
//! assert_eq!(to_server.len(), Codec::encoded_len(Role::Client, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "client")]
mod actix;
pub mod close;
pub mod error;
mod mask;
mod utf8;

pub mod frame;
pub mod message;
#[cfg(feature = "client")]
pub(crate) mod messages;

pub mod compression;
#[cfg(feature = "deflate")]
mod deflate;
#[cfg(not(feature = "deflate"))]
#[path = "no_deflate.rs"]
mod deflate;

mod assembler;
pub mod codec;
#[cfg(feature = "client")]
pub mod framed;
pub mod session;

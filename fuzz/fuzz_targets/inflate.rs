//! A compressed stream decodes to the same bytes however it is split, as messages and as fragments,
//! and no peer makes the codec hold more of it than the limits allow.
//!
//! Input: flags, the sizes of the pieces and of the fragments, then compressed payloads; or whole
//! frames, if a flag says so.

#![no_main]

use actix_ws_client::proto::codec::{Codec, Limits};
use actix_ws_client::proto::compression::Compression;
use actix_ws_client::proto::error::ProtocolError;
use actix_ws_client::proto::frame::{FrameHeader, Opcode, Role};
use actix_ws_client::proto::message::Incoming;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(([flags, a, b, c, size], rest)) = data.split_first_chunk() else { return };
    let mut limits = Limits::default();
    limits.message = if flags & 1 == 0 { 1 << 20 } else { 500 };
    let takeover = flags & 2 == 0;
    let mut stream = BytesMut::new();
    match flags & 4 {
        0 => {
            // Two messages, so that one can refer to the other.
            let (first, second) = rest.split_at(rest.len() / 2);
            message(first, usize::from(*size), &mut stream);
            message(second, usize::from(*size), &mut stream);
        }
        _ => stream.extend_from_slice(rest),
    }
    let codec = |by_fragment| {
        let answer: &[u8] = match takeover {
            true => b"permessage-deflate",
            false => b"permessage-deflate; server_no_context_takeover",
        };
        let agreed = Compression::new().agree([answer]).unwrap();
        Codec::new(Role::Client, limits).with_deflate(agreed).by_fragment(by_fragment)
    };
    let pieces = [a, b, c].map(|size| usize::from(*size).max(1));
    let whole = decode(codec(false), limits, &stream, &[usize::MAX]);
    assert_eq!(decode(codec(false), limits, &stream, &pieces), whole);
    assert_eq!(decode(codec(false), limits, &stream, &[1]), whole);
    let by_fragment = decode(codec(true), limits, &stream, &[usize::MAX]);
    assert_eq!(decode(codec(true), limits, &stream, &pieces), by_fragment);
    assert_eq!((joined(by_fragment.0), by_fragment.1), (bytes(whole.0), whole.1));
});

/// Writes a compressed payload as a message in fragments of this size.
fn message(compressed: &[u8], size: usize, stream: &mut BytesMut) {
    let size = if size == 0 { usize::MAX } else { size };
    let (mut opcode, mut rest) = (Opcode::Binary, compressed);
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(size));
        rest = behind;
        let begin = stream.len();
        let fin = rest.is_empty();
        FrameHeader { fin, opcode, mask: None, len: piece.len() as u64 }.write(stream);
        if opcode == Opcode::Binary {
            stream[begin] |= 0x40; // RSV1 (RFC 7692, 6)
        }
        stream.extend_from_slice(piece);
        if fin {
            return;
        }
        opcode = Opcode::Continuation;
    }
}

/// Returns the items of a stream that arrives in pieces of these sizes, in a cycle, and the error that
/// ends it.
fn decode(
    mut codec: Codec,
    limits: Limits,
    mut stream: &[u8],
    sizes: &[usize],
) -> (Vec<Incoming>, Option<ProtocolError>) {
    let (mut src, mut items) = (BytesMut::new(), vec![]);
    for size in sizes.iter().cycle() {
        let (piece, rest) = stream.split_at(stream.len().min(*size));
        src.extend_from_slice(piece);
        stream = rest;
        loop {
            match codec.decode(&mut src) {
                Ok(Some(Incoming::Message(payload))) if payload.len() > limits.message => {
                    panic!("{} bytes", payload.len())
                }
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(err) => return (items, Some(err)),
            }
        }
        if stream.is_empty() {
            break;
        }
    }
    (items, None)
}

/// Returns the bytes of the whole messages.
fn bytes(items: Vec<Incoming>) -> Vec<Vec<u8>> {
    let bytes = |item| match item {
        Incoming::Message(payload) => Some(payload.as_bytes().to_vec()),
        _ => None,
    };
    items.into_iter().filter_map(bytes).collect()
}

/// Returns the bytes of all messages, joined from their fragments.
fn joined(items: Vec<Incoming>) -> Vec<Vec<u8>> {
    let (mut all, mut message) = (vec![], vec![]);
    for item in items {
        match item {
            Incoming::Message(payload) => all.push(payload.as_bytes().to_vec()),
            Incoming::Fragment(fragment) => {
                message.extend_from_slice(&fragment.bytes);
                if fragment.fin {
                    all.push(std::mem::take(&mut message));
                }
            }
            _ => {}
        }
    }
    all
}

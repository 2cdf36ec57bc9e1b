//! Any bytes decode to the same items however they are split, and no peer makes the codec hold more
//! than the limits allow.
//!
//! Input: flags for the role, the limits and the options of the codec, the sizes of the pieces, then
//! the stream.

#![no_main]

use actix_ws_client::proto::codec::{Codec, Limits};
use actix_ws_client::proto::error::ProtocolError;
use actix_ws_client::proto::frame::Role;
use actix_ws_client::proto::message::Incoming;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(([flags, a, b, c, d], stream)) = data.split_first_chunk() else { return };
    let role = if flags & 1 == 0 { Role::Client } else { Role::Server };
    let mut limits = Limits::default();
    if flags & 2 != 0 {
        (limits.frame, limits.message, limits.fragments) = (200, 300, 4);
    }
    let codec = || {
        Codec::new(role, limits).by_fragment(flags & 4 != 0).unchecked_text(flags & 8 != 0)
    };
    let whole = decode(codec(), limits, stream, &[usize::MAX]);
    let pieces = [a, b, c, d].map(|size| usize::from(*size).max(1));
    assert_eq!(decode(codec(), limits, stream, &pieces), whole);
    assert_eq!(decode(codec(), limits, stream, &[1]), whole);
});

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
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(err) => {
                    assert!(src.is_empty() && !codec.is_partial());
                    src.extend_from_slice(b"\x81\x00");
                    assert_eq!(codec.decode(&mut src), Ok(None));
                    return (items, Some(err));
                }
            }
        }
        let most = limits.frame.min(limits.message).max(125);
        assert!(src.len() < most + 14 && codec.wanted() <= most);
        assert!(src.is_empty() || codec.is_partial());
        if stream.is_empty() {
            break;
        }
    }
    (items, None)
}

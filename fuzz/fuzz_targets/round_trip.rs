//! What one role encodes, the other decodes, equal and in order, however the bytes are split.

#![no_main]

use actix_ws_client::proto::close::{CloseCode, CloseFrame};
use actix_ws_client::proto::codec::{Codec, Limits};
use actix_ws_client::proto::frame::Role;
use actix_ws_client::proto::message::{ControlPayload, Incoming, Outgoing, Payload};
use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    from_client: bool,
    sizes: [u16; 4],
    items: Vec<Item>,
}

#[derive(Arbitrary, Debug)]
enum Item {
    Text(String),
    Binary(Vec<u8>),
    Zeros(u16),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

fuzz_target!(|input: Input| {
    let (from, to) = if input.from_client {
        (Role::Client, Role::Server)
    } else {
        (Role::Server, Role::Client)
    };
    let mut sender = Codec::new(from, Limits::default());
    let (mut wire, mut sent) = (BytesMut::new(), vec![]);
    for (outgoing, incoming) in input.items.into_iter().filter_map(legal) {
        let before = wire.len();
        let closed = matches!(sent.last(), Some(Incoming::Close(_)));
        assert_eq!(sender.encode(outgoing, &mut wire).is_err(), closed);
        if closed {
            assert_eq!(wire.len(), before);
        } else {
            sent.push(incoming);
        }
    }
    let mut receiver = Codec::new(to, Limits::default());
    let (mut src, mut received) = (BytesMut::new(), vec![]);
    for size in input.sizes.iter().cycle() {
        let size = usize::from(*size).max(1).min(wire.len());
        src.unsplit(wire.split_to(size));
        while let Some(item) = receiver.decode(&mut src).expect("what we send is legal") {
            received.push(item);
        }
        if wire.is_empty() {
            break;
        }
    }
    assert_eq!(received, sent);
    assert!(!receiver.is_partial());
});

/// Returns the item as it is sent and as it arrives; `None` if it cannot be built.
fn legal(item: Item) -> Option<(Outgoing, Incoming)> {
    let message = |payload: Payload| {
        Some((Outgoing::Message(payload.clone()), Incoming::Message(payload)))
    };
    match item {
        Item::Text(text) => message(text.into()),
        Item::Binary(bytes) => message(bytes.into()),
        Item::Zeros(len) => message(vec![0; usize::from(len) * 2].into()),
        Item::Ping(bytes) => {
            let payload = ControlPayload::new(bytes).ok()?;
            Some((Outgoing::Ping(payload.clone()), Incoming::Ping(payload)))
        }
        Item::Pong(bytes) => {
            let payload = ControlPayload::new(bytes).ok()?;
            Some((Outgoing::Pong(payload.clone()), Incoming::Pong(payload)))
        }
        Item::Close(frame) => {
            let frame = match frame {
                Some((code, reason)) => Some(CloseFrame::new(CloseCode::from(code), reason).ok()?),
                None => None,
            };
            Some((Outgoing::Close(frame.clone()), Incoming::Close(frame)))
        }
    }
}

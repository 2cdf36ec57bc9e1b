use std::collections::HashSet;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::proto::close::CloseFrame;
use crate::proto::error::{ProtocolError, SendAfterClose};
use crate::proto::frame::Opcode;
use crate::proto::mask;
use crate::proto::message::{ControlPayload, Fragment, Incoming, Outgoing, Payload};

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const KEY: [u8; 4] = *b"\x37\xfa\x21\x3d";

/// The items that a stream yields, and the error that ends it, if any.
type Story = (Vec<Incoming>, Option<ProtocolError>);

/// The first byte of a frame and its payload.
type Part<'a> = (u8, &'a [u8]);

/// A frame for a codec of this role, with its length in the shortest form.
fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = (role == Role::Server).then_some(KEY);
    let mut bytes = BytesMut::new();
    let header = FrameHeader { fin: true, opcode: Opcode::Text, mask, len: payload.len() as u64 };
    header.write(&mut bytes);
    bytes[0] = first;
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask::mask(&mut bytes[start..], mask.unwrap_or_default());
    bytes.to_vec()
}

/// [`story`] through a reader that owns the buffer and reads fragments of `least` bytes or more
/// directly into the message. The sizes of the reads are those of `sizes`, in a cycle.
#[cfg(feature = "client")]
fn story_in_place(codec: &mut Codec, mut wire: &[u8], least: usize, sizes: &[usize]) -> Story {
    const MORE: usize = 10;
    let (mut inbox, mut items) = (vec![], vec![]);
    for size in sizes.iter().cycle() {
        if let Some((place, wanted)) = codec.direct_buffer(least, 1000) {
            assert!(inbox.is_empty(), "a fragment's bytes are all taken");
            let (piece, rest) = wire.split_at(wire.len().min(*size).min(wanted + MORE));
            wire = rest;
            place.extend_from_slice(&piece[..piece.len().min(wanted)]);
            inbox.extend_from_slice(piece.get(wanted..).unwrap_or_default());
        } else {
            let (piece, rest) = wire.split_at(wire.len().min(*size));
            wire = rest;
            inbox.extend_from_slice(piece);
        }
        let mut at = 0;
        loop {
            match codec.step(&mut inbox, &mut at) {
                Ok(Step::More) => break,
                Ok(Step::Item(item)) => items.push(item),
                Ok(Step::Assembled(opcode, bytes)) => items.push(whole(opcode, bytes)),
                Ok(Step::Whole(opcode, len)) => {
                    items.push(whole(opcode, Bytes::copy_from_slice(&inbox[at..at + len])));
                    at += len;
                }
                Err(err) => {
                    assert!(codec.direct_buffer(0, 1000).is_none());
                    return (items, Some(err));
                }
            }
        }
        inbox.drain(..at);
        if wire.is_empty() {
            break;
        }
    }
    (items, None)
}

#[cfg(feature = "client")]
fn whole(opcode: Opcode, bytes: Bytes) -> Incoming {
    match opcode {
        Opcode::Text => Incoming::Message(Payload::Text(bytes.try_into().expect("it was checked"))),
        _ => Incoming::Message(Payload::Binary(bytes)),
    }
}

#[cfg(feature = "client")]
#[test]
fn no_more_is_read_to_the_place_of_a_fragment_than_it_lacks() {
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut wire = frame(Role::Client, 0x02, &[7; 1000]);
    wire.truncate(4 + 100);
    assert!(matches!(codec.step(&mut wire, &mut 0), Ok(Step::More)));
    assert!(codec.direct_buffer(1001, 1000).is_none(), "the fragment is too short");
    for (come, wanted) in [(0, Some(900)), (600, Some(300)), (300, None)] {
        if let Some((place, _)) = codec.direct_buffer(1000, 1000) {
            place.extend(std::iter::repeat_n(7, come));
        }
        let lacks = codec.direct_buffer(1000, 1000).map(|(_, wanted)| wanted);
        assert_eq!(lacks, wanted, "also before it was taken in");
    }
}

#[cfg(feature = "client")]
proptest! {
    #[test]
    fn fragments_that_are_read_to_their_place_mean_the_same(
        server in any::<bool>(),
        by_fragment in any::<bool>(),
        messages in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(0..3000_usize, 1..5), any::<bool>()), 1..5),
        fault in prop::option::of(any::<Index>()),
        least in 0..1500_usize,
        sizes in prop::collection::vec(1..4000_usize, 1..5),
    ) {
        let role = ROLES[usize::from(server)];
        let mut wire = vec![];
        for (is_text, lens, ping) in &messages {
            let total = lens.iter().sum::<usize>();
            let mut text = "aä".repeat(total / 3);
            text.extend(std::iter::repeat_n('b', total % 3));
            let mut rest = text.as_bytes();
            for (index, len) in lens.iter().enumerate() {
                let opcode = if index > 0 { 0 } else { 2 - u8::from(*is_text) };
                let fin = u8::from(index + 1 == lens.len()) << 7;
                let (payload, later) = rest.split_at(*len);
                rest = later;
                wire.extend(frame(role, fin | opcode, payload));
                if *ping {
                    wire.extend(frame(role, 0x89, b"ping"));
                }
            }
        }
        if let Some(fault) = fault {
            let at = fault.index(wire.len());
            wire[at] ^= 0x55;
        }
        let codec = || Codec::new(role, Limits::default()).by_fragment(by_fragment);
        let (items, err) = story_in_place(&mut codec(), &wire, least, &sizes);
        let (expected, expected_err) = story(&mut codec(), &wire, []);
        prop_assert_eq!(err, expected_err);
        prop_assert!(items == expected, "{} items for {}", items.len(), expected.len());
    }
}

fn frames(role: Role, frames: &[Part<'_>]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(role, *first, payload)).collect()
}

/// Decodes a stream that arrives in pieces that end at `ends`, and checks what holds for every stream.
fn story(codec: &mut Codec, bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Story {
    let (mut src, mut items, mut begin) = (BytesMut::new(), vec![], 0);
    for end in ends.into_iter().chain([bytes.len()]) {
        src.extend_from_slice(&bytes[begin..end]);
        begin = end;
        loop {
            match codec.decode(&mut src) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(err) => {
                    assert!(src.is_empty() && !codec.is_partial() && codec.wanted() == 0);
                    assert_eq!(codec.decode(&mut BytesMut::from("more")), Ok(None));
                    return (items, Some(err));
                }
            }
        }
        let limits = codec.limits();
        assert!(codec.wanted() <= limits.frame.max(125));
        assert!(src.len() < limits.frame.min(limits.message).max(125) + 14);
        assert!(src.is_empty() || codec.is_partial());
    }
    (items, None)
}

/// Decodes a stream that arrives at once.
fn decode(role: Role, bytes: &[u8]) -> Story {
    story(&mut Codec::new(role, Limits::default()), bytes, [])
}

fn text(text: &'static str) -> Incoming {
    Incoming::Message(Payload::from(text))
}

fn control(bytes: &'static [u8]) -> ControlPayload {
    ControlPayload::new(bytes).unwrap()
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    // RFC 6455, 5.7
    let server: [(&[u8], Incoming); 4] = [
        (b"\x81\x05Hello", text("Hello")),
        (b"\x01\x03Hel\x80\x02lo", text("Hello")),
        (b"\x89\x05Hello", Incoming::Ping(control(b"Hello"))),
        (b"\x8a\x05Hello", Incoming::Pong(control(b"Hello"))),
    ];
    for (bytes, item) in server {
        assert_eq!(decode(Role::Client, bytes), (vec![item], None));
    }
    let client: [(&[u8], Incoming); 2] = [
        (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", text("Hello")),
        (b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", Incoming::Pong(control(b"Hello"))),
    ];
    for (bytes, item) in client {
        assert_eq!(decode(Role::Server, bytes), (vec![item], None));
    }
    for (head, len) in
        [(&b"\x82\x7e\x01\x00"[..], 256), (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 65_536)]
    {
        let bytes = [head, &vec![7; len]].concat();
        let item = Incoming::Message(Payload::from(vec![7; len]));
        assert_eq!(decode(Role::Client, &bytes), (vec![item], None));
    }
}

#[test]
fn control_frames_come_between_fragments_in_order() {
    for role in ROLES {
        let bytes = frames(role, &[(0x01, b"a"), (0x89, b"p"), (0x00, b"b"), (0x80, b"c")]);
        let items = vec![Incoming::Ping(control(b"p")), text("abc")];
        assert_eq!(decode(role, &bytes), (items, None));
    }
}

#[test]
fn a_message_may_be_empty_in_one_frame_or_many() {
    for role in ROLES {
        let bytes = frames(role, &[(0x81, b""), (0x02, b""), (0x00, b""), (0x80, b"")]);
        let items = vec![text(""), Incoming::Message(Payload::from(vec![]))];
        assert_eq!(decode(role, &bytes), (items, None));
    }
}

#[test]
fn a_close_is_read_with_and_without_a_code() {
    for role in ROLES {
        let bytes = frame(role, 0x88, b"\x03\xe9bye");
        let close = CloseFrame::new(1001.into(), "bye").unwrap();
        assert_eq!(decode(role, &bytes), (vec![Incoming::Close(Some(close))], None));
        let bytes = frame(role, 0x88, b"");
        assert_eq!(decode(role, &bytes), (vec![Incoming::Close(None)], None));
    }
}

/// The error that a new codec returns for two bytes, and after how many of them (RFC 6455, 5.1, 5.2,
/// 5.4, 5.5).
fn by_the_book(role: Role, first: u8, second: u8) -> Option<(usize, ProtocolError)> {
    let (opcode, masked, len) = (first % 16, second / 128 == 1, second % 128);
    let err = match (first, opcode) {
        _ if first & 0x70 != 0 => ProtocolError::ReservedBit,
        (_, 3..=7 | 11..=15) => ProtocolError::ReservedOpcode { opcode },
        (0..=127, 8..=10) => ProtocolError::FragmentedControl,
        (_, 0) => ProtocolError::UnexpectedContinuation,
        _ if role == Role::Client && masked => return Some((2, ProtocolError::MaskedByServer)),
        _ if role == Role::Server && !masked => {
            return Some((2, ProtocolError::UnmaskedByClient));
        }
        (_, 8..=10) if len > 125 => return Some((2, ProtocolError::ControlTooLong)),
        _ => return None,
    };
    Some((1, err))
}

#[test]
fn all_65536_beginnings_are_judged_at_the_byte_that_decides() {
    for role in ROLES {
        for bytes in (0..=u16::MAX).map(u16::to_be_bytes) {
            let expected = by_the_book(role, bytes[0], bytes[1]);
            for step in [1, 2] {
                let mut codec = Codec::new(role, Limits::default());
                let mut src = BytesMut::new();
                let mut found = None;
                for (i, piece) in bytes.chunks(step).enumerate() {
                    src.extend_from_slice(piece);
                    if let Err(err) = codec.decode(&mut src) {
                        found = Some((i + 1, err));
                        break;
                    }
                }
                let expected = expected.clone().map(|(at, err)| (at.min(2 / step), err));
                assert_eq!(found, expected, "{role:?} {bytes:x?}");
            }
        }
    }
}

#[test]
fn a_close_keeps_its_code_where_text_is_not_checked() {
    for role in ROLES {
        let bytes = frame(role, 0x88, b"\x0f\xa1caf\xe9");
        let items = |codec: Codec| {
            let mut codec = codec;
            codec.decode(&mut BytesMut::from(&bytes[..]))
        };
        let codec = || Codec::new(role, Limits::default());
        assert_eq!(items(codec()), Err(ProtocolError::InvalidUtf8));
        let close = CloseFrame::new(4001.into(), "caf\u{fffd}").unwrap();
        assert_eq!(items(codec().unchecked_text(true)), Ok(Some(Incoming::Close(Some(close)))));
    }
}

#[test]
fn every_breach_has_its_error() {
    use ProtocolError as E;
    let code = 1005.into();
    let table: [(&[Part], E); 11] = [
        (&[(0x80, b"")], E::UnexpectedContinuation),
        (&[(0x01, b""), (0x80, b""), (0x00, b"")], E::UnexpectedContinuation),
        (&[(0x01, b"a"), (0x81, b"b")], E::UnfinishedMessage),
        (&[(0x02, b"a"), (0x89, b""), (0x01, b"b")], E::UnfinishedMessage),
        (&[(0x88, b"\x03")], E::CloseTooShort),
        (&[(0x88, b"\x03\xed")], E::InvalidCloseCode { code }),
        (&[(0x88, b"\x03\xe8\xff")], E::InvalidUtf8),
        (&[(0x88, b"\x03\xe8"), (0x81, b"late")], E::DataAfterClose),
        (&[(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90")], E::InvalidUtf8),
        (&[(0x01, b"\xf4"), (0x80, b"\x90")], E::InvalidUtf8),
        (&[(0x81, b"ends early \xe2\x82")], E::InvalidUtf8),
    ];
    for role in ROLES {
        for (parts, expected) in &table {
            let bytes = frames(role, parts);
            let (_, err) = decode(role, &bytes);
            assert_eq!(err.as_ref(), Some(expected), "{role:?} {parts:x?}");
        }
    }
}

#[test]
fn text_is_refused_before_its_frame_is_whole() {
    // Autobahn 6.4.3 and 6.4.4: the frame goes on, but the 0x90 makes its text invalid.
    for role in ROLES {
        let bytes = frame(role, 0x81, b"ok \xf4\x90\x80\x80edited");
        let bad = bytes.len() - b"\x90\x80\x80edited".len();
        let mut codec = Codec::new(role, Limits::default());
        let mut src = BytesMut::new();
        for byte in &bytes[..bad] {
            src.extend_from_slice(&[*byte]);
            assert_eq!(codec.decode(&mut src), Ok(None));
        }
        src.extend_from_slice(&bytes[bad..=bad]);
        assert_eq!(codec.decode(&mut src), Err(ProtocolError::InvalidUtf8));
    }
}

#[test]
fn after_a_close_late_bytes_are_an_error_once() {
    for role in ROLES {
        let mut codec = Codec::new(role, Limits::default());
        let mut src = BytesMut::from(&*frames(role, &[(0x01, b"cut"), (0x88, b"")]));
        assert_eq!(codec.decode(&mut src), Ok(Some(Incoming::Close(None))));
        assert!(!codec.is_partial());
        assert_eq!(codec.decode(&mut src), Ok(None));
        src.extend_from_slice(b"\x81");
        assert_eq!(codec.decode(&mut src), Err(ProtocolError::DataAfterClose));
        src.extend_from_slice(b"\x81\x00");
        assert_eq!(codec.decode(&mut src), Ok(None));
        assert!(src.is_empty());
    }
}

fn limits(frame: usize, message: usize, fragments: usize) -> Limits {
    Limits { frame, message, fragments }
}

#[test]
fn a_declared_length_over_the_limit_is_refused_at_the_header() {
    for (role, masked) in [(Role::Client, 0), (Role::Server, 0x80)] {
        let head = [0x82, 127 | masked, 0, 0, 0, 2, 0, 0, 0, 0];
        let mut bytes = BytesMut::from(&head[..]);
        if role == Role::Server {
            bytes.extend_from_slice(&KEY);
        }
        let (_, err) = decode(role, &bytes);
        let expected = ProtocolError::FrameTooLarge { len: 8 << 30, limit: 16 << 20 };
        assert_eq!(err, Some(expected));
    }
}

#[test]
fn what_is_at_a_limit_passes_and_one_byte_more_does_not() {
    for role in ROLES {
        let mut codec = Codec::new(role, limits(4, 6, 3));
        let bytes = frames(
            role,
            &[(0x82, b"1234"), (0x02, b"1234"), (0x00, b"56"), (0x80, b""), (0x89, b"12345")],
        );
        let (items, err) = story(&mut codec, &bytes, []);
        assert_eq!((items.len(), err), (3, None));

        let err = ProtocolError::FrameTooLarge { len: 5, limit: 4 };
        let bytes = frame(role, 0x82, b"12345");
        assert_eq!(story(&mut codec, &bytes[..bytes.len() - 5], []), (vec![], Some(err)));

        let mut codec = Codec::new(role, limits(8, 6, 3));
        let (items, err) = story(&mut codec, &frame(role, 0x82, b"123456"), []);
        assert_eq!((items.len(), err), (1, None));
        let bytes = frame(role, 0x82, b"1234567");
        let err = ProtocolError::MessageTooLarge { limit: 6 };
        let story_of_one = story(&mut codec, &bytes[..bytes.len() - 7], []);
        assert_eq!(story_of_one, (vec![], Some(err.clone())));

        let mut codec = Codec::new(role, limits(4, 6, 3));
        let bytes = frames(role, &[(0x02, b"1234"), (0x80, b"567")]);
        let story_of_two = story(&mut codec, &bytes[..bytes.len() - 3], []);
        assert_eq!(story_of_two, (vec![], Some(err)));
    }
}

#[test]
fn empty_fragments_are_stopped_by_their_number() {
    for role in ROLES {
        let mut bytes = frame(role, 0x01, b"");
        bytes.extend(frame(role, 0x00, b"").repeat(200_000));
        let mut src = BytesMut::from(&*bytes);
        let err = Codec::new(role, Limits::default()).decode(&mut src);
        assert_eq!(err, Err(ProtocolError::TooManyFragments { limit: 131_072 }));
    }
}

#[test]
fn it_tells_how_much_it_wants_and_whether_it_is_inside_something() {
    for role in ROLES {
        let mut codec = Codec::new(role, Limits::default());
        let bytes = frames(role, &[(0x82, &[1; 300]), (0x01, b"abc"), (0x80, b"")]);
        let head = if role == Role::Client { 4 } else { 8 };
        let mut src = BytesMut::new();
        let mut feed = |range: std::ops::Range<usize>| {
            src.extend_from_slice(&bytes[range]);
            let item = codec.decode(&mut src).unwrap();
            (item.is_some(), codec.wanted(), codec.is_partial())
        };
        assert_eq!(feed(0..0), (false, 0, false));
        assert_eq!(feed(0..3), (false, 0, true));
        assert_eq!(feed(3..head), (false, 300, true));
        assert_eq!(feed(head..head + 100), (false, 200, true));
        assert_eq!(feed(head + 100..head + 300), (true, 0, false));
        let second = head + 300;
        let first_of_text = second + head - 2;
        assert_eq!(feed(second..first_of_text + 1), (false, 2, true));
        assert_eq!(feed(first_of_text + 1..first_of_text + 3), (false, 0, true));
        assert_eq!(feed(first_of_text + 3..bytes.len()), (true, 0, false));
    }
}

#[test]
fn bytes_that_vanish_from_the_buffer_are_waited_for() {
    for role in ROLES {
        let bytes = frame(role, 0x82, b"payload");
        let mut codec = Codec::new(role, Limits::default());
        let mut src = BytesMut::from(&bytes[..bytes.len() - 1]);
        assert_eq!(codec.decode(&mut src), Ok(None));
        src.clear();
        assert_eq!(codec.decode(&mut src), Ok(None));
        assert_eq!(codec.wanted(), 1);
    }
}

#[test]
fn an_unfragmented_payload_is_not_copied() {
    for role in ROLES {
        let mut src = BytesMut::from(&*frame(role, 0x82, b"payload"));
        let end = src.as_ptr_range().end;
        let item = Codec::new(role, Limits::default()).decode(&mut src).unwrap();
        let Some(Incoming::Message(payload)) = item else { panic!("{item:?}") };
        assert_eq!(payload.as_bytes().as_ptr_range().end, end);
    }
}

#[test]
fn a_server_writes_these_bytes() {
    let frame = CloseFrame::new(1001.into(), "bye").unwrap();
    let table: [(Outgoing, &[u8]); 6] = [
        (Outgoing::Message(Payload::from("Hello")), b"\x81\x05Hello"),
        (Outgoing::Message(Payload::from(b"\xff".to_vec())), b"\x82\x01\xff"),
        (Outgoing::Ping(control(b"Hello")), b"\x89\x05Hello"),
        (Outgoing::Pong(control(b"")), b"\x8a\x00"),
        (Outgoing::Close(Some(frame)), b"\x88\x05\x03\xe9bye"),
        (Outgoing::Close(None), b"\x88\x00"),
    ];
    for (item, expected) in table {
        let mut dst = BytesMut::from("before");
        Codec::new(Role::Server, Limits::default()).encode(item, &mut dst).unwrap();
        assert_eq!((&dst[..6], &dst[6..]), (&b"before"[..], expected));
    }
}

#[test]
fn the_length_of_a_frame_is_known_beforehand() {
    for role in ROLES {
        for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000] {
            let mut dst = BytesMut::new();
            let message = Outgoing::Message(Payload::from(vec![0; len]));
            Codec::new(role, Limits::default()).encode(message, &mut dst).unwrap();
            assert_eq!(dst.len(), Codec::encoded_len(role, len));
        }
        assert_eq!(Codec::encoded_len(role, usize::MAX), usize::MAX);
    }
}

#[test]
fn a_client_masks_every_frame_with_a_fresh_key() {
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut keys = HashSet::new();
    for _ in 0..1000 {
        for item in [
            Outgoing::Message(Payload::from("same")),
            Outgoing::Message(Payload::from(b"same".to_vec())),
            Outgoing::Ping(control(b"same")),
            Outgoing::Pong(control(b"same")),
        ] {
            let mut dst = BytesMut::new();
            codec.encode(item, &mut dst).unwrap();
            let (header, end) = FrameHeader::parse(&dst).unwrap().unwrap();
            let key = header.mask.expect("a client masks");
            let mut payload = dst[end..].to_vec();
            mask::mask(&mut payload, key);
            assert_eq!(payload, b"same");
            keys.insert(key);
        }
    }
    // Of 4,000 random values of 32 bits, two are equal in 0.2 % of runs; four are so hardly ever.
    assert!(keys.len() > 3_996, "{} of 4,000", keys.len());
}

#[test]
fn nothing_is_written_after_a_close() {
    for role in ROLES {
        let mut codec = Codec::new(role, Limits::default());
        let mut dst = BytesMut::new();
        codec.encode(Outgoing::Close(None), &mut dst).unwrap();
        let before = dst.clone();
        for item in [
            Outgoing::Message(Payload::from("late")),
            Outgoing::Pong(control(b"late")),
            Outgoing::Close(None),
        ] {
            assert_eq!(codec.encode(item, &mut dst), Err(SendAfterClose));
            assert_eq!(dst, before);
        }
    }
}

#[test]
fn debug_shows_no_payload() {
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut src = BytesMut::from("\x01\x06secret\u{0}\x09sec");
    assert_eq!(codec.decode(&mut src), Ok(None));
    let shown = format!("{codec:?} {:?}", codec.assembler);
    assert!(!shown.contains("sec") && !shown.contains("115, 101, 99"), "{shown}");
    assert!(shown.contains("is_partial: true") && shown.contains("len: 9"), "{shown}");
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        "\\PC{0,40}".prop_map(Payload::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Payload::from),
        (65_530_usize..65_540).prop_map(|len| Payload::from(vec![b'x'; len])),
    ]
}

fn outgoing() -> impl Strategy<Value = Outgoing> {
    let control = prop::collection::vec(any::<u8>(), 0..=125)
        .prop_map(|bytes| ControlPayload::new(bytes).unwrap());
    prop_oneof![
        3 => payload().prop_map(Outgoing::Message),
        1 => (payload(), 0..9_usize).prop_map(|(payload, size)| Outgoing::Fragments(payload, size)),
        1 => control.clone().prop_map(Outgoing::Ping),
        1 => control.prop_map(Outgoing::Pong),
    ]
}

/// The frames that the peer reads when this is sent.
fn arrives(item: Outgoing) -> Incoming {
    match item {
        Outgoing::Message(payload) | Outgoing::Fragments(payload, _) => Incoming::Message(payload),
        Outgoing::Ping(payload) => Incoming::Ping(payload),
        Outgoing::Pong(payload) => Incoming::Pong(payload),
        Outgoing::Close(frame) => Incoming::Close(frame),
    }
}

/// The ends of the pieces of a stream of `len` bytes.
fn ends(cuts: &[Index], len: usize) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    ends.sort_unstable();
    ends
}

/// Frames most of which are valid, so that a stream of them does not end at once.
fn stream(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => prop::sample::select(&[0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a][..]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        5 => "\\PC{0,30}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (120_usize..140).prop_map(|len| vec![b'x'; len]),
        1 => Just(b"\x03\xe8".to_vec()),
    ];
    let other = (any::<Index>(), any::<u8>());
    (prop::collection::vec((first, payload), 0..8), prop::option::weighted(0.3, other)).prop_map(
        move |(parts, other)| {
            let mut bytes: Vec<u8> =
                parts.iter().flat_map(|(first, body)| frame(role, *first, body)).collect();
            if let Some((at, byte)) = other
                && !bytes.is_empty()
            {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn what_one_side_sends_the_other_reads(
        sent in prop::collection::vec(outgoing(), 0..6),
        code in prop_oneof![Just(None), (3000_u16..5000).prop_map(Some)],
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let close = code.map(|code| CloseFrame::new(code.into(), "bye").unwrap());
        let sent: Vec<_> = sent.into_iter().chain([Outgoing::Close(close)]).collect();
        for (from, to) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
            let mut wire = BytesMut::new();
            let mut sender = Codec::new(from, Limits::default());
            for item in &sent {
                sender.encode(item.clone(), &mut wire).unwrap();
            }
            let mut receiver = Codec::new(to, Limits::default());
            let read = story(&mut receiver, &wire, ends(&cuts, wire.len()));
            prop_assert_eq!(read, (sent.iter().cloned().map(arrives).collect(), None));
        }
    }

    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        (role, bytes) in prop::sample::select(&ROLES[..])
            .prop_flat_map(|role| (Just(role), stream(role))),
        cuts in prop::collection::vec(any::<Index>(), 0..10),
        limits in prop_oneof![Just(Limits::default()), Just(limits(100, 150, 3))],
    ) {
        let at_once = story(&mut Codec::new(role, limits), &bytes, []);
        let in_pieces = story(&mut Codec::new(role, limits), &bytes, ends(&cuts, bytes.len()));
        prop_assert_eq!(&in_pieces, &at_once);
        let byte_by_byte = story(&mut Codec::new(role, limits), &bytes, 0..bytes.len());
        prop_assert_eq!(byte_by_byte, at_once);
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for role in ROLES {
            let at_once = decode(role, &bytes);
            let mut codec = Codec::new(role, Limits::default());
            prop_assert_eq!(story(&mut codec, &bytes, 0..bytes.len()), at_once);
        }
    }
}

fn fragment(opcode: Opcode, index: usize, bytes: &'static [u8], fin: bool) -> Incoming {
    Incoming::Fragment(Fragment { opcode, index, bytes: Bytes::from_static(bytes), fin })
}

#[test]
fn a_message_comes_by_fragment_where_that_is_wanted_and_whole_frames_as_ever() {
    let parts: [Part<'_>; 6] = [
        (0x01, b"caf\xc3"),
        (0x00, b""),
        (0x89, b"p"),
        (0x80, b"\xa9"),
        (0x81, b"whole"),
        (0x02, b"\xff"),
    ];
    for role in ROLES {
        let bytes = frames(role, &parts);
        for cut in 0..bytes.len() {
            let mut codec = Codec::new(role, Limits::default()).by_fragment(true);
            let (items, err) = story(&mut codec, &bytes, [cut]);
            let expected = [
                fragment(Opcode::Text, 0, b"caf\xc3", false),
                fragment(Opcode::Text, 1, b"", false),
                Incoming::Ping(control(b"p")),
                fragment(Opcode::Text, 2, b"\xa9", true),
                text("whole"),
                fragment(Opcode::Binary, 0, b"\xff", false),
            ];
            assert_eq!((items, err), (expected.to_vec(), None), "cut at {cut}");
            assert!(codec.is_partial());
        }
    }
}

#[test]
fn what_was_given_out_by_fragment_counts_against_the_limits() {
    let limits = Limits { message: 10, fragments: 3, ..Limits::default() };
    let codec = || Codec::new(Role::Client, limits).by_fragment(true);
    let (items, err) = story(&mut codec(), b"\x02\x06123456\x00\x05", []);
    assert_eq!(items.len(), 1);
    assert_eq!(err, Some(ProtocolError::MessageTooLarge { limit: 10 }));
    let (items, err) = story(&mut codec(), b"\x02\x00\x00\x00\x00\x00\x00", []);
    assert_eq!(items.len(), 3);
    assert_eq!(err, Some(ProtocolError::TooManyFragments { limit: 3 }));
    let (items, err) = story(&mut codec(), b"\x01\x01\xc3\x80\x00", []);
    assert_eq!(items.len(), 1);
    assert_eq!(err, Some(ProtocolError::InvalidUtf8), "a text ends inside a character");
}

#[test]
fn text_is_given_out_unchecked_where_that_is_wanted() {
    let bytes = b"\x81\x01\xff\x01\x01\xce\x80\x01\xff\x82\x01\xff\x88\x03\x03\xe8\xff";
    let mut codec = Codec::new(Role::Client, Limits::default()).unchecked_text(true);
    let (items, err) = story(&mut codec, bytes, [1, 2, 5]);
    let unchecked = |bytes: &'static [u8]| Incoming::Unchecked(Bytes::from_static(bytes));
    let binary = Incoming::Message(Payload::from(vec![0xff]));
    let close = Incoming::Close(CloseFrame::new(1000.into(), "\u{fffd}").ok());
    assert_eq!(items, [unchecked(b"\xff"), unchecked(b"\xce\xff"), binary, close]);
    assert_eq!(err, None);
}

#[test]
fn a_message_goes_out_in_fragments_of_a_size() {
    for (size, expected) in [
        (0, &b"\x01\x01a\x00\x01b\x80\x01c"[..]),
        (2, b"\x01\x02ab\x80\x01c"),
        (3, b"\x81\x03abc"),
        (usize::MAX, b"\x81\x03abc"),
    ] {
        let mut wire = BytesMut::new();
        let mut codec = Codec::new(Role::Server, Limits::default());
        codec.encode(Outgoing::Fragments("abc".into(), size), &mut wire).unwrap();
        assert_eq!(wire, expected);
        assert_eq!(Codec::fragments_len(Role::Server, 3, size), expected.len());
    }
    let mut wire = BytesMut::new();
    let mut codec = Codec::new(Role::Server, Limits::default());
    codec.encode(Outgoing::Fragments("".into(), 7), &mut wire).unwrap();
    assert_eq!(wire, &b"\x81\x00"[..]);
}

proptest! {
    #[test]
    fn fragments_of_any_size_are_one_message_and_as_long_as_was_said(
        payload: Vec<u8>,
        size in 0..300_usize,
    ) {
        let mut wire = BytesMut::new();
        let mut codec = Codec::new(Role::Client, Limits::default());
        codec.encode(Outgoing::Fragments(payload.clone().into(), size), &mut wire).unwrap();
        prop_assert_eq!(wire.len(), Codec::fragments_len(Role::Client, payload.len(), size));
        let items = vec![Incoming::Message(payload.into())];
        prop_assert_eq!(decode(Role::Server, &wire), (items, None));
    }
}

#[test]
fn masking_keys_come_from_the_application_until_that_fails() {
    let keys = Arc::new(|| *b"\x37\xfa\x21\x3d");
    let mut codec = Codec::new(Role::Client, Limits::default()).with_mask_keys(keys);
    let mut wire = BytesMut::new();
    codec.encode(Outgoing::Message("Hello".into()), &mut wire).unwrap();
    // RFC 6455, 5.7
    assert_eq!(wire, &b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..]);
    assert!(!codec.mask_keys_failed());

    let keys = Arc::new(|| panic!("no key"));
    let mut codec = Codec::new(Role::Client, Limits::default()).with_mask_keys(keys);
    let mut wire = BytesMut::new();
    codec.encode(Outgoing::Message("Hello".into()), &mut wire).unwrap();
    assert!(codec.mask_keys_failed());
    assert_eq!(decode(Role::Server, &wire), (vec![text("Hello")], None));
}

#[test]
fn every_frame_is_observed_in_both_directions() {
    let seen = Arc::new(Mutex::new(vec![]));
    let tell = seen.clone();
    let mut codec =
        Codec::new(Role::Client, Limits::default()).with_observer(move |way, header, bytes| {
            tell.lock().unwrap().push((way, header.opcode, header.fin, header.len, bytes.to_vec()));
        });
    story(&mut codec, b"\x01\x03Hel\x89\x00\x80\x02lo", [4]);
    codec.encode(Outgoing::Fragments("ab".into(), 1), &mut BytesMut::new()).unwrap();
    codec.encode(Outgoing::Close(None), &mut BytesMut::new()).unwrap();
    let expected = [
        (Way::In, Opcode::Text, false, 3, b"He".to_vec()),
        (Way::In, Opcode::Ping, true, 0, vec![]),
        (Way::In, Opcode::Continuation, true, 2, b"lo".to_vec()),
        (Way::Out, Opcode::Text, false, 1, b"a".to_vec()),
        (Way::Out, Opcode::Continuation, true, 1, b"b".to_vec()),
        (Way::Out, Opcode::Close, true, 0, vec![]),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[cfg(feature = "client")]
#[test]
fn the_observer_gets_no_payload_of_what_is_sent_while_that_is_hidden() {
    let seen = Arc::new(Mutex::new(vec![]));
    let tell = seen.clone();
    let mut codec =
        Codec::new(Role::Client, Limits::default()).with_observer(move |way, header, bytes| {
            tell.lock().unwrap().push((way, header.len, bytes.to_vec()));
        });
    for hides in [true, false] {
        codec.hide_payloads(hides);
        codec.encode(Outgoing::Message("secret".into()), &mut BytesMut::new()).unwrap();
        story(&mut codec, b"\x81\x02hi", []);
    }
    let expected = [
        (Way::Out, 6, vec![]),
        (Way::In, 2, b"hi".to_vec()),
        (Way::Out, 6, b"secret".to_vec()),
        (Way::In, 2, b"hi".to_vec()),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[cfg(feature = "client")]
mod short_way {
    use super::*;

    /// All that is found in a stream that arrives in the pieces that end at `ends`: where each message
    /// lies whole, everything else as it is, and the error at the end if there is one.
    fn found(
        mut codec: Codec,
        stream: &[u8],
        ends: &[usize],
        with_plain: bool,
    ) -> (Vec<String>, bool, Option<ProtocolError>) {
        let (mut buf, mut at, mut all) = (Vec::new(), 0, vec![]);
        for piece in ends.windows(2) {
            buf.extend_from_slice(&stream[piece[0]..piece[1]]);
            loop {
                if let Some(plain) = codec.fast_path().filter(|_| with_plain) {
                    while let Some((kind, payload, behind)) = plain.find(&buf[at..]) {
                        at = buf.len() - behind.len();
                        let (len, at) = (payload.len(), at - payload.len());
                        all.push(format!("{kind:?} at {at}: {len}"));
                    }
                }
                match codec.step(&mut buf, &mut at) {
                    Ok(Step::More) => break,
                    Ok(Step::Whole(opcode, len)) => {
                        all.push(format!("{:?} at {at}: {len}", codec.kind(opcode)));
                        at += len;
                    }
                    Ok(other) => all.push(format!("{other:?}")),
                    Err(err) => return (all, codec.is_partial(), Some(err)),
                }
            }
        }
        (all, codec.is_partial(), None)
    }

    #[test]
    fn only_a_message_that_stays_in_the_buffer_is_missing_there() {
        for (bytes, missing) in [
            (&b""[..], 0),
            (b"\x82", 0),
            (b"\x82\x05", 5),
            (b"\x82\x05ab", 3),
            (b"\x82\x05abcde", 0),
            (b"\x02\x05ab", 0),
        ] {
            let mut codec = Codec::new(Role::Client, Limits::default());
            codec.step(&mut bytes.to_vec(), &mut 0).unwrap();
            assert_eq!(codec.missing_in_place(), missing, "{bytes:x?}");
        }
    }

    #[test]
    fn both_ways_find_text_and_say_whether_it_was_checked() {
        for (unchecked, kind) in [(false, MessageKind::Text), (true, MessageKind::Unchecked)] {
            let mut codec = Codec::new(Role::Client, Limits::default()).unchecked_text(unchecked);
            assert_eq!(codec.kind(Opcode::Text), kind);
            assert_eq!(codec.kind(Opcode::Binary), MessageKind::Binary);
            let found = codec.fast_path().unwrap();
            assert_eq!(found.find(b"\x81\x02hi"), Some((kind, &b"hi"[..], &b""[..])));
        }
    }

    proptest! {
        #[test]
        fn the_short_way_finds_what_the_long_one_does(
            stream in stream(Role::Client),
            cuts: Vec<Index>,
            unchecked: bool,
            by_fragment: bool,
        ) {
            let limits = Limits { frame: 200, message: 150, fragments: 10 };
            let codec = || {
                Codec::new(Role::Client, limits).unchecked_text(unchecked).by_fragment(by_fragment)
            };
            let ends = [vec![0], ends(&cuts, stream.len()), vec![stream.len()]].concat();
            let long = found(codec(), &stream, &ends, false);
            prop_assert_eq!(found(codec(), &stream, &ends, true), long);
        }
    }

    #[test]
    fn the_short_way_takes_each_length_and_leaves_the_rest_alone() {
        let codec = || Codec::new(Role::Client, Limits { frame: 1000, ..Limits::default() });
        for (len, begin) in [(0, 2), (125, 2), (126, 4), (1000, 4)] {
            let bytes = frame(Role::Client, 0x82, &vec![7; len]);
            let plain = codec().fast_path().unwrap();
            let payload = &bytes[begin..];
            assert_eq!(payload.len(), len);
            assert_eq!(plain.find(&bytes), Some((MessageKind::Binary, payload, &[][..])));
            let more = [&bytes[..], b"more"].concat();
            assert_eq!(plain.find(&more), Some((MessageKind::Binary, payload, &b"more"[..])));
            assert_eq!(plain.find(&bytes[..bytes.len() - 1]), None, "not whole");
        }
        let plain = codec().fast_path().unwrap();
        let too_long = frame(Role::Client, 0x82, &[7; 1001]);
        let not_minimal = [&[0x82, 126, 0, 125][..], &[7; 125]].concat();
        let not_text = frame(Role::Client, 0x81, b"\xff");
        let cut_text = frame(Role::Client, 0x81, b"\xc3");
        let ping = frame(Role::Client, 0x89, b"");
        let masked = frame(Role::Server, 0x82, b"x");
        for bytes in [too_long, not_minimal, not_text, cut_text, ping, masked] {
            assert_eq!(plain.find(&bytes), None, "{bytes:?}");
        }
        // A limit below the greatest length of the second byte.
        let narrow =
            Codec::new(Role::Client, Limits { message: 9, ..Limits::default() }).fast_path();
        let found = |len| narrow.unwrap().find(&frame(Role::Client, 0x82, &vec![7; len])).is_some();
        assert_eq!([0, 9, 10, 125, 126].map(found), [true, true, false, false, false]);
        let mut inside = codec();
        story(&mut inside, b"\x01\x01a", []);
        assert!(inside.fast_path().is_none(), "a message in fragments is in progress");
    }
}

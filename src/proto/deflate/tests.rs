use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::proto::codec::{Codec, Limits};
use crate::proto::compression::{Agreed, Compression};
use crate::proto::frame::{FrameHeader, Opcode, Role};
use crate::proto::message::{Fragment, Incoming, Outgoing, Payload};

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const LIMIT: usize = 1 << 20;
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

fn inflater(window_bits: u8, takeover: bool) -> Inflater {
    Inflater::new(AVAILABLE.unwrap(), Context { window_bits, takeover })
}

fn deflater(window_bits: u8, takeover: bool) -> Deflater {
    let tuning = Tuning { threshold: 0, level: 6, mem_level: 8 };
    Deflater::new(AVAILABLE.unwrap(), Context { window_bits, takeover }, tuning)
}

/// Inflates a message that arrives in these pieces.
fn inflate(inflater: &mut Inflater, pieces: &[&[u8]]) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Vec::new();
    for piece in pieces {
        inflater.push(piece, &mut out, LIMIT)?;
    }
    inflater.finish().map(|()| out)
}

/// Bytes that no compressor makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn the_examples_of_the_rfc_are_inflated() {
    // RFC 7692, 7.2.3.1 to 7.2.3.5
    let table: [&[&[u8]]; 6] = [
        &[HELLO],
        &[b"\xf2\x48\xcd", b"\xc9\xc9\x07\x00"],
        &[b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"],
        &[b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"],
        &[b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"\x00"],
        &[b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"],
    ];
    for takeover in [true, false] {
        let mut inflater = inflater(15, takeover);
        for pieces in table {
            assert_eq!(inflate(&mut inflater, pieces).unwrap(), b"Hello", "{pieces:x?}");
            let bytes = pieces.concat();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(inflate(&mut inflater, &single).unwrap(), b"Hello", "{pieces:x?}");
        }
    }
}

#[test]
fn a_message_may_refer_to_another_only_under_takeover() {
    let second: &[&[u8]] = &[b"\xf2\x00\x11\x00\x00"];
    let mut with = inflater(15, true);
    assert_eq!(inflate(&mut with, &[HELLO]).unwrap(), b"Hello");
    assert_eq!(inflate(&mut with, second).unwrap(), b"Hello");
    let mut without = inflater(15, false);
    assert_eq!(inflate(&mut without, &[HELLO]).unwrap(), b"Hello");
    assert_eq!(inflate(&mut without, second), Err(ProtocolError::InvalidDeflate));
}

#[test]
fn a_message_may_have_no_bytes_either_way() {
    for takeover in [true, false] {
        let mut inflater = inflater(15, takeover);
        assert_eq!(inflate(&mut inflater, &[]).unwrap(), b"");
        for bytes in [&b""[..], b"\x00", b"\x03\x00", b"\x01", b"\x00"] {
            assert_eq!(inflate(&mut inflater, &[bytes]).unwrap(), b"", "{bytes:x?}");
        }
        assert_eq!(inflate(&mut inflater, &[HELLO]).unwrap(), b"Hello");
    }
}

#[test]
fn what_is_no_deflate_data_is_refused() {
    let table: [&[u8]; 7] = [
        b"\x07",                             // a block of the reserved kind
        b"\x00\x05\x00\x00\x00",             // lengths that contradict each other
        b"\x04\xff\xff\xff\xff\xff\xff\xff", // impossible Huffman codes
        b"\x03\x00\x07",                     // behind a final block
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x07", // the same, behind some text
        b"\x00\x05\x00\xfa\xffHell",         // a stored block cut short
        b"\x00\x00\x00",                     // its length cut short
    ];
    for bytes in table {
        for takeover in [true, false] {
            let result = inflate(&mut inflater(15, takeover), &[bytes]);
            assert_eq!(result, Err(ProtocolError::InvalidDeflate), "{bytes:x?}");
        }
    }
}

#[test]
fn a_message_cut_short_is_refused_wherever_it_was_cut() {
    let text = format!("{:?}", (0..500).collect::<Vec<_>>());
    for payload in [text.as_bytes(), b"Hello", &[b'a'; 300]] {
        let whole = match payload.len() {
            5 => HELLO.to_vec(),
            _ => deflater(15, false).compress(payload).unwrap(),
        };
        for end in 1..whole.len() {
            let result = inflate(&mut inflater(15, false), &[&whole[..end]]);
            assert_eq!(result, Err(ProtocolError::InvalidDeflate), "{end} of {}", whole.len());
        }
    }
}

#[test]
fn any_window_is_inflated_also_one_of_8_bits() {
    let payload = format!("{:?}", (0..20_000).collect::<Vec<_>>());
    for bits in 9..=15 {
        let compressed = deflater(bits, true).compress(payload.as_bytes()).unwrap();
        let inflated = inflate(&mut inflater(bits, true), &[&compressed]).unwrap();
        assert!(inflated == payload.as_bytes(), "{bits}");
    }
    assert_eq!(deflater(8, true).compress(payload.as_bytes()), None);
    // Compressed by zlib with a window of 9 bits, but with no reference farther back than 250 bytes.
    let compressed = deflater(9, true).compress(payload.as_bytes()).unwrap();
    assert!(inflate(&mut inflater(8, true), &[&compressed]).unwrap() == payload.as_bytes());
}

#[test]
fn what_gets_no_smaller_is_left_alone_and_breaks_no_context() {
    for takeover in [true, false] {
        let (mut deflater, mut inflater) = (deflater(15, takeover), inflater(15, takeover));
        let text = b"the same words again and again, the same words".repeat(9);
        for payload in [&text[..], b"", b"a", b"ab", &noise(5_000), &text, &text] {
            match deflater.compress(payload) {
                Some(compressed) => {
                    assert!(compressed.len() < payload.len());
                    assert_eq!(inflate(&mut inflater, &[&compressed]).unwrap(), payload);
                }
                None => assert!(payload != text),
            }
        }
    }
}

#[test]
fn takeover_makes_what_repeats_smaller() {
    let text = format!("{:?}", (0..500).collect::<Vec<_>>());
    let mut deflater = deflater(15, true);
    let first = deflater.compress(text.as_bytes()).unwrap().len();
    let second = deflater.compress(text.as_bytes()).unwrap().len();
    assert!(first > 10 * second, "{first}, then {second}");
}

#[test]
fn without_takeover_nothing_is_kept_between_messages() {
    let text = "some words ".repeat(100);
    let (mut deflater, mut inflater) = (deflater(15, false), inflater(15, false));
    let compressed = deflater.compress(text.as_bytes()).unwrap();
    assert!(deflater.stream.is_none());
    let mut out = Vec::new();
    inflater.push(&compressed, &mut out, LIMIT).unwrap();
    assert!(inflater.stream.is_some());
    inflater.finish().unwrap();
    assert!(inflater.stream.is_none());
    let mut kept = super::tests::inflater(15, true);
    inflate(&mut kept, &[&compressed]).unwrap();
    assert!(kept.stream.is_some());
}

/// 1 GiB of zeros, as one message.
fn bomb() -> Vec<u8> {
    let (mut deflater, zeros) = (deflater(15, true), vec![0; 1 << 20]);
    let mut next = || [&deflater.compress(&zeros).unwrap()[..], &TAIL].concat();
    let first = next();
    // From the second on all are equal.
    let mut bomb = [first, next().repeat(1023)].concat();
    bomb.truncate(bomb.len() - TAIL.len());
    bomb
}

#[test]
fn a_bomb_of_1_mib_to_1_gib_costs_no_more_than_the_limit() {
    let bomb = bomb();
    assert!((900_000..1_200_000).contains(&bomb.len()), "{}", bomb.len());
    for piece in [1, 1000, 64 << 10, bomb.len()] {
        let (mut inflater, mut out) = (inflater(15, true), Vec::new());
        let mut most = 0;
        let result = bomb.chunks(piece).try_for_each(|piece| {
            let result = inflater.push(piece, &mut out, LIMIT);
            most = most.max(out.capacity());
            result
        });
        assert_eq!(result, Err(ProtocolError::MessageTooLarge { limit: LIMIT }));
        assert_eq!((out.len(), most), (LIMIT, LIMIT), "pieces of {piece}");
    }
}

#[test]
fn what_is_at_the_limit_passes_and_one_byte_more_does_not() {
    for len in [1, 255, 256, 257, 1024, 100_000] {
        let payload = vec![b'x'; len];
        // A message this short gets no smaller.
        let compressed = match deflater(15, false).compress(&payload) {
            Some(compressed) => compressed,
            None => b"\xaa\x00\x00".to_vec(),
        };
        for piece in [1, compressed.len()] {
            for (limit, fits) in [(len - 1, false), (len, true), (len + 1, true)] {
                let (mut inflater, mut out) = (inflater(15, false), Vec::new());
                let pushed = compressed
                    .chunks(piece)
                    .try_for_each(|piece| inflater.push(piece, &mut out, limit));
                let result = pushed.and_then(|()| inflater.finish());
                let too_large = Err(ProtocolError::MessageTooLarge { limit });
                assert_eq!(result, if fits { Ok(()) } else { too_large }, "{len}");
                assert!(!fits || out == payload);
            }
        }
    }
}

#[test]
fn room_for_output_is_made_seldom_and_never_past_the_limit() {
    for (len, capacity, more, limit, expected) in [
        (0, 0, 256, 1000, 256),
        (0, 256, 256, 1000, 256),
        (1, 256, 256, 1000, 512),
        (256, 256, 1, 1000, 512),
        (600, 600, 100, 1000, 1000),
        (600, 600, 400, 1000, 1000),
        (10, 300, 100, 1000, 300),
    ] {
        let mut out = Vec::with_capacity(capacity);
        out.resize(len, 7);
        make_room(&mut out, more, limit);
        assert_eq!((out.len(), out.capacity()), (len, expected), "{len} and {more}");
    }
}

#[test]
fn a_piece_gets_twice_the_room_each_time_that_it_fills_it() {
    let compressed = deflater(15, false).compress(&[0; 100_000]).unwrap();
    let first = 4 * compressed.len();
    let (mut inflater, mut out) = (inflater(15, false), Vec::new());
    inflater.push(&compressed, &mut out, LIMIT).unwrap();
    assert_eq!(out.len(), 100_000);
    // Eight times: 1 + 2 + 4 + … + 128.
    assert_eq!(out.capacity(), 255 * first);
}

#[test]
fn the_compressor_of_the_thread_is_used_for_its_own_settings_alone() {
    let text = format!("{:?}", (0..500).collect::<Vec<_>>());
    let compress = |deflater: &mut Deflater| deflater.compress(text.as_bytes()).unwrap();
    let (mut like, mut other) = (deflater(15, false), deflater(9, false));
    // One that is in the middle of a stream shows by its references whether it was used.
    let keep_begun = || {
        let mut begun = Deflate::new_with_config(deflater(15, false).config());
        deflate(&mut begun, text.as_bytes()).unwrap();
        CACHED_DEFLATE.set(Some((deflater(15, false).config(), begun)));
    };
    keep_begun();
    assert_eq!(compress(&mut other), compress(&mut deflater(9, true)));
    keep_begun();
    let begun = compress(&mut like).len();
    let fresh = compress(&mut deflater(15, true)).len();
    assert!(fresh > 10 * begun, "{begun}, fresh {fresh}");
    assert_eq!(compress(&mut like).len(), fresh, "it was reset");
}

fn agreed(compression: Compression, answer: &str) -> Agreed {
    compression.agree([answer.as_bytes()]).unwrap().unwrap()
}

/// The four kinds of agreement: takeover or not, full windows or small ones.
fn agreements() -> [Agreed; 4] {
    let base = Compression::new().threshold(20).client_no_context_takeover(false);
    let alone = base.client_no_context_takeover(true);
    [
        agreed(base, "permessage-deflate"),
        agreed(base, "permessage-deflate;server_max_window_bits=9;client_max_window_bits=9"),
        agreed(alone, "permessage-deflate; server_no_context_takeover"),
        agreed(
            alone.mem_level(1).level(1),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=12; client_max_window_bits=10",
        ),
    ]
}

fn codec(role: Role, agreed: Agreed) -> Codec {
    Codec::new(role, Limits::default()).with_deflate(agreed)
}

/// A frame for a codec of this role.
fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = (role == Role::Server).then_some([0; 4]);
    let (opcode, len) = (Opcode::Text, payload.len() as u64);
    let mut bytes = BytesMut::new();
    FrameHeader { fin: true, opcode, mask, len }.write(&mut bytes);
    bytes[0] = first;
    bytes.extend_from_slice(payload);
    bytes.to_vec()
}

/// The items that a stream yields, and the error that ends it, if any.
fn decode(codec: &mut Codec, bytes: &[u8]) -> (Vec<Incoming>, Option<ProtocolError>) {
    let (mut src, mut items) = (BytesMut::from(bytes), vec![]);
    loop {
        match codec.decode(&mut src) {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (items, None),
            Err(err) => return (items, Some(err)),
        }
    }
}

#[test]
fn compressed_messages_are_read_whole_and_in_fragments_between_others() {
    for (role, agreed) in ROLES.into_iter().flat_map(|role| agreements().map(|one| (role, one))) {
        let bytes = [
            frame(role, 0xc1, HELLO),
            frame(role, 0x81, b"plain"),
            frame(role, 0x41, &HELLO[..3]),
            frame(role, 0x89, b""),
            frame(role, 0x00, b""),
            frame(role, 0x80, &HELLO[3..]),
            frame(role, 0xc2, b""),
            frame(role, 0x41, b""),
            frame(role, 0x80, HELLO),
        ]
        .concat();
        let hello = || Incoming::Message(Payload::from("Hello"));
        let (items, err) = decode(&mut codec(role, agreed), &bytes);
        assert_eq!((items.len(), err), (6, None));
        assert_eq!([&items[0], &items[3], &items[5]], [&hello(), &hello(), &hello()]);
        assert_eq!(items[4], Incoming::Message(Payload::from(vec![])));
    }
}

#[test]
fn rsv1_is_refused_where_it_may_not_be() {
    for (role, agreed) in ROLES.into_iter().flat_map(|role| agreements().map(|one| (role, one))) {
        let begun = frame(role, 0x41, &HELLO[..3]);
        use ProtocolError as E;
        for (before, first, expected) in [
            (&[][..], 0xc8, E::CompressedControl),
            (&[], 0xc9, E::CompressedControl),
            (&[], 0xca, E::CompressedControl),
            (&[], 0xc0, E::CompressedContinuation),
            (&begun, 0xc0, E::CompressedContinuation),
            (&begun, 0x40, E::CompressedContinuation),
            (&begun, 0x60, E::ReservedBit),
            (&[], 0xd8, E::ReservedBit),
            (&[], 0xc3, E::ReservedBit),
            (&[], 0xe1, E::ReservedBit),
            (&[], 0xa1, E::ReservedBit),
            (&[], 0x91, E::ReservedBit),
        ] {
            let bytes = [before, &frame(role, first, b"")].concat();
            let (_, err) = decode(&mut codec(role, agreed), &bytes);
            assert_eq!(err, Some(expected), "{first:x}");
        }
        // Without negotiation it is an error at the first byte.
        let mut plain = Codec::new(role, Limits::default());
        for first in [0xc1, 0xc0, 0xc8] {
            let err = decode(&mut plain, &[first]).1;
            assert_eq!(err, Some(ProtocolError::ReservedBit), "{first:x}");
            plain = Codec::new(role, Limits::default());
        }
    }
}

#[test]
fn inflated_text_is_refused_at_the_piece_that_spoils_it() {
    let mut codec = codec(Role::Client, agreements()[0]);
    // A stored block, whose bytes are inflated one by one.
    let block = b"\x00\x06\x00\xf9\xffok\xf4\x90\x80\x80\x00";
    let bytes = frame(Role::Client, 0xc1, block);
    let mut src = BytesMut::from(&bytes[..2 + 5 + 3]);
    assert_eq!(codec.decode(&mut src), Ok(None));
    src.extend_from_slice(b"\x90");
    assert_eq!(codec.decode(&mut src), Err(ProtocolError::InvalidUtf8));
}

#[test]
fn of_two_faults_in_a_piece_the_first_counts() {
    // A stored block with one byte that is not UTF-8, and a block of the reserved kind.
    let bytes = frame(Role::Client, 0xc1, b"\x00\x01\x00\xfe\xff\xff\x07");
    let mut codec = codec(Role::Client, agreements()[0]);
    assert_eq!(decode(&mut codec, &bytes), (vec![], Some(ProtocolError::InvalidUtf8)));
}

#[test]
fn a_message_is_limited_by_what_it_inflates_to_and_a_frame_by_what_it_declares() {
    let mut limits = Limits::default();
    (limits.frame, limits.message) = (1_000, 2_000);
    let zeros = |len| deflater(15, false).compress(&vec![0; len]).unwrap();
    let fresh = || Codec::new(Role::Client, limits).with_deflate(agreements()[2]);
    let (items, err) = decode(&mut fresh(), &frame(Role::Client, 0xc2, &zeros(2_000)));
    assert_eq!((items.len(), err), (1, None));
    let (_, err) = decode(&mut fresh(), &frame(Role::Client, 0xc2, &zeros(2_001)));
    assert_eq!(err, Some(ProtocolError::MessageTooLarge { limit: 2_000 }));
    let (_, err) = decode(&mut fresh(), b"\xc2\x7e\x03\xe9");
    assert_eq!(err, Some(ProtocolError::FrameTooLarge { len: 1_001, limit: 1_000 }));
    // Stored blocks take a few bytes more than what they inflate to.
    let stored = [&b"\x00\xd0\x07\x2f\xf8"[..], &[1; 2_000], b"\x00"].concat();
    let [first, second, third] = [&stored[..1_000], &stored[1_000..2_000], &stored[2_000..]];
    let parts = [(0x42, first), (0x00, second), (0x80, third)];
    let parts = parts.map(|(byte, part)| frame(Role::Client, byte, part)).concat();
    let (items, err) = decode(&mut fresh(), &parts);
    assert_eq!((items.len(), err), (1, None));
    // Empty blocks, without end.
    let nothing = frame(Role::Client, 0x00, &b"\x00\x00\x00\xff\xff".repeat(200));
    let endless = [frame(Role::Client, 0x42, b""), nothing.repeat(10)].concat();
    let (_, err) = decode(&mut fresh(), &endless);
    assert_eq!(err, Some(ProtocolError::MessageTooLarge { limit: 2_000 }));
}

#[test]
fn a_message_in_fragments_need_not_be_compressed_where_that_was_negotiated() {
    for role in ROLES {
        let bytes = [frame(role, 0x01, b"Hel"), frame(role, 0x80, b"lo")].concat();
        let hello = Incoming::Message(Payload::from("Hello"));
        assert_eq!(decode(&mut codec(role, agreements()[0]), &bytes), (vec![hello], None));
    }
}

#[test]
fn compressed_fragments_are_given_out_inflated_and_count_against_the_limit() {
    let limits = Limits { message: 14, ..Limits::default() };
    let codec = || Codec::new(Role::Client, limits).with_deflate(agreements()[0]);
    let hello = |bytes: &[u8], index, fin| {
        Incoming::Fragment(Fragment {
            opcode: Opcode::Text,
            index,
            bytes: Bytes::copy_from_slice(bytes),
            fin,
        })
    };
    let stored = b"\x00\x05\x00\xfa\xffHello";
    let parts = [frame(Role::Client, 0x41, stored), frame(Role::Client, 0x00, stored)].concat();
    let last = frame(Role::Client, 0x80, b"\x00\x04\x00\xfb\xffHell\x00");
    let (items, err) = decode(&mut codec().by_fragment(true), &[&parts[..], &last].concat());
    let expected = [hello(b"Hello", 0, false), hello(b"Hello", 1, false), hello(b"Hell", 2, true)];
    assert_eq!((&items[..], err), (&expected[..], None));
    let last = frame(Role::Client, 0x80, b"\x00\x05\x00\xfa\xffHello\x00");
    let (items, err) = decode(&mut codec().by_fragment(true), &[&parts[..], &last].concat());
    assert_eq!(items, expected[..2]);
    assert_eq!(err, Some(ProtocolError::MessageTooLarge { limit: 14 }));
    // A single frame is a whole message, although the assembler has it.
    let whole = decode(&mut codec().by_fragment(true), &frame(Role::Client, 0xc1, HELLO));
    assert_eq!(whole, (vec![Incoming::Message(Payload::from("Hello"))], None));
}

#[test]
fn short_messages_and_control_frames_are_sent_as_they_are() {
    let agreed = agreed(Compression::new(), "permessage-deflate");
    let mut codec = codec(Role::Server, agreed);
    let mut first = |payload: Payload| {
        let mut dst = BytesMut::new();
        codec.encode(Outgoing::Message(payload), &mut dst).unwrap();
        dst[0]
    };
    assert_eq!(first("x".repeat(1023).into()), 0x81);
    assert_eq!(first("x".repeat(1024).into()), 0xc1);
    assert_eq!(first(vec![0; 1024].into()), 0xc2);
    assert_eq!(first(noise(1024).into()), 0x82);
    let mut dst = BytesMut::new();
    let close = crate::proto::close::CloseFrame::new(1000.into(), "x".repeat(120)).unwrap();
    codec.encode(Outgoing::Close(Some(close)), &mut dst).unwrap();
    assert_eq!(dst[0], 0x88);
}

#[test]
fn a_codec_can_be_sent_to_another_thread_and_grows_by_a_pointer() {
    fn check<T: Send>() {}
    check::<Codec>();
    assert_eq!(size_of::<Option<Box<Deflation>>>(), size_of::<usize>());
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        "\\PC{0,60}".prop_map(Payload::from),
        "(bid|ask|price|,|[0-9]){0,300}".prop_map(Payload::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Payload::from),
        (1_usize..50_000).prop_map(|len| Payload::from("xy".repeat(len))),
        (1_usize..20_000).prop_map(|len| Payload::from(noise(len))),
    ]
}

proptest! {
    #[test]
    fn what_one_side_compresses_the_other_inflates(
        sent in prop::collection::vec(payload(), 0..6),
        which in 0_usize..4,
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let agreed = agreements()[which];
        for (from, to) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
            let (mut sender, mut receiver) = (codec(from, agreed), codec(to, agreed));
            let mut wire = BytesMut::new();
            for payload in &sent {
                let before = wire.len();
                sender.encode(Outgoing::Message(payload.clone()), &mut wire).unwrap();
                let most = Codec::encoded_len(from, payload.len());
                prop_assert!(wire.len() - before <= most);
            }
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            ends.sort_unstable();
            ends.push(wire.len());
            let (mut src, mut read, mut begin) = (BytesMut::new(), vec![], 0);
            for end in ends {
                src.extend_from_slice(&wire[begin..end]);
                begin = end;
                while let Some(item) = receiver.decode(&mut src).unwrap() {
                    let Incoming::Message(payload) = item else { panic!("{item:?}") };
                    read.push(payload);
                }
            }
            prop_assert!(read == sent, "{:?} sent", sent.iter().map(Payload::len).collect::<Vec<_>>());
            prop_assert!(!receiver.is_partial());
        }
    }

    #[test]
    fn any_bytes_inflate_alike_however_they_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<Index>(),
        with in prop_oneof![Just(0), any::<u8>()],
    ) {
        // Random bytes are rarely valid DEFLATE data. A valid message with one byte changed is, up to it.
        let text = format!("{bytes:?}");
        let mut spoilt = deflater(15, false).compress(text.as_bytes()).unwrap_or_default();
        if !spoilt.is_empty() {
            let at = at.index(spoilt.len());
            spoilt[at] ^= with;
        }
        for bytes in [bytes, spoilt] {
            let at_once = inflate(&mut inflater(15, true), &[&bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&inflate(&mut inflater(15, true), &single), &at_once);
            prop_assert_eq!(&inflate(&mut inflater(15, false), &[&bytes]), &at_once);
        }
    }
}

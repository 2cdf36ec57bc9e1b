//! The head of a reply reads the same however the bytes are cut, a status that was seen is never lost, and what is not
//! flagged ends where every reader ends it.
//!
//! Input: how to begin and how to make it long, the sizes of the pieces, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reply::{Flaw, MAX_HEAD, MAX_LINES, NotHttp, Reply};

#[path = "../../src/dial/reply.rs"]
mod reply;

fuzz_target!(|data: &[u8]| {
    let Some(([flags, a, b, c], stream)) = data.split_first_chunk() else { return };
    let stream = lengthened(*flags, stream);
    // The time is quadratic in the number of pieces.
    let least = if stream.len() < 1 << 9 { 1 } else { stream.len() / 64 };
    let whole = arrived(&stream, &[usize::MAX]);
    assert_eq!(arrived(&stream, &[a, b, c].map(|size| usize::from(*size).max(least))), whole);
    assert_eq!(arrived(&stream, &[least]), whole);
});

/// The stream behind one of a few status lines, and with more in its middle: many lines, a long one, both or neither. The
/// bounds are out of reach otherwise.
fn lengthened(flags: u8, stream: &[u8]) -> Vec<u8> {
    let (first, second) = stream.split_at(stream.len() / 2);
    let lines = if flags & 1 == 0 { Vec::new() } else { b"A: b\r\n".repeat(MAX_LINES) };
    // Rarely, because it takes long.
    let long = if flags & 0x82 == 0x82 { vec![b'a'; MAX_HEAD] } else { Vec::new() };
    let begin: [&[u8]; 4] =
        [b"", b"HTTP/1.1 101 x\r\n", b"HTTP/1.0 503\n", b"HTTP/1.1 200\r\nUpgrade"];
    [begin[usize::from(flags >> 2 & 3)], first, &lines, &long, second].concat()
}

/// What a stream is in the end, with the names and values of its header lines.
type Outcome = Result<Option<(Reply, Vec<(Vec<u8>, Vec<u8>)>)>, NotHttp>;

/// Reads a stream that arrives in pieces of these sizes, over and over.
fn arrived(stream: &[u8], sizes: &[usize]) -> Outcome {
    let (mut end, mut seen) = (0_usize, None);
    for size in sizes.iter().cycle() {
        end = stream.len().min(end.saturating_add(*size));
        // As if the connection ended here.
        match reply::read(&mut stream[..end].to_vec(), true) {
            Ok(Some(reply)) => {
                assert!(seen.is_none_or(|seen| seen == reply.status), "another status");
                seen = Some(reply.status);
            }
            _ => assert!(seen.is_none(), "the status was lost"),
        }
        let mut buf = stream[..end].to_vec();
        match reply::read(&mut buf, false) {
            Ok(Some(reply)) => {
                let lines = checked(&reply, &buf, &stream[..end]);
                return Ok(Some((reply, lines)));
            }
            Ok(None) if end < stream.len() => assert!(end < MAX_HEAD, "no bound"),
            Ok(None) => break,
            Err(NotHttp) => return Err(NotHttp),
        }
    }
    Ok(None)
}

/// Checks a head that was read into `buf` from `stream`, and returns its header lines.
fn checked(reply: &Reply, buf: &[u8], stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    assert!(reply.length <= MAX_HEAD && reply.lines.len() <= MAX_LINES && reply.status < 1000);
    assert_eq!(buf[reply.length..], stream[reply.length..], "the rest was touched");
    let head = &stream[..reply.length];
    if !reply.is_cut {
        let behind = &head[reply.version.start..];
        let ends = |head: &[u8]| head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n");
        assert!(ends(behind) && (0..behind.len()).all(|end| !ends(&behind[..end])), "another end");
    }
    match &reply.flaw {
        Some(Flaw::NulOrCr(line) | Flaw::BareLf(line) | Flaw::Malformed(line)) => {
            assert!(line.end <= reply.length);
        }
        None => {
            assert!(!head.contains(&0));
            let lf = |at: &usize| head[*at] == b'\n';
            assert!((0..head.len()).filter(lf).all(|at| at > 0 && head[at - 1] == b'\r'));
            let cr = |at: &usize| head[*at] == b'\r';
            assert!((0..head.len()).filter(cr).all(|at| head.get(at + 1) == Some(&b'\n')));
        }
    }
    let lines = reply.lines.iter().map(|line| {
        let (name, value) = (&buf[line.name.clone()], &buf[line.value.clone()]);
        assert!(!name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic()));
        assert!(!value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        assert!(!blank(value.first()) && !blank(value.last()));
        (name.to_vec(), value.to_vec())
    });
    lines.collect()
}

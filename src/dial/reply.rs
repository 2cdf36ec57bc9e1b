//! Reads the head of an HTTP reply: bytes in, status and header lines out.
//!
//! Pure, and without a name from the rest of the crate: the fuzz target `heads` includes this file.
//!
//! A status that was read is never lost, whatever the lines behind it are. Where the connection goes on behind the head
//! (a 101, or a 2xx to CONNECT), its end must not depend on how odd bytes are read: they are reported as a [`Flaw`].
//! docs/design.md has the table, "Odd lines in the head of a reply".

use std::ops::Range;

/// The longest head that is read, in bytes. What is longer is cut here.
pub(super) const MAX_HEAD: usize = 32 << 10;

/// The most header lines that are read. A head with more is cut here.
pub(super) const MAX_LINES: usize = 128;

/// The bytes are not the beginning of an HTTP reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

/// The head of a reply. All ranges are of the buffer that it was read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The version without `HTTP/`: `1.1`.
    pub(super) version: Range<usize>,
    pub(super) lines: Vec<Line>,
    /// The length of the head, or of what was read of a head that is cut.
    pub(super) length: usize,
    /// Whether lines are missing, because the head exceeds a bound or ended before its empty line.
    pub(super) is_cut: bool,
    /// The worst of what the connection must not go on behind.
    pub(super) flaw: Option<Flaw>,
}

/// A header line, with a name that is a token (RFC 9110, 5.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// What makes a head ambiguous, with the line that has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// NUL, or CR without LF: invalid and dangerous by RFC 9110, 5.5.
    NulOrCr(Range<usize>),
    /// LF without CR.
    BareLf(Range<usize>),
    /// The line is malformed, and seems to be one that the WebSocket handshake depends on.
    Malformed(Range<usize>),
}

/// Reads a head at the front of `buf`, of which no more will come if `at_end`. Returns `None` if it has not arrived in
/// full. At the end of the connection a head that is cut is returned if its status had arrived.
///
/// The result does not depend on how the bytes were cut on their way here. In `buf`, folds and bytes that must not be in
/// a value are replaced by blanks once the head is there.
///
/// # Errors
/// As soon as the bytes show that they are no reply.
pub(super) fn read(buf: &mut [u8], at_end: bool) -> Result<Option<Reply>, NotHttp> {
    let (is_full, length) = (buf.len() >= MAX_HEAD, buf.len().min(MAX_HEAD));
    let window = &mut buf[..length];
    let Some((version, status)) = status_line(window)? else {
        return if is_full { Err(NotHttp) } else { Ok(None) };
    };
    let Some((length, is_cut)) = head_end(window, version.start, is_full || at_end) else {
        return Ok(None);
    };
    let head = &mut window[..length];
    let start = line_end(head, version.start);
    let flaw = if is_usual(head) { None } else { repair(head, start) };
    let (lines, malformed) = header_lines(head, start);
    let flaw = flaw.or(malformed.map(Flaw::Malformed));
    Ok(Some(Reply { status, version, lines, length, is_cut, flaw }))
}

/// Parses a status line up to its status (RFC 9112, 4), behind any empty lines. The words in it may stand apart by any
/// blanks. Returns `None` if the byte behind the status has not arrived.
fn status_line(buf: &[u8]) -> Result<Option<(Range<usize>, u16)>, NotHttp> {
    const NAME: &[u8] = b"HTTP/";
    let count = |from: usize, is: fn(u8) -> bool| {
        from + buf[from..].iter().take_while(|byte| is(**byte)).count()
    };
    let mut at = 0;
    while let Some(rest) = buf[at..].strip_prefix(b"\r\n").or(buf[at..].strip_prefix(b"\n")) {
        at = buf.len() - rest.len();
    }
    let begun = &buf[at..];
    if begun == b"\r" || (begun.len() <= NAME.len() && NAME.starts_with(begun)) {
        return Ok(None);
    }
    if !begun.starts_with(NAME) {
        return Err(NotHttp);
    }
    let version = at + NAME.len();
    let version = version..count(version, |byte| byte.is_ascii_digit() || byte == b'.');
    let code = count(version.end, is_blank);
    let end = count(code, |byte| byte.is_ascii_digit());
    if version.len() > 3 || end - code > 3 {
        return Err(NotHttp);
    }
    let Some(&next) = buf.get(end) else { return Ok(None) };
    let is_status = !version.is_empty() && code > version.end && end - code == 3;
    if !is_status || !(is_blank(next) || next == b'\r' || next == b'\n') {
        return Err(NotHttp);
    }
    let status = buf[code..end].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Ok(Some((version, status)))
}

/// Returns how long the head is whose status line has a byte at `start`, and whether it is cut. Returns `None` if its
/// end has not arrived, and more may follow.
fn head_end(buf: &[u8], start: usize, is_all: bool) -> Option<(usize, bool)> {
    let mut at = start;
    let mut lines = 0;
    while let Some(length) = buf[at..].iter().position(|&byte| byte == b'\n') {
        let line = &buf[at..at + length];
        if matches!(line, b"" | b"\r") {
            return Some((at + length + 1, false));
        }
        // A fold belongs to the line before it.
        lines += usize::from(!is_blank(line[0]));
        // The status line is one more.
        if lines > MAX_LINES + 1 {
            return Some((at, true));
        }
        at += length + 1;
    }
    is_all.then_some((at, true))
}

/// Returns whether every line ends with CR LF, no line is folded, and there is neither NUL nor any other CR. Most heads are
/// so: this takes 1,300 instructions for the reply to an upgrade, and `repair`'s four passes 3,000.
fn is_usual(head: &[u8]) -> bool {
    let fits = |line: &[u8]| {
        line.strip_suffix(b"\r\n").is_some_and(|text| {
            !text.contains(&b'\r') && !text.first().is_some_and(|&byte| is_blank(byte))
        })
    };
    !head.contains(&0) && head.split_inclusive(|&byte| byte == b'\n').all(fits)
}

/// Joins folded lines from `start` on, replaces NUL and CR without LF by blanks, and returns the worst flaw.
fn repair(head: &mut [u8], start: usize) -> Option<Flaw> {
    let flaw = nul_or_cr(head).or_else(|| bare_lf(head));
    blank_nul_and_cr(head);
    unfold(head, start);
    flaw
}

/// Returns the first line with NUL, or with CR that does not stand before LF.
fn nul_or_cr(head: &[u8]) -> Option<Flaw> {
    let at = (0..head.len()).find(|&at| head[at] == 0 || is_bare_cr(head, at))?;
    Some(Flaw::NulOrCr(line_at(head, at)))
}

/// Returns the first line that ends with LF alone.
fn bare_lf(head: &[u8]) -> Option<Flaw> {
    let is_bare = |at: &usize| head[*at] == b'\n' && (*at == 0 || head[*at - 1] != b'\r');
    Some(Flaw::BareLf(line_at(head, (0..head.len()).find(is_bare)?)))
}

/// Replaces NUL, and CR without LF, by blanks where they are not refused (RFC 9112, 2.2 and RFC 9110, 5.5).
fn blank_nul_and_cr(head: &mut [u8]) {
    for at in 0..head.len() {
        if head[at] == 0 || is_bare_cr(head, at) {
            head[at] = b' ';
        }
    }
}

fn is_bare_cr(head: &[u8], at: usize) -> bool {
    head[at] == b'\r' && head.get(at + 1) != Some(&b'\n')
}

/// Joins folded lines (RFC 9112, 5.2: each fold is replaced by blanks). `start` is where the first header line begins:
/// blanks there fold nothing.
fn unfold(head: &mut [u8], start: usize) {
    for lf in start..head.len().saturating_sub(1) {
        if head[lf] == b'\n' && is_blank(head[lf + 1]) {
            head[lf] = b' ';
            if head[lf - 1] == b'\r' {
                head[lf - 1] = b' ';
            }
        }
    }
}

/// Returns the header lines from `start` on whose names can be read, and the first malformed line that the handshake
/// seems to depend on.
fn header_lines(head: &[u8], start: usize) -> (Vec<Line>, Option<Range<usize>>) {
    let (mut lines, mut malformed, mut at) = (Vec::new(), None, start);
    while at < head.len() {
        let next = line_end(head, at);
        let line = at..at + without_end(&head[at..next]).len();
        at = next;
        match header_line(head, line.clone()) {
            Ok(Some(line)) => lines.push(line),
            Ok(None) => {}
            Err(_) if malformed.is_some() => {}
            Err(()) => malformed = Some(line),
        }
    }
    (lines, malformed)
}

/// Parses a header line. Returns `None` for one without a name that can be read.
///
/// # Errors
/// The line is malformed, and seems to be one that the handshake depends on.
fn header_line(head: &[u8], line: Range<usize>) -> Result<Option<Line>, ()> {
    let bytes = &head[line.clone()];
    let Some(colon) = bytes.iter().position(|&byte| byte == b':') else {
        let word =
            bytes.split(|&byte| is_blank(byte) || byte == b'=').find(|word| !word.is_empty());
        return if is_of_handshake(word.unwrap_or_default()) { Err(()) } else { Ok(None) };
    };
    let end = bytes[..colon].iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    let (name, value) = (&bytes[..end], &bytes[colon + 1..]);
    let is_token = !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte));
    // RFC 9112, 5.1: no blank before the colon; RFC 9110, 5.5: no control character in a value.
    let is_proper = is_token && end == colon && !value.iter().any(|&byte| is_control(byte));
    if !is_proper && is_of_handshake(name) {
        return Err(());
    }
    let leading = value.iter().take_while(|byte| is_blank(**byte)).count();
    let trailing = value[leading..].iter().rev().take_while(|byte| is_blank(**byte)).count();
    let value = line.start + colon + 1 + leading..line.end - trailing;
    Ok(is_token.then(|| Line { name: line.start..line.start + end, value }))
}

/// Whether a name, without the bytes that cannot be in one, is that of a header that the handshake depends on.
fn is_of_handshake(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"sec-websocket-";
    let clean: Vec<u8> = name.iter().filter(|byte| is_token_byte(**byte)).copied().collect();
    let clean = clean.to_ascii_lowercase();
    clean.starts_with(PREFIX) || clean == b"upgrade" || clean == b"connection"
}

/// Returns where the line with the byte at `at` ends, its LF included.
fn line_end(head: &[u8], at: usize) -> usize {
    head[at..].iter().position(|&byte| byte == b'\n').map_or(head.len(), |lf| at + lf + 1)
}

/// Returns the line with the byte at `at`, without the CR LF or LF at its end.
fn line_at(head: &[u8], at: usize) -> Range<usize> {
    let start = head[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |lf| lf + 1);
    start..start + without_end(&head[start..line_end(head, at)]).len()
}

/// Returns a line without the CR LF or LF at its end.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` at the end of a connection.
    fn reply(text: &[u8]) -> (Reply, Vec<u8>) {
        let mut buf = text.to_vec();
        (read(&mut buf, true).unwrap().unwrap(), buf)
    }

    /// Returns names and values of the lines in a head.
    fn lines(text: &str) -> Vec<(String, String)> {
        let (reply, buf) = reply(format!("HTTP/1.1 503 x\r\n{text}\r\n").as_bytes());
        let part = |range: &Range<usize>| buf[range.clone()].escape_ascii().to_string();
        reply.lines.iter().map(|line| (part(&line.name), part(&line.value))).collect()
    }

    #[test]
    fn lines_are_unfolded_trimmed_and_skipped_where_they_have_no_name() {
        for (text, expected) in [
            ("A: b\r\nC:d \t\r\n", &[("A", "b"), ("C", "d")][..]),
            ("A: b\r\n c\r\n\td\r\n", &[("A", "b   c  \\td")]),
            ("A: b\n c\n", &[("A", "b  c")]),
            ("A:\r\n b\r\n \r\nC: d\r\n", &[("A", "b"), ("C", "d")]),
            ("A : b\r\n", &[("A", "b")]),
            (" A: b\r\nC: d\r\n", &[("C", "d")]),
            ("no\r\n A: b\r\n: c\r\nx y: z\r\nD: e:f\r\n", &[("D", "e:f")]),
            ("A: b\0c\rd\x01\r\n", &[("A", "b c d\\x01")]),
            ("A: \u{e9}\r\n\u{e9}: b\r\n", &[("A", "\\xc3\\xa9")]),
            ("A:\r\n", &[("A", "")]),
        ] {
            let lines = lines(text);
            let lines: Vec<_> = lines.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            assert_eq!(lines, expected, "{text:?}");
        }
    }

    #[test]
    fn the_worst_flaw_is_reported_with_its_line() {
        let flaw = |text: &str| {
            let (reply, buf) = reply(format!("HTTP/1.1 101 x\r\n{text}\r\n\r\n").as_bytes());
            let (kind, line) = match reply.flaw? {
                Flaw::NulOrCr(line) => ("nul or cr", line),
                Flaw::BareLf(line) => ("lf", line),
                Flaw::Malformed(line) => ("malformed", line),
            };
            Some((kind, String::from_utf8(buf[line].to_vec()).unwrap()))
        };
        let of = |kind, line: &str| Some((kind, line.to_owned()));
        assert_eq!(flaw("A: b\nUpgrade : x\r\nC: d\0"), of("nul or cr", "C: d "));
        assert_eq!(flaw("Upgrade : x\r\nA: b\nC: d"), of("lf", "A: b"));
        assert_eq!(flaw("A : b\r\nUpgrade : x\r\nConnection : y"), of("malformed", "Upgrade : x"));
        assert_eq!(flaw("Upgrade-Insecure : x\r\nX Upgrade: y"), None);
    }

    #[test]
    fn a_reply_is_read_alike_at_any_cut() {
        for text in [
            &b"HTTP/1.1 101 x\r\nA: b\r\n c\r\n\r\n\x81\x00"[..],
            b"\r\n\nHTTP/1.0 503\n\nbody",
            b"HTTP/1.1 503 x\r\n\0: \r\r\n\r\n",
            b"SSH-2.0\r\n",
            b"HTTP/1.1  5033\r\n",
            b"\rHTTP/1.1 200 x\r\n\r\n",
        ] {
            let whole = read(&mut text.to_vec(), false);
            let first = (0..=text.len())
                .map(|cut| read(&mut text[..cut].to_vec(), false))
                .find(|read| !matches!(read, Ok(None)));
            assert_eq!(first, Some(whole), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_head_is_cut_at_its_bounds() {
        let most = format!("HTTP/1.1 503 x\r\n{}\r\n", "A: b\r\n c\r\n".repeat(MAX_LINES));
        let (read_in_full, _) = reply(most.as_bytes());
        assert_eq!((read_in_full.lines.len(), read_in_full.is_cut), (MAX_LINES, false));
        let many = format!("HTTP/1.1 503 x\r\n{}\r\n", "A: b\r\n".repeat(MAX_LINES + 1));
        let (cut, _) = reply(many.as_bytes());
        assert_eq!((cut.status, cut.lines.len(), cut.is_cut), (503, MAX_LINES, true));
        let long = format!("HTTP/1.1 503 x\r\nA: b\r\nC: {}", "d".repeat(MAX_HEAD));
        let (cut, _) = reply(long.as_bytes());
        assert_eq!((cut.status, cut.lines.len(), cut.is_cut), (503, 1, true));
        assert_eq!(read(&mut "\r\n".repeat(MAX_HEAD).into_bytes(), false), Err(NotHttp));
        assert_eq!(read(&mut long.into_bytes()[..MAX_HEAD - 1], false), Ok(None));
    }
}

//! HTTP header lines as they were received.

use std::fmt;

/// The header lines of an HTTP reply, in the order in which they came.
///
/// Names are compared without regard to case (RFC 9110, 5.1). Values are kept as the bytes that
/// were sent. `Debug` hides the values of headers that carry secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// For each line how long its name is and how long its value, both in [`LEN_BYTES`] bytes, and then
    /// both: an open connection keeps them for long, so that they are one block.
    lines: Box<[u8]>,
}

/// Bytes of a length.
const LEN_BYTES: usize = size_of::<u32>();

/// Names whose values never reach a log.
const SECRET_NAMES: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    // It may have user info in it, or a ticket.
    "location",
];

impl Headers {
    /// As they come, twice over: once to know how long they are.
    pub(crate) fn of<'a>(lines: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> Headers {
        // Nobody accepts a head of 4 GiB.
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let length =
            lines.clone().map(|(name, value)| 2 * LEN_BYTES + name.len() + value.len()).sum();
        let mut all = Vec::with_capacity(length);
        for (name, value) in lines {
            all.extend_from_slice(&size(name.as_bytes()));
            all.extend_from_slice(&size(value));
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(value);
        }
        Headers { lines: all.into() }
    }

    /// The first value of a header, if it is there and is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.raw().find(|line| eq_ignore_case(line.0, name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }

    /// Every value of a header, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |line: &(&[u8], &[u8])| eq_ignore_case(line.0, name.as_bytes());
        self.raw().filter(named).map(|(_, value)| value)
    }

    /// Every value of a header that is text, in one line (RFC 9110, 5.3).
    pub fn list(&self, name: &str) -> String {
        let values: Vec<&str> =
            self.get_all(name).filter_map(|value| std::str::from_utf8(value).ok()).collect();
        values.join(", ")
    }

    /// All lines, names as they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.raw().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    /// All lines, names as bytes: to find one, nobody has to know that they are text.
    fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.lines[..];
        std::iter::from_fn(move || {
            let (name, behind) = rest.split_first_chunk::<LEN_BYTES>()?;
            let (value, behind) = behind.split_first_chunk::<LEN_BYTES>()?;
            let (name, behind) = behind.split_at_checked(u32::from_le_bytes(*name) as usize)?;
            let (value, behind) = behind.split_at_checked(u32::from_le_bytes(*value) as usize)?;
            rest = behind;
            Some((name, value))
        })
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.raw().count()
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether one of the comma-separated elements of a header is `token`, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let is = |element: &[u8]| eq_ignore_case(element.trim_ascii(), token.as_bytes());
        // Mostly it stands alone.
        self.get_all(name).any(|value| is(value) || value.split(|&byte| byte == b',').any(is))
    }

    /// Whether a header of this name may carry a secret.
    pub fn is_secret(name: &str) -> bool {
        SECRET_NAMES.iter().any(|secret| secret.eq_ignore_ascii_case(name))
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Headers {
        let lines: Vec<(N, V)> = lines.into_iter().collect();
        let lines = lines.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        Headers::of(lines)
    }
}

/// Whether two words differ in case alone. Mostly they don't even do that.
fn eq_ignore_case(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one == other || one.eq_ignore_ascii_case(other))
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| {
            let hidden: &[u8] = b"***";
            let value = if Headers::is_secret(name) { hidden } else { value };
            (name, String::from_utf8_lossy(value))
        });
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> Headers {
        let lines = [("Upgrade", "websocket"), ("connection", "keep-alive, Upgrade")];
        let secret = [("Set-Cookie", "id=hunter2")];
        let all = lines.into_iter().chain(secret);
        all.collect()
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(headers().get("UPGRADE"), Some("websocket"));
        assert_eq!(headers().get("accept"), None);
    }

    #[test]
    fn lines_are_kept_as_they_came() {
        let long = "x".repeat(70_000);
        let lines = [("A", ""), ("a", "b: c, "), ("", "d"), ("Long", long.as_str())];
        let headers: Headers = lines.into_iter().collect();
        let kept: Vec<_> = headers.iter().collect();
        assert_eq!(kept, lines.map(|(name, value)| (name, value.as_bytes())));
        assert!(headers.len() == 4 && !headers.is_empty() && Headers::default().is_empty());
    }

    #[test]
    fn a_token_is_found_in_a_list() {
        assert!(headers().has_token("Connection", "upgrade"));
        assert!(headers().has_token("upgrade", "WebSocket"));
        assert!(!headers().has_token("upgrade", "web"));
        assert!(!headers().has_token("Connection", "close"));
    }

    #[test]
    fn lines_of_one_name_are_one_list() {
        let lines = [("A", "x; y"), ("b", "z"), ("a", "w")];
        let headers: Headers = lines.into_iter().collect();
        assert_eq!(headers.list("a"), "x; y, w");
        assert_eq!(headers.list("c"), "");
    }

    #[test]
    fn debug_hides_cookies_and_locations() {
        let secrets = [("Set-Cookie", "id=hunter2"), ("location", "ws://us:hunter2@h")];
        let headers: Headers = [("Upgrade", "websocket")].into_iter().chain(secrets).collect();
        let shown = format!("{headers:?}");
        assert!(shown.contains("websocket") && !shown.contains("hunter2"), "{shown}");
    }
}

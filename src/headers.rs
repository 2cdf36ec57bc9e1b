//! The header lines of an HTTP reply.

use std::borrow::Cow;
use std::fmt;

/// The header lines of an HTTP reply, in the order in which they were received.
///
/// Names are compared without regard to case (RFC 9110, 5.1). Values are the bytes that the server
/// sent. `Debug` hides the values of headers that carry secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// All lines in one allocation, because an open connection keeps them. Each line is the length
    /// of its name and the length of its value, [`LEN_BYTES`] bytes each, then the name and the
    /// value.
    lines: Box<[u8]>,
}

/// The size of an encoded length, in bytes.
const LEN_BYTES: usize = size_of::<u32>();

/// Names of headers whose values are never shown in `Debug`, logs or errors.
const SECRET_NAMES: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    // Challenges, and answers to credentials: with a nonce, a digest or a token of a scheme.
    "www-authenticate",
    "proxy-authenticate",
    "authentication-info",
    "proxy-authentication-info",
    // A redirect may contain user info or a ticket.
    "location",
];

impl Headers {
    /// Stores the lines in order. Names are tokens. The iterator is run twice: first for the total
    /// length, so that one allocation is enough.
    pub(crate) fn of<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Headers {
        // Never saturates: a head of 4 GiB is refused long before it is stored.
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let length =
            lines.clone().map(|(name, value)| 2 * LEN_BYTES + name.len() + value.len()).sum();
        let mut all = Vec::with_capacity(length);
        for (name, value) in lines {
            all.extend_from_slice(&size(name));
            all.extend_from_slice(&size(value));
            all.extend_from_slice(name);
            all.extend_from_slice(value);
        }
        Headers { lines: all.into() }
    }

    /// Returns the first value of a header, if the header is present and the value is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.raw().find(|line| eq_ignore_case(line.0, name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }

    /// Returns an iterator over all values of a header, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |line: &(&[u8], &[u8])| eq_ignore_case(line.0, name.as_bytes());
        self.raw().filter(named).map(|(_, value)| value)
    }

    /// Joins all values of a header that are UTF-8 into one line, separated by commas (RFC 9110,
    /// 5.3).
    pub fn list(&self, name: &str) -> String {
        let values: Vec<&str> =
            self.get_all(name).filter_map(|value| std::str::from_utf8(value).ok()).collect();
        values.join(", ")
    }

    /// Returns an iterator over all lines, with the names spelled as they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.raw().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    /// Returns an iterator over all lines, with the names as bytes: a search by name needs no check
    /// that the names are UTF-8.
    fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.lines[..];
        std::iter::from_fn(move || {
            // The order in which `of` wrote: both lengths, the name, the value.
            let (name, behind) = rest.split_first_chunk::<LEN_BYTES>()?;
            let (value, behind) = behind.split_first_chunk::<LEN_BYTES>()?;
            let (name, behind) = behind.split_at_checked(u32::from_le_bytes(*name) as usize)?;
            let (value, behind) = behind.split_at_checked(u32::from_le_bytes(*value) as usize)?;
            rest = behind;
            Some((name, value))
        })
    }

    /// Returns the number of lines.
    pub fn len(&self) -> usize {
        self.raw().count()
    }

    /// Returns whether there are no lines.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns whether one of the comma-separated elements of a header is `token`, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let is = |element: &[u8]| eq_ignore_case(element.trim_ascii(), token.as_bytes());
        // The whole value first: usually it is a single token.
        self.get_all(name).any(|value| is(value) || value.split(|&byte| byte == b',').any(is))
    }

    /// Returns whether a header of this name may carry a secret.
    pub fn is_secret(name: &str) -> bool {
        SECRET_NAMES.iter().any(|secret| secret.eq_ignore_ascii_case(name))
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Headers {
        let lines: Vec<(N, V)> = lines.into_iter().collect();
        let lines = lines.iter().map(|(name, value)| (name.as_ref().as_bytes(), value.as_ref()));
        Headers::of(lines)
    }
}

/// Compares two names or tokens without regard to case; equal spelling, the usual case, is tested
/// first.
fn eq_ignore_case(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one == other || one.eq_ignore_ascii_case(other))
}

impl Headers {
    /// Returns an iterator over all lines as they may be shown: `***` for a value that may be a secret.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.iter().map(|(name, value)| {
            let hidden: &[u8] = b"***";
            let value = if Headers::is_secret(name) { hidden } else { value };
            (name, String::from_utf8_lossy(value))
        })
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
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
    fn debug_hides_cookies_locations_and_challenges() {
        let secrets = [
            ("Set-Cookie", "id=hunter2"),
            ("location", "ws://us:hunter2@h"),
            ("Proxy-Authenticate", "NTLM hunter2"),
            ("Authentication-Info", "rspauth=hunter2"),
        ];
        let headers: Headers = [("Upgrade", "websocket")].into_iter().chain(secrets).collect();
        let shown = format!("{headers:?}");
        assert!(shown.contains("websocket") && !shown.contains("hunter2"), "{shown}");
    }
}

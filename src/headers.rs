//! HTTP header lines as they were received.

use std::fmt;

/// The header lines of an HTTP reply, in the order in which they came.
///
/// Names are compared without regard to case (RFC 9110, 5.1). Values are kept as the bytes that
/// were sent. `Debug` hides the values of headers that carry secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// All names and values, one behind the other: an open connection keeps them for long.
    text: Box<[u8]>,
    /// Where the name of each line ends, and where its value does.
    ends: Box<[(u32, u32)]>,
}

/// Bytes of a name and its value, more or less.
const USUAL_LINE: usize = 48;

/// Names whose values never reach a log.
const SECRET: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    // It may have user info in it, or a ticket.
    "location",
];

impl Headers {
    /// The first value of a header, if it is there and is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.raw().find(|line| line.0.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }

    /// Every value of a header, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |line: &(&[u8], &[u8])| line.0.eq_ignore_ascii_case(name.as_bytes());
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
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, end)| {
            let (name_end, end) = (name_end as usize, end as usize);
            let name = self.text.get(start..name_end).unwrap_or_default();
            let value = self.text.get(name_end..end).unwrap_or_default();
            start = end;
            (name, value)
        })
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether one of the comma-separated elements of a header is `token`, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether a header of this name may carry a secret.
    pub fn is_secret(name: &str) -> bool {
        SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(name))
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Headers {
        // Nobody accepts a head of 4 GiB.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let lines = lines.into_iter();
        // So that most of them need not grow on the way.
        let mut text = Vec::with_capacity(USUAL_LINE * lines.size_hint().0);
        let add = |(name, value): (N, V)| {
            text.extend_from_slice(name.as_ref().as_bytes());
            let name_end = text.len();
            text.extend_from_slice(value.as_ref());
            (place(name_end), place(text.len()))
        };
        let ends = lines.map(add).collect();
        Headers { text: text.into(), ends }
    }
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
    fn a_token_is_found_in_a_list() {
        assert!(headers().has_token("Connection", "upgrade"));
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

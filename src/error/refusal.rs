//! What a server or proxy refused with: its reply, how long it asks to wait, and what credentials it wants.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::headers::Headers;

/// A reply to the upgrade that was not 101, or a proxy's reply to CONNECT that was not 2xx.
///
/// `Debug` shows only the length of the body: a server may repeat there what it received, credentials
/// included.
#[derive(Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The reason phrase of the status line, with what is not UTF-8 replaced; empty if there is none.
    pub reason: String,
    /// Whether the request carried credentials for who refused it: `Authorization` for the server,
    /// `Proxy-Authorization` for a proxy.
    pub authorized: bool,
    /// The reply's header lines.
    pub headers: Headers,
    /// The body: as much as arrived within 2 s, up to 64 KiB.
    pub body: Bytes,
}

/// The longest `Retry-After` that is obeyed. A longer one counts as this.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

impl Refusal {
    /// Returns how long the server asks to wait: `Retry-After`, in seconds or as a date
    /// (RFC 9110, 10.2.3), at most one hour. Fractions of a second are rounded up; of several values
    /// the longest counts. A date is measured against the reply's own `Date` where it has one, so that
    /// the difference between the clocks does not matter. `None` if no value is either.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_at(SystemTime::now())
    }

    fn retry_after_at(&self, now: SystemTime) -> Option<Duration> {
        let date = self.headers.get("date").and_then(|date| httpdate::parse_http_date(date).ok());
        let sent = date.unwrap_or(now);
        let values = self.headers.get_all("retry-after");
        let values = values.filter_map(|value| str::from_utf8(value).ok());
        let longest = values.filter_map(|value| delay(value.trim(), sent)).max()?;
        Some(longest.min(MAX_RETRY_AFTER))
    }

    /// Returns the names of the authentication schemes that a 401 or 407 asks for (RFC 9110, 11.6.1
    /// and 11.7.1), in order and each once: those of `Proxy-Authenticate` for 407, else of
    /// `WWW-Authenticate`. At most eight are returned.
    pub fn schemes(&self) -> Vec<&str> {
        let name = if self.status == 407 { "proxy-authenticate" } else { "www-authenticate" };
        let mut schemes: Vec<&str> = Vec::new();
        for scheme in self.headers.get_all(name).flat_map(challenges) {
            let is_new = !schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
            if is_new && schemes.len() < MAX_SCHEMES {
                schemes.push(scheme);
            }
        }
        schemes
    }

    /// Returns the status and its reason phrase, made safe for one line of a terminal, and for a 401 or
    /// 407 what credentials are wanted.
    pub(super) fn text(&self, by: Refuser) -> String {
        let mut text = format!("status {}", self.status);
        let reason = self.reason.trim();
        if !reason.is_empty() {
            text.push(' ');
            for c in reason.chars().take(MAX_REASON) {
                match c.is_control() {
                    true => text.extend(c.escape_default()),
                    false => text.push(c),
                }
            }
        }
        if matches!((self.status, by), (401 | 407, Refuser::Proxy) | (401, Refuser::Server)) {
            text.push_str(": ");
            text.push_str(&self.wanted(by));
        }
        text
    }

    /// Describes the credentials that a 401 or 407 asks for, and whether any were sent.
    fn wanted(&self, by: Refuser) -> String {
        let schemes = self.schemes();
        let wants = match schemes.is_empty() {
            true => "credentials".to_owned(),
            false => schemes.join(" or "),
        };
        let speaks = |scheme: &&str| {
            let is = |other: &str| scheme.eq_ignore_ascii_case(other);
            is("basic") || (by == Refuser::Server && is("bearer"))
        };
        let unknown = !schemes.is_empty() && !schemes.iter().any(speaks);
        match (by, unknown, self.authorized) {
            (Refuser::Proxy, true, _) => {
                format!("it wants {wants}, which is not supported; only Basic is sent to a proxy")
            }
            (Refuser::Proxy, false, true) => {
                format!("it wants {wants}, and did not accept the credentials in the proxy's URL")
            }
            (Refuser::Proxy, false, false) => {
                format!("it wants {wants}, and the proxy's URL has no user:password@")
            }
            (Refuser::Server, true, _) => format!(
                "it wants {wants}, which is not supported; set the header Authorization yourself"
            ),
            (Refuser::Server, false, true) => {
                format!("it wants {wants}, and did not accept the credentials that were sent")
            }
            (Refuser::Server, false, false) => {
                format!("it wants {wants}, and no credentials were sent")
            }
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("authorized", &self.authorized)
            .field("headers", &self.headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Parses a value of `Retry-After` in a reply that was sent at `sent`: a date, or seconds, of which a proxy may have
/// joined several.
fn delay(value: &str, sent: SystemTime) -> Option<Duration> {
    match httpdate::parse_http_date(value) {
        // A date in the past asks for no wait.
        Ok(date) => Some(date.duration_since(sent).unwrap_or_default()),
        Err(_) => {
            let all: Option<Vec<u64>> = value.split(',').map(|part| seconds(part.trim())).collect();
            Some(Duration::from_secs(all?.into_iter().max()?))
        }
    }
}

/// Parses a number of seconds, and rounds it up.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let more = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    // More digits than fit in a u64 are still a number, above the maximum.
    Some(whole.parse().unwrap_or(u64::MAX).saturating_add(more))
}

/// Who refused a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refuser {
    Server,
    Proxy,
}

/// The most characters of a reason phrase that are shown.
const MAX_REASON: usize = 64;

/// The most schemes of authentication that are named.
const MAX_SCHEMES: usize = 8;

/// The longest name of a scheme, in bytes. A longer one is not a scheme that anybody has defined.
const MAX_SCHEME_LEN: usize = 32;

/// Returns an iterator over the names of the schemes in a list of challenges (RFC 9110, 11.6.1). Commas
/// separate challenges as well as their parameters: an element that begins with `name =` is a parameter.
fn challenges(list: &[u8]) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let elements = list.split(move |byte| {
        escaped = match byte {
            _ if escaped => false,
            b'"' => {
                quoted = !quoted;
                false
            }
            _ => quoted && *byte == b'\\',
        };
        *byte == b',' && !quoted
    });
    elements.filter_map(|element| {
        let element = std::str::from_utf8(element.trim_ascii()).ok()?;
        let end = element.find([' ', '\t', '=']).unwrap_or(element.len());
        let (name, rest) = element.split_at(end);
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_scheme = !rest.trim_start().starts_with('=')
            && (1..=MAX_SCHEME_LEN).contains(&name.len())
            && name.bytes().all(is_token);
        is_scheme.then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_may_be_a_date() {
        let refusal = challenged(503, false, &[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let before = |seconds| refusal.retry_after_at(date - Duration::from_secs(seconds));
        assert_eq!(before(90), Some(Duration::from_secs(90)));
        assert_eq!(before(86_400), Some(MAX_RETRY_AFTER));
        assert_eq!(refusal.retry_after_at(date + Duration::from_secs(1)), Some(Duration::ZERO));
    }

    fn challenged(status: u16, authorized: bool, lines: &[(&str, &str)]) -> Refusal {
        let headers = lines.iter().copied().collect();
        Refusal { status, reason: "Denied".into(), authorized, headers, body: Bytes::new() }
    }

    #[test]
    fn the_schemes_of_a_challenge_are_found_among_its_parameters() {
        for (value, expected) in [
            ("Basic", &["Basic"][..]),
            ("Basic realm=\"a, b\", charset=\"UTF-8\"", &["Basic"]),
            (
                "Digest realm=\"a\\\", Fake x\", nonce=b, qop=\"auth, auth-int\", Basic realm=x",
                &["Digest", "Basic"],
            ),
            (
                "Negotiate, NTLM TlRMTVNTUAAC==,, basic realm = \"x\", stale = true",
                &["Negotiate", "NTLM", "basic"],
            ),
            ("Bearer error=\"invalid_token\"\t,BEARER", &["Bearer"]),
            ("", &[]),
            ("=x, \"y\", a\u{1b}b", &[]),
            ("a,b,c,d,e,f,g,h,i,j", &["a", "b", "c", "d", "e", "f", "g", "h"]),
        ] {
            let lines = [("WWW-Authenticate", value), ("Proxy-Authenticate", "Other")];
            assert_eq!(challenged(401, false, &lines).schemes(), expected, "{value}");
        }
        let two =
            [("Proxy-Authenticate", "Digest a=b"), ("proxy-authenticate", "Basic realm=\"\"")];
        assert_eq!(challenged(407, false, &two).schemes(), ["Digest", "Basic"]);
    }

    #[test]
    fn of_several_values_of_retry_after_the_longest_counts_and_dates_are_measured_by_the_servers_clock()
     {
        let lines = [
            ("Retry-After", "5"),
            ("Retry-After", "soon"),
            ("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"),
            ("Retry-After", "Sun, 06 Nov 1994 08:49:30 GMT"),
        ];
        let with_date = [("Date", "Sun, 06 Nov 1994 08:49:37 GMT")].into_iter().chain(lines);
        let refusal = |headers| Refusal {
            status: 503,
            reason: String::new(),
            authorized: false,
            headers,
            body: Bytes::new(),
        };
        let dated = refusal(with_date.collect());
        assert_eq!(dated.retry_after(), Some(Duration::from_secs(60)));
        // By our clock both dates are over.
        assert_eq!(
            refusal(lines.into_iter().collect()).retry_after(),
            Some(Duration::from_secs(5))
        );
    }
}

//! The cookies that servers have set, and which of them a request carries (RFC 6265, 5).
//!
//! An attacker who can change what comes without TLS must not change what is sent over TLS. So a cookie that
//! was received without TLS cannot be `Secure`, cannot take the place of one that is, and evicts none
//! that was received over TLS; and the prefixes `__Secure-` and `__Host-` are obeyed (RFC 6265bis, 5.4
//! and 5.7).
//!
//! One rule is stricter than the RFC's: a cookie without `Domain` is sent only to the port that set it.
//! There is no list of public suffixes: a `Domain` of one label is refused, one such as `co.uk` is not.
//! Names, values and paths are bytes: they are sent back as they were received, in whatever encoding.

mod date;

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// The most bytes of name and value of one cookie. Browsers have the same bound, which RFC 6265, 6.1
/// demands at least. Attributes do not count.
const MAX_COOKIE_LEN: usize = 4096;

/// The longest value of an attribute that is read, in bytes, as in browsers. A longer one is ignored.
const MAX_ATTRIBUTE_LEN: usize = 1024;

/// The most cookies that are stored.
const MAX_COOKIES: usize = 64;

/// The most bytes of names and values that are stored. One request may have to carry all of them.
const MAX_BYTES: usize = 16 << 10;

/// What a cookie counts beyond its name and value where domains are compared: with it, both bounds are the same.
const COOKIE_OVERHEAD: usize = MAX_BYTES / MAX_COOKIES;

/// The destination of a request, as far as cookies depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    /// Whether the request is sent over TLS.
    pub(crate) secure: bool,
    /// A host name in lower case, or an IP address without brackets.
    pub(crate) host: &'a str,
    /// The port, also if it is the default of the scheme.
    pub(crate) port: u16,
    /// The path from its first slash on, without the query.
    pub(crate) path: &'a str,
}

/// A bounded store of cookies, ordered by the time when each was first set. What is dropped at a bound:
/// [`Jar::evict`].
#[derive(Default)]
pub(crate) struct Jar(Vec<StoredCookie>);

/// A cookie and the requests that carry it.
struct StoredCookie {
    /// The name, as the server spelled it.
    name: Vec<u8>,
    /// The value, as the server sent it, quotes included.
    value: Vec<u8>,
    /// The host that set it, or the `Domain` that it was set for.
    domain: String,
    /// The port of the host that set it; `None` if a `Domain` was given.
    port: Option<u16>,
    /// The path at or below which it is sent.
    path: Vec<u8>,
    /// Whether it is sent only over TLS.
    secure: bool,
    /// Whether it was received over TLS.
    over_tls: bool,
    /// When it expires; `None` if it lasts as long as the jar.
    expiry: Option<SystemTime>,
}

impl Jar {
    /// Stores the cookie of a `Set-Cookie` value. A value that is not valid is ignored, and so is one that came without TLS
    /// and would be sent in the place of a `Secure` cookie.
    pub(crate) fn store(&mut self, from: Destination<'_>, line: &[u8], now: SystemTime) {
        let Some(new) = StoredCookie::parse(from, line, now) else {
            return;
        };
        self.0.retain(|old| !old.is_expired(now));
        // A reply that came without TLS may be forged (RFC 6265bis, 5.7).
        if self.0.iter().any(|old| new.imitates(old)) {
            return;
        }
        // The same in the other order, which the RFC leaves to prefixes.
        self.0.retain(|old| !old.imitates(&new));
        match self.0.iter_mut().find(|old| old.is_replaced_by(&new)) {
            // In the position of the old one, which keeps its age (RFC 6265, 5.3).
            Some(old) => *old = new,
            None => self.0.push(new),
        }
        // A cookie that is set with a past expiry deletes the old one.
        self.0.retain(|old| !old.is_expired(now));
        while self.0.len() > MAX_COOKIES || self.bytes() > MAX_BYTES {
            self.evict();
        }
    }

    /// Drops a cookie: one that came without TLS if there is any, so that such a cookie never drives out one that came with
    /// it. Of these one of the domain that has the most, so that no domain drives out the cookies of another; then one that
    /// is not `Secure` (RFC 6265bis, 5.7), then the oldest.
    fn evict(&mut self) {
        let size = |kept: &StoredCookie| COOKIE_OVERHEAD + kept.name.len() + kept.value.len();
        let weight = |domain: &str| -> usize {
            self.0.iter().filter(|kept| kept.domain == domain).map(size).sum()
        };
        let rank =
            |kept: &StoredCookie| (kept.over_tls, Reverse(weight(&kept.domain)), kept.secure);
        // Of equal ones the first, which is the oldest.
        if let Some(at) = (0..self.0.len()).min_by_key(|at| rank(&self.0[*at])) {
            self.0.remove(at);
        }
    }

    /// Returns the value of `Cookie` for a request (RFC 6265, 5.4), longer paths first; `None` if
    /// no cookie matches.
    pub(crate) fn header(&self, to: Destination<'_>, now: SystemTime) -> Option<Vec<u8>> {
        let mut sent: Vec<&StoredCookie> =
            self.0.iter().filter(|kept| !kept.is_expired(now) && kept.matches(to)).collect();
        // A stable sort: among paths of one length the older cookie stays first.
        sent.sort_by_key(|kept| Reverse(kept.path.len()));
        let pairs: Vec<Vec<u8>> =
            sent.iter().map(|kept| [&kept.name[..], b"=", &kept.value].concat()).collect();
        Some(pairs.join(&b"; "[..])).filter(|line| !line.is_empty())
    }

    /// Returns whether no cookie is stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes of all names and values.
    fn bytes(&self) -> usize {
        self.0.iter().map(|kept| kept.name.len() + kept.value.len()).sum()
    }
}

impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jar({})", self.0.len())
    }
}

impl StoredCookie {
    /// Parses a `Set-Cookie` value (RFC 6265, 5.2 and 5.3); `None` if it is too long, malformed, or
    /// not the server's to set.
    fn parse(from: Destination<'_>, line: &[u8], now: SystemTime) -> Option<StoredCookie> {
        let mut parts = line.split(|byte| *byte == b';');
        let (name, value) = split_pair(parts.next()?);
        let value = value?;
        let attributes = Attributes::parse(parts);
        // A control character could end the header line of a later request.
        if name.is_empty()
            || name.len() + value.len() > MAX_COOKIE_LEN
            || name.iter().chain(value).any(u8::is_ascii_control)
            || (attributes.secure && !from.secure)
        {
            return None;
        }
        let (domain, port) = scope(from, std::str::from_utf8(attributes.domain).ok()?)?;
        if !keeps_prefix(name, &attributes, port.is_some()) {
            return None;
        }
        Some(StoredCookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain,
            port,
            path: attributes.path.unwrap_or(default_path(from.path).as_bytes()).to_owned(),
            secure: attributes.secure,
            over_tls: from.secure,
            expiry: attributes.expiry(now),
        })
    }

    /// Returns whether `other` replaces this cookie (RFC 6265, 5.3).
    fn is_replaced_by(&self, other: &StoredCookie) -> bool {
        let ports = self.port.zip(other.port);
        self.name == other.name
            && self.path == other.path
            && self.domain == other.domain
            && ports.is_none_or(|(one, other)| one == other)
    }

    /// Returns whether this cookie came without TLS and would be sent in the place of `secure`, which is a `Secure` one
    /// (RFC 6265bis, 5.7): they have the same name, one's domain is within the other's, and the path of this one is at or
    /// below that of the other.
    fn imitates(&self, secure: &StoredCookie) -> bool {
        secure.secure
            && !self.over_tls
            && self.name == secure.name
            && (is_within(&self.domain, &secure.domain) || is_within(&secure.domain, &self.domain))
            && is_below(&self.path, &secure.path)
    }

    /// Returns whether the cookie has expired.
    fn is_expired(&self, now: SystemTime) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// Returns whether a request to this destination carries the cookie (RFC 6265, 5.4).
    fn matches(&self, to: Destination<'_>) -> bool {
        let host = match self.port {
            Some(port) => to.host == self.domain && to.port == port,
            None => is_within(to.host, &self.domain),
        };
        host && (to.secure || !self.secure) && is_below(to.path.as_bytes(), &self.path)
    }
}

/// The attributes of a `Set-Cookie` value. Of several of one name the last one counts.
#[derive(Default)]
struct Attributes<'a> {
    /// `Domain` without its leading dot; empty if there is none.
    domain: &'a [u8],
    /// `Path`, if it begins with a slash: any other counts as none (RFC 6265, 5.2.4).
    path: Option<&'a [u8]>,
    /// Whether there is a `Secure`.
    secure: bool,
    /// `Max-Age`, in seconds.
    max_age: Option<i64>,
    /// `Expires`, in seconds since 1970.
    expires: Option<i64>,
}

impl<'a> Attributes<'a> {
    /// Parses the attributes (RFC 6265, 5.2). One that is unknown or invalid is ignored.
    fn parse(parts: impl Iterator<Item = &'a [u8]>) -> Attributes<'a> {
        let mut read = Attributes::default();
        for (name, value) in parts.map(split_pair) {
            let value = value.unwrap_or_default();
            if value.len() > MAX_ATTRIBUTE_LEN {
                continue;
            }
            match name.to_ascii_lowercase().as_slice() {
                b"expires" => read.expires = date::parse(value).or(read.expires),
                b"max-age" => read.max_age = max_age(value).or(read.max_age),
                b"domain" if !value.is_empty() => {
                    read.domain = value.strip_prefix(b".").unwrap_or(value);
                }
                b"path" => read.path = Some(value).filter(|path| path.starts_with(b"/")),
                b"secure" => read.secure = true,
                _ => {}
            }
        }
        read
    }

    /// Returns when the cookie expires: `Max-Age` takes precedence over `Expires` (RFC 6265, 5.3).
    fn expiry(&self, now: SystemTime) -> Option<SystemTime> {
        let (start, seconds) = match (self.max_age, self.expires) {
            (Some(age), _) => (now, age),
            (None, Some(date)) => (SystemTime::UNIX_EPOCH, date),
            (None, None) => return None,
        };
        match u64::try_from(seconds) {
            Ok(0) | Err(_) => Some(SystemTime::UNIX_EPOCH),
            // A time beyond the range of the clock never comes.
            Ok(seconds) => start.checked_add(Duration::from_secs(seconds)),
        }
    }
}

/// Returns whether a cookie is what the prefix of its name promises, if it has one (RFC 6265bis, 5.4). `host_only`: whether
/// it is for the sending host alone.
fn keeps_prefix(name: &[u8], attributes: &Attributes<'_>, host_only: bool) -> bool {
    let has = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_for_all_paths = attributes.path == Some(b"/");
    (!has(b"__Secure-") || attributes.secure)
        && (!has(b"__Host-") || (attributes.secure && host_only && is_for_all_paths))
}

/// Splits `name=value` at its first `=`, without the blanks around both. Without `=` there is only a name.
fn split_pair(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (trim(&part[..at]), Some(trim(&part[at + 1..]))),
        None => (trim(part), None),
    }
}

/// Removes the blanks of RFC 6265, 2.2, around a part: no other control character is one.
fn trim(mut part: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = part {
        part = rest;
    }
    part
}

/// Parses the value of `Max-Age` (RFC 6265, 5.2.2). A number beyond the range of an `i64` is its limit.
fn max_age(value: &[u8]) -> Option<i64> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, digit: &u8| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    Some(if negative { -1 } else { digits.iter().fold(0, add) })
}

/// Returns the domain of a cookie, and the port if it is for the sending host alone; `None` if that
/// host must not set a cookie for `domain`.
fn scope(from: Destination<'_>, domain: &str) -> Option<(String, Option<u16>)> {
    let domain = domain.to_ascii_lowercase();
    let is_label = !domain.trim_end_matches('.').contains('.');
    let is_address = from.host.parse::<IpAddr>().is_ok();
    // RFC 6265, 5.3: an address or a name of one label has no domain but itself.
    if domain.is_empty() || (domain == from.host && (is_label || is_address)) {
        return Some((from.host.to_owned(), Some(from.port)));
    }
    let may = !is_label && !is_address && is_within(from.host, &domain);
    may.then_some((domain, None))
}

/// Returns whether `host` is `domain` or a name below it (RFC 6265, 5.1.3).
fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Returns whether `path` is at or below the path of a cookie (RFC 6265, 5.1.4).
fn is_below(path: &[u8], cookie: &[u8]) -> bool {
    let rest = path.strip_prefix(cookie);
    rest.is_some_and(|rest| rest.is_empty() || cookie.ends_with(b"/") || rest.starts_with(b"/"))
}

/// Returns the path up to its last slash, without it (RFC 6265, 5.1.4).
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(slash) => &path[..slash],
    }
}

#[cfg(test)]
mod tests;

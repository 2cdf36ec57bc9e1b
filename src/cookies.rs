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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-01-01 00:00:00 UTC.
    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
    }

    fn place(url: &str) -> Destination<'_> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap());
        let secure = scheme == "wss";
        let (host, port) = match authority.split_once('|') {
            Some((host, port)) => (host, port.parse().unwrap()),
            None => (authority, if secure { 443 } else { 80 }),
        };
        Destination { secure, host, port, path }
    }

    fn jar(lines: &[(&str, &str)]) -> Jar {
        let mut jar = Jar::default();
        lines.iter().for_each(|(url, line)| jar.store(place(url), line.as_bytes(), at(0)));
        jar
    }

    /// The cookies that a request to this URL carries.
    fn sent(jar: &Jar, url: &str) -> String {
        let line = jar.header(place(url), at(0)).unwrap_or_default();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_cookie_without_a_domain_goes_to_the_host_and_port_that_set_it() {
        for host in ["a.example", "localhost", "127.0.0.1", "::1"] {
            let kept = jar(&[(&format!("ws://{host}/"), "id=7; HttpOnly")]);
            assert_eq!(sent(&kept, &format!("ws://{host}/x")), "id=7");
            assert_eq!(sent(&kept, &format!("ws://{host}|81/")), "");
            assert_eq!(sent(&kept, &format!("ws://b.{host}/")), "");
        }
        assert_eq!(sent(&jar(&[("ws://a.example/", "id=7")]), "ws://example/"), "");
    }

    #[test]
    fn a_domain_is_for_all_hosts_in_it_and_of_the_servers_own() {
        for domain in ["Example.COM", ".example.com"] {
            let kept = jar(&[("ws://a.example.com/", &format!("id=7; Domain={domain}"))]);
            for host in ["a.example.com", "example.com", "b.c.example.com|81"] {
                assert_eq!(sent(&kept, &format!("ws://{host}/")), "id=7", "{host}");
            }
            for host in ["notexample.com", "example.com.evil.com", "com"] {
                assert_eq!(sent(&kept, &format!("ws://{host}/")), "", "{host}");
            }
        }
        for (host, domain) in [
            ("a.example.com", "b.example.com"),
            ("example.com", "a.example.com"),
            ("a.example.com", "xample.com"),
            ("a.example.com", "com"),
            ("a.example.com", ".com."),
            ("127.0.0.1", "0.0.1"),
            ("127.0.0.1", "127.0.0.2"),
            ("feed.localhost", "localhost"),
        ] {
            let kept = jar(&[(&format!("ws://{host}/"), &format!("id=7; Domain={domain}"))]);
            assert_eq!(kept.0.len(), 0, "{host} {domain}");
        }
    }

    #[test]
    fn a_label_or_an_address_as_domain_is_the_host_alone() {
        for host in ["localhost", "127.0.0.1"] {
            let kept = jar(&[(&format!("ws://{host}/"), &format!("id=7; Domain={host}"))]);
            assert_eq!(sent(&kept, &format!("ws://{host}/")), "id=7");
            assert_eq!(sent(&kept, &format!("ws://a.{host}/")), "");
        }
    }

    #[test]
    fn a_path_is_for_what_is_below_it_and_longer_ones_come_first() {
        let kept = jar(&[
            ("ws://h/a/b", "root=1; Path=/"),
            ("ws://h/a/b", "own=2"),
            ("ws://h/a/b", "deep=3; Path=/a/b"),
            ("ws://h/", "odd=4; Path=a"),
        ]);
        assert_eq!(sent(&kept, "ws://h/a/b/c"), "deep=3; own=2; root=1; odd=4");
        assert_eq!(sent(&kept, "ws://h/a/bc"), "own=2; root=1; odd=4");
        assert_eq!(sent(&kept, "ws://h/a"), "own=2; root=1; odd=4");
        assert_eq!(sent(&kept, "ws://h/ab"), "root=1; odd=4");
    }

    #[test]
    fn a_cookie_ends_when_it_says() {
        let ends = |attributes: &str| {
            let kept = jar(&[("ws://h/", &format!("id=7; {attributes}"))]);
            let there = |second| kept.header(place("ws://h/"), at(second)).is_some();
            (there(0), there(59), there(60))
        };
        let minute = (true, true, false);
        assert_eq!(ends("Max-Age=60"), minute);
        assert_eq!(ends("Expires=Thu, 01 Jan 2026 00:01:00 GMT"), minute);
        assert_eq!(ends("expires=Thu, 01-Jan-2026 00:01:00 GMT"), minute);
        assert_eq!(ends("Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), minute);
        assert_eq!(ends("Expires=Thu, 01 Jan 1970 00:00:00 GMT; max-age=60"), minute);
        // Max-Age that is no number is no attribute: Expires counts.
        assert_eq!(ends("Expires=Thu, 1 Jan 2026 0:1:0; Max-Age=+5"), minute);
        // Of several of one attribute the last valid one counts.
        assert_eq!(ends("Max-Age=0; Max-Age=60; Max-Age=x"), minute);
        for never in ["", "Max-Age=99999999999999999999", "Expires=tomorrow", "Max-Age=soon"] {
            assert_eq!(ends(never), (true, true, true), "{never}");
        }
        for past in [
            "Max-Age=0",
            "Max-Age=-1",
            "Max-Age=-99999999999999999999",
            "Expires=Wed, 31 Dec 2025 23:59:59 GMT",
            "Expires=Thursday, 01-Jan-1970 00:00:00 GMT",
            "Expires=Thu, 1 Jan 1970 0:0:0 UTC",
            "Expires=Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)",
            "Expires=Fri, 1 January 1960 00:00:00 +0000",
        ] {
            assert_eq!(ends(past), (false, false, false), "{past}");
        }
    }

    #[test]
    fn a_cookie_takes_the_place_of_its_like_and_an_expired_one_leaves_it_empty() {
        let mut kept = jar(&[
            ("ws://h/", "a=1"),
            ("ws://h/", "b=1"),
            ("ws://h/", "a=2"),
            ("ws://h/", "a=3; Path=/x"),
            ("ws://h|81/", "a=4"),
        ]);
        assert_eq!(sent(&kept, "ws://h/x"), "a=3; a=2; b=1");
        assert_eq!(sent(&kept, "ws://h|81/x"), "a=4");
        kept.store(place("ws://h/"), b"a=; Max-Age=0", at(0));
        assert_eq!((sent(&kept, "ws://h/").as_str(), kept.0.len()), ("b=1", 3));
    }

    #[test]
    fn a_secure_cookie_comes_and_goes_under_tls_alone() {
        let mut kept = jar(&[
            ("wss://a.example/", "id=7; Secure; Domain=a.example"),
            ("ws://a.example/", "plain=1; Secure"),
        ]);
        assert_eq!(sent(&kept, "wss://a.example/"), "id=7");
        assert_eq!(sent(&kept, "ws://a.example/"), "");
        for forged in ["id=evil; Domain=a.example", "id=evil", "id=; Max-Age=0"] {
            kept.store(place("ws://a.example/"), forged.as_bytes(), at(0));
            assert_eq!(sent(&kept, "wss://a.example/"), "id=7", "{forged}");
        }
    }

    #[test]
    fn what_came_without_tls_does_not_stand_in_for_a_secure_cookie() {
        fn both<'a>(url: &'a str, plain: &'a str) -> [(&'a str, &'a str); 2] {
            let secure = "id=7; Secure; Path=/p; Domain=b.a.example";
            [("wss://b.a.example/", secure), (url, plain)]
        }
        let to = |jar: &Jar| sent(jar, "wss://b.a.example/p/q");
        for (url, plain) in [
            ("ws://b.a.example/", "id=evil; Path=/p"),
            ("ws://b.a.example/", "id=evil; Path=/p/q; Domain=b.a.example"),
            ("ws://a.example/", "id=evil; Path=/p; Domain=a.example"),
            ("ws://c.b.a.example/", "id=evil; Path=/p/q; Domain=b.a.example"),
            ("ws://b.a.example/p/q/r", "id=evil"),
        ] {
            // In both orders: a cookie may be planted in advance.
            let [first, second] = both(url, plain);
            assert_eq!(to(&jar(&[first, second])), "id=7", "{plain}");
            assert_eq!(to(&jar(&[second, first])), "id=7", "{plain}");
        }
        for (plain, expected) in [
            // Behind the secure one, as RFC 6265bis allows.
            ("id=other; Path=/", "id=7; id=other"),
            ("ID=other; Path=/p/q", "ID=other; id=7"),
            ("jd=other; Path=/p", "id=7; jd=other"),
        ] {
            let plain = format!("{plain}; Domain=b.a.example");
            assert_eq!(to(&jar(&both("ws://b.a.example/", &plain))), expected);
        }
        // A server may have both kinds, if it sets both over TLS.
        let [secure, own] = both("wss://b.a.example/", "id=8; Path=/p/q");
        assert_eq!(to(&jar(&[secure, own])), "id=8; id=7");
        assert_eq!(to(&jar(&[own, secure])), "id=8; id=7");
    }

    #[test]
    fn a_name_with_a_prefix_is_what_it_promises() {
        for (url, line, is_kept) in [
            ("wss://h.example/", "__Secure-id=1; Secure; Domain=h.example; Path=/x", true),
            ("wss://h.example/", "__Secure-id=1", false),
            ("wss://h.example/", "__SECURE-id=1", false),
            ("ws://h.example/", "__Secure-id=1; Secure", false),
            ("wss://h.example/a/b", "__Host-id=1; Secure; Path=/", true),
            ("wss://h.example/", "__Host-id=1; Secure", false),
            ("wss://h.example/", "__host-id=1; Secure; Path=/; Domain=h.example", false),
            ("wss://h.example/", "__Host-id=1; Secure; Path=/x", false),
            ("wss://h.example/", "__Host-id=1; Path=/", false),
            ("ws://h.example/", "__HOST-id=1; Path=/", false),
            ("ws://h.example/", "__Hostile=1", true),
        ] {
            assert_eq!(jar(&[(url, line)]).0.len(), usize::from(is_kept), "{url} {line}");
        }
    }

    #[test]
    fn what_came_without_tls_drives_out_nothing_that_came_with_it() {
        for session in ["session=7; Secure", "session=7"] {
            let mut kept = jar(&[("wss://a.example|80/", session)]);
            for number in 0..80 {
                let short = format!("n{number}=x");
                let long = format!("l{number}={}; Domain=a.example", "x".repeat(4000));
                kept.store(place("ws://a.example/"), short.as_bytes(), at(0));
                kept.store(place("ws://a.example/"), long.as_bytes(), at(0));
            }
            assert!(sent(&kept, "wss://a.example|80/").contains("session=7"), "{session}");
            assert!(kept.0.len() <= MAX_COOKIES && kept.bytes() <= MAX_BYTES);
        }
        // Also where there is nothing else to drop.
        let mut kept = Jar::default();
        for number in 0..MAX_COOKIES {
            let line = format!("n{number}=x; Secure");
            kept.store(place("wss://a.example/"), line.as_bytes(), at(0));
        }
        kept.store(place("ws://evil.example/"), b"id=1", at(0));
        assert!(kept.0.iter().all(|kept| kept.secure) && kept.0.len() == MAX_COOKIES);
    }

    /// A server, whether over TLS, and what it sets: few names and places, so that they meet, and long values, so that the
    /// jar is full soon.
    fn settings() -> impl Strategy<Value = Vec<(bool, usize, char, usize, String)>> {
        let long = prop_oneof![1..4_usize, 3000..4000_usize];
        let attributes = "(; Domain=(a|b.a).example)?(; Path=/(p|p/q)?)?(; Max-Age=0)?";
        let one = (any::<bool>(), 0..3_usize, prop_oneof![Just('a'), Just('b')], long, attributes);
        proptest::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn what_came_without_tls_changes_no_secure_cookie(settings in settings()) {
            let (mut mixed, mut alone) = (Jar::default(), Jar::default());
            for (over_tls, host, name, long, attributes) in settings {
                let host = ["a.example", "b.a.example", "other.example"][host];
                let from = Destination { secure: over_tls, host, port: 80, path: "/p/q" };
                let secure = if over_tls { "; Secure" } else { "" };
                let line = format!("{name}={}{attributes}{secure}", "x".repeat(long));
                mixed.store(from, line.as_bytes(), at(0));
                if over_tls {
                    alone.store(from, line.as_bytes(), at(0));
                }
            }
            let secure = |jar: &Jar| -> Vec<_> {
                let kept = jar.0.iter().filter(|kept| kept.secure);
                let parts = kept.map(|it| (it.name.clone(), it.value.len(), it.domain.clone(), it.path.clone()));
                parts.collect()
            };
            prop_assert_eq!(secure(&mixed), secure(&alone));
        }
    }

    #[test]
    fn secure_cookies_are_the_last_that_a_domain_loses() {
        let mut kept = jar(&[("wss://h/", "session=7; Secure"), ("wss://h/", "first=1")]);
        for number in 0..80 {
            kept.store(place("wss://h/"), format!("n{number}=x").as_bytes(), at(0));
        }
        let line = sent(&kept, "wss://h/");
        assert!(line.starts_with("session=7; ") && !line.contains("first"), "{line}");
    }

    #[test]
    fn a_full_jar_has_room_for_another_domain() {
        let mut kept = Jar::default();
        for number in 0..80 {
            kept.store(place("wss://h/"), format!("n{number}=x; Secure").as_bytes(), at(0));
        }
        // Without TLS it would cost one that came with it.
        kept.store(place("ws://a.example/"), b"id=7", at(0));
        assert_eq!(sent(&kept, "ws://a.example/"), "");
        kept.store(place("wss://a.example/"), b"id=7", at(0));
        assert_eq!(sent(&kept, "wss://a.example/"), "id=7");
        assert_eq!(kept.0.len(), MAX_COOKIES);
    }

    #[test]
    fn the_jar_is_bounded_and_no_domain_fills_it_at_the_cost_of_another() {
        let mut kept = jar(&[("ws://a.example/", "id=7"), ("ws://h/", "first=1")]);
        for number in 0..200 {
            kept.store(place("ws://h/"), format!("n{number}=x").as_bytes(), at(0));
        }
        assert_eq!(kept.0.len(), MAX_COOKIES);
        assert_eq!(sent(&kept, "ws://a.example/"), "id=7");
        let line = sent(&kept, "ws://h/");
        assert!(line.ends_with("n199=x") && !line.contains("first"), "{line}");
        for number in 0..20 {
            let long = format!("long{number}={}", "x".repeat(4000));
            kept.store(place("ws://h/"), long.as_bytes(), at(0));
        }
        assert!(kept.bytes() <= MAX_BYTES && sent(&kept, "ws://h/").contains("long19="));
    }

    #[test]
    fn the_bound_of_a_cookie_is_of_its_name_and_value() {
        let value = "x".repeat(MAX_COOKIE_LEN - 2);
        let cookie = |more: &str, attributes: &str| {
            let kept = jar(&[("ws://h/", &format!("id={value}{more}{attributes}"))]);
            sent(&kept, "ws://h/").len()
        };
        let attributes = format!("; Path=/; Comment={}", "y".repeat(8000));
        assert_eq!(cookie("", &attributes), MAX_COOKIE_LEN + 1);
        assert_eq!(cookie("x", ""), 0);
        // What is longer than an attribute may be is ignored, not cut.
        let path = format!("id=7; Path=/{}", "p".repeat(MAX_ATTRIBUTE_LEN));
        assert_eq!(sent(&jar(&[("ws://h/", &path)]), "ws://h/"), "id=7");
    }

    #[test]
    fn a_value_goes_back_as_it_came() {
        let kept =
            jar(&[("ws://h/", " q = \"a b\" ; x"), ("ws://h/", "e="), ("ws://h/", "p=%0d=")]);
        assert_eq!(sent(&kept, "ws://h/"), "q=\"a b\"; e=; p=%0d=");
        for nonsense in ["", "novalue", "=x", "a=b\tc", "a\rb=c", "; a=b", "a=\u{7f}"] {
            assert_eq!(jar(&[("ws://h/", nonsense)]).0.len(), 0, "{nonsense:?}");
        }
        assert!(!format!("{kept:?}").contains("a b"));
    }

    #[test]
    fn a_value_that_is_not_utf8_goes_back_as_its_bytes() {
        let mut kept = Jar::default();
        for line in [
            &b"n\xe4me=w\xfcrde; Path=/"[..],
            b"b=2; Comment=\xff; Path=/a\xff",
            b"c=3; Domain=\xff",
        ] {
            kept.store(place("ws://h/"), line, at(0));
        }
        assert_eq!(kept.header(place("ws://h/"), at(0)).unwrap(), b"n\xe4me=w\xfcrde");
        // A Domain that is no host's is not ours to guess.
        assert_eq!(kept.0.len(), 2);
    }

    proptest! {
        #[test]
        fn no_line_panics_or_leaves_its_place(
            line in prop_oneof![
                any::<Vec<u8>>(),
                "(a=b; ?)?(domain|path|max-age|expires|secure|=|;|\\.|[a-z0-9:,/\r\n\t\0\u{e9}-]| ){0,12}"
                    .prop_map(String::into_bytes),
                "a=b; expires=[A-Z][a-z]{2}, [0-9-]{1,3}[ -]Jan[ -][0-9+-]{1,7} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
                    .prop_map(String::into_bytes),
            ],
        ) {
            let mut kept = Jar::default();
            kept.store(place("ws://a.example/x/"), &line, at(0));
            let sent = kept.header(place("ws://a.example/x/y"), at(1)).unwrap_or_default();
            prop_assert!(!sent.iter().any(u8::is_ascii_control), "{sent:?}");
            prop_assert!(sent.is_empty() || sent.iter().position(|byte| *byte == b'=') > Some(0), "{sent:?}");
            prop_assert!(!sent.contains(&b';'), "{sent:?}");
            prop_assert_eq!(kept.header(place("ws://b.other/x/y"), at(1)), None);
        }
    }
}

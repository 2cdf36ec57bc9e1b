//! Which proxy a connection uses: proxy URLs, the environment variables that name one, and the
//! hosts that are reached without a proxy. Nothing here does I/O.

pub(crate) mod zone;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use derive_more::Display;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::proxy::zone::INVALID_ZONE;

/// The parts of a proxy URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// The protocol that is spoken to the proxy.
    pub(crate) scheme: Scheme,
    /// A host name or an IP address, without brackets.
    pub(crate) host: String,
    /// The zone of an IPv6 address.
    zone: Option<Box<str>>,
    /// The port; the default of the scheme if the URL has none.
    pub(crate) port: u16,
    /// The user name and the password, if the URL has any.
    pub(crate) credentials: Option<Credentials>,
}

/// The protocol that is spoken to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// The CONNECT method (RFC 9110, 9.3.6).
    Http,
    /// The CONNECT method, over TLS to the proxy.
    Https,
    /// SOCKS4. We resolve the name of the target.
    Socks4,
    /// SOCKS4a. The proxy resolves the name of the target.
    Socks4a,
    /// SOCKS5 (RFC 1928). We resolve the name of the target.
    Socks5,
    /// SOCKS5. The proxy resolves the name of the target.
    Socks5h,
}

/// A user name and a password, both hidden in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user name, percent-decoded.
    pub(crate) user: String,
    /// The password, percent-decoded; empty if the URL has none.
    pub(crate) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The reason why a text is not a usable proxy URL. It never contains the text itself, which may
/// hold a password.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
pub(crate) struct BadProxy(&'static str);

/// The most bytes of a name or a password: SOCKS5 encodes each length in one byte (RFC 1929, 2).
const MAX_SOCKS5_FIELD: usize = 255;

/// The most bytes of a SOCKS4 user name that tokio-socks can send together with a host name of 255
/// bytes.
const MAX_SOCKS4_USER: usize = 240;

impl Proxy {
    /// Parses a proxy URL. Path and query have no meaning and are ignored, as curl does.
    ///
    /// # Errors
    /// If the scheme is missing or unknown, the host is missing, the port is 0, or the scheme
    /// cannot carry the credentials.
    pub(crate) fn parse(text: &str) -> Result<Proxy, BadProxy> {
        // Without this check `localhost:3128` would be a URL with the scheme `localhost`.
        if !text.contains("://") {
            return Err(BadProxy(
                "no scheme: write http://, https://, socks4(a):// or socks5(h)://",
            ));
        }
        let (text, zone) = zone::split(text).map_err(|_| BadProxy(INVALID_ZONE))?;
        let url = Url::parse(&text).map_err(|_| BadProxy("not a URL"))?;
        let scheme = Scheme::parse(url.scheme()).ok_or(BadProxy(
            "the scheme is none of http, https, socks4, socks4a, socks5, socks5h",
        ))?;
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(addr)) => addr.to_string(),
            Some(Host::Ipv6(addr)) => addr.to_string(),
            None => return Err(BadProxy("no host")),
        };
        let port = url.port().unwrap_or(scheme.port());
        if host.is_empty() || port == 0 {
            return Err(BadProxy("no host, or port 0"));
        }
        let credentials = Credentials::of(&url)?;
        if let Some(credentials) = &credentials {
            credentials.check(scheme)?;
        }
        Ok(Proxy { scheme, host, zone, port, credentials })
    }

    /// Returns the host to dial: an IPv6 address with its zone.
    pub(crate) fn zoned_host(&self) -> Cow<'_, str> {
        zone::join(&self.host, self.zone.as_deref())
    }

    /// Checks that the proxy can be asked for this host.
    ///
    /// # Errors
    /// If it is an IPv6 address and the proxy speaks SOCKS4, or a name that is too long for SOCKS.
    pub(crate) fn check_target(&self, host: &str) -> Result<(), BadProxy> {
        let is_ipv6 = matches!(host.parse(), Ok(IpAddr::V6(_)));
        match self.scheme {
            Scheme::Socks4 | Scheme::Socks4a if is_ipv6 => {
                Err(BadProxy("SOCKS4 cannot carry an IPv6 address"))
            }
            Scheme::Socks4a | Scheme::Socks5h if host.len() > MAX_SOCKS5_FIELD => {
                Err(BadProxy("the name is too long for SOCKS"))
            }
            _ => Ok(()),
        }
    }
}

impl Scheme {
    /// Returns the scheme of this name, in lower case as `Url` has it.
    fn parse(word: &str) -> Option<Scheme> {
        Some(match word {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "socks4" => Scheme::Socks4,
            "socks4a" => Scheme::Socks4a,
            // What `socks` means differs: version 4 for curl, the newer one for Python and most others.
            "socks5" | "socks" => Scheme::Socks5,
            "socks5h" => Scheme::Socks5h,
            _ => return None,
        })
    }

    /// Returns the port of a proxy URL without one.
    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
            _ => 1080,
        }
    }
}

impl Credentials {
    /// Takes the credentials out of a URL; `None` if it has none.
    ///
    /// # Errors
    /// If they are not UTF-8 once they are percent-decoded.
    fn of(url: &Url) -> Result<Option<Credentials>, BadProxy> {
        if url.username().is_empty() && url.password().is_none() {
            return Ok(None);
        }
        let decoded = |text| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(BadProxy("user name or password is not UTF-8")),
        };
        let user = decoded(url.username())?;
        let password = decoded(url.password().unwrap_or_default())?;
        Ok(Some(Credentials { user, password }))
    }

    /// Checks that a scheme can carry these credentials.
    ///
    /// # Errors
    /// If it cannot; the text says which rule they break.
    fn check(&self, scheme: Scheme) -> Result<(), BadProxy> {
        let (user, password) = (self.user.len(), self.password.len());
        match scheme {
            // RFC 7617, 2: the first colon ends the user name.
            Scheme::Http | Scheme::Https if self.user.contains(':') => {
                Err(BadProxy("a colon in the user name, where HTTP ends it"))
            }
            // RFC 7617, 2, and the same as for `basic_auth`.
            Scheme::Http | Scheme::Https
                if [&self.user, &self.password]
                    .iter()
                    .any(|word| word.bytes().any(|byte| byte.is_ascii_control())) =>
            {
                Err(BadProxy("a control character in the user name or the password"))
            }
            Scheme::Http | Scheme::Https => Ok(()),
            // A zero byte ends the user name on the wire.
            Scheme::Socks4 | Scheme::Socks4a if password > 0 => {
                Err(BadProxy("a password, which SOCKS4 cannot carry"))
            }
            Scheme::Socks4 | Scheme::Socks4a
                if user > MAX_SOCKS4_USER || self.user.contains('\0') =>
            {
                Err(BadProxy("a user name of more than 240 bytes, or with a zero byte"))
            }
            Scheme::Socks4 | Scheme::Socks4a => Ok(()),
            // RFC 1929, 2: each has 1 to 255 bytes.
            Scheme::Socks5 | Scheme::Socks5h
                if [user, password].iter().any(|len| !(1..=MAX_SOCKS5_FIELD).contains(len)) =>
            {
                Err(BadProxy("user name or password not of 1 to 255 bytes, as SOCKS5 needs"))
            }
            Scheme::Socks5 | Scheme::Socks5h => Ok(()),
        }
    }
}

/// An environment variable whose value is not UTF-8. To ignore it would mean to go past the proxy. The value is not shown,
/// because it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8(pub(crate) &'static str);

/// Returns the environment variable that names the proxy for a connection, and its value.
///
/// The rules are curl's: the variable of the scheme `ws` or `wss` first, then that of `http` or `https`,
/// then the general one; lower case before upper case, and an empty value counts as unset. `HTTP_PROXY`
/// is not read: a client of a CGI program could set it with a header `Proxy`.
///
/// # Errors
/// If the value of that variable is not UTF-8.
pub(crate) fn from_env(
    secure: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(&'static str, String)>, NotUtf8> {
    const PLAIN: &[&str] = &["ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];
    const SECURE: &[&str] =
        &["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    first_set(if secure { SECURE } else { PLAIN }, variable)
}

/// Returns the list of hosts that are reached without a proxy, from the environment.
///
/// # Errors
/// If it is not UTF-8.
pub(crate) fn no_proxy_from_env(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, NotUtf8> {
    Ok(first_set(&["no_proxy", "NO_PROXY"], variable)?.map(|(_, list)| list))
}

/// Returns the first of these variables that is set and not blank.
fn first_set(
    names: &[&'static str],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(&'static str, String)>, NotUtf8> {
    for name in names {
        let Some(value) = variable(name) else { continue };
        let value = value.into_string().map_err(|_| NotUtf8(name))?;
        if !value.trim().is_empty() {
            return Ok(Some((*name, value.trim().to_owned())));
        }
    }
    Ok(None)
}

/// The hosts that are reached without a proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoProxy(Vec<Rule>);

/// One element of the list.
#[derive(Clone, Debug)]
struct Rule {
    /// The hosts that it matches.
    host: HostPattern,
    /// The only port that it matches; `None` for all.
    port: Option<u16>,
}

/// A set of hosts.
#[derive(Clone, Debug)]
enum HostPattern {
    /// `*`: every host.
    All,
    /// A name and all names below it.
    Named(String),
    /// `*.` and a name: all names below it, without the name.
    Below(String),
    /// The addresses that share this many leading bits with this one.
    Network(IpAddr, u32),
}

impl NoProxy {
    /// Parses a list, separated by commas or white space. An element that is neither an address nor
    /// a network is a name.
    pub(crate) fn parse(list: &str) -> NoProxy {
        let words = list.split(|sign: char| sign == ',' || sign.is_whitespace());
        NoProxy(words.filter(|word| !word.is_empty()).filter_map(Rule::parse).collect())
    }

    /// Returns whether this host is reached without a proxy.
    pub(crate) fn matches(&self, host: &str, port: u16) -> bool {
        let addr = host.parse().ok();
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let matches = |rule: &Rule| {
            rule.port.is_none_or(|only| only == port)
                && match (&rule.host, addr) {
                    (HostPattern::All, _) => true,
                    (HostPattern::Network(net, bits), Some(addr)) => {
                        is_in_network(*net, addr, *bits)
                    }
                    (HostPattern::Named(parent), None) => is_below(&name, parent),
                    (HostPattern::Below(parent), None) => {
                        name != *parent && is_below(&name, parent)
                    }
                    _ => false,
                }
        };
        self.0.iter().any(matches)
    }
}

impl Rule {
    /// Parses one element; `None` if nothing is left of it as a name.
    fn parse(word: &str) -> Option<Rule> {
        let (word, port) = split_port(word);
        if word == "*" {
            return Some(Rule { host: HostPattern::All, port });
        }
        if let Some((net, bits)) = parse_network(word) {
            return Some(Rule { host: HostPattern::Network(net, bits), port });
        }
        let name = word.strip_suffix('.').unwrap_or(word);
        let host = match name.strip_prefix("*.") {
            Some(name) => HostPattern::Below(ascii_name(name)),
            // `.example.com` means the same as `example.com`, as it does for curl.
            None => HostPattern::Named(ascii_name(name.strip_prefix('.').unwrap_or(name))),
        };
        match &host {
            HostPattern::Named(name) | HostPattern::Below(name) if name.is_empty() => None,
            _ => Some(Rule { host, port }),
        }
    }
}

/// Returns a name in lower case, and in its ASCII form if it is an internationalised one: hosts are
/// compared in the form in which they are dialled.
fn ascii_name(name: &str) -> String {
    // Not for ASCII: the URL standard would take `192.168.1` for an address.
    if !name.is_ascii()
        && let Ok(Host::Domain(ascii)) = Host::parse(name)
    {
        return ascii.strip_suffix('.').unwrap_or(&ascii).to_owned();
    }
    name.to_ascii_lowercase()
}

/// Splits `host:port`. An IPv6 address needs brackets to have a port.
fn split_port(word: &str) -> (&str, Option<u16>) {
    if let Some((inside, behind)) = word.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (inside, behind.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match word.split_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (word, None),
        },
        None => (word, None),
    }
}

/// Parses `address` or `address/bits`.
fn parse_network(word: &str) -> Option<(IpAddr, u32)> {
    let (addr, bits) = match word.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits.parse().ok()?)),
        None => (word, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some((addr, bits))
}

/// Returns whether an address shares its first `bits` bits with `net`.
fn is_in_network(net: IpAddr, addr: IpAddr, bits: u32) -> bool {
    let (net, addr, width) = match (net, addr) {
        (IpAddr::V4(net), IpAddr::V4(addr)) => (net.to_bits().into(), addr.to_bits().into(), 32),
        (IpAddr::V6(net), IpAddr::V6(addr)) => (net.to_bits(), addr.to_bits(), 128),
        _ => return false,
    };
    // The shift by the whole width fails for a network of 0 bits, which has every address.
    let top = |addr: u128| addr.checked_shr(width - bits).unwrap_or(0);
    top(net) == top(addr)
}

/// Returns whether `name` is `parent`, or ends with it after a dot.
fn is_below(name: &str, parent: &str) -> bool {
    match name.strip_suffix(parent) {
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        Proxy::parse(text).unwrap()
    }

    #[test]
    fn a_proxy_url_is_taken_apart() {
        let parsed = proxy("HTTP://us%40er:p%3Aw%2B+d@Proxy.Example:3128/ignored?x");
        assert_eq!((parsed.scheme, parsed.port), (Scheme::Http, 3128));
        assert_eq!(parsed.host, "proxy.example");
        let credentials = parsed.credentials.clone().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("us@er", "p:w++d"));
        let shown = format!("{parsed:?}");
        assert!(!shown.contains("us@er") && !shown.contains("p:w"), "{shown}");
        let v6 = proxy("socks5h://[::1]:9050");
        assert_eq!((v6.scheme, v6.host.as_str(), v6.port), (Scheme::Socks5h, "::1", 9050));
    }

    #[test]
    fn the_zone_of_an_address_is_dialled() {
        for url in ["http://u:p@[fe80::1%25eth0]:3128/x", "http://u:p@[fe80::1%eth0]:3128"] {
            let parsed = proxy(url);
            assert_eq!((parsed.host.as_str(), parsed.port), ("fe80::1", 3128));
            assert_eq!(parsed.zoned_host(), "fe80::1%eth0");
        }
        assert_eq!(proxy("socks5://[fe80::1]").zoned_host(), "fe80::1");
        let err = Proxy::parse("http://[fe80::1%a%2Fb]").unwrap_err().to_string();
        assert!(err.contains("zone"), "{err}");
    }

    #[test]
    fn each_scheme_has_its_port() {
        let port = |scheme: &str| proxy(&format!("{scheme}://h")).port;
        assert_eq!((port("http"), port("https")), (80, 443));
        for scheme in ["socks", "socks4", "socks4a", "socks5", "socks5h"] {
            assert_eq!(port(scheme), 1080, "{scheme}");
        }
        assert_eq!(proxy("socks://h").scheme, Scheme::Socks5);
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_showing_it() {
        let long = format!("socks5://{}:hunter2@h", "u".repeat(256));
        let long4 = format!("socks4://{}@h", "u".repeat(241));
        let refused = [
            "",
            "127.0.0.1:3128",
            "localhost:3128",
            "user:hunter2@h:3128",
            "ftp://u:hunter2@h",
            "ws://h",
            "http://",
            "http://u:hunter2@",
            "http://h:0",
            "socks5://h:0",
            "http://h:65536",
            "http://h:hunter2",
            "socks5://u@h",
            "socks5://:hunter2@h",
            "socks4://u:hunter2@h",
            "socks4://u%00@h",
            "http://u%3A:hunter2@h",
            "http://u%0a:hunter2@h",
            "https://u:hunter2%00@h",
            "http://u:%ff@h",
            &long,
            &long4,
        ];
        for text in refused {
            let err = Proxy::parse(text).unwrap_err().to_string();
            assert!(!err.contains("hunter2"), "{err}");
        }
        assert!(proxy("socks4://u@h").check_target("::1").is_err());
        assert!(proxy("socks4://u@h").check_target("127.0.0.1").is_ok());
        assert!(proxy("socks5://h").check_target("::1").is_ok());
        assert!(proxy("socks5h://h").check_target(&"n".repeat(256)).is_err());
    }

    /// The results of curl 7.88.1 for each of these, run by hand; only `*.b.com`, which it does not know,
    /// is in a test of its own.
    #[test]
    fn hosts_go_past_a_proxy_as_with_curl() {
        let past = [
            ("b.com", "b.com"),
            ("b.com", "a.b.com"),
            (".b.com", "b.com"),
            (".b.com", "a.b.com"),
            ("B.COM", "b.com"),
            ("b.com.", "b.com"),
            ("b.com", "b.com."),
            ("a.com,b.com", "b.com"),
            ("a.com , b.com", "b.com"),
            ("a.com b.com", "b.com"),
            ("*", "x.com"),
            ("*", "1.2.3.4"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.1.0.0/8", "10.2.2.3"),
            ("192.168.1.1", "192.168.1.1"),
            ("::1", "::1"),
        ];
        for (list, host) in past {
            assert!(NoProxy::parse(list).matches(host, 80), "{list:?} {host}");
        }
        let through = [
            ("b.com", "evilb.com"),
            (".b.com", "evilb.com"),
            ("a.b.com", "b.com"),
            (".", "x.com"),
            ("", "x.com"),
            (" , ,", "x.com"),
            ("10.0.0.0/8", "11.1.2.3"),
            ("10.0.0.0/8", "host10.com"),
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/x", "10.0.0.0"),
            ("192.168.1", "192.168.1.1"),
            ("010.0.0.1", "10.0.0.1"),
            ("127.0.0.1", "localhost"),
            ("::/0", "1.2.3.4"),
        ];
        for (list, host) in through {
            assert!(!NoProxy::parse(list).matches(host, 80), "{list:?} {host}");
        }
    }

    #[test]
    fn beyond_curl_a_list_has_ports_brackets_and_whole_networks() {
        let matches = |list: &str, host, port| NoProxy::parse(list).matches(host, port);
        assert!(matches("b.com:8080", "a.b.com", 8080) && !matches("b.com:8080", "b.com", 80));
        assert!(
            matches("10.0.0.0/8:80", "10.1.2.3", 80) && !matches("10.0.0.0/8:81", "10.1.2.3", 80)
        );
        assert!(matches("[::1]:80", "::1", 80) && !matches("[::1]:81", "::1", 80));
        assert!(matches("[::1]", "::1", 80) && matches("0:0:0:0:0:0:0:1", "::1", 80));
        assert!(matches("fe80::/10", "fe80::1", 80) && !matches("fe80::/10", "ff80::1", 80));
        assert!(matches("0.0.0.0/0", "1.2.3.4", 80) && matches("::/0", "::1", 80));
        assert!(matches("a.com,*", "x.com", 80));
    }

    #[test]
    fn an_asterisk_stands_for_the_names_below() {
        let matches = |list: &str, host| NoProxy::parse(list).matches(host, 80);
        for (list, host) in [
            ("*.b.com", "a.b.com"),
            ("*.B.com.", "x.a.b.COM."),
            ("a.com, *.b.com:80", "a.b.com"),
            ("*.b\u{fc}cher.example", "a.xn--bcher-kva.example"),
        ] {
            assert!(matches(list, host), "{list:?} {host}");
        }
        for (list, host) in [
            ("*.b.com", "b.com"),
            ("*.b.com", "evilb.com"),
            ("*.b.com", "a.b.com.evil"),
            ("*.b.com:81", "a.b.com"),
            ("*b.com", "a.b.com"),
            ("a.*.com", "a.b.com"),
            ("*.", "x.com"),
            ("*.0.0.1", "127.0.0.1"),
        ] {
            assert!(!matches(list, host), "{list:?} {host}");
        }
    }

    #[test]
    fn an_internationalised_name_is_compared_in_its_ascii_form() {
        let matches = |list: &str, host| NoProxy::parse(list).matches(host, 80);
        for list in [
            "b\u{fc}cher.example",
            "B\u{dc}CHER.example",
            ".b\u{fc}cher.example",
            "b\u{fc}cher\u{3002}example",
            "b\u{fc}cher.example:80",
            "XN--bcher-kva.example",
        ] {
            assert!(matches(list, "xn--bcher-kva.example"), "{list}");
            assert!(matches(list, "a.xn--bcher-kva.example"), "{list}");
        }
        assert!(!matches("b\u{fc}cher.example", "bucher.example"));
        // Digits of another script do not become an address.
        assert!(!matches("\u{ff11}.2.3.4", "1.2.3.4"));
    }

    #[test]
    fn the_environment_is_read_as_by_curl() {
        let env = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = set.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| OsString::from(*value))
            }
        };
        let found = |secure, set| from_env(secure, env(set)).unwrap();
        let is = |name, value: &str| Some((name, value.to_owned()));
        assert_eq!(
            found(false, &[("http_proxy", " a "), ("all_proxy", "b")]),
            is("http_proxy", "a")
        );
        assert_eq!(found(false, &[("https_proxy", "a")]), None);
        assert_eq!(found(true, &[("http_proxy", "a")]), None);
        assert_eq!(found(false, &[("HTTP_PROXY", "a")]), None);
        let all = &[
            ("ws_proxy", "a"),
            ("WS_PROXY", "b"),
            ("http_proxy", "c"),
            ("wss_proxy", "d"),
            ("WSS_PROXY", "e"),
            ("https_proxy", "f"),
        ];
        assert_eq!(found(false, all), is("ws_proxy", "a"));
        assert_eq!(found(false, &all[1..]), is("WS_PROXY", "b"));
        assert_eq!(found(false, &all[2..]), is("http_proxy", "c"));
        assert_eq!(found(true, all), is("wss_proxy", "d"));
        assert_eq!(found(true, &all[4..]), is("WSS_PROXY", "e"));
        assert_eq!(found(true, &all[5..]), is("https_proxy", "f"));
        assert_eq!(found(true, &all[..3]), None);
        assert_eq!(found(true, &[("HTTPS_PROXY", "a")]), is("HTTPS_PROXY", "a"));
        assert_eq!(found(false, &[("http_proxy", ""), ("ALL_PROXY", "b")]), is("ALL_PROXY", "b"));
        assert_eq!(
            found(true, &[("https_proxy", "a"), ("HTTPS_PROXY", "b")]),
            is("https_proxy", "a")
        );
        assert_eq!(
            no_proxy_from_env(env(&[("no_proxy", ""), ("NO_PROXY", "h")])),
            Ok(Some("h".into()))
        );
        assert_eq!(no_proxy_from_env(env(&[("no_proxy", "")])), Ok(None));
    }
}

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
mod tests;

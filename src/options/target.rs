//! Where a connection goes.

use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::cookies::Place;
use crate::error::ConfigError;
use crate::options::Secret;

/// Where a connection goes: a `ws` or `wss` URL, taken apart (RFC 6455, 3).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Whether TLS is spoken.
    pub(crate) secure: bool,
    /// A name or an IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, percent-encoded, from the first slash on.
    pub(crate) resource: String,
    /// The `Host` header: brackets around IPv6, no port where it is the scheme's own.
    pub(crate) authority: String,
    /// `Authorization`, from the URL's user info.
    pub(crate) authorization: Option<Secret>,
}

impl Target {
    /// Takes a URL apart. The fragment is dropped.
    ///
    /// # Errors
    /// [`ConfigError::Url`] unless it is `ws` or `wss` with a host and a port that can be dialled.
    pub(crate) fn parse(text: &str) -> Result<Target, ConfigError> {
        plain(text).map_or_else(|| Target::parse_any(text), Ok)
    }

    /// As the URL standard has it.
    fn parse_any(text: &str) -> Result<Target, ConfigError> {
        let refuse = |reason: &str| ConfigError::Url { reason: reason.to_owned() };
        // The URL standard would take the first word of the path for the host.
        if text.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/')) {
            return Err(refuse("no host"));
        }
        let url = Url::parse(text).map_err(|err| refuse(&err.to_string()))?;
        let secure = match url.scheme() {
            "ws" => false,
            "wss" => true,
            // Not told which: of `user:password@host` it would be the user.
            _ => return Err(refuse("the scheme is neither ws nor wss")),
        };
        let host = match url.host().ok_or_else(|| refuse("no host"))? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(addr) => addr.to_string(),
            Host::Ipv6(addr) => addr.to_string(),
        };
        let port = url.port_or_known_default().ok_or_else(|| refuse("no port"))?;
        if port == 0 {
            return Err(refuse("port 0 cannot be dialled"));
        }
        let bracketed = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{bracketed}:{port}"),
            None => bracketed.to_owned(),
        };
        let resource = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let authorization = user_info(&url);
        Ok(Target { secure, host, port, resource, authority, authorization })
    }

    /// Whether the URL is written just as this target would be, so that it leads here. Many that lead here
    /// are not.
    pub(super) fn is_spelled(&self, url: &str) -> bool {
        let scheme = if self.secure { "wss://" } else { "ws://" };
        let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(&*self.authority));
        self.authorization.is_none() && rest == Some(&*self.resource)
    }

    /// `Origin` as browsers and WebSocketApp make it from the target, in pieces.
    pub(crate) fn origin(&self) -> [&str; 2] {
        [if self.secure { "https://" } else { "http://" }, &self.authority]
    }

    /// Where it is, for cookies.
    pub(crate) fn place(&self) -> Place<'_> {
        let path = self.resource.split('?').next().unwrap_or_default();
        Place { secure: self.secure, host: &self.host, port: self.port, path }
    }
}

/// The short way for most URLs: those that the URL standard leaves as they are. `None` for all
/// others, and where there is any doubt.
fn plain(text: &str) -> Option<Target> {
    let (secure, rest) = match text.strip_prefix("ws") {
        Some(rest) if rest.starts_with('s') => (true, rest[1..].strip_prefix("://")?),
        Some(rest) => (false, rest.strip_prefix("://")?),
        None => return None,
    };
    let (authority, resource) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let own = if secure { 443 } else { 80 };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, plain_port(port)?),
        None => (authority, own),
    };
    if !(host.parse::<Ipv4Addr>().is_ok() || is_plain_name(host)) || !is_plain_resource(resource) {
        return None;
    }
    Some(Target {
        secure,
        host: host.to_owned(),
        port,
        resource: if resource.is_empty() { "/" } else { resource }.to_owned(),
        authority: if port == own { host } else { authority }.to_owned(),
        authorization: None,
    })
}

/// A port without a leading zero.
fn plain_port(digits: &str) -> Option<u16> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Lower-case labels. None is internationalised, and the last one can't be part of an address.
fn is_plain_name(host: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let edges = bytes.first() == Some(&b'-') || bytes.last() == Some(&b'-');
        let double = bytes.windows(2).any(|pair| pair == b"--");
        !label.is_empty() && !edges && !double && label.bytes().all(inner)
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253
        && last.starts_with(|first: char| first.is_ascii_lowercase())
        && host.split('.').all(is_label)
}

/// Path and query of characters that stand for themselves, without segments of dots.
fn is_plain_resource(resource: &str) -> bool {
    let (path, query) = resource.split_once('?').unwrap_or((resource, ""));
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~!$&()*+,;=:@/.".contains(&byte);
    let dots = path.as_bytes().windows(2).any(|pair| pair == b"/.");
    !dots
        && path.bytes().all(stays)
        && query.bytes().all(|byte| stays(byte) || byte == b'?' || byte == b'%')
}

/// Basic credentials (RFC 7617) from `user:password@`, percent-decoded.
fn user_info(url: &Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair = percent_decode_str(url.username()).collect::<Vec<u8>>();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let target = parsed("ws://Example.COM/feed?x=1#part");
        assert_eq!((target.host.as_str(), target.port, target.secure), ("example.com", 80, false));
        assert_eq!(target.resource, "/feed?x=1");
        assert_eq!(target.authority, "example.com");
        assert_eq!(target.origin().concat(), "http://example.com");
    }

    #[test]
    fn the_short_way_is_taken_and_leads_where_the_long_one_does() {
        for url in [
            "ws://127.0.0.1:9001/echo",
            "ws://h",
            "ws://h:80/",
            "wss://h:443/a.b/c?d=e%20f&g=/./?h",
            "wss://feed-1.example.com:8443/v2/stream?symbols=btc,eth&token=a.b-c_d~e",
        ] {
            assert_eq!(plain(url), Target::parse_any(url).ok(), "{url}");
            assert!(plain(url).is_some(), "{url}");
        }
    }

    #[test]
    fn what_the_standard_rewrites_goes_the_long_way() {
        for url in [
            "ws://h/a/../b",
            "ws://h/.",
            "ws://h/%2e%2e/b",
            "ws://h/a b",
            "ws://h/a#b",
            "ws://h?x",
            "ws://h/?'",
            "ws://H/",
            "ws://1.2.3/",
            "ws://0177.0.0.1/",
            "ws://a.0x7f/",
            "ws://xn--a/",
            "ws://a..b/",
            "ws://a_b/",
            "ws://u@h/",
            "ws://[::1]/",
            "ws://h:080/",
            "ws://h:0/",
            "ws://h:/",
        ] {
            assert_eq!(plain(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_never_leads_elsewhere(
            url in "(ws|wss|WS|http)://[a-zA-Z0-9.:@_~%-]{0,10}[a-z0-9.]{0,3}(:[0-9]{0,6})?(/(\\.|\\.\\.|%2e|[ -~]{0,4})){0,4}",
        ) {
            if let Some(target) = plain(&url) {
                prop_assert_eq!(Some(target), Target::parse_any(&url).ok());
            }
        }
    }

    #[test]
    fn a_url_that_is_written_as_the_target_is_known() {
        let target = parsed("wss://h:8443/a?b");
        assert!(target.is_spelled("wss://h:8443/a?b"));
        for url in [
            "ws://h:8443/a?b",
            "wss://h:8443/a?b#c",
            "wss://h:8443/a?",
            "wss://h:8444/a?b",
            "wss://h/a?b",
            "wss://h:8443/a?bc",
            "wss://me@h:8443/a?b",
            "WSS://h:8443/a?b",
        ] {
            assert!(!target.is_spelled(url), "{url}");
        }
        // What says who asks is not part of it.
        assert!(!parsed("ws://me:pw@h/a").is_spelled("ws://h/a"));
    }

    proptest! {
        #[test]
        fn what_a_target_is_written_as_leads_to_it(
            url in "(ws|wss|WS)://[a-zA-Z0-9.\\[\\]%\u{fc}\u{131}_~-]{1,10}(:[0-9]{1,5})?[/?]?[ -~\u{fc}]{0,12}",
        ) {
            if let Ok(target) = Target::parse(&url) {
                let scheme = if target.secure { "wss" } else { "ws" };
                let written = format!("{scheme}://{}{}", target.authority, target.resource);
                prop_assert_eq!(target.is_spelled(&written), target.authorization.is_none());
                if target.authorization.is_none() {
                    prop_assert_eq!(Target::parse(&written).ok(), Some(target));
                }
            }
        }
    }

    #[test]
    fn a_query_without_a_path_gets_its_slash() {
        assert_eq!(parsed("ws://h?x").resource, "/?x");
        assert_eq!(parsed("wss://h").resource, "/");
    }

    #[test]
    fn a_scheme_is_known_in_any_case() {
        for (url, secure) in [("WS://h/", false), ("Ws://h/", false), ("WSS://h/", true)] {
            assert_eq!(parsed(url).secure, secure, "{url}");
        }
    }

    #[test]
    fn path_and_query_are_percent_encoded_once() {
        assert_eq!(parsed("ws://h/a b/\u{fc}?x=\u{fc} y").resource, "/a%20b/%C3%BC?x=%C3%BC%20y");
        assert_eq!(parsed("ws://h/a%20b?x=%C3%BC").resource, "/a%20b?x=%C3%BC");
        assert_eq!(parsed("ws://h/a#b c").resource, "/a");
    }

    #[test]
    fn an_internationalised_host_is_dialled_by_its_ascii_form() {
        let target = parsed("wss://B\u{fc}cher.example:8443/");
        assert_eq!(target.host, "xn--bcher-kva.example");
        assert_eq!(target.authority, "xn--bcher-kva.example:8443");
        assert_eq!(target.origin().concat(), "https://xn--bcher-kva.example:8443");
        assert!(Target::parse("ws://xn--\u{fc}/").is_err());
    }

    #[test]
    fn a_place_has_no_query() {
        let target = parsed("wss://h:8443/a/b?c=/d");
        let place = target.place();
        assert_eq!((place.secure, place.host, place.port), (true, "h", 8443));
        assert_eq!(place.path, "/a/b");
    }

    #[test]
    fn only_the_port_of_its_own_scheme_is_left_out_of_host() {
        assert_eq!(parsed("ws://h:80/").authority, "h");
        assert_eq!(parsed("wss://h:443/").authority, "h");
        assert_eq!(parsed("ws://h:443/").authority, "h:443");
        assert_eq!(parsed("wss://h:80/").authority, "h:80");
    }

    #[test]
    fn ipv6_keeps_its_brackets_in_host_only() {
        let target = parsed("wss://[::1]:9443/");
        assert_eq!((target.host.as_str(), target.authority.as_str()), ("::1", "[::1]:9443"));
    }

    #[test]
    fn user_info_becomes_basic_auth_and_stays_hidden() {
        let target = parsed("ws://us%40er:p%2Bw+d@h/");
        let expected = format!("Basic {}", STANDARD.encode("us@er:p+w+d"));
        assert_eq!(target.authorization.as_ref().unwrap().reveal(), expected);
        assert!(!format!("{target:?}").contains(&STANDARD.encode("us@er:p+w+d")));
        // Bytes that are no UTF-8 are sent as they are.
        let latin = parsed("ws://us:p%E4ss@h/").authorization.unwrap();
        assert_eq!(latin.reveal(), format!("Basic {}", STANDARD.encode(b"us:p\xe4ss")));
    }

    #[test]
    fn urls_that_cannot_be_dialled_are_refused() {
        for url in ["", "h", "http://h/", "ws://", "ws:///x", "ws://h:0/", "ws://h:65536/"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}

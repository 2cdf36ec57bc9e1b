//! The target of a connection, parsed from its URL.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::{Host, Position, Url};

use crate::cookies::Destination;
use crate::error::ConfigError;
use crate::options::request::check_credentials;
use crate::options::secret::Secret;
use crate::proxy::zone::{self, INVALID_ZONE};

/// The target of a connection: the parts of a `ws` or `wss` URL (RFC 6455, 3).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Whether the scheme is `wss`.
    pub(crate) secure: bool,
    /// A name in its ASCII form, or an IP address without brackets.
    pub(crate) host: String,
    /// The zone of an IPv6 address: the name or number of the interface that leads to it. Of use on this machine alone, so
    /// it is part of no header (RFC 6874, 4).
    pub(crate) zone: Option<Box<str>>,
    /// The port of the URL, or the default one of its scheme; never 0.
    pub(crate) port: u16,
    /// Path and query, percent-encoded, from the first slash on.
    pub(crate) resource: String,
    /// The value of `Host`: brackets around IPv6, no port if it is the scheme's default.
    pub(crate) authority: String,
    /// The value of `Authorization`, from the URL's user info.
    pub(crate) authorization: Option<Secret>,
}

/// The longest path and query that is sent, in bytes. No server is known to accept more.
const MAX_RESOURCE: usize = 64 << 10;

/// Logs a warning if a URL has a fragment, which is dropped: RFC 6455, 3 forbids one, and a `#` that is
/// part of a path or a query is written `%23`.
pub(crate) fn warn_of_fragment(url: &str) {
    // The URL is not shown: it may hold a secret.
    if url.contains('#') {
        tracing::warn!(
            "the URL has a fragment, which is not sent: write %23 for a # in path or query"
        );
    }
}

impl Target {
    /// Parses a URL by the URL standard. The fragment is dropped.
    ///
    /// # Errors
    /// [`ConfigError::Url`] unless it is `ws` or `wss` with a host and a port that can be dialled, a path
    /// and a query of at most 64 KiB, and user info that `Authorization` can carry.
    pub(crate) fn parse(text: &str) -> Result<Target, ConfigError> {
        let refuse = |reason: &str| ConfigError::Url { reason: reason.to_owned() };
        // `ws:///feed` has no host, but the URL standard would take `feed` for it.
        if text.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/')) {
            return Err(refuse("no host"));
        }
        let (text, zone) = zone::split(text).map_err(|_| refuse(INVALID_ZONE))?;
        let url = Url::parse(&text).map_err(|err| refuse(&err.to_string()))?;
        let secure = match url.scheme() {
            "ws" => false,
            "wss" => true,
            // The error does not show the scheme: in `user:password@host` it would be the user.
            _ => return Err(refuse("the scheme is neither ws nor wss")),
        };
        let host = match url.host().ok_or_else(|| refuse("no host"))? {
            Host::Ipv6(addr) => addr.to_string(),
            Host::Ipv4(_) | Host::Domain(_) => url.host_str().unwrap_or_default().to_owned(),
        };
        let port = url.port_or_known_default().ok_or_else(|| refuse("no port"))?;
        if port == 0 {
            return Err(refuse("port 0 cannot be dialled"));
        }
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        // RFC 6455, 3: a question mark only before a query that is not empty.
        let has_query = url.query().is_some_and(|query| !query.is_empty());
        let end = if has_query { Position::AfterQuery } else { Position::AfterPath };
        let resource = url[Position::BeforePath..end].to_owned();
        if resource.len() > MAX_RESOURCE {
            return Err(refuse("path and query are longer than 64 KiB"));
        }
        let authorization = user_info(&url).map_err(refuse)?;
        Ok(Target { secure, host, zone, port, resource, authority, authorization })
    }

    /// Returns the host to dial: an IPv6 address with its zone.
    pub(crate) fn zoned_host(&self) -> Cow<'_, str> {
        zone::join(&self.host, self.zone.as_deref())
    }

    /// Returns the value of `Origin` as browsers and WebSocketApp derive it from the target, in two pieces.
    pub(crate) fn origin(&self) -> [&str; 2] {
        [if self.secure { "https://" } else { "http://" }, &self.authority]
    }

    /// Returns the parts that decide about cookies.
    pub(crate) fn place(&self) -> Destination<'_> {
        let path = self.resource.split('?').next().unwrap_or_default();
        Destination { secure: self.secure, host: &self.host, port: self.port, path }
    }
}

/// Returns Basic credentials (RFC 7617) from `user:password@`, percent-decoded; `None` without any.
///
/// # Errors
/// As for `ConnectionBuilder::basic_auth`.
fn user_info(url: &Url) -> Result<Option<Secret>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user: Vec<u8> = percent_decode_str(url.username()).collect();
    let password: Vec<u8> = percent_decode_str(url.password().unwrap_or_default()).collect();
    check_credentials(&user, &password)?;
    let pair = STANDARD.encode([&user[..], b":", &password].concat());
    Ok(Some(Secret::new(format!("Basic {pair}"))))
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

    proptest! {
        #[test]
        fn what_a_target_is_written_as_leads_to_it(
            url in "(ws|wss|WS)://[a-zA-Z0-9.\\[\\]%\u{fc}\u{131}_~-]{1,10}(:[0-9]{1,5})?[/?]?[ -~\u{fc}]{0,12}",
        ) {
            if let Ok(target) = Target::parse(&url) {
                let scheme = if target.secure { "wss" } else { "ws" };
                let written = format!("{scheme}://{}{}", target.authority, target.resource);
                let target = Target { authorization: None, zone: None, ..target };
                prop_assert_eq!(Target::parse(&written).ok(), Some(target));
            }
        }
    }

    #[test]
    fn a_query_without_a_path_gets_its_slash() {
        assert_eq!(parsed("ws://h?x").resource, "/?x");
        assert_eq!(parsed("wss://h").resource, "/");
    }

    #[test]
    fn an_empty_query_has_no_question_mark() {
        assert_eq!(parsed("ws://h/a?").resource, "/a");
        assert_eq!(parsed("ws://h?").resource, "/");
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
    fn a_zone_is_dialled_and_stays_out_of_host() {
        for url in ["ws://u:p@[fe80::1%eth0]:81/a%b?[x%y]", "ws://[FE80::1%25eth0]:81/a%b?[x%y]"] {
            let target = parsed(url);
            assert_eq!(target.zoned_host(), "fe80::1%eth0");
            assert_eq!(
                (target.host.as_str(), target.authority.as_str()),
                ("fe80::1", "[fe80::1]:81")
            );
            assert_eq!(target.resource, "/a%b?[x%y]");
        }
        assert_eq!(parsed("ws://[fe80::1%25]/").zoned_host(), "fe80::1%25");
        assert_eq!(parsed("ws://[fe80::1%252]/").zoned_host(), "fe80::1%2");
        assert_eq!(parsed("ws://[fe80::1%25br%2Dlan]").zoned_host(), "fe80::1%br-lan");
        assert_eq!(parsed("ws://[fe80::1]/?[::1%x]").zoned_host(), "fe80::1");
        let long = format!("ws://[fe80::1%{}]/", "x".repeat(65));
        for url in ["ws://[fe80::1%]/", "ws://[fe80::1%a%00]/", "ws://[fe80::1%a%2Fb]/", &long] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
        assert!(Target::parse("ws://[127.0.0.1%eth0]/").is_err());
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
    fn user_info_is_checked_as_credentials_are() {
        for url in
            ["ws://u%3As:hunter2@h/", "ws://u%0a:hunter2@h/", "ws://u:hunter2%7F@h/", "ws://%00@h/"]
        {
            let refused = Target::parse(url).unwrap_err().to_string();
            assert!(refused.starts_with("url: a co"), "{url}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let colon = parsed("ws://u:pass%3Aword:x@h/").authorization.unwrap();
        assert_eq!(colon.reveal(), format!("Basic {}", STANDARD.encode("u:pass:word:x")));
    }

    #[test]
    fn a_path_and_a_query_of_more_than_64_kib_are_refused() {
        let target = |length: usize| Target::parse(&format!("ws://h/?{}", "a".repeat(length - 2)));
        assert!(target(MAX_RESOURCE).is_ok());
        let refused = target(MAX_RESOURCE + 1).unwrap_err().to_string();
        assert_eq!(refused, "url: path and query are longer than 64 KiB");
        // The length on the wire counts.
        assert!(
            Target::parse(&format!("ws://h/{}", "\u{fc}".repeat(MAX_RESOURCE / 6 + 1))).is_err()
        );
        assert!(Target::parse(&format!("ws://h/#{}", "a".repeat(MAX_RESOURCE))).is_ok());
    }

    #[test]
    fn urls_that_cannot_be_dialled_are_refused() {
        for url in ["", "h", "http://h/", "ws://", "ws:///x", "ws://h:0/", "ws://h:65536/"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}

//! Options of the upgrade request, and the checks of everything that becomes a header line.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::ConfigError;
use crate::headers::Headers;
use crate::options::secret::Secret;

/// The options of the upgrade request, except whole header lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The subprotocols to offer, in order of preference.
    pub(crate) subprotocols: Vec<String>,
    /// The value of `Host`, in place of the target's authority.
    pub(crate) host: Option<String>,
    /// The value of `Origin`.
    pub(crate) origin: Origin,
    /// Cookies that follow those of the jar.
    pub(crate) cookie: Option<Secret>,
    /// The value of `Authorization`, in place of the URL's user info.
    pub(crate) auth: Option<Auth>,
    /// The names of the application's header lines that are sent to any origin.
    pub(crate) cross_origin_headers: Vec<String>,
}

/// The value of `Origin`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Derived from the target.
    #[default]
    Target,
    /// The line is omitted.
    None,
    /// This value.
    Own(String),
}

/// Credentials in `Authorization`.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// RFC 7617
    Basic { user: Secret, password: Secret },
    /// RFC 6750
    Bearer(Secret),
}

impl Request {
    /// Checks that no value can end its header line, or its part of it.
    ///
    /// # Errors
    /// [`ConfigError::Option`] with the name of the first invalid option.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_subprotocols(&self.subprotocols)?;
        if let Some(host) = &self.host {
            check_host(host).map_err(|reason| ConfigError::option("host", reason))?;
        }
        if let Origin::Own(origin) = &self.origin
            && (origin.is_empty() || !origin.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(ConfigError::option("origin", "empty, or a blank or control character"));
        }
        if let Some(cookie) = &self.cookie
            && (cookie.reveal().is_empty() || cookie.reveal().bytes().any(is_control))
        {
            return Err(ConfigError::option("cookie", "empty, or a control character"));
        }
        check_cross_origin(&self.cross_origin_headers)?;
        self.auth.as_ref().map_or(Ok(()), Auth::check)
    }
}

impl Auth {
    fn check(&self) -> Result<(), ConfigError> {
        match self {
            Auth::Basic { user, password } => {
                let checked =
                    check_credentials(user.reveal().as_bytes(), password.reveal().as_bytes());
                checked.map_err(|reason| ConfigError::option("basic_auth", reason))?;
            }
            Auth::Bearer(token) => {
                // RFC 6750, 2.1
                let body = token.reveal().trim_end_matches('=');
                if body.is_empty() || !body.bytes().all(is_token68) {
                    let reason = "not a token of letters, digits and -._~+/, with = at its end";
                    return Err(ConfigError::option("bearer_auth", reason));
                }
            }
        }
        Ok(())
    }

    pub(super) fn line(&self) -> Secret {
        Secret::new(match self {
            Auth::Basic { user, password } => {
                let pair = format!("{}:{}", user.reveal(), password.reveal());
                format!("Basic {}", STANDARD.encode(pair))
            }
            Auth::Bearer(token) => format!("Bearer {}", token.reveal()),
        })
    }
}

/// Checks that a user and a password can be sent (RFC 7617, 2).
///
/// # Errors
/// Which rule they break.
pub(super) fn check_credentials(user: &[u8], password: &[u8]) -> Result<(), &'static str> {
    if user.contains(&b':') {
        return Err("a colon in the user's name");
    }
    match [user, password].iter().any(|word| word.iter().any(u8::is_ascii_control)) {
        true => Err("a control character in the user's name or the password"),
        false => Ok(()),
    }
}

/// Checks the names of header lines that are sent to any origin: credentials are for one origin, and each has its own
/// `Host`.
fn check_cross_origin(names: &[String]) -> Result<(), ConfigError> {
    let refuse = |reason: String| Err(ConfigError::option("cross_origin_headers", reason));
    for name in names {
        if !is_name(name) {
            // The name is not shown, because it may be a value in the wrong place.
            return refuse("a name that is not a token".to_owned());
        }
        if Headers::is_secret(name) || is_named(name, HOST) {
            return refuse(format!("{name:?}: sent to the origin of the URL only"));
        }
    }
    Ok(())
}

/// Checks a value of `Host`.
fn check_host(value: &str) -> Result<(), &'static str> {
    match !value.is_empty() && value.bytes().all(is_host) {
        true => Ok(()),
        false => Err("not a host with an optional port"),
    }
}

/// Checks that subprotocols are tokens, each offered once (RFC 6455, 4.1).
fn check_subprotocols(offered: &[String]) -> Result<(), ConfigError> {
    for (index, name) in offered.iter().enumerate() {
        let refuse = |reason: &dyn fmt::Display| {
            Err(ConfigError::option("subprotocols", format!("{name:?}: {reason}")))
        };
        if name.is_empty() || !name.bytes().all(is_token) {
            return refuse(&"not a token");
        }
        if offered[..index].contains(name) {
            return refuse(&"offered twice");
        }
    }
    Ok(())
}

pub(super) const HOST: &str = "host";

pub(super) fn is_named(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Headers that the handshake itself sets (RFC 6455, 4.1), beside `Sec-WebSocket-…`.
const HANDSHAKE_HEADERS: [&str; 4] =
    ["connection", "upgrade", "content-length", "transfer-encoding"];

/// Headers that a request may have only once (RFC 9110, 5.3). Of two, a server may believe either.
const SINGLETON_HEADERS: [&str; 5] = [HOST, "origin", "user-agent", "authorization", "cookie"];

/// Whether a line says that the request has no such header: an empty value of one of ours that can be left
/// out. None of these can be empty on the wire (RFC 9110, 10.1.5 and 11.6.2; RFC 6454, 7.1; RFC 6265, 4.2.1).
pub(super) fn leaves_out(name: &str, value: &Secret) -> bool {
    value.reveal().trim_ascii().is_empty()
        && SINGLETON_HEADERS.iter().any(|ours| *ours != HOST && is_named(name, ours))
}

/// Checks the application's header lines, each alone and all together.
///
/// # Errors
/// [`ConfigError::Option`] for the first invalid line, without its value.
pub(super) fn check_headers(lines: &[(String, Secret)]) -> Result<(), ConfigError> {
    for (index, (name, value)) in lines.iter().enumerate() {
        check_header(name, value.reveal())?;
        let single = SINGLETON_HEADERS.iter().any(|single| is_named(name, single));
        if single && lines[..index].iter().any(|(other, _)| is_named(name, other)) {
            return Err(ConfigError::option("header", format!("{name:?}: given twice")));
        }
    }
    Ok(())
}

/// Checks that a header cannot end its line (RFC 9110, 5.5 and 5.6.2).
fn check_header(name: &str, value: &str) -> Result<(), ConfigError> {
    let refuse = |reason: &str| Err(ConfigError::option("header", format!("{name:?}: {reason}")));
    if !is_name(name) {
        let reason = "a line without a colon or a name, or whose name is not a token";
        return Err(ConfigError::option("header", reason));
    }
    let lower = name.to_ascii_lowercase();
    if value.bytes().any(|byte| byte != b'\t' && is_control(byte)) {
        return refuse("a control character in the value");
    }
    if HANDSHAKE_HEADERS.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
        return refuse("set by the handshake itself");
    }
    if lower == HOST {
        return check_host(value).or_else(refuse);
    }
    Ok(())
}

/// RFC 9110, 5.1.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token)
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110, 11.2.
fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)
}

/// RFC 3986, 3.2.2 and 3.2.3.
fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_break_out_of_its_line() {
        for (name, value) in [("a b", "x"), ("", "x"), ("X", "a\r\nY: b"), ("X", "a\0"), ("X:", "")]
        {
            assert!(check_header(name, value).is_err(), "{name:?} {value:?}");
        }
        assert!(check_header("Sec-WebSocket-Key", "x").is_err());
        assert!(check_header("Connection", "close").is_err());
        for host in ["", "a b", "h/x", "u@h", "h\t", "\u{e9}", "h#", "h,g\0"] {
            assert!(check_header("hOST", host).is_err(), "{host:?}");
        }
        assert!(check_header("Host", "[::1]:81").is_ok());
        assert!(check_header("X-Token", "a b\tc \u{e9}").is_ok());
    }

    #[test]
    fn what_a_request_has_one_of_is_not_given_twice() {
        let checked = |names: [&str; 2]| {
            check_headers(&names.map(|name| (name.to_owned(), Secret::new("hunter2"))))
        };
        for (name, again) in SINGLETON_HEADERS.iter().zip([
            "HOST",
            "Origin",
            "user-Agent",
            "AUTHORIZATION",
            "Cookie",
        ]) {
            let refused = checked([name, again]).unwrap_err().to_string();
            assert_eq!(refused, format!("header: {again:?}: given twice"));
        }
        assert!(checked(["X-Token", "X-Token"]).is_ok() && checked(["Host", "Cookie"]).is_ok());
    }

    #[test]
    fn subprotocols_are_tokens_each_once() {
        let checked = |list: &[&str]| {
            check_subprotocols(&list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert!(checked(&["v2.chat", "v1.chat"]).is_ok());
        for list in [&["a", "a"][..], &[""], &["a b"], &["a,b"], &["a\r\nX: y"], &["\u{e9}"]] {
            assert!(checked(list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn a_bearer_token_is_a_token() {
        let checked = |token: &str| Auth::Bearer(Secret::new(token)).check();
        assert!(checked("eyJ.eyJ-_~+/==").is_ok());
        for token in ["", "=", "a b", "a=b", "a\r\n", "\u{e9}"] {
            assert!(checked(token).is_err(), "{token:?}");
        }
    }
}

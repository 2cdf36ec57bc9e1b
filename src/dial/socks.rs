//! SOCKS 4, 4a and 5 by tokio-socks, over a transport that is already connected to the proxy.

use std::net::SocketAddr;

use tokio_socks::TargetAddr;
use tokio_socks::tcp::{Socks4Stream, Socks5Stream};

use crate::dial::link::BaseTransport;
use crate::dial::record::{Record, Recorded};
use crate::error::ProxyError;
use crate::proxy::{Proxy, Scheme};

/// The destination that the proxy connects to.
pub(super) enum Target<'a> {
    /// A host and a port. The proxy resolves the host, unless it is an IP address.
    Name(&'a str, u16),
    Addr(SocketAddr),
}

/// Asks a SOCKS proxy to connect to `target`. Returns the transport, which ends there from then on.
///
/// # Errors
/// The proxy's reply, or `Io` if the transport failed.
pub(super) async fn connect(
    plain: BaseTransport,
    proxy: &Proxy,
    target: Target<'_>,
) -> Result<BaseTransport, ProxyError> {
    let target = match target {
        Target::Addr(addr) => TargetAddr::Ip(addr),
        Target::Name(host, port) => match host.parse() {
            Ok(ip) => TargetAddr::Ip(SocketAddr::new(ip, port)),
            Err(_) => TargetAddr::Domain(host.into(), port),
        },
    };
    let credentials = proxy.credentials.as_ref();
    let record = Record::default();
    let plain = Recorded::new(plain, record.clone());
    let error = |version, err| proxy_error(version, err, &record, credentials.is_some());
    // SOCKS4 has a user and no password.
    if matches!(proxy.scheme, Scheme::Socks4 | Scheme::Socks4a) {
        let opened = match credentials {
            None => Socks4Stream::connect_with_socket(plain, target).await,
            Some(known) => {
                Socks4Stream::connect_with_userid_and_socket(plain, target, &known.user).await
            }
        };
        let opened = opened.map_err(|err| error(4, err))?;
        return Ok(opened.into_inner().into_inner());
    }
    let opened = match credentials {
        None => Socks5Stream::connect_with_socket(plain, target).await,
        Some(known) => {
            let (user, password) = (&known.user, &known.password);
            Socks5Stream::connect_with_password_and_socket(plain, target, user, password).await
        }
    };
    Ok(opened.map_err(|err| error(5, err))?.into_inner().into_inner())
}

/// Converts an error of tokio-socks into the code that the proxy sent (RFC 1928, 6; those of version 4 begin at 91).
fn proxy_error(
    version: u8,
    err: tokio_socks::Error,
    record: &Record,
    has_credentials: bool,
) -> ProxyError {
    use tokio_socks::Error as Socks;
    let reply = match err {
        Socks::Io(err) => return ProxyError::Io(err.into()),
        Socks::NoAcceptableAuthMethods | Socks::AuthorizationRequired => {
            return ProxyError::Auth(match has_credentials {
                true => "the proxy accepts no user and password".into(),
                false => "the proxy wants credentials, and its URL has no user:password@".into(),
            });
        }
        Socks::PasswordAuthFailure(_) => {
            return ProxyError::Auth(
                "the proxy did not accept the user and password of its URL".into(),
            );
        }
        Socks::InvalidAuthValues(_) => return ProxyError::Auth(err.to_string().into()),
        // Also the error for a reply with a code that no RFC defines, whose value stands only in the bytes.
        Socks::UnknownAuthMethod | Socks::UnknownError => {
            match (unknown_reply(version, record), record.get(1)) {
                (Some(reply), _) => reply,
                (None, method) => {
                    let method = method.unwrap_or_default();
                    let text = format!("the proxy chose method {method}, which was not offered");
                    return ProxyError::Auth(text.into());
                }
            }
        }
        Socks::GeneralSocksServerFailure if version == 4 => 91,
        Socks::IdentdAuthFailure => 92,
        Socks::InvalidUserIdAuthFailure => 93,
        Socks::GeneralSocksServerFailure => 1,
        Socks::ConnectionNotAllowedByRuleset => 2,
        Socks::NetworkUnreachable => 3,
        Socks::HostUnreachable => 4,
        Socks::ConnectionRefused => 5,
        Socks::TtlExpired => 6,
        Socks::CommandNotSupported => 7,
        Socks::AddressTypeNotSupported => 8,
        err => return ProxyError::Reply(err.to_string().into()),
    };
    ProxyError::Socks { version, reply }
}

/// Returns the code of the reply to the request, if one was read.
fn unknown_reply(version: u8, record: &Record) -> Option<u8> {
    const PASSWORD: u8 = 2;
    let start = match (version, record.get(1)?) {
        (4, _) => 0,
        // Behind the method; and behind the answer to the password (RFC 1929, 2).
        (_, PASSWORD) => 4,
        _ => 2,
    };
    record.get(start + 1)
}

//! SOCKS by tokio-socks, over a transport of ours.

use std::net::SocketAddr;

use tokio_socks::TargetAddr;
use tokio_socks::tcp::{Socks4Stream, Socks5Stream};

use crate::dial::link::BaseTransport;
use crate::error::ProxyError;
use crate::proxy::{Proxy, Scheme};

/// What the proxy is asked for.
pub(super) enum Target<'a> {
    /// For the proxy to resolve, unless it is an address after all.
    Name(&'a str, u16),
    Addr(SocketAddr),
}

/// Has a SOCKS proxy reach `target`.
///
/// # Errors
/// What the proxy replied, or that it broke off.
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
    if matches!(proxy.scheme, Scheme::Socks4 | Scheme::Socks4a) {
        let opened = match credentials {
            None => Socks4Stream::connect_with_socket(plain, target).await,
            Some(known) => {
                Socks4Stream::connect_with_userid_and_socket(plain, target, &known.user).await
            }
        };
        return opened.map(Socks4Stream::into_inner).map_err(|err| proxy_error(4, err));
    }
    let opened = match credentials {
        None => Socks5Stream::connect_with_socket(plain, target).await,
        Some(known) => {
            let (user, password) = (&known.user, &known.password);
            Socks5Stream::connect_with_password_and_socket(plain, target, user, password).await
        }
    };
    opened.map(Socks5Stream::into_inner).map_err(|err| proxy_error(5, err))
}

/// The crate's errors as codes (RFC 1928, 6; for version 4 they begin at 91).
fn proxy_error(version: u8, err: tokio_socks::Error) -> ProxyError {
    use tokio_socks::Error as Socks;
    let reply = match err {
        Socks::Io(err) => return ProxyError::Io(err.into()),
        Socks::NoAcceptableAuthMethods
        | Socks::AuthorizationRequired
        | Socks::PasswordAuthFailure(_)
        | Socks::InvalidAuthValues(_) => return ProxyError::Auth(err.to_string().into()),
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
        // Among them the codes that no RFC knows: the crate does not tell them.
        err => return ProxyError::Reply(err.to_string().into()),
    };
    ProxyError::Socks { version, reply }
}

//! The checked options and URL of a connection: all that a dial needs.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::options::Options;
use crate::options::per_dial::{Destination, Lines};
use crate::options::request::check_headers;
use crate::options::shared::shared;
use crate::options::target::{Target, warn_of_fragment};
use crate::proxy::{Proxy, Scheme};
use crate::tls::{LazyTlsClient, TlsClient};

/// The checked options and target of a dial.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Shared with other connections whose options are equal.
    pub(crate) options: Arc<Options>,
    /// Where the dial leads.
    pub(crate) target: Target,
    /// TLS with the target; `None` for `ws`, and for a transport that is secure already.
    pub(crate) tls: Option<TlsClient>,
    /// The proxy to dial through, if any.
    pub(crate) detour: Option<Box<Detour>>,
    /// Whether the application named the target's origin. Credentials and most header lines of the application's are sent
    /// to no other: `false` from the first redirect to another origin on.
    pub(super) trusted: bool,
    /// TLS clients, shared by all plans of a connection, so that sessions are resumed.
    pub(super) clients: Arc<TlsClients>,
}

/// The route through a proxy.
#[derive(Clone, Debug)]
pub(crate) struct Detour {
    /// The proxy.
    pub(crate) proxy: Proxy,
    /// TLS with the proxy itself; `None` unless it is an `https` one.
    pub(crate) tls: Option<TlsClient>,
}

/// A TLS client for each kind of peer, each made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct TlsClients {
    server: LazyTlsClient,
    /// For servers of an origin that the application did not name.
    redirected: LazyTlsClient,
    proxy: LazyTlsClient,
}

impl Plan {
    /// Checks a URL and its options.
    ///
    /// # Errors
    /// As [`Target::parse`], [`Options::check`] and [`Options::proxy_for`], and when TLS cannot be
    /// set up at all.
    pub(crate) fn new(url: &str, options: Options) -> Result<Plan, ConfigError> {
        let options = shared(options)?;
        Plan::build(Target::parse(url)?, options, true, Arc::default())
    }

    /// Returns a plan for this destination, in place of the builder's, with the same TLS clients, so that sessions are
    /// resumed.
    ///
    /// # Errors
    /// As [`Target::parse`] and [`Options::proxy_for`], and when TLS cannot be set up.
    pub(crate) fn with_destination(&self, made: Destination) -> Result<Plan, ConfigError> {
        let Destination { url, bind, proxy } = made;
        warn_of_fragment(url.reveal());
        let mut options = self.options.clone();
        if let Some(ip) = bind {
            Arc::make_mut(&mut options).sockets.get_mut().bind = Some(ip);
        }
        if proxy.is_some() {
            Arc::make_mut(&mut options).proxy = proxy;
        }
        let target = Target::parse(url.reveal())?;
        Plan::build(target, options, self.trusted, self.clients.clone())
    }

    /// Returns a plan with these header lines, which replace those of the same names.
    ///
    /// # Errors
    /// The first invalid line.
    pub(crate) fn with_headers(&self, made: Lines) -> Result<Plan, ConfigError> {
        check_headers(&made)?;
        let mut plan = self.clone();
        let replaced = |name: &str| made.iter().any(|(new, _)| new.eq_ignore_ascii_case(name));
        let headers = &mut Arc::make_mut(&mut plan.options).headers;
        headers.retain(|(name, _)| !replaced(name));
        headers.extend(made);
        Ok(plan)
    }

    /// Builds a plan of checked options.
    ///
    /// # Errors
    /// As [`Options::proxy_for`], and when TLS cannot be set up.
    pub(super) fn build(
        target: Target,
        options: Arc<Options>,
        trusted: bool,
        clients: Arc<TlsClients>,
    ) -> Result<Plan, ConfigError> {
        let variable = |name: &str| std::env::var_os(name);
        let tls = match target.secure && !options.transport_is_secure {
            true if trusted => {
                Some(clients.server.get_or_make(|| options.tls.get().client(variable))?)
            }
            true => {
                let make = || options.tls.get().for_other_origin().client(variable);
                Some(clients.redirected.get_or_make(make)?)
            }
            false => None,
        };
        let proxy = options.proxy_for(&target, variable)?;
        let detour = proxy.map(|proxy| {
            let client = || options.proxy_tls.get().client(variable).map(TlsClient::for_proxy);
            let make = || clients.proxy.get_or_make(client);
            let tls = (proxy.scheme == Scheme::Https).then(make).transpose()?;
            Ok::<_, ConfigError>(Box::new(Detour { proxy, tls }))
        });
        let detour = detour.transpose()?;
        Ok(Plan { options, target, tls, detour, trusted, clients })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::Secret;

    #[test]
    fn a_destination_may_have_a_route_of_its_own() {
        let mut options = Options::new(Reconnect::default());
        options.proxy_from_env = false;
        let plan = Plan::new("ws://a.example/", options).unwrap();
        let plain = plan.with_destination(Destination::new("ws://b.example/")).unwrap();
        assert_eq!(&*plain.target.host, "b.example");
        assert!(Arc::ptr_eq(&plain.options, &plan.options) && plain.detour.is_none());
        let routed = Destination {
            bind: Some([127, 0, 0, 2].into()),
            proxy: Some(Secret::new("http://proxy.example:3128")),
            ..Destination::new("ws://b.example/")
        };
        let routed = plan.with_destination(routed).unwrap();
        assert_eq!(routed.options.sockets.get().bind, Some([127, 0, 0, 2].into()));
        assert!(routed.detour.is_some() && plan.detour.is_none());
        let proxy = Some(Secret::new("no proxy"));
        let wrong = Destination { proxy, ..Destination::new("ws://b.example/") };
        assert!(plan.with_destination(wrong).unwrap_err().to_string().starts_with("proxy: "));
    }
}

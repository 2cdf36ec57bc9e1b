//! Options and URL, checked: all that a dial needs.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::options::Options;
use crate::options::per_dial::Lines;
use crate::options::request::check_headers;
use crate::options::secret::Secret;
use crate::options::shared::shared;
use crate::options::target::Target;
use crate::proxy::{Proxy, Scheme};
use crate::tls::{LazyTlsClient, TlsClient};

/// What was checked: all that a dial needs.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Shared with other connections.
    pub(crate) options: Arc<Options>,
    pub(crate) target: Target,
    /// Present for `wss`.
    pub(crate) tls: Option<Box<TlsClient>>,
    /// The way there, where it is not the direct one.
    pub(crate) detour: Option<Box<Detour>>,
    /// Whether the target is of the origin that the application named: what says who asks is for
    /// no other.
    pub(super) trusted: bool,
    /// TLS, shared by all plans of a connection.
    pub(super) clients: Arc<TlsClients>,
}

/// The way through a proxy.
#[derive(Clone, Debug)]
pub(crate) struct Detour {
    pub(crate) proxy: Proxy,
    /// Present where the proxy itself is spoken to under TLS.
    pub(crate) tls: Option<TlsClient>,
}

/// TLS for each kind of peer.
#[derive(Debug, Default)]
pub(super) struct TlsClients {
    server: LazyTlsClient,
    /// A server that the application did not name.
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
        options.check()?;
        Plan::build(Target::parse(url)?, shared(options), true, Arc::default())
    }

    /// The plan for another target that the application named, with the same options and the same TLS,
    /// so that sessions are resumed.
    ///
    /// # Errors
    /// As [`Options::proxy_for`], and when TLS cannot be set up.
    pub(crate) fn with_target(&self, target: Target) -> Result<Plan, ConfigError> {
        Plan::build(target, self.options.clone(), self.trusted, self.clients.clone())
    }

    /// The plan for this URL, in place of the builder's.
    ///
    /// # Errors
    /// As for the builder's.
    pub(crate) fn with_url(&self, made: &Secret) -> Result<Plan, ConfigError> {
        self.with_target(Target::parse(made.reveal())?)
    }

    /// The plan with these lines, in place of those of the same names.
    ///
    /// # Errors
    /// A line that cannot be.
    pub(crate) fn with_headers(&self, made: Lines) -> Result<Plan, ConfigError> {
        check_headers(&made)?;
        let mut plan = self.clone();
        let replaced = |name: &str| made.iter().any(|(new, _)| new.eq_ignore_ascii_case(name));
        let headers = &mut Arc::make_mut(&mut plan.options).headers;
        headers.retain(|(name, _)| !replaced(name));
        headers.extend(made);
        Ok(plan)
    }

    /// The plan for a target, its options checked.
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
        let tls = tls.map(Box::new);
        let proxy = options.proxy_for(&target, |name| std::env::var(name).ok())?;
        let detour = proxy.map(|proxy| {
            let make = || clients.proxy.get_or_make(|| options.proxy_tls.get().client(variable));
            let tls = (proxy.scheme == Scheme::Https).then(make).transpose()?;
            Ok::<_, ConfigError>(Box::new(Detour { proxy, tls }))
        });
        let detour = detour.transpose()?;
        Ok(Plan { options, target, tls, detour, trusted, clients })
    }
}

//! The options of a connection, and the plan that is made of them once they are checked.

mod lines;
mod on_demand;
pub(crate) mod per_dial;
mod plan;
mod redirect;
pub(crate) mod request;
mod secret;
mod shared;
mod target;
mod transport;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backoff::{DialGuard, Guards, Reconnect};
use crate::budget::Budget;
use crate::closure::Closure;
use crate::error::{ConfigError, Error, Verdict};
use crate::options::on_demand::OnDemand;
use crate::options::per_dial::{HeaderMaker, UrlMaker};
use crate::options::request::{Request, check_headers};
use crate::proto::codec::{Codec, Limits};
use crate::proto::compression::{Agreed, Compression};
use crate::proto::frame::Role;
use crate::proto::message::ControlPayload;
use crate::proxy::{self, NoProxy, NotUtf8, Proxy};
use crate::record::Recorder;
use crate::socket::{DEFAULT_WRITE_TIMEOUT, Sockets};
use crate::tls::Tls;

pub use crate::options::per_dial::{Attempt, HeaderText};
pub(crate) use crate::options::plan::{Detour, Plan};
pub(crate) use crate::options::secret::Secret;
pub(crate) use crate::options::target::{Target, warn_of_fragment};
pub(crate) use crate::options::transport::{BoxedTransport, TransportFactory};

/// All options of one connection, as the builder collects them. Defaults and details: the builder's methods of the
/// same names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// The name of the connection in events, `Status` and logs.
    pub(crate) name: Option<Arc<str>>,
    /// The application's header lines, in order.
    pub(crate) headers: Vec<(String, Secret)>,
    /// The other options of the upgrade request.
    pub(crate) request: OnDemand<Request>,
    /// Makes further header lines for each attempt.
    pub(crate) headers_with: Option<HeaderMaker>,
    /// Makes the URL of each attempt.
    pub(crate) url_with: Option<UrlMaker>,
    /// Whether cookies that servers set are sent back.
    pub(crate) cookie_jar: bool,
    /// The number of redirects that one dial follows.
    pub(crate) redirects: u32,
    /// The deadline for one whole dial.
    pub(crate) connect_timeout: Duration,
    /// The deadline for the closing handshake.
    pub(crate) close_timeout: Duration,
    /// The time in which a write must make some progress.
    pub(crate) write_timeout: Duration,
    /// The time between two pings; `None` sends none.
    pub(crate) ping_interval: Option<Duration>,
    /// The time after a ping in which some byte must arrive; `None` for any time.
    pub(crate) ping_timeout: Option<Duration>,
    /// The payload of every ping; `None` for a number.
    pub(crate) ping_payload: Option<Bytes>,
    /// The longest time without a data message.
    pub(crate) idle_timeout: Option<Duration>,
    /// The delays between dials.
    pub(crate) reconnect: Reconnect,
    /// Judges failures in place of `Error::verdict`.
    pub(crate) retry_if: Option<RetryIf>,
    /// Whether a clean close by the server leads to another dial.
    pub(crate) reconnect_on_close: bool,
    /// Whether the run ends when the last handler of some kind of event has ended.
    pub(crate) end_when_unheard: bool,
    /// The number of dials in a row that may fail.
    pub(crate) max_attempts: Option<u32>,
    /// How long a socket must have been open for the backoff to start over.
    pub(crate) stable_after: Duration,
    /// The limit of dials in any window of time.
    pub(crate) dial_limit: DialGuard,
    /// The limits that the connection shares with others.
    pub(crate) budgets: Arc<[Budget]>,
    /// How TLS verifies the server.
    pub(crate) tls: OnDemand<Tls>,
    /// The URL of the proxy that the application chose.
    pub(crate) proxy: Option<Secret>,
    /// Whether the environment is read for a proxy, and for hosts that are dialled directly.
    pub(crate) proxy_from_env: bool,
    /// Hosts that are dialled directly, in place of those of the environment.
    pub(crate) no_proxy: Option<String>,
    /// The deadline for connecting to the proxy and for the proxy to connect to the host.
    pub(crate) proxy_timeout: Option<Duration>,
    /// How TLS verifies an `https` proxy.
    pub(crate) proxy_tls: OnDemand<Tls>,
    /// Options of TCP sockets.
    pub(crate) sockets: OnDemand<Sockets>,
    /// Makes transports, in place of TCP.
    pub(crate) transport: Option<TransportFactory>,
    /// Whether such a transport is secure already, so that no TLS is set up over it under `wss`.
    pub(crate) transport_is_secure: bool,
    /// Whether text is delivered without the check that it is UTF-8.
    pub(crate) skip_utf8_validation: bool,
    /// Makes masking keys, in place of the system's generator.
    pub(crate) mask_key: Option<MaskKey>,
    /// The limits of messages received.
    pub(crate) limits: Limits,
    /// Whether and how messages are compressed.
    pub(crate) compression: Compression,
    /// The number of bytes of data frames that may wait to be written.
    pub(crate) send_buffer: usize,
    /// The number of bytes of data that may wait for handlers while reading continues.
    pub(crate) read_ahead: usize,
    /// What happens to data beyond `read_ahead`.
    pub(crate) overflow: Overflow,
    /// Records what is received and sent.
    pub(crate) recorder: Option<Recorder>,
}

/// The closure of `ConnectionBuilder::mask_key`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MaskKey(Closure<dyn Fn() -> [u8; 4] + Send + Sync>);

impl MaskKey {
    pub(crate) fn new(key: impl Fn() -> [u8; 4] + Send + Sync + 'static) -> MaskKey {
        MaskKey(Closure::new(Arc::new(key)))
    }
}

/// The closure of `ConnectionBuilder::retry_if`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RetryIf(Closure<dyn Fn(&Error) -> Verdict + Send + Sync>);

impl RetryIf {
    pub(crate) fn new(judge: impl Fn(&Error) -> Verdict + Send + Sync + 'static) -> RetryIf {
        RetryIf(Closure::new(Arc::new(judge)))
    }

    pub(crate) fn judge(&self, error: &Error) -> Verdict {
        (self.0)(error)
    }
}

/// What happens to data while the handlers are too slow: one of their mailboxes is full, and more than
/// `read_ahead` bytes wait.
///
/// Only whole messages are ever dropped, never an `Open`, a `Close` or a fragment for `on_continuation_to`, nor
/// the message that is being delivered to the full mailbox. Dropped messages are counted in
/// `Figures::dropped` and logged at most once a second. If only some messages of an earlier read have to
/// be dropped, an eighth of that read is at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Drops nothing: reading stops, and TCP makes the peer wait. The default.
    #[default]
    Wait,
    /// Drops the oldest messages that wait, to make room for the newest.
    DropOldest,
    /// Drops the newest message.
    DropNewest,
    /// Drops no message, but closes the socket with 1001. The next dial begins when the policy says so, and
    /// not before at most 32 events still wait for the handlers.
    Disconnect,
}

impl Options {
    pub(crate) fn new(reconnect: Reconnect) -> Options {
        Options {
            name: None,
            headers: Vec::new(),
            request: OnDemand::default(),
            headers_with: None,
            url_with: None,
            cookie_jar: true,
            redirects: 3,
            connect_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(3),
            write_timeout: DEFAULT_WRITE_TIMEOUT,
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Some(Duration::from_secs(10)),
            ping_payload: None,
            idle_timeout: None,
            reconnect,
            retry_if: None,
            reconnect_on_close: true,
            end_when_unheard: false,
            max_attempts: None,
            stable_after: Duration::from_secs(10),
            dial_limit: DialGuard::default(),
            budgets: Arc::default(),
            tls: OnDemand::default(),
            proxy: None,
            proxy_from_env: true,
            no_proxy: None,
            proxy_timeout: None,
            proxy_tls: OnDemand::default(),
            sockets: OnDemand::default(),
            transport: None,
            transport_is_secure: false,
            skip_utf8_validation: false,
            mask_key: None,
            limits: Limits::default(),
            compression: Compression::default(),
            send_buffer: 1 << 20,
            read_ahead: 256 << 10,
            overflow: Overflow::Wait,
            recorder: None,
        }
    }

    /// Creates the codec of a new socket.
    pub(crate) fn codec(&self, deflate: Option<Agreed>, by_fragment: bool) -> Codec {
        let codec = Codec::new(Role::Client, self.limits)
            .with_deflate(deflate)
            .by_fragment(by_fragment)
            .unchecked_text(self.skip_utf8_validation);
        match &self.mask_key {
            Some(MaskKey(keys)) => codec.with_mask_keys(keys.to_arc()),
            None => codec,
        }
    }

    /// Returns the limits around the reconnect policy.
    pub(crate) fn guards(&self) -> Guards {
        Guards {
            max_attempts: self.max_attempts,
            stable_after: self.stable_after,
            dial_limit: self.dial_limit,
        }
    }

    /// Checks every option that can be checked without the URL.
    ///
    /// # Errors
    /// [`ConfigError::Option`] with the name of the first invalid option.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_times()?;
        if let Some(payload) = &self.ping_payload {
            ControlPayload::new(payload.clone())
                .map_err(|err| ConfigError::option("ping_payload", err))?;
        }
        if self.limits.frame == 0 || self.limits.message == 0 || self.limits.fragments == 0 {
            return Err(ConfigError::option("limits", "a limit of zero; expected at least 1"));
        }
        self.compression.check().map_err(|err| ConfigError::option("compression", err))?;
        if self.send_buffer == 0 {
            return Err(ConfigError::option("send_buffer", "zero; expected at least one byte"));
        }
        self.sockets.get().options.check(self.write_timeout)?;
        if self.transport_is_secure && (self.transport.is_none() || self.proxy.is_some()) {
            // It would send plain text under a `wss` URL.
            let reason = "expected a transport of your own, and no proxy";
            return Err(ConfigError::option("transport_is_secure", reason));
        }
        if self.max_attempts == Some(0) {
            return Err(ConfigError::option(
                "max_attempts",
                "zero; expected at least one attempt, or None for no limit",
            ));
        }
        self.request.get().check()?;
        check_headers(&self.headers)
    }

    /// Returns the proxy for a target: the application's, else that of the environment, unless the target is one of the
    /// hosts that are dialled directly (curl's order).
    ///
    /// # Errors
    /// [`ConfigError::Option`] with the name of the option or the variable whose value is not UTF-8 or not a proxy's URL, or
    /// whose proxy cannot serve the target.
    pub(crate) fn proxy_for(
        &self,
        target: &Target,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Proxy>, ConfigError> {
        let variable = |name: &str| environment(name).filter(|_| self.proxy_from_env);
        // The application's own transport decides for itself where it leads.
        let from_env = || match self.transport {
            Some(_) => Ok(None),
            None => proxy::from_env(target.secure, variable),
        };
        let unreadable = |NotUtf8(name)| {
            ConfigError::option(
                name,
                "not UTF-8: write other bytes as %XX, and names of hosts as UTF-8",
            )
        };
        let chosen = match &self.proxy {
            Some(url) => Some(("proxy", url.reveal().to_owned())),
            None => from_env().map_err(unreadable)?,
        };
        let Some((option, url)) = chosen else {
            return Ok(None);
        };
        let list = match &self.no_proxy {
            Some(list) => Some(list.clone()),
            None => proxy::no_proxy_from_env(variable).map_err(unreadable)?,
        };
        if NoProxy::parse(&list.unwrap_or_default()).matches(&target.host, target.port) {
            return Ok(None);
        }
        let refuse = |err| ConfigError::option(option, err);
        let proxy = Proxy::parse(&url).map_err(refuse)?;
        proxy.check_target(&target.host).map_err(refuse)?;
        Ok(Some(proxy))
    }

    /// Checks that no duration is zero, but for `close_timeout` and `stable_after`, where zero has a meaning.
    fn check_times(&self) -> Result<(), ConfigError> {
        let times = [
            ("connect_timeout", Some(self.connect_timeout)),
            ("write_timeout", Some(self.write_timeout)),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("idle_timeout", self.idle_timeout),
            ("proxy_timeout", self.proxy_timeout),
        ];
        match times.into_iter().find(|(_, time)| *time == Some(Duration::ZERO)) {
            Some((option, _)) => Err(ConfigError::option(
                option,
                "zero; expected a positive duration, or None where the option takes it",
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// The way to a target, as `host:port` of the proxy, under this environment.
    fn way(
        url: &str,
        environment: &[(&str, &str)],
        change: impl Fn(&mut Options),
    ) -> Result<Option<String>, String> {
        let mut options = Options::new(Reconnect::default());
        change(&mut options);
        let variable = |name: &str| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(*value))
        };
        let proxy = options
            .proxy_for(&Target::parse(url).unwrap(), variable)
            .map_err(|err| err.to_string())?;
        Ok(proxy.map(|proxy| format!("{}:{}", proxy.host, proxy.port)))
    }

    #[test]
    fn the_environment_has_a_proxy_for_each_scheme() {
        let both = [("http_proxy", "http://plain:1"), ("https_proxy", "socks5://secure:2")];
        let to = |url| way(url, &both, |_| {}).unwrap().unwrap();
        assert_eq!((to("ws://h"), to("wss://h")), ("plain:1".into(), "secure:2".into()));
        assert_eq!(way("ws://h", &both, |options| options.proxy_from_env = false), Ok(None));
        let own = |options: &mut Options| options.proxy = Some(Secret::new("http://own:3"));
        assert_eq!(way("ws://h", &both, own), Ok(Some("own:3".into())));
    }

    #[test]
    fn a_transport_of_the_applications_own_goes_through_no_proxy_of_the_environment() {
        let factory = |options: &mut Options| {
            let none = async |_, _| Err::<tokio::io::Empty, _>(io::ErrorKind::Other.into());
            options.transport = Some(TransportFactory::new(none));
        };
        assert_eq!(way("ws://h", &[("http_proxy", "http://p:1")], factory), Ok(None));
        let both = |options: &mut Options| {
            factory(options);
            options.proxy = Some(Secret::new("http://own:3"));
        };
        assert_eq!(way("ws://h", &[], both), Ok(Some("own:3".into())));
    }

    #[test]
    fn hosts_of_no_proxy_go_past_every_kind_of_proxy() {
        let listed = [("no_proxy", "h"), ("http_proxy", "http://p:1")];
        assert_eq!(way("ws://a.h", &listed, |_| {}), Ok(None));
        for scheme in ["http", "socks5h"] {
            let url = format!("{scheme}://own:3");
            let own = |options: &mut Options| options.proxy = Some(Secret::new(url.as_str()));
            assert_eq!(way("ws://h", &listed, own), Ok(None), "{scheme}");
            let alone = |options: &mut Options| {
                own(options);
                options.proxy_from_env = false;
            };
            assert_eq!(way("ws://h", &listed, alone), Ok(Some("own:3".into())), "{scheme}");
        }
        let empty = |options: &mut Options| options.no_proxy = Some(String::new());
        assert_eq!(way("ws://h", &listed, empty), Ok(Some("p:1".into())));
        let other = |options: &mut Options| options.no_proxy = Some("other".into());
        assert_eq!(way("ws://h", &listed, other), Ok(Some("p:1".into())));
    }

    #[test]
    fn what_is_no_proxy_is_refused_under_the_name_of_what_set_it() {
        let refused = |set: &[(&str, &str)]| way("ws://h", set, |_| {}).unwrap_err();
        let http = refused(&[("http_proxy", "u:hunter2@p:3128")]);
        assert!(http.starts_with("http_proxy: ") && !http.contains("hunter2"), "{http}");
        assert!(refused(&[("ALL_PROXY", "p:3128")]).starts_with("ALL_PROXY: "));
        // What is not used does no harm.
        assert_eq!(way("wss://h", &[("http_proxy", "p:3128")], |_| {}), Ok(None));
        assert_eq!(way("ws://h", &[("http_proxy", "p:3128"), ("no_proxy", "h")], |_| {}), Ok(None));
        let own = |options: &mut Options| options.proxy = Some(Secret::new("socks4://p"));
        assert!(way("ws://[::1]/", &[], own).unwrap_err().starts_with("proxy: "));
    }

    #[test]
    fn an_option_that_cannot_be_is_named() {
        let named = |change: fn(&mut Options)| {
            let mut options = Options::new(Reconnect::default());
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(named(|o| o.ping_timeout = Some(Duration::ZERO)).starts_with("ping_timeout"));
        assert!(named(|o| o.ping_payload = Some(vec![0; 126].into())).starts_with("ping_payload"));
        assert!(named(|o| o.send_buffer = 0).starts_with("send_buffer"));
        assert!(named(|o| o.max_attempts = Some(0)).starts_with("max_attempts"));
        let bits = named(|o| o.compression = Compression::new().client_max_window_bits(16));
        assert!(bits.starts_with("compression: "), "{bits}");
    }
}

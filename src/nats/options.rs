//! Where to publish, and within which bounds.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::nats::error::Error;
use crate::options::Secret;

/// Where to publish, and within which bounds. Ends with [`connect`](Options::connect).
#[derive(Clone)]
#[must_use = "options do nothing until they are connected"]
pub struct Options {
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
    pub(crate) creds_file: Option<PathBuf>,
    pub(crate) authorities_file: Option<PathBuf>,
    pub(crate) stream: String,
    pub(crate) subject: String,
    pub(crate) replicas: usize,
    pub(crate) in_flight: usize,
    pub(crate) ack_timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) queue_messages: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) on_notice: Option<OnNotice>,
}

/// What an application may want to say of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The broker was not reached, or has no stream yet. Another attempt follows.
    #[non_exhaustive]
    Unreachable {
        /// Why.
        why: Arc<str>,
    },
    /// The connection is open, for the first time or again.
    Connected,
    /// The connection was lost. It is opened again.
    Disconnected,
    /// The broker does not store messages, for want of room or of a leader. They are sent again.
    #[non_exhaustive]
    NotStored {
        /// Its words.
        why: Arc<str>,
    },
}

/// The closure of [`Options::on_notice`].
pub(crate) type OnNotice = Arc<dyn Fn(Notice) + Send + Sync>;

impl Options {
    /// Creates options for the broker at a URL, such as `nats://127.0.0.1:4222` or, with TLS, `tls://nats.example:4222`.
    /// Several URLs of one cluster are separated by commas.
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            token: None,
            creds_file: None,
            authorities_file: None,
            stream: "FEED".to_owned(),
            subject: "feed.{topic}".to_owned(),
            replicas: 1,
            in_flight: 1024,
            ack_timeout: Duration::from_secs(2),
            lease: Duration::ZERO,
            queue_messages: 65_536,
            queue_bytes: 64 << 20,
            on_notice: None,
        }
    }

    /// Sets the token that the broker wants. Default: none.
    pub fn token(mut self, token: impl Into<String>) -> Options {
        self.token = Some(Secret::new(token));
        self
    }

    /// Sets the file with credentials, a JWT and the key of a user, as `nsc` writes it. Read by each
    /// [`connect`](Options::connect). Default: none.
    pub fn creds_file(mut self, path: impl Into<PathBuf>) -> Options {
        self.creds_file = Some(path.into());
        self
    }

    /// Sets a file with certificate authorities in PEM, which are trusted instead of those of the system; the
    /// connection is then encrypted. Default: none.
    pub fn authorities_file(mut self, path: impl Into<PathBuf>) -> Options {
        self.authorities_file = Some(path.into());
        self
    }

    /// Sets the name of the stream. Default: `FEED`.
    pub fn stream(mut self, name: impl Into<String>) -> Options {
        self.stream = name.into();
        self
    }

    /// Sets the subject of each topic, with `{topic}` once, as a token of its own. Default: `feed.{topic}`.
    pub fn subject(mut self, template: impl Into<String>) -> Options {
        self.subject = template.into();
        self
    }

    /// Sets how many nodes of a cluster keep a stream that is created here. Default: 1.
    pub fn replicas(mut self, replicas: usize) -> Options {
        self.replicas = replicas;
        self
    }

    /// Sets how many publications wait for their acknowledgement at a time, over all topics. Default: 1,024.
    pub fn in_flight(mut self, publications: usize) -> Options {
        self.in_flight = publications;
        self
    }

    /// Sets how long a publication waits for its acknowledgement before it is repeated. Default: 2 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Options {
        self.ack_timeout = timeout;
        self
    }

    /// Sets how long the owner of a topic may be unaware that it is not the owner any more: the lease of a share.
    /// Default: zero, topics are not shared.
    pub fn lease(mut self, lease: Duration) -> Options {
        self.lease = lease;
        self
    }

    /// Sets the bounds of what waits to be published, over all topics. At either the mailbox of the publisher stops.
    /// Default: 65,536 messages and 64 MiB.
    pub fn queue(mut self, messages: usize, bytes: usize) -> Options {
        self.queue_messages = messages;
        self.queue_bytes = bytes;
        self
    }

    /// Sets a closure that is called when the broker is not reached, and when it is again. Default: none.
    pub fn on_notice(mut self, call: impl Fn(Notice) + Send + Sync + 'static) -> Options {
        self.on_notice = Some(Arc::new(call));
        self
    }

    /// Checks what needs no broker.
    pub(crate) fn check(&self) -> Result<(), Error> {
        parse(&self.url)?;
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b".*>/\\".contains(&byte);
        if self.stream.is_empty() || !self.stream.bytes().all(is_name) {
            let why = format!(
                "\"{}\" cannot be a name: it must not be empty, nor have . * > / \\ or spaces",
                self.stream
            );
            return Err(Error::option("stream", why));
        }
        if self.ack_timeout.is_zero() {
            return Err(Error::option("ack_timeout", "must be above zero"));
        }
        for (option, value) in [
            ("replicas", self.replicas),
            ("in_flight", self.in_flight),
            ("queue", self.queue_messages.min(self.queue_bytes)),
        ] {
            if value == 0 {
                return Err(Error::option(option, "must be above zero"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    /// Shows no URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("stream", &self.stream)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Reads a list of URLs.
pub(crate) fn parse(urls: &str) -> Result<Vec<Url>, Error> {
    let expected = "as in nats://127.0.0.1:4222, or tls://nats.example:4222 with TLS";
    let one = |text: &str| {
        let text = text.trim();
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("nats://{text}")),
        };
        // The URL itself may hold a password.
        let url =
            url.map_err(|err| Error::url(&format!("it cannot be read: {err}; {expected}")))?;
        if !["nats", "tls"].contains(&url.scheme()) {
            let scheme = url.scheme();
            return Err(Error::url(&format!(
                "its scheme is {scheme}; nats or tls is expected, {expected}"
            )));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(Error::url(&format!("it has no host; {expected}")));
        }
        Ok(url)
    };
    urls.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(urls: &str) -> String {
        parse(urls).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_url_that_cannot_be_is_refused_without_what_is_secret_in_it() {
        for (url, why) in [
            ("ws://127.0.0.1", "`url`: its scheme is ws; nats or tls is expected"),
            ("nats://user:hidden@", "`url`: it cannot be read: empty host"),
            ("nats://user:hidden@a:99999", "`url`: it cannot be read: invalid port number"),
            ("nats:///", "`url`: it "),
            ("nats://a,", "`url`: it "),
        ] {
            let err = refused(url);
            assert!(err.starts_with(why) && !err.contains("hidden"), "{url}: {err}");
        }
    }

    #[test]
    fn an_option_that_cannot_be_is_refused_by_name() {
        let refused = |change: fn(Options) -> Options| {
            change(Options::new("nats://a")).check().unwrap_err().to_string()
        };
        assert_eq!(refused(|it| it.in_flight(0)), "`in_flight`: must be above zero");
        assert_eq!(refused(|it| it.replicas(0)), "`replicas`: must be above zero");
        assert_eq!(refused(|it| it.queue(5, 0)), "`queue`: must be above zero");
        assert_eq!(
            refused(|it| it.ack_timeout(Duration::ZERO)),
            "`ack_timeout`: must be above zero"
        );
        let err = refused(|it| it.stream("a.b"));
        assert!(err.starts_with("`stream`: \"a.b\" cannot be a name"), "{err}");
        assert!(Options::new("nats://a").check().is_ok());
    }
}

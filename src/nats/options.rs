//! Where to publish, and within which bounds.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::nats::broker::{Broker, Notice};
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

    /// Sets a file with certificate authorities in PEM, which are trusted beside those of the system. Default: none.
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

    /// Sets how many nodes keep a stream that is created here. Default: 1.
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

    /// Connects, and checks the stream or creates it. While the broker is not reached it tries again, without end; each
    /// failure is a [`Notice`].
    ///
    /// # Errors
    /// What another attempt would not mend, see [`Error`].
    pub async fn connect(self) -> Result<Broker, Error> {
        Broker::connect(self).await
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

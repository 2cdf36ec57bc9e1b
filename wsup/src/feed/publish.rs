//! The flags of `--publish`, and the publisher that they start.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use actix_ws_client::nats::{
    Broker, Error, Figures, Notice, Options, Publisher, PublisherHandle, ShareFigures, SharesHandle,
};
use tokio::sync::watch;

use crate::feed::form::Published;
use crate::feed::publishing::{Publishing, SharesAre, WatchPublishing};
use crate::from_file;
use crate::screen::eprint_line;
use crate::secrets::Secrets;
use crate::usage::Usage;

#[derive(clap::Args)]
pub(crate) struct PublishFlags {
    /// Publish each update on NATS JetStream, at nats://HOST:PORT, or tls:// with TLS; several are separated by commas
    #[arg(long, value_name = "URL")]
    publish: Option<String>,

    /// The stream to publish on; it is created if it does not exist
    #[arg(long, value_name = "NAME", default_value = "FEED", requires = "publish")]
    stream: String,

    /// The subject of each topic
    #[arg(long, value_name = "SUBJECT", default_value = "feed.{topic}", requires = "publish")]
    subject: String,

    /// How many nodes keep the stream if it is created
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = clap::value_parser!(u8).range(1..=5),
        requires = "publish"
    )]
    stream_replicas: u8,

    /// The file with the credentials of a user of NATS
    #[arg(long, value_name = "FILE", requires = "publish")]
    nats_creds: Option<PathBuf>,

    /// The file with the token that NATS expects
    #[arg(long, value_name = "FILE", requires = "publish", conflicts_with = "nats_creds")]
    nats_token_file: Option<PathBuf>,

    /// The file with the certificate authorities to trust for NATS, in PEM, instead of those of the system
    #[arg(long, value_name = "FILE", requires = "publish")]
    nats_ca: Option<PathBuf>,
}

/// The largest file with a token, in bytes.
const MAX_TOKEN_FILE: usize = 64 << 10;

/// Why nothing is published.
pub(crate) enum Failure {
    /// The flags cannot be.
    Usage(Usage),
    /// The broker, or its stream, does not fit.
    Refused(String),
}

impl PublishFlags {
    /// Reads the files of the flags. Returns `None` without `--publish`.
    pub(crate) fn prepare(&self, secrets: &Secrets) -> Result<Option<Options>, Usage> {
        let Some(url) = &self.publish else { return Ok(None) };
        if let Some((user, _)) = url.rsplit_once('@') {
            // The whole of it, and each part.
            let user = user.rsplit_once("//").map_or(user, |(_, user)| user);
            user.split([':', ',', '/', '@']).for_each(|part| secrets.note_fleeting(part));
        }
        let mut options = Options::new(url)
            .stream(&self.stream)
            .subject(&self.subject)
            .replicas(self.stream_replicas.into())
            .on_notice(Notices::default().into_closure());
        if let Some(path) = &self.nats_creds {
            options = options.creds_file(path);
        }
        if let Some(path) = &self.nats_ca {
            options = options.authorities_file(path);
        }
        if let Some(path) = &self.nats_token_file {
            let why = |why| Usage(format!("--nats-token-file: {}: {why}", path.display()));
            let bytes = from_file::read(path, MAX_TOKEN_FILE, "it").map_err(why)?;
            let token = String::from_utf8(bytes.trim_ascii().to_vec());
            let token = token.map_err(|_| why("it is not UTF-8".to_owned()))?;
            if token.is_empty() {
                return Err(why("it is empty, and a token is expected".to_owned()));
            }
            secrets.note_fleeting(&token);
            options = options.token(token);
        }
        Ok(Some(options))
    }
}

/// Connects. Waits while the broker is not reached.
pub(crate) async fn connect(options: Options) -> Result<Broker, Failure> {
    options.connect().await.map_err(|err| {
        let text = in_flags(&err.to_string());
        match err {
            Error::Option { .. } => Failure::Usage(Usage(text)),
            _ => Failure::Refused(text),
        }
    })
}

/// Names of the library, and the flags that take their place in errors.
const NAMES: [(&str, &str); 8] = [
    ("`url`: ", "--publish: "),
    ("`stream`: ", "--stream: "),
    ("`subject`: ", "--subject: "),
    ("`creds_file`", "--nats-creds"),
    ("`token`", "--nats-token-file"),
    ("`authorities_file`", "--nats-ca"),
    ("`replicas`", "--stream-replicas"),
    ("the stream `", "--stream: `"),
];

fn in_flags(text: &str) -> String {
    NAMES.iter().fold(text.to_owned(), |text, (name, flag)| text.replace(name, flag))
}

fn say(text: &str) {
    eprint_line(&format!("wsup feed: --publish: {text}"));
}

/// A publisher on a thread of its own.
pub(crate) struct Publication {
    pub(crate) broker: Broker,
    pub(crate) publisher: Addr<Publisher>,
    pub(crate) handle: PublisherHandle,
    pub(crate) watch: Arc<PublicationWatch>,
}

/// Looks at a publication, and at the shares of this process once there are some.
pub(crate) struct PublicationWatch {
    handle: PublisherHandle,
    shares: OnceLock<watch::Receiver<Option<SharesHandle>>>,
}

impl PublicationWatch {
    /// Looks at the shares of a process too, which it becomes a member for later.
    pub(crate) fn watch_shares(&self, shares: watch::Receiver<Option<SharesHandle>>) {
        // A run shares once.
        let _ = self.shares.set(shares);
    }

    fn shares(&self) -> Option<ShareFigures> {
        self.shares.get()?.borrow().as_ref().map(SharesHandle::figures)
    }
}

impl WatchPublishing for PublicationWatch {
    fn publishing(&self) -> Publishing {
        let status = self.handle.status();
        let figures = status.figures;
        Publishing {
            is_connected: status.is_connected,
            since: status.since,
            connections: status.connections,
            failure: status.failure.map(|why| in_flags(&why)),
            last_acknowledged: status.last_acknowledged,
            stalled: status.stalled,
            figures: published(&figures),
            waiting_bytes: figures.waiting_bytes,
            in_flight: figures.in_flight,
            kept: figures.kept,
            dropped: figures.dropped,
            fenced: figures.fenced,
            shares: self.shares().map(|it| SharesAre {
                all: it.all,
                owned: it.owned,
                standby: it.standby,
                claimed: it.claimed,
            }),
        }
    }

    #[cfg(feature = "serve")]
    fn export(&self, name: &str) {
        actix_ws_client::metrics::publisher(name, &self.handle.status());
        if let Some(shares) = self.shares() {
            actix_ws_client::metrics::shares(name, &shares);
        }
    }
}

fn published(figures: &Figures) -> Published {
    Published {
        published: figures.published,
        acknowledged: figures.acknowledged,
        waiting: figures.waiting,
        repeated: figures.repeated,
        duplicates: figures.duplicates,
        refused: figures.refused,
    }
}

impl Publication {
    /// Starts the publisher. For topics that are shared, a standby keeps its updates for as long as said.
    pub(crate) fn start(broker: Broker, keep: Option<Duration>) -> Publication {
        let publisher = match keep {
            Some(keep) => Publisher::shared(&broker, keep),
            None => Publisher::new(&broker),
        };
        let handle = publisher.handle();
        let thread = Arbiter::new().handle();
        let publisher = Publisher::start_in_arbiter(&thread, move |_| publisher);
        let watch = PublicationWatch { handle: handle.clone(), shares: OnceLock::new() };
        Publication { broker, publisher, handle, watch: Arc::new(watch) }
    }

    /// Returns what ends the publication: what was taken is published, for so long at most.
    pub(crate) fn ending(
        &self,
        within: Duration,
    ) -> Pin<Box<dyn Future<Output = Published> + Send>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let figures = handle.close(within).await;
            let (waiting, refused) = (figures.waiting, figures.refused);
            if waiting > 0 {
                say(&format!("{waiting} messages were not acknowledged within --close-timeout"));
            }
            if refused > 0 {
                say(&format!(
                    "{refused} messages were too large for the broker, and were left out"
                ));
            }
            published(&figures)
        })
    }
}

/// Says what becomes of the connection, each change once.
#[derive(Default)]
struct Notices(std::sync::Mutex<Option<String>>);

impl Notices {
    fn into_closure(self) -> impl Fn(Notice) + Send + Sync + 'static {
        move |notice| {
            let text = match notice {
                Notice::Connected => "connected".to_owned(),
                Notice::Disconnected => "connection lost; it is dialled again".to_owned(),
                Notice::Unreachable { why, .. } => format!("not reached: {why}; it is tried again"),
                Notice::NotStored { why, .. } => {
                    format!("does not store messages: {why}; they are sent again")
                }
                _ => return,
            };
            let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.as_ref() != Some(&text) {
                say(&text);
                *last = Some(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_flags() {
        let text = in_flags("the stream `FEED` cannot be created: no; see `replicas`");
        assert_eq!(text, "--stream: `FEED` cannot be created: no; see --stream-replicas");
    }
}

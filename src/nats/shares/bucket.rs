//! The bucket at the broker: opened, watched and written.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::kv::{Config, Operation, Store, Watch};
use async_nats::jetstream::stream::StorageType;
use async_nats::{Client, jetstream};
use bytes::Bytes;
use futures_core::Stream;
use tokio::time::{sleep, timeout};

use crate::nats::broker::Broker;
use crate::nats::error::Error;
use crate::nats::lease::Key;
use crate::nats::share::Outcome;

/// The bucket of the shares.
#[derive(Clone)]
pub(crate) struct Bucket {
    client: Client,
    store: Store,
    /// How long a request may take.
    limit: Duration,
}

/// An entry that a watch brings. An entry that was deleted by hand has no text.
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) text: String,
}

/// The time between two tries to open the bucket.
const RETRY: Duration = Duration::from_millis(500);

/// How long a try to open the bucket may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a refusal of the bucket is not final.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

impl Bucket {
    /// Opens the bucket or creates it, and tries again while the broker does not answer.
    pub(crate) async fn open(
        broker: &Broker,
        name: &str,
        lease: Duration,
    ) -> Result<Bucket, Error> {
        // A context of its own: publications that wait for their acknowledgement must not delay a renewal.
        let context = jetstream::new(broker.client.clone());
        let limit = lease / 3;
        let began = Instant::now();
        loop {
            let opened = open(&context, name, &broker.options.stream);
            match timeout(OPEN_TIMEOUT, opened).await {
                Ok(Ok(store)) => {
                    check(&store, lease)?;
                    let client = broker.client.clone();
                    return Ok(Bucket { client, store, limit });
                }
                // A cluster that has just been started refuses what it takes soon.
                Ok(Err(Some(why))) if began.elapsed() > STARTS_WITHIN => {
                    return Err(Error::Bucket { bucket: name.into(), why: why.into() });
                }
                // The broker does not answer.
                Ok(Err(_)) | Err(_) => sleep(RETRY).await,
            }
        }
    }

    /// Begins to watch all entries: first those that there are, then each that is written.
    pub(crate) async fn watch(&self) -> Option<Box<Watch>> {
        timeout(self.limit, self.store.watch_with_history(">")).await.ok()?.ok().map(Box::new)
    }

    /// Writes an entry if its revision is the expected one.
    pub(crate) async fn write(&self, key: Key, text: String, expected: Option<u64>) -> Outcome {
        // What is written to a connection that is lost is kept by the client and sent much later.
        if self.client.connection_state() != State::Connected {
            return Outcome::Unknown;
        }
        let (name, value) = (key.to_string(), Bytes::from(text));
        let write = async {
            match expected {
                None => self.store.put(&name, value).await.map_err(drop),
                Some(revision) => self.store.update(&name, value, revision).await.map_err(drop),
            }
        };
        match timeout(self.limit, write).await {
            Ok(Ok(revision)) => Outcome::Written(revision),
            // Whatever the reason is, the entry says what holds now.
            Ok(Err(())) => self.read(&name).await,
            Err(_) => Outcome::Unknown,
        }
    }

    /// Reads an entry, as the leader of the bucket has it.
    async fn read(&self, name: &str) -> Outcome {
        use async_nats::jetstream::stream::LastRawMessageErrorKind::NoMessageFound;

        let subject = format!("{}{name}", self.store.prefix);
        let read = self.store.stream.get_last_raw_message_by_subject(&subject);
        match timeout(self.limit, read).await {
            Ok(Ok(message)) => {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                Outcome::Conflict(Some((message.sequence, text)))
            }
            Ok(Err(err)) if err.kind() == NoMessageFound => Outcome::Conflict(None),
            _ => Outcome::Unknown,
        }
    }

    /// Removes an entry without a trace.
    pub(crate) async fn purge(&self, key: Key) {
        let purge = self.store.stream.purge().filter(format!("{}{key}", self.store.prefix));
        // Nothing depends on it, and the next member that starts tries it again.
        let _ = timeout(self.limit, purge).await;
    }
}

/// Opens a bucket or creates it. `None` if the broker did not answer.
async fn open(
    context: &jetstream::Context,
    name: &str,
    stream: &str,
) -> Result<Store, Option<String>> {
    if let Ok(store) = context.get_key_value(name).await {
        return Ok(store);
    }
    // As many nodes have the leases as have what is published.
    let stream = context.get_stream(stream).await.map_err(|_| None)?;
    let config = Config {
        bucket: name.to_owned(),
        description: "leases of the shares of a feed".to_owned(),
        history: 1,
        storage: StorageType::File,
        num_replicas: stream.cached_info().config.num_replicas,
        ..Config::default()
    };
    match context.create_key_value(config).await {
        Ok(store) => Ok(store),
        Err(err) => {
            use async_nats::jetstream::context::CreateKeyValueErrorKind::{JetStream, TimedOut};
            let is_away = matches!(err.kind(), JetStream | TimedOut);
            // Another process may have created it at the same moment.
            match context.get_key_value(name).await {
                Ok(store) => Ok(store),
                Err(_) if is_away => Err(None),
                Err(_) => Err(Some(format!("cannot be created: {err}"))),
            }
        }
    }
}

/// Refuses a bucket that forgets leases.
fn check(store: &Store, lease: Duration) -> Result<(), Error> {
    let config = &store.stream.cached_info().config;
    let refuse =
        |why: &str| Err(Error::Bucket { bucket: store.name.as_str().into(), why: why.into() });
    if !config.max_age.is_zero() && config.max_age < lease * 10 {
        return refuse(
            "removes entries by their age before a lease can have expired: remove its TTL",
        );
    }
    if config.mirror.is_some() {
        return refuse("is a mirror: expected the bucket itself");
    }
    Ok(())
}

/// Returns the next entry that is ours; `None` when the watch has ended.
pub(crate) async fn next(watch: &mut Option<Box<Watch>>) -> Option<Found> {
    let Some(stream) = watch else { return std::future::pending().await };
    loop {
        let entry = poll_fn(|cx| Pin::new(&mut **stream).poll_next(cx)).await?.ok()?;
        let Some(key) = Key::parse(&entry.key) else { continue };
        let is_put = entry.operation == Operation::Put;
        let text = if is_put {
            String::from_utf8_lossy(&entry.value).into_owned()
        } else {
            "nobody".into()
        };
        return Some(Found { key, revision: entry.revision, text });
    }
}

//! Reads the publications of the stream.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Message;
use futures_util::StreamExt;
use serde_json::Value;

use crate::broker::STREAM;
use crate::checker::Publication;
use crate::ledger::{Name, name, topic};

/// The most publications of one request.
const BATCH: usize = 5_000;

/// How long a request waits for the first publication.
const WAIT: Duration = Duration::from_millis(200);

/// A reader of the stream, from its beginning.
pub(crate) struct Reader {
    jetstream: Context,
    consumer: Option<PullConsumer>,
    /// The sequence of the newest publication that was read.
    at: u64,
    pub(crate) read: Vec<Publication>,
}

impl Reader {
    pub(crate) fn new(jetstream: &Context) -> Reader {
        Reader { jetstream: jetstream.clone(), consumer: None, at: 0, read: Vec::new() }
    }

    /// Reads on, as far as the stream answers. A consumer ends with the node that led it: then it is made anew.
    pub(crate) async fn read_on(&mut self) {
        if self.read_some().await.is_none() {
            self.consumer = None;
        }
    }

    /// Reads everything up to this sequence.
    pub(crate) async fn read_to(&mut self, last: u64) {
        crate::patience::until("the whole stream", async || {
            self.read_on().await;
            self.at >= last
        })
        .await;
    }

    async fn read_some(&mut self) -> Option<()> {
        if self.consumer.is_none() {
            self.consumer = Some(self.consume().await?);
        }
        let consumer = self.consumer.as_ref()?;
        loop {
            let batch = consumer.fetch().max_messages(BATCH).expires(WAIT).messages();
            let mut batch = batch.await.ok()?;
            let mut count = 0;
            while let Some(message) = batch.next().await {
                let message = message.ok()?;
                let info = message.info().expect("what the broker says of a message");
                if info.stream_sequence != self.at + 1 {
                    // Lost on the way with the consumer. The stream itself has no hole: nothing is ever deleted from it.
                    return None;
                }
                let stored_ms = (info.published.unix_timestamp_nanos() / 1_000_000) as u64;
                self.at = info.stream_sequence;
                self.read.push(parse(&message, stored_ms));
                count += 1;
            }
            if count < BATCH {
                return Some(());
            }
        }
    }

    async fn consume(&self) -> Option<PullConsumer> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.at + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        self.jetstream.create_consumer_on_stream(config, STREAM).await.ok()
    }
}

/// Parses a publication. What its subject and its headers say must be what its payload says.
fn parse(message: &Message, stored_ms: u64) -> Publication {
    let text = String::from_utf8_lossy(&message.payload);
    let payload: Value = serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"));
    let headers = message.headers.as_ref().expect("headers");
    let header = |name: &str| Some(headers.get(name)?.as_str().parse::<u64>().expect(name));
    let number = payload["seq"].as_u64().unwrap();
    assert_eq!(header("Feed-Last"), Some(number), "{headers:?} {text}");
    let topic = topic(payload["stream"].as_str().unwrap()).unwrap();
    assert_eq!(message.subject.as_str(), subject(topic), "{text}");
    Publication {
        topic,
        number,
        to: Name(payload["to"].as_str().unwrap().chars().next().unwrap()),
        generation: header("Feed-Generation").expect("a generation"),
        // Without shares there is none.
        fence: header("Feed-Fence").unwrap_or_default(),
        stored_ms,
    }
}

/// Returns the subject of a topic, whose name has a dot and a hyphen.
pub(crate) fn subject(topic: usize) -> String {
    format!("feed.{}", name(topic).replace('.', "%2E"))
}

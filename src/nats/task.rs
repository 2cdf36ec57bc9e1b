//! The task between the publications of a publisher and the broker.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_nats::client::PublishErrorKind;
use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::watch;

use crate::feed::Topic;
use crate::nats::broker::{Broker, Connection};
use crate::nats::generation::Now;
use crate::nats::lane::{Answer, Sent};
use crate::nats::lanes::{LaneId, Outgoing};
use crate::nats::options::Notice;
use crate::nats::shared::{Alive, Shared};
use crate::nats::subject::escape_to;
use crate::nats::wire;

/// The longest subject, in bytes. A line of the protocol has at most 4,096, and a longer one costs the connection.
const MAX_SUBJECT: usize = 2048;

/// How many answers are taken before something is sent again.
const ANSWERS_AT_ONCE: usize = 256;

/// How many messages are prepared under one lock.
const SENT_AT_ONCE: usize = 256;

/// Publishes until nobody has the publisher any more.
pub(crate) async fn run(broker: Broker, shared: Arc<Shared>, alive: Weak<Alive>) {
    let inbox = broker.client.new_inbox();
    // Fails only if the client has ended.
    let Ok(answers) = broker.client.subscribe(format!("{inbox}.*.*.*")).await else { return };
    let connection = broker.connection.clone();
    let mut task = Task {
        read_subject: format!("$JS.API.STREAM.MSG.GET.{}", broker.options.stream).into(),
        broker,
        inbox,
        shared: shared.clone(),
        alive,
        answers,
        connection,
        names: Vec::new(),
        outgoing: Vec::new(),
        received: Vec::new(),
    };
    task.set_connected();
    while task.turn().await {}
    shared.lock().is_over = true;
    shared.progress();
}

struct Task {
    broker: Broker,
    /// The subject of answers begins with it.
    inbox: String,
    /// What a question for the last message of a subject is sent to.
    read_subject: Subject,
    shared: Arc<Shared>,
    alive: Weak<Alive>,
    answers: Subscriber,
    connection: watch::Receiver<Connection>,
    /// By the number of the topic.
    names: Vec<Option<Name>>,
    outgoing: Vec<Envelope>,
    received: Vec<Message>,
}

/// A topic, as it is written.
struct Name {
    subject: Subject,
    /// Its token.
    token: String,
}

/// What is about to be sent.
struct Envelope {
    lane: LaneId,
    flight: u64,
    sent: Sent,
}

/// The kinds of answer, in the subject that they are sent to.
const READ: &str = "r";
const PUBLISHED: &str = "p";

impl Task {
    /// Sends what may be sent, and waits for what comes next. Returns `false` at the end.
    async fn turn(&mut self) -> bool {
        loop {
            self.prepare();
            if self.outgoing.is_empty() {
                break;
            }
            for envelope in std::mem::take(&mut self.outgoing) {
                if !self.send(envelope).await {
                    return false;
                }
            }
        }
        let (is_open, has_reconnected) = self.wait().await;
        if has_reconnected {
            self.set_connected();
        }
        self.take_answers();
        is_open && self.alive.strong_count() > 0
    }

    /// Collects what may be sent.
    fn prepare(&mut self) {
        let mut state = self.shared.lock();
        let now = now();
        let before = state.lanes.in_stream();
        while self.outgoing.len() < SENT_AT_ONCE
            && let Some(Outgoing { lane, flight, topic, sent }) = state.lanes.poll(now)
        {
            let at = lane as usize;
            if self.names.len() <= at {
                self.names.resize_with(at + 1, || None);
            }
            self.names[at].get_or_insert_with(|| Name::new(&self.broker, topic));
            self.outgoing.push(Envelope { lane, flight, sent: sent.clone() });
        }
        // What the stream has already waits no longer, and no answer follows.
        if state.lanes.in_stream() > before {
            state.note_progress(before, now.at);
            drop(state);
            self.shared.progress();
        }
    }

    /// Sends to the broker, or to the queue of the client. Returns `false` if that has ended.
    async fn send(&self, Envelope { lane, flight, sent }: Envelope) -> bool {
        let Some(Some(name)) = self.names.get(lane as usize) else { return true };
        if name.subject.len() > MAX_SUBJECT {
            self.handle(lane, flight, Answer::TooLarge);
            return true;
        }
        let kind = if sent == Sent::Read { READ } else { PUBLISHED };
        let reply = format!("{}.{kind}.{lane}.{flight}", self.inbox);
        let client = &self.broker.client;
        let result = match sent {
            Sent::Read => {
                let question = serde_json::json!({ "last_by_subj": name.subject.as_str() });
                let question = Bytes::from(question.to_string());
                client.publish_with_reply(self.read_subject.clone(), reply, question).await
            }
            Sent::Publication(publication) => {
                let headers = wire::headers(&name.token, &publication);
                let (subject, bytes) = (name.subject.clone(), publication.bytes);
                client.publish_with_reply_and_headers(subject, reply, headers, bytes).await
            }
        };
        match result.map_err(|err| err.kind()) {
            Ok(()) => true,
            Err(PublishErrorKind::Send) => false,
            Err(PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject) => {
                self.handle(lane, flight, Answer::TooLarge);
                true
            }
        }
    }

    fn handle(&self, lane: LaneId, flight: u64, answer: Answer) {
        self.shared.lock().lanes.handle(lane, flight, answer, now());
        self.shared.progress();
    }

    /// Waits for answers, for something to send, for a timeout, or for the connection. Returns whether the client is still
    /// there, and whether its connection has changed.
    async fn wait(&mut self) -> (bool, bool) {
        let timeout = self.shared.lock().lanes.poll_timeout();
        let timeout = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let Task { shared, answers, received, connection, .. } = self;
        let (mut changed, mut timeout) = (pin!(shared.changed.notified()), pin!(timeout));
        let mut connection = pin!(connection.changed());
        poll_fn(|task| {
            let is_open = receive(answers, received, task);
            let has_changed = connection.as_mut().poll(task).is_ready();
            let is_due =
                changed.as_mut().poll(task).is_ready() || timeout.as_mut().poll(task).is_ready();
            match is_open && received.is_empty() && !has_changed && !is_due {
                true => Poll::Pending,
                false => Poll::Ready((is_open, has_changed)),
            }
        })
        .await
    }

    fn set_connected(&mut self) {
        let is_open = self.connection.borrow_and_update().is_open;
        self.shared.lock().lanes.set_connected(is_open, Instant::now());
    }

    /// Takes the answers that were received.
    fn take_answers(&mut self) {
        if self.received.is_empty() {
            return;
        }
        let now = now();
        let mut failure = None;
        let mut is_stored = false;
        let mut state = self.shared.lock();
        let before = state.lanes.in_stream();
        for message in self.received.drain(..) {
            let mut words = message.subject.as_str()[self.inbox.len()..].split('.').skip(1);
            let (Some(kind), Some(Ok(lane)), Some(Ok(flight))) =
                (words.next(), words.next().map(str::parse), words.next().map(str::parse))
            else {
                continue;
            };
            let (answer, why) = match message.status {
                // Nobody has the stream: it was deleted, or its leader is lost.
                Some(StatusCode::NO_RESPONDERS) => (Answer::Failed, Some(NOBODY.to_owned())),
                _ if kind == READ => wire::last(&message.payload, &self.broker.clock, now.at),
                _ => wire::stored(&message.payload),
            };
            is_stored |= matches!(answer, Answer::Stored { .. });
            failure = why.or(failure);
            state.lanes.handle(lane, flight, answer, now);
        }
        state.note_progress(before, now.at);
        drop(state);
        self.shared.progress();
        self.report(failure, is_stored);
    }

    /// Reports why the broker takes no messages, once for each reason.
    fn report(&self, failure: Option<String>, is_stored: bool) {
        let mut state = self.shared.lock();
        let Some(why) = failure else {
            if is_stored {
                state.failure = None;
            }
            return;
        };
        if state.failure.as_deref() == Some(why.as_str()) {
            return;
        }
        let why: Arc<str> = why.into();
        state.failure = Some(why.clone());
        drop(state);
        tracing::warn!(%why, "the broker does not store messages");
        if let Some(notify) = &self.broker.options.on_notice {
            notify(Notice::NotStored { why });
        }
    }
}

/// What it means that a subject has no listener.
const NOBODY: &str = "no stream takes the subject: it was deleted or changed, or has no leader";

impl Name {
    fn new(broker: &Broker, topic: &Topic) -> Name {
        let mut token = String::new();
        escape_to(&mut token, topic);
        Name { subject: broker.subject.of(topic).into(), token }
    }
}

/// Receives the answers that have come. Returns `false` if there will be no more.
fn receive(answers: &mut Subscriber, received: &mut Vec<Message>, task: &mut Context<'_>) -> bool {
    while received.len() < ANSWERS_AT_ONCE {
        match Pin::new(&mut *answers).poll_next(task) {
            Poll::Ready(Some(message)) => received.push(message),
            Poll::Ready(None) => return false,
            Poll::Pending => break,
        }
    }
    true
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { at: Instant::now(), unix_ms: unix.as_millis() as u64 }
}

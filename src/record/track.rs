//! The channel of one connection in a recording.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::proto::codec::Way;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Fragment, Payload};
use crate::proto::messages::Messages;
use crate::record::item::{Contents, Item, Label};
use crate::record::shared::{Shared, nanoseconds};

/// Where a connection records. Each method returns at once: what finds no room in the queue is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    shared: Arc<Shared>,
    label: Arc<Label>,
}

impl Track {
    pub(super) fn new(shared: Arc<Shared>, name: Arc<str>, source: u64) -> Track {
        let id = shared.next_track();
        Track { shared, label: Arc::new(Label { id, name, source }) }
    }

    /// Records the messages of one read.
    #[cold]
    pub(crate) fn received(&self, epoch: u64, at: Instant, messages: &Messages) {
        self.push(epoch, at, Contents::Received(messages.clone()));
    }

    /// Records a fragment that was received.
    #[cold]
    pub(crate) fn fragment(&self, epoch: u64, at: Instant, fragment: &Fragment) {
        self.push(epoch, at, Contents::Fragment(fragment.clone()));
    }

    /// Records a message that was accepted for the socket; without its payload if that is secret.
    #[cold]
    pub(crate) fn sent(&self, epoch: u64, at: Instant, payload: &Payload, is_secret: bool) {
        let (is_text, length) = (payload.as_text().is_some(), payload.len());
        let contents = match is_secret {
            true => Contents::Hidden { is_text, length },
            false => Contents::Sent(payload.clone()),
        };
        self.push(epoch, at, contents);
    }

    /// Records a Ping or a Pong; one that was received with the time since the Ping that it answers.
    #[cold]
    pub(crate) fn control(
        &self,
        epoch: u64,
        at: Instant,
        way: Way,
        opcode: Opcode,
        payload: &ControlPayload,
        round_trip: Option<Duration>,
    ) {
        let payload = payload.clone().into_bytes();
        let round_trip = round_trip.map(nanoseconds);
        self.push(epoch, at, Contents::Control { way, opcode, payload, round_trip });
    }

    /// Returns a time as it is recorded: nanoseconds since the recorder was started.
    pub(crate) fn elapsed(&self, at: Instant) -> u64 {
        self.shared.elapsed(at)
    }

    /// Records an event, by its kind and as JSON.
    #[cold]
    pub(crate) fn event(&self, epoch: u64, at: Instant, kind: &'static str, json: String) {
        self.push(epoch, at, Contents::Event { kind, json });
    }

    fn push(&self, epoch: u64, at: Instant, contents: Contents) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds);
        let (label, at) = (self.label.clone(), self.shared.elapsed(at));
        self.shared.queue().push(Item { label, wall, at, epoch, contents });
    }
}

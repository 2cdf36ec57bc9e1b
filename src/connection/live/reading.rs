//! Reading: from the socket through the codec to the queue, with the replies that are owed.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::command::status::{Gauge, SourceId, Watch};
use crate::connection::live::Live;
use crate::delivery::{self, Delivery, Run};
use crate::dial::Link;
use crate::error::Error;
use crate::event;
use crate::proto::message::{ControlPayload, Incoming, Outgoing};

/// Whether more may come.
pub(super) enum ReadState {
    Open,
    /// The transport ended as it should: by FIN, or by TLS's close_notify.
    Eof,
    /// TLS ended without close_notify (RFC 8446, 6.1): anybody on the way may have cut it.
    Truncated,
}

/// Bytes that are read in one poll. Then others have their turn.
const BUDGET: usize = 128 << 10;

/// The least and the most that one read asks for.
pub(super) const MIN_CHUNK: usize = 4 << 10;
const MAX_CHUNK: usize = 64 << 10;

impl Live {
    /// Reads what may be read, and takes in every whole frame of it.
    ///
    /// # Errors
    /// What the transport says.
    pub(super) fn poll_read(
        &mut self,
        delivery: &mut Delivery,
        watch: &Watch,
        source: SourceId,
        cx: &mut Context<'_>,
    ) -> Result<ReadState, Error> {
        let mut budget = BUDGET;
        loop {
            while self.decode(delivery, watch, source) && !delivery.is_full(0, self.room()) {}
            if self.breach.as_ref().is_some_and(|breach| !breach.said) {
                return Ok(ReadState::Open);
            }
            if delivery.is_full(0, self.room()) {
                self.signs.stop_reading();
                return Ok(ReadState::Open);
            }
            self.signs.resume_reading(Instant::now());
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Ok(ReadState::Open);
            }
            let ask = self.chunk.max(self.codec.wanted().min(MAX_CHUNK));
            self.inbox.reserve(ask);
            let read = pin!(self.link.read_buf(&mut self.inbox));
            match read.poll(cx) {
                Poll::Pending => {
                    if self.inbox.is_empty() {
                        // An idle connection owns no read buffer.
                        self.inbox = BytesMut::new();
                        self.chunk = MIN_CHUNK;
                    }
                    return Ok(ReadState::Open);
                }
                Poll::Ready(Ok(0)) => return Ok(ReadState::Eof),
                Poll::Ready(Ok(count)) => {
                    self.took(count, watch);
                    budget = budget.saturating_sub(count);
                }
                Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(match self.link {
                        Link::Tls(_) => ReadState::Truncated,
                        Link::Plain(_) => ReadState::Eof,
                    });
                }
                Poll::Ready(Err(err)) => return Err(Error::Io(err.into())),
            }
        }
    }

    fn took(&mut self, count: usize, watch: &Watch) {
        let now = Instant::now();
        self.signs.byte.set(now);
        watch.add(Gauge::BytesIn, count as u64);
        watch.stamp(Gauge::LastByte, now.into_std());
        if count >= self.chunk {
            self.chunk = (self.chunk * 4).min(MAX_CHUNK);
        }
    }

    /// Takes whole frames out of the inbox, until more wait for the handlers than may: a read of
    /// 64 KiB can hold 32,768 pings. `true` if some may be left.
    fn decode(&mut self, delivery: &mut Delivery, watch: &Watch, source: SourceId) -> bool {
        if self.inbox.is_empty() {
            return false;
        }
        if self.breach.is_some() || self.session.is_done() {
            // Nothing that follows is looked at (RFC 6455, 1.4).
            self.inbox.clear();
            return false;
        }
        let room = self.room();
        let received = self.signs.byte.get().into_std();
        let mut run = Run { source, epoch: self.epoch, received, payloads: VecDeque::new() };
        let mut run_cost = 0;
        let more = loop {
            if delivery.is_full(run_cost, room) {
                break true;
            }
            match self.codec.decode(&mut self.inbox) {
                Ok(None) => break false,
                Ok(Some(Incoming::Message(payload))) => {
                    run_cost += delivery::cost(&payload);
                    run.payloads.push_back(payload);
                }
                Ok(Some(control)) => {
                    // A control frame parts a run, so that the order holds.
                    self.hand_on(&mut run, delivery, watch);
                    run_cost = 0;
                    self.control(control, delivery, watch, source);
                }
                Err(err) => {
                    if !self.session.is_closing() {
                        self.breach(err);
                    }
                    break false;
                }
            }
        };
        self.hand_on(&mut run, delivery, watch);
        more
    }

    /// Puts the messages of a run into the queue, and leaves it empty.
    fn hand_on(&self, run: &mut Run, delivery: &mut Delivery, watch: &Watch) {
        let payloads = std::mem::take(&mut run.payloads);
        if !payloads.is_empty() {
            self.signs.data.set(self.signs.byte.get());
            watch.add(Gauge::MessagesIn, payloads.len() as u64);
            delivery.push_run(Run { payloads, ..*run });
        }
    }

    fn control(
        &mut self,
        control: Incoming,
        delivery: &mut Delivery,
        watch: &Watch,
        source: SourceId,
    ) {
        match self.session.receive(&control) {
            Some(Outgoing::Pong(payload)) => self.writer.pong(&mut self.codec, payload),
            Some(close) => self.writer.close(&mut self.codec, close),
            None => {}
        }
        let epoch = self.epoch;
        match control {
            Incoming::Ping(payload) => delivery.push(event::Ping { source, epoch, payload }),
            Incoming::Pong(payload) => {
                let round_trip = self.round_trip(&payload);
                watch.stamp(Gauge::LastPong, self.signs.byte.get().into_std());
                if let Some(round_trip) = round_trip {
                    watch.set_span(Gauge::RoundTrip, round_trip);
                }
                delivery.push(event::Pong { source, epoch, payload, round_trip });
            }
            Incoming::Close(_) => self.end_within(self.close_timeout),
            _ => {}
        }
    }

    /// The time from the oldest ping with this payload. Older ones will not be answered any more
    /// (RFC 6455, 5.5.3).
    fn round_trip(&mut self, payload: &ControlPayload) -> Option<Duration> {
        let index = self.pings.iter().position(|(sent, _)| sent == payload)?;
        let (_, at) = self.pings.drain(..=index).next_back()?;
        Some(self.signs.byte.get().saturating_duration_since(at))
    }
}

//! What the connections of a shard's lines report, and what the feed asks for, as calls of the shard. Each is noted first if
//! the feed is recorded.

use actix::{Context, Handler};

use crate::command::status::OutcomeKind;
use crate::error::Verdict;
use crate::event;
use crate::feed::dialect::Dialect;
use crate::feed::input::{Broken, Ended, Opened, Stopped};
use crate::feed::line::{Line, now};
use crate::feed::shard::{Shard, ToShard};
use crate::proto::session::By;

impl<D: Dialect> Handler<event::Open> for Shard<D> {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Context<Shard<D>>) {
        let event::Open { source, epoch, connection, .. } = open;
        let Some(line) = self.lines.iter_mut().find(|line| line.source == source) else { return };
        let dial = line.uplink().and_then(|uplink| uplink.opened(connection));
        let Some(dial) = dial else { return };
        let (at, wall, share) = (now(), self.journal.wall(), rand::random());
        let opened = Opened { epoch, dial, at, wall, share };
        self.journal.opened(source, &opened);
        self.opened(source, opened);
    }
}

impl<D: Dialect> Handler<event::Batch> for Shard<D> {
    type Result = ();

    fn handle(&mut self, batch: event::Batch, _: &mut Context<Shard<D>>) {
        let (source, socket) = (batch.source, (batch.epoch, batch.received));
        self.journal.batch(source, socket, batch.len());
        self.batch(source, socket, batch.iter());
    }
}

impl<D: Dialect> Handler<event::Ping> for Shard<D> {
    type Result = ();

    fn handle(&mut self, ping: event::Ping, _: &mut Context<Shard<D>>) {
        let at = now();
        self.journal.control(ping.source, None, at);
        self.control(ping.source, None, at);
    }
}

impl<D: Dialect> Handler<event::Pong> for Shard<D> {
    type Result = ();

    /// A Pong that answers our Ping shows that one was sent.
    fn handle(&mut self, pong: event::Pong, _: &mut Context<Shard<D>>) {
        if pong.round_trip.is_some() {
            let at = now();
            self.journal.control(pong.source, pong.round_trip, at);
            self.control(pong.source, pong.round_trip, at);
        }
    }
}

impl<D: Dialect> Handler<event::Error> for Shard<D> {
    type Result = ();

    fn handle(&mut self, failed: event::Error, _: &mut Context<Shard<D>>) {
        let event::Error { source, error, next, .. } = failed;
        let mut uplinks = self.lines.iter_mut().filter(|line| line.source == source);
        let Some(uplink) = uplinks.next().and_then(Line::uplink) else { return };
        let is_asked_by_venue = matches!(
            error.verdict(),
            Verdict::Retry { at_least: Some(_), .. } | Verdict::Retry { from_cap: true, .. }
        );
        let (for_good, has_retired) = (uplink.take_failure(), uplink.has_retired());
        let (after, at) = (next.after(), now());
        let broken = Broken { error, after, is_asked_by_venue, for_good, has_retired, at };
        self.journal.broken(source, &broken);
        self.broken(source, broken);
    }
}

impl<D: Dialect> Handler<event::Close> for Shard<D> {
    type Result = ();

    fn handle(&mut self, close: event::Close, _: &mut Context<Shard<D>>) {
        let event::Close { source, code, reason, by, next, .. } = close;
        let mut lines = self.lines.iter_mut().filter(|line| line.source == source);
        let uplink = lines.next().and_then(Line::uplink);
        let has_retired = uplink.is_some_and(|uplink| uplink.has_retired());
        let by_peer = (by == By::Remote).then_some((code, reason));
        let ended = Ended { by_peer, after: next.after(), has_retired, at: now() };
        self.journal.closed(source, &ended);
        self.socket_closed(source, ended);
    }
}

impl<D: Dialect> Handler<event::State> for Shard<D> {
    type Result = ();

    fn handle(&mut self, state: event::State, _: &mut Context<Shard<D>>) {
        self.journal.phase(state.source, state.phase, now);
        self.phase(state.source, state.phase);
    }
}

impl<D: Dialect> Handler<event::Stopped> for Shard<D> {
    type Result = ();

    fn handle(&mut self, stopped: event::Stopped, _: &mut Context<Shard<D>>) {
        let error = stopped.outcome.error.as_ref().map(ToString::to_string);
        let (is_closed, at) = (stopped.outcome.kind == OutcomeKind::Closed, now());
        let how = Stopped { error, is_closed };
        self.journal.stopped(stopped.source, &how, at);
        self.stopped(stopped.source, how, at);
    }
}

impl<D: Dialect> Handler<ToShard<D::Item>> for Shard<D> {
    type Result = ();

    fn handle(&mut self, command: ToShard<D::Item>, _: &mut Context<Shard<D>>) {
        let at = now();
        self.journal.command(&command, at);
        self.command(command, at);
    }
}

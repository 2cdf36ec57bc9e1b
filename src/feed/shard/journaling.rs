//! The journal of a shard in a recording: its calls, in order, with all that they depend on but the messages, which are in the
//! channels of its lines. `feed/replay/note.rs` reads it.

use std::fmt::{Arguments, Write as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::command::status::{Phase, SourceId};
use crate::error::ConfigError;
use crate::feed::asking::Answer;
use crate::feed::input::{Broken, Ended, Opened, Sent, Stopped, Turn};
use crate::feed::intake::Intake;
use crate::feed::sequence::{Numbers, Sequence};
use crate::feed::shard::message::{ToShard, Wish};
use crate::feed::snapshot::{Resync, Stored};
use crate::feed::topic::ShardId;
use crate::feed::wall::Wall;
use crate::record::{Recorder, Track};

/// The version of the notes.
pub(crate) const FORMAT: u64 = 1;

/// Where the calls of a shard are noted; `None` if the feed is not recorded.
pub(super) struct Journal<T>(Option<Box<Notes<T>>>);

/// The calls since the last turn.
struct Notes<T> {
    track: Track,
    /// The numbers of the feed and of the shard.
    of: (u32, u32),
    /// Each is a JSON array, behind a comma.
    notes: String,
    /// The connections of the lines that were started, in order.
    lines: Vec<u64>,
    /// The time of the newest note.
    at: Instant,
    /// The number of snapshots that were asked for before the turn that is under way.
    asks: u64,
    /// Whether the newest note is that of a turn which has not ended.
    is_in_turn: bool,
    /// Why a replay cannot go on with these notes.
    cut: Option<String>,
    /// How the items of snapshots are stored, if the application said so.
    stored: Option<Stored<T>>,
}

impl<T: Clone + Send + 'static> Journal<T> {
    /// Creates the journal of a shard that begins now.
    pub(super) fn new(
        recording: Option<&(Recorder, u32)>,
        shard: ShardId,
        lines: u8,
        now: Instant,
    ) -> Journal<T> {
        Journal(recording.map(|(recorder, feed)| {
            let track = recorder.track(format!("feed {feed} shard {shard}").into(), 0);
            let mut notes = Notes {
                track,
                of: (*feed, shard.0),
                notes: String::new(),
                lines: Vec::new(),
                at: now,
                asks: 0,
                is_in_turn: false,
                cut: None,
                stored: None,
            };
            notes.note("start", now, format_args!(",{FORMAT},{lines}"));
            Box::new(notes)
        }))
    }

    /// Takes over how the items of snapshots are stored.
    pub(super) fn set_resync(&mut self, resync: &Resync<T>) {
        if let Some(notes) = &mut self.0 {
            notes.stored = resync.stored.clone();
        }
    }

    /// Returns the wall clock that a call reads, which is noted with it.
    #[inline]
    pub(super) fn wall(&self) -> Wall {
        if self.0.is_some() { Wall::At(SystemTime::now()) } else { Wall::Clock }
    }

    pub(super) fn started(&mut self, started: Result<SourceId, &ConfigError>) {
        let Some(notes) = &mut self.0 else { return };
        match started {
            Ok(source) => notes.lines.push(source.value()),
            Err(err) => notes.cut = Some(format!("a line could not be started: {err}")),
        }
    }

    pub(super) fn opened<D>(&mut self, source: SourceId, opened: &Opened<D>) {
        let Some(notes) = &mut self.0 else { return };
        let Opened { epoch, dial, at, wall, share } = opened;
        let (source, wall, share) = (source.value(), unix(*wall), share.to_bits());
        let rest = format_args!(",{source},{epoch},{},{wall},{share}", dial.attempt);
        notes.note("open", *at, rest);
    }

    #[inline]
    pub(super) fn batch(
        &mut self,
        source: SourceId,
        (epoch, received): (u64, Instant),
        len: usize,
    ) {
        if let Some(notes) = &mut self.0 {
            notes.note("batch", received, format_args!(",{},{epoch},{len}", source.value()));
        }
    }

    pub(super) fn control(&mut self, source: SourceId, trip: Option<Duration>, now: Instant) {
        let Some(notes) = &mut self.0 else { return };
        notes.note("control", now, format_args!(",{},{}", source.value(), nanos(trip)));
    }

    pub(super) fn broken(&mut self, source: SourceId, broken: &Broken) {
        let Some(notes) = &mut self.0 else { return };
        let Broken { error, after, is_asked_by_venue, for_good, has_retired, at } = broken;
        let rest = json!([
            error.stage(),
            error.to_string(),
            nanos(*after),
            is_asked_by_venue,
            for_good.as_deref(),
            has_retired
        ]);
        notes.note("error", *at, format_args!(",{},{rest}", source.value()));
    }

    pub(super) fn closed(&mut self, source: SourceId, ended: &Ended) {
        let Some(notes) = &mut self.0 else { return };
        let Ended { by_peer, after, has_retired, at } = ended;
        let by_peer = by_peer.as_ref().map(|(code, reason)| json!([code.value(), &**reason]));
        let rest = json!([by_peer, nanos(*after), has_retired]);
        notes.note("close", *at, format_args!(",{},{rest}", source.value()));
    }

    pub(super) fn phase(&mut self, source: SourceId, phase: Phase, now: impl Fn() -> Instant) {
        let Some(notes) = &mut self.0 else { return };
        // No other one changes anything.
        if matches!(phase, Phase::Connecting | Phase::Closing | Phase::Paused) {
            notes.note("phase", now(), format_args!(",{},\"{phase}\"", source.value()));
        }
    }

    pub(super) fn stopped(&mut self, source: SourceId, how: &Stopped, now: Instant) {
        let Some(notes) = &mut self.0 else { return };
        let (error, is_closed) = (json!(how.error), how.is_closed);
        notes.note("stopped", now, format_args!(",{},{error},{is_closed}", source.value()));
    }

    pub(super) fn command(&mut self, command: &ToShard<T>, now: Instant) {
        let Some(notes) = &mut self.0 else { return };
        let topics = |wishes: &[Wish<T>]| -> Value {
            wishes.iter().map(|wish| wish.topic.as_str()).collect()
        };
        match command {
            ToShard::Add(wishes) => notes.note("add", now, format_args!(",{}", topics(wishes))),
            ToShard::Remove(wishes) => {
                notes.note("remove", now, format_args!(",{}", topics(wishes)));
            }
            ToShard::Pause => notes.note("pause", now, format_args!("")),
            ToShard::Resume => notes.note("resume", now, format_args!("")),
            ToShard::Rotate => notes.note("rotate", now, format_args!("")),
            ToShard::Refuse(lines) => notes.note("refuse", now, format_args!(",{lines}")),
            ToShard::Close(_) => notes.note("end", now, format_args!("")),
            ToShard::Resync(topic) => {
                notes.note("resync", now, format_args!(",{}", json!(topic.as_str())));
            }
            ToShard::Status(_) => {}
        }
    }

    /// Notes what a turn has found outside, just before it.
    #[inline]
    pub(super) fn turn(&mut self, turn: &Turn<T>, intake: &Intake<T>) {
        if let Some(notes) = &mut self.0 {
            notes.turn(turn, intake);
        }
    }

    /// Notes how a turn has ended.
    #[inline]
    pub(super) fn end_turn(&mut self, holds: bool, intake: &Intake<T>) {
        if let Some(notes) = &mut self.0 {
            let asks = intake.asks() - notes.asks;
            // It has no string: it cannot fail.
            let _ = write!(notes.notes, ",{},{asks}]", u8::from(holds));
            notes.is_in_turn = false;
        }
    }

    /// Passes the notes on to the recorder.
    #[inline]
    pub(super) fn flush(&mut self) {
        self.0.iter_mut().for_each(|notes| notes.flush());
    }
}

impl<T> Notes<T> {
    fn begin(&mut self, kind: &str, at: Instant) {
        self.at = at;
        let at = self.track.elapsed(at);
        // To memory: it cannot fail.
        let _ = write!(self.notes, ",[\"{kind}\",{at}");
    }

    fn note(&mut self, kind: &str, at: Instant, rest: Arguments<'_>) {
        self.begin(kind, at);
        let _ = self.notes.write_fmt(rest);
        self.notes.push(']');
    }

    fn turn(&mut self, turn: &Turn<T>, intake: &Intake<T>)
    where
        T: Clone + Send + 'static,
    {
        self.asks = intake.asks();
        let answers: Option<Vec<Value>> =
            turn.answers.iter().map(|answer| self.answer(answer.as_ref())).collect();
        if answers.is_none() {
            let why =
                "it has a snapshot of Resync::with, which is recorded with Resync::stored alone";
            self.cut = Some(why.to_owned());
        }
        self.turn_of(turn, &answers.unwrap_or_default());
    }

    fn turn_of(&mut self, turn: &Turn<T>, answers: &[Value]) {
        self.is_in_turn = true;
        self.begin("turn", turn.now);
        let _ = write!(self.notes, ",{}", unix(turn.wall));
        let Turn { limits, sent, overruns, .. } = turn;
        if limits.is_empty() && sent.is_empty() && overruns.is_empty() && answers.is_empty() {
            self.notes.push_str(",null");
            return;
        }
        let limits: Vec<Value> = limits
            .iter()
            .map(|(source, limit)| json!([source.value(), limit.to_string()]))
            .collect();
        let sent = |Sent { source, room, unsent }: &Sent| json!([source.value(), room, unsent]);
        let sent: Vec<Value> = turn.sent.iter().map(sent).collect();
        let overruns: Vec<&str> = overruns.iter().map(|topic| topic.as_str()).collect();
        let _ = write!(self.notes, ",{}", json!([limits, sent, overruns, answers]));
    }

    /// Returns an answer as JSON; `None` if its item cannot be stored.
    fn answer(&self, answer: Option<&Answer<T>>) -> Option<Value> {
        let Some(Answer { topic, ask, result }) = answer else { return Some(Value::Null) };
        let result = match result {
            Ok((sequence, item)) => {
                let bytes = (self.stored.as_ref()?.write)(item);
                json!([numbers(*sequence), STANDARD.encode(bytes)])
            }
            Err(failure) => json!([&*failure.reason, failure.for_good]),
        };
        let is_ok = answer.is_some_and(|answer| answer.result.is_ok());
        Some(json!([topic.as_str(), ask.slot, ask.round, ask.is_first, is_ok, result]))
    }

    fn flush(&mut self) {
        if self.notes.is_empty() {
            return;
        }
        let ((feed, shard), lines, notes) = (self.of, json!(self.lines), &self.notes[1..]);
        let cut = self.cut.as_ref().map(|why| format!("\"cut\":{},", json!(why)));
        let cut = cut.unwrap_or_default();
        let json = format!(
            "{{\"feed\":{feed},\"shard\":{shard},\"lines\":{lines},{cut}\"notes\":[{notes}]}}"
        );
        self.track.event(0, self.at, "step", json);
        self.notes.clear();
        self.lines.clear();
    }
}

impl<T> Drop for Notes<T> {
    /// The thread may end before the shard does: by a panic in a turn too, whose note is not whole then.
    fn drop(&mut self) {
        if !self.is_in_turn {
            self.flush();
        }
    }
}

/// Returns the kind of a number, its parts, and whether it begins anew.
fn numbers(Sequence { kind, restarted }: Sequence) -> Value {
    let (kind, first, last) = match kind {
        Numbers::None => ("none", 0, 0),
        Numbers::Contiguous { first, last } => ("contiguous", first, last),
        Numbers::Chained { previous, this } => ("chained", previous, this),
        Numbers::Rising(number) => ("rising", number, 0),
        Numbers::Id(number) => ("id", number, 0),
    };
    json!([kind, first, last, restarted])
}

/// Returns a time as nanoseconds since 1970.
fn unix(wall: Wall) -> u64 {
    let since = wall.time().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a duration as nanoseconds, or `null`.
fn nanos(duration: Option<Duration>) -> Value {
    json!(duration.map(|it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX)))
}

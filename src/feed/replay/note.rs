//! The notes of a shard, as `feed/shard/journaling.rs` writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use serde_json::Value;

use crate::budget::Limit;
use crate::command::status::{Phase, SourceId};
use crate::error::Error;
use crate::feed::dialect::Failure;
use crate::feed::input::Stopped;
use crate::feed::resync::SnapshotAsk;
use crate::feed::sequence::Sequence;
use crate::feed::topic::Topic;
use crate::proto::close::CloseCode;

/// What a shard did from one turn to the next.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) feed: u32,
    pub(super) shard: u32,
    /// The connections of the lines that it started, in order.
    pub(super) lines: Vec<u64>,
    pub(super) notes: Vec<Note>,
}

/// One call of a shard.
#[derive(Debug)]
pub(super) struct Note {
    /// The time since the recorder was started.
    pub(super) at: Duration,
    pub(super) call: Call,
}

/// The calls. `source` is the number of a connection.
#[derive(Debug)]
pub(super) enum Call {
    Start {
        format: u64,
        lines: u64,
    },
    Open {
        source: SourceId,
        epoch: u64,
        attempt: u32,
        wall: SystemTime,
        share: f64,
    },
    Batch {
        source: SourceId,
        epoch: u64,
        count: usize,
    },
    Control {
        source: SourceId,
        round_trip: Option<Duration>,
    },
    Error {
        source: SourceId,
        broken: Box<Broken>,
    },
    Close {
        source: SourceId,
        by_peer: Option<(CloseCode, ByteString)>,
        after: Option<Duration>,
        has_retired: bool,
    },
    Phase {
        source: SourceId,
        phase: Phase,
    },
    Stopped {
        source: SourceId,
        how: Stopped,
    },
    Add(Vec<Topic>),
    Remove(Vec<Topic>),
    Pause,
    Resume,
    Rotate,
    Refuse(u64),
    End,
    Resync(Topic),
    Turn {
        wall: SystemTime,
        found: Box<Found>,
        holds: bool,
        asks: u64,
    },
}

/// A failure, as in `input::Broken`.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: Error,
    pub(super) after: Option<Duration>,
    pub(super) is_asked_by_venue: bool,
    pub(super) for_good: Option<String>,
    pub(super) has_retired: bool,
}

/// What a turn has found outside, as in `input::Turn`.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) limits: Vec<(SourceId, Limit)>,
    pub(super) sent: Vec<(SourceId, usize, Option<String>)>,
    pub(super) overruns: Vec<Topic>,
    pub(super) answers: Vec<Option<Answer>>,
}

/// The answer of the closure of `Resync::with`.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) topic: Topic,
    pub(super) ask: SnapshotAsk,
    /// The number, and the bytes of the item.
    pub(super) result: Result<(Sequence, Vec<u8>), Failure>,
}

/// The parts of a note, one after the other.
struct Parts<'v>(std::slice::Iter<'v, Value>);

/// Parses a step. The error says what is wrong.
pub(super) fn parse(event: &Value) -> Result<Result<Step, String>, String> {
    let number = |key: &str| {
        let number = event[key].as_u64().and_then(|it| u32::try_from(it).ok());
        number.ok_or_else(|| format!("a step without `{key}`"))
    };
    if let Some(why) = event["cut"].as_str() {
        return Ok(Err(why.to_owned()));
    }
    let list = |key: &str| event[key].as_array().ok_or_else(|| format!("a step without `{key}`"));
    let lines = list("lines")?.iter().filter_map(Value::as_u64).collect();
    let note = |value: &Value| note(value).ok_or_else(|| format!("the note {value} is not known"));
    let notes: Result<Vec<Note>, String> = list("notes")?.iter().map(note).collect();
    Ok(Ok(Step { feed: number("feed")?, shard: number("shard")?, lines, notes: notes? }))
}

fn note(value: &Value) -> Option<Note> {
    let mut parts = Parts(value.as_array()?.iter());
    let kind = parts.next()?.as_str()?;
    let at = Duration::from_nanos(parts.number()?);
    let call = parts.call(kind)?;
    Some(Note { at, call })
}

impl<'v> Parts<'v> {
    fn next(&mut self) -> Option<&'v Value> {
        self.0.next()
    }

    fn number(&mut self) -> Option<u64> {
        self.next()?.as_u64()
    }

    fn source(&mut self) -> Option<SourceId> {
        self.number().map(SourceId::recorded)
    }

    fn flag(&mut self) -> Option<bool> {
        self.next()?.as_bool()
    }

    fn duration(&mut self) -> Option<Option<Duration>> {
        Some(self.next()?.as_u64().map(Duration::from_nanos))
    }

    fn wall(&mut self) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_nanos(self.number()?))
    }

    fn text(&mut self) -> Option<Option<String>> {
        Some(self.next()?.as_str().map(str::to_owned))
    }

    fn topics(&mut self) -> Option<Vec<Topic>> {
        let topics = self.next()?.as_array()?.iter();
        topics.map(|topic| topic.as_str().map(Topic::from)).collect()
    }

    fn parts(&mut self) -> Option<Parts<'v>> {
        Some(Parts(self.next()?.as_array()?.iter()))
    }

    fn call(&mut self, kind: &str) -> Option<Call> {
        Some(match kind {
            "start" => Call::Start { format: self.number()?, lines: self.number()? },
            "open" => Call::Open {
                source: self.source()?,
                epoch: self.number()?,
                attempt: u32::try_from(self.number()?).ok()?,
                wall: self.wall()?,
                share: f64::from_bits(self.number()?),
            },
            "batch" => Call::Batch {
                source: self.source()?,
                epoch: self.number()?,
                count: usize::try_from(self.number()?).ok()?,
            },
            "control" => Call::Control { source: self.source()?, round_trip: self.duration()? },
            "error" => {
                Call::Error { source: self.source()?, broken: Box::new(self.parts()?.broken()?) }
            }
            "close" => {
                let (source, mut rest) = (self.source()?, self.parts()?);
                let by_peer = match rest.next()? {
                    Value::Null => None,
                    value => Some(frame(value)?),
                };
                let (after, has_retired) = (rest.duration()?, rest.flag()?);
                Call::Close { source, by_peer, after, has_retired }
            }
            "phase" => Call::Phase { source: self.source()?, phase: phase(self.next()?)? },
            "stopped" => {
                let (source, error, is_closed) = (self.source()?, self.text()?, self.flag()?);
                Call::Stopped { source, how: Stopped { error, is_closed } }
            }
            "add" => Call::Add(self.topics()?),
            "remove" => Call::Remove(self.topics()?),
            "pause" => Call::Pause,
            "resume" => Call::Resume,
            "rotate" => Call::Rotate,
            "refuse" => Call::Refuse(self.number()?),
            "end" => Call::End,
            "resync" => Call::Resync(self.text()??.into()),
            "turn" => {
                let (wall, found) = (self.wall()?, self.next()?);
                let found = if found.is_null() { Found::default() } else { found_of(found)? };
                let (holds, asks) = (self.number()? != 0, self.number()?);
                Call::Turn { wall, found: Box::new(found), holds, asks }
            }
            _ => return None,
        })
    }

    fn broken(mut self) -> Option<Broken> {
        let (stage, text) = (self.text()??, self.text()??);
        Some(Broken {
            error: Error::recorded(&stage, &text),
            after: self.duration()?,
            is_asked_by_venue: self.flag()?,
            for_good: self.text()?,
            has_retired: self.flag()?,
        })
    }

    fn answer(mut self) -> Option<Answer> {
        let topic = Topic::from(self.text()??);
        let (slot, round) = (u32::try_from(self.number()?).ok()?, self.number()?);
        let (is_first, is_ok, mut rest) = (self.flag()?, self.flag()?, self.parts()?);
        let ask = SnapshotAsk { slot, round: u32::try_from(round).ok()?, is_first };
        let result = if is_ok {
            let sequence = rest.parts()?.sequence()?;
            Ok((sequence, STANDARD.decode(rest.next()?.as_str()?).ok()?))
        } else {
            let (reason, for_good) = (rest.text()??, rest.flag()?);
            let failure = Failure::new(reason);
            Err(if for_good { failure.for_good() } else { failure })
        };
        Some(Answer { topic, ask, result })
    }

    fn sequence(mut self) -> Option<Sequence> {
        let (kind, first, last) = (self.next()?.as_str()?, self.number()?, self.number()?);
        let sequence = match kind {
            "none" => Sequence::none(),
            "contiguous" => Sequence::contiguous(first, last),
            "chained" => Sequence::chained(first, last),
            "rising" => Sequence::rising(first),
            "id" => Sequence::id(first),
            _ => return None,
        };
        Some(if self.flag()? { sequence.restarted() } else { sequence })
    }
}

fn frame(value: &Value) -> Option<(CloseCode, ByteString)> {
    let code = u16::try_from(value[0].as_u64()?).ok()?;
    Some((CloseCode::from(code), ByteString::from(value[1].as_str()?)))
}

fn phase(value: &Value) -> Option<Phase> {
    let text = value.as_str()?;
    [Phase::Connecting, Phase::Closing, Phase::Paused].into_iter().find(|it| it.to_string() == text)
}

fn limit(value: &Value) -> Option<Limit> {
    let (text, all) =
        (value.as_str()?, [Limit::Dials, Limit::Sockets, Limit::RetryAfter, Limit::Probe]);
    all.into_iter().find(|it| it.to_string() == text)
}

fn found_of(value: &Value) -> Option<Found> {
    let mut parts = Parts(value.as_array()?.iter());
    let (mut limits, mut sent, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for value in parts.next()?.as_array()? {
        let mut limited = Parts(value.as_array()?.iter());
        limits.push((limited.source()?, limit(limited.next()?)?));
    }
    for value in parts.next()?.as_array()? {
        let mut line = Parts(value.as_array()?.iter());
        let (source, room) = (line.source()?, usize::try_from(line.number()?).ok()?);
        sent.push((source, room, line.text()?));
    }
    let overruns = parts.topics()?;
    for value in parts.next()?.as_array()? {
        let answer =
            if value.is_null() { None } else { Some(Parts(value.as_array()?.iter()).answer()?) };
        answers.push(answer);
    }
    Some(Found { limits, sent, overruns, answers })
}

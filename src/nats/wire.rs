//! What a publication looks like to the broker, and what its answers mean.

use std::time::{Duration, Instant, SystemTime};

use async_nats::datetime::parse_rfc3339;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::nats::generation::{Last, Number};
use crate::nats::lane::{Answer, Publication};

/// The headers of a publication, beside the subject, which has the topic.
const MSG_ID: HeaderName = HeaderName::from_static("Nats-Msg-Id");
const FOLLOWS: HeaderName = HeaderName::from_static("Nats-Expected-Last-Subject-Sequence");
const GENERATION: HeaderName = HeaderName::from_static("Feed-Generation");
/// Left out if it is the last one too.
const FIRST: HeaderName = HeaderName::from_static("Feed-First");
const LAST: HeaderName = HeaderName::from_static("Feed-Last");
/// `1` for the whole state of the topic, otherwise left out.
const SNAPSHOT: HeaderName = HeaderName::from_static("Feed-Snapshot");
/// `1` for a number without an order, otherwise left out.
const UNORDERED: HeaderName = HeaderName::from_static("Feed-Unordered");
/// Left out without shares.
const FENCE: HeaderName = HeaderName::from_static("Feed-Fence");

/// Error codes of JetStream.
const WRONG_LAST_SEQUENCE: u64 = 10071;
const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10054;
const NO_MESSAGE_FOUND: u64 = 10037;

/// Returns the headers of a publication. `token` is its topic, escaped.
pub(crate) fn headers(token: &str, publication: &Publication) -> HeaderMap {
    let Publication { number, generation, follows, fence, .. } = publication;
    let mut headers = HeaderMap::new();
    headers.insert(FOLLOWS, HeaderValue::from(*follows));
    let (first, last, mark) = match number {
        Number::None => (None, None, ""),
        Number::Id(id) => (None, Some(*id), ""),
        Number::Ordered { first, last, snapshot } => {
            let mark = if *snapshot { "s" } else { "" };
            (Some(*first).filter(|first| first != last), Some(*last), mark)
        }
    };
    if let (Some(generation), Some(last)) = (generation, last) {
        headers.insert(MSG_ID, format!("{token}/{generation}/{last}{mark}"));
        headers.insert(GENERATION, HeaderValue::from(*generation));
        headers.insert(LAST, HeaderValue::from(last));
    }
    if let Some(first) = first {
        headers.insert(FIRST, HeaderValue::from(first));
    }
    if !mark.is_empty() {
        headers.insert(SNAPSHOT, "1");
    }
    if matches!(number, Number::Id(_)) {
        headers.insert(UNORDERED, "1");
    }
    if *fence > 0 {
        headers.insert(FENCE, HeaderValue::from(*fence));
    }
    headers
}

/// Returns what the answer to a publication means, and the reason if the broker could not take it.
pub(crate) fn stored(payload: &[u8]) -> (Answer, Option<String>) {
    let answer: Value = serde_json::from_slice(payload).unwrap_or_default();
    if let Some(sequence) = answer["seq"].as_u64().filter(|sequence| *sequence > 0) {
        let is_duplicate = answer["duplicate"].as_bool().unwrap_or(false);
        return (Answer::Stored { sequence, is_duplicate }, None);
    }
    match answer["error"]["err_code"].as_u64() {
        Some(WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_CONSTANT) => (Answer::WrongLast, None),
        Some(MESSAGE_EXCEEDS_MAXIMUM) => (Answer::TooLarge, None),
        _ => (Answer::Failed, Some(reason(&answer))),
    }
}

/// Returns what the answer to a question for the last message means, and the reason if there is no answer to it.
pub(crate) fn last(payload: &[u8], clock: &BrokerClock, now: Instant) -> (Answer, Option<String>) {
    let answer: Value = serde_json::from_slice(payload).unwrap_or_default();
    let message = &answer["message"];
    if let Some(sequence) = message["seq"].as_u64() {
        let stored_at = message["time"].as_str().and_then(parse_time);
        let stored_at = stored_at.map_or(now, |time| clock.instant(time, now));
        return (Answer::Last(Some(read_last(message, sequence, stored_at))), None);
    }
    if answer["error"]["err_code"].as_u64() == Some(NO_MESSAGE_FOUND) {
        return (Answer::Last(None), None);
    }
    (Answer::Failed, Some(reason(&answer)))
}

/// Reads a message as [`headers`] describes it. One of another publisher has a sequence alone.
fn read_last(message: &Value, sequence: u64, stored_at: Instant) -> Last {
    let text = message["hdrs"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let header = |name: &HeaderName| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| *key == AsRef::<str>::as_ref(name));
        values.next().and_then(|(_, value)| value.trim().parse::<u64>().ok())
    };
    let number = header(&LAST).filter(|_| header(&UNORDERED).is_none());
    Last {
        sequence,
        stored_at,
        generation: header(&GENERATION),
        number: number.map(|last| (last, header(&SNAPSHOT).is_some())),
        fence: header(&FENCE).unwrap_or(0),
    }
}

/// Returns the broker's own words for an error.
pub(crate) fn reason(answer: &Value) -> String {
    let error = &answer["error"];
    match (error["description"].as_str(), error["err_code"].as_u64()) {
        (Some(description), Some(code)) => format!("{description} ({code})"),
        (Some(description), None) => description.to_owned(),
        _ => "an answer that is none of JetStream".to_owned(),
    }
}

/// Reads a time as JetStream writes it.
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    parse_rfc3339(text).ok().map(SystemTime::from)
}

/// The clock of the broker, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokerClock {
    /// A time of day of the broker.
    pub(crate) time: SystemTime,
    /// When it was that.
    pub(crate) at: Instant,
}

impl BrokerClock {
    /// Returns when it was this time by the broker's clock; now at the latest.
    fn instant(&self, time: SystemTime, now: Instant) -> Instant {
        let broker_now = self.time + now.saturating_duration_since(self.at);
        let age = broker_now.duration_since(time).unwrap_or(Duration::ZERO);
        // An age of before the machine was started cannot be told apart from an hour.
        now.checked_sub(age).or_else(|| now.checked_sub(HOUR)).unwrap_or(now)
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn publication(number: Number) -> Publication {
        let generation = (number != Number::None).then_some(7);
        Publication { number, generation, bytes: Bytes::new(), follows: 41, fence: 0 }
    }

    /// The headers as they are written, sorted.
    fn written(publication: &Publication) -> Vec<String> {
        let headers = headers("a%2Eb", publication);
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, values)| format!("{}: {}", AsRef::<str>::as_ref(name), values[0].as_str()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_publication_says_what_it_is_and_what_it_follows() {
        let ordered = |first, snapshot| publication(Number::Ordered { first, last: 9, snapshot });
        let follows = "Nats-Expected-Last-Subject-Sequence: 41";
        let plain = ["Feed-Generation: 7", "Feed-Last: 9", follows, "Nats-Msg-Id: a%2Eb/7/9"];
        assert_eq!(written(&ordered(9, false)), plain);
        let range = written(&Publication { fence: 3, ..ordered(5, false) });
        assert_eq!(range[..2], ["Feed-Fence: 3", "Feed-First: 5"]);
        assert_eq!(range[2..], plain);
        let snapshot = written(&ordered(9, true));
        assert_eq!(snapshot[2..], ["Feed-Snapshot: 1", follows, "Nats-Msg-Id: a%2Eb/7/9s"]);
        let id = written(&publication(Number::Id(9)));
        assert_eq!(id[2..], ["Feed-Unordered: 1", follows, "Nats-Msg-Id: a%2Eb/7/9"]);
        assert_eq!(written(&publication(Number::None)), [follows]);
    }

    #[test]
    fn answers_of_a_broker_are_understood() {
        let answer = |text: &str| stored(text.as_bytes());
        let taken = |sequence, is_duplicate| (Answer::Stored { sequence, is_duplicate }, None);
        assert_eq!(answer(r#"{"stream":"FEED","seq":1}"#), taken(1, false));
        assert_eq!(answer(r#"{"stream":"FEED","seq":2,"duplicate": true}"#), taken(2, true));
        for code in [10071, 10164] {
            let text = format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"wrong last sequence: 1"}},"stream":"FEED","seq":0}}"#
            );
            assert_eq!(answer(&text), (Answer::WrongLast, None));
        }
        let text = r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        assert_eq!(answer(text), (Answer::TooLarge, None));
        let text =
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#;
        assert_eq!(answer(text), (Answer::Failed, Some("maximum bytes exceeded (10077)".into())));
        let none = "an answer that is none of JetStream";
        assert_eq!(answer("+OK"), (Answer::Failed, Some(none.into())));
    }

    #[test]
    fn the_last_message_of_a_subject_is_read() {
        let now = Instant::now() + HOUR;
        let time = |text| parse_time(text).unwrap();
        let clock = BrokerClock { time: time("2026-11-30T07:00:10Z"), at: now };
        let read = |headers: &str, time: &str| {
            let headers = STANDARD.encode(format!("NATS/1.0\r\n{headers}\r\n"));
            let text = format!(
                r#"{{"type":"x","message":{{"subject":"feed.a","seq":40,"hdrs":"{headers}","data":"eA==","time":"{time}"}}}}"#
            );
            match last(text.as_bytes(), &clock, now) {
                (Answer::Last(Some(last)), None) => last,
                other => panic!("{other:?}"),
            }
        };
        let ours = "Nats-Msg-Id: a/7/9s\r\nFeed-Generation: 7\r\nFeed-Last: 9\r\nFeed-Snapshot: 1\r\nFeed-Fence: 3\r\n";
        let expected = Last {
            sequence: 40,
            stored_at: now - Duration::from_millis(500),
            generation: Some(7),
            number: Some((9, true)),
            fence: 3,
        };
        assert_eq!(read(ours, "2026-11-30T07:00:09.5Z"), expected);
        let ids = read("Feed-Generation: 7\r\nFeed-Last: 9\r\nFeed-Unordered: 1\r\n", "?");
        assert_eq!((ids.generation, ids.number, ids.stored_at), (Some(7), None, now));
        let other = read("", "2026-11-30T07:00:11Z");
        assert_eq!(
            (other.generation, other.number, other.fence, other.stored_at),
            (None, None, 0, now)
        );
        let none = r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
        assert_eq!(last(none.as_bytes(), &clock, now), (Answer::Last(None), None));
        let gone = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let (answer, why) = last(gone.as_bytes(), &clock, now);
        assert_eq!((answer, why.as_deref()), (Answer::Failed, Some("stream not found (10059)")));
    }
}

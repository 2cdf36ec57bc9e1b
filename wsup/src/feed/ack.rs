//! How a subscription is confirmed, and what is data.

use actix_ws_client::feed;
use serde_json::Value;

use crate::condition::Condition;
use crate::feed::login::{Refused, condition};
use crate::feed::section::{Found, Wrong};
use crate::pointer::Pointer;
use crate::template::{Places, Template};

/// `[ack]`.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) by: By,
    /// What else has to hold for a message to be one.
    pub(crate) when: Option<Condition>,
    /// The value that names the topic on this socket.
    pub(crate) key: Option<Pointer>,
    pub(crate) refused: Option<Refused>,
}

/// How an acknowledgement is matched with its request.
#[derive(Debug)]
pub(crate) enum By {
    /// By the id of the request. The topics at the second pointer are confirmed, the others refused.
    Id(Pointer, Option<Pointer>),
    /// By the topic.
    Topic(Template),
    /// The next message of this kind is that of the oldest request. The topics at the pointer are all that
    /// the venue sends on this line.
    Next(Condition, Option<Pointer>),
    /// There is none.
    None,
}

impl Ack {
    pub(crate) fn parse(found: Found<'_>) -> Result<Ack, Wrong> {
        let mut section = found.section()?;
        // Before what may be missing and is spelled almost alike.
        let topics = section.take("topics");
        let (kind, found) = section.one_of(&["id", "topic", "next", "none"])?;
        if let (Some(topics), "topic" | "none") = (&topics, kind) {
            return Err(topics.wrong("goes with `ack.id` and `ack.next` only"));
        }
        let topics = topics.map(|found| found.parsed()).transpose()?;
        let by = match kind {
            "id" => By::Id(found.parsed()?, topics),
            "topic" => By::Topic(topic(&found)?),
            "next" => By::Next(condition(found)?, topics),
            _ if found.flag()? => By::None,
            _ => return Err(found.wrong("only `true` can be asked for")),
        };
        let key = section.take("key");
        if let Some(key) = &key
            && matches!(by, By::Id(..) | By::Next(..))
        {
            return Err(key.wrong("goes with `ack.topic` only"));
        }
        let ack = Ack {
            by,
            when: section.take("when").map(condition).transpose()?,
            key: key.map(|found| found.parsed()).transpose()?,
            refused: section
                .take("refused")
                .map(|found| Refused::parse(found, true))
                .transpose()?,
        };
        if matches!(ack.by, By::None) && (ack.when.is_some() || ack.key.is_some()) {
            return Err(
                section.wrong("with `none = true` there is no message for `when` and `key`")
            );
        }
        section.end()?;
        Ok(ack)
    }
}

/// `[data]`.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) topic: TopicOf,
    pub(crate) when: Option<Condition>,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) snapshot: Option<Condition>,
}

/// Where the topic of an update stands.
#[derive(Debug)]
pub(crate) enum TopicOf {
    /// In the message.
    Message(Template),
    /// The value is the key that the acknowledgement gave.
    Key(Pointer),
}

/// How updates are numbered.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) kind: Numbers,
    /// Whether the venue begins anew in each session.
    pub(crate) restarts: bool,
}

/// Where the numbers stand.
#[derive(Debug)]
pub(crate) enum Numbers {
    Contiguous { first: Pointer, last: Pointer },
    Chained { previous: Pointer, this: Pointer },
    Id(Pointer),
    Rising(Pointer),
}

impl Data {
    pub(crate) fn parse(found: Found<'_>) -> Result<Data, Wrong> {
        let mut section = found.section()?;
        let topic = match section.one_of(&["topic", "key"])? {
            ("key", found) => TopicOf::Key(found.parsed()?),
            (_, found) => TopicOf::Message(topic(&found)?),
        };
        let data = Data {
            topic,
            when: section.take("when").map(condition).transpose()?,
            sequence: section.take("sequence").map(Sequence::parse).transpose()?,
            snapshot: section.take("snapshot").map(condition).transpose()?,
        };
        section.end()?;
        Ok(data)
    }
}

impl Sequence {
    fn parse(found: Found<'_>) -> Result<Sequence, Wrong> {
        let mut section = found.section()?;
        let kinds = ["contiguous", "chained", "id", "rising"].map(|kind| (kind, kind));
        let kind = section.need("kind")?.choice(&kinds)?;
        let instead = match kind {
            "contiguous" => "`first` and `last`, which may be the same pointer",
            "chained" => "`previous` and `this`",
            _ => "",
        };
        if !instead.is_empty()
            && let Some(found) = section.take("at")
        {
            return Err(found.wrong(format_args!("\"{kind}\" needs {instead}, in its place")));
        }
        let mut need = |key| section.need(key).and_then(|found| found.parsed());
        let kind = match kind {
            "contiguous" => Numbers::Contiguous { first: need("first")?, last: need("last")? },
            "chained" => Numbers::Chained { previous: need("previous")?, this: need("this")? },
            "id" => Numbers::Id(need("at")?),
            _ => Numbers::Rising(need("at")?),
        };
        let restarts = section.take("restarts").map_or(Ok(false), |found| found.flag())?;
        section.end()?;
        Ok(Sequence { kind, restarts })
    }
}

impl Numbers {
    /// Returns the numbers that a message has.
    pub(crate) fn read(&self, message: &Value) -> feed::Sequence {
        let found = |at: &Pointer| at.find(message).and_then(number);
        let sequence = match self {
            Numbers::Contiguous { first, last } => found(last)
                .map(|last| feed::Sequence::contiguous(found(first).unwrap_or(last), last)),
            Numbers::Chained { previous, this } => found(this).map(|this| match found(previous) {
                Some(previous) => feed::Sequence::chained(previous, this),
                // The first of a chain has none, or -1.
                None => feed::Sequence::chained(0, this).restarted(),
            }),
            Numbers::Id(at) => found(at).map(feed::Sequence::id),
            Numbers::Rising(at) => found(at).map(feed::Sequence::rising),
        };
        sequence.unwrap_or_default()
    }
}

/// Returns a whole number, also one that is written as a string.
pub(crate) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Parses where a topic stands: a pointer, or a text with pointers in braces.
pub(crate) fn topic(found: &Found<'_>) -> Result<Template, Wrong> {
    let text = found.text()?;
    if text.starts_with('/') {
        let _: Pointer = found.parsed()?;
        return format!("{{{text}}}").parse().map_err(|why: String| found.wrong(why));
    }
    let places = Places { pointers: true, names: Some(&[]) };
    let template = Template::parse(text, places).map_err(|why| found.wrong(why))?;
    if template.places().next().is_none() {
        return Err(found
            .wrong("expected a JSON pointer, such as /data/s, or a text with pointers in braces"));
    }
    Ok(template)
}

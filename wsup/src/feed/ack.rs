//! How a subscription is confirmed, and what is data.

use crate::condition::Condition;
use crate::feed::login::{Refused, condition, pointer};
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
    /// The next message of this kind is that of the oldest request.
    Next(Condition),
    /// There is none.
    None,
}

impl Ack {
    pub(crate) fn parse(found: Found<'_>) -> Result<Ack, Wrong> {
        let mut section = found.section()?;
        let (kind, found) = section.one_of(&["id", "topic", "next", "none"])?;
        let topics = section.take("topics");
        if let (Some(topics), true) = (&topics, kind != "id") {
            return Err(topics.wrong("goes with `ack.id` only"));
        }
        let by = match kind {
            "id" => By::Id(found.parsed()?, topics.map(|found| found.parsed()).transpose()?),
            "topic" => By::Topic(topic(&found)?),
            "next" => By::Next(condition(found)?),
            _ if found.flag()? => By::None,
            _ => return Err(found.wrong("only `true` can be asked for")),
        };
        let ack = Ack {
            by,
            when: section.take("when").map(condition).transpose()?,
            key: pointer(&mut section, "key")?,
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
pub(crate) enum Sequence {
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
        let mut need = |key| section.need(key).and_then(|found| found.parsed());
        let sequence = match kind {
            "contiguous" => Sequence::Contiguous { first: need("first")?, last: need("last")? },
            "chained" => Sequence::Chained { previous: need("previous")?, this: need("this")? },
            "id" => Sequence::Id(need("at")?),
            _ => Sequence::Rising(need("at")?),
        };
        section.end()?;
        Ok(sequence)
    }
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
        return Err(found.wrong("expected a JSON pointer, or a text with pointers in braces"));
    }
    Ok(template)
}

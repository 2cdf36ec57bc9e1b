//! How snapshots of topics are asked for, and how they are known.

use std::time::Duration;

use actix_ws_client::Payload;
use actix_ws_client::feed;

use crate::condition::Condition;
use crate::feed::ack::{Data, Numbers, TopicOf, topic};
use crate::feed::login::{condition, template};
use crate::feed::section::{Found, Section, Wrong};
use crate::feed::subscribe::Subscribe;
use crate::pointer::Pointer;
use crate::rate::Rate;
use crate::template::Template;

/// `[resync]`.
#[derive(Debug)]
pub(crate) struct Resync {
    /// Asks for a snapshot of one topic; `None`: it is subscribed again.
    pub(crate) send: Option<Template>,
    /// How the answer is known, if it is no update with `data.snapshot`.
    pub(crate) answer: Option<Answer>,
    /// How many snapshots may be asked for.
    pub(crate) asks: Rate,
    /// How long the first snapshot of a topic may take; `None`: as long as a feed allows.
    pub(crate) first_wait: Option<Duration>,
}

/// The answer to a request for a snapshot.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) when: Condition,
    /// Where its topic stands.
    pub(crate) topic: Template,
    /// Where the last number stands that it covers; `None` if updates have no numbers.
    pub(crate) last: Option<Pointer>,
}

/// The limit of asks without `asks`: that of a feed.
const ASKS: Rate = Rate { count: 10, period: Duration::from_secs(1) };

impl Resync {
    /// Parses the table. `parts` are those of a topic, `data` says how updates are read.
    pub(crate) fn parse(found: Found<'_>, parts: &[&str], data: &Data) -> Result<Resync, Wrong> {
        let mut section = found.section()?;
        let key = matches!(data.topic, TopicOf::Key(_)).then_some("key");
        let of_topic: Vec<&str> =
            ["topic", "topics"].into_iter().chain(key).chain(parts.iter().copied()).collect();
        let send = section.take("send").map(|found| {
            let names: Vec<&str> = ["id"].into_iter().chain(of_topic.iter().copied()).collect();
            let send = template(&found, &names)?;
            match of_topic.iter().any(|name| Subscribe::has(&send, name)) {
                true => Ok(send),
                false => Err(found.wrong("has no {topic}")),
            }
        });
        let send = send.transpose()?;
        let resync = Resync {
            answer: Answer::parse(&mut section, send.is_some(), data)?,
            send,
            asks: section.take("asks").map_or(Ok(ASKS), rate)?,
            first_wait: section.take("first_wait").map(|found| found.time()).transpose()?,
        };
        section.end()?;
        Ok(resync)
    }

    /// Returns it as a feed takes it.
    pub(crate) fn to_feed(&self) -> feed::Resync<Payload> {
        let count = u32::try_from(self.asks.count).unwrap_or(u32::MAX);
        let resync = feed::Resync::by_dialect().asks(count, self.asks.period);
        self.first_wait.into_iter().fold(resync, feed::Resync::first_wait)
    }
}

impl Answer {
    /// Takes its keys: all of them, or none if a snapshot is an update.
    fn parse(
        section: &mut Section<'_>,
        has_send: bool,
        data: &Data,
    ) -> Result<Option<Answer>, Wrong> {
        let (when, topic_at, last) =
            (section.take("when"), section.take("topic"), section.take("last"));
        let found = [&when, &topic_at, &last].into_iter().flatten().next();
        match found {
            None if data.snapshot.is_some() => return Ok(None),
            Some(found) if !has_send => {
                return Err(found.wrong("there is no `resync.send` whose answer it would describe"));
            }
            None if !has_send => {
                let text = "without `send` a topic is subscribed again: that needs `data.snapshot`";
                return Err(section.wrong(text));
            }
            _ => {}
        }
        let missing = |key| section.missing(&[key]);
        let when = when.ok_or_else(|| missing("when"))?;
        let topic_at = topic_at.ok_or_else(|| missing("topic"))?;
        let last = match (last, &data.sequence) {
            (Some(found), None) => {
                return Err(found.wrong("needs `data.sequence`, whose numbers it is compared with"));
            }
            (None, Some(_)) => return Err(missing("last")),
            (last, _) => last.map(|found| found.parsed()).transpose()?,
        };
        Ok(Some(Answer { when: condition(when)?, topic: topic(&topic_at)?, last }))
    }
}

/// Parses the one rate of `asks`.
fn rate(found: Found<'_>) -> Result<Rate, Wrong> {
    let wrong = found.wrong("expected one rate, such as \"10/1s\"");
    match &found.list()[..] {
        [rate] => rate.parsed(),
        _ => Err(wrong),
    }
}

impl Numbers {
    /// Returns the numbers of a snapshot whose last one this is.
    pub(crate) fn of_snapshot(&self, last: u64) -> feed::Sequence {
        match self {
            Numbers::Contiguous { .. } => feed::Sequence::contiguous(last, last),
            Numbers::Chained { .. } => feed::Sequence::chained(last, last),
            Numbers::Id(_) => feed::Sequence::id(last),
            Numbers::Rising(_) => feed::Sequence::rising(last),
        }
    }
}

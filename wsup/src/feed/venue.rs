//! The file as a whole.

use std::time::Duration;

use crate::condition::Condition;
use crate::feed::ack::{Ack, By, Data, TopicOf};
use crate::feed::login::{Login, condition, template};
use crate::feed::parts::Parts;
use crate::feed::rules::{Resync, Rotate, Rules, Silence, time};
use crate::feed::section::{Found, Section, Wrong};
use crate::pointer::Pointer;
use crate::template::{Place, Places, Template};

/// A venue, and what is wanted of it.
#[derive(Debug)]
pub(crate) struct Venue {
    pub(crate) urls: Urls,
    pub(crate) topics: Topics,
    /// The lines of each shard.
    pub(crate) lines: usize,
    pub(crate) overflow: Overflow,
    /// Header lines of the upgrade request, by name.
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) parts: Option<Parts>,
    /// What stands for one topic in `{topics}`; `None`: a JSON string.
    pub(crate) item: Option<Template>,
    pub(crate) login: Option<Login>,
    pub(crate) subscribe: Template,
    /// The part of the topic of which one request has one value.
    pub(crate) by: Option<String>,
    pub(crate) unsubscribe: Option<Template>,
    pub(crate) ack: Ack,
    pub(crate) data: Data,
    /// Where each message has its number in the whole line.
    pub(crate) line_number: Option<Pointer>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) rules: Rules,
    pub(crate) rotate: Option<Rotate>,
    pub(crate) resync: Option<Resync>,
    pub(crate) silence: Option<Silence>,
    pub(crate) decode: Option<Decode>,
}

/// Where the URLs come from.
#[derive(Debug)]
pub(crate) enum Urls {
    List(Vec<Template>),
    /// This command prints one, for each dial.
    Command(String),
}

/// Where the topics come from.
#[derive(Debug)]
pub(crate) enum Topics {
    List(Vec<String>),
    /// A file with one on each line.
    File(String),
}

/// What happens to updates that handlers are too slow for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    Wait,
    Latest,
}

/// `[heartbeat]`.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    pub(crate) every: Duration,
    pub(crate) send: Template,
    pub(crate) reply: Option<Condition>,
}

/// `[[answer]]`.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) when: Condition,
    pub(crate) send: Template,
}

/// `[[notice]]`.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) when: Condition,
    pub(crate) action: NoticeAction,
}

/// What is done about a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeAction {
    Rotate,
    Reconnect,
    Pause,
    Resume,
}

/// `[decode]`: how binary messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decode {
    Gzip,
    Zlib,
    Deflate,
}

impl Venue {
    /// Parses a file.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line and column.
    pub(crate) fn parse(file: &str) -> Result<Venue, String> {
        let parsed = Section::parse(file).and_then(Venue::parse_section);
        parsed.map_err(|wrong| wrong.located(file))
    }

    /// Long because it is the list of all keys.
    fn parse_section(mut file: Section<'_>) -> Result<Venue, Wrong> {
        let urls = Urls::parse(&mut file)?;
        let topics = Topics::parse(&mut file)?;
        let lines = file.take("lines").map_or(Ok(1), |found| found.number())?;
        let overflow = file.take("overflow").map_or(Ok(Overflow::Wait), |found| {
            found.choice(&[("wait", Overflow::Wait), ("latest", Overflow::Latest)])
        })?;
        let headers = file.take("headers").map_or(Ok(Vec::new()), headers)?;
        let (parts, item) = file.take("topic").map_or(Ok((None, None)), topic)?;
        check_topics(&file, &topics, parts.as_ref())?;
        let names: Vec<&str> = parts.iter().flat_map(Parts::names).collect();
        let login = file.take("login").map(Login::parse).transpose()?;
        let (subscribe, by) = subscribe(file.need("subscribe")?, &names)?;
        let unsubscribe =
            file.take("unsubscribe").map(|found| only_send(found, by.as_deref())).transpose()?;
        let ack = Ack::parse(file.need("ack")?)?;
        let data = Data::parse(file.need("data")?)?;
        check_ack(&file, &subscribe, &ack, &data.topic)?;
        let resync_names: Vec<&str> = names.iter().copied().chain(["id", "topic"]).collect();
        let resync = file.take("resync").map(|it| Resync::parse(it, &resync_names)).transpose()?;
        let venue = Venue {
            urls,
            topics,
            lines,
            overflow,
            headers,
            parts,
            item,
            login,
            subscribe,
            by,
            unsubscribe,
            ack,
            data,
            line_number: file.take("line").map(line_number).transpose()?,
            heartbeat: file.take("heartbeat").map(Heartbeat::parse).transpose()?,
            answers: list(&mut file, "answer", Answer::parse)?,
            notices: list(&mut file, "notice", Notice::parse)?,
            rules: file.take("rules").map_or(Ok(Rules::default()), Rules::parse)?,
            rotate: file.take("rotate").map(Rotate::parse).transpose()?,
            resync,
            silence: file.take("silence").map(Silence::parse).transpose()?,
            decode: file.take("decode").map(decode).transpose()?,
        };
        file.end()?;
        Ok(venue)
    }
}

impl Urls {
    fn parse(file: &mut Section<'_>) -> Result<Urls, Wrong> {
        match file.one_of(&["url", "url_command"])? {
            ("url_command", found) => Ok(Urls::Command(found.text()?.to_owned())),
            (_, found) => {
                let urls = found.one_or_list()?;
                if urls.is_empty() {
                    return Err(file.wrong_key("url", "has no URL"));
                }
                urls.iter().map(|url| template(url, &[])).collect::<Result<_, _>>().map(Urls::List)
            }
        }
    }
}

impl Topics {
    fn parse(file: &mut Section<'_>) -> Result<Topics, Wrong> {
        match file.one_of(&["topics", "topics_file"])? {
            ("topics_file", found) => Ok(Topics::File(found.text()?.to_owned())),
            (_, found) => {
                let mut topics: Vec<String> = Vec::new();
                for found in found.list()? {
                    let topic = found.text()?;
                    if topic.is_empty() || topics.iter().any(|other| other == topic) {
                        return Err(
                            found.wrong(format_args!("\"{topic}\" is empty or there twice"))
                        );
                    }
                    topics.push(topic.to_owned());
                }
                Ok(Topics::List(topics))
            }
        }
    }
}

/// Checks that the topics of the file have the parts that they are to have.
fn check_topics(file: &Section<'_>, topics: &Topics, parts: Option<&Parts>) -> Result<(), Wrong> {
    let (Topics::List(topics), Some(parts)) = (topics, parts) else { return Ok(()) };
    match topics.iter().find(|topic| parts.split(topic).is_none()) {
        Some(topic) => {
            Err(file.wrong_key("topics", &format!("\"{topic}\" does not fit `topic.parts`")))
        }
        None => Ok(()),
    }
}

/// Checks that acknowledgements and data can be matched as the file says.
fn check_ack(
    file: &Section<'_>,
    subscribe: &Template,
    ack: &Ack,
    data: &TopicOf,
) -> Result<(), Wrong> {
    let has_id = subscribe.places().any(|place| is_name(place, "id"));
    match (&ack.by, &ack.key, data) {
        (By::Id(..), ..) if !has_id => {
            Err(file.wrong_key("ack.id", "`subscribe.send` has no {id} to answer"))
        }
        (_, None, TopicOf::Key(_)) => {
            Err(file.wrong_key("data.key", "needs `ack.key`, which says what it stands for"))
        }
        (_, Some(_), TopicOf::Message(_)) => {
            Err(file.wrong_key("ack.key", "needs `data.key`, which reads it"))
        }
        _ => Ok(()),
    }
}

fn headers(found: Found<'_>) -> Result<Vec<(String, Template)>, Wrong> {
    let mut section = found.section()?;
    let lines = section.take_all().into_iter();
    lines.map(|(name, found)| Ok((name, template(&found, &[])?))).collect()
}

/// Parses `[topic]`.
fn topic(found: Found<'_>) -> Result<(Option<Parts>, Option<Template>), Wrong> {
    let mut section = found.section()?;
    let parts: Option<Parts> = section.take("parts").map(|found| found.parsed()).transpose()?;
    let names: Vec<&str> = parts.iter().flat_map(Parts::names).chain(["topic"]).collect();
    let item = section.take("item").map(|found| template(&found, &names)).transpose()?;
    section.end()?;
    Ok((parts, item))
}

/// Parses `[subscribe]`: the text, and the part by which topics are grouped.
fn subscribe(found: Found<'_>, parts: &[&str]) -> Result<(Template, Option<String>), Wrong> {
    let mut section = found.section()?;
    let by = section.take("by").map(|found| match found.text()? {
        by if parts.contains(&by) => Ok(by.to_owned()),
        by if parts.is_empty() => Err(found.wrong(format_args!("\"{by}\" needs `topic.parts`"))),
        by => Err(found
            .wrong(format_args!("\"{by}\" is no part; `topic.parts` has {}", parts.join(", ")))),
    });
    let by = by.transpose()?;
    let send = section.need("send")?;
    let text = subscription(&send, by.as_deref())?;
    section.end()?;
    Ok((text, by))
}

/// Parses a table with nothing but `send`.
fn only_send(found: Found<'_>, by: Option<&str>) -> Result<Template, Wrong> {
    let mut section = found.section()?;
    let text = subscription(&section.need("send")?, by)?;
    section.end()?;
    Ok(text)
}

fn subscription(send: &Found<'_>, by: Option<&str>) -> Result<Template, Wrong> {
    let names: Vec<&str> = ["id", "topics", "topic"].into_iter().chain(by).collect();
    let text = template(send, &names)?;
    let topics = text.places().filter(|it| is_name(it, "topics") || is_name(it, "topic"));
    match topics.count() {
        0 => Err(send.wrong("has no {topics}, nor {topic} for one topic in each request")),
        _ => Ok(text),
    }
}

fn is_name(place: &Place, name: &str) -> bool {
    matches!(place, Place::Name(other) if other == name)
}

/// Parses `[line]`.
fn line_number(found: Found<'_>) -> Result<Pointer, Wrong> {
    let mut section = found.section()?;
    let number = section.need("number")?.parsed()?;
    section.end()?;
    Ok(number)
}

/// Parses `[decode]`.
fn decode(found: Found<'_>) -> Result<Decode, Wrong> {
    const FORMATS: [(&str, Decode); 3] =
        [("gzip", Decode::Gzip), ("zlib", Decode::Zlib), ("deflate", Decode::Deflate)];
    let mut section = found.section()?;
    let decode = section.need("binary")?.choice(&FORMATS)?;
    section.end()?;
    Ok(decode)
}

impl Heartbeat {
    fn parse(found: Found<'_>) -> Result<Heartbeat, Wrong> {
        let mut section = found.section()?;
        let heartbeat = Heartbeat {
            every: time(&section.need("every")?)?,
            send: template(&section.need("send")?, &["id"])?,
            reply: section.take("reply").map(condition).transpose()?,
        };
        section.end()?;
        Ok(heartbeat)
    }
}

impl Answer {
    fn parse(found: Found<'_>) -> Result<Answer, Wrong> {
        let mut section = found.section()?;
        let (when, send) = (condition(section.need("when")?)?, section.need("send")?);
        let places = Places { pointers: true, names: Some(&["id"]) };
        let send = Template::parse(send.with_secrets()?, places).map_err(|why| send.wrong(why))?;
        section.end()?;
        Ok(Answer { when, send })
    }
}

impl Notice {
    fn parse(found: Found<'_>) -> Result<Notice, Wrong> {
        const ACTIONS: [(&str, NoticeAction); 4] = [
            ("rotate", NoticeAction::Rotate),
            ("reconnect", NoticeAction::Reconnect),
            ("pause", NoticeAction::Pause),
            ("resume", NoticeAction::Resume),
        ];
        let mut section = found.section()?;
        let when = condition(section.need("when")?)?;
        let action = section.need("do")?.choice(&ACTIONS)?;
        section.end()?;
        Ok(Notice { when, action })
    }
}

/// Takes an array of tables.
fn list<T>(
    file: &mut Section<'_>,
    key: &'static str,
    parse: impl Fn(Found<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    file.take(key).map_or(Ok(Vec::new()), Found::list)?.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of the format.
    const ALL: &str = include_str!("all.toml");

    const SMALL: &str = r#"
url = "wss://a.example/ws"
topics = ["trades:BTC-USD"]
subscribe.send = '{"id":{id},"args":{topics}}'
ack.id = "/id"
data.topic = "/s"
"#;

    #[test]
    fn every_key_is_read() {
        let venue = Venue::parse(ALL).unwrap();
        assert!(matches!(&venue.urls, Urls::List(urls) if urls.len() == 2));
        assert_eq!((venue.lines, venue.overflow), (2, Overflow::Latest));
        assert_eq!(venue.headers.len(), 2);
        assert_eq!(venue.by.as_deref(), Some("channel"));
        let login = venue.login.unwrap();
        assert_eq!(login.refused.unwrap().codes_for_good, ["60009", "7"]);
        assert!(matches!(&venue.ack.by, By::Id(_, Some(_))));
        assert!(matches!(venue.data.sequence, Some(crate::feed::ack::Sequence::Contiguous { .. })));
        assert_eq!(venue.heartbeat.unwrap().every, Duration::from_secs(20));
        assert_eq!((venue.answers.len(), venue.notices.len()), (1, 2));
        assert_eq!(venue.notices[1].action, NoticeAction::Pause);
        assert_eq!((venue.rules.requests[0].count, venue.rules.sockets), (480, Some(10)));
        assert!(venue.rotate.unwrap().break_first && venue.resync.is_some());
        assert_eq!(venue.silence.unwrap().open.len(), 1);
        assert_eq!(venue.decode, Some(Decode::Gzip));
    }

    #[test]
    fn what_may_be_left_out_has_a_default() {
        let venue = Venue::parse(SMALL).unwrap();
        assert_eq!((venue.lines, venue.overflow), (1, Overflow::Wait));
        assert!(venue.login.is_none() && venue.item.is_none() && venue.rules.frames.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let mut problems = Vec::new();
        for (old, new, wrong) in [
            ("ack.id", "ack.idd", "line 5, column 5: `ack.idd` is unknown: is it `ack.id`?"),
            (
                "data.topic",
                "data.extra = 1\ndata.topic",
                "line 6, column 6: `data.extra` is unknown; known here: topic, key, when, sequence, snapshot",
            ),
            (
                "url = \"wss://a.example/ws\"",
                "",
                "line 1, column 1: `url` or `url_command` is missing",
            ),
            ("ack.id = \"/id\"", "", "line 1, column 1: `ack` is missing"),
            ("url =", "urls =", "line 2, column 1: `urls` is unknown: is it `url`?"),
            (
                "url =",
                "lines = 0\nurl =",
                "line 2, column 1: `lines`: expected a whole number above zero, not an integer",
            ),
            (
                "url =",
                "url_command = 'x'\nurl =",
                "line 2, column 1: `url_command` and `url`: only one of them may be there",
            ),
            (
                "ack.id =",
                "ack.none = true\nack.id =",
                "line 5, column 5: `ack.none` and `ack.id`: only one",
            ),
            ("ack.id =", "ack.key = '/c'\nack.id =", "`ack.key`: needs `data.key`"),
            ("data.topic =", "data.key =", "`data.key`: needs `ack.key`"),
            (
                "{topics}",
                "{topic2}",
                "line 4, column 11: `subscribe.send`: `{topic2}` is unknown; known here: id, topics, topic",
            ),
            ("{topics}", "1", "line 4, column 11: `subscribe.send`: has no {topics}"),
            ("{id}", "1", "`ack.id`: `subscribe.send` has no {id}"),
            ("\"/s\"", "\"s\"", "line 6, column 6: `data.topic`: expected a JSON pointer"),
            ("\"/s\"", "\"/~\"", "line 6, column 6: `data.topic`: `/~` is no JSON pointer"),
            ("\"/s\"", "7", "line 6, column 6: `data.topic`: expected a string, not an integer"),
            ("\"/s\"", "\"${env:A}\"", "line 6, column 6: `data.topic`: `${…}` may only stand"),
            (
                "data.topic",
                "heartbeat = { every = '20' , send = 'x' }\ndata.topic",
                "line 6, column 15: `heartbeat.every`: a duration is",
            ),
            (
                "data.topic",
                "heartbeat.send = 'ping'\ndata.topic",
                "line 6, column 1: `heartbeat.every` is missing",
            ),
            (
                "data.topic",
                "data.when = { at = '/a' }\ndata.topic",
                "`data.when.is` or `data.when.exists` is missing",
            ),
            ("data.topic", "data.when = { at = '/a', exists = false }\ndata.topic", "only `true`"),
            (
                "data.topic",
                "rules.frames = ['5/1s', '5']\ndata.topic",
                "line 6, column 25: `rules.frames`: a rate is",
            ),
            (
                "data.topic",
                "silence = { topic = '1s', action = 'no' }\ndata.topic",
                "expected \"report\" or \"resubscribe\" or \"fail\"",
            ),
            (
                "data.topic",
                "subscribe.by = 'inst'\ndata.topic",
                "`subscribe.by`: \"inst\" needs `topic.parts`",
            ),
            (
                "data.topic",
                "topic.parts = '{a}/{b}'\ndata.topic",
                "`topics`: \"trades:BTC-USD\" does not fit",
            ),
            (
                "data.topic",
                "[[answer]]\nwhen = { text = 'a' }\nsend = '{/x'\n[data]\ntopic",
                "line 8, column 1: `answer.send`: no } behind",
            ),
            ("ack.id = \"/id\"", "ack.id = ", "line 5, column"),
            (
                "topics = [",
                "topics = [\"a\", \"a\", ",
                "line 3, column 16: `topics`: \"a\" is empty or there twice",
            ),
        ] {
            assert!(SMALL.contains(old), "{old}");
            let err = Venue::parse(&SMALL.replacen(old, new, 1)).unwrap_err();
            if !err.contains(wrong) {
                problems.push(format!("{new}:\n   {err}\nnot {wrong}"));
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn no_file_panics() {
        // Any prefix, and any line left out or doubled.
        for end in 0..ALL.len() {
            let _ = ALL.get(..end).map(Venue::parse);
        }
        let lines: Vec<&str> = ALL.lines().collect();
        for index in 0..lines.len() {
            let without = [&lines[..index], &lines[index + 1..]].concat().join("\n");
            let doubled = [&lines[..=index], &lines[index..]].concat().join("\n");
            for file in [without, doubled] {
                let _ = Venue::parse(&file);
            }
        }
    }
}

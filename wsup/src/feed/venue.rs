//! The file as a whole.

use std::collections::HashSet;
use std::time::Duration;

use actix_ws_client::feed::MAX_LINES;

use crate::condition::Condition;
use crate::feed::ack::{Ack, By, Data, TopicOf};
use crate::feed::login::{How, Login, condition, template};
use crate::feed::parts::Parts;
use crate::feed::rules::{Rules, Silence};
use crate::feed::section::{Found, Section, Wrong};
use crate::feed::subscribe::Subscribe;
use crate::inflate::Compressed;
use crate::pointer::Pointer;
use crate::template::{Places, Template};

/// A venue, and what is wanted of it.
#[derive(Debug)]
pub(crate) struct Venue {
    pub(crate) urls: Urls,
    pub(crate) topics: Topics,
    /// The number of lines of each shard.
    pub(crate) lines: u8,
    /// Header lines of the upgrade request, by name.
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) parts: Option<Parts>,
    /// What stands for one topic in `{topics}`; `None`: a JSON string.
    pub(crate) item: Option<Template>,
    pub(crate) login: Option<Login>,
    pub(crate) subscribe: Subscribe,
    pub(crate) ack: Ack,
    pub(crate) data: Data,
    /// Where each message has its number in the whole line.
    pub(crate) line_number: Option<Pointer>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) rules: Rules,
    pub(crate) silence: Option<Silence>,
    /// How binary messages are compressed.
    pub(crate) decode: Option<Compressed>,
}

/// Returns texts with their key.
fn each<'v>(
    key: &'static str,
    texts: impl IntoIterator<Item = &'v Template>,
) -> impl Iterator<Item = (&'v str, &'v Template)> {
    texts.into_iter().map(move |text| (key, text))
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

impl Venue {
    /// Returns the texts that may have secrets, each with its key.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (&str, &Template)> {
        let urls: &[Template] = match &self.urls {
            Urls::List(urls) => urls,
            Urls::Command(_) => &[],
        };
        let logins: &[Template] = match self.login.as_ref().map(|login| &login.how) {
            Some(How::Send(texts)) => texts,
            _ => &[],
        };
        each("url", urls)
            .chain(self.headers.iter().map(|(name, value)| (name.as_str(), value)))
            .chain(each("login.send", logins))
            .chain(each("topic.item", &self.item))
            .chain(each("subscribe.send", [&self.subscribe.send]))
            .chain(each("unsubscribe.send", &self.subscribe.unsubscribe))
            .chain(each("heartbeat.send", self.heartbeat.as_ref().map(|it| &it.send)))
            .chain(each("answer.send", self.answers.iter().map(|answer| &answer.send)))
    }

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
        // Before what may be missing and is spelled almost alike.
        let topic = file.take("topic");
        let topics = Topics::parse(&mut file)?;
        let lines = file.take("lines").map_or(Ok(1), lines)?;
        unbuilt(&mut file)?;
        let headers = file.take("headers").map_or(Ok(Vec::new()), headers)?;
        let (parts, item) = topic.map_or(Ok((None, None)), self::topic)?;
        check_topics(&file, &topics, parts.as_ref())?;
        let names: Vec<&str> = parts.iter().flat_map(Parts::names).collect();
        let login = file.take("login").map(Login::parse).transpose()?;
        let subscribe = Subscribe::parse(&mut file, &names)?;
        let ack = Ack::parse(file.need("ack")?)?;
        let data = Data::parse(file.need("data")?)?;
        check_ack(&file, &subscribe, &ack, &data.topic)?;
        let venue = Venue {
            urls,
            topics,
            lines,
            headers,
            parts,
            item,
            login,
            subscribe,
            ack,
            data,
            line_number: file.take("line").map(line_number).transpose()?,
            heartbeat: file.take("heartbeat").map(Heartbeat::parse).transpose()?,
            answers: list(&mut file, "answer", Answer::parse)?,
            notices: list(&mut file, "notice", Notice::parse)?,
            rules: file.take("rules").map_or(Ok(Rules::default()), Rules::parse)?,
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
                let urls = found.list();
                if urls.is_empty() {
                    return Err(file.wrong_key("url", "has no URL"));
                }
                urls.iter().map(url).collect::<Result<_, _>>().map(Urls::List)
            }
        }
    }
}

/// Parses a URL. What a secret stands for is checked later.
fn url(found: &Found<'_>) -> Result<Template, Wrong> {
    let url = template(found, &[])?;
    let text = found.with_secrets()?;
    let has_scheme = ["ws://", "wss://", "${"]
        .iter()
        .any(|start| text.get(..start.len()).is_some_and(|is| is.eq_ignore_ascii_case(start)));
    match has_scheme {
        true => Ok(url),
        false => Err(found.wrong("expected a URL that begins with ws:// or wss://")),
    }
}

impl Topics {
    fn parse(file: &mut Section<'_>) -> Result<Topics, Wrong> {
        match file.one_of(&["topics", "topics_file"])? {
            ("topics_file", found) => Ok(Topics::File(found.text()?.to_owned())),
            (_, found) => {
                let (mut topics, mut seen) = (Vec::new(), HashSet::new());
                for found in found.list() {
                    let topic = found.text()?.to_owned();
                    if topic.is_empty() {
                        return Err(found.wrong("a topic has no name"));
                    }
                    if !seen.insert(topic.clone()) {
                        return Err(found.wrong(format_args!("\"{topic}\" is there twice")));
                    }
                    topics.push(topic);
                }
                if topics.is_empty() {
                    return Err(file.wrong_key("topics", "there is no topic"));
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

impl Venue {
    /// Returns the topics of a file with one on each line.
    ///
    /// # Errors
    /// The first that is wrong, with its line.
    pub(crate) fn topics_of(&self, file: &str) -> Result<Vec<String>, String> {
        let mut seen = HashSet::new();
        let mut topics = Vec::new();
        for (index, line) in file.lines().enumerate() {
            let topic = line.trim();
            if topic.is_empty() || topic.starts_with('#') {
                continue;
            }
            let number = index + 1;
            if !self.fits(topic) {
                return Err(format!("line {number}: \"{topic}\" does not fit `topic.parts`"));
            }
            if !seen.insert(topic) {
                return Err(format!("line {number}: \"{topic}\" is there twice"));
            }
            topics.push(topic.to_owned());
        }
        if topics.is_empty() { Err("there is no topic".to_owned()) } else { Ok(topics) }
    }

    /// Whether a topic has the parts that it is to have.
    pub(crate) fn fits(&self, topic: &str) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.split(topic).is_some())
    }

    /// Returns how many topics a request may be about.
    pub(crate) fn topics_per_frame(&self) -> usize {
        match self.subscribe.is_single {
            true => 1,
            false => self.rules.topics_per_frame.unwrap_or(usize::MAX),
        }
    }

    /// Returns how many topics a line may have.
    pub(crate) fn topics_per_line(&self) -> usize {
        self.rules.topics_per_line.unwrap_or(usize::MAX)
    }
}

/// Parses `lines`.
fn lines(found: Found<'_>) -> Result<u8, Wrong> {
    let number = found.number()?;
    u8::try_from(number)
        .ok()
        .filter(|number| *number <= MAX_LINES)
        .ok_or_else(|| found.wrong(format_args!("expected 1 to {MAX_LINES} lines, not {number}")))
}

/// Refuses what is not built yet, by its name.
fn unbuilt(file: &mut Section<'_>) -> Result<(), Wrong> {
    if let Some(found) = file.take("overflow")
        && !found.choice(&[("wait", true), ("latest", false)])?
    {
        return Err(found.wrong("\"latest\" is not built yet: only \"wait\" is"));
    }
    match ["rotate", "resync"].iter().find_map(|key| file.take(key)) {
        Some(found) => Err(found.wrong("not built yet")),
        None => Ok(()),
    }
}

/// Checks that acknowledgements and data can be matched as the file says.
fn check_ack(
    file: &Section<'_>,
    subscribe: &Subscribe,
    ack: &Ack,
    data: &TopicOf,
) -> Result<(), Wrong> {
    let has_id = Subscribe::has(&subscribe.send, "id");
    let has_key = |text: &Template| Subscribe::has(text, "key");
    if subscribe.unsubscribe.as_ref().is_some_and(has_key) && ack.key.is_none() {
        return Err(file.wrong_key("unsubscribe.send", "{key} needs `ack.key`, where it stands"));
    }
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

/// Parses `[line]`.
fn line_number(found: Found<'_>) -> Result<Pointer, Wrong> {
    let mut section = found.section()?;
    let number = section.need("number")?.parsed()?;
    section.end()?;
    Ok(number)
}

/// Parses `[decode]`.
fn decode(found: Found<'_>) -> Result<Compressed, Wrong> {
    const FORMATS: [(&str, Compressed); 3] =
        [("gzip", Compressed::Gzip), ("zlib", Compressed::Zlib), ("deflate", Compressed::Deflate)];
    let mut section = found.section()?;
    let decode = section.need("binary")?.choice(&FORMATS)?;
    section.end()?;
    Ok(decode)
}

impl Heartbeat {
    fn parse(found: Found<'_>) -> Result<Heartbeat, Wrong> {
        let mut section = found.section()?;
        let heartbeat = Heartbeat {
            every: section.need("every")?.time()?,
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

/// Takes tables.
fn list<T>(
    file: &mut Section<'_>,
    key: &'static str,
    parse: impl Fn(Found<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    file.take(key).map_or_else(Vec::new, Found::list).into_iter().map(parse).collect()
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
        assert_eq!(venue.headers.len(), 2);
        assert_eq!(venue.subscribe.by.as_deref(), Some("channel"));
        let login = venue.login.unwrap();
        assert_eq!(login.refused.unwrap().codes_for_good, ["60009", "7"]);
        assert!(matches!(&venue.ack.by, By::Id(_, Some(_))));
        assert!(venue.data.sequence.unwrap().restarts);
        assert_eq!(venue.heartbeat.unwrap().every, Duration::from_secs(20));
        assert_eq!((venue.answers.len(), venue.notices.len()), (1, 2));
        assert_eq!(venue.notices[1].action, NoticeAction::Pause);
        assert_eq!((venue.rules.requests[0].count, venue.rules.sockets), (480, Some(10)));
        assert_eq!(venue.silence.unwrap().open.len(), 1);
        assert_eq!(venue.decode, Some(Compressed::Gzip));
    }

    #[test]
    fn one_value_is_a_list_of_one() {
        let lists = ALL.replace("[\"5/1s\"]", "\"5/1s\"").replace("[\"Mon-Fri", "\"Mon-Fri");
        let lists = lists.replace("21:00\"]", "21:00\"").replace("[[answer]]", "[answer]");
        let venue = Venue::parse(&lists).unwrap();
        assert_eq!((venue.rules.frames[0].count, venue.answers.len()), (5, 1));
        assert_eq!(venue.silence.unwrap().open.len(), 1);
    }

    #[test]
    fn what_may_be_left_out_has_a_default() {
        let venue = Venue::parse(SMALL).unwrap();
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
                "line 2, column 1: `lines`: expected a whole number above zero, not 0",
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
            ("ack.id =", "ack.key = '/c'\nack.topic =", "`ack.key`: needs `data.key`"),
            ("data.topic =", "data.key =", "`data.key`: needs `ack.key`"),
            (
                "data.topic",
                "data.sequence = { kind = 'contiguous', at = '/n' }\ndata.topic",
                "`data.sequence.at`: \"contiguous\" needs `first` and `last`, which may be",
            ),
            (
                "{topics}",
                "{topic2}",
                "line 4, column 11: `subscribe.send`: `{topic2}` is unknown; known here: id, topics, topic",
            ),
            ("{topics}", "1", "line 4, column 11: `subscribe.send`: has no {topics}"),
            ("{topics}", "{topics},{topic}", "only one of them may be there"),
            (
                "url =",
                "lines = 9\nurl =",
                "line 2, column 1: `lines`: expected 1 to 8 lines, not 9",
            ),
            (
                "url =",
                "overflow = 'latest'\nurl =",
                "line 2, column 1: `overflow`: \"latest\" is not",
            ),
            ("url =", "rotate.age = '23h'\nurl =", "line 2, column 1: `rotate`: not built yet"),
            ("url =", "resync.send = 'x'\nurl =", "line 2, column 1: `resync`: not built yet"),
            (
                "data.topic",
                "unsubscribe.send = '{key}'\ndata.topic",
                "`unsubscribe.send`: {key} needs `ack.key`",
            ),
            ("ack.id =", "ack.key = '/c'\nack.id =", "`ack.key`: goes with `ack.topic` only"),
            ("topics = [\"trades:BTC-USD\"]", "topics = []", "`topics`: there is no topic"),
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
                "line 3, column 16: `topics`: \"a\" is there twice",
            ),
            ("topics = [", "topics = [\"\", ", "line 3, column 11: `topics`: a topic has no name"),
            ("ack.id =", "ack.id = 1\nack.id =", "line 6, column 5: `id` is there twice"),
            (
                "data.topic",
                "rules.topics_per_line = 0x10\ndata.topic",
                "expected a whole number above zero, in decimal digits",
            ),
            (
                "data.topic",
                "heartbeat.every = 20\ndata.topic",
                "`heartbeat.every`: expected a time such as \"20s\", not an integer",
            ),
            (
                "data.topic",
                "silence = { topic = '1s', action = 'no' }\ndata.topic",
                "or \"fail\", not \"no\"",
            ),
            // What is spelled almost alike may be right.
            ("subscribe.send", "unsubscribe.send", "line 1, column 1: `subscribe` is missing"),
            ("ack.id", "ack.topics", "`ack.id` or `ack.topic` or `ack.next` or `ack.none` is"),
            ("topics = [\"trades:BTC-USD\"]", "topic.item = 'a'", "`topics_file` is missing"),
            (
                "data.topic",
                "data.when = { is = 'x' }\ndata.topic",
                "`data.when.at` or `data.when.text` is missing",
            ),
            // A key of the file below the head of a table.
            (
                "url = \"wss://a.example/ws\"",
                "[rules]\nurl = \"wss://a.example/ws\"",
                "line 3, column 1: `url` or `url_command` is missing, and `rules.url` is unknown: a key of no table",
            ),
            (
                "wss://",
                "https://",
                "line 2, column 1: `url`: expected a URL that begins with ws:// or wss://",
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
    fn the_documents_have_every_key() {
        let docs = include_str!("../../../docs/feed.md");
        let table = docs.split_once("| key | value | meaning |\n").unwrap().1;
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let documented: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
        // A key that is unknown is answered with those that are known.
        let known = |file: String| {
            let wrong = Venue::parse(&file).unwrap_err();
            wrong.split_once("known here: ").expect(&wrong).1.replace(' ', "")
        };
        let mut keys: Vec<String> = Vec::new();
        let sections = |line: &&str| line.starts_with('[') && !line.starts_with("[[");
        let sections: Vec<&str> = ALL.lines().filter(sections).collect();
        for key in known(format!("zzzz = 1\n{ALL}")).split(',') {
            match sections.iter().find(|section| **section == format!("[{key}]")) {
                Some(section) if key != "headers" => {
                    let file = ALL.replace(section, &format!("{section}\nzzzz = 1"));
                    keys.extend(known(file).split(',').map(|inner| format!("{key}.{inner}")));
                }
                _ => keys.push(key.to_owned()),
            }
        }
        assert!(keys.len() > 45, "{keys:?}");
        let (mut keys, mut documented) = (keys, documented);
        keys.sort_unstable();
        documented.sort_unstable();
        assert_eq!(documented, keys, "docs/feed.md");
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

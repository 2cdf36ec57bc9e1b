//! The file as a whole.

use std::collections::HashSet;
use std::time::Duration;

use actix_ws_client::feed::{MAX_LINES, Overflow};

use crate::condition::Condition;
use crate::feed::ack::{Ack, By, Data, TopicOf};
use crate::feed::login::{How, Login, condition, template};
use crate::feed::parts::Parts;
use crate::feed::resync::Resync;
use crate::feed::rotate::Rotate;
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
    /// What happens if stdout is not read.
    pub(crate) overflow: Overflow,
    pub(crate) rotate: Option<Rotate>,
    pub(crate) resync: Option<Resync>,
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
            .chain(each("resync.send", self.resync.as_ref().and_then(|it| it.send.as_ref())))
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
        let overflow = file.take("overflow").map_or(Ok(Overflow::Wait), |found| {
            found.choice(&[("wait", Overflow::Wait), ("latest", Overflow::Latest)])
        })?;
        let headers = file.take("headers").map_or(Ok(Vec::new()), headers)?;
        let (parts, item) = topic.map_or(Ok((None, None)), self::topic)?;
        check_topics(&file, &topics, parts.as_ref())?;
        let names: Vec<&str> = parts.iter().flat_map(Parts::names).collect();
        let login = file.take("login").map(Login::parse).transpose()?;
        let subscribe = Subscribe::parse(&mut file, &names)?;
        let ack = Ack::parse(file.need("ack")?)?;
        let data = Data::parse(file.need("data")?)?;
        check_ack(&file, &subscribe, &ack, &data.topic)?;
        let resync = file.take("resync").map(|it| Resync::parse(it, &names, &data)).transpose()?;
        let venue = Venue {
            urls,
            topics,
            lines,
            overflow,
            rotate: file.take("rotate").map(Rotate::parse).transpose()?,
            resync,
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
mod tests;

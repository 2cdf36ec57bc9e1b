//! The dialect of one session, as the file describes it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use actix_ws_client::feed::{Dialect, Notice, Request, RequestId, Said, Sequence, Topic, Which};
use actix_ws_client::{Payload, View};
use serde_json::Value;

use crate::condition::Looked;
use crate::feed::ack::{self, By, TopicOf, number};
use crate::feed::login::{How, Login, Refused};
use crate::feed::values::Values;
use crate::feed::venue::{Answer, NoticeAction, Venue};
use crate::inflate;
use crate::pointer::{Pointer, scalar};
use crate::screen::eprint_line;
use crate::template::{Place, Template};

/// How a venue talks, by its file, on one socket.
pub(crate) struct FileDialect {
    venue: Arc<Venue>,
    /// What was read for this dial.
    values: Values,
    /// What the command of the login printed.
    signed: String,
    /// The number of login texts that were accepted; `None` once the login is over.
    login: Option<usize>,
    /// The topics that were asked for.
    asked: HashMap<Topic, Asked>,
    /// The topic of each key that the venue has given.
    keys: HashMap<String, Topic>,
    /// The newest id of a request that is no subscription.
    own_id: u64,
    /// The largest text that a message is inflated to, in bytes.
    limit: usize,
    /// Whether a message that cannot be used was reported.
    has_warned: bool,
}

/// A topic that was asked for.
#[derive(Default)]
struct Asked {
    /// Its key on this socket.
    key: Option<String>,
    /// Whether data has come.
    has_ticked: bool,
}

/// The ids of logins, heartbeats and answers begin behind this one, those of subscriptions with 1.
const OWN_IDS: u64 = 1_000_000_000;

/// How long a venue's `pause` lasts at most.
const MAX_PAUSE: std::time::Duration = std::time::Duration::from_secs(600);

/// The time that a venue is taken to leave when it announces the end of a line, for a file cannot say it. Short, so that a
/// line that was opened a moment ago is replaced after 5 s.
const ROTATE_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

impl FileDialect {
    /// Creates the dialect of a session, with what was read and printed for it.
    pub(crate) fn new(
        venue: Arc<Venue>,
        values: Values,
        signed: String,
        limit: usize,
    ) -> FileDialect {
        let login = venue.login.is_some().then_some(0);
        FileDialect {
            venue,
            values,
            signed,
            login,
            asked: HashMap::new(),
            keys: HashMap::new(),
            own_id: OWN_IDS,
            limit,
            has_warned: false,
        }
    }

    fn warn(&mut self, what: impl std::fmt::Display) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let more = "further ones of this socket are not reported";
            eprint_line(&format!("wsup feed: {what}; {more}"));
        }
    }

    /// Fills in a text with values of a message and of names.
    fn fill(
        &self,
        template: &Template,
        message: Option<&Value>,
        name: impl Fn(&str) -> Option<Value>,
    ) -> Result<String, String> {
        template.fill_with(|place| {
            let value = match place {
                Place::Pointer(at) => message.and_then(|message| at.find(message)).cloned(),
                Place::Name(known) => name(known),
                Place::Env(_) | Place::File(_) => self.values.of(place).map(Value::from),
            };
            value.ok_or_else(|| format!("there is nothing at {place}"))
        })
    }

    /// Fills in a request that is no subscription.
    fn own(&mut self, template: &Template, message: Option<&Value>) -> Result<Request, String> {
        self.own_id += 1;
        let id = self.own_id;
        let text = self.fill(template, message, |name| (name == "id").then(|| id.into()))?;
        Ok(as_request(text, template))
    }

    /// Fills in a request about topics.
    fn about(&self, template: &Template, id: RequestId, topics: &[Topic]) -> String {
        let first = topics.first().map_or("", |topic| topic.as_str());
        let name = |name: &str| match name {
            "id" => Some(id.into()),
            "topic" => Some(self.item(first)),
            "topics" if !template.is_json() => Some(topics.join(",").into()),
            "topics" => Some(topics.iter().map(|topic| self.item(topic)).collect()),
            "key" => self.asked.get(first).and_then(|asked| asked.key.as_deref()).map(key),
            part => self.part(first, part).map(Value::from),
        };
        // What is missing can only be a key, of a topic that was confirmed without one.
        self.fill(template, None, name).unwrap_or_default()
    }

    /// Returns the text that subscribes to topics.
    pub(crate) fn subscription(&self, id: RequestId, topics: &[Topic]) -> String {
        self.about(&self.venue.subscribe.send, id, topics)
    }

    /// Returns what stands for a topic in a request.
    fn item(&self, topic: &str) -> Value {
        let Some(template) = &self.venue.item else { return topic.into() };
        let name = |name: &str| match name {
            "topic" => Some(topic.into()),
            part => self.part(topic, part).map(Value::from),
        };
        let text = self.fill(template, None, name).unwrap_or_default();
        match template.is_json().then(|| serde_json::from_str(&text)) {
            Some(Ok(json)) => json,
            _ => text.into(),
        }
    }

    fn part<'t>(&self, topic: &'t str, name: &str) -> Option<&'t str> {
        self.venue.parts.as_ref()?.part(topic, name)
    }

    /// Reads what a message says. Long because it is the order of looking.
    fn look(
        &mut self,
        message: &Looked<'_>,
        item: impl FnOnce() -> Payload,
    ) -> Said<'static, Payload> {
        let venue = self.venue.clone();
        let reply = venue.heartbeat.as_ref().and_then(|heartbeat| heartbeat.reply.as_ref());
        if reply.is_some_and(|reply| reply.holds(message)) {
            return Said::Alive;
        }
        if let Some(answer) = venue.answers.iter().find(|answer| answer.when.holds(message)) {
            return self.answer(answer, message);
        }
        if let Some(notice) = venue.notices.iter().find(|notice| notice.when.holds(message)) {
            return Said::Notice(match notice.action {
                NoticeAction::Rotate => Notice::RotateWithin(ROTATE_WITHIN),
                NoticeAction::Reconnect => Notice::Reconnect,
                NoticeAction::Pause => Notice::Pause { at_most: MAX_PAUSE },
                NoticeAction::Resume => Notice::Resume,
            });
        }
        let login = venue.login.as_ref().filter(|_| self.login.is_some());
        let refused = match login {
            Some(login) => login.refused.as_ref(),
            None => venue.ack.refused.as_ref(),
        };
        if let Some(refused) = refused.filter(|refused| refused.when.holds(message)) {
            let refusal = refused.refusal(message.json());
            return match login {
                Some(_) => Said::login_refused(refusal),
                None => Said::refused(self.refused(refused, message.json()), refusal),
            };
        }
        if let Some(login) = login.filter(|login| login.ok.holds(message)) {
            return self.logged_in(login);
        }
        if let Some(snapshot) =
            message.json().and_then(|json| self.asked_snapshot(&venue, message, json))
        {
            let (topic, sequence) = snapshot;
            return Said::snapshot(topic, sequence, item());
        }
        if let Some(confirmed) = message.json().and_then(|json| self.ack(&venue, message, json)) {
            return Said::confirmed(confirmed);
        }
        message.json().and_then(|json| self.data(&venue, message, json, item)).unwrap_or_default()
    }

    fn answer(&mut self, answer: &Answer, message: &Looked<'_>) -> Said<'static, Payload> {
        match self.own(&answer.send, message.json()) {
            Ok(request) => Said::answer(request),
            Err(why) => {
                self.warn(format_args!("`answer.send` cannot be filled in: {why}"));
                Said::Nothing
            }
        }
    }

    /// Sends the next text of the login, or ends it.
    fn logged_in(&mut self, login: &Login) -> Said<'static, Payload> {
        let accepted = self.login.map_or(0, |accepted| accepted + 1);
        let next = match &login.how {
            How::Send(texts) => texts.get(accepted),
            How::Command(_) => None,
        };
        match next.map(|text| self.own(text, None)) {
            Some(Ok(request)) => {
                self.login = Some(accepted);
                Said::answer(request.secret())
            }
            _ => {
                self.login = None;
                Said::LoggedIn
            }
        }
    }

    /// Returns what a refusal is about.
    fn refused(&self, refused: &Refused, message: Option<&Value>) -> Which<'static> {
        let found = |at: &Pointer| message.and_then(|message| at.find(message));
        let names = refused.topics.as_ref().and_then(found).map(|value| self.names(value));
        let topic = |template: &Template| message.and_then(|json| template.fill(Some(json)).ok());
        match &self.venue.ack.by {
            By::Id(at, _) => match (found(at).and_then(number), names) {
                (Some(id), Some(names)) => Which::of(id, names),
                (Some(id), None) => Which::Request(id),
                (None, Some(names)) => Which::topics(names),
                (None, None) => Which::Oldest,
            },
            By::Topic(template) => match names.or_else(|| topic(template).map(|it| vec![it])) {
                Some(names) => Which::topics(names),
                None => Which::Oldest,
            },
            By::Next(..) | By::None => names.map_or(Which::Oldest, Which::topics),
        }
    }

    /// Returns what an acknowledgement is about, if the message is one.
    fn ack(&mut self, venue: &Venue, message: &Looked<'_>, json: &Value) -> Option<Which<'static>> {
        let ack = &venue.ack;
        if ack.when.as_ref().is_some_and(|when| !when.holds(message)) {
            return None;
        }
        match &ack.by {
            By::Id(at, topics) => {
                let id = at.find(json).and_then(number).filter(|id| *id <= OWN_IDS)?;
                let topics = topics.as_ref().and_then(|topics| topics.find(json));
                Some(topics.map_or(Which::Request(id), |list| Which::of(id, self.names(list))))
            }
            By::Topic(template) => {
                let key = ack.key.as_ref().and_then(|at| at.find(json)).and_then(scalar);
                match (template.fill(Some(json)), key) {
                    (Ok(topic), key) => {
                        key.into_iter().for_each(|key| self.note_key(&topic, key));
                        Some(Which::topics([topic]))
                    }
                    // The end of a subscription, which names the key alone.
                    (Err(_), Some(key)) => {
                        Some(Which::topics([self.keys.remove(&key)?.to_string()]))
                    }
                    (Err(_), None) => None,
                }
            }
            By::Next(next, topics) => next.holds(message).then(|| {
                let topics = topics.as_ref().and_then(|topics| topics.find(json));
                topics.map_or(Which::Oldest, |list| Which::set(self.names(list)))
            }),
            By::None => None,
        }
    }

    /// Notes the key of a topic. A topic has one, so that there are never more than were asked for.
    fn note_key(&mut self, topic: &str, key: String) {
        let Some((topic, _)) = self.asked.get_key_value(topic) else { return };
        let topic = topic.clone();
        let asked = self.asked.entry(topic.clone()).or_default();
        if let Some(old) = asked.key.replace(key.clone()) {
            self.keys.remove(&old);
        }
        self.keys.insert(key, topic);
    }

    /// Returns the topics that a value names: a name, a list of them, an object with the parts of one, or an
    /// object that has the values of the second part for each of the first.
    fn names(&self, value: &Value) -> Vec<String> {
        if let Some(name) = scalar(value) {
            return vec![name];
        }
        let parts = self.venue.parts.as_ref();
        match (value, parts) {
            (Value::Array(entries), _) => {
                entries.iter().flat_map(|entry| self.names(entry)).collect()
            }
            (Value::Object(members), Some(parts)) => {
                let of = |name: &str| members.get(name).and_then(scalar);
                if let Some(values) = parts.names().map(of).collect::<Option<Vec<_>>>() {
                    return vec![parts.join(&values)];
                }
                let pairs = members.iter().filter(|_| parts.names().count() == 2);
                let entries = pairs.filter_map(|(key, list)| Some((key, list.as_array()?)));
                let names = entries.flat_map(|(key, list)| {
                    let values = list.iter().filter_map(scalar);
                    values.map(move |value| parts.join(&[key.clone(), value]))
                });
                names.collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns an update, if the message is one.
    fn data(
        &mut self,
        venue: &Venue,
        message: &Looked<'_>,
        json: &Value,
        item: impl FnOnce() -> Payload,
    ) -> Option<Said<'static, Payload>> {
        let data = &venue.data;
        if data.when.as_ref().is_some_and(|when| !when.holds(message)) {
            return None;
        }
        let topic = match &data.topic {
            TopicOf::Message(template) => template.fill(Some(json)).ok()?,
            TopicOf::Key(at) => self.keys.get(&scalar(at.find(json)?)?)?.to_string(),
        };
        let snapshot = data.snapshot.as_ref().is_some_and(|snapshot| snapshot.holds(message));
        let sequence = data.sequence.as_ref().map_or_else(Sequence::none, |numbers| {
            self.begun(numbers, &topic, numbers.kind.read(json))
        });
        Some(match snapshot {
            true => Said::snapshot(topic, sequence, item()),
            false => Said::data(topic, sequence, item()),
        })
    }
}

impl FileDialect {
    /// Marks the first number of a topic on this socket where they begin anew.
    fn begun(&mut self, numbers: &ack::Sequence, topic: &str, sequence: Sequence) -> Sequence {
        if numbers.restarts
            && let Some(asked) = self.asked.get_mut(topic)
            && !std::mem::replace(&mut asked.has_ticked, true)
        {
            return sequence.restarted();
        }
        sequence
    }

    /// Returns the topic and the last number of a snapshot that was asked for, if the message is one.
    fn asked_snapshot(
        &mut self,
        venue: &Venue,
        message: &Looked<'_>,
        json: &Value,
    ) -> Option<(String, Sequence)> {
        let answer = venue.resync.as_ref()?.answer.as_ref()?;
        if !answer.when.holds(message) {
            return None;
        }
        let topic = answer.topic.fill(Some(json)).ok()?;
        let (Some(numbers), Some(last)) = (&venue.data.sequence, &answer.last) else {
            return Some((topic, Sequence::none()));
        };
        let last = numbers.kind.of_snapshot(last.find(json).and_then(number)?);
        let sequence = self.begun(numbers, &topic, last);
        Some((topic, sequence))
    }
}

impl Dialect for FileDialect {
    type Item = Payload;

    fn login(&mut self) -> Option<Request> {
        let venue = self.venue.clone();
        let request = match &venue.login.as_ref()?.how {
            How::Command(_) => Request::text(self.signed.clone()),
            How::Send(texts) => self.own(texts.first()?, None).ok()?,
        };
        Some(request.secret())
    }

    fn kind<'t>(&self, topic: &'t str) -> &'t str {
        let by = self.venue.subscribe.by.as_deref();
        by.and_then(|by| self.part(topic, by)).unwrap_or(&topic[..0])
    }

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        for topic in topics {
            self.asked.entry(topic.clone()).or_default();
        }
        as_request(self.subscription(id, topics), &self.venue.subscribe.send)
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        let template = self.venue.subscribe.unsubscribe.as_ref()?;
        Some(as_request(self.about(template, id, topics), template))
    }

    fn snapshot(&mut self, id: RequestId, topic: &Topic) -> Option<Request> {
        let template = self.venue.resync.as_ref()?.send.as_ref()?;
        Some(as_request(self.about(template, id, std::slice::from_ref(topic)), template))
    }

    fn heartbeat(&mut self) -> Option<Request> {
        let venue = self.venue.clone();
        self.own(&venue.heartbeat.as_ref()?.send, None).ok()
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, Payload> {
        let text = match (message, self.venue.decode) {
            (View::Text(text), _) => Cow::Borrowed(text),
            (View::Binary(bytes), Some(format)) => {
                match inflate::as_text(bytes, format, self.limit) {
                    Some(text) => Cow::Owned(text),
                    None => {
                        self.warn("a binary message is not compressed as `decode.binary` says, or too large");
                        return Said::Nothing;
                    }
                }
            }
            // Whatever is not UTF-8 fits nothing.
            (View::Binary(bytes), None) => {
                std::str::from_utf8(bytes).map_or(Cow::Borrowed(""), Cow::Borrowed)
            }
        };
        let message_is_text = !matches!((message, self.venue.decode), (View::Binary(_), None));
        let looked = Looked::at(&text);
        let item = || match message_is_text {
            true => Payload::from(text.to_string()),
            false => message.to_payload(),
        };
        let said = self.look(&looked, item);
        let number = self.venue.line_number.as_ref();
        let number = number.and_then(|at| looked.json().and_then(|json| at.find(json)));
        match number.and_then(self::number) {
            Some(number) => [Said::counted(number), said].into_iter().collect(),
            None => said,
        }
    }
}

/// Returns a key as the venue wrote it: a number without quotes.
fn key(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
}

/// Returns a request, kept out of all records if it has secrets.
fn as_request(text: String, template: &Template) -> Request {
    let is_secret = template.places().any(|it| matches!(it, Place::Env(_) | Place::File(_)));
    let request = Request::text(text);
    if is_secret { request.secret() } else { request }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
url = "ws://a.example/"
topics = ["x:1"]
[topic]
parts = "{channel}:{inst}"
item = '{"c":"{channel}","i":"{inst}"}'
[login]
send = ['{"login":{id}}', '{"more":{id}}']
ok = { at = "/ok", exists = true }
refused = { at = "/bad", exists = true, reason = "/why", code = "/bad", final = [7] }
[subscribe]
send = '{"id":{id},"c":"{channel}","args":{topics}}'
by = "channel"
[unsubscribe]
send = '{"off":{key}}'
[ack]
topic = "{/c}:{/i}"
key = "/chan"
when = { at = "/chan", exists = true }
refused = { at = "/bad", exists = true, topics = "/of" }
[data]
key = "/0"
sequence = { kind = "chained", previous = "/1", this = "/2", restarts = true }
[heartbeat]
every = "1s"
send = "ping {id}"
reply = { text = "pong" }
[[answer]]
when = { at = "/ping", exists = true }
send = '{"pong":{/ping}}'
"#;

    fn dialect(file: &str) -> FileDialect {
        let venue = Arc::new(Venue::parse(file).unwrap());
        FileDialect::new(venue, Values::default(), String::new(), 1 << 20)
    }

    /// Reads a message, and returns what it says, without the contents of requests.
    fn said(dialect: &mut FileDialect, text: &str) -> String {
        format!("{:?}", dialect.read(View::Text(text)))
    }

    #[test]
    fn a_login_of_several_texts_ends_with_the_last_answer() {
        let mut dialect = dialect(FILE);
        assert!(dialect.login().is_some());
        let before = said(&mut dialect, r#"{"bad":7,"why":"no key"}"#);
        assert!(
            before.starts_with("LoginRefused") && before.contains("no key (code 7)"),
            "{before}"
        );
        assert!(before.contains("for_good: true"), "{before}");
        assert!(said(&mut dialect, r#"{"ok":1}"#).starts_with("Answer"));
        assert_eq!(said(&mut dialect, r#"{"ok":1}"#), "LoggedIn");
        // From now on neither is about the login.
        assert_eq!(said(&mut dialect, r#"{"ok":1}"#), "Nothing");
        let after = said(&mut dialect, r#"{"bad":7,"of":["x:1"]}"#);
        assert!(
            after.starts_with("Refused(Topics") && after.contains("for_good: false"),
            "{after}"
        );
    }

    #[test]
    fn what_fits_several_conditions_is_the_first_of_the_order() {
        let mut dialect = dialect(FILE);
        assert_eq!(said(&mut dialect, "pong"), "Alive");
        assert!(said(&mut dialect, r#"{"ping":1,"bad":7,"ok":1}"#).starts_with("Answer"));
        assert!(said(&mut dialect, r#"{"bad":7,"ok":1}"#).starts_with("LoginRefused"));
        for nothing in ["", "{", "[]", "7", r#"{"chan":1}"#, "[1]", r#"["a",{},{}]"#] {
            assert_eq!(said(&mut dialect, nothing), "Nothing", "{nothing}");
        }
    }

    #[test]
    fn a_key_stands_for_its_topic_until_it_ends() {
        let mut dialect = dialect(FILE);
        dialect.login = None;
        let topics = [Topic::from("x:1")];
        let text = dialect.subscription(3, &topics);
        assert_eq!(text, r#"{"id":3,"c":"x","args":[{"c":"x","i":"1"}]}"#);
        let _ = dialect.subscribe(3, &topics);
        assert_eq!(dialect.kind("x:1"), "x");
        assert_eq!(said(&mut dialect, "[17,1,2]"), "Nothing");
        // Another topic, which was not asked for, gets no key.
        said(&mut dialect, r#"{"c":"y","i":"2","chan":18}"#);
        assert_eq!(said(&mut dialect, "[18,1,2]"), "Nothing");
        assert!(said(&mut dialect, r#"{"c":"x","i":"1","chan":17}"#).contains("x:1"));
        let first = said(&mut dialect, r#"[17,"-1","2"]"#);
        assert!(first.contains("x:1") && first.contains("restarted: true"), "{first}");
        let next = said(&mut dialect, "[17,2,3]");
        assert!(
            next.contains("previous: 2, this: 3") && next.contains("restarted: false"),
            "{next}"
        );
        let off = dialect.venue.subscribe.unsubscribe.clone().unwrap();
        assert_eq!(dialect.about(&off, 4, &topics), r#"{"off":17}"#);
        assert!(said(&mut dialect, r#"{"chan":17}"#).starts_with("Confirmed(Topics"));
        assert_eq!(said(&mut dialect, "[17,3,4]"), "Nothing");
    }

    #[test]
    fn topics_of_an_answer_are_names_objects_or_lists_by_their_first_part() {
        let dialect = dialect(FILE);
        for (json, names) in [
            (r#""x:1""#, &["x:1"][..]),
            (r#"["x:1","x:2"]"#, &["x:1", "x:2"]),
            (r#"[{"channel":"x","inst":1}]"#, &["x:1"]),
            (r#"{"x":["1","2"],"y":[],"z":7}"#, &["x:1", "x:2"]),
            ("null", &["null"]),
            ("{}", &[]),
        ] {
            assert_eq!(dialect.names(&serde_json::from_str(json).unwrap()), names, "{json}");
        }
    }

    #[test]
    fn binary_messages_are_inflated_up_to_the_limit() {
        use std::io::Write;
        let file = FILE.to_owned() + "[decode]\nbinary = \"gzip\"\n";
        let gzip = |text: &str| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let mut dialect = dialect(&file);
        let read = |dialect: &mut FileDialect, bytes: &[u8]| {
            format!("{:?}", dialect.read(View::Binary(bytes)))
        };
        assert_eq!(read(&mut dialect, &gzip("pong")), "Alive");
        assert_eq!(read(&mut dialect, b"pong"), "Nothing");
        let long = format!("{:?}", " ".repeat(1 << 20));
        assert_eq!(read(&mut dialect, &gzip(&long)), "Nothing");
        let venue = dialect.venue.clone();
        assert_eq!(inflate::as_text(&gzip(&long), venue.decode.unwrap(), 1 << 20), None);
    }
}

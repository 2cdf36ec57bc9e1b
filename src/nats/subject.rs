//! Which subject the updates of a topic are published on, and which topic a subject is of.

use std::fmt::Write;

use percent_encoding::percent_decode_str;

use crate::nats::error::Error;

/// The subject of each topic: a template with `{topic}` as one of its tokens, such as `feed.{topic}`.
///
/// What a token cannot hold is escaped: `.`, `*`, `>`, `%`, spaces, control characters and all that is not ASCII become
/// `%` and two hexadecimal digits for each byte of UTF-8, and the empty topic becomes `%`. No two topics have the same
/// subject, and each can be read back.
///
/// ```
/// use actix_ws_client::nats::Subject;
///
/// let subject = Subject::parse("feed.{topic}")?;
/// assert_eq!(subject.of("trade.BTC-USD"), "feed.trade%2EBTC-USD");
/// assert_eq!(subject.topic("feed.trade%2EBTC-USD").as_deref(), Some("trade.BTC-USD"));
/// # Ok::<(), actix_ws_client::nats::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What stands before the topic, with its dot.
    before: String,
    /// What stands behind it, with its dot.
    after: String,
}

/// What stands for the topic in a template.
const PLACE: &str = "{topic}";

/// The token of the empty topic.
const EMPTY: &str = "%";

impl Subject {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Option`] with what is wrong with it.
    pub fn parse(template: &str) -> Result<Subject, Error> {
        Subject::read(template).map_err(|why| Error::option("subject", why))
    }

    /// Reads a template. Returns what is wrong with it otherwise.
    pub(crate) fn read(template: &str) -> Result<Subject, String> {
        let tokens: Vec<&str> = template.split('.').collect();
        if tokens.iter().filter(|token| **token == PLACE).count() != 1 {
            return Err(format!(
                "\"{template}\" needs {PLACE} once, as a token of its own, as in feed.{PLACE}"
            ));
        }
        if let Some(token) = tokens.iter().find(|token| **token != PLACE && !is_plain(token)) {
            return Err(format!(
                "\"{template}\" has the token \"{token}\"; a token is not empty, and has none of * > {{ }}, spaces and characters beyond ASCII"
            ));
        }
        // `$JS`, `$SYS` and others are the broker's own.
        if template.starts_with('$') {
            return Err(format!(
                "\"{template}\" begins with $, as the subjects of the broker itself do"
            ));
        }
        let (before, after) = template.split_once(PLACE).unwrap_or((template, ""));
        Ok(Subject { before: before.to_owned(), after: after.to_owned() })
    }

    /// Returns the subject of a topic.
    pub fn of(&self, topic: &str) -> String {
        let mut subject = String::with_capacity(self.before.len() + topic.len() + self.after.len());
        subject.push_str(&self.before);
        escape_to(&mut subject, topic);
        subject.push_str(&self.after);
        subject
    }

    /// Returns the topic of a subject; `None` if it is the subject of none.
    pub fn topic(&self, subject: &str) -> Option<String> {
        unescape(subject.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?)
    }

    /// Returns the subject that the subjects of all topics match, such as `feed.*`.
    pub fn filter(&self) -> String {
        format!("{}*{}", self.before, self.after)
    }
}

/// Returns whether subjects of one pattern contain all that match a filter. Both may have `*`, the pattern also `>`.
pub(crate) fn covers(pattern: &str, filter: &str) -> bool {
    let (mut patterns, mut filters) = (pattern.split('.'), filter.split('.'));
    loop {
        match (patterns.next(), filters.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(token), Some(other)) if token == other => {}
            _ => return false,
        }
    }
}

/// Whether a text can be a token as it is, in a template.
fn is_plain(token: &str) -> bool {
    !token.is_empty()
        && token.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>{}".contains(&byte))
}

/// Appends a topic as a token.
pub(crate) fn escape_to(subject: &mut String, topic: &str) {
    if topic.is_empty() {
        return subject.push_str(EMPTY);
    }
    for byte in topic.bytes() {
        if byte.is_ascii_graphic() && !b".*>%".contains(&byte) {
            subject.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(subject, "%{byte:02X}");
        }
    }
}

/// Reads a token that [`escape_to`] wrote; `None` if it did not.
fn unescape(token: &str) -> Option<String> {
    if token == EMPTY {
        return Some(String::new());
    }
    let topic = percent_decode_str(token).decode_utf8().ok()?.into_owned();
    let mut written = String::new();
    escape_to(&mut written, &topic);
    (written == token).then_some(topic)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed() -> Subject {
        Subject::read("feed.{topic}").unwrap()
    }

    #[test]
    fn what_a_token_cannot_hold_is_escaped() {
        let token = |topic| feed().of(topic);
        assert_eq!(token("BTC-USD@trade:1/a~_b"), "feed.BTC-USD@trade:1/a~_b");
        assert_eq!(token("a.b*c>d%e f\tg\r\n"), "feed.a%2Eb%2Ac%3Ed%25e%20f%09g%0D%0A");
        assert_eq!(token("é"), "feed.%C3%A9");
        assert_eq!(token(""), "feed.%");
        assert_eq!(token("%"), "feed.%25");
    }

    #[test]
    fn a_subject_that_no_topic_has_has_no_topic() {
        for subject in
            ["feed.", "feed.a.b", "feed.%2", "feed.%61", "feed.%2e", "feed.%FF", "other.a", "feed"]
        {
            assert_eq!(feed().topic(subject), None, "{subject}");
        }
    }

    #[test]
    fn a_template_has_the_topic_once_as_a_token_of_its_own() {
        for (template, why) in [
            ("feed", "needs {topic} once"),
            ("feed.{topic}x", "needs {topic} once"),
            ("{topic}.{topic}", "needs {topic} once"),
            ("feed..{topic}", "has the token \"\""),
            ("feed.*.{topic}", "has the token \"*\""),
            ("feed.>.{topic}", "has the token \">\""),
            ("fe ed.{topic}", "has the token \"fe ed\""),
            ("feed.{other}.{topic}", "has the token \"{other}\""),
            ("$JS.{topic}", "begins with $"),
        ] {
            let err = Subject::read(template).unwrap_err();
            assert!(err.contains(why), "{template}: {err}");
        }
        let subject = Subject::read("a.{topic}.b").unwrap();
        assert_eq!((subject.of("x"), subject.filter()), ("a.x.b".into(), "a.*.b".into()));
        assert_eq!(subject.topic("a.x.b").as_deref(), Some("x"));
        assert_eq!(Subject::read("{topic}").unwrap().filter(), "*");
    }

    #[test]
    fn a_pattern_covers_what_is_published_or_not() {
        for pattern in ["feed.*", "feed.>", ">", "*.*", "*.>"] {
            assert!(covers(pattern, "feed.*"), "{pattern}");
        }
        for pattern in ["feed", "feed.a", "feed.*.*", "feed.*.>", "other.*", "*", ""] {
            assert!(!covers(pattern, "feed.*"), "{pattern}");
        }
        assert!(!covers("*", ">"));
    }

    proptest! {
        #[test]
        fn a_topic_is_one_token_and_can_be_read_back(topic in any::<String>()) {
            let subject = feed().of(&topic);
            let token = subject.strip_prefix("feed.").unwrap();
            prop_assert!(!token.is_empty());
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>".contains(&byte)));
            prop_assert_eq!(feed().topic(&subject), Some(topic));
        }

        #[test]
        fn what_can_be_read_is_what_would_be_written(token in "[ -~é]{0,8}") {
            let subject = format!("feed.{token}");
            if let Some(topic) = feed().topic(&subject) {
                prop_assert_eq!(feed().of(&topic), subject);
            }
        }
    }
}

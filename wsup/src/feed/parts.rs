//! The parts of a topic: `{channel}:{inst}`.

use std::str::FromStr;

/// A pattern of named parts with texts between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// What stands before the first part.
    before: String,
    /// Each part with the text behind it.
    parts: Vec<(String, String)>,
}

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Parts, String> {
        const SHAPE: &str =
            "expected names in braces with texts between them, such as {channel}:{inst}";
        let mut pieces = text.split('{');
        let before = pieces.next().unwrap_or_default().to_owned();
        let mut parts: Vec<(String, String)> = Vec::new();
        for piece in pieces {
            let (name, behind) = piece.split_once('}').ok_or(SHAPE)?;
            if name.is_empty() || !name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_') {
                return Err(format!("`{{{name}}}` is no part: a name has letters, digits and _"));
            }
            if ["id", "key", "topic", "topics"].contains(&name) {
                return Err(format!("`{{{name}}}` has another meaning: choose another name"));
            }
            if parts.iter().any(|(other, _)| other == name) {
                return Err(format!("`{{{name}}}` is there twice"));
            }
            if parts.last().is_some_and(|(_, between)| between.is_empty()) {
                return Err(format!("there must be a text before `{{{name}}}`"));
            }
            parts.push((name.to_owned(), behind.to_owned()));
        }
        match parts.is_empty()
            || before.contains('}')
            || parts.iter().any(|(_, it)| it.contains('}'))
        {
            true => Err(SHAPE.to_owned()),
            false => Ok(Parts { before, parts }),
        }
    }
}

impl Parts {
    /// Returns the names of the parts.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the value of a part of a topic.
    pub(crate) fn part<'t>(&self, topic: &'t str, name: &str) -> Option<&'t str> {
        let at = self.names().position(|other| other == name)?;
        self.split(topic)?.get(at).copied()
    }

    /// Returns the topic that has these values, in the order of the names.
    pub(crate) fn join(&self, values: &[String]) -> String {
        let pairs = self.parts.iter().zip(values);
        let mut topic = self.before.clone();
        pairs.for_each(|((_, behind), value)| topic.extend([value.as_str(), behind]));
        topic
    }

    /// Splits a topic: each part ends at the first text that stands behind it. Returns the values in the order
    /// of the names, or `None` if the topic does not fit.
    pub(crate) fn split<'t>(&self, topic: &'t str) -> Option<Vec<&'t str>> {
        let mut rest = topic.strip_prefix(&*self.before)?;
        let mut values = Vec::new();
        for (index, (_, behind)) in self.parts.iter().enumerate() {
            let is_last = index + 1 == self.parts.len();
            let (value, more) = match is_last {
                true => (rest.strip_suffix(&**behind)?, ""),
                false => rest.split_once(&**behind)?,
            };
            values.push(value);
            rest = more;
        }
        values.iter().all(|value| !value.is_empty()).then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_split_where_the_pattern_says() {
        let split = |parts: &str, topic| {
            parts.parse::<Parts>().unwrap().split(topic).map(|it| it.join("|"))
        };
        assert_eq!(split("{channel}:{inst}", "trades:BTC-USD").as_deref(), Some("trades|BTC-USD"));
        assert_eq!(split("{channel}:{inst}", "a:b:c").as_deref(), Some("a|b:c"));
        assert_eq!(split("{inst}@{kind}.raw", "btc@trade.raw").as_deref(), Some("btc|trade"));
        assert_eq!(split("v1/{inst}", "v1/x").as_deref(), Some("x"));
        for (parts, topic) in
            [("{a}:{b}", "ab"), ("{a}:{b}", ":b"), ("{a}:{b}", "a:"), ("v1/{a}", "x")]
        {
            assert_eq!(split(parts, topic), None, "{parts} {topic}");
        }
        for bad in ["", "x", "{", "{}", "{a}{b}", "{a}:{a}", "{a b}", "{id}", "a}", "{a}}"] {
            assert!(bad.parse::<Parts>().is_err(), "{bad}");
        }
    }
}

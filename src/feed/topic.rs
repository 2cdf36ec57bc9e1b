//! The names of what a feed is made of: topics, shards, lines and requests.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The key of one subscription, such as `trade.BTC-USD`: a string that is cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Topic {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl From<&str> for Topic {
    fn from(text: &str) -> Topic {
        Topic(text.into())
    }
}

impl From<String> for Topic {
    fn from(text: String) -> Topic {
        Topic(text.into())
    }
}

impl From<&String> for Topic {
    fn from(text: &String) -> Topic {
        Topic(text.as_str().into())
    }
}

impl From<&Topic> for Topic {
    fn from(topic: &Topic) -> Topic {
        topic.clone()
    }
}

/// The number of a request to the venue, from 1, unique within one session.
pub type RequestId = u64;

/// A set of topics that share their lines. Numbered from 1 within a feed; a number is not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One supervised connection of a shard. Written `1a`: the shard's number and the line's letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct LineId {
    /// The shard that the line belongs to.
    pub shard: ShardId,
    /// The number of the line within its shard, from 0.
    pub line: u8,
}

impl LineId {
    pub(crate) fn new(shard: ShardId, line: u8) -> LineId {
        LineId { shard, line }
    }
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.shard, letter(self.line))
    }
}

/// Returns the letter of a line.
pub(crate) fn letter(line: u8) -> char {
    char::from(b'a' + line % 26)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_found_by_its_text() {
        let topics = std::collections::HashSet::from([Topic::from("a.b")]);
        assert!(topics.contains("a.b") && !topics.contains("a"));
    }

    #[test]
    fn a_line_is_shown_with_its_shard() {
        assert_eq!(LineId::new(ShardId(12), 1).to_string(), "12b");
    }
}

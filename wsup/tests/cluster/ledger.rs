//! Value: what the venue has sent, and to which processes.

use std::fmt;

/// The topics of the venue, in the order of the file.
pub(crate) const TOPICS: usize = 600;

/// The topics of a line, and so of a share.
pub(crate) const TOPICS_PER_LINE: usize = 50;

/// The shares of the feed.
pub(crate) const SHARES: usize = TOPICS / TOPICS_PER_LINE;

/// Returns the name of a topic.
pub(crate) fn name(topic: usize) -> String {
    format!("trade.T-{topic:03}")
}

/// Returns the topic with this name.
pub(crate) fn topic(name: &str) -> Option<usize> {
    name.strip_prefix("trade.T-")?.parse().ok().filter(|topic| *topic < TOPICS)
}

/// Returns the share of a topic, from 0.
pub(crate) fn share(topic: usize) -> usize {
    topic / TOPICS_PER_LINE
}

/// A process that takes part, by its letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) char);

/// A set of processes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Names(u32);

/// What became of one number of a topic.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent {
    /// The wall clock in milliseconds when the venue made it.
    pub(crate) made_ms: u64,
    /// The processes that it was sent to.
    pub(crate) to: Names,
}

/// What became of the numbers of every topic, from 1.
#[derive(Clone)]
pub(crate) struct Ledger {
    topics: Vec<Vec<Sent>>,
}

impl Names {
    pub(crate) fn of(name: Name) -> Names {
        let mut names = Names::default();
        names.add(name);
        names
    }

    pub(crate) fn add(&mut self, Name(letter): Name) {
        assert!(letter.is_ascii_lowercase(), "{letter}");
        self.0 |= 1 << (u32::from(letter) - u32::from('a'));
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger { topics: vec![Vec::new(); TOPICS] }
    }

    /// Makes the next number of a topic, and returns it.
    pub(crate) fn make(&mut self, topic: usize, made_ms: u64) -> u64 {
        let numbers = &mut self.topics[topic];
        numbers.push(Sent { made_ms, to: Names::default() });
        numbers.len() as u64
    }

    /// Notes that a number was sent to a process.
    pub(crate) fn sent(&mut self, topic: usize, number: u64, to: Name) {
        self.topics[topic][number as usize - 1].to.add(to);
    }

    /// Returns what became of the numbers of a topic.
    pub(crate) fn of(&self, topic: usize) -> &[Sent] {
        &self.topics[topic]
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = ('a'..='z').filter(|&it| self.0 & Names::of(Name(it)).0 != 0);
        write!(f, "{{{}}}", letters.collect::<String>())
    }
}

//! The topics of a shard: which are wanted, and which the venue has refused.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::feed::pace::after;
use crate::feed::said::Refusal;
use crate::feed::topic::Topic;

/// The place of a topic in the tables of its shard. Used again once the topic is released.
pub(crate) type Slot = u32;

/// The topics of a shard, from the first time that one is wanted until no session has it any more.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    entries: Vec<Entry>,
    slots: HashMap<Topic, Slot>,
    /// Slots without a topic.
    free: Vec<Slot>,
    /// The refused topics that are asked for again, by time.
    retries: BTreeSet<(Instant, Slot)>,
    wanted: usize,
    refused: usize,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    wanted: bool,
    refused: Option<Refused>,
    /// The number of refusals for now in a row.
    refusals: u32,
}

/// The newest refusal of a topic.
#[derive(Debug)]
struct Refused {
    refusal: Refusal,
    /// When it is asked for again; `None` if it was refused for good.
    retry_at: Option<Instant>,
}

/// The time until a topic that was refused is asked for again: it doubles with each refusal.
const FIRST_RETRY: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_secs(600);

impl Topics {
    /// Makes a topic wanted, and returns its slot.
    pub(crate) fn add(&mut self, topic: &Topic) -> Slot {
        let slot = match self.slots.get(topic) {
            Some(slot) => *slot,
            None => self.insert(topic.clone()),
        };
        let entry = &mut self.entries[slot as usize];
        if !entry.wanted {
            entry.wanted = true;
            self.wanted += 1;
            self.refused += usize::from(entry.refused.is_some());
        }
        slot
    }

    fn insert(&mut self, topic: Topic) -> Slot {
        let entry = Entry { topic: topic.clone(), wanted: false, refused: None, refusals: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                Slot::try_from(self.entries.len() - 1).expect("fewer topics than 4 billion")
            }
        };
        self.slots.insert(topic, slot);
        slot
    }

    /// Makes a topic unwanted. Its refusal is forgotten.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot as usize];
        if entry.wanted {
            self.wanted -= 1;
            self.refused -= usize::from(entry.refused.is_some());
            entry.wanted = false;
            entry.refusals = 0;
            if let Some(Refused { retry_at: Some(at), .. }) = entry.refused.take() {
                self.retries.remove(&(at, slot));
            }
        }
    }

    /// Frees the slot of a topic that is neither wanted nor subscribed. Returns the topic; `None` if it is
    /// wanted, or released already.
    pub(crate) fn release(&mut self, slot: Slot) -> Option<Topic> {
        let entry = &self.entries[slot as usize];
        if entry.wanted || self.slots.get(&entry.topic) != Some(&slot) {
            return None;
        }
        let topic = entry.topic.clone();
        self.slots.remove(&topic);
        self.free.push(slot);
        Some(topic)
    }

    /// Returns the slot of a topic.
    #[inline]
    pub(crate) fn slot(&self, topic: &str) -> Option<Slot> {
        self.slots.get(topic).copied()
    }

    /// Returns the topic of a slot.
    #[inline]
    pub(crate) fn topic(&self, slot: Slot) -> &Topic {
        &self.entries[slot as usize].topic
    }

    /// Returns the topic of a slot with its slot in the tables: all that are wanted or not yet released.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Topic, Slot)> {
        self.slots.iter().map(|(topic, slot)| (topic, *slot))
    }

    /// Whether a topic is wanted.
    #[inline]
    pub(crate) fn is_wanted(&self, slot: Slot) -> bool {
        self.entries[slot as usize].wanted
    }

    /// Whether a topic is wanted, and not refused.
    pub(crate) fn may_ask(&self, slot: Slot) -> bool {
        let entry = &self.entries[slot as usize];
        entry.wanted && entry.refused.is_none()
    }

    /// Returns the newest refusal of a topic, until it is asked for again.
    pub(crate) fn refusal(&self, slot: Slot) -> Option<&Refusal> {
        self.entries[slot as usize].refused.as_ref().map(|refused| &refused.refusal)
    }

    /// Records that the venue has refused a topic.
    pub(crate) fn refuse(&mut self, slot: Slot, refusal: Refusal, now: Instant) {
        self.clear(slot);
        let entry = &mut self.entries[slot as usize];
        if !entry.wanted {
            return;
        }
        let retry_at = (!refusal.for_good).then(|| {
            let doubled = FIRST_RETRY.saturating_mul(1 << entry.refusals.min(10));
            after(now, doubled.min(LAST_RETRY))
        });
        entry.refusals = entry.refusals.saturating_add(1);
        entry.refused = Some(Refused { refusal, retry_at });
        self.refused += 1;
        self.retries.extend(retry_at.map(|at| (at, slot)));
    }

    /// Records that the venue has confirmed a topic.
    pub(crate) fn confirm(&mut self, slot: Slot) {
        self.clear(slot);
        self.entries[slot as usize].refusals = 0;
    }

    /// Returns when the next refused topic is asked for again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// Returns a topic that may be asked for again, once for each refusal.
    pub(crate) fn poll_retry(&mut self, now: Instant) -> Option<Slot> {
        let (_, slot) = *self.retries.first().filter(|(at, _)| *at <= now)?;
        self.clear(slot);
        Some(slot)
    }

    /// Returns the number of wanted topics.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Returns the number of wanted topics that are refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Removes the refusal of a topic.
    fn clear(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot as usize];
        if let Some(refused) = entry.refused.take() {
            self.refused -= usize::from(entry.wanted);
            if let Some(at) = refused.retry_at {
                self.retries.remove(&(at, slot));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_topic_keeps_its_slot_until_it_is_released() {
        let mut topics = Topics::default();
        let (a, b) = (topics.add(&"a".into()), topics.add(&"b".into()));
        assert_eq!((topics.add(&"a".into()), topics.wanted()), (a, 2));
        assert_eq!(topics.release(a), None, "it is wanted");
        topics.remove(a);
        assert_eq!((topics.slot("a"), topics.add(&"a".into())), (Some(a), a));
        topics.remove(a);
        assert_eq!(topics.release(a), Some("a".into()));
        assert_eq!((topics.release(a), topics.slot("a")), (None, None));
        assert_eq!(topics.add(&"c".into()), a, "the slot is used again");
        assert_eq!((topics.topic(a).as_str(), topics.topic(b).as_str()), ("c", "b"));
    }

    #[test]
    fn a_refusal_for_now_is_retried_later_each_time_and_at_most_every_ten_minutes() {
        let (mut topics, mut now) = (Topics::default(), Instant::now());
        let slot = topics.add(&"a".into());
        let mut waits = Vec::new();
        for _ in 0..7 {
            topics.refuse(slot, Refusal::for_now("later"), now);
            assert!(!topics.may_ask(slot) && topics.refused() == 1);
            let at = topics.next_retry().unwrap();
            assert_eq!(topics.poll_retry(at - SECOND / 2), None);
            assert_eq!(topics.poll_retry(at), Some(slot));
            assert!(topics.may_ask(slot) && topics.refused() == 0);
            waits.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
        topics.confirm(slot);
        topics.refuse(slot, Refusal::for_now("later"), now);
        assert_eq!(topics.next_retry(), Some(now + 30 * SECOND), "it begins anew");
    }

    #[test]
    fn a_refusal_for_good_is_never_retried_until_the_topic_is_added_anew() {
        let (mut topics, now) = (Topics::default(), Instant::now());
        let slot = topics.add(&"a".into());
        topics.refuse(slot, Refusal::for_good("no such topic"), now);
        assert_eq!((topics.next_retry(), topics.may_ask(slot)), (None, false));
        assert_eq!(topics.refusal(slot), Some(&Refusal::for_good("no such topic")));
        topics.add(&"a".into());
        assert!(!topics.may_ask(slot), "a second user does not make it acceptable");
        topics.remove(slot);
        assert_eq!(topics.refused(), 0);
        topics.add(&"a".into());
        assert!(topics.may_ask(slot));
    }

    #[test]
    fn what_is_not_wanted_is_not_refused() {
        let (mut topics, now) = (Topics::default(), Instant::now());
        let slot = topics.add(&"a".into());
        topics.refuse(slot, Refusal::for_now("later"), now);
        topics.remove(slot);
        topics.refuse(slot, Refusal::for_now("later"), now);
        assert_eq!((topics.refused(), topics.wanted(), topics.next_retry()), (0, 0, None));
    }
}

//! The topics of a shard: which are wanted, and which the venue has refused on which line.
//!
//! A refusal concerns the line that it came on. Calls about refusals are about the line that was
//! [selected](Topics::select) last; a topic is refused as a whole once every open line has a refusal of it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::feed::pace::after;
use crate::feed::said::Refusal;
use crate::feed::table;
use crate::feed::topic::Topic;

/// The place of a topic in the tables of its shard. Used again once the topic is released.
pub(crate) type Slot = u32;

/// The topics of a shard, from the first time that one is wanted until no session has it any more.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    entries: Vec<Entry>,
    slots: HashMap<Topic, Slot, foldhash::fast::RandomState>,
    /// Slots without a topic.
    free: Vec<Slot>,
    /// The line that refusals are about.
    line: u8,
    /// The lines with an open socket, one bit for each.
    open: u64,
    /// The refused topics that are asked for again, by line and time.
    retries: Vec<BTreeSet<(Instant, Slot)>>,
    wanted: usize,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    wanted: bool,
    /// Whether the slot has not been released.
    is_used: bool,
    /// What the lines have refused, one entry for each that has. Empty for nearly all topics.
    refused: Vec<Refused>,
}

/// The refusals of a topic on one line.
#[derive(Debug)]
struct Refused {
    line: u8,
    /// The newest one, until it is asked for again.
    refusal: Option<Refusal>,
    /// When it is asked for again; `None` if it was refused for good.
    retry_at: Option<Instant>,
    /// The number of refusals for now in a row.
    count: u32,
}

/// The time until a topic that was refused is asked for again: it doubles with each refusal.
const FIRST_RETRY: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_secs(600);

impl Topics {
    /// Sets the line that the following calls about refusals are about.
    #[inline]
    pub(crate) fn select(&mut self, line: u8) {
        self.line = line;
    }

    /// Notes that a line has opened a socket, or that its socket has ended.
    pub(crate) fn set_open(&mut self, line: u8, is_open: bool) {
        let bit = 1 << (line % 64);
        self.open = if is_open { self.open | bit } else { self.open & !bit };
    }

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
        }
        slot
    }

    fn insert(&mut self, topic: Topic) -> Slot {
        let (wanted, is_used, refused) = (false, true, Vec::new());
        let entry = Entry { topic: topic.clone(), wanted, is_used, refused };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                let len = self.entries.len() + 1;
                table::reserve(&mut self.entries, len);
                self.entries.push(entry);
                Slot::try_from(self.entries.len() - 1).expect("fewer topics than 4 billion")
            }
        };
        self.slots.insert(topic, slot);
        slot
    }

    /// Makes a topic unwanted. Its refusals are forgotten.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot as usize];
        if entry.wanted {
            self.wanted -= 1;
            entry.wanted = false;
            for Refused { line, retry_at, .. } in entry.refused.drain(..) {
                if let Some(at) = retry_at {
                    self.retries[usize::from(line)].remove(&(at, slot));
                }
            }
        }
    }

    /// Frees the slot of a topic that is neither wanted nor subscribed. Returns the topic; `None` if it is
    /// wanted, or released already.
    pub(crate) fn release(&mut self, slot: Slot) -> Option<Topic> {
        let entry = &mut self.entries[slot as usize];
        if entry.wanted || !std::mem::take(&mut entry.is_used) {
            return None;
        }
        let topic = entry.topic.clone();
        self.slots.remove(&topic);
        self.free.push(slot);
        Some(topic)
    }

    /// Returns the slot of a topic.
    #[inline(never)] // inlined, it would be another caller of `get`, and `slot_of_message` would call that too
    pub(crate) fn slot(&self, topic: &str) -> Option<Slot> {
        self.slots.get(topic).copied()
    }

    /// Does the same as [`slot`](Topics::slot), for the loop over a read. That loop is its only caller, so that the compiler
    /// inlines the look-up: as a function it takes 35 instructions more for each message of each line.
    #[inline]
    pub(crate) fn slot_of_message(&self, topic: &str) -> Option<Slot> {
        self.slots.get(topic).copied()
    }

    /// Returns the topic of a slot.
    #[inline]
    pub(crate) fn topic(&self, slot: Slot) -> &Topic {
        &self.entries[slot as usize].topic
    }

    /// Returns each topic and its slot, in the order of the slots: all that are wanted or not yet released. The order
    /// depends on nothing but the calls before, so that a replay of a shard has the same.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Topic, Slot)> {
        let entries = (0..).zip(&self.entries).filter(|(_, entry)| entry.is_used);
        entries.map(|(slot, entry)| (&entry.topic, slot))
    }

    /// Whether a topic is wanted.
    pub(crate) fn is_wanted(&self, slot: Slot) -> bool {
        self.entries[slot as usize].wanted
    }

    /// Whether a topic is wanted, and not refused on the selected line.
    pub(crate) fn may_ask(&self, slot: Slot) -> bool {
        let entry = &self.entries[slot as usize];
        entry.wanted && entry.refusal_on(self.line).is_none()
    }

    /// Returns a refusal of a topic, until it is asked for again. `None` if an open line has not refused it.
    pub(crate) fn refusal(&self, slot: Slot) -> Option<&Refusal> {
        let entry = &self.entries[slot as usize];
        let refused = entry.refused.iter().filter(|refused| refused.refusal.is_some());
        let lines = refused.fold(0, |lines, refused| lines | 1_u64 << (refused.line % 64));
        let newest = entry.refusal_on(self.line);
        let any = entry.refused.iter().find_map(|refused| refused.refusal.as_ref());
        newest.or(any).filter(|_| self.open & !lines == 0)
    }

    /// Records that the venue has refused a topic on the selected line.
    pub(crate) fn refuse(&mut self, slot: Slot, refusal: Refusal, now: Instant) {
        self.clear(slot);
        let line = self.line;
        let entry = &mut self.entries[slot as usize];
        if !entry.wanted {
            return;
        }
        let at = entry.refused.iter().position(|refused| refused.line == line);
        let at = at.unwrap_or_else(|| {
            entry.refused.push(Refused { line, refusal: None, retry_at: None, count: 0 });
            entry.refused.len() - 1
        });
        let refused = &mut entry.refused[at];
        refused.retry_at = (!refusal.for_good).then(|| {
            let doubled = FIRST_RETRY.saturating_mul(1 << refused.count.min(10));
            after(now, doubled.min(LAST_RETRY))
        });
        refused.count = refused.count.saturating_add(1);
        refused.refusal = Some(refusal);
        if let Some(at) = refused.retry_at {
            if self.retries.len() <= usize::from(line) {
                self.retries.resize_with(usize::from(line) + 1, BTreeSet::new);
            }
            self.retries[usize::from(line)].insert((at, slot));
        }
    }

    /// Records that the venue has confirmed a topic on the selected line.
    pub(crate) fn confirm(&mut self, slot: Slot) {
        self.clear(slot);
        let line = self.line;
        self.entries[slot as usize].refused.retain(|refused| refused.line != line);
    }

    /// Returns when the next topic that the selected line has refused is asked for again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retries.get(usize::from(self.line))?.first().map(|(at, _)| *at)
    }

    /// Returns a topic that may be asked for again on the selected line, once for each refusal.
    pub(crate) fn poll_retry(&mut self, now: Instant) -> Option<Slot> {
        let retries = self.retries.get(usize::from(self.line))?;
        let (_, slot) = *retries.first().filter(|(at, _)| *at <= now)?;
        self.clear(slot);
        Some(slot)
    }

    /// Has one line begin with the refusals of another, so that it does not ask for what was refused.
    pub(crate) fn copy_refusals(&mut self, from: u8, to: u8) {
        self.forget(to);
        let at = usize::from(to);
        if self.retries.len() <= at {
            self.retries.resize_with(at + 1, BTreeSet::new);
        }
        for (slot, entry) in (0..).zip(&mut self.entries) {
            let Some(refused) = entry.refused.iter().find(|refused| refused.line == from) else {
                continue;
            };
            let copy = Refused { line: to, refusal: refused.refusal.clone(), ..*refused };
            self.retries[at].extend(copy.retry_at.map(|at| (at, slot)));
            entry.refused.push(copy);
        }
    }

    /// Forgets what a line has refused: the line has ended.
    pub(crate) fn forget(&mut self, line: u8) {
        self.entries.iter_mut().for_each(|entry| entry.refused.retain(|it| it.line != line));
        self.retries.get_mut(usize::from(line)).into_iter().for_each(BTreeSet::clear);
    }

    /// Returns one more than the highest slot in use.
    pub(crate) fn slots(&self) -> Slot {
        Slot::try_from(self.entries.len()).unwrap_or(Slot::MAX)
    }

    /// Returns the number of wanted topics.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Returns the number of wanted topics that every open line has refused.
    pub(crate) fn refused(&self) -> usize {
        let slots = (0..).zip(&self.entries).filter(|(_, entry)| entry.wanted);
        slots.filter(|(slot, _)| self.refusal(*slot).is_some()).count()
    }

    /// Removes the refusal of a topic on the selected line.
    fn clear(&mut self, slot: Slot) {
        let line = self.line;
        let entry = &mut self.entries[slot as usize];
        let refused = entry.refused.iter_mut().find(|refused| refused.line == line);
        if let Some(refused) = refused {
            refused.refusal = None;
            if let Some(at) = refused.retry_at.take() {
                self.retries[usize::from(line)].remove(&(at, slot));
            }
        }
    }
}

impl Entry {
    /// Returns the newest refusal on a line.
    fn refusal_on(&self, line: u8) -> Option<&Refusal> {
        self.refused.iter().find(|refused| refused.line == line)?.refusal.as_ref()
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
        assert_eq!((topics.slot_of_message("a"), topics.slot_of_message("c")), (Some(a), None));
        topics.remove(a);
        assert_eq!(topics.release(a), Some("a".into()));
        assert_eq!((topics.release(a), topics.slot("a")), (None, None));
        assert_eq!(topics.add(&"c".into()), a, "the slot is used again");
        assert_eq!((topics.topic(a).as_str(), topics.topic(b).as_str()), ("c", "b"));
    }

    #[test]
    fn topics_come_in_the_order_of_their_slots_without_those_that_were_released() {
        let mut topics = Topics::default();
        for number in 0..100 {
            topics.add(&format!("t{number}").into());
        }
        for slot in [7, 3] {
            topics.remove(slot);
            topics.release(slot);
        }
        topics.add(&"new".into());
        let slots: Vec<Slot> = topics.iter().map(|(_, slot)| slot).collect();
        assert_eq!(slots, (0..100).filter(|slot| *slot != 7).collect::<Vec<_>>());
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

    #[test]
    fn a_line_that_replaces_another_begins_with_its_refusals() {
        let (mut topics, now) = (Topics::default(), Instant::now());
        let [a, b, c] = ["a", "b", "c"].map(|topic| topics.add(&topic.into()));
        topics.set_open(0, true);
        topics.refuse(a, Refusal::for_good("no such topic"), now);
        topics.refuse(b, Refusal::for_now("later"), now);
        topics.copy_refusals(0, 1);
        topics.set_open(1, true);
        assert_eq!(topics.refused(), 2);
        topics.select(1);
        assert_eq!([a, b, c].map(|slot| topics.may_ask(slot)), [false, false, true]);
        assert_eq!(topics.poll_retry(now + FIRST_RETRY), Some(b));
        topics.refuse(b, Refusal::for_now("later"), now);
        assert_eq!(topics.next_retry(), Some(now + 2 * FIRST_RETRY), "as on the line before");
        topics.set_open(0, false);
        topics.forget(0);
        assert_eq!(topics.refused(), 2);
        topics.forget(1);
        assert_eq!((topics.refused(), topics.next_retry()), (0, None));
        assert!([a, b, c].iter().all(|slot| topics.may_ask(*slot)));
    }

    #[test]
    fn a_refusal_concerns_its_line_until_every_open_line_has_refused() {
        let (mut topics, now) = (Topics::default(), Instant::now());
        let slot = topics.add(&"a".into());
        (0..2).for_each(|line| topics.set_open(line, true));
        topics.select(1);
        topics.refuse(slot, Refusal::for_good("not here"), now);
        assert!(!topics.may_ask(slot));
        assert_eq!((topics.refusal(slot), topics.refused()), (None, 0));
        topics.select(0);
        assert!(topics.may_ask(slot), "the other line may have it");
        topics.refuse(slot, Refusal::for_now("later"), now);
        assert_eq!((topics.refusal(slot), topics.refused()), (Some(&Refusal::for_now("later")), 1));
        topics.select(1);
        assert_eq!((topics.next_retry(), topics.poll_retry(now + LAST_RETRY)), (None, None));
        topics.select(0);
        assert_eq!(topics.poll_retry(now + FIRST_RETRY), Some(slot));
        topics.confirm(slot);
        assert_eq!((topics.refused(), topics.may_ask(slot)), (0, true));
        topics.set_open(0, false);
        assert_eq!(topics.refused(), 1, "the open line has refused it");
        topics.remove(slot);
        assert_eq!(topics.refused(), 0);
    }
}

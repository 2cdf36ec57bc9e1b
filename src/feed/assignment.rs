//! Which topic is in which shard.

use std::collections::{BTreeMap, HashMap};

use crate::feed::topic::{ShardId, Topic};

/// The topics of a feed: how often each is wanted, and the shard that it is in. A topic never moves.
#[derive(Debug)]
pub(crate) struct Assignment {
    topics: HashMap<Topic, Assigned>,
    /// The number of topics in each shard, those that are leaving included.
    shards: BTreeMap<ShardId, usize>,
    topics_per_shard: usize,
    last_shard: u32,
}

#[derive(Debug)]
struct Assigned {
    shard: ShardId,
    /// How often it was added and not removed; 0 while it is leaving.
    count: usize,
}

/// What adding a topic leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) shard: ShardId,
    /// Whether the shard is new.
    pub(crate) is_new_shard: bool,
}

/// What removing a topic leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The shard has to let it leave.
    FromShard(ShardId),
    /// It was added more often than it was removed.
    Kept,
    /// It is not wanted, but may still be leaving this shard.
    NotWanted(Option<ShardId>),
}

impl Assignment {
    pub(crate) fn new(topics_per_shard: usize) -> Assignment {
        let (topics, shards) = (HashMap::new(), BTreeMap::new());
        Assignment { topics, shards, topics_per_shard, last_shard: 0 }
    }

    /// Counts a topic once more. A new one goes to the fullest shard that has room.
    pub(crate) fn add(&mut self, topic: &Topic) -> Added {
        if let Some(assigned) = self.topics.get_mut(topic) {
            assigned.count += 1;
            return Added { shard: assigned.shard, is_new_shard: false };
        }
        let has_room = |(_, topics): &(&ShardId, &usize)| **topics < self.topics_per_shard;
        // Of equally full shards the first.
        let fullest = self.shards.iter().rev().filter(has_room).max_by_key(|(_, topics)| **topics);
        let (shard, is_new_shard) = match fullest {
            Some((shard, _)) => (*shard, false),
            None => {
                self.last_shard += 1;
                (ShardId(self.last_shard), true)
            }
        };
        *self.shards.entry(shard).or_default() += 1;
        self.topics.insert(topic.clone(), Assigned { shard, count: 1 });
        Added { shard, is_new_shard }
    }

    /// Returns the shard that a topic is in.
    pub(crate) fn shard(&self, topic: &Topic) -> Option<ShardId> {
        self.topics.get(topic).map(|assigned| assigned.shard)
    }

    /// Counts a topic once less.
    pub(crate) fn remove(&mut self, topic: &Topic) -> Removed {
        match self.topics.get_mut(topic) {
            None => Removed::NotWanted(None),
            Some(Assigned { shard, count: 0 }) => Removed::NotWanted(Some(*shard)),
            Some(Assigned { shard, count }) => {
                *count -= 1;
                if *count == 0 { Removed::FromShard(*shard) } else { Removed::Kept }
            }
        }
    }

    /// Notes that a topic has left its shard. Returns whether the shard is empty now, and so has to end.
    pub(crate) fn left(&mut self, shard: ShardId, topic: &Topic) -> bool {
        match self.topics.get(topic) {
            // It was added again meanwhile, or is in another shard by now.
            Some(assigned) if assigned.count > 0 || assigned.shard != shard => return false,
            Some(_) => drop(self.topics.remove(topic)),
            None => return false,
        }
        match self.shards.get_mut(&shard) {
            Some(topics) if *topics > 1 => {
                *topics -= 1;
                false
            }
            _ => self.shards.remove(&shard).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(assignment: &mut Assignment, name: &str) -> (u32, bool) {
        let added = assignment.add(&name.into());
        (added.shard.0, added.is_new_shard)
    }

    #[test]
    fn new_topics_fill_the_fullest_shard_first_and_an_empty_shard_ends() {
        let mut topics = Assignment::new(2);
        assert_eq!(add(&mut topics, "a"), (1, true));
        assert_eq!(add(&mut topics, "b"), (1, false));
        assert_eq!(add(&mut topics, "c"), (2, true));
        assert_eq!(add(&mut topics, "d"), (2, false));
        assert_eq!(topics.remove(&"a".into()), Removed::FromShard(ShardId(1)));
        assert_eq!(add(&mut topics, "e"), (3, true), "a is still leaving");
        assert!(!topics.left(ShardId(1), &"a".into()));
        assert_eq!(add(&mut topics, "f"), (1, false));
        assert_eq!(topics.remove(&"e".into()), Removed::FromShard(ShardId(3)));
        assert!(topics.left(ShardId(3), &"e".into()));
        assert_eq!(add(&mut topics, "g"), (4, true), "a number is not used again");
    }

    #[test]
    fn topics_are_counted() {
        let mut topics = Assignment::new(2);
        add(&mut topics, "a");
        add(&mut topics, "a");
        assert_eq!(topics.remove(&"a".into()), Removed::Kept);
        assert_eq!(topics.remove(&"a".into()), Removed::FromShard(ShardId(1)));
        assert_eq!(topics.remove(&"a".into()), Removed::NotWanted(Some(ShardId(1))));
        assert_eq!(topics.remove(&"b".into()), Removed::NotWanted(None));
        assert_eq!(add(&mut topics, "a"), (1, false), "it never moves");
        assert!(!topics.left(ShardId(1), &"a".into()), "it is wanted again");
    }
}

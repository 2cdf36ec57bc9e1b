//! Which topics are in which share.

use std::collections::HashSet;

use crate::feed::Topic;

/// The topics of a feed in shares. Processes that have the same topics in the same order have the same plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    shares: Vec<Vec<Topic>>,
}

impl Plan {
    /// Creates a plan with so many topics in each share, in their order, and what is left in the last one. A topic that is
    /// named twice counts once.
    pub(crate) fn new(topics: impl IntoIterator<Item = Topic>, per_share: usize) -> Plan {
        let mut seen = HashSet::new();
        let topics: Vec<_> = topics.into_iter().filter(|it| seen.insert(it.clone())).collect();
        Plan { shares: topics.chunks(per_share.max(1)).map(<[Topic]>::to_vec).collect() }
    }

    /// Returns the number of shares. They are numbered from 1.
    pub(crate) fn shares(&self) -> u32 {
        u32::try_from(self.shares.len()).unwrap_or(u32::MAX)
    }

    /// Returns all topics.
    pub(crate) fn topics(&self) -> HashSet<&Topic> {
        self.shares.iter().flatten().collect()
    }

    /// Returns the topics of a share.
    pub(crate) fn share(&self, share: u32) -> &[Topic] {
        let at = (share as usize).checked_sub(1);
        at.and_then(|at| self.shares.get(at)).map_or(&[], Vec::as_slice)
    }

    /// Returns a number that differs for plans that differ, and for other words.
    pub(crate) fn fingerprint(&self, words: &[&str]) -> u64 {
        let mut hash = Fnv::default();
        for share in &self.shares {
            share.iter().for_each(|topic| hash.write(topic));
            hash.write("");
        }
        words.iter().for_each(|word| hash.write(word));
        hash.0
    }
}

/// FNV-1a, which is the same in every process and of every version.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a word and its end.
    fn write(&mut self, word: &str) {
        for byte in word.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(topics: &str, per_share: usize) -> Plan {
        Plan::new(topics.split_whitespace().map(Topic::from), per_share)
    }

    #[test]
    fn topics_are_shared_out_in_their_order() {
        let plan = plan("a b c d b e", 2);
        assert_eq!((plan.shares(), plan.topics().len()), (3, 5));
        assert_eq!(plan.share(1), [Topic::from("a"), Topic::from("b")]);
        assert_eq!(plan.share(3), [Topic::from("e")], "b counts once");
        assert_eq!(plan.share(0), []);
        assert_eq!(plan.share(4), []);
        assert_eq!(Plan::new([], 2).shares(), 0);
    }

    #[test]
    fn only_equal_plans_have_equal_fingerprints() {
        let print = |topics, per_share, words: &[&str]| plan(topics, per_share).fingerprint(words);
        assert_eq!(print("a b c", 2, &["5"]), print("a b c", 2, &["5"]));
        let others = [
            print("a b c", 2, &["5"]),
            print("a b c", 2, &["6"]),
            print("a b c", 3, &["5"]),
            print("a c b", 2, &["5"]),
            print("a bc", 2, &["5"]),
            print("a b c 5", 2, &[]),
        ];
        assert_eq!(others.iter().collect::<HashSet<_>>().len(), others.len());
        assert_eq!(print("a", 1, &[]), 0xe57e_2e19_03df_23e2, "the same in every version");
    }
}

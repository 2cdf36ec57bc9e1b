//! Value: judges what the stream holds by what the venue has sent.

use std::collections::BTreeMap;
use std::fmt;

use crate::ledger::{Ledger, Name, Names, SHARES, TOPICS, name, share};

/// A publication, as it stands in the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication {
    pub(crate) topic: usize,
    pub(crate) number: u64,
    /// The process that received it from the venue, as the venue wrote into it.
    pub(crate) to: Name,
    pub(crate) generation: u64,
    pub(crate) fence: u64,
    /// The wall clock in milliseconds when the broker stored it.
    pub(crate) stored_ms: u64,
}

/// A number that the venue has sent and the stream does not hold.
#[derive(Clone, Copy)]
pub(crate) struct Missing {
    pub(crate) topic: usize,
    pub(crate) number: u64,
    pub(crate) made_ms: u64,
    pub(crate) to: Names,
}

/// The judgement.
pub(crate) struct Verdict {
    /// What breaks a promise, in words.
    pub(crate) wrong: Vec<String>,
    pub(crate) missing: Vec<Missing>,
    /// The publications, in their order.
    pub(crate) stream: Vec<Publication>,
    ledger: Ledger,
    /// The numbers that the venue sent to no process.
    pub(crate) unsent: usize,
}

/// A share that another process than the victim of a fault published first after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takeover {
    pub(crate) share: usize,
    /// From the fault to the first publication of the new owner; none: there was none.
    pub(crate) after_ms: Option<u64>,
}

impl Verdict {
    /// Fails unless each topic has its numbers once and in order, from one owner at a time.
    pub(crate) fn is_in_order(&self) {
        let some: Vec<_> = self.wrong.iter().take(10).collect();
        assert!(some.is_empty(), "{} wrong: {some:#?}", self.wrong.len());
    }

    /// Fails if a number is missing, unless it is excused.
    pub(crate) fn misses_none_but(&self, is_excused: impl Fn(&Missing) -> bool) {
        let missing = || self.missing.iter().filter(|it| !is_excused(it));
        let some: Vec<_> = missing().take(10).collect();
        assert!(some.is_empty(), "{} missing: {some:#?}", missing().count());
    }

    /// Returns what the venue sent and the stream holds around a number that is missing.
    pub(crate) fn around(&self, missing: &Missing) -> String {
        let near = missing.number.saturating_sub(5)..=missing.number + 20;
        let mut lines = String::new();
        for number in near {
            let Some(sent) = self.ledger.of(missing.topic).get(number as usize - 1) else { break };
            let is_it = |it: &&Publication| it.topic == missing.topic && it.number == number;
            let stored = self.stream.iter().find(is_it);
            let stored =
                stored.map(|it| format!("{}: fence {} of {:?}", it.stored_ms, it.fence, it.to));
            lines += &format!("{number} {} to {:?}, stored {stored:?}\n", sent.made_ms, sent.to);
        }
        lines
    }
}

impl fmt::Debug for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, made_ms, to) = (name(self.topic), self.made_ms, self.to);
        write!(f, "{topic} {}, made at {made_ms} ms and sent to {to:?}", self.number)
    }
}

/// Judges a whole stream, in its order.
pub(crate) fn judge(stream: Vec<Publication>, ledger: Ledger) -> Verdict {
    let mut wrong = Vec::new();
    let mut seen: Vec<Vec<bool>> = (0..TOPICS).map(|it| vec![false; ledger.of(it).len()]).collect();
    let mut newest: Vec<Option<Publication>> = vec![None; TOPICS];
    let mut owners = BTreeMap::new();
    for it in &stream {
        wrong.extend(newest[it.topic].and_then(|before| follows(&before, it)));
        newest[it.topic] = Some(*it);
        let owner = *owners.entry((share(it.topic), it.fence)).or_insert(it.to);
        if owner != it.to {
            let (share, fence) = (share(it.topic) + 1, it.fence);
            wrong.push(format!("share {share}: fence {fence} is of {owner:?} and of {:?}", it.to));
        }
        match seen[it.topic].get_mut(it.number.wrapping_sub(1) as usize) {
            Some(seen) => *seen = true,
            None => wrong.push(format!("{}: no number {} was made", name(it.topic), it.number)),
        }
    }
    let (missing, unsent) = missing(&seen, &ledger);
    Verdict { wrong, missing, unsent, stream, ledger }
}

/// Returns what is wrong with a publication behind another one of its topic.
fn follows(before: &Publication, it: &Publication) -> Option<String> {
    let says = |what: &str, before: u64, now: u64| {
        Some(format!("{}: {what} {now} after {before}: {it:?}", name(it.topic)))
    };
    if it.number == before.number {
        says("the same number", before.number, it.number)
    } else if it.number < before.number {
        says("number", before.number, it.number)
    } else if it.generation != before.generation {
        // The venue of these tests never begins anew.
        says("generation", before.generation, it.generation)
    } else if it.fence < before.fence {
        says("fence", before.fence, it.fence)
    } else if it.to != before.to && it.fence == before.fence {
        says("another owner with the same fence", before.fence, it.fence)
    } else {
        None
    }
}

/// Returns what was sent and not seen, and how many numbers were not sent.
fn missing(seen: &[Vec<bool>], ledger: &Ledger) -> (Vec<Missing>, usize) {
    let (mut missing, mut unsent) = (Vec::new(), 0);
    for (topic, seen) in seen.iter().enumerate() {
        for (index, (sent, seen)) in ledger.of(topic).iter().zip(seen).enumerate() {
            unsent += usize::from(sent.to.is_empty());
            if !seen && !sent.to.is_empty() {
                let number = index as u64 + 1;
                missing.push(Missing { topic, number, made_ms: sent.made_ms, to: sent.to });
            }
        }
    }
    (missing, unsent)
}

/// Returns the newest publication of each share that was stored until then.
pub(crate) fn owners(stream: &[Publication], until_ms: u64) -> [Option<Publication>; SHARES] {
    let mut owners: [Option<Publication>; SHARES] = [None; SHARES];
    for it in stream.iter().filter(|it| it.stored_ms <= until_ms) {
        let owner = &mut owners[share(it.topic)];
        if owner.is_none_or(|before| before.fence <= it.fence) {
            *owner = Some(*it);
        }
    }
    owners
}

/// Returns what became of the shares that a process owned at the time of its fault.
pub(crate) fn takeovers(stream: &[Publication], victim: Name, fault_ms: u64) -> Vec<Takeover> {
    let owned = owners(stream, fault_ms);
    let owned = owned.iter().enumerate().filter_map(|(share, owner)| Some((share, (*owner)?)));
    let taken = |(at, owner): (usize, Publication)| {
        let is_next =
            |it: &&Publication| share(it.topic) == at && it.fence > owner.fence && it.to != victim;
        let next = stream.iter().find(is_next);
        let after_ms = next.map(|it| it.stored_ms.saturating_sub(fault_ms));
        Takeover { share: at, after_ms }
    };
    owned.filter(|(_, owner)| owner.to == victim).map(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Name = Name('a');
    const B: Name = Name('b');

    /// A venue that has sent five numbers of the first topic to both processes.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new();
        for at in 0..5 {
            let number = ledger.make(0, at);
            ledger.sent(0, number, A);
            ledger.sent(0, number, B);
        }
        ledger
    }

    fn publication(number: u64, to: Name, fence: u64) -> Publication {
        Publication { topic: 0, number, to, generation: 1, fence, stored_ms: number * 10 }
    }

    /// A stream of numbers of one owner.
    fn stream(numbers: &[u64]) -> Vec<Publication> {
        numbers.iter().map(|&number| publication(number, A, 7)).collect()
    }

    /// What is wrong and what is missing.
    fn found(stream: &[Publication]) -> (usize, Vec<u64>) {
        let verdict = judge(stream.to_vec(), ledger());
        (verdict.wrong.len(), verdict.missing.iter().map(|it| it.number).collect())
    }

    #[test]
    fn a_whole_stream_is_right() {
        assert_eq!(found(&stream(&[1, 2, 3, 4, 5])), (0, vec![]));
    }

    #[test]
    fn a_doubled_number_is_found() {
        assert_eq!(found(&stream(&[1, 2, 2, 3, 4, 5])), (1, vec![]));
    }

    #[test]
    fn a_swapped_pair_is_found() {
        assert_eq!(found(&stream(&[1, 3, 2, 4, 5])), (1, vec![]));
    }

    #[test]
    fn a_hole_is_found_wherever_it_is() {
        assert_eq!(found(&stream(&[1, 2, 4, 5])), (0, vec![3]));
        assert_eq!(found(&stream(&[2, 3, 4, 5])), (0, vec![1]));
        assert_eq!(found(&stream(&[1, 2, 3, 4])), (0, vec![5]));
        assert_eq!(found(&[]), (0, vec![1, 2, 3, 4, 5]));
    }

    #[test]
    fn what_was_sent_to_nobody_is_not_missing() {
        let mut ledger = ledger();
        ledger.make(0, 60);
        let verdict = judge(stream(&[1, 2, 3, 4, 5]), ledger);
        assert_eq!((verdict.missing.len(), verdict.unsent), (0, 1));
    }

    #[test]
    fn a_number_that_was_never_made_is_found() {
        assert_eq!(found(&stream(&[1, 2, 3, 4, 5, 6])).0, 1);
        assert_eq!(found(&stream(&[0, 1, 2, 3, 4, 5])).0, 1);
    }

    #[test]
    fn a_fence_that_goes_back_is_found() {
        let mut stream = stream(&[1, 2, 3, 4, 5]);
        stream[4] = publication(5, A, 6);
        assert_eq!(found(&stream).0, 1);
        stream[4] = publication(5, A, 8);
        assert_eq!(found(&stream).0, 0);
    }

    #[test]
    fn another_owner_needs_a_higher_fence() {
        let mut stream = stream(&[1, 2, 3, 4, 5]);
        stream[4] = publication(5, B, 7);
        assert_eq!(found(&stream).0, 2);
        stream[4] = publication(5, B, 8);
        assert_eq!(found(&stream).0, 0);
    }

    #[test]
    fn two_owners_of_a_share_with_one_fence_are_found() {
        let mut other = publication(1, B, 7);
        other.topic = 1;
        let mut ledger = ledger();
        ledger.make(1, 0);
        let stream = vec![publication(1, A, 7), other];
        assert_eq!(judge(stream, ledger).wrong.len(), 1);
    }

    #[test]
    fn a_new_generation_is_found() {
        let mut stream = stream(&[1, 2, 3, 4, 5]);
        stream[4].generation = 2;
        assert_eq!(found(&stream).0, 1);
    }

    #[test]
    fn a_takeover_is_measured_from_the_fault() {
        let mut stream = stream(&[1, 2, 3, 4, 5]);
        assert_eq!(takeovers(&stream, A, 25), [Takeover { share: 0, after_ms: None }]);
        assert_eq!(takeovers(&stream, B, 25), []);
        stream[3] = publication(4, B, 9);
        stream[4] = publication(5, B, 9);
        assert_eq!(takeovers(&stream, A, 25), [Takeover { share: 0, after_ms: Some(15) }]);
        assert_eq!(takeovers(&stream, B, 25), []);
        assert_eq!(takeovers(&stream, B, 45), [Takeover { share: 0, after_ms: None }]);
    }
}

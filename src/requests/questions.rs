//! The questions of one connection that are open, and those that were given up: a value.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// The questions that were asked on the open socket, by their keys, each with the asker that waits.
///
/// A question that was given up, by its deadline or by its asker, keeps its key: its answer may still come,
/// and must be taken neither for a message of another kind nor for the answer to another question.
#[derive(Debug)]
pub(super) struct Questions<K, A> {
    /// The most questions that are open, and the most that were given up and are remembered.
    limit: usize,
    by_key: HashMap<K, Question<A>>,
    /// The open questions by deadline. The number distinguishes equal deadlines.
    deadlines: BTreeMap<(Instant, u64), K>,
    /// The questions that were given up, by number.
    given_up: BTreeMap<u64, K>,
    /// The number of the next question.
    next: u64,
}

#[derive(Debug)]
struct Question<A> {
    /// It distinguishes questions with the same key that were asked one after the other.
    number: u64,
    /// The deadline and the asker; `None` once the question was given up.
    open: Option<(Instant, A)>,
}

/// Why a question is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A question with its key is open, or was given up and may still be answered.
    Duplicate,
    /// As many questions as the limit allows are open.
    Full,
}

/// What a message with a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<A> {
    /// The answer to an open question, for this asker.
    Answer(A),
    /// The answer to a question that was given up.
    Late,
    /// No answer: no question has the key.
    Stranger,
}

impl<K: Eq + Hash + Clone, A> Questions<K, A> {
    pub(super) fn new(limit: usize) -> Questions<K, A> {
        Questions {
            limit,
            by_key: HashMap::new(),
            deadlines: BTreeMap::new(),
            given_up: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether no message can be an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Returns the number of open questions.
    pub(super) fn open_count(&self) -> usize {
        self.deadlines.len()
    }

    /// Returns the earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Adds a question, and returns its number.
    ///
    /// # Errors
    /// If its key is taken, or the limit is reached.
    pub(super) fn ask(&mut self, key: K, deadline: Instant, asker: A) -> Result<u64, Refused> {
        if self.by_key.contains_key(&key) {
            return Err(Refused::Duplicate);
        }
        if self.open_count() >= self.limit {
            return Err(Refused::Full);
        }
        let number = self.next;
        self.next += 1;
        self.deadlines.insert((deadline, number), key.clone());
        self.by_key.insert(key, Question { number, open: Some((deadline, asker)) });
        Ok(number)
    }

    /// Takes out the question that a message with this key answers.
    pub(super) fn answer(&mut self, key: &K) -> Found<A> {
        match self.by_key.remove(key) {
            None => Found::Stranger,
            Some(Question { number, open: Some((deadline, asker)) }) => {
                self.deadlines.remove(&(deadline, number));
                Found::Answer(asker)
            }
            Some(Question { number, open: None }) => {
                self.given_up.remove(&number);
                Found::Late
            }
        }
    }

    /// Gives up a question whose answer is no longer wanted, but may still come. Does nothing if it is not
    /// open.
    pub(super) fn give_up(&mut self, key: &K, number: u64) {
        if self.close(key, number).is_some() {
            self.remember(key.clone(), number);
        }
    }

    /// Takes out a question that was not sent, so that no answer can come. Does nothing if it is not open.
    pub(super) fn withdraw(&mut self, key: &K, number: u64) {
        if self.close(key, number).is_some() {
            self.by_key.remove(key);
        }
    }

    /// Gives up the questions whose deadline has come, and returns their askers, the earliest first.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<A> {
        let mut askers = Vec::new();
        while let Some(first) = self.deadlines.first_entry()
            && first.key().0 <= now
        {
            let ((_, number), key) = first.remove_entry();
            let question = self.by_key.get_mut(&key);
            askers
                .extend(question.and_then(|question| question.open.take()).map(|(_, asker)| asker));
            self.remember(key, number);
        }
        askers
    }

    /// Forgets all questions, since the socket has ended, and returns the askers of the open ones.
    pub(super) fn clear(&mut self) -> Vec<A> {
        self.given_up.clear();
        let keys = std::mem::take(&mut self.deadlines).into_values();
        let mut by_key = std::mem::take(&mut self.by_key);
        keys.filter_map(|key| by_key.remove(&key)?.open).map(|(_, asker)| asker).collect()
    }

    /// Takes the asker out of an open question, and its deadline out of the list.
    fn close(&mut self, key: &K, number: u64) -> Option<A> {
        let question = self.by_key.get_mut(key).filter(|question| question.number == number)?;
        let (deadline, asker) = question.open.take()?;
        self.deadlines.remove(&(deadline, number));
        Some(asker)
    }

    /// Keeps the key of a question that was given up. Beyond the limit the oldest is forgotten.
    fn remember(&mut self, key: K, number: u64) {
        self.given_up.insert(number, key);
        while self.given_up.len() > self.limit {
            if let Some((_, oldest)) = self.given_up.pop_first() {
                self.by_key.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_finds_its_asker_once() {
        let now = Instant::now();
        let mut questions = Questions::new(2);
        assert!(questions.is_empty() && questions.next_deadline().is_none());
        questions.ask("a", at(now, 2), 'a').unwrap();
        questions.ask("b", at(now, 1), 'b').unwrap();
        assert_eq!(questions.next_deadline(), Some(at(now, 1)));
        assert_eq!(questions.answer(&"b"), Found::Answer('b'));
        assert_eq!(questions.next_deadline(), Some(at(now, 2)));
        assert_eq!(questions.answer(&"b"), Found::Stranger);
        assert_eq!(questions.answer(&"a"), Found::Answer('a'));
        assert!(questions.is_empty() && questions.next_deadline().is_none());
    }

    #[test]
    fn a_key_that_is_taken_and_one_question_too_many_are_refused() {
        let now = Instant::now();
        let mut questions = Questions::new(2);
        questions.ask("a", now, 'a').unwrap();
        assert_eq!(questions.ask("a", now, 'x'), Err(Refused::Duplicate));
        questions.ask("b", now, 'b').unwrap();
        assert_eq!(questions.ask("c", now, 'c'), Err(Refused::Full));
        assert_eq!(questions.answer(&"a"), Found::Answer('a'));
        assert!(questions.ask("c", now, 'c').is_ok());
    }

    #[test]
    fn a_late_answer_is_neither_a_stranger_nor_an_answer() {
        let now = Instant::now();
        let mut questions = Questions::new(9);
        questions.ask("late", at(now, 1), 1).unwrap();
        questions.ask("later", at(now, 2), 2).unwrap();
        let number = questions.ask("dropped", at(now, 3), 3).unwrap();
        assert!(questions.expire(now).is_empty());
        assert_eq!(questions.expire(at(now, 2)), [1, 2]);
        questions.give_up(&"dropped", number);
        assert_eq!((questions.open_count(), questions.is_empty()), (0, false));
        for key in ["late", "later", "dropped"] {
            assert_eq!(questions.ask(key, now, 4), Err(Refused::Duplicate));
            assert_eq!(questions.answer(&key), Found::Late);
            assert!(questions.ask(key, now, 4).is_ok());
        }
    }

    #[test]
    fn as_many_given_up_as_may_be_open_are_remembered() {
        let now = Instant::now();
        let mut questions = Questions::new(2);
        for key in 0..3 {
            questions.ask(key, now, key).unwrap();
            assert_eq!(questions.expire(now), [key]);
        }
        let found = [0, 1, 2].map(|key| questions.answer(&key));
        assert_eq!(found, [Found::Stranger, Found::Late, Found::Late]);
        assert!(questions.is_empty());
    }

    #[test]
    fn what_was_withdrawn_leaves_its_key_and_an_old_number_touches_no_later_question() {
        let now = Instant::now();
        let mut questions = Questions::new(2);
        let first = questions.ask("a", now, 'a').unwrap();
        questions.withdraw(&"a", first);
        assert!(questions.is_empty());
        questions.ask("a", now, 'b').unwrap();
        questions.withdraw(&"a", first);
        questions.give_up(&"a", first);
        assert_eq!(questions.answer(&"a"), Found::Answer('b'));
    }

    #[test]
    fn with_the_socket_all_are_gone() {
        let now = Instant::now();
        let mut questions = Questions::new(2);
        questions.ask("late", now, 'l').unwrap();
        questions.expire(now);
        questions.ask("b", at(now, 2), 'b').unwrap();
        questions.ask("a", at(now, 1), 'a').unwrap();
        assert_eq!(questions.clear(), ['a', 'b']);
        assert!(questions.is_empty() && questions.next_deadline().is_none());
        assert_eq!(questions.answer(&"late"), Found::Stranger);
        assert!(questions.ask("b", now, 'b').is_ok());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask { key: u8, after: u64 },
        Answer(u8),
        GiveUp(usize),
        Withdraw(usize),
        Expire,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..8_u8, 0..20_u64).prop_map(|(key, after)| Step::Ask { key, after }),
            3 => (0..8_u8).prop_map(Step::Answer),
            1 => (0..50_usize).prop_map(Step::GiveUp),
            1 => (0..50_usize).prop_map(Step::Withdraw),
            2 => Just(Step::Expire),
            1 => Just(Step::Clear),
        ];
        proptest::collection::vec(step, 0..80)
    }

    proptest! {
        /// Whatever happens, an asker gets at most one result, the bounds hold, no deadline that has passed is
        /// left, and both lists name what the table has.
        #[test]
        fn each_asker_has_one_result(steps in steps(), limit in 0..5_usize) {
            let start = Instant::now();
            let mut questions = Questions::<u8, usize>::new(limit);
            // The key and the number of each asker.
            let mut asked = Vec::<(u8, u64)>::new();
            let mut results = Vec::<usize>::new();
            for (time, step) in (0..).zip(steps) {
                let now = at(start, time);
                match step {
                    Step::Ask { key, after } => {
                        let open = questions.open_count();
                        match questions.ask(key, at(now, after), asked.len()) {
                            Ok(number) => asked.push((key, number)),
                            Err(Refused::Full) => prop_assert_eq!(open, limit),
                            Err(Refused::Duplicate) => {
                                prop_assert!(questions.by_key.contains_key(&key));
                            }
                        }
                    }
                    Step::Answer(key) => {
                        if let Found::Answer(asker) = questions.answer(&key) {
                            prop_assert_eq!(asked[asker].0, key);
                            results.push(asker);
                        }
                        prop_assert_eq!(questions.answer(&key), Found::Stranger);
                    }
                    Step::GiveUp(asker) => {
                        if let Some((key, number)) = asked.get(asker) {
                            questions.give_up(key, *number);
                        }
                    }
                    Step::Withdraw(asker) => {
                        if let Some((key, number)) = asked.get(asker) {
                            questions.withdraw(key, *number);
                        }
                    }
                    Step::Expire => {
                        results.extend(questions.expire(now));
                        prop_assert!(questions.next_deadline().is_none_or(|next| next > now));
                    }
                    Step::Clear => results.extend(questions.clear()),
                }
                let open = questions.by_key.values().filter(|it| it.open.is_some()).count();
                prop_assert_eq!(open, questions.open_count());
                prop_assert_eq!(questions.by_key.len(), open + questions.given_up.len());
                prop_assert!(open <= limit && questions.given_up.len() <= limit);
            }
            let count = results.len();
            results.sort_unstable();
            results.dedup();
            prop_assert_eq!(results.len(), count);
        }
    }
}

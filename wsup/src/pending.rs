//! What is to be sent, and in which order.

use std::collections::VecDeque;
use std::time::Duration;

use actix_ws_client::Payload;
use tokio::time::Instant;

use crate::input::Line;

/// A text of `--every`.
#[derive(Clone)]
pub(crate) struct Every {
    pub(crate) period: Duration,
    pub(crate) payload: Payload,
}

/// The texts of the flags and the line that wait to be sent.
pub(crate) struct Pending {
    /// The texts of `--on-open`.
    on_open: Vec<Payload>,
    /// Those that the open socket has not been sent yet.
    greeting: VecDeque<Payload>,
    /// The texts of `--send` that have not been sent yet.
    once: VecDeque<Payload>,
    /// What `--reply` answers on the open socket.
    replies: VecDeque<Payload>,
    /// The texts of `--every`.
    every: Vec<Clock>,
    /// A line that was read and is not sent yet.
    pub(crate) line: Option<Line>,
}

/// A text of `--every`, and when it is sent next.
struct Clock {
    every: Every,
    /// When it is due next; `None` while no socket is open.
    next: Option<Instant>,
    /// Whether it is due. Never more than once: a socket that accepts nothing gets no backlog of it.
    is_due: bool,
}

/// Where a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Reply,
    Greeting,
    Every(usize),
    Once,
    Line,
}

impl Pending {
    pub(crate) fn new(on_open: Vec<Payload>, once: Vec<Payload>, every: Vec<Every>) -> Pending {
        let clock = |every| Clock { every, next: None, is_due: false };
        Pending {
            on_open,
            greeting: VecDeque::new(),
            once: once.into(),
            replies: VecDeque::new(),
            every: every.into_iter().map(clock).collect(),
            line: None,
        }
    }

    /// Begins anew on a socket that was opened: with the greeting, and each period of `--every`.
    pub(crate) fn open(&mut self, now: Instant) {
        self.close();
        self.greeting.extend(self.on_open.iter().cloned());
        self.every.iter_mut().for_each(|clock| clock.next = Some(now + clock.every.period));
    }

    /// Drops all that is only for the socket that was lost.
    pub(crate) fn close(&mut self) {
        self.greeting.clear();
        self.replies.clear();
        self.every.iter_mut().for_each(|clock| (clock.next, clock.is_due) = (None, false));
    }

    /// Adds a reply.
    pub(crate) fn reply(&mut self, payload: Payload) {
        self.replies.push_back(payload);
    }

    /// Returns when the next text of `--every` is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.every.iter().filter_map(|clock| clock.next).min()
    }

    /// Marks the texts of `--every` that are due. Periods that were missed are left out.
    pub(crate) fn tick(&mut self, now: Instant) {
        for Clock { every, next, is_due } in &mut self.every {
            while let Some(at) = next.filter(|at| *at <= now) {
                *is_due = true;
                let behind = now.duration_since(at).as_nanos() / every.period.as_nanos();
                let periods = u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(1);
                *next = at.checked_add(every.period.saturating_mul(periods));
            }
        }
    }

    /// Returns the message that is sent next, and where it waits.
    pub(crate) fn first(&self) -> Option<(From, &Payload)> {
        let due = self.every.iter().enumerate().find(|(_, clock)| clock.is_due);
        None.or_else(|| self.replies.front().map(|payload| (From::Reply, payload)))
            .or_else(|| self.greeting.front().map(|payload| (From::Greeting, payload)))
            .or_else(|| due.map(|(index, clock)| (From::Every(index), &clock.every.payload)))
            .or_else(|| self.once.front().map(|payload| (From::Once, payload)))
            .or_else(|| self.line.as_ref().map(|line| (From::Line, &line.payload)))
    }

    /// Removes the first message that waits there.
    pub(crate) fn remove(&mut self, from: From) {
        match from {
            From::Reply => drop(self.replies.pop_front()),
            From::Greeting => drop(self.greeting.pop_front()),
            From::Every(index) => self.every[index].is_due = false,
            From::Once => drop(self.once.pop_front()),
            From::Line => self.line = None,
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.first().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(pending: &mut Pending) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some((from, payload)) = pending.first() {
            texts.push(payload.as_text().unwrap().to_owned());
            pending.remove(from);
        }
        texts
    }

    fn every(secs: u64, text: &str) -> Every {
        Every { period: Duration::from_secs(secs), payload: text.into() }
    }

    fn new(every: Vec<Every>) -> Pending {
        Pending::new(vec!["o1".into(), "o2".into()], vec!["s".into()], every)
    }

    #[test]
    fn replies_go_first_then_greeting_periods_and_the_rest() {
        let start = Instant::now();
        let mut pending = new(vec![every(1, "e1"), every(2, "e2")]);
        assert_eq!(drain(&mut pending), ["s"], "what needs an opening waits for it");
        let mut pending = new(vec![every(1, "e1"), every(2, "e2")]);
        pending.open(start);
        pending.tick(start + Duration::from_secs(2));
        pending.reply("r".into());
        assert_eq!(drain(&mut pending), ["r", "o1", "o2", "e1", "e2", "s"]);
        assert!(pending.is_empty());
        pending.open(start);
        assert_eq!(drain(&mut pending), ["o1", "o2"]);
    }

    #[test]
    fn a_period_begins_with_the_socket_and_makes_no_backlog() {
        let start = Instant::now();
        let secs = |secs| start + Duration::from_secs(secs);
        let mut pending = Pending::new(vec![], vec![], vec![every(10, "e")]);
        assert_eq!(pending.next_due(), None);
        pending.open(start);
        assert_eq!(pending.next_due(), Some(secs(10)));
        pending.tick(secs(9));
        assert!(pending.is_empty());
        pending.tick(secs(45));
        assert_eq!(pending.next_due(), Some(secs(50)));
        assert_eq!(drain(&mut pending), ["e"]);
        pending.tick(secs(50));
        pending.close();
        assert_eq!((pending.is_empty(), pending.next_due()), (true, None));
        pending.open(secs(52));
        assert_eq!(pending.next_due(), Some(secs(62)));
    }
}

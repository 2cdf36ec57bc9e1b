//! When the next frame may be sent on a socket, under the rates that the venue allows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::feed::rules::{Rules, Window};

/// What was sent on one socket so far, as far as the limits need it.
///
/// A venue counts frames as they arrive, and they may arrive closer together than they were sent. So a period
/// is taken to be longer than it is by a fiftieth, at most 50 ms.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The limits of `Rules::frames`, which count every frame.
    frames: Vec<Counter>,
    /// The limits of `Rules::requests`.
    requests: Vec<Counter>,
}

/// The kinds of frame, by the limits that hold them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A login, a subscription or an unsubscription: both kinds of limit hold it back, and it leaves room
    /// for control frames.
    Request,
    /// A request for a snapshot: only the limit of all frames holds it back, and it leaves room for control frames.
    Snapshot,
    /// A heartbeat or the answer to a challenge: only the limit of all frames holds it back.
    Urgent,
}

/// One limit, and the frames that count against it.
#[derive(Debug)]
struct Counter {
    limit: usize,
    period: Duration,
    /// The times of the newest frames, at most `limit` of them.
    sent: VecDeque<Instant>,
    /// Those of the frames among them that are no control frames.
    ours: VecDeque<Instant>,
    /// The times of the newest control frames, at most `limit` of them.
    controls: VecDeque<Instant>,
    /// The greatest number of control frames in any period so far.
    most_controls: usize,
}

impl Pace {
    pub(crate) fn new(rules: &Rules) -> Pace {
        let counters = |windows: &[Window]| windows.iter().map(Counter::new).collect();
        Pace { frames: counters(&rules.frames), requests: counters(&rules.requests) }
    }

    /// Returns the earliest time at which a frame may be sent: `now` or later.
    pub(crate) fn ready_at(&self, frame: Frame, now: Instant) -> Instant {
        let frames = self.frames.iter().map(|counter| counter.ready_at(frame, now));
        // No control frame counts against them: there is nothing to leave room for.
        let requests = self.requests.iter().map(|counter| counter.ready_at(Frame::Urgent, now));
        match frame {
            Frame::Urgent | Frame::Snapshot => frames.fold(now, Instant::max),
            Frame::Request => frames.chain(requests).fold(now, Instant::max),
        }
    }

    /// Records a frame that was sent.
    pub(crate) fn sent(&mut self, frame: Frame, now: Instant) {
        self.frames.iter_mut().for_each(|counter| counter.record(now));
        if frame == Frame::Request {
            self.requests.iter_mut().for_each(|counter| counter.record(now));
        }
    }

    /// Records a Ping or Pong that was sent.
    pub(crate) fn control(&mut self, now: Instant) {
        for counter in &mut self.frames {
            counter.record_control(now);
        }
    }
}

impl Counter {
    fn new(window: &Window) -> Counter {
        let margin = (window.length / 50).min(Duration::from_millis(50));
        Counter {
            limit: usize::try_from(window.count).unwrap_or(usize::MAX),
            period: window.length.saturating_add(margin),
            sent: VecDeque::new(),
            ours: VecDeque::new(),
            controls: VecDeque::new(),
            most_controls: 0,
        }
    }

    fn ready_at(&self, frame: Frame, now: Instant) -> Instant {
        let free = self.free_at(&self.sent, self.limit, now);
        match frame {
            // The control frames of this period are among those that room is left for: they don't count twice.
            Frame::Request | Frame::Snapshot => {
                let usable = self.limit.saturating_sub(self.most_controls + 1).max(1);
                free.max(self.free_at(&self.ours, usable, now))
            }
            Frame::Urgent => free,
        }
    }

    /// Returns when fewer than `most` of these frames are within a period.
    fn free_at(&self, sent: &VecDeque<Instant>, most: usize, now: Instant) -> Instant {
        match sent.len().checked_sub(most) {
            // The oldest of the last `most` frames has to leave the period first.
            Some(oldest) => after(sent[oldest], self.period).max(now),
            None => now,
        }
    }

    fn record(&mut self, now: Instant) {
        push(&mut self.sent, now, self.limit);
        push(&mut self.ours, now, self.limit);
    }

    fn record_control(&mut self, now: Instant) {
        push(&mut self.sent, now, self.limit);
        push(&mut self.controls, now, self.limit);
        let begin = now.checked_sub(self.period);
        let recent = self.controls.iter().filter(|at| begin.is_none_or(|begin| **at > begin));
        self.most_controls = self.most_controls.max(recent.count());
    }
}

/// Appends a time to a list of at most `limit`.
fn push(times: &mut VecDeque<Instant>, now: Instant, limit: usize) {
    if times.len() >= limit {
        times.pop_front();
    }
    times.push_back(now);
}

/// Returns the time that lies this long after another one. A time beyond all clocks is 100 years away.
pub(crate) fn after(at: Instant, time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    at.checked_add(time).unwrap_or_else(|| at + CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends as many requests as the limits allow for a time, and returns when each was sent.
    fn send_all(pace: &mut Pace, from: Instant, time: Duration) -> Vec<Duration> {
        let (mut now, mut sent) = (from, Vec::new());
        loop {
            now = pace.ready_at(Frame::Request, now);
            if now > from + time {
                return sent;
            }
            pace.sent(Frame::Request, now);
            sent.push(now - from);
        }
    }

    /// Returns the greatest number of times in any period of this length.
    fn most(times: &[Duration], length: Duration) -> usize {
        let within =
            |from: Duration| times.iter().filter(|at| (from..=from + length).contains(*at)).count();
        times.iter().map(|from| within(*from)).max().unwrap_or(0)
    }

    #[test]
    fn no_period_has_more_requests_than_are_allowed() {
        let from = Instant::now();
        let rules = Rules::default().frames(5, SECOND).requests(20, 10 * SECOND);
        let sent = send_all(&mut Pace::new(&rules), from, 60 * SECOND);
        assert_eq!(most(&sent, SECOND), 4, "one frame is kept for a control frame");
        assert_eq!(most(&sent, 10 * SECOND), 20);
        assert!(sent.len() >= 118, "the limit is used: {}", sent.len());
    }

    #[test]
    fn without_limits_everything_is_sent_at_once() {
        let now = Instant::now();
        let mut pace = Pace::new(&Rules::default());
        for _ in 0..1000 {
            assert_eq!(pace.ready_at(Frame::Request, now), now);
            pace.sent(Frame::Request, now);
        }
    }

    #[test]
    fn room_is_left_for_as_many_control_frames_as_there_were() {
        let from = Instant::now();
        let mut pace = Pace::new(&Rules::default().frames(5, SECOND));
        // Two control frames in one period: from then on 5 - 2 - 1 requests.
        pace.control(from);
        pace.control(from + SECOND / 2);
        let sent = send_all(&mut pace, from + 10 * SECOND, 10 * SECOND);
        assert_eq!(most(&sent, SECOND), 2);
    }

    #[test]
    fn control_frames_take_no_more_than_the_room_that_is_left_for_them() {
        // One Pong in 700 ms: two in some periods. Under the lower limit there is room for one request beside them.
        for (limit, requests) in [(3, 1), (5, 2), (8, 5)] {
            let from = Instant::now();
            let mut pace = Pace::new(&Rules::default().frames(limit, SECOND));
            let (mut sent, mut all) = (Vec::new(), Vec::new());
            for step in 0..6_000u32 {
                let now = from + SECOND / 100 * step;
                if step % 70 == 0 {
                    pace.control(now);
                    all.push(now - from);
                }
                while pace.ready_at(Frame::Request, now) <= now {
                    pace.sent(Frame::Request, now);
                    sent.push(now - from);
                    all.push(now - from);
                }
            }
            assert!(most(&all, SECOND) <= limit as usize, "{limit}: {}", most(&all, SECOND));
            let expected = 60 * requests * 95 / 100;
            assert!(sent.len() >= expected, "{limit}: {} requests in 60 s", sent.len());
        }
    }

    #[test]
    fn an_urgent_frame_uses_the_room_that_requests_leave() {
        let now = Instant::now();
        let mut pace = Pace::new(&Rules::default().frames(2, SECOND).requests(1, 60 * SECOND));
        pace.sent(Frame::Request, now);
        assert!(pace.ready_at(Frame::Request, now) > now + 59 * SECOND);
        assert_eq!(pace.ready_at(Frame::Urgent, now), now);
        pace.sent(Frame::Urgent, now);
        assert!(pace.ready_at(Frame::Urgent, now) > now);
    }

    #[test]
    fn a_limit_of_one_frame_still_lets_requests_pass() {
        let from = Instant::now();
        let mut pace = Pace::new(&Rules::default().frames(1, SECOND));
        let sent = send_all(&mut pace, from, 10 * SECOND);
        assert_eq!((most(&sent, SECOND), sent.len()), (1, 10));
    }
}

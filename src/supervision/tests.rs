use std::collections::HashSet;

use bytestring::ByteString;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::backoff::Reconnect;
use crate::error::{Certainty, ProxyError, Refusal, TlsError};
use crate::headers::Headers;
use crate::options::RetryIf;
use crate::proto::session::PeerClose;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A supervision with its clock and generator.
struct Life {
    supervision: Supervision,
    now: Instant,
    rng: StdRng,
}

impl Life {
    /// A connection that waits 5 s before each retry.
    fn new() -> Life {
        Life::with(|options| options.reconnect = Reconnect::fixed(5 * SECOND))
    }

    fn with(set: impl FnOnce(&mut Options)) -> Life {
        let mut options = Options::new(Reconnect::exponential().into());
        set(&mut options);
        let now = Instant::now();
        let schedule = Schedule::new(&options.reconnect, options.guards());
        let supervision = Supervision::new(SourceId::next(), Arc::new(options), schedule, now);
        Life { supervision, now, rng: StdRng::seed_from_u64(1) }
    }

    /// A connection that was brought into a state.
    fn at(from: &str) -> Life {
        let mut life = Life::new();
        let path: &[&str] = match from {
            "first" => &[],
            "waiting" => &["due", "fails", "1 s passes"],
            "dialling" => &["due"],
            "open" => &["due", "opens"],
            "closing" => &["due", "opens", "closes"],
            "closing to dial" => &["due", "opens", "reconnect"],
            "closing to pause" => &["due", "opens", "pause"],
            "closing for good" => &["due", "opens", "close"],
            "paused" => &["pause"],
            "closed" => &["close"],
            other => panic!("no state {other}"),
        };
        for input in path {
            life.apply(input);
        }
        life
    }

    /// Applies one input, and returns its effects in words.
    fn apply(&mut self, input: &str) -> String {
        let ask = match input {
            "reconnect" => Some(Ask::Reconnect),
            "pause" => Some(Ask::Pause),
            "resume" => Some(Ask::Resume),
            "close" => Some(Ask::Close { frame: None, deadline: SECOND }),
            _ => None,
        };
        let effects = match input {
            _ if ask.is_some() => match self.supervision.asked(ask.unwrap(), self.now) {
                Ok(effects) => effects,
                Err(Closed) => return "refused".into(),
            },
            "1 s passes" => {
                self.now += SECOND;
                Vec::new()
            }
            "due" => self.supervision.due(self.now),
            "opens" => self.supervision.opened(self.now).effects,
            "fails" => self.lost(Loss::Dial(status(503))),
            "closes" => self.supervision.closing(self.now),
            "ends" => self.lost(self.closed_by_server(1000)),
            "breaks" => self.lost(self.broken()),
            other => panic!("no input {other}"),
        };
        words(&effects)
    }

    fn lost(&mut self, loss: Loss) -> Effects {
        self.supervision.lost(loss, self.now, &mut self.rng)
    }

    /// A dial that fails.
    fn fail(&mut self, error: Error) -> Lost {
        self.dial();
        Lost(self.lost(Loss::Dial(error)))
    }

    /// A dial that opens a socket.
    fn open(&mut self) -> Opened {
        self.dial();
        self.supervision.opened(self.now)
    }

    /// Waits until the next dial is due, and begins it.
    fn dial(&mut self) {
        if let Some(Due::At(at)) = self.supervision.next_dial() {
            self.now = self.now.max(at);
        }
        let effects = self.supervision.due(self.now);
        assert!(matches!(effects[..], [_, Effect::Dial(_)]), "{effects:?}");
    }

    fn closed_by_server(&self, code: u16) -> Loss {
        let reason = "".into();
        let code = CloseCode::from(code);
        let peer = Some(Box::new(PeerClose { code, reason: ByteString::new() }));
        let closure = Closure { code, reason, clean: true, by: By::Remote, peer };
        Loss::Socket { error: None, closure, unsent: Unsent::default(), opened: self.now }
    }

    fn broken(&self) -> Loss {
        let (code, reason) = (CloseCode::ABNORMAL, "".into());
        let closure = Closure { code, reason, clean: false, by: By::Nobody, peer: None };
        let error = Some(Error::PeerSilent { after: SECOND, idle: false });
        Loss::Socket { error, closure, unsent: Unsent::default(), opened: self.now }
    }

    /// The current state in words.
    fn state(&self) -> String {
        match self.supervision.state {
            State::Waiting { due, asked } => {
                let due = match due {
                    Due::AtOnce => "at once".into(),
                    Due::At(at) => format!("{:?}", at.saturating_duration_since(self.now)),
                };
                format!("waiting {due}{}", if asked { ", asked" } else { "" })
            }
            State::Dialling => "dialling".into(),
            State::Open => "open".into(),
            State::Closing(Then::Decide) => "closing".into(),
            State::Closing(Then::Dial) => "closing to dial".into(),
            State::Closing(Then::Pause) => "closing to pause".into(),
            State::Closing(Then::Close) => "closing for good".into(),
            State::Paused => "paused".into(),
            State::Closed => "closed".into(),
        }
    }
}

/// The effects of a loss.
struct Lost(Effects);

impl Lost {
    fn error(&self) -> Option<&event::Error> {
        self.0.iter().find_map(|effect| match effect {
            Effect::Error(error) => Some(error),
            _ => None,
        })
    }

    fn close(&self) -> Option<&event::Close> {
        self.0.iter().find_map(|effect| match effect {
            Effect::Close(close) => Some(close),
            _ => None,
        })
    }

    fn next(&self) -> Next {
        let error = self.error().map(|error| error.next);
        error.or_else(|| self.close().map(|close| close.next)).expect("a loss is reported")
    }

    #[track_caller]
    fn after(&self) -> Duration {
        self.next().after().expect("a retry")
    }

    #[track_caller]
    fn outcome(&self) -> &Outcome {
        let Some(Effect::Stopped(stopped)) = self.0.last() else { panic!("{:?}", self.0) };
        &stopped.outcome
    }

    fn kind(&self) -> OutcomeKind {
        self.outcome().kind
    }
}

fn status(status: u16) -> Error {
    let (headers, body) = (Headers::default(), Default::default());
    Error::Refused(
        Refusal { status, reason: String::new(), authorized: false, headers, body }.into(),
    )
}

/// The effects, separated by commas.
fn words(effects: &[Effect]) -> String {
    let next = |next: &Next| match next {
        Next::Retry { after, attempt } => format!("{attempt} in {after:?}"),
        Next::Stop => "stop".into(),
    };
    let word = |effect: &Effect| match effect {
        Effect::State(state) => format!("state {}", state.phase),
        Effect::Error(error) => format!("error: {}", next(&error.next)),
        Effect::Close(close) => format!("close {}: {}", close.code.value(), next(&close.next)),
        Effect::Stopped(stopped) => format!("stopped {}", stopped.outcome.kind),
        Effect::Schedule => "schedule".into(),
        Effect::Dial(attempt) => format!("dial {}", attempt.number),
        Effect::CloseSocket { frame: Some(frame), .. } => {
            format!("close socket {}", frame.code().value())
        }
        Effect::CloseSocket { frame: None, .. } => "close socket".into(),
        Effect::Cancel => "cancel".into(),
        Effect::Restart => "restart".into(),
    };
    effects.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Every state, with every input that it can have, the state after it, and the effects.
const TRANSITIONS: &[(&str, &str, &str, &str)] = &[
    ("first", "due", "dialling", "state connecting, dial 1"),
    ("first", "closes", "waiting at once", ""),
    ("first", "reconnect", "waiting at once, asked", "schedule"),
    ("first", "pause", "paused", "cancel, state paused"),
    ("first", "resume", "waiting at once", ""),
    ("first", "close", "closed", "cancel, state closed, stopped closed"),
    ("waiting", "due", "waiting 4s", "schedule"),
    ("waiting", "closes", "waiting 4s", ""),
    ("waiting", "reconnect", "waiting at once, asked", "schedule"),
    ("waiting", "pause", "paused", "cancel, state paused"),
    ("waiting", "resume", "waiting 4s", ""),
    ("waiting", "close", "closed", "cancel, state closed, stopped closed"),
    ("dialling", "due", "dialling", ""),
    ("dialling", "opens", "open", "state open"),
    ("dialling", "fails", "waiting 5s", "error: 2 in 5s, state waiting, restart"),
    ("dialling", "closes", "dialling", ""),
    ("dialling", "reconnect", "dialling", ""),
    ("dialling", "pause", "paused", "cancel, state paused"),
    ("dialling", "resume", "dialling", ""),
    ("dialling", "close", "closed", "cancel, state closed, stopped closed"),
    ("open", "due", "open", ""),
    ("open", "closes", "closing", "state closing"),
    ("open", "ends", "waiting 5s", "close 1000: 2 in 5s, state waiting, restart"),
    ("open", "breaks", "waiting 5s", "error: 2 in 5s, close 1006: 2 in 5s, state waiting, restart"),
    ("open", "reconnect", "closing to dial", "close socket 1000, state closing"),
    ("open", "pause", "closing to pause", "close socket 1000, state closing"),
    ("open", "resume", "open", ""),
    ("open", "close", "closing for good", "close socket, state closing"),
    ("closing", "due", "closing", ""),
    ("closing", "closes", "closing", ""),
    ("closing", "ends", "waiting 5s", "close 1000: 2 in 5s, state waiting, restart"),
    (
        "closing",
        "breaks",
        "waiting 5s",
        "error: 2 in 5s, close 1006: 2 in 5s, state waiting, restart",
    ),
    ("closing", "reconnect", "closing to dial", "close socket 1000"),
    ("closing", "pause", "closing to pause", "close socket 1000"),
    ("closing", "resume", "closing", ""),
    ("closing", "close", "closing for good", "close socket"),
    ("closing to dial", "due", "closing to dial", ""),
    ("closing to dial", "closes", "closing to dial", ""),
    (
        "closing to dial",
        "ends",
        "waiting at once, asked",
        "close 1000: 2 in 0ns, state waiting, restart",
    ),
    (
        "closing to dial",
        "breaks",
        "waiting at once, asked",
        "error: 2 in 0ns, close 1006: 2 in 0ns, state waiting, restart",
    ),
    ("closing to dial", "reconnect", "closing to dial", "close socket 1000"),
    ("closing to dial", "pause", "closing to pause", "close socket 1000"),
    ("closing to dial", "resume", "closing to dial", ""),
    ("closing to dial", "close", "closing for good", "close socket"),
    ("closing to pause", "due", "closing to pause", ""),
    ("closing to pause", "closes", "closing to pause", ""),
    ("closing to pause", "ends", "paused", "close 1000: stop, state paused"),
    ("closing to pause", "breaks", "paused", "error: stop, close 1006: stop, state paused"),
    // Only a resume ends a pause.
    ("closing to pause", "reconnect", "closing to pause", ""),
    ("closing to pause", "pause", "closing to pause", "close socket 1000"),
    ("closing to pause", "resume", "closing to dial", "close socket 1000"),
    ("closing to pause", "close", "closing for good", "close socket"),
    ("closing for good", "due", "closing for good", ""),
    ("closing for good", "closes", "closing for good", ""),
    ("closing for good", "ends", "closed", "close 1000: stop, state closed, stopped closed"),
    // Only a breach that came before the close of ours has an error here.
    (
        "closing for good",
        "breaks",
        "closed",
        "error: stop, close 1006: stop, state closed, stopped closed",
    ),
    ("closing for good", "reconnect", "closing for good", "refused"),
    ("closing for good", "pause", "closing for good", "refused"),
    ("closing for good", "resume", "closing for good", "refused"),
    // It may shorten the deadline.
    ("closing for good", "close", "closing for good", "close socket"),
    ("paused", "due", "paused", ""),
    ("paused", "closes", "paused", ""),
    ("paused", "reconnect", "paused", ""),
    ("paused", "pause", "paused", ""),
    ("paused", "resume", "waiting at once, asked", "state waiting, schedule"),
    ("paused", "close", "closed", "cancel, state closed, stopped closed"),
    ("closed", "due", "closed", ""),
    ("closed", "closes", "closed", ""),
    ("closed", "reconnect", "closed", "refused"),
    ("closed", "pause", "closed", "refused"),
    ("closed", "resume", "closed", "refused"),
    ("closed", "close", "closed", "refused"),
];

#[test]
fn each_state_answers_each_input_as_the_table_says() {
    let mut rows = HashSet::new();
    for &(from, input, to, effects) in TRANSITIONS {
        let mut life = Life::at(from);
        assert_eq!(life.apply(input), effects, "{from}, {input}");
        assert_eq!(life.state(), to, "{from}, {input}");
        assert!(rows.insert((from, input)), "{from}, {input}: two rows");
    }
    let states: HashSet<&str> = TRANSITIONS.iter().map(|row| row.0).collect();
    let everywhere = ["due", "closes", "reconnect", "pause", "resume", "close"];
    for from in states {
        let more: &[&str] = match from {
            "dialling" => &["opens", "fails"],
            "open" => &["ends", "breaks"],
            closing if closing.starts_with("closing") => &["ends", "breaks"],
            _ => &[],
        };
        for input in everywhere.iter().chain(more) {
            assert!(rows.contains(&(from, input)), "{from}, {input}: no row");
        }
    }
}

#[test]
fn a_retry_has_a_timer_also_without_a_delay() {
    let at_once = Reconnect::delays(|| std::iter::repeat(Duration::ZERO));
    let mut life = Life::with(|options| options.reconnect = at_once);
    assert_eq!(life.supervision.next_dial(), Some(Due::AtOnce));
    assert_eq!(life.fail(status(503)).after(), Duration::ZERO);
    assert_eq!(life.supervision.next_dial(), Some(Due::At(life.now)));
}

#[test]
fn dials_that_commands_ask_for_are_a_second_apart() {
    for asks in [&["reconnect"][..], &["reconnect", "reconnect"], &["pause", "resume"]] {
        let mut life = Life::at("waiting");
        let mut dials = Vec::new();
        for _ in 0..5 {
            asks.iter().for_each(|ask| drop(life.apply(ask)));
            life.fail(status(503));
            dials.push(life.now);
        }
        assert!(dials.windows(2).all(|pair| pair[1] - pair[0] == SECOND), "{asks:?}: {dials:?}");
    }
}

#[test]
fn a_reconnect_does_not_delay_a_dial_that_is_due_earlier() {
    let half = Reconnect::fixed(SECOND / 2);
    let mut life = Life::with(|options| options.reconnect = half);
    life.apply("reconnect");
    life.fail(status(503));
    assert_eq!(life.apply("reconnect"), "");
    assert_eq!(life.state(), "waiting 500ms");
}

#[test]
fn the_dial_limit_holds_for_dials_that_commands_ask_for() {
    let mut life = Life::with(|_| ());
    let start = life.now;
    for _ in 0..16 {
        life.fail(status(503));
        life.apply("reconnect");
    }
    life.dial();
    assert!(life.now - start >= 60 * SECOND, "{:?}", life.now - start);
}

#[test]
fn a_short_life_does_not_reset_the_backoff_and_a_stable_one_does() {
    let mut life = Life::new();
    let mut attempts = Vec::new();
    for visit in 0..8 {
        life.open();
        life.now += if visit == 6 { 11 * SECOND } else { SECOND };
        let lost = Lost(life.lost(life.broken()));
        attempts.push(lost.error().unwrap().attempt);
    }
    // The loss of the stable life has that life's own number still.
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 1]);
}

#[test]
fn a_pause_is_not_a_part_of_the_life_before_it() {
    let mut life = Life::new();
    life.fail(status(503));
    life.now += 5 * SECOND;
    life.open();
    life.now += SECOND / 2;
    life.apply("pause");
    life.lost(life.broken());
    life.now += 3600 * SECOND;
    life.apply("resume");
    life.dial();
    assert_eq!(life.supervision.attempt(), 3);
    // A stable life before the pause starts over at its end, as any does.
    life.supervision.opened(life.now);
    life.now += 10 * SECOND;
    life.apply("pause");
    life.lost(life.broken());
    assert_eq!(life.supervision.attempt(), 0);
}

/// A policy that panics in `reset`.
struct PanicsInReset;

impl crate::backoff::Policy for PanicsInReset {
    fn reset(&mut self) {
        panic!("as the test wants it")
    }

    fn next_delay(&mut self) -> Option<Duration> {
        Some(SECOND)
    }
}

#[test]
fn a_policy_that_panics_when_it_starts_over_ends_the_run() {
    for paused in [true, false] {
        let mut life =
            Life::with(|options| options.reconnect = Reconnect::custom(|| PanicsInReset));
        life.open();
        life.now += 10 * SECOND;
        if paused {
            life.apply("pause");
        }
        let effects = Lost(life.lost(life.broken()));
        let outcome = effects.outcome();
        assert_eq!(outcome.kind, OutcomeKind::Refused, "paused: {paused}");
        assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
        assert_eq!((effects.close().is_some(), effects.next()), (true, Next::Stop));
    }
}

#[test]
fn an_overloaded_server_is_given_the_longest_delays() {
    let policy = Reconnect::exponential().floor(MILLI).initial(MILLI).first(MILLI);
    let mut life = Life::with(|options| options.reconnect = policy.into());
    life.open();
    let first = Lost(life.lost(life.closed_by_server(1013))).after();
    // Random up to the cap of 30 s; from this seed.
    assert!((SECOND..=30 * SECOND).contains(&first), "{first:?}");
}

#[test]
fn a_status_says_whether_another_dial_may_succeed() {
    for code in [200, 400, 401, 403, 404, 410] {
        assert_eq!(Life::new().fail(status(code)).kind(), OutcomeKind::Refused, "{code}");
    }
    for code in [408, 425, 429, 500, 502, 503] {
        assert_eq!(Life::new().fail(status(code)).after(), 5 * SECOND, "{code}");
    }
}

#[test]
fn a_close_code_says_whether_another_dial_may_succeed() {
    for code in [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 3000, 4999] {
        let mut life = Life::at("open");
        let lost = Lost(life.lost(life.closed_by_server(code)));
        assert_eq!(lost.after(), 5 * SECOND, "{code}");
        assert!(lost.error().is_none(), "{code}");
    }
    for code in [1002, 1003, 1007, 1008, 1009, 1010] {
        let mut life = Life::at("open");
        let lost = Lost(life.lost(life.closed_by_server(code)));
        assert!(lost.error().is_none(), "{code}");
        let Outcome { kind, error, close, by, .. } = lost.outcome();
        assert_eq!((*kind, *by), (OutcomeKind::Refused, By::Remote), "{code}");
        assert_eq!(close.as_ref().unwrap().0.value(), code);
        assert!(error.is_none(), "{code}");
    }
}

#[test]
fn without_reconnection_the_first_loss_is_the_end() {
    let never = || Life::with(|options| options.reconnect = Reconnect::never());
    assert_eq!(never().fail(status(503)).kind(), OutcomeKind::Failed);
    assert_eq!(never().fail(status(403)).kind(), OutcomeKind::Refused);
    let cases = [(1000, OutcomeKind::Closed), (1008, OutcomeKind::Refused)];
    for (code, kind) in cases {
        let mut life = never();
        life.open();
        assert_eq!(Lost(life.lost(life.closed_by_server(code))).kind(), kind);
    }
    let mut life = never();
    life.open();
    let lost = Lost(life.lost(life.broken()));
    assert_eq!((lost.kind(), lost.outcome().attempts), (OutcomeKind::Failed, 1));
    assert!(matches!(lost.outcome().error, Some(Error::PeerSilent { .. })));
}

#[test]
fn without_reconnection_a_command_still_leads_to_a_dial() {
    let mut life = Life::with(|options| options.reconnect = Reconnect::never());
    life.open();
    life.apply("reconnect");
    assert_eq!(
        Lost(life.lost(life.broken())).next(),
        Next::Retry { after: Duration::ZERO, attempt: 2 }
    );
}

#[test]
fn attempts_are_used_up_and_each_failure_is_reported() {
    let mut life = Life::with(|options| options.max_attempts = Some(4));
    for attempt in 1..=3 {
        let lost = life.fail(status(503));
        assert_eq!(lost.error().unwrap().attempt, attempt);
        assert!(lost.next().after().is_some());
    }
    let lost = life.fail(status(503));
    assert_eq!((lost.error().unwrap().attempt, lost.next()), (4, Next::Stop));
    let outcome = lost.outcome();
    assert_eq!((outcome.kind, outcome.attempts, outcome.epochs), (OutcomeKind::GaveUp, 4, 0));
    assert_eq!(outcome.error.as_ref().unwrap().status(), Some(503));
}

#[test]
fn a_policy_that_runs_out_gives_up() {
    let policy = Reconnect::delays(|| [SECOND, 5 * SECOND]);
    let mut life = Life::with(|options| options.reconnect = policy);
    assert_eq!(life.fail(status(500)).after(), SECOND);
    assert_eq!(life.fail(status(500)).after(), 5 * SECOND);
    assert_eq!(life.fail(status(500)).kind(), OutcomeKind::GaveUp);
}

#[test]
fn retry_if_replaces_the_verdict() {
    let mut life = Life::with(|options| {
        options.retry_if = Some(RetryIf::new(|error| match error.status() {
            Some(401) => Verdict::RETRY,
            _ => Verdict::Stop,
        }));
    });
    assert!(life.fail(status(401)).next().after().is_some());
    assert_eq!(life.fail(status(503)).kind(), OutcomeKind::Refused);
}

#[test]
fn retry_if_is_not_asked_about_an_end_that_a_command_asked_for() {
    let panics = |options: &mut Options| {
        options.retry_if = Some(RetryIf::new(|_| panic!("as the test wants it")));
    };
    for (ask, state) in [("reconnect", "waiting at once, asked"), ("pause", "paused")] {
        let mut life = Life::with(panics);
        life.open();
        life.apply(ask);
        life.lost(life.broken());
        assert_eq!(life.state(), state);
    }
    let lost = Life::with(panics).fail(status(503));
    assert!(matches!(lost.error().unwrap().error, Error::Handler(_)));
    assert!(matches!(lost.outcome().error, Some(Error::Handler(_))));
    assert_eq!(lost.kind(), OutcomeKind::Refused);
}

#[test]
fn a_clean_close_by_the_server_can_be_the_end() {
    let stays = || Life::with(|options| options.reconnect_on_close = false);
    let cases = [
        (1000, OutcomeKind::Closed),
        (1012, OutcomeKind::Closed),
        // A refusal stays one.
        (1008, OutcomeKind::Refused),
    ];
    for (code, kind) in cases {
        let mut life = stays();
        life.open();
        assert_eq!(Lost(life.lost(life.closed_by_server(code))).kind(), kind, "{code}");
    }
    // A loss without a Close frame is still mended.
    let mut life = stays();
    life.open();
    assert!(Lost(life.lost(life.broken())).next().after().is_some());
}

#[test]
fn a_close_that_is_not_a_clean_one_by_the_server_is_a_loss() {
    for (clean, by) in [(false, By::Remote), (true, By::Local), (false, By::Nobody)] {
        let lost = |set: fn(&mut Options)| {
            let mut life = Life::with(set);
            life.open();
            let (code, reason) = (CloseCode::GOING_AWAY, ByteString::new());
            let closure = Closure { code, reason, clean, by, peer: None };
            let opened = life.now;
            Lost(life.lost(Loss::Socket {
                error: None,
                closure,
                unsent: Unsent::default(),
                opened,
            }))
        };
        let stays = lost(|options| options.reconnect_on_close = false);
        assert!(stays.next().after().is_some(), "clean: {clean}, by {by:?}");
        let once = lost(|options| options.reconnect = Reconnect::never());
        assert_eq!(once.kind(), OutcomeKind::Failed, "clean: {clean}, by {by:?}");
    }
}

#[test]
fn what_a_status_shows_is_kept() {
    let mut life = Life::new();
    let start = life.now;
    assert_eq!(life.supervision.since(), start);
    life.fail(status(503));
    assert_eq!((life.supervision.attempt(), life.supervision.dials()), (1, 1));
    assert_eq!(life.supervision.epoch(), 0);
    let error = life.supervision.last_error().unwrap();
    assert_eq!(error.status(), Some(503));
    life.open();
    let opened = life.now;
    assert_eq!(life.supervision.since(), opened);
    assert_eq!((life.supervision.attempt(), life.supervision.dials()), (2, 2));
    assert_eq!(life.supervision.epoch(), 1);
    life.now += 3 * SECOND;
    let loss = life.closed_by_server(1012);
    let Loss::Socket { closure, .. } = &loss else { panic!("{loss:?}") };
    let closure = closure.clone();
    let Loss::Socket { error, closure: lost, .. } = loss else { unreachable!() };
    let lost =
        Lost(life.lost(Loss::Socket { error, closure: lost, unsent: Unsent::default(), opened }));
    assert_eq!(lost.close().unwrap().lasted, 3 * SECOND);
    assert_eq!(life.supervision.last_closure(), Some(closure));
    // A Close frame is no error: the last one stays.
    assert_eq!(life.supervision.last_error().unwrap().status(), Some(503));
    assert_eq!(life.supervision.since(), life.now);
    // The same phase again changes nothing.
    let since = life.now;
    life.now += SECOND;
    life.apply("reconnect");
    assert_eq!(life.supervision.since(), since);
    life.open();
    assert_eq!(life.supervision.epoch(), 2);
}

#[test]
fn a_run_that_no_handler_hears_ends_as_refused_once_its_socket_is_closed() {
    let dead = || Error::Handler("the last handler of Message has ended".into());
    for (from, expected, state) in [
        ("first", "cancel, state closed, stopped refused", "closed"),
        ("waiting", "cancel, state closed, stopped refused", "closed"),
        ("dialling", "cancel, state closed, stopped refused", "closed"),
        ("paused", "cancel, state closed, stopped refused", "closed"),
        ("open", "close socket 1001, state closing", "closing for good"),
        ("closing", "close socket 1001", "closing for good"),
        ("closing to dial", "close socket 1001", "closing for good"),
        ("closing to pause", "close socket 1001", "closing for good"),
        // It ends already, and not because of this.
        ("closing for good", "", "closing for good"),
        ("closed", "", "closed"),
    ] {
        let mut life = Life::at(from);
        let effects = life.supervision.unheard(dead(), life.now);
        assert_eq!((&*words(&effects), &*life.state()), (expected, state), "{from}");
        for effect in &effects {
            if let Effect::CloseSocket { deadline, .. } = effect {
                assert_eq!(*deadline, life.supervision.options.close_timeout, "{from}");
            }
        }
        let kind = if expected.is_empty() { OutcomeKind::Closed } else { OutcomeKind::Refused };
        if state != "closed" {
            life.lost(life.closed_by_server(1001));
        }
        let outcome = life.supervision.outcome().expect("it has ended");
        assert_eq!(outcome.kind, kind, "{from}");
        assert_eq!(outcome.error.is_some(), kind == OutcomeKind::Refused, "{from}");
    }
}

#[test]
fn the_outcome_has_the_last_close_and_an_error_only_if_the_run_failed() {
    let mut life = Life::new();
    life.fail(status(503));
    life.open();
    life.apply("close");
    let Loss::Socket { mut closure, unsent, opened, .. } = life.broken() else { unreachable!() };
    (closure.code, closure.by, closure.clean) = (CloseCode::NORMAL, By::Local, true);
    let (code, reason) = (CloseCode::from(4001), ByteString::from_static("expired"));
    closure.peer = Some(Box::new(PeerClose { code, reason }));
    let lost = Lost(life.lost(Loss::Socket { error: None, closure, unsent, opened }));
    let outcome = lost.outcome();
    assert_eq!((outcome.kind, outcome.by), (OutcomeKind::Closed, By::Local));
    assert!(outcome.error.is_none() && lost.error().is_none(), "{outcome:?}");
    assert_eq!(outcome.close, Some((CloseCode::NORMAL, ByteString::new())));
    assert_eq!(outcome.peer.as_ref().map(|peer| peer.code.value()), Some(4001));
    assert_eq!((outcome.epochs, outcome.attempts), (1, 2));
    assert!(life.supervision.last_error().is_some());
}

#[test]
fn a_close_has_the_frame_and_the_deadline_that_were_asked_for() {
    let close_of = |effects: Effects| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::CloseSocket { frame, deadline } => Some((frame, deadline)),
            _ => None,
        })
    };
    let frame = |code| CloseFrame::new(code, "").ok();
    let mut life = Life::with(|options| options.close_timeout = 7 * SECOND);
    life.open();
    let effects = life.supervision.asked(Ask::Pause, life.now).unwrap();
    assert_eq!(close_of(effects), Some((frame(CloseCode::NORMAL), 7 * SECOND)));
    let away = frame(CloseCode::GOING_AWAY);
    let ask = Ask::Close { frame: away.clone(), deadline: 2 * SECOND };
    let effects = life.supervision.asked(ask, life.now).unwrap();
    assert_eq!(close_of(effects), Some((away, 2 * SECOND)));
}

#[test]
fn retry_after_is_obeyed() {
    let mut life = Life::new();
    let line = ("Retry-After".to_owned(), bytes::Bytes::from_static(b"77"));
    let headers: Headers = [line].into_iter().collect();
    let (reason, body) = (String::new(), Default::default());
    let refusal = Refusal { status: 503, reason, authorized: false, headers, body };
    assert_eq!(life.fail(Error::Refused(refusal.into())).after(), 77 * SECOND);
}

#[test]
fn an_opening_reports_the_outage_before_it() {
    let mut life = Life::new();
    let first = life.open();
    assert_eq!((first.attempts, first.outage.is_none()), (1, true));
    life.lost(life.broken());
    life.fail(status(503));
    let second = life.open();
    let outage = second.outage.unwrap();
    assert_eq!((second.attempts, outage.attempts, outage.duration), (2, 2, 10 * SECOND));
    assert!(matches!(outage.cause, Some(Error::PeerSilent { .. })));
    life.lost(life.closed_by_server(1012));
    let cause = life.open().outage.unwrap().cause;
    assert!(matches!(&cause, Some(Error::Closed(Some(frame))) if frame.code().value() == 1012));
    // One that a command caused has no cause.
    life.apply("reconnect");
    life.lost(life.closed_by_server(1000));
    assert!(life.open().outage.unwrap().cause.is_none());
}

/// What happens to a connection in the property below.
#[derive(Clone, Debug)]
enum Step {
    Ask(&'static str),
    /// The clock moves, and a dial begins if one is due.
    Pass(Duration),
    /// Waits for the next dial, and begins it.
    Due,
    /// The dial under way succeeds.
    Opens,
    /// The dial under way fails, or the socket breaks: with this status, or close code.
    Lost(u16),
    Breaks,
    /// The server begins to close.
    Closes,
}

fn any_step() -> impl Strategy<Value = Step> {
    // The ends of a run are rare, so that most runs are long.
    prop_oneof![
        60 => prop::sample::select(&["reconnect", "pause", "resume"]).prop_map(Step::Ask),
        1 => Just(Step::Ask("close")),
        20 => (0..90_000_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        80 => Just(Step::Due),
        80 => Just(Step::Opens),
        80 => prop::sample::select(&[503, 1000, 1013]).prop_map(Step::Lost),
        40 => Just(Step::Breaks),
        1 => prop::sample::select(&[401, 1008]).prop_map(Step::Lost),
        20 => Just(Step::Closes),
    ]
}

/// A connection as its handlers and its server see it: checks every effect.
struct World {
    life: Life,
    dialling: bool,
    socket: bool,
    opens: usize,
    closes: usize,
    stopped: bool,
    close_accepted: bool,
    dials: Vec<Instant>,
    asked_dials: Vec<Instant>,
}

impl World {
    fn step(&mut self, step: &Step) {
        let now = self.life.now;
        let asked = matches!(self.life.supervision.state, State::Waiting { asked: true, .. });
        let effects = match *step {
            Step::Ask(what) => {
                let ask = match what {
                    "reconnect" => Ask::Reconnect,
                    "pause" => Ask::Pause,
                    "resume" => Ask::Resume,
                    _ => Ask::Close { frame: None, deadline: SECOND },
                };
                let is_close = matches!(ask, Ask::Close { .. });
                let answer = self.life.supervision.asked(ask, now);
                assert_eq!(answer.is_err(), self.stopped || self.close_accepted && !is_close);
                self.close_accepted |= is_close;
                answer.unwrap_or_default()
            }
            Step::Pass(time) => {
                self.life.now += time;
                self.life.supervision.due(self.life.now)
            }
            Step::Due => {
                if let Some(Due::At(at)) = self.life.supervision.next_dial() {
                    self.life.now = now.max(at);
                }
                self.life.supervision.due(self.life.now)
            }
            Step::Opens if self.dialling => {
                self.dialling = false;
                assert!(!self.socket, "a second socket");
                self.socket = true;
                self.opens += 1;
                self.life.supervision.opened(now).effects
            }
            Step::Lost(code) if self.socket => {
                self.socket = false;
                self.life.lost(self.life.closed_by_server(code.max(1000)))
            }
            Step::Breaks if self.socket => {
                self.socket = false;
                self.life.lost(self.life.broken())
            }
            Step::Lost(code) if self.dialling => {
                self.dialling = false;
                self.life.lost(Loss::Dial(status(code.min(503))))
            }
            Step::Breaks if self.dialling => {
                self.dialling = false;
                self.life.lost(Loss::Dial(Error::PeerSilent { after: SECOND, idle: false }))
            }
            Step::Closes => self.life.supervision.closing(now),
            _ => return,
        };
        for effect in &effects {
            self.check(effect, asked);
        }
        assert_eq!(self.opens - self.closes, usize::from(self.socket), "{:?}", words(&effects));
    }

    fn check(&mut self, effect: &Effect, asked: bool) {
        assert!(!self.stopped, "{effect:?} after Stopped");
        match effect {
            Effect::Dial(_) => {
                assert!(!self.socket && !self.dialling, "a second socket");
                assert!(!self.close_accepted, "a dial after an accepted close");
                self.dialling = true;
                self.dials.push(self.life.now);
                if asked {
                    self.asked_dials.push(self.life.now);
                }
            }
            Effect::Close(_) => {
                self.closes += 1;
                assert_eq!(self.opens, self.closes, "a Close without its Open");
            }
            Effect::Stopped(stopped) => {
                self.stopped = true;
                assert!(!self.socket && !self.dialling, "stopped with a socket");
                let Outcome { attempts, epochs, .. } = stopped.outcome;
                let counted = (self.dials.len() as u64, self.opens as u64);
                assert_eq!((attempts, epochs), counted);
            }
            Effect::Restart => {
                assert!(!self.close_accepted, "a restart after an accepted close");
                assert!(self.life.supervision.next_dial().is_some(), "a restart without a dial");
            }
            Effect::CloseSocket { .. } => assert!(self.socket, "no socket to close"),
            Effect::Cancel => {
                assert!(!self.socket, "a socket that is not closed");
                self.dialling = false;
            }
            Effect::Schedule => assert!(self.life.supervision.next_dial().is_some()),
            Effect::State(_) | Effect::Error(_) => {}
        }
    }
}

proptest! {
    #[test]
    fn any_commands_and_losses_keep_the_promises(
        steps in prop::collection::vec(any_step(), 1..300),
        seed in any::<u64>(),
    ) {
        // The default policy: 16 dials in any 60 s.
        let mut life = Life::with(|_| ());
        life.rng = StdRng::seed_from_u64(seed);
        let mut world = World {
            life,
            dialling: false,
            socket: false,
            opens: 0,
            closes: 0,
            stopped: false,
            close_accepted: false,
            dials: Vec::new(),
            asked_dials: Vec::new(),
        };
        for step in &steps {
            world.step(step);
        }
        for window in world.dials.windows(17) {
            prop_assert!(window[16] - window[0] >= 60 * SECOND, "{:?}", window[16] - window[0]);
        }
        for pair in world.asked_dials.windows(2) {
            prop_assert!(pair[1] - pair[0] >= SECOND, "{:?}", pair[1] - pair[0]);
        }
        prop_assert_eq!(world.stopped, world.life.supervision.outcome().is_some());
        // However it stands, a close ends it.
        world.step(&Step::Ask("close"));
        world.step(&Step::Breaks);
        prop_assert!(world.stopped);
    }
}

#[test]
fn what_came_in_the_clear_is_final_at_the_second_dial_in_a_row() {
    let tls = |certainty| Error::Tls(TlsError::new("x", std::io::Error::other("x"), certainty));
    let unconfirmed = || tls(Certainty::Unconfirmed);
    let stops = |life: &mut Life, error| {
        let effects = life.fail(error).0;
        effects.iter().any(|effect| matches!(effect, Effect::Stopped(_)))
    };
    let mut life = Life::new();
    for between in [status(503), tls(Certainty::Passing)] {
        assert!(!stops(&mut life, unconfirmed()));
        assert!(!stops(&mut life, between));
    }
    assert!(!stops(&mut life, unconfirmed()));
    life.open();
    let lost = life.broken();
    life.lost(lost);
    assert!(!stops(&mut life, unconfirmed()));
    assert!(stops(&mut life, unconfirmed()));
    let outcome = life.supervision.outcome().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert_eq!(outcome.error.as_ref().map(Error::verdict), Some(Verdict::Stop));
    // A closure that judges in place of the verdict is asked about the confirmed error.
    let judge = RetryIf::new(Error::verdict);
    let mut life = Life::with(|options| options.retry_if = Some(judge));
    assert!(!stops(&mut life, unconfirmed()));
    assert!(stops(&mut life, unconfirmed()));
}

#[test]
fn while_a_socket_is_open_little_is_kept_of_a_refusals_body() {
    let mut life = Life::new();
    let Error::Refused(refusal) = status(503) else { unreachable!() };
    let refusal = Refusal { body: vec![b'x'; 64 << 10].into(), ..(*refusal).clone() };
    for proxy in [false, true] {
        let refusal = refusal.clone().into();
        let error = match proxy {
            true => Error::Proxy(ProxyError::Status(refusal)),
            false => Error::Refused(refusal),
        };
        let body = |life: &Life| match life.supervision.last_error().unwrap() {
            Error::Refused(refusal) | Error::Proxy(ProxyError::Status(refusal)) => {
                (refusal.status, refusal.body.len())
            }
            other => panic!("{other}"),
        };
        life.fail(error);
        assert_eq!(body(&life), (503, 64 << 10));
        life.open();
        assert_eq!(body(&life), (503, 2 << 10));
        life.lost(life.broken());
    }
}

#[test]
fn a_socket_that_was_closed_for_slow_handlers_was_not_closed_by_the_server() {
    // Ours may not have left: then the code is 1006, by neither side.
    for (code, by) in [(CloseCode::GOING_AWAY, By::Local), (CloseCode::ABNORMAL, By::Nobody)] {
        let mut life = Life::at("closing");
        let closure = Closure { code, reason: "".into(), clean: false, by, peer: None };
        let unsent = Unsent::default();
        life.lost(Loss::Socket { error: None, closure, unsent, opened: life.now });
        let cause = life.open().outage.unwrap().cause;
        assert!(matches!(cause, Some(Error::Overflow)), "{cause:?}");
    }
}

#[test]
fn a_close_that_was_not_clean_is_retried_where_a_clean_one_ends_the_run() {
    for clean in [true, false] {
        let mut life = Life::with(|options| options.reconnect_on_close = false);
        life.open();
        let mut loss = life.closed_by_server(1000);
        if let Loss::Socket { closure, .. } = &mut loss {
            closure.clean = clean;
        }
        let lost = Lost(life.lost(loss));
        assert_eq!(lost.next().after().is_none(), clean);
    }
}

#[test]
fn a_socket_that_is_settled_resets_the_backoff_however_short_its_life() {
    let mut life = Life::new();
    assert!(!life.supervision.settled(0) && !life.supervision.settled(1));
    let mut attempts = Vec::new();
    for visit in 1..=6 {
        life.open();
        // Of an earlier socket it says nothing.
        assert!(!life.supervision.settled(visit - 1));
        if visit == 3 || visit == 4 {
            assert!(life.supervision.settled(visit));
        }
        attempts.push(Lost(life.lost(life.broken())).error().unwrap().attempt);
        assert!(!life.supervision.settled(visit));
    }
    assert_eq!(attempts, [1, 2, 3, 1, 1, 2]);
}

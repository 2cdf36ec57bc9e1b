use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::backoff::{DialGuard, DialLimit};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const STABLE: Duration = Duration::from_secs(10);

/// A schedule, its clock and its generator.
struct Life {
    schedule: Schedule,
    now: Instant,
    rng: StdRng,
}

impl Life {
    fn new(policy: impl Into<Reconnect>, guards: Guards) -> Life {
        Life::seeded(policy, guards, 1)
    }

    fn seeded(policy: impl Into<Reconnect>, guards: Guards, seed: u64) -> Life {
        Life {
            schedule: Schedule::new(&policy.into(), guards),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn lost(&mut self, hint: Hint) -> Next {
        self.schedule.lost(self.now, hint, &mut self.rng)
    }

    /// Dials and fails at once.
    fn fail(&mut self) -> Next {
        self.schedule.dialling(self.now);
        self.lost(Hint::default())
    }

    /// Dials and opens a socket, which lasts this long.
    fn live(&mut self, lasting: Duration) -> Next {
        self.live_until(lasting, Hint::default())
    }

    fn live_until(&mut self, lasting: Duration, hint: Hint) -> Next {
        self.schedule.dialling(self.now);
        self.schedule.opened(self.now);
        self.now += lasting;
        self.lost(hint)
    }

    /// Returns when dials begin within this time, if every socket lasts as long as `lasting`.
    fn dials(&mut self, lasting: Duration, during: Duration) -> Vec<Duration> {
        let start = self.now;
        let mut dials = Vec::new();
        while self.now - start < during {
            dials.push(self.now - start);
            assert!(dials.len() < 100_000, "the dials take no time");
            let delay = after(self.live(lasting));
            self.now += delay;
        }
        dials
    }
}

fn after(next: Next) -> Duration {
    match next {
        Next::Retry { after, .. } => after,
        Next::GiveUp => panic!("gave up"),
    }
}

fn attempt(next: Next) -> u32 {
    match next {
        Next::Retry { attempt, .. } => attempt,
        Next::GiveUp => panic!("gave up"),
    }
}

fn at_least(at_least: Duration) -> Hint {
    Hint { at_least: Some(at_least), ..Hint::default() }
}

/// Returns the most dials in any window of this length, both ends included.
fn most_within(window: Duration, dials: &[Duration]) -> usize {
    (0..dials.len())
        .map(|i| dials[i..].iter().take_while(|&&dial| dial - dials[i] <= window).count())
        .max()
        .unwrap_or(0)
}

#[test]
fn a_server_that_accepts_and_drops_sees_few_dials() {
    for seed in 0..4 {
        for lasting in [Duration::ZERO, 50 * MILLI, SECOND, STABLE - MILLI, STABLE] {
            let dials = Life::seeded(Reconnect::default(), Guards::default(), seed)
                .dials(lasting, 6 * HOUR);
            let most = most_within(60 * SECOND, &dials);
            assert!(most <= 16, "{most} dials in a minute of lives of {lasting:?}");
        }
        // The policy alone stays far below the limit: dials are 15.25 s apart on average.
        let dials =
            Life::seeded(Reconnect::default(), Guards::default(), seed).dials(50 * MILLI, 6 * HOUR);
        assert!((1_300..1_550).contains(&dials.len()), "{} dials", dials.len());
    }
}

#[test]
fn the_dial_limit_holds_where_the_policy_does_not() {
    let trusting = Guards { stable_after: Duration::ZERO, ..Guards::default() };
    for seed in 0..4 {
        let dials = Life::seeded(Reconnect::default(), trusting, seed).dials(50 * MILLI, 6 * HOUR);
        // Exactly 16, not only at most: the window is full.
        assert_eq!(most_within(60 * SECOND, &dials), 16);
        assert!(dials.len() > 5_000, "{} dials", dials.len());
    }
}

#[test]
fn a_dial_limit_that_was_set_holds_under_every_policy() {
    let limit = DialLimit { dials: 5, window: 7 * SECOND };
    let guards = Guards { dial_limit: DialGuard::Limit(limit), ..Guards::default() };
    for policy in [
        Reconnect::fixed(10 * MILLI),
        Reconnect::delays(|| std::iter::repeat(Duration::ZERO)),
        Reconnect::exponential().floor(Duration::ZERO).cap(Duration::ZERO).into(),
    ] {
        let dials = Life::new(policy, guards).dials(50 * MILLI, HOUR);
        assert_eq!(most_within(7 * SECOND, &dials), 5);
    }
}

#[test]
fn a_fixed_delay_has_no_dial_limit_unless_set() {
    let mut life = Life::new(Reconnect::fixed(100 * MILLI), Guards::default());
    for _ in 0..1_000 {
        assert_eq!(after(life.live(50 * MILLI)), 100 * MILLI);
    }
}

#[test]
fn no_dial_limit_is_no_dial_limit() {
    let guards =
        Guards { stable_after: Duration::ZERO, dial_limit: DialGuard::Off, ..Guards::default() };
    let dials = Life::new(Reconnect::default(), guards).dials(50 * MILLI, HOUR);
    assert!(most_within(60 * SECOND, &dials) > 80);
}

#[test]
fn a_dial_that_nobody_announced_counts_and_can_ask() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    for _ in 0..16 {
        assert_eq!(life.schedule.hold(life.now), Duration::ZERO);
        life.schedule.dialling(life.now);
        life.now += SECOND;
    }
    assert_eq!(life.schedule.hold(life.now), 44_001 * MILLI);
    assert_eq!(after(life.lost(Hint::default())), 44_001 * MILLI);
}

#[test]
fn only_a_stable_life_starts_over() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    for n in 1..=20 {
        assert_eq!(attempt(life.live(STABLE - MILLI)), n + 1);
        life.now += HOUR;
    }
    assert_eq!(life.schedule.attempt(), 20);
    let next = life.live(STABLE);
    assert_eq!(attempt(next), 1);
    assert!(after(next) <= SECOND);
    assert_eq!(life.schedule.attempt(), 0);
    // From here on the policy starts over: delay 0.
    let next = life.fail();
    assert_eq!(attempt(next), 2);
    assert!(after(next) <= SECOND);
}

#[test]
fn an_unstable_life_makes_the_next_delay_longer() {
    let mut grown = 0;
    for seed in 0..100 {
        let mut life = Life::seeded(Reconnect::default(), Guards::default(), seed);
        for _ in 0..5 {
            life.live(50 * MILLI);
        }
        let delay = after(life.live(50 * MILLI));
        assert!((500 * MILLI..=30 * SECOND).contains(&delay));
        grown += u32::from(delay > 5 * SECOND);
    }
    assert!(grown > 70, "{grown} of 100");
}

#[test]
fn the_first_retry_after_a_stable_life_is_spread_over_a_second() {
    let delays: Vec<_> = (0..1_000)
        .map(|seed| {
            let mut life = Life::seeded(Reconnect::default(), Guards::default(), seed);
            after(life.live(STABLE))
        })
        .collect();
    assert!(delays.iter().all(|&delay| delay <= SECOND));
    for tenth in 0..10 {
        let from = tenth * 100 * MILLI;
        let count =
            delays.iter().filter(|&&delay| delay >= from && delay < from + 100 * MILLI).count();
        assert!((60..140).contains(&count), "{count} of 1,000 from {from:?}");
    }
}

#[test]
fn a_first_dial_that_fails_waits_for_the_floor() {
    for seed in 0..1_000 {
        let mut life = Life::seeded(Reconnect::default(), Guards::default(), seed);
        assert!((500 * MILLI..=SECOND).contains(&after(life.fail())));
    }
}

#[test]
fn a_life_that_a_dial_ends_counts_like_a_lost_one() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    assert_eq!(life.schedule.dialling(life.now), 1);
    assert_eq!(life.schedule.dialling(life.now), 2);
    life.schedule.opened(life.now);
    assert_eq!(life.schedule.dialling(life.now + STABLE), 1);
    // That life has ended: what follows is a failed dial, not a second stable socket.
    life.now += 3 * STABLE;
    assert_eq!(attempt(life.lost(Hint::default())), 2);
}

#[test]
fn a_settled_socket_is_stable_however_short_its_life_was_and_the_next_one_is_not() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    life.fail();
    life.schedule.dialling(life.now);
    life.schedule.opened(life.now);
    life.schedule.settled();
    assert_eq!(attempt(life.lost(Hint::default())), 1);
    assert_eq!(attempt(life.live(STABLE - MILLI)), 2);
}

#[test]
fn a_pause_ends_the_life_of_the_socket_and_is_no_part_of_it() {
    for (lasting, next) in [(STABLE, 1), (STABLE - MILLI, 2)] {
        let mut life = Life::new(Reconnect::default(), Guards::default());
        life.schedule.dialling(life.now);
        life.schedule.opened(life.now);
        life.now += lasting;
        life.schedule.paused(life.now);
        assert_eq!(life.schedule.attempt(), next - 1);
        life.now += HOUR;
        assert_eq!(life.schedule.dialling(life.now), next);
    }
}

#[test]
fn debug_shows_where_the_schedule_is() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    life.fail();
    let shown = format!("{:?}", life.schedule);
    assert!(shown.starts_with("Schedule { guards: Guards {"), "{shown}");
    assert!(shown.contains("attempt: 1, opened: None"), "{shown}");
}

#[test]
fn retry_after_is_a_floor() {
    for seed in 0..100 {
        let mut life = Life::seeded(Reconnect::default(), Guards::default(), seed);
        life.schedule.dialling(life.now);
        assert_eq!(after(life.lost(at_least(40 * SECOND))), 40 * SECOND);
        life.schedule.dialling(life.now);
        assert!(after(life.lost(at_least(MILLI))) >= 500 * MILLI);
        assert_eq!(after(life.live_until(STABLE, at_least(2 * SECOND))), 2 * SECOND);
    }
    let mut life = Life::new(Reconnect::fixed(SECOND), Guards::default());
    assert_eq!(after(life.live_until(SECOND, at_least(3 * SECOND))), 3 * SECOND);
    assert_eq!(after(life.fail()), SECOND);
}

#[test]
fn retry_after_is_obeyed_for_an_hour_at_most() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    for asked in [HOUR, HOUR + SECOND, Duration::MAX] {
        life.schedule.dialling(life.now);
        assert_eq!(after(life.lost(at_least(asked))), HOUR);
    }
}

#[test]
fn retry_after_does_not_make_a_giving_up_policy_go_on() {
    let mut life = Life::new(Reconnect::never(), Guards::default());
    life.schedule.dialling(life.now);
    assert_eq!(life.lost(at_least(SECOND)), Next::GiveUp);
}

#[test]
fn a_server_that_says_later_is_dialled_from_the_cap() {
    let later = Hint { from_cap: true, ..Hint::default() };
    for lasting in [50 * MILLI, STABLE] {
        let mut late = [0, 0];
        for seed in 0..100 {
            let mut life = Life::seeded(Reconnect::default(), Guards::default(), seed);
            for (late, next) in late.iter_mut().zip([life.live_until(lasting, later), life.fail()])
            {
                assert!((500 * MILLI..=30 * SECOND).contains(&after(next)));
                *late += u32::from(after(next) > 5 * SECOND);
            }
        }
        assert!(late.iter().all(|&late| late > 70), "{late:?} of 100");
    }
    let mut life = Life::new(Reconnect::fixed(SECOND), Guards::default());
    assert_eq!(after(life.live_until(SECOND, later)), SECOND);
}

#[test]
fn max_attempts_are_dials_since_the_last_stable_life() {
    let guards = Guards { max_attempts: Some(3), ..Guards::default() };
    let mut life = Life::new(Reconnect::default(), guards);
    assert_eq!(attempt(life.fail()), 2);
    assert_eq!(attempt(life.live(STABLE - MILLI)), 3);
    assert_eq!(attempt(life.live(STABLE)), 1);
    assert_eq!(attempt(life.fail()), 2);
    assert_eq!(attempt(life.fail()), 3);
    assert_eq!(life.fail(), Next::GiveUp);
    assert_eq!(life.schedule.attempt(), 3);
}

#[test]
fn one_attempt_fails_once_and_none_never_comes_back() {
    let one = Guards { max_attempts: Some(1), ..Guards::default() };
    assert_eq!(Life::new(Reconnect::default(), one).fail(), Next::GiveUp);
    assert_eq!(attempt(Life::new(Reconnect::default(), one).live(STABLE)), 1);
    let none = Guards { max_attempts: Some(0), ..Guards::default() };
    assert_eq!(Life::new(Reconnect::default(), none).live(STABLE), Next::GiveUp);
}

#[test]
fn a_policy_that_ends_gives_up_and_a_stable_life_renews_it() {
    let mut life = Life::new(Reconnect::delays(|| [SECOND, 2 * SECOND]), Guards::default());
    assert_eq!(life.fail(), Next::Retry { after: SECOND, attempt: 2 });
    assert_eq!(life.fail(), Next::Retry { after: 2 * SECOND, attempt: 3 });
    assert_eq!(life.live(STABLE), Next::Retry { after: SECOND, attempt: 1 });
    assert_eq!(life.fail(), Next::Retry { after: 2 * SECOND, attempt: 2 });
    assert_eq!(life.fail(), Next::GiveUp);
}

#[test]
fn never_gives_up_after_a_stable_life_too() {
    assert_eq!(Life::new(Reconnect::never(), Guards::default()).fail(), Next::GiveUp);
    assert_eq!(Life::new(Reconnect::never(), Guards::default()).live(STABLE), Next::GiveUp);
}

#[test]
fn the_number_of_attempts_does_not_overflow() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    for n in 1..=1_000 {
        life.now += HOUR;
        let next = life.fail();
        assert_eq!(attempt(next), n + 1);
        assert!((500 * MILLI..=30 * SECOND).contains(&after(next)));
    }
    life.schedule.attempt = u32::MAX - 1;
    life.now += HOUR;
    assert_eq!(attempt(life.fail()), u32::MAX);
    assert_eq!(attempt(life.fail()), u32::MAX);
    assert_eq!(life.schedule.attempt(), u32::MAX);
}

#[test]
fn the_longest_durations_are_survived() {
    let long = Duration::MAX;
    let guards = Guards {
        max_attempts: Some(u32::MAX),
        stable_after: long,
        dial_limit: DialGuard::Limit(DialLimit { dials: 1, window: long }),
    };
    let policy = Reconnect::exponential().floor(long).initial(long).cap(long).first(long);
    let mut life = Life::new(policy, guards);
    for _ in 0..3 {
        let hint = Hint { at_least: Some(long), from_cap: true };
        let next = life.live_until(HOUR, hint);
        assert_eq!(after(next), 24 * HOUR);
        life.now += after(next);
    }
}

#[test]
fn a_clock_that_steps_back_is_no_stable_life() {
    let mut life = Life::new(Reconnect::default(), Guards::default());
    life.schedule.dialling(life.now + HOUR);
    life.schedule.opened(life.now + HOUR);
    assert_eq!(attempt(life.lost(Hint::default())), 2);
}

#[test]
fn a_preview_is_what_failing_dials_would_wait() {
    let mut rng = StdRng::seed_from_u64(1);
    let preview = Schedule::preview(&Reconnect::default(), 10, &mut rng);
    let mut life = Life::new(Reconnect::default(), Guards::default());
    let delays: Vec<_> = (0..10).map(|_| after(life.fail())).collect();
    assert_eq!(preview, delays);

    let ending = Reconnect::delays(|| [SECOND, 2 * SECOND]);
    assert_eq!(Schedule::preview(&ending, 10, &mut rng), [SECOND, 2 * SECOND]);
    assert!(Schedule::preview(&Reconnect::never(), 10, &mut rng).is_empty());
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..100_000_u64).prop_map(Duration::from_millis),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

proptest! {
    #[test]
    fn any_setting_gives_a_delay_of_a_day_at_most_and_keeps_the_limit(
        [floor, initial, cap, first] in [(); 4].map(|()| any_duration()),
        [stable_after, window] in [(); 2].map(|()| any_duration()),
        dials in 0..20_u32,
        lives in prop::collection::vec((any_duration(), any_duration(), any::<bool>()), 1..100),
    ) {
        let policy = Reconnect::exponential().floor(floor).initial(initial).cap(cap).first(first);
        let limit = DialLimit { dials, window };
        let guards =
            Guards { stable_after, dial_limit: DialGuard::Limit(limit), ..Guards::default() };
        let mut life = Life::new(policy, guards);
        let start = life.now;
        let mut begun = Vec::new();
        for (lasting, asked, from_cap) in lives {
            begun.push(life.now - start);
            let hint = Hint { at_least: Some(asked), from_cap };
            let delay = after(life.live_until(lasting.min(24 * HOUR), hint));
            prop_assert!(delay <= 24 * HOUR);
            prop_assert!(delay >= asked.min(HOUR));
            life.now += delay;
        }
        let window = window.min(24 * HOUR - MILLI);
        if !window.is_zero() {
            prop_assert!(most_within(window, &begun) <= dials.max(1) as usize);
        }
    }
}

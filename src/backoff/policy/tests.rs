use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A policy with its running state.
struct Run {
    policy: Reconnect,
    running: Running,
}

impl Reconnect {
    fn start_run(&self) -> Run {
        Run { policy: self.clone(), running: self.run() }
    }
}

impl Run {
    fn next(&mut self, kind: DelayKind, rng: &mut impl Rng) -> Option<Duration> {
        self.running.next(&self.policy, kind, rng)
    }

    fn reset(&mut self) {
        self.running.reset(&self.policy);
    }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

/// Asserts that the samples are spread evenly from `low` to `high`.
fn assert_uniform(samples: &[Duration], low: Duration, high: Duration) {
    let range = high - low;
    let mut tenths = [0; 10];
    for &sample in samples {
        assert!((low..=high).contains(&sample), "{sample:?} is not in {low:?} to {high:?}");
        let part = (sample - low).as_secs_f64() / range.as_secs_f64();
        tenths[((part * 10.0) as usize).min(9)] += 1;
    }
    let fair = samples.len() / 10;
    for count in tenths {
        assert!(count > fair * 8 / 10 && count < fair * 12 / 10, "{low:?} {high:?} {tenths:?}");
    }
}

#[test]
fn each_delay_is_uniform_between_the_floor_and_a_doubling_ceiling() {
    let mut rng = rng();
    let mut delays = vec![Vec::new(); 8];
    for _ in 0..5_000 {
        let mut policy = Reconnect::default().start_run();
        for delays in &mut delays {
            delays.push(policy.next(DelayKind::Next, &mut rng).unwrap());
        }
    }
    for (delays, ceiling) in delays.iter().zip([1, 2, 4, 8, 16, 30, 30, 30]) {
        assert_uniform(delays, 500 * MILLI, ceiling * SECOND);
    }
}

#[test]
fn the_first_delay_after_a_stable_life_is_uniform_from_zero() {
    let mut rng = rng();
    let mut policy = Reconnect::default().start_run();
    let delays: Vec<_> =
        (0..5_000).map(|_| policy.next(DelayKind::First, &mut rng).unwrap()).collect();
    assert_uniform(&delays, Duration::ZERO, SECOND);
    // It is not one of the numbered delays: delay 0 follows.
    assert!(policy.next(DelayKind::Next, &mut rng).unwrap() <= SECOND);
}

#[test]
fn from_the_cap_stays_at_the_cap_until_a_reset() {
    let mut rng = rng();
    let (mut at, mut after) = (Vec::new(), Vec::new());
    for _ in 0..5_000 {
        let mut policy = Reconnect::default().start_run();
        at.push(policy.next(DelayKind::Cap, &mut rng).unwrap());
        after.push(policy.next(DelayKind::Next, &mut rng).unwrap());
        policy.reset();
        assert!(policy.next(DelayKind::Next, &mut rng).unwrap() <= SECOND);
    }
    assert_uniform(&at, 500 * MILLI, 30 * SECOND);
    assert_uniform(&after, 500 * MILLI, 30 * SECOND);
}

#[test]
fn the_same_generator_gives_the_same_delays() {
    let mut once = Reconnect::default().start_run();
    let mut again = Reconnect::default().start_run();
    let (mut one, mut other) = (rng(), rng());
    for _ in 0..100 {
        let delay = once.next(DelayKind::Next, &mut one);
        assert_eq!(delay, again.next(DelayKind::Next, &mut other));
    }
}

#[test]
fn the_thousandth_delay_is_still_within_bounds() {
    let mut rng = rng();
    let mut policy = Reconnect::default().start_run();
    let delays: Vec<_> =
        (0..5_005).map(|_| policy.next(DelayKind::Next, &mut rng).unwrap()).collect();
    assert_uniform(&delays[5..], 500 * MILLI, 30 * SECOND);
}

#[test]
fn the_exponential_policy_can_be_set() {
    let mut rng = rng();
    let policy: Reconnect = Reconnect::exponential()
        .floor(2 * SECOND)
        .initial(3 * SECOND)
        .cap(5 * SECOND)
        .first(Duration::ZERO)
        .into();
    for _ in 0..100 {
        let mut policy = policy.start_run();
        assert_eq!(policy.next(DelayKind::First, &mut rng), Some(Duration::ZERO));
        assert!(
            (2 * SECOND..=3 * SECOND).contains(&policy.next(DelayKind::Next, &mut rng).unwrap())
        );
        assert!(
            (2 * SECOND..=5 * SECOND).contains(&policy.next(DelayKind::Next, &mut rng).unwrap())
        );
    }
}

#[test]
fn an_initial_ceiling_below_the_floor_grows_out_of_it() {
    let mut rng = rng();
    let policy = |initial| Reconnect::from(Reconnect::exponential().initial(initial)).start_run();
    let mut small = policy(100 * MILLI);
    for _ in 0..3 {
        assert_eq!(small.next(DelayKind::Next, &mut rng), Some(500 * MILLI));
    }
    assert_ne!(small.next(DelayKind::Next, &mut rng), Some(500 * MILLI));

    let mut zero = policy(Duration::ZERO);
    for _ in 0..100 {
        assert_eq!(zero.next(DelayKind::Next, &mut rng), Some(500 * MILLI));
    }
}

#[test]
fn an_initial_ceiling_over_the_cap_counts_as_the_cap() {
    let policy = Reconnect::from(Reconnect::exponential().initial(60 * SECOND).cap(5 * SECOND));
    let mut rng = rng();
    for _ in 0..100 {
        let delay = policy.start_run().next(DelayKind::Next, &mut rng).unwrap();
        assert!(delay <= 5 * SECOND, "{delay:?}");
    }
}

#[test]
fn a_cap_below_the_floor_counts_as_the_floor() {
    let mut rng = rng();
    let policy = Reconnect::exponential().floor(3 * SECOND).cap(SECOND);
    let mut policy = Reconnect::from(policy).start_run();
    for step in [DelayKind::Next, DelayKind::Cap, DelayKind::Next] {
        assert_eq!(policy.next(step, &mut rng), Some(3 * SECOND));
    }
}

#[test]
fn no_delay_is_longer_than_a_day() {
    let mut rng = rng();
    let long = Duration::MAX;
    let wide = Reconnect::exponential().floor(Duration::ZERO).initial(long).cap(long);
    let policies = [
        wide.first(long).into(),
        wide.floor(long).into(),
        Reconnect::fixed(long),
        Reconnect::delays(move || std::iter::repeat(long)),
    ];
    for policy in policies {
        for step in [DelayKind::First, DelayKind::Next, DelayKind::Cap] {
            let delay = policy.start_run().next(step, &mut rng).unwrap();
            assert!(delay <= MAX_DELAY, "{policy:?} {step:?} {delay:?}");
        }
    }
}

#[test]
fn a_cap_over_a_day_is_a_day_and_its_delays_stay_random() {
    let mut rng = rng();
    let policy = Reconnect::exponential().floor(Duration::ZERO).cap(Duration::MAX);
    let mut policy = Reconnect::from(policy).start_run();
    let delays: Vec<_> =
        (0..5_000).map(|_| policy.next(DelayKind::Cap, &mut rng).unwrap()).collect();
    assert_uniform(&delays, Duration::ZERO, MAX_DELAY);
}

#[test]
fn the_first_delay_is_under_the_cap_too() {
    let mut rng = rng();
    let policy = Reconnect::exponential().cap(2 * SECOND).first(10 * SECOND);
    let mut policy = Reconnect::from(policy).start_run();
    let delays: Vec<_> =
        (0..5_000).map(|_| policy.next(DelayKind::First, &mut rng).unwrap()).collect();
    assert_uniform(&delays, Duration::ZERO, 2 * SECOND);
}

#[test]
fn a_fixed_delay_is_always_the_same() {
    let mut rng = rng();
    let mut policy = Reconnect::fixed(5 * SECOND).start_run();
    for step in [DelayKind::Next, DelayKind::First, DelayKind::Cap, DelayKind::Next] {
        assert_eq!(policy.next(step, &mut rng), Some(5 * SECOND));
        policy.reset();
    }
}

#[test]
fn a_fixed_delay_of_zero_is_never() {
    assert!(Reconnect::fixed(Duration::ZERO).is_never());
    assert!(Reconnect::never().is_never());
    assert!(!Reconnect::fixed(Duration::from_nanos(1)).is_never());
    for delay in [Duration::ZERO, SECOND] {
        assert_eq!(Reconnect::from(delay), Reconnect::fixed(delay));
    }
    assert!(!Reconnect::default().is_never());
    assert!(!Reconnect::delays(|| []).is_never());
    assert_eq!(Reconnect::never().start_run().next(DelayKind::First, &mut rng()), None);
}

#[test]
fn delays_begin_again_at_a_reset_and_end_with_the_iterator() {
    let mut rng = rng();
    let mut policy = Reconnect::delays(|| [1, 2].map(Duration::from_secs)).start_run();
    assert_eq!(policy.next(DelayKind::Next, &mut rng), Some(SECOND));
    policy.reset();
    assert_eq!(policy.next(DelayKind::First, &mut rng), Some(SECOND));
    assert_eq!(policy.next(DelayKind::Cap, &mut rng), Some(2 * SECOND));
    assert_eq!(policy.next(DelayKind::Next, &mut rng), None);
}

#[test]
fn each_connection_runs_its_own_custom_policy() {
    /// Counts up by one, and by a thousand on a reset.
    struct Counting(u64);

    impl Policy for Counting {
        fn next_delay(&mut self) -> Option<Duration> {
            self.0 += 1;
            Some(Duration::from_secs(self.0))
        }

        fn reset(&mut self) {
            self.0 += 1_000;
        }
    }

    let mut rng = rng();
    let policy = Reconnect::custom(|| Counting(0));
    let (mut one, mut other) = (policy.start_run(), policy.clone().start_run());
    assert_eq!(one.next(DelayKind::Next, &mut rng), Some(SECOND));
    assert_eq!(one.next(DelayKind::Next, &mut rng), Some(2 * SECOND));
    assert_eq!(other.next(DelayKind::Next, &mut rng), Some(SECOND));
    one.reset();
    assert_eq!(one.next(DelayKind::Next, &mut rng), Some(1_003 * SECOND));
}

#[cfg(feature = "backoff")]
#[test]
fn a_policy_of_the_backoff_crate_waits_and_starts_over_as_it_says() {
    use ::backoff::ExponentialBackoff;

    let policy = Reconnect::custom(|| ExponentialBackoff {
        current_interval: SECOND,
        initial_interval: SECOND,
        randomization_factor: 0.0,
        multiplier: 3.0,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    });
    let mut rng = rng();
    let mut run = policy.start_run();
    for seconds in [1, 3, 9] {
        assert_eq!(run.next(DelayKind::Next, &mut rng), Some(seconds * SECOND));
    }
    run.reset();
    assert_eq!(run.next(DelayKind::Next, &mut rng), Some(SECOND));

    let mut stop = Reconnect::custom(|| ::backoff::backoff::Stop {}).start_run();
    assert_eq!(stop.next(DelayKind::Next, &mut rng), None);
}

#[test]
fn policies_are_equal_if_they_wait_alike() {
    let exponential = || Reconnect::from(Reconnect::exponential());
    let capped = Reconnect::from(Reconnect::exponential().cap(5 * SECOND));
    let custom = || Reconnect::delays(|| [SECOND]);
    let (one, other) = (custom(), custom());
    let policies = [
        exponential(),
        capped,
        Reconnect::fixed(SECOND),
        Reconnect::fixed(2 * SECOND),
        one,
        other,
        Reconnect::never(),
    ];
    for (i, policy) in policies.iter().enumerate() {
        for (j, another) in policies.iter().enumerate() {
            assert_eq!(*policy == another.clone(), i == j, "{policy:?}, {another:?}");
        }
    }
    assert!(exponential() == Reconnect::default());
}

#[test]
fn a_policy_can_be_shared_between_threads_and_shown() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let policy = Reconnect::delays(|| [SECOND]);
    shared(&policy);
    assert_eq!(format!("{policy:?}"), "Custom");
    assert_eq!(format!("{:?}", Reconnect::fixed(SECOND)), "Fixed(1s)");
    assert_eq!(format!("{:?}", Reconnect::never()), "Never");
    assert!(format!("{:?}", Reconnect::default()).starts_with("Exponential { floor: 500ms"));
}

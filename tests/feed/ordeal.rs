//! Rotations of two lines whose topics are quiet, while things go wrong: each ends within a bound, and leaves both lines.

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use actix_ws_client::Budget;
use actix_ws_client::feed::{Feed, MINUTE, Rules, SECOND, command, event};
use tokio::time::{Instant, sleep};

use crate::lines::{Story, story};
use crate::rotation::{Results, legs, newest, rotating, start};
use crate::venue::Venue;
use crate::{Log, Random, close, names, simulated, tick};

const MILLI: Duration = Duration::from_millis(1);

/// What goes wrong, until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// All sockets are cut.
    CutAll,
    /// The newest socket is cut.
    CutNewest,
    /// The oldest socket is cut.
    CutOldest,
    /// Each socket is dropped as soon as it is open.
    Drops,
    /// Each login is refused for now.
    NoLogin,
    /// Nothing is answered.
    NoAnswer,
    /// Sockets take 20 s to open.
    SlowDial,
    /// A topic is refused for now.
    Unknown,
    /// The next dial is refused, and each dial stopped for 20 s.
    TooMany,
    /// The command comes again.
    Again,
    /// A topic comes and goes.
    Topics,
    /// The feed is paused for a moment.
    Pause,
}

const ALL: [Trouble; 13] = [
    Trouble::Nothing,
    Trouble::CutAll,
    Trouble::CutNewest,
    Trouble::CutOldest,
    Trouble::Drops,
    Trouble::NoLogin,
    Trouble::NoAnswer,
    Trouble::SlowDial,
    Trouble::Unknown,
    Trouble::TooMany,
    Trouble::Again,
    Trouble::Topics,
    Trouble::Pause,
];

struct Ordeal {
    venue: Venue,
    names: Vec<String>,
    feed: Addr<Feed<u64>>,
    results: Results,
}

impl Ordeal {
    async fn begin(&self, trouble: Trouble) {
        let venue = &self.venue;
        match trouble {
            Trouble::Nothing => {}
            Trouble::CutAll => venue.cut(),
            Trouble::CutNewest => newest(venue).into_iter().for_each(|it| venue.cut_line(it)),
            Trouble::CutOldest => {
                let oldest = venue.state().open.values().next().map(|open| open.letter);
                oldest.into_iter().for_each(|it| venue.cut_line(it));
            }
            Trouble::Drops => venue.state().drops = true,
            Trouble::NoLogin => venue.state().login = Some("busy".into()),
            Trouble::NoAnswer => venue.state().delay = 600 * SECOND,
            Trouble::SlowDial => venue.state().accept_delay = 20 * SECOND,
            Trouble::Unknown => drop(venue.state().unknown.insert(self.names[0].clone())),
            Trouble::TooMany => venue.state().retry_after = Some(20),
            Trouble::Again => self.feed.do_send(command::Rotate::default()),
            Trouble::Topics => {
                self.feed.do_send(command::Add::new(["more"]));
                sleep(300 * MILLI).await;
                self.feed.do_send(command::Remove::new(["more"]));
            }
            Trouble::Pause => {
                self.feed.do_send(command::Pause);
                sleep(2 * SECOND).await;
                self.feed.do_send(command::Resume);
            }
        }
    }

    fn mend(&self) {
        let mut state = self.venue.state();
        (state.drops, state.login, state.retry_after) = (false, None, None);
        (state.delay, state.accept_delay) = (50 * MILLI, 50 * MILLI);
        state.unknown.clear();
    }

    /// Asks for a rotation, with two troubles before or after, and mends them. Returns their names.
    async fn round(&self, random: &mut Random, troubles: &[Trouble]) -> String {
        let wait = async |random: &mut Random| {
            let scale = [200, 2_000, 20_000][random.below(3) as usize];
            sleep(random.below(scale) as u32 * MILLI).await;
        };
        let count = troubles.len() as u64;
        let [first, second] = [0; 2].map(|_| troubles[random.below(count) as usize]);
        let is_before = random.below(2) == 0;
        if is_before {
            self.begin(first).await;
            wait(random).await;
        }
        self.feed.send(command::Rotate::default()).await.unwrap();
        wait(random).await;
        if !is_before {
            self.begin(first).await;
            wait(random).await;
        }
        self.begin(second).await;
        wait(random).await;
        self.mend();
        format!("{first:?} and {second:?}")
    }

    /// Whether each line has all topics, and none is being replaced.
    async fn is_at_rest(&self) -> bool {
        let status = self.feed.send(command::Status).await.unwrap();
        let is_full = legs(&self.venue, &self.names).len() == 2;
        let open = self.venue.state().open.len();
        let replaces = status.lines.iter().any(|line| line.replaces.is_some());
        is_full && open == 2 && status.lines.len() == 2 && !replaces
    }

    /// Waits until all is at rest.
    async fn rest(&self, most: Duration, what: &str) {
        let begin = Instant::now();
        while !self.is_at_rest().await {
            if begin.elapsed() > most {
                let status = self.feed.send(command::Status).await.unwrap();
                let lines: Vec<_> =
                    status.lines.iter().map(|it| (it.line.to_string(), &it.state)).collect();
                panic!("{what}: it does not end: {lines:?}, {:?}", self.results.all());
            }
            sleep(100 * MILLI).await;
        }
    }

    /// Both lines are replaced if nothing is wrong.
    async fn both_are_replaced(&self, what: &str) {
        let before = self.results.all().len();
        self.feed.send(command::Rotate::default()).await.unwrap();
        let begin = Instant::now();
        while self.results.all().len() < before + 2 {
            if begin.elapsed() > 30 * SECOND {
                let status = self.feed.send(command::Status).await.unwrap();
                panic!("{what}: {:?}, {status:?}", &self.results.all()[before..]);
            }
            sleep(100 * MILLI).await;
        }
        let all = self.results.all();
        let ends = all[before..].iter().map(|it| (it.from.line % 2, it.to != it.from));
        let mut ends: Vec<_> = ends.collect();
        ends.sort();
        assert_eq!(ends, [(0, true), (1, true)], "{what}: {:?}", &all[before..]);
    }
}

/// Has rotations of two quiet lines go through troubles of these kinds, six times.
fn ordeal(seed: u64, troubles: &'static [Trouble], budget: Option<Budget>) {
    simulated(async move {
        let (venue, log, names, results) =
            (Venue::default(), Log::default(), names(2), Results::default());
        let rules = Rules::default().answer_within(5 * SECOND);
        let builder = rotating(&venue, &log, &results).lines(2).rules(rules);
        let builder = budget.iter().fold(builder, |builder, budget| builder.budget(budget));
        let feed = start(builder, &venue, &log, &names, 2).await;
        let ordeal = Ordeal { venue, names, feed, results };
        ordeal.mend();
        let mut random = Random(seed);
        for round in 0..6 {
            let what = ordeal.round(&mut random, troubles).await;
            let what = format!("seed {seed}, round {round}, {what}");
            ordeal.rest(12 * MINUTE, &what).await;
            // What is not so at once is not known to be at rest: a dial may be on its way.
            sleep(2 * SECOND).await;
            ordeal.rest(12 * MINUTE, &what).await;
            if budget.is_none() {
                ordeal.both_are_replaced(&what).await;
                ordeal.rest(MINUTE, &what).await;
            }
        }
        close(ordeal.feed, &log).await;
    });
}

#[test]
fn rotations_of_quiet_lines_end_whatever_goes_wrong() {
    for at in 0..ALL.len() {
        println!("{:?}", ALL[at]);
        ordeal(1, &ALL[at..=at], None);
    }
    for seed in 2..=7 {
        println!("any, seed {seed}");
        ordeal(seed, &ALL, None);
    }
}

#[test]
fn rotations_of_quiet_lines_end_where_dials_and_sockets_are_short() {
    for seed in 8..=9 {
        println!("seed {seed}");
        ordeal(seed, &ALL, Some(Budget::dials(3, MINUTE)));
        ordeal(seed, &ALL, Some(Budget::dials(20, MINUTE).sockets(2)));
    }
}

/// A recipient is a bit too slow for two of the topics, so that its shard holds the lines for most of the time.
#[test]
fn a_recipient_that_is_always_too_slow_does_not_keep_a_quiet_topic_from_the_new_line() {
    for lines in [1_u8, 2] {
        simulated(async move {
            let (venue, log, names, results) =
                (Venue::default(), Log::default(), names(3), Results::default());
            let slow = Slow.start();
            let builder = rotating(&venue, &log, &results)
                .lines(lines)
                .on::<event::Update<u64>>(slow.recipient());
            let feed = start(builder, &venue, &log, &names, lines.into()).await;
            // From now on it is behind.
            (0..4_000).for_each(|_| names[..2].iter().for_each(|name| tick(&venue, name)));
            sleep(SECOND).await;
            feed.send(command::Rotate::default()).await.unwrap();
            let begin = Instant::now();
            while results.all().len() < usize::from(lines) {
                let most = 90 * SECOND * u32::from(lines);
                assert!(begin.elapsed() < most, "{lines} lines: {:?}", results.all());
                (0..12).for_each(|_| names[..2].iter().for_each(|name| tick(&venue, name)));
                sleep(20 * MILLI).await;
            }
            assert_eq!(results.failed(), Vec::<String>::new());
            drop(feed);
        });
    }
}

/// Takes 1,000 updates a second.
struct Slow;

impl Actor for Slow {
    type Context = Context<Slow>;
}

impl Handler<event::Update<u64>> for Slow {
    type Result = ();
    fn handle(&mut self, _: event::Update<u64>, ctx: &mut Context<Slow>) {
        ctx.wait(wrap_future(sleep(MILLI)));
    }
}

/// There is always a topic that no line has confirmed yet.
#[test]
fn topics_that_are_added_again_and_again_do_not_keep_a_line_from_being_replaced() {
    for lines in [1_u8, 2] {
        simulated(async move {
            let (venue, log, names, results) =
                (Venue::default(), Log::default(), names(2), Results::default());
            let builder = rotating(&venue, &log, &results).lines(lines);
            let feed = start(builder, &venue, &log, &names, lines.into()).await;
            venue.state().delay = 500 * MILLI;
            feed.send(command::Rotate::default()).await.unwrap();
            for number in 0..200 {
                feed.do_send(command::Add::new([format!("more{number}")]));
                sleep(300 * MILLI).await;
                names.iter().for_each(|name| tick(&venue, name));
            }
            assert_eq!(results.done(), usize::from(lines), "{:?}", results.all());
            sleep(5 * SECOND).await;
            assert_eq!(venue.subscribed().len(), 202);
            for name in &names {
                let (found, last) = (story(&log, name), venue.newest(name));
                let whole = Story { delivered: last, last, ..Story::default() };
                assert_eq!(found, whole, "{lines} lines");
            }
            close(feed, &log).await;
        });
    }
}

/// A line that is lost before its turn is not replaced: its next socket is a new one.
#[test]
fn a_line_that_is_lost_before_its_turn_has_a_new_socket_all_the_same() {
    simulated(async {
        let (venue, log, names, results) =
            (Venue::default(), Log::default(), names(2), Results::default());
        let feed = start(rotating(&venue, &log, &results).lines(2), &venue, &log, &names, 2).await;
        venue.state().accept_delay = 2 * SECOND;
        feed.send(command::Rotate::default()).await.unwrap();
        sleep(SECOND).await;
        venue.cut_line('b');
        sleep(10 * MINUTE).await;
        let lines: Vec<_> = results.all().iter().map(|it| it.from.to_string()).collect();
        assert_eq!((results.done(), lines), (1, vec!["1a".to_owned()]));
        assert_eq!(legs(&venue, &names), ['c', 'd']);
        close(feed, &log).await;
    });
}

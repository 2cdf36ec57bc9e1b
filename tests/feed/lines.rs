//! Two lines that carry the same topics: each update once, and no gap while either of them carries it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor, Addr};
use actix_ws_client::feed::{
    Builder, Dialect, Feed, MINUTE, Request, RequestId, Rules, SECOND, Said, Sequence, Silence,
    Threads, Topic, command, event,
};
use actix_ws_client::{Budget, View};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep, sleep_until};

use crate::rotation::carry;
use crate::venue::{Venue, Words};
use crate::{
    Book, Log, Random, Rest, Seen, Sleeper, close, confirmed, names, simulated, state_of, tick,
};

const MILLI: Duration = Duration::from_millis(1);

/// The venue's words, perhaps without the numbers of updates.
struct Maybe {
    words: Words,
    is_numbered: bool,
}

impl Dialect for Maybe {
    type Item = u64;

    fn login(&mut self) -> Option<Request> {
        self.words.login()
    }

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        self.words.subscribe(id, topics)
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        self.words.unsubscribe(id, topics)
    }

    fn heartbeat(&mut self) -> Option<Request> {
        self.words.heartbeat()
    }

    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, u64> {
        match self.words.read(message) {
            Said::Data { topic, item, .. } if !self.is_numbered => {
                Said::data(topic, Sequence::none(), item)
            }
            said => said,
        }
    }
}

/// A feed of two lines, `a` and `b`, whose tokens begin with their letters.
fn two(venue: &Venue, log: &Log, logs_in: bool, is_numbered: bool) -> Builder<Maybe> {
    let (book, tokens) = (Book(log.clone()).start(), AtomicUsize::new(0));
    let venue = venue.clone();
    Feed::builder(async move |attempt| {
        let number = tokens.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}{number}", char::from(b'a' + attempt.line.line));
        let url = format!("ws://venue/?{token}");
        Ok(Maybe { words: Words { token, logs_in }, is_numbered }.at(url))
    })
    .threads(Threads::Here)
    .lines(2)
    .connection(move |builder| {
        let venue = venue.clone();
        builder.transport_with(move |_, _| venue.accept())
    })
    .handler(&book)
    .on::<event::Stopped>(book.recipient())
}

/// Starts a feed, and waits until both lines carry all topics.
async fn start(
    builder: Builder<Maybe>,
    venue: &Venue,
    log: &Log,
    names: &[String],
) -> Addr<Feed<u64>> {
    let feed = builder.topics(names).start().unwrap();
    confirmed(log, names, 1).await;
    both(venue, names).await;
    feed
}

/// Waits until two connections have all topics.
async fn both(venue: &Venue, names: &[String]) {
    let names: BTreeSet<String> = names.iter().cloned().collect();
    for _ in 0..6_000 {
        let full = venue.state().open.values().filter(|open| open.subscribed == names).count();
        if full == 2 {
            // The answers are read.
            return sleep(50 * MILLI).await;
        }
        sleep(10 * MILLI).await;
    }
    panic!("two lines with all topics");
}

/// What has become of the numbers of a topic.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Story {
    pub(crate) delivered: u64,
    pub(crate) missing: u64,
    pub(crate) gaps: usize,
    /// The last number that was delivered or reported.
    pub(crate) last: u64,
    /// What was delivered although it had been delivered or reported before.
    pub(crate) doubled: Vec<u64>,
    /// What was passed over without a report.
    pub(crate) lost: Vec<u64>,
}

pub(crate) fn story(log: &Log, topic: &str) -> Story {
    let mut story = Story::default();
    for seen in log.all() {
        let (from, to) = match seen {
            Seen::Update(of, number) if of == topic => {
                story.delivered += 1;
                (number, number)
            }
            Seen::Gap(Some(of), Some((from, to))) if of == topic => {
                (story.missing, story.gaps) = (story.missing + to - from + 1, story.gaps + 1);
                (from, to)
            }
            _ => continue,
        };
        if from <= story.last {
            story.doubled.push(from);
        } else {
            story.lost.extend(story.last + 1..from);
        }
        story.last = story.last.max(to);
    }
    story
}

/// The most dials in any span of this length.
pub(crate) fn most_dials(dials: &[Instant], span: Duration) -> usize {
    let within =
        |from: &Instant| dials.iter().filter(|at| (*from..*from + span).contains(at)).count();
    dials.iter().map(within).max().unwrap_or_default()
}

/// One line is cut every 2 s and the other every 2.3 s, for three spans of 20 minutes; a socket opens 20 ms after its dial.
#[test]
fn two_lines_that_are_cut_all_the_time_deliver_99_of_100() {
    for seed in 1..=3_u64 {
        println!("seed {seed}");
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(1));
            let feed = start(two(&venue, &log, false, true), &venue, &log, &names).await;
            venue.state().accept_delay = 20 * MILLI;
            venue.tick(&names[0]);
            let begin = Instant::now();
            let mut next = [('a', 2_000 * MILLI, begin), ('b', 2_300 * MILLI, begin)];
            next[1].2 += (seed * 377 % 2_000) as u32 * MILLI;
            let mut random = seed;
            while begin.elapsed() < 20 * MINUTE {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let before = (random >> 33) as u32 % 41;
                sleep(before * MILLI).await;
                for (letter, every, at) in &mut next {
                    if *at <= Instant::now() {
                        venue.cut_line(*letter);
                        *at += *every;
                    }
                }
                sleep((40 - before) * MILLI).await;
                venue.tick(&names[0]);
            }
            both(&venue, &names).await;
            let last = venue.tick(&names[0]);
            sleep(SECOND).await;
            let story = story(&log, &names[0]);
            assert_eq!(
                (&story.doubled, &story.lost, story.last),
                (&vec![], &vec![], last),
                "{seed}"
            );
            assert!(story.delivered * 100 >= last * 99, "seed {seed}: {story:?} of {last}");
            let most = most_dials(&venue.state().dials, 5 * MINUTE);
            assert!(most <= 290, "seed {seed}: {most} dials in 5 minutes");
            println!(
                "{} of {last} delivered, {} gaps, {most} dials in 5 min",
                story.delivered, story.gaps
            );
            close(feed, &log).await;
        });
    }
}

#[test]
fn a_line_that_is_away_leaves_no_gap_where_the_other_is_200_ms_behind() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        venue.state().lags.insert('b', 200 * MILLI);
        let feed = start(two(&venue, &log, false, true), &venue, &log, &names).await;
        for second in 1..=300 {
            if second % 10 == 0 {
                venue.state().accept_delay = SECOND;
                venue.cut_line('a');
            }
            for _ in 0..20 {
                names.iter().for_each(|name| tick(&venue, name));
                sleep(50 * MILLI).await;
            }
        }
        sleep(5 * SECOND).await;
        for name in &names {
            let found = story(&log, name);
            let whole = Story { delivered: 6_000, last: 6_000, ..Story::default() };
            assert_eq!(found, whole);
        }
        assert!(venue.state().dials.len() > 30, "line a was away");
        let status = feed.send(command::Status).await.unwrap();
        let lags: Vec<_> = status.lines.iter().map(|line| line.lag).collect();
        assert_eq!(lags[0], Some(Duration::ZERO));
        let behind = lags[1].unwrap();
        assert!((195 * MILLI..=205 * MILLI).contains(&behind), "{behind:?}");
        assert_eq!(status.figures.confirmed, 3, "each topic counts once");
        close(feed, &log).await;
    });
}

#[test]
fn updates_without_numbers_are_not_doubled_while_both_lines_are_up() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        venue.state().lags.insert('b', 200 * MILLI);
        let feed = start(two(&venue, &log, false, false), &venue, &log, &names).await;
        for _ in 0..600 {
            names.iter().for_each(|name| tick(&venue, name));
            sleep(50 * MILLI).await;
        }
        sleep(SECOND).await;
        for name in &names {
            let whole = Story { delivered: 600, last: 600, ..Story::default() };
            assert_eq!(story(&log, name), whole);
        }
        close(feed, &log).await;
    });
}

#[test]
fn a_loss_says_how_many_topics_without_numbers_change_their_leader() {
    for is_numbered in [true, false] {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(300));
            venue.state().lags.insert('b', 20 * MILLI);
            let (send, mut lines) = unbounded_channel();
            let builder = two(&venue, &log, false, is_numbered).on::<event::LineState>(
                actix_ws_client::event::call(move |line: event::LineState| {
                    let _ = send.send((line.line.line, state_of(&line.state), line.led));
                }),
            );
            let feed = start(builder, &venue, &log, &names).await;
            let turn = async || {
                names.iter().for_each(|name| tick(&venue, name));
                sleep(100 * MILLI).await;
            };
            for cut in ['b', 'a', 'a'] {
                turn().await;
                venue.cut_line(cut);
                sleep(MILLI).await;
                turn().await;
                both(&venue, &names).await;
            }
            turn().await;
            let led = std::iter::from_fn(|| lines.try_recv().ok()).filter(|(.., led)| *led > 0);
            // Line b leads since the first loss of a.
            let expected: &[_] = if is_numbered { &[] } else { &[(0, "down", 300)] };
            assert_eq!(led.collect::<Vec<_>>(), expected);
            close(feed, &log).await;
        });
    }
}

/// Both lines are cut, and come back at times of their own. Whatever one of them carries is delivered, also if its answer to the
/// subscription is late, and the other line brings a newer number first.
#[test]
fn what_a_line_carries_before_its_answer_is_read_is_not_missing() {
    for seed in 1..=4 {
        println!("seed {seed}");
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            let feed = start(two(&venue, &log, false, true), &venue, &log, &names).await;
            venue.state().delay = 900 * MILLI;
            names.iter().for_each(|name| tick(&venue, name));
            sleep(SECOND).await;
            venue.state().carried = Some(BTreeSet::new());
            let (begin, mut random) = (venue.newest(&names[0]) + 1, Random(seed));
            for _ in 0..20 {
                for letter in ['a', 'b'] {
                    let lag = random.below(450) as u32 * MILLI;
                    venue.state().lags.insert(letter, lag);
                }
                venue.cut();
                sleep(MILLI).await;
                carry(&venue, &names, 10 * SECOND, &mut BTreeMap::new()).await;
            }
            sleep(SECOND).await;
            for name in &names {
                let (found, last) = (story(&log, name), venue.newest(name));
                let uncarried = (begin..=last).filter(|number| !venue.has_carried(name, *number));
                assert_eq!((&found.doubled, &found.lost), (&vec![], &vec![]), "{name}");
                assert_eq!((found.missing, found.last), (uncarried.count() as u64, last), "{name}");
            }
            close(feed, &log).await;
        });
    }
}

#[test]
fn a_frozen_line_is_replaced_within_three_seconds() {
    for letter in ['a', 'b'] {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(3));
            let feed = start(two(&venue, &log, false, true), &venue, &log, &names).await;
            let mut replaced = None;
            let frozen_at = Instant::now() + 10 * SECOND;
            for turn in 0..1_000 {
                if turn == 200 {
                    sleep_until(frozen_at).await;
                    venue.freeze_line(letter);
                }
                names.iter().for_each(|name| tick(&venue, name));
                sleep(50 * MILLI).await;
                let is_full = |state: &crate::venue::State| {
                    let live = state.open.values().filter(|open| !open.is_frozen);
                    live.filter(|open| open.subscribed.len() == 3).count() == 2
                };
                if turn > 200 && replaced.is_none() && is_full(&venue.state()) {
                    replaced = Some(frozen_at.elapsed());
                }
            }
            let replaced = replaced.expect("the frozen line is replaced");
            assert!(replaced <= 3 * SECOND, "line {letter}: {replaced:?}");
            assert_eq!(venue.state().dials.len(), 3, "and nothing else is dialled");
            for name in &names {
                let whole = Story { delivered: 1_000, last: 1_000, ..Story::default() };
                assert_eq!(story(&log, name), whole, "line {letter}");
            }
            close(feed, &log).await;
        });
    }
}

/// The shard holds both lines, of which one is 200 ms behind.
#[test]
fn a_handler_asleep_for_20_s_costs_neither_line_nor_update() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(100));
        venue.state().lags.insert('b', 200 * MILLI);
        let updates = Log::default();
        let sleeper = Sleeper::new(&updates, Rest::Mailbox(20 * SECOND)).start();
        let builder = two(&venue, &log, false, true)
            .rules(Rules::default().answer_within(3 * SECOND).heartbeat(2 * SECOND))
            .silence(Silence::topic(3 * SECOND).fail())
            .on::<event::Update<u64>>(sleeper.recipient());
        let feed = start(builder, &venue, &log, &names).await;
        for _ in 0..800 {
            names.iter().for_each(|name| tick(&venue, name));
            sleep(12 * MILLI).await;
        }
        for _ in 0..15 {
            sleep(SECOND).await;
            names.iter().for_each(|name| tick(&venue, name));
        }
        updates.until("all updates", |seen| seen.len() == 81_500).await;
        sleep(SECOND).await;
        for name in &names {
            let whole = Story { delivered: 815, last: 815, ..Story::default() };
            assert_eq!(story(&log, name), whole);
        }
        let silent = |seen: &Seen| matches!(seen, Seen::Topic(_, "silent"));
        assert_eq!(log.all().into_iter().find(silent), None);
        assert_eq!(venue.state().dials.len(), 2, "no line was given up");
        for letter in ['a', 'b'] {
            let beats = venue.beats(letter);
            let on_time = |pair: &[Instant]| pair[1] - pair[0] <= 2100 * MILLI;
            assert!(beats.len() >= 10 && beats.windows(2).all(on_time), "{letter}: {beats:?}");
        }
        close(feed, &log).await;
    });
}

#[test]
fn a_topic_that_one_line_refuses_is_carried_by_the_other() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        venue.state().unknown_on.insert(('b', names[1].clone()));
        let feed = two(&venue, &log, false, true).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        sleep(5 * SECOND).await;
        venue.cut_line('a');
        sleep(5 * SECOND).await;
        names.iter().for_each(|name| tick(&venue, name));
        sleep(SECOND).await;
        for name in &names {
            assert_eq!(log.count(&Seen::Update(name.clone(), 1)), 1, "{name}");
        }
        let times = |name: &String| log.count(&Seen::Topic(name.clone(), "confirmed"));
        assert_eq!([times(&names[0]), times(&names[1])], [1, 2], "again once no line carried it");
        let refused =
            |seen: &&Seen| matches!(seen, Seen::Topic(_, "refused for now" | "refused for good"));
        assert_eq!(log.all().iter().filter(refused).count(), 0);
        let removed = feed.send(command::Remove::new(&names[1..])).await.unwrap();
        assert!(removed.iter().all(|(_, answer)| *answer == command::Answer::Removed));
        sleep(SECOND).await;
        assert_eq!(venue.subscribed(), BTreeSet::from([names[0].clone()]));
        let added = feed.send(command::Add::new(&names[1..])).await.unwrap();
        assert!(added.iter().all(|(_, answer)| *answer == command::Answer::Confirmed), "{added:?}");
        close(feed, &log).await;
    });
}

#[test]
fn a_line_that_is_refused_for_good_leaves_the_other() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        venue.state().logins.insert('b', "for-good".into());
        let feed = two(&venue, &log, true, true).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        sleep(60 * SECOND).await;
        assert_eq!(venue.state().dials.len(), 2, "the refused line does not dial again");
        names.iter().for_each(|name| tick(&venue, name));
        venue.cut_line('a');
        sleep(5 * SECOND).await;
        names.iter().for_each(|name| tick(&venue, name));
        sleep(SECOND).await;
        assert_eq!(log.count(&Seen::Update(names[0].clone(), 2)), 1, "the other one goes on");
        venue.state().logins.insert('a', "for-good".into());
        venue.cut_line('a');
        log.until("the end", |seen| matches!(seen.last(), Some(Seen::Stopped(Some(_))))).await;
        drop(feed);
    });
}

#[test]
fn the_twin_is_dialled_at_once_when_the_last_line_is_lost() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(1));
        let (lines, mut states) = tokio::sync::mpsc::unbounded_channel();
        let builder = two(&venue, &log, false, true)
            .connection({
                let venue = venue.clone();
                move |builder| {
                    let venue = venue.clone();
                    let policy = actix_ws_client::Reconnect::fixed(8 * SECOND);
                    builder.reconnect(policy).transport_with(move |_, _| venue.accept())
                }
            })
            .on::<event::LineState>(actix_ws_client::event::call(move |line: event::LineState| {
                let _ = lines.send((line.line.line, state_of(&line.state), Instant::now()));
            }));
        let feed = start(builder, &venue, &log, &names).await;
        venue.cut_line('b');
        sleep(3 * SECOND).await;
        while states.try_recv().is_ok() {}
        let lost = Instant::now();
        venue.cut_line('a');
        loop {
            let (line, state, at) = states.recv().await.unwrap();
            if state == "active" {
                assert_eq!((line, at - lost < SECOND), (1, true));
                break;
            }
        }
        close(feed, &log).await;
    });
}

#[test]
fn a_budget_lets_an_outage_dial_before_a_twin() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(1));
        let budget = Budget::dials(1, 20 * SECOND);
        let twins = two(&venue, &log, false, true).budget(&budget);
        let twins = start(twins, &venue, &log, &names).await;
        let single = crate::feed(&venue, &Log::default(), false).budget(&budget).topics(["alone"]);
        let single = single.start().unwrap();
        let is_open = |letter| venue.state().open.values().any(|open| open.letter == letter);
        while !is_open(' ') {
            sleep(100 * MILLI).await;
        }
        // It waits for the 20 s of the last dial.
        venue.cut_line('b');
        sleep(3 * SECOND).await;
        venue.cut_line(' ');
        sleep(SECOND).await;
        assert!(!is_open(' ') && !is_open('b'), "both wait");
        while !is_open(' ') {
            assert!(!is_open('b'), "the twin dials after the only socket of the other feed");
            sleep(100 * MILLI).await;
        }
        while !is_open('b') {
            sleep(100 * MILLI).await;
        }
        close(twins, &log).await;
        drop(single);
    });
}

#[test]
fn more_lines_than_there_may_be_are_refused_by_name() {
    simulated(async {
        for lines in [0, 9, 255] {
            let builder = two(&Venue::default(), &Log::default(), false, true).lines(lines);
            let refused = builder.start().err().unwrap().to_string();
            assert!(refused.starts_with("lines: must be from 1 to 8"), "{refused}");
        }
    });
}

//! Single scripts, each with the words of what is delivered.

use super::*;
use crate::feed::merge::holes::PATIENCE;

/// A merge, its clock, and what it delivers, in words.
struct Life {
    merge: Merge<String>,
    now: Instant,
}

impl Life {
    /// A merge with this number of open lines.
    fn new(lines: u8) -> Life {
        let (mut merge, now) = (Merge::new(), Instant::now());
        (0..lines).for_each(|line| merge.open(line, now));
        Life { merge, now }
    }

    /// Brings an update of topic 0, and returns what is delivered.
    fn bring(&mut self, line: u8, sequence: Sequence) -> String {
        self.bring_any(line, sequence, false)
    }

    fn snapshot(&mut self, line: u8, sequence: Sequence) -> String {
        self.bring_any(line, sequence, true)
    }

    /// Brings the numbers of a contiguous topic, one after the other.
    fn count(&mut self, line: u8, numbers: impl IntoIterator<Item = u64>) -> String {
        let mut all = Vec::new();
        for number in numbers {
            all.push(self.bring(line, number_of(number)));
        }
        all.retain(|words| !words.is_empty());
        all.join(", ")
    }

    fn bring_any(&mut self, line: u8, sequence: Sequence, snapshot: bool) -> String {
        let item = match sequence.kind {
            Numbers::Contiguous { first, last } if first < last => format!("{first}-{last}"),
            _ => sequence.last().map_or("x".into(), |last| last.to_string()),
        };
        let item = if snapshot { format!("all to {item}") } else { item };
        let brought = Brought { line, slot: 0, sequence, snapshot, bytes: 100, at: self.now };
        let now = judge_and_take(&mut self.merge, &brought, item);
        let rest = self.outputs();
        [now.unwrap_or_default(), rest]
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn close(&mut self, line: u8) -> String {
        self.merge.close(line, self.now);
        self.outputs()
    }

    fn reopen(&mut self, line: u8) -> String {
        self.merge.open(line, self.now);
        self.outputs()
    }

    fn pass(&mut self, time: Duration) -> String {
        self.now += time;
        if self.merge.poll_timeout().is_some_and(|at| at <= self.now) {
            self.merge.handle_timeout(self.now);
        }
        self.outputs()
    }

    fn outputs(&mut self) -> String {
        let mut words = Vec::new();
        while let Some(output) = self.merge.poll_output() {
            words.push(match output {
                Output::Update(item) => item,
                Output::Gap(Lost { missing, cause, .. }) => match missing {
                    Missing::Range { from, to } => format!("gap {from}-{to} {cause}"),
                    Missing::Between { last, next } => {
                        format!("gap between {last} and {next} {cause}")
                    }
                    Missing::Unknown => format!("gap {cause}"),
                },
            });
        }
        words.join(", ")
    }
}

fn number_of(number: u64) -> Sequence {
    Sequence::contiguous(number, number)
}

#[test]
fn one_line_delivers_in_order_and_reports_a_hole_at_once() {
    let mut life = Life::new(1);
    assert_eq!(life.count(0, 5..8), "5, 6, 7");
    assert_eq!(life.bring(0, number_of(7)), "");
    assert_eq!(life.bring(0, number_of(11)), "gap 8-10 venue, 11");
    assert_eq!(life.bring(0, number_of(9)), "", "after its gap it is late");
    assert_eq!(life.merge.dropped(), Dropped { duplicates: 1, late: 1 });
    assert_eq!(life.bring(0, Sequence::contiguous(10, 12)), "10-12", "an overlap is delivered");
    assert_eq!(life.bring(0, Sequence::contiguous(13, 15)), "13-15");
    assert_eq!(life.merge.poll_timeout(), None);
}

#[test]
fn chained_updates_name_the_one_before() {
    let mut life = Life::new(1);
    let chained = Sequence::chained;
    assert_eq!(life.bring(0, chained(10, 20)), "20");
    assert_eq!(life.bring(0, chained(20, 20)), "", "a sign of life");
    assert_eq!(life.bring(0, chained(20, 35)), "35");
    assert_eq!(life.bring(0, chained(40, 50)), "gap between 35 and 40 venue, 50");
    assert_eq!(life.bring(0, chained(20, 35)), "");
    // The venue begins anew: the link is whole, the number is lower.
    assert_eq!(life.bring(0, chained(50, 3)), "3");
    assert_eq!(life.bring(0, chained(3, 9)), "9");
}

#[test]
fn after_an_outage_only_what_is_missing_is_reported() {
    let mut life = Life::new(1);
    life.count(0, 1..4);
    life.close(0);
    life.reopen(0);
    assert_eq!(life.count(0, 2..6), "4, 5");
    life.reopen(0);
    assert_eq!(life.count(0, 9..11), "gap 6-8 outage, 9, 10");
}

#[test]
fn without_numbers_an_outage_is_a_gap_of_unknown_size() {
    for sequence in [Sequence::none, || Sequence::rising(0), || Sequence::id(0)] {
        let mut life = Life::new(1);
        let number = |number| match sequence().kind {
            Numbers::Rising(_) => Sequence::rising(number),
            Numbers::Id(_) => Sequence::id(number),
            _ => sequence(),
        };
        let word = |n: u64| number(n).last().map_or("x".into(), |n| n.to_string());
        assert_eq!(life.bring(0, number(4)), word(4));
        life.reopen(0);
        assert_eq!(life.bring(0, number(8)), format!("gap outage, {}", word(8)));
        assert_eq!(life.bring(0, number(9)), word(9));
    }
}

#[test]
fn of_two_lines_the_first_delivers() {
    let mut life = Life::new(2);
    assert_eq!(life.count(0, 1..4), "1, 2, 3");
    assert_eq!(life.count(1, 1..5), "4");
    assert_eq!(life.count(0, 4..6), "5");
    assert_eq!(life.merge.dropped(), Dropped { duplicates: 4, late: 0 });
    assert_eq!(life.merge.firsts(0), Some((5, 4)));
    assert_eq!(life.merge.firsts(1), Some((4, 1)));
}

#[test]
fn a_hole_waits_for_the_line_behind() {
    let mut life = Life::new(2);
    life.count(0, 1..4);
    life.count(1, 1..3);
    assert_eq!(life.count(0, 6..8), "");
    assert_eq!(life.bring(1, number_of(3)), "");
    assert_eq!(life.bring(1, number_of(4)), "4");
    assert_eq!(life.bring(1, number_of(5)), "5, 6, 7");
    assert_eq!(life.count(1, 6..9), "8");
    assert_eq!(life.merge.poll_timeout(), None);
}

#[test]
fn a_hole_is_given_up_after_the_usual_lag_and_500_ms() {
    let mut life = Life::new(2);
    for number in 1..10 {
        life.bring(0, number_of(number));
        life.now += 200 * MILLI;
        life.bring(1, number_of(number));
    }
    assert_eq!(life.merge.lag(1), Some((200 * MILLI, 200 * MILLI)));
    assert_eq!(life.bring(0, number_of(12)), "");
    life.now += 699 * MILLI;
    assert_eq!(life.bring(0, number_of(13)), "");
    assert_eq!(life.pass(MILLI), "gap 10-11 venue, 12, 13");
    assert_eq!(life.bring(1, number_of(10)), "");
    assert_eq!(life.merge.dropped().late, 1);
}

#[test]
fn a_hole_that_no_line_can_fill_is_given_up_at_once() {
    let hole = || {
        let mut life = Life::new(2);
        life.count(0, 1..4);
        life.count(1, 1..4);
        assert_eq!(life.bring(0, number_of(6)), "");
        life
    };
    assert_eq!(hole().bring(1, number_of(6)), "gap 4-5 venue, 6", "the other has passed it");
    assert_eq!(hole().close(1), "gap 4-5 venue, 6");
    let mut life = hole();
    life.merge.leave(1, 0, life.now);
    assert_eq!(life.outputs(), "gap 4-5 venue, 6");
    // The other one was lost before, and is back behind the hole.
    let mut life = Life::new(2);
    life.count(1, 1..4);
    life.close(1);
    assert_eq!(life.bring(0, number_of(6)), "gap 4-5 outage, 6");
}

#[test]
fn a_line_that_does_not_carry_the_topic_is_not_waited_for() {
    let mut life = Life::new(2);
    life.count(0, 1..4);
    assert_eq!(life.bring(0, number_of(6)), "gap 4-5 venue, 6");
}

#[test]
fn a_new_line_in_front_waits_for_the_old_one_behind() {
    let mut life = Life::new(1);
    life.count(0, 1..4);
    life.reopen(1);
    assert_eq!(life.count(1, 6..8), "");
    assert_eq!(life.merge.joined(1, 0), Joined::No, "two numbers are still on their way");
    assert_eq!(life.merge.joined(0, 0), Joined::Yes);
    assert_eq!(life.count(0, 4..6), "4, 5, 6, 7");
    assert_eq!(life.merge.joined(1, 0), Joined::Yes);
    assert_eq!(life.close(0), "");
    assert_eq!(life.count(1, 8..10), "8, 9");
}

#[test]
fn time_in_which_the_shard_did_not_read_does_not_count() {
    let mut life = Life::new(2);
    life.count(0, 1..4);
    life.count(1, 1..4);
    life.bring(0, number_of(6));
    life.now += 20 * SECOND;
    life.merge.resume(life.now);
    assert_eq!(life.pass(499 * MILLI), "");
    assert_eq!(life.pass(MILLI), "gap 4-5 venue, 6");
}

#[test]
fn rising_numbers_are_delivered_if_they_are_newer() {
    let mut life = Life::new(2);
    let words: Vec<String> = [(0, 5), (1, 5), (1, 9), (0, 7), (0, 10)]
        .map(|(line, n)| life.bring(line, Sequence::rising(n)))
        .into();
    assert_eq!(words, ["5", "", "9", "", "10"]);
}

#[test]
fn ids_are_delivered_once_in_any_order() {
    let mut life = Life::new(2);
    let words: Vec<String> = [(0, 5), (1, 3), (1, 5), (0, 3), (0, 4)]
        .map(|(line, n)| life.bring(line, Sequence::id(n)))
        .into();
    assert_eq!(words, ["5", "3", "", "", "4"]);
}

#[test]
fn without_numbers_one_line_leads() {
    let mut life = Life::new(2);
    assert_eq!(life.bring(1, Sequence::none()), "x");
    assert_eq!(life.bring(0, Sequence::none()), "");
    assert_eq!(life.bring(1, Sequence::none()), "x");
    life.close(1);
    assert_eq!(life.bring(0, Sequence::none()), "x", "no outage: the other was there");
    life.reopen(1);
    assert_eq!(life.bring(1, Sequence::none()), "");
}

#[test]
fn a_loss_counts_the_topics_without_numbers_that_others_carry_on() {
    let mut life = Life::new(3);
    let bring = |life: &mut Life, line, slot, sequence| {
        let at = life.now;
        let brought = Brought { line, slot, sequence, snapshot: false, bytes: 1, at };
        life.merge.take(&brought, String::new());
    };
    for slot in 0..4 {
        bring(&mut life, 1, slot, Sequence::none());
    }
    for slot in 0..3 {
        bring(&mut life, 0, slot, Sequence::none());
    }
    for line in 0..2 {
        bring(&mut life, line, 4, number_of(1));
        bring(&mut life, line, 5, Sequence::id(1));
        bring(&mut life, line, 6, Sequence::rising(1));
    }
    let now = life.now;
    life.merge.remove(2);
    assert_eq!(life.merge.close(2, now), 0, "it leads none");
    assert_eq!(life.merge.close(1, now), 2, "0 and 1; no other carries 3");
    assert_eq!(life.merge.close(1, now), 0, "it is closed");
    bring(&mut life, 0, 0, Sequence::none());
    assert_eq!(life.merge.close(0, now), 0, "the last line: an outage, which is a gap");
}

#[test]
fn a_snapshot_of_a_topic_that_another_line_carries_only_joins() {
    let mut life = Life::new(2);
    assert_eq!(life.snapshot(0, number_of(3)), "all to 3");
    assert_eq!(life.count(0, 4..6), "4, 5");
    assert_eq!(life.snapshot(1, number_of(6)), "");
    assert_eq!(life.merge.joined(1, 0), Joined::No, "6 is missing before it");
    assert_eq!(life.bring(0, number_of(6)), "6");
    assert_eq!(life.merge.joined(1, 0), Joined::Yes);
    assert_eq!(life.bring(1, number_of(7)), "7");
}

#[test]
fn a_snapshot_after_an_outage_follows_its_gap() {
    let mut life = Life::new(1);
    life.snapshot(0, number_of(3));
    life.count(0, 4..6);
    life.reopen(0);
    assert_eq!(life.snapshot(0, number_of(8)), "gap 6-8 outage, all to 8");
    assert_eq!(life.count(0, 8..10), "9");
    life.reopen(0);
    assert_eq!(life.snapshot(0, number_of(9)), "all to 9", "nothing was missed");
    life.reopen(0);
    assert_eq!(life.snapshot(0, number_of(7)), "", "all after it was delivered already");
    assert_eq!(life.count(0, 8..11), "10");
    life.reopen(0);
    assert_eq!(life.snapshot(0, Sequence::none()), "gap outage, all to x");
    assert_eq!(life.count(0, 20..22), "20, 21", "the numbers begin where it says");
}

#[test]
fn a_venue_that_begins_anew_is_followed() {
    let mut life = Life::new(2);
    life.count(0, 100..103);
    life.count(1, 100..102);
    assert_eq!(life.bring(0, number_of(1).restarted()), "1");
    assert_eq!(life.bring(1, number_of(102)), "", "of the old numbers");
    assert_eq!(life.bring(1, number_of(1).restarted()), "");
    assert_eq!(life.count(1, 2..4), "2, 3");
    assert_eq!(life.count(0, 2..5), "4");
}

#[test]
fn a_line_that_comes_while_the_numbers_begin_anew_may_bring_old_ones() {
    let start = || {
        let mut life = Life::new(1);
        life.count(0, 100..103);
        life.bring(0, number_of(1).restarted());
        life.reopen(1);
        assert_eq!(life.bring(1, number_of(103)), "", "of the old numbers, for all that is known");
        life
    };
    let mut life = start();
    assert_eq!(life.bring(1, number_of(1).restarted()), "");
    assert_eq!(life.bring(1, number_of(2)), "2");
    let mut life = start();
    life.now += 5 * SECOND;
    life.count(0, 2..4);
    assert_eq!(life.count(1, 3..5), "4", "after 5 s they are the new ones");
    let mut life = start();
    life.close(0);
    assert_eq!(life.bring(1, number_of(4)), "gap 2-3 outage, 4", "the other one is gone");
}

#[test]
fn the_time_to_follow_a_restart_stands_still_while_the_shard_does_not_read() {
    let restarted = || {
        let mut life = Life::new(2);
        life.count(0, 100..103);
        life.count(1, 100..102);
        assert_eq!(life.bring(0, number_of(1).restarted()), "1");
        life.now += 4 * SECOND;
        life.merge.suspend(life.now);
        life.now += 60 * SECOND;
        life.merge.resume(life.now);
        life.close(0);
        life
    };
    let mut life = restarted();
    life.now += 4 * SECOND;
    assert_eq!(life.bring(1, number_of(102)), "", "of the old numbers");
    assert_eq!(life.bring(1, number_of(1).restarted()), "");
    assert_eq!(life.bring(1, number_of(2)), "2");
    let mut life = restarted();
    life.now += 5 * SECOND;
    assert_eq!(life.bring(1, number_of(2)), "2", "its time is over");
    // It does not begin again with each hold.
    life.merge.suspend(life.now);
    life.merge.resume(life.now);
    assert_eq!(life.bring(1, number_of(3)), "3");
}

#[test]
fn a_line_that_came_back_is_not_judged_by_the_time_that_the_shard_did_not_read() {
    let mut life = Life::new(1);
    life.bring(0, number_of(100));
    life.reopen(0);
    assert_eq!(life.bring(0, number_of(1)), "");
    life.merge.suspend(life.now);
    life.now += 60 * SECOND;
    life.merge.resume(life.now);
    assert_eq!(life.bring(0, number_of(2)), "", "it may be an old number still");
    life.now += 5 * SECOND;
    assert_eq!(life.bring(0, number_of(3)), "gap outage, 3");
}

#[test]
fn the_last_update_that_a_venue_repeats_for_each_new_socket_is_no_restart() {
    let mut life = Life::new(1);
    life.count(0, 9..11);
    for _ in 0..3 {
        life.close(0);
        life.now += 600 * SECOND;
        life.reopen(0);
        assert_eq!(life.bring(0, number_of(10)), "");
    }
    assert_eq!(life.bring(0, number_of(11)), "11");
}

#[test]
fn a_hole_is_waited_for_while_a_line_that_has_confirmed_the_topic_has_brought_nothing() {
    let confirmed = || {
        let mut life = Life::new(2);
        life.count(0, 57..59);
        life.merge.confirm(1, 0);
        life.close(0);
        life.reopen(0);
        assert_eq!(life.bring(0, number_of(60)), "", "the other line may bring 59");
        life
    };
    let mut life = confirmed();
    assert_eq!(life.count(1, 57..60), "59, 60");
    let mut life = confirmed();
    assert_eq!(life.pass(PATIENCE), "gap 59-59 outage, 60");
    assert_eq!(confirmed().close(1), "gap 59-59 outage, 60", "the other line is gone");
    let mut life = confirmed();
    assert_eq!(life.bring(1, number_of(60)), "gap 59-59 outage, 60", "it has none");
}

/// Line 1 is asked for the topic when 58 is the newest number, and line 0 comes back with 60.
fn asked() -> Life {
    let mut life = Life::new(2);
    life.count(0, 57..59);
    life.merge.ask(1, 0);
    life.close(0);
    life.reopen(0);
    assert_eq!(life.bring(0, number_of(60)), "", "the other line may bring 59");
    life
}

#[test]
fn a_hole_is_waited_for_while_the_answer_to_a_subscription_is_not_read() {
    assert_eq!(asked().count(1, 59..61), "59, 60");
    let mut life = asked();
    life.merge.confirm(1, 0);
    assert_eq!(life.pass(PATIENCE - MILLI), "");
    assert_eq!(life.pass(MILLI), "gap 59-59 outage, 60", "no longer than for a usual line");
    assert_eq!(asked().close(1), "gap 59-59 outage, 60");
    let mut life = asked();
    life.merge.leave(1, 0, life.now);
    assert_eq!(life.outputs(), "gap 59-59 outage, 60", "it is refused");
}

#[test]
fn a_hole_is_not_waited_for_if_the_line_was_asked_after_it() {
    for confirms in [false, true] {
        let mut life = asked();
        life.reopen(2);
        life.merge.ask(2, 0);
        if confirms {
            life.merge.confirm(2, 0);
        }
        assert_eq!(life.close(1), "gap 59-59 outage, 60", "60 was sent before it was asked for");
        // The next one is.
        assert_eq!(life.bring(0, number_of(62)), "");
        assert_eq!(life.bring(2, number_of(61)), "61, 62");
    }
}

#[test]
fn a_line_that_was_asked_before_the_venue_began_anew_may_bring_the_new_numbers() {
    let mut life = Life::new(2);
    life.count(0, 57..59);
    life.merge.ask(1, 0);
    assert_eq!(life.bring(0, number_of(1).restarted()), "1");
    assert_eq!(life.bring(0, number_of(3)), "");
    assert_eq!(life.pass(PATIENCE), "gap 2-2 venue, 3");
}

#[test]
fn a_line_that_refuses_a_topic_is_not_waited_for() {
    let mut life = Life::new(2);
    life.count(0, 57..59);
    life.merge.ask(1, 0);
    life.merge.refuse(1, 0, life.now);
    assert_eq!(life.bring(0, number_of(60)), "gap 59-59 venue, 60");
    let mut life = asked();
    life.close(0);
    life.merge.refuse(1, 0, life.now);
    assert_eq!(life.outputs(), "gap 59-59 outage, 60", "no other line is open");
    // What ticks was not refused.
    let mut life = Life::new(2);
    life.count(0, 57..61);
    life.count(1, 58..61);
    life.merge.refuse(1, 0, life.now);
    assert_eq!(life.bring(0, number_of(62)), "");
    // Nor is one that carries the topic forgotten because it is asked for again.
    life.merge.ask(1, 0);
    assert_eq!(life.count(1, 61..62), "61, 62");
}

#[test]
fn a_venue_that_began_anew_while_the_line_was_away_is_noticed_in_5_s() {
    for sequence in [number_of, Sequence::rising] {
        let mut life = Life::new(1);
        life.bring(0, sequence(100));
        life.reopen(0);
        for number in 1..6 {
            assert_eq!(life.bring(0, sequence(number)), "");
            life.now += SECOND;
        }
        assert_eq!(life.bring(0, sequence(6)), "gap outage, 6");
        assert_eq!(life.bring(0, sequence(7)), "7");
        life.now += 10 * SECOND;
        assert_eq!(life.bring(0, sequence(5)), "", "a single old number is none");
        assert_eq!(life.bring(0, sequence(8)), "8");
    }
}

#[test]
fn what_waits_is_bounded() {
    let mut life = Life::new(2);
    life.count(0, 1..4);
    life.count(1, 1..4);
    assert_eq!(life.count(0, 6..1030), "");
    let words = life.bring(0, number_of(1030));
    assert!(words.starts_with("gap 4-5 venue, 6, 7") && words.ends_with(" 1030"), "{words}");
    // Of 16 topics with 1 MiB each.
    let mut merge = Merge::new();
    let now = Instant::now();
    (0..2).for_each(|line| merge.open(line, now));
    let bring = |merge: &mut Merge<()>, line, slot, number, bytes| {
        let sequence = number_of(number);
        let brought = Brought { line, slot, sequence, snapshot: false, bytes, at: now };
        let taken = judge_and_take(merge, &brought, ()).is_some();
        let any = taken || merge.poll_output().is_some();
        while merge.poll_output().is_some() {}
        any
    };
    for slot in 0..17 {
        assert!(bring(&mut merge, 0, slot, 1, 10) && !bring(&mut merge, 1, slot, 1, 10));
        assert_eq!(bring(&mut merge, 0, slot, 3, 1 << 20), slot == 16, "{slot}");
    }
    assert!(bring(&mut merge, 0, 0, 4, 1), "more than 1 MiB of one topic");
}

#[test]
fn a_topic_and_a_line_take_less_than_512_bytes() {
    let size = size_of::<Topic<[u64; 16]>>() + size_of::<Position>();
    assert!(size <= 256, "{size}");
}

#[test]
fn numbers_at_the_end_of_their_range_are_harmless() {
    let mut life = Life::new(1);
    assert_eq!(life.bring(0, number_of(u64::MAX)), u64::MAX.to_string());
    assert_eq!(life.bring(0, number_of(u64::MAX - 1)), "");
    assert_eq!(life.bring(0, Sequence::chained(u64::MAX, u64::MAX)), "");
    life.snapshot(0, number_of(u64::MAX));
    life.bring(0, Sequence::contiguous(0, u64::MAX));
    life.bring(0, Sequence::chained(0, u64::MAX));
}

/// Two lines of which one is always 200 ms behind, and the other is away for 1 s in each 10.
#[test]
fn a_line_that_is_away_leaves_no_gap_where_the_other_is_behind() {
    let mut life = Life::new(2);
    let (mut delivered, mut gaps) = (Vec::new(), 0);
    let mut note = |words: String| {
        for word in words.split(", ").filter(|word| !word.is_empty()) {
            match word.parse::<u64>() {
                Ok(number) => delivered.push(number),
                Err(_) => gaps += 1,
            }
        }
    };
    for tick in 0u64..6_000 {
        note(life.pass(10 * MILLI));
        match tick % 1_000 {
            900 => note(life.close(0)),
            0 => note(life.reopen(0)),
            _ => {}
        }
        if tick % 1_000 < 900 {
            note(life.bring(0, number_of(tick)));
        }
        if let Some(number) = tick.checked_sub(20) {
            note(life.bring(1, number_of(number)));
        }
    }
    assert_eq!(gaps, 0);
    assert!(delivered.is_sorted_by(|a, b| a + 1 == *b), "each once, in order");
    assert!(delivered.len() > 5_900);
}

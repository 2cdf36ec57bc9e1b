//! Whether a feed does its work.

use std::fmt;
use std::time::{Duration, Instant};

use crate::feed::serve::board::Board;
use crate::feed::serve::lines::{Row, Stage};
use crate::human::format_time;

/// Why a feed is not healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The shard, if it is that of one.
    pub(crate) shard: Option<u32>,
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            Some(shard) => write!(f, "shard {shard}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// How long a feed may take to answer.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// How long a line may take to be active again that the feed itself has closed, to rotate it or because the venue has asked
/// for that.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Returns why a feed is not healthy. It is if it answers, and each shard has a line that is active, and not silent by
/// `[silence]`, or one that the feed itself has closed a moment ago. With `max_age` one of the active ones has to have had
/// data within that time, too. With `--publish` the broker has to be connected, and to acknowledge what waits.
pub(crate) fn problems(board: &Board, max_age: Option<Duration>, now: Instant) -> Vec<Problem> {
    let publishing = board.publishing.as_ref().and_then(|publishing| publishing.problem());
    let publishing = publishing.map(|text| Problem { shard: None, text });
    let whole =
        |text: String| publishing.iter().cloned().chain([Problem { shard: None, text }]).collect();
    let Some(answered) = board.answered else {
        let waits = board.waits_for.map_or(String::new(), |what| format!(": it waits for {what}"));
        return whole(format!("the feed has not started yet{waits}"));
    };
    let silence = now.saturating_duration_since(answered);
    if silence > MAX_SILENCE {
        return whole(format!("the feed has not answered for {}", format_time(silence)));
    }
    if let Some(refusal) = &board.refusal {
        return whole(format!("no line dials any more: {refusal}"));
    }
    let rows: Vec<&Row> = board.lines.rows().collect();
    let shards = rows.chunk_by(|row, next| row.report.key.shard == next.report.key.shard);
    let problem = |lines: &[&Row]| {
        let text = shard(lines, max_age, now)?;
        Some(Problem { shard: lines.first().map(|row| row.report.key.shard), text })
    };
    if rows.is_empty() && !board.topics.rows().is_empty() {
        return whole("no shard has started yet".to_owned());
    }
    publishing.into_iter().chain(shards.filter_map(problem)).collect()
}

/// Returns why a shard is not healthy.
fn shard(lines: &[&Row], max_age: Option<Duration>, now: Instant) -> Option<String> {
    let of = |stage: Stage| lines.iter().filter(move |row| row.report.stage == stage);
    let youngest = of(Stage::Active).map(|row| row.age(now)).min();
    match (youngest, max_age) {
        (Some(age), Some(max_age)) if age > max_age => {
            let (age, max_age) = (format_time(age), format_time(max_age));
            Some(format!("the last data came {age} ago, and max_age is {max_age}"))
        }
        (Some(_), _) => None,
        (None, _) if lines.iter().any(|row| is_coming_back(row, now)) => None,
        (None, _) => match of(Stage::Silent).map(|row| row.age(now)).min() {
            Some(age) => {
                Some(format!("no data for {}, longer than `silence` allows", format_time(age)))
            }
            None => {
                let lines: Vec<String> = lines.iter().map(|row| words(row, now)).collect();
                Some(format!("no line is active: {}", lines.join("; ")))
            }
        },
    }
}

/// Whether the feed itself has closed a line, which will soon be active again.
fn is_coming_back(row: &Row, now: Instant) -> bool {
    row.closed.is_some_and(|at| now.saturating_duration_since(at) < BACK_WITHIN)
}

/// Says what a line does in place of being active.
fn words(row: &Row, now: Instant) -> String {
    let mut words = format!("{} {}", row.report.key, row.report.stage.name().replace('_', " "));
    if let Some(old) = row.report.replaces {
        words += &format!(", to replace {old}");
    }
    if let Some(detail) = &row.report.detail {
        words += &format!(" ({detail})");
    }
    if let Some(left) = row.dials_in(now) {
        words += &format!(", dials again in {}", format_time(left));
    }
    if let Some((_, failure)) = &row.failure {
        words += &format!(", last failure: {failure}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::publishing::Publishing;
    use crate::feed::serve::board::Answer;
    use crate::feed::serve::lines::Key;
    use crate::feed::serve::tests::{board, report};
    use actix_ws_client::error::Error;
    use actix_ws_client::feed::Figures;
    use actix_ws_client::feed::event::{Cause, LineIs};

    const SECOND: Duration = Duration::from_secs(1);

    fn texts(board: &Board, max_age: Option<Duration>, now: Instant) -> Vec<String> {
        problems(board, max_age, now).iter().map(ToString::to_string).collect()
    }

    const KEY: Key = Key { shard: 1, line: 0 };

    #[test]
    fn a_line_that_is_replaced_is_no_failure() {
        let now = Instant::now();
        let mut new = report(1, 1, Stage::Down);
        new.replaces = Some(KEY);
        let mut board = board(vec![report(1, 0, Stage::Active), new.clone()], now);
        assert_eq!(texts(&board, None, now), [""; 0]);
        // Nor is the one that was replaced.
        (new.stage, new.replaces) = (Stage::Active, None);
        let lines = vec![report(1, 0, Stage::Draining), new];
        board.handle_answer(Answer { lines, ..Answer::default() }, now);
        assert_eq!(texts(&board, None, now), [""; 0]);
    }

    #[test]
    fn a_line_that_is_closed_to_be_rotated_has_time_to_come_back() {
        let now = Instant::now();
        let mut board = board(vec![report(1, 0, Stage::Active)], now);
        let states = [LineIs::Draining, LineIs::Down { cause: None }, LineIs::Dialling];
        for state in states {
            board.lines.enter(KEY, &state, now);
            let lines = vec![report(1, 0, Stage::of(&state))];
            board.handle_answer(Answer { lines, ..Answer::default() }, now + 29 * SECOND);
            assert_eq!(texts(&board, None, now + 29 * SECOND), [""; 0], "{state:?}");
        }
        let line = report(1, 0, Stage::Dialling);
        let later = now + 31 * SECOND;
        board.handle_answer(Answer { lines: vec![line], ..Answer::default() }, later);
        assert_eq!(texts(&board, None, later), ["shard 1: no line is active: 1a dialling"]);
        // A failure is one at once.
        board.lines.enter(KEY, &LineIs::Active, later);
        let cause = Cause::Connection(Error::Closed(None));
        board.lines.enter(KEY, &LineIs::Down { cause: Some(cause) }, later);
        board.lines.enter(KEY, &LineIs::Dialling, later);
        let lines = vec![report(1, 0, Stage::Dialling)];
        board.handle_answer(Answer { lines, ..Answer::default() }, later);
        assert_eq!(texts(&board, None, later).len(), 1);
    }

    #[test]
    fn one_active_line_of_each_shard_is_enough() {
        let now = Instant::now();
        let lines = vec![
            report(1, 0, Stage::Active),
            report(1, 1, Stage::Down),
            report(2, 0, Stage::Silent),
            report(2, 1, Stage::Active),
        ];
        assert_eq!(texts(&board(lines, now), None, now), [""; 0]);
    }

    #[test]
    fn a_shard_without_an_active_line_is_named_with_its_lines() {
        let now = Instant::now();
        let mut waiting = report(1, 1, Stage::Waiting);
        waiting.delay = Some(SECOND);
        waiting.replaces = Some(KEY);
        let lines = vec![report(1, 0, Stage::LoggingIn), waiting, report(2, 0, Stage::Active)];
        let mut board = board(lines, now);
        board.lines.fail(Key { shard: 1, line: 1 }, "refused".to_owned(), now);
        let expected = "shard 1: no line is active: 1a logging in; 1b waiting, to replace 1a, dials again in 1.0s, last failure: refused";
        assert_eq!(texts(&board, None, now), [expected]);
    }

    #[test]
    fn data_may_be_no_older_than_is_asked_for() {
        let now = Instant::now();
        let mut old = report(1, 0, Stage::Active);
        old.last_data = Some(10 * SECOND);
        let board = board(vec![old, report(2, 0, Stage::Silent)], now);
        let silent = "shard 2: no data for 2.0s, longer than `silence` allows";
        let later = now + 2 * SECOND;
        assert_eq!(texts(&board, Some(10 * SECOND), later), [silent]);
        let old = "shard 1: the last data came 10.0s ago, and max_age is 9.0s";
        assert_eq!(texts(&board, Some(9 * SECOND), later), [old, silent]);
    }

    #[test]
    fn a_feed_that_does_not_answer_is_not_healthy() {
        let now = Instant::now();
        let mut board = board(vec![report(1, 0, Stage::Active)], now);
        assert_eq!(texts(&board, None, now + 6 * SECOND), ["the feed has not answered for 6.0s"]);
        let (lines, figures) = (Vec::new(), Figures::default());
        board.handle_answer(Answer { lines, figures, refusal: None }, now);
        assert_eq!(texts(&board, None, now), ["no shard has started yet"]);
        board.remove(&["a".into(), "b\"".into()]);
        assert_eq!(texts(&board, None, now), [""; 0]);
        let refusal = Some("no".to_owned());
        board.handle_answer(Answer { lines: Vec::new(), figures, refusal }, now);
        assert_eq!(texts(&board, None, now), ["no line dials any more: no"]);
        board.answered = None;
        assert_eq!(texts(&board, None, now), ["the feed has not started yet"]);
        board.waits_for = Some("the broker");
        let waits = "the feed has not started yet: it waits for the broker";
        assert_eq!(texts(&board, None, now), [waits]);
    }

    #[test]
    fn a_broker_that_is_away_is_a_failure_beside_those_of_shards() {
        let now = Instant::now();
        let mut board =
            board(vec![report(1, 0, Stage::Active), report(2, 0, Stage::Dialling)], now);
        board.handle_publishing(Publishing { is_connected: true, ..Publishing::default() }, now);
        assert_eq!(texts(&board, None, now), ["shard 2: no line is active: 2a dialling"]);
        board.handle_publishing(Publishing { since: SECOND, ..Publishing::default() }, now);
        let texts = texts(&board, None, now);
        let away = "the broker of --publish has been away for 1.0s";
        assert_eq!((texts[0].as_str(), texts.len()), (away, 2));
        // Whatever else is wrong.
        board.refusal = Some("no".to_owned());
        assert_eq!(self::texts(&board, None, now), [away, "no line dials any more: no"]);
        board.answered = None;
        assert_eq!(self::texts(&board, None, now), [away, "the feed has not started yet"]);
    }
}

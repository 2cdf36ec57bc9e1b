//! `--retry-on` and `--give-up-on`: which failures lead to another dial.

use std::ops::RangeInclusive;
use std::str::FromStr;

use actix_ws_client::command::status::Failures;
use actix_ws_client::error::{Error, ProxyError, Verdict};

/// One entry of a list: a stage, or a range of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A `stage` of the event `error`, or `closed` for a Close frame from the server.
    Stage(&'static str),
    /// HTTP statuses or close codes. No number is both.
    Numbers(RangeInclusive<u16>),
}

/// The stages at which no connection of `wsup` fails: it has no handler that fails, loses no event, and its sessions are
/// those of feeds, which have no lists.
const NEVER: [&str; 3] = ["handler", "overflow", "session"];

/// Returns the stages that can be listed: those that the library counts. `closed` is a Close frame, of any code.
fn stages() -> impl Iterator<Item = &'static str> {
    let never = |stage: &&str| NEVER.contains(stage);
    let all: Vec<_> = Failures::default().iter().map(|(stage, _)| stage).collect();
    all.into_iter().filter(move |stage| !never(stage))
}

const STATUSES: RangeInclusive<u16> = 100..=599;
const CODES: RangeInclusive<u16> = 1000..=4999;

impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Failure, String> {
        if let Some(stage) = stages().find(|stage| *stage == text) {
            return Ok(Failure::Stage(stage));
        }
        let numbers = numbers(text).ok_or_else(|| {
            format!(
                "a status (401), a class of them (5xx), a close code (1008), numbers from-to \
                 (4000-4099), or one of {}",
                stages().collect::<Vec<_>>().join(" ")
            )
        })?;
        let (from, to) = (*numbers.start(), *numbers.end());
        if from == to && (from == 1006 || from == 1015) {
            return Err(format!("{from} never comes in a Close frame: say io, or tls"));
        }
        let alike = |kind: RangeInclusive<u16>| kind.contains(&from) && kind.contains(&to);
        if from > to || !(alike(STATUSES) || alike(CODES)) {
            return Err("statuses are 100 to 599, close codes 1000 to 4999".into());
        }
        Ok(Failure::Numbers(numbers))
    }
}

fn numbers(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| *class < 10)?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some(from.parse().ok()?..=to.parse().ok()?)
}

impl Failure {
    fn is(&self, error: &Error) -> bool {
        match self {
            Failure::Stage(stage) => *stage == error.stage(),
            Failure::Numbers(numbers) => number(error).is_some_and(|it| numbers.contains(&it)),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Failure::Numbers(_))
    }
}

/// Returns the status of a refusal or the code of a Close frame.
fn number(error: &Error) -> Option<u16> {
    match error {
        Error::Closed(Some(frame)) => Some(frame.code().value()),
        // RFC 6455, 7.1.5: a Close frame without a code counts as 1005.
        Error::Closed(None) => Some(1005),
        other => other.status(),
    }
}

/// The lists of `--retry-on` and `--give-up-on`.
#[derive(Clone, clap::Args)]
pub(crate) struct RetryLists {
    /// Which failures lead to another dial: stages, statuses and close codes, such as
    /// tls,401,4000-4099
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    retry_on: Vec<Failure>,

    /// Which failures end the run, written as for --retry-on; of two that fit alike this one decides
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    give_up_on: Vec<Failure>,
}

impl RetryLists {
    /// Decides what follows a failure. A number takes precedence over a stage, and between entries of the
    /// same kind `--give-up-on` does. For a failure on neither list the library decides.
    pub(crate) fn verdict(&self, error: &Error) -> Verdict {
        let lists = |list: &[Failure], number: bool| {
            list.iter().any(|failure| failure.is_number() == number && failure.is(error))
        };
        for number in [true, false] {
            if lists(&self.give_up_on, number) {
                return Verdict::Stop;
            }
            if lists(&self.retry_on, number) {
                return again(error);
            }
        }
        error.verdict()
    }
}

/// Returns a verdict to retry, not earlier than the server asks for.
fn again(error: &Error) -> Verdict {
    match (error.verdict(), error) {
        (Verdict::Stop, Error::Refused(refusal) | Error::Proxy(ProxyError::Status(refusal))) => {
            Verdict::Retry { at_least: refusal.retry_after(), from_cap: false }
        }
        (Verdict::Stop, _) => Verdict::RETRY,
        (retry, _) => retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Failure> {
        text.split(',').filter(|item| !item.is_empty()).map(|item| item.parse().unwrap()).collect()
    }

    #[test]
    fn a_number_counts_more_than_a_stage_and_giving_up_more_than_retrying() {
        let closed = Error::Closed(None);
        let verdict = |retry, give_up| {
            RetryLists { retry_on: list(retry), give_up_on: list(give_up) }.verdict(&closed)
        };
        assert_eq!(verdict("", ""), Verdict::RETRY);
        assert_eq!(verdict("", "closed"), Verdict::Stop);
        assert_eq!(verdict("closed", "1000-1005"), Verdict::Stop);
        assert_eq!(verdict("1005", "closed"), Verdict::RETRY);
        assert_eq!(verdict("1005", "1005"), Verdict::Stop);
        assert_eq!(verdict("", "io,401,1008"), Verdict::RETRY);
    }

    #[test]
    fn what_can_never_happen_cannot_be_listed() {
        for good in ["dns", "401", "5xx", "500-599", "1008", "4000-4999", "closed"] {
            assert!(good.parse::<Failure>().is_ok(), "{good}");
        }
        let refused = "no".parse::<Failure>().unwrap_err();
        let stages =
            "dns connect proxy tls refused redirect handshake protocol io timeout silent closed";
        assert!(refused.ends_with(&format!(", or one of {stages}")), "{refused}");
        for bad in [
            "", "no", "handler", "overflow", "session", "99", "600", "999", "5000", "400-1001",
            "9-1", "6xx", "1006", "xx",
        ] {
            assert!(bad.parse::<Failure>().is_err(), "{bad}");
        }
    }
}

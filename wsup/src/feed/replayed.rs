//! The flags of `wsup feed --replay`, and what came of the replay.

use std::path::PathBuf;
use std::str::FromStr;

use actix_ws_client::feed::{Replay, Report};

use crate::screen::eprint_line;
use crate::usage::Usage;

/// The flags of a replay.
#[derive(clap::Args)]
pub(crate) struct ReplayFlags {
    /// Replay a recording of the feed in place of dialling: a file of --record, or its directory
    #[arg(long, value_name = "PATH", conflicts_with = "record")]
    #[cfg_attr(feature = "serve", arg(conflicts_with = "serve"))]
    #[cfg_attr(feature = "nats", arg(conflicts_with = "publish"))]
    replay: Option<PathBuf>,

    /// How many times faster than it was recorded; max: as fast as it goes [default: 1]
    #[arg(long, value_name = "N|max", requires = "replay")]
    speed: Option<Speed>,
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Times(f64),
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
        match (text, times) {
            ("max", _) => Ok(Speed::Max),
            (_, Some(times)) => Ok(Speed::Times(times)),
            _ => Err("expected a number above zero, or \"max\"".to_owned()),
        }
    }
}

impl ReplayFlags {
    /// Opens the recording, if there is one.
    pub(crate) fn open(&self) -> Result<Option<Replay>, Usage> {
        let Some(path) = &self.replay else { return Ok(None) };
        let replay = Replay::open(path)
            .map_err(|err| Usage(format!("--replay: {}: {err}", path.display())))?;
        Ok(Some(match self.speed {
            None => replay,
            Some(Speed::Times(times)) => replay.speed(times),
            Some(Speed::Max) => replay.unpaced(),
        }))
    }
}

/// Says what the recording lacks. Returns whether it could be replayed to its end.
pub(crate) fn say_what_came(replay: &Replay) -> bool {
    let Report { messages, missing, at, torn, passed_over, error, .. } = replay.report();
    if let (Some(first), count) = (passed_over.first(), passed_over.len()) {
        let first = first.display();
        eprint_line(&format!(
            "wsup feed: --replay: {count} files of a recording without its beginning were passed over, from {first} on"
        ));
    }
    if let Some(path) = torn {
        let path = path.display();
        eprint_line(&format!(
            "wsup feed: --replay: {path}: not completed; all its whole chunks were replayed"
        ));
    }
    if missing > 0 {
        eprint_line(&format!(
            "wsup feed: --replay: {missing} messages are missing, {messages} were replayed: the recorder had dropped them"
        ));
    }
    if let Some(why) = &error {
        eprint_line(&format!("wsup feed: --replay: after {at:.1?} of the recording: {why}"));
    }
    error.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_number_above_zero_or_max() {
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for text in ["0", "-1", "inf", "NaN", "fast", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}

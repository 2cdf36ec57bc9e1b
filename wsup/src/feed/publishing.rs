//! How the publication of updates goes, for the table, for probes and for pages.

use std::time::Duration;

use crate::feed::form::Published;
use crate::human::format_time;

/// Looks at the publication, from any thread.
pub(crate) trait WatchPublishing: Send + Sync {
    fn publishing(&self) -> Publishing;
    /// Exports the metrics to the recorder of this thread, under a name.
    #[cfg(feature = "serve")]
    fn export(&self, name: &str);
}

/// How the publication goes.
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "some is for the server alone"))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Publishing {
    pub(crate) is_connected: bool,
    /// How long the connection to the broker has been open, or lost.
    pub(crate) since: Duration,
    /// How often it was opened.
    pub(crate) connections: u64,
    /// Why the broker is not reached, or stores nothing.
    pub(crate) failure: Option<String>,
    /// How long ago a message was acknowledged last.
    pub(crate) last_acknowledged: Option<Duration>,
    /// How long messages have waited of which none was acknowledged.
    pub(crate) stalled: Option<Duration>,
    pub(crate) figures: Published,
    /// The bytes that wait.
    pub(crate) waiting_bytes: u64,
    /// Messages that wait for their acknowledgement.
    pub(crate) in_flight: u64,
    /// Messages that are kept of topics which another process publishes.
    pub(crate) kept: u64,
    /// Those that are kept no longer.
    pub(crate) dropped: u64,
    /// Topics that were given up to an owner with a higher fence.
    pub(crate) fenced: u64,
    /// The shares, with `--share`.
    pub(crate) shares: Option<SharesAre>,
}

/// How many shares there are, and what this process is for them.
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "for the server alone"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharesAre {
    pub(crate) all: u32,
    pub(crate) owned: u32,
    pub(crate) standby: u32,
    pub(crate) claimed: u32,
}

/// How long a broker that is connected may acknowledge nothing although messages wait. It elects another leader within
/// 10 s, and a venue whose numbers begin anew is waited for as long.
const STALLED: Duration = Duration::from_secs(15);

impl Publishing {
    /// Returns why updates are not published, if they are not.
    pub(crate) fn problem(&self) -> Option<String> {
        let why = self.failure.as_ref().map_or(String::new(), |why| format!(": {why}"));
        if !self.is_connected {
            let since = format_time(self.since);
            return Some(format!("the broker of --publish has been away for {since}{why}"));
        }
        let stalled = self.stalled.filter(|time| *time >= STALLED)?;
        let (time, waiting) = (format_time(stalled), self.figures.waiting);
        Some(format!(
            "the broker of --publish has acknowledged nothing for {time}, and {waiting} messages wait{why}"
        ))
    }

    /// Formats the line of the table.
    pub(crate) fn line(&self) -> String {
        let Published { published, acknowledged, waiting, repeated, duplicates, refused } =
            self.figures;
        let broker = match (self.is_connected, &self.failure) {
            (true, None) => "connected".to_owned(),
            (true, Some(why)) => format!("connected, but stores nothing: {why}"),
            (false, None) => format!("away for {}", format_time(self.since)),
            (false, Some(why)) => format!("away for {}: {why}", format_time(self.since)),
        };
        let last = match self.last_acknowledged {
            None => String::new(),
            Some(time) => format!(", the last {} ago", format_time(time)),
        };
        let rare = [
            (repeated, "sent again"),
            (duplicates, "there already"),
            (self.kept, "kept"),
            (self.dropped, "dropped"),
            (refused, "too large"),
            (self.fenced, "fenced"),
        ];
        let shown = rare.iter().filter(|(count, _)| *count > 0);
        let rare: String = shown.map(|(count, what)| format!(", {count} {what}")).collect();
        format!(
            "broker {broker}; {acknowledged}/{published} acknowledged{last}, {waiting} wait, {} in flight{rare}",
            self.in_flight
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn publishing(is_connected: bool, failure: Option<&str>) -> Publishing {
        let figures = Published {
            published: 9,
            acknowledged: 7,
            waiting: 4,
            repeated: 0,
            duplicates: 2,
            refused: 0,
        };
        let failure = failure.map(str::to_owned);
        Publishing { is_connected, failure, figures, since: 12 * SECOND, ..Publishing::default() }
    }

    #[test]
    fn a_broker_that_is_away_or_stores_nothing_is_a_problem() {
        assert_eq!(publishing(true, None).problem(), None);
        let away = "the broker of --publish has been away for 12.0s";
        assert_eq!(publishing(false, None).problem().as_deref(), Some(away));
        let why = publishing(false, Some("refused")).problem();
        assert_eq!(why, Some(format!("{away}: refused")));
        let stalled = |seconds: u32, failure| {
            let stalled = Some(seconds * SECOND);
            Publishing { stalled, ..publishing(true, failure) }.problem()
        };
        assert_eq!(stalled(14, Some("no room")), None);
        let words =
            "the broker of --publish has acknowledged nothing for 15.0s, and 4 messages wait";
        assert_eq!(stalled(15, None).as_deref(), Some(words));
        assert_eq!(stalled(15, Some("no room")), Some(format!("{words}: no room")));
    }

    #[test]
    fn the_line_of_the_table_has_what_is_not_zero() {
        let mut it = publishing(true, None);
        assert_eq!(
            it.line(),
            "broker connected; 7/9 acknowledged, 4 wait, 0 in flight, 2 there already"
        );
        (it.last_acknowledged, it.in_flight, it.fenced) = (Some(SECOND / 2), 3, 1);
        (it.kept, it.dropped) = (5, 6);
        it.failure = Some("no room".to_owned());
        assert_eq!(
            it.line(),
            "broker connected, but stores nothing: no room; 7/9 acknowledged, the last 500.0ms ago, 4 wait, 3 in flight, \
             2 there already, 5 kept, 6 dropped, 1 fenced"
        );
        it.is_connected = false;
        assert!(it.line().starts_with("broker away for 12.0s: no room; "), "{}", it.line());
    }
}

//! What a venue allows, and what happens after how long.

use std::time::Duration;

use crate::feed::hours::Hours;
use crate::feed::section::{Found, Section, Wrong};
use crate::rate::Rate;

/// `[rules]`.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) frames: Vec<Rate>,
    pub(crate) requests: Vec<Rate>,
    pub(crate) frame_bytes: Option<usize>,
    pub(crate) topics_per_frame: Option<usize>,
    pub(crate) topics_per_line: Option<usize>,
    pub(crate) dials: Vec<Rate>,
    pub(crate) sockets: Option<usize>,
}

impl Rules {
    pub(crate) fn parse(found: Found<'_>) -> Result<Rules, Wrong> {
        let mut section = found.section()?;
        let number = |found: Option<Found<'_>>| found.map(|found| found.number()).transpose();
        let rules = Rules {
            frames: list(&mut section, "frames")?,
            requests: list(&mut section, "requests")?,
            frame_bytes: number(section.take("frame_bytes"))?,
            topics_per_frame: number(section.take("topics_per_frame"))?,
            topics_per_line: number(section.take("topics_per_line"))?,
            dials: list(&mut section, "dials")?,
            sockets: number(section.take("sockets"))?,
        };
        section.end()?;
        Ok(rules)
    }
}

/// `[silence]`.
#[derive(Debug)]
pub(crate) struct Silence {
    pub(crate) topic: Duration,
    pub(crate) action: Action,
    /// When the market is open; empty: always.
    pub(crate) open: Vec<Hours>,
}

/// What is done about a silent topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Report,
    Resubscribe,
    Fail,
}

impl Silence {
    pub(crate) fn parse(found: Found<'_>) -> Result<Silence, Wrong> {
        const ACTIONS: [(&str, Action); 3] = [
            ("report", Action::Report),
            ("resubscribe", Action::Resubscribe),
            ("fail", Action::Fail),
        ];
        let mut section = found.section()?;
        let silence = Silence {
            topic: section.need("topic")?.time()?,
            action: section
                .take("action")
                .map_or(Ok(Action::Report), |found| found.choice(&ACTIONS))?,
            open: list(&mut section, "open")?,
        };
        section.end()?;
        Ok(silence)
    }
}

/// Takes strings, each parsed; none if the key is not there.
fn list<T: std::str::FromStr<Err: std::fmt::Display>>(
    section: &mut Section<'_>,
    key: &'static str,
) -> Result<Vec<T>, Wrong> {
    let entries = section.take(key).map_or_else(Vec::new, Found::list);
    entries.iter().map(Found::parsed).collect()
}

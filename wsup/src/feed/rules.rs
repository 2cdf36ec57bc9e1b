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
            frames: list(&mut section, "frames", Found::parsed)?,
            requests: list(&mut section, "requests", Found::parsed)?,
            frame_bytes: number(section.take("frame_bytes"))?,
            topics_per_frame: number(section.take("topics_per_frame"))?,
            topics_per_line: number(section.take("topics_per_line"))?,
            dials: list(&mut section, "dials", Found::parsed)?,
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
            open: list(&mut section, "open", Found::parsed)?,
        };
        section.end()?;
        Ok(silence)
    }
}

/// Takes values, each parsed; none if the key is not there.
pub(crate) fn list<'i, T>(
    section: &mut Section<'i>,
    key: &'static str,
    parse: impl Fn(&Found<'i>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    section.take(key).map_or_else(Vec::new, Found::list).iter().map(parse).collect()
}

//! When lines are replaced by new ones.

use std::time::Duration;

use actix_ws_client::feed;
use serde_json::{Value, json};

use crate::feed::hours::Hours;
use crate::feed::rules::list;
use crate::feed::section::{Found, Wrong};
use crate::json::millis;

/// `[rotate]`.
#[derive(Debug)]
pub(crate) struct Rotate {
    /// The age of a socket at which its line is replaced.
    pub(crate) age: Option<Duration>,
    /// When each line is replaced once a day.
    pub(crate) hours: Vec<Hours>,
    /// Whether the old line is closed before the new one is dialled.
    pub(crate) break_first: bool,
}

impl Rotate {
    /// Parses the table.
    pub(crate) fn parse(found: Found<'_>) -> Result<Rotate, Wrong> {
        let mut section = found.section()?;
        let rotate = Rotate {
            age: section.take("age").map(|found| found.time()).transpose()?,
            hours: list(&mut section, "hours", |found| {
                let hours: Hours = found.parsed()?;
                match hours.is_daily() {
                    true => Ok(hours),
                    false => Err(found.wrong("expected hours of every day, such as 02:00-04:00")),
                }
            })?,
            break_first: section.take("break_first").map_or(Ok(false), |found| found.flag())?,
        };
        if rotate.age.is_none() && rotate.hours.is_empty() && !rotate.break_first {
            return Err(section.missing(&["age", "hours", "break_first"]));
        }
        section.end()?;
        Ok(rotate)
    }

    /// Returns it as the plan shows it.
    pub(crate) fn json(&self) -> Value {
        let hours: Vec<String> = self.hours.iter().map(Hours::to_string).collect();
        let age = self.age.map(millis);
        json!({ "age_ms": age, "hours": hours, "break_first": self.break_first })
    }

    /// Returns it as a feed takes it.
    pub(crate) fn to_feed(&self) -> feed::Rotate {
        let rotate = feed::Rotate::default();
        let rotate = self.age.into_iter().fold(rotate, feed::Rotate::age);
        let rotate = self.hours.iter().fold(rotate, |rotate, hours| {
            let (from, to) = hours.times();
            rotate.hours(from, to)
        });
        if self.break_first { rotate.break_first() } else { rotate }
    }
}

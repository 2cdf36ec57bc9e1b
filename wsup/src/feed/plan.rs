//! What a feed would do: its lines, the requests of each, and the time that the limits take.

use std::sync::Arc;
use std::time::Duration;

use actix_ws_client::feed::{Dialect, Overflow, Topic};

use crate::feed::dialect::FileDialect;
use crate::feed::login::How;
use crate::feed::rotate::Rotate;
use crate::feed::values::Values;
use crate::feed::venue::Venue;
use crate::human;
use crate::json::{Object, millis};
use crate::print::Line;
use crate::rate::Rate;
use crate::secrets::Secrets;

/// The plan of a feed.
pub(crate) struct Plan {
    venue: Arc<Venue>,
    topics: usize,
    shards: usize,
    /// The lines of all shards.
    lines: Vec<LinePlan>,
    /// How long the limits of dials take until the last line is dialled.
    dialled_within: Duration,
    /// How long the limits take until the last topic is asked for.
    asked_within: Duration,
}

/// The plan of one line.
#[derive(Clone, Debug)]
struct LinePlan {
    topics: usize,
    logins: usize,
    requests: usize,
    /// The size of the largest request, in bytes.
    largest: usize,
    /// The first subscription.
    first: String,
    /// How long the limits take.
    time: Duration,
}

impl Plan {
    /// Makes the plan of these topics.
    ///
    /// # Errors
    /// A limit that the plan breaks.
    pub(crate) fn new(
        venue: &Arc<Venue>,
        topics: &[String],
        values: Values,
    ) -> Result<Plan, String> {
        let mut dialect = FileDialect::new(venue.clone(), values, String::new(), 0);
        let topics: Vec<Topic> = topics.iter().map(Topic::from).collect();
        let shards = topics.chunks(venue.topics_per_line().min(topics.len().max(1)));
        let shards: Vec<LinePlan> = shards
            .map(|topics| LinePlan::new(venue, &mut dialect, topics))
            .collect::<Result<_, _>>()?;
        let each = usize::from(venue.lines);
        let lines: Vec<_> =
            shards.iter().flat_map(|line| std::iter::repeat_n(line.clone(), each)).collect();
        if let Some(sockets) = venue.rules.sockets.filter(|sockets| *sockets < lines.len()) {
            let (topics, lines) = (topics.len(), lines.len());
            return Err(format!(
                "`rules.sockets`: {topics} topics need {lines} lines, and it allows {sockets} sockets"
            ));
        }
        let dials = venue.rules.dials.iter().map(|rate| wait(lines.len(), rate.count, rate.period));
        let dialled_within = dials.max().unwrap_or_default();
        let longest = lines.iter().map(|line| line.time).max().unwrap_or_default();
        let asked_within = dialled_within.saturating_add(longest);
        let shards = shards.len();
        let (venue, topics) = (venue.clone(), topics.len());
        Ok(Plan { venue, topics, shards, lines, dialled_within, asked_within })
    }

    /// Formats the plan for people, without secrets.
    pub(crate) fn human(&self, secrets: &Secrets) -> Line {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let lines = self.lines.len();
        let mut text = format!("{} on {}\n", count(self.topics, "topic"), count(lines, "line"));
        for alike in self.lines.chunk_by(LinePlan::is_like) {
            let first = &alike[0];
            let largest = alike.iter().map(|line| line.largest).max().unwrap_or_default();
            let lines = match alike.len() {
                1 => String::new(),
                lines => format!("{lines} times "),
            };
            let logins = match first.logins {
                0 => String::new(),
                logins => format!("{}, ", count(logins, "login message")),
            };
            text += &format!(
                "  {lines}{}: {logins}{} of at most {}, {}\n",
                count(first.topics, "topic"),
                count(first.requests, "request"),
                count(largest, "byte"),
                format_time(first.time),
            );
        }
        text += &format!(
            "the limits take {} until every line is dialled, {} until every topic is asked for\n",
            format_time(self.dialled_within),
            format_time(self.asked_within)
        );
        text += &self.options();
        if let Some(line) = self.lines.first() {
            let shown = human::escape_controls(&secrets.hide(&line.first));
            let (begin, rest) = match shown.char_indices().nth(MAX_SHOWN) {
                Some((at, _)) => (&shown[..at], "…"),
                None => (&*shown, ""),
            };
            text += &format!("the first subscription is {begin}{rest}\n");
        }
        Line::Stdout(text.into_bytes())
    }

    /// Formats what the lines do later, one line each.
    fn options(&self) -> String {
        let mut text = String::new();
        if let Some(rotate) = &self.venue.rotate {
            let age = rotate.age.map(|age| format!(" at the age of {}", whole(age)));
            let hours = rotate.hours.iter().map(|hours| format!(" at {hours} UTC"));
            let when: Vec<String> = age.into_iter().chain(hours).collect();
            let when = if when.is_empty() { " on a notice".to_owned() } else { when.join(",") };
            let first = if rotate.break_first { ", and closed first" } else { "" };
            text += &format!("each line is replaced{when}{first}\n");
        }
        if let Some(time) = self.snapshots_within() {
            let (topics, time) = (self.topics, format_time(time));
            text += &format!("the limit takes {time} until {topics} snapshots are asked for\n");
        }
        if self.venue.overflow == Overflow::Latest {
            text += "the newest update of each topic waits while stdout is not read\n";
        }
        text
    }

    /// Returns how long the limit takes until a snapshot of every topic is asked for.
    fn snapshots_within(&self) -> Option<Duration> {
        let rate = self.venue.resync.as_ref()?.asks;
        Some(wait(self.topics, rate.count, margin(rate.period)))
    }

    /// Formats the plan as JSON.
    pub(crate) fn json(&self) -> Line {
        let sum = |figure: fn(&LinePlan) -> usize| self.lines.iter().map(figure).sum::<usize>();
        let is_latest = self.venue.overflow == Overflow::Latest;
        Object::of("plan")
            .key("topics", self.topics)
            .key("shards", self.shards)
            .key("lines", self.lines.len())
            .key("logins", sum(|line| line.logins))
            .key("requests", sum(|line| line.requests))
            .key("largest_bytes", self.lines.iter().map(|line| line.largest).max())
            .key("dialled_within_ms", millis(self.dialled_within))
            .key("asked_within_ms", millis(self.asked_within))
            .key("overflow", if is_latest { "latest" } else { "wait" })
            .key("rotate", self.venue.rotate.as_ref().map(Rotate::json))
            .key("snapshots_within_ms", self.snapshots_within().map(millis))
            .end()
    }
}

/// How much of the first subscription is shown, in characters.
const MAX_SHOWN: usize = 400;

impl LinePlan {
    /// Whether both take as many requests and as long.
    fn is_like(&self, other: &LinePlan) -> bool {
        let what = |it: &LinePlan| (it.topics, it.logins, it.requests, it.time);
        what(self) == what(other)
    }

    fn new(venue: &Venue, dialect: &mut FileDialect, topics: &[Topic]) -> Result<LinePlan, String> {
        let logins = match venue.login.as_ref().map(|login| &login.how) {
            Some(How::Send(texts)) => texts.len(),
            Some(How::Command(_)) => 1,
            None => 0,
        };
        let mut kinds: Vec<(&str, Vec<Topic>)> = Vec::new();
        for topic in topics {
            let kind = dialect.kind(topic);
            match kinds.iter_mut().find(|(other, _)| *other == kind) {
                Some((_, topics)) => topics.push(topic.clone()),
                None => kinds.push((kind, vec![topic.clone()])),
            }
        }
        let (mut sizes, mut first) = (Vec::new(), String::new());
        for (_, topics) in kinds {
            let mut rest = &topics[..];
            while !rest.is_empty() {
                let (taken, request) = fit(venue, dialect, rest, sizes.len() as u64 + 1)?;
                sizes.push(request.len());
                if sizes.len() == 1 {
                    first = request;
                }
                rest = &rest[taken..];
            }
        }
        let requests = sizes.len();
        let frames = |rate: &Rate| {
            // Room is left for one control frame.
            wait(logins + requests, (rate.count - 1).max(1), margin(rate.period))
        };
        let asks = |rate: &Rate| wait(logins.min(1) + requests, rate.count, margin(rate.period));
        let frames = venue.rules.frames.iter().map(frames);
        let time = frames.chain(venue.rules.requests.iter().map(asks)).max().unwrap_or_default();
        let largest = sizes.into_iter().max().unwrap_or_default();
        Ok(LinePlan { topics: topics.len(), logins, requests, largest, first, time })
    }
}

/// Returns how many of these topics the next request takes, and the request, as a session makes it.
fn fit(
    venue: &Venue,
    dialect: &mut FileDialect,
    topics: &[Topic],
    id: u64,
) -> Result<(usize, String), String> {
    let most = venue.rules.frame_bytes.unwrap_or(usize::MAX);
    let mut taken = topics.len().min(venue.topics_per_frame());
    loop {
        let request = dialect.subscription(id, &topics[..taken]);
        let size = request.len();
        if size <= most {
            return Ok((taken, request));
        }
        if taken == 1 {
            return Err(format!(
                "`rules.frame_bytes`: the request for \"{}\" alone has {size} bytes, and it allows {most}",
                topics[0]
            ));
        }
        let fitting = (taken as u128 * most as u128 / size as u128) as usize;
        taken = fitting.clamp(1, taken - 1);
    }
}

fn format_time(time: Duration) -> String {
    if time.is_zero() { "0s".to_owned() } else { human::format_time(time) }
}

/// Formats a time in the largest unit that it is a whole number of.
fn whole(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds % 3600, seconds % 60, time.subsec_nanos()) {
        (0, _, 0) => format!("{}h", seconds / 3600),
        (_, 0, 0) => format!("{}m", seconds / 60),
        _ => format_time(time),
    }
}

/// Returns the time until the last of several may be sent, if `count` may be in any period.
fn wait(all: usize, count: usize, period: Duration) -> Duration {
    let periods = all.saturating_sub(1) / count.max(1);
    period.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX))
}

/// Returns a period as a feed takes it: a fiftieth longer, because frames may arrive closer together.
fn margin(period: Duration) -> Duration {
    period.saturating_add((period / 50).min(Duration::from_millis(50)))
}

//! Plain lines: events and totals if stdout is no terminal, and the summary of every run.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use actix_ws_client::Phase;

use crate::book::Picture;
use crate::row::{Outages, Row};

/// Prints the events as they happen, and a line of totals each second.
pub(crate) struct Lines {
    /// The number of events printed so far.
    printed: u64,
    /// The time of the next line of totals.
    totals: Duration,
}

impl Lines {
    pub(crate) fn new(title: &str) -> io::Result<Lines> {
        writeln!(io::stdout(), "market_feed: {title}")?;
        Ok(Lines { printed: 0, totals: Duration::from_secs(1) })
    }

    /// Prints what has happened since the last call.
    ///
    /// # Errors
    /// When the reader of stdout has gone.
    pub(crate) fn print(&mut self, picture: &Picture) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let news = usize::try_from(picture.logged - self.printed).unwrap_or(usize::MAX);
        self.printed = picture.logged;
        for event in picture.log.iter().skip(picture.log.len().saturating_sub(news)) {
            writeln!(out, "{:>7.2} s  {:<8}  {}", event.at.as_secs_f64(), event.name, event.words)?;
        }
        if picture.elapsed >= self.totals {
            self.totals += Duration::from_secs(1);
            let open = picture.rows.iter().filter(|row| row.phase == Phase::Open).count();
            let sum = |figure: fn(&Row) -> u64| picture.rows.iter().map(figure).sum::<u64>();
            writeln!(
                out,
                "{:>7.2} s  {:<8}  {open} of {} open, {} messages/s, {} messages, {} outages, {} gaps",
                picture.elapsed.as_secs_f64(),
                "total",
                picture.rows.len(),
                sum(Row::rate),
                grouped(sum(|row| row.messages)),
                sum(|row| row.outages.total()),
                sum(|row| row.gaps),
            )?;
        }
        out.flush()
    }
}

/// Prints the figures of the whole run, one line for each symbol.
///
/// # Errors
/// When the reader of stdout has gone.
pub(crate) fn summary(picture: &Picture) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let seconds = picture.elapsed.as_secs_f64();
    writeln!(out, "\nSummary of {seconds:.1} s\n")?;
    let wide = picture.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(8);
    writeln!(
        out,
        "{:wide$} messages epochs lost dropped silent closed other  refused longest gaps",
        "symbol"
    )?;
    for row in &picture.rows {
        figures(&mut out, row, &format!("{:wide$}", row.name), picture.now)?;
    }
    if picture.rows.len() > 1 {
        let all = sum(&picture.rows, picture.now);
        figures(&mut out, &all, &format!("{:wide$}", "all"), picture.now)?;
    }
    writeln!(
        out,
        "\nlost: sockets lost, by cause; refused: dials answered with an error status; longest: the\n\
         longest outage; gaps: numbers missing, repeated or absent within an epoch (one open socket)\n"
    )?;
    out.flush()
}

fn figures(out: &mut impl Write, row: &Row, name: &str, now: Instant) -> io::Result<()> {
    let Outages { dropped, silent, closed, other } = row.outages;
    writeln!(
        out,
        "{name} {:>8} {:>6} {:>4} {dropped:>7} {silent:>6} {closed:>6} {other:>5} {:>8} {:>5.2} s {:>4}",
        grouped(row.messages),
        row.epoch,
        row.outages.total(),
        row.refused,
        row.longest(now).as_secs_f64(),
        row.gaps,
    )
}

/// Adds the rows up.
fn sum(rows: &[Row], now: Instant) -> Row {
    let mut all = Row::new(String::new(), None);
    for row in rows {
        all.messages += row.messages;
        all.epoch += row.epoch;
        all.outages.dropped += row.outages.dropped;
        all.outages.silent += row.outages.silent;
        all.outages.closed += row.outages.closed;
        all.outages.other += row.outages.other;
        all.refused += row.refused;
        all.longest = all.longest.max(row.longest(now));
        all.gaps += row.gaps;
    }
    all
}

/// Formats a number with separated thousands: 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a price: four decimal places below 10, otherwise two.
pub(crate) fn price(price: f64) -> String {
    let places = if price.abs() < 10.0 { 4 } else { 2 };
    let text = format!("{price:.places$}");
    match text.split_once('.').map(|(whole, rest)| (whole.parse(), rest)) {
        Some((Ok(whole), rest)) => format!("{}.{rest}", grouped(whole)),
        _ => text,
    }
}

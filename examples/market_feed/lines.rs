//! What is printed: the table on a terminal, plain lines elsewhere, and the summary of every run.

use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::book::Picture;
use crate::line::Outages;
use crate::row::Row;
use crate::table::Table;

/// The output.
pub(crate) struct View {
    title: String,
    table: Option<Table>,
    /// The number of events printed so far.
    printed: u64,
    /// The time of the next line of totals.
    totals: Duration,
}

impl View {
    pub(crate) fn new(title: String) -> View {
        View { table: Table::new(&title), title, printed: 0, totals: Duration::ZERO }
    }

    /// Shows what has happened since the last call. Returns false once the reader has closed the pipe.
    ///
    /// # Errors
    /// When the terminal or file of stdout fails.
    pub(crate) fn show(&mut self, picture: &Picture, left: Duration) -> io::Result<bool> {
        is_read(match &mut self.table {
            Some(table) => table.draw(picture, left),
            None => self.print(picture),
        })
    }

    /// Prints the summary and the verdict. Returns whether every symbol has had messages, and none was
    /// missing while connected. Where one was, it is named on stderr.
    ///
    /// # Errors
    /// When the terminal or file of stdout fails.
    pub(crate) fn end(mut self, picture: &Picture) -> Result<bool, Box<dyn Error>> {
        self.show(picture, Duration::ZERO)?;
        // The cursor is shown again.
        drop(self.table);
        if !is_read(summary(picture))? {
            return Ok(sum(picture, |row| row.gaps) == 0);
        }
        let (mut is_whole, mut stderr) = (true, io::stderr().lock());
        for row in &picture.rows {
            for fault in &row.faults {
                writeln!(stderr, "gap while connected: {}, {fault}", row.name)?;
            }
            if row.messages == 0 {
                writeln!(stderr, "nothing came: {}", row.name)?;
            }
            is_whole &= row.gaps == 0 && row.messages > 0;
        }
        if is_whole {
            is_read(writeln!(io::stdout(), "{}.", verdict(picture).1))?;
        }
        Ok(is_whole)
    }

    /// Prints the events as they happen, and a line of totals each second.
    fn print(&mut self, picture: &Picture) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.totals.is_zero() {
            writeln!(out, "{}", self.title)?;
            self.totals = Duration::from_secs(1);
        }
        let news = usize::try_from(picture.logged - self.printed).unwrap_or(usize::MAX);
        self.printed = picture.logged;
        for event in picture.log.iter().skip(picture.log.len().saturating_sub(news)) {
            writeln!(out, "{:>7.2} s  {:<8}  {}", event.at.as_secs_f64(), event.name, event.words)?;
        }
        if picture.elapsed >= self.totals {
            self.totals += Duration::from_secs(1);
            writeln!(
                out,
                "{:>7.2} s  {:<8}  {} of {} live, {} messages/s, {} messages, {} outages, {} missed, {} gaps",
                picture.elapsed.as_secs_f64(),
                "total",
                picture.rows.iter().filter(|row| row.is_live).count(),
                picture.rows.len(),
                sum(picture, Row::rate),
                grouped(sum(picture, |row| row.messages)),
                sum(picture, |row| row.outages),
                grouped(sum(picture, |row| row.missed)),
                sum(picture, |row| row.gaps),
            )?;
        }
        out.flush()
    }
}

/// Returns false for the error of a pipe whose reader has closed it.
fn is_read(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Returns whether no message was missing while connected so far, and the sentence about it.
pub(crate) fn verdict(picture: &Picture) -> (bool, String) {
    let (gaps, checked) = (sum(picture, |row| row.gaps), sum(picture, |row| row.checked));
    let words = match (gaps, checked) {
        (0, 0) => "No message had a number to check".into(),
        (0, _) => format!("No message was lost while connected: {} checked", grouped(checked)),
        (1, _) => format!("1 message was lost while connected: {} checked", grouped(checked)),
        _ => format!(
            "{} messages were lost while connected: {} checked",
            grouped(gaps),
            grouped(checked)
        ),
    };
    (gaps == 0, words)
}

/// Prints the figures of the whole run, by symbol and by line.
fn summary(picture: &Picture) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\nSummary of {:.1} s\n", picture.elapsed.as_secs_f64())?;
    let wide = picture.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(8);
    writeln!(out, "{:wide$} messages outages longest missed  gaps", "symbol")?;
    for row in &picture.rows {
        symbol(&mut out, &format!("{:wide$}", row.name), row, picture.now)?;
    }
    if picture.rows.len() > 1 {
        let mut all = Row::new(String::new());
        all.messages = sum(picture, |row| row.messages);
        all.outages = sum(picture, |row| row.outages);
        all.missed = sum(picture, |row| row.missed);
        all.gaps = sum(picture, |row| row.gaps);
        let longest = picture.rows.iter().map(|row| row.longest(picture.now)).max();
        all.longest = longest.unwrap_or_default();
        symbol(&mut out, &format!("{:wide$}", "all"), &all, picture.now)?;
    }
    writeln!(out, "\n{:wide$}  sockets outages dropped silent closed other refused", "line")?;
    for line in &picture.lines {
        let Outages { dropped, silent, closed, other } = line.outages;
        writeln!(
            out,
            "{:wide$} {:>8} {:>7} {dropped:>7} {silent:>6} {closed:>6} {other:>5} {:>7}",
            line.name,
            line.sockets,
            line.outages.total(),
            line.refused,
        )?;
    }
    writeln!(
        out,
        "\nmissed: messages between the last of a socket and the first of the next; gaps: messages that\n\
         were missing while connected; refused: dials that were answered with an error status\n"
    )?;
    out.flush()
}

fn symbol(out: &mut impl Write, name: &str, row: &Row, now: Instant) -> io::Result<()> {
    let (messages, missed) = (grouped(row.messages), grouped(row.missed));
    let (outages, longest, gaps) = (row.outages, row.longest(now).as_secs_f64(), row.gaps);
    writeln!(out, "{name} {messages:>8} {outages:>7} {longest:>5.2} s {missed:>6} {gaps:>5}")
}

/// Adds a figure of all symbols up.
pub(crate) fn sum(picture: &Picture, figure: fn(&Row) -> u64) -> u64 {
    picture.rows.iter().map(figure).sum()
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

//! The live table on a terminal: one row for each line of the feed, the worst first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_ws_client::feed::LineId;
use actix_ws_client::feed::command::{FeedStatus, LineStatus};
use actix_ws_client::feed::event::{LineIs, WaitFor};
use unicode_width::UnicodeWidthChar;

use crate::feed::human::rare;
use crate::feed::ledger::Ledger;
use crate::feed::publishing::Publishing;
use crate::human::{escape_controls, format_time};
use crate::output::Paint;
use crate::screen::{self, Prompt};
use crate::secrets::Secrets;
use crate::usage::in_flags;

/// The table. Other output is written above it.
pub(crate) struct Table {
    title: String,
    secrets: Secrets,
    /// Whether the terminal has colour.
    colour: bool,
    canvas: Canvas,
    /// The socket of each line at the last drawing, and the updates that it had brought.
    earlier: HashMap<LineId, (u64, u64)>,
    /// The updates that had been delivered then.
    delivered: u64,
    drawn_at: Option<Instant>,
}

/// What a row shows.
struct Row {
    line: String,
    state: LineIs,
    /// The line that is about to take its place.
    replaced_by: Option<String>,
    /// Whether it is about to take the place of another.
    replaces: bool,
    wanted: usize,
    confirmed: usize,
    refused: usize,
    silent: usize,
    rate: f64,
    age: Option<Duration>,
    lag: Option<Duration>,
    round_trip: Option<Duration>,
    gaps: u64,
    error: Option<String>,
}

/// A column, on terminals that have at least `from` columns.
struct Column {
    title: &'static str,
    width: usize,
    is_number: bool,
    from: usize,
    cell: fn(&Row) -> String,
}

const COLUMNS: [Column; 11] = [
    Column { title: "LINE", width: 5, is_number: false, from: 0, cell: |row| row.line.clone() },
    Column { title: "STATE", width: 15, is_number: false, from: 0, cell: state },
    Column { title: "TOPICS", width: 9, is_number: true, from: 38, cell: topics },
    Column { title: "UPD/S", width: 7, is_number: true, from: 47, cell: |row| rate(row.rate) },
    Column { title: "AGE", width: 6, is_number: true, from: 55, cell: |row| time(row.age) },
    Column { title: "REF", width: 3, is_number: true, from: 60, cell: |row| count(row.refused) },
    Column { title: "GAPS", width: 5, is_number: true, from: 67, cell: |row| count(row.gaps) },
    Column { title: "RTT", width: 6, is_number: true, from: 75, cell: |row| time(row.round_trip) },
    // Of the only line it is zero.
    Column { title: "LAG", width: 6, is_number: true, from: 80, cell: |row| time(row.lag) },
    Column { title: "SILENT", width: 6, is_number: true, from: 100, cell: |row| count(row.silent) },
    // Takes the rest of the line.
    Column {
        title: "LAST ERROR",
        width: 0,
        is_number: false,
        from: 110,
        cell: |row| row.error.clone().unwrap_or_default(),
    },
];

/// The number of errors below a table that has no room for their column.
const ERRORS_BELOW: usize = 3;

/// What stands between two columns.
const GAP: &str = "  ";

impl Table {
    /// Creates a table, if stdout is a terminal that can show it.
    pub(crate) fn new(title: String, secrets: Secrets, colour: bool) -> Option<Table> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !io::stdout().is_terminal() || is_dumb {
            return None;
        }
        let canvas = Canvas::default();
        canvas.begin();
        Some(Table {
            title,
            secrets,
            colour,
            canvas,
            earlier: HashMap::new(),
            delivered: 0,
            drawn_at: None,
        })
    }

    /// Draws the state of the feed over the last one.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(crate) fn draw(
        &mut self,
        status: &FeedStatus,
        ledger: &Ledger,
        publishing: Option<&Publishing>,
    ) -> io::Result<()> {
        let (rows, rate) = self.rows(status, ledger);
        let size = size();
        let total = total(&self.title, &rows, status, rate, ledger.unsynced()) + &ledger.shares();
        let mut titles = vec![(total, None)];
        if let Some(publishing) = publishing {
            let line = escape_controls(&self.secrets.hide(&publishing.line()).replace('\n', " "));
            let paint = publishing.problem().map(|_| Paint::Failure);
            titles.push((line, paint));
        }
        let lines = lines(&titles, &rows, size, self.colour);
        self.canvas.draw(lines, size)
    }

    /// Returns the rows, and the updates that are delivered in a second.
    fn rows(&mut self, status: &FeedStatus, ledger: &Ledger) -> (Vec<Row>, f64) {
        let now = Instant::now();
        let since = self.drawn_at.replace(now).map(|at| now - at);
        let rate = |count: u64| since.map_or(0.0, |it| count as f64 / it.as_secs_f64().max(0.001));
        let mut rows: Vec<Row> = Vec::with_capacity(status.lines.len());
        let mut counts = HashMap::with_capacity(status.lines.len());
        for line in &status.lines {
            counts.insert(line.line, (line.epoch, line.updates));
            let before = self.earlier.get(&line.line).filter(|(epoch, _)| *epoch == line.epoch);
            let brought = line.updates.saturating_sub(before.map_or(0, |(_, updates)| *updates));
            let mut row = self.row(line, rate(brought), ledger);
            let new = status.lines.iter().find(|other| other.replaces == Some(line.line));
            row.replaced_by = new.map(|new| new.line.to_string());
            rows.push(row);
        }
        self.earlier = counts;
        sort(&mut rows);
        let delivered = status.figures.delivered;
        let before = std::mem::replace(&mut self.delivered, delivered);
        (rows, rate(delivered.saturating_sub(before)))
    }

    fn row(&self, line: &LineStatus, rate: f64, ledger: &Ledger) -> Row {
        let error = ledger.failure(line.line).map(|failure| {
            let error = in_flags(&self.secrets.hide(&failure.text)).replace('\n', " ");
            format!("{} ago: {}", time(Some(failure.at.elapsed())), escape_controls(&error))
        });
        let state = match (&line.state, ledger.waits(line.line)) {
            (LineIs::Waiting { for_what: WaitFor::Delay(_) }, Some(left)) => {
                LineIs::Waiting { for_what: WaitFor::Delay(left) }
            }
            (state, _) => state.clone(),
        };
        Row {
            line: line.line.to_string(),
            state,
            replaced_by: None,
            replaces: line.replaces.is_some(),
            wanted: line.figures.wanted,
            confirmed: line.figures.confirmed,
            refused: line.figures.refused,
            silent: ledger.silent(line.line),
            rate,
            age: line.last_data,
            lag: line.lag,
            round_trip: line.round_trip,
            gaps: line.figures.gaps,
            error,
        }
    }
}

/// Sorts rows by how bad they are, the worst first.
fn sort(rows: &mut [Row]) {
    rows.sort_by_key(|row| (severity(row), Reverse(row.age)));
}

/// Returns how bad a row is: 0 is the worst.
fn severity(row: &Row) -> u8 {
    match &row.state {
        // Both lines of a hand-over stand together, above those that are well.
        _ if row.replaces || row.replaced_by.is_some() => 5,
        LineIs::Down { .. } => 0,
        LineIs::Waiting { .. } => 1,
        LineIs::Dialling => 2,
        LineIs::LoggingIn | LineIs::Draining => 3,
        LineIs::Silent { .. } => 4,
        LineIs::Subscribing { .. } => 5,
        _ if row.silent > 0 => 6,
        _ if row.refused > 0 => 7,
        _ => 8,
    }
}

/// Formats the whole table, below its titles, for a terminal of this many columns and rows.
fn lines(
    titles: &[(String, Option<Paint>)],
    rows: &[Row],
    (columns, height): (usize, usize),
    colour: bool,
) -> Vec<String> {
    let painted = |line: String, paint: Option<Paint>| match paint {
        Some(paint) if colour => paint.on(&line),
        _ => line,
    };
    let shown: Vec<&Column> = COLUMNS.iter().filter(|column| column.from <= columns).collect();
    let has_errors = shown.iter().any(|column| column.width == 0);
    let below = rows.iter().filter_map(|row| Some((&row.line, row.error.as_ref()?)));
    let below: Vec<String> = match has_errors {
        true => Vec::new(),
        false => below.take(ERRORS_BELOW).map(|(line, error)| format!("{line}  {error}")).collect(),
    };
    // The titles, the head, and the row that the cursor is in.
    let room = height.saturating_sub(titles.len() + 2 + below.len()).max(1);
    let titles = titles.iter().map(|(title, paint)| painted(clip(title, columns), *paint));
    let mut lines: Vec<String> = titles.collect();
    let (rows, more) = match rows.len() > room {
        true => (&rows[..room - 1], rows.len() + 1 - room),
        false => (rows, 0),
    };
    lines.push(painted(line(&shown, columns, |column| column.title.to_owned()), Some(Paint::Info)));
    for row in rows {
        let paint = if severity(row) < 5 { Some(Paint::Failure) } else { None };
        lines.push(painted(line(&shown, columns, |column| (column.cell)(row)), paint));
    }
    if more > 0 {
        lines.push(painted(
            clip(&format!("… and {more} more, not worse"), columns),
            Some(Paint::Info),
        ));
    }
    lines.extend(below.iter().map(|error| painted(clip(error, columns), Some(Paint::Failure))));
    lines.truncate(height.saturating_sub(1).max(1));
    lines
}

/// Formats the figures of the whole feed.
fn total(
    title: &str,
    rows: &[Row],
    status: &FeedStatus,
    delivered: f64,
    unsynced: usize,
) -> String {
    let active = rows.iter().filter(|row| matches!(row.state, LineIs::Active)).count();
    let figures = &status.figures;
    let without = match unsynced {
        0 => String::new(),
        count => format!(", {count} without a snapshot"),
    };
    format!(
        "{title}  {active}/{} lines active, {}/{} topics, {} refused, {}/s, {} gaps{without}{}",
        rows.len(),
        figures.confirmed,
        figures.wanted,
        figures.refused,
        rate(delivered),
        figures.gaps,
        rare(figures),
    )
}

/// Formats one line of these columns.
fn line(shown: &[&Column], columns: usize, cell: impl Fn(&Column) -> String) -> String {
    let mut line = String::new();
    let mut used = 0;
    for column in shown {
        let width = match column.width {
            0 => columns.saturating_sub(used),
            width => width,
        };
        let text = clip(&cell(column), width);
        let pad = " ".repeat(width.saturating_sub(self::width(&text)));
        match column.is_number {
            true => line.extend([&pad, &text, GAP]),
            false => line.extend([&text, &pad, GAP]),
        }
        used += width + GAP.len();
    }
    clip(line.trim_end(), columns)
}

fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or_default()).sum()
}

/// Cuts a text to this many columns, with `…` at its end.
fn clip(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or_default();
        if used > columns {
            break;
        }
        clipped.push(c);
    }
    if columns > 0 {
        clipped.push('…');
    }
    clipped
}

fn state(row: &Row) -> String {
    if let (LineIs::Active, Some(new)) = (&row.state, &row.replaced_by) {
        return format!("active → {new}");
    }
    match &row.state {
        LineIs::Waiting { for_what: WaitFor::Delay(delay) } => {
            format!("waits {}", time(Some(*delay)))
        }
        LineIs::Waiting { for_what: WaitFor::Budget(limit) } => format!("waits: {limit}"),
        LineIs::Waiting { .. } => "paused".to_owned(),
        LineIs::LoggingIn => "logging in".to_owned(),
        LineIs::Subscribing { left } => format!("asks for {left}"),
        other => other.name().to_owned(),
    }
}

fn topics(row: &Row) -> String {
    format!("{}/{}", row.confirmed, row.wanted)
}

fn count(count: impl TryInto<u64>) -> String {
    match count.try_into().unwrap_or_default() {
        0 => "-".to_owned(),
        count => count.to_string(),
    }
}

fn rate(rate: f64) -> String {
    match rate {
        rate if rate >= 10_000.0 => format!("{:.0}k", rate / 1000.0),
        rate if rate >= 10.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

fn time(time: Option<Duration>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time >= Duration::from_secs(120 * 60) => {
            format!("{}h", time.as_secs() / 3600)
        }
        Some(time) if time >= Duration::from_secs(120) => format!("{}m", time.as_secs() / 60),
        Some(time) if time >= Duration::from_secs(1) => format_time(time),
        Some(time) if time >= Duration::from_millis(1) => format!("{}ms", time.as_millis()),
        Some(_) => "<1ms".to_owned(),
    }
}

/// Returns the columns and rows of the terminal.
fn size() -> (usize, usize) {
    let (columns, rows) = crossterm::terminal::size().unwrap_or_default();
    match (columns, rows) {
        (0, _) | (_, 0) => (80, 24),
        (columns, rows) => (columns.into(), rows.into()),
    }
}

/// The rows of the terminal that the table takes. Clones share them.
#[derive(Clone, Default)]
struct Canvas(Arc<Mutex<Drawn>>);

#[derive(Default)]
struct Drawn {
    lines: Vec<String>,
    size: (usize, usize),
}

impl Canvas {
    /// Has other output written above the table from now on.
    fn begin(&self) {
        let (above, end) = (self.clone(), self.clone());
        screen::begin_prompt(Prompt {
            print: Box::new(move |text| {
                let drawn = above.lock();
                let out = format!("{}{text}{}", drawn.erased(), drawn.lines.join("\n") + "\n");
                // A terminal that is gone is found by the next drawing.
                let _ = write(&out);
                true
            }),
            end: Box::new(move || {
                // The last table stays.
                drop(write("\x1b[?25h\x1b[?7h"));
                drop(end);
            }),
            stderr: io::stderr().is_terminal(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, lines: Vec<String>, size: (usize, usize)) -> io::Result<()> {
        let mut drawn = self.lock();
        let mut out = match drawn.size {
            (0, 0) => String::new(),
            // The terminal may have wrapped lines: begin anew.
            old if old != size => "\x1b[2J\x1b[H".to_owned(),
            _ => drawn.erased(),
        };
        // The cursor is hidden, and long lines are not wrapped.
        out.insert_str(0, "\x1b[?25l\x1b[?7l");
        out += &lines.join("\n");
        out.push('\n');
        (drawn.lines, drawn.size) = (lines, size);
        write(&out)
    }
}

impl Drawn {
    /// Returns what removes the table.
    fn erased(&self) -> String {
        match self.lines.len() {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }
}

/// Writes to the terminal, past what belongs above the table.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str, state: LineIs) -> Row {
        Row {
            line: line.to_owned(),
            state,
            replaced_by: None,
            replaces: false,
            wanted: 200,
            confirmed: 198,
            refused: 1,
            silent: 0,
            rate: 1234.5,
            age: Some(Duration::from_millis(12)),
            lag: Some(Duration::from_millis(2)),
            round_trip: Some(Duration::from_millis(31)),
            gaps: 3,
            error: Some("3.0s ago: refused by the server: 503 ".to_owned() + &"Été ".repeat(40)),
        }
    }

    fn rows() -> Vec<Row> {
        let waits = LineIs::Waiting { for_what: WaitFor::Delay(Duration::from_secs(4)) };
        let mut rows =
            vec![row("1a", LineIs::Active), row("12a", waits), row("3a", LineIs::LoggingIn)];
        sort(&mut rows);
        rows
    }

    fn title() -> [(String, Option<Paint>); 1] {
        [("venue".to_owned(), None)]
    }

    #[test]
    fn what_is_published_stands_below_the_title() {
        let [title] = title();
        let titles = [title, ("broker away".to_owned(), Some(Paint::Failure))];
        let rows: Vec<Row> = (0..50).map(|_| row("1a", LineIs::Active)).collect();
        let shown = lines(&titles, &rows, (120, 10), true);
        assert_eq!((&*shown[0], shown.len()), ("venue", 9));
        assert_eq!(shown[1], Paint::Failure.on("broker away"));
        assert!(shown[8].contains("… and 45 more"), "{shown:#?}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in [1, 20, 40, 60, 80, 120, 200] {
            for height in [1, 4, 5, 24] {
                let size = (columns, height);
                let lines = lines(&title(), &rows(), size, false);
                assert!(lines.iter().all(|line| width(line) <= columns), "{lines:#?}");
                assert!(lines.len() < height.max(2), "{lines:#?}");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_has_the_columns_that_matter_most() {
        let shown = |columns| lines(&title(), &rows(), (columns, 24), false).join("\n");
        let narrow = shown(60);
        assert!(
            narrow.contains(
                "LINE   STATE               TOPICS    UPD/S     AGE  REF\n\
                 12a    waits 4.0s         198/200     1234    12ms    1\n\
                 3a     logging in"
            ),
            "{narrow}"
        );
        // The errors stand below.
        assert!(narrow.contains("\n12a  3.0s ago: refused by the server: 503"), "{narrow}");
        assert!(shown(80).contains(" GAPS     RTT     LAG\n"), "{}", shown(80));
        let wide = shown(120);
        assert!(
            wide.contains(" SILENT  LAST ERROR\n") && wide.contains("-  3.0s ago: ref"),
            "{wide}"
        );
    }

    #[test]
    fn both_lines_of_a_hand_over_stand_together_and_name_each_other() {
        let old = Row { replaced_by: Some("1b".to_owned()), ..row("1a", LineIs::Active) };
        let new = Row { replaces: true, ..row("1b", LineIs::Dialling) };
        let worse = row("3a", LineIs::LoggingIn);
        let mut rows = vec![row("2a", LineIs::Active), new, worse, old];
        sort(&mut rows);
        let lines = lines(&title(), &rows, (80, 24), true);
        // Not by the state of the new one, which is worse.
        assert!(lines[2].contains("3a     logging in"), "{lines:#?}");
        let both = &lines[3..5];
        for begin in ["1b     dialling", "1a     active → 1b "] {
            assert!(both.iter().any(|line| line.starts_with(begin)), "{lines:#?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let rows: Vec<Row> = (0..50).map(|_| row("1a", LineIs::Active)).collect();
        let lines = lines(&title(), &rows, (120, 10), false);
        assert_eq!((lines.len(), &*lines[8]), (9, "… and 44 more, not worse"));
    }
}

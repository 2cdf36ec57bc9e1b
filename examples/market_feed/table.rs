//! The live table, redrawn in place on a terminal.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use actix_ws_client::Phase;

use crate::book::{Picture, Tone};
use crate::lines::{grouped, price};
use crate::row::{BEATS, Beat, Row};

/// A terminal with the table on it.
pub(crate) struct Table {
    /// What is watched.
    title: String,
    /// Columns and lines of the terminal at the last frame.
    size: (usize, usize),
    /// Columns and lines of the terminal now.
    current: Arc<Mutex<(usize, usize)>>,
    /// Lines of the last frame.
    drawn: usize,
    /// Whether to use colours: unless `NO_COLOR` is set.
    colour: bool,
}

/// The colours, with one meaning each.
#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Strong,
    Faint,
    /// All is well, or has improved.
    Green,
    /// Not as it should be, but nothing is lost yet.
    Yellow,
    /// Something was lost.
    Red,
}

/// Pieces of text with a colour each.
type Cell = Vec<(Paint, String)>;

/// A column, shown on terminals that have at least `from` columns.
struct Column {
    title: &'static str,
    width: usize,
    right: bool,
    from: usize,
    cell: fn(&Row, Instant, usize) -> Cell,
}

const COLUMNS: [Column; 9] = [
    Column { title: "SYMBOL", width: 8, right: false, from: 0, cell: name },
    Column { title: "PHASE", width: 16, right: false, from: 0, cell: phase },
    Column { title: "MSG/S", width: 5, right: true, from: 34, cell: rate },
    Column { title: "RTT", width: 7, right: true, from: 68, cell: round_trip },
    Column { title: "PRICE", width: 11, right: true, from: 47, cell: last_price },
    Column { title: "LOST", width: 4, right: true, from: 53, cell: outages },
    Column { title: "GAPS", width: 4, right: true, from: 59, cell: gaps },
    Column { title: "LAST 12 S", width: BEATS, right: false, from: 106, cell: strip },
    // Takes the rest of the line.
    Column { title: "LAST ERROR", width: 0, right: false, from: 80, cell: last_error },
];

/// The number of events at the bottom.
const EVENTS: usize = 5;

impl Table {
    /// Creates a table, if standard output is a terminal that can show it.
    pub(crate) fn new(title: String) -> Option<Table> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !io::stdout().is_terminal() || dumb {
            return None;
        }
        let size = size();
        Some(Table {
            title,
            size,
            current: watch_size(size),
            drawn: 0,
            colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        })
    }

    /// Draws a frame over the last one, in one write.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub(crate) fn draw(&mut self, picture: &Picture, left: Duration) -> io::Result<()> {
        // Mode 2026, synchronized output: no half-drawn frame is shown. Other terminals ignore it.
        let mut out = String::from("\x1b[?2026h");
        if self.drawn == 0 {
            // Hide the cursor, and clip long lines instead of wrapping them.
            out.push_str("\x1b[?25l\x1b[?7l");
        }
        if self.resized() {
            // Wrapped lines have moved the others: clear and start again.
            out.push_str("\x1b[2J\x1b[H");
        } else if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        let mut lines = self.lines(picture, left);
        lines.truncate(self.size.1.saturating_sub(1).max(1));
        for line in &lines {
            out.push_str("\x1b[2K");
            out.push_str(line);
            out.push('\n');
        }
        out.push_str("\x1b[J\x1b[?2026l");
        self.drawn = lines.len();
        let mut stdout = io::stdout().lock();
        stdout.write_all(out.as_bytes())?;
        stdout.flush()
    }

    fn resized(&mut self) -> bool {
        let now = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut self.size, now) != now
    }

    fn lines(&self, picture: &Picture, left: Duration) -> Vec<String> {
        let titles = |column: &Column, _| vec![(Paint::Faint, column.title.to_owned())];
        let mut lines = vec![self.header(picture, left), String::new(), self.line(titles)];
        for row in &picture.rows {
            lines.push(self.line(|column, width| (column.cell)(row, picture.now, width)));
        }
        lines.push(self.total(picture));
        lines.push(String::new());
        let events = picture.log.iter().skip(picture.log.len().saturating_sub(EVENTS));
        lines.extend(events.map(|event| {
            let paint = match event.tone {
                Tone::Good => Paint::Green,
                Tone::Poor => Paint::Yellow,
                Tone::Bad => Paint::Red,
            };
            let at = format!("{:>7.2} s  ", event.at.as_secs_f64());
            let name = format!("{:<8}  ", event.name);
            let room = self.size.0.saturating_sub(1 + at.len() + name.len());
            self.paint(&[
                (Paint::Faint, at),
                (Paint::Plain, name),
                (paint, clip(&event.words, room)),
            ])
        }));
        lines
    }

    fn header(&self, picture: &Picture, left: Duration) -> String {
        let elapsed = picture.elapsed.as_secs_f64();
        let clock = format!("{elapsed:.1} s, {:.0} s to go", left.as_secs_f64().ceil());
        let name = " market_feed  ";
        let room = self.size.0.saturating_sub(name.len() + clock.len() + 3);
        let title = clip(&self.title, room);
        let gap = room.saturating_sub(title.chars().count()) + 2;
        let gap = " ".repeat(gap);
        self.paint(&[
            (Paint::Strong, name.into()),
            (Paint::Plain, title),
            (Paint::Faint, gap + &clock),
        ])
    }

    fn total(&self, picture: &Picture) -> String {
        let rows = &picture.rows;
        let open = rows.iter().filter(|row| row.phase == Phase::Open).count();
        let sum = |figure: fn(&Row) -> u64| rows.iter().map(figure).sum::<u64>();
        let (lost, gaps) = (sum(|row| row.outages.total()), sum(|row| row.gaps));
        self.line(|column, _| match column.title {
            "SYMBOL" => plain("all"),
            "PHASE" if open == rows.len() => vec![(Paint::Green, format!("{open} of {open} open"))],
            "PHASE" => vec![(Paint::Yellow, format!("{open} of {} open", rows.len()))],
            "MSG/S" => plain(sum(Row::rate)),
            "PRICE" => vec![(Paint::Faint, format!("{} msg", grouped(sum(|row| row.messages))))],
            "LOST" => plain(lost),
            "GAPS" => vec![(if gaps > 0 { Paint::Red } else { Paint::Plain }, gaps.to_string())],
            _ => Cell::new(),
        })
    }

    /// Formats one line of the columns that fit.
    fn line(&self, cell: impl Fn(&Column, usize) -> Cell) -> String {
        let shown = || COLUMNS.iter().filter(|column| column.from <= self.size.0);
        // There is no gap after the last column.
        let used = shown().map(|column| column.width + 2).sum::<usize>().saturating_sub(1);
        let mut cells = plain(" ");
        for column in shown() {
            let rest = self.size.0.saturating_sub(used);
            let width = if column.width == 0 { rest } else { column.width };
            let cell = cell(column, width);
            let taken: usize = cell.iter().map(|(_, text)| text.chars().count()).sum();
            let pad = (Paint::Plain, " ".repeat(width.saturating_sub(taken)));
            let (before, after) = if column.right { (Some(pad), None) } else { (None, Some(pad)) };
            cells.extend(before.into_iter().chain(cell).chain(after));
            cells.push((Paint::Plain, "  ".into()));
        }
        self.paint(&cells)
    }

    fn paint(&self, cells: &[(Paint, String)]) -> String {
        let mut line = String::new();
        for (paint, text) in cells {
            let code = match paint {
                _ if !self.colour => "",
                Paint::Plain => "",
                Paint::Strong => "1",
                Paint::Faint => "2",
                Paint::Green => "32",
                Paint::Yellow => "33",
                Paint::Red => "31",
            };
            match code {
                "" => line.push_str(text),
                code => line.push_str(&format!("\x1b[{code}m{text}\x1b[0m")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.drawn > 0 {
            // An error means that the terminal has gone.
            let _ = io::stdout().write_all(b"\x1b[?7h\x1b[?25h");
        }
    }
}

/// Reads the size of the terminal each second, in a thread that ends with the table: reading it
/// starts a process, which is too slow for a frame.
fn watch_size(first: (usize, usize)) -> Arc<Mutex<(usize, usize)>> {
    let current = Arc::new(Mutex::new(first));
    let table = Arc::downgrade(&current);
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let size = size();
            let Some(current) = table.upgrade() else {
                return;
            };
            *current.lock().unwrap_or_else(PoisonError::into_inner) = size;
        }
    });
    current
}

/// Returns the columns and lines of the terminal, or 80 and 24 if it does not answer.
fn size() -> (usize, usize) {
    let ask = || {
        let terminal = File::open("/dev/tty").ok()?;
        let reply = Command::new("stty").arg("size").stdin(terminal).output().ok()?;
        let reply = String::from_utf8(reply.stdout).ok()?;
        let (lines, columns) = reply.trim().split_once(' ')?;
        Some((columns.parse().ok()?, lines.parse().ok()?))
    };
    ask().filter(|&(columns, lines)| columns > 0 && lines > 0).unwrap_or((80, 24))
}

fn plain(text: impl ToString) -> Cell {
    vec![(Paint::Plain, text.to_string())]
}

/// Clips a text to `room` characters.
fn clip(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.into();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

fn name(row: &Row, _: Instant, width: usize) -> Cell {
    vec![(Paint::Strong, clip(&row.name, width))]
}

fn phase(row: &Row, now: Instant, _: usize) -> Cell {
    let quiet = row.strip.back() == Some(&Beat::Quiet);
    let (paint, words) = match row.phase {
        Phase::Open if quiet => (Paint::Yellow, "◐ open, quiet".into()),
        Phase::Open => (Paint::Green, "● open".into()),
        Phase::Connecting => (Paint::Yellow, format!("◌ dial {}", row.dial)),
        Phase::Waiting => {
            let left = row.dial_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            (Paint::Red, format!("○ dial {} in {:.1}s", row.dial, left.as_secs_f64()))
        }
        other => (Paint::Faint, format!("· {other}")),
    };
    vec![(paint, words)]
}

fn rate(row: &Row, _: Instant, _: usize) -> Cell {
    let paint = if row.rate() == 0 { Paint::Faint } else { Paint::Plain };
    vec![(paint, row.rate().to_string())]
}

fn round_trip(row: &Row, _: Instant, _: usize) -> Cell {
    match row.round_trip.map(|time| time.as_secs_f64() * 1e3) {
        Some(millis) if millis >= 10.0 => plain(format!("{millis:.0} ms")),
        Some(millis) => plain(format!("{millis:.2} ms")),
        None => vec![(Paint::Faint, "-".into())],
    }
}

fn last_price(row: &Row, _: Instant, _: usize) -> Cell {
    let Some(last) = row.price else {
        return vec![(Paint::Faint, "-".into())];
    };
    let fresh = row.strip.back() == Some(&Beat::Flow);
    let (paint, arrow) = if row.up { (Paint::Green, '▲') } else { (Paint::Red, '▼') };
    vec![(if fresh { paint } else { Paint::Faint }, format!("{} {arrow}", price(last)))]
}

fn outages(row: &Row, _: Instant, _: usize) -> Cell {
    plain(row.outages.total())
}

fn gaps(row: &Row, _: Instant, _: usize) -> Cell {
    vec![(if row.is_whole() { Paint::Plain } else { Paint::Red }, row.gaps.to_string())]
}

/// The last beats, one character each.
fn strip(row: &Row, _: Instant, width: usize) -> Cell {
    let missing = width.saturating_sub(row.strip.len());
    let mut cells = vec![(Paint::Plain, " ".repeat(missing))];
    cells.extend(row.strip.iter().map(|beat| match beat {
        Beat::Flow => (Paint::Green, "━".into()),
        Beat::Quiet => (Paint::Yellow, "╌".into()),
        Beat::Down => (Paint::Red, "·".into()),
    }));
    cells
}

fn last_error(row: &Row, _: Instant, width: usize) -> Cell {
    let Some(error) = &row.last_error else {
        return vec![(Paint::Faint, "-".into())];
    };
    let fits = error.long.chars().count() <= width;
    plain(if fits { error.long.clone() } else { clip(&error.short, width) })
}

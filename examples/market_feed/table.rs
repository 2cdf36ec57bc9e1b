//! The live table, redrawn in place on a terminal.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::book::{Entry, Picture, Tone};
use crate::line::{Is, Line};
use crate::lines::{grouped, price, sum, verdict};
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
    Magenta,
    /// Something was lost.
    Red,
}

/// Pieces of text with a colour each.
type Cell = Vec<(Paint, String)>;

/// A column of a table of `T`, shown on terminals that have at least `from` columns.
struct Column<T> {
    title: &'static str,
    width: usize,
    right: bool,
    from: usize,
    cell: fn(&T, &Picture, usize) -> Cell,
}

const SYMBOLS: [Column<Row>; 10] = [
    Column { title: "SYMBOL", width: 8, right: false, from: 0, cell: name },
    Column { title: "STATE", width: 16, right: false, from: 0, cell: state },
    Column { title: "MSG/S", width: 5, right: true, from: 36, cell: rate },
    Column { title: "PRICE", width: 11, right: true, from: 49, cell: last_price },
    Column { title: "OUTAGES", width: 7, right: true, from: 58, cell: outages },
    Column { title: "MISSED", width: 6, right: true, from: 66, cell: missed },
    Column { title: "GAPS", width: 4, right: true, from: 72, cell: gaps },
    Column { title: "LINE", width: 4, right: true, from: 78, cell: line_name },
    Column { title: "RTT", width: 7, right: true, from: 114, cell: symbol_rtt },
    Column { title: "LAST 12 S", width: BEATS, right: false, from: 104, cell: strip },
];

/// Shown on terminals that have at least [`WIDE`] columns and room for them.
const LINES: [Column<Line>; 8] = [
    Column {
        title: "LINE",
        width: 8,
        right: false,
        from: 0,
        cell: |line, _, _| strong(&line.name),
    },
    Column { title: "STATE", width: 16, right: false, from: 0, cell: line_state },
    Column {
        title: "SOCKETS",
        width: 7,
        right: true,
        from: 0,
        cell: |line, _, _| plain(line.sockets),
    },
    Column {
        title: "DROPPED",
        width: 7,
        right: true,
        from: 0,
        cell: |line, _, _| plain(line.outages.dropped),
    },
    Column {
        title: "SILENT",
        width: 6,
        right: true,
        from: 0,
        cell: |line, _, _| plain(line.outages.silent),
    },
    Column {
        title: "CLOSED",
        width: 6,
        right: true,
        from: 0,
        cell: |line, _, _| plain(line.outages.closed),
    },
    Column {
        title: "REFUSED",
        width: 7,
        right: true,
        from: 0,
        cell: |line, _, _| plain(line.refused),
    },
    // Takes the rest of the line.
    Column { title: "LAST TROUBLE", width: 0, right: false, from: 0, cell: last_trouble },
];

/// The columns of a terminal that has room for the lines and more events.
const WIDE: usize = 100;
/// The number of events at the bottom, at most: on a narrow terminal, and on a wide one.
const EVENTS: [usize; 2] = [5, 10];

impl Table {
    /// Creates a table, if standard output is a terminal that can show it.
    pub(crate) fn new(title: &str) -> Option<Table> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !io::stdout().is_terminal() || dumb {
            return None;
        }
        let size = size();
        Some(Table {
            title: title.to_owned(),
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
        let mut lines = vec![self.header(picture, left), String::new(), self.titles(&SYMBOLS)];
        lines.extend(picture.rows.iter().map(|row| self.row(&SYMBOLS, row, picture)));
        lines.push(self.total(picture));
        lines.extend(self.legend());
        lines.push(String::new());
        let room = |lines: &[String]| (self.size.1.saturating_sub(1)).saturating_sub(lines.len());
        let is_wide = self.size.0 >= WIDE;
        if is_wide && room(&lines) >= picture.lines.len() + 2 + EVENTS[0] {
            lines.push(self.titles(&LINES));
            lines.extend(picture.lines.iter().map(|line| self.row(&LINES, line, picture)));
            lines.push(String::new());
        }
        let events = EVENTS[usize::from(is_wide)].min(room(&lines));
        let events = picture.log.iter().skip(picture.log.len().saturating_sub(events));
        lines.extend(events.map(|event| self.event(event)));
        lines
    }

    fn event(&self, event: &Entry) -> String {
        let paint = match event.tone {
            Tone::Good => Paint::Green,
            Tone::Poor => Paint::Magenta,
            Tone::Bad => Paint::Red,
        };
        let at = format!("{:>7.2} s  ", event.at.as_secs_f64());
        let name = format!("{:<8}  ", event.name);
        let room = self.size.0.saturating_sub(1 + at.len() + name.len());
        self.paint(&[(Paint::Faint, at), (Paint::Plain, name), (paint, clip(&event.words, room))])
    }

    /// The verdict so far, and the clock.
    fn header(&self, picture: &Picture, left: Duration) -> String {
        let clock = format!("{:.0} s left", left.as_secs_f64().ceil());
        let room = self.size.0.saturating_sub(clock.len() + 4);
        let (is_whole, verdict) = verdict(picture);
        let paint = if is_whole { Paint::Green } else { Paint::Red };
        let short = verdict.replace(" was", "").replace(" were", "");
        let verdict = if verdict.chars().count() > room { clip(&short, room) } else { verdict };
        let left = room.saturating_sub(verdict.chars().count() + 3);
        // A few letters of a title are of no use.
        let title =
            if left < 20 { String::new() } else { format!("   {}", clip(&self.title, left)) };
        let taken = verdict.chars().count() + title.chars().count();
        let gap = " ".repeat(room.saturating_sub(taken) + 2);
        self.paint(&[
            (Paint::Plain, " ".into()),
            (paint, verdict),
            (Paint::Faint, title + &gap + &clock),
        ])
    }

    fn total(&self, picture: &Picture) -> String {
        let (live, all) =
            (picture.rows.iter().filter(|row| row.is_live).count(), picture.rows.len());
        let gaps = sum(picture, |row| row.gaps);
        self.line(&SYMBOLS, |column, _| match column.title {
            "SYMBOL" => plain("all"),
            "STATE" => {
                let paint = if live == all { Paint::Green } else { Paint::Magenta };
                vec![(paint, format!("{live} of {all} live"))]
            }
            "MSG/S" => plain(sum(picture, Row::rate)),
            "PRICE" => {
                let messages = grouped(sum(picture, |row| row.messages));
                vec![(Paint::Faint, format!("{messages} msg"))]
            }
            "OUTAGES" => plain(sum(picture, |row| row.outages)),
            "MISSED" => plain(grouped(sum(picture, |row| row.missed))),
            "GAPS" => vec![(if gaps > 0 { Paint::Red } else { Paint::Plain }, gaps.to_string())],
            _ => Cell::new(),
        })
    }

    /// What the columns and the marks of the bar mean, where they are shown.
    fn legend(&self) -> Option<String> {
        if self.size.0 < 72 {
            return None;
        }
        let words = " missed: between two sockets; gaps: while connected";
        let mut cells = vec![(Paint::Faint, words.to_owned())];
        if self.size.0 >= 104 {
            cells.push((Paint::Faint, "; each 0.5 s:".into()));
            for (paint, mark, words) in MARKS {
                cells.push((paint, format!("  {mark}")));
                cells.push((Paint::Faint, format!(" {words}")));
            }
        }
        Some(self.paint(&cells))
    }

    fn titles<T>(&self, columns: &[Column<T>]) -> String {
        self.line(columns, |column, _| vec![(Paint::Faint, column.title.to_owned())])
    }

    fn row<T>(&self, columns: &[Column<T>], row: &T, picture: &Picture) -> String {
        self.line(columns, |column, width| (column.cell)(row, picture, width))
    }

    /// Formats one line of the columns that fit.
    fn line<T>(&self, columns: &[Column<T>], cell: impl Fn(&Column<T>, usize) -> Cell) -> String {
        let shown = || columns.iter().filter(|column| column.from <= self.size.0);
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
                // Yellow cannot be read on white.
                Paint::Magenta => "35",
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

/// The marks of a bar: messages, none, and no subscription.
const MARKS: [(Paint, char, &str); 3] = [
    (Paint::Green, '━', "messages"),
    (Paint::Magenta, '╌', "none"),
    (Paint::Red, '·', "not subscribed"),
];

fn strong(text: &str) -> Cell {
    vec![(Paint::Strong, text.to_owned())]
}

fn name(row: &Row, _: &Picture, width: usize) -> Cell {
    strong(&clip(&row.name, width))
}

fn state(row: &Row, picture: &Picture, _: usize) -> Cell {
    let (beat, words) = row.state(&picture.lines, picture.now);
    vec![(MARKS[beat as usize].0, words)]
}

fn rate(row: &Row, _: &Picture, _: usize) -> Cell {
    let paint = if row.rate() == 0 { Paint::Faint } else { Paint::Plain };
    vec![(paint, row.rate().to_string())]
}

fn last_price(row: &Row, _: &Picture, _: usize) -> Cell {
    let Some(last) = row.price else {
        return faint("-");
    };
    let fresh = row.strip.back() == Some(&Beat::Flow);
    let (paint, arrow) = if row.is_up { (Paint::Green, '▲') } else { (Paint::Red, '▼') };
    vec![(if fresh { paint } else { Paint::Faint }, format!("{} {arrow}", price(last)))]
}

fn outages(row: &Row, _: &Picture, _: usize) -> Cell {
    plain(row.outages)
}

fn missed(row: &Row, _: &Picture, _: usize) -> Cell {
    plain(grouped(row.missed))
}

fn gaps(row: &Row, _: &Picture, _: usize) -> Cell {
    vec![(if row.gaps == 0 { Paint::Plain } else { Paint::Red }, row.gaps.to_string())]
}

fn line_of<'a>(row: &Row, picture: &'a Picture) -> Option<&'a Line> {
    picture.lines.get(row.line?)
}

fn line_name(row: &Row, picture: &Picture, width: usize) -> Cell {
    line_of(row, picture).map_or(faint("-"), |line| plain(clip(&line.name, width)))
}

fn symbol_rtt(row: &Row, picture: &Picture, _: usize) -> Cell {
    let round_trip = line_of(row, picture).and_then(|line| line.round_trip);
    match round_trip.map(|time| time.as_secs_f64() * 1e3) {
        Some(millis) if millis >= 10.0 => plain(format!("{millis:.0} ms")),
        Some(millis) => plain(format!("{millis:.2} ms")),
        None => faint("-"),
    }
}

/// The last beats, one character each.
fn strip(row: &Row, _: &Picture, width: usize) -> Cell {
    let missing = width.saturating_sub(row.strip.len());
    let mut cells = vec![(Paint::Plain, " ".repeat(missing))];
    cells.extend(row.strip.iter().map(|beat| {
        let (paint, mark, _) = MARKS[*beat as usize];
        (paint, mark.to_string())
    }));
    cells
}

fn line_state(line: &Line, picture: &Picture, _: usize) -> Cell {
    let paint = match line.is {
        Is::Live => Paint::Green,
        Is::Down(_) | Is::Limited => Paint::Red,
        _ => Paint::Magenta,
    };
    vec![(paint, line.is.words(picture.now))]
}

fn last_trouble(line: &Line, _: &Picture, width: usize) -> Cell {
    line.last_trouble.as_ref().map_or(faint("-"), |words| plain(clip(words, width)))
}

fn faint(text: &str) -> Cell {
    vec![(Paint::Faint, text.to_owned())]
}

//! The results, as Markdown and as JSON.

use std::fmt::Write;

use crate::clients::OURS;
use crate::measure::{Row, Sample};
use crate::stats::{Spread, paired};
use crate::works::{Figure, Work};

/// The lock of this package, for the versions in it.
const LOCK: &str = include_str!("../Cargo.lock");

/// Crates whose versions matter.
const CRATES: [&str; 11] = [
    "tokio-tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "yawc",
    "sockudo-ws",
    "web-socket",
    "ezsockets",
    "awc",
    "actix",
    "tokio",
    "rustls",
];

/// Returns the head of a report, which holds for all works.
pub fn preamble(quick: bool) -> String {
    let versions: Vec<String> =
        CRATES.iter().filter_map(|name| Some(format!("{name} {}", version(name)?))).collect();
    let kind = match quick {
        true => "A quick run: few and short rounds, which say only what is far apart.",
        false => "A full run.",
    };
    format!(
        "{kind} Medians with quartiles in brackets; a ratio is ours against theirs in pairs of the \
         same round, less than 1 where ours takes less.\n\n{}.\n",
        versions.join(", ")
    )
}

/// The version of a package in the lock; the newest, where ezsockets brings an older one too.
fn version(name: &str) -> Option<&'static str> {
    let (_, package) = LOCK.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?;
    package.split('"').next()
}

/// The table of one work.
pub fn table(work: &Work, rows: &[Row]) -> String {
    let figure = work.figure();
    let ours: Vec<&Row> = rows.iter().filter(|row| OURS.contains(&row.client)).collect();
    let mut heads = vec!["client".to_owned()];
    match figure {
        Figure::Bytes => heads.push("bytes a connection".to_owned()),
        _ => heads.push(format!("CPU ns a{} {}", n(work.unit()), work.unit())),
    }
    if figure == Figure::Wall {
        heads.push("p50 ns".to_owned());
    }
    if work.tells_faults() {
        heads.push("page faults a message".to_owned());
    }
    heads.extend(ours.iter().map(|row| format!("{} / it", row.client)));
    let mut table = format!("### {}\n\n| {} |\n|---", work.name, heads.join(" | "));
    table.push_str(&"|---:".repeat(heads.len() - 1));
    table.push_str("|\n");
    for row in rows {
        let mut cells = vec![format!("`{}`", row.client)];
        let memory = figure == Figure::Bytes;
        cells.push(cell(row, |run| if memory { run.memory } else { Some(run.cpu_ns) }));
        if figure == Figure::Wall {
            cells.push(cell(row, |run| Some(run.wall_ns)));
        }
        if work.tells_faults() {
            cells.push(cell(row, |run| Some(run.faults)));
        }
        cells.extend(ours.iter().map(|our| ratio(our, row, figure)));
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}

/// The rest of the article before a word.
fn n(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "n" } else { "" }
}

fn cell(row: &Row, of: impl Fn(&Sample) -> Option<f64>) -> String {
    let Some(Spread { low, median, high }) = Spread::of(&row.values(of)) else {
        return "failed".to_owned();
    };
    format!("{} ({}–{})", digits(median), digits(low), digits(high))
}

/// Formats a number with its significant digits.
fn digits(number: f64) -> String {
    match number {
        0.0..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// Formats the ratio of ours to theirs in the same rounds; in words if it is not conclusive.
fn ratio(ours: &Row, theirs: &Row, figure: Figure) -> String {
    if ours.client == theirs.client {
        return String::new();
    }
    let ratios = paired(&ours.rounds(figure), &theirs.rounds(figure));
    let Some(spread) = Spread::of(&ratios) else { return "failed".to_owned() };
    let Spread { low, median, high } = spread;
    let even = if spread.is_even() { "even, " } else { "" };
    format!("{even}{median:.2} ({low:.2}–{high:.2})")
}

/// A JSON object for each client of a work.
pub fn json(work: &Work, rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| object(work, row)).collect()
}

fn object(work: &Work, row: &Row) -> String {
    let number = |number: Option<f64>, digits| match number {
        Some(number) if number.is_finite() => format!("{number:.digits$}"),
        _ => "null".to_owned(),
    };
    let median = |of: fn(&Sample) -> Option<f64>| Spread::of(&row.values(of)).map(|s| s.median);
    let idle = work.figure() == Figure::Bytes;
    let told = |figure: Option<f64>| if idle { None } else { figure };
    let spread = Spread::of(&row.values(|run| run.figure(work.figure())));
    format!(
        "{{\"work\":\"{}\",\"client\":\"{}\",\"cpu_ns\":{},\"wall_ns\":{},\"bytes\":{},\
         \"spread\":{},\"runs\":{}}}",
        work.name,
        row.client,
        number(told(median(|run| Some(run.cpu_ns))), 3),
        number(told(median(|run| Some(run.wall_ns))), 3),
        number(median(|run| run.memory), 0),
        number(spread.map(|spread| spread.relative()), 4),
        row.runs.iter().flatten().count()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::works::WORKS;

    fn row(client: &'static str, cpu: &[f64]) -> Row {
        let run = |&cpu_ns: &f64| {
            Some(Sample { cpu_ns, wall_ns: 2.0 * cpu_ns, faults: 0.0, memory: None })
        };
        Row { client, runs: cpu.iter().map(run).collect() }
    }

    #[test]
    fn a_ratio_around_one_is_even() {
        let ours = row("batch", &[1.0, 2.0, 3.0]);
        assert_eq!(ratio(&ours, &row("raw", &[2.0, 4.0, 6.0]), Figure::Cpu), "0.50 (0.50–0.50)");
        assert_eq!(
            ratio(&ours, &row("raw", &[2.0, 2.0, 1.0]), Figure::Cpu),
            "even, 1.00 (0.75–2.00)"
        );
        assert_eq!(ratio(&ours, &row("raw", &[]), Figure::Cpu), "failed");
    }

    #[test]
    fn json_has_null_where_there_is_nothing() {
        assert_eq!(
            object(&WORKS[0], &row("raw", &[1.0, 2.0, 4.0])),
            "{\"work\":\"inbound-16-binary\",\"client\":\"raw\",\"cpu_ns\":2.000,\
             \"wall_ns\":4.000,\"bytes\":null,\"spread\":0.3750,\"runs\":3}"
        );
        assert!(object(&WORKS[0], &row("raw", &[])).contains("\"cpu_ns\":null"));
    }

    #[test]
    fn every_peer_has_a_version() {
        for name in CRATES {
            assert!(version(name).is_some_and(|version| version.contains('.')), "{name}");
        }
    }
}

//! The counts that were accepted, and how far new ones may be from them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::BASELINE;

/// Where the files of the targets are kept.
const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The lock of the dependencies, whose code is counted too.
const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");

/// How much more may be needed, in per cent.
const BOUND: f64 = 3.0;

/// The same, where another compiler made the baseline: it is to find what got out of hand, and not
/// what a compiler does better or worse.
const BOUND_OF_ANOTHER_RUSTC: f64 = 10.0;

/// Counts, and what they were counted with.
#[derive(Deserialize, Serialize)]
struct Baseline {
    /// What `rustc --version` says.
    rustc: String,
    /// The SHA-256 of `Cargo.lock`.
    lock: String,
    /// Instructions for each message.
    counts: BTreeMap<String, f64>,
}

impl Baseline {
    fn new(counts: &BTreeMap<String, f64>) -> Result<Baseline, Box<dyn Error>> {
        let rustc = said(Command::new("rustc").arg("--version"))?;
        let sum = said(Command::new("sha256sum").arg(LOCK))?;
        let lock = sum.split_whitespace().next().unwrap_or_default().to_owned();
        let round = |(name, count): (&String, &f64)| (name.clone(), (count * 10.0).round() / 10.0);
        Ok(Baseline { rustc, lock, counts: counts.iter().map(round).collect() })
    }
}

/// Returns the file of this target.
fn file() -> String {
    format!("{FOLDER}/{BASELINE}")
}

/// What a command prints.
fn said(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output().map_err(|err| format!("{command:?}: {err}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Writes the counts as the baseline, and shows what became of the old ones.
pub(crate) fn accept(counts: &BTreeMap<String, f64>) -> Result<bool, Box<dyn Error>> {
    let now = Baseline::new(counts)?;
    if let Ok(before) = fs::read_to_string(file()) {
        table(&serde_json::from_str(&before)?, &now, f64::INFINITY);
    }
    fs::write(file(), serde_json::to_string_pretty(&now)? + "\n")?;
    println!("accepted; a commit with counts that rose says by how much, and why");
    Ok(true)
}

/// Shows the counts beside those of the baseline. `false` if any of them rose too far.
pub(crate) fn compare(counts: &BTreeMap<String, f64>) -> Result<bool, Box<dyn Error>> {
    let now = Baseline::new(counts)?;
    let before = fs::read_to_string(file()).map_err(|err| format!("{}: {err}", file()))?;
    let before: Baseline = serde_json::from_str(&before)?;
    let mut bound = BOUND;
    if before.rustc != now.rustc {
        bound = BOUND_OF_ANOTHER_RUSTC;
        println!("the baseline is of {}, this is {}", before.rustc, now.rustc);
    }
    if before.lock != now.lock {
        println!("Cargo.lock has changed since the baseline: a dependency may be what differs");
    }
    let is_good = table(&before, &now, bound);
    if !is_good {
        println!("a count rose by more than {bound} %, or the cases are not those of the baseline");
        println!("if it has to be so: just instructions-accept, and say why in the commit");
    }
    Ok(is_good)
}

/// Prints both, a line for each case. Whether none rose by more than `bound` per cent, and none is
/// only in one of them.
fn table(before: &Baseline, now: &Baseline, bound: f64) -> bool {
    let names: std::collections::BTreeSet<_> =
        before.counts.keys().chain(now.counts.keys()).collect();
    println!("{:<24}{:>10}{:>10}{:>9}", "instructions a message", "before", "now", "change");
    let mut is_good = true;
    for name in names {
        let (Some(&old), Some(&new)) = (before.counts.get(name), now.counts.get(name)) else {
            let what = if now.counts.contains_key(name) { "is new" } else { "is gone" };
            println!("{name:<24}{what:>20}");
            is_good = false;
            continue;
        };
        let change = (new - old) / old * 100.0;
        let verdict = match change {
            change if change > bound => "  ROSE",
            change if change < -BOUND => "  fell: worth accepting",
            _ => "",
        };
        is_good &= change <= bound;
        println!("{name:<24}{old:>10.1}{new:>10.1}{change:>+8.1}%{verdict}");
    }
    is_good
}

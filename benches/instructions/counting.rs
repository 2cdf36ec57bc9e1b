//! Runs the cases of a target under valgrind, and compares the counts with its baseline.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::work::Work;
use crate::{CASES, baseline};

/// How many messages the shorter run has. The longer one has twice as many.
const MESSAGES: usize = 10_000;

/// One thing that is counted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The case that is taken off; `None` for those themselves.
    pub(crate) empty: Option<&'static str>,
    /// Makes what is measured ready, for so many messages.
    pub(crate) prepare: fn(usize) -> Work,
}

/// The most allocations for each message, where they are counted: what is allocated for each read is some hundredths.
const MAX_ALLOCATIONS: f64 = 0.05;

/// All that runs, by number: each case short and long.
fn runs() -> impl Iterator<Item = (&'static Case, usize)> {
    CASES.iter().flat_map(|case| [(case, MESSAGES), (case, 2 * MESSAGES)])
}

/// gungraun's own part: it starts this executable under valgrind, once for each run.
mod measured {
    use gungraun::{
        Dhat, EntryPoint, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
    };

    use crate::counting::{Case, runs};
    use crate::work::Work;

    fn prepare((case, messages): (&Case, usize)) -> Work {
        (case.prepare)(messages)
    }

    #[library_benchmark]
    #[benches::run(iter = runs(), setup = prepare)]
    fn count(work: Work) {
        work();
    }

    library_benchmark_group!(name = instructions, benchmarks = count);
    main!(
        // Where the processor has an instruction that copies a whole block, glibc takes it, and
        // valgrind counts each byte as one.
        config = LibraryBenchmarkConfig::default()
            .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM")
            // Of the whole process: DHAT sees 12 callers of an allocation, and the benchmark is farther away.
            .tool(Dhat::default().entry_point(EntryPoint::None).enable(crate::COUNTS_ALLOCATIONS)),
        library_benchmark_groups = instructions
    );

    pub(super) fn run() {
        main();
    }
}

/// Counts, and compares with the baseline or writes it, by the arguments.
pub(crate) fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some(own) = args.iter().position(|arg| arg == "--bench") else {
        if !args.is_empty() {
            measured::run();
        }
        return ExitCode::SUCCESS; // `cargo test --benches`
    };
    let mut asked = args;
    asked.remove(own);
    let done = match asked.as_slice() {
        [] => count(baseline::compare),
        [accept] if accept == "--accept" => count(baseline::accept),
        _ => {
            measured::run();
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("instructions: {err}");
            ExitCode::FAILURE
        }
    }
}

/// What is counted, by the names of the cases.
type Counts = BTreeMap<String, f64>;

/// Counts, and judges the instructions with `judge`, and the allocations where they are counted.
fn count(judge: fn(&Counts) -> Result<bool, Box<dyn Error>>) -> Result<bool, Box<dyn Error>> {
    let summaries = measure()?;
    let instructions = per_message(&summaries, "Callgrind", "Ir")?;
    let mut is_good = judge(&instructions.ok_or("no instructions were counted")?)?;
    for (name, count) in per_message(&summaries, "DHAT", "TotalBlocks")?.into_iter().flatten() {
        let is_few = count <= MAX_ALLOCATIONS;
        is_good &= is_few;
        println!(
            "{name}: {count:.3} allocations a message{}",
            if is_few { "" } else { ": TOO MANY" }
        );
    }
    Ok(is_good)
}

/// Returns a count of a tool for each message; `None` if the tool did not run.
fn per_message(
    summaries: &[Value],
    tool: &str,
    metric: &str,
) -> Result<Option<Counts>, Box<dyn Error>> {
    let mut all = BTreeMap::new();
    for summary in summaries {
        let id = summary["id"].as_str().ok_or("a run without a name")?;
        let profiles = summary["profiles"].as_array().ok_or("a run without a profile")?;
        let Some(profile) = profiles.iter().find(|profile| profile["tool"] == tool) else {
            return Ok(None);
        };
        let count = &profile["data"]["total"]["metrics"][metric]["values"]["new"];
        all.insert(id, count.as_f64().ok_or_else(|| format!("no count in {summary}"))?);
    }
    let of = |name: &str| -> Result<f64, String> {
        let of = |messages| {
            let at = runs().position(|(case, count)| case.name == name && count == messages);
            let counted = at.and_then(|at| all.get(format!("run_{at}").as_str()));
            counted.copied().ok_or_else(|| format!("{name} was not counted"))
        };
        Ok((of(2 * MESSAGES)? - of(MESSAGES)?) / MESSAGES as f64)
    };
    let mut counts = BTreeMap::new();
    for Case { name, empty, .. } in CASES {
        if let Some(empty) = empty {
            counts.insert(String::from(*name), of(name)? - of(empty)?);
        }
    }
    Ok(Some(counts))
}

/// Returns what gungraun reports of each run.
fn measure() -> Result<Vec<Value>, Box<dyn Error>> {
    let mut gungraun = Command::new(env::current_exe()?);
    let output =
        gungraun.args(["--bench", "--output-format=json"]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("gungraun failed: it needs valgrind, and gungraun-runner of its version".into());
    }
    let summaries = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    Ok(summaries.collect::<Result<_, _>>()?)
}

//! Instructions for each message, counted by valgrind: `just instructions`.
//!
//! A case runs twice, with so many messages and with twice as many, and so does the empty loop that
//! belongs to it. What the two runs differ in, less what the empty loops differ in, is the price of
//! the messages alone: set-up, dial and end cancel out. Unlike time, it is the same on a busy
//! machine.
//!
//! Started by `cargo bench` it counts and compares with `baseline.json`; with `--accept` it writes that
//! file. Other arguments go to gungraun as they are: `just instructions --callgrind-args=…`.

mod baseline;
mod feed;
mod work;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use work::{Work, binary, text};

/// How many messages the shorter run has. The longer one has twice as many.
const MESSAGES: usize = 10_000;

/// One thing that is counted.
struct Case {
    name: &'static str,
    /// The empty loop that is taken off; `None` for those themselves.
    empty: Option<&'static str>,
    /// Makes what is measured ready, for so many messages.
    prepare: fn(usize) -> Work,
}

/// What is counted, with the bytes of a message, and the empty loops of the same run. `decode` and
/// `encode` are the codec alone. The others are a whole connection over a transport in memory: its
/// actor, the mailboxes, and the handler or sender. `drop-oldest` has a read for each message.
#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "loop", empty: None, prepare: work::empty_loop },
    Case { name: "feed-16", empty: None, prepare: |n| work::empty_feed(binary(16), n) },
    Case { name: "feed-128", empty: None, prepare: |n| work::empty_feed(binary(128), n) },
    Case { name: "feed-1024", empty: None, prepare: |n| work::empty_feed(binary(1024), n) },
    Case { name: "pieces-16", empty: None, prepare: |n| work::empty_pieces(binary(16), n) },

    Case { name: "decode-16-binary", empty: Some("loop"), prepare: |n| work::decode(binary(16), n) },
    Case { name: "decode-128-binary", empty: Some("loop"), prepare: |n| work::decode(binary(128), n) },
    Case { name: "decode-128-text", empty: Some("loop"), prepare: |n| work::decode(text(128), n) },
    Case { name: "decode-1024-text", empty: Some("loop"), prepare: |n| work::decode(text(1024), n) },
    Case { name: "encode-128-binary", empty: Some("loop"), prepare: |n| work::encode(binary(128), n) },

    Case { name: "batch-16-binary", empty: Some("feed-16"), prepare: |n| work::batch(binary(16), n) },
    Case { name: "batch-128-binary", empty: Some("feed-128"), prepare: |n| work::batch(binary(128), n) },
    Case { name: "batch-128-text", empty: Some("feed-128"), prepare: |n| work::batch(text(128), n) },
    Case { name: "batch-1024-text", empty: Some("feed-1024"), prepare: |n| work::batch(text(1024), n) },
    Case { name: "batch-owned-128-binary", empty: Some("feed-128"), prepare: |n| work::batch_owned(binary(128), n) },
    Case { name: "message-16-binary", empty: Some("feed-16"), prepare: |n| work::message(binary(16), n) },
    Case { name: "message-128-binary", empty: Some("feed-128"), prepare: |n| work::message(binary(128), n) },
    Case { name: "message-128-text", empty: Some("feed-128"), prepare: |n| work::message(text(128), n) },
    Case { name: "drop-oldest-16-binary", empty: Some("pieces-16"), prepare: |n| work::drop_oldest(binary(16), n) },
    Case { name: "send-128-binary", empty: Some("loop"), prepare: |n| work::send(binary(128), n) },
    Case { name: "send-by-handle-128-binary", empty: Some("loop"), prepare: |n| work::send_by_handle(binary(128), n) },
    Case { name: "send-batch-128-binary", empty: Some("loop"), prepare: |n| work::send_batch(binary(128), n) },
];

/// All that runs, by number: each case short and long.
fn runs() -> impl Iterator<Item = (&'static Case, usize)> {
    CASES.iter().flat_map(|case| [(case, MESSAGES), (case, 2 * MESSAGES)])
}

/// gungraun's own part: it starts this executable under valgrind, once for each run.
mod measured {
    use gungraun::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

    use crate::work::Work;

    fn prepare((case, messages): (&crate::Case, usize)) -> Work {
        (case.prepare)(messages)
    }

    #[library_benchmark]
    #[benches::run(iter = crate::runs(), setup = prepare)]
    fn count(work: Work) {
        work();
    }

    library_benchmark_group!(name = instructions, benchmarks = count);
    main!(
        // Where the processor has an instruction that copies a whole block, glibc takes it, and
        // valgrind counts each byte as one.
        config =
            LibraryBenchmarkConfig::default().env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM"),
        library_benchmark_groups = instructions
    );

    pub(super) fn run() {
        main();
    }
}

fn main() -> ExitCode {
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
        [] => count().and_then(|counts| baseline::compare(&counts)),
        [accept] if accept == "--accept" => count().and_then(|counts| baseline::accept(&counts)),
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

/// Instructions for each message, by the names of the cases.
fn count() -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let all = measure()?;
    let per_message = |name: &str| -> Result<f64, String> {
        let of = |messages| {
            let at = runs().position(|(case, count)| case.name == name && count == messages);
            let counted = at.and_then(|at| all.get(&format!("run_{at}")));
            counted.copied().ok_or_else(|| format!("{name} was not counted"))
        };
        Ok((of(2 * MESSAGES)? - of(MESSAGES)?) / MESSAGES as f64)
    };
    let mut counts = BTreeMap::new();
    for Case { name, empty, .. } in CASES {
        if let Some(empty) = empty {
            counts.insert(String::from(*name), per_message(name)? - per_message(empty)?);
        }
    }
    Ok(counts)
}

/// Instructions of each run, by gungraun's name for it.
fn measure() -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let mut gungraun = Command::new(env::current_exe()?);
    let output =
        gungraun.args(["--bench", "--output-format=json"]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("gungraun failed: it needs valgrind, and gungraun-runner of its version".into());
    }
    let mut all = BTreeMap::new();
    for summary in serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>() {
        let summary = summary?;
        let id = summary["id"].as_str().ok_or("a run without a name")?;
        let count = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
        let count = count.as_f64().ok_or_else(|| format!("no count in {summary}"))?;
        all.insert(id.to_owned(), count);
    }
    Ok(all)
}

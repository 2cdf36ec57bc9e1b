//! Compares actix-ws-client with its peers. `cargo bench --bench peers -- --help` says how.
//!
//! One program in three roles: it starts itself as the blaster, and as each client in turn.

mod actors;
mod args;
mod blaster;
mod clients;
mod cores;
mod dial;
mod frames;
mod measure;
mod pull;
mod report;
mod stats;
mod tally;
mod works;

use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, process, thread};

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::args::Args;
use crate::clients::{OTHERS, OURS, does};
use crate::dial::Dial;
use crate::measure::{Extent, Row, measure};
use crate::works::{WORKS, Work};

/// The time limit of a client for one work, after which it exits.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // Not returned from `main`, which would print a backtrace.
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["blaster", core] => blaster::run(core.parse()?),
        ["client", client, work, count, port, certificate, core] => {
            let work = Work::named(work).context("no such work")?;
            client_role(client, work, count.parse()?, port.parse()?, certificate, core.parse()?)
        }
        _ => compare(Args::parse(&args)?),
    }
}

/// Runs a work as a client, and prints the result.
fn client_role(
    client: &str,
    work: &Work,
    count: u64,
    port: u16,
    certificate: &str,
    core: usize,
) -> Result<()> {
    cores::pin(core)?;
    cores::open_files()?;
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        eprintln!("not done after {PATIENCE:?}");
        process::exit(1);
    });
    let certificate = match certificate {
        "-" => None,
        text => Some(BASE64_STANDARD.decode(text)?.into()),
    };
    let dial = Dial::new(port, work.path(count), certificate, work.is_frugal());
    println!("{}", clients::run(client, work, count, &dial)?.line());
    // Connections that are still open are closed with the process.
    process::exit(0)
}

/// Runs the measurements that were requested, and writes the report.
fn compare(args: Args) -> Result<()> {
    if args.help {
        print!("{}", args::HELP);
        return Ok(());
    }
    let cores = cores::cores()?;
    if cores.client == cores.blaster {
        eprintln!("only one processor: client and blaster share it");
    }
    println!("{}", report::preamble(args.quick));
    let mut objects = Vec::new();
    let mut failed = false;
    for work in WORKS.iter().filter(|work| args.wants_work(work.name)) {
        let all = OURS.into_iter().chain(OTHERS);
        let clients: Vec<&str> =
            all.filter(|client| args.wants_client(client) && does(client, work)).collect();
        if clients.is_empty() {
            continue;
        }
        let rows = measure(work, &clients, extent(&args, work), cores)?;
        failed |= rows.iter().any(|row: &Row| row.runs.iter().any(Option::is_none));
        println!("{}", report::table(work, &rows));
        objects.extend(report::json(work, &rows));
    }
    if let Some(path) = &args.json {
        fs::write(path, format!("[{}]\n", objects.join(",")))
            .with_context(|| path.display().to_string())?;
    }
    ensure!(!objects.is_empty(), "none of these clients does any of these works");
    if failed {
        bail!("some runs failed, see above");
    }
    Ok(())
}

/// The number of rounds, and the size of a run.
fn extent(args: &Args, work: &Work) -> Extent {
    let (rounds, count) = match args.quick {
        true => (work.quick_rounds, work.quick_count),
        false => (15, work.count),
    };
    Extent { rounds: args.rounds.unwrap_or(rounds), count }
}

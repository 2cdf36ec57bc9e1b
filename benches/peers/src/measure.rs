//! Runs each client in a process of its own, round after round.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::clients::share;
use crate::cores::Cores;
use crate::stats::order;
use crate::tally::{Digest, Outcome};
use crate::works::{Figure, Kind, Work};

/// The figures of one run, for each message.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub cpu_ns: f64,
    pub wall_ns: f64,
    pub faults: f64,
    pub memory: Option<f64>,
}

impl Sample {
    fn new(outcome: &Outcome, count: u64) -> Sample {
        let each = |total: f64| total / count as f64;
        let median = outcome.median.map(|median| median.as_nanos() as f64);
        Sample {
            cpu_ns: each(outcome.cost.cpu.as_nanos() as f64),
            wall_ns: median.unwrap_or_else(|| each(outcome.cost.wall.as_nanos() as f64)),
            faults: each(outcome.cost.faults as f64),
            memory: outcome.memory.map(|memory| memory as f64),
        }
    }

    pub fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Cpu => Some(self.cpu_ns),
            Figure::Wall => Some(self.wall_ns),
            Figure::Bytes => self.memory,
        }
    }
}

/// The runs of one client for one work, one for each round; `None` for a failed one.
#[derive(Debug)]
pub struct Row {
    pub client: &'static str,
    pub runs: Vec<Option<Sample>>,
}

impl Row {
    /// Returns the figures of the successful runs.
    pub fn values(&self, of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        self.runs.iter().flatten().filter_map(of).collect()
    }

    /// Returns the figure of each round.
    pub fn rounds(&self, figure: Figure) -> Vec<Option<f64>> {
        self.runs.iter().map(|run| run.as_ref()?.figure(figure)).collect()
    }
}

/// The number of rounds, and the size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub rounds: usize,
    pub count: u64,
}

/// Runs a work with each client once in each round, in an order that changes from round to round.
pub fn measure(
    work: &Work,
    clients: &[&'static str],
    extent: Extent,
    cores: Cores,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> =
        clients.iter().map(|client| Row { client, runs: vec![None; extent.rounds] }).collect();
    let mut blaster = Blaster::start(work, cores)?;
    for round in 0..extent.rounds {
        for index in order(clients.len(), round) {
            let count = extent.count / share(clients[index], work);
            match blaster.serve(clients[index], work, count, cores) {
                Ok(outcome) => rows[index].runs[round] = Some(Sample::new(&outcome, count)),
                Err(err) => {
                    eprintln!("{}, {}: {err:#}", work.name, clients[index]);
                    // The old one may still be busy with a client that has exited.
                    blaster = Blaster::start(work, cores)?;
                }
            }
        }
    }
    Ok(rows)
}

/// The blaster, in a process of its own.
struct Blaster {
    child: Child,
    /// It ends when this is closed.
    _stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    port: String,
    certificate: String,
}

impl Blaster {
    /// Starts the blaster on the other processor. For echoes it is the processor of the client, because
    /// otherwise most of the measured time would be spent on waking the other one.
    fn start(work: &Work, cores: Cores) -> Result<Blaster> {
        let core = match work.kind {
            Kind::Latency { .. } => cores.client,
            _ => cores.blaster,
        };
        let mut child = ourselves()?
            .args(["blaster", &core.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?);
        let ports = line(&mut lines)?;
        let (plain, secure) = ports.split_once(' ').context("no ports")?;
        let tls = work.is_tls();
        let port = if tls { secure } else { plain }.to_owned();
        let certificate = line(&mut lines)?;
        let certificate = if tls { certificate } else { "-".to_owned() };
        Ok(Blaster { child, _stdin: stdin, lines, port, certificate })
    }

    /// Runs a work with a client, and compares what both sides counted.
    fn serve(&mut self, client: &str, work: &Work, count: u64, cores: Cores) -> Result<Outcome> {
        let output = ourselves()?
            .args(["client", client, work.name, &count.to_string(), &self.port])
            .args([&self.certificate, &cores.client.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "the client failed, {}", output.status);
        let outcome: Outcome = String::from_utf8(output.stdout)?.trim().parse()?;
        if work.is_summed() {
            let blaster: Digest = line(&mut self.lines)?.parse()?;
            ensure!(outcome.digest.agrees(&blaster), "{:?}, {blaster:?}", outcome.digest);
        }
        ensure!(outcome.digest.count == count, "{} of {count}", outcome.digest.count);
        Ok(outcome)
    }
}

impl Drop for Blaster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command that starts this program again, without proxy variables.
fn ourselves() -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn line(lines: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    ensure!(lines.read_line(&mut line)? > 0, "the blaster ended");
    Ok(line.trim_end().to_owned())
}

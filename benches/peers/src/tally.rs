//! The messages that a client received, and what they cost.

use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// Count, sum of lengths, and xor of first and last bytes: what must be the same on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub count: u64,
    pub bytes: u64,
    /// The first bytes in the low half, the last ones in the high half. `None` if the
    /// messages were not looked for in the bytes.
    pub xor: Option<u16>,
}

impl Digest {
    pub const EMPTY: Digest = Digest { count: 0, bytes: 0, xor: Some(0) };

    /// Counts a message whose first and last bytes are these.
    #[inline]
    pub fn add(&mut self, length: usize, first: u8, last: u8) {
        self.count += 1;
        self.bytes += length as u64;
        self.xor = self.xor.map(|xor| xor ^ u16::from_le_bytes([first, last]));
    }

    /// Adds the digest of another connection.
    pub fn merge(&mut self, other: Digest) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.xor = self.xor.zip(other.xor).map(|(one, two)| one ^ two);
    }

    /// Returns whether it equals the digest of the blaster.
    pub fn agrees(&self, blaster: &Digest) -> bool {
        let xor = self.xor.is_none() || self.xor == blaster.xor;
        xor && self.count == blaster.count && self.bytes == blaster.bytes
    }

    /// As [`Digest::from_str`] reads it.
    pub fn line(&self) -> String {
        let xor = self.xor.map_or("-".to_owned(), |xor| xor.to_string());
        format!("{} {} {xor}", self.count, self.bytes)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Digest> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [count, bytes, xor] = words[..] else { bail!("no digest: {line:?}") };
        let xor = if xor == "-" { None } else { Some(xor.parse()?) };
        Ok(Digest { count: count.parse()?, bytes: bytes.parse()?, xor })
    }
}

/// A point in time, and the resources that the process had used by then.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    wall: Instant,
    cpu: Duration,
    faults: u64,
}

impl Stamp {
    pub fn now() -> Stamp {
        // The faults first: reading them costs more than what follows.
        let faults = page_faults();
        Stamp { faults, cpu: process_time(), wall: Instant::now() }
    }

    /// Returns the resources used since then.
    pub fn cost(&self) -> Cost {
        let (wall, cpu) = (self.wall.elapsed(), process_time() - self.cpu);
        Cost { wall, cpu, faults: page_faults() - self.faults }
    }
}

/// The resources that a run used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
    pub faults: u64,
}

/// The processor time of this process, user and system.
fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the page faults of this process that read no disk; 0 if the system does not report them.
fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in brackets, with any bytes; the tenth is looked for.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// Returns the private memory of this process in bytes: heap, stacks and all else without a file.
pub fn private_memory() -> Result<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes.context("smaps_rollup has no Anonymous")?.parse::<u64>()? * 1024)
}

/// Counts messages, and measures from the first one to the last.
#[derive(Debug)]
pub struct Tally {
    pub digest: Digest,
    wanted: u64,
    start: Option<Stamp>,
}

impl Tally {
    pub fn new(wanted: u64) -> Tally {
        Tally { digest: Digest::EMPTY, wanted, start: None }
    }

    /// Counts a message.
    #[inline]
    pub fn add(&mut self, message: &[u8]) {
        self.begin();
        let (first, last) = (message.first().copied(), message.last().copied());
        self.digest.add(message.len(), first.unwrap_or(0), last.unwrap_or(0));
    }

    /// Counts a text.
    #[inline]
    pub fn add_text(&mut self, text: &str) {
        self.add(text.as_bytes());
    }

    /// Starts the measurement, unless it has started.
    #[inline]
    pub fn begin(&mut self) {
        if self.start.is_none() {
            self.start = Some(Stamp::now());
        }
    }

    /// Returns whether all messages have arrived.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.digest.count >= self.wanted
    }

    /// Adds a tally that was filled at the same time.
    pub fn merge(&mut self, other: Tally) {
        self.digest.merge(other.digest);
        self.start = match (self.start, other.start) {
            (Some(one), Some(two)) => Some(if one.wall < two.wall { one } else { two }),
            (one, two) => one.or(two),
        };
    }

    /// Returns the resources used since the first message.
    pub fn outcome(&self) -> Outcome {
        let cost = self.start.map(|start| start.cost()).unwrap_or_default();
        Outcome { digest: self.digest, cost, ..Outcome::default() }
    }
}

/// The result that a client prints for a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub digest: Digest,
    pub cost: Cost,
    /// The median time of an echo.
    pub median: Option<Duration>,
    /// Memory of one connection, in bytes.
    pub memory: Option<u64>,
}

impl Outcome {
    /// As [`Outcome::from_str`] reads it.
    pub fn line(&self) -> String {
        let Cost { wall, cpu, faults } = self.cost;
        let (wall, cpu) = (wall.as_nanos(), cpu.as_nanos());
        let median = self.median.map_or("-".to_owned(), |median| median.as_nanos().to_string());
        let memory = self.memory.map_or("-".to_owned(), |memory| memory.to_string());
        format!("{} {wall} {cpu} {faults} {median} {memory}", self.digest.line())
    }
}

impl FromStr for Outcome {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Outcome> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [count, bytes, xor, wall, cpu, faults, median, memory] = words[..] else {
            bail!("no outcome: {line:?}");
        };
        let optional = |word: &str| match word {
            "-" => Ok(None),
            word => word.parse::<u64>().map(Some),
        };
        let nanos = |word: &str| word.parse().map(Duration::from_nanos);
        Ok(Outcome {
            digest: format!("{count} {bytes} {xor}").parse()?,
            cost: Cost { wall: nanos(wall)?, cpu: nanos(cpu)?, faults: faults.parse()? },
            median: optional(median)?.map(Duration::from_nanos),
            memory: optional(memory)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(messages: &[&[u8]]) -> Digest {
        let mut tally = Tally::new(0);
        messages.iter().for_each(|message| tally.add(message));
        tally.digest
    }

    #[test]
    fn a_digest_knows_another_message_another_length_and_another_count() {
        let sent = digest(&[b"one", b"two"]);
        assert!(sent.agrees(&sent));
        for other in [&[b"one" as &[u8], b"twx"], &[b"one", b"xwo"], &[b"one", b"twoo"]] {
            assert!(!digest(other).agrees(&sent), "{other:?}");
        }
        assert!(!digest(&[b"one"]).agrees(&sent));
        assert!(Digest { xor: None, ..sent }.agrees(&sent));
    }

    #[test]
    fn two_halves_make_the_whole() {
        let mut half = digest(&[b"one"]);
        half.merge(digest(&[b"two"]));
        assert_eq!(half, digest(&[b"one", b"two"]));
    }

    #[test]
    fn an_outcome_survives_its_line() {
        let cost = Cost { wall: Duration::from_nanos(5), cpu: Duration::from_nanos(7), faults: 3 };
        let digest = digest(&[b"one"]);
        let told = Outcome { digest, cost, median: None, memory: Some(9) };
        let read: Outcome = told.line().parse().unwrap();
        assert_eq!(format!("{read:?}"), format!("{told:?}"));
        assert!("1 2 3".parse::<Outcome>().is_err());
    }
}

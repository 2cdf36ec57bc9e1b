//! Which processor a process runs on, and how many files it may open.

use anyhow::Result;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of the two sides.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub client: usize,
    /// The same as `client` if the process may use only one.
    pub blaster: usize,
}

/// The first two processors that this process may use.
pub fn cores() -> Result<Cores> {
    let allowed = sched_getaffinity(None)?;
    let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let client = usable.next().unwrap_or(0);
    Ok(Cores { client, blaster: usable.next().unwrap_or(client) })
}

/// Pins this process, and all threads that it starts from now on, to one processor.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the soft limit of open files to the hard limit.
pub fn open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

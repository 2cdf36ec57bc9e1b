//! The wall clock as the values of a shard read it.

use std::time::SystemTime;

/// Where the time of the day comes from. It is read only where it is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wall {
    /// The clock of the system.
    Clock,
    /// This time: a recording notes it, and a replay has it from there.
    #[cfg(feature = "record")]
    At(SystemTime),
}

impl Wall {
    /// Returns the time.
    pub(crate) fn time(self) -> SystemTime {
        match self {
            Wall::Clock => SystemTime::now(),
            #[cfg(feature = "record")]
            Wall::At(time) => time,
        }
    }
}

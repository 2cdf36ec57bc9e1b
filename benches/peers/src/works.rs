//! The works: the tasks that every client does. Sizes are in bytes.

/// One work.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub name: &'static str,
    pub kind: Kind,
    /// Messages, echoes, connections or handshakes of one run.
    pub count: u64,
    /// The same for a quick run.
    pub quick_count: u64,
    /// Rounds of a quick run.
    pub quick_rounds: usize,
}

/// The kind of a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The blaster floods one connection.
    Inbound { load: Load, tls: bool },
    /// The blaster floods many connections in turn.
    Many { connections: u64, load: Load },
    /// The client floods the blaster.
    Outbound { size: usize },
    /// One echo at a time.
    Latency { size: usize },
    /// Connections that do nothing.
    Idle { tls: bool },
    /// Connections opened and closed, this many at once.
    Handshake { at_once: u64, tls: bool },
}

/// The messages of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub size: usize,
    pub text: bool,
    /// Frames of one message.
    pub fragments: usize,
}

impl Load {
    const fn binary(size: usize) -> Load {
        Load { size, text: false, fragments: 1 }
    }

    const fn text(size: usize) -> Load {
        Load { size, text: true, fragments: 1 }
    }
}

const fn inbound(load: Load) -> Kind {
    Kind::Inbound { load, tls: false }
}

const fn work(name: &'static str, kind: Kind, count: u64, quick_count: u64) -> Work {
    Work { name, kind, count, quick_count, quick_rounds: 3 }
}

const MANY: Kind = Kind::Many { connections: 1000, load: Load::binary(128) };
const FRAGMENTED: Load = Load { size: 1 << 20, text: false, fragments: 16 };
const TLS: Kind = Kind::Inbound { load: Load::binary(128), tls: true };
const IDLE: Kind = Kind::Idle { tls: false };
const IDLE_TLS: Kind = Kind::Idle { tls: true };

/// The name of the work that a feed does.
const FEED: &str = "feed-128";

const fn handshake(at_once: u64, tls: bool) -> Kind {
    Kind::Handshake { at_once, tls }
}

/// All works, in the order in which they are run.
pub const WORKS: [Work; 17] = [
    work("inbound-16-binary", inbound(Load::binary(16)), 2_000_000, 1_000_000),
    work("inbound-128-binary", inbound(Load::binary(128)), 2_000_000, 600_000),
    work("inbound-128-text", inbound(Load::text(128)), 2_000_000, 600_000),
    work("inbound-1024-text", inbound(Load::text(1024)), 800_000, 200_000),
    work("inbound-16384-binary", inbound(Load::binary(16 << 10)), 60_000, 20_000),
    work("inbound-1048576-binary", inbound(Load::binary(1 << 20)), 1_000, 300),
    work("inbound-1048576-fragmented", inbound(FRAGMENTED), 1_000, 300),
    work(FEED, inbound(Load::binary(128)), 2_000_000, 600_000),
    work("outbound-128", Kind::Outbound { size: 128 }, 1_000_000, 300_000),
    work("latency-128", Kind::Latency { size: 128 }, 20_000, 5_000),
    Work { quick_rounds: 1, ..work("idle-10000", IDLE, 10_000, 10_000) },
    Work { quick_rounds: 1, ..work("idle-10000-tls", IDLE_TLS, 10_000, 10_000) },
    work("handshake-1", handshake(1, false), 2_000, 500),
    work("handshake-64", handshake(64, false), 4_096, 1_024),
    work("handshake-64-tls", handshake(64, true), 4_096, 1_024),
    work("many-1000x128", MANY, 3_072_000, 1_024_000),
    work("tls-128-binary", TLS, 1_000_000, 400_000),
];

impl Work {
    pub fn named(name: &str) -> Option<&'static Work> {
        WORKS.iter().find(|work| work.name == name)
    }

    /// Whether it is for a feed, and what is compared with it.
    pub fn is_of_feed(&self) -> bool {
        self.name == FEED
    }

    /// Whether it is over TLS.
    pub fn is_tls(&self) -> bool {
        match self.kind {
            Kind::Inbound { tls, .. } | Kind::Idle { tls } | Kind::Handshake { tls, .. } => tls,
            Kind::Many { .. } | Kind::Outbound { .. } | Kind::Latency { .. } => false,
        }
    }

    /// The load, where the blaster floods.
    pub fn load(&self) -> Option<Load> {
        match self.kind {
            Kind::Inbound { load, .. } | Kind::Many { load, .. } => Some(load),
            _ => None,
        }
    }

    /// Returns the path of the URL, which says what the blaster has to do.
    pub fn path(&self, count: u64) -> String {
        let flood = |load: Load, connections| {
            let Load { size, text, fragments } = load;
            format!("/flood/{connections}/{size}/{}/{fragments}/{count}", u8::from(text))
        };
        match self.kind {
            Kind::Inbound { load, .. } => flood(load, 1),
            Kind::Many { connections, load } => flood(load, connections),
            Kind::Outbound { .. } => format!("/sink/{count}"),
            Kind::Latency { .. } | Kind::Idle { .. } | Kind::Handshake { .. } => "/echo".to_owned(),
        }
    }

    /// Returns whether the blaster prints what it sent or received.
    pub fn is_summed(&self) -> bool {
        self.load().is_some() || matches!(self.kind, Kind::Outbound { .. })
    }

    /// What is compared.
    pub fn figure(&self) -> Figure {
        match self.kind {
            Kind::Latency { .. } => Figure::Wall,
            Kind::Idle { .. } => Figure::Bytes,
            _ => Figure::Cpu,
        }
    }

    /// Returns whether the page faults for each message are reported.
    pub fn tells_faults(&self) -> bool {
        self.load().is_some_and(|load| load.size >= 16 << 10)
    }

    /// Whether there are many connections, each with little to do.
    pub fn is_frugal(&self) -> bool {
        matches!(self.kind, Kind::Idle { .. } | Kind::Handshake { .. })
    }

    /// What there is `count` of.
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Latency { .. } => "echo",
            Kind::Idle { .. } => "connection",
            Kind::Handshake { .. } => "handshake",
            _ => "message",
        }
    }
}

/// The figure that a work measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Nanoseconds of the process, user and system.
    Cpu,
    /// Nanoseconds of the clock; of an echo the median.
    Wall,
    /// Memory of a connection.
    Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_has_a_name_of_its_own() {
        for (index, work) in WORKS.iter().enumerate() {
            assert_eq!(WORKS.iter().position(|other| other.name == work.name), Some(index));
        }
    }

    #[test]
    fn a_flood_of_many_connections_shares_out_evenly() {
        for work in WORKS {
            if let Kind::Many { connections, .. } = work.kind {
                assert_eq!(work.count % (connections * 64), 0);
                assert_eq!(work.quick_count % (connections * 64), 0);
            }
        }
    }
}

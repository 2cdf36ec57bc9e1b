//! What was counted: in one process, over all of them, and as a table.

use std::fmt;

use crate::faults::Fault;

/// The figures of one seed, or the sums over many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Faults played, in the order of [`Fault::ALL`].
    pub(crate) faults: [u64; 10],
    /// Messages that reached a connection's first handler.
    pub(crate) messages: u64,
    /// Sockets that were opened.
    pub(crate) epochs: u64,
    /// Dials.
    pub(crate) dials: u64,
    /// Connections that ran from their start to `Stopped`.
    pub(crate) connections: u64,
    /// Events in all histories.
    pub(crate) events: u64,
    /// Clean closes in which all that the server had written was there.
    pub(crate) clean: u64,
    /// Messages of the clients' that were taken for sending.
    pub(crate) sent: u64,
    /// Sockets that the watchdog gave up, of clients that only listened and of clients that sent.
    pub(crate) silent_idle: u64,
    pub(crate) silent_sending: u64,
    /// The longest silence on a socket whose client only listened, and on one whose client sent,
    /// beyond what interval and timeout allow; in milliseconds.
    pub(crate) late_idle: u64,
    pub(crate) late_sending: u64,
    /// The most dials in any 60 s.
    pub(crate) most_dials: u64,
    /// Simulated seconds.
    pub(crate) seconds: u64,
    /// A digest of every event of every history with its time.
    pub(crate) digest: u64,
}

impl Counts {
    /// Adds the figures of one more seed.
    pub(crate) fn add(&mut self, other: &Counts) {
        for (sum, count) in self.faults.iter_mut().zip(other.faults) {
            *sum += count;
        }
        self.messages += other.messages;
        self.epochs += other.epochs;
        self.dials += other.dials;
        self.connections += other.connections;
        self.events += other.events;
        self.clean += other.clean;
        self.sent += other.sent;
        self.silent_idle += other.silent_idle;
        self.silent_sending += other.silent_sending;
        self.late_idle = self.late_idle.max(other.late_idle);
        self.late_sending = self.late_sending.max(other.late_sending);
        self.most_dials = self.most_dials.max(other.most_dials);
        self.seconds += other.seconds;
        self.digest ^= other.digest;
    }

    /// All faults together.
    pub(crate) fn all_faults(&self) -> u64 {
        self.faults.iter().sum()
    }

    fn figures(&self) -> Vec<u64> {
        let mut figures = self.faults.to_vec();
        figures.extend([
            self.messages,
            self.epochs,
            self.dials,
            self.connections,
            self.events,
            self.clean,
            self.sent,
            self.silent_idle,
            self.silent_sending,
            self.late_idle,
            self.late_sending,
            self.most_dials,
            self.seconds,
            self.digest,
        ]);
        figures
    }

    /// The one line by which a process tells its figures.
    pub(crate) fn line(&self) -> String {
        let figures: Vec<String> = self.figures().iter().map(u64::to_string).collect();
        format!("{PREFIX}{}", figures.join(" "))
    }

    /// The figures in what a process wrote.
    pub(crate) fn parse(output: &str) -> Option<Counts> {
        let line = output.lines().find_map(|line| line.split_once(PREFIX).map(|(_, rest)| rest))?;
        let figures: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
        let (faults, rest) = figures.split_first_chunk::<10>()?;
        let [messages, epochs, dials, connections, events, clean, rest @ ..] = rest else {
            return None;
        };
        let &[
            sent,
            silent_idle,
            silent_sending,
            late_idle,
            late_sending,
            most_dials,
            seconds,
            digest,
        ] = rest
        else {
            return None;
        };
        Some(Counts {
            faults: *faults,
            messages: *messages,
            epochs: *epochs,
            dials: *dials,
            connections: *connections,
            events: *events,
            clean: *clean,
            sent,
            silent_idle,
            silent_sending,
            late_idle,
            late_sending,
            most_dials,
            seconds,
            digest,
        })
    }
}

const PREFIX: &str = "figures: ";

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, count) in Fault::ALL.iter().zip(self.faults) {
            writeln!(f, "{:<22}{count:>9}", fault.name())?;
        }
        let rows = [
            ("faults", self.all_faults()),
            ("messages", self.messages),
            ("connections", self.connections),
            ("dials", self.dials),
            ("epochs", self.epochs),
            ("events", self.events),
            ("clean, and all there", self.clean),
            ("sent by clients", self.sent),
            ("half-open, idle", self.silent_idle),
            ("  most ms late", self.late_idle),
            ("half-open, sending", self.silent_sending),
            ("  most ms late", self.late_sending),
            ("most dials in 60 s", self.most_dials),
            ("simulated seconds", self.seconds),
        ];
        for (name, count) in rows {
            writeln!(f, "{name:<22}{count:>9}")?;
        }
        Ok(())
    }
}

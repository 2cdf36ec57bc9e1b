//! A venue, a broker and three processes that share its topics: what stories are told with.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::broker::Broker;
use crate::checker::{Verdict, judge, owners, takeovers};
use crate::folder::Folder;
use crate::ledger::{Ledger, Name, SHARES, TOPICS};
use crate::member::Member;
use crate::patience::until;
use crate::stream::Reader;
use crate::venue::{DIALS_WITHIN, Venue, now_ms};

/// The lease of a share unless a flag says otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// Within how long after its lease a share is taken over.
const TAKEOVER: Duration = Duration::from_secs(2);

/// For how long all has to be well: a standby that is subscribed may not have said so to the others.
const SETTLED: Duration = Duration::from_secs(1);

/// How many processes share the topics.
const MEMBERS: usize = 3;

pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) venue: Venue,
    pub(crate) members: Vec<Member>,
    stream: Reader,
    faults: Vec<Fault>,
    /// How many processes listen to each topic when all is well.
    coverage: u32,
    folder: Folder,
}

/// A fault after which a process does not own its shares any more.
#[derive(Clone, Copy)]
struct Fault {
    what: &'static str,
    victim: Name,
    at_ms: u64,
}

impl Scene {
    /// Starts one process that publishes, and waits until it publishes every topic.
    pub(crate) async fn alone() -> Scene {
        Scene::start(1, 1, &[]).await
    }

    /// Starts three processes that share the topics, and waits until each has its part.
    pub(crate) async fn shared() -> Scene {
        Scene::start(MEMBERS, 1, &["--share", "gateway", "--share-members", "3"]).await
    }

    /// Starts three processes of which two listen to each topic, and waits until they do.
    pub(crate) async fn with_standbys() -> Scene {
        let flags = &["--share", "gateway", "--share-members", "3", "--share-standby"];
        Scene::start(MEMBERS, 2, flags).await
    }

    async fn start(count: usize, coverage: u32, flags: &'static [&'static str]) -> Scene {
        let (broker, venue) = (Broker::start().await, Venue::open());
        let folder = Folder::new("feed");
        let file = folder.path("venue.toml");
        std::fs::write(&file, venue.file()).unwrap();
        let mut members = Vec::new();
        for name in ('a'..).take(count).map(Name) {
            members.push(Member::new(name, file.to_str().unwrap(), &broker.ports(), flags).await);
        }
        members.iter_mut().for_each(Member::start);
        let stream = Reader::new(&broker.jetstream);
        let mut scene =
            Scene { broker, venue, members, stream, faults: Vec::new(), coverage, folder };
        scene.is_well("the start").await;
        scene
    }

    /// Waits until each process has published its fair part of the shares from now on, and each topic has its listeners.
    pub(crate) async fn is_well(&mut self, after: &'static str) {
        let (fair, since) = (SHARES / self.members.len(), now_ms());
        let mut settled: Option<Instant> = None;
        let took = until(&format!("a fair part for each after {after}"), async || {
            self.members.iter_mut().for_each(Member::is_running);
            self.stream.read_on().await;
            let is_fair = self.parts(since).iter().all(|part| *part == fair);
            let is_so = is_fair && self.venue.is_covered(self.coverage);
            settled = if is_so { settled.or_else(|| Some(Instant::now())) } else { None };
            settled.is_some_and(|since| since.elapsed() > SETTLED)
        })
        .await;
        eprintln!("{after}: well after {took:.1?}; {}", self.venue.figures());
    }

    /// Returns of how many shares each process has published the newest update, of those that have one since then.
    fn parts(&self, since_ms: u64) -> Vec<usize> {
        let owners = owners(&self.stream.read, u64::MAX);
        let new = || owners.iter().flatten().filter(|it| it.stored_ms > since_ms);
        self.members.iter().map(|of| new().filter(|it| it.to == of.name).count()).collect()
    }

    /// Notes a fault of a process, of this moment.
    pub(crate) fn fault(&mut self, what: &'static str, member: usize) {
        self.faults.push(Fault { what, victim: self.members[member].name, at_ms: now_ms() });
    }

    /// Waits until other processes publish all shares of the process of the last fault.
    pub(crate) async fn is_taken_over(&mut self) {
        let fault = *self.faults.last().expect("a fault");
        until(&format!("shares to be taken over after {}", fault.what), async || {
            self.stream.read_on().await;
            let taken = takeovers(&self.stream.read, fault.victim, fault.at_ms);
            taken.iter().all(|it| it.after_ms.is_some())
        })
        .await;
    }

    /// Ends a process by SIGTERM, which closes it in order.
    pub(crate) async fn end(&mut self, member: usize) {
        self.members[member].signal(Signal::TERM);
        let status = self.members[member].ended().await;
        assert!(status.success(), "{:?}: {status}", self.members[member].name);
    }

    /// Restarts one process after the other, as an upgrade does. A process does not know what the one before it has dialled,
    /// so the next one waits until the venue has forgotten that.
    pub(crate) async fn restart_each(&mut self) {
        for member in 0..self.members.len() {
            tokio::time::sleep(DIALS_WITHIN).await;
            self.end(member).await;
            self.members[member].start();
            self.is_well("a restart").await;
        }
    }

    /// Closes the market, waits until all is published, ends the processes, and judges the stream from its beginning.
    pub(crate) async fn finish(mut self) -> Verdict {
        self.venue.close_market();
        let ledger = self.settle().await;
        for member in 0..self.members.len() {
            self.end(member).await;
        }
        let mut whole = Reader::new(&self.broker.jetstream);
        let last = self.broker.last_sequence().await.expect("the stream");
        whole.read_to(last).await;
        let verdict = judge(whole.read, ledger);
        self.report(&verdict);
        assert_eq!(self.venue.broken(), [""; 0], "{}", self.venue.figures());
        drop(self.folder);
        verdict
    }

    /// Waits until the last number of each topic is in the stream. Returns what the venue has sent.
    async fn settle(&mut self) -> Ledger {
        let venue = &self.venue;
        let mut ledger = venue.ledger();
        until("the last numbers", async || {
            self.stream.read_on().await;
            ledger = venue.ledger();
            let mut newest = [0; TOPICS];
            self.stream.read.iter().for_each(|it| newest[it.topic] = it.number);
            (0..TOPICS).all(|topic| newest[topic] >= ledger.of(topic).len() as u64)
        })
        .await;
        ledger
    }

    /// Checks that shares were taken over in time, and prints the figures.
    fn report(&self, verdict: &Verdict) {
        let mut is_late = false;
        for fault in &self.faults {
            let mut taken = takeovers(&verdict.stream, fault.victim, fault.at_ms);
            assert!(!taken.is_empty(), "{:?} owned nothing before {}", fault.victim, fault.what);
            taken.sort_by_key(|it| it.after_ms.unwrap_or(u64::MAX));
            let times: Vec<_> = taken.iter().map(|it| it.after_ms.unwrap_or(u64::MAX)).collect();
            eprintln!("{}: taken over after {times:?} ms", fault.what);
            is_late |= times.iter().any(|it| *it > (LEASE + TAKEOVER).as_millis() as u64);
        }
        if let Some(missing) = verdict.missing.first() {
            eprintln!(
                "around the first that is missing, {missing:?}:\n{}",
                verdict.around(missing)
            );
        }
        eprintln!(
            "{} publications, {} numbers sent to nobody, {} missing, {} wrong; {}",
            verdict.stream.len(),
            verdict.unsent,
            verdict.missing.len(),
            verdict.wrong.len(),
            self.venue.figures()
        );
        assert!(!is_late, "a share was taken over later than {TAKEOVER:?} after its lease");
    }
}

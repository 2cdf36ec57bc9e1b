//! The live figures of a connection, for any thread.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::command::failures::{FailureCounts, Failures};
use crate::command::status::{Figures, Phase, WaitCause};

/// A connection's live figures, read from any thread without its mailbox.
///
/// It keeps its last figures when the connection has ended; the phase is [`Phase::Closed`] then, also where the
/// connection was dropped, or its builder was dropped before a start. Each figure is exact; two figures that are
/// read one after the other may be of different moments.
#[doc(alias("metrics", "stats", "gauges", "statistics"))]
#[derive(Clone)]
pub struct Watch {
    gauges: Arc<Gauges>,
    /// The state that [`changed`](Watch::changed) returned last, or that of when this watch was made.
    seen: u64,
}

/// What the clones of a [`Watch`] share. Only the connection's thread writes, and so an increment needs
/// no atomic operation but a load and a store. A moment is stored as nanoseconds since `zero`, plus
/// one; 0 is never.
#[derive(Debug)]
struct Gauges {
    zero: Instant,
    /// The epoch in the upper 56 bits, the phase in the lowest byte: both change together.
    state: AtomicU64,
    /// The place of the cause of a wait in `WaitCause::ALL`.
    wait_cause: AtomicU8,
    /// Notified after each change of the phase.
    changed: Notify,
    figures: [AtomicU64; Gauge::COUNT],
    failures: FailureCounts,
}

/// The figures, in the order in which they are stored.
#[derive(Clone, Copy)]
pub(crate) enum Gauge {
    MessagesIn,
    BytesIn,
    MessagesOut,
    BytesOut,
    Attempts,
    BudgetWaits,
    LastByte,
    LastMessage,
    Opened,
    ControlIn,
    ControlOut,
    LastPing,
    LastPong,
    RoundTrip,
    QueuedEvents,
    QueuedBytes,
    UnsentBytes,
    SendsRefused,
    Dropped,
    HandlersEnded,
    Unheard,
}

impl Gauge {
    const COUNT: usize = Gauge::Unheard as usize + 1;
}

impl Watch {
    pub(crate) fn new(zero: Instant) -> Watch {
        let gauges = Gauges {
            zero,
            state: AtomicU64::new(Phase::Waiting as u64),
            wait_cause: AtomicU8::new(0),
            changed: Notify::new(),
            figures: Default::default(),
            failures: FailureCounts::default(),
        };
        let seen = gauges.state.load(Relaxed);
        Watch { gauges: Arc::new(gauges), seen }
    }

    /// Returns a watch that has seen the state of now.
    pub(crate) fn renewed(&self) -> Watch {
        Watch { gauges: self.gauges.clone(), seen: self.gauges.state.load(Relaxed) }
    }

    /// Returns what the connection is doing.
    pub fn phase(&self) -> Phase {
        phase_of(self.gauges.state.load(Relaxed))
    }

    /// Waits until the connection is in a phase, and returns whether it got there. It is `false` once the
    /// connection is [`Closed`](Phase::Closed) for good, if that is not the phase.
    ///
    /// It needs no runtime of its own, and works on any thread. A phase that lasts for less than the thread takes
    /// to wake may be missed. For a deadline use `tokio::time::timeout`.
    ///
    /// ```
    /// use actix_ws_client::testing::{Script, Server};
    /// use actix_ws_client::{Connection, Phase};
    ///
    /// # actix::System::new().block_on(async {
    /// let server = Server::start(Script::accept());
    /// let builder = Connection::builder(server.url());
    /// let watch = builder.watch();
    /// let connection = builder.start().unwrap();
    /// assert!(watch.wait_for(Phase::Open).await);
    /// drop(connection);
    /// assert!(watch.wait_for(Phase::Closed).await && !watch.wait_for(Phase::Open).await);
    /// # });
    /// ```
    pub async fn wait_for(&self, phase: Phase) -> bool {
        let wanted = |state| [phase, Phase::Closed].contains(&phase_of(state));
        phase_of(self.state_where(wanted).await) == phase
    }

    /// Waits until the phase or the epoch is another than the one that this watch has seen, and returns the phase;
    /// `None` once [`Closed`](Phase::Closed) was seen, which is the last. A watch has seen the phase of the moment
    /// when it was made by [`ConnectionBuilder::watch`](crate::ConnectionBuilder::watch),
    /// [`Handle::watch`](crate::Handle::watch) or [`command::Watch`](crate::command::Watch); a clone has seen what its
    /// original has.
    ///
    /// Phases in between that are over by then are left out: for each of them, handle
    /// [`event::State`](crate::event::State).
    pub async fn changed(&mut self) -> Option<Phase> {
        let seen = self.seen;
        if phase_of(seen) == Phase::Closed {
            return None;
        }
        self.seen = self.state_where(|state| state != seen).await;
        Some(phase_of(self.seen))
    }

    /// Waits for a state.
    async fn state_where(&self, wanted: impl Fn(u64) -> bool) -> u64 {
        loop {
            let mut changed = pin!(self.gauges.changed.notified());
            changed.as_mut().enable();
            let state = self.gauges.state.load(Relaxed);
            if wanted(state) {
                return state;
            }
            changed.await;
        }
    }

    /// Returns what it waits for; `None` in any phase but [`Phase::Waiting`].
    pub fn waiting_for(&self) -> Option<WaitCause> {
        let cause = WaitCause::ALL[usize::from(self.gauges.wait_cause.load(Relaxed))];
        (self.phase() == Phase::Waiting).then_some(cause)
    }

    /// Returns the epoch, which is the number of the newest opened socket, from 1; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.gauges.state.load(Relaxed) >> 8
    }

    /// Returns the epoch of the open socket; `None` while none is open.
    #[inline]
    pub(crate) fn open_epoch(&self) -> Option<u64> {
        let state = self.gauges.state.load(Relaxed);
        (state as u8 == Phase::Open as u8).then_some(state >> 8)
    }

    /// Returns how often it failed, by the stage that failed.
    pub fn failures(&self) -> Failures {
        self.gauges.failures.read()
    }

    /// Returns all figures.
    pub fn figures(&self) -> Figures {
        self.figures_at(Instant::now())
    }

    pub(crate) fn figures_at(&self, now: Instant) -> Figures {
        let get = |gauge: Gauge| self.gauges.figures[gauge as usize].load(Relaxed);
        let ago = |gauge| {
            let at = get(gauge).checked_sub(1)?;
            let now = now.saturating_duration_since(self.gauges.zero);
            Some(now.saturating_sub(Duration::from_nanos(at)))
        };
        Figures {
            messages_in: get(Gauge::MessagesIn),
            bytes_in: get(Gauge::BytesIn),
            messages_out: get(Gauge::MessagesOut),
            bytes_out: get(Gauge::BytesOut),
            attempts: get(Gauge::Attempts),
            budget_waits: get(Gauge::BudgetWaits),
            last_byte: ago(Gauge::LastByte),
            last_message: ago(Gauge::LastMessage),
            opened: ago(Gauge::Opened),
            control_in: get(Gauge::ControlIn),
            control_out: get(Gauge::ControlOut),
            last_ping: ago(Gauge::LastPing),
            last_pong: ago(Gauge::LastPong),
            round_trip: get(Gauge::RoundTrip).checked_sub(1).map(Duration::from_nanos),
            queued_events: get(Gauge::QueuedEvents),
            queued_bytes: get(Gauge::QueuedBytes),
            unsent_bytes: get(Gauge::UnsentBytes),
            sends_refused: get(Gauge::SendsRefused),
            dropped: get(Gauge::Dropped),
            handlers_ended: get(Gauge::HandlersEnded),
            unheard: get(Gauge::Unheard),
        }
    }

    /// Counts a failure at a stage of [`Error::stage`](crate::Error::stage).
    pub(crate) fn failed(&self, stage: &str) {
        self.gauges.failures.add(stage);
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.gauges.state.store((self.epoch() << 8) | phase as u64, Relaxed);
        self.gauges.changed.notify_waiters();
    }

    pub(crate) fn set_waiting_for(&self, cause: WaitCause) {
        let place = WaitCause::ALL.iter().position(|other| *other == cause).unwrap_or_default();
        self.gauges.wait_cause.store(place as u8, Relaxed);
    }

    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.gauges.state.store((epoch << 8) | self.phase() as u64, Relaxed);
    }

    pub(crate) fn set(&self, gauge: Gauge, value: u64) {
        self.gauges.figures[gauge as usize].store(value, Relaxed);
    }

    pub(crate) fn add(&self, gauge: Gauge, more: u64) {
        let figure = &self.gauges.figures[gauge as usize];
        figure.store(figure.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Stores the value of another figure.
    #[inline]
    pub(crate) fn copy(&self, from: Gauge, to: Gauge) {
        self.set(to, self.gauges.figures[from as usize].load(Relaxed));
    }

    /// Stores a moment.
    pub(crate) fn stamp(&self, gauge: Gauge, at: Instant) {
        self.set_span(gauge, at.saturating_duration_since(self.gauges.zero));
    }

    /// Stores a duration.
    pub(crate) fn set_span(&self, gauge: Gauge, span: Duration) {
        self.set(gauge, u64::try_from(span.as_nanos()).unwrap_or(u64::MAX - 1).saturating_add(1));
    }
}

/// Returns the phase in a state.
fn phase_of(state: u64) -> Phase {
    Phase::ALL[usize::from(state as u8)]
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("phase", &self.phase())
            .field("epoch", &self.epoch())
            .field("figures", &self.figures())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_watch_tells_what_was_stored() {
        let zero = Instant::now();
        let watch = Watch::new(zero);
        assert_eq!(watch.figures_at(zero), Figures::default());
        watch.add(Gauge::MessagesIn, 2);
        watch.add(Gauge::MessagesIn, 3);
        watch.stamp(Gauge::LastByte, zero + Duration::from_secs(1));
        watch.set_span(Gauge::RoundTrip, Duration::ZERO);
        let figures = watch.figures_at(zero + Duration::from_secs(5));
        assert_eq!(figures.messages_in, 5);
        assert_eq!(figures.last_byte, Some(Duration::from_secs(4)));
        assert_eq!(figures.round_trip, Some(Duration::ZERO));
        assert_eq!(figures.last_pong, None);
    }

    #[test]
    fn a_phase_comes_back_as_it_went_in() {
        let watch = Watch::new(Instant::now());
        for phase in Phase::ALL {
            watch.set_phase(phase);
            assert_eq!(watch.phase(), phase);
        }
    }

    #[test]
    fn the_cause_of_a_wait_is_that_of_a_connection_that_waits() {
        let watch = Watch::new(Instant::now());
        for cause in WaitCause::ALL {
            watch.set_waiting_for(cause);
            assert_eq!(watch.waiting_for(), Some(cause));
        }
        watch.set_phase(Phase::Open);
        assert_eq!(watch.waiting_for(), None);
    }

    #[test]
    fn a_change_is_seen_once_by_each_watch_and_the_last_one_is_closed() {
        let watch = Watch::new(Instant::now());
        let (mut first, mut second) = (watch.clone(), watch.clone());
        watch.set_phase(Phase::Connecting);
        assert_eq!(first.changed().now_or_never(), Some(Some(Phase::Connecting)));
        let mut third = watch.renewed();
        watch.set_epoch(1);
        watch.set_phase(Phase::Open);
        for watch in [&mut first, &mut second, &mut third] {
            assert_eq!(watch.changed().now_or_never(), Some(Some(Phase::Open)));
        }
        // The same phase of another socket is a change.
        watch.set_epoch(2);
        watch.set_phase(Phase::Open);
        assert_eq!(first.changed().now_or_never(), Some(Some(Phase::Open)));
        {
            let mut waiting = pin!(first.changed());
            assert!(waiting.as_mut().now_or_never().is_none());
            watch.set_phase(Phase::Closed);
            assert_eq!(waiting.now_or_never(), Some(Some(Phase::Closed)));
        }
        assert_eq!(first.changed().now_or_never(), Some(None));
        assert_eq!(second.changed().now_or_never(), Some(Some(Phase::Closed)));
    }

    #[test]
    fn a_phase_is_awaited_until_the_connection_is_closed() {
        let watch = Watch::new(Instant::now());
        assert_eq!(watch.wait_for(Phase::Waiting).now_or_never(), Some(true));
        {
            let mut open = pin!(watch.wait_for(Phase::Open));
            let mut paused = pin!(watch.wait_for(Phase::Paused));
            assert!(open.as_mut().now_or_never().is_none());
            assert!(paused.as_mut().now_or_never().is_none());
            watch.set_phase(Phase::Open);
            assert_eq!(open.now_or_never(), Some(true));
            assert!(paused.as_mut().now_or_never().is_none());
            watch.set_phase(Phase::Closed);
            assert_eq!(paused.now_or_never(), Some(false));
        }
        assert_eq!(watch.wait_for(Phase::Closed).now_or_never(), Some(true));
        assert_eq!(watch.wait_for(Phase::Open).now_or_never(), Some(false));
    }
}

//! What a handler may see, and the check of what it saw.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use actix_ws_client::event::Next;

use crate::ledger::{Connection, Dial, Session};

/// One event, with all that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    Open { epoch: u64, session: usize, attempts: u32, reopening: bool },
    Message { epoch: u64, session: usize, number: u64 },
    Ping { epoch: u64, payload: Vec<u8> },
    Pong { epoch: u64, answers: bool },
    Error { epoch: u64, stage: &'static str, retry_after: Option<Duration>, next: After },
    Close { epoch: u64, code: u16, clean: bool, by: &'static str, next: After },
    State { phase: String },
    Stopped { outcome: String, epochs: u64, attempts: u64 },
}

/// How long until the next dial; `None` if there is none.
pub(crate) type After = Option<Duration>;

pub(crate) fn after(next: Next) -> After {
    next.after()
}

/// All that one handler saw, with the time at which it did.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) events: Vec<(Duration, Seen)>,
    /// Whether the handler came when the connection was under way.
    pub(crate) late: bool,
    /// Whether the handler is gone.
    pub(crate) gone: bool,
}

/// What a whole history adds up to.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) messages: u64,
    pub(crate) epochs: u64,
    pub(crate) clean: u64,
    pub(crate) silent: u64,
    /// How each dial ended, in order, with what was told of the next one.
    pub(crate) losses: Vec<Loss>,
}

/// The end of one dial, or of the socket that came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) opened: bool,
    /// Whether a command cut the dial short: then it has not failed, and nothing is told of it.
    pub(crate) cut: bool,
    pub(crate) next: After,
}

/// An epoch in progress.
struct Epoch {
    number: u64,
    session: usize,
    /// The number that the next message must have; `None` where the handler came too late to know.
    next: Option<u64>,
    error: Option<After>,
}

/// Holds one history against `(Open (Message | Ping | Pong)* Error? Close | Error)* Stopped`.
///
/// # Errors
/// The first event that may not be where it is, and why.
pub(crate) fn check(history: &History, sessions: &[Session]) -> Result<Sum, String> {
    let mut sum = Sum::default();
    let mut open: Option<Epoch> = None;
    let mut last = None;
    let mut over = false;
    let mut stopped = false;
    // Whether the phase is Connecting, and how many losses there were when it began.
    let (mut dialling, mut lost) = (false, 0);
    for (index, (at, seen)) in history.events.iter().enumerate() {
        let wrong = |why: String| Err(format!("event {index} at {at:?}, {seen:?}: {why}"));
        if stopped {
            return wrong("after Stopped".into());
        }
        if let Some(Epoch { error: Some(_), .. }) = &open
            && !matches!(seen, Seen::Close { .. })
        {
            return wrong("between Error and Close".into());
        }
        if over && !matches!(seen, Seen::Stopped { .. }) {
            return wrong("after the phase was Closed".into());
        }
        match seen {
            Seen::Open { epoch, session, reopening, .. } => {
                if let Some(open) = &open {
                    return wrong(format!("epoch {} was not closed", open.number));
                }
                let first = history.late && last.is_none();
                if !first && *epoch != last.unwrap_or(0) + 1 {
                    return wrong(format!("the epoch before was {last:?}"));
                }
                if *reopening != (*epoch > 1) {
                    return wrong("an outage is told on a reopening, and only there".into());
                }
                last = Some(*epoch);
                let next = (!first).then_some(0);
                open = Some(Epoch { number: *epoch, session: *session, next, error: None });
                sum.epochs += 1;
            }
            Seen::Message { epoch, session, number } => {
                let Some(open) = open.as_mut().filter(|open| open.number == *epoch) else {
                    return wrong("the epoch is not open".into());
                };
                if open.session != *session {
                    return wrong(format!("the epoch's session is {}", open.session));
                }
                if open.next.is_some_and(|next| next != *number) {
                    return wrong(format!("expected number {:?}", open.next));
                }
                open.next = Some(number + 1);
                sum.messages += 1;
            }
            Seen::Ping { epoch, .. } | Seen::Pong { epoch, .. } => {
                if open.as_ref().is_none_or(|open| open.number != *epoch) {
                    return wrong("the epoch is not open".into());
                }
            }
            Seen::Error { epoch, stage, retry_after, next } => {
                if retry_after.is_some_and(|least| next.is_some_and(|after| after < least)) {
                    return wrong("Retry-After is not obeyed".into());
                }
                if (*epoch != last.unwrap_or(0)) && !(history.late && last.is_none()) {
                    return wrong(format!("the newest epoch is {last:?}"));
                }
                if *stage == "silent" {
                    sum.silent += 1;
                }
                match &mut open {
                    Some(open) => open.error = Some(*next),
                    None => sum.losses.push(Loss { opened: false, cut: false, next: *next }),
                }
            }
            Seen::Close { epoch, clean, by, next, .. } => {
                let Some(open) = open.take().filter(|open| open.number == *epoch) else {
                    return wrong("the epoch is not open".into());
                };
                if open.error.is_some_and(|told| told != *next) {
                    return wrong("Error and Close tell different things of the next dial".into());
                }
                if open.error.is_some() && (*clean || *by == "remote") {
                    return wrong("an error before a Close of the server's".into());
                }
                let session = sessions[open.session];
                if *clean {
                    if !session.closed {
                        return wrong("clean, though the server wrote no Close".into());
                    }
                    if open.next.is_some_and(|next| next != session.written) {
                        return wrong(format!(
                            "clean after {:?} messages, the server wrote {}",
                            open.next, session.written
                        ));
                    }
                    sum.clean += 1;
                }
                if open.next.is_some_and(|next| next > session.written) {
                    return wrong(format!("more than the {} that were written", session.written));
                }
                sum.losses.push(Loss { opened: true, cut: false, next: *next });
            }
            Seen::State { phase } => {
                over = phase == "closed";
                let failed = sum.losses.len() > lost;
                if dialling && !failed && (over || phase == "paused") {
                    sum.losses.push(Loss { opened: false, cut: true, next: None });
                }
                dialling = phase == "connecting";
                lost = sum.losses.len();
            }
            Seen::Stopped { epochs, .. } => {
                if let Some(open) = &open {
                    return wrong(format!("epoch {} was not closed", open.number));
                }
                if *epochs != last.unwrap_or(*epochs) {
                    return wrong("another number of epochs".into());
                }
                stopped = true;
            }
        }
    }
    if !stopped {
        return Err("no Stopped".into());
    }
    Ok(sum)
}

/// Whether a handler saw what the first one did: all of it, or, if it came late, the `Open` that
/// stood then and all that followed.
///
/// # Errors
/// The first difference.
pub(crate) fn compare(first: &History, other: &History) -> Result<(), String> {
    let reference: Vec<&Seen> = first.events.iter().map(|(_, seen)| seen).collect();
    let seen: Vec<&Seen> = other.events.iter().map(|(_, seen)| seen).collect();
    if !other.late {
        let same = reference.iter().zip(&seen).take_while(|(one, two)| one == two).count();
        if same < reference.len().max(seen.len()) {
            return Err(format!(
                "event {same} is {:?} to the first handler, and {:?} to this one",
                reference.get(same),
                seen.get(same)
            ));
        }
        return Ok(());
    }
    let begins_open = matches!(seen.first(), Some(Seen::Open { .. }));
    if reference.ends_with(&seen) {
        return Ok(());
    }
    let (Some(open), true) = (seen.first(), begins_open) else {
        return Err("a late handler saw no end of what the first one did".into());
    };
    let rest = &seen[1..];
    if !reference.ends_with(rest) {
        return Err("a late handler saw another course of things after its Open".into());
    }
    let before = &reference[..reference.len() - rest.len()];
    let stands =
        before.iter().rev().find(|seen| matches!(seen, Seen::Open { .. } | Seen::Close { .. }));
    match stands {
        Some(stands) if stands == open => Ok(()),
        _ => Err(format!("a late handler was told {open:?} when {stands:?} stood")),
    }
}

/// What is to be kept by the dials of one connection.
pub(crate) struct Bounds {
    pub(crate) connect: Duration,
    pub(crate) close: Duration,
    /// Interval and timeout of the pings.
    pub(crate) silence: Duration,
    /// Whether reading may have stopped for a handler.
    pub(crate) slow: bool,
}

/// What simulated time may be lost to the network's clock, and to the promise's own allowance.
pub(crate) const ALLOWANCE: Duration = Duration::from_millis(100);

/// Holds the dials against the time that each part may take.
///
/// # Errors
/// Each dial that did not keep to it.
pub(crate) fn check_dials(
    connection: &Connection,
    losses: &[Loss],
    bounds: &Bounds,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let dials = &connection.dials;
    for (index, dial) in dials.iter().enumerate() {
        let Some(gone) = dial.gone else {
            wrong.push(format!("dial {index} is still alive: {dial:?}"));
            continue;
        };
        match dial.opened {
            None if gone > dial.began + bounds.connect + ALLOWANCE => {
                wrong.push(format!("dial {index} took too long: {dial:?}"));
            }
            Some(_) if !bounds.slow && late(dial, bounds) > ALLOWANCE => {
                wrong.push(format!("half-open dial {index} was found too late: {dial:?}"));
            }
            _ => {}
        }
        for asked in connection.hurried.iter().chain(&connection.closed) {
            let open = dial.opened.is_some_and(|opened| opened < *asked) && gone > *asked;
            if open && gone > *asked + bounds.close + ALLOWANCE {
                wrong.push(format!("dial {index} outlived its close at {asked:?}: {dial:?}"));
            }
        }
        if connection.pauses.iter().any(|(from, to)| *from < dial.began && dial.began < *to) {
            wrong.push(format!("dial {index} in a pause: {dial:?}"));
        }
        if connection.closed.is_some_and(|closed| dial.began > closed) {
            wrong.push(format!("dial {index} after the close: {dial:?}"));
        }
    }
    if losses.len() != dials.len() {
        wrong.push(format!("{} dials, and {} ends are told", dials.len(), losses.len()));
    }
    for (index, loss) in losses.iter().enumerate() {
        let Some(dial) = dials.get(index) else {
            wrong.push(format!("loss {index} has no dial: {loss:?}"));
            continue;
        };
        if loss.cut {
            continue;
        }
        if dial.opened.is_some() != loss.opened {
            wrong.push(format!("dial {index} was {dial:?}, and told as {loss:?}"));
        }
        let (Some(gone), Some(next)) = (dial.gone, dials.get(index + 1)) else {
            continue;
        };
        let hurried = connection.hurried.iter().any(|at| (gone..=next.began).contains(at));
        // The timer's own grain.
        let grain = Duration::from_millis(1);
        match loss.next {
            Some(after) if !hurried && next.began + grain < gone + after => wrong.push(format!(
                "dial {} began {:?} after the loss, told was {after:?}",
                index + 1,
                next.began - gone
            )),
            Some(after) if !bounds.slow && !hurried && next.began > gone + after + ALLOWANCE => {
                wrong.push(format!(
                    "dial {} began as late as {:?} after the loss, told was {after:?}",
                    index + 1,
                    next.began - gone
                ));
            }
            None if !hurried => {
                wrong.push(format!("dial {} after a loss that was final", index + 1));
            }
            _ => {}
        }
    }
    let most = most_within_a_minute(dials);
    if most > 16 {
        wrong.push(format!("{most} dials in 60 s"));
    }
    wrong
}

/// How much longer than allowed a socket was silent at its end.
pub(crate) fn late(dial: &Dial, bounds: &Bounds) -> Duration {
    let gone = dial.gone.unwrap_or(dial.heard);
    gone.saturating_sub(dial.heard).saturating_sub(bounds.silence)
}

/// The most dials in any 60 s, both ends included.
pub(crate) fn most_within_a_minute(dials: &[Dial]) -> u64 {
    let minute = Duration::from_secs(60);
    let within = |first: usize| {
        dials[first..].iter().take_while(|dial| dial.began <= dials[first].began + minute).count()
    };
    (0..dials.len()).map(within).max().unwrap_or(0) as u64
}

/// A number for all that a history has, times included; the same in every process.
pub(crate) fn digest(history: &History) -> u64 {
    let mut hasher = DefaultHasher::new();
    history.events.hash(&mut hasher);
    hasher.finish()
}

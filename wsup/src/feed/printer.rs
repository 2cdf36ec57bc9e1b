//! The actor that writes what a feed delivers, on a thread of its own.
//!
//! A write blocks while the reader of stdout does not read. Then the mailbox fills up, and the feed holds its lines:
//! it stops reading, and answers pings.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WeakAddr, WrapFuture};
use actix_ws_client::Payload;
use actix_ws_client::feed::command::Status;
use actix_ws_client::feed::event::{Batch, Gap, LineState, Rotated, Stopped, TopicState};
use actix_ws_client::feed::{Feed, Topic};
use tokio::sync::mpsc;

#[cfg(feature = "nats")]
use crate::feed::form::ShareIs;
use crate::feed::form::{End, Form, Published};
use crate::feed::ledger::Ledger;
use crate::feed::observer::Observer;
use crate::feed::publishing::WatchPublishing;
use crate::feed::table::Table;
use crate::print::Line;

/// A report of the printer to the run. Each is sent at most once.
pub(crate) enum Report {
    /// The updates of `--messages` have been printed.
    LimitReached,
    /// Writing to stdout failed.
    StdoutFailed(io::Error),
    /// The last event was printed, and this is the outcome.
    Stopped(&'static str),
}

impl Report {
    /// The capacity with which the channel is never full.
    pub(crate) const KINDS: usize = 3;
}

/// What ends a publication, and counts what has become of it.
pub(crate) type Ending = Pin<Box<dyn Future<Output = Published> + Send>>;

/// Prints events in the order in which they come.
pub(crate) struct Printer {
    pub(crate) form: Box<dyn Form>,
    pub(crate) table: Option<Table>,
    /// Whether the feed was asked for its state and has not answered yet.
    pub(crate) is_asking: bool,
    /// How many updates are still to be printed; `None` without a limit.
    pub(crate) remaining: Option<u64>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) ledger: Ledger,
    /// What else sees the events.
    pub(crate) observer: Option<Box<dyn Observer>>,
    /// What ends the publication of updates, before the last event is printed.
    pub(crate) ending: Option<Ending>,
    /// What looks at that publication, for the table.
    pub(crate) publication: Option<Arc<dyn WatchPublishing>>,
    /// Whether each line is dialled once.
    pub(crate) dials_once: bool,
    /// Whether writing to stdout failed. Further lines for it are dropped.
    pub(crate) broken: bool,
}

/// The feed, so that a table can ask for its state.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Watch(pub(crate) WeakAddr<Feed<Payload>>);

/// These topics were added by the user.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Added(pub(crate) Vec<Topic>);

/// These topics were removed by the user.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Removed(pub(crate) Vec<Topic>);

/// What this process is for a share of the topics has changed.
#[cfg(feature = "nats")]
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Shared(pub(crate) ShareIs);

/// The time between two drawings of the table.
const REDRAW: Duration = Duration::from_millis(500);

impl Printer {
    fn print(&mut self, line: Line) {
        if self.broken && matches!(line, Line::Stdout(_)) {
            return;
        }
        if let Err(err) = line.write() {
            self.failed(err);
        }
    }

    fn failed(&mut self, err: io::Error) {
        self.broken = true;
        self.report(Report::StdoutFailed(err));
    }

    fn report(&self, report: Report) {
        // The channel has room for all reports; it is closed only when the run is over.
        let _ = self.reports.try_send(report);
    }

    /// Asks for the state of the feed, and draws it when the answer has come.
    fn redraw(&mut self, feed: &WeakAddr<Feed<Payload>>, ctx: &mut Context<Printer>) {
        let Some(feed) = feed.upgrade().filter(|_| !self.is_asking) else { return };
        self.is_asking = true;
        let status = feed.send(Status).into_actor(self).map(|status, printer, _| {
            printer.is_asking = false;
            let Printer { table: Some(table), ledger, publication, .. } = printer else { return };
            let publishing = publication.as_ref().map(|publication| publication.publishing());
            // The feed may have ended.
            let drawn = status.map(|status| table.draw(&status, ledger, publishing.as_ref()));
            if let Ok(Err(err)) = drawn
                && !printer.broken
            {
                printer.failed(err);
            }
        });
        ctx.spawn(status);
    }
}

impl Actor for Printer {
    type Context = Context<Printer>;
}

impl Handler<Watch> for Printer {
    type Result = ();

    fn handle(&mut self, Watch(feed): Watch, ctx: &mut Self::Context) {
        if self.table.is_some() {
            self.redraw(&feed, ctx);
            ctx.run_interval(REDRAW, move |printer, ctx| printer.redraw(&feed, ctx));
        }
    }
}

impl Handler<Added> for Printer {
    type Result = ();

    fn handle(&mut self, Added(topics): Added, _: &mut Self::Context) {
        if let Some(observer) = &mut self.observer {
            observer.added(&topics);
        }
    }
}

impl Handler<Removed> for Printer {
    type Result = ();

    fn handle(&mut self, Removed(topics): Removed, _: &mut Self::Context) {
        self.ledger.remove(&topics);
        if let Some(observer) = &mut self.observer {
            observer.removed(&topics);
        }
    }
}

impl Handler<Batch<Payload>> for Printer {
    type Result = ();

    fn handle(&mut self, batch: Batch<Payload>, _: &mut Self::Context) {
        if let Some(observer) = &mut self.observer {
            observer.updates(&batch);
        }
        if self.remaining == Some(0) {
            return;
        }
        let room =
            self.remaining.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let mut lines = Vec::new();
        let updates = &batch[..batch.len().min(room)];
        for update in updates {
            if update.snapshot {
                self.ledger.snapshot(&update.topic);
            }
            self.form.data(update, &mut lines);
        }
        if !lines.is_empty() {
            self.print(Line::Stdout(lines));
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining -= updates.len() as u64;
            if *remaining == 0 {
                self.report(Report::LimitReached);
            }
        }
    }
}

impl Handler<Gap> for Printer {
    type Result = ();

    fn handle(&mut self, gap: Gap, _: &mut Self::Context) {
        if let Some(observer) = &mut self.observer {
            observer.gap(&gap);
        }
        self.print(self.form.gap(&gap));
    }
}

impl Handler<TopicState> for Printer {
    type Result = ();

    fn handle(&mut self, state: TopicState, _: &mut Self::Context) {
        self.ledger.topic(&state);
        if let Some(observer) = &mut self.observer {
            observer.topic(&state);
        }
        self.print(self.form.topic(&state));
    }
}

impl Handler<LineState> for Printer {
    type Result = ();

    fn handle(&mut self, state: LineState, _: &mut Self::Context) {
        self.ledger.line(&state);
        if let Some(observer) = &mut self.observer {
            observer.line(&state);
        }
        self.print(self.form.line(&state));
    }
}

impl Handler<Rotated> for Printer {
    type Result = ();

    fn handle(&mut self, rotated: Rotated, _: &mut Self::Context) {
        if let Some(observer) = &mut self.observer {
            observer.rotated(&rotated);
        }
        self.print(self.form.rotated(&rotated));
    }
}

#[cfg(feature = "nats")]
impl Handler<Shared> for Printer {
    type Result = ();

    fn handle(&mut self, Shared(share): Shared, _: &mut Self::Context) {
        self.ledger.share(&share);
        self.print(self.form.share(&share));
    }
}

impl Handler<Stopped> for Printer {
    type Result = ();

    fn handle(&mut self, stopped: Stopped, ctx: &mut Self::Context) {
        let outcome = self.ledger.outcome(stopped.refusal.as_ref(), self.dials_once);
        let (topics, figures) = (self.ledger.totals(), stopped.figures);
        let ending = self.ending.take();
        let ending = async move {
            match ending {
                Some(ending) => Some(ending.await),
                None => None,
            }
        };
        let ending = ending.into_actor(self).map(move |published, printer, _| {
            let end = End { outcome, refusal: stopped.refusal, topics, figures, published };
            printer.print(printer.form.stopped(&end));
            let is_whole = published.is_none_or(|it| it.waiting == 0);
            printer.report(Report::Stopped(if is_whole { outcome } else { "failed" }));
        });
        ctx.spawn(ending);
    }
}

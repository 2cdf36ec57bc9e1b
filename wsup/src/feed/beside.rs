//! What runs beside a feed: the printer, the recording, what is served, what is published and shared.

use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
#[cfg(any(feature = "nats", feature = "serve"))]
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use actix_ws_client::Payload;
use actix_ws_client::feed::{Builder, Dialect, Feed};
use actix_ws_client::record::Recorder;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::feed::flags::FeedFlags;
use crate::feed::form::Form;
use crate::feed::human::Human;
use crate::feed::json::Json;
use crate::feed::ledger::Ledger;
use crate::feed::member::Member;
use crate::feed::observer::Observer;
use crate::feed::prepare::Prepared;
use crate::feed::printer::{Printer, Report};
#[cfg(feature = "nats")]
use crate::feed::publish::{self, Failure, Publication};
#[cfg(any(feature = "nats", feature = "serve"))]
use crate::feed::publishing::WatchPublishing;
#[cfg(feature = "serve")]
use crate::feed::serve::{Server, Serving};
use crate::feed::table::Table;
use crate::output::colour;
use crate::recording;
#[cfg(feature = "nats")]
use crate::screen::eprint_line;
use crate::secrets::Secrets;
#[cfg(feature = "nats")]
use crate::sender::reached;
use crate::signals::Signals;
#[cfg(feature = "serve")]
use crate::status::cannot;
#[cfg(feature = "nats")]
use crate::status::{CLOSED, REFUSED};
use crate::status::{STDOUT_TIMEOUT, Status};
use crate::usage::Usage;
use crate::value::Policy;

/// What runs beside a feed.
pub(crate) struct Beside {
    recorder: Option<Recorder>,
    #[cfg(feature = "serve")]
    serving: Option<Serving>,
    #[cfg(feature = "nats")]
    publication: Option<Publication>,
}

/// What the start of a run leads to: this, or the end of the run with an exit status.
pub(crate) type Started<T> = Result<T, Status>;

impl Beside {
    /// Serves the state of the feed, waits for the broker, and begins the recording.
    ///
    /// # Errors
    /// What a flag asks for and cannot be.
    pub(crate) async fn start(
        prepared: &mut Prepared<'_>,
        signals: &mut Signals,
        time_up: Option<Instant>,
    ) -> Result<Started<Beside>, Usage> {
        #[cfg(feature = "serve")]
        let serving = match serving(prepared)? {
            Ok(serving) => serving,
            Err(status) => return Ok(Err(status)),
        };
        #[cfg(feature = "nats")]
        let publication = match publication(prepared, signals, time_up).await? {
            Ok(publication) => publication,
            Err(status) => return Ok(Err(status)),
        };
        #[cfg(not(feature = "nats"))]
        let _ = (signals, time_up);
        Ok(Ok(Beside {
            recorder: prepared.flags.record.start()?,
            #[cfg(feature = "serve")]
            serving,
            #[cfg(feature = "nats")]
            publication,
        }))
    }

    /// Starts the printer on a thread of its own.
    pub(crate) fn printer(
        &self,
        prepared: &Prepared<'_>,
        reports: mpsc::Sender<Report>,
    ) -> Addr<Printer> {
        #[cfg(feature = "serve")]
        let observer = self.serving.as_ref().map(Serving::observer);
        #[cfg(not(feature = "serve"))]
        let observer = None;
        let printer = printer(prepared.flags, prepared.secrets, reports, observer);
        #[cfg(feature = "nats")]
        let printer = Printer {
            ending: self.publication.as_ref().map(|to| to.ending(prepared.flags.close_timeout())),
            publication: self.publishing(),
            ..printer
        };
        Printer::start_in_arbiter(&Arbiter::new().handle(), move |_| printer)
    }

    /// Adds what the feed delivers to.
    pub(crate) fn attach<D: Dialect<Item = Payload>>(&self, builder: Builder<D>) -> Builder<D> {
        #[cfg(feature = "nats")]
        let builder =
            self.publication.iter().fold(builder, |it, to| it.batch_handler(&to.publisher));
        self.recorder.iter().fold(builder, |builder, to| builder.record(to))
    }

    /// Shows a feed that was started to the server.
    pub(crate) fn watch(&self, feed: &Addr<Feed<Payload>>) {
        #[cfg(feature = "serve")]
        if let Some(serving) = &self.serving {
            serving.watch(feed, self.publishing());
        }
        #[cfg(not(feature = "serve"))]
        let _ = feed;
    }

    /// Returns what looks at the publication.
    #[cfg(any(feature = "nats", feature = "serve"))]
    fn publishing(&self) -> Option<Arc<dyn WatchPublishing>> {
        #[cfg(feature = "nats")]
        return self.publication.as_ref().map(|to| to.watch.clone() as Arc<dyn WatchPublishing>);
        #[cfg(not(feature = "nats"))]
        None
    }

    /// Becomes a member of those that share the topics, if they are shared.
    pub(crate) fn member(
        &self,
        prepared: &mut Prepared<'_>,
        feed: &Addr<Feed<Payload>>,
        printer: &Addr<Printer>,
    ) -> Option<Box<dyn Member>> {
        #[cfg(feature = "nats")]
        {
            let sharing = prepared.sharing.take().zip(self.publication.as_ref());
            sharing.map(|(sharing, to)| sharing.start(to, feed, printer))
        }
        #[cfg(not(feature = "nats"))]
        {
            let _ = (prepared, feed, printer);
            None
        }
    }

    /// Returns how long the end of a run may take after a signal or `--duration`.
    pub(crate) fn overdue(&self, prepared: &Prepared<'_>) -> Duration {
        let each = prepared.flags.close_timeout();
        let overdue = each + STDOUT_TIMEOUT;
        #[cfg(feature = "nats")]
        let overdue = match (&self.publication, &prepared.sharing) {
            (None, _) => overdue,
            // The feed ends first, then what it has delivered is published.
            (Some(_), None) => overdue + each,
            // What is not handed over by then is released, which takes two leases at most.
            (Some(_), Some(sharing)) => overdue + 2 * each + 2 * sharing.lease,
        };
        overdue
    }

    /// Completes the recording.
    pub(crate) fn close(&self) {
        self.recorder.iter().for_each(recording::close);
    }
}

/// Serves the state of the feed, if that is asked for.
#[cfg(feature = "serve")]
fn serving(prepared: &mut Prepared<'_>) -> Result<Started<Option<Serving>>, Usage> {
    let Some(serve) = prepared.serve.take() else { return Ok(Ok(None)) };
    let server = Server::listen(
        serve,
        prepared.flags.name(),
        prepared.secrets,
        prepared.initial(),
        prepared.budget.clone(),
    )?;
    #[cfg(feature = "nats")]
    let waits_for = prepared.publish.as_ref().map(|_| "the broker of --publish");
    #[cfg(not(feature = "nats"))]
    let waits_for = None;
    Ok(server.start(waits_for).map(Some).map_err(|err| cannot("serve", &err)))
}

/// Connects to the broker of `--publish`, if there is one.
#[cfg(feature = "nats")]
async fn publication(
    prepared: &mut Prepared<'_>,
    signals: &mut Signals,
    time_up: Option<Instant>,
) -> Result<Started<Option<Publication>>, Usage> {
    let Some(options) = prepared.publish.take() else { return Ok(Ok(None)) };
    let connected = tokio::select! {
        connected = publish::connect(options) => connected,
        () = signals.next() => return Ok(Err(CLOSED)),
        () = reached(time_up) => return Ok(Err(CLOSED)),
    };
    match connected {
        Ok(broker) => {
            let keep = prepared.sharing.as_ref().map(|sharing| 2 * sharing.lease);
            Ok(Ok(Some(Publication::start(broker, keep))))
        }
        Err(Failure::Usage(usage)) => Err(usage),
        Err(Failure::Refused(why)) => {
            eprint_line(&format!("wsup feed: {why}"));
            Ok(Err(REFUSED))
        }
    }
}

/// Makes the printer that the flags ask for.
fn printer(
    flags: &FeedFlags,
    secrets: &Secrets,
    reports: mpsc::Sender<Report>,
    observer: Option<Box<dyn Observer>>,
) -> Printer {
    let out_colour = colour(flags.color, &io::stdout());
    let table =
        if flags.json { None } else { Table::new(flags.name(), secrets.clone(), out_colour) };
    let form: Box<dyn Form> = match flags.json {
        true => Box::new(Json { secrets: secrets.clone() }),
        false => Box::new(Human {
            secrets: secrets.clone(),
            terminal: io::stdout().is_terminal(),
            has_table: table.is_some(),
            verbose: flags.verbose > 0,
            colour: colour(flags.color, &io::stderr()),
        }),
    };
    let remaining = flags.messages.map(NonZeroU64::get);
    Printer {
        form,
        table,
        is_asking: false,
        remaining,
        reports,
        ledger: Ledger::default(),
        observer,
        ending: None,
        publication: None,
        dials_once: flags.link.reconnect == Policy::Never,
        broken: false,
    }
}

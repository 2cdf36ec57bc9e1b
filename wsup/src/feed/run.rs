//! One run of `wsup feed`, from its flags to its outcome.

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use actix_ws_client::Payload;
use actix_ws_client::feed::event::{LineState, Rotated, Stopped};
use actix_ws_client::feed::{Feed, Topic, command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ending::{self, Ending, Next};
use crate::feed::dialer::Dialer;
use crate::feed::flags::FeedFlags;
use crate::feed::form::Form;
use crate::feed::human::Human;
use crate::feed::json::Json;
use crate::feed::ledger::Ledger;
use crate::feed::member::{self, Member};
use crate::feed::observer::Observer;
use crate::feed::plan::Plan;
use crate::feed::printer::{Added, Printer, Removed, Report, Watch};
#[cfg(feature = "nats")]
use crate::feed::publish::{self, Failure, Publication};
use crate::feed::replayed;
#[cfg(feature = "serve")]
use crate::feed::serve::Server;
use crate::feed::table::Table;
use crate::feed::values::Values;
use crate::feed::venue::{Topics, Venue};
use crate::from_file;
use crate::output::colour;
use crate::recording;
use crate::screen::{self, eprint_line};
use crate::secrets::Secrets;
#[cfg(feature = "nats")]
use crate::sender::reached;
use crate::signals::{Hangups, Signals};
use crate::status::{
    CLOSED, FAILED, REFUSED, STDOUT_TIMEOUT, Status, USAGE, broken_stdout, cannot,
};
use crate::usage::Usage;
use crate::value::Policy;

/// The largest text that a message is inflated to, in bytes, unless `--max-message` is given: that of the feed's
/// messages.
const MAX_MESSAGE: usize = 64 << 20;

/// The largest file with a venue or topics, in bytes.
const MAX_FILE: usize = 16 << 20;

/// Runs a feed to its end. Returns the exit status.
pub(crate) async fn run(
    flags: &FeedFlags,
    secrets: &Secrets,
    began: Instant,
) -> Result<Status, Usage> {
    let (venue, topics) = read(&flags.file).map_err(Usage)?;
    let venue = Arc::new(venue);
    let link = Arc::new(flags.link.prepare(secrets)?);
    let limit = flags.link.max_message().unwrap_or(MAX_MESSAGE);
    let dialer = Dialer { venue: venue.clone(), secrets: secrets.clone(), limit };
    let replay = flags.replay.open()?;
    let values = match &replay {
        None => dialer.check(|builder| link.apply(builder))?,
        Some(_) => Values::of_replay(&venue, secrets),
    };
    let plan = Plan::new(&venue, &topics, values);
    let plan = plan.map_err(|why| Usage(format!("{}: {why}", flags.file.display())))?;
    #[cfg(feature = "serve")]
    let prepared = flags.serve.prepare()?;
    #[cfg(feature = "nats")]
    let sharing = flags.share.prepare(&venue, &topics)?;
    #[cfg(feature = "nats")]
    let lease = sharing.as_ref().map(|sharing| sharing.lease);
    #[cfg(feature = "nats")]
    let publish = flags.publish.prepare(secrets)?;
    #[cfg(feature = "nats")]
    let publish = publish.map(|options| options.lease(lease.unwrap_or_default()));
    if flags.check {
        let line = if flags.json { plan.json() } else { plan.human(secrets) };
        return Ok(line.write().map_or_else(|err| broken_stdout(&err), |()| CLOSED));
    }
    let budget = venue.budget();
    // A feed that shares gets the topics of its shares, and has its part of the limits.
    let initial = &topics[..];
    #[cfg(feature = "nats")]
    let (budget, initial) = match &sharing {
        Some(sharing) => (sharing.budget.clone(), &[][..]),
        None => (budget, initial),
    };
    #[cfg(feature = "serve")]
    let listen = |prepared| Server::listen(prepared, name(flags), secrets, initial, budget.clone());
    #[cfg(feature = "serve")]
    let server = prepared.map(listen).transpose()?;
    #[cfg(feature = "serve")]
    let observer = server.as_ref().map(Server::observer);
    #[cfg(not(feature = "serve"))]
    let observer = None;
    let (mut signals, mut hangups) = match Signals::new().and_then(|it| Ok((it, Hangups::new()?))) {
        Ok(both) => both,
        Err(err) => return Ok(cannot("take signals", &err)),
    };
    let time_up = flags.duration().map(|time| began + time);
    #[cfg(feature = "nats")]
    let publication = match publication(publish, lease, &mut signals, time_up).await? {
        Ok(publication) => publication,
        Err(status) => return Ok(status),
    };
    let recorder = flags.record.start()?;
    let (reports, mut reported) = mpsc::channel(Report::KINDS);
    #[cfg_attr(not(feature = "nats"), expect(unused_mut, reason = "set for --publish alone"))]
    let mut printer = printer(flags, secrets, reports, observer);
    #[cfg_attr(not(feature = "nats"), expect(unused_mut, reason = "longer for --publish alone"))]
    let mut overdue = flags.link.close_timeout() + STDOUT_TIMEOUT;
    #[cfg(feature = "nats")]
    if let Some(publication) = &publication {
        // The feed ends first, then what it has delivered is published.
        overdue += flags.link.close_timeout();
        printer.ending = Some(publication.ending(flags.link.close_timeout()));
    }
    let printer = Printer::start_in_arbiter(&Arbiter::new().handle(), move |_| printer);
    let builder = Feed::builder(async move |attempt| dialer.dial(attempt).await)
        .connection(move |builder| link.apply(builder))
        .rules(venue.rules())
        .lines(venue.lines)
        .overflow(venue.overflow)
        .topics(initial.iter().map(String::as_str))
        .batch_handler(&printer)
        .on::<LineState>(printer.clone().recipient())
        .on::<Rotated>(printer.clone().recipient())
        .on::<Stopped>(printer.clone().recipient());
    #[cfg(feature = "nats")]
    let builder = publication.iter().fold(builder, |it, to| it.batch_handler(&to.publisher));
    let builder = venue.silence().into_iter().fold(builder, |it, silence| it.silence(silence));
    let rotate = venue.rotate.iter();
    let builder = rotate.fold(builder, |builder, rotate| builder.rotate(rotate.to_feed()));
    let resync = venue.resync.iter();
    let builder = resync.fold(builder, |builder, resync| builder.resync(resync.to_feed()));
    let builder = budget.iter().fold(builder, |builder, budget| builder.budget(budget));
    let feed = match &replay {
        None => recorder.iter().fold(builder, |builder, to| builder.record(to)).start()?,
        Some(replay) => builder.replay(replay.clone())?,
    };
    #[cfg(feature = "serve")]
    if let Some(Err(err)) = server.map(|server| server.start(&feed)) {
        return Ok(cannot("serve", &err));
    }
    printer.do_send(Watch(feed.downgrade()));
    #[cfg(not(feature = "nats"))]
    let member = None;
    #[cfg(feature = "nats")]
    let member = sharing.zip(publication.as_ref()).map(|(sharing, to)| {
        // What is not handed over by then is released, which takes two leases at most.
        overdue += flags.link.close_timeout() + 2 * sharing.lease;
        sharing.start(&to.broker, &feed, &to.handle, &printer)
    });
    let topics = topics.into_iter().collect();
    let run =
        Run { feed, printer, venue, secrets, topics, flags, overdue, member, is_leaving: false };
    let status = run.run_to_end(&mut signals, &mut hangups, &mut reported, time_up).await;
    recorder.iter().for_each(recording::close);
    screen::end_prompt();
    let is_whole = replay.iter().all(replayed::say_what_came);
    Ok(if is_whole { status } else { FAILED })
}

/// Connects to the broker of `--publish`, if there is one. Returns the exit status if the run ends before.
#[cfg(feature = "nats")]
async fn publication(
    options: Option<actix_ws_client::nats::Options>,
    lease: Option<Duration>,
    signals: &mut Signals,
    time_up: Option<Instant>,
) -> Result<Result<Option<Publication>, Status>, Usage> {
    let Some(options) = options else { return Ok(Ok(None)) };
    let connected = tokio::select! {
        connected = publish::connect(options) => connected,
        () = signals.next() => return Ok(Err(CLOSED)),
        () = reached(time_up) => return Ok(Err(CLOSED)),
    };
    match connected {
        Ok(broker) => {
            let keep = lease.map(|lease| 2 * lease);
            Ok(Ok(Some(Publication::start(broker, keep))))
        }
        Err(Failure::Usage(usage)) => Err(usage),
        Err(Failure::Refused(why)) => {
            eprint_line(&format!("wsup feed: {why}"));
            Ok(Err(REFUSED))
        }
    }
}

/// Reads a file, and the topics that it names.
fn read(path: &Path) -> Result<(Venue, Vec<String>), String> {
    let name = path.display();
    let text = file(path).map_err(|why| format!("{name}: {why}"))?;
    let venue = Venue::parse(&text).map_err(|why| format!("{name}: {why}"))?;
    let topics = match &venue.topics {
        Topics::List(topics) => topics.clone(),
        Topics::File(path) => {
            let text =
                file(Path::new(path)).map_err(|why| format!("topics_file: {path}: {why}"))?;
            venue.topics_of(&text).map_err(|why| format!("topics_file: {path}: {why}"))?
        }
    };
    Ok((venue, topics))
}

fn file(path: &Path) -> Result<String, String> {
    let bytes = from_file::read(path, MAX_FILE, "it")?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// Returns the name of the feed: that of its file.
fn name(flags: &FeedFlags) -> String {
    flags.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Makes the printer that the flags ask for.
fn printer(
    flags: &FeedFlags,
    secrets: &Secrets,
    reports: mpsc::Sender<Report>,
    observer: Option<Box<dyn Observer>>,
) -> Printer {
    let name = name(flags);
    let out_colour = colour(flags.color, &io::stdout());
    let table = if flags.json { None } else { Table::new(name, secrets.clone(), out_colour) };
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
        dials_once: flags.link.reconnect == Policy::Never,
        broken: false,
    }
}

/// A running feed.
struct Run<'f> {
    feed: Addr<Feed<Payload>>,
    printer: Addr<Printer>,
    venue: Arc<Venue>,
    secrets: &'f Secrets,
    /// The topics that are wanted.
    topics: HashSet<String>,
    flags: &'f FeedFlags,
    /// How long the end may take after a signal or `--duration`.
    overdue: Duration,
    /// What shares the topics with other processes, until it leaves.
    member: Option<Box<dyn Member>>,
    is_leaving: bool,
}

impl Run<'_> {
    /// Runs until the feed has stopped or the end has taken too long. Returns the exit status.
    async fn run_to_end(
        mut self,
        signals: &mut Signals,
        hangups: &mut Hangups,
        reported: &mut mpsc::Receiver<Report>,
        time_up: Option<Instant>,
    ) -> Status {
        let mut ending = Ending::new(self.overdue, time_up);
        loop {
            tokio::select! {
                biased;
                next = ending.next(signals, reported) => match next {
                    Next::Close | Next::Report(Some(Report::LimitReached)) => {}
                    Next::Abort => return self.abort(reported).await,
                    Next::Overdue => return CLOSED,
                    Next::Report(Some(Report::StdoutFailed(err))) => {
                        ending.fail(|| broken_stdout(&err));
                    }
                    Next::Report(Some(Report::Stopped(outcome))) => {
                        return ending.status(status(outcome));
                    }
                    Next::Report(None) => return FAILED,
                },
                why = member::failed(&mut self.member) => {
                    eprint_line(&format!("wsup feed: {why}"));
                    ending.fail(|| USAGE);
                }
                () = hangups.next() => {
                    self.reload();
                    continue;
                }
            }
            // Every branch that gets here ends the run. A second Close changes nothing.
            self.close();
        }
    }

    /// Closes the feed. What is shared is handed over first.
    fn close(&mut self) {
        let within = self.flags.link.close_timeout();
        let close = command::Close::within(within);
        if let Some(member) = self.member.take() {
            self.is_leaving = true;
            let feed = self.feed.clone();
            actix::spawn(async move {
                member.leave(within).await;
                feed.do_send(close);
            });
        } else if !self.is_leaving {
            self.feed.do_send(close);
        }
    }

    /// Reads the topics again, and checks them against the rules that the run began with.
    fn read_topics(&self) -> Result<Vec<String>, String> {
        let (_, topics) = read(&self.flags.file)?;
        if let Some(topic) = topics.iter().find(|topic| !self.venue.fits(topic)) {
            let why = "does not fit the `topic.parts` that the run began with";
            return Err(format!("\"{topic}\" {why}"));
        }
        let values = Values::read(&self.venue, self.secrets)?;
        Plan::new(&self.venue, &topics, values)?;
        Ok(topics)
    }

    /// Adds and removes the difference to the topics of the file. A file that is wrong changes nothing.
    fn reload(&mut self) {
        let topics = match self.read_topics() {
            Ok(topics) => topics,
            Err(why) => return eprint_line(&format!("wsup feed: topics not changed: {why}")),
        };
        if let Some(member) = &self.member {
            let changed = member.change(topics.iter().map(Topic::from).collect());
            actix::spawn(async move {
                eprint_line(&match changed.await {
                    Ok(words) => format!("wsup feed: topics: {words}"),
                    Err(why) => format!("wsup feed: topics not changed: {why}"),
                });
            });
            return;
        }
        let topics: HashSet<String> = topics.into_iter().collect();
        let added: Vec<Topic> = topics.difference(&self.topics).map(Topic::from).collect();
        let removed: Vec<Topic> = self.topics.difference(&topics).map(Topic::from).collect();
        eprint_line(&format!(
            "wsup feed: topics: {} added, {} removed, {} in all",
            added.len(),
            removed.len(),
            topics.len()
        ));
        self.topics = topics;
        // The answers are the events that the printer prints.
        self.printer.do_send(Removed(removed.clone()));
        self.printer.do_send(Added(added.clone()));
        self.feed.do_send(command::Remove::new(removed));
        self.feed.do_send(command::Add::new(added));
    }

    /// Drops the sockets, and prints the last event if that does not take long.
    async fn abort(&self, reported: &mut mpsc::Receiver<Report>) -> Status {
        self.feed.do_send(command::Close::within(Duration::ZERO));
        ending::aborted(reported, |report| matches!(report, Report::Stopped(_))).await
    }
}

fn status(outcome: &str) -> Status {
    match outcome {
        "closed" => CLOSED,
        "refused" => REFUSED,
        _ => FAILED,
    }
}

//! One run of `wsup feed`, from its flags to its outcome.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_ws_client::Payload;
use actix_ws_client::feed::event::{LineState, Rotated, Stopped};
use actix_ws_client::feed::{Feed, Topic, command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ending::{self, Ending, Next};
use crate::feed::beside::Beside;
use crate::feed::flags::FeedFlags;
use crate::feed::member::{self, Member};
use crate::feed::plan::Plan;
use crate::feed::prepare::{self, Prepared};
use crate::feed::printer::{Added, Printer, Removed, Report, Watch};
use crate::feed::replayed;
use crate::feed::values::Values;
use crate::feed::venue::Venue;
use crate::screen::{self, eprint_line};
use crate::secrets::Secrets;
use crate::signals::{Hangups, Signals};
use crate::status::{CLOSED, FAILED, REFUSED, Status, USAGE, broken_stdout, cannot};
use crate::usage::Usage;

/// Runs a feed to its end. Returns the exit status.
pub(crate) async fn run(
    flags: &FeedFlags,
    secrets: &Secrets,
    began: Instant,
) -> Result<Status, Usage> {
    let mut prepared = Prepared::read(flags, secrets)?;
    if flags.check {
        return Ok(prepared.print_plan());
    }
    let (mut signals, mut hangups) = match Signals::new().and_then(|it| Ok((it, Hangups::new()?))) {
        Ok(both) => both,
        Err(err) => return Ok(cannot("take signals", &err)),
    };
    let time_up = flags.duration().map(|time| began + time);
    let beside = match Beside::start(&mut prepared, &mut signals, time_up).await? {
        Ok(beside) => beside,
        Err(status) => return Ok(status),
    };
    let (reports, mut reported) = mpsc::channel(Report::KINDS);
    let printer = beside.printer(&prepared, reports);
    let feed = start(&prepared, &beside, &printer)?;
    beside.watch(&feed);
    printer.do_send(Watch(feed.downgrade()));
    let overdue = beside.overdue(&prepared);
    let member = beside.member(&mut prepared, &feed, &printer);
    let Prepared { venue, topics, replay, .. } = prepared;
    let topics = topics.into_iter().collect();
    let run =
        Run { feed, printer, venue, secrets, topics, flags, overdue, member, is_leaving: false };
    let status = run.run_to_end(&mut signals, &mut hangups, &mut reported, time_up).await;
    beside.close();
    screen::end_prompt();
    let is_whole = replay.iter().all(replayed::say_what_came);
    Ok(if is_whole { status } else { FAILED })
}

/// Starts the feed of a venue, or replays it.
fn start(
    prepared: &Prepared<'_>,
    beside: &Beside,
    printer: &Addr<Printer>,
) -> Result<Addr<Feed<Payload>>, Usage> {
    let Prepared { venue, replay, budget, .. } = prepared;
    let (dialer, link) = (prepared.dialer(), prepared.link.clone());
    let builder = Feed::builder(async move |attempt| dialer.dial(attempt).await)
        .connection(move |builder| link.apply(builder))
        .rules(venue.rules())
        .lines(venue.lines)
        .overflow(venue.overflow)
        .topics(prepared.initial().iter().map(String::as_str))
        .batch_handler(printer)
        .on::<LineState>(printer.clone().recipient())
        .on::<Rotated>(printer.clone().recipient())
        .on::<Stopped>(printer.clone().recipient());
    let builder = beside.attach(builder);
    let builder = venue.silence().into_iter().fold(builder, |it, silence| it.silence(silence));
    let rotate = venue.rotate.iter();
    let builder = rotate.fold(builder, |builder, rotate| builder.rotate(rotate.to_feed()));
    let resync = venue.resync.iter();
    let builder = resync.fold(builder, |builder, resync| builder.resync(resync.to_feed()));
    let builder = budget.iter().fold(builder, |builder, budget| builder.budget(budget));
    Ok(match replay {
        None => builder.start()?,
        Some(replay) => builder.replay(replay.clone())?,
    })
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
        let within = self.flags.close_timeout();
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
        let (_, topics) = prepare::read(&self.flags.file)?;
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

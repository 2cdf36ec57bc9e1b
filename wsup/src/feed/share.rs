//! The flags of `--share`, what they mean for the limits of the venue, and the shares that they start.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use actix::Addr;
use actix_ws_client::feed::{Feed, Topic};
use actix_ws_client::nats::{ShareEvent, ShareState, Shares, SharesHandle};
use actix_ws_client::{Budget, Payload};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::feed::form::ShareIs;
use crate::feed::member::{Member, Pending};
use crate::feed::printer::{Added, Printer, Removed, Shared};
use crate::feed::publish::Publication;
use crate::feed::venue::Venue;
use crate::rate::Rate;
use crate::usage::Usage;
use crate::value::PositiveTime;

/// The flags of sharing.
#[derive(clap::Args)]
pub(crate) struct ShareFlags {
    /// Share the topics with all processes that name the same bucket of the broker: each has its part of them
    #[arg(long, value_name = "NAME", requires = "publish")]
    share: Option<String>,

    /// Take a share over from a process that is not heard of for this time; the same for all [default: 5s]
    #[arg(long, value_name = "TIME", requires = "share")]
    share_lease: Option<PositiveTime>,

    /// Use this part of rules.dials and rules.sockets, 1/N: the most processes that share
    #[arg(long, value_name = "N", requires = "share")]
    share_members: Option<NonZeroU32>,

    /// Keep a second process subscribed to each share, so that nothing is missing when one is killed
    #[arg(long, requires = "share")]
    share_standby: bool,
}

/// What sharing means for one process.
pub(crate) struct Sharing {
    shares: Shares,
    pub(crate) lease: Duration,
    /// Its part of the venue's limits.
    pub(crate) budget: Option<Budget>,
}

/// The duration of a lease, unless a flag says otherwise.
const LEASE: Duration = Duration::from_secs(5);

impl ShareFlags {
    /// Returns what the flags mean, if the topics are shared.
    ///
    /// # Errors
    /// Limits that cannot be divided among the processes.
    pub(crate) fn prepare(
        &self,
        venue: &Venue,
        topics: &[String],
    ) -> Result<Option<Sharing>, Usage> {
        let Some(name) = &self.share else { return Ok(None) };
        let per_share = venue.topics_per_line().min(topics.len().max(1));
        let part = self.part(venue, topics.len().div_ceil(per_share))?;
        let lease = self.share_lease.map_or(LEASE, |PositiveTime(time)| time);
        let topics = topics.iter().map(String::as_str);
        let mut shares = Shares::new(name, topics, per_share).lease(lease).most(part.most);
        let has_numbers = venue.data.sequence.is_some();
        if self.share_standby {
            if !has_numbers {
                return Err(Usage(
                    "--share-standby: without `data.sequence` what two processes bring cannot be told apart".into(),
                ));
            }
            shares = shares.standby();
        }
        if !has_numbers {
            shares = shares.break_first();
        }
        Ok(Some(Sharing { shares, lease, budget: part.budget }))
    }

    /// Returns the part of the limits that this process has.
    fn part(&self, venue: &Venue, shares: usize) -> Result<Part, Usage> {
        let rules = &venue.rules;
        if rules.dials.is_empty() && rules.sockets.is_none() {
            return Ok(Part { budget: venue.budget(), most: u32::MAX });
        }
        let Some(members) = self.share_members else {
            return Err(Usage(
                "--share: `rules.dials` and `rules.sockets` are the limits of all processes together: say with --share-members how many there are at most".into(),
            ));
        };
        let members = members.get() as usize;
        if let Some(rate) = rules.dials.iter().find(|rate| rate.count < members) {
            let Rate { count, .. } = rate;
            return Err(Usage(format!(
                "--share-members: `rules.dials` allows {count} dials, and {members} processes need one each"
            )));
        }
        let lines = usize::from(venue.lines);
        let most = rules.sockets.map_or(usize::MAX, |sockets| sockets / members / lines);
        if most.saturating_mul(members) < shares {
            let sockets = rules.sockets.unwrap_or_default();
            return Err(Usage(format!(
                "--share-members: `rules.sockets` allows {sockets} sockets, {} for each of {members} processes, which is not enough for {shares} shares with {lines} lines each",
                sockets / members
            )));
        }
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Ok(Part { budget: venue.budget_part(members), most })
    }
}

/// The part of a venue's limits that one process has.
struct Part {
    budget: Option<Budget>,
    /// The most shares that it has sockets for.
    most: u32,
}

impl Sharing {
    /// Becomes a member as soon as the broker answers.
    pub(crate) fn start(
        self,
        to: &Publication,
        feed: &Addr<Feed<Payload>>,
        printer: &Addr<Printer>,
    ) -> Box<dyn Member> {
        // Each is sent at most once.
        let (failures, failed) = mpsc::channel(2);
        let shares = self.shares.on_event(on_event(printer.clone(), failures.clone()));
        let (started, handle) = watch::channel(None);
        to.watch.watch_shares(handle.clone());
        let (broker, feed, publisher) = (to.broker.clone(), feed.downgrade(), to.handle.clone());
        let task = actix::spawn(async move {
            let Some(feed) = feed.upgrade() else { return };
            match shares.start(&broker, &feed, &publisher).await {
                Ok(handle) => drop(started.send_replace(Some(handle))),
                // The channel has room for it.
                Err(err) => drop(failures.try_send(format!("--share: {err}"))),
            }
        });
        Box::new(Sharer { task, handle, failed })
    }
}

/// Returns what is done about each event.
fn on_event(
    printer: Addr<Printer>,
    failures: mpsc::Sender<String>,
) -> impl Fn(ShareEvent) + Send + Sync {
    move |event| match event {
        ShareEvent::State { share, state, .. } => {
            let fence = match state {
                ShareState::Owned { fence, .. } => Some(fence),
                _ => None,
            };
            printer.do_send(Shared(ShareIs { share, state: state.name(), fence }));
        }
        ShareEvent::Topics { added, removed, .. } => {
            printer.do_send(Removed(removed));
            printer.do_send(Added(added));
        }
        ShareEvent::Refused { member, .. } => {
            let why = "shares other topics under this name, or with other flags";
            // The channel has room for it.
            drop(failures.try_send(format!("--share: process {member} {why}")));
        }
        _ => {}
    }
}

/// A process that shares, or is about to.
struct Sharer {
    task: JoinHandle<()>,
    handle: watch::Receiver<Option<SharesHandle>>,
    failed: mpsc::Receiver<String>,
}

impl Member for Sharer {
    fn leave(&self, within: Duration) -> Pending<()> {
        // It may not have begun.
        self.task.abort();
        let handle = self.handle.borrow().clone();
        Box::pin(async move {
            if let Some(handle) = handle {
                handle.leave(within).await;
            }
        })
    }

    fn change(&self, topics: Vec<Topic>) -> Pending<Result<String, String>> {
        let handle = self.handle.borrow().clone();
        Box::pin(async move {
            let handle = handle.ok_or("the broker of --share has not answered yet")?;
            let changed = handle.change(topics).await.map_err(|err| err.to_string())?;
            let (added, removed, shares) = (changed.added, changed.removed, changed.shares);
            Ok(format!("{added} added, {removed} removed, in {shares} shares"))
        })
    }

    fn failed(&mut self) -> Pin<Box<dyn Future<Output = String> + '_>> {
        Box::pin(async {
            match self.failed.recv().await {
                Some(why) => why,
                // Nothing can fail any more.
                None => std::future::pending().await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VENUE: &str = r#"
        url = "ws://127.0.0.1:1"
        topics = ["a"]
        subscribe.send = "{id} {topics}"
        ack.id = "/id"
    "#;

    const NUMBERS: &str = r#"data = { topic = "/t", sequence = { kind = "id", at = "/n" } }"#;
    const NO_NUMBERS: &str = r#"data = { topic = "/t" }"#;

    /// What flags mean for 12 topics, 3 on each line.
    fn part(rules: &str, members: u32) -> Result<u32, String> {
        let text = format!("{VENUE}{NUMBERS}\n[rules]\ntopics_per_line = 3\n{rules}");
        let flags = ShareFlags { share_members: NonZeroU32::new(members), ..flags() };
        let venue = Venue::parse(&text)?;
        flags.part(&venue, 4).map(|part| part.most).map_err(|Usage(why)| why)
    }

    fn flags() -> ShareFlags {
        let share = Some("gateway".to_owned());
        ShareFlags { share, share_lease: None, share_members: None, share_standby: false }
    }

    #[test]
    fn each_process_has_its_part_of_the_limits() {
        assert_eq!(part("", 0), Ok(u32::MAX));
        assert_eq!(part("sockets = 12", 3), Ok(4));
        assert_eq!(part("sockets = 6", 3), Ok(2));
        assert_eq!(part("dials = \"3/1s\"", 3), Ok(u32::MAX));
        for (rules, members, word) in [
            ("sockets = 12", 0, "--share-members"),
            ("dials = \"3/1s\"", 0, "--share-members"),
            ("dials = \"3/1s\"", 4, "allows 3 dials"),
            ("sockets = 5", 3, "1 for each of 3 processes"),
            ("sockets = 2", 3, "0 for each"),
        ] {
            let why = part(rules, members).expect_err(rules);
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_standby_needs_numbers() {
        let topics = ["a".to_owned()];
        for (data, is_right) in [(NUMBERS, true), (NO_NUMBERS, false)] {
            let venue = Venue::parse(&format!("{VENUE}{data}")).expect("it is right");
            let flags = ShareFlags { share_standby: true, ..flags() };
            assert_eq!(flags.prepare(&venue, &topics).is_ok(), is_right);
            let flags = ShareFlags { share_standby: false, ..flags };
            assert!(flags.prepare(&venue, &topics).is_ok());
        }
    }
}

//! What a run needs before anything is dialled: its flags and files, read and checked.

use std::path::Path;
use std::sync::Arc;

use actix_ws_client::Budget;
use actix_ws_client::feed::Replay;
#[cfg(feature = "nats")]
use actix_ws_client::nats::Options;

use crate::feed::dialer::Dialer;
use crate::feed::flags::FeedFlags;
use crate::feed::plan::Plan;
#[cfg(feature = "serve")]
use crate::feed::serve;
#[cfg(feature = "nats")]
use crate::feed::share::Sharing;
use crate::feed::values::Values;
use crate::feed::venue::{Topics, Venue};
use crate::from_file;
use crate::link;
use crate::secrets::Secrets;
use crate::status::{CLOSED, Status, broken_stdout};
use crate::usage::Usage;

/// The largest text that a message is inflated to, in bytes, unless `--max-message` is given: that of the feed's
/// messages.
const MAX_MESSAGE: usize = 64 << 20;

/// The largest file with a venue or topics, in bytes.
const MAX_FILE: usize = 16 << 20;

/// The flags and files of a run, read and checked.
pub(crate) struct Prepared<'f> {
    pub(crate) flags: &'f FeedFlags,
    pub(crate) secrets: &'f Secrets,
    pub(crate) venue: Arc<Venue>,
    pub(crate) topics: Vec<String>,
    pub(crate) link: Arc<link::Prepared>,
    pub(crate) replay: Option<Replay>,
    /// The limits of dials and sockets, or the part of them that this process has.
    pub(crate) budget: Option<Budget>,
    plan: Plan,
    #[cfg(feature = "serve")]
    pub(crate) serve: Option<serve::Prepared>,
    #[cfg(feature = "nats")]
    pub(crate) publish: Option<Options>,
    #[cfg(feature = "nats")]
    pub(crate) sharing: Option<Sharing>,
}

impl<'f> Prepared<'f> {
    /// Reads the files, and checks everything. Nothing is dialled or changed.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn read(flags: &'f FeedFlags, secrets: &'f Secrets) -> Result<Prepared<'f>, Usage> {
        let (venue, topics) = read(&flags.file).map_err(Usage)?;
        let venue = Arc::new(venue);
        let link = Arc::new(flags.link.prepare(secrets)?);
        let replay = flags.replay.open()?;
        let values = match &replay {
            None => dialer(flags, secrets, &venue).check(|builder| link.apply(builder))?,
            Some(_) => Values::of_replay(&venue, secrets),
        };
        let plan = Plan::new(&venue, &topics, values);
        let plan = plan.map_err(|why| Usage(format!("{}: {why}", flags.file.display())))?;
        #[cfg(feature = "serve")]
        let serve = flags.serve.prepare()?;
        let budget = venue.budget();
        #[cfg(feature = "nats")]
        let sharing = flags.share.prepare(&venue, &topics)?;
        #[cfg(feature = "nats")]
        let budget = sharing.as_ref().map_or(budget, |sharing| sharing.budget.clone());
        #[cfg(feature = "nats")]
        let lease = sharing.as_ref().map(|sharing| sharing.lease).unwrap_or_default();
        #[cfg(feature = "nats")]
        let publish = flags.publish.prepare(secrets)?.map(|options| options.lease(lease));
        Ok(Prepared {
            flags,
            secrets,
            venue,
            topics,
            link,
            replay,
            budget,
            plan,
            #[cfg(feature = "serve")]
            serve,
            #[cfg(feature = "nats")]
            publish,
            #[cfg(feature = "nats")]
            sharing,
        })
    }

    /// Prints the plan, for `--check`. Returns the exit status.
    pub(crate) fn print_plan(&self) -> Status {
        let line = if self.flags.json { self.plan.json() } else { self.plan.human(self.secrets) };
        line.write().map_or_else(|err| broken_stdout(&err), |()| CLOSED)
    }

    /// Returns what makes each dial.
    pub(crate) fn dialer(&self) -> Dialer {
        dialer(self.flags, self.secrets, &self.venue)
    }

    /// Returns the topics that the feed begins with. One that is shared gets those of its shares later.
    pub(crate) fn initial(&self) -> &[String] {
        #[cfg(feature = "nats")]
        if self.sharing.is_some() {
            return &[];
        }
        &self.topics
    }
}

fn dialer(flags: &FeedFlags, secrets: &Secrets, venue: &Arc<Venue>) -> Dialer {
    let limit = flags.link.max_message().unwrap_or(MAX_MESSAGE);
    Dialer { venue: venue.clone(), secrets: secrets.clone(), limit }
}

/// Reads a file, and the topics that it names.
pub(crate) fn read(path: &Path) -> Result<(Venue, Vec<String>), String> {
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

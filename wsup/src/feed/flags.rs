//! The flags of `wsup feed`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ColorChoice};

#[cfg(feature = "nats")]
use crate::feed::publish::PublishFlags;
use crate::feed::replayed::ReplayFlags;
#[cfg(feature = "serve")]
use crate::feed::serve::ServeFlags;
#[cfg(feature = "nats")]
use crate::feed::share::ShareFlags;
use crate::link::Link;
use crate::recording::RecordFlags;
use crate::value::PositiveTime;

/// Many connections as one market-data feed, described by a TOML file
///
/// Keeps the topics of FILE subscribed over as many connections as they need. Prints each update, each gap, and what
/// becomes of each topic. On a terminal it draws a table of the lines. docs/feed.md describes the file.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FeedFlags {
    /// The venue and the topics, as TOML
    pub(crate) file: PathBuf,

    /// Print every event as one JSON object a line, and nothing else on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Check the file, print what would be sent and how long the limits take, and exit; nothing is dialled
    #[arg(long)]
    pub(crate) check: bool,

    /// When to use colour; auto: on terminals, unless NO_COLOR is set
    #[arg(long, value_name = "auto|always|never", default_value = "auto")]
    pub(crate) color: ColorChoice,

    /// Print each topic that is confirmed, and each step of a line; -vv: log everything to stderr
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Close after this many updates
    #[arg(long, value_name = "N")]
    pub(crate) messages: Option<NonZeroU64>,

    /// Close after this time, measured from the start of the process
    #[arg(long, value_name = "TIME")]
    duration: Option<PositiveTime>,

    #[cfg(feature = "serve")]
    #[command(flatten)]
    pub(crate) serve: ServeFlags,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(crate) publish: PublishFlags,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(crate) share: ShareFlags,

    #[command(flatten)]
    pub(crate) record: RecordFlags,

    #[command(flatten)]
    pub(crate) replay: ReplayFlags,

    #[command(flatten)]
    pub(crate) link: Link,
}

const AFTER_HELP: &str = "\
SIGHUP reads the topics of FILE again. ${env:NAME} and ${file:PATH} in FILE are read again for each dial.
The largest message is 64m and a socket counts as stable after 60s, unless a flag says otherwise.

Exit status: 0 closed, 1 gave up or failed, 2 usage, 3 refused, 130 aborted by a second signal.";

impl FeedFlags {
    /// Returns the name of the feed: that of its file.
    pub(crate) fn name(&self) -> String {
        self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns how long each part of the end may take.
    pub(crate) fn close_timeout(&self) -> Duration {
        self.link.close_timeout()
    }

    /// Returns the time limit of the whole run.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration.map(|PositiveTime(time)| time)
    }
}

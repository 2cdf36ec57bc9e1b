//! How the output looks: the flags, and colour.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{ArgAction, ColorChoice};

/// The flags of the output.
#[derive(clap::Args)]
pub(crate) struct OutputFlags {
    /// Print every event as one JSON object a line, and nothing else on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Print what messages carry and nothing else: text as a line, binary as it is; no editing
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) raw: bool,

    /// Colour: auto is on terminals, unless NO_COLOR is set
    #[arg(long, value_name = "auto|always|never", default_value = "auto")]
    color: ColorChoice,

    /// Tell how long each stage of a dial took, and print before each message the seconds since
    /// the start
    #[arg(long)]
    pub(crate) timings: bool,

    /// Keep what is typed at the prompt in this file, and bring it back [default: kept nowhere]
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,

    /// Tell of states, pings and pongs too, and print before each message what it is; -vv: log
    /// everything to stderr
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl OutputFlags {
    /// Whether a stream has colour.
    pub(crate) fn colour(&self, stream: &impl IsTerminal) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => stream.is_terminal() && !set("NO_COLOR") && !dumb(),
        }
    }

    /// Whether lines are typed at a prompt, if there are terminals to do it on.
    pub(crate) fn prompts(&self) -> bool {
        let terminals = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        terminals && !dumb() && !self.json && !self.raw
    }
}

/// Whether the terminal says that it obeys nothing.
fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// What has a colour.
#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Message,
    Info,
    Failure,
}

impl Paint {
    /// The line in its colour.
    pub(crate) fn on(self, line: &str) -> String {
        let code = match self {
            Paint::Message => "34",
            Paint::Info => "2",
            Paint::Failure => "31",
        };
        format!("\u{1b}[{code}m{line}\u{1b}[0m")
    }
}

//! The flags that control the output, and its colours.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{ArgAction, ColorChoice};

/// The flags of the output.
#[derive(clap::Args)]
pub(crate) struct OutputFlags {
    /// Print every event as one JSON object a line, and nothing else on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Print only the payload of messages: text as a line, binary unchanged; no line editing
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) raw: bool,

    /// When to use colour; auto: on terminals, unless NO_COLOR is set
    #[arg(long, value_name = "auto|always|never", default_value = "auto")]
    color: ColorChoice,

    /// Print the duration of each stage of a dial, and before each message the seconds since the
    /// start
    #[arg(long)]
    pub(crate) timings: bool,

    /// Keep the history of the prompt in this file [default: not kept]
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,

    /// Print states, pings and pongs too, and the type of each message before it; -vv: log
    /// everything to stderr
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl OutputFlags {
    /// Returns whether a stream gets colour.
    pub(crate) fn colour(&self, stream: &impl IsTerminal) -> bool {
        colour(self.color, stream)
    }

    /// Returns whether lines are typed at a prompt: on terminals, without `--json` and `--raw`.
    pub(crate) fn prompts(&self) -> bool {
        let terminals = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        terminals && !dumb() && !self.json && !self.raw
    }
}

/// Returns whether a stream gets colour.
pub(crate) fn colour(choice: ColorChoice, stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => stream.is_terminal() && !set("NO_COLOR") && !dumb(),
    }
}

/// Returns whether the terminal supports no control sequences.
fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The colour of a line.
#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Message,
    Info,
    Failure,
}

impl Paint {
    /// Returns the line in this colour.
    pub(crate) fn on(self, line: &str) -> String {
        let code = match self {
            Paint::Message => "34",
            Paint::Info => "2",
            Paint::Failure => "31",
        };
        format!("\u{1b}[{code}m{line}\u{1b}[0m")
    }
}

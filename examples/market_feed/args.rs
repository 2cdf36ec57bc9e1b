//! The command line, parsed by hand: a crate for it would be a tenth of what a first build compiles.

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use crate::exchange::SYMBOLS;

const HELP: &str = "\
Watches a market over a few supervised lines while the exchange fails on purpose.

Usage: market_feed [OPTIONS]

Options:
      --duration TIME  How long to watch: 500ms, 5s, 2m [default: 15s]
      --symbols N      How many symbols, 1 to 8, three on each line [default: 6]
      --lines N        How many lines carry each symbol, 1 to 3 [default: 1]
      --rotate TIME    Replaces each line at this age, such as 5s [default: never]; the exchange then
                       keeps all but the first sockets for that much longer
      --seed N         The exchange's failures and prices are the same for the same seed [default: 1]
      --skip N         Makes the exchange leave out number N of the first symbol
      --url URL        Watches any WebSocket server over one connection instead; numbers are checked
                       if messages have a \"seq\"
      --send TEXT      Sends this text after every opening, such as a subscription; needs --url and
                       may be repeated
  -h, --help           Prints this help

Exit code: 0 if messages came for every symbol and none was missing while connected, 1 if not, 2 for
a wrong option.
";

/// The options; `HELP` describes each.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) duration: Duration,
    pub(crate) symbols: u8,
    pub(crate) lines: u8,
    pub(crate) rotate: Option<Duration>,
    pub(crate) seed: u64,
    pub(crate) skip: Option<u64>,
    pub(crate) url: Option<String>,
    pub(crate) send: Vec<String>,
}

impl Args {
    /// Parses the command line. Returns `None` after printing the help that it asks for.
    pub(crate) fn of_process() -> Option<Result<Args, String>> {
        let args = Args::parse(env::args().skip(1)).transpose();
        if args.is_none() {
            // An error means that the reader has closed the pipe.
            let _ = io::stdout().write_all(HELP.as_bytes());
        }
        Some(args?.map_err(|err| format!("{err}; --help lists the options")))
    }

    /// Returns what the rows are called: the symbols, or the host of the URL.
    pub(crate) fn names(&self) -> Vec<String> {
        let Some(url) = &self.url else {
            let symbols = SYMBOLS.iter().take(self.symbols.into());
            return symbols.map(|(name, ..)| (*name).to_owned()).collect();
        };
        let host = url.split('/').nth(2).unwrap_or(url);
        // Without a user and password.
        vec![host.rsplit('@').next().unwrap_or(host).to_owned()]
    }

    /// Parses the words after the program's name. Returns `None` if they ask for help.
    fn parse(words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
        let (mut duration, mut symbols, mut seed) = (None, None, None);
        let (mut lines, mut rotate) = (None, None);
        let (mut skip, mut url, mut send) = (None, None, Vec::new());
        let mut words = words;
        while let Some(word) = words.next() {
            if word == "-h" || word == "--help" {
                return Ok(None);
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value =
                || value.clone().or_else(|| words.next()).ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--duration" => duration = Some(parse_duration(&name, &value()?)?),
                "--symbols" => symbols = Some(number(&name, &value()?, 1..=8)?),
                "--lines" => lines = Some(number(&name, &value()?, 1..=3)?),
                "--rotate" => rotate = Some(parse_duration(&name, &value()?)?),
                "--seed" => seed = Some(number(&name, &value()?, 0..=u64::MAX)?),
                "--skip" => skip = Some(number(&name, &value()?, 1..=u64::MAX)?),
                "--url" => url = Some(value()?),
                "--send" => send.push(value()?),
                _ => return Err(format!("unknown option {name:?}")),
            }
        }
        if url.is_some() && (symbols.is_some() || seed.is_some() || skip.is_some()) {
            return Err("--symbols, --seed and --skip cannot be used with --url".into());
        }
        if url.is_some() && (lines.is_some() || rotate.is_some()) {
            return Err("--lines and --rotate cannot be used with --url".into());
        }
        if url.is_none() && !send.is_empty() {
            return Err("--send needs --url".into());
        }
        Ok(Some(Args {
            duration: duration.unwrap_or(Duration::from_secs(15)),
            symbols: symbols.unwrap_or(6),
            lines: lines.unwrap_or(1),
            rotate,
            seed: seed.unwrap_or(1),
            skip,
            url,
            send,
        }))
    }
}

/// Parses the value of an option that takes a number within these bounds.
fn number<N>(name: &str, text: &str, bounds: std::ops::RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    match text.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => {
            let (least, most) = bounds.into_inner();
            Err(format!("{name} {text:?}: expected a number from {least} to {most}"))
        }
    }
}

fn parse_duration(name: &str, text: &str) -> Result<Duration, String> {
    let wrong = || format!("{name} {text:?}: expected a time such as 500ms, 5s or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(millis) {
        Some(0) | None => Err(wrong()),
        Some(millis) if millis > DAY => Err(format!("{name} {text:?}: at most one day")),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

const DAY: u64 = 24 * 60 * 60 * 1_000;

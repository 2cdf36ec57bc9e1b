//! The command line.

use std::time::Duration;

/// Watches a market over supervised connections while the exchange fails on purpose.
///
/// Exit code: 0 if every sequence was whole within each epoch, 1 if not, 2 for a wrong option.
#[derive(Debug, clap::Parser)]
#[command(name = "market_feed")]
pub(crate) struct Args {
    /// How long to watch: 500ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub(crate) duration: Duration,

    /// How many symbols, each over its own connection
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) symbols: u8,

    /// The exchange's failures and prices are the same for the same seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Makes the exchange leave out number N on every connection of the first symbol
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) skip: Option<u64>,

    /// Watches a real server over one connection instead; numbers are checked if messages have a "seq"
    #[arg(long, value_name = "URL", conflicts_with_all = ["symbols", "seed", "skip"])]
    pub(crate) url: Option<String>,

    /// Sends this text after every opening, such as a subscription; may be repeated
    #[arg(long, value_name = "TEXT", requires = "url")]
    pub(crate) send: Vec<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: say 500ms, 5s or 2m");
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
        Some(millis) if millis > DAY => Err("at most one day".into()),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

const DAY: u64 = 24 * 60 * 60 * 1_000;

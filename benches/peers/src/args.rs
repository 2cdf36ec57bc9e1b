//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::clients::{OTHERS, OURS, is_known};
use crate::works::{WORKS, Work};

pub const HELP: &str = "\
cargo bench --bench peers -- [OPTIONS]

  --quick        fewer rounds and shorter runs, some minutes in all
  --rounds N     so many rounds of each work, 15 if not said
  --work NAME    this work; may be said again
  --client NAME  this client; may be said again
  --json FILE    the figures as one JSON array in one line
";

/// The parsed arguments.
#[derive(Debug, Default)]
pub struct Args {
    pub quick: bool,
    pub help: bool,
    pub rounds: Option<usize>,
    pub json: Option<PathBuf>,
    works: Vec<String>,
    clients: Vec<String>,
}

impl Args {
    pub fn parse(words: &[&str]) -> Result<Args> {
        let mut args = Args::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || words.next().copied().with_context(|| format!("{word} what?"));
            match word {
                "--quick" => args.quick = true,
                "--help" | "-h" => args.help = true,
                "--json" => args.json = Some(value()?.into()),
                "--rounds" => args.rounds = Some(value()?.parse()?),
                "--work" => {
                    let name = value()?;
                    let known = WORKS.map(|work| work.name).join(", ");
                    ensure!(Work::named(name).is_some(), "no work {name}; there are {known}");
                    args.works.push(name.to_owned());
                }
                "--client" => {
                    let name = value()?;
                    let known = [OURS.join(", "), OTHERS.join(", ")].join(", ");
                    ensure!(is_known(name), "no client {name}; there are {known}");
                    args.clients.push(name.to_owned());
                }
                _ => bail!("nothing known of {word}\n\n{HELP}"),
            }
        }
        ensure!(args.rounds != Some(0), "no rounds, no figures");
        Ok(args)
    }

    pub fn wants_work(&self, name: &str) -> bool {
        wants(&self.works, name)
    }

    pub fn wants_client(&self, name: &str) -> bool {
        wants(&self.clients, name)
    }
}

/// Returns whether a name was given; true for every name if none was.
fn wants(said: &[String], name: &str) -> bool {
    said.is_empty() || said.iter().any(|one| one == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_wanted() {
        let args = Args::parse(&["--work", "idle-10000", "--quick"]).unwrap();
        assert!(args.wants_work("idle-10000") && !args.wants_work("handshake-1"));
        assert!(args.wants_client("yawc"));
    }

    #[test]
    fn a_typing_error_is_told() {
        let faults: [&[&str]; 5] =
            [&["--work", "idle"], &["--client", "awk"], &["--json"], &["-q"], &["--rounds", "0"]];
        for words in faults {
            assert!(Args::parse(words).is_err(), "{words:?}");
        }
    }
}

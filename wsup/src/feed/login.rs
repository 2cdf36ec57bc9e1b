//! What is sent on a new socket, and how a refusal is known.

use actix_ws_client::feed::Refusal;
use serde_json::Value;

use crate::condition::Condition;
use crate::feed::section::{Found, Section, Wrong};
use crate::pointer::{Pointer, scalar};
use crate::template::{Places, Template};

/// `[login]`.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) how: How,
    pub(crate) ok: Condition,
    pub(crate) refused: Option<Refused>,
}

/// What is sent to log in.
#[derive(Debug)]
pub(crate) enum How {
    /// These texts, each after the one before was accepted.
    Send(Vec<Template>),
    /// What this command prints.
    Command(String),
}

impl Login {
    pub(crate) fn parse(found: Found<'_>) -> Result<Login, Wrong> {
        let mut section = found.section()?;
        let how = match section.one_of(&["send", "command"])? {
            ("command", found) => How::Command(found.text()?.to_owned()),
            (_, found) => {
                let texts = found.list();
                let texts: Vec<_> =
                    texts.iter().map(|text| template(text, &["id"])).collect::<Result<_, _>>()?;
                if texts.is_empty() {
                    return Err(section.wrong("`send` has no text"));
                }
                How::Send(texts)
            }
        };
        let ok = condition(section.need("ok")?)?;
        let refused =
            section.take("refused").map(|found| Refused::parse(found, false)).transpose()?;
        section.end()?;
        Ok(Login { how, ok, refused })
    }
}

/// How a refusal is known, and what it says.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) when: Condition,
    pub(crate) reason: Option<Pointer>,
    pub(crate) code: Option<Pointer>,
    /// The codes that are for good.
    pub(crate) codes_for_good: Vec<String>,
    /// Which topics of a request were refused; without it all were.
    pub(crate) topics: Option<Pointer>,
}

impl Refused {
    /// Returns the refusal that a message has.
    pub(crate) fn refusal(&self, message: Option<&Value>) -> Refusal {
        let found = |at: &Option<Pointer>| {
            let value = message.and_then(|message| at.as_ref()?.find(message))?;
            scalar(value).or_else(|| Some(value.to_string()))
        };
        let (reason, code) = (found(&self.reason), found(&self.code));
        let for_good = code.as_ref().is_some_and(|code| self.codes_for_good.contains(code));
        let text = match (reason, code) {
            (Some(reason), Some(code)) => format!("{reason} (code {code})"),
            (Some(reason), None) => reason,
            (None, Some(code)) => format!("code {code}"),
            (None, None) => "the venue gave no reason".to_owned(),
        };
        match for_good {
            true => Refusal::for_good(text),
            false => Refusal::for_now(text),
        }
    }

    /// Parses one; only that of a subscription may name topics.
    pub(crate) fn parse(found: Found<'_>, has_topics: bool) -> Result<Refused, Wrong> {
        let mut section = found.section()?;
        let when = condition_in(&mut section)?;
        let (reason, code) = (pointer(&mut section, "reason")?, pointer(&mut section, "code")?);
        let topics = if has_topics { pointer(&mut section, "topics")? } else { None };
        let codes_for_good = match section.take("final") {
            None => Vec::new(),
            Some(found) if code.is_none() => {
                return Err(found.wrong("without `code` there is nothing to compare it with"));
            }
            Some(found) => found.list().iter().map(Found::scalar).collect::<Result<_, _>>()?,
        };
        section.end()?;
        Ok(Refused { when, reason, code, codes_for_good, topics })
    }
}

/// Parses a condition: `{ at, is }`, `{ at, exists = true }` or `{ text }`.
pub(crate) fn condition(found: Found<'_>) -> Result<Condition, Wrong> {
    let mut section = found.section()?;
    let condition = condition_in(&mut section)?;
    section.end()?;
    Ok(condition)
}

/// Takes the keys of a condition out of a table that has others too.
fn condition_in(section: &mut Section<'_>) -> Result<Condition, Wrong> {
    let (kind, found) = section.one_of(&["at", "text"])?;
    if kind == "text" {
        return Ok(Condition::Text(found.text()?.to_owned()));
    }
    let at = found.parsed()?;
    match section.one_of(&["is", "exists"])? {
        ("is", found) => Ok(Condition::Is(at, found.scalar()?)),
        (_, found) if found.flag()? => Ok(Condition::Exists(at)),
        (_, found) => Err(found.wrong("only `true` can be asked for")),
    }
}

/// Takes a pointer, if it is there.
pub(crate) fn pointer(
    section: &mut Section<'_>,
    key: &'static str,
) -> Result<Option<Pointer>, Wrong> {
    section.take(key).map(|found| found.parsed()).transpose()
}

/// Parses a text to send, in which these names and secrets are filled in.
pub(crate) fn template(found: &Found<'_>, names: &[&str]) -> Result<Template, Wrong> {
    let places = Places { pointers: false, names: Some(names) };
    Template::parse(found.with_secrets()?, places).map_err(|why| found.wrong(why))
}

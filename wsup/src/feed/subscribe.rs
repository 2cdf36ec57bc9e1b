//! The texts that subscribe and unsubscribe.

use crate::feed::login::template;
use crate::feed::section::{Found, Section, Wrong};
use crate::template::{Place, Template};

/// `[subscribe]` and `[unsubscribe]`.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) send: Template,
    pub(crate) unsubscribe: Option<Template>,
    /// The part of the topic of which one request has one value.
    pub(crate) by: Option<String>,
    /// Whether a request is about one topic.
    pub(crate) is_single: bool,
}

impl Subscribe {
    /// Takes both tables. `parts` are those of a topic.
    pub(crate) fn parse(file: &mut Section<'_>, parts: &[&str]) -> Result<Subscribe, Wrong> {
        // Before what may be missing and is spelled almost alike.
        let unsubscribe = file.take("unsubscribe");
        let mut section = file.need("subscribe")?.section()?;
        let by = section.take("by").map(|found| match found.text()? {
            by if parts.contains(&by) => Ok(by.to_owned()),
            by if parts.is_empty() => {
                Err(found.wrong(format_args!("\"{by}\" needs `topic.parts`")))
            }
            by => Err(found.wrong(format_args!(
                "\"{by}\" is no part; `topic.parts` has {}",
                parts.join(", ")
            ))),
        });
        let by = by.transpose()?;
        let (send, is_single) = text(&section.need("send")?, parts, by.as_deref(), false)?;
        section.end()?;
        let Some(found) = unsubscribe else {
            return Ok(Subscribe { send, unsubscribe: None, by, is_single });
        };
        let mut section = found.section()?;
        let (text, is_one) = text(&section.need("send")?, parts, by.as_deref(), true)?;
        section.end()?;
        Ok(Subscribe { send, unsubscribe: Some(text), by, is_single: is_single || is_one })
    }

    /// Whether a text has a place of this name.
    pub(crate) fn has(text: &Template, name: &str) -> bool {
        text.places().any(|place| matches!(place, Place::Name(other) if other == name))
    }
}

/// Parses a text, and returns whether it has room for one topic alone.
fn text(
    send: &Found<'_>,
    parts: &[&str],
    by: Option<&str>,
    has_key: bool,
) -> Result<(Template, bool), Wrong> {
    let key = has_key.then_some("key");
    let names = ["id", "topics", "topic"].into_iter().chain(key);
    let names: Vec<&str> = names.chain(parts.iter().copied()).collect();
    let text = template(send, &names)?;
    let of_one = |name: &&&str| !["id", "topics"].contains(*name) && by != Some(**name);
    let single = names.iter().find(|name| of_one(name) && Subscribe::has(&text, name));
    match (single, Subscribe::has(&text, "topics")) {
        (None, false) => Err(send.wrong("has no {topics}, nor {topic} for one topic in each request")),
        (Some(one), true) => Err(send.wrong(format_args!(
            "{{topics}} is a list of topics, and {{{one}}} a value of one: only one of them may be there"
        ))),
        (single, _) => Ok((text, single.is_some())),
    }
}

//! Texts with places that are filled in: `{"pong":{/ping}}`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::pointer::{Pointer, scalar};

/// A text to send. Each `{/pointer}` in it stands for the value at that place of a message, and where
/// [`Places`] allow them each `{name}` for a value of that name, `${env:NAME}` for a variable of the
/// environment, and `${file:PATH}` for the content of a file.
///
/// In a text that begins with `{` or `[` a value is written as JSON: a string with its quotes, or without them
/// inside of quotes. In any other text a string is written as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
    /// Whether values are written as JSON.
    is_json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place, Form),
}

/// What a place stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Pointer(Pointer),
    Name(String),
    Env(String),
    File(String),
}

/// What a template may have in it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Places<'n> {
    /// Whether it may have pointers.
    pub(crate) pointers: bool,
    /// The names that it may have. `None` takes `{name}` and `${…}` as text.
    pub(crate) names: Option<&'n [&'n str]>,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As JSON.
    Json,
    /// Inside a string of JSON.
    Quoted,
    /// A string as it is, all else as JSON.
    Plain,
}

/// With pointers alone, as the command line has it.
impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        Template::parse(text, Places { pointers: true, names: None })
    }
}

/// Counts the quotes that begin or end strings of JSON.
fn quotes(text: &str) -> usize {
    let mut escaped = false;
    let mut is_quote = |c: char| {
        let is_quote = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_quote
    };
    text.chars().filter(|c| is_quote(*c)).count()
}

impl Template {
    /// Parses a text.
    pub(crate) fn parse(text: &str, places: Places<'_>) -> Result<Template, String> {
        let start = text.trim_start();
        let is_json =
            start.starts_with(['{', '[']) && places.find(start).is_none_or(|found| found.0 > 0);
        let (mut pieces, mut rest, mut in_string) = (Vec::new(), text, false);
        while let Some((at, opening)) = places.find(rest) {
            let (before, behind) = rest.split_at(at);
            let end = behind.find('}').ok_or_else(|| format!("no }} behind `{behind}`"))?;
            in_string ^= is_json && quotes(before) % 2 == 1;
            let form = match (is_json, in_string) {
                (false, _) => Form::Plain,
                (true, false) => Form::Json,
                (true, true) => Form::Quoted,
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Place(places.place(&behind[..end], opening)?, form));
            rest = &behind[end + 1..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Template { pieces, is_json })
    }

    /// Whether values are written as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Returns the places, in their order.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Place(place, _) => Some(place),
            Piece::Text(_) => None,
        })
    }

    /// Fills the text in.
    ///
    /// # Errors
    /// That of the first place without a value.
    pub(crate) fn fill_with<'t, E>(
        &'t self,
        value: impl Fn(&'t Place) -> Result<Value, E>,
    ) -> Result<String, E> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled += text,
                Piece::Place(place, form) => filled += &form.write(&value(place)?),
            }
        }
        Ok(filled)
    }

    /// Fills the pointers in from a message, if that is JSON.
    ///
    /// # Errors
    /// The first pointer that finds nothing.
    pub(crate) fn fill<'t>(&'t self, message: Option<&Value>) -> Result<String, &'t Place> {
        self.fill_with(|place| match place {
            Place::Pointer(at) => message.and_then(|it| at.find(it)).cloned().ok_or(place),
            _ => Err(place),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Pointer(at) => at.fmt(f),
            Place::Name(name) => write!(f, "{{{name}}}"),
            Place::Env(name) => write!(f, "${{env:{name}}}"),
            Place::File(path) => write!(f, "${{file:{path}}}"),
        }
    }
}

impl Places<'_> {
    /// Returns the byte at which the next place begins, and what it begins with.
    fn find(&self, text: &str) -> Option<(usize, &'static str)> {
        text.match_indices('{').find_map(|(at, _)| {
            let behind = &text[at + 1..];
            if self.names.is_some() && text[..at].ends_with('$') {
                return Some((at - 1, "${"));
            }
            let name = behind.find('}').map_or("", |end| &behind[..end]);
            let is_name = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
            let is_place = behind.starts_with('/')
                || (self.names.is_some() && !name.is_empty() && name.bytes().all(is_name));
            is_place.then_some((at, "{"))
        })
    }

    /// Parses a place, without its last brace.
    fn place(&self, text: &str, opening: &str) -> Result<Place, String> {
        let inside = &text[opening.len()..];
        if opening == "${" {
            return match inside.split_once(':') {
                Some(("env", name)) if !name.is_empty() => Ok(Place::Env(name.to_owned())),
                Some(("file", path)) if !path.is_empty() => Ok(Place::File(path.to_owned())),
                _ => Err(format!(
                    "`{text}}}` is unknown: ${{env:NAME}} and ${{file:PATH}} are known"
                )),
            };
        }
        if inside.starts_with('/') {
            return match self.pointers {
                true => Ok(Place::Pointer(inside.parse()?)),
                false => Err(format!("`{text}}}`: there is no message here to take a value from")),
            };
        }
        let names = self.names.unwrap_or_default();
        match names.contains(&inside) {
            true => Ok(Place::Name(inside.to_owned())),
            false if names.is_empty() => Err(format!("`{text}}}`: nothing is filled in here")),
            false => Err(format!("`{text}}}` is unknown; known here: {}", names.join(", "))),
        }
    }
}

impl Form {
    fn write(self, value: &Value) -> String {
        let json = value.to_string();
        match self {
            Form::Json => json,
            Form::Plain => scalar(value).unwrap_or(json),
            Form::Quoted => {
                let quoted = Value::String(scalar(value).unwrap_or(json)).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_filled_in_so_that_json_stays_json() {
        let message = serde_json::json!({
            "ping": 1700000000123_u64, "id": "a\"b", "list": [1, "x"], "none": null
        });
        for (template, filled) in [
            ("pong", "pong"),
            ("", ""),
            (r#"{"pong":{/ping}}"#, r#"{"pong":1700000000123}"#),
            (r#"{"id":{/id},"n":{/none}}"#, r#"{"id":"a\"b","n":null}"#),
            (r#"{"id":"<{/id}>","t":"{/ping}"}"#, r#"{"id":"<a\"b>","t":"1700000000123"}"#),
            (r#"{"\"":{/ping},"a":"\\{/ping}"}"#, r#"{"\"":1700000000123,"a":"\\1700000000123"}"#),
            (r#" [{/list},"{/list}"]"#, r#" [[1,"x"],"[1,\"x\"]"]"#),
            ("{/id}:{/list/-1}", "a\"b:x"),
            ("pong {/ping} \"{/id}\"", "pong 1700000000123 \"a\"b\""),
        ] {
            let template: Template = template.parse().unwrap();
            assert_eq!(template.fill(Some(&message)).unwrap(), filled, "{template:?}");
        }
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let template: Template = r#"{"pong":{/ping/0}}"#.parse().unwrap();
        let missing = |message: Option<&Value>| template.fill(message).unwrap_err().to_string();
        assert_eq!(missing(Some(&serde_json::json!({ "ping": 1 }))), "/ping/0");
        assert_eq!(missing(None), "/ping/0");
        assert!("{/ping".parse::<Template>().unwrap_err().contains('}'));
        assert!("{/~}".parse::<Template>().unwrap_err().contains("~0"));
    }

    #[test]
    fn names_and_secrets_are_filled_in_where_they_are_allowed() {
        let places = Places { pointers: false, names: Some(&["id", "topics"]) };
        let parse = |text| Template::parse(text, places);
        let template = parse(r#"{"id":{id},"key":"${env:KEY}","args":{topics}}"#).unwrap();
        let value = |place: &Place| match place {
            Place::Name(name) if name == "id" => Ok(Value::from(7)),
            Place::Name(_) => Ok(serde_json::json!(["a"])),
            Place::Env(name) => Ok(Value::from(format!("<{name}\">"))),
            other => Err(other.to_string()),
        };
        let filled = r#"{"id":7,"key":"<KEY\">","args":["a"]}"#;
        assert_eq!(template.fill_with(value).as_deref(), Ok(filled));
        assert_eq!(parse("${file:/a}/x").unwrap().fill_with(value), Err("${file:/a}".to_owned()));
        assert_eq!(parse("{id}").unwrap().fill_with(value).as_deref(), Ok("7"));
        for (bad, why) in [
            ("{ids}", "known here: id, topics"),
            ("{/a}", "no message"),
            ("${home}", "${env:NAME}"),
            ("${env:}", "${env:NAME}"),
            ("${env:A", "no }"),
        ] {
            let err = parse(bad).unwrap_err();
            assert!(err.contains(why), "{bad}: {err}");
        }
        // The command line has pointers alone.
        let text = r#"{"a":{id},"b":"${env:KEY}"}"#;
        assert_eq!(text.parse::<Template>().unwrap().fill(None).as_deref(), Ok(text));
    }
}

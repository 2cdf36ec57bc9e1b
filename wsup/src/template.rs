//! Texts with places that are filled in from a message: `{"pong":{/ping}}`.

use std::str::FromStr;

use serde_json::Value;

use crate::pointer::{Pointer, scalar};

/// A text to send. Each `{/pointer}` in it stands for the value at that place of a message.
///
/// In a text that begins with `{` or `[` it is replaced by JSON: a string with its quotes, or without them
/// inside of quotes. In any other text a string is written as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Pointer, Form),
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

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        let is_json =
            text.trim_start().starts_with(['{', '[']) && !text.trim_start().starts_with("{/");
        let (mut pieces, mut rest, mut in_string) = (Vec::new(), text, false);
        while let Some(at) = rest.find("{/") {
            let (before, behind) = rest.split_at(at);
            let end = behind.find('}').ok_or_else(|| format!("no }} behind `{behind}`"))?;
            in_string ^= is_json && quotes(before) % 2 == 1;
            let form = match (is_json, in_string) {
                (false, _) => Form::Plain,
                (true, false) => Form::Json,
                (true, true) => Form::Quoted,
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Value(behind[1..end].parse()?, form));
            rest = &behind[end + 1..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Template { pieces })
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
    /// Fills the text in from a message, if that is JSON.
    ///
    /// # Errors
    /// The first pointer that finds nothing.
    pub(crate) fn fill(&self, message: Option<&Value>) -> Result<String, &Pointer> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled += text,
                Piece::Value(at, form) => {
                    let value = message.and_then(|message| at.find(message)).ok_or(at)?;
                    filled += &form.write(value);
                }
            }
        }
        Ok(filled)
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
}

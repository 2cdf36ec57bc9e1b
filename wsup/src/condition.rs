//! Conditions on messages.

use std::cell::OnceCell;
use std::str::FromStr;

use serde_json::Value;

use crate::pointer::{Pointer, scalar};

/// A message that conditions are asked about. It is parsed once, and only if a pointer needs it.
pub(crate) struct Looked<'m> {
    text: &'m str,
    json: OnceCell<Option<Value>>,
}

impl<'m> Looked<'m> {
    /// Creates one of a message's text.
    pub(crate) fn at(text: &'m str) -> Looked<'m> {
        Looked { text, json: OnceCell::new() }
    }

    /// Returns the message as JSON, if it is.
    pub(crate) fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_str(self.text).ok()).as_ref()
    }
}

/// A condition on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The value at a place is this one. A number is compared by its digits, so `5` is also `"5"`.
    Is(Pointer, String),
    /// There is a value at a place, other than `null`.
    Exists(Pointer),
    /// The whole message is this text.
    Text(String),
}

impl Condition {
    /// Whether it holds for a message.
    pub(crate) fn holds(&self, message: &Looked<'_>) -> bool {
        let find = |at: &Pointer| message.json().and_then(|json| at.find(json));
        match self {
            Condition::Is(at, is) => find(at).and_then(scalar).as_ref() == Some(is),
            Condition::Exists(at) => find(at).is_some_and(|value| !value.is_null()),
            Condition::Text(text) => message.text == text,
        }
    }
}

/// As it is written on the command line: `/op=ping`, `/ping` or `text:ping`.
impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        if let Some(text) = text.strip_prefix("text:") {
            return Ok(Condition::Text(text.to_owned()));
        }
        if !text.starts_with('/') {
            return Err(format!("`{text}` is no condition: {SHAPES}"));
        }
        let Some((at, is)) = text.split_once('=') else {
            return Ok(Condition::Exists(text.parse()?));
        };
        if at.ends_with(['!', '<', '>', '~']) || is.starts_with('=') {
            return Err(format!("`{text}`: the only comparison is `=`: {SHAPES}"));
        }
        if at.ends_with(' ') || is.starts_with(' ') {
            return Err(format!("`{text}`: no blanks around `=`: {SHAPES}"));
        }
        if is.starts_with('"') {
            return Err(format!("`{text}`: no quotes around the value: {SHAPES}"));
        }
        Ok(Condition::Is(at.parse()?, is.to_owned()))
    }
}

/// What a condition looks like.
const SHAPES: &str = "/op=ping (the value at the JSON pointer /op is ping), /ping (there is one at /ping), or \
                      text:ping (the message is ping)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_for_the_messages_that_it_describes() {
        let message = r#"{"op":"ping","id":5,"big":"7","ok":true,"error":null,"list":[{"a":""}]}"#;
        for (condition, holds) in [
            ("/op=ping", true),
            ("/op=pin", false),
            ("/op=", false),
            ("/id=5", true),
            ("/id=5.0", false),
            ("/big=7", true),
            ("/ok=true", true),
            ("/error=null", true),
            ("/list/0/a=", true),
            ("/list=[]", false),
            ("/op", true),
            ("/list/-1", true),
            ("/error", false),
            ("/none", false),
            ("text:ping", false),
            (&format!("text:{message}"), true),
        ] {
            let condition: Condition = condition.parse().unwrap();
            assert_eq!(condition.holds(&Looked::at(message)), holds, "{condition:?}");
        }
    }

    #[test]
    fn a_message_that_is_no_json_has_no_places() {
        for text in ["ping", "", "{", "{\"op\":\"ping\"} "] {
            let looked = Looked::at(text);
            assert_eq!("/op".parse::<Condition>().unwrap().holds(&looked), text.ends_with(' '));
            assert_eq!("text:ping".parse::<Condition>().unwrap().holds(&looked), text == "ping");
        }
        assert!("text:".parse::<Condition>().unwrap().holds(&Looked::at("")));
    }

    #[test]
    fn what_is_no_condition_is_refused_with_those_that_are() {
        for bad in
            ["", "op=ping", ".op", "/op!=x", "/a==b", "/a = b", "/a=\"b\"", "/a>=1", "Text:x"]
        {
            let err = bad.parse::<Condition>().unwrap_err();
            assert!(err.contains("/op=ping"), "{bad}: {err}");
        }
        assert!("/~".parse::<Condition>().unwrap_err().contains("~0"));
        assert_eq!("/a=b=c".parse(), Ok(Condition::Is("/a".parse().unwrap(), "b=c".into())));
    }
}

//! JSON pointers (RFC 6901) into messages.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A place in a JSON value: `/data/0/price`. A part may be `-1`, the last entry of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    parts: Vec<String>,
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Pointer, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!(
                "`{text}` is no JSON pointer: it begins with /, such as /data/0/price"
            ));
        };
        let parts = rest.split('/').map(unescape).collect::<Option<_>>().ok_or_else(|| {
            format!("`{text}` is no JSON pointer: ~ is written ~0, and a / in a name ~1")
        })?;
        Ok(Pointer { text: text.to_owned(), parts })
    }
}

/// RFC 6901, 4: `~1` is decoded before `~0`.
fn unescape(part: &str) -> Option<String> {
    let is_sound = part.split('~').skip(1).all(|behind| behind.starts_with(['0', '1']));
    is_sound.then(|| part.replace("~1", "/").replace("~0", "~"))
}

impl Pointer {
    /// Returns the value at this place, if there is one.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.parts.iter().try_fold(value, |value, part| match value {
            Value::Object(members) => members.get(part),
            Value::Array(entries) if part == "-1" => entries.last(),
            // RFC 6901, 4: without leading zeros.
            Value::Array(entries) if is_index(part) => entries.get(part.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_index(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
}

/// Returns a scalar as text, a string without its quotes; `None` for an array and an object.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_what_it_names() {
        let value = serde_json::json!({
            "a": [10, 20, { "b": null }], "x/y": 1, "~": 2, "": 3, "-1": 4, "01": 5
        });
        for (pointer, found) in [
            ("/a/0", Some("10")),
            ("/a/1", Some("20")),
            ("/a/-1", Some(r#"{"b":null}"#)),
            ("/a/-1/b", Some("null")),
            ("/a/2/b", Some("null")),
            ("/a/3", None),
            ("/a/01", None),
            ("/a/+1", None),
            ("/a/", None),
            ("/x~1y", Some("1")),
            ("/~0", Some("2")),
            ("/", Some("3")),
            ("/-1", Some("4")),
            ("/01", Some("5")),
            ("/b", None),
            ("/a/0/0", None),
        ] {
            let at: Pointer = pointer.parse().unwrap();
            assert_eq!(at.find(&value).map(Value::to_string).as_deref(), found, "{pointer}");
        }
        for bad in ["", "a", "a/b", "$.a", "/~", "/~2", "/a~"] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad}");
        }
    }
}

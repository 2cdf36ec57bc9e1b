//! A public struct whose fields are all public, and a public enum, is `#[non_exhaustive]`, so that it can get more of
//! them; or it has a reason here why it never will.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What may be built and matched as a whole, and why.
const EXHAUSTIVE: &[(&str, &str)] = &[
    ("DialLimit", "a literal of the user's: dials in a window"),
    ("Next", "a dial follows or none does"),
    ("Verdict", "a literal of the user's, in `retry_if`: a dial follows or none does"),
    ("Ping", "a literal of the user's, as a command: a frame has nothing but a payload"),
    ("Pong", "as Ping"),
    ("Subscribe", "a tuple of one recipient"),
    ("Unsubscribe", "a tuple of one recipient"),
    ("Settled", "a literal of the user's: the epoch"),
    ("Hold", "a tuple of one bool"),
    ("Unsent", "what was refused, and what stood behind it"),
    ("Message", "an event that handlers' own tests and relays make by hand"),
    ("Reconnect", "a tuple of the event `Open`; and a command without fields"),
    ("ShardId", "a tuple of one number"),
    ("Way", "in or out"),
    ("Role", "RFC 6455 has two"),
    ("Opcode", "RFC 6455 has six; others are reserved and refused"),
    ("FrameHeader", "the fields of RFC 6455, 5.2"),
    ("Payload", "RFC 6455 has two kinds of message"),
    ("View", "as Payload"),
    ("Fragment", "made by hand by those who use the protocol alone"),
    ("ControlTooLong", "an error with one figure"),
    ("By", "one side, the other, or neither"),
];

#[test]
fn what_may_grow_is_non_exhaustive() {
    let mut found = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // Not what serves tests, nor the parts of the actor that are only public to be nameable.
    read(&src, &["testing", "reply.rs"], &mut |file, text| {
        for name in exhaustive(text) {
            found.insert(name, file.to_owned());
        }
    });
    let allowed: BTreeMap<_, _> = EXHAUSTIVE.iter().copied().collect();
    let unexpected: Vec<_> =
        found.iter().filter(|(name, _)| !allowed.contains_key(name.as_str())).collect();
    assert!(unexpected.is_empty(), "neither `#[non_exhaustive]` nor a reason: {unexpected:?}");
    let unneeded: Vec<_> = allowed.keys().filter(|name| !found.contains_key(**name)).collect();
    assert!(unneeded.is_empty(), "no such type: {unneeded:?}");
}

#[test]
fn a_type_is_exhaustive_if_it_has_no_private_field_and_no_attribute() {
    let text = "
pub enum Closed {
    A,
}
#[non_exhaustive]
#[derive(Debug)]
pub enum Open {
    A,
}
pub struct All {
    /// A field.
    pub one: u8,
}
pub struct Hidden {
    pub one: u8,
    two: u8,
}
pub struct Tuple(pub u8);
pub struct New(u8);
pub struct Unit;
";
    assert_eq!(exhaustive(text), ["Closed", "All", "Tuple"]);
}

/// The public types of a file that can be built or matched as a whole elsewhere.
fn exhaustive(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut names = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((kind, rest)) = ["enum", "struct"].into_iter().find_map(|kind| {
            Some((kind, line.strip_prefix("pub ")?.strip_prefix(kind)?.trim_start()))
        }) else {
            continue;
        };
        let attributes = lines[..at].iter().rev().take_while(|line| {
            line.starts_with("#[")
                || line.starts_with("///")
                || line.starts_with(' ')
                || line.starts_with(')')
        });
        if attributes.into_iter().any(|line| line.trim() == "#[non_exhaustive]") {
            continue;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let is_open = match kind {
            "enum" => true,
            _ if behind.contains('(') => behind.contains("(pub "),
            _ if behind.trim_end().ends_with('{') || !behind.contains(';') => {
                let body = lines[at + 1..].iter().skip_while(|line| line.starts_with("where"));
                let mut fields = body
                    .take_while(|line| !line.starts_with('}'))
                    .map(|line| line.trim_start())
                    .filter(|line| {
                        !line.starts_with("//") && !line.starts_with('#') && line.contains(": ")
                    });
                fields.all(|field| field.starts_with("pub "))
            }
            _ => false,
        };
        if is_open {
            names.push(name.to_owned());
        }
    }
    names
}

/// Calls `look` with each Rust file below a folder.
fn read(folder: &Path, without: &[&str], look: &mut impl FnMut(&str, &str)) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if without.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            read(&path, without, look);
        } else if name.ends_with(".rs") {
            look(&path.to_string_lossy(), &fs::read_to_string(&path).expect("a readable file"));
        }
    }
}

//! The zone of an IPv6 address in a URL: the name or number of the interface that leads to the address.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A zone that no interface can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidZone;

/// What an error says of an [`InvalidZone`].
pub(crate) const INVALID_ZONE: &str = "the zone of the IPv6 address is no name of an interface";

/// Takes the zone out of an IPv6 address in brackets, because the URL standard knows none. Behind the address stands `%25`
/// (RFC 6874, 2) or, as people write it, `%`.
///
/// # Errors
/// If no interface can be named like this.
pub(crate) fn split(text: &str) -> Result<(Cow<'_, str>, Option<Box<str>>), InvalidZone> {
    if !text.contains('%') {
        return Ok((text.into(), None));
    }
    let split = || {
        let begin = text.find("://")? + 3;
        let end = text[begin..].find(['/', '?', '#', '\\']).map_or(text.len(), |end| begin + end);
        // Behind the user info, which may have brackets too.
        let begin = text[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
        let inner = text[begin..end].strip_prefix('[')?;
        let (addr, zone) = inner[..inner.find(']')?].split_once('%')?;
        let rest = begin + 1 + addr.len();
        let rest = &text[rest + 1 + zone.len()..];
        let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
        let zone: Box<str> = percent_decode_str(zone).decode_utf8_lossy().into();
        Some((format!("{}{rest}", &text[..begin + 1 + addr.len()]), zone))
    };
    match split() {
        Some((text, zone)) if is_zone(&zone) => Ok((text.into(), Some(zone))),
        Some(_) => Err(InvalidZone),
        None => Ok((text.into(), None)),
    }
}

/// Returns a host to dial: an IPv6 address with its zone.
pub(crate) fn join<'a>(host: &'a str, zone: Option<&str>) -> Cow<'a, str> {
    match zone {
        Some(zone) => format!("{host}%{zone}").into(),
        None => host.into(),
    }
}

/// Returns whether an interface may be named like this: printable, and no longer than any system's.
fn is_zone(zone: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'/');
    (1..=64).contains(&zone.len()) && zone.bytes().all(is_valid)
}

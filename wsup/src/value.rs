//! The types of flag values. A value that is not valid cannot be built.

use std::str::FromStr;
use std::time::Duration;

use actix_ws_client::proto::message::{ControlPayload, ControlTooLong};
use actix_ws_client::{Reconnect, TlsVersion};

/// A length of time: `500ms`, `10s`, `2m`, `1h`, or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        const SHAPE: &str = "a duration is a number and ms, s, m or h: 500ms, 1.5s, 2m";
        if text == "0" {
            return Ok(Time(Duration::ZERO));
        }
        let (number, unit) = number_and_unit(text);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(SHAPE.into()),
        };
        let number: f64 = number.parse().map_err(|_| SHAPE)?;
        let span = Duration::try_from_secs_f64(number * seconds).unwrap_or(Duration::MAX);
        if span > MAX_TIME { Err("longer than 366 days".into()) } else { Ok(Time(span)) }
    }
}

/// The longest time that is accepted: times are added to the clock, which may overflow.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// A length of time above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PositiveTime(pub(crate) Duration);

impl FromStr for PositiveTime {
    type Err = String;

    fn from_str(text: &str) -> Result<PositiveTime, String> {
        match text.parse()? {
            Time(Duration::ZERO) => Err("must be above zero".into()),
            Time(span) => Ok(PositiveTime(span)),
        }
    }
}

/// A length of time above zero, or `off` (`0` is the same).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionalTime(pub(crate) Option<Duration>);

impl FromStr for OptionalTime {
    type Err = String;

    fn from_str(text: &str) -> Result<OptionalTime, String> {
        if text == "off" {
            return Ok(OptionalTime(None));
        }
        let Time(span) = text.parse()?;
        Ok(OptionalTime((!span.is_zero()).then_some(span)))
    }
}

/// A length of time above zero, or `off`. Zero is refused: it would give up at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionalTimeout(pub(crate) Option<Duration>);

impl FromStr for OptionalTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<OptionalTimeout, String> {
        if text == "off" {
            return Ok(OptionalTimeout(None));
        }
        let PositiveTime(span) = text.parse()?;
        Ok(OptionalTimeout(Some(span)))
    }
}

/// A number of bytes above zero: `4096`, `256k`, `16m`, `1g`, by powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        const SHAPE: &str = "a size is a whole number of bytes, or of k, m or g: 4096, 256k, 16m";
        let (number, unit) = number_and_unit(text);
        let shift = match unit {
            "" => 0,
            "k" | "K" => 10,
            "m" | "M" => 20,
            "g" | "G" => 30,
            _ => return Err(SHAPE.into()),
        };
        let number: usize = number.parse().map_err(|_| SHAPE)?;
        match number.checked_mul(1 << shift) {
            Some(0) => Err("must be above zero".into()),
            Some(bytes) if bytes <= MAX_SIZE => Ok(Size(bytes)),
            _ => Err("more than 1g".into()),
        }
    }
}

/// The largest size that is accepted, in bytes: a larger one would not be a useful bound.
const MAX_SIZE: usize = 1 << 30;

/// The reconnect policy: `exp`, `never`, or a fixed delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Exponential, with jitter.
    Exponential,
    /// No reconnect.
    Never,
    /// The same delay before each dial.
    Fixed(Duration),
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        match text {
            "exp" => Ok(Policy::Exponential),
            "never" => Ok(Policy::Never),
            _ => match text.parse() {
                Ok(PositiveTime(delay)) => Ok(Policy::Fixed(delay)),
                Err(reason) => Err(format!("expected exp, never or a time: {reason}")),
            },
        }
    }
}

impl From<Policy> for Reconnect {
    fn from(policy: Policy) -> Reconnect {
        match policy {
            Policy::Exponential => Reconnect::exponential().into(),
            Policy::Never => Reconnect::never(),
            Policy::Fixed(delay) => Reconnect::fixed(delay),
        }
    }
}

/// The payload of every ping.
#[derive(Clone, Debug)]
pub(crate) struct PingPayload(pub(crate) ControlPayload);

impl FromStr for PingPayload {
    type Err = ControlTooLong;

    fn from_str(text: &str) -> Result<PingPayload, ControlTooLong> {
        ControlPayload::new(text.as_bytes().to_vec()).map(PingPayload)
    }
}

/// A version of TLS: `1.2` or `1.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) TlsVersion);

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Version, &'static str> {
        match text {
            "1.2" => Ok(Version(TlsVersion::V1_2)),
            "1.3" => Ok(Version(TlsVersion::V1_3)),
            _ => Err("expected 1.2 or 1.3"),
        }
    }
}

/// A header line. It has no `FromStr`: clap repeats a value that it cannot parse, and this one may be a
/// secret.
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Header {
    /// Splits `Name: value`. The library checks the parts. As for curl, `Name:` without a value adds no line,
    /// and `Name;` adds one with an empty value.
    ///
    /// # Errors
    /// Why it is not a line, without a part of it.
    pub(crate) fn parse(line: &str) -> Result<Option<Header>, &'static str> {
        let line = line.trim();
        let (name, value) = match (line.split_once(':'), line.strip_suffix(';')) {
            (Some((name, value)), _) => (name.trim(), value.trim()),
            (None, Some(name)) if Header::is_special(name) => {
                return Err("this header cannot be empty; `Name:` leaves it out");
            }
            (None, Some(name)) => (name, ""),
            (None, None) => return Err("expected `Name: value`, or `Name;` for an empty value"),
        };
        let is_left_out = line.ends_with(':') && value.is_empty() && !Header::is_special(name);
        let header = Header { name: name.to_owned(), value: value.to_owned() };
        Ok((!is_left_out).then_some(header))
    }

    /// Whether an empty value of this header is for the library to judge: it leaves out a line of its own, or
    /// refuses the name.
    fn is_special(name: &str) -> bool {
        const OWN: [&str; 7] =
            ["host", "origin", "user-agent", "authorization", "cookie", "connection", "upgrade"];
        let name = name.to_ascii_lowercase();
        let is_token = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        OWN.contains(&&*name) || name.starts_with("sec-websocket-") || name.is_empty() || !is_token
    }
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let span = |text: &str| text.parse::<Time>().map(|span| span.0.as_millis());
        assert_eq!(span("500ms"), Ok(500));
        assert_eq!(span("10s"), Ok(10_000));
        assert_eq!(span("1.5s"), Ok(1_500));
        assert_eq!(span("2m"), Ok(120_000));
        assert_eq!(span("1h"), Ok(3_600_000));
        assert_eq!(span("0"), Ok(0));
        for nonsense in
            ["", "5", "s", "-1s", "1..2s", "1e9s", "5 s", "9999999999999h", "nan", "infs"]
        {
            assert!(span(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn zero_is_off_where_a_thing_can_be_off() {
        assert_eq!("0".parse(), Ok(OptionalTime(None)));
        assert_eq!("off".parse(), Ok(OptionalTime(None)));
        assert_eq!("0s".parse(), Ok(OptionalTime(None)));
        assert_eq!("1s".parse(), Ok(OptionalTime(Some(Duration::from_secs(1)))));
        assert!("0".parse::<PositiveTime>().is_err());
        assert!("0".parse::<OptionalTimeout>().is_err());
        assert_eq!("off".parse(), Ok(OptionalTimeout(None)));
        assert!("0s".parse::<Policy>().is_err());
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("256k"), Ok(256 << 10));
        assert_eq!(size("16M"), Ok(16 << 20));
        assert_eq!(size("1g"), Ok(1 << 30));
        for nonsense in ["", "0", "k", "1.5k", "-1", "2g", "99999999999999999999", "1kb"] {
            assert!(size(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_header_is_split_at_its_first_colon() {
        let header = |line| {
            let header = Header::parse(line)?;
            Ok(header.map(|Header { name, value }| format!("{name}={value}")))
        };
        let some = |line: &str| Ok(Some(line.to_owned()));
        assert_eq!(header("Authorization:  Basic a:b "), some("Authorization=Basic a:b"));
        assert_eq!(header("X-A: b;"), some("X-A=b;"));
        assert_eq!(header("X-A: "), Ok(None));
        assert_eq!(header(" X-A; "), some("X-A="));
        assert_eq!(header("cookie:"), some("cookie="));
        for bad in ["no colon", "", "Cookie;", ";", "a b;"] {
            let err: Result<_, &str> = header(bad);
            assert!(err.is_err(), "{bad}");
        }
    }
}

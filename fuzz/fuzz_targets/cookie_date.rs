//! No bytes in `Expires` make the parser panic, and what it reads is a date: written in the format of
//! RFC 9110, 5.6.7 it means the same. What follows a complete date, its case, and the delimiters between
//! its parts change nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The parser is not public, and depends on nothing.
#[path = "../../src/cookies/date.rs"]
mod date;

/// 1601-01-01 00:00:00 and 9999-12-31 23:59:59, in seconds since 1970.
const RANGE: std::ops::RangeInclusive<i64> = -11_644_473_600..=253_402_300_799;

fuzz_target!(|data: &[u8]| {
    let Some(seconds) = date::parse(data) else { return };
    assert!(RANGE.contains(&seconds), "{seconds}");
    assert_eq!(date::parse(written(seconds).as_bytes()), Some(seconds));
    assert_eq!(date::parse(&data.to_ascii_uppercase()), Some(seconds));
    assert_eq!(date::parse(&[b" ,", data, b" 12 Dec 1999 23:59:58 99 12"].concat()), Some(seconds));
    let spread: Vec<u8> = data
        .iter()
        .flat_map(|byte| if *byte == b' ' { &b"\t;~ "[..] } else { std::slice::from_ref(byte) })
        .copied()
        .collect();
    assert_eq!(date::parse(&spread), Some(seconds));
});

/// Formats a time, by counting the years and months up to it.
fn written(seconds: i64) -> String {
    let (mut day, time) = (seconds.div_euclid(86_400) + 134_774, seconds.rem_euclid(86_400));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1601;
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    let days = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= days[month] {
        day -= days[month];
        month += 1;
    }
    let names =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1, names[month])
}

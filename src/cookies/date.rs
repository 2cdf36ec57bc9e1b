//! Dates in `Set-Cookie`, by the algorithm of RFC 6265, 5.1.1. It reads any mix of formats: parts are
//! recognised by their shape, not by their position. Pure, and without a dependency.

/// Parses a cookie date. Returns seconds since 1970-01-01 00:00:00 UTC, negative before it; `None` if a
/// part is missing, the date does not exist, or the year is before 1601. A zone is ignored: all dates
/// are read as UTC.
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|byte| is_delimiter(*byte)).filter(|token| !token.is_empty()) {
        // The first token of each shape counts. A token of a shape that was found already may still be
        // of the next one: `01` can be a day or a year.
        if time.is_none() && parse_time(token).is_some() {
            time = parse_time(token);
        } else if day.is_none() && leading_number(token, 1..=2).is_some() {
            day = leading_number(token, 1..=2);
        } else if month.is_none() && parse_month(token).is_some() {
            month = parse_month(token);
        } else if year.is_none() {
            year = leading_number(token, 2..=4);
        }
    }
    let ((hour, minute, second), day, month) = (time?, day?, month?);
    let year = match year? {
        year @ 70..=99 => year + 1900,
        year @ 0..=69 => year + 2000,
        year => year,
    };
    let exists = year >= 1601
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 59;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    exists.then(|| days_since_1970(year, month, day) * 86_400 + seconds)
}

/// The `delimiter` of RFC 6265, 5.1.1. A colon is none: it holds the parts of a time together.
fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'/' | b';'..=b'@' | b'['..=b'`' | b'{'..=b'~')
}

/// Parses `time`: three numbers of one or two digits with colons between them. Anything but a digit may
/// follow.
fn parse_time(token: &[u8]) -> Option<(u32, u32, u32)> {
    let mut parts = token.splitn(3, |byte| *byte == b':');
    let mut field = |is_last: bool| {
        let part = parts.next()?;
        let ends_well = is_last || part.iter().all(u8::is_ascii_digit);
        leading_number(part, 1..=2).filter(|_| ends_well)
    };
    Some((field(false)?, field(false)?, field(true)?))
}

/// Parses a name of a month by its first three letters, in any case. Returns 1 for January.
fn parse_month(token: &[u8]) -> Option<u32> {
    const NAMES: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let start = token.first_chunk::<3>()?;
    (1..).zip(NAMES).find(|(_, name)| start.eq_ignore_ascii_case(*name)).map(|(month, _)| month)
}

/// Parses the number at the start of a token, if it has as many digits as this. Anything but a digit
/// may follow.
fn leading_number(token: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let count = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // At most four digits, so that the number fits.
    let number = || token[..count].iter().fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'));
    digits.contains(&count).then(number)
}

fn days_in_month(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar. It counts in years that begin
/// in March, so that a leap day is the last day of its year.
fn days_since_1970(year: u32, month: u32, day: u32) -> i64 {
    // The days from 0000-03-01 to 1970-01-01.
    const EPOCH: i64 = 719_468;
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    // March to July have 153 days, and so have August to December.
    let before_month = (month * 153 + 2) / 5;
    i64::from(before_year + before_month + day - 1) - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        parse(text.as_bytes())
    }

    /// 1994-11-06 08:49:37 UTC, the example of RFC 9110, 5.6.7.
    const NOV_1994: i64 = 784_111_777;

    #[test]
    fn a_date_is_read_in_any_format() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "06 Nov 1994 08:49:37",
            "6 november 1994 08:49:37",
            "Sun, 06 NOVEMBER 1994 08:49:37 GMT",
            "Sun Nov 06 1994 08:49:37 GMT+0000 (Coordinated Universal Time)",
            "Sun Nov 06 1994 08:49:37 GMT+0100 (Central European Standard Time)",
            "08:49:37 1994 Nov 06",
            "1994/Nov/06 08:49:37",
            "06th Nov 1994year 08:49:37.25",
            "  ,,Sun;06_Nov\t1994 08:49:37Z",
            "Sun, 06 Nov 1994 08:49:37 PST 1999 Dec 31 23:59:59",
        ] {
            assert_eq!(seconds(text), Some(NOV_1994), "{text}");
        }
        for text in
            ["Thursday, 01-Jan-1970 00:00:00 GMT", "Thu, 1 Jan 70 0:0:0", "1-jan-1970 0:00:00"]
        {
            assert_eq!(seconds(text), Some(0), "{text}");
        }
        // Bytes that are not UTF-8 are part of a token, or follow one.
        assert_eq!(parse(b"S\xe4n, 06\xff Nov\xe9 1994 08:49:37 \xff"), Some(NOV_1994));
    }

    #[test]
    fn what_is_missing_or_does_not_exist_is_refused() {
        for text in [
            "",
            "tomorrow",
            "0",
            "06 Nov 1994",
            "06 Nov 08:49:37",
            "Nov 1994 08:49:37",
            "06 1994 08:49:37",
            "06 11 1994 08:49:37",
            "1994-11-06T08:49:37Z",
            "00 Nov 1994 08:49:37",
            "31 Nov 1994 08:49:37",
            "32 Dec 1994 08:49:37",
            "29 Feb 1900 00:00:00",
            "29 Feb 2023 00:00:00",
            "06 Nov 1994 24:00:00",
            "06 Nov 1994 08:60:00",
            "06 Nov 1994 08:49:60",
            "06 Nov 1994 08:49",
            "06 Nov 1994 008:49:37",
            "06 Nov 1994 08:49:377",
            "06 Nov 1994 08:4x:37",
            "06 Nov 1600 08:49:37",
            "06 Nov 100 08:49:37",
            "06 Nov 12026 08:49:37",
            "06 Nov 6 08:49:37",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_year_of_two_digits_is_between_1970_and_2069() {
        let year = |text| seconds(&format!("01 Jan {text} 00:00:00"));
        assert_eq!((year("70"), year("1970")), (Some(0), Some(0)));
        assert_eq!((year("99"), year("1999")), (Some(915_148_800), Some(915_148_800)));
        assert_eq!((year("00"), year("2000")), (Some(946_684_800), Some(946_684_800)));
        assert_eq!((year("69"), year("2069")), (Some(3_124_224_000), Some(3_124_224_000)));
    }

    #[test]
    fn days_are_counted_by_the_gregorian_calendar() {
        assert_eq!(seconds("01 Jan 1601 00:00:00"), Some(-11_644_473_600));
        assert_eq!(seconds("31 Dec 9999 23:59:59"), Some(253_402_300_799));
        assert_eq!(seconds("29 Feb 2000 00:00:00"), Some(951_782_400));
        assert_eq!(seconds("29 Feb 2024 00:00:00"), Some(1_709_164_800));
        // Day after day, from a count of its own.
        let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
        let mut expected = -11_644_473_600;
        for year in 1601..2405 {
            for (month, name) in (1..).zip(months.split(' ')) {
                for day in 1..=days_in_month(year, month) {
                    let text = format!("{day} {name} {year} 0:0:0");
                    assert_eq!(seconds(&text), Some(expected), "{text}");
                    expected += 86_400;
                }
            }
        }
    }
}

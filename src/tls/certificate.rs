//! What a certificate says of itself: for error texts, and for a server's own certificate that is trusted.

use std::fmt::Write;
use std::net::IpAddr;

/// The fields of a certificate (RFC 5280, 4.1) that an error text names. They are read without verification.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Whether subject and issuer are the same name.
    pub(super) self_issued: bool,
    /// The first and the last second of validity, in seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// The DNS names and IP addresses that the certificate is for.
    pub(super) names: Vec<String>,
    /// The algorithm of the issuer's signature.
    pub(super) signature: String,
    /// The kind and the size of the public key.
    pub(super) key: String,
    /// Whether the certificate lists its purposes and the authentication of a server is not among them.
    pub(super) not_for_servers: bool,
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// The most names, and attributes of a name, that are kept for a text.
const MAX_ITEMS: usize = 8;
/// The most characters of one name in a text.
const MAX_CHARS: usize = 100;

impl Certificate {
    /// Reads a certificate. `None` if it is not one.
    pub(super) fn read(der: &[u8]) -> Option<Certificate> {
        let mut whole = Reader(Reader(der).expect(SEQUENCE)?);
        let mut body = Reader(whole.expect(SEQUENCE)?);
        let signature = signature_name(Reader(whole.expect(SEQUENCE)?))?;
        body.skip_if(0xa0); // the version
        body.expect(INTEGER)?; // the serial number
        body.expect(SEQUENCE)?; // the algorithm again
        let issuer = body.expect(SEQUENCE)?;
        let mut validity = Reader(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = body.expect(SEQUENCE)?;
        let key = key_name(Reader(body.expect(SEQUENCE)?))?;
        let mut certificate = Certificate {
            subject: distinguished_name(subject),
            issuer: distinguished_name(issuer),
            self_issued: subject == issuer,
            not_before,
            not_after,
            names: Vec::new(),
            signature,
            key,
            not_for_servers: false,
        };
        body.skip_if(0x81); // unique identifiers, of version 2
        body.skip_if(0x82);
        if let Some(extensions) = body.expect(0xa3) {
            certificate.read_extensions(Reader(extensions).expect(SEQUENCE)?)?;
        }
        Some(certificate)
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Option<()> {
        let mut extensions = Reader(extensions);
        while !extensions.0.is_empty() {
            let mut extension = Reader(extensions.expect(SEQUENCE)?);
            let kind = extension.expect(OID)?;
            extension.skip_if(BOOLEAN); // whether it is critical
            let value = Reader(extension.expect(OCTET_STRING)?);
            match dotted(kind).as_str() {
                "2.5.29.17" => self.names = alternative_names(value)?,
                "2.5.29.37" => self.not_for_servers = !is_for_servers(value)?,
                _ => {}
            }
        }
        Some(())
    }

    /// Returns the subject, or the first name if the subject is empty.
    pub(super) fn title(&self) -> &str {
        match (self.subject.is_empty(), self.names.first()) {
            (false, _) => &self.subject,
            (true, Some(name)) => name,
            (true, None) => "without a name",
        }
    }

    /// Returns the names that the certificate is for as a list.
    pub(super) fn names(&self) -> String {
        match self.names.len() {
            0 => "no name".to_owned(),
            count if count > MAX_ITEMS => {
                format!("{} and {} more", self.names[..MAX_ITEMS].join(", "), count - MAX_ITEMS)
            }
            _ => self.names.join(", "),
        }
    }
}

/// Reads elements of DER (X.690) from the front of a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes the next element: its tag and its content.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let len = match first {
            0..=0x7f => usize::from(first),
            // X.690, 8.1.3.5: the number of bytes that hold the length. More than four would be above 4 GiB.
            0x81..=0x84 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = behind;
                let len = bytes.iter().fold(0_u64, |len, byte| len << 8 | u64::from(*byte));
                usize::try_from(len).ok()?
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        Some((tag, content))
    }

    /// Takes the next element if it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        if *self.0.first()? == tag { self.next().map(|(_, content)| content) } else { None }
    }

    fn skip_if(&mut self, tag: u8) {
        let _ = self.expect(tag);
    }
}

/// Returns the first DER element of `bytes`, with its tag and length.
pub(super) fn first_element(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(bytes);
    reader.next()?;
    bytes.get(..bytes.len() - reader.0.len())
}

/// Writes a name (RFC 5280, 4.1.2.4) as `CN=…, O=…`, its most specific part first.
fn distinguished_name(name: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Reader(name);
    while let Some(set) = sets.expect(SET) {
        let mut set = Reader(set);
        while let Some(pair) = set.expect(SEQUENCE) {
            let mut pair = Reader(pair);
            let (Some(kind), Some((tag, value))) = (pair.expect(OID), pair.next()) else {
                continue;
            };
            let kind = match dotted(kind).as_str() {
                "2.5.4.3" => "CN",
                "2.5.4.6" => "C",
                "2.5.4.7" => "L",
                "2.5.4.8" => "ST",
                "2.5.4.10" => "O",
                "2.5.4.11" => "OU",
                "0.9.2342.19200300.100.1.25" => "DC",
                "1.2.840.113549.1.9.1" => "emailAddress",
                _ => continue,
            };
            parts.push(format!("{kind}={}", string(tag, value)));
        }
    }
    parts.reverse();
    parts.truncate(MAX_ITEMS);
    parts.join(", ")
}

/// Decodes a string, bounded and without characters that a terminal would interpret.
fn string(tag: u8, value: &[u8]) -> String {
    const BMP_STRING: u8 = 0x1e;
    let decoded = match tag {
        BMP_STRING => {
            let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|char| char.unwrap_or('\u{fffd}')).collect()
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    };
    printable(&decoded)
}

/// Returns a text of at most 100 characters, in which those that would change how a terminal shows it are replaced.
pub(super) fn printable(text: &str) -> String {
    let is_hidden = |char: char| {
        char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let safe = |char| if is_hidden(char) { '\u{fffd}' } else { char };
    let mut shown: String = text.chars().take(MAX_CHARS).map(safe).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

fn alternative_names(mut value: Reader<'_>) -> Option<Vec<String>> {
    const DNS_NAME: u8 = 0x82;
    const IP_ADDRESS: u8 = 0x87;
    let mut names = Vec::new();
    let mut list = Reader(value.expect(SEQUENCE)?);
    while !list.0.is_empty() {
        match list.next()? {
            (DNS_NAME, name) => names.push(printable(&String::from_utf8_lossy(name))),
            (IP_ADDRESS, bytes) => {
                let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
                names.extend(address.map(|address| address.to_string()));
            }
            _ => {}
        }
    }
    Some(names)
}

/// Whether an extended key usage (RFC 5280, 4.2.1.12) allows the authentication of a server.
fn is_for_servers(mut value: Reader<'_>) -> Option<bool> {
    let mut list = Reader(value.expect(SEQUENCE)?);
    while let Some(purpose) = list.expect(OID) {
        // serverAuth and anyExtendedKeyUsage
        if matches!(dotted(purpose).as_str(), "1.3.6.1.5.5.7.3.1" | "2.5.29.37.0") {
            return Some(true);
        }
    }
    Some(false)
}

fn signature_name(mut algorithm: Reader<'_>) -> Option<String> {
    let oid = dotted(algorithm.expect(OID)?);
    let name = match oid.as_str() {
        "1.2.840.113549.1.1.4" => "RSA with MD5",
        "1.2.840.113549.1.1.5" => "RSA with SHA-1",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.113549.1.1.14" => "RSA with SHA-224",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA with SHA-224",
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.2.840.10040.4.3" => "DSA with SHA-1",
        "2.16.840.1.101.3.4.3.2" => "DSA with SHA-256",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        other => return Some(format!("the algorithm {other}")),
    };
    Some(name.to_owned())
}

fn key_name(mut info: Reader<'_>) -> Option<String> {
    let mut algorithm = Reader(info.expect(SEQUENCE)?);
    let bits = info.expect(BIT_STRING)?;
    let oid = dotted(algorithm.expect(OID)?);
    let name = match oid.as_str() {
        "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => {
            return Some(rsa_size(bits).map_or("RSA".to_owned(), |size| format!("RSA {size}")));
        }
        "1.2.840.10045.2.1" => match algorithm.expect(OID).map(dotted).as_deref() {
            Some("1.2.840.10045.3.1.7") => P256,
            Some("1.3.132.0.34") => P384,
            Some("1.3.132.0.35") => P521,
            Some("1.3.132.0.10") => "secp256k1",
            Some(other) => return Some(format!("the curve {other}")),
            None => "a curve without a name",
        },
        "1.2.840.10040.4.1" => "DSA",
        "1.3.101.112" => ED25519,
        "1.3.101.113" => "Ed448",
        other => return Some(format!("the kind {other}")),
    };
    Some(name.to_owned())
}

const P256: &str = "P-256";
const P384: &str = "P-384";
pub(super) const P521: &str = "P-521";
const ED25519: &str = "Ed25519";

/// Returns the bits of an RSA modulus (RFC 8017, A.1.1).
fn rsa_size(bits: &[u8]) -> Option<usize> {
    let (0, key) = bits.split_first()? else {
        return None;
    };
    let modulus = Reader(Reader(key).expect(SEQUENCE)?).expect(INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// Writes an object identifier with dots (X.690, 8.19). `?` stands for what cannot be read.
pub(super) fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut arc: Option<u64> = Some(0);
    for (index, byte) in oid.iter().take(40).enumerate() {
        arc = arc.and_then(|arc| arc.checked_mul(128)).map(|arc| arc | u64::from(byte & 0x7f));
        if byte & 0x80 != 0 {
            continue;
        }
        let _ = match arc {
            // Writing to a String cannot fail.
            None => write!(text, ".?"),
            Some(arc) if text.is_empty() && index < 9 => {
                let root = (arc / 40).min(2);
                write!(text, "{root}.{}", arc - root * 40)
            }
            Some(arc) => write!(text, ".{arc}"),
        };
        arc = Some(0);
    }
    text
}

/// Reads a UTCTime or a GeneralizedTime (RFC 5280, 4.1.2.5) as seconds since 1970.
fn time(reader: &mut Reader<'_>) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let (tag, text) = reader.next()?;
    let two = |at: usize| -> Option<i64> {
        let digits = text.get(at..at + 2)?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| i64::from(digits[0] - b'0') * 10 + i64::from(digits[1] - b'0'))
    };
    let (year, at) = match tag {
        UTC_TIME => match two(0)? {
            year @ 50.. => (1900 + year, 2),
            year => (2000 + year, 2),
        },
        GENERALIZED_TIME => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let (month, day) = (two(at)?, two(at + 2)?);
    let (hour, minute, second) = (two(at + 4)?, two(at + 6)?, two(at + 8)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || text.get(at + 10..)? != b"Z" {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Returns the days from 1970-01-01 to a date, by counting years from March on, so that a leap day is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// Writes a time in seconds since 1970 as `2001-02-03 04:05:06 UTC`.
pub(super) fn date(seconds: i64) -> String {
    let (mut left, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years 0 to 9999 are all that a certificate can hold.
    left = left.clamp(days(0, 3, 1), days(9999, 12, 31));
    let mut year = left * 400 / 146_097 + 1970;
    while days(year, 1, 1) > left {
        year -= 1;
    }
    while days(year + 1, 1, 1) <= left {
        year += 1;
    }
    let mut month = 12;
    while days(year, month, 1) > left {
        month -= 1;
    }
    let day = left - days(year, month, 1) + 1;
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn made() -> Vec<u8> {
        let names = ["a.example".to_owned(), "*.b.example".to_owned(), "::1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(1960, 2, 29);
        params.not_after = rcgen::date_time_ymd(2100, 3, 1);
        params.distinguished_name.push(DnType::CommonName, "x\u{1b}[31m\u{202e}y");
        params.distinguished_name.push(DnType::OrganizationName, "z".repeat(200));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_what_it_is() {
        let read = Certificate::read(&made()).unwrap();
        assert!(read.subject.contains("CN=x\u{fffd}[31m\u{fffd}y"), "{}", read.subject);
        assert!(read.subject.chars().count() < 250, "{}", read.subject);
        assert!(read.self_issued && !read.not_for_servers);
        assert_eq!(read.names(), "a.example, *.b.example, ::1");
        assert_eq!(date(read.not_before), "1960-02-29 00:00:00 UTC");
        assert_eq!(date(read.not_after), "2100-03-01 00:00:00 UTC");
        assert_eq!((read.signature.as_str(), read.key.as_str()), ("ECDSA with SHA-256", "P-256"));
        let fixture = include_bytes!("../../tests/tls/keys/rsa.pem");
        let der = crate::tls::pem::certificates(fixture).unwrap().remove(0).unwrap();
        let read = Certificate::read(&der).unwrap();
        assert_eq!((read.signature.as_str(), read.key.as_str()), ("RSA with SHA-256", "RSA 2048"));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_009_843_199, "2001-12-31 23:59:59 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    proptest! {
        #[test]
        fn a_date_is_read_as_it_was_written(seconds in -62_135_596_800_i64..253_402_300_800) {
            let text = date(seconds);
            let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).chain([b'Z']).collect();
            let der = [&[0x18, 15], digits.as_slice()].concat();
            prop_assert_eq!(time(&mut Reader(&der)), Some(seconds));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::read(&bytes);
            let _ = dotted(&bytes);
            let _ = first_element(&bytes);
            let _ = (distinguished_name(&bytes), time(&mut Reader(&bytes)), rsa_size(&bytes));
            let _ = (alternative_names(Reader(&bytes)), key_name(Reader(&bytes)));
        }

        #[test]
        fn no_certificate_that_was_changed_makes_it_panic(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut der = made();
            for (index, byte) in changes {
                let at = index.index(der.len());
                der[at] = byte;
            }
            if let Some(read) = Certificate::read(&der) {
                let _ = (read.names(), date(read.not_before), date(read.not_after));
            }
            der.truncate(cut.index(der.len()));
            prop_assert!(Certificate::read(&der).is_none());
        }
    }
}

//! Certificates and keys out of the forms that files have them in: PEM (RFC 7468) as programs write it, or DER.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::certificate::{Certificate, OCTET_STRING, Reader, dotted, first_element};

/// One `-----BEGIN …-----` with what follows it.
pub(super) struct Section {
    pub(super) label: String,
    /// The content. `None` if it is not base64, or has no end.
    pub(super) body: Option<Vec<u8>>,
    /// Whether the content is encrypted as in RFC 1421.
    pub(super) encrypted: bool,
}

/// The longest label that counts as one.
const MAX_LABEL: usize = 64;

/// Finds the sections of a text. Text around them, indentation, a byte order mark and any ends of lines are allowed.
pub(super) fn sections(text: &[u8]) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut open: Option<(String, Vec<u8>, bool)> = None;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
        let unfinished = match (label(line, b"-----BEGIN "), &mut open) {
            (Some(label), open) => open.replace((label, Vec::new(), false)),
            (None, Some((name, content, encrypted))) => {
                if let Some(ended) = label(line, b"-----END ") {
                    let body = (ended == *name).then(|| STANDARD.decode(&*content).ok()).flatten();
                    let label = std::mem::take(name);
                    sections.push(Section { label, body, encrypted: *encrypted });
                    open = None;
                } else if line.contains(&b':') {
                    // A header of RFC 1421, 4.6.
                    *encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
                } else {
                    content.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
                }
                None
            }
            (None, None) => None,
        };
        sections.extend(unfinished.map(without_end));
    }
    sections.extend(open.map(without_end));
    sections
}

fn without_end((label, _, encrypted): (String, Vec<u8>, bool)) -> Section {
    Section { label, body: None, encrypted }
}

fn label(line: &[u8], before: &[u8]) -> Option<String> {
    let label = line.strip_prefix(before)?.strip_suffix(b"-----")?;
    let is_label = label.len() <= MAX_LABEL && label.iter().all(|byte| matches!(byte, b' '..=b'~'));
    is_label.then(|| String::from_utf8_lossy(label).into_owned())
}

/// Finds the certificates of a file, each with the reason if it cannot be read.
///
/// # Errors
/// What the file holds instead, if it holds no certificate.
pub(super) fn certificates(
    bytes: &[u8],
) -> Result<Vec<Result<CertificateDer<'static>, String>>, String> {
    let sections = sections(bytes);
    let mut found = Vec::new();
    for section in &sections {
        let content = match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => section.body.clone(),
            // OpenSSL's form: the certificate, and what it is trusted for.
            "TRUSTED CERTIFICATE" => section
                .body
                .as_deref()
                .map(|body| first_element(body).map(<[u8]>::to_vec).unwrap_or_default()),
            _ => continue,
        };
        let number = found.len() + 1;
        found.push(match content {
            None => Err(format!("certificate {number} is not whole: bad base64, or no END line")),
            Some(der) if Certificate::read(&der).is_none() => {
                Err(format!("certificate {number} is no X.509 certificate behind its BEGIN line"))
            }
            Some(der) => Ok(der.into()),
        });
    }
    if !found.is_empty() {
        return Ok(found);
    }
    match kind(bytes) {
        Kind::Certificate => Ok(vec![Ok(bytes.to_vec().into())]),
        other => Err(format!("no certificate found{}", instead(&other, &sections))),
    }
}

/// A private key, as a file holds it.
#[derive(PartialEq)]
pub(super) enum Key {
    Plain(PrivateKeyDer<'static>),
    /// PKCS#8's EncryptedPrivateKeyInfo (RFC 5958, 3).
    Encrypted(Vec<u8>),
}

/// Finds the first private key of a file.
///
/// # Errors
/// Why there is none, or why it cannot be read. The text holds nothing of it.
pub(super) fn private_key(bytes: &[u8]) -> Result<Key, String> {
    let sections = sections(bytes);
    for section in &sections {
        if !section.label.ends_with("PRIVATE KEY") {
            continue;
        }
        // The key of that encryption is an MD5 of the password. It is not supported.
        if section.encrypted {
            return Err("encrypted as in RFC 1421, which is not supported: convert it by `openssl pkcs8 -topk8`".into());
        }
        let cut = || "the private key is not whole: bad base64, or no END line".to_owned();
        let body = || section.body.clone().ok_or_else(cut);
        return Ok(match section.label.as_str() {
            "PRIVATE KEY" => Key::Plain(PrivateKeyDer::Pkcs8(body()?.into())),
            "RSA PRIVATE KEY" => Key::Plain(PrivateKeyDer::Pkcs1(body()?.into())),
            "EC PRIVATE KEY" => Key::Plain(PrivateKeyDer::Sec1(body()?.into())),
            "ENCRYPTED PRIVATE KEY" => Key::Encrypted(body()?),
            "OPENSSH PRIVATE KEY" => {
                return Err(
                    "a key of OpenSSH's own form: convert it by `ssh-keygen -p -m PKCS8`".into()
                );
            }
            label => return Err(format!("a key of the kind {label} is not supported")),
        });
    }
    match kind(bytes) {
        Kind::EncryptedKey => Ok(Key::Encrypted(bytes.to_vec())),
        Kind::Key => PrivateKeyDer::try_from(bytes.to_vec())
            .map(Key::Plain)
            .map_err(|_| "the private key cannot be parsed".to_owned()),
        other => Err(format!("no private key found{}", instead(&other, &sections))),
    }
}

/// What a file is.
enum Kind {
    Empty,
    Utf16,
    Certificate,
    Key,
    EncryptedKey,
    Pkcs12,
    Pkcs7,
    JavaKeyStore,
    Other,
}

/// Recognises a file by its first bytes, and DER by its structure: one element that is the whole file.
fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [] => return Kind::Empty,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'-', 0, ..] | [0, b'-', ..] => return Kind::Utf16,
        [0xfe, 0xed, 0xfe, 0xed, ..] => return Kind::JavaKeyStore,
        // OpenSSL writes PKCS#12 with lengths that DER does not allow (X.690, 8.1.3.6).
        [0x30, 0x80, 0x02, 0x01, 0x03, ..] => return Kind::Pkcs12,
        [0x30, 0x80, 0x06, ..] => return Kind::Pkcs7,
        _ => {}
    }
    if first_element(bytes).is_none_or(|first| first.len() != bytes.len()) {
        return Kind::Other;
    }
    let Some((0x30, content)) = Reader(bytes).next() else {
        return Kind::Other;
    };
    let mut inner = Reader(content);
    match inner.next() {
        // PFX (RFC 7292, 4): version 3.
        Some((0x02, [3])) => Kind::Pkcs12,
        // The versions of PKCS#8, PKCS#1 and SEC 1.
        Some((0x02, [0 | 1])) => Kind::Key,
        // ContentInfo (RFC 5652, 3).
        Some((0x06, oid)) if dotted(oid).starts_with("1.2.840.113549.1.7.") => Kind::Pkcs7,
        Some((0x30, _)) if Certificate::read(bytes).is_some() => Kind::Certificate,
        Some((0x30, _)) if inner.expect(OCTET_STRING).is_some() => Kind::EncryptedKey,
        _ => Kind::Other,
    }
}

/// Says what a file is that is not what was looked for, and how to convert it.
fn instead(kind: &Kind, sections: &[Section]) -> String {
    let pkcs7 = "it is PKCS#7: convert it by `openssl pkcs7 -print_certs` (with `-inform DER` if it is binary)";
    let words = match (kind, sections.first().map(|section| section.label.as_str())) {
        (_, Some("PKCS7" | "CMS")) | (Kind::Pkcs7, _) => pkcs7,
        (_, Some(label)) => return format!(": its first PEM section is {label}"),
        (Kind::Empty, _) => "it is empty",
        (Kind::Utf16, _) => "it is UTF-16 text: save it as ASCII or UTF-8",
        (Kind::Pkcs12, _) => {
            "it is PKCS#12 (.p12 or .pfx): convert it by `openssl pkcs12 -in FILE -out FILE.pem -nodes`"
        }
        (Kind::JavaKeyStore, _) => {
            "it is a Java key store: export it by `keytool -exportcert -rfc`"
        }
        (Kind::Certificate, _) => "it is a certificate",
        (Kind::Key | Kind::EncryptedKey, _) => "it is a private key",
        (Kind::Other, _) => "it is neither PEM nor DER",
    };
    format!(": {words}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sections_that_do_not_end_are_found_too() {
        let text = b"-----BEGIN A-----\nAAAA\n-----BEGIN B-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n\
            -----END B-----\n-----BEGIN C-----\nAAAA\n-----END B-----\n-----BEGIN D-----\n";
        let found: Vec<_> = sections(text)
            .into_iter()
            .map(|section| (section.label, section.body.is_some(), section.encrypted))
            .collect();
        let expected =
            [("A", false, false), ("B", true, true), ("C", false, false), ("D", false, false)];
        let expected =
            expected.map(|(label, whole, encrypted)| (label.to_owned(), whole, encrypted));
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----",
                    "-----END PRIVATE KEY-----", "-----BEGIN TRUSTED CERTIFICATE-----",
                    "-----END TRUSTED CERTIFICATE-----", "MIIB", "\u{feff}", "a: b", "",
                ]),
                0..12,
            ),
        ) {
            for input in [&bytes, lines.join("\n").as_bytes(), &[&[0x30, 0x82], bytes.as_slice()].concat()] {
                let _ = certificates(input);
                let _ = private_key(input).map(|_| ());
            }
        }
    }
}

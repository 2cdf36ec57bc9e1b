//! The forms in which files have certificates and keys, and a server's own certificate that is trusted itself.

use std::fmt::Write;

use actix_ws_client::testing::Script;
use actix_ws_client::{ConfigError, Tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::scratch::Scratch;
use crate::server::Setup;
use crate::words::plain;
use crate::{refused, talk, to, trusting};

const OWN: &str = include_str!("keys/own.pem");
const TRUSTED: &str = include_str!("keys/trusted.pem");
const SHA512: &str = include_str!("keys/sha512.pem");
const EC: &str = include_str!("keys/ec.pem");
const EC_SEC1: &str = include_str!("keys/ec-sec1.pem");
const EC_PKCS8: &str = include_str!("keys/ec-pkcs8.pem");
const EC_SCRYPT: &str = include_str!("keys/ec-scrypt.pem");

/// The binary content of the first section.
fn der(pem: &str) -> Vec<u8> {
    use base64::Engine;
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = lines.take_while(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

#[actix::test]
async fn a_certificate_is_read_in_every_form_that_files_have() {
    let certificate = OWN.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let other = Setup::new(&["localhost"]).serve(Script::accept()).pem;
    let indented = certificate.lines().fold(String::new(), |mut text, line| {
        writeln!(text, "    {line}  ").unwrap();
        text
    });
    for (form, text) in [
        ("plain", certificate.to_owned().into_bytes()),
        ("byte order mark", format!("\u{feff}{certificate}").into()),
        ("CRLF", certificate.replace('\n', "\r\n").into()),
        ("CR", certificate.replace('\n', "\r").into()),
        ("text around", format!("Subject: x\n{certificate}and\nbehind: it").into()),
        ("no end of line", certificate.trim_end().into()),
        ("indented", indented.into()),
        ("X509", certificate.replace("CERTIFICATE", "X509 CERTIFICATE").into()),
        ("TRUSTED", TRUSTED.into()),
        ("behind another", format!("{other}\n{certificate}").into()),
        ("before another", format!("{certificate}\u{feff}{other}").into()),
        ("with a key", OWN.into()),
        ("DER", der(certificate)),
    ] {
        let peer = Setup::new(&[]).fixed(OWN).serve(Script::accept().echo());
        let tls = Tls::new().ca_pem(&text).unwrap_or_else(|err| panic!("{form}: {err}"));
        assert_eq!(talk(to("localhost", peer.port, tls)).await.epoch, 1, "{form}");
    }
}

#[test]
fn what_is_no_certificate_is_named_as_what_it_is() {
    let named = |bytes: &[u8], words: &str| {
        for result in
            [Tls::new().ca_pem(bytes), Tls::new().client_cert_pem(bytes, EC_SEC1.as_bytes())]
        {
            let err = result.map(|_| ()).unwrap_err().to_string();
            assert!(err.contains(words), "{words}: {err}");
            plain(&err);
        }
    };
    let pkcs12 = include_bytes!("keys/own.p12");
    named(pkcs12, "PKCS#12");
    named(include_bytes!("keys/own.p7b"), "PKCS#7");
    named(include_bytes!("keys/own-der.p7b"), "PKCS#7");
    named(&utf16(OWN), "UTF-16");
    named(b"", "empty");
    named(EC_SEC1.as_bytes(), "EC PRIVATE KEY");
    named(&der(EC_SEC1), "private key");
    named(b"hello", "neither PEM nor DER");
    named(&[&der(OWN)[..], b"more"].concat(), "neither PEM nor DER");
    named(b"\xfe\xed\xfe\xed\0\0\0\x02", "Java");
    named(
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        "REQUEST",
    );
    named(OWN.split_at(300).0.as_bytes(), "certificate 1 is not whole");
    let broken = EC.to_owned() + &EC.replacen("MII", "!", 1);
    named(broken.as_bytes(), "certificate 2 is not whole");
    named(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no X.509");

    let key = |bytes: &[u8], words: &str| {
        let err = Tls::new().client_cert_pem(EC.as_bytes(), bytes).map(|_| ()).unwrap_err();
        let err = err.to_string();
        assert!(err.starts_with("client_key: ") && err.contains(words), "{words}: {err}");
        plain(&err);
    };
    key(pkcs12, "PKCS#12");
    key(&utf16(EC_SEC1), "UTF-16");
    key(EC.as_bytes(), "CERTIFICATE");
    key(&der(EC), "certificate");
    key(EC_SEC1.replace("EC PRIVATE", "OPENSSH PRIVATE").as_bytes(), "ssh-keygen");
    key(EC_SEC1.replace("EC PRIVATE", "DSA PRIVATE").as_bytes(), "DSA");
    key(EC_SEC1.split_at(60).0.as_bytes(), "not whole");
}

#[test]
fn a_key_is_read_in_every_form_that_files_have() {
    let fits = |key: &[u8]| {
        let made = Tls::new()
            .dangerously_accept_any_certificate()
            .client_cert_pem(&der(EC), key)
            .unwrap()
            .client_key_password("hunter2");
        drop(
            to("localhost", 1, made)
                .no_reconnect()
                .start()
                .map(|_| ())
                .map_err(|err| err.to_string()),
        );
    };
    let runs = actix::System::new();
    runs.block_on(async {
        for key in [EC_SEC1, EC_PKCS8, EC_SCRYPT] {
            fits(&der(key));
            fits(format!("\u{feff}{}", key.replace('\n', "\r\n")).as_bytes());
        }
    });
}

#[test]
fn an_error_names_the_file() {
    let scratch = Scratch::new("names-the-file");
    let (pkcs12, ec) =
        (scratch.write("a.p12", include_bytes!("keys/own.p12")), scratch.write("ec", EC));
    let names = |made: Result<Tls, ConfigError>, file: &str| {
        let err = made.map(|_| ()).unwrap_err().to_string();
        assert!(err.contains(file), "{err}");
    };
    names(Tls::new().ca_file(&pkcs12), "a.p12: no certificate found: it is PKCS#12");
    names(
        Tls::new().client_cert_file(&pkcs12, &pkcs12),
        "a.p12: no certificate found: it is PKCS#12",
    );
    names(Tls::new().client_cert_file(&ec, &pkcs12), "a.p12: no private key found: it is PKCS#12");
}

#[actix::test]
async fn a_servers_own_certificate_is_trusted_itself() {
    for setup in [
        Setup::new(&["localhost"]),
        Setup::new(&["localhost"]).authority(),
        // The issuer is unknown.
        Setup::new(&["localhost"]).issued_by("nobody"),
        // Its signature cannot be verified.
        Setup::new(&[]).fixed(SHA512),
        Setup::new(&[]).fixed(OWN),
    ] {
        let peer = setup.serve(Script::accept().echo());
        talk(to("localhost", peer.port, trusting(&peer.pem))).await;
    }
}

#[actix::test]
async fn a_servers_own_certificate_is_verified_in_all_but_its_issuer() {
    let words = async |setup: Setup| {
        let peer = setup.serve(Script::accept());
        refused(to("localhost", peer.port, trusting(&peer.pem))).await
    };
    for issuer in [None, Some("nobody")] {
        let with = |names: &[&str]| {
            let setup = Setup::new(names);
            issuer.map_or(Setup::new(names).authority(), |issuer| setup.issued_by(issuer))
        };
        let said = words(with(&["example.com"])).await;
        assert!(said.contains("is for example.com"), "{said}");
        let said = words(with(&["localhost"]).expired()).await;
        assert!(said.contains("expired"), "{said}");
        let said = words(with(&["localhost"]).not_yet_valid()).await;
        assert!(said.contains("not valid before"), "{said}");
        let said = words(with(&["localhost"]).for_clients()).await;
        assert!(said.contains("other purposes"), "{said}");
        let peer = with(&["example.com"]).serve(Script::accept().echo());
        let any_name = trusting(&peer.pem).dangerously_accept_any_name();
        talk(to("localhost", peer.port, any_name)).await;
    }
}

#[actix::test]
async fn a_certificate_that_only_resembles_a_trusted_one_is_refused() {
    let trusted = Setup::new(&["localhost"]).common_name("twin").authority();
    let trusted = trusted.serve(Script::accept()).pem;
    let twin = Setup::new(&["localhost"]).common_name("twin").authority().serve(Script::accept());
    let said = refused(to("localhost", twin.port, trusting(&trusted))).await;
    assert!(said.contains("CA:TRUE") || said.contains("not by the key"), "{said}");
    assert_ne!(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap(), der(&twin.pem).into());
}

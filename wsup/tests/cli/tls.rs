//! The flags of TLS, and what the environment says of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::process::{Ended, Wsup};
use crate::server::{self, NEW, OLD, Secure, Server};
use crate::stages::fails;

const CERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls/keys/ec.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls/keys/ec-sec1.pem");
const LOCKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls/keys/ec-pbkdf2.pem");

/// A directory for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = format!("wsup-tls-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(path);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn url(server: &Server) -> String {
    format!("wss://localhost:{}", server.port)
}

/// Says one thing and receiver it again, under this environment.
fn once(server: &Server, flags: &[&str], env: &[(&str, &str)]) -> Ended {
    let url = url(server);
    let talk = ["--json", &url, "--reconnect", "never", "--send", "hi", "--messages", "1"];
    Wsup::spawn(&[&talk[..], flags].concat(), Stdio::null(), env).end()
}

#[track_caller]
fn talks(server: &Server, flags: &[&str], env: &[(&str, &str)]) {
    let ended = once(server, flags, env);
    assert!(ended.rest.iter().any(|line| line.ends_with(r#""data":"hi"}"#)), "{:?}", ended.rest);
    ended.is(0, "closed");
}

/// Checks that stderr says these words, and that nothing is dialled.
#[track_caller]
fn cannot_be(flags: &[&str], env: &[(&str, &str)], named: &str) {
    let args = [&["--json", "wss://127.0.0.1:1"][..], flags].concat();
    let ended = Wsup::spawn(&args, Stdio::null(), env).end();
    assert_eq!(ended.status, 2, "{flags:?}: {}", ended.stderr);
    assert!(ended.rest.is_empty(), "{flags:?}: {:?}", ended.rest);
    assert!(ended.stderr.contains(named), "{flags:?}: {}", ended.stderr);
    assert!(!ended.stderr.contains("hunter"), "{}", ended.stderr);
}

#[test]
fn authorities_come_from_a_file_or_a_directory() {
    let scratch = Scratch::new("cacert");
    let (server, pem) = server::tls_echo();
    let file = scratch.write("ca.pem", &pem);
    talks(&server, &["--cacert", &file], &[]);
    let (server, pem) = server::tls_echo();
    scratch.write("ca.pem", &pem);
    talks(&server, &["--cacert", scratch.path()], &[]);
}

#[test]
fn authorities_of_the_environment_take_the_place_of_the_systems() {
    for (variable, as_directory) in [
        ("WEBSOCKET_CLIENT_CA_BUNDLE", false),
        ("WEBSOCKET_CLIENT_CA_BUNDLE", true),
        ("SSL_CERT_FILE", false),
        ("SSL_CERT_DIR", true),
    ] {
        let scratch = Scratch::new(&format!("{variable}-{as_directory}"));
        let (server, pem) = server::tls_echo();
        let file = scratch.write("ca.pem", &pem);
        let value = if as_directory { scratch.path() } else { &file };
        talks(&server, &[], &[(variable, value)]);
    }
}

#[test]
fn the_nearer_word_about_authorities_counts() {
    let scratch = Scratch::new("order");
    let nowhere = "/no/such/file";
    let mut number = 0;
    let mut served = || {
        let (server, pem) = server::tls_echo();
        number += 1;
        (server, scratch.write(&format!("{number}.pem"), &pem))
    };
    // What does not count is not even looked at.
    let (server, ca) = served();
    talks(&server, &["--cacert", &ca], &[("WEBSOCKET_CLIENT_CA_BUNDLE", nowhere)]);
    let (server, ca) = served();
    let env = [("WEBSOCKET_CLIENT_CA_BUNDLE", ca.as_str()), ("SSL_CERT_FILE", nowhere)];
    talks(&server, &[], &env);
    let (server, ca) = served();
    talks(&server, &[], &[("WEBSOCKET_CLIENT_CA_BUNDLE", ""), ("SSL_CERT_FILE", &ca)]);
    let (server, _) = served();
    talks(&server, &["--insecure"], &[("SSL_CERT_FILE", nowhere)]);

    let (server, ca) = served();
    let (_, other) = served();
    once(&server, &["--cacert", &other], &[("SSL_CERT_FILE", &ca)]).is(3, "refused");
    let (server, ca) = served();
    let env = [("WEBSOCKET_CLIENT_CA_BUNDLE", other.as_str()), ("SSL_CERT_FILE", &ca)];
    once(&server, &[], &env).is(3, "refused");
}

/// A store that is replaced at the moment when a redirect needs it ends no run.
#[test]
fn authorities_that_cannot_be_read_at_a_redirect_are_tried_again() {
    let scratch = Scratch::new("redirect");
    let (secure, pem) = server::tls_echo();
    let location = url(&secure);
    let plain = Server::run(move |listener| {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            server::read_head(&mut stream);
            let reply = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    let missing = scratch.0.join("ca.pem");
    let args = ["--json", &plain.url(), "--reconnect", "50ms"];
    let env = [("SSL_CERT_FILE", missing.to_str().unwrap())];
    let mut wsup = Wsup::spawn(&args, Stdio::null(), &env);
    let error = wsup.until("error");
    assert!(error["error"].as_str().unwrap().contains("SSL_CERT_FILE: "), "{error}");
    assert!(error["retry_in_ms"].is_u64(), "{error}");
    scratch.write("ca.pem", &pem);
    wsup.until("open");
}

#[test]
fn a_variable_that_leads_to_no_authority_is_named() {
    let empty = Scratch::new("empty");
    for variable in ["WEBSOCKET_CLIENT_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        cannot_be(&[], &[(variable, "/no/such/place")], &format!("{variable}: /no/such/place"));
    }
    cannot_be(&[], &[("WEBSOCKET_CLIENT_CA_BUNDLE", empty.path())], "WEBSOCKET_CLIENT_CA_BUNDLE: ");
    cannot_be(&[], &[("SSL_CERT_DIR", empty.path())], "SSL_CERT_DIR: ");
    cannot_be(
        &[],
        &[("SSL_CERT_FILE", "/dev/null")],
        "SSL_CERT_FILE: /dev/null: no certificate found: it is empty",
    );
}

/// A server that wants to see the certificate of the fixtures.
fn asking() -> Server {
    let trusted = std::fs::read_to_string(CERT).unwrap();
    Secure { client: Some(trusted), ..Secure::default() }.echo().0
}

#[test]
fn a_certificate_of_ours_is_shown() {
    talks(&asking(), &["--insecure", "--cert", CERT, "--key", KEY], &[]);
    let locked = ["--insecure", "--cert", CERT, "--key", LOCKED];
    talks(&asking(), &locked, &[("WSUP_KEY_PASSWORD", "hunter2")]);
    let scratch = Scratch::new("both");
    let read = |path| std::fs::read_to_string(path).unwrap();
    let both = scratch.write("both.pem", &(read(CERT) + &read(KEY)));
    talks(&asking(), &["--insecure", "--cert", &both], &[]);
    fails(&[&url(&asking()), "--insecure"], "tls", "null", 3, "refused");
}

#[test]
fn the_servers_name_can_be_said() {
    let scratch = Scratch::new("servername");
    let served = || {
        let (server, pem) = Secure { name: "feed.example", ..Secure::default() }.echo();
        (server, scratch.write("ca.pem", &pem))
    };
    let (server, ca) = served();
    talks(&server, &["--cacert", &ca, "--servername", "feed.example"], &[]);
    let (server, ca) = served();
    fails(&[&url(&server), "--cacert", &ca], "tls", "null", 3, "refused");
}

#[test]
fn versions_have_bounds() {
    let old = || Secure { versions: OLD, ..Secure::default() }.echo().0;
    let new = || Secure { versions: NEW, ..Secure::default() }.echo().0;
    talks(&old(), &["--insecure", "--tls-max", "1.2"], &[]);
    talks(&new(), &["--insecure", "--tls-min", "1.3"], &[]);
    let refused = |server: Server, flag, version| {
        fails(&[&url(&server), "--insecure", flag, version], "tls", "null", 1, "failed");
    };
    // In the clear: final at the second dial, and there is only one.
    refused(old(), "--tls-min", "1.3");
    refused(new(), "--tls-max", "1.2");
}

#[test]
fn secrets_are_logged_on_request_alone() {
    let scratch = Scratch::new("secrets");
    let path = scratch.path().to_owned() + "/secrets";
    let env = [("SSLKEYLOGFILE", path.as_str())];
    talks(&server::tls_echo().0, &["--insecure"], &env);
    assert!(!Path::new(&path).exists());
    talks(&server::tls_echo().0, &["--insecure", "--key-log"], &[]);
    talks(&server::tls_echo().0, &["--insecure", "--key-log"], &env);
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.contains("CLIENT_TRAFFIC_SECRET_0 "), "{written}");
}

#[test]
fn what_cannot_be_is_named() {
    let none = "/no/such/file";
    let encrypted = format!("WSUP_KEY_PASSWORD: {LOCKED}: the key is encrypted");
    for (flags, named) in [
        (&["--cert", none][..], "--cert: /no/such/file"),
        (&["--cert", CERT], "ec.pem: no private key found: its first PEM section is CERTIFICATE"),
        (&["--cert", CERT, "--key", none], "--key: /no/such/file"),
        (&["--key", KEY], "--cert"),
        (&["--cert", CERT, "--key", LOCKED], &encrypted),
        (&["--servername", "a b"], "--servername: "),
        (&["--tls-min", "1.1"], "--tls-min"),
        (&["--tls-min", "1.3", "--tls-max", "1.2"], "--tls-min: "),
    ] {
        cannot_be(&[&["--insecure"], flags].concat(), &[], named);
    }
    let locked = ["--insecure", "--cert", CERT, "--key", LOCKED];
    cannot_be(&locked, &[("WSUP_KEY_PASSWORD", "hunter3")], "WSUP_KEY_PASSWORD: ");
}

/// Checks the text of an error that ends the run, which shows no value as a program does.
#[track_caller]
fn ends_with(server: &Server, flags: &[&str], parts: &[&str]) {
    let ended = once(server, flags, &[]);
    let error = ended.rest.iter().find(|line| line.contains(r#""event":"error""#));
    let error = error.unwrap_or_else(|| panic!("no error in {:?}", ended.rest));
    let (_, text) = error.split_once(r#""error":""#).unwrap();
    let text = text.split('"').next().unwrap();
    for part in parts {
        assert!(text.contains(part), "no {part} in: {text}");
    }
    for mark in ["{", "[", "0x", "docs.rs", "Some(", "Tls::", "wsup's"] {
        assert!(!text.contains(mark), "{mark} in: {text}");
    }
    ended.is(3, "refused");
}

#[test]
fn an_error_says_what_is_wrong_and_which_flag_mends_it() {
    let scratch = Scratch::new("words");
    let (server, _) = server::tls_echo();
    let (_, other) = server::tls_echo();
    let ca = scratch.write("ca.pem", &other);
    ends_with(&server, &["--cacert", &ca], &["the certificate of localhost", "--cacert"]);
    let (server, pem) = Secure { name: "feed.example", ..Secure::default() }.echo();
    let ca = scratch.write("name.pem", &pem);
    ends_with(&server, &["--cacert", &ca], &["feed.example", "localhost", "--servername"]);
    ends_with(&asking(), &["--insecure"], &["certificate_required", "--cert and --key"]);
}

#[test]
fn a_key_that_does_not_fit_names_both_files() {
    let rsa = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls/keys/rsa.pem");
    let ended = Wsup::spawn(
        &["--json", "wss://127.0.0.1:1", "--insecure", "--cert", rsa, "--key", KEY],
        Stdio::null(),
        &[],
    );
    let stderr = ended.end().stderr;
    assert!(stderr.contains("rsa.pem") && stderr.contains("ec-sec1.pem"), "{stderr}");
}

//! `wsup feed --publish` against a nats-server that wants to know who publishes: users with a JWT, a token, TLS.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::files::Folder;
use crate::process::{Wsup, parse};
use crate::published::publishing;
use crate::published::server::Server;

/// An operator of NATS with one account, and the account of the system.
struct Operator {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

/// Returns a JWT: claims of NATS about a key, signed by another.
fn jwt(subject: &KeyPair, issuer: &KeyPair, expires: Option<u64>, claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let mut body = json!({
        "jti": "any",
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": "test",
        "nats": claims,
    });
    if let Some(time) = expires {
        body["exp"] = time.into();
    }
    let text = format!("{}.{}", encoded(&header), encoded(&body));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

/// Returns a file of credentials as `nsc` writes it.
fn creds(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

impl Operator {
    fn new() -> Operator {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        Operator { operator, account, system: KeyPair::new_account() }
    }

    /// Starts a server that trusts it and has its accounts in memory.
    fn server(&self) -> Server {
        let claims = json!({ "type": "operator", "version": 2 });
        let operator = jwt(&self.operator, &self.operator, None, &claims);
        let (account, system) = (self.account.public_key(), self.system.public_key());
        let of = |key: &KeyPair, jetstream: i64| {
            let limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
                "leaf": -1, "mem_storage": jetstream, "disk_storage": jetstream, "streams": jetstream,
                "consumer": jetstream,
            });
            let claims = json!({ "type": "account", "version": 2, "limits": limits });
            jwt(key, &self.operator, None, &claims)
        };
        let (accounts, systems) = (of(&self.account, -1), of(&self.system, 0));
        Server::with(
            &format!(
                "operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\n\
                 resolver_preload: {{ {account}: {accounts}, {system}: {systems} }}"
            ),
            "nats",
        )
    }

    /// Returns the JWT of a user of the account.
    fn user(&self, user: &KeyPair, expires: Option<u64>) -> String {
        let claims = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {},
        });
        jwt(user, &self.account, expires, &claims)
    }
}

/// Reads some updates, ends the run, and checks that they are in the stream.
fn is_published(mut wsup: Wsup) {
    (0..5).for_each(|_| drop(wsup.until("data")));
    wsup.signal("TERM");
    let ended = wsup.end();
    ended.is(0, "closed");
    let published = &parse(ended.rest.last().unwrap())["published"];
    assert!(published["acknowledged"].as_u64().unwrap() >= 5, "{published}");
    assert_eq!(published["published"], published["acknowledged"], "{published}");
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_file_of_credentials_is_that_of_a_user_with_a_jwt() {
    let operator = Operator::new();
    let server = operator.server();
    let user = KeyPair::new_user();
    let folder = Folder::new();
    let text = creds(&operator.user(&user, None), &user.seed().unwrap());
    let path = folder.write("user.creds", &text);
    let (sim, _folder, wsup) =
        publishing(&["--publish", &server.url_of(""), "--nats-creds", &path]);
    is_published(wsup);
    sim.is_content();
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn wrong_credentials_of_a_user_end_the_published_feed() {
    let operator = Operator::new();
    let server = operator.server();
    let (user, other) = (KeyPair::new_user(), KeyPair::new_user());
    let (jwt, seed) = (operator.user(&user, None), user.seed().unwrap());
    let refused = "the broker refuses the connection: authorization violation: it expects credentials, or others than these; \
                   see --nats-creds and --nats-token-file";
    let folder = Folder::new();
    for (number, (text, status, words)) in [
        // The key of another user.
        (creds(&jwt, &other.seed().unwrap()), 3, refused),
        // A user of an account that the broker does not have.
        (creds(&Operator::new().user(&user, None), &seed), 3, refused),
        (creds(&operator.user(&user, Some(1_700_000_001)), &seed), 3, refused),
        ("hidden text".to_owned(), 2, "it is no file of credentials"),
        (creds(&jwt, "hidden seed"), 2, "it is no file of credentials"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.write(&format!("{number}.creds"), &text);
        let (_sim, _folder, wsup) =
            publishing(&["--publish", &server.url_of(""), "--nats-creds", &path]);
        let ended = wsup.end();
        assert_eq!(ended.status, status, "{number}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{number}: {}", ended.stderr);
        let named = status == 3 || ended.stderr.contains(&format!("--nats-creds: {path}: "));
        assert!(named, "{number}: {}", ended.stderr);
        let secrets = [seed.as_str(), jwt.as_str(), "hidden"];
        assert!(!secrets.iter().any(|it| ended.stderr.contains(it)), "{}", ended.stderr);
    }
    // None at all.
    let (_sim, _folder, wsup) = publishing(&["--publish", &server.url_of("")]);
    let ended = wsup.end();
    assert_eq!(ended.status, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains(refused), "{}", ended.stderr);
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_token_is_read_from_its_file() {
    let server = Server::with("authorization: { token: of-the-test }", "nats");
    let folder = Folder::new();
    let path = folder.write("token", "of-the-test\n");
    let (_sim, _folder, wsup) =
        publishing(&["--publish", &server.url_of(""), "--nats-token-file", &path]);
    is_published(wsup);
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_broker_with_tls_needs_a_certificate_that_is_trusted() {
    let (server, authorities) = Server::with_tls();
    let authorities = authorities.to_str().unwrap();
    let url = server.url_of("");
    let (_sim, _folder, wsup) = publishing(&["--publish", &url, "--nats-ca", authorities]);
    is_published(wsup);
    let folder = Folder::new();
    let path = folder.write("ca.pem", "none");
    for (flags, status, words) in [
        (
            &[][..],
            3,
            "expected is a certificate by an authority of the system, or by one of --nats-ca",
        ),
        (&["--nats-ca", path.as_str()], 2, "ca.pem: no certificate found"),
    ] {
        let (_sim, _folder, wsup) = publishing(&[&["--publish", url.as_str()], flags].concat());
        let ended = wsup.end();
        assert_eq!(ended.status, status, "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

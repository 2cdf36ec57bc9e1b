use bytes::Bytes;

use super::*;
use crate::headers::Headers;

fn refused(status: u16, retry_after: Option<&'static str>) -> Error {
    let line = retry_after.map(|value| ("Retry-After".to_owned(), Bytes::from(value)));
    let headers = line.into_iter().collect();
    Error::Refused(Arc::new(Refusal {
        status,
        reason: String::new(),
        authorized: false,
        headers,
        body: Bytes::new(),
    }))
}

fn closed(code: u16) -> Error {
    Error::Closed(Some(CloseFrame::new(CloseCode::from(code), "").unwrap()))
}

/// An error with a cause: its text does not have the cause's.
#[derive(Debug, Display, DeriveError)]
#[display("outer")]
struct Outer {
    source: Inner,
}

#[derive(Debug, Display, DeriveError)]
#[display("inner")]
struct Inner;

fn layered() -> io::Error {
    io::Error::other(Outer { source: Inner })
}

/// One error of each variant, and how often "outer" and "inner" must stand in its chain.
fn of_each_variant() -> Vec<(Error, usize)> {
    let tls = || TlsError::new("certificate", layered(), Certainty::Final);
    let io = || Arc::new(layered());
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    let connect = || ConnectError { tried: [(addr, io::Error::other("refused"))].into() };
    let refusal = || {
        Arc::new(Refusal {
            status: 503,
            reason: String::new(),
            authorized: false,
            headers: Headers::default(),
            body: Bytes::new(),
        })
    };
    let proxy = Error::Proxy;
    vec![
        (Error::Dns { host: "h".into(), source: io() }, 1),
        (Error::Connect(connect()), 0),
        (proxy(ProxyError::Unreachable(Error::Dns { host: "p".into(), source: io() }.into())), 1),
        (proxy(ProxyError::Unreachable(Error::Connect(connect()).into())), 0),
        (proxy(ProxyError::Tls(tls())), 0),
        (proxy(ProxyError::Status(refusal())), 0),
        (proxy(ProxyError::Socks { version: 5, reply: 1 }), 0),
        (proxy(ProxyError::Auth("x".into())), 0),
        (proxy(ProxyError::Reply("x".into())), 0),
        (proxy(ProxyError::Io(io())), 1),
        (Error::Tls(tls()), 0),
        (Error::Refused(refusal()), 0),
        (Error::Redirect(RedirectError::Way("x".into())), 0),
        (Error::Redirect(RedirectError::Missing), 0),
        (Error::Handshake(HandshakeError::Request("x".into())), 0),
        (Error::Protocol(ProtocolError::InvalidUtf8), 0),
        (Error::Io(io()), 1),
        (Error::Timeout(Stage::Dns), 0),
        (Error::PeerSilent { after: Duration::from_secs(1), idle: false }, 0),
        (Error::Closed(None), 0),
        (Error::Overflow, 0),
        (Error::Session { reason: "x".into(), retry: Verdict::Stop }, 0),
        (Error::Headers("x".into()), 0),
        (Error::Url("x".into()), 0),
        (Error::Handler("x".into()), 0),
        (Error::Unheard("Message".into()), 0),
    ]
}

/// The text of an error and of all its sources.
fn chain(err: &dyn StdError) -> Vec<String> {
    let mut texts = vec![err.to_string()];
    let mut next = err.source();
    while let Some(err) = next {
        texts.push(err.to_string());
        next = err.source();
    }
    texts
}

#[test]
fn no_error_repeats_its_cause_and_none_is_lost() {
    for (error, layers) in of_each_variant() {
        let texts = chain(&error);
        let whole = texts.join(" | ");
        for word in ["outer", "inner"] {
            assert_eq!(whole.matches(word).count(), layers, "{whole}");
        }
        // What is wrapped directly is in the text.
        assert_eq!(texts[0].contains("outer"), layers > 0, "{whole}");
        for (at, text) in texts.iter().enumerate() {
            assert!(texts[..at].iter().all(|before| !before.contains(text)), "{whole}");
        }
    }
    // A variant that is not in the list above has no arm here.
    for (error, _) in of_each_variant() {
        match error {
            Error::Dns { .. }
            | Error::Connect(_)
            | Error::Proxy(
                ProxyError::Unreachable(_)
                | ProxyError::Tls(_)
                | ProxyError::Status(_)
                | ProxyError::Socks { .. }
                | ProxyError::Auth(_)
                | ProxyError::Reply(_)
                | ProxyError::Io(_),
            )
            | Error::Tls(_)
            | Error::Refused(_)
            | Error::Redirect(_)
            | Error::Handshake(_)
            | Error::Protocol(_)
            | Error::Io(_)
            | Error::Timeout(_)
            | Error::PeerSilent { .. }
            | Error::Closed(_)
            | Error::Overflow
            | Error::Session { .. }
            | Error::Headers(_)
            | Error::Url(_)
            | Error::Handler(_)
            | Error::Unheard(_) => {}
            // The next test makes one of each.
            #[cfg(feature = "record")]
            Error::Recorded { .. } => {}
        }
    }
}

#[test]
#[cfg(feature = "record")]
fn an_error_of_a_recording_has_the_stage_and_the_text_of_the_recorded_one() {
    for (error, _) in of_each_variant() {
        let recorded = Error::recorded(error.stage(), &error.to_string());
        assert_eq!((recorded.stage(), recorded.to_string()), (error.stage(), error.to_string()));
    }
    assert_eq!(Error::recorded("of a later version", "x").stage(), "handler");
}

#[test]
fn statuses_that_may_pass_are_retried() {
    for status in [408, 425, 429, 500, 502, 503, 504, 599, 600, 999, 99, 0] {
        assert_eq!(refused(status, None).verdict(), Verdict::RETRY, "{status}");
    }
    for status in [200, 204, 301, 304, 400, 401, 403, 404, 407, 410, 418, 426] {
        assert_eq!(refused(status, None).verdict(), Verdict::Stop, "{status}");
    }
}

#[test]
fn retry_after_is_a_floor_of_at_most_an_hour() {
    let floor = |value| match refused(503, Some(value)).verdict() {
        Verdict::Retry { at_least, .. } => at_least,
        Verdict::Stop => panic!("503 stops"),
    };
    assert_eq!(floor("7"), Some(Duration::from_secs(7)));
    assert_eq!(floor("86400"), Some(refusal::MAX_RETRY_AFTER));
    assert_eq!(floor("99999999999999999999999"), Some(refusal::MAX_RETRY_AFTER));
    for (value, seconds) in [("1.5", 2), ("0.001", 1), ("2.000", 2), ("3, 9, 4", 9)] {
        assert_eq!(floor(value), Some(Duration::from_secs(seconds)), "{value}");
    }
    for nonsense in ["", "-1", "+5", "soon", "1.", ".5", "1.5.2", "5, soon", "1e3"] {
        assert_eq!(floor(nonsense), None, "{nonsense}");
    }
    assert_eq!(refused(401, Some("1")).verdict(), Verdict::Stop);
}

fn challenged(status: u16, authorized: bool, lines: &[(&str, &str)]) -> Refusal {
    let headers = lines.iter().copied().collect();
    Refusal { status, reason: "Denied".into(), authorized, headers, body: Bytes::new() }
}

#[test]
fn a_407_names_what_the_proxy_wants_and_whether_it_was_sent() {
    let text = |sent, challenge: &str| {
        let refusal = challenged(407, sent, &[("Proxy-Authenticate", challenge)]);
        Error::Proxy(ProxyError::Status(Arc::new(refusal))).to_string()
    };
    for (sent, challenge, expected) in [
        (false, "Basic realm=\"x\"", "it wants Basic, and the proxy's URL has no user:password@"),
        (
            true,
            "Basic realm=\"x\"",
            "it wants Basic, and did not accept the credentials in the proxy's URL",
        ),
        (
            false,
            "Negotiate, NTLM",
            "it wants Negotiate or NTLM, which is not supported; only Basic is sent to a proxy",
        ),
        (
            true,
            "Digest nonce=1",
            "it wants Digest, which is not supported; only Basic is sent to a proxy",
        ),
        (
            false,
            "Digest nonce=1, Basic",
            "it wants Digest or Basic, and the proxy's URL has no user:password@",
        ),
        (false, "", "it wants credentials, and the proxy's URL has no user:password@"),
    ] {
        assert_eq!(
            text(sent, challenge),
            format!("proxy: refused with status 407 Denied: {expected}")
        );
    }
}

#[test]
fn a_refusal_shows_its_reason_phrase_and_what_a_401_wants() {
    let text = |refusal: Refusal| Error::Refused(Arc::new(refusal)).to_string();
    let start = "the server refused the upgrade with status";
    assert_eq!(text(challenged(403, true, &[])), format!("{start} 403 Denied"));
    let wild =
        Refusal { reason: format!("\u{1b}[2J\n{}", "x".repeat(99)), ..challenged(500, false, &[]) };
    assert_eq!(text(wild), format!("{start} 500 \\u{{1b}}[2J\\n{}", "x".repeat(59)));
    let bearer = [("WWW-Authenticate", "Bearer")];
    assert_eq!(
        text(challenged(401, false, &bearer)),
        format!("{start} 401 Denied: it wants Bearer, and no credentials were sent")
    );
    assert_eq!(
        text(challenged(401, true, &bearer)),
        format!(
            "{start} 401 Denied: it wants Bearer, and did not accept the credentials that were sent"
        )
    );
    let ntlm = text(challenged(401, true, &[("WWW-Authenticate", "NTLM")]));
    assert!(ntlm.contains("it wants NTLM, which is not supported"), "{ntlm}");
}

#[test]
fn close_codes_part_the_passing_from_the_final() {
    for code in [1000, 1001, 1011, 1012, 1014, 3000, 4000, 4999] {
        assert_eq!(closed(code).verdict(), Verdict::RETRY, "{code}");
    }
    for code in [1002, 1003, 1007, 1008, 1009, 1010] {
        assert_eq!(closed(code).verdict(), Verdict::Stop, "{code}");
    }
    assert_eq!(closed(1013).verdict(), Verdict::Retry { at_least: None, from_cap: true });
    assert_eq!(Error::Closed(None).verdict(), Verdict::RETRY);
}

#[test]
fn a_certificate_that_is_wrong_stops_and_a_cut_handshake_does_not() {
    let of = |certainty| Error::Tls(TlsError::new("x", io::Error::other("x"), certainty));
    assert_eq!(of(Certainty::Final).verdict(), Verdict::Stop);
    assert_eq!(of(Certainty::Passing).verdict(), Verdict::RETRY);
    let mut unconfirmed = of(Certainty::Unconfirmed);
    assert_eq!(unconfirmed.verdict(), Verdict::RETRY);
    unconfirmed.unconfirmed().unwrap().confirm();
    assert_eq!(unconfirmed.verdict(), Verdict::Stop);
    assert!(of(Certainty::Passing).unconfirmed().is_none());
}

#[test]
fn a_proxy_that_fails_is_asked_again_and_one_that_refuses_is_not() {
    let socks = |version, reply| Error::Proxy(ProxyError::Socks { version, reply }).verdict();
    for reply in [1, 3, 4, 5, 6] {
        assert_eq!(socks(5, reply), Verdict::RETRY, "{reply}");
    }
    for reply in [2, 7, 8, 9, 255] {
        assert_eq!(socks(5, reply), Verdict::Stop, "{reply}");
    }
    assert_eq!((socks(4, 91), socks(4, 92)), (Verdict::RETRY, Verdict::Stop));
    assert_eq!((socks(4, 5), socks(5, 91)), (Verdict::Stop, Verdict::Stop));
    let text = |version, reply| ProxyError::Socks { version, reply }.to_string();
    assert_eq!(text(5, 5), "SOCKS5 reply 5: the host refused the connection");
    for (version, reply) in [(5, 9), (5, 91), (5, 255), (4, 5), (4, 0)] {
        assert_eq!(
            text(version, reply),
            format!("SOCKS{version} reply {reply}: a code that is not defined")
        );
    }
    assert_eq!(socks(4, 93), Verdict::Stop);
    let status = |status| match refused(status, Some("7")) {
        Error::Refused(refusal) => Error::Proxy(ProxyError::Status(refusal)),
        other => panic!("{other}"),
    };
    for refusal in [101, 302, 401, 403, 404, 407] {
        assert_eq!(status(refusal).verdict(), Verdict::Stop, "{refusal}");
        assert_eq!((status(refusal).stage(), status(refusal).status()), ("proxy", Some(refusal)));
    }
    let later = Verdict::Retry { at_least: Some(Duration::from_secs(7)), from_cap: false };
    for failure in [500, 502, 503, 504] {
        assert_eq!(status(failure).verdict(), later, "{failure}");
    }
    let verdict = |err| Error::Proxy(err).verdict();
    let unreachable = ProxyError::Unreachable(Arc::new(Error::Timeout(Stage::Connect)));
    assert_eq!(verdict(unreachable), Verdict::RETRY);
    assert_eq!(verdict(ProxyError::Io(Arc::new(io::Error::other("x")))), Verdict::RETRY);
    assert_eq!(verdict(ProxyError::Auth("x".into())), Verdict::Stop);
    assert_eq!(verdict(ProxyError::Reply("x".into())), Verdict::Stop);
    let tls = |certainty| ProxyError::Tls(TlsError::new("x", io::Error::other("x"), certainty));
    assert_eq!(verdict(tls(Certainty::Passing)), Verdict::RETRY);
    assert_eq!(verdict(tls(Certainty::Final)), Verdict::Stop);
    assert!(Error::Proxy(tls(Certainty::Unconfirmed)).unconfirmed().is_some());
}

#[test]
fn an_error_is_send_sync_and_clone() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<Error>();
    check::<ConfigError>();
}

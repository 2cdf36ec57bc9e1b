use proptest::prelude::*;

use super::*;

/// 2026-01-01 00:00:00 UTC.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
}

fn place(url: &str) -> Destination<'_> {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    let secure = scheme == "wss";
    let (host, port) = match authority.split_once('|') {
        Some((host, port)) => (host, port.parse().unwrap()),
        None => (authority, if secure { 443 } else { 80 }),
    };
    Destination { secure, host, port, path }
}

fn jar(lines: &[(&str, &str)]) -> Jar {
    let mut jar = Jar::default();
    lines.iter().for_each(|(url, line)| jar.store(place(url), line.as_bytes(), at(0)));
    jar
}

/// The cookies that a request to this URL carries.
fn sent(jar: &Jar, url: &str) -> String {
    let line = jar.header(place(url), at(0)).unwrap_or_default();
    String::from_utf8(line).unwrap()
}

#[test]
fn a_cookie_without_a_domain_goes_to_the_host_and_port_that_set_it() {
    for host in ["a.example", "localhost", "127.0.0.1", "::1"] {
        let kept = jar(&[(&format!("ws://{host}/"), "id=7; HttpOnly")]);
        assert_eq!(sent(&kept, &format!("ws://{host}/x")), "id=7");
        assert_eq!(sent(&kept, &format!("ws://{host}|81/")), "");
        assert_eq!(sent(&kept, &format!("ws://b.{host}/")), "");
    }
    assert_eq!(sent(&jar(&[("ws://a.example/", "id=7")]), "ws://example/"), "");
}

#[test]
fn a_domain_is_for_all_hosts_in_it_and_of_the_servers_own() {
    for domain in ["Example.COM", ".example.com"] {
        let kept = jar(&[("ws://a.example.com/", &format!("id=7; Domain={domain}"))]);
        for host in ["a.example.com", "example.com", "b.c.example.com|81"] {
            assert_eq!(sent(&kept, &format!("ws://{host}/")), "id=7", "{host}");
        }
        for host in ["notexample.com", "example.com.evil.com", "com"] {
            assert_eq!(sent(&kept, &format!("ws://{host}/")), "", "{host}");
        }
    }
    for (host, domain) in [
        ("a.example.com", "b.example.com"),
        ("example.com", "a.example.com"),
        ("a.example.com", "xample.com"),
        ("a.example.com", "com"),
        ("a.example.com", ".com."),
        ("127.0.0.1", "0.0.1"),
        ("127.0.0.1", "127.0.0.2"),
        ("feed.localhost", "localhost"),
    ] {
        let kept = jar(&[(&format!("ws://{host}/"), &format!("id=7; Domain={domain}"))]);
        assert_eq!(kept.0.len(), 0, "{host} {domain}");
    }
}

#[test]
fn a_label_or_an_address_as_domain_is_the_host_alone() {
    for host in ["localhost", "127.0.0.1"] {
        let kept = jar(&[(&format!("ws://{host}/"), &format!("id=7; Domain={host}"))]);
        assert_eq!(sent(&kept, &format!("ws://{host}/")), "id=7");
        assert_eq!(sent(&kept, &format!("ws://a.{host}/")), "");
    }
}

#[test]
fn a_path_is_for_what_is_below_it_and_longer_ones_come_first() {
    let kept = jar(&[
        ("ws://h/a/b", "root=1; Path=/"),
        ("ws://h/a/b", "own=2"),
        ("ws://h/a/b", "deep=3; Path=/a/b"),
        ("ws://h/", "odd=4; Path=a"),
    ]);
    assert_eq!(sent(&kept, "ws://h/a/b/c"), "deep=3; own=2; root=1; odd=4");
    assert_eq!(sent(&kept, "ws://h/a/bc"), "own=2; root=1; odd=4");
    assert_eq!(sent(&kept, "ws://h/a"), "own=2; root=1; odd=4");
    assert_eq!(sent(&kept, "ws://h/ab"), "root=1; odd=4");
}

#[test]
fn a_cookie_ends_when_it_says() {
    let ends = |attributes: &str| {
        let kept = jar(&[("ws://h/", &format!("id=7; {attributes}"))]);
        let there = |second| kept.header(place("ws://h/"), at(second)).is_some();
        (there(0), there(59), there(60))
    };
    let minute = (true, true, false);
    assert_eq!(ends("Max-Age=60"), minute);
    assert_eq!(ends("Expires=Thu, 01 Jan 2026 00:01:00 GMT"), minute);
    assert_eq!(ends("expires=Thu, 01-Jan-2026 00:01:00 GMT"), minute);
    assert_eq!(ends("Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), minute);
    assert_eq!(ends("Expires=Thu, 01 Jan 1970 00:00:00 GMT; max-age=60"), minute);
    // Max-Age that is no number is no attribute: Expires counts.
    assert_eq!(ends("Expires=Thu, 1 Jan 2026 0:1:0; Max-Age=+5"), minute);
    // Of several of one attribute the last valid one counts.
    assert_eq!(ends("Max-Age=0; Max-Age=60; Max-Age=x"), minute);
    for never in ["", "Max-Age=99999999999999999999", "Expires=tomorrow", "Max-Age=soon"] {
        assert_eq!(ends(never), (true, true, true), "{never}");
    }
    for past in [
        "Max-Age=0",
        "Max-Age=-1",
        "Max-Age=-99999999999999999999",
        "Expires=Wed, 31 Dec 2025 23:59:59 GMT",
        "Expires=Thursday, 01-Jan-1970 00:00:00 GMT",
        "Expires=Thu, 1 Jan 1970 0:0:0 UTC",
        "Expires=Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)",
        "Expires=Fri, 1 January 1960 00:00:00 +0000",
    ] {
        assert_eq!(ends(past), (false, false, false), "{past}");
    }
}

#[test]
fn a_cookie_takes_the_place_of_its_like_and_an_expired_one_leaves_it_empty() {
    let mut kept = jar(&[
        ("ws://h/", "a=1"),
        ("ws://h/", "b=1"),
        ("ws://h/", "a=2"),
        ("ws://h/", "a=3; Path=/x"),
        ("ws://h|81/", "a=4"),
    ]);
    assert_eq!(sent(&kept, "ws://h/x"), "a=3; a=2; b=1");
    assert_eq!(sent(&kept, "ws://h|81/x"), "a=4");
    kept.store(place("ws://h/"), b"a=; Max-Age=0", at(0));
    assert_eq!((sent(&kept, "ws://h/").as_str(), kept.0.len()), ("b=1", 3));
}

#[test]
fn a_secure_cookie_comes_and_goes_under_tls_alone() {
    let mut kept = jar(&[
        ("wss://a.example/", "id=7; Secure; Domain=a.example"),
        ("ws://a.example/", "plain=1; Secure"),
    ]);
    assert_eq!(sent(&kept, "wss://a.example/"), "id=7");
    assert_eq!(sent(&kept, "ws://a.example/"), "");
    for forged in ["id=evil; Domain=a.example", "id=evil", "id=; Max-Age=0"] {
        kept.store(place("ws://a.example/"), forged.as_bytes(), at(0));
        assert_eq!(sent(&kept, "wss://a.example/"), "id=7", "{forged}");
    }
}

#[test]
fn what_came_without_tls_does_not_stand_in_for_a_secure_cookie() {
    fn both<'a>(url: &'a str, plain: &'a str) -> [(&'a str, &'a str); 2] {
        let secure = "id=7; Secure; Path=/p; Domain=b.a.example";
        [("wss://b.a.example/", secure), (url, plain)]
    }
    let to = |jar: &Jar| sent(jar, "wss://b.a.example/p/q");
    for (url, plain) in [
        ("ws://b.a.example/", "id=evil; Path=/p"),
        ("ws://b.a.example/", "id=evil; Path=/p/q; Domain=b.a.example"),
        ("ws://a.example/", "id=evil; Path=/p; Domain=a.example"),
        ("ws://c.b.a.example/", "id=evil; Path=/p/q; Domain=b.a.example"),
        ("ws://b.a.example/p/q/r", "id=evil"),
    ] {
        // In both orders: a cookie may be planted in advance.
        let [first, second] = both(url, plain);
        assert_eq!(to(&jar(&[first, second])), "id=7", "{plain}");
        assert_eq!(to(&jar(&[second, first])), "id=7", "{plain}");
    }
    for (plain, expected) in [
        // Behind the secure one, as RFC 6265bis allows.
        ("id=other; Path=/", "id=7; id=other"),
        ("ID=other; Path=/p/q", "ID=other; id=7"),
        ("jd=other; Path=/p", "id=7; jd=other"),
    ] {
        let plain = format!("{plain}; Domain=b.a.example");
        assert_eq!(to(&jar(&both("ws://b.a.example/", &plain))), expected);
    }
    // A server may have both kinds, if it sets both over TLS.
    let [secure, own] = both("wss://b.a.example/", "id=8; Path=/p/q");
    assert_eq!(to(&jar(&[secure, own])), "id=8; id=7");
    assert_eq!(to(&jar(&[own, secure])), "id=8; id=7");
}

#[test]
fn a_name_with_a_prefix_is_what_it_promises() {
    for (url, line, is_kept) in [
        ("wss://h.example/", "__Secure-id=1; Secure; Domain=h.example; Path=/x", true),
        ("wss://h.example/", "__Secure-id=1", false),
        ("wss://h.example/", "__SECURE-id=1", false),
        ("ws://h.example/", "__Secure-id=1; Secure", false),
        ("wss://h.example/a/b", "__Host-id=1; Secure; Path=/", true),
        ("wss://h.example/", "__Host-id=1; Secure", false),
        ("wss://h.example/", "__host-id=1; Secure; Path=/; Domain=h.example", false),
        ("wss://h.example/", "__Host-id=1; Secure; Path=/x", false),
        ("wss://h.example/", "__Host-id=1; Path=/", false),
        ("ws://h.example/", "__HOST-id=1; Path=/", false),
        ("ws://h.example/", "__Hostile=1", true),
    ] {
        assert_eq!(jar(&[(url, line)]).0.len(), usize::from(is_kept), "{url} {line}");
    }
}

#[test]
fn what_came_without_tls_drives_out_nothing_that_came_with_it() {
    for session in ["session=7; Secure", "session=7"] {
        let mut kept = jar(&[("wss://a.example|80/", session)]);
        for number in 0..80 {
            let short = format!("n{number}=x");
            let long = format!("l{number}={}; Domain=a.example", "x".repeat(4000));
            kept.store(place("ws://a.example/"), short.as_bytes(), at(0));
            kept.store(place("ws://a.example/"), long.as_bytes(), at(0));
        }
        assert!(sent(&kept, "wss://a.example|80/").contains("session=7"), "{session}");
        assert!(kept.0.len() <= MAX_COOKIES && kept.bytes() <= MAX_BYTES);
    }
    // Also where there is nothing else to drop.
    let mut kept = Jar::default();
    for number in 0..MAX_COOKIES {
        let line = format!("n{number}=x; Secure");
        kept.store(place("wss://a.example/"), line.as_bytes(), at(0));
    }
    kept.store(place("ws://evil.example/"), b"id=1", at(0));
    assert!(kept.0.iter().all(|kept| kept.secure) && kept.0.len() == MAX_COOKIES);
}

/// A server, whether over TLS, and what it sets: few names and places, so that they meet, and long values, so that the
/// jar is full soon.
fn settings() -> impl Strategy<Value = Vec<(bool, usize, char, usize, String)>> {
    let long = prop_oneof![1..4_usize, 3000..4000_usize];
    let attributes = "(; Domain=(a|b.a).example)?(; Path=/(p|p/q)?)?(; Max-Age=0)?";
    let one = (any::<bool>(), 0..3_usize, prop_oneof![Just('a'), Just('b')], long, attributes);
    proptest::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn what_came_without_tls_changes_no_secure_cookie(settings in settings()) {
        let (mut mixed, mut alone) = (Jar::default(), Jar::default());
        for (over_tls, host, name, long, attributes) in settings {
            let host = ["a.example", "b.a.example", "other.example"][host];
            let from = Destination { secure: over_tls, host, port: 80, path: "/p/q" };
            let secure = if over_tls { "; Secure" } else { "" };
            let line = format!("{name}={}{attributes}{secure}", "x".repeat(long));
            mixed.store(from, line.as_bytes(), at(0));
            if over_tls {
                alone.store(from, line.as_bytes(), at(0));
            }
        }
        let secure = |jar: &Jar| -> Vec<_> {
            let kept = jar.0.iter().filter(|kept| kept.secure);
            let parts = kept.map(|it| (it.name.clone(), it.value.len(), it.domain.clone(), it.path.clone()));
            parts.collect()
        };
        prop_assert_eq!(secure(&mixed), secure(&alone));
    }
}

#[test]
fn secure_cookies_are_the_last_that_a_domain_loses() {
    let mut kept = jar(&[("wss://h/", "session=7; Secure"), ("wss://h/", "first=1")]);
    for number in 0..80 {
        kept.store(place("wss://h/"), format!("n{number}=x").as_bytes(), at(0));
    }
    let line = sent(&kept, "wss://h/");
    assert!(line.starts_with("session=7; ") && !line.contains("first"), "{line}");
}

#[test]
fn a_full_jar_has_room_for_another_domain() {
    let mut kept = Jar::default();
    for number in 0..80 {
        kept.store(place("wss://h/"), format!("n{number}=x; Secure").as_bytes(), at(0));
    }
    // Without TLS it would cost one that came with it.
    kept.store(place("ws://a.example/"), b"id=7", at(0));
    assert_eq!(sent(&kept, "ws://a.example/"), "");
    kept.store(place("wss://a.example/"), b"id=7", at(0));
    assert_eq!(sent(&kept, "wss://a.example/"), "id=7");
    assert_eq!(kept.0.len(), MAX_COOKIES);
}

#[test]
fn the_jar_is_bounded_and_no_domain_fills_it_at_the_cost_of_another() {
    let mut kept = jar(&[("ws://a.example/", "id=7"), ("ws://h/", "first=1")]);
    for number in 0..200 {
        kept.store(place("ws://h/"), format!("n{number}=x").as_bytes(), at(0));
    }
    assert_eq!(kept.0.len(), MAX_COOKIES);
    assert_eq!(sent(&kept, "ws://a.example/"), "id=7");
    let line = sent(&kept, "ws://h/");
    assert!(line.ends_with("n199=x") && !line.contains("first"), "{line}");
    for number in 0..20 {
        let long = format!("long{number}={}", "x".repeat(4000));
        kept.store(place("ws://h/"), long.as_bytes(), at(0));
    }
    assert!(kept.bytes() <= MAX_BYTES && sent(&kept, "ws://h/").contains("long19="));
}

#[test]
fn the_bound_of_a_cookie_is_of_its_name_and_value() {
    let value = "x".repeat(MAX_COOKIE_LEN - 2);
    let cookie = |more: &str, attributes: &str| {
        let kept = jar(&[("ws://h/", &format!("id={value}{more}{attributes}"))]);
        sent(&kept, "ws://h/").len()
    };
    let attributes = format!("; Path=/; Comment={}", "y".repeat(8000));
    assert_eq!(cookie("", &attributes), MAX_COOKIE_LEN + 1);
    assert_eq!(cookie("x", ""), 0);
    // What is longer than an attribute may be is ignored, not cut.
    let path = format!("id=7; Path=/{}", "p".repeat(MAX_ATTRIBUTE_LEN));
    assert_eq!(sent(&jar(&[("ws://h/", &path)]), "ws://h/"), "id=7");
}

#[test]
fn a_value_goes_back_as_it_came() {
    let kept = jar(&[("ws://h/", " q = \"a b\" ; x"), ("ws://h/", "e="), ("ws://h/", "p=%0d=")]);
    assert_eq!(sent(&kept, "ws://h/"), "q=\"a b\"; e=; p=%0d=");
    for nonsense in ["", "novalue", "=x", "a=b\tc", "a\rb=c", "; a=b", "a=\u{7f}"] {
        assert_eq!(jar(&[("ws://h/", nonsense)]).0.len(), 0, "{nonsense:?}");
    }
    assert!(!format!("{kept:?}").contains("a b"));
}

#[test]
fn a_value_that_is_not_utf8_goes_back_as_its_bytes() {
    let mut kept = Jar::default();
    for line in
        [&b"n\xe4me=w\xfcrde; Path=/"[..], b"b=2; Comment=\xff; Path=/a\xff", b"c=3; Domain=\xff"]
    {
        kept.store(place("ws://h/"), line, at(0));
    }
    assert_eq!(kept.header(place("ws://h/"), at(0)).unwrap(), b"n\xe4me=w\xfcrde");
    // A Domain that is no host's is not ours to guess.
    assert_eq!(kept.0.len(), 2);
}

proptest! {
    #[test]
    fn no_line_panics_or_leaves_its_place(
        line in prop_oneof![
            any::<Vec<u8>>(),
            "(a=b; ?)?(domain|path|max-age|expires|secure|=|;|\\.|[a-z0-9:,/\r\n\t\0\u{e9}-]| ){0,12}"
                .prop_map(String::into_bytes),
            "a=b; expires=[A-Z][a-z]{2}, [0-9-]{1,3}[ -]Jan[ -][0-9+-]{1,7} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
                .prop_map(String::into_bytes),
        ],
    ) {
        let mut kept = Jar::default();
        kept.store(place("ws://a.example/x/"), &line, at(0));
        let sent = kept.header(place("ws://a.example/x/y"), at(1)).unwrap_or_default();
        prop_assert!(!sent.iter().any(u8::is_ascii_control), "{sent:?}");
        prop_assert!(sent.is_empty() || sent.iter().position(|byte| *byte == b'=') > Some(0), "{sent:?}");
        prop_assert!(!sent.contains(&b';'), "{sent:?}");
        prop_assert_eq!(kept.header(place("ws://b.other/x/y"), at(1)), None);
    }
}

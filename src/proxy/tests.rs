use super::*;

fn proxy(text: &str) -> Proxy {
    Proxy::parse(text).unwrap()
}

#[test]
fn a_proxy_url_is_taken_apart() {
    let parsed = proxy("HTTP://us%40er:p%3Aw%2B+d@Proxy.Example:3128/ignored?x");
    assert_eq!((parsed.scheme, parsed.port), (Scheme::Http, 3128));
    assert_eq!(parsed.host, "proxy.example");
    let credentials = parsed.credentials.clone().unwrap();
    assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("us@er", "p:w++d"));
    let shown = format!("{parsed:?}");
    assert!(!shown.contains("us@er") && !shown.contains("p:w"), "{shown}");
    let v6 = proxy("socks5h://[::1]:9050");
    assert_eq!((v6.scheme, v6.host.as_str(), v6.port), (Scheme::Socks5h, "::1", 9050));
}

#[test]
fn the_zone_of_an_address_is_dialled() {
    for url in ["http://u:p@[fe80::1%25eth0]:3128/x", "http://u:p@[fe80::1%eth0]:3128"] {
        let parsed = proxy(url);
        assert_eq!((parsed.host.as_str(), parsed.port), ("fe80::1", 3128));
        assert_eq!(parsed.zoned_host(), "fe80::1%eth0");
    }
    assert_eq!(proxy("socks5://[fe80::1]").zoned_host(), "fe80::1");
    let err = Proxy::parse("http://[fe80::1%a%2Fb]").unwrap_err().to_string();
    assert!(err.contains("zone"), "{err}");
}

#[test]
fn each_scheme_has_its_port() {
    let port = |scheme: &str| proxy(&format!("{scheme}://h")).port;
    assert_eq!((port("http"), port("https")), (80, 443));
    for scheme in ["socks", "socks4", "socks4a", "socks5", "socks5h"] {
        assert_eq!(port(scheme), 1080, "{scheme}");
    }
    assert_eq!(proxy("socks://h").scheme, Scheme::Socks5);
}

#[test]
fn what_is_no_proxy_is_refused_without_showing_it() {
    let long = format!("socks5://{}:hunter2@h", "u".repeat(256));
    let long4 = format!("socks4://{}@h", "u".repeat(241));
    let refused = [
        "",
        "127.0.0.1:3128",
        "localhost:3128",
        "user:hunter2@h:3128",
        "ftp://u:hunter2@h",
        "ws://h",
        "http://",
        "http://u:hunter2@",
        "http://h:0",
        "socks5://h:0",
        "http://h:65536",
        "http://h:hunter2",
        "socks5://u@h",
        "socks5://:hunter2@h",
        "socks4://u:hunter2@h",
        "socks4://u%00@h",
        "http://u%3A:hunter2@h",
        "http://u%0a:hunter2@h",
        "https://u:hunter2%00@h",
        "http://u:%ff@h",
        &long,
        &long4,
    ];
    for text in refused {
        let err = Proxy::parse(text).unwrap_err().to_string();
        assert!(!err.contains("hunter2"), "{err}");
    }
    assert!(proxy("socks4://u@h").check_target("::1").is_err());
    assert!(proxy("socks4://u@h").check_target("127.0.0.1").is_ok());
    assert!(proxy("socks5://h").check_target("::1").is_ok());
    assert!(proxy("socks5h://h").check_target(&"n".repeat(256)).is_err());
}

/// The results of curl 7.88.1 for each of these, run by hand; only `*.b.com`, which it does not know,
/// is in a test of its own.
#[test]
fn hosts_go_past_a_proxy_as_with_curl() {
    let past = [
        ("b.com", "b.com"),
        ("b.com", "a.b.com"),
        (".b.com", "b.com"),
        (".b.com", "a.b.com"),
        ("B.COM", "b.com"),
        ("b.com.", "b.com"),
        ("b.com", "b.com."),
        ("a.com,b.com", "b.com"),
        ("a.com , b.com", "b.com"),
        ("a.com b.com", "b.com"),
        ("*", "x.com"),
        ("*", "1.2.3.4"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.0.0/8", "10.2.2.3"),
        ("192.168.1.1", "192.168.1.1"),
        ("::1", "::1"),
    ];
    for (list, host) in past {
        assert!(NoProxy::parse(list).matches(host, 80), "{list:?} {host}");
    }
    let through = [
        ("b.com", "evilb.com"),
        (".b.com", "evilb.com"),
        ("a.b.com", "b.com"),
        (".", "x.com"),
        ("", "x.com"),
        (" , ,", "x.com"),
        ("10.0.0.0/8", "11.1.2.3"),
        ("10.0.0.0/8", "host10.com"),
        ("10.0.0.0/33", "10.0.0.0"),
        ("10.0.0.0/x", "10.0.0.0"),
        ("192.168.1", "192.168.1.1"),
        ("010.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("::/0", "1.2.3.4"),
    ];
    for (list, host) in through {
        assert!(!NoProxy::parse(list).matches(host, 80), "{list:?} {host}");
    }
}

#[test]
fn beyond_curl_a_list_has_ports_brackets_and_whole_networks() {
    let matches = |list: &str, host, port| NoProxy::parse(list).matches(host, port);
    assert!(matches("b.com:8080", "a.b.com", 8080) && !matches("b.com:8080", "b.com", 80));
    assert!(matches("10.0.0.0/8:80", "10.1.2.3", 80) && !matches("10.0.0.0/8:81", "10.1.2.3", 80));
    assert!(matches("[::1]:80", "::1", 80) && !matches("[::1]:81", "::1", 80));
    assert!(matches("[::1]", "::1", 80) && matches("0:0:0:0:0:0:0:1", "::1", 80));
    assert!(matches("fe80::/10", "fe80::1", 80) && !matches("fe80::/10", "ff80::1", 80));
    assert!(matches("0.0.0.0/0", "1.2.3.4", 80) && matches("::/0", "::1", 80));
    assert!(matches("a.com,*", "x.com", 80));
}

#[test]
fn an_asterisk_stands_for_the_names_below() {
    let matches = |list: &str, host| NoProxy::parse(list).matches(host, 80);
    for (list, host) in [
        ("*.b.com", "a.b.com"),
        ("*.B.com.", "x.a.b.COM."),
        ("a.com, *.b.com:80", "a.b.com"),
        ("*.b\u{fc}cher.example", "a.xn--bcher-kva.example"),
    ] {
        assert!(matches(list, host), "{list:?} {host}");
    }
    for (list, host) in [
        ("*.b.com", "b.com"),
        ("*.b.com", "evilb.com"),
        ("*.b.com", "a.b.com.evil"),
        ("*.b.com:81", "a.b.com"),
        ("*b.com", "a.b.com"),
        ("a.*.com", "a.b.com"),
        ("*.", "x.com"),
        ("*.0.0.1", "127.0.0.1"),
    ] {
        assert!(!matches(list, host), "{list:?} {host}");
    }
}

#[test]
fn an_internationalised_name_is_compared_in_its_ascii_form() {
    let matches = |list: &str, host| NoProxy::parse(list).matches(host, 80);
    for list in [
        "b\u{fc}cher.example",
        "B\u{dc}CHER.example",
        ".b\u{fc}cher.example",
        "b\u{fc}cher\u{3002}example",
        "b\u{fc}cher.example:80",
        "XN--bcher-kva.example",
    ] {
        assert!(matches(list, "xn--bcher-kva.example"), "{list}");
        assert!(matches(list, "a.xn--bcher-kva.example"), "{list}");
    }
    assert!(!matches("b\u{fc}cher.example", "bucher.example"));
    // Digits of another script do not become an address.
    assert!(!matches("\u{ff11}.2.3.4", "1.2.3.4"));
}

#[test]
fn the_environment_is_read_as_by_curl() {
    let env = |set: &'static [(&str, &str)]| {
        move |name: &str| {
            let found = set.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(*value))
        }
    };
    let found = |secure, set| from_env(secure, env(set)).unwrap();
    let is = |name, value: &str| Some((name, value.to_owned()));
    assert_eq!(found(false, &[("http_proxy", " a "), ("all_proxy", "b")]), is("http_proxy", "a"));
    assert_eq!(found(false, &[("https_proxy", "a")]), None);
    assert_eq!(found(true, &[("http_proxy", "a")]), None);
    assert_eq!(found(false, &[("HTTP_PROXY", "a")]), None);
    let all = &[
        ("ws_proxy", "a"),
        ("WS_PROXY", "b"),
        ("http_proxy", "c"),
        ("wss_proxy", "d"),
        ("WSS_PROXY", "e"),
        ("https_proxy", "f"),
    ];
    assert_eq!(found(false, all), is("ws_proxy", "a"));
    assert_eq!(found(false, &all[1..]), is("WS_PROXY", "b"));
    assert_eq!(found(false, &all[2..]), is("http_proxy", "c"));
    assert_eq!(found(true, all), is("wss_proxy", "d"));
    assert_eq!(found(true, &all[4..]), is("WSS_PROXY", "e"));
    assert_eq!(found(true, &all[5..]), is("https_proxy", "f"));
    assert_eq!(found(true, &all[..3]), None);
    assert_eq!(found(true, &[("HTTPS_PROXY", "a")]), is("HTTPS_PROXY", "a"));
    assert_eq!(found(false, &[("http_proxy", ""), ("ALL_PROXY", "b")]), is("ALL_PROXY", "b"));
    assert_eq!(found(true, &[("https_proxy", "a"), ("HTTPS_PROXY", "b")]), is("https_proxy", "a"));
    assert_eq!(
        no_proxy_from_env(env(&[("no_proxy", ""), ("NO_PROXY", "h")])),
        Ok(Some("h".into()))
    );
    assert_eq!(no_proxy_from_env(env(&[("no_proxy", "")])), Ok(None));
}

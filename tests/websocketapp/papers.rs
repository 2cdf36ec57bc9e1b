//! Check of the documents: every name of WebSocketApp has a row in `docs/guide.md`, every case of
//! its behaviour has a line in `README.md` beside this file, and every test that they name exists
//! and runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The names of websocket-client 1.9.2, each group with the form that the table writes them in.
/// `tests/interop/names` holds the table to the newest release.
const NAMES: [(&str, &str); 12] = [
    (
        "WebSocketApp({})",
        "url header on_open on_reconnect on_message on_error on_close on_ping on_pong \
         on_cont_message keep_running get_mask_key cookie subprotocols on_data socket",
    ),
    (
        "run_forever({})",
        "sockopt sslopt ping_interval ping_timeout ping_payload http_proxy_host http_proxy_port \
         http_no_proxy http_proxy_auth http_proxy_timeout skip_utf8_validation host origin \
         dispatcher suppress_origin suppress_host proxy_type reconnect",
    ),
    (
        "{}()",
        "run_forever send send_text send_bytes close ready create_dispatcher _callback \
         _get_close_args _send_ping _start_ping_thread _stop_ping_thread",
    ),
    (
        ".{}",
        "url header cookie subprotocols get_mask_key on_open on_reconnect on_message on_error \
         on_close on_ping on_pong on_cont_message on_data sock keep_running has_errored \
         has_done_teardown has_done_teardown_lock last_ping_tm last_pong_tm ping_interval \
         ping_timeout ping_payload ping_thread stop_ping prepared_socket last_close_frame",
    ),
    (
        "sock.{}",
        "connect connected status getstatus headers getheaders subprotocol getsubprotocol \
         handshake_response is_ssl fileno timeout settimeout gettimeout send send_text send_bytes \
         send_binary send_frame ping pong send_close recv recv_data recv_data_frame recv_frame \
         next close abort shutdown set_mask_key get_mask_key close_frame sock sock_opt lock readlock \
         dispatcher frame_buffer cont_frame",
    ),
    (
        "sslopt[\"{}\"]",
        "cert_reqs check_hostname ca_certs ca_cert_path certfile keyfile password cert_chain \
         ciphers ecdh_curve ssl_version server_hostname do_handshake_on_connect \
         suppress_ragged_eofs context",
    ),
    (
        "{}",
        "WebSocketApp WebSocket create_connection setReconnect set_reconnect setdefaulttimeout \
         getdefaulttimeout enableTrace isEnabledForError isEnabledForDebug isEnabledForTrace dump \
         error warning debug trace ABNF frame_buffer continuous_frame sock_opt recv recv_line send \
         DEFAULT_SOCKET_OPTION STATUS_* getLogger(\"websocket\")",
    ),
    (
        "{}",
        "WebSocketException WebSocketProtocolException WebSocketPayloadException \
         WebSocketConnectionClosedException WebSocketTimeoutException WebSocketProxyException \
         WebSocketBadStatusException WebSocketAddressException ProxyError ProxyTimeoutError \
         ProxyConnectionError",
    ),
    ("WebSocketBadStatusException.{}", "status_code status_message resp_headers resp_body"),
    (
        "${}",
        "http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY \
         WEBSOCKET_CLIENT_CA_BUNDLE SSL_CERT_FILE SSLKEYLOGFILE",
    ),
    ("wsdump {}", "ws_url -p -v -n -r -s -o -t"),
    (
        "wsdump {}",
        "--proxy --verbose --nocert --raw --subprotocols --origin --eof-wait --text --timings \
         --headers",
    ),
];

const CASES: usize = 122;
const SCENARIOS: usize = 36;
const MOST_NOT_HERE: usize = 30;
const MOST_NOT_OFFERED: usize = 12;

#[test]
fn every_name_has_its_row_and_every_row_its_test() {
    let guide = read("docs/guide.md");
    let problems = table(&guide, &names(), &|test| is_run(test));
    assert!(problems.is_empty(), "docs/guide.md:\n{}", problems.join("\n"));
}

#[test]
fn what_is_different_on_purpose_names_tests_that_run() {
    let guide = read("docs/guide.md");
    let (_, section) = guide.split_once("\n## What is different on purpose\n").unwrap();
    let section = section.split("\n## ").next().unwrap_or_default();
    let named: Vec<&str> = quoted(section).into_iter().filter(|it| it.contains(".rs::")).collect();
    assert!(named.len() >= 5, "{named:?}");
    let problems: Vec<String> = named.into_iter().filter_map(|test| is_run(test).err()).collect();
    assert!(problems.is_empty(), "docs/guide.md:\n{}", problems.join("\n"));
}

#[test]
fn every_case_has_its_line_and_every_line_its_test() {
    let lines = read("tests/websocketapp/README.md");
    let problems = cases(&lines, &numbers(), &|test| is_run(test));
    assert!(problems.is_empty(), "tests/websocketapp/README.md:\n{}", problems.join("\n"));
}

fn names() -> Vec<String> {
    let each = |(form, names): (&str, &str)| {
        names.split_whitespace().map(|name| form.replace("{}", name)).collect::<Vec<_>>()
    };
    NAMES.into_iter().flat_map(each).collect()
}

fn numbers() -> Vec<String> {
    let cases = (1..=CASES).map(|number| number.to_string());
    cases.chain((1..=SCENARIOS).map(|number| format!("S{number}"))).collect()
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{file}: {err}"))
}

/// Returns the texts in backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

type IsRun<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// Returns the faults in the tests that a text names.
fn untrue(text: &str, is_run: IsRun) -> Vec<String> {
    let named: Vec<&str> = quoted(text).into_iter().filter(|name| name.contains("::")).collect();
    if named.is_empty() {
        return vec!["names no test".into()];
    }
    named.into_iter().filter_map(|test| is_run(test).err()).collect()
}

/// Returns the missing, unknown and repeated keys of a document.
fn missing(found: &[String], wanted: &[String]) -> Vec<String> {
    let mut counts = BTreeMap::<&str, usize>::new();
    found.iter().for_each(|key| *counts.entry(key.as_str()).or_default() += 1);
    let mut problems = Vec::new();
    for key in wanted {
        match counts.remove(key.as_str()).unwrap_or(0) {
            0 => problems.push(format!("{key}: not there")),
            1 => {}
            more => problems.push(format!("{key}: there {more} times")),
        }
    }
    problems.extend(counts.into_keys().map(|key| format!("{key}: nobody knows it")));
    problems
}

/// Returns the faults in the guide's table.
fn table(guide: &str, wanted: &[String], is_run: IsRun) -> Vec<String> {
    const HEAD: &str = "| there | here | test |";
    if guide.matches(HEAD).count() != 1 {
        return vec![format!("not one table {HEAD}")];
    }
    let (_, rest) = guide.split_once(HEAD).expect("it was counted");
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let (mut found, mut problems, mut not_offered) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [there, here, test] = cells[..] else {
            problems.push(format!("not three cells: {row}"));
            continue;
        };
        found.extend(quoted(there).into_iter().map(str::to_owned));
        match here.strip_prefix("not offered: ") {
            Some(why) if !why.trim().is_empty() && test.is_empty() => not_offered += 1,
            Some(_) => problems.push(format!("{there}: not offered needs a reason and no test")),
            None => {
                problems.extend(untrue(test, is_run).iter().map(|it| format!("{there}: {it}")));
            }
        }
    }
    if not_offered > MOST_NOT_OFFERED {
        problems.push(format!("{not_offered} rows are not offered"));
    }
    problems.extend(missing(&found, wanted));
    problems
}

/// Returns the faults in the lines for the cases, written `1. …` and `- S1. …`.
fn cases(lines: &str, wanted: &[String], is_run: IsRun) -> Vec<String> {
    let (mut found, mut problems, mut not_here) = (Vec::new(), Vec::new(), 0);
    for line in lines.lines() {
        let line = line.strip_prefix("- ").unwrap_or(line);
        let Some((number, rest)) = line.split_once(". ") else { continue };
        let digits = number.strip_prefix('S').unwrap_or(number);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        found.push(number.to_owned());
        match rest.strip_prefix("not here: ") {
            Some(why) if !why.trim().is_empty() => not_here += 1,
            Some(_) => problems.push(format!("{number}: not here needs a reason")),
            None => {
                problems.extend(untrue(rest, is_run).iter().map(|it| format!("{number}: {it}")));
            }
        }
    }
    let present: Vec<&String> = wanted.iter().filter(|number| found.contains(number)).collect();
    if !found.iter().eq(present) {
        problems.push("the numbers are not in order".into());
    }
    if not_here > MOST_NOT_HERE {
        problems.push(format!("{not_here} cases are not here"));
    }
    problems.extend(missing(&found, wanted));
    problems
}

/// Returns whether a test exists and is run by `cargo test`: `tests/file.rs::name`,
/// `src/file.rs::tests::name`, `src/folder/tests.rs::name`, or a word of a script,
/// `tests/folder/script::word`.
fn is_run(test: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{test}: {why}"));
    let Some((file, name)) = test.split_once("::") else { return wrong("no name") };
    let Ok(text) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) else {
        return wrong("no such file");
    };
    if !file.ends_with(".rs") {
        let word = file.starts_with("tests/") && text.contains(name);
        return if word { Ok(()) } else { wrong("not in that script") };
    }
    let name = if file.starts_with("src/") && !file.ends_with("/tests.rs") {
        name.strip_prefix("tests::").unwrap_or_default()
    } else {
        name
    };
    if !is_compiled(file) {
        return wrong("that file belongs to no test program");
    }
    match attributes(&text, name) {
        None => wrong("no such function"),
        Some(found) if !found.iter().any(|line| is_test(line)) => wrong("not a test"),
        Some(found) if found.iter().any(|line| line.starts_with("#[ignore")) => wrong("ignored"),
        Some(_) => Ok(()),
    }
}

/// Returns whether a file of `tests` is a test program or a module of one.
fn is_compiled(file: &str) -> bool {
    let parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    let (folder, program, module) = match parts[..] {
        ["tests", program, module] => ("tests", program, module),
        ["wsup", "tests", program, module] => ("wsup/tests", program, module),
        _ => return true,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let own = root.join(program);
    // `main.rs`, which cargo finds, or the file that a package of tests names after itself.
    let mains = [
        own.join("main.rs"),
        own.join(format!("{program}.rs")),
        root.join(format!("{program}.rs")),
    ];
    module == "main"
        || module == program
        || mains
            .iter()
            .filter_map(|main| fs::read_to_string(main).ok())
            .any(|main| main.lines().any(|line| line.trim() == format!("mod {module};")))
}

/// Returns the attributes of a function, one on each line; `None` if there is no such function.
fn attributes<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let declared = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if declared.is_some_and(|it| it.split(['(', '<']).next() == Some(name)) {
            return Some(found);
        }
        if line.starts_with("#[") {
            found.push(line);
        } else if !line.starts_with("//") {
            found.clear();
        }
    }
    None
}

/// Returns whether an attribute is `#[test]` or another crate's, such as `#[actix::test]`.
fn is_test(attribute: &str) -> bool {
    let path = attribute.trim_start_matches("#[").split([']', '(']).next().unwrap_or_default();
    path.split("::").last() == Some("test")
}

mod tests {
    use super::*;

    fn known(test: &str) -> Result<(), String> {
        if test == "tests/a.rs::b" { Ok(()) } else { Err(format!("{test}: unknown")) }
    }

    fn rows(rows: &[&str]) -> String {
        let guide = format!("x\n\n| there | here | test |\n|---|---|---|\n{}\n", rows.join("\n"));
        table(&guide, &["x()".to_owned(), ".y".to_owned()], &known).join("; ")
    }

    #[test]
    fn a_table_is_whole_and_true() {
        let (x, y) = ("| `x()` | `X` | `tests/a.rs::b` |", "| `.y` | not offered: no use |  |");
        assert_eq!(rows(&[x, y]), "");
        assert_eq!(rows(&["| `x()`, `.y` | `X` | `tests/a.rs::b` |"]), "");
        assert_eq!(rows(&[x]), ".y: not there");
        assert_eq!(rows(&[x, y, x]), "x(): there 2 times");
        assert_eq!(rows(&[x, y, "| `z` | `Z` | `tests/a.rs::b` |"]), "z: nobody knows it");
        assert!(rows(&[x, "| `.y` | `Y` |"]).contains("not three cells"));
        assert!(rows(&[x, "| `.y` | `Y` |  |"]).contains("names no test"));
        assert!(rows(&[x, "| `.y` | `Y` | `tests/a.rs::c` |"]).contains("unknown"));
        assert!(rows(&[x, "| `.y` | not offered: |  |"]).contains("names no test"));
        assert!(rows(&[&[x][..], &[y; 13]].concat()).contains("13 rows are not offered"));
        assert_eq!(table("", &[], &known).len(), 1);
    }

    #[test]
    fn the_lines_are_whole_and_true() {
        let wanted: Vec<String> = ["1", "2", "S1"].map(str::to_owned).into();
        let read = |lines: &str| cases(lines, &wanted, &known).join("; ");
        let (one, two) = ("1. `tests/a.rs::b`\n", "2. not here: a reason\n");
        let first = "- S1. `tests/a.rs::b`\n";
        let all = [one, two, first].concat();
        assert_eq!(read(&format!("# Words. And more\n\n{all}")), "");
        assert_eq!(read(&[one, first].concat()), "2: not there");
        assert_eq!(read(&[two, one, first].concat()), "the numbers are not in order");
        assert!(read(&[one, &all].concat()).contains("1: there 2 times"));
        assert!(read(&format!("{all}3. not here: so\n")).contains("3: nobody knows it"));
        assert!(read(&all.replace("a reason", " ")).contains("needs a reason"));
        assert!(read(&all.replace("::b", "::c")).contains("unknown"));
        assert!(read("1. it works\n").contains("names no test"));
        let many: String = (1..=31).map(|number| format!("{number}. not here: so\n")).collect();
        assert!(read(&many).contains("31 cases are not here"));
    }

    #[test]
    fn a_test_is_found_where_it_is_and_only_there() {
        let this = "tests/websocketapp/papers.rs";
        assert_eq!(
            is_run(&format!("{this}::every_name_has_its_row_and_every_row_its_test")),
            Ok(())
        );
        assert_eq!(is_run("src/headers.rs::tests::names_are_found_in_any_case"), Ok(()));
        assert_eq!(is_run("tests/floors.rs::every_source_keeps_to_its_floor"), Ok(()));
        let why = |test: &str| is_run(test).unwrap_err().rsplit_once(": ").unwrap().1.to_owned();
        assert_eq!(why("src/headers.rs::names_are_found_in_any_case"), "no such function");
        assert_eq!(why("src/headers.rs::tests::names_are_found"), "no such function");
        assert_eq!(why("tests/nobody.rs::names_are_found"), "no such file");
        assert_eq!(why(&format!("{this}::is_compiled")), "not a test");
        let idle =
            "wsup/tests/lab/main.rs::a_half_open_connection_is_found_in_a_real_network_while_idle";
        assert_eq!(why(idle), "ignored");
        let helper = "tests/floors/nobody.rs";
        assert!(is_compiled("tests/floors/source.rs") && !is_compiled(helper));
        assert!(is_compiled("tests/tls/trust.rs") && !is_compiled("tests/tls/nobody.rs"));
        assert!(
            is_compiled("wsup/tests/cli/stages.rs") && !is_compiled("wsup/tests/cli/nobody.rs")
        );
        assert_eq!(why("tests/interop/proxies::no such word"), "not in that script");
        assert_eq!(is_run("tests/interop/proxies::CASES"), Ok(()));
    }

    #[test]
    fn only_a_test_is_a_test() {
        assert!(
            is_test("#[test]") && is_test("#[actix::test]") && is_test("#[tokio::test(x = 1)]")
        );
        assert!(!is_test("#[cfg(test)]") && !is_test("#[must_use]"));
        let text = "#[test]\n/// Words.\nfn a() {\n}\nfn b<T>() {}\n// fn c()\n";
        assert_eq!(attributes(text, "a"), Some(vec!["#[test]"]));
        assert_eq!(attributes(text, "b"), Some(vec![]));
        assert_eq!(attributes(text, "c"), None);
    }
}

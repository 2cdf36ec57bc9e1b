//! The documents agree with the sources. A fact that stands in both is read from both and compared:
//!
//! - `docs/guide.md` names every method of `ConnectionBuilder` once, each option with its default;
//! - `docs/design.md` gives a reason for every dependency in the manifests of the workspace;
//! - the floors in `docs/architecture.md` are those of `tests/floors.rs`, which compares
//!   `CONTRIBUTING.md` with them too;
//! - `docs/security.md` lists every file that holds a secret or writes to the log, and every public type; its tests
//!   exist, and the test of `Debug` looks at the types that it names;
//! - `docs/architecture.md` lists every file with state that is shared between connections or threads;
//!   what it calls absent is absent, and the one future of the actor is the only one;
//! - `docs/operations.md` names metrics that `docs/metrics.md` has, and flags that `docs/wsup.md` has.
//!
//! The names of WebSocketApp and its cases are compared in `tests/websocketapp/papers.rs`, the tables of
//! features in `tests/features.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The heads of the tables that are compared.
const OPTIONS: &str = "| option | default | meaning |";
const METHODS: &str = "| method | what it does |";
const CRATES: [&str; 2] = ["| crate | for | why it and not another |", "| crate | for |"];
const FLOORS: &str = "| floor | modules | what they are |";
const SHARED: &str = "| file | what it shares | between |";
const SECRETS: &str = "| secret | held in | sent to | shown as |";
const WAYS_OUT: &str = "| file | what goes out | what keeps secrets out of it | test |";
const NEAR_SECRETS: &str = "| type | why |";
const OTHERS: &str = "| module | types |";
const ABSENT: &str = "| absent | why |";

/// The flags in `docs/operations.md` that are of other programs.
const FOREIGN_FLAGS: [&str; 2] = ["--stop-timeout", "--entrypoint"];

#[test]
fn the_guide_names_every_method_of_the_builder() {
    let mut sources = rust_files(&root().join("src/connection/builder"));
    sources.push(("stream/builder.rs".into(), read("src/stream/builder.rs")));
    let mut methods: BTreeMap<String, bool> =
        sources.iter().flat_map(|(_, text)| methods(text)).collect();
    let rows = event_methods(&read("src/event.rs"));
    assert!(rows.len() > 11, "only {rows:?} were found in the table of events");
    methods.extend(rows.into_iter().map(|name| (name, true)));
    assert!(methods.len() > 60, "only {} methods were found", methods.len());
    let problems = guide(&read("docs/guide.md"), &methods);
    assert!(problems.is_empty(), "docs/guide.md:\n{}", problems.join("\n"));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifests: Vec<String> = manifests();
    let crates: BTreeSet<String> = manifests.iter().flat_map(|text| dependencies(text)).collect();
    assert!(crates.len() > 40, "only {} dependencies were found", crates.len());
    let design = read("docs/design.md");
    // Some serve the library and, with more features, its tests.
    let named: BTreeSet<_> = CRATES.iter().flat_map(|head| column(&design, head, 0)).collect();
    let named: Vec<_> = named.into_iter().collect();
    let problems = differences(&crates, &named, "dependency of a manifest");
    assert!(problems.is_empty(), "docs/design.md:\n{}", problems.join("\n"));
}

#[test]
fn the_floors_are_those_that_the_test_enforces() {
    let mut enforced = enforced_floors(&read("tests/floors.rs"));
    // A floor may name modules that are still to come.
    let exists = |name: &String| {
        let path = root().join("src").join(name);
        path.is_dir() || path.with_extension("rs").is_file()
    };
    enforced.values_mut().for_each(|modules| modules.retain(exists));
    enforced.retain(|_, modules| !modules.is_empty());
    assert!(enforced.len() > 5, "only {} floors were found", enforced.len());
    let table: BTreeMap<String, BTreeSet<String>> = rows(&read("docs/architecture.md"), FLOORS)
        .iter()
        .map(|row| (row[0].clone(), quoted(&row[1]).into_iter().map(bare).collect()))
        .collect();
    assert_eq!(table, enforced, "docs/architecture.md");
}

#[test]
fn what_is_shared_is_listed() {
    let shared: BTreeSet<String> =
        library().into_iter().filter(|(_, text)| is_sharing(text)).map(|(file, _)| file).collect();
    let listed = column(&read("docs/architecture.md"), SHARED, 0);
    let problems = differences(&shared, &listed, "file with shared state");
    assert!(problems.is_empty(), "docs/architecture.md:\n{}", problems.join("\n"));
}

#[test]
fn what_holds_a_secret_is_listed() {
    let words = [
        "Secret",
        "Credentials",
        "credentials",
        "StoredCookie",
        "PrivateKeyDer",
        "KeyLogFile",
        "client_key_password",
    ];
    let holds = |text: &str| words.iter().any(|word| has_word(text, word));
    // These have the word in the text of an error, or ask whether there are any; and one is the type itself.
    let others = ["error/refusal.rs", "dial/mod.rs", "options/secret.rs"];
    let holding: BTreeSet<String> = library()
        .into_iter()
        .filter(|(file, text)| holds(text) && !others.contains(&file.as_str()))
        .map(|(file, _)| file)
        .collect();
    assert!(holding.len() > 12, "only {holding:?}");
    let listed: BTreeSet<String> =
        column(&read("docs/security.md"), SECRETS, 1).into_iter().collect();
    assert_eq!(listed, holding, "docs/security.md");
}

#[test]
fn what_writes_to_the_log_is_listed() {
    let levels = ["trace!", "debug!", "info!", "warn!", "error!", "$level!", "event!"];
    let logs = |text: &str| levels.iter().any(|level| text.contains(&format!("tracing::{level}(")));
    let logging = library().into_iter().filter(|(_, text)| logs(text)).map(|(file, _)| file);
    let logging: BTreeSet<String> = logging.collect();
    assert!(logging.len() > 5, "only {logging:?}");
    let security = read("docs/security.md");
    let listed: BTreeSet<String> = column(&security, WAYS_OUT, 0).into_iter().collect();
    let missing: Vec<_> = logging.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/security.md has no row for {missing:?}");
    // A macro that is imported would not be found.
    assert!(
        library()
            .iter()
            .all(|(_, text)| !text.contains("use tracing::{") && !text.contains("println!"))
    );
    for file in listed {
        assert!(root().join("src").join(&file).is_file(), "docs/security.md: no src/{file}");
    }
    for test in column(&security, WAYS_OUT, 3) {
        let (file, name) = test.split_once("::").expect("a file and a test");
        assert!(read(file).contains(&format!("fn {name}()")), "docs/security.md: no {test}");
    }
}

#[test]
fn every_public_type_is_near_a_secret_or_is_not() {
    let types: BTreeSet<String> = library()
        .iter()
        .flat_map(|(file, text)| {
            let module = file.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
            let named = move |line: &str| {
                let line = line.trim_start();
                let rest = line.strip_prefix("pub struct ").or(line.strip_prefix("pub enum "))?;
                let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
                Some(format!("{module}::{}", &rest[..end]))
            };
            text.lines().filter_map(named).collect::<Vec<_>>()
        })
        .collect();
    assert!(types.len() > 80, "only {} types were found", types.len());
    let security = read("docs/security.md");
    let near = column(&security, NEAR_SECRETS, 0);
    let others = rows(&security, OTHERS).into_iter().flat_map(|row| quoted(&row[1]));
    let listed: Vec<String> = near.iter().cloned().chain(others).collect();
    let problems = differences(&types, &listed, "public type");
    assert!(problems.is_empty(), "docs/security.md:\n{}", problems.join("\n"));
    let test = read("tests/tls/secrets.rs");
    let looked_at =
        test.split("const NEAR_SECRETS").nth(1).and_then(|rest| rest.split("];").next());
    let looked_at: Vec<String> =
        looked_at.expect("the list").split('"').skip(1).step_by(2).map(String::from).collect();
    let near: BTreeSet<String> = near.into_iter().collect();
    let problems = differences(&near, &looked_at, "type near a secret");
    assert!(problems.is_empty(), "tests/tls/secrets.rs:\n{}", problems.join("\n"));
}

/// Whether a word stands in a text by itself.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

#[test]
fn what_is_called_absent_is_absent() {
    let architecture = read("docs/architecture.md");
    // Only what is nothing but a name can be looked for.
    let names: Vec<String> = rows(&architecture, ABSENT)
        .iter()
        .filter(|row| {
            row[0].split('`').step_by(2).all(|rest| rest.trim_matches([',', ' ']).is_empty())
        })
        .flat_map(|row| quoted(&row[0]))
        .collect();
    assert!(names.len() > 3, "only {names:?}");
    for (file, text) in library() {
        for name in &names {
            let last = name.rsplit("::").next().unwrap_or(name);
            let method = format!("fn {last}(");
            let used = if last.starts_with(char::is_uppercase) || last.contains('.') {
                text.contains(last)
            } else {
                text.contains(&method) || text.contains(&format!("{last}("))
            };
            // A full publisher stops its mailbox, so that the feed waits: it does nothing else.
            let used = used && (file.as_str(), name.as_str()) != ("nats/publisher.rs", "ctx.wait");
            assert!(!used, "src/{file} has `{name}`, which docs/architecture.md calls absent");
        }
    }
}

#[test]
fn the_actor_has_one_future() {
    let spawns: Vec<String> = library()
        .into_iter()
        .filter(|(file, _)| file.starts_with("connection/"))
        .flat_map(|(_, text)| {
            let spawn = |line: &&str| {
                ["spawn(", "spawn_local(", "run_later(", "run_interval("]
                    .iter()
                    .any(|it| line.contains(it))
            };
            text.lines().filter(spawn).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(spawns, ["ctx.spawn(Pulse);"], "docs/architecture.md, \"The one future\"");
}

#[test]
fn operations_names_metrics_and_flags_that_there_are() {
    let operations = read("docs/operations.md");
    let metrics = column(&read("docs/metrics.md"), "| metric | kind | labels | what it is |", 0);
    let watched: Vec<String> = column(&operations, "| metric | moves | it means | do |", 0)
        .iter()
        .map(|name| name.split('{').next().unwrap_or(name).to_owned())
        .collect();
    assert!(watched.len() > 15, "only {watched:?}");
    for name in watched {
        assert!(metrics.contains(&name), "docs/operations.md: docs/metrics.md has no {name}");
    }
    let flags = column(&read("docs/wsup.md"), "| flag | default | |", 0);
    let flags: BTreeSet<&str> = flags.iter().filter_map(|it| it.split(' ').next()).collect();
    let unit = operations.split("```ini").nth(1).and_then(|it| it.split("```").next());
    let lines =
        unit.expect("a unit").lines().chain(operations.lines().filter(|it| it.contains("`--")));
    let used: Vec<&str> = lines
        .flat_map(|line| line.split([' ', '`', ',', '=', '|', '(', ')']))
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_end_matches(['.', ':', ';']))
        .collect();
    assert!(used.len() > 10, "only {used:?}");
    for flag in used {
        let is_foreign = FOREIGN_FLAGS.contains(&flag);
        assert!(
            flags.contains(flag) || is_foreign,
            "docs/operations.md: docs/wsup.md has no {flag}"
        );
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|err| panic!("{file}: {err}"))
}

/// The Rust files below a folder: path relative to it, and text.
fn rust_files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|err| panic!("{next:?}: {err}")) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).expect("a readable file");
                let name = path.strip_prefix(folder).expect("a path below the folder");
                found.push((name.to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The files of the library without comments and unit tests, and without what only serves
/// tests.
fn library() -> Vec<(String, String)> {
    let files = rust_files(&root().join("src")).into_iter();
    let files: Vec<_> = files
        .filter(|(file, _)| {
            !file.starts_with("testing/") && !file.contains("tests/") && !file.ends_with("tests.rs")
        })
        .map(|(file, text)| (file, code(&text)))
        .collect();
    assert!(files.len() > 50, "only {} files were read", files.len());
    files
}

/// The lines of a file that are no comments, to the beginning of its unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Whether a file has state that more than one connection or thread can see.
fn is_sharing(code: &str) -> bool {
    let declares = |line: &str| {
        let line = line.trim_start();
        let is_lock = ["Mutex<", "RwLock<", "OnceLock<", "LazyLock<", ": Atomic"]
            .iter()
            .any(|lock| line.contains(lock));
        line.starts_with("thread_local!")
            || (is_lock && !line.starts_with("fn ") && !line.starts_with("use "))
            || line.contains("Mutex::new(")
    };
    code.lines().any(declares)
}

/// The cells of all rows of the tables with this head.
fn rows(text: &str, head: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines();
    let mut rows = Vec::new();
    while lines.by_ref().any(|line| line == head) {
        lines.next(); // |---|---|
        for line in lines.by_ref().take_while(|line| line.starts_with('|')) {
            let inner = line.trim_start_matches('|').trim_end_matches('|');
            rows.push(inner.split('|').map(|cell| cell.trim().to_owned()).collect());
        }
    }
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

/// The names in backquotes in one column of the tables with this head.
fn column(text: &str, head: &str, index: usize) -> Vec<String> {
    rows(text, head).iter().flat_map(|row| quoted(&row[index])).collect()
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A module as a floor names it: without the slash of a folder.
fn bare(name: impl AsRef<str>) -> String {
    name.as_ref().trim_end_matches('/').to_owned()
}

/// What is missing from a list of names, what is there twice, and what does not belong there.
fn differences(wanted: &BTreeSet<String>, found: &[String], what: &str) -> Vec<String> {
    let mut counts = BTreeMap::<&str, usize>::new();
    found.iter().for_each(|name| *counts.entry(name).or_default() += 1);
    let missing = wanted.iter().filter(|name| !counts.contains_key(name.as_str()));
    let twice = counts.iter().filter(|(_, count)| **count > 1);
    let strange = counts.keys().filter(|name| !wanted.contains(**name));
    missing
        .map(|name| format!("`{name}` is missing"))
        .chain(twice.map(|(name, count)| format!("`{name}` is there {count} times")))
        .chain(strange.map(|name| format!("`{name}` is no {what}")))
        .collect()
}

/// The public methods in a source, and whether each gives the builder back, as an option does.
fn methods(source: &str) -> Vec<(String, bool)> {
    let code = code(source);
    let mut found = Vec::new();
    for part in code.split("pub ").skip(1) {
        let part = part.strip_prefix("async ").unwrap_or(part);
        let Some(signature) = part.strip_prefix("fn ").and_then(|it| it.split('{').next()) else {
            continue;
        };
        let name = signature.split(['(', '<']).next().unwrap_or_default();
        // A macro makes those of the events, see `event_methods`.
        if !name.starts_with('$') {
            found.push((name.to_owned(), signature.contains("-> Self")));
        }
    }
    found
}

/// The methods that register a closure or a recipient: the second and third word of each row of `event_table!`.
fn event_methods(source: &str) -> Vec<String> {
    let (_, table) = source.split_once("macro_rules! event_table").expect("the table of events");
    let table = table.split("\n}\n").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.trim().split_once(' '));
    let methods = rows.filter(|(_, on)| on.starts_with("on_")).flat_map(|(_, on)| on.split(' '));
    methods.map(str::to_owned).collect()
}

/// What is wrong with the tables of options and of other methods in the guide.
fn guide(guide: &str, methods: &BTreeMap<String, bool>) -> Vec<String> {
    let of = |options: bool| {
        let names = methods.iter().filter(move |(_, is_option)| **is_option == options);
        names.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
    };
    let mut problems = differences(&of(true), &column(guide, OPTIONS, 0), "option of the builder");
    problems.extend(differences(&of(false), &column(guide, METHODS, 0), "method of the builder"));
    for row in rows(guide, OPTIONS) {
        if row.len() != 3 || row[1].is_empty() {
            problems.push(format!("{}: an option has a default and a meaning", row[0]));
        }
    }
    problems
}

/// `Cargo.toml` and those of the members of its workspace.
fn manifests() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let members = manifest.split_once("\nmembers = [").and_then(|(_, rest)| rest.split(']').next());
    let members = members.unwrap_or_default().split('"').skip(1).step_by(2);
    let members: Vec<String> = members
        .filter(|member| *member != ".")
        .map(|member| read(&format!("{member}/Cargo.toml")))
        .collect();
    [vec![manifest], members].concat()
}

/// The dependencies of a manifest, those of other packages of the workspace excepted.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_list = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (before, last) = section.rsplit_once('.').unwrap_or(("", section));
            is_list = last.ends_with("dependencies");
            if before.ends_with("dependencies") {
                found.insert(last.to_owned());
            }
            continue;
        }
        let name = line.split([' ', '=', '.']).next().unwrap_or_default();
        let is_name = name.starts_with(char::is_alphabetic) && line.contains('=');
        if is_list && is_name && !line.contains("path =") {
            found.insert(name.to_owned());
        }
    }
    found
}

/// The table `FLOORS` of `tests/floors.rs`.
fn enforced_floors(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let (_, rest) = source.split_once("\nconst FLOORS").expect("the table of floors");
    let table = rest.split("\n];").next().unwrap_or_default();
    let mut floors = BTreeMap::new();
    for part in table.split('(').skip(1) {
        let Some((floor, names)) = part.split_once(',') else { continue };
        if floor.parse::<u8>().is_err() {
            continue; // the type of the table
        }
        let modules = names.split('"').skip(1).step_by(2).map(bare).collect();
        floors.insert(floor.to_owned(), modules);
    }
    floors
}

mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn methods_are_found_with_what_they_give_back() {
        let source = "/// pub fn not() {}\npub fn a(mut self) -> Self {\n}\n\
                      pub fn b<T>(\n    self,\n) -> Self\nwhere\n    T: Send,\n{\n}\n\
                      pub async fn c(&self) -> u8 {}\nfn d() {}\npub(super) fn e() {}\npub fn $on(self) -> Self {}\n\
                      #[cfg(test)]\nmod tests {\n    pub fn f() {}\n}\n";
        let expected = [("a", true), ("b", true), ("c", false)];
        assert_eq!(methods(source), expected.map(|(name, is_option)| (name.to_owned(), is_option)));
    }

    #[test]
    fn methods_of_events_are_found_in_their_table() {
        let source = "macro_rules! event_table {\n    /// On on_no.\n    Open on_open on_open_to\n    delivery { x }\n}\nlet a = 1;\nA on_a\n";
        assert_eq!(event_methods(source), ["on_open", "on_open_to"]);
    }

    #[test]
    fn a_guide_is_whole_and_true() {
        let methods = [("a".to_owned(), true), ("run".to_owned(), false)].into();
        let check = |options: &str, others: &str| {
            let text =
                format!("{OPTIONS}\n|---|---|---|\n{options}\n\n{METHODS}\n|---|---|\n{others}\n");
            guide(&text, &methods).join("; ")
        };
        assert_eq!(check("| `a` | 10 s | why |", "| `run` | all of it |"), "");
        assert_eq!(
            check("| `b` | 1 | x |", "| `run` | x |"),
            "`a` is missing; `b` is no option of the builder"
        );
        assert!(check("| `a` | | x |", "| `run` | x |").contains("has a default"));
        assert!(check("| `a` | 1 | x |\n| `a` | 1 | x |", "| `run` | x |").contains("2 times"));
        assert!(check("| `a`, `run` | 1 | x |", "| none | x |").contains("`run` is missing"));
    }

    #[test]
    fn dependencies_are_found_however_they_are_written() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\nb = { version = \"1\", features = [\n    \"y\",\n] }\n\
                        c.workspace = true\nown = { path = \".\" }\n[dev-dependencies.d]\nversion = \"1\"\n\
                        [target.'cfg(unix)'.dependencies]\ne-f = \"1\"\n[features]\ng = []\n";
        assert_eq!(dependencies(manifest), set(&["a", "b", "c", "d", "e-f"]));
    }

    #[test]
    fn shared_state_is_seen() {
        for line in [
            "thread_local! {",
            "static A: RwLock<u8> = RwLock::new(0);",
            "    state: Mutex<u8>,",
            "    waiting: AtomicBool,",
            "pub(crate) struct Kept(OnceLock<u8>);",
            "let kept = Mutex::new(None);",
        ] {
            assert!(is_sharing(line), "{line}");
        }
        for line in
            ["use std::sync::Mutex;", "fn lock(&self) -> MutexGuard<'_, u8> {", "let a: Arc<u8>;"]
        {
            assert!(!is_sharing(line), "{line}");
        }
    }

    #[test]
    fn floors_are_read_from_the_table() {
        let source = "\nconst FLOORS: &[(u8, &[&str])] = &[\n    (1, &[\"a\", \"b\"]),\n    (2, &[\"c\"]),\n];\n";
        let expected = [("1".to_owned(), set(&["a", "b"])), ("2".to_owned(), set(&["c"]))];
        assert_eq!(enforced_floors(source), expected.into());
    }

    #[test]
    fn only_what_differs_is_reported() {
        let found = ["a".to_owned(), "c".to_owned(), "c".to_owned()];
        let expected = ["`b` is missing", "`c` is there 2 times", "`c` is no thing"];
        assert_eq!(differences(&set(&["a", "b"]), &found, "thing"), expected);
    }
}

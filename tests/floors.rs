//! Which module may name which: reads the sources of the crate and fails on a name that reaches up,
//! sideways or through the face, on files that import each other, and on a foreign crate outside the
//! one file that owns it.
//!
//! The sources are read as words, without a compiler: comments, strings and `mod tests` blocks
//! don't count. A path that a macro puts together from pieces is not seen.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use source::{Named, Place, Source, Word, closing, is, item_end, skip_attributes};

#[path = "floors/circles.rs"]
mod circles;
#[path = "floors/source.rs"]
mod source;

/// The floors of the house, from below. A module names only modules of lower floors.
const FLOORS: &[(u8, &[&str])] = &[
    (1, &["proto", "backoff", "headers", "proxy", "cookies", "closure"]),
    (2, &["error", "socket", "tls", "budget", "record"]),
    (3, &["command", "options"]),
    (4, &["event"]),
    (5, &["dial", "writer", "delivery", "pinger", "requests", "supervision", "serial", "testing"]),
    (6, &["connection"]),
    (7, &["feed", "stream", "guide"]),
    (8, &["nats"]),
    (9, &["metrics"]),
];

/// Neighbours that know each other all the same: who, whom, and why it can't be otherwise.
/// An entry that is no longer needed fails the test too.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("tls", "error", "which failures of a handshake are final is known where rustls is"),
    ("socket", "error", "a panic of the closure for sockets is told where it is caught"),
];

/// One foreign thing, one file: a crate, and the file or folder that alone may name it.
const FOREIGN: &[(&str, &[&str])] = &[
    ("awc", &["dial/awc.rs"]),
    ("actix_http", &["dial/awc.rs", "proto/actix.rs"]),
    ("actix_service", &["dial/awc.rs"]),
    ("rustls", &["tls/"]),
    ("rustls_platform_verifier", &["tls/"]),
    ("tokio_rustls", &["tls/"]),
    ("webpki_roots", &["tls/webpki.rs"]),
    ("pkcs8", &["tls/encrypted.rs"]),
    ("tokio_socks", &["dial/socks.rs"]),
    ("actix_codec", &["proto/framed.rs"]),
    ("metrics", &["metrics/"]),
    ("async_nats", &["nats/"]),
    ("zlib_rs", &["proto/deflate.rs"]),
    ("socket2", &["socket.rs"]),
    ("mcap", &["record/segment.rs", "record/reader.rs"]),
    ("backoff", &["backoff.rs", "backoff/"]),
];

/// The name of this package, by which its own modules never call it.
const FACE: &str = "actix_ws_client";

#[test]
fn every_source_keeps_to_its_floor() {
    let sources = source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.iter().any(|source| source.file == "lib.rs"), "no src/lib.rs was read");
    let list: Vec<String> =
        breaches(&sources, NEIGHBOURS).iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} breaches of the floors:\n{}", list.len(), list.join("\n"));
}

/// CONTRIBUTING.md shows the floors from above, each with its modules; a module that is a folder has a
/// slash behind its name.
#[test]
fn the_floors_of_the_documents_are_those_of_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("CONTRIBUTING.md")).expect("it can be read");
    assert_eq!(drawn(&text, &|module| root.join("src").join(module).is_dir()), Ok(()));
}

/// Compares the first drawing under the heading "The floors" with the table.
fn drawn(text: &str, is_folder: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let (_, section) = text.split_once("\n## The floors\n").ok_or("no section on the floors")?;
    let drawing = section.split("```").nth(1).ok_or("no drawing of the floors")?;
    let shown = |module: &&str| format!("{module}{}", if is_folder(module) { "/" } else { "" });
    let expected: Vec<String> = FLOORS
        .iter()
        .rev()
        .map(|(floor, modules)| {
            let modules: Vec<String> = modules.iter().map(shown).collect();
            format!("{floor}   {}", modules.join("  "))
        })
        .collect();
    let found: Vec<&str> = drawing.trim().lines().map(str::trim_end).collect();
    if found == expected { Ok(()) } else { Err(format!("expected:\n{}", expected.join("\n"))) }
}

/// `wsup` is a package of its own, so the compiler holds it to the library's public interface. What is
/// left to check is that its tests see the code that users get.
#[test]
fn wsup_has_no_code_for_tests_alone() {
    let sources = source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("wsup/src"));
    assert!(sources.iter().any(|source| source.file == "main.rs"), "no wsup/src/main.rs was read");
    for Source { file, text } in &sources {
        check_test_cfg(&source::words(text), &mut |line, what| {
            panic!("wsup/src/{file}:{line}: {what}")
        });
    }
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let sources = source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let found = circles::circles(&sources);
    assert!(found.is_empty(), "files that import each other: {found:#?}");
}

#[test]
fn lib_rs_lists_its_modules_under_their_floors() {
    let mut heading = 0;
    for line in include_str!("../src/lib.rs").lines() {
        if let Some(rest) = line.strip_prefix("// Floor ") {
            heading = rest[..1].parse().expect("a floor is a digit");
        }
        if let Some(module) = line.trim_start_matches("pub ").strip_prefix("mod ") {
            let module = module.trim_end_matches(';');
            assert_eq!(floor(module), Some(heading), "`{module}` stands under floor {heading}");
        }
    }
    assert!(heading > 0, "no heading of a floor was found");
}

/// A place in the sources that breaks a rule.
#[derive(Debug, PartialEq)]
struct Breach {
    /// Relative to `src`.
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  src/{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Two neighbours, and why the first may name the second.
type Neighbours<'a> = &'a [(&'a str, &'a str, &'a str)];

/// All breaches in a set of sources.
fn breaches(sources: &[Source], neighbours: Neighbours) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut met = BTreeSet::new();
    for Source { file, text } in sources {
        let mut say = |line, what| breaches.push(Breach { file: file.clone(), line, what });
        let all = source::words(text);
        check_test_cfg(&all, &mut say);
        let words = source::without_tests(&all);
        let paths = source::paths(&words);
        check_foreign(file, &words, &paths, &mut say);
        if file == "lib.rs" {
            check_face(&words, &mut say); // it names every floor: that is its work
        } else {
            check_floors(file, &paths, neighbours, &mut met, &mut say);
        }
    }
    for (from, to, _) in neighbours.iter().filter(|(from, to, _)| !met.contains(&(*from, *to))) {
        let what = format!("`{from}` does not name `{to}`: take it off NEIGHBOURS");
        breaches.push(Breach { file: "../tests/floors.rs".into(), line: line!() as usize, what });
    }
    breaches.dedup(); // an import of several names is one breach
    breaches
}

/// A module names only lower floors, and never through the face.
fn check_floors<'a>(
    file: &str,
    paths: &[Named],
    neighbours: Neighbours<'a>,
    met: &mut BTreeSet<(&'a str, &'a str)>,
    say: &mut impl FnMut(usize, String),
) {
    let place = Place::of(file);
    let top = place.top.as_str();
    let Some(own) = floor(top) else {
        return say(1, format!("`{top}` has no floor: add it to FLOORS"));
    };
    for named in paths {
        let whole = place.resolve(named).unwrap_or_default();
        let Some(first) = whole.first().filter(|first| *first != top) else {
            continue;
        };
        let what = match floor(first) {
            None if first == "*" => "imports all of the face".into(),
            None if first.starts_with(char::is_uppercase) => {
                format!("names `{first}` through the face: name its module")
            }
            None => format!("names `{first}`, which is no module with a floor"),
            Some(other) if other > own => format!("floor {own} names `{first}` of floor {other}"),
            Some(other) if other < own => continue,
            Some(_) => match neighbours.iter().find(|(from, to, _)| *from == top && to == first) {
                Some((from, to, _)) => {
                    met.insert((*from, *to));
                    continue;
                }
                None => format!("`{top}` names its neighbour `{first}`, floor {own}"),
            },
        };
        say(named.line, what);
    }
}

/// One foreign thing, one file; and the library does not call itself by its package's name.
fn check_foreign(file: &str, words: &[Word], paths: &[Named], say: &mut impl FnMut(usize, String)) {
    // A name of ours hides the crate of the same name: `mod backoff;`, `use crate::backoff;`.
    let modules = words.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| &pair[1].text);
    let imports = paths.iter().filter(|named| named.is_ours()).flat_map(|named| &named.binds);
    let own: BTreeSet<&String> = modules.chain(imports).collect();
    for named in paths {
        let root = &named.path[0];
        if root == FACE {
            say(named.line, format!("the library names itself `{FACE}`"));
        }
        let Some((_, homes)) = FOREIGN.iter().find(|(foreign, _)| foreign == root) else {
            continue;
        };
        let is_ours = !named.is_global && own.contains(root);
        let is_home = homes.iter().any(|home| match home.ends_with('/') {
            true => file.starts_with(home),
            false => file == *home,
        });
        if !is_ours && !is_home {
            say(named.line, format!("names the crate `{root}`, which only {homes:?} may"));
        }
    }
}

/// lib.rs is the face: docs, attributes, modules and re-exports. It defines nothing.
fn check_face(words: &[Word], say: &mut impl FnMut(usize, String)) {
    let mut at = skip_attributes(words, 0);
    while let Some(first) = words.get(at) {
        let is_public = first.text == "pub";
        at += usize::from(is_public);
        if is_public && is(words, at, "(") {
            at = closing(words, at) + 1;
        }
        let end = item_end(words, at);
        let item: Vec<&str> = words[at..end].iter().map(|word| word.text.as_str()).collect();
        match item.as_slice() {
            ["mod", _, ";"] => {}
            ["use", ..] if is_public => {}
            ["use", ..] => say(first.line, "the face imports for itself".into()),
            _ => say(first.line, format!("the face defines something: `{}`", item[0])),
        }
        at = skip_attributes(words, end);
    }
}

/// What is compiled only for tests is `mod tests`, so that tests see the code that users get.
fn check_test_cfg(words: &[Word], say: &mut impl FnMut(usize, String)) {
    for (at, word) in words.iter().enumerate() {
        let open = at + 1 + usize::from(is(words, at + 1, "!"));
        if !["cfg", "cfg_attr"].contains(&word.text.as_str()) || !is(words, open, "(") {
            continue;
        }
        let end = closing(words, open);
        if !(open..end).any(|at| is(words, at, "test")) {
            continue;
        }
        // `#[cfg(test)]`, where the next attribute or the item begins two words behind the `)`.
        let is_plain = word.text == "cfg" && open == at + 1 && end == at + 3;
        let item = skip_attributes(words, end + 2);
        if !(is_plain && is(words, item, "mod") && is(words, item + 1, "tests")) {
            say(word.line, "a condition on `test` that is not that of `mod tests`".into());
        }
    }
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// Every rule can be broken, and says so.
mod tests {
    use super::*;

    /// The breaches of one file.
    fn found(file: &str, text: &str) -> Vec<String> {
        found_with(file, text, &[])
    }

    fn found_with(file: &str, text: &str, neighbours: &[(&str, &str, &str)]) -> Vec<String> {
        let source = Source { file: file.into(), text: text.into() };
        breaches(&[source], neighbours).into_iter().map(|breach| breach.to_string()).collect()
    }

    #[track_caller]
    fn passes(file: &str, text: &str) {
        assert_eq!(found(file, text), Vec::<String>::new(), "{text}");
    }

    #[track_caller]
    fn fails(file: &str, text: &str, why: &str) {
        let found = found(file, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(why), "{text}: {found:?}");
    }

    #[test]
    fn a_drawing_is_that_of_the_table_or_a_breach() {
        let lines: Vec<String> = FLOORS
            .iter()
            .rev()
            .map(|(floor, modules)| format!("{floor}   {}", modules.join("  ")))
            .collect();
        let text = format!("x\n## The floors\n\n```\n{}\n```\n", lines.join("\n"));
        assert_eq!(drawn(&text, &|_| false), Ok(()));
        assert!(drawn(&text, &|module| module == "proto").is_err(), "a folder without its slash");
        assert!(drawn(&text.replace("  cookies", ""), &|_| false).is_err(), "one is missing");
        assert!(drawn(&text.replace("proto", "proto  feed"), &|_| false).is_err(), "one too many");
        assert!(drawn("x", &|_| false).is_err(), "no drawing");
    }

    #[test]
    fn down_is_allowed_from_every_floor() {
        passes("connection/mod.rs", "use crate::{dial::Dial, event, proto::{self, frame::Frame}};");
        passes("error.rs", "fn f() -> crate::proto::close::Code { crate::backoff::never() }");
    }

    #[test]
    fn up_is_a_breach_however_it_is_written() {
        let up = "floor 1 names `event` of floor 4";
        fails("proto/frame.rs", "use crate::event::Open;", up);
        fails("proto/frame.rs", "use crate::event;", up);
        fails("proto/frame.rs", "use crate::event as told;", up);
        fails("proto/frame.rs", "use crate::{event::{self}, proto::mask};", up);
        fails("proto/frame.rs", "use {std::fmt, crate::{event::Open}};", up);
        fails("proto/frame.rs", "pub(crate) use crate::event::*;", up);
        fails("proto/frame.rs", "use super::super::event::Open;", up);
        fails("proto/frame.rs", "mod inner { use super::super::super::event::Open; }", up);
        fails("proto/mod.rs", "use super::event::Open;", up);
        fails("backoff.rs", "fn f(open: &crate::event::Open) {}", up);
        fails("backoff.rs", "fn f() -> Vec<super::event::Open> {}", up);
        fails("backoff.rs", "macro_rules! m { () => { $crate::event::Open } }", up);
        fails("testing/server.rs", "use crate::connection::Connection;", "of floor 6");
        fails("dial/mod.rs", "fn f() { crate::connection::join() }", "of floor 6");
    }

    #[test]
    fn a_breach_is_told_with_its_line() {
        let text =
            "//! One.\n\nuse std::fmt;\nuse crate::{\n    proto::Frame,\n    event::Open,\n};\n";
        assert_eq!(found("error.rs", text), ["  src/error.rs:6: floor 2 names `event` of floor 4"],);
    }

    #[test]
    fn neighbours_do_not_know_each_other() {
        fails("dial/mod.rs", "use crate::writer::Writer;", "its neighbour `writer`");
        fails("testing/probe.rs", "use crate::delivery::Queue;", "its neighbour `delivery`");
        fails("options.rs", "fn f(c: crate::command::Send) {}", "its neighbour `command`");
        passes("dial/mod.rs", "use crate::dial::socket; use super::dial::proxy; mod upgrade;");
    }

    #[test]
    fn declared_neighbours_do_and_a_stale_declaration_is_a_breach() {
        let declared = [("options", "command", "for the test")];
        assert!(found_with("options.rs", "use crate::command::Send;", &declared).is_empty());
        assert_eq!(found_with("command.rs", "use crate::options::Limits;", &declared).len(), 2);
        let stale = found_with("options.rs", "use crate::proto::Limits;", &declared);
        assert!(stale.len() == 1 && stale[0].contains("NEIGHBOURS"), "{stale:?}");
    }

    #[test]
    fn nobody_goes_through_the_face() {
        fails("connection/mod.rs", "use crate::Connection;", "`Connection` through the face");
        fails("connection/mod.rs", "use crate::{event, Connection};", "through the face");
        fails("connection/mod.rs", "fn f(c: super::super::Connection) {}", "through the face");
        fails("connection/mod.rs", "use crate::set_default_reconnect;", "no module with a floor");
        fails("connection/mod.rs", "use crate::*;", "all of the face");
        fails("connection/mod.rs", "use actix_ws_client::event::Open;", "names itself");
    }

    #[test]
    fn a_module_without_a_floor_is_a_breach() {
        fails("utils.rs", "", "`utils` has no floor");
        fails("bin/other.rs", "fn main() {}", "`bin` has no floor");
    }

    #[test]
    fn the_face_defines_nothing() {
        passes(
            "lib.rs",
            "//! Docs.\n#![cfg_attr(docsrs, feature(doc_cfg))]\n#![warn(missing_docs)]\n\
             pub mod proto;\n#[cfg(feature = \"client\")]\nmod connection;\n\
             pub use crate::connection::{Connection, builder::{self}};\n\
             #[doc(inline)] pub use proto::frame;",
        );
        fails("lib.rs", "pub fn version() -> &'static str { \"1\" }", "`fn`");
        fails("lib.rs", "pub(crate) struct Inner { x: [u8; 4] }", "`struct`");
        fails("lib.rs", "mod proto; impl Inner {}", "`impl`");
        fails("lib.rs", "pub type Result<T> = std::result::Result<T, Error>;", "`type`");
        fails("lib.rs", "macro_rules! say { () => {} }", "`macro_rules`");
        fails("lib.rs", "pub mod proto { pub fn f() {} }", "`mod`");
        fails("lib.rs", "use std::fmt;", "imports for itself");
    }

    /// The circles of files with these texts.
    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let source =
            |(file, text): &(&str, &str)| Source { file: (*file).into(), text: (*text).into() };
        circles::circles(&files.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn files_that_import_each_other_are_a_circle_however_they_are_named() {
        let back = ("dial/b.rs", "use crate::dial::a::A; struct B;");
        for text in [
            "use crate::dial::b::B;",
            "use super::b::B;",
            "fn f() { crate::dial::b::f() }",
            "use crate::dial; fn f() { dial::b::f() }",
            "use crate::dial::C;", // by the re-export in mod.rs
        ] {
            let face = ("dial/mod.rs", "mod a; mod b; pub(crate) use self::b::B as C;");
            let found = circles_of(&[face, ("dial/a.rs", text), back]);
            assert_eq!(found, [["dial/a.rs", "dial/b.rs"]], "{text}");
        }
    }

    #[test]
    fn a_longer_way_round_is_a_circle_too_and_each_is_found() {
        let found = circles_of(&[
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::a::A;"),
            ("d/mod.rs", "mod e; use self::e::E;"),
            ("d/e.rs", "use super::D;"),
        ]);
        assert_eq!(found, [vec!["a.rs", "b.rs", "c.rs"], vec!["d/e.rs", "d/mod.rs"]]);
    }

    #[test]
    fn a_mod_rs_that_only_re_exports_its_children_is_in_no_circle_with_them() {
        let found = circles_of(&[
            ("dial/mod.rs", "mod a; mod b; pub(crate) use self::a::A; struct Dial;"),
            ("dial/a.rs", "use super::Dial; #[cfg(test)] mod tests { use crate::dial::b::B; }"),
            ("dial/b.rs", "use crate::dial::{A, Dial};"),
        ]);
        assert_eq!(found, Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_foreign_crate_is_named_in_its_one_file() {
        for (foreign, homes) in FOREIGN {
            let home = match homes[0].strip_suffix('/') {
                Some(folder) => format!("{folder}/mod.rs"),
                None => homes[0].to_string(),
            };
            passes(&home, &format!("use {foreign}::Thing;"));
            fails("pinger.rs", &format!("use {foreign}::Thing;"), foreign);
            fails("pinger.rs", &format!("use {foreign} as other;"), foreign);
            fails(
                "pinger.rs",
                &format!("use {{std::fmt, {foreign}::{{a, b::C}}}};").replace("{a, b::C}", "a"),
                foreign,
            );
            fails("pinger.rs", &format!("fn f(thing: &{foreign}::Thing) {{}}"), foreign);
            fails("pinger.rs", &format!("fn f(thing: &::{foreign}::Thing) {{}}"), foreign);
            fails("pinger.rs", &format!("extern crate {foreign};"), foreign);
        }
        fails("connection/mod.rs", "use crate::proto; use backoff::Backoff;", "backoff");
        fails("connection/mod.rs", "use crate::backoff; use ::backoff::Backoff;", "backoff");
    }

    #[test]
    fn a_name_of_ours_is_not_the_crate_of_that_name() {
        passes("connection/mod.rs", "use crate::backoff::Policy;");
        passes("connection/mod.rs", "use crate::{backoff, proto}; fn f() { backoff::never() }");
        passes("lib.rs", "pub mod backoff; pub use backoff::Policy;");
        passes("connection/mod.rs", "use crate::dial::socket; fn f() { let awc = socket::awc(); }");
        passes("backoff/policy.rs", "use backoff::backoff::Backoff;");
    }

    #[test]
    fn only_mod_tests_is_compiled_for_tests_alone() {
        passes("tls.rs", "#[cfg(test)]\nmod tests;");
        passes("tls.rs", "#[cfg(test)]\n#[allow(dead_code)]\nmod tests { use super::*; }");
        passes("tls.rs", "#[cfg(feature = \"testing\")] fn f() { let test = cfg!(unix); }");
        for text in [
            "#[cfg(test)] fn f() {}",
            "#[cfg(test)] use std::fmt;",
            "#[cfg(test)] mod fixtures;",
            "#[cfg(any(test, feature = \"testing\"))] mod tests {}",
            "#[cfg(not(test))] fn f() {}",
            "#[cfg_attr(test, derive(PartialEq))] struct S;",
            "fn f() -> bool { cfg!(test) }",
        ] {
            fails("tls.rs", text, "condition on `test`");
        }
        fails("lib.rs", "#[cfg(test)] mod fixtures;", "condition on `test`");
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        passes(
            "proto/frame.rs",
            r##"
            //! See [`crate::event::Open`], and `use crate::Connection;`.
            /// ```
            /// use actix_ws_client::event;
            /// ```
            /* use crate::event; /* awc::Client */ use awc; */
            const A: &str = "use crate::event; \" awc::Client";
            const B: &str = r#"use crate::event; " awc::Client"#;
            const C: &[u8] = b"awc::Client\\";
            const D: [char; 3] = ['"', '\'', '\\'];
            fn f<'a>(x: &'a str) -> impl Iterator + use<'a> { x.awc::<u8>() }
            #[cfg(test)]
            mod tests {
                use crate::event::Open;
                use awc::Client;
                mod more { use crate::Connection; }
            }
            "##,
        );
    }

    #[test]
    fn reading_goes_on_after_tests_and_lifetimes() {
        let up = "of floor 4";
        fails("tls.rs", "fn f<'r>(x: &'r str) {} use crate::event;", up);
        fails("tls.rs", "#[cfg(test)] mod tests { fn f() {} } use crate::event;", up);
        fails("tls.rs", "use std::fmt; use crate::r#event;", up);
        fails("tls.rs", "mod inner { mod more {} } use super::event;", up);
    }
}

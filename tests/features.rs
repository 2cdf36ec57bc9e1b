//! The tables of features in the documentation list the features of Cargo.toml, each with its
//! default; and lib.rs lists its modules by the feature that they need.

use std::collections::BTreeMap;

const MANIFEST: &str = include_str!("../Cargo.toml");
const FACE: &str = include_str!("../src/lib.rs");
const README: &str = include_str!("../README.md");

/// Each feature of Cargo.toml, and whether it is on by default.
fn declared() -> BTreeMap<String, bool> {
    let (_, section) = MANIFEST.split_once("\n[features]\n").expect("there are features");
    let section = section.split("\n[").next().expect("a split yields at least one part");
    let entries: Vec<_> = section.lines().filter_map(|line| line.split_once(" = ")).collect();
    let default = entries.iter().find(|(name, _)| *name == "default").expect("there is a default");
    let is_default = |name: &str| default.1.contains(&format!("\"{name}\""));
    let named = entries.iter().filter(|(name, _)| *name != "default");
    named.map(|(name, _)| ((*name).to_owned(), is_default(name))).collect()
}

/// Each row of a table of features: its name, and whether it says that the default is `yes`.
fn tabulated(text: &str, prefix: &str) -> BTreeMap<String, bool> {
    let (_, table) =
        text.split_once("| feature | default |").expect("there is a table of features");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix(prefix));
    let mut tabulated = BTreeMap::new();
    for row in rows.map_while(|row| row.strip_prefix("| `")) {
        let (name, rest) = row.split_once("` | ").expect("a name in backticks");
        let (default, _) = rest.split_once(" | ").expect("a default");
        assert!(["yes", "no"].contains(&default), "{row}");
        let first = tabulated.insert(name.to_owned(), default == "yes").is_none();
        assert!(first, "two rows for `{name}`");
    }
    tabulated
}

#[test]
fn the_table_in_lib_rs_has_the_features_of_cargo_toml() {
    assert_eq!(tabulated(FACE, "//! "), declared());
}

#[test]
fn the_table_in_the_readme_has_the_features_of_cargo_toml() {
    assert_eq!(tabulated(README, ""), declared());
}

#[test]
fn the_modules_that_need_no_client_are_those_that_lib_rs_names() {
    let mut free = Vec::new();
    let mut previous = "";
    for line in FACE.lines() {
        let module = line.trim_start_matches("pub ").strip_prefix("mod ");
        if let Some(name) = module.filter(|_| !previous.starts_with("#[cfg(feature")) {
            free.push(format!("[`{}`]", name.trim_end_matches(';')));
        }
        previous = line;
    }
    free.sort();
    let row = FACE.lines().find(|line| line.starts_with("//! | `client` |")).expect("a row");
    let mut named: Vec<_> = row.match_indices("[`").map(|(at, _)| &row[at..]).collect();
    named = named.iter().map(|rest| &rest[..=rest.find(']').expect("it closes")]).collect();
    named.sort_unstable();
    assert_eq!(named, free);
}

//! Import circles between files: groups of files of which each leads to each other one by imports.
//!
//! A name that comes through a `pub use` counts as a name of the file that defines it, so that a
//! `mod.rs` which only re-exports its children is in no circle with them. `mod child;` is no import.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{self, Named, Place, Source, Word, is};

/// The circles of a set of sources: each a sorted list of files.
pub(crate) fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let units: BTreeMap<&str, Unit> = sources
        .iter()
        .filter(|source| source.file != "lib.rs")
        .map(|source| (source.file.as_str(), Unit::of(source)))
        .collect();
    let modules = units.iter().map(|(file, unit)| (unit.place.module(), *file)).collect();
    let library = Library { units: &units, modules };
    let imports: BTreeMap<&str, BTreeSet<&str>> =
        units.keys().map(|file| (*file, library.imports(file))).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (*file, reachable(file, &imports))).collect();
    let mut circles = BTreeSet::new();
    for (file, from_here) in &reached {
        if from_here.contains(file) {
            let members = from_here.iter().filter(|other| reached[*other].contains(file));
            circles.insert(members.map(ToString::to_string).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

/// The files that imports lead to from this one; the file itself only if it is in a circle.
fn reachable<'a>(
    from: &'a str,
    imports: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut to_visit = vec![from];
    while let Some(file) = to_visit.pop() {
        to_visit.extend(imports[file].iter().filter(|next| reached.insert(**next)));
    }
    reached
}

/// What the search needs of one file.
struct Unit {
    place: Place,
    /// Its paths outside `pub use`.
    used: Vec<Named>,
    /// The paths of its `pub use` items, whatever their visibility.
    re_exported: Vec<Named>,
    /// The modules that it declares without a body.
    children: BTreeSet<String>,
}

impl Unit {
    fn of(source: &Source) -> Self {
        let words = source::without_tests(&source::words(&source.text));
        let declarations = words.windows(3).filter(|three| three[0].text == "mod");
        let children = declarations
            .filter(|three| three[2].text == ";")
            .map(|three| three[1].text.clone())
            .collect();
        let (kept, re_exported) = split_re_exports(&words);
        let (used, re_exported) = (source::paths(&kept), source::paths(&re_exported));
        Self { place: Place::of(&source.file), used, re_exported, children }
    }
}

/// The words outside `pub use` items, and those inside, beginning with their `use`.
fn split_re_exports(words: &[Word]) -> (Vec<Word>, Vec<Word>) {
    let (mut kept, mut re_exports) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < words.len() {
        let mut begin = at + usize::from(is(words, at, "pub"));
        if begin > at && is(words, begin, "(") {
            begin = source::closing(words, begin) + 1;
        }
        if begin > at && is(words, begin, "use") {
            at = source::item_end(words, begin);
            re_exports.extend_from_slice(&words[begin..at]);
        } else {
            kept.push(words[at].clone());
            at += 1;
        }
    }
    (kept, re_exports)
}

/// All files of the library, without lib.rs.
struct Library<'a> {
    units: &'a BTreeMap<&'a str, Unit>,
    /// The file of each module path.
    modules: BTreeMap<&'a [String], &'a str>,
}

impl<'a> Library<'a> {
    /// The other files that this one imports from.
    fn imports(&self, file: &str) -> BTreeSet<&'a str> {
        let unit = &self.units[file];
        let targets = unit.used.iter().filter_map(|named| self.definer(&absolute(unit, named)?, 0));
        targets.filter(|target| *target != file).collect()
    }

    /// The file that defines what an absolute path names, through at most eight re-exports.
    fn definer(&self, path: &[String], depth: usize) -> Option<&'a str> {
        let file_of = |end: usize| Some((*self.modules.get(&path[..end])?, &path[end..]));
        let (file, rest) = (1..=path.len()).rev().find_map(file_of)?;
        let unit = &self.units[file];
        let is_it = |named: &&Named| !rest.is_empty() && named.binds.as_ref() == rest.first();
        match unit.re_exported.iter().find(is_it).and_then(|named| absolute(unit, named)) {
            Some(next) if depth < 8 => self.definer(&[&next[..], &rest[1..]].concat(), depth + 1),
            _ => Some(file),
        }
    }
}

/// A path from the crate's root; `None` for a name of another crate, or of the file itself.
fn absolute(unit: &Unit, named: &Named) -> Option<Vec<String>> {
    if named.is_ours() {
        return unit.place.resolve(named);
    }
    let first = named.path.first().filter(|_| !named.is_global)?;
    if unit.children.contains(first) {
        return Some([unit.place.module(), &named.path].concat());
    }
    // `use crate::dial; dial::link::Link` is `crate::dial::link::Link`.
    let binds_first = |import: &&Named| import.is_ours() && import.binds.as_ref() == Some(first);
    let import = unit.used.iter().find(binds_first)?;
    Some([&unit.place.resolve(import)?[..], &named.path[1..]].concat())
}

//! A source file as the rules see it: its place in the house, its words, and the paths it names.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// One file under `src`.
pub(crate) struct Source {
    /// Relative to `src`, with slashes.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Every Rust file below a folder, but for those that hold only tests.
pub(crate) fn read(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("the entry can be read").path();
            let parts = path.strip_prefix(root).expect("it is below the root");
            let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
            let is_test = parts.iter().any(|part| part == "tests" || part == "tests.rs");
            if path.is_dir() {
                folders.push(path);
            } else if !is_test && path.extension().is_some_and(|extension| extension == "rs") {
                let file = parts.join("/");
                let text = fs::read_to_string(&path).expect("the source is UTF-8");
                sources.push(Source { file, text });
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    sources
}

/// Where a file is.
pub(crate) struct Place {
    /// The module right under the crate's root.
    pub(crate) top: String,
    /// The whole module path, for `self` and `super`.
    path: Vec<String>,
}

impl Place {
    pub(crate) fn of(file: &str) -> Self {
        let mut path: Vec<String> =
            file.trim_end_matches(".rs").split('/').map(Into::into).collect();
        if path.last().is_some_and(|last| last == "mod") {
            path.pop();
        }
        Self { top: path[0].clone(), path }
    }

    /// The path of the module that this file is.
    pub(crate) fn module(&self) -> &[String] {
        &self.path
    }

    /// A path from the library's root; `None` for another crate's.
    pub(crate) fn resolve(&self, named: &Named) -> Option<Vec<String>> {
        let root = named.path[0].as_str();
        let mut whole = match root {
            "crate" => Vec::new(),
            "self" | "super" => [&self.path[..], &named.inside[..]].concat(),
            _ => return None,
        };
        for step in &named.path {
            match step.as_str() {
                "crate" | "self" => {}
                "super" => drop(whole.pop()),
                _ => whole.push(step.clone()),
            }
        }
        Some(whole)
    }
}

/// A path as it is written.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) line: usize,
    /// Its steps, the root first.
    pub(crate) path: Vec<String>,
    /// The name that an import brings into the file.
    pub(crate) binds: Option<String>,
    /// Whether it begins with `::`, which always means a crate.
    pub(crate) is_global: bool,
    /// The modules written around it in its own file.
    inside: Vec<String>,
}

impl Named {
    pub(crate) fn is_ours(&self) -> bool {
        ["crate", "self", "super"].contains(&self.path[0].as_str())
    }
}

/// Everything that is imported, and every other path of more than one step.
pub(crate) fn paths(words: &[Word]) -> Vec<Named> {
    let mut paths = Vec::new();
    let mut inside: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while at < words.len() {
        let line = words[at].line;
        let first = paths.len();
        match words[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inside.retain(|(_, outer)| *outer <= depth);
            }
            "mod" if is(words, at + 2, "{") => inside.push((words[at + 1].text.clone(), depth + 1)),
            // Not the `use<..>` of a return type, which names only parameters.
            "use" if !is(words, at + 1, "<") => at = tree(words, at + 1, &[], &mut paths),
            "extern" if is(words, at + 1, "crate") => {
                paths.push(Named::new(line, vec![words[at + 2].text.clone()], None));
            }
            _ if words[at].is_name() && is(words, at + 1, "::") && !is_continued(words, at) => {
                let start = at;
                let mut path = vec![words[at].text.clone()];
                while is(words, at + 1, "::") && words.get(at + 2).is_some_and(Word::is_name) {
                    at += 2;
                    path.push(words[at].text.clone());
                }
                let is_global = start > 0 && is(words, start - 1, "::");
                paths.push(Named { is_global, ..Named::new(line, path, None) });
            }
            _ => {}
        }
        for named in &mut paths[first..] {
            named.inside = inside.iter().map(|(name, _)| name.clone()).collect();
        }
        at += 1;
    }
    paths
}

/// One tree of an import, flattened behind its stem; answers where its last word is.
fn tree(words: &[Word], mut at: usize, stem: &[String], paths: &mut Vec<Named>) -> usize {
    let mut named = Named::new(words[at].line, stem.to_vec(), None);
    named.is_global = stem.is_empty() && is(words, at, "::");
    while at < words.len() {
        match words[at].text.as_str() {
            "::" => {}
            "{" => {
                at += 1;
                while !is(words, at, "}") {
                    at = tree(words, at, &named.path, paths) + 1;
                    at += usize::from(is(words, at, ","));
                }
                return at;
            }
            "as" => {
                named.binds = Some(words[at + 1].text.clone());
                at += 2;
                break;
            }
            "," | ";" | "}" => break,
            step => named.path.push(step.to_string()),
        }
        at += 1;
    }
    // `use module::{self}` is `use module`.
    if named.path.len() > 1 {
        named.path.pop_if(|last| last == "self");
    }
    named.binds = named.binds.or_else(|| named.path.last().cloned());
    paths.push(named);
    at - 1
}

/// Whether a name goes on from something before it, as `b` does in `a::b`, `Vec::<u8>::b`, `a.b`.
fn is_continued(words: &[Word], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|at| &words[at]);
    match before(1).map(|word| word.text.as_str()) {
        Some(".") => true,
        Some("::") => before(2).is_some_and(|word| word.text == ">" || word.is_name()),
        _ => false,
    }
}

impl Named {
    fn new(line: usize, path: Vec<String>, binds: Option<String>) -> Self {
        Self { line, path, binds, is_global: false, inside: Vec::new() }
    }
}

/// A name, a `::`, or any other single character of code.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Word {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The words of a source, without comments, literals and lifetimes.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    flatten(text.parse().expect("the source is Rust"), &mut words);
    words
}

fn flatten(tokens: TokenStream, words: &mut Vec<Word>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let line = token.span().start().line;
        let mut say = |text: &str, line| words.push(Word { text: text.into(), line });
        match token {
            TokenTree::Literal(_) => {}
            TokenTree::Ident(name) => say(name.to_string().trim_start_matches("r#"), line),
            TokenTree::Punct(mark) if mark.as_char() == '\'' => drop(tokens.next()),
            TokenTree::Punct(mark) if mark.as_char() == ':' && mark.spacing() == Spacing::Joint => {
                tokens.next();
                say("::", line);
            }
            TokenTree::Punct(mark) => say(&mark.as_char().to_string(), line),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace | Delimiter::None => ("{", "}"),
                };
                say(open, line);
                flatten(group.stream(), words);
                words.push(Word { text: close.into(), line: group.span_close().start().line });
            }
        }
    }
}

/// The same words without what is inside a `mod tests { .. }`.
pub(crate) fn without_tests(words: &[Word]) -> Vec<Word> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if is(words, at, "mod") && is(words, at + 1, "tests") && is(words, at + 2, "{") {
            let line = words[at].line;
            kept.extend(["mod", "tests", ";"].map(|text| Word { text: text.into(), line }));
            at = closing(words, at + 2);
        } else {
            kept.push(words[at].clone());
        }
        at += 1;
    }
    kept
}

/// Where the item behind the attributes begins.
pub(crate) fn skip_attributes(words: &[Word], mut at: usize) -> usize {
    while is(words, at, "#") {
        let open = at + 1 + usize::from(is(words, at + 1, "!"));
        at = closing(words, open) + 1;
    }
    at
}

/// One past the `;` or the closing brace that ends an item.
pub(crate) fn item_end(words: &[Word], mut at: usize) -> usize {
    let is_import = is(words, at, "use");
    while at < words.len() {
        match words[at].text.as_str() {
            ";" => return at + 1,
            "{" if !is_import => return closing(words, at) + 1,
            "{" | "(" | "[" => at = closing(words, at),
            _ => {}
        }
        at += 1;
    }
    at
}

/// Where the bracket at `open` closes.
pub(crate) fn closing(words: &[Word], open: usize) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate().skip(open) {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    words.len()
}

/// Whether there is this word at this place.
pub(crate) fn is(words: &[Word], at: usize, text: &str) -> bool {
    words.get(at).is_some_and(|word| word.text == text)
}

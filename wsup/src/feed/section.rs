//! Tables of a TOML file, read key by key. Each error names its key and has its place.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::value::PositiveTime;

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The byte at which it stands.
    at: usize,
    text: String,
}

impl Wrong {
    /// Creates one at a byte.
    pub(crate) fn at(at: usize, text: impl Into<String>) -> Wrong {
        Wrong { at, text: text.into() }
    }

    /// Returns it with its line and column in the file, both from 1.
    pub(crate) fn located(&self, file: &str) -> String {
        // A place always begins a character.
        let before = file.get(..self.at).unwrap_or(file);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("line {line}, column {column}: {}", self.text)
    }
}

/// A table whose keys are taken one by one. What is left at the end is unknown.
pub(crate) struct Section<'i> {
    /// Its name with the names of those around it; empty for the file.
    name: String,
    at: usize,
    members: BTreeMap<String, (usize, Spanned<DeValue<'i>>)>,
    /// The keys that were asked for, with their places if they were there.
    known: Vec<(&'static str, Option<usize>)>,
}

impl<'i> Section<'i> {
    /// Parses a file.
    pub(crate) fn parse(file: &'i str) -> Result<Section<'i>, Wrong> {
        let table = DeTable::parse(file).map_err(|err| {
            let span = err.span().unwrap_or_default();
            let at = span.start;
            match (err.message().trim(), file.get(span)) {
                // The parser does not say which.
                ("duplicate key", Some(key)) => Wrong::at(at, format!("`{key}` is there twice")),
                (text, _) => Wrong::at(at, text),
            }
        })?;
        Ok(Section::new(String::new(), 0, table.into_inner()))
    }

    fn new(name: String, at: usize, table: DeTable<'i>) -> Section<'i> {
        let members = table.into_iter().map(|(key, value)| {
            let at = key.span().start;
            (key.into_inner().into_owned(), (at, value))
        });
        Section { name, at, members: members.collect(), known: Vec::new() }
    }

    /// Takes a key, if it is there.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Found<'i>> {
        let found = self.members.remove(key);
        self.known.push((key, found.as_ref().map(|(at, _)| *at)));
        let (at, value) = found?;
        Some(Found { name: self.named(key), at, value: value.into_inner() })
    }

    /// Takes a key that has to be there.
    pub(crate) fn need(&mut self, key: &'static str) -> Result<Found<'i>, Wrong> {
        self.take(key).ok_or_else(|| self.missing(&[key]))
    }

    /// Returns the error about keys of which one has to be there. A key that is spelled almost like one of them
    /// is more likely wrong.
    pub(crate) fn missing(&self, keys: &[&str]) -> Wrong {
        let pairs = self.members.iter().flat_map(|found| keys.iter().map(move |key| (found, *key)));
        let mut similar = pairs.filter(|((other, _), key)| is_similar(other, key));
        if let Some(((other, (at, _)), key)) = similar.next() {
            let (other, key) = (self.named(other), self.named(key));
            return Wrong::at(*at, format!("`{other}` is unknown: is it `{key}`?"));
        }
        let names: Vec<_> = keys.iter().map(|key| format!("`{}`", self.named(key))).collect();
        let names = names.join(" or ");
        match self.misplaced(keys) {
            Some((at, key)) => {
                let text = "a key of no table stands above the first [table]";
                Wrong::at(at, format!("{names} is missing, and `{key}` is unknown: {text}"))
            }
            None => Wrong::at(self.at, format!("{names} is missing")),
        }
    }

    /// Returns the place and the name of a key of the file that stands below the head of a table. Only of keys that no
    /// table has.
    fn misplaced(&self, keys: &[&str]) -> Option<(usize, String)> {
        let keys = keys.iter().filter(|_| self.name.is_empty());
        let keys = keys.filter(|key| ["url", "url_command", "topics_file"].contains(key));
        keys.flat_map(|key| self.members.iter().map(move |(name, table)| (key, name, table)))
            .find_map(|(key, name, (_, table))| {
                let (inner, _) = table.get_ref().as_table()?.get_key_value(*key)?;
                Some((inner.span().start, format!("{name}.{key}")))
            })
    }

    /// Takes all keys, in the order of their names.
    pub(crate) fn take_all(&mut self) -> Vec<(String, Found<'i>)> {
        let members = std::mem::take(&mut self.members);
        let found = members.into_iter().map(|(key, (at, value))| {
            let name = self.named(&key);
            (key, Found { name, at, value: value.into_inner() })
        });
        found.collect()
    }

    /// Takes exactly one of several keys.
    pub(crate) fn one_of(
        &mut self,
        keys: &[&'static str],
    ) -> Result<(&'static str, Found<'i>), Wrong> {
        let found: Vec<_> = keys.iter().filter_map(|key| Some((*key, self.take(key)?))).collect();
        if let [(first, _), (second, other), ..] = &found[..] {
            let (first, second) = (self.named(first), self.named(second));
            let text = format!("`{second}` and `{first}`: only one of them may be there");
            return Err(Wrong::at(other.at, text));
        }
        found.into_iter().next().ok_or_else(|| self.missing(keys))
    }

    /// Returns an error about a key that was taken before, or one below it, at the place of the former.
    pub(crate) fn wrong_key(&self, key: &str, text: &str) -> Wrong {
        let taken = key.split('.').next().unwrap_or_default();
        let at = self.known.iter().find(|(known, _)| *known == taken).and_then(|(_, at)| *at);
        Wrong::at(at.unwrap_or(self.at), format!("`{key}`: {text}"))
    }

    /// Returns an error about the section as a whole.
    pub(crate) fn wrong(&self, text: &str) -> Wrong {
        Wrong::at(self.at, format!("`{}`: {text}", self.name))
    }

    /// Ends the section: what was not taken is unknown.
    pub(crate) fn end(self) -> Result<(), Wrong> {
        let Some((key, (at, _))) = self.members.first_key_value() else { return Ok(()) };
        let known: Vec<_> = self.known.iter().map(|(key, _)| *key).collect();
        let known = known.join(", ");
        Err(Wrong::at(*at, format!("`{}` is unknown; known here: {known}", self.named(key))))
    }

    fn named(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// A value with its name and its place.
pub(crate) struct Found<'i> {
    name: String,
    at: usize,
    value: DeValue<'i>,
}

impl<'i> Found<'i> {
    /// Returns an error about the value.
    pub(crate) fn wrong(&self, text: impl fmt::Display) -> Wrong {
        Wrong::at(self.at, format!("`{}`: {text}", self.name))
    }

    fn expected(&self, what: &str) -> Wrong {
        self.wrong(format!("expected {what}, not {}", article(self.value.type_str())))
    }

    /// Returns a string that may have `${env:NAME}` and `${file:PATH}`.
    pub(crate) fn with_secrets(&self) -> Result<&str, Wrong> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    /// Returns a string.
    pub(crate) fn text(&self) -> Result<&str, Wrong> {
        let text = self.with_secrets()?;
        match text.contains("${") {
            true => Err(self.wrong("`${…}` may only stand in url, headers, and texts to send")),
            false => Ok(text),
        }
    }

    /// Parses a string.
    pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(&self) -> Result<T, Wrong> {
        self.text()?.parse().map_err(|err| self.wrong(err))
    }

    /// Parses a length of time above zero.
    pub(crate) fn time(&self) -> Result<Duration, Wrong> {
        match self.value.is_str() {
            true => self.parsed().map(|PositiveTime(time)| time),
            false => Err(self.expected("a time such as \"20s\"")),
        }
    }

    /// Returns a string, or a number or bool by its digits or name.
    pub(crate) fn scalar(&self) -> Result<String, Wrong> {
        match &self.value {
            DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
            DeValue::Boolean(is) => Ok(is.to_string()),
            _ => self
                .text()
                .map(str::to_owned)
                .map_err(|_| self.expected("a string, a whole number or a bool")),
        }
    }

    /// Returns a bool.
    pub(crate) fn flag(&self) -> Result<bool, Wrong> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// Returns a whole number above zero.
    pub(crate) fn number(&self) -> Result<usize, Wrong> {
        const WHAT: &str = "a whole number above zero";
        let Some(number) = self.value.as_integer() else { return Err(self.expected(WHAT)) };
        if number.radix() != 10 {
            return Err(self.wrong(format_args!("expected {WHAT}, in decimal digits")));
        }
        let parsed = number.as_str().parse().ok().filter(|number| *number > 0);
        parsed.ok_or_else(|| self.wrong(format_args!("expected {WHAT}, not {}", number.as_str())))
    }

    /// Returns what a name stands for.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Wrong> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            self.wrong(format!("expected {}, not \"{text}\"", names.join(" or ")))
        })
    }

    /// Returns the entries of an array, or the value itself as the only one.
    pub(crate) fn list(self) -> Vec<Found<'i>> {
        let Found { name, at, value } = self;
        match value {
            DeValue::Array(entries) => {
                let found = entries.into_iter().map(|entry| {
                    let at = entry.span().start;
                    Found { name: name.clone(), at, value: entry.into_inner() }
                });
                found.collect()
            }
            value => vec![Found { name, at, value }],
        }
    }

    /// Returns the table.
    pub(crate) fn section(self) -> Result<Section<'i>, Wrong> {
        let Found { name, at, value } = self;
        match value {
            DeValue::Table(table) => Ok(Section::new(name, at, table)),
            value => Err(Found { name, at, value }.expected("a table")),
        }
    }
}

/// Whether one is the other with one or two letters left out or changed, at most half of them.
fn is_similar(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    let most = (short.len() / 2).min(2);
    if short.len() == long.len() {
        return short.chars().zip(long.chars()).filter(|(a, b)| a != b).count() <= most;
    }
    let mut rest = long.chars();
    long.len() - short.len() <= most && short.chars().all(|c| rest.any(|other| other == c))
}

/// Returns a type of TOML with its article.
fn article(name: &str) -> String {
    let an = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{an} {name}")
}

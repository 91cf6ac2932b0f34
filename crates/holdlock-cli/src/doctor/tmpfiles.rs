//! tmpfiles.d(5): which rule of systemd's cleaner reaches a path.
//!
//! The age of a directory applies to the files below it, except below a path that has a rule of its
//! own. Therefore the rule nearest to the file decides.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::fnmatch;

/// A line of a file of rules.
#[derive(Debug, PartialEq)]
pub(super) struct Rule {
    kind: u8,
    /// The rule applies only at boot (`!`), when no lock is held.
    at_boot: bool,
    pub(super) path: String,
    /// None: files are never removed by age.
    pub(super) age: Option<String>,
}

/// What the cleaner does with a file.
#[derive(Debug, PartialEq)]
pub(super) enum Fate<'a> {
    Kept,
    /// Removed when it has not been used for the rule's age.
    Aged(&'a Rule),
    /// Removed by name, whenever `systemd-tmpfiles --remove` runs.
    Removed(&'a Rule),
}

/// The lines of one file that are rules.
pub(super) fn parse(text: &str) -> Vec<Rule> {
    text.lines().filter_map(rule).collect()
}

fn rule(line: &str) -> Option<Rule> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    // Type, path, mode, user, group, age, argument.
    let words = words(line);
    let kind = words.first()?;
    let path = plain(words.get(1)?);
    let age = words.get(5).map(|age| age.trim_start_matches('~'));
    Some(Rule {
        kind: *kind.as_bytes().first()?,
        at_boot: kind.contains('!'),
        // A slash at the end has no meaning.
        path: match path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        },
        age: age
            .filter(|age| !age.is_empty() && *age != "-")
            .map(str::to_owned),
    })
}

/// Splits a line at blanks; quotes protect blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ' | '\t', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Replaces `%` specifiers; an unknown one may stand for anything.
fn plain(path: &str) -> String {
    let mut plain = String::new();
    let mut rest = path.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('%')) => plain.push('%'),
            ('%', Some('t')) => plain += "/run",
            ('%', Some('S')) => plain += "/var/lib",
            ('%', Some('C')) => plain += "/var/cache",
            ('%', Some('L')) => plain += "/var/log",
            ('%', Some('T')) => plain += "/tmp",
            ('%', Some('V')) => plain += "/var/tmp",
            ('%', _) => plain.push('*'),
            _ => plain.push(c),
        }
    }
    plain
}

impl Rule {
    /// Whether the rule names this path. Lines that can only name one path are not patterns.
    fn names(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        let pattern = self.path.as_bytes();
        match self.kind {
            b'e' | b'x' | b'X' | b'r' | b'R' | b'z' | b'Z' | b't' | b'T' | b'h' | b'H' | b'a'
            | b'A' | b'm' | b'w' => fnmatch::matches(pattern, path),
            _ => pattern == path || pattern.contains(&b'*') && fnmatch::matches(pattern, path),
        }
    }

    /// Whether the rule's age applies to the files in the directory.
    fn ages(&self) -> bool {
        self.age.is_some() && b"dDevqQCxX".contains(&self.kind)
    }
}

/// What the rules do with a file of this absolute path.
pub(super) fn fate<'a>(rules: &'a [Rule], path: &Path) -> Fate<'a> {
    let removes = |rule: &&Rule| match rule.kind {
        b'r' => rule.names(path),
        b'R' => path.ancestors().any(|above| rule.names(above)),
        _ => false,
    };
    if let Some(rule) = rules.iter().filter(|rule| !rule.at_boot).find(removes) {
        return Fate::Removed(rule);
    }
    if rules.iter().any(|rule| rule.names(path)) {
        return Fate::Kept;
    }
    for above in path.ancestors().skip(1) {
        let mut naming = rules.iter().filter(|rule| rule.names(above)).peekable();
        if naming.peek().is_none() {
            continue;
        }
        let mut transparent = true;
        for rule in naming {
            if rule.ages() {
                return Fate::Aged(rule);
            }
            // Takes its age from the directories above.
            transparent &= rule.kind == b'X';
        }
        if !transparent {
            return Fate::Kept;
        }
    }
    Fate::Kept
}

#[cfg(test)]
#[path = "tmpfiles_tests.rs"]
mod tests;

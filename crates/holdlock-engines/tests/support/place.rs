//! The place of many locks.

use holdlock_engines::{Finding, Level, Listed, open_server};

/// The URL without the name.
pub(crate) fn place(url: &str) -> &str {
    url.split_once('#').expect("a name").0
}

pub(crate) fn listed(url: &str, name: &str) -> Option<Listed> {
    let all = open_server(place(url)).expect("a place").list();
    let mut all = all.expect("answers").into_iter();
    all.find(|one| one.name.as_deref() == Some(name))
}

/// How bad the finding is.
pub(crate) fn level(findings: &[Finding], id: &str) -> Level {
    let found = findings.iter().find(|finding| finding.id == id);
    found
        .unwrap_or_else(|| panic!("no {id} in {findings:?}"))
        .level
}

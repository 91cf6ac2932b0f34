//! Programs that remove files that have not been used for a while. A lock file that is held for
//! days looks unused, because locking changes no time stamp.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::place::Place;
use super::tmpfiles::{self, Fate, Rule};

/// The directories of rules. A file in an earlier one hides files of the same name in later ones.
const RULES: [&str; 4] = [
    "/etc/tmpfiles.d",
    "/run/tmpfiles.d",
    "/usr/local/lib/tmpfiles.d",
    "/usr/lib/tmpfiles.d",
];

/// Cleaners that cron starts: the script, its configuration, and the directory that is cleaned if
/// neither names one.
const SCRIPTS: [(&str, &str, &str); 2] = [
    ("/etc/cron.daily/tmpreaper", "/etc/tmpreaper.conf", "/tmp"),
    (
        "/etc/cron.daily/tmpwatch",
        "/etc/sysconfig/tmpwatch",
        "/tmp",
    ),
];

pub(super) fn look(place: &Place) -> Vec<Finding> {
    let path = real_path(place);
    let rules = rules();
    let mut findings: Vec<Finding> = systemd(&rules, &path).into_iter().collect();
    findings.extend(scripts(&path));
    if findings.is_empty() {
        let found = "no known temp cleaner removes the lock file";
        findings.push(Finding::ok("cleaner", found));
    }
    findings
}

/// The path without links, which cleaners do not follow.
fn real_path(place: &Place) -> PathBuf {
    let directory = fs::canonicalize(&place.directory).unwrap_or_else(|_| place.directory.clone());
    let path = place.path.as_deref().unwrap_or(Path::new("file.lock"));
    let below = path.strip_prefix(&place.directory).unwrap_or(path);
    directory.join(below)
}

fn systemd(rules: &[Rule], path: &Path) -> Option<Finding> {
    let remedy = |path: &Path| {
        format!(
            "keep it in /run/lock or /var/lib, or write the line `x {}` into \
             /etc/tmpfiles.d/locks.conf",
            path.display()
        )
    };
    match tmpfiles::fate(rules, path) {
        Fate::Kept => None,
        Fate::Aged(rule) => {
            let age = rule.age.as_deref().unwrap_or_default();
            let found = format!(
                "systemd-tmpfiles removes files that are unused for {age} in {}; before systemd \
                 254 also a locked file, since 254 not while a flock is held (an OFD lock does \
                 not help)",
                rule.path
            );
            Some(Finding::warning("cleaner", found).remedy(remedy(path)))
        }
        Fate::Removed(rule) => {
            let found = format!(
                "`systemd-tmpfiles --remove` removes it, also while it is held, by the rule for {}",
                rule.path
            );
            Some(Finding::warning("cleaner", found).remedy("give it a name that no rule removes"))
        }
    }
}

fn scripts(path: &Path) -> Option<Finding> {
    let reaches = |(script, settings, default): &&(&str, &str, &str)| {
        let Ok(mut text) = fs::read_to_string(script) else {
            return false;
        };
        text += &fs::read_to_string(settings).unwrap_or_default();
        path.starts_with(default) || names_directory_of(&text, path)
    };
    let (script, _, _) = SCRIPTS.iter().find(reaches)?;
    let found = format!("{script} may remove it, also while it is held");
    Some(Finding::warning("cleaner", found).remedy("keep it in /run/lock or /var/lib"))
}

/// Whether a line that is not a comment names a directory above the file.
fn names_directory_of(text: &str, path: &Path) -> bool {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let separators = |c: char| c.is_whitespace() || "'\"=;{}".contains(c);
    lines.flat_map(|line| line.split(separators)).any(|word| {
        let directory = Path::new(word.trim_end_matches("/."));
        directory.is_absolute() && directory != Path::new("/") && path.starts_with(directory)
    })
}

/// All rules, in the order of their files' names.
fn rules() -> Vec<Rule> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in RULES {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| {
            let path = entry.path();
            path.extension().is_some_and(|end| end == "conf")
        }) {
            files
                .entry(entry.file_name())
                .or_insert_with(|| entry.path());
        }
    }
    // A link to /dev/null switches rules off; it has no lines.
    let texts = files.values().filter_map(|file| fs::read(file).ok());
    texts
        .flat_map(|text| tmpfiles::parse(&String::from_utf8_lossy(&text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_what_it_cleans() {
        let text =
            "# /home\nflags=-umc\n/usr/sbin/tmpwatch \"$flags\" 30d /var/tmp\nd='/srv/t/.'\n";
        let names = |path| names_directory_of(text, Path::new(path));
        assert!(names("/var/tmp/a/x.lock") && names("/srv/t/x"));
        assert!(!names("/home/x.lock") && !names("/run/lock/x"));
    }
}

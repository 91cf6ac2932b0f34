//! `holdlock doctor`, on real files and real mounts. Mounts need root's rights.

#[path = "../support/mod.rs"]
mod support;

mod hanging;
mod interrupted;
mod mounted;
mod replaced;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use holdlock::{Family, LockOptions};
use serde_json::Value;

use support::peers::{has, python, skipped};
use support::{Finished, Place, Running};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The findings of the document.
struct Findings(Value);

impl Findings {
    fn of(finished: &Finished) -> Findings {
        let document = serde_json::from_slice(&finished.stdout);
        Findings(document.unwrap_or_else(|error| panic!("{error}: {finished:?}")))
    }

    /// Level and sentence of the finding with this identifier.
    fn get(&self, id: &str) -> Option<(&str, &str)> {
        let findings = self.0["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["id"] == id)?;
        Some((found["level"].as_str()?, found["found"].as_str()?))
    }

    fn level(&self, id: &str) -> Option<&str> {
        self.get(id).map(|(level, _)| level)
    }

    #[track_caller]
    fn expect(&self, id: &str, level: &str, part: &str) {
        let (is, found) = self
            .get(id)
            .unwrap_or_else(|| panic!("no {id}: {}", self.0));
        assert!(is == level && found.contains(part), "{id}: {is}: {found}");
    }
}

fn examine(place: &Place, words: &[&str]) -> (i32, Findings) {
    let finished = place.run(["doctor", "--json"].iter().chain(words));
    assert_eq!(finished.stderr, "", "{words:?}");
    (finished.code(), Findings::of(&finished))
}

/// The doctor's files in a directory.
fn left_in(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.contains("holdlock-doctor"))
        .collect()
}

/// The doctor's workers that look at paths below this one.
fn workers_of(path: &Path) -> Vec<i32> {
    let own = path.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let workers = processes.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        let is_one = line.contains("__doctor-worker") && line.contains(own);
        is_one.then(|| entry.file_name().to_str()?.parse().ok())?
    });
    workers.collect()
}

#[test]
fn locks_work_in_a_plain_directory_and_nothing_is_left() {
    let place = Place::new();
    let finished = place.run(["doctor", "./x.lock"]);
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
    for id in ["exclusion-flock", "exclusion-ofd", "identity", "create"] {
        let ok = |line: &str| line.split_whitespace().take(2).eq(["ok", id]);
        assert!(finished.text().lines().any(ok), "{id}: {}", finished.text());
    }
    assert!(finished.text().ends_with("Locks work here\n") || finished.text().contains("warning"));
    assert!(!finished.text().contains('\x1b'));
    assert_eq!(std::fs::read_dir(place.join(".")).unwrap().count(), 0);
}

#[test]
fn the_document_has_what_the_help_lists() {
    let place = Place::new();
    let (code, findings) = examine(&place, &["./x.lock"]);
    let document = &findings.0;
    assert_eq!((code, &document["version"]), (0, &1.into()));
    assert_eq!(document["safe"], true);
    assert_eq!(document["path"], place.join("x.lock").to_str().unwrap());
    for finding in document["findings"].as_array().unwrap() {
        let keys: Vec<_> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["found", "id", "level", "remedy"]);
        assert!(finding["remedy"].is_null() || finding["remedy"].is_string());
        let level = finding["level"].as_str().unwrap();
        assert!(["ok", "note", "warning"].contains(&level), "{finding}");
    }
}

#[test]
fn a_lock_file_is_neither_locked_nor_written_nor_waited_for() {
    let place = Place::new();
    std::fs::write(place.join("x.lock"), "mine").unwrap();
    let before = std::fs::metadata(place.join("x.lock")).unwrap();
    let holder = place.hold(&["./x.lock"]);
    let (code, findings) = examine(&place, &["./x.lock"]);
    assert_eq!((code, findings.level("lock-file")), (0, Some("ok")));
    drop(holder);
    let after = std::fs::metadata(place.join("x.lock")).unwrap();
    let of = |found: &std::fs::Metadata| (found.ino(), found.mtime_nsec(), found.ctime_nsec());
    assert_eq!(of(&before), of(&after));
    assert_eq!(std::fs::read(place.join("x.lock")).unwrap(), b"mine");
}

#[test]
fn names_and_directories_are_examined_and_not_made() {
    let place = Place::new();
    let (code, findings) = examine(&place, &["backup"]);
    assert_eq!(code, 0);
    findings.expect("lock-directory", "ok", "will be created");
    assert!(!place.locks().exists());
    assert_eq!(place.run(["run", "backup", "true"]).code(), 0);
    let (code, findings) = examine(&place, &["backup"]);
    assert_eq!((code, findings.level("lock-file")), (0, Some("ok")));
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.locks(), open).unwrap();
    let (code, findings) = examine(&place, &["backup"]);
    assert_eq!(code, 1);
    findings.expect("directory", "unsafe", "other users can write");
    let (code, findings) = examine(&place, &["./"]);
    assert_eq!((code, findings.level("lock-file")), (0, None));
}

#[test]
fn a_missing_directory_is_a_finding_with_a_remedy() {
    let place = Place::new();
    for path in ["./no/x.lock", "./no/"] {
        let (code, findings) = examine(&place, &[path]);
        assert_eq!(code, 1);
        findings.expect("directory", "unsafe", "does not exist");
    }
    let finished = place.run(["doctor", "./no/x.lock"]);
    assert!(finished.text().contains("-> create it: mkdir -p /"));
    assert!(
        finished
            .text()
            .contains("Locks are not safe here: 1 reason")
    );
    std::fs::write(place.join("file"), "").unwrap();
    let (code, findings) = examine(&place, &["./file/x.lock"]);
    assert_eq!(code, 1);
    findings.expect("directory", "unsafe", "Not a directory");
}

#[test]
fn a_lock_file_that_is_no_plain_file_is_reported() {
    let place = Place::new();
    symlink("there", place.join("link")).unwrap();
    let (code, findings) = examine(&place, &["./link"]);
    assert_eq!(code, 1);
    findings.expect("lock-file", "unsafe", "broken symbolic link");
    std::fs::write(place.join("there"), "").unwrap();
    let (code, findings) = examine(&place, &["./link"]);
    assert_eq!(code, 1);
    findings.expect("lock-file", "unsafe", "symbolic link to there");
    let made = place.command("mkfifo").arg("fifo").status().unwrap();
    assert!(made.success());
    let (code, findings) = examine(&place, &["./fifo"]);
    assert_eq!(code, 0);
    findings.expect("lock-file", "warning", "FIFO");
    std::fs::hard_link(place.join("there"), place.join("other")).unwrap();
    let (_, findings) = examine(&place, &["./there"]);
    findings.expect("hard-links", "note", "2 names");
}

#[test]
fn a_lease_is_named() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let _lease = python(&place, "lease", "x");
    let (code, findings) = examine(&place, &["./x"]);
    assert_eq!(code, 0);
    findings.expect("lock-file", "warning", "another program has a lease on it");
}

#[test]
fn a_directory_from_which_anybody_can_remove_is_a_warning() {
    let place = Place::new();
    std::fs::create_dir(place.join("open")).unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(place.join("open"), mode(0o777)).unwrap();
    let (code, findings) = examine(&place, &["./open/x.lock"]);
    assert_eq!((code, findings.level("removal")), (0, Some("warning")));
    std::fs::set_permissions(place.join("open"), mode(0o1777)).unwrap();
    let (_, findings) = examine(&place, &["./open/x.lock"]);
    assert_eq!(findings.level("removal"), None);
    findings.expect(
        "sticky",
        "note",
        "another user can create the lock file first",
    );
}

/// A directory in which every user can create, removed at the test's end.
struct Shared(PathBuf);

impl Shared {
    fn new() -> Shared {
        let name = format!("holdlock-tests-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Shared(path)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As user 65534, in a directory of its own below /tmp: others need to reach it.
fn as_nobody(directory: &Path, path: &str) -> Findings {
    let program = directory.join("holdlock");
    // By another process: a file that is open for writing in ours cannot be executed, and
    // children of other tests inherit it for a moment.
    let mut copy = Command::new("cp");
    // A worker of the last one may still run.
    copy.arg("-f")
        .arg(env!("CARGO_BIN_EXE_holdlock"))
        .arg(&program);
    assert!(copy.status().unwrap().success());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["doctor", "--json", path])
        .current_dir(directory);
    let output = command.output().unwrap();
    let document = serde_json::from_slice(&output.stdout);
    Findings(document.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

#[test]
fn what_another_user_may_not_is_found_by_that_user() {
    let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if !is_root() || !has_setpriv {
        return skipped("needs root and setpriv");
    }
    let shared = Shared::new();
    let directory = &shared.0;
    let mode = |name: &str, mode| {
        let path = directory.join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o1777);
    for (name, bits) in [("shared", 0o644), ("private", 0o600)] {
        std::fs::write(directory.join(name), "").unwrap();
        mode(name, bits);
    }
    std::fs::create_dir(directory.join("closed")).unwrap();
    mode("closed", 0o755);
    let open = as_nobody(directory, "./shared");
    open.expect("lock-file", "ok", "can open");
    open.expect("sticky", "note", "belongs to user 0");
    assert_eq!(open.0["safe"], true);
    let private = as_nobody(directory, "./private");
    private.expect("lock-file", "unsafe", "cannot open");
    let closed = as_nobody(directory, "./closed/x.lock");
    closed.expect("create", "unsafe", "Permission denied");
    std::fs::write(directory.join("closed/there"), "").unwrap();
    let there = as_nobody(directory, "./closed/there");
    there.expect("create", "warning", "locks were not tried");
    assert_eq!(there.0["safe"], true);
}

/// Locks that exclude no process, by a library that replaces flock(2) of the C library.
#[test]
fn locks_that_do_nothing_are_found_out() {
    let place = Place::new();
    std::fs::write(place.join("f.c"), "int flock(int f, int o) { return 0; }").unwrap();
    let compiled = place
        .command("cc")
        .args(["-shared", "-fPIC", "-o", "f.so", "f.c"])
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        return skipped("needs cc");
    }
    let mut command = place.holdlock(["doctor", "--json", "./x.lock"]);
    command.env("LD_PRELOAD", place.join("f.so"));
    let finished = Running::start(command).finish();
    assert_eq!(finished.code(), 1);
    let findings = Findings::of(&finished);
    findings.expect("exclusion-flock", "unsafe", "at the same time");
    findings.expect("exclusion-ofd", "ok", "exclude");
    assert_eq!(left_in(&place.join("")), [""; 0]);
}

#[test]
fn wrong_usage_is_64() {
    let place = Place::new();
    for words in [
        &["doctor"][..],
        &["doctor", ""],
        &["doctor", "--timeout", "0", "./x"],
        &["doctor", "a", "b"],
        &["__doctor-worker"],
        &["__doctor-partner", "x", "y"],
    ] {
        assert_eq!(place.run(words).code(), 64, "{words:?}");
    }
}

#[test]
fn a_terminal_gets_colours_unless_it_wants_none() {
    let place = Place::new();
    let on_terminal = |prefix: &str| {
        let script = format!("script -qec '{prefix} \"$HOLDLOCK\" doctor ./' /dev/null");
        let finished = Running::start(place.shell(&script)).finish();
        String::from_utf8(finished.stdout).unwrap()
    };
    if Command::new("script").arg("--version").output().is_err() {
        return skipped("needs script(1)");
    }
    assert!(on_terminal("").contains("\x1b[32mok"));
    assert!(!on_terminal("NO_COLOR=1").contains('\x1b'));
}

#[test]
fn holders_are_named() {
    let place = Place::new();
    let path = place.join("x.lock");
    let open = |family| {
        let options = LockOptions::new().family(family);
        options.open(&path).expect("opens")
    };
    let us = format!("pid {}", std::process::id());
    let flock = open(Family::Flock);
    let held = flock.lock().expect("locked");
    let (code, findings) = examine(&place, &["./x.lock"]);
    findings.expect("holders", "note", &us);
    assert_eq!((code, findings.level("other-family")), (0, None));

    let other = open(Family::Ofd);
    let _also = other.lock().expect("locked");
    let (code, findings) = examine(&place, &["./x.lock"]);
    findings.expect("other-family", "warning", &us);
    assert_eq!(code, 0);

    std::fs::remove_file(&path).expect("removed");
    let (code, findings) = examine(&place, &["./x.lock"]);
    findings.expect("removed-holder", "unsafe", &us);
    assert_eq!(code, 1);
    drop(held);
}

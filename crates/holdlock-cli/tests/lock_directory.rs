//! Names of locks, `holdlock path`, and the directory behind them.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use support::{Place, Running};

#[test]
fn path_prints_and_creates_nothing() {
    let place = Place::new();
    let expected = format!("{}/backup.lock\n", place.locks().display());
    assert_eq!(place.run(["path", "backup"]).text(), expected);
    assert_eq!(place.run(["path", "./x/y"]).text(), "./x/y\n");
    let odd = OsStr::from_bytes(b"/tmp/\xff");
    assert_eq!(place.run([OsStr::new("path"), odd]).stdout, b"/tmp/\xff\n");
    assert!(!place.locks().exists());
    for words in [
        &["path"][..],
        &["path", ""],
        &["path", "."],
        &["path", "a", "b"],
    ] {
        assert_eq!(place.run(words).code(), 64, "{words:?}");
    }
}

#[test]
fn the_directory_does_not_depend_on_the_session() {
    let place = Place::new();
    let path = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = place.holdlock(["path", "backup"]);
        command.env_remove("HOLDLOCK_DIR");
        change(&mut command);
        Running::start(command).finish().text().to_owned()
    };
    let usual = path(&|_| {});
    assert!(
        usual.starts_with("/run/lock/holdlock") || usual.starts_with("/tmp/holdlock-"),
        "{usual}"
    );
    let cron = |command: &mut std::process::Command| {
        command.env_clear();
    };
    assert_eq!(path(&cron), usual);
    let empty = |command: &mut std::process::Command| {
        command.env("HOLDLOCK_DIR", "");
    };
    assert_eq!(path(&empty), usual);
    let session = |command: &mut std::process::Command| {
        command
            .env("XDG_RUNTIME_DIR", "/x")
            .env("HOME", "/y")
            .env("TMPDIR", "/z");
    };
    assert_eq!(path(&session), usual);
}

#[test]
fn the_directory_is_made_for_its_user_alone() {
    let place = Place::new();
    assert_eq!(place.run(["run", "L", "true"]).code(), 0);
    let mode = std::fs::metadata(place.locks())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert!(place.locks().join("L.lock").exists());
}

#[test]
fn a_directory_that_others_could_have_made_is_refused() {
    let refused = |prepare: &dyn Fn(&Place), why: &str| {
        let place = Place::new();
        prepare(&place);
        for words in [&["run", "L", "true"][..], &["demo", "--max-sleep", "1ms"]] {
            let finished = place.run(words);
            assert_eq!(finished.code(), 73, "{words:?}: {finished:?}");
            assert!(finished.stderr.contains(why), "{}", finished.stderr);
        }
    };
    let open_for = |mode| {
        move |place: &Place| {
            std::fs::create_dir(place.locks()).unwrap();
            std::fs::set_permissions(place.locks(), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    refused(&open_for(0o770), "other users can write");
    refused(&open_for(0o1777), "other users can write");
    refused(
        &|place| std::fs::write(place.locks(), "").unwrap(),
        "not a directory",
    );
    refused(
        &|place| {
            std::fs::create_dir(place.join("elsewhere")).unwrap();
            symlink(place.join("elsewhere"), place.locks()).unwrap();
        },
        "symbolic link",
    );
}

#[test]
fn a_relative_lock_directory_is_wrong_usage() {
    let place = Place::new();
    let mut command = place.holdlock(["path", "L"]);
    command.env("HOLDLOCK_DIR", "locks");
    assert_eq!(Running::start(command).finish().code(), 64);
}

//! Bare names under HOLDLOCK_ENGINE.

use std::path::Path;
use std::process::Command;

use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::{Running, STAY, holdlock, said, server};

/// The program in a directory of its own, with an engine for names.
fn with_engine(engine: &str, directory: &Path, words: &[&str]) -> Command {
    let mut command = holdlock(words);
    command
        .current_dir(directory)
        .env("HOLDLOCK_ENGINE", engine)
        .env("HOLDLOCK_DIR", directory.join("locks"));
    command
}

#[test]
fn a_name_is_a_lock_of_the_engine_and_a_path_never_is() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let place = tempfile::tempdir().expect("a directory");
    let url = server.url("named");
    let engine = url.split_once('#').expect("a name").0;
    let ask = |words: &[&str]| said(&mut with_engine(engine, place.path(), words));
    let mut command = with_engine(engine, place.path(), &["run", "named"]);
    let holder = Running::start(command.args(STAY));
    // The same lock by its URL, and by its name.
    assert_eq!(crate::run(&["-n", &url, "--", "true"]).0, Some(75));
    let (code, _, errors) = ask(&["run", "-n", "named", "--", "true"]);
    assert_eq!(code, Some(75), "{errors}");
    assert!(
        errors.contains("/postgres#named: already locked"),
        "{errors}"
    );
    let (code, shown, errors) = ask(&["who", "named"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.contains(&holder.pid().to_string()), "{shown}");
    let (code, shown, errors) = ask(&["list", "named"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.contains(&holder.pid().to_string()), "{shown}");
    assert_eq!(ask(&["wait", "-w", "0", "named"]).0, Some(75));
    assert_eq!(ask(&["doctor", "named"]).0, Some(0));
    // Paths are files, and nothing else is a file.
    assert_eq!(ask(&["run", "-n", "./named", "--", "true"]).0, Some(0));
    assert!(place.path().join("named").is_file() && !place.path().join("locks").exists());
    for words in [
        &["path", "named"][..],
        &["graph", "named"],
        &["demo", "named"],
    ] {
        let (code, _, errors) = ask(words);
        assert_eq!(code, Some(64), "{words:?}: {errors}");
        assert!(errors.contains("HOLDLOCK_ENGINE"), "{words:?}: {errors}");
    }
    assert_eq!(ask(&["run", "--system", "named", "--", "true"]).0, Some(64));
    holder.end();
}

#[test]
fn an_engine_that_is_no_url_of_one_is_an_error_and_an_empty_one_is_none() {
    let place = tempfile::tempdir().expect("a directory");
    for engine in [
        "db.example",
        "postgres://u:hidden@h/d#n",
        "what://u:hidden@h/d",
    ] {
        let mut command = with_engine(engine, place.path(), &["run", "x", "--", "true"]);
        let (code, _, errors) = said(&mut command);
        assert_eq!(code, Some(64), "{engine}: {errors}");
        assert!(errors.contains("HOLDLOCK_ENGINE"), "{engine}: {errors}");
        assert!(!errors.contains("hidden"), "{engine}: {errors}");
    }
    let (code, _, errors) = said(&mut with_engine(
        "",
        place.path(),
        &["run", "x", "--", "true"],
    ));
    assert_eq!(code, Some(0), "{errors}");
    assert!(place.path().join("locks/x.lock").is_file());
}

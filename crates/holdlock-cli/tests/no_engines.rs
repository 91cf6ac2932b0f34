//! The command without its feature `engines`. `cargo xtask test` builds and tests it.

#![cfg(not(feature = "engines"))]
#![allow(missing_docs, reason = "tests")]

use std::process::Command;

#[test]
fn urls_and_names_of_engines_are_refused() {
    let place = tempfile::tempdir().expect("a directory");
    for (word, engine) in [("postgres://h/d#n", ""), ("n", "postgres://h/d")] {
        for words in [
            &["run", word, "--", "true"][..],
            &["who", word],
            &["wait", word],
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_holdlock"));
            command.args(words).current_dir(place.path());
            command.env("HOLDLOCK_ENGINE", engine);
            command.env("HOLDLOCK_DIR", place.path().join("locks"));
            let output = command.output().expect("holdlock starts");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{words:?}: {errors}");
            let why = "was built without locks between hosts; build it without";
            assert!(errors.contains(why), "{words:?}: {errors}");
        }
    }
    assert!(!place.path().join("locks").exists());
}

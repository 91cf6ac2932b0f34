//! Standard output is a pipe without a reader, as after `| head`.

mod support;

use support::{Place, peers};

#[test]
fn output_without_a_reader_ends_silently() {
    let place = Place::new();
    let _holder = place.hold(&["L"]);
    std::fs::write(place.join("log"), "").unwrap();
    for words in [
        &["list"][..],
        &["list", "--json"],
        &["graph", "--all"],
        &["who", "L"],
        &["who", "--json", "L"],
        &["path", "L"],
        &["doctor", "./"],
        &["report", "log"],
        &["report", "--svg", "-", "log"],
        &["graph", "--svg", "-"],
        &["demo", "--rounds", "1", "--max-sleep", "1ms"],
        &["top", "--once"],
        &["torture", "--modes", "exclusive", "--for", "100ms"],
        &["completions", "bash"],
        &["--help"],
        &["run", "--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.holdlock(words);
        let output = command.stdout(writer).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(141), "{words:?}: {told}");
        // In a container a warning says that some locks are not shown.
        let is_quiet = told.is_empty() || peers::in_container() && !told.contains("output");
        assert!(is_quiet, "{words:?}: {told}");
    }
}

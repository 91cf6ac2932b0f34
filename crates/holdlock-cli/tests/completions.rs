//! `holdlock completions` and the manual pages, tried with the programs that read them.

mod support;

use support::peers::has;
use support::{Place, Running};

const NOTHING: [&str; 0] = [];

/// What bash offers for the last of these words.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    let script = r#"
        source <("$HOLDLOCK" completions bash) || exit 1
        COMP_WORDS=("$HOLDLOCK" "$@")
        COMP_CWORD=$#
        _holdlock_words "$HOLDLOCK" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = place.command("bash");
    command
        .args(["--norc", "--noprofile", "-c", script, "bash"])
        .args(words);
    let finished = Running::start(command).finish();
    assert_eq!(
        (finished.code(), finished.stderr.as_str()),
        (0, ""),
        "{words:?}"
    );
    let lines = finished.text().lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[test]
fn bash_offers_what_can_follow() {
    if !has("bash") {
        return;
    }
    let place = Place::new();
    for name in ["backup", "bake", "nightly"] {
        assert_eq!(place.run(["run", name, "true"]).code(), 0);
    }
    assert_eq!(offered(&place, &["de"]), ["demo"]);
    assert_eq!(offered(&place, &["do"]), ["doctor"]);
    assert_eq!(offered(&place, &["run", "--no-w"]), ["--no-wait"]);
    assert_eq!(offered(&place, &["run", "b"]), ["backup", "bake"]);
    assert_eq!(
        offered(&place, &["run", "-n", "-w", "5", "ni"]),
        ["nightly"]
    );
    assert_eq!(offered(&place, &["run", "-w", "b"]), NOTHING);
    assert_eq!(offered(&place, &["who", "ni"]), ["nightly"]);
    assert_eq!(offered(&place, &["graph", "bake", "b"]), ["backup", "bake"]);
    assert_eq!(offered(&place, &["who", "--sig"]), ["--signal"]);
    for words in [&["run", "L", "holdlo-"][..], &["run", "L", "--", "holdlo-"]] {
        assert_eq!(offered(&place, words), NOTHING, "{words:?}");
    }
    let commands = offered(&place, &["run", "-E", "3", "L", "--", "bas"]);
    assert!(commands.iter().any(|word| word == "bash"), "{commands:?}");
    // Options after COMMAND are COMMAND's.
    assert_eq!(offered(&place, &["run", "L", "ls", "--no-w"]), NOTHING);
    assert!(offered(&place, &["completions", ""]).contains(&"fish".to_owned()));
}

#[test]
fn every_shell_can_read_its_completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let finished = place.run(["completions", shell]);
        assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
        std::fs::write(place.join(shell), &finished.stdout).unwrap();
        if !has(shell) {
            continue;
        }
        let mut check = place.command(shell);
        check.args(["-n", shell]);
        let checked = Running::start(check).finish();
        assert_eq!(
            (checked.code(), checked.stderr.as_str()),
            (0, ""),
            "{shell}"
        );
    }
    assert_eq!(place.run(["completions", "tcsh"]).code(), 64);
    assert_eq!(place.run(["completions"]).code(), 64);
}

#[test]
fn manual_pages_have_no_mistakes_and_tell_the_exit_codes() {
    let place = Place::new();
    let pages = place.join("man");
    assert_eq!(place.run(["man", "man"]).code(), 0);
    let groff = has("groff");
    let names = [
        "holdlock",
        "holdlock-run",
        "holdlock-demo",
        "holdlock-path",
        "holdlock-doctor",
        "holdlock-top",
        "holdlock-who",
        "holdlock-list",
        "holdlock-graph",
    ];
    for name in names {
        let file = pages.join(format!("{name}.1"));
        let page = std::fs::read_to_string(&file).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
        assert!(page.contains(".SH EXAMPLES") || name == "holdlock-path");
        assert!(page.contains(".SH \"EXIT STATUS\"") || name == "holdlock");
        if groff {
            let mut groff = place.command("groff");
            groff.args(["-man", "-Tutf8", "-ww"]).arg(&file);
            let finished = Running::start(groff).finish();
            assert_eq!(
                (finished.code(), finished.stderr.as_str()),
                (0, ""),
                "{name}"
            );
        }
    }
    std::fs::write(place.join("file"), "").unwrap();
    assert_eq!(place.run(["man", "file"]).code(), 73);
}

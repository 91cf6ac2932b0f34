//! `holdlock completions` and the manual pages, tested with the programs that read them.

mod support;

use support::peers::has;
use support::terminal::Terminal;
use support::{Place, Running};

const NOTHING: [&str; 0] = [];

/// The words that bash offers for the last of these words.
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
    lines.map(|line| line.trim_end().to_owned()).collect()
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
    for subcommand in ["list", "doctor", "demo", "path"] {
        assert_eq!(
            offered(&place, &[subcommand, "ni"]),
            ["nightly"],
            "{subcommand}"
        );
    }
    assert_eq!(offered(&place, &["run", "--lock", "ni"]), ["nightly"]);
    std::fs::create_dir(place.join("night")).unwrap();
    assert_eq!(offered(&place, &["who", "ni"]), ["nightly", "night/"]);
    // After a slash there are only files, which bash offers by itself.
    for words in [
        &["who", "./ni"][..],
        &["run", "./"],
        &["doctor", "./"],
        &["list", "/"],
    ] {
        assert_eq!(offered(&place, words), NOTHING, "{words:?}");
    }
    assert_eq!(offered(&place, &["who", "--signal", "K"]), ["KILL"]);
    assert_eq!(offered(&place, &["who", "--signal", "=", "K"]), ["KILL"]);
    assert!(!offered(&place, &["list", "--pid", "ni"]).contains(&"nightly".to_owned()));
    for words in [&["run", "L", "holdlo-"][..], &["run", "L", "--", "holdlo-"]] {
        assert_eq!(offered(&place, words), NOTHING, "{words:?}");
    }
    let commands = offered(&place, &["run", "-E", "3", "L", "--", "bas"]);
    assert!(commands.iter().any(|word| word == "bash"), "{commands:?}");
    // Options after COMMAND are COMMAND's.
    assert_eq!(offered(&place, &["run", "L", "ls", "--no-w"]), NOTHING);
    assert!(offered(&place, &["completions", ""]).contains(&"fish".to_owned()));
}

/// The text at the prompt of a shell at a terminal after Tab.
fn expect_at_prompt(place: &Place, shell: &str, typed: &str, completed: &str) {
    let mut terminal = Terminal::start(place, &format!("TERM=dumb {shell}"));
    terminal.expect("ready> ");
    terminal.press(&format!("{typed}\t"));
    terminal.expect(completed);
}

#[test]
fn at_the_prompt_names_paths_signals_and_commands_are_completed() {
    let place = Place::new();
    assert_eq!(place.run(["run", "nightly", "true"]).code(), 0);
    std::fs::create_dir(place.join("sources")).unwrap();
    // The directory of the program may have other programs whose names begin with its name.
    std::fs::create_dir(place.join("bin")).unwrap();
    let program = env!("CARGO_BIN_EXE_holdlock");
    std::os::unix::fs::symlink(program, place.join("bin/holdlock")).unwrap();
    let path = format!("PATH={}:$PATH", place.join("bin").display());
    let script = |shell| format!("{path}\nPS1='ready> '\nsource <(holdlock completions {shell})\n");
    std::fs::write(place.join("bashrc"), script("bash")).unwrap();
    let zshrc = "autoload -Uz compinit; compinit -u -D\n".to_owned() + &script("zsh");
    std::fs::write(place.join(".zshrc"), zshrc).unwrap();
    for (shell, start) in [
        ("bash", "exec bash --noprofile --rcfile bashrc -i"),
        ("zsh", "ZDOTDIR=. exec zsh -d -i"),
    ] {
        if !has(shell) {
            continue;
        }
        for (typed, completed) in [
            ("who ni", "who nightly "),
            ("doctor ni", "doctor nightly "),
            ("path ni", "path nightly "),
            ("who ./sou", "who ./sources/"),
            ("who --signal KI", "who --signal KILL "),
            ("run -w 5 ni", "run -w 5 nightly "),
            ("run --lock ni", "run --lock nightly "),
            ("run nightly -- holdloc", "run nightly -- holdlock"),
            ("run --lock nightly holdloc", "run --lock nightly holdlock"),
            ("run --no-w", "run --no-wait "),
        ] {
            let line = format!("holdlock {typed}");
            expect_at_prompt(&place, start, &line, completed);
        }
    }
}

#[test]
fn fish_offers_names_signals_and_commands() {
    if !has("fish") {
        return;
    }
    let place = Place::new();
    assert_eq!(place.run(["run", "nightly", "true"]).code(), 0);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_holdlock"));
    let directory = program.parent().unwrap().display();
    let offered = |line: &str| {
        let script = format!(
            "set -x PATH {directory} $PATH; source (holdlock completions fish | psub); \
             complete -C 'holdlock {line}'"
        );
        let mut fish = place.command("fish");
        fish.args(["--no-config", "-c", &script]);
        let finished = Running::start(fish).finish();
        assert_eq!(finished.code(), 0, "{line}: {finished:?}");
        finished.text().to_owned()
    };
    for line in [
        "who ni",
        "doctor ni",
        "path ni",
        "run ni",
        "run -w 5 ni",
        "run --lock ni",
    ] {
        assert!(
            offered(line).contains("nightly"),
            "{line}: {}",
            offered(line)
        );
    }
    assert!(offered("who --signal ").contains("KILL"));
    for line in [
        "run L holdloc",
        "run L -- holdloc",
        "run --lock L holdloc",
        "run -n L holdloc",
    ] {
        let told = offered(line);
        assert!(
            told.starts_with("holdlock\t") && !told.contains("nightly"),
            "{line}: {told}"
        );
    }
    assert!(offered("run L holdlock who ni").contains("nightly"));
    // Options after LOCK are COMMAND's.
    assert!(offered("run --no-w").contains("--no-wait"));
    assert!(!offered("run L ls --no-w").contains("--no-wait"));
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
        "holdlock-torture",
        "holdlock-who",
        "holdlock-list",
        "holdlock-graph",
        "holdlock-report",
        "holdlock-completions",
        "holdlock-man",
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

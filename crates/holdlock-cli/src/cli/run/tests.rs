//! The command line of `holdlock run`.

use super::*;

fn parsed(words: &[&str]) -> Result<Settings, Failure> {
    parse(words.iter().map(Into::into))
}

#[test]
fn the_parser_is_consistent() {
    command().debug_assert();
}

#[test]
fn options_end_at_the_lock() {
    let settings = parsed(&["-s", "-E", "3", "L", "cmd", "-n", "--", "-E", "--help"]).unwrap();
    assert_eq!((settings.mode, settings.conflict), (Mode::Shared, 3));
    assert_eq!(settings.locks, ["L"]);
    assert_eq!(settings.program, "cmd");
    assert_eq!(settings.arguments, ["-n", "--", "-E", "--help"]);
    assert!(matches!(settings.patience, Patience::Endless));
}

#[test]
fn one_double_dash_after_the_lock_is_dropped() {
    let settings = parsed(&["L", "--", "--", "x"]).unwrap();
    assert_eq!(settings.program, "--");
    assert_eq!(settings.arguments, ["x"]);
    let settings = parsed(&["--", "-L", "--", "x"]).unwrap();
    assert_eq!(settings.locks, ["-L"]);
    assert_eq!(settings.program, "x");
}

#[test]
fn with_lock_options_all_words_are_the_command() {
    for words in [
        &["--lock", "a", "--lock=b", "x", "--lock"][..],
        &["--lock", "a", "--lock=b", "--", "x", "--lock"],
    ] {
        let settings = parsed(words).unwrap();
        assert_eq!(settings.locks, ["a", "b"]);
        assert_eq!(settings.program, "x");
        assert_eq!(settings.arguments, ["--lock"]);
    }
}

#[test]
fn skip_does_not_wait_unless_told_to() {
    let settings = parsed(&["--skip", "L", "x"]).unwrap();
    assert!(matches!(settings.patience, Patience::None));
    assert!(settings.quiet && settings.conflict == 0);
    let settings = parsed(&["--skip", "-w", "3", "L", "x"]).unwrap();
    assert!(matches!(settings.patience, Patience::For(limit) if limit.as_secs() == 3));
}

#[test]
fn a_command_that_holds_too_long_has_ten_seconds_to_end() {
    let settings = parsed(&["--max-hold", "2m", "--tree", "L", "x"]).unwrap();
    let duties = Duties {
        max_hold: Some(Duration::from_secs(120)),
        kill_after: Duration::from_secs(10),
        tree: true,
    };
    assert_eq!(settings.keep, Keep::Supervised(duties));
}

#[test]
fn misuse_is_a_usage_error_with_a_reason() {
    for (words, reason) in [
        (&[][..], "no LOCK"),
        (&["L"], "no COMMAND"),
        (&["L", "--"], "no COMMAND"),
        (&["--lock", "L"], "no COMMAND"),
        (&["-x", "L", "true"], "-x"),
        (&["-w", "-1", "L", "true"], "negative"),
        (&["-w", "", "L", "true"], "empty"),
        (&["-w", "nan", "L", "true"], "not a duration"),
        (&["--max-hold", "soon", "L", "true"], "not a duration"),
        (&["--max-hold", "0", "L", "true"], "some time"),
        (&["-E", "256", "L", "true"], "256"),
        (&["-E", "-1", "L", "true"], "-1"),
        (&["-n", "-w", "1", "L", "true"], "cannot be used with"),
        (&["--skip", "-E", "1", "L", "true"], "cannot be used with"),
        (&["--exec", "--tree", "L", "true"], "cannot be used with"),
        (
            &["--exec", "--log", "x", "L", "true"],
            "cannot be used with",
        ),
        (&["--kill-after", "1", "L", "true"], "--max-hold"),
        (&["--exec", "--close", "L", "true"], "cannot be used with"),
        (&["--progress", "maybe", "L", "true"], "maybe"),
    ] {
        let Err(failure) = parsed(words) else {
            panic!("{words:?} was accepted")
        };
        assert_eq!(failure.code, crate::exit::USAGE, "{words:?}");
        let said = failure.message + &failure.more;
        assert!(said.contains(reason), "{words:?}: {said}");
    }
}

#[test]
fn of_an_option_that_is_given_twice_the_last_one_counts() {
    let settings = parsed(&["-w", "1", "-n", "-n", "L", "x"]);
    assert!(settings.is_err(), "these two exclude each other");
    let settings = parsed(&["-E", "1", "-E", "2", "-w", "5", "-w", "1s", "L", "x"]).unwrap();
    assert_eq!(settings.conflict, 2);
    assert!(matches!(settings.patience, Patience::For(limit) if limit.as_secs() == 1));
    let settings = parsed(&["--lock", "a", "--lock", "b", "x"]).unwrap();
    assert_eq!(settings.locks, ["a", "b"], "each of these counts");
}

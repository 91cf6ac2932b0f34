//! `holdlock completions`: the completions for shells, made from the definitions of the help.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

use crate::exit::{self, Failure, Outcome};
use crate::show::output;

const AFTER: &str = "\
Completes subcommands, options, names of locks, paths, signals, and COMMAND as at the
prompt. The shells look for completions in:
  bash  ~/.local/share/bash-completion/completions/holdlock
  zsh   _holdlock, in a directory of $fpath
  fish  ~/.config/fish/completions/holdlock.fish

Exit codes: 0 printed, 64 unknown shell, 71 cannot write.

Examples:
  source <(holdlock completions bash)   for this shell only
  holdlock completions fish > ~/.config/fish/completions/holdlock.fish";

/// Our additions to the scripts of clap: the names of locks, signals, and the command line of
/// COMMAND.
const BASH: &str = include_str!("completions.bash");
const ZSH: &str = include_str!("completions.zsh");
const FISH: &str = include_str!("completions.fish");

/// The signals for `--signal`, the usual ones first.
const SIGNALS: &str = "TERM INT HUP KILL QUIT USR1 USR2 STOP CONT";

pub(super) fn command() -> Command {
    Command::new("completions")
        .bin_name("holdlock completions")
        .about("Print the completions for a shell")
        .after_help(AFTER)
        .arg(
            Arg::new("SHELL")
                .required(true)
                .value_parser(PossibleValuesParser::new(["bash", "zsh", "fish"]))
                .help("The shell"),
        )
}

/// Parses the words after `completions`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Shell, Failure> {
    let mut matches = super::matches(command(), words)?;
    let shell: String = matches.remove_one("SHELL").expect("clap requires it");
    Ok(match shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        _ => Shell::Fish,
    })
}

/// Prints them.
pub(crate) fn print(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), "holdlock", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    output::print(&match shell {
        Shell::Bash => script + &filled(BASH, "|"),
        Shell::Zsh => for_zsh(&script),
        _ => for_fish(&script),
    })?;
    Ok(exit::SUCCESS)
}

/// Fills the placeholders in one of our additions: the options of `run` that take a value, and the
/// subcommands that take a LOCK with their options that take a value.
fn filled(part: &str, between: &str) -> String {
    part.replace("VALUED", &options_with_values().join(between))
        .replace("LOCKS", &with_locks().join(between))
        .replace("OPTIONS", &options_of_locks().join(" "))
        .replace("SIGNALS", SIGNALS)
}

/// Inserts our addition before the last lines, which call the function.
fn for_zsh(script: &str) -> String {
    let mut whole = String::new();
    let mut in_run = false;
    for line in script.lines() {
        if line.ends_with(')') && line.starts_with('(') {
            in_run = line == "(run)";
        }
        if line.starts_with("if [ \"$funcstack[1]\"") {
            whole += &filled(ZSH, "|");
            whole.push('\n');
        }
        let is_lock = |name: &str| {
            line.contains(&format!(":{name}:")) || line.contains(&format!(":{name} -- "))
        };
        let action = |action: &str| {
            let (before, _) = line.rsplit_once(':').unwrap_or((line, ""));
            format!("{before}:{action}' \\\n")
        };
        if in_run && line.starts_with("_arguments ") {
            // Options after LOCK are COMMAND's.
            whole += &line.replace(" : ", " -A \"-*\" : ");
            whole.push('\n');
        } else if in_run && line.contains(":words:") {
            whole += "'*::words:_holdlock_run' \\\n";
        } else if in_run && line.starts_with("'::LOCK:") {
            // LOCK is the first of these words.
        } else if line.starts_with('\'') && is_lock("LOCK") {
            whole += &action("_holdlock_locks");
        } else if line.starts_with('\'') && is_lock("SIG") {
            whole += &action(&format!("({SIGNALS})"));
        } else {
            whole += line;
            whole.push('\n');
        }
    }
    whole
}

fn for_fish(script: &str) -> String {
    // Options after LOCK are COMMAND's.
    let run = "\"__fish_holdlock_using_subcommand run\"";
    let before = "\"__fish_holdlock_using_subcommand run; and not __fish_holdlock_in_command\"";
    script.replace(run, before) + &filled(FISH, " ")
}

/// The definitions for shells: `run` parses one list of words, which for users is a LOCK and a
/// command line.
fn tree() -> Command {
    super::tree().mut_subcommand("run", |run| {
        let lock = Arg::new("LOCK").index(1).value_hint(ValueHint::AnyPath);
        run.mut_args(|arg| {
            if arg.is_positional() {
                arg.index(2)
                    .hide(false)
                    .value_hint(ValueHint::CommandWithArguments)
            } else {
                arg
            }
        })
        .arg(lock)
    })
}

/// The subcommands besides `run` that take a LOCK.
fn with_locks() -> Vec<String> {
    let tree = super::tree();
    let takes = |command: &&Command| command.get_positionals().any(|arg| arg.get_id() == "LOCK");
    let found = tree.get_subcommands().filter(takes);
    found.map(|command| command.get_name().to_owned()).collect()
}

/// The options of these that take the next word as their value.
fn options_of_locks() -> Vec<String> {
    let tree = super::tree();
    let found = with_locks();
    let commands = found.iter().filter_map(|name| tree.find_subcommand(name));
    let mut options: Vec<String> = commands.flat_map(valued).collect();
    options.sort_unstable();
    options.dedup();
    options
}

/// The options of `run` that take the next word as their value.
pub(crate) fn options_with_values() -> Vec<String> {
    valued(&super::run::command())
}

fn valued(command: &Command) -> Vec<String> {
    let options = command.get_arguments().filter(|arg| !arg.is_positional());
    let valued =
        options.filter(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set());
    let names = valued.flat_map(|arg| {
        let short = arg.get_short().map(|letter| format!("-{letter}"));
        let long = arg.get_long().map(|word| format!("--{word}"));
        short.into_iter().chain(long)
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_the_shells_is_consistent() {
        tree().debug_assert();
    }

    #[test]
    fn options_with_values_are_known_to_bash() {
        let valued = options_with_values();
        for name in ["-w", "--timeout", "-E", "--conflict-exit-code"] {
            assert!(valued.iter().any(|option| option == name), "{name}");
        }
        assert!(!valued.iter().any(|option| option == "--shared"));
    }

    #[test]
    fn subcommands_with_a_lock_and_signals_are_known() {
        let found = with_locks();
        for name in ["who", "list", "graph", "doctor", "demo", "path"] {
            assert!(found.iter().any(|known| known == name), "{name}");
        }
        for signal in SIGNALS.split(' ') {
            assert!(crate::who::signal_named(signal).is_ok(), "{signal}");
        }
    }
}

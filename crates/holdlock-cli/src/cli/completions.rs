//! `holdlock completions`: what shells complete, from the tree of the help.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

use crate::exit::{self, Failure, Outcome};
use crate::show::output::print_bytes;

const AFTER: &str = "\
Where shells look for them:
  bash  ~/.local/share/bash-completion/completions/holdlock
  zsh   _holdlock, in a directory of $fpath
  fish  ~/.config/fish/completions/holdlock.fish

Exit codes: 0 printed, 64 no such shell, 71 cannot write.

Examples:
  source <(holdlock completions bash)   for this shell only
  holdlock completions fish > ~/.config/fish/completions/holdlock.fish";

/// Added to what clap makes for bash, which knows nothing of a command line within ours.
const BASH: &str = include_str!("completions.bash");

pub(super) fn command() -> Command {
    Command::new("completions")
        .bin_name("holdlock completions")
        .about("Print the completions for a shell")
        .after_help(AFTER)
        .arg(
            Arg::new("SHELL")
                .required(true)
                .value_parser(PossibleValuesParser::new(["bash", "zsh", "fish"]))
                .help("Whose completions"),
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
    if shell == Shell::Bash {
        let valued = options_with_values().join("|");
        script.extend(BASH.replace("VALUED", &valued).bytes());
    }
    print_bytes(&script)?;
    Ok(exit::SUCCESS)
}

/// The tree as shells should see it: the one list of words that `run` parses is, to
/// whoever types it, a LOCK and a command line.
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

/// The options of `run` that take the next word as their value.
pub(crate) fn options_with_values() -> Vec<String> {
    let command = super::run::command();
    let options = command.get_arguments().filter(|arg| !arg.is_positional());
    let valued = options.filter(|arg| arg.get_action().takes_values());
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
}

//! `holdlock flock` in the list of subcommands: `crate::flock` reads its words itself, as flock(1)
//! does.

use std::ffi::OsString;

use clap::{Arg, Command, ValueHint, value_parser};

use crate::flock::HELP;

pub(super) fn command() -> Command {
    // "Usage:" and "Options:" are clap's own headings; manual pages leave out the text below them.
    let help = HELP
        .trim()
        .replace("Usage:", "Forms:")
        .replace("Options:", "Options of flock(1):");
    Command::new("flock")
        .bin_name("holdlock flock")
        .about("Work as flock(1) of util-linux, for scripts that call it")
        .override_usage("holdlock flock [OPTIONS] FILE COMMAND [ARG]...")
        .disable_help_flag(true)
        .help_template("{about}\n\n{usage-heading} {usage}{after-help}")
        .after_help(help)
        .args([
            Arg::new("FILE")
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString)),
            Arg::new("COMMAND")
                .num_args(1..)
                .trailing_var_arg(true)
                .value_hint(ValueHint::CommandWithArguments)
                .value_parser(value_parser!(OsString)),
        ])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parser_is_consistent() {
        super::command().debug_assert();
    }
}

//! The abilities of standard output.

use std::ffi::OsString;
use std::io::IsTerminal;

/// The number of columns of the terminal. None if standard output is not a terminal, or if the
/// terminal does not know the number.
pub(crate) fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    Some(size.ws_col.into()).filter(|columns| *columns > 0)
}

/// Whether colour is wanted and understood: <https://no-color.org>.
pub(crate) fn has_colour() -> bool {
    std::io::stdout().is_terminal()
        && set("NO_COLOR").is_none()
        && set("TERM").is_some_and(|term| term != "dumb")
}

/// A text in a style of the terminal (`1;31` is bold and red), if colour is wanted.
pub(crate) fn painted(text: &str, manner: &str, colour: bool) -> String {
    if colour {
        format!("\x1b[{manner}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Whether the locale's character set has more than ASCII.
pub(crate) fn has_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    locale.is_some_and(is_utf8)
}

fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn is_utf8(locale: OsString) -> bool {
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_is_recognised_in_every_spelling() {
        assert!(is_utf8("de_DE.UTF-8".into()) && is_utf8("C.utf8".into()));
        assert!(!is_utf8("C".into()));
    }
}

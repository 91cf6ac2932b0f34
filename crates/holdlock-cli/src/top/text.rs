//! Escapes text from other programs, formats ages, and replaces characters by ASCII.

use std::ffi::OsStr;
use std::time::Duration;

use holdlock::inspect;

/// Escapes a name: a process or a file may have any name.
pub(super) fn clean(text: &(impl AsRef<OsStr> + ?Sized)) -> String {
    inspect::printable(text).to_string()
}

/// `12s`, `3m05s`, `2h05m`, `4d02h`
pub(super) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// The replacement of a character on a terminal that shows only ASCII.
pub(super) fn ascii(symbol: &str) -> &str {
    match symbol {
        "…" | "~" => "~",
        "≥" => ">",
        "│" => "|",
        "├" => "+",
        "└" => "`",
        "─" | "–" => "-",
        "▲" => "^",
        "▼" => "v",
        "·" => "|",
        _ if symbol.is_ascii() => symbol,
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_take_six_columns() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (65, "1m05s"),
            (3599, "59m59s"),
            (7500, "2h05m"),
            (180_000, "2d02h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}

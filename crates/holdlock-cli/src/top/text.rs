//! Text that may come from anybody, made fit for a place in a row.

use std::ffi::OsStr;
use std::time::Duration;

use holdlock::inspect;
use ratatui_core::text::Span;

/// A process and a file may be called anything.
pub(super) fn clean(text: &(impl AsRef<OsStr> + ?Sized)) -> String {
    inspect::printable(text).to_string()
}

/// How many columns it takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The beginning, where it is too long.
pub(super) fn head(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if width(&short) >= room {
            short.pop();
            break;
        }
    }
    if room > 0 {
        short.push('…');
    }
    short
}

/// The end, where it is too long: of a path that is the part that tells.
pub(super) fn tail(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut starts = text.char_indices().map(|(at, _)| at);
    let fitting = starts.find(|at| width(&text[*at..]) < room);
    match fitting {
        Some(at) => format!("…{}", &text[at..]),
        None if room > 0 => "…".to_owned(),
        None => String::new(),
    }
}

/// A command line with the program's name alone, for where room is scarce.
pub(super) fn brief(command: &str) -> &str {
    let end = command.find(' ').unwrap_or(command.len());
    match command[..end].rfind('/') {
        // It may end in a slash, or be no path at all.
        Some(at) if at + 1 < end => &command[at + 1..],
        _ => command,
    }
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

/// What stands for a character where a terminal shows ASCII only.
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
    fn long_text_is_cut_at_either_end() {
        assert_eq!(
            (head("abcdef", 4), tail("abcdef", 4)),
            ("abc…".into(), "…def".into())
        );
        assert_eq!(
            (head("äöü", 3), tail("äöü", 3)),
            ("äöü".into(), "äöü".into())
        );
        // Two columns each.
        assert_eq!(
            (head("漢字漢字", 4), tail("漢字漢字", 4)),
            ("漢…".into(), "…字".into())
        );
        for room in 0..5 {
            assert!(width(&head("漢字漢字", room)) <= room);
            assert!(width(&tail("漢字漢字", room)) <= room);
        }
    }

    #[test]
    fn brief_commands_begin_with_the_name() {
        assert_eq!(brief("/usr/bin/make -C /src all"), "make -C /src all");
        for command in ["make /src", "", "/", "/a/ b", "?"] {
            assert_eq!(brief(command), command);
        }
    }

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

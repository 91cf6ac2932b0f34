//! The view that explains the keys.

use super::{Row, Theme, plain};

const KEYS: [(&str, &str); 16] = [
    ("Up Down", "choose a lock; scroll"),
    ("PgUp PgDn", "a page at a time"),
    ("Home End", "to the first, to the last"),
    (
        "Enter",
        "the queue: the holders, and the waiters in their order",
    ),
    ("g", "which process waits for which, and deadlocks"),
    (
        "k",
        "send a signal to the holder; asks which signal, and whether to send it",
    ),
    ("Esc", "back; end the filter; quit"),
    ("< >", "sort by the column before or after"),
    ("r", "reverse the order"),
    (
        "/",
        "show only locks with this text in path, command, user or pid",
    ),
    ("w", "show only locks with waiters"),
    ("Space", "pause, continue"),
    ("+ -", "look more often, less often"),
    ("d", "the next longer interval, then the shortest"),
    ("Ctrl-L", "draw everything again"),
    ("q Ctrl-C", "quit"),
];

const NOTES: [&str; 6] = [
    "LONGEST  how long top has seen the longest wait. The kernel does not record",
    "         when a wait began.",
    "LOCK     flock, posix, ofd or lease; ex: exclusive, sh: shared.",
    "HELD     several processes may hold one lock: a child that inherits the open file",
    "         holds it, too. The lock is free when the last of them releases it.",
    "Only root sees the paths of other users' files.",
];

pub(super) fn lines(theme: Theme) -> Vec<Row> {
    let mut lines = vec![vec![("Keys".to_owned(), theme.title())]];
    for (keys, text) in KEYS {
        lines.push(plain(format!("  {keys:<12} {text}")));
    }
    lines.push(plain(""));
    lines.extend(NOTES.map(plain));
    lines
}

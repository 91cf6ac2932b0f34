//! What the keys do.

use super::{Row, Theme, plain};

const KEYS: [(&str, &str); 15] = [
    ("Up Down k j", "choose a lock; scroll"),
    ("PgUp PgDn", "a page at a time"),
    ("Home End", "to the first, to the last"),
    ("Enter", "the queue: who holds, who waits in which order"),
    ("g", "who waits for whom, and deadlocks"),
    ("Esc", "back; out of the filter; quit"),
    ("< >", "sort by the column before or after"),
    ("r", "sort the other way round"),
    (
        "/",
        "show only what has this text: path, command, user, pid",
    ),
    ("w", "show only locks for which somebody waits"),
    ("Space", "pause, go on"),
    ("+ -", "look more often, less often"),
    ("d", "the next longer interval, then the shortest"),
    ("Ctrl-L", "draw everything anew"),
    ("q Ctrl-C", "quit"),
];

const NOTES: [&str; 6] = [
    "LONGEST  for how long the longest wait is seen. When it began nobody can tell:",
    "         that was before, or between two looks.",
    "LOCK     flock, posix, ofd or lease; ex: exclusive, sh: shared.",
    "HELD     several rows may keep one lock: a child that inherits the open file",
    "         keeps it too, and it is free when the last of them lets go.",
    "Files of others have no path, unless root looks.",
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

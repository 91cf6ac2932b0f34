//! The table: one line for each lock.

use super::clock::{self, SECOND};
use super::entry::Entry;
use super::summary::{Lock, Spread};
use crate::show::table::{Side, Table};
use crate::show::terminal;
use crate::show::text::{count, printable};
use crate::show::width::head;

/// Commands are cut to this many characters.
const COMMAND: usize = 48;

/// The columns, and the headings of groups above them.
const GROUPS: [&str; 10] = ["", "", "", "waited", "", "", "held", "", "", ""];
const HEADS: [&str; 10] = [
    "lock",
    "runs",
    "conflicts",
    "median",
    "p95",
    "longest",
    "median",
    "p95",
    "longest",
    "longest command",
];

/// The whole table. There is at least one entry.
pub(super) fn draw(entries: &[Entry], locks: &[Lock<'_>]) -> String {
    let mut table = Table::default();
    for (number, heading) in HEADS.iter().enumerate() {
        let is_text = number == 0 || number == HEADS.len() - 1;
        table.column(heading, if is_text { Side::Left } else { Side::Right });
    }
    table.row(GROUPS.map(str::to_owned).into());
    table.row(HEADS.map(str::to_owned).into());
    for lock in locks {
        table.row(row(lock));
    }
    let table = table.draw(false, terminal::width());
    format!("{}\n{table}", introduction(entries, locks))
}

fn introduction(entries: &[Entry], locks: &[Lock<'_>]) -> String {
    let first = entries.iter().map(|entry| entry.start).min().unwrap_or(0);
    let last = entries.iter().map(Entry::end).max().unwrap_or(0);
    format!(
        "{} in the log, {}, {} to {} UTC\n",
        count(entries.len(), "line", "lines"),
        count(locks.len(), "lock", "locks"),
        clock::full(first),
        clock::full(last),
    )
}

fn row(lock: &Lock<'_>) -> Vec<String> {
    let mut cells = vec![
        printable(lock.path),
        lock.runs().to_string(),
        lock.conflicts().to_string(),
    ];
    cells.extend(spread(Some(lock.waited)));
    cells.extend(spread(lock.held));
    cells.push(lock.longest().map_or_else(String::new, command));
    cells
}

fn spread(spread: Option<Spread>) -> [String; 3] {
    spread.map_or(["-", "-", "-"].map(str::to_owned), |spread| {
        [spread.median, spread.p95, spread.longest].map(duration)
    })
}

/// The command of a run, short enough for a table.
pub(super) fn command(entry: &Entry) -> String {
    head(&printable(&entry.command.join(" ")), COMMAND)
}

/// `0.3ms`, `12ms`, `1.25s`, `2m05s`, `1h30m`, `2d04h`.
pub(super) fn duration(nanos: i64) -> String {
    const MILLI: i64 = 1_000_000;
    let seconds = nanos / SECOND;
    if nanos < 10 * MILLI {
        format!("{:.1}ms", nanos as f64 / 1e6)
    } else if nanos < SECOND {
        format!("{}ms", nanos / MILLI)
    } else if seconds < 60 {
        // Cut, not rounded, so that no time is shown as 60 seconds.
        format!("{}.{:02}s", seconds, nanos % SECOND / (10 * MILLI))
    } else if seconds < 3600 {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else if seconds < 86_400 {
        format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60)
    } else {
        format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_fits() {
        for (seconds, shown) in [
            (0.0, "0.0ms"),
            (0.000_34, "0.3ms"),
            (0.012, "12ms"),
            (1.25, "1.25s"),
            (59.999, "59.99s"),
            (125.0, "2m05s"),
            (5400.0, "1h30m"),
            (187_200.0, "2d04h"),
        ] {
            assert_eq!(duration((seconds * 1e9) as i64), shown);
        }
    }
}

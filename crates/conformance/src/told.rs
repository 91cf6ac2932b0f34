//! A snapshot in words, for tests that take it in another process: as another user, or in another
//! namespace.

use holdlock::inspect::{LockedFile, Range, Snapshot};

/// `file "/tmp/a.lock"`, `removed`, `elsewhere`, `mixes families`,
/// `held flock exclusive 0-EOF taker=5 by 5:3 (sleep)`, `waits flock exclusive 0-EOF turn=1 by 6`,
/// `unseen Processes(7)`: one line for each.
pub fn lines(snapshot: &Snapshot) -> Vec<String> {
    let mut lines: Vec<String> = snapshot.files.iter().flat_map(of_file).collect();
    let unseen = snapshot.unseen.iter();
    lines.extend(unseen.map(|unseen| format!("unseen {unseen:?}")));
    lines
}

fn of_file(file: &LockedFile) -> Vec<String> {
    let path = file.path.as_deref();
    let mut lines = vec![path.map_or_else(|| "file ?".into(), |path| format!("file {path:?}"))];
    if file.removed {
        lines.push("removed".into());
    }
    if file.elsewhere {
        lines.push("elsewhere".into());
    }
    if file.mixes_families() {
        lines.push("mixes families".into());
    }
    for lock in &file.locks {
        let taker = lock.taker.map_or_else(|| "?".into(), |pid| pid.to_string());
        let range = range(lock.range);
        let mut line = format!("held {} {} {range} taker={taker} by", lock.kind, lock.mode);
        for holder in &lock.holders {
            let descriptor = holder
                .descriptor
                .map_or_else(|| "?".into(), |d| d.to_string());
            let command = holder.process.command.as_deref().unwrap_or("?");
            line.push_str(&format!(" {}:{descriptor} ({command})", holder.process.pid));
        }
        lines.push(line);
    }
    for waiter in &file.waiters {
        let pid = waiter
            .process
            .as_ref()
            .map_or_else(|| "?".into(), |p| p.pid.to_string());
        lines.push(format!(
            "waits {} {} {} turn={} by {pid}",
            waiter.kind,
            waiter.mode,
            range(waiter.range),
            waiter.turn
        ));
    }
    lines
}

fn range(range: Range) -> String {
    let end = range
        .end
        .map_or_else(|| "EOF".into(), |end| end.to_string());
    format!("{}-{end}", range.start)
}

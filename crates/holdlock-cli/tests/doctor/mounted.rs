//! File systems made for the test, in a mount namespace of their own.

use crate::support::{Place, Running};
use crate::{Findings, left_in, skipped};

/// Runs a script that mounts something on `m`, and then the doctor, with these words.
/// None where that cannot be done here.
fn mounted(place: &Place, script: &str, words: &str) -> Option<(i32, Findings)> {
    std::fs::create_dir_all(place.join("m")).unwrap();
    let namespace = |script: &str| {
        let mut command = place.command("unshare");
        command.args(["-m", "sh", "-c", script]);
        command
    };
    let able = namespace("true")
        .output()
        .is_ok_and(|output| output.status.success());
    if !able {
        skipped("needs root's rights and unshare(1)");
        return None;
    }
    let script = format!("({script}) >&2 || exit 99; \"$HOLDLOCK\" doctor --json {words}");
    let finished = Running::start(namespace(&script)).finish();
    if finished.code() == 99 {
        skipped(&format!("cannot mount: {}", finished.stderr));
        return None;
    }
    Some((finished.code(), Findings::of(&finished)))
}

#[test]
fn a_read_only_mount_takes_no_new_lock_file() {
    let place = Place::new();
    std::fs::create_dir(place.join("m")).unwrap();
    std::fs::write(place.join("m/old.lock"), "").unwrap();
    let script = "mount --bind m m && mount -o remount,bind,ro m";
    let Some((code, findings)) = mounted(&place, script, "m/new.lock") else {
        return;
    };
    assert_eq!(code, 1);
    findings.expect("read-only", "unsafe", "none can be created");
    // One finding only: no other finding applies to a lock file that cannot exist.
    for id in ["file-system", "lock-file", "users", "cleaner", "create"] {
        assert_eq!(findings.level(id), None, "{id}");
    }
    let (code, findings) = mounted(&place, script, "m/old.lock").unwrap();
    assert_eq!(code, 0);
    findings.expect("read-only", "note", "can be locked nevertheless");
}

#[test]
fn tmpfs_is_ok_and_a_full_one_is_noticed() {
    let place = Place::new();
    let script = "mount -t tmpfs -o nr_inodes=2 tmpfs m && touch m/old.lock";
    let Some((code, findings)) = mounted(&place, script, "m/new.lock") else {
        return;
    };
    assert_eq!(code, 1);
    findings.expect("file-system", "ok", "tmpfs");
    findings.expect("room", "warning", "inodes");
    findings.expect("create", "unsafe", "No space left");
    let (code, findings) = mounted(&place, script, "m/old.lock").unwrap();
    assert_eq!(code, 0);
    findings.expect("room", "note", "the lock file exists");
    let script = "mount -t tmpfs -o size=1M tmpfs m && ! dd if=/dev/zero of=m/full bs=64k";
    let (code, findings) = mounted(&place, script, "m/x.lock").unwrap();
    assert_eq!(code, 0, "an empty file needs no block here");
    findings.expect("room", "warning", "blocks");
}

#[test]
fn the_finding_of_an_overlay_names_what_it_does_not_exclude() {
    let place = Place::new();
    let script = "mount -t tmpfs tmpfs m && cd m && mkdir l u w o && touch l/x.lock && \
                  mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay o";
    let Some((code, findings)) = mounted(&place, script, "m/o/x.lock") else {
        return;
    };
    assert_eq!(code, 0);
    findings.expect("overlay", "note", "through a layer");
    assert_eq!(findings.level("exclusion-flock"), Some("ok"));
    assert_eq!(findings.level("identity"), Some("ok"));
}

/// Its table of locks has another device than stat(2) tells.
#[test]
fn btrfs_has_other_names_in_the_table_of_locks() {
    let place = Place::new();
    let script = "truncate -s 200M image && mkfs.btrfs -q image && mount -o loop image m";
    let Some((code, findings)) = mounted(&place, script, "m/x.lock") else {
        return;
    };
    assert_eq!(code, 0);
    findings.expect("file-system", "ok", "btrfs");
    findings.expect("kernel-table", "note", "device:inode");
}

#[test]
fn a_lock_file_that_is_a_mount_is_looked_at_itself() {
    let place = Place::new();
    let script = "mount -t tmpfs tmpfs m && touch m/a && touch bound && mount --bind m/a bound";
    let Some((code, findings)) = mounted(&place, script, "./bound") else {
        return;
    };
    assert_eq!(code, 0);
    findings.expect("file-system", "ok", "tmpfs");
    findings.expect("lock-file-mount", "note", "a mount of its own");
}

#[test]
fn a_cleaner_that_reaches_the_lock_file_is_named() {
    let place = Place::new();
    let root = place.join("m").display().to_string();
    let rules = |line: &str| {
        format!(
            "mkdir -p rules && echo '{line}' > rules/t.conf && mkdir -p /etc/tmpfiles.d && \
             mount --bind rules /etc/tmpfiles.d"
        )
    };
    let aging = rules(&format!("d {root} 1777 root root 10d"));
    let Some((code, findings)) = mounted(&place, &aging, "m/x.lock") else {
        return;
    };
    assert_eq!(code, 0);
    findings.expect("cleaner", "warning", "unused for 10d");
    let kept = rules(&format!("d {root} - - - 10d\nx {root}/*.lock"));
    let (_, findings) = mounted(&place, &kept, "m/x.lock").unwrap();
    assert_eq!(findings.level("cleaner"), Some("ok"));
    assert!(left_in(&place.join("m")).is_empty());
}

#[test]
fn a_missing_proc_is_named() {
    let place = Place::new();
    let run = |words: &str| {
        let mut command = place.command("unshare");
        let script = format!("mount -t tmpfs tmpfs /proc || exit 99; \"$HOLDLOCK\" {words}");
        command.args(["-m", "sh", "-c", &script]);
        Running::start(command).finish()
    };
    if !run("path L").status.success() {
        return skipped("needs root's rights and unshare(1)");
    }
    for words in ["doctor ./x.lock", "top --once", "list", "graph"] {
        let finished = run(words);
        assert_eq!(finished.code(), 71, "{words}: {finished:?}");
        let told = &finished.stderr;
        assert!(
            told.contains("/proc is not mounted; mount it: "),
            "{words}: {told}"
        );
    }
}

//! Rings, in tables written by hand.

use super::*;

fn table(lines: &str) -> Table {
    Table(lines.lines().filter_map(parse).collect())
}

fn place(inode: u64) -> Place {
    Place {
        device: (0xfe, 1),
        inode,
    }
}

/// Who was started by whom: process 11 by 10, 21 by 20.
fn ancestors(pid: u32) -> Vec<u32> {
    match pid {
        11 => vec![10, 1],
        21 => vec![20, 1],
        _ => vec![1],
    }
}

#[test]
fn two_commands_that_want_each_others_locks_are_a_ring() {
    let table = table(
        "1: FLOCK  ADVISORY  WRITE 10 fe:01:100 0 EOF\n\
         1: -> FLOCK  ADVISORY  WRITE 21 fe:01:100 0 EOF\n\
         2: FLOCK  ADVISORY  WRITE 20 fe:01:200 0 EOF\n\
         2: -> FLOCK  ADVISORY  WRITE 11 fe:01:200 0 EOF\n",
    );
    let ring = |us, inode| table.ring(us, place(inode), Mode::Exclusive, ancestors, |_, _| true);
    assert_eq!(ring(11, 200), Some(vec![11, 21]));
    assert_eq!(ring(21, 100), Some(vec![21, 11]));
    assert_eq!(ring(30, 100), None, "who only queues for one of the locks");
}

#[test]
fn who_waits_for_an_ancestor_is_a_ring_of_one() {
    let table = table(
        "1: FLOCK  ADVISORY  READ 10 fe:01:100 0 EOF\n\
         1: -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF\n",
    );
    let ring = |mode| table.ring(11, place(100), mode, ancestors, |_, _| true);
    assert_eq!(ring(Mode::Exclusive), Some(vec![11]));
    assert_eq!(ring(Mode::Shared), None, "shared locks do not conflict");
    let patient = table.ring(11, place(100), Mode::Exclusive, ancestors, |_, _| false);
    assert_eq!(patient, None, "the ancestor does not wait");
}

#[test]
fn a_queue_is_no_ring() {
    let table = table(
        "1: FLOCK  ADVISORY  WRITE 20 fe:01:100 0 EOF\n\
         1: -> FLOCK  ADVISORY  WRITE 30 fe:01:100 0 EOF\n\
         1:  -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF\n\
         2: FLOCK  ADVISORY  WRITE 10 fe:01:200 0 EOF\n",
    );
    assert_eq!(
        table.ring(11, place(100), Mode::Exclusive, ancestors, |_, _| true),
        None
    );
    assert_eq!(table.queue(place(100), 11), Some((2, 2)));
    assert_eq!(table.queue(place(200), 11), None);
    assert_eq!(table.holders(place(100)), [20]);
}

#[test]
fn other_kinds_and_other_namespaces_are_passed_over() {
    for line in [
        "",
        "1: OFDLCK ADVISORY  WRITE -1 fe:01:100 0 EOF",
        "1: POSIX  ADVISORY  WRITE 7 fe:01:100 0 EOF",
        "1: LEASE  ACTIVE    READ  77 fe:00:1 0 EOF",
        "1: FLOCK  ADVISORY  WRITE 0 fe:01:100 0 EOF",
        "1: FLOCK  ADVISORY  WRITE 5 fe:01 0 EOF",
    ] {
        assert_eq!(parse(line), None, "{line}");
    }
}

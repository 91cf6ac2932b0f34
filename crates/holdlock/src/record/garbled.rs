//! The parsers of records, given broken records.

use holdlock_test_support::garbled;

use super::format;
use super::sealed::{Content, Found, SIZE, Text};
use crate::inspect::printable;

const SAMPLES: &[&[u8]] = &[
    b"pid: 4711\nstarted: 881100\nhost: build-7\nuser: ann\ncommand: make all\nnote: before\n\
      run began: 2026-11-26T03:47:33.123456Z 8812.123456 3f2504e04f8941d3\n\
      run ended: 2026-11-26T03:48:33.123456Z 8872.123456 3f2504e04f8941d3\n\
      run exit: 0\n\
      success began: 2026-11-26T03:47:33.123456Z 8812.123456 3f2504e04f8941d3\n\
      token: 1764128853123456\n\
      since: 2026-11-26T03:47:33.123456Z 8812.123456 3f2504e04f8941d3\n\
      state: held\n",
    b"pid: 1\ntoken: 1\nsince: 9999-12-31T23:59:59.999999Z 0.000000 0000000000000000\n\
      state: handed over\n",
];

/// With a right checksum, so that the lines are read.
#[test]
fn broken_lines_are_refused_or_read_and_never_printed_as_they_are() {
    let mut read = 0;
    garbled(SAMPLES, |lines| {
        let mut text = Text::new();
        text.push(format::FIRST_LINE);
        text.push(&lines[..lines.len().min(SIZE - 64)]);
        text.push(b"\n");
        text.seal(text.checksum_of(0..text.length(), 0));
        let found = Found::of(text.as_bytes());
        let Content::Lines(lines) = found.content(format::KIND) else {
            return;
        };
        let Some(record) = format::parse(lines) else {
            return;
        };
        read += 1;
        let shown = record.to_string();
        assert!(printable(&shown).is_plain(), "{shown:?}");
        let _ = record.since.age();
        let _ = record
            .last_run
            .map(|run| (run.began.age(), run.began.to_string()));
        // What was read can be written again.
        let written = format::lines_of(&record);
        assert!(written.len() < SIZE / 2, "{}", written.len());
    });
    assert!(read > 1000, "only {read} variants were records");
}

#[test]
fn broken_files_are_no_records() {
    let mut whole = Text::new();
    whole.push(format::FIRST_LINE);
    whole.push(SAMPLES[0]);
    whole.seal(whole.checksum_of(0..whole.length(), 0));
    let sample = whole.as_bytes().to_vec();
    garbled(&[&sample], |bytes| {
        let found = Found::of(bytes);
        if let Content::Lines(lines) = found.content(format::KIND) {
            // Only the filling, which the checksum does not cover, may differ.
            assert_eq!(sample[..lines.len()], bytes[..lines.len()]);
        }
    });
}

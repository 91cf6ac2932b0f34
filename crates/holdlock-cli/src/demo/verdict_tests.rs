//! What counts as an overlap, and which events a verdict covers.

use super::*;

const US: u32 = 100;

/// Events of workers that all have pid 1000 + their number.
fn events(run: u32, locked: bool, steps: &[(u64, u32, Step)]) -> Vec<Event> {
    let event = |&(at, worker, step): &(u64, u32, Step)| Event {
        at,
        run,
        worker,
        pid: 1000 + worker,
        locked,
        step,
    };
    steps.iter().map(event).collect()
}

fn sections(times: &[(u64, u64)]) -> Vec<Event> {
    let steps: Vec<_> = (1..)
        .zip(times)
        .flat_map(|(worker, (enter, leave))| {
            [(*enter, worker, Step::Enter), (*leave, worker, Step::Leave)]
        })
        .collect();
    events(US, false, &steps)
}

fn overlapped(times: &[(u64, u64)]) -> Vec<bool> {
    let half = judge(&sections(times), US, false, 0..1000, |_| true);
    half.sections
        .iter()
        .map(|section| section.overlapped)
        .collect()
}

#[test]
fn sections_one_after_the_other_do_not_overlap() {
    assert_eq!(
        overlapped(&[(10, 20), (20, 30), (31, 40)]),
        [false, false, false]
    );
}

#[test]
fn both_partners_of_an_overlap_count() {
    assert_eq!(
        overlapped(&[(10, 20), (19, 30), (31, 40)]),
        [true, true, false]
    );
}

#[test]
fn a_long_section_overlaps_all_within_it() {
    assert_eq!(
        overlapped(&[(10, 90), (20, 30), (40, 50), (90, 95)]),
        [true, true, true, false]
    );
}

#[test]
fn times_of_overlap_are_merged() {
    let half = judge(
        &sections(&[(10, 90), (20, 30), (25, 50), (60, 100)]),
        US,
        false,
        0..1000,
        |_| true,
    );
    assert_eq!(half.overlaps, [20..50, 60..90]);
}

#[test]
fn an_overlap_matters_with_the_lock_only() {
    let steps = [
        (10, 1, Step::Enter),
        (15, 2, Step::Enter),
        (20, 1, Step::Leave),
        (25, 2, Step::Leave),
    ];
    assert!(judge(&events(US, false, &steps), US, false, 0..99, |_| true).is_ok());
    let half = judge(&events(US, true, &steps), US, true, 0..99, |_| true);
    assert!(!half.is_ok());
    assert!(
        half.sentence().contains("FAILED: 2 of 2"),
        "{}",
        half.sentence()
    );
}

#[test]
fn halves_with_and_without_the_lock_are_not_compared() {
    let mut all = events(US, true, &[(10, 1, Step::Enter), (20, 1, Step::Leave)]);
    all.extend(events(
        7,
        false,
        &[(10, 1, Step::Enter), (20, 1, Step::Leave)],
    ));
    let half = judge(&all, US, true, 0..99, |_| true);
    assert_eq!((half.sections.len(), half.overlapped()), (1, 0));
}

#[test]
fn other_demos_count_while_ours_runs() {
    let mut all = events(US, true, &[(100, 1, Step::Enter), (120, 1, Step::Leave)]);
    all.extend(events(
        7,
        true,
        &[(10, 1, Step::Enter), (20, 1, Step::Release)],
    ));
    all.extend(events(
        8,
        true,
        &[(110, 1, Step::Enter), (130, 1, Step::Leave)],
    ));
    let half = judge(&all, US, true, 90..150, |_| true);
    assert_eq!(half.others(), [8]);
    assert_eq!((half.sections.len(), half.overlapped()), (2, 2));
    assert_eq!(half.lanes[0].run, US, "our own rows come first");
}

#[test]
fn the_unfinished_section_of_a_living_worker_lasts_until_now() {
    let all = events(US, true, &[(10, 1, Step::Enter), (20, 2, Step::Enter)]);
    let half = judge(&all, US, true, 0..99, |_| true);
    assert_eq!(half.overlapped(), 2);
    assert!(
        half.sections
            .iter()
            .all(|section| !section.finished && section.time.end == 99)
    );
}

#[test]
fn the_unfinished_section_of_a_dead_worker_is_not_counted() {
    let all = events(
        US,
        true,
        &[
            (10, 1, Step::Enter),
            (20, 2, Step::Enter),
            (30, 2, Step::Leave),
        ],
    );
    let half = judge(&all, US, true, 0..99, |pid| pid == 1002);
    assert_eq!((half.sections.len(), half.overlapped()), (1, 0));
}

#[test]
fn a_worker_waits_is_inside_holds_and_is_idle() {
    let steps = [
        (10, 1, Step::Wait),
        (20, 1, Step::Enter),
        (30, 1, Step::Leave),
        (40, 1, Step::Release),
    ];
    let half = judge(&events(US, true, &steps), US, true, 0..99, |_| true);
    assert_eq!(
        half.lanes[0].spans,
        [
            (10..20, Doing::Waiting),
            (20..30, Doing::InSection),
            (30..40, Doing::Holding)
        ]
    );
}

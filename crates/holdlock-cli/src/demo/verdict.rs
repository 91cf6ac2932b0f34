//! Turns events into sections, overlaps and the activities of each worker.

use std::collections::BTreeMap;
use std::ops::Range;

use super::journal::{Event, Step};

/// A critical section.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Section {
    pub(super) run: u32,
    pub(super) worker: u32,
    pub(super) time: Range<u64>,
    /// False: the worker was still inside when the half was judged.
    pub(super) finished: bool,
    pub(super) overlapped: bool,
}

/// The activity of a worker during a span of time. The rest of the time it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Waiting,
    InSection,
    /// Holds the lock, but is outside of the critical section.
    Holding,
}

/// One worker's row of the timeline.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) run: u32,
    pub(super) worker: u32,
    pub(super) spans: Vec<(Range<u64>, Doing)>,
}

/// A half of the demo, judged.
pub(super) struct Half {
    pub(super) locked: bool,
    /// The demo of this half; other demos may have run at the same time.
    pub(super) run: u32,
    pub(super) time: Range<u64>,
    pub(super) events: Vec<Event>,
    pub(super) lanes: Vec<Lane>,
    pub(super) sections: Vec<Section>,
    /// The times at which two or more workers were inside.
    pub(super) overlaps: Vec<Range<u64>>,
}

impl Half {
    pub(super) fn overlapped(&self) -> usize {
        self.sections
            .iter()
            .filter(|section| section.overlapped)
            .count()
    }

    /// Whether the half went as expected: an overlap without the lock is what the demo shows.
    pub(super) fn is_ok(&self) -> bool {
        !self.locked || self.overlapped() == 0
    }

    /// The other demos that worked on the lock meanwhile.
    pub(super) fn others(&self) -> Vec<u32> {
        let mut runs: Vec<u32> = self
            .lanes
            .iter()
            .map(|lane| lane.run)
            .filter(|run| *run != self.run)
            .collect();
        runs.dedup();
        runs
    }

    pub(super) fn title(&self) -> &'static str {
        if self.locked {
            "With the lock"
        } else {
            "Without the lock"
        }
    }

    /// The verdict in words.
    pub(super) fn sentence(&self) -> String {
        let (bad, all) = (self.overlapped(), self.sections.len());
        let verdict = match (bad, self.locked) {
            (0, _) => format!("none of {all} critical sections overlapped another."),
            (_, false) => format!("{bad} of {all} critical sections overlapped another."),
            (_, true) => {
                format!("THE LOCK FAILED: {bad} of {all} critical sections overlapped another.")
            }
        };
        match self.others().as_slice() {
            [] => verdict,
            runs => {
                let pids: Vec<String> = runs.iter().map(u32::to_string).collect();
                format!(
                    "{verdict} Counted with demo {} on the same lock.",
                    pids.join(", ")
                )
            }
        }
    }
}

/// Judges the half `time` of demo `run`: its own sections, and those of all other
/// demos' halves of the same kind at that time.
pub(super) fn judge(
    events: &[Event],
    run: u32,
    locked: bool,
    time: Range<u64>,
    is_alive: impl Fn(u32) -> bool,
) -> Half {
    let mut by_worker: BTreeMap<(bool, u32, u32), Vec<Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.locked == locked) {
        // Own workers first, then the others.
        by_worker
            .entry((event.run != run, event.run, event.worker))
            .or_default()
            .push(*event);
    }
    let mut half = Half {
        locked,
        run,
        time,
        events: vec![],
        lanes: vec![],
        sections: vec![],
        overlaps: vec![],
    };
    for ((_, run, worker), events) in by_worker {
        let alive = events.last().is_some_and(|last| is_alive(last.pid));
        let now = half.time.end;
        let mut spans = spans(&events, alive.then_some(now));
        spans.retain(|span| meets(&span.time, &half.time));
        if spans.is_empty() {
            continue;
        }
        half.sections.extend(
            spans
                .iter()
                .filter(|span| span.doing == Doing::InSection)
                .map(|span| Section {
                    run,
                    worker,
                    time: span.time.clone(),
                    finished: span.finished,
                    overlapped: false,
                }),
        );
        let spans = spans
            .into_iter()
            .map(|span| (span.time, span.doing))
            .collect();
        half.lanes.push(Lane { run, worker, spans });
        half.events.extend(
            events
                .into_iter()
                .filter(|event| half.time.contains(&event.at)),
        );
    }
    half.events.sort_by_key(|event| event.at);
    half.sections.sort_by_key(|section| section.time.start);
    mark_overlapped(&mut half.sections);
    half.overlaps = overlaps(&half.sections);
    half
}

/// Ranges that only touch do not overlap: a worker may enter at the moment when another leaves.
pub(super) fn meets(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

struct Span {
    time: Range<u64>,
    doing: Doing,
    finished: bool,
}

/// One worker's events as spans. An unfinished span lasts until `now` if the worker still lives. If
/// the worker has ended, the kernel has released its lock, and the length of the span is unknown:
/// it is not counted.
fn spans(events: &[Event], now: Option<u64>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: Option<(u64, Doing)> = None;
    for event in events {
        if let Some((from, doing)) = open {
            spans.push(Span {
                time: from..event.at,
                doing,
                finished: true,
            });
        }
        let doing = match event.step {
            Step::Wait => Some(Doing::Waiting),
            Step::Enter => Some(Doing::InSection),
            Step::Leave => event.locked.then_some(Doing::Holding),
            Step::Release => None,
        };
        open = doing.map(|doing| (event.at, doing));
    }
    if let (Some((from, doing)), Some(now)) = (open, now)
        && from < now
    {
        spans.push(Span {
            time: from..now,
            doing,
            finished: false,
        });
    }
    spans
}

/// Marks the sections that overlap another one: an earlier one that is not over, or the next one.
/// The sections are sorted by their start.
fn mark_overlapped(sections: &mut [Section]) {
    let mut latest_end = 0;
    for index in 0..sections.len() {
        let Range { start, end } = sections[index].time;
        let next = sections.get(index + 1).map(|next| next.time.start);
        sections[index].overlapped = latest_end > start || next.is_some_and(|next| next < end);
        latest_end = latest_end.max(end);
    }
}

/// The times at which two or more sections run. The sections are sorted by their start.
fn overlaps(sections: &[Section]) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut latest_end = 0;
    for section in sections {
        let Range { start, end } = section.time;
        let both = start..end.min(latest_end);
        match found.last_mut() {
            Some(last) if both.start <= last.end => last.end = last.end.max(both.end),
            _ if both.start < both.end => found.push(both),
            _ => {}
        }
        latest_end = latest_end.max(end);
    }
    found
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;

//! What participants did over time, from their events, for the picture of a finding.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Event, What};
use super::history;
use super::supervisor::Report;

/// How many events of the mode are shown.
const EVENTS: usize = 80;

/// A time in which a participant did one thing.
#[derive(Debug, PartialEq)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Its class in the picture: `waiting`, `section`, `holding`.
    pub(super) class: &'static str,
}

/// A participant.
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) spans: Vec<Span>,
}

/// The events around a finding.
pub(super) struct Around {
    from: u64,
    to: u64,
    /// When it was found.
    pub(super) at: u64,
    pub(super) lanes: Vec<Lane>,
}

impl Around {
    /// None: there is no finding, or no event.
    pub(super) fn of(report: &Report) -> Option<Around> {
        let found = report.finding.as_ref()?;
        let mut events = history::events(report);
        events.retain(|(_, event)| event.mode == found.mode && event.at <= found.at);
        let from = events[events.len().saturating_sub(EVENTS)..].first()?.1.at;
        let to = found.at + (found.at - from) / 20 + 1;
        let mut lanes: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
        for (id, event) in events {
            lanes.entry(id).or_default().push(event);
        }
        let lanes = lanes.into_iter().filter_map(|(id, events)| {
            let mark = if id == found.participant || Some(id) == found.other {
                " *"
            } else {
                ""
            };
            let mut spans = spans(&events, to);
            spans.retain(|span| span.to >= from);
            spans
                .iter_mut()
                .for_each(|span| span.from = span.from.max(from));
            let name = format!("participant {id}{mark}");
            (!spans.is_empty()).then_some(Lane { name, spans })
        });
        Some(Around {
            from,
            to,
            at: found.at,
            lanes: lanes.collect(),
        })
    }

    pub(super) fn length(&self) -> Duration {
        Duration::from_nanos(self.at - self.from)
    }

    /// Where a time is, from 0 to 1.
    pub(super) fn part(&self, time: u64) -> f64 {
        (time.min(self.to) - self.from) as f64 / (self.to - self.from) as f64
    }
}

/// What one participant did, up to `to`.
fn spans(events: &[Event], to: u64) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: Option<(u64, &'static str)> = None;
    for event in events {
        let next = match event.what {
            What::Ask | What::AskShared | What::Upgrade => Some("waiting"),
            What::Enter | What::EnterShared => Some("section"),
            What::Leave => Some("holding"),
            What::Release | What::Refused | What::TimedOut | What::Cancelled => None,
            // What happens inside does not change what it is.
            _ => continue,
        };
        if let Some((from, class)) = open.take() {
            let to = event.at;
            spans.push(Span { from, to, class });
        }
        open = next.map(|class| (event.at, class));
    }
    spans.extend(open.map(|(from, class)| Span { from, to, class }));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::mode::Mode;

    #[test]
    fn spans_follow_each_other_and_the_last_one_is_open() {
        let event = |at, what| Event {
            at,
            what,
            mode: Mode::Fair,
            round: 1,
            detail: 0,
        };
        let events = [
            event(1, What::Ask),
            event(3, What::Enter),
            event(4, What::Fork),
            event(6, What::Leave),
            event(7, What::Release),
            event(9, What::Ask),
        ];
        let span = |from, to, class| Span { from, to, class };
        let expected = [
            span(1, 3, "waiting"),
            span(3, 6, "section"),
            span(6, 7, "holding"),
            span(9, 20, "waiting"),
        ];
        assert_eq!(spans(&events, 20), expected);
    }
}

//! The timelines as an SVG picture, readable on a light and on a dark background.
//!
//! Both halves have one scale, to show that the half with the lock takes longer.

use std::ops::Range;

use super::scale;
use super::verdict::{Doing, Half, Lane};
use crate::show::svg::{Picture, add, escaped};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 152.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 64.0;
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;
/// Above the rows of a half: its title. Below: the axis.
const HEAD: f64 = 46.0;
const FOOT: f64 = 48.0;
const LEGEND: f64 = 44.0;

const STYLE: &str = "\
.half { font-size: 15px; font-weight: 600 }
.verdict { font-size: 13px } .good { fill: #1a7f37 } .bad { fill: #cf222e }
.section { fill: #2a9d8f } .holding { fill: #2a9d8f; opacity: .55 }
.overlap { fill: url(#overlap) } .frame { fill: none; stroke: #cf222e; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
.good { fill: #3fb950 } .bad { fill: #ff7b72 }
.section, .holding { fill: #35b5a5 } .frame { stroke: #ff7b72 }
}";

/// A hatch, so that the picture is readable without colour.
const OVERLAP: &str = r##"<pattern id="overlap" width="8" height="8" patternUnits="userSpaceOnUse"><rect width="8" height="8" fill="#e5383b"/><path d="M0 0L8 8M8 0L0 8" stroke="#ffffff" stroke-width="1.4"/></pattern>"##;

/// Draws the halves below each other.
pub(super) fn picture(halves: &[Half]) -> String {
    let longest = halves
        .iter()
        .map(|half| half.time.end - half.time.start)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut body = String::new();
    let mut y = TOP;
    for half in halves {
        Panel {
            half,
            top: y,
            longest,
        }
        .draw(&mut body);
        y += HEAD + half.lanes.len() as f64 * ROW + FOOT;
    }
    legend(&mut body, y, halves.iter().any(|half| half.locked));
    let height = y + LEGEND;
    let summary: Vec<String> = halves
        .iter()
        .map(|half| format!("{}: {}", half.title(), half.sentence()))
        .collect();
    let body = format!(
        "<text class=\"title\" x=\"{RIGHT}\" y=\"40\">Critical sections of processes</text>\n{body}"
    );
    Picture {
        title: "holdlock demo: critical sections of processes",
        description: Some(&summary.join(" ")),
        width: WIDTH,
        height,
        style: STYLE,
        definitions: OVERLAP,
        body: &body,
    }
    .document()
}

/// One half.
struct Panel<'a> {
    half: &'a Half,
    top: f64,
    longest: u64,
}

impl Panel<'_> {
    fn draw(&self, body: &mut String) {
        let class = if self.half.overlapped() == 0 {
            "good"
        } else {
            "bad"
        };
        let (title, verdict) = (self.half.title(), escaped(&self.half.sentence()));
        let verdict = format!(r#"<tspan class="verdict {class}" dx="12">{verdict}</tspan>"#);
        let y = self.top + 22.0;
        add(
            body,
            &format!(r#"<text class="half" x="{RIGHT}" y="{y}">{title}{verdict}</text>"#),
        );
        self.axis(body);
        for (row, lane) in self.half.lanes.iter().enumerate() {
            self.lane(body, lane, self.top + HEAD + row as f64 * ROW);
        }
    }

    fn lane(&self, body: &mut String, lane: &Lane, y: f64) {
        let label = if lane.run == self.half.run {
            format!("worker {}", lane.worker)
        } else {
            format!("{} worker {}", lane.run, lane.worker)
        };
        add(
            body,
            &format!(
                r#"<text class="label" x="{}" y="{}">{label}</text>"#,
                LEFT - 12.0,
                y + 15.0
            ),
        );
        self.bar(body, "idle", &self.half.time, y, BAR);
        for (time, doing) in &lane.spans {
            match doing {
                Doing::Waiting => self.bar(body, "waiting", time, y + 4.0, BAR - 8.0),
                Doing::Holding => self.bar(body, "holding", time, y + 7.0, BAR - 14.0),
                Doing::InSection => {
                    self.bar(body, "section", time, y, BAR);
                    self.overlaps(body, time, y);
                }
            }
        }
    }

    fn overlaps(&self, body: &mut String, section: &Range<u64>, y: f64) {
        for overlap in &self.half.overlaps {
            let both = overlap.start.max(section.start)..overlap.end.min(section.end);
            if both.start < both.end {
                self.bar(body, "overlap", &both, y, BAR);
                self.bar(body, "frame", &both, y, BAR);
            }
        }
    }

    /// A bar over a span of time, clipped to the half; never too thin to be seen.
    fn bar(&self, body: &mut String, class: &str, time: &Range<u64>, y: f64, height: f64) {
        let from = self.x(time.start.max(self.half.time.start));
        let to = self.x(time.end.min(self.half.time.end));
        let width = (to - from).max(1.0);
        add(
            body,
            &format!(
                r#"<rect class="{class}" x="{from:.1}" y="{y}" width="{width:.1}" height="{height}" rx="2"/>"#
            ),
        );
    }

    fn axis(&self, body: &mut String) {
        let length = self.half.time.end - self.half.time.start;
        let step = scale::step((self.longest / 10).max(1));
        let top = self.top + HEAD - 6.0;
        let bottom = top + self.half.lanes.len() as f64 * ROW + 2.0;
        for mark in (0..=length).step_by(step as usize) {
            let x = self.x(self.half.time.start + mark);
            add(
                body,
                &format!(r#"<path class="grid" d="M{x:.1} {top}V{bottom}"/>"#),
            );
            let name = scale::name(mark, step);
            add(
                body,
                &format!(
                    r#"<text class="mark" x="{x:.1}" y="{}">{name}</text>"#,
                    bottom + 14.0
                ),
            );
        }
    }

    fn x(&self, time: u64) -> f64 {
        LEFT + (time - self.half.time.start) as f64 / self.longest as f64 * (WIDTH - LEFT - RIGHT)
    }
}

fn legend(body: &mut String, y: f64, locked: bool) {
    let mut x = RIGHT;
    let entries = [
        ("section", "in the critical section", 0.0, true),
        ("overlap", "overlapping another", 0.0, true),
        ("holding", "past it, still holding the lock", 4.0, locked),
        ("waiting", "waiting for the lock", 2.0, locked),
        ("idle", "idle", 0.0, true),
    ];
    for (class, meaning, inset, _) in entries.into_iter().filter(|(.., shown)| *shown) {
        let (y, height) = (y + inset, 14.0 - 2.0 * inset);
        add(
            body,
            &format!(
                r#"<rect class="{class}" x="{x}" y="{y}" width="24" height="{height}" rx="2"/>"#
            ),
        );
        add(
            body,
            &format!(
                r#"<text x="{}" y="{}">{meaning}</text>"#,
                x + 32.0,
                y + 11.5 - inset
            ),
        );
        x += 56.0 + meaning.len() as f64 * 6.6;
    }
}

//! Holds and waits over time as an SVG picture, readable on a light and on a dark background.
//!
//! Each lock has two rows on one scale of time: when it was held, and the number of waiters.
//! Nothing is drawn twice into one pixel, so the picture of a million runs stays small.

use std::fmt::Write;

use super::axis;
use super::clock::{self, SECOND, Time};
use super::entry::Entry;
use super::summary::Lock;
use super::table;
use crate::show::svg::{Picture, add, escaped};
use crate::show::text::printable;
use crate::show::width::tail;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 32.0;
const PLOT: usize = (WIDTH - LEFT - RIGHT) as usize;
const TOP: f64 = 76.0;
/// Of one lock: its title, the two rows, and the axis below them.
const HEAD: f64 = 36.0;
const HELD: f64 = 20.0;
const GAP: f64 = 6.0;
const WAITING: f64 = 26.0;
const FOOT: f64 = 40.0;
const LEGEND: f64 = 44.0;

/// The number of characters that are shown of a path.
const NAME: usize = 48;

/// Acquiring a free lock takes some microseconds, which is not a wait.
const SHORTEST_WAIT: i64 = SECOND / 1000;

const STYLE: &str = "\
.lock { font-size: 15px; font-weight: 600 }
.range, .facts { fill: #57606a } .facts { font-size: 13px; font-weight: 400 }
.exclusive { fill: #2a9d8f } .shared { fill: #2a9d8f; opacity: .45 }
.waiting { stroke: #b97d0a }
.conflict { fill: none; stroke: #cf222e; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
.range, .facts { fill: #9198a1 }
.exclusive, .shared { fill: #35b5a5 } .waiting { stroke: #d99a1c }
.conflict { stroke: #ff7b72 }
}";

/// Draws the locks below each other.
pub(super) fn picture(entries: &[Entry], locks: &[Lock<'_>]) -> String {
    let scale = Scale::over(entries);
    let mut body = String::new();
    let mut y = TOP;
    for lock in locks {
        draw(&mut body, lock, &scale, y);
        y += HEAD + HELD + GAP + WAITING + FOOT;
    }
    legend(&mut body, y);
    let height = y + LEGEND;
    let range = if entries.is_empty() {
        "no runs".to_owned()
    } else {
        let (from, to) = (clock::full(scale.from), clock::full(scale.to));
        format!("{from} to {to} UTC")
    };
    let body = format!(
        "<text class=\"title\" x=\"{RIGHT}\" y=\"36\">Holds and waits</text>\n\
         <text class=\"range\" x=\"{RIGHT}\" y=\"58\">{range}</text>\n{body}"
    );
    Picture {
        title: "holdlock report: holds and waits over time",
        description: None,
        width: WIDTH,
        height,
        style: STYLE,
        definitions: "",
        body: &body,
    }
    .document()
}

/// The scale from times to positions in the picture.
struct Scale {
    from: Time,
    to: Time,
}

impl Scale {
    fn over(entries: &[Entry]) -> Scale {
        let from = entries.iter().map(|entry| entry.start).min().unwrap_or(0);
        let to = entries.iter().map(Entry::end).max().unwrap_or(0);
        // At least a microsecond, so that a single instant has a position.
        Scale {
            from,
            to: to.max(from + 1000),
        }
    }

    /// In pixels from the left end of the rows.
    fn x(&self, time: Time) -> f64 {
        (time - self.from) as f64 / (self.to - self.from) as f64 * PLOT as f64
    }

    /// The pixel in which a time is.
    fn pixel(&self, time: Time) -> usize {
        (self.x(time) as usize).min(PLOT - 1)
    }
}

fn draw(body: &mut String, lock: &Lock<'_>, scale: &Scale, top: f64) {
    let waiting = waiting(lock, scale);
    let most = waiting.iter().copied().max().unwrap_or(0);
    let facts = format!(
        "{} runs, {} conflicts, longest hold {}, {most} waiting at most",
        lock.runs(),
        lock.conflicts(),
        lock.held
            .map_or("-".into(), |held| table::duration(held.longest)),
    );
    let name = escaped(&tail(&printable(lock.path), NAME));
    add(
        body,
        &format!(
            r#"<text class="lock" x="{RIGHT}" y="{}">{name}<tspan class="facts" dx="12">{facts}</tspan></text>"#,
            top + 22.0
        ),
    );
    let held_y = top + HEAD;
    let waiting_y = held_y + HELD + GAP;
    for (label, y, height) in [("held", held_y, HELD), ("waiting", waiting_y, WAITING)] {
        let (x, middle) = (LEFT - 12.0, y + height / 2.0 + 4.5);
        add(
            body,
            &format!(r#"<text class="label" x="{x}" y="{middle}">{label}</text>"#),
        );
        let ground = format!(
            r#"<rect class="idle" x="{LEFT}" y="{y}" width="{PLOT}" height="{height}" rx="2"/>"#
        );
        add(body, &ground);
    }
    axis(body, scale, held_y - 4.0, waiting_y + WAITING + 4.0);
    holds(body, lock, scale, held_y);
    area(body, &waiting, f64::from(most), waiting_y);
    conflicts(body, lock, scale, waiting_y);
}

/// A bar for each hold, unless the pixels are full already.
fn holds(body: &mut String, lock: &Lock<'_>, scale: &Scale, y: f64) {
    let mut full = [0.0; 2];
    for entry in lock.entries.iter().filter(|entry| entry.held.is_some()) {
        let from = (scale.x(entry.acquired()) * 2.0).floor() / 2.0;
        let to = ((scale.x(entry.end()) * 2.0).ceil() / 2.0).max(from + 1.0);
        let full = &mut full[usize::from(entry.shared)];
        if to <= *full && to - from <= 1.0 {
            continue;
        }
        *full = to.max(*full);
        let class = if entry.shared { "shared" } else { "exclusive" };
        // A gap separates two holds in a row if there is room.
        let width = if to - from > 4.0 {
            to - from - 0.5
        } else {
            to - from
        };
        let x = LEFT + from;
        let hint = escaped(&table::command(entry));
        add(
            body,
            &format!(
                r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{HELD}"><title>{hint}</title></rect>"#
            ),
        );
    }
}

/// The most that were waiting at once, for each pixel.
fn waiting(lock: &Lock<'_>, scale: &Scale) -> Vec<u32> {
    let waits = lock
        .entries
        .iter()
        .filter(|entry| entry.waited >= SHORTEST_WAIT);
    let mut steps: Vec<(Time, bool)> = waits
        .flat_map(|entry| [(entry.start, true), (entry.acquired(), false)])
        .collect();
    // Of two steps at the same moment, the end of a wait comes first.
    steps.sort_unstable();
    let mut most = vec![0; PLOT];
    let (mut count, mut reached) = (0, 0);
    for (time, comes) in steps {
        let pixel = scale.pixel(time);
        for place in &mut most[reached..=pixel] {
            *place = count.max(*place);
        }
        count = if comes { count + 1 } else { count - 1 };
        reached = pixel;
    }
    most
}

fn area(body: &mut String, counts: &[u32], most: f64, y: f64) {
    if most == 0.0 {
        return;
    }
    let bottom = y + WAITING;
    let mut path = format!("M{LEFT} {bottom}");
    let mut place = LEFT;
    for same in counts.chunk_by(|one, two| one == two) {
        let height = f64::from(same[0]) / most * (WAITING - 4.0);
        place += same.len() as f64;
        let _ = write!(path, "V{:.1}H{place}", bottom - height);
    }
    add(
        body,
        &format!(r#"<path class="waiting" d="{path}V{bottom}Z"/>"#),
    );
}

/// A cross for each run that gave up.
fn conflicts(body: &mut String, lock: &Lock<'_>, scale: &Scale, y: f64) {
    let mut places: Vec<usize> = lock
        .entries
        .iter()
        .filter(|entry| entry.gave_up())
        .map(|entry| scale.pixel(entry.acquired()) / 4 * 4)
        .collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        let x = LEFT + place as f64 - 3.0;
        let y = y + WAITING / 2.0 - 3.0;
        add(
            body,
            &format!(r#"<path class="conflict" d="M{x} {y}l6 6m0-6l-6 6"/>"#),
        );
    }
}

fn axis(body: &mut String, scale: &Scale, top: f64, bottom: f64) {
    for (time, name) in axis::marks(scale.from, scale.to) {
        let (x, y) = (LEFT + scale.x(time), bottom + 14.0);
        add(
            body,
            &format!(r#"<path class="grid" d="M{x:.1} {top}V{bottom}"/>"#),
        );
        add(
            body,
            &format!(r#"<text class="mark" x="{x:.1}" y="{y}">{name}</text>"#),
        );
    }
}

fn legend(body: &mut String, y: f64) {
    let mut x = RIGHT;
    for (class, meaning) in [
        ("exclusive", "held"),
        ("shared", "shared (denser: more holders)"),
        ("waiting", "waiters"),
    ] {
        add(
            body,
            &format!(r#"<rect class="{class}" x="{x}" y="{y}" width="24" height="14"/>"#),
        );
        add(
            body,
            &format!(
                r#"<text x="{}" y="{}">{meaning}</text>"#,
                x + 32.0,
                y + 11.5
            ),
        );
        x += 64.0 + meaning.len() as f64 * 6.8;
    }
    add(
        body,
        &format!(
            r#"<path class="conflict" d="M{} {}l6 6m0-6l-6 6"/>"#,
            x + 9.0,
            y + 4.0
        ),
    );
    add(
        body,
        &format!(r#"<text x="{}" y="{}">gave up</text>"#, x + 32.0, y + 11.5),
    );
}

//! The run as a picture: the waits of each mode, and what happened around a finding.

use std::time::Duration;

use super::spans::{Around, Span};
use super::supervisor::Report;
use super::tally::Counts;
use super::text::{grouped, wait};
use crate::show::svg::{Picture, add, escaped};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 160.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 96.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
const HEAD: f64 = 46.0;
const FOOT: f64 = 40.0;
const LEGEND: f64 = 30.0;

const STYLE: &str = "\
.half { font-size: 15px; font-weight: 600 } .good { fill: #1a7f37 } .bad { fill: #cf222e }
.median { fill: #2a9d8f } .most { fill: #2a9d8f; opacity: .45 }
.longest { stroke: #b97d0a; stroke-width: 3 }
.section { fill: #2a9d8f } .holding { fill: #2a9d8f; opacity: .45 }
.frame { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
.good { fill: #3fb950 } .bad { fill: #ff7b72 } .frame { stroke: #ff7b72 }
.median, .most, .section, .holding { fill: #35b5a5 } .longest { stroke: #d99a1c }
}";

/// The decades of the scale of waits: from a microsecond on.
const DECADES: [&str; 8] = [
    "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s",
];

pub(super) fn picture(report: &Report) -> String {
    let mut body = String::new();
    let title = "How long requests waited for locks";
    let class = if report.finding.is_none() {
        "good"
    } else {
        "bad"
    };
    let verdict = match &report.finding {
        None => "nothing found".to_owned(),
        Some(found) => format!(
            "{} in mode {}: {}",
            found.kind.name(),
            found.mode.name(),
            found.kind.meaning()
        ),
    };
    let facts = format!(
        "{} sections, {} kills, {} stops: ",
        grouped(report.tally.sections()),
        report.kills,
        report.stops
    );
    add(
        &mut body,
        &format!(
            "<text class=\"title\" x=\"{RIGHT}\" y=\"40\">{title}</text>\n\
             <text x=\"{RIGHT}\" y=\"66\">{facts}<tspan class=\"{class}\">{}</tspan></text>",
            escaped(&verdict)
        ),
    );
    let mut y = waits(&mut body, &report.tally.0, TOP);
    if let Some(around) = Around::of(report) {
        y = timeline(&mut body, &around, y);
    }
    Picture {
        title: "holdlock torture: waits for locks",
        description: Some(&format!("{facts}{verdict}")),
        width: WIDTH,
        height: y,
        style: STYLE,
        definitions: "",
        body: &body,
    }
    .document()
}

/// Where a wait is on the scale.
fn x(time: Duration) -> f64 {
    let decades = (time.as_nanos().max(1000) as f64 / 1000.0).log10();
    let most = (DECADES.len() - 1) as f64;
    LEFT + decades.min(most) / most * (WIDTH - LEFT - RIGHT)
}

/// A row for each mode. Returns where the next thing begins.
fn waits(body: &mut String, modes: &[Counts], top: f64) -> f64 {
    let bottom = top + modes.len() as f64 * ROW;
    for (decade, name) in DECADES.iter().enumerate() {
        let x = x(Duration::from_micros(10_u64.pow(decade as u32)));
        let grid = format!(r#"<path class="grid" d="M{x:.1} {top}V{bottom}"/>"#);
        add(body, &grid);
        let y = bottom + 16.0;
        add(
            body,
            &format!(r#"<text class="mark" x="{x:.1}" y="{y}">{name}</text>"#),
        );
    }
    for (row, counts) in modes.iter().enumerate() {
        let y = top + row as f64 * ROW + (ROW - BAR) / 2.0;
        label(body, counts.mode.name(), y);
        // Upper bounds, which may be more than the longest wait.
        let of = |part| counts.wait_of(part).min(counts.longest);
        bar(body, "most", LEFT, x(of(0.99)), y);
        bar(body, "median", LEFT, x(of(0.5)), y);
        let x = x(counts.longest);
        let longest = escaped(&wait(counts.longest));
        add(
            body,
            &format!(
                r#"<path class="longest" d="M{x:.1} {y}v{BAR}"><title>{longest}</title></path>"#
            ),
        );
    }
    let y = bottom + FOOT;
    let entries = [
        ("median", "half of the requests waited less"),
        ("most", "99 % waited less"),
    ];
    let mut x = LEFT;
    for (class, meaning) in entries {
        x = legend(body, class, meaning, x, y);
    }
    add(
        body,
        &format!(
            "<path class=\"longest\" d=\"M{x:.1} {}v14\"/><text x=\"{:.1}\" y=\"{y}\">longest wait</text>",
            y - 12.0,
            x + 10.0
        ),
    );
    y + LEGEND
}

/// What the participants did around the finding.
fn timeline(body: &mut String, around: &Around, top: f64) -> f64 {
    let title = format!("Around the finding: the last {}", wait(around.length()));
    let y = top + 22.0;
    add(
        body,
        &format!(
            r#"<text class="half" x="{RIGHT}" y="{y}">{}</text>"#,
            escaped(&title)
        ),
    );
    let top = top + HEAD;
    let place = |time: u64| LEFT + around.part(time) * (WIDTH - LEFT - RIGHT);
    for (row, lane) in around.lanes.iter().enumerate() {
        let y = top + row as f64 * ROW;
        label(body, &lane.name, y);
        bar(body, "idle", LEFT, WIDTH - RIGHT, y);
        for Span { from, to, class } in &lane.spans {
            bar(body, class, place(*from), place(*to), y);
        }
    }
    let bottom = top + around.lanes.len() as f64 * ROW;
    let x = place(around.at);
    add(
        body,
        &format!(r#"<path class="frame" d="M{x:.1} {top}V{bottom}"/>"#),
    );
    let y = bottom + LEGEND;
    let entries = [
        ("waiting", "waiting"),
        ("section", "in the section"),
        ("holding", "past it, still holding the lock"),
    ];
    let mut x = LEFT;
    for (class, meaning) in entries {
        x = legend(body, class, meaning, x, y);
    }
    y + LEGEND
}

fn label(body: &mut String, name: &str, y: f64) {
    let (x, y) = (LEFT - 12.0, y + BAR - 4.0);
    add(
        body,
        &format!(
            r#"<text class="label" x="{x}" y="{y}">{}</text>"#,
            escaped(name)
        ),
    );
}

/// Never too thin to be seen.
fn bar(body: &mut String, class: &str, from: f64, to: f64, y: f64) {
    let width = (to - from).max(1.0);
    add(
        body,
        &format!(
            r#"<rect class="{class}" x="{from:.1}" y="{y}" width="{width:.1}" height="{BAR}" rx="2"/>"#
        ),
    );
}

/// Returns where the next entry begins.
fn legend(body: &mut String, class: &str, meaning: &str, x: f64, y: f64) -> f64 {
    let top = y - 12.0;
    add(
        body,
        &format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top}\" width=\"24\" height=\"14\" rx=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{y}\">{meaning}</text>",
            x + 32.0
        ),
    );
    x + 56.0 + meaning.len() as f64 * 6.6
}

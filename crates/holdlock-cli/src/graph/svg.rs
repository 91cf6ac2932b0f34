//! The graph as an SVG picture: waiters at the left, holders at the right.

use std::fmt::Write;

use super::layers::layers;
use super::layout::{COLUMN, Layout, layout};
use super::model::{Edge, Graph, Node, Relation};
use crate::show::job::brief;
use crate::show::svg::{Picture, add, escaped};
use crate::show::text;
use crate::show::width::head;

const MARGIN: f64 = 24.0;
const TOP: f64 = 72.0;
const LEGEND: f64 = 56.0;
const LEAST_WIDTH: f64 = 720.0;
const BOX: f64 = 200.0;
const BOX_HEIGHT: f64 = 42.0;
/// The height of a node or a bend in its column.
const ROW: f64 = 58.0;
const BEND: f64 = 20.0;
/// How many letters fit into a box.
const LETTERS: usize = 30;

const STYLE: &str = "\
text { font-size: 12px } .title { font-size: 20px } .name { font-weight: 600 }
.more, .facts { fill: #57606a; font-size: 11px }
.label { font-size: 10.5px; text-anchor: middle; stroke: #ffffff; stroke-width: 4; paint-order: stroke }
.file { fill: #fff8e6; stroke: #b97d0a } .process { fill: #eef1f4; stroke: #8c959f }
.waits, .holds, .ends { fill: none; stroke-width: 1.5 }
.waits { stroke: #b97d0a; stroke-dasharray: 6 4 } .holds { stroke: #1f7a70 }
.ends { stroke: #57606a; stroke-dasharray: 2 3 }
.tip { fill: #57606a } .cycle { stroke: #cf222e; stroke-width: 2.5 } .cycle-tip { fill: #cf222e }
.bad { fill: #cf222e; font-weight: 600 }
@media (prefers-color-scheme: dark) {
.more, .facts { fill: #9198a1 } .label { stroke: #0d1117 }
.file { fill: #2b2410; stroke: #d99a1c } .process { fill: #1c2129; stroke: #6e7681 }
.waits { stroke: #d99a1c } .holds { stroke: #35b5a5 } .ends { stroke: #9198a1 }
.tip { fill: #9198a1 } .cycle { stroke: #ff7b72 } .cycle-tip, .bad { fill: #ff7b72 }
}";

const TIPS: &str = r#"<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0L8 4L0 8Z"/></marker>
<marker id="cycle-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="10" markerHeight="10" markerUnits="userSpaceOnUse" orient="auto"><path class="cycle-tip" d="M0 0L8 4L0 8Z"/></marker>"#;

/// The whole picture.
pub(super) fn draw(graph: &Graph<'_>) -> String {
    let nodes = graph.nodes.len();
    let edges = once(&graph.edges);
    let pairs: Vec<(usize, usize)> = edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let layers = layers(nodes, &pairs);
    let places = layout(&layers, |spot| if spot < nodes { ROW } else { BEND });
    let mut body = String::new();
    let mut labels = String::new();
    for (edge, way) in edges.iter().zip(&layers.ways) {
        line(&mut body, &mut labels, edge, way, &places);
    }
    body += &labels;
    for (number, node) in graph.nodes.iter().enumerate() {
        let (x, y) = (MARGIN + places.x[number], TOP + places.y[number]);
        knot(&mut body, node, graph.cycle_of(number).is_some(), x, y);
    }
    let width = (2.0 * MARGIN + places.width).max(LEAST_WIDTH);
    let height = TOP + places.height + LEGEND;
    legend(&mut body, height - LEGEND / 2.0);
    let verdict = verdict(graph);
    let body = format!(
        "<text class=\"title\" x=\"{MARGIN}\" y=\"36\">Which process waits for which</text>\n{verdict}\n{body}"
    );
    Picture {
        title: "holdlock graph: which process waits for which",
        description: None,
        width,
        height,
        style: STYLE,
        definitions: TIPS,
        body: &body,
    }
    .document()
}

/// One of several edges between the same two nodes, as for locks on several parts of a file.
fn once(all: &[Edge]) -> Vec<&Edge> {
    let mut seen = std::collections::HashSet::new();
    all.iter()
        .filter(|edge| seen.insert((edge.from, edge.to)))
        .collect()
}

fn verdict(graph: &Graph<'_>) -> String {
    let certain = graph.cycles.iter().filter(|cycle| cycle.certain).count();
    let possible = graph.cycles.len() - certain;
    let waits = |edge: &&Edge| matches!(edge.relation, Relation::Waits { .. });
    let waits = graph.edges.iter().filter(waits).count();
    let mut facts = format!("{} wait", text::count(waits, "request", "requests"));
    if waits == 1 {
        facts.push('s');
    }
    if possible > 0 {
        facts += &format!(
            ", {}",
            text::count(possible, "possible deadlock", "possible deadlocks")
        );
    }
    let bad = match certain {
        0 => String::new(),
        _ => {
            let text = text::count(certain, "deadlock", "deadlocks");
            format!(r#"<tspan class="bad" dx="8">{text}</tspan>"#)
        }
    };
    format!(r#"<text class="facts" x="{MARGIN}" y="56">{facts}{bad}</text>"#)
}

/// A process or a file.
fn knot(body: &mut String, node: &Node<'_>, in_cycle: bool, x: f64, y: f64) {
    let (class, radius, name, more, hint) = match node {
        Node::Process(process) => {
            let name = format!("pid {} of {}", process.pid, text::user(process));
            let hint = text::process(process);
            (
                "process",
                BOX_HEIGHT / 2.0,
                name,
                brief(&text::command(process)).to_owned(),
                hint,
            )
        }
        Node::File(file) => {
            let whole = text::file(file);
            let (directory, name) = whole.rsplit_once('/').unwrap_or(("", &whole));
            let (directory, name) = (directory.to_owned(), name.to_owned());
            ("file", 3.0, name, format!("{directory}/"), whole)
        }
        Node::Unseen => {
            let name = "a process".to_owned();
            (
                "process",
                BOX_HEIGHT / 2.0,
                name,
                "that cannot be seen".to_owned(),
                String::new(),
            )
        }
    };
    let cycle = if in_cycle { " cycle" } else { "" };
    let (left, top) = (x - BOX / 2.0, y - BOX_HEIGHT / 2.0);
    let [name, more] = [name, more].map(|line| escaped(&head(&line, LETTERS)));
    let hint = escaped(&hint);
    let (above, below, inner) = (y - 3.0, y + 12.0, left + 14.0);
    add(
        body,
        &format!(
            "<g><title>{hint}</title><rect class=\"{class}{cycle}\" x=\"{left:.1}\" y=\"{top:.1}\" \
             width=\"{BOX}\" height=\"{BOX_HEIGHT}\" rx=\"{radius}\"/>\
             <text class=\"name\" x=\"{inner:.1}\" y=\"{above:.1}\">{name}</text>\
             <text class=\"more\" x=\"{inner:.1}\" y=\"{below:.1}\">{more}</text></g>"
        ),
    );
}

/// An edge, through all its bends. Lines leave and enter boxes at the side to which they go.
fn line(body: &mut String, labels: &mut String, edge: &Edge, way: &[usize], places: &Layout) {
    let (Some(first), Some(last)) = (way.first(), way.last()) else {
        return;
    };
    let side = if places.x[*first] <= places.x[*last] {
        1.0
    } else {
        -1.0
    };
    // Lines in both directions between two boxes are drawn beside each other.
    let aside = if side < 0.0 { BOX_HEIGHT / 4.0 } else { 0.0 };
    let point = |spot: usize, shift: f64| {
        let y = TOP + places.y[spot] + aside;
        (MARGIN + places.x[spot] + shift, y)
    };
    let half = side * BOX / 2.0;
    let mut points = vec![point(*first, half)];
    for bend in way.get(1..way.len() - 1).unwrap_or_default() {
        // Straight past the boxes of that column.
        points.extend([point(*bend, -half), point(*bend, half)]);
    }
    points.push(point(*last, -half));
    let (x, y) = points[0];
    let mut path = format!("M{x:.1} {y:.1}");
    for (number, pair) in points.windows(2).enumerate() {
        let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
        if number % 2 == 1 {
            let _ = write!(path, "L{x2:.1} {y2:.1}");
            continue;
        }
        let reach = side * (COLUMN - BOX) / 2.0;
        let (one, two) = (x1 + reach, x2 - reach);
        let _ = write!(path, "C{one:.1} {y1:.1} {two:.1} {y2:.1} {x2:.1} {y2:.1}");
    }
    let (class, label) = match edge.relation {
        Relation::Waits { request, turn } => ("waits", format!("{turn}: {}", request.mode)),
        Relation::Holds(request) => ("holds", request.mode.to_string()),
        Relation::Ends => ("ends", String::new()),
    };
    let (cycle, tip) = if edge.cycle.is_some() {
        (" cycle", "cycle-tip")
    } else {
        ("", "tip")
    };
    add(
        body,
        &format!(r#"<path class="{class}{cycle}" d="{path}" marker-end="url(#{tip})"/>"#),
    );
    // Near the process of the line, because at a file all lines meet.
    let at_end = matches!(edge.relation, Relation::Holds(_));
    let ((x1, y1), (x2, y2)) = match (at_end, points.as_slice()) {
        (false, [one, two, ..]) => (*one, *two),
        (true, [.., two, one]) => (*one, *two),
        _ => return,
    };
    let (x, y) = (x1 + (x2 - x1) * 0.4, y1 + (y2 - y1) * 0.35 - 4.0);
    add(
        labels,
        &format!(r#"<text class="label" x="{x:.1}" y="{y:.1}">{label}</text>"#),
    );
}

fn legend(body: &mut String, y: f64) {
    let mut x = MARGIN;
    for (class, meaning) in [
        ("waits", "waits for, with its turn"),
        ("holds", "held by"),
        ("ends", "waits for the end of"),
        ("holds cycle", "deadlock"),
    ] {
        let (end, text, below) = (x + 36.0, x + 44.0, y + 4.0);
        let tip = if class == "holds cycle" {
            "cycle-tip"
        } else {
            "tip"
        };
        add(
            body,
            &format!(
                r#"<path class="{class}" d="M{x} {y}H{end}" marker-end="url(#{tip})"/><text x="{text}" y="{below}">{meaning}</text>"#
            ),
        );
        x += 72.0 + meaning.len() as f64 * 6.0;
    }
}

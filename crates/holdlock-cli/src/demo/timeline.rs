//! The timeline in the terminal: one row per worker, time from left to right.

use std::ops::Range;

use super::scale;
use super::verdict::{Doing, Half, Lane, meets};
use crate::show::terminal;

/// The size and the abilities of the output.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) unicode: bool,
    pub(super) colour: bool,
}

impl Canvas {
    /// The canvas of standard output.
    pub(super) fn of_terminal() -> Canvas {
        Canvas {
            width: terminal::width().unwrap_or(80),
            unicode: terminal::has_unicode(),
            colour: terminal::has_colour(),
        }
    }
}

/// The content of a cell. Overlaps take precedence, because readers look for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Overlap,
    Section,
    Holding,
    Waiting,
    Idle,
}

impl Cell {
    const ALL: [Cell; 5] = [
        Cell::Section,
        Cell::Overlap,
        Cell::Holding,
        Cell::Waiting,
        Cell::Idle,
    ];

    /// The shapes can be told apart without colour.
    fn glyph(self, unicode: bool) -> char {
        match (self, unicode) {
            (Cell::Overlap, true) => '╳',
            (Cell::Section, true) => '█',
            (Cell::Holding, true) => '━',
            (Cell::Waiting, true) => '░',
            (Cell::Idle, true) => '·',
            (Cell::Overlap, false) => 'X',
            (Cell::Section, false) => '#',
            (Cell::Holding, false) => '=',
            (Cell::Waiting, false) => '.',
            (Cell::Idle, false) => ' ',
        }
    }

    fn manner(self) -> &'static str {
        match self {
            Cell::Overlap => "1;97;41",
            Cell::Section | Cell::Holding => "32",
            Cell::Waiting => "33",
            Cell::Idle => "2",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Cell::Overlap => "overlapping another",
            Cell::Section => "in the critical section",
            Cell::Holding => "past it, still holding",
            Cell::Waiting => "waiting",
            Cell::Idle => "idle",
        }
    }
}

/// Draws rows, axis and legend.
pub(super) fn draw(half: &Half, canvas: &Canvas) -> String {
    let labels: Vec<String> = half.lanes.iter().map(|lane| label(half, lane)).collect();
    let margin = labels.iter().map(String::len).max().unwrap_or(0) + 2;
    // A narrower picture would show nothing; such a terminal has to wrap.
    let columns = canvas.width.saturating_sub(margin + 1).max(20);
    let mut text = String::new();
    for (lane, label) in half.lanes.iter().zip(&labels) {
        let cells: Vec<Cell> = row(half, lane, columns);
        text += &format!("{label:<margin$}{}\n", painted(&cells, canvas));
    }
    text += &axis(half, margin, columns);
    text += &legend(half, margin, canvas);
    text
}

fn label(half: &Half, lane: &Lane) -> String {
    if lane.run == half.run {
        format!("worker {}", lane.worker)
    } else {
        format!("{} worker {}", lane.run, lane.worker)
    }
}

/// A worker's cells. A cell shows the activity that took most of its time. An overlap is shown
/// however short it was, and each section is shown at least once.
fn row(half: &Half, lane: &Lane, columns: usize) -> Vec<Cell> {
    let edge = |column: usize| {
        let length = u128::from(half.time.end - half.time.start);
        half.time.start + (length * column as u128 / columns as u128) as u64
    };
    let mut spans = lane.spans.as_slice();
    (0..columns)
        .map(|column| {
            let time = edge(column)..edge(column + 1);
            while spans
                .first()
                .is_some_and(|(span, _)| span.end <= time.start)
            {
                spans = &spans[1..];
            }
            cell(half, spans, &time)
        })
        .collect()
}

fn cell(half: &Half, spans: &[(Range<u64>, Doing)], time: &Range<u64>) -> Cell {
    let mut shares = [0; 3];
    let within = spans.iter().take_while(|(span, _)| span.start < time.end);
    for (span, doing) in within {
        let part = span.start.max(time.start)..span.end.min(time.end);
        if *doing == Doing::InSection {
            if is_overlapped(half, &part) {
                return Cell::Overlap;
            }
            // The cell of its middle shows it, however short it is.
            if time.contains(&(span.start + (span.end - span.start) / 2)) {
                return Cell::Section;
            }
        }
        shares[*doing as usize] += part.end.saturating_sub(part.start);
    }
    let idle = (time.end - time.start).saturating_sub(shares.iter().sum());
    [
        (shares[Doing::InSection as usize], Cell::Section),
        (shares[Doing::Holding as usize], Cell::Holding),
        (shares[Doing::Waiting as usize], Cell::Waiting),
        (idle, Cell::Idle),
    ]
    .into_iter()
    .rev()
    .max_by_key(|(share, _)| *share)
    .map_or(Cell::Idle, |(_, cell)| cell)
}

fn is_overlapped(half: &Half, time: &Range<u64>) -> bool {
    let first = half
        .overlaps
        .partition_point(|overlap| overlap.end <= time.start);
    half.overlaps
        .get(first)
        .is_some_and(|overlap| meets(overlap, time))
}

/// The cells as text; one escape sequence for each run of equal ones.
fn painted(cells: &[Cell], canvas: &Canvas) -> String {
    cells
        .chunk_by(|a, b| a == b)
        .map(|run| {
            let glyphs: String = run.iter().map(|cell| cell.glyph(canvas.unicode)).collect();
            terminal::painted(&glyphs, run[0].manner(), canvas.colour)
        })
        .collect()
}

fn axis(half: &Half, margin: usize, columns: usize) -> String {
    const APART: u64 = 10;
    let length = (half.time.end - half.time.start).max(1);
    let step = scale::step(length * APART / columns as u64);
    let mut line = " ".repeat(margin);
    for mark in (0..=length).step_by(step as usize) {
        let column = margin + (u128::from(mark) * columns as u128 / u128::from(length)) as usize;
        let name = scale::name(mark, step);
        if column + name.len() <= margin + columns {
            line += &format!("{}{name}", " ".repeat(column.saturating_sub(line.len())));
        }
    }
    line + "\n"
}

fn legend(half: &Half, margin: usize, canvas: &Canvas) -> String {
    let indent = " ".repeat(margin);
    let mut lines = vec![indent.clone()];
    let mut length = margin;
    for cell in Cell::ALL {
        if !half.locked && matches!(cell, Cell::Waiting | Cell::Holding) {
            continue;
        }
        let entry = format!("{} {}   ", painted(&[cell], canvas), cell.meaning());
        let width = 2 + cell.meaning().len();
        if length + width > canvas.width && length > margin {
            lines.push(indent.clone());
            length = margin;
        }
        *lines.last_mut().expect("has one") += &entry;
        length += width + 3;
    }
    lines
        .iter()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;

//! Reports for people.

use std::fmt::Write;

use crate::report::{Bound, Goal, Report};

/// One report as a table with its notes and goals.
pub(crate) fn draw(report: &Report) -> String {
    let mut cells: Vec<Vec<String>> = vec![vec![report.case.to_owned()]];
    cells[0].extend(report.columns.iter().map(|column| column.head.to_owned()));
    for row in &report.rows {
        let mut line = vec![row.name.clone()];
        let columns = report.columns.iter().zip(&row.values);
        line.extend(columns.map(|(column, value)| number(*value, column.digits)));
        cells.push(line);
    }
    let width = |column: usize| {
        let lengths = cells.iter().map(|line| line[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=report.columns.len()).map(width).collect();
    let mut text = format!("\n{}\n", report.title);
    for line in &cells {
        let _ = write!(text, "  {:<1$}", line[0], widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    for goal in &report.goals {
        let _ = writeln!(text, "  {}", sentence(goal));
    }
    text
}

/// All goals of a run, repeated at its end.
pub(crate) fn goals(reports: &[Report]) -> String {
    let mut text = String::from("\n");
    for goal in reports.iter().flat_map(|report| &report.goals) {
        let _ = writeln!(text, "{}", sentence(goal));
    }
    text
}

fn sentence(goal: &Goal) -> String {
    let (bound, limit) = match goal.bound {
        Bound::AtMost(limit) => ("at most", limit),
        Bound::AtLeast(limit) => ("at least", limit),
    };
    format!(
        "goal: {} {bound} {limit} {unit}, measured {measured} {unit}: {}",
        goal.what,
        if goal.met() { "met" } else { "MISSED" },
        unit = goal.unit,
        measured = number(goal.measured, 2),
    )
}

/// The number with spaces between thousands.
fn number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "–".into();
    }
    let plain = format!("{value:.digits$}");
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut text = String::new();
    for (position, digit) in whole.char_indices() {
        if position > 0 && (whole.len() - position) % 3 == 0 && !text.ends_with('-') {
            text.push(' ');
        }
        text.push(digit);
    }
    text + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(number(1234567.891, 1), "1 234 567.9");
        assert_eq!(number(-123.0, 0), "-123");
        assert_eq!(number(999.0, 0), "999");
        assert_eq!(number(f64::NAN, 0), "–");
    }
}

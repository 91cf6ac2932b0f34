//! Aligned columns.

use super::width::{cells, head};

/// A table. It is drawn when all rows are known.
#[derive(Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    heading: &'static str,
    side: Side,
}

/// The side at which the cells of a column are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    /// For numbers.
    Right,
}

const GAP: &str = "  ";

/// The least width of the last column. A narrower terminal has to wrap.
const LEAST: usize = 12;

impl Table {
    /// A column further right.
    pub(crate) fn column(&mut self, heading: &'static str, side: Side) {
        self.columns.push(Column { heading, side });
    }

    /// A row further down, with a cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// One line for each row, after a line with the headings. The last column is cut if lines would
    /// be longer than `width`.
    pub(crate) fn draw(&self, headings: bool, width: Option<usize>) -> String {
        let wide: Vec<usize> = (0..self.columns.len())
            .map(|column| self.wide(column, headings))
            .collect();
        let mut text = String::new();
        if headings {
            let cells = self.columns.iter().map(|column| column.heading);
            self.line(&mut text, cells, &wide, width);
        }
        for row in &self.rows {
            self.line(&mut text, row.iter().map(String::as_str), &wide, width);
        }
        text
    }

    fn wide(&self, column: usize, headings: bool) -> usize {
        let heading = headings.then(|| cells(self.columns[column].heading));
        let below = self.rows.iter().filter_map(|row| row.get(column));
        below
            .map(|cell| cells(cell))
            .chain(heading)
            .max()
            .unwrap_or(0)
    }

    fn line<'c>(
        &self,
        text: &mut String,
        row: impl Iterator<Item = &'c str>,
        wide: &[usize],
        width: Option<usize>,
    ) {
        let begin = text.len();
        let mut used = 0;
        for (number, (cell, column)) in row.zip(&self.columns).enumerate() {
            if number > 0 {
                text.push_str(GAP);
                used += GAP.len();
            }
            let is_last = number + 1 == self.columns.len();
            if is_last && let Some(width) = width {
                text.push_str(&head(cell, width.saturating_sub(used).max(LEAST)));
                continue;
            }
            let fill = " ".repeat(wide[number].saturating_sub(cells(cell)));
            match column.side {
                Side::Left => text.extend([cell, &fill]),
                Side::Right => text.extend([&fill, cell]),
            }
            used += wide[number];
        }
        let end = text[begin..].trim_end().len();
        text.truncate(begin + end);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        table.column("PID", Side::Right);
        table.column("PATH", Side::Left);
        table.column("COMMAND", Side::Left);
        table.row(
            ["7", "/锁", "make all the things"]
                .map(str::to_owned)
                .into(),
        );
        table.row(["4711", "/long", "-"].map(str::to_owned).into());
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let expected = " PID  PATH   COMMAND\n   7  /锁    make all the things\n4711  /long  -\n";
        assert_eq!(table().draw(true, None), expected);
        assert!(!table().draw(false, None).contains("PID"));
    }

    #[test]
    fn only_the_last_column_is_cut_and_only_on_a_terminal() {
        let drawn = table().draw(true, Some(27));
        assert!(drawn.contains("   7  /锁    make all the …\n"), "{drawn}");
        let narrow = table().draw(true, Some(3));
        assert!(narrow.contains("   7  /锁    make all th…\n"), "{narrow}");
    }
}

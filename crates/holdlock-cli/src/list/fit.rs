//! Lines that are no wider than the terminal.

use super::column::Column;
use crate::show::width::{cells, middle};

/// The width to which a path and a command can be shortened.
const PATH: usize = 24;
const COMMAND: usize = 16;

/// The space between two columns.
const GAP: usize = 2;

/// Columns that can be left out. The first ones say least.
const OPTIONAL: [Column; 7] = [
    Column::Range,
    Column::Kind,
    Column::User,
    Column::Mode,
    Column::State,
    Column::Started,
    Column::Held,
];

/// The columns of the list with their cells.
pub(super) struct Cells {
    pub(super) columns: Vec<Column>,
    pub(super) headings: bool,
    pub(super) rows: Vec<Vec<String>>,
}

impl Cells {
    /// Leaves out columns until the rest fits: first columns with the same value in each line, then
    /// the optional ones.
    pub(super) fn leave_out(&mut self, width: usize) {
        let same = OPTIONAL.into_iter().filter(|column| self.is_same(*column));
        let same: Vec<Column> = same.collect();
        let missed = [
            Column::Started,
            Column::Range,
            Column::Kind,
            Column::Held,
            Column::User,
        ];
        for column in same.into_iter().chain(missed) {
            if self.least() > width {
                self.remove(column);
            }
        }
    }

    /// Shortens the middle of paths, so that the rest of a line has room.
    pub(super) fn shorten_paths(&mut self, width: usize) {
        let Some(at) = self.at(Column::Path) else {
            return;
        };
        let others = (0..self.columns.len()).filter(|other| *other != at);
        let others: usize = others.map(|other| self.least_of(other) + GAP).sum();
        let room = width.saturating_sub(others).max(PATH / 2);
        for row in &mut self.rows {
            row[at] = middle(&row[at], room);
        }
    }

    fn at(&self, column: Column) -> Option<usize> {
        self.columns.iter().position(|one| *one == column)
    }

    fn is_same(&self, column: Column) -> bool {
        let Some(at) = self.at(column) else {
            return false;
        };
        self.rows.windows(2).all(|pair| pair[0][at] == pair[1][at])
    }

    fn remove(&mut self, column: Column) {
        if let Some(at) = self.at(column) {
            self.columns.remove(at);
            self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    }

    /// The width of a line when paths and commands are as short as they may be.
    fn least(&self) -> usize {
        let all = (0..self.columns.len()).map(|at| self.least_of(at) + GAP);
        all.sum::<usize>().saturating_sub(GAP)
    }

    fn least_of(&self, at: usize) -> usize {
        let heading = if self.headings {
            cells(self.columns[at].heading())
        } else {
            0
        };
        let rows = self.rows.iter().map(|row| cells(&row[at]));
        let wide = rows.max().unwrap_or(0).max(heading);
        match self.columns[at] {
            Column::Path => wide.min(PATH),
            Column::Command => wide.min(COMMAND),
            _ => wide,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: &[[&str; 10]]) -> Cells {
        Cells {
            columns: Column::USUAL.to_vec(),
            headings: true,
            rows: rows
                .iter()
                .map(|row| row.map(str::to_owned).into())
                .collect(),
        }
    }

    const PATH: &str = "/var/lib/some/rather/deep/directory/of/the/job/nightly.lock";
    const ONE: [&str; 10] = [
        "4711",
        "ann",
        "held",
        "exclusive",
        "flock",
        "all",
        "3 min",
        "2 min",
        PATH,
        "make",
    ];
    const TWO: [&str; 10] = [
        "4712", "bob", "waits 1", "shared", "posix", "1-2", "1 h", "-", PATH, "make",
    ];

    #[test]
    fn columns_that_say_nothing_go_first_and_only_where_there_is_no_room() {
        let columns = |rows: &[[&str; 10]], width| {
            let mut cells = list(rows);
            cells.leave_out(width);
            assert!(width < 50 || cells.least() <= width);
            cells.columns
        };
        assert_eq!(columns(&[ONE, ONE], 200), Column::USUAL);
        let narrow = columns(&[ONE, ONE], 86);
        assert!(!narrow.contains(&Column::Range) && narrow.contains(&Column::Mode));
        let mixed = columns(&[ONE, TWO], 86);
        assert!(!mixed.contains(&Column::Started) && mixed.contains(&Column::Mode));
    }

    #[test]
    fn a_path_loses_its_middle() {
        let mut cells = list(&[ONE, TWO]);
        cells.leave_out(80);
        cells.shorten_paths(80);
        let path = &cells.rows[0][cells.at(Column::Path).unwrap()];
        assert!(
            path.starts_with("/var") && path.ends_with("nightly.lock"),
            "{path}"
        );
    }
}

//! `holdlock list`: all locks of the host.

mod column;
#[cfg(feature = "engines")]
mod engine;
mod filter;
mod fit;
mod row;

use holdlock::inspect::{self, LockedFile, Snapshot};
use serde_json::json;

pub(crate) use column::Column;
pub(crate) use filter::Filter;

use crate::exit::{self, Outcome};
use crate::show::output::print;
use crate::show::table::Table;
use crate::show::{self, terminal};
use fit::Cells;
use row::Row;

/// The options of the command line.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) filter: Filter,
    pub(crate) form: Form,
}

/// The form of the answer.
#[derive(Debug)]
pub(crate) enum Form {
    Table {
        /// None: the usual columns, or as many of them as fit on the terminal.
        columns: Option<Vec<Column>>,
        headings: bool,
    },
    Json,
}

/// Looks at the locks and prints them.
pub(crate) fn list(settings: Settings) -> Outcome {
    #[cfg(feature = "engines")]
    if settings
        .filter
        .locks
        .iter()
        .any(|lock| crate::engines::is_meant(lock))
    {
        return engine::list(settings);
    }
    let filter = settings.filter.prepared()?;
    let mut snapshot =
        inspect::host().map_err(|error| show::proc_failure("cannot look at the locks", error))?;
    filter.name(&mut snapshot.files);
    filter.has_all(&snapshot.files)?;
    let text = match settings.form {
        Form::Table { columns, headings } => {
            let rows = row::rows(&snapshot, &filter);
            table(&rows, columns, headings, terminal::width())
        }
        Form::Json => document(&snapshot, &filter),
    };
    print(&text)?;
    show::tell_unseen(&snapshot);
    Ok(exit::SUCCESS)
}

fn table(
    rows: &[Row<'_>],
    chosen: Option<Vec<Column>>,
    headings: bool,
    width: Option<usize>,
) -> String {
    let is_chosen = chosen.is_some();
    let columns = chosen.unwrap_or_else(|| Column::USUAL.to_vec());
    let cells = |row| columns.iter().map(|column| column.of(row)).collect();
    let rows = rows.iter().map(cells).collect();
    let cells = Cells {
        columns,
        headings,
        rows,
    };
    draw(cells, is_chosen, width)
}

/// The table; on a terminal, one that fits. Columns that the user has chosen stay.
fn draw(mut cells: Cells, is_chosen: bool, width: Option<usize>) -> String {
    if let Some(width) = width {
        if !is_chosen {
            cells.leave_out(width);
        }
        cells.shorten_paths(width);
    }
    let mut table = Table::default();
    for column in &cells.columns {
        table.column(column.heading(), column.side());
    }
    for row in std::mem::take(&mut cells.rows) {
        table.row(row);
    }
    table.draw(cells.headings, width)
}

fn document(snapshot: &Snapshot, filter: &filter::Prepared) -> String {
    let files: Vec<LockedFile> = snapshot
        .files
        .iter()
        .filter_map(|file| filter.reduced(file))
        .collect();
    let document = json!({
        "version": 1,
        "files": show::json::files(&files),
        "unseen": show::json::unseen(&snapshot.unseen),
    });
    show::json::document(&document)
}

//! The result of a case: rows of numbers, and goals.

use serde_json::{Value, json};

use crate::machine::Machine;

/// The result of one case.
pub(crate) struct Report {
    pub(crate) case: &'static str,
    pub(crate) title: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
    pub(crate) goals: Vec<Goal>,
}

/// One column of numbers.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    /// The name in JSON.
    pub(crate) key: &'static str,
    pub(crate) head: &'static str,
    pub(crate) digits: usize,
}

/// The numbers of one peer. NaN for a missing number.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

/// A goal.
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    pub(crate) measured: f64,
    pub(crate) unit: &'static str,
}

/// How far a goal was reached.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Column {
    pub(crate) const fn new(key: &'static str, head: &'static str, digits: usize) -> Column {
        Column { key, head, digits }
    }
}

impl Report {
    pub(crate) fn new(case: &'static str, title: &'static str, columns: &[Column]) -> Report {
        Report {
            case,
            title,
            columns: columns.to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
            goals: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, name: impl Into<String>, values: Vec<f64>) {
        self.rows.push(Row {
            name: name.into(),
            values,
        });
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn goal(
        &mut self,
        what: &'static str,
        bound: Bound,
        measured: f64,
        unit: &'static str,
    ) {
        self.goals.push(Goal {
            what,
            bound,
            measured,
            unit,
        });
    }
}

impl Goal {
    /// A goal that could not be measured is not met.
    pub(crate) fn met(&self) -> bool {
        match self.bound {
            Bound::AtMost(limit) => self.measured <= limit,
            Bound::AtLeast(limit) => self.measured >= limit,
        }
    }
}

/// The whole run as one document.
pub(crate) fn json(machine: &Machine, reports: &[Report]) -> Value {
    json!({
        "machine": machine.json(),
        "cases": reports.iter().map(case_json).collect::<Vec<_>>(),
    })
}

fn case_json(report: &Report) -> Value {
    let row = |row: &Row| {
        let mut object = serde_json::Map::new();
        object.insert("name".into(), row.name.as_str().into());
        for (column, value) in report.columns.iter().zip(&row.values) {
            // NaN becomes null.
            object.insert(column.key.into(), (*value).into());
        }
        Value::Object(object)
    };
    let goal = |goal: &Goal| {
        let (kind, limit) = match goal.bound {
            Bound::AtMost(limit) => ("at_most", limit),
            Bound::AtLeast(limit) => ("at_least", limit),
        };
        json!({
            "what": goal.what,
            kind: limit,
            "measured": goal.measured,
            "unit": goal.unit,
            "met": goal.met(),
        })
    };
    json!({
        "case": report.case,
        "title": report.title,
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
        "notes": report.notes,
        "goals": report.goals.iter().map(goal).collect::<Vec<_>>(),
    })
}

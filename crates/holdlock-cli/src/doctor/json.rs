//! The findings as one JSON document; `holdlock doctor --help` lists the fields.

use serde_json::{Value, json};

use super::finding::{self, Finding};
use crate::show;

/// The whole document, with a newline at its end.
pub(super) fn document(place: &str, engine: Option<&str>, findings: &[Finding]) -> String {
    let mut document = json!({
        "version": 1,
        "path": place,
        "safe": finding::are_safe(findings),
        "findings": findings.iter().map(Finding::to_json).collect::<Value>(),
    });
    if let Some(engine) = engine {
        document["engine"] = engine.into();
    }
    show::json::document(&document)
}

//! The findings as one JSON document; `holdlock doctor --help` lists the fields.

use std::path::Path;

use serde_json::{Value, json};

use super::finding::{self, Finding};
use crate::show;

/// The whole document, with a newline at its end.
pub(super) fn document(path: &Path, findings: &[Finding]) -> String {
    let document = json!({
        "version": 1,
        "path": path.to_string_lossy(),
        "safe": finding::are_safe(findings),
        "findings": findings.iter().map(Finding::to_json).collect::<Value>(),
    });
    show::json::document(&document)
}

//! The report as one JSON document; `holdlock torture --help` lists the fields.

use std::path::Path;

use serde_json::{Value, json};

use super::Settings;
use super::crew::THREADS_EACH;
use super::finding::Finding;
use super::supervisor::Report;
use super::tally::Counts;
use super::text::per_second;
use crate::show;

pub(super) fn document(settings: &Settings, report: &Report, history: Option<&Path>) -> String {
    let left_out = report.left_out.iter();
    let left_out = left_out.map(|(mode, why)| json!({"mode": mode.name(), "why": why}));
    show::json::document(&json!({
        "version": 1,
        "path": show::json::path(&report.place),
        "engine": report.engine,
        "file_system": report.file_system,
        "seed": settings.seed,
        "processes": report.processes,
        "threads": THREADS_EACH,
        "took_ms": report.took.as_millis() as u64,
        "sections": report.tally.sections(),
        "per_second": per_second(report),
        "kills": report.kills,
        "stops": report.stops,
        "breaks": report.breaks,
        "flock_runs": report.flock_runs,
        "modes": report.tally.0.iter().map(mode).collect::<Value>(),
        "left_out": left_out.collect::<Value>(),
        "found": report.finding.as_ref().map(|found| finding(found, report)),
        "history": history.map(show::json::path),
    }))
}

fn mode(counts: &Counts) -> Value {
    let micros = |part| counts.wait_of(part).as_micros() as u64;
    json!({
        "mode": counts.mode.name(),
        "sections": counts.sections,
        "refused": counts.refused,
        "timed_out": counts.timed_out,
        "cancelled": counts.cancelled,
        "unreachable": counts.unreachable,
        "lost": counts.lost,
        "fenced": counts.fenced,
        "median_wait_us": micros(0.5),
        "p99_wait_us": micros(0.99),
        "longest_wait_us": counts.longest.as_micros() as u64,
    })
}

fn finding(finding: &Finding, report: &Report) -> Value {
    json!({
        "kind": finding.kind.name(),
        "mode": finding.mode.name(),
        "what": finding.kind.meaning(),
        "detail": finding.text,
        "participant": finding.participant,
        "other": finding.other,
        "at_ms": finding.at.saturating_sub(report.began) / 1_000_000,
    })
}

//! The findings as lines for people.

use super::finding::{Finding, Level};
use crate::show::terminal;
use crate::show::text::{self, printable};

/// Room for the longest word of a level, `warning`.
const LEVEL: usize = 7;
/// Room for nearly every identifier.
const ID: usize = 18;

/// The colours of levels, on a terminal.
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn of_terminal() -> Paint {
        Paint(terminal::has_colour())
    }

    fn level(&self, level: Level, text: &str) -> String {
        let code = match level {
            Level::Ok => "32",
            Level::Note => "2",
            Level::Warning => "33",
            Level::Unsafe => "31",
        };
        terminal::painted(text, code, self.0)
    }
}

pub(super) fn title(place: &str) -> String {
    format!("{place}\n")
}

/// One line, and the remedy beneath it.
pub(super) fn finding(finding: &Finding, paint: &Paint) -> String {
    let level = paint.level(finding.level, &format!("{:<LEVEL$}", finding.level.word()));
    let mut text = format!(
        "  {level}  {:<ID$}  {}\n",
        finding.id,
        printable(&finding.found)
    );
    if let Some(remedy) = &finding.remedy {
        let indent = 2 + LEVEL + 2 + ID + 2;
        text += &format!("{:indent$}-> {}\n", "", printable(remedy));
    }
    text
}

/// The last line, a summary of the others.
pub(super) fn verdict(findings: &[Finding], paint: &Paint) -> String {
    let count = |level| findings.iter().filter(|found| found.level == level).count();
    let (bad, warnings) = (count(Level::Unsafe), count(Level::Warning));
    let line = if bad > 0 {
        let what = text::count(bad, "reason", "reasons");
        paint.level(
            Level::Unsafe,
            &format!("Locks are not safe here: {what} above"),
        )
    } else if warnings > 0 {
        let what = text::count(warnings, "warning", "warnings");
        paint.level(Level::Warning, &format!("Locks work here, with {what}"))
    } else {
        paint.level(Level::Ok, "Locks work here")
    };
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_beneath_what_was_found() {
        let found = Finding::warning("file-system", "a\x1bb").remedy("do it");
        let text = finding(&found, &Paint(false));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "  warning  file-system         a\\u{1b}b");
        assert_eq!(lines[1].find("->"), Some(31));
        assert_eq!(lines[0].chars().nth(31), Some('a'));
    }

    #[test]
    fn the_verdict_is_that_of_the_worst() {
        let paint = Paint(false);
        let mut findings = vec![Finding::ok("a", ""), Finding::note("b", "")];
        assert_eq!(verdict(&findings, &paint), "Locks work here\n");
        findings.push(Finding::warning("c", ""));
        assert_eq!(
            verdict(&findings, &paint),
            "Locks work here, with 1 warning\n"
        );
        findings.push(Finding::not_safe("d", ""));
        assert_eq!(
            verdict(&findings, &paint),
            "Locks are not safe here: 1 reason above\n"
        );
    }
}

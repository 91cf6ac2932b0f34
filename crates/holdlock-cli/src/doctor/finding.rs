//! One finding for each thing that was looked at or tried.

use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Nothing wrong, but good to know.
    Note,
    /// Locks work, with a limit that may matter.
    Warning,
    /// Locks do not work, or do not exclude all processes that they should.
    Unsafe,
}

const LEVELS: [(Level, &str); 4] = [
    (Level::Ok, "ok"),
    (Level::Note, "note"),
    (Level::Warning, "warning"),
    (Level::Unsafe, "unsafe"),
];

impl Level {
    pub(super) fn word(self) -> &'static str {
        LEVELS[self as usize].1
    }

    fn named(word: &str) -> Option<Level> {
        let found = LEVELS.iter().find(|(_, name)| *name == word);
        found.map(|(level, _)| *level)
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    /// For machines; the same in every version.
    pub(super) id: String,
    pub(super) level: Level,
    /// A sentence, without its full stop.
    pub(super) found: String,
    /// What to do about it, where there is something to do.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn new(level: Level, id: &str, found: impl Into<String>) -> Finding {
        Finding {
            id: id.to_owned(),
            level,
            found: found.into(),
            remedy: None,
        }
    }

    pub(super) fn ok(id: &str, found: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, id, found)
    }

    pub(super) fn note(id: &str, found: impl Into<String>) -> Finding {
        Finding::new(Level::Note, id, found)
    }

    pub(super) fn warning(id: &str, found: impl Into<String>) -> Finding {
        Finding::new(Level::Warning, id, found)
    }

    pub(super) fn not_safe(id: &str, found: impl Into<String>) -> Finding {
        Finding::new(Level::Unsafe, id, found)
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Finding {
        self.remedy = Some(remedy.into());
        self
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "level": self.level.word(),
            "found": self.found,
            "remedy": self.remedy,
        })
    }

    /// None if it does not come from [`to_json`](Finding::to_json).
    pub(super) fn from_json(value: &Value) -> Option<Finding> {
        Some(Finding {
            id: value["id"].as_str()?.to_owned(),
            level: Level::named(value["level"].as_str()?)?,
            found: value["found"].as_str()?.to_owned(),
            remedy: value["remedy"].as_str().map(str::to_owned),
        })
    }
}

/// Locks are safe unless something says that they are not.
pub(super) fn are_safe(findings: &[Finding]) -> bool {
    findings.iter().all(|found| found.level != Level::Unsafe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_survives_the_pipe() {
        for finding in [
            Finding::ok("a", "b"),
            Finding::not_safe("c", "d\n\"").remedy("e"),
        ] {
            assert_eq!(Finding::from_json(&finding.to_json()), Some(finding));
        }
        assert_eq!(Finding::from_json(&json!({"id": "x", "level": "y"})), None);
    }

    #[test]
    fn levels_have_their_own_words() {
        for (level, word) in LEVELS {
            assert_eq!((level.word(), Level::named(word)), (word, Some(level)));
        }
    }
}

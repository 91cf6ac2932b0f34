//! What `diagnose` finds out about an engine.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Nothing wrong, but good to know.
    Note,
    /// Locks work, with a limit that may matter.
    Warning,
    /// Locks do not exclude all that they should.
    Unsafe,
}

/// One thing that was looked at or tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// For machines, the same in every version: `version`, `pooler`, `clock`.
    pub id: &'static str,
    /// How bad it is.
    pub level: Level,
    /// A sentence, without its full stop.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn new(level: Level, id: &'static str, found: impl Into<String>) -> Finding {
        Finding {
            id,
            level,
            found: found.into(),
            remedy: None,
        }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Finding {
        self.remedy = Some(remedy.into());
        self
    }
}

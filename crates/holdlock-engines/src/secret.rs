//! Passwords: where they come from, and that they are never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::url::wrong;

/// A password. Neither `Debug` nor any message shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Secret {
        Secret(text)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The variable that names a file with the password, for all engines.
pub(crate) const PASSWORD_FILE: &str = "HOLDLOCK_PASSWORD_FILE";

/// The password in the file that HOLDLOCK_PASSWORD_FILE names, if it is set: the first line.
pub(crate) fn from_named_file() -> Result<Option<Secret>, Error> {
    let Some(path) = std::env::var_os(PASSWORD_FILE).map(PathBuf::from) else {
        return Ok(None);
    };
    from_file(&path).map(Some).map_err(|error| {
        wrong(
            &format!(
                "{PASSWORD_FILE} names {}, which cannot be read: {error}",
                path.display()
            ),
            "correct the path, or let this user read the file",
        )
    })
}

fn from_file(path: &Path) -> std::io::Result<Secret> {
    let text = std::fs::read_to_string(path)?;
    Ok(Secret(text.lines().next().unwrap_or_default().to_owned()))
}

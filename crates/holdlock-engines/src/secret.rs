//! Passwords: where they come from, and that they are never shown.

use std::fmt;
use std::fs::File;
use std::io::Read;
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
    // A device such as /dev/zero has no end.
    const LONGEST: u64 = 1 << 16;
    let mut text = String::new();
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(Secret(text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_not_read_to_the_end() {
        let long = std::env::temp_dir().join(format!("holdlock-secret-{}", std::process::id()));
        std::fs::write(&long, "a".repeat(1 << 17)).expect("written");
        let secret = from_file(&long).expect("read");
        std::fs::remove_file(&long).expect("removed");
        assert_eq!(secret.reveal().len(), 1 << 16);
    }
}

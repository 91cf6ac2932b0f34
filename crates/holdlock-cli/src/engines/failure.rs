//! The exit codes of what can go wrong at an engine.

use holdlock_engines::Error;

use crate::exit::{self, Failure};

/// The failure for an error of an engine. Its message has no password.
pub(crate) fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Url { .. } => exit::USAGE,
        _ if error.is_conflict() => exit::CONFLICT,
        Error::Unreachable { .. } => exit::UNREACHABLE,
        Error::Credentials { .. } => exit::CREDENTIALS,
        Error::Unsuitable { .. } => exit::UNSUITABLE,
        Error::Lost { .. } => exit::LOST,
        _ => exit::OS_ERROR,
    };
    Failure::new(code, error.to_string())
}

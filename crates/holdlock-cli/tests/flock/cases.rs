//! All command lines that are compared.

use crate::{parsing, running};

pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    [
        parsing::USAGE,
        parsing::ABBREVIATIONS,
        parsing::NUMBERS,
        running::FILES,
        running::DESCRIPTORS,
        running::COMMANDS,
        running::SHELLS,
        running::CONFLICTS,
        running::STREAMS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

//! Mutants of names and commands of others that are shown.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "names",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "names: a command is made printable when it is read",
            file: "inspect/proc/process.rs",
            with: "printable(OsStr::from_bytes(&text)).prefix(COMMAND_LENGTH)",
            without: "String::from_utf8_lossy(&text).into_owned()",
            test: ("inspect", "names::the_title_of"),
        },
        Mutant {
            name: "names: unprintable characters are escaped",
            file: "inspect/printable.rs",
            with: "        if is_printable(c) {",
            without: "        if is_printable(c) || !c.is_ascii() {",
            test: ("inspect", "names::"),
        },
        Mutant {
            name: "names: the path of an error is printable",
            file: "error/message.rs",
            with: "printable(self.path()))",
            without: "self.path().display())",
            test: ("inspect", "names::messages"),
        },
        Mutant {
            name: "names: the paths of a deadlock are printable",
            file: "inspect/deadlock.rs",
            with: "printable(path))",
            without: "path.display())",
            test: ("inspect", "names::messages"),
        },
    ],
};

//! Puts the functions that every start needs side by side, with their constants.
//!
//! The linker would leave them where their crates are. They would then lie in three times as many
//! pages, the more so as the engines bring most of the code, and each page costs a page fault.

use std::fs;

use super::target_directory;
use crate::run::Done;

/// Functions and members of archives, one in a line.
const FIRST: &str = include_str!("first.txt");

/// Arguments of rustc by which the linker does so.
pub(super) fn arguments() -> Done<[String; 4]> {
    let directory = target_directory();
    let path = directory.join("first.ld");
    let script = script();
    // Another task may be reading it.
    if !fs::read_to_string(&path).is_ok_and(|old| old == script) {
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(&path, script))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let path = format!("link-arg={}", path.display());
    Ok(["-C", "link-arg=-T", "-C", &path].map(str::to_owned))
}

/// A script that adds two sections to those that linkers make by themselves.
fn script() -> String {
    let mut script = String::new();
    for section in [".text", ".rodata"] {
        script.push_str(&format!("SECTIONS\n{{\n  {section}.first :\n  {{\n"));
        for name in names() {
            script.push_str(&inputs(section, name));
        }
        script.push_str(&format!("  }}\n}}\nINSERT BEFORE {section};\n"));
    }
    script
}

fn names() -> impl Iterator<Item = &'static str> {
    FIRST.lines().filter(|line| !line.starts_with('#'))
}

/// The compiler gives each function a section with its name. Those of rarely used functions have a
/// word before the name.
fn inputs(section: &str, name: &str) -> String {
    if name.contains(':') {
        return format!("    *{name}({section} {section}.*)\n");
    }
    let hash = if name.starts_with("_ZN") { "17h*" } else { "" };
    format!("    *({section}.{name}{hash} {section}.*.{name}{hash})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_sections_of_the_linker() {
        assert_eq!(inputs(".text", "main"), "    *(.text.main .text.*.main)\n");
        assert_eq!(
            inputs(".text", "_ZN1a1b"),
            "    *(.text._ZN1a1b17h* .text.*._ZN1a1b17h*)\n"
        );
        assert_eq!(
            inputs(".rodata", "libc*.a:malloc.o"),
            "    *libc*.a:malloc.o(.rodata .rodata.*)\n"
        );
        assert!(names().count() > 100);
    }
}

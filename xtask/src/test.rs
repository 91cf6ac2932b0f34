//! `cargo xtask test`: everything that must hold.

use crate::run::{Done, cargo, root, run};
use crate::{dist, python, rust};

pub(crate) fn test() -> Done {
    no_merge_is_left_open()?;
    run(cargo(&["fmt", "--all", "--check"]))?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        rust::FEATURES,
        "--",
        "-D",
        "warnings",
    ];
    run(cargo(&lints))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    run(docs)?;
    let dist = dist::dist()?;
    let out = &mut std::io::stdout();
    let mut outcome = rust::test(&rust::ALL, &dist, out)?;
    outcome.add(python::test(out)?);
    outcome.conclude()
}

/// The tests of the Python module only.
pub(crate) fn python() -> Done {
    let outcome = python::test(&mut std::io::stdout())?;
    outcome.conclude()
}

/// No compiler reads the documents, so a forgotten conflict would stay in them.
fn no_merge_is_left_open() -> Done {
    let open = std::process::Command::new("git")
        .args(["grep", "-nE", "^(<{7}|>{7}) "])
        .current_dir(root())
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if open.stdout.is_empty() {
        return Ok(());
    }
    let places = String::from_utf8_lossy(&open.stdout).into_owned();
    Err(format!("a merge is left open:\n{places}"))
}

#[cfg(test)]
mod tests {
    use super::root;

    #[test]
    fn the_source_files_that_the_documents_name_are_there() {
        for document in ["docs/architecture.md", "CONTRIBUTING.md"] {
            let text = std::fs::read_to_string(root().join(document)).expect(document);
            let is_part = |c: char| c.is_ascii_alphanumeric() || "_-/.".contains(c);
            let names: Vec<&str> = text
                .split(|c| !is_part(c))
                .filter(|word| word.ends_with(".rs"))
                .collect();
            assert!(names.len() > 5, "{document}");
            for name in names {
                let there = ["", "crates/holdlock/src"].map(|at| root().join(at).join(name));
                assert!(
                    there.iter().any(|path| path.is_file()),
                    "{document}: {name}"
                );
            }
        }
    }
}

//! `cargo xtask mutants`: takes each mechanism out, in a copy of the tree, and checks that the test
//! that guards it fails. A test that passes whatever the code does guards nothing.

mod list;

use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{Done, root};
use list::MUTANTS;

/// A mechanism, how to take it out, and the test that must fail then.
struct Mutant {
    name: &'static str,
    /// The source file, below crates/holdlock/src.
    file: &'static str,
    with: &'static str,
    without: &'static str,
    /// A test target and a part of the test's name. The target is one of crates/conformance, after
    /// `command/` one of crates/holdlock-cli, or `library` for the unit tests of the library, or
    /// `model` for the models of crates/gate-model.
    test: (&'static str, &'static str),
}

pub(crate) fn mutants(only: Option<&str>) -> Done {
    let tree = root().join("target/mutants/tree");
    copy_tree(&tree)?;
    let mut missed = Vec::new();
    let chosen = MUTANTS
        .iter()
        .filter(|mutant| only.is_none_or(|only| mutant.name.contains(only)));
    for mutant in chosen {
        let noticed = try_one(mutant, &tree)?;
        println!(
            "{}  {}  ({}: {})",
            if noticed { "noticed" } else { "MISSED " },
            mutant.name,
            mutant.test.0,
            mutant.test.1
        );
        if !noticed {
            missed.push(mutant.name);
        }
    }
    if missed.is_empty() {
        Ok(())
    } else {
        Err(format!("no test noticed: {}", missed.join(", ")))
    }
}

/// Copies the files that git knows: no builds and no scratch files.
fn copy_tree(tree: &Path) -> Done {
    let failed = |error: std::io::Error| format!("copying the tree: {error}");
    if tree.exists() {
        std::fs::remove_dir_all(tree).map_err(failed)?;
    }
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .map_err(failed)?;
    for name in String::from_utf8_lossy(&listed.stdout).lines() {
        let to = tree.join(name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        if root().join(name).is_file() {
            std::fs::copy(root().join(name), to).map_err(failed)?;
        }
    }
    Ok(())
}

fn try_one(mutant: &Mutant, tree: &Path) -> Done<bool> {
    let file = tree.join("crates/holdlock/src").join(mutant.file);
    let original = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    if original.matches(mutant.with).count() != 1 {
        return Err(format!(
            "{}: `{}` is not found once in {}",
            mutant.name, mutant.with, mutant.file
        ));
    }
    let write = |text: &str| std::fs::write(&file, text).map_err(|error| error.to_string());
    write(&original.replace(mutant.with, mutant.without))?;
    let (package, target) = match mutant.test.0.split_once('/') {
        Some((_, target)) => ("holdlock-cli", vec!["--test", target]),
        None if mutant.test.0 == "library" => ("holdlock", vec!["--lib"]),
        None if mutant.test.0 == "model" => ("gate-model", vec!["--lib"]),
        None => ("holdlock-conformance", vec!["--test", mutant.test.0]),
    };
    let test = || {
        let mut command = Command::new("cargo");
        command
            .args(["test", "--quiet", "--package", package])
            .args(&target)
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", root().join("target/mutants/target"))
            .env("RUSTFLAGS", "-A warnings")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let builds = test().arg("--no-run").status();
    let passes = test().arg(mutant.test.1).status();
    write(&original)?;
    match (builds, passes) {
        (Ok(builds), Ok(passes)) if builds.success() => Ok(!passes.success()),
        _ => Err(format!("{}: does not build", mutant.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mechanism_is_found_once_in_its_file() {
        for mutant in MUTANTS {
            let path = root().join("crates/holdlock/src").join(mutant.file);
            let text = std::fs::read_to_string(&path).expect(mutant.file);
            assert_eq!(text.matches(mutant.with).count(), 1, "{}", mutant.name);
        }
    }

    /// The files of a test target, as one text.
    fn sources(target: &str) -> String {
        let (tests, name) = match target.split_once('/') {
            Some((_, name)) => ("crates/holdlock-cli/tests", name),
            None => ("crates/conformance/tests", target),
        };
        let directory = root().join(tests);
        if target == "library" {
            return MUTANTS
                .iter()
                .map(|mutant| file(&root().join("crates/holdlock/src").join(mutant.file)))
                .collect();
        }
        if target == "model" {
            return file(&root().join("crates/gate-model/src/models.rs"));
        }
        let single = directory.join(name).with_extension("rs");
        if single.is_file() {
            return file(&single);
        }
        let files = std::fs::read_dir(directory.join(name)).expect(target);
        files
            .map(|entry| file(&entry.expect("an entry").path()))
            .collect()
    }

    fn file(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn every_mutant_names_a_test_that_exists() {
        for mutant in MUTANTS {
            let (target, test) = mutant.test;
            // `names::` stands for all tests of that module.
            let name = test.rsplit("::").next().unwrap_or(test);
            let text = sources(target);
            let mut functions = text.split("fn ").skip(1).map(|rest| rest.split('(').next());
            let is_there = functions.any(|function| function.is_some_and(|f| f.contains(name)));
            assert!(is_there, "{}: {target} {test}", mutant.name);
        }
    }
}

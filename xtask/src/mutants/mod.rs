//! `cargo xtask mutants`: takes each mechanism out, in a copy of the tree, and
//! sees whether the test that guards it notices. A test which passes whatever
//! the code does guards nothing.

mod list;

use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{Done, root};
use list::MUTANTS;

/// A mechanism, how to take it out, and the test that must fail then.
struct Mutant {
    name: &'static str,
    /// Below crates/holdlock/src.
    file: &'static str,
    with: &'static str,
    without: &'static str,
    /// A test target of crates/conformance, or after `command/` of crates/holdlock-cli, or
    /// `library` for the tests inside of it; and a part of the test's name.
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

/// What git knows, so that neither builds nor scratch files are copied.
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
        None => ("holdlock-conformance", vec!["--test", mutant.test.0]),
    };
    let cargo = |verb: &str| {
        let mut command = Command::new("cargo");
        command
            .args([verb, "--quiet", "--package", package])
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", root().join("target/mutants/target"))
            .env("RUSTFLAGS", "-A warnings")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let builds = cargo("build").arg("--tests").status();
    let passes = cargo("test").args(target).arg(mutant.test.1).status();
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
}

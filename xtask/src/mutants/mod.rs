//! `cargo xtask mutants`: takes each mechanism out, in a copy of the tree, and checks that the test
//! that guards it fails. A test that passes whatever the code does guards nothing.

mod list;
mod place;
mod target;
mod whole;

use std::collections::HashMap;
use std::path::Path;

use crate::run::{Done, root};
use list::AREAS;
use target::{Answer, Target};

/// A part of the product whose mechanisms are taken out.
struct Area {
    name: &'static str,
    /// The folder of the sources.
    sources: &'static str,
    mutants: &'static [Mutant],
}

/// A mechanism, how to take it out, and the test that must fail then.
struct Mutant {
    name: &'static str,
    /// The source file, below the folder of the area.
    file: &'static str,
    with: &'static str,
    without: &'static str,
    /// A test target, as `target.rs` reads it, and a part of the test's name.
    test: (&'static str, &'static str),
}

/// Tries the mutants whose name or area contains this text.
pub(crate) fn mutants(only: Option<&str>) -> Done {
    let tree = root().join("target/mutants/tree");
    place::copy_tree(&tree)?;
    let is_chosen = |(area, mutant): &(&Area, &Mutant)| {
        only.is_none_or(|only| mutant.name.contains(only) || area.name == only)
    };
    // A test that fails in any case notices nothing. All tests see the unchanged tree first, so
    // that it is built only once.
    let mut unchanged = HashMap::new();
    for (area, mutant) in all().filter(is_chosen) {
        let run = || Target::of(mutant.test.0, area).run(mutant.test.1, &tree);
        unchanged.entry(mutant.test).or_insert_with(run);
    }
    let mut missed = Vec::new();
    for (area, mutant) in all().filter(is_chosen) {
        let target = Target::of(mutant.test.0, area);
        let answer = match &unchanged[&mutant.test] {
            Answer::Passed => try_one(area, mutant, &target, &tree)?,
            Answer::Failed => Answer::Skipped("FAILS IN ANY CASE".to_owned()),
            other => other.clone(),
        };
        let said = match &answer {
            Answer::Failed => "noticed",
            Answer::Passed => "MISSED ",
            Answer::DoesNotBuild => "NO BUILD",
            Answer::Skipped(why) => why,
        };
        let (source, test) = (target.source.display(), mutant.test.1);
        println!("{said}  {}: {}  ({source}: {test})", area.name, mutant.name);
        if !matches!(answer, Answer::Failed) {
            missed.push(mutant.name);
        }
    }
    if missed.is_empty() {
        Ok(())
    } else {
        Err(format!("no test noticed: {}", missed.join(", ")))
    }
}

fn all() -> impl Iterator<Item = (&'static Area, &'static Mutant)> {
    let with_area = |area: &'static Area| area.mutants.iter().map(move |mutant| (area, mutant));
    AREAS.iter().flat_map(with_area)
}

/// What the test says about the tree without the mechanism.
fn try_one(area: &Area, mutant: &Mutant, target: &Target, tree: &Path) -> Done<Answer> {
    let file = tree.join(area.sources).join(mutant.file);
    let original = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    if original.matches(mutant.with).count() != 1 {
        return Err(format!(
            "{}: `{}` is not found once in {}",
            mutant.name, mutant.with, mutant.file
        ));
    }
    let write = |text: &str| std::fs::write(&file, text).map_err(|error| error.to_string());
    write(&original.replace(mutant.with, mutant.without))?;
    let answer = target.run(mutant.test.1, tree);
    write(&original)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mechanism_is_found_once_in_its_file() {
        for (area, mutant) in all() {
            let path = root().join(area.sources).join(mutant.file);
            let text = std::fs::read_to_string(&path).expect(mutant.file);
            assert_eq!(text.matches(mutant.with).count(), 1, "{}", mutant.name);
        }
    }

    #[test]
    fn every_mutant_names_a_test_that_exists() {
        for (area, mutant) in all() {
            let (target, test) = mutant.test;
            // `names::` stands for all tests of that module.
            let name = test.rsplit("::").next().unwrap_or(test);
            let text = Target::of(target, area).sources();
            let text = text.replace("def ", "fn ");
            let mut functions = text.split("fn ").skip(1).map(|rest| rest.split('(').next());
            let is_there = functions.any(|function| function.is_some_and(|f| f.contains(name)));
            assert!(is_there, "{}: {target} {test}", mutant.name);
        }
    }
}

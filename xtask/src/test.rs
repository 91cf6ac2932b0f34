//! `cargo xtask test`: every check that must pass.

use crate::run::{Done, cargo, root, run};
use crate::rust::Tests;
use crate::{dist, lanes, python, rust};

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
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let dist = std::thread::scope(|scope| {
        // Its last step takes minutes on one processor.
        let dist = scope.spawn(dist::dist_to_keep);
        run(cargo(&lints))?;
        run(docs)?;
        dist.join().expect("dist returns")
    })?;
    let (tests, python) = std::thread::scope(|scope| {
        let python = scope.spawn(python::prepare);
        let tests = Tests::build(&rust::ALL)?;
        Ok::<_, String>((tests, python.join().expect("prepare returns")?))
    })?;
    let out = &mut std::io::stdout();
    let mut jobs = python.checks();
    jobs.extend(tests.jobs(&dist));
    jobs.push(rust::documentation());
    let mut outcome = lanes::run(jobs, out)?;
    // It has another command in the same place.
    let tests = Tests::build(&rust::NO_ENGINES)?;
    outcome.add(lanes::run(tests.jobs(&dist).collect(), out)?);
    outcome.conclude()
}

/// The tests of the Python module only.
pub(crate) fn python() -> Done {
    let python = python::prepare()?;
    lanes::run(python.checks(), &mut std::io::stdout())?.conclude()
}

/// No compiler reads the documents, so a forgotten conflict marker would stay in them.
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
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::root;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The files that git knows and whose names match.
    fn files(pattern: &str) -> Vec<PathBuf> {
        let mut git = Command::new("git");
        git.args(["ls-files", pattern]).current_dir(root());
        let output = git.output().expect("git");
        let names = String::from_utf8(output.stdout).expect("names are UTF-8");
        names.lines().map(|name| root().join(name)).collect()
    }

    #[test]
    fn the_source_files_that_the_documents_name_exist() {
        for document in ["docs/architecture.md", "CONTRIBUTING.md"] {
            let text = read(&root().join(document));
            let is_part = |c: char| c.is_ascii_alphanumeric() || "_-/.".contains(c);
            let names: Vec<&str> = text
                .split(|c| !is_part(c))
                .filter(|word| word.ends_with(".rs"))
                .collect();
            assert!(names.len() > 5, "{document}");
            for name in names {
                let sources = [
                    "",
                    "crates/holdlock/src",
                    "crates/holdlock-cli/src",
                    "crates/holdlock-engines/src",
                ];
                let places = sources.map(|at| root().join(at).join(name));
                assert!(
                    places.iter().any(|path| path.is_file()),
                    "{document}: {name}"
                );
            }
        }
    }

    #[test]
    fn prose_ends_at_column_100() {
        let is_table_or_code = |comment: &str| {
            let text = comment.trim_start_matches(['/', '!']);
            text.starts_with(" |") || text.starts_with(" #") || text.starts_with("     ")
        };
        let mut too_long = Vec::new();
        for file in files("*.rs").into_iter().chain(files("*.md")) {
            let is_source = file.extension().is_some_and(|is| is == "rs");
            let mut in_code = false;
            for (number, line) in read(&file).lines().enumerate() {
                let prose = if is_source {
                    let comment = line.trim_start();
                    comment.starts_with("//") && !is_table_or_code(comment)
                } else {
                    in_code ^= line.starts_with("```");
                    !in_code && !line.starts_with('|') && !line.contains("](")
                };
                let is_long = line.chars().count() > 100 && line.split_whitespace().count() > 8;
                if prose && is_long {
                    too_long.push(format!("{}:{}: {line}", file.display(), number + 1));
                }
            }
        }
        assert!(too_long.is_empty(), "{}", too_long.join("\n"));
    }

    /// The heading as a link spells it.
    fn anchor(heading: &str) -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    }

    #[test]
    fn the_links_of_the_documents_lead_somewhere() {
        for document in files("*.md") {
            let text = read(&document);
            let links = text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !link.contains("://")) {
                let (path, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = match path {
                    "" => document.clone(),
                    path => document.with_file_name("").join(path),
                };
                let shown = format!("{}: {link}", document.display());
                assert!(target.exists(), "{shown}");
                let is_there = || {
                    let headings = read(&target);
                    let mut headings = headings.lines().filter(|line| line.starts_with('#'));
                    headings.any(|line| anchor(line) == heading)
                };
                assert!(heading.is_empty() || is_there(), "{shown}");
            }
        }
    }

    #[test]
    fn every_published_crate_has_its_licences_and_a_readme() {
        let mut published = 0;
        for manifest in files("crates/*/Cargo.toml") {
            if read(&manifest).contains("publish = false") {
                continue;
            }
            published += 1;
            for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
                let ours = read(&manifest.with_file_name(name));
                assert_eq!(ours, read(&root().join(name)), "{}", manifest.display());
            }
            assert!(manifest.with_file_name("README.md").is_file());
        }
        assert_eq!(
            published, 4,
            "holdlock, holdlock-cli, holdlock-engines, and what their tests share"
        );
    }
}

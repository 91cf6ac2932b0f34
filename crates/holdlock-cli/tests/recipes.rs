//! The blocks of `docs/recipes.md`, run as cron, systemd, make and the others run them.
//!
//! The programs that the blocks name are one script, which notes its name, its arguments and the
//! locks that are held while it runs. A block is right if its programs run under its lock.

mod support;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use support::peers::{container, has, interpreter, skipped};
use support::{Finished, Place, Running};

const PAGE: &str = include_str!("../../../docs/recipes.md");

/// The blocks of the page, which the tests below run: heading, language, and their number.
const BLOCKS: [(&str, &str, usize); 12] = [
    ("cron", "crontab", 1),
    ("systemd", "ini", 3),
    ("CI job", "yaml", 1),
    ("make", "make", 1),
    ("Docker", "dockerfile", 1),
    ("Docker", "yaml", 1),
    ("A script that locks itself", "sh", 1),
    ("Ask before you start", "sh", 1),
    ("Readers and a writer, and two locks at once", "sh", 1),
    ("A lock for shell, flock(1) and Python", "sh", 1),
    ("A lock for shell, flock(1) and Python", "python", 2),
    ("logrotate", "text", 1),
];

/// Notes in `$PLACE/ran` each program with its locks, and whether two programs run at once.
const PROGRAM: &str = r#"#!/bin/sh
mkdir "$PLACE/inside" || echo "two at once" >> "$PLACE/ran"
locks=$("$HOLDLOCK" list -n -o path "$PLACE" | sort -u | sed 's:.*/::')
echo ${0##*/} "$@" under $locks >> "$PLACE/ran"
rmdir "$PLACE/inside"
"#;

const PROGRAMS: [&str; 14] = [
    "backup-files",
    "build-index",
    "check-backup",
    "flash-and-test",
    "import-data",
    "import-orders",
    "link-program",
    "make-report",
    "migrate-database",
    "move-to-archive",
    "nightly-report",
    "reload-orders",
    "sync-orders",
    "worker",
];

/// The blocks of a language below a heading.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = "";
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("## ") {
            current = text;
        } else if let Some(of) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let is_known = |(heading, language, _): &(&str, &str, usize)| {
                (*heading, *language) == (current, of)
            };
            assert!(
                BLOCKS.iter().any(is_known),
                "no test runs the {of} of {current}"
            );
            if (current, of) == (heading, language) {
                found.push(body.join("\n") + "\n");
            }
        }
    }
    let number = |block: &&(&str, &str, usize)| (block.0, block.1) == (heading, language);
    let expected = BLOCKS.iter().find(number).map(|block| block.2);
    assert_eq!(Some(found.len()), expected, "{language} of {heading}");
    found
}

/// A host with the programs and directories of the page.
struct Host {
    place: Place,
}

impl Host {
    fn new() -> Host {
        let place = Place::new();
        for directory in ["bin", "mount", "srv/ci", "srv/data", "srv/log"] {
            std::fs::create_dir_all(place.join(directory)).unwrap();
        }
        let host = Host { place };
        symlink(
            env!("CARGO_BIN_EXE_holdlock"),
            host.place.join("bin/holdlock"),
        )
        .unwrap();
        for name in PROGRAMS {
            host.write_program(&format!("bin/{name}"), PROGRAM);
        }
        host
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.place.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn write_program(&self, name: &str, text: &str) {
        self.place.write_program(name, text);
    }

    /// The blocks with the directories of this host.
    fn blocks(&self, heading: &str, language: &str) -> Vec<String> {
        let blocks = blocks(heading, language).into_iter();
        blocks.map(|text| self.adapted(&text)).collect()
    }

    fn block(&self, heading: &str, language: &str) -> String {
        self.blocks(heading, language).remove(0)
    }

    fn adapted(&self, text: &str) -> String {
        let place = self.place.join("").display().to_string();
        text.replace("/srv/", &format!("{place}srv/"))
            .replace("/locks/", &format!("{place}mount/"))
            .replace("/usr/local/bin/", &format!("{place}bin/"))
    }

    fn prepare(&self, command: &mut Command) {
        let path = format!(
            "{}:/usr/bin:/bin:/usr/sbin:/sbin",
            self.place.join("bin").display()
        );
        command
            .env("PATH", path)
            .env("PLACE", self.place.join(""))
            .env_remove("IS_LOCKED");
    }

    fn run(&self, mut command: Command) -> Finished {
        self.prepare(&mut command);
        Running::start(command).finish()
    }

    fn shell(&self, script: &str) -> Finished {
        self.run(self.place.shell(script))
    }

    /// Runs a script, which has to succeed.
    #[track_caller]
    fn must(&self, script: &str) {
        let finished = self.shell(script);
        assert_eq!(finished.code(), 0, "{script}: {}", finished.stderr);
    }

    /// The programs that ran since the last call, sorted.
    #[track_caller]
    fn expect_ran(&self, expected: &[&str]) {
        let file = self.place.join("ran");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(&file);
        let mut ran: Vec<&str> = text.lines().collect();
        ran.sort_unstable();
        assert_eq!(ran, expected);
    }
}

#[test]
fn cron_jobs_run_under_their_lock_and_are_skipped_silently() {
    let host = Host::new();
    let table = host.block("cron", "crontab");
    let jobs: Vec<&str> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    // Lines of variables come first.
    let (variables, jobs): (Vec<&str>, Vec<&str>) = jobs
        .into_iter()
        .partition(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    assert_eq!((variables.len(), jobs.len()), (2, 3));
    let run = |job: &str| {
        let mut rest = job;
        for _ in 0..5 {
            let (field, after) = rest.split_once(' ').unwrap();
            assert!(field.chars().all(|c| "*/,-0123456789".contains(c)), "{job}");
            rest = after.trim_start();
        }
        // cron(8) would make a line break of it.
        assert!(!rest.contains('%'), "{job}");
        let mut command = host.place.shell(rest);
        command.env("SHELL", "/bin/sh");
        host.run(command)
    };
    for job in &jobs {
        let finished = run(job);
        assert_eq!(finished.code(), 0, "{job}: {}", finished.stderr);
    }
    host.expect_ran(&[
        "backup-files under backup.lock",
        "check-backup under backup.lock",
        "sync-orders under sync.lock",
    ]);
    let log = std::fs::read_to_string(host.place.join("srv/log/runs.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 1);

    let _holder = host.place.hold(&["sync"]);
    let finished = run(jobs[0]);
    assert_eq!((finished.code(), finished.text()), (0, ""));
    assert_eq!(finished.stderr, "");
    host.expect_ran(&[]);
}

#[test]
fn systemd_accepts_the_units_and_their_commands_hold_the_lock() {
    let host = Host::new();
    let mut units = Vec::new();
    let mut commands = Vec::new();
    for unit in host.blocks("systemd", "ini") {
        let (path, _) = unit.split_once('\n').unwrap();
        let name = path.rsplit('/').next().unwrap();
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        commands.extend(start.map(str::to_owned));
        units.push(host.write(name, &unit));
    }
    for command in &commands {
        host.must(command);
    }
    host.expect_ran(&[
        "nightly-report under nightly.lock",
        "worker under worker.lock",
    ]);
    // RestartPreventExitStatus= relies on this exit code.
    let _holder = host.place.hold(&["worker"]);
    assert_eq!(host.shell(&commands[1]).code(), 75);

    if has("systemd-analyze") {
        let mut verify = host.place.command("systemd-analyze");
        verify.arg("verify").args(&units);
        let finished = host.run(verify);
        assert_eq!((finished.code(), &*finished.stderr), (0, ""));
    }
}

#[test]
fn a_ci_step_runs_under_its_lock() {
    let host = Host::new();
    let job = host.block("CI job", "yaml");
    let mut steps = job
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- run: "));
    let step = steps.find(|step| step.starts_with("holdlock ")).unwrap();
    host.must(step);
    host.expect_ran(&["flash-and-test under device.lock"]);
}

#[test]
fn make_links_one_program_at_a_time() {
    if !has("make") {
        return;
    }
    let host = Host::new();
    host.write("Makefile", &host.block("make", "make"));
    host.must("touch client.o server.o admin.o && make -s -j3");
    host.expect_ran(&[
        "link-program admin admin.o under link.lock",
        "link-program client client.o under link.lock",
        "link-program server server.o under link.lock",
    ]);
    let nested = host.shell("holdlock run ./link.lock -- make client");
    assert!(nested.stderr.contains("Error 65"), "{}", nested.stderr);
    host.expect_ran(&[]);
}

#[test]
fn the_first_process_of_a_container_runs_the_command_under_the_lock() {
    let host = Host::new();
    let dockerfile = host.block("Docker", "dockerfile");
    let compose = host.block("Docker", "yaml");
    for (text, keys) in [
        (dockerfile, ["ENTRYPOINT ", "CMD "]),
        (compose, ["entrypoint: ", "command: "]),
    ] {
        let words = |key: &str| -> Vec<String> {
            let mut values = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix(key));
            serde_json::from_str(values.next().unwrap()).unwrap()
        };
        let words = keys.map(words).concat();
        let mut command = container(&host.place).unwrap_or_else(|| host.place.command("env"));
        command.args(words);
        let finished = host.run(command);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        host.expect_ran(&["migrate-database under migrate.lock"]);
    }
}

#[test]
fn a_script_locks_itself_and_gives_up_while_another_one_runs() {
    let host = Host::new();
    let script = host.block("A script that locks itself", "sh");
    host.write_program("import.sh", &script);
    host.must("./import.sh a b");
    host.expect_ran(&["import-orders a b under import.lock"]);
    let _holder = host.place.hold(&["import"]);
    assert_eq!(host.shell("./import.sh a b").code(), 75);
    host.expect_ran(&[]);
}

#[test]
fn the_question_is_answered_both_ways() {
    let host = Host::new();
    let script = host.block("Ask before you start", "sh");
    assert_eq!(host.shell(&script).text(), "no backup is running\n");
    let _holder = host.place.hold(&["backup"]);
    let finished = host.shell(&script);
    assert!(finished.text().starts_with("a backup is running:\n"));
    assert!(finished.text().contains("holds"), "{}", finished.text());
}

#[test]
fn readers_share_writers_exclude_and_two_locks_are_held_at_once() {
    let host = Host::new();
    let script = host.block("Readers and a writer, and two locks at once", "sh");
    host.must(&script);
    host.expect_ran(&[
        "import-data under data.lock",
        "make-report under data.lock",
        "move-to-archive under archive.lock data.lock",
    ]);
    // Beside another reader only the reader runs.
    let _reader = host.place.hold(&["-s", "./srv/data/data.lock"]);
    let with_n = script.replace("holdlock run", "holdlock run -n");
    host.shell(&with_n);
    host.expect_ran(&["make-report under data.lock"]);
}

#[test]
fn shell_and_flock_and_python_exclude_each_other() {
    let host = Host::new();
    let heading = "A lock for shell, flock(1) and Python";
    let script = host.block(heading, "sh");
    let lock = "./srv/data/index.lock";
    if has("flock") {
        host.must(&script);
        let both = ["build-index under index.lock"; 2];
        host.expect_ran(&both);
    }
    let Some(python) = interpreter() else {
        return skipped("python3 is not installed");
    };
    for program in host.blocks(heading, "python") {
        let package = program.contains("filelock").then_some("filelock");
        let mut has_package = host.place.command(python);
        has_package.arg("-c");
        has_package.arg(format!("import {}", package.unwrap_or("fcntl")));
        if host.run(has_package).code() != 0 {
            skipped("python3 has no package filelock");
            continue;
        }
        let inside = "print('inside', flush=True); __import__('sys').stdin.read()";
        let mut command = host.place.command(python);
        command.arg("-c").arg(program.replace("...", inside));
        let mut running = Running::start_with_stdin(command);
        running.expect_line("inside");
        assert_eq!(host.place.run(["run", "-n", lock, "true"]).code(), 75);
        if has("flock") {
            assert_eq!(host.shell(&format!("flock -n {lock} true")).code(), 1);
        }
        let finished = running.finish();
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
    }
}

#[test]
fn the_script_of_logrotate_runs_under_the_lock() {
    let host = Host::new();
    let text = host.block("logrotate", "text");
    let (_, script) = text.split_once("postrotate\n").unwrap();
    let (script, _) = script.split_once("endscript").unwrap();
    host.must(script);
    host.expect_ran(&["reload-orders under orders.lock"]);
    if has("logrotate") {
        let file = host.write("orders.conf", &text);
        let mut check = host.place.command("logrotate");
        check.args(["-d", "-s", "state"]).arg(file);
        let finished = host.run(check);
        assert!(!finished.stderr.contains("error:"), "{}", finished.stderr);
    }
}

//! The blocks of `docs/engines.md` for a shell, run with each engine that is installed here.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use holdlock_test_support::servers::{Server, redis};
use holdlock_test_support::{eventually, signal, watchdog};

use crate::{engines, output, said};

const PAGE: &str = include_str!("../../../../docs/engines.md");

/// All blocks for a shell: the heading, the language, how many there are, and whether the tests
/// below run them. The others prepare a server outside of holdlock, or show what a command says.
const BLOCKS: [(&str, &str, usize, bool); 8] = [
    ("The command", "console", 2, true),
    ("Looking at locks", "console", 1, false),
    ("At most once an hour, on all hosts", "console", 1, true),
    ("Recipes", "console", 2, true),
    ("Recipes", "text", 1, true),
    ("PostgreSQL", "console", 1, false),
    ("etcd", "console", 1, false),
    ("Redis and Valkey", "console", 1, true),
];

/// The databases that the page names.
const DATABASES: [&str; 4] = [
    "postgres://ann@db.example/app",
    "postgres://ann@db1,db2/app",
    "postgres://db.example/app",
    "postgres://db/app",
];

/// Held by each test that takes the lock `nightly` of the shared servers.
static NIGHTLY: Mutex<()> = Mutex::new(());

/// The heading, the language and the lines of each block for a shell.
fn blocks() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let (mut found, mut heading) = (Vec::new(), "");
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body = lines.by_ref().take_while(|line| *line != "```").collect();
            if matches!(language, "console" | "text") {
                found.push((heading, language, body));
            }
        } else if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim_start();
        }
    }
    found
}

/// What the user types in the blocks of a language below a heading.
fn scripts(heading: &str, language: &str) -> Vec<String> {
    let known = BLOCKS
        .iter()
        .find(|known| (known.0, known.1) == (heading, language));
    assert!(known.is_some_and(|known| known.3), "{heading}");
    let here = blocks().into_iter();
    let here = here.filter(|block| (block.0, block.1) == (heading, language));
    here.map(|(_, _, lines)| typed(&lines)).collect()
}

fn typed(lines: &[&str]) -> String {
    let mut script = String::new();
    let mut goes_on = false;
    for line in lines {
        let typed = line.strip_prefix("$ ");
        if let Some(line) = typed.or(goes_on.then_some(*line)) {
            script += line;
            script += "\n";
            goes_on = line.ends_with('\\');
        }
    }
    script
}

/// A host with the programs of the page, whose database is that of an engine.
struct Host {
    place: tempfile::TempDir,
    database: String,
}

/// Notes its name and its host in the file `ran`, and whether two programs run at once. It goes on
/// while there is a file `stay`.
const PROGRAM: &str = "#!/bin/sh\n\
    mkdir inside || echo two at once >> ran\n\
    echo ${0##*/} $NAME >> ran\n\
    while [ -e stay ]; do sleep 0.05; done\n\
    rmdir inside\n";

impl Host {
    fn new(server: &dyn Server) -> Host {
        let place = tempfile::tempdir().expect("a directory");
        let bin = place.path().join("bin");
        std::fs::create_dir(&bin).expect("made");
        symlink(env!("CARGO_BIN_EXE_holdlock"), bin.join("holdlock")).expect("made");
        for name in ["migrate", "nightly.sh", "poll", "serve"] {
            // By another process: what another thread starts at this moment would have the file
            // open for writing as well, and until it closes it nobody can run it.
            let mut write = Command::new("sh");
            write.args(["-c", r#"printf %s "$1" >"$0" && chmod 755 "$0""#]);
            let written = write.arg(place.path().join(name)).arg(PROGRAM).status();
            assert!(written.expect("starts").success());
        }
        let url = server.url("n");
        let database = url.split_once('?').expect("options").0.to_owned();
        Host { place, database }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("{}#{name}", self.database)
    }

    /// A shell that runs a script of the page, with the server of this host.
    fn shell(&self, script: &str) -> Command {
        let mut script = script.replace("/opt/", "./");
        for database in DATABASES {
            script = script.replace(database, &self.database);
        }
        assert!(!script.contains("db.example"), "{script}");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .current_dir(&self.place)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.place.path())
            .env("VERSION", "7")
            .env_remove("HOLDLOCK_ENGINE")
            .stdin(Stdio::null());
        shell
    }

    #[track_caller]
    fn must(&self, script: &str) -> String {
        let (code, out, errors) = said(&mut self.shell(script));
        assert_eq!(code, Some(0), "{script}: {errors}");
        out
    }

    /// The lines that the programs have written since the last call.
    fn ran(&self) -> Vec<String> {
        let file = self.path("ran");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(&file);
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

#[test]
fn each_block_is_known() {
    let all = blocks();
    for (heading, language, ..) in &all {
        let known =
            |known: &&(&str, &str, usize, bool)| (known.0, known.1) == (*heading, *language);
        let expected = BLOCKS.iter().find(known).map(|known| known.2);
        let there = all
            .iter()
            .filter(|block| (block.0, block.1) == (*heading, *language));
        assert_eq!(Some(there.count()), expected, "{language} of {heading}");
    }
}

#[test]
fn a_command_runs_under_a_lock_by_its_url_and_by_its_name() {
    let _one = NIGHTLY.lock().unwrap_or_else(PoisonError::into_inner);
    let _dog = watchdog::watch(60);
    for server in engines() {
        let host = Host::new(server);
        let [by_url, by_name] = &scripts("The command", "console")[..] else {
            panic!("two blocks")
        };
        host.must(by_url);
        assert_eq!(host.ran(), ["nightly.sh", "nightly.sh"]);
        // The last line asks for the lock, which is free.
        let (code, out, errors) = said(&mut host.shell(by_name));
        assert_eq!(code, Some(1), "{errors}");
        assert!(out.contains("#nightly: free"), "{out}");
        assert_eq!(host.ran(), ["nightly.sh"]);
    }
}

#[test]
fn a_run_an_hour_and_a_run_a_night() {
    let _one = NIGHTLY.lock().unwrap_or_else(PoisonError::into_inner);
    let _dog = watchdog::watch(60);
    for server in engines() {
        let host = Host::new(server);
        let hourly = &scripts("At most once an hour, on all hosts", "console")[0];
        host.must(hourly);
        host.must(hourly);
        assert_eq!(host.ran(), ["poll"]);

        let table = blocks()
            .into_iter()
            .find(|block| (block.0, block.1) == ("Recipes", "text"));
        let line = table.expect("a block").2[0];
        let words: Vec<&str> = line.split_whitespace().collect();
        let (when, command) = words.split_at(5);
        assert!(
            when.iter()
                .all(|field| field.chars().all(|c| "*/,-0123456789".contains(c)))
        );
        // cron(8) would make a line break of it.
        assert!(!line.contains('%'), "{line}");
        let hosts: Vec<Child> = (0..3)
            .map(|_| host.shell(&command.join(" ")).spawn().expect("starts"))
            .collect();
        for mut host in hosts {
            assert!(host.wait().expect("ended").success());
        }
        host.must(&command.join(" "));
        assert_eq!(host.ran(), ["nightly.sh"]);
    }
}

#[test]
fn a_migration_runs_on_one_host_at_a_time() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let host = Host::new(server);
        let migrate = &scripts("Recipes", "console")[0];
        std::fs::write(host.path("stay"), "").expect("written");
        let mut hosts: Vec<Child> = (0..2)
            .map(|_| {
                host.shell(migrate)
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("starts")
            })
            .collect();
        eventually("one of them waits", || {
            let shown = output(&["who", &host.url("migrate")]).1;
            shown.contains("waits 1") && shown.contains("migration 7")
        });
        std::fs::remove_file(host.path("stay")).expect("removed");
        for host in &mut hosts {
            assert!(host.wait().expect("ended").success());
        }
        assert_eq!(host.ran(), ["migrate", "migrate"]);
    }
}

#[test]
fn another_host_leads_when_the_leader_ends() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let host = Host::new(server);
        let lead = &scripts("Recipes", "console")[1];
        std::fs::write(host.path("stay"), "").expect("written");
        let start = |name: &str| {
            let mut shell = host.shell(lead);
            let shell = shell.env("NAME", name).process_group(0);
            Loop(shell.stderr(Stdio::null()).spawn().expect("starts"))
        };
        let serves = |name: &str| {
            let text = std::fs::read_to_string(host.path("ran")).unwrap_or_default();
            text.lines().last() == Some(&format!("serve {name}"))
        };
        let _first = start("a");
        eventually("the first one serves", || serves("a"));
        let _second = start("b");
        eventually("the second one waits", || {
            output(&["who", &host.url("leader")]).1.contains("waits 1")
        });
        std::fs::remove_file(host.path("stay")).expect("removed");
        eventually("the second one serves", || serves("b"));
    }
}

/// A shell that goes on for ever, and all that it has started.
struct Loop(Child);

impl Drop for Loop {
    fn drop(&mut self) {
        signal::kill_group(self.0.id(), 9);
        let _ = self.0.wait();
    }
}

#[test]
fn a_user_of_redis_needs_no_more_rights_than_the_page_says() {
    let _dog = watchdog::watch(60);
    let Some(server) = redis::own(&[]).map(redis::Server::awake) else {
        return;
    };
    let host = Host::new(&server);
    let script = &scripts("Redis and Valkey", "console")[0];
    // The server runs already.
    let (_, script) = script.split_once('\n').expect("lines");
    let socket = server.directory().join("socket");
    let by_socket = format!("redis-cli -s '{}' ", socket.display());
    let script = script
        .replace("redis-cli ", &by_socket)
        .replace("cache.example", &format!("127.0.0.1:{}", server.port()));
    let out = host.must(&script);
    assert_eq!(
        (out.as_str(), host.ran()),
        ("OK\n", vec!["nightly.sh".to_owned()])
    );
}

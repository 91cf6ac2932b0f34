//! `holdlock list`: all locks of the host.

mod support;

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};
use support::peers::{has, in_container, python, skipped};
use support::{Finished, Place, Running, wait_for};

fn document(finished: &Finished) -> Value {
    assert_eq!(finished.code(), 0, "{finished:?}");
    serde_json::from_slice(&finished.stdout).unwrap()
}

fn lines(finished: &Finished) -> Vec<Vec<&str>> {
    let lines = finished.text().lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn whatever_lslocks_shows_is_shown() {
    if !has("lslocks") || !has("python3") || !has("flock") {
        return;
    }
    let place = Place::new();
    let mut peers = vec![
        python(&place, "flock", "flock"),
        python(&place, "posix", "posix"),
        python(&place, "ofd", "ofd"),
        python(&place, "ofd-range", "ofd-range"),
        python(&place, "lease", "lease"),
        place.hold(&["./with space"]),
    ];
    if in_container() {
        skipped("in a container, locks taken by flock(1) for a shell are not listed");
    } else if rustix::process::geteuid().is_root() && has("setpriv") {
        std::fs::write(place.join("theirs"), "").unwrap();
        let mut other = place.command("setpriv");
        let theirs = place.join("theirs");
        std::os::unix::fs::chown(&theirs, Some(65534), None).unwrap();
        let lock = std::fs::File::open(&theirs).unwrap();
        other.stdin(lock);
        other.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
        ]);
        other.arg("flock 0 && echo held && exec sleep 300");
        let mut other = Running::start(other);
        other.expect_line("held");
        peers.push(other);
    } else {
        skipped("locks of another user need root and setpriv");
    }
    let waiter = Running::start(place.holdlock(["run", "-s", "./flock", "true"]));
    waiter.expect_waiting();
    let inodes: Vec<u64> = std::fs::read_dir(place.join("."))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().ino())
        .collect();
    let is_here = |lock: &Value| {
        let inode = lock["inode"].as_u64();
        inode.is_some_and(|inode| inodes.contains(&inode))
    };
    let theirs = wait_for("lslocks to tell of all of them", || {
        let mut locks = lslocks(&place)?;
        locks.retain(is_here);
        (locks.len() > peers.len()).then_some(locks)
    });
    let ours = document(&place.run(["list", "--json", "./"]));
    for lock in theirs {
        assert!(has_as_well(&ours, &lock), "{lock} is not in {ours:#}");
    }
}

/// The locks that lslocks shows. It misses some while other locks are acquired and released, and
/// fails if the file of a lock is just being closed (`failed to parse '<none>:0'`). What is not
/// UTF-8 in the name of any lock's file is not UTF-8 in its JSON either.
fn lslocks(place: &Place) -> Option<Vec<Value>> {
    let columns = "PID,TYPE,MODE,START,END,INODE,PATH,COMMAND,BLOCKER";
    let mut lslocks = place.command("lslocks");
    lslocks.args(["-J", "-o", columns]);
    let finished = Running::start(lslocks).finish();
    let told = (finished.code() == 0).then(|| String::from_utf8_lossy(&finished.stdout))?;
    let told: Value = serde_json::from_str(&told).unwrap();
    told["locks"].as_array().cloned()
}

/// If lslocks knows only the file system, it prints a mount point of it: `/mnt/...`. Of several it
/// takes any.
fn is_as_good(file: &Value, theirs: &Value) -> bool {
    let Some(theirs) = theirs.as_str() else {
        return true;
    };
    let ours = file["path"].as_str();
    match theirs.strip_suffix("...") {
        Some(below) => {
            let ours = ours.or(file["mount_point"].as_str());
            let device = |path: &str| Some(std::fs::metadata(path).ok()?.dev());
            ours.and_then(device)
                .is_some_and(|ours| device(below) == Some(ours))
        }
        None => ours == Some(theirs),
    }
}

/// Whether our document has a lock or a request that lslocks shows.
fn has_as_well(ours: &Value, theirs: &Value) -> bool {
    let mode = theirs["mode"].as_str().unwrap();
    let waits = mode.ends_with('*');
    let exclusive = mode.starts_with("WRITE");
    let kind = match theirs["type"].as_str().unwrap() {
        "OFDLCK" => "ofd".to_owned(),
        other => other.to_lowercase(),
    };
    // For lslocks, 0 is the end of the file.
    let end = theirs["end"].as_u64().filter(|end| *end != 0);
    let range = json!({"start": theirs["start"], "end": end});
    let pid = theirs["pid"].as_i64().filter(|pid| *pid > 0);
    let files = ours["files"].as_array().unwrap();
    let here = files
        .iter()
        .filter(|file| file["place"]["inode"] == theirs["inode"]);
    here.into_iter().any(|file| {
        let path = is_as_good(file, &theirs["path"]);
        let locks = file[if waits { "waiters" } else { "locks" }]
            .as_array()
            .unwrap();
        path && locks.iter().any(|lock| {
            let people = if waits {
                json!([lock])
            } else {
                lock["holders"].clone()
            };
            let people = people.as_array().unwrap().clone();
            let named = |pid: i64| people.iter().any(|one| one["process"]["pid"] == pid);
            lock["kind"] == kind.as_str()
                && lock["mode"] == if exclusive { "exclusive" } else { "shared" }
                && lock["range"] == range
                && pid.is_none_or(|pid| named(pid) || lock["taker"] == pid)
                && !people.is_empty()
        })
    })
}

#[test]
fn waiters_stand_below_their_lock_in_their_order() {
    let place = Place::new();
    let holder = place.hold(&["./x"]);
    let waiters: Vec<Running> = (0..3)
        .map(|_| {
            let waiter = Running::start(place.holdlock(["run", "./x", "true"]));
            waiter.expect_waiting();
            waiter
        })
        .collect();
    let finished = place.run([
        "list",
        "-n",
        "-o",
        "pid,state,mode,kind,blocker,range",
        "./x",
    ]);
    let [held, first, second, third] = lines(&finished).try_into().unwrap();
    let pid = holder.pid().to_string();
    assert_eq!(held, [&pid, "held", "exclusive", "flock", "-", "all"]);
    for (turn, line, waiter) in [(1, first, 0), (2, second, 1), (3, third, 2)] {
        let waiter = waiters[waiter].pid().to_string();
        let turn = turn.to_string();
        let expected = [&waiter, "waits", &turn, "exclusive", "flock", &pid, "all"];
        assert_eq!(line, expected);
    }
}

#[test]
fn columns_are_those_asked_for() {
    let place = Place::new();
    let holder = place.hold(&["./x"]);
    let finished = place.run(["list", "-o", "PATH,pid,fd,size,process", "./x"]);
    let pid = holder.pid().to_string();
    let path = place.join("x").display().to_string();
    let [head, line] = lines(&finished).try_into().unwrap();
    assert_eq!(head, ["PATH", "PID", "FD", "SIZE", "PROCESS"]);
    assert_eq!(
        (line[0], line[1], line[3]),
        (path.as_str(), pid.as_str(), "1024")
    );
    let all = place.run(["list", "--output-all", "./x"]);
    let head = all.text().lines().next().unwrap();
    for name in [
        "CONTAINER",
        "CGROUP",
        "DEVICE",
        "INODE",
        "TAKER",
        "UID",
        "RUNS FOR",
    ] {
        assert!(head.contains(name), "{name}: {head}");
    }
    let usual = place.run(["list", "./x"]);
    assert!(usual.text().contains(" s  "), "{}", usual.text());
    assert_eq!(place.run(["list", "-o", "nothing"]).code(), 64);
}

#[test]
fn filters_leave_out_the_rest() {
    let place = Place::new();
    std::fs::create_dir(place.join("sub")).unwrap();
    let one = place.hold(&["./sub/one"]);
    let two = place.hold(&["-s", "./two"]);
    let waiter = Running::start(place.holdlock(["run", "./two", "true"]));
    waiter.expect_waiting();
    let pids = |words: &[&str]| -> Vec<u32> {
        let words = ["list", "-n", "-o", "pid", "./"].iter().chain(words);
        let finished = place.run(words);
        assert_eq!(finished.code(), 0, "{finished:?}");
        let mut pids: Vec<u32> = finished
            .text()
            .lines()
            .map(|pid| pid.trim().parse().unwrap())
            .collect();
        pids.sort_unstable();
        pids
    };
    let sorted = |mut pids: Vec<u32>| {
        pids.sort_unstable();
        pids
    };
    assert_eq!(pids(&[]), sorted(vec![one.pid(), two.pid(), waiter.pid()]));
    assert_eq!(pids(&["--waiting"]), sorted(vec![two.pid(), waiter.pid()]));
    assert_eq!(pids(&["--pid", &one.pid().to_string()]), [one.pid()]);
    assert!(pids(&["--kind", "posix", "--family=ofd"]).is_empty());
    let uid = rustix::process::geteuid().as_raw();
    for number in [uid.to_string(), format!("+{uid}"), format!("00{uid}")] {
        assert_eq!(pids(&["--user", &number]).len(), 3, "{number}");
    }
    let below = place.run(["list", "-n", "-o", "pid", "./sub"]);
    assert_eq!(below.text().trim(), one.pid().to_string());
    let filtered = document(&place.run(["list", "--json", "--pid", &waiter.pid().to_string()]));
    assert_eq!(filtered["files"][0]["locks"], json!([]));
    assert_eq!(
        filtered["files"][0]["waiters"][0]["process"]["pid"],
        waiter.pid()
    );
}

#[test]
fn a_path_that_was_asked_for_is_shown_for_locks_of_other_users() {
    if !rustix::process::geteuid().is_root() || !has("setpriv") {
        return skipped("to be another user needs root and setpriv");
    }
    let place = Place::new();
    let holder = place.hold(&["./x"]);
    for words in ["list -n -o pid,path .", "list -n -o pid,path ./x"] {
        let script =
            format!("setpriv --reuid=65534 --regid=65534 --clear-groups \"$HOLDLOCK\" {words}");
        let finished = Running::start(place.shell(&script)).finish();
        if finished.code() == 127 || finished.stderr.contains("failed to execute") {
            return skipped("another user cannot run the program from here");
        }
        let expected = [
            holder.pid().to_string(),
            place.join("x").display().to_string(),
        ];
        assert_eq!(lines(&finished), [expected], "{finished:?}");
    }
}

#[test]
fn no_locks_are_0() {
    let place = Place::new();
    let finished = place.run(["list", "-n", "./"]);
    assert_eq!((finished.code(), finished.text()), (0, ""));
    let empty = document(&place.run(["list", "--json", "./"]));
    assert_eq!(
        (&empty["version"], &empty["files"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(place.run(["list", "--waiting", "-x"]).code(), 64);
    let full = Running::start(place.shell("\"$HOLDLOCK\" list > /dev/full")).finish();
    assert_eq!(full.code(), 71);
}

#[test]
fn what_does_not_exist_is_an_error() {
    let place = Place::new();
    for (words, code, part) in [
        (
            ["list", "nightly"],
            66,
            "/locks/nightly.lock: No such file or directory\n",
        ),
        (
            ["list", "./nonexist"],
            66,
            "/nonexist: No such file or directory\n",
        ),
        (
            ["list", "--user=no-such-user"],
            64,
            "no-such-user: no such user",
        ),
        (["list", "--user="], 64, "no such user"),
        (["list", "--pid=x"], 64, ": give the number of a process\n"),
        (["list", "a/../"], 66, "No such file"),
    ] {
        let finished = place.run(words);
        assert_eq!((finished.code(), finished.text()), (code, ""), "{words:?}");
        assert!(
            finished.stderr.contains(part),
            "{words:?}: {}",
            finished.stderr
        );
    }
}

#[test]
fn the_short_help_fits_on_a_screen() {
    let place = Place::new();
    for subcommand in ["list", "graph", "doctor", "report", "demo", "top"] {
        let [short, long] = ["-h", "--help"].map(|option| place.run([subcommand, option]));
        let (short, long) = (short.text().lines(), long.text().lines().count());
        let fits = short.clone().all(|line| line.chars().count() <= 92);
        assert!(fits && short.count() <= 26 && long > 30, "{subcommand}");
    }
}

#[test]
fn a_name_is_that_of_a_lock_also_after_its_file_was_removed() {
    let place = Place::new();
    let holder = place.hold(&["nightly"]);
    std::fs::write(place.join("nightly"), "").unwrap();
    let words = ["list", "-n", "-o", "pid", "nightly"];
    let expected = format!("{}\n", holder.pid());
    assert_eq!(place.run(words).text(), expected);
    std::fs::remove_file(place.locks().join("nightly.lock")).unwrap();
    assert_eq!(place.run(words).text(), expected);
    assert_eq!(place.run(["list", "-n", "./nightly"]).text(), "");
    let shared = place.run(["list", "--system", "no-lock-of-this-name"]);
    assert_eq!(shared.code(), 66);
    assert!(
        !shared.stderr.contains(place.locks().to_str().unwrap()),
        "{shared:?}"
    );
}

#[test]
fn the_command_is_the_job_and_not_its_wrapper() {
    let place = Place::new();
    // Longer than the command line in the library's snapshot.
    let log = format!("--log=/dev/../dev/{}null", "./".repeat(80));
    let _holder = place.hold(&["-w", "5", &log, "./x"]);
    let command = || place.run(["list", "-n", "-o", "command", "./x"]);
    assert_eq!(command().text(), "sh -c echo held; read line; exit 0\n");
}

/// The lines that a terminal of 80 columns shows of the list of this place.
fn on_80_columns(place: &Place, words: &str) -> Vec<String> {
    let script = format!("stty cols 80; \"$HOLDLOCK\" list {words} ./; echo done");
    let mut terminal = support::terminal::Terminal::start(place, &script);
    let seen = terminal.read_until("done");
    let lines = seen.lines().map(|line| line.trim_end().to_owned());
    // The command also reports there what it could not see.
    let is_list = |line: &String| !line.is_empty() && !line.starts_with("holdlock: ");
    lines.filter(is_list).collect()
}

#[test]
fn on_80_columns_no_line_wraps_and_path_and_job_can_be_read() {
    let place = Place::new();
    let directory = place.join("directory-of-quite-a-long-name/and-one-more-below-it");
    std::fs::create_dir_all(&directory).unwrap();
    let lock = directory.join("nightly.lock");
    let _holder = place.hold(&[lock.to_str().unwrap()]);
    let waiter = Running::start(place.holdlock([
        "run",
        "-s",
        lock.to_str().unwrap(),
        "rsync",
        "-a",
        "/srv/data",
        "/mnt/backup",
        "--exclude=many-things-that-make-this-command-line-long",
    ]));
    waiter.expect_waiting();
    let lines = on_80_columns(&place, "");
    assert!(lines.len() >= 2, "{lines:?}");
    for line in &lines {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let all = lines.join("\n");
    for part in [
        "PATH",
        "nightly.lock",
        "sh -c echo",
        "rsync -a",
        "waits 1",
        "…",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    // Both lines have the same value, so the column is left out.
    assert!(!all.contains("RANGE"), "{all}");
    let chosen = on_80_columns(&place, "-o pid,range,kind,path").join("\n");
    assert!(
        chosen.contains("RANGE") && chosen.contains("nightly.lock"),
        "{chosen}"
    );
}

#[test]
fn on_a_terminal_no_line_is_wider_than_the_terminal() {
    let place = Place::new();
    let _holder = place.hold(&["./x"]);
    let script = "stty cols 30; \"$HOLDLOCK\" list -o pid,state,command ./; echo done";
    let mut terminal = support::terminal::Terminal::start(&place, script);
    let seen = terminal.read_until("done");
    let line = seen
        .lines()
        .find(|line| line.contains("held"))
        .expect("is shown");
    let count = line.trim_end().chars().count();
    assert!(count == 30 && line.contains('…'), "{count}: {line:?}");
}

//! `holdlock graph`: which process waits for which.

mod support;

use serde_json::Value;
use support::peers::has;
use support::{Finished, Place, Running, wait_for};

/// Acquires one lock, reports that, and acquires the other lock on order.
const TWO: &str = r#"
import fcntl, sys, threading
own, other = open(sys.argv[1], 'w'), open(sys.argv[2], 'w')
fcntl.flock(own, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.readline()
if len(sys.argv) > 3:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
fcntl.flock(other, fcntl.LOCK_EX)
"#;

fn holder(place: &Place, own: &str, other: &str, more: &[&str]) -> Running {
    let mut command = place.command("python3");
    command.args(["-c", TWO, own, other]).args(more);
    let mut running = Running::start_with_stdin(command);
    running.expect_line("held");
    running
}

fn go_on(running: &mut Running) {
    running.let_go();
    running.expect_waiting();
}

fn document(finished: &Finished) -> Value {
    serde_json::from_slice(&finished.stdout).unwrap()
}

#[test]
fn a_chain_begins_with_the_process_that_waits_for_nothing() {
    let place = Place::new();
    if !has("python3") {
        return;
    }
    let culprit = place.hold(&["./a"]);
    let mut middle = holder(&place, "b", "a", &[]);
    go_on(&mut middle);
    let last = Running::start(place.holdlock(["run", "-s", "./b", "true"]));
    last.expect_waiting();
    let finished = place.run(["graph", "./b"]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    let directory = place.join("").display().to_string();
    let text = finished.text().replace(&directory, "");
    let starts = [
        format!("pid {} (", culprit.pid()),
        "`- holds a, exclusive flock".to_owned(),
        format!("   `- waits 1: pid {} (", middle.pid()),
        "      `- holds b, exclusive flock".to_owned(),
        format!("         `- waits 1: pid {} (", last.pid()),
    ];
    assert_eq!(text.lines().count(), starts.len(), "{text}");
    for (line, start) in text.lines().zip(starts) {
        assert!(line.starts_with(&start), "{start}: {text}");
    }
    assert!(text.trim_end().ends_with("shared flock"), "{text}");
}

#[test]
fn a_cycle_is_marked_and_is_1() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let (mut one, mut two) = (holder(&place, "a", "b", &[]), holder(&place, "b", "a", &[]));
    go_on(&mut one);
    go_on(&mut two);
    let behind = Running::start(place.holdlock(["run", "./a", "true"]));
    behind.expect_waiting();
    let finished = place.run(["graph", "./a"]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let text = finished.text();
    assert!(
        text.starts_with("deadlock 1: none of these can make progress\n"),
        "{text}"
    );
    assert!(text.matches("[deadlock 1]").count() >= 2, "{text}");
    let mark = |line: &&str| line.contains(&format!("pid {} ", behind.pid()));
    let line = text.lines().find(mark).expect("is there");
    assert!(
        !line.contains("[deadlock"),
        "who waits behind a cycle is not in it: {line}"
    );

    let finished = place.run(["graph", "--json", "./a"]);
    assert_eq!(finished.code(), 1);
    let document = document(&finished);
    let cycle = &document["deadlocks"][0];
    assert_eq!(
        (&cycle["certain"], cycle["steps"].as_array().unwrap().len()),
        (&Value::Bool(true), 2)
    );
    let edges = document["edges"].as_array().unwrap();
    assert_eq!(edges.iter().filter(|edge| edge["deadlock"] == 0).count(), 4);
    assert_eq!(edges.len(), 5);

    let dot = place.run(["graph", "--dot", "./a"]);
    assert!(
        dot.text().starts_with("digraph ") && dot.text().contains("color=red"),
        "{dot:?}"
    );
    let svg = place.run(["graph", "--svg", "-", "./a"]);
    assert_eq!(
        svg.text().matches("class=\"waits cycle\"").count(),
        2,
        "{}",
        svg.text()
    );
    assert!(svg.text().starts_with("<svg ") && svg.text().ends_with("</svg>\n"));
}

#[test]
fn a_cycle_with_threads_in_it_is_only_possible() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let mut one = holder(&place, "a", "b", &["threads"]);
    let mut two = holder(&place, "b", "a", &[]);
    go_on(&mut one);
    go_on(&mut two);
    let finished = place.run(["graph", "./a"]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(
        finished.text().starts_with("possible deadlock 1: "),
        "{}",
        finished.text()
    );
    let document = document(&place.run(["graph", "--json", "./a"]));
    assert_eq!(document["deadlocks"][0]["certain"], false);
}

/// Holds a lock, requests it in two threads as well, and on order in the first thread.
const QUEUE: &str = r#"
import fcntl, sys, threading
def request():
    file = open(sys.argv[1], 'w')
    fcntl.flock(file, fcntl.LOCK_EX)
held = open(sys.argv[1], 'w')
fcntl.flock(held, fcntl.LOCK_EX)
for _ in range(2):
    threading.Thread(target=request).start()
sys.stdin.readline()
request()
"#;

#[test]
fn threads_that_queue_for_a_lock_of_their_process_are_no_deadlock_until_all_threads_wait() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let mut command = place.command("python3");
    command.args(["-c", QUEUE, "a"]);
    let mut process = Running::start_with_stdin(command);
    let graph_with = |waiting: usize| {
        wait_for("the threads to wait", || {
            let finished = place.run(["graph", "./a"]);
            let waits = |line: &&str| line.contains("`- waits ") || line.contains("|- waits ");
            (finished.text().lines().filter(waits).count() == waiting).then_some(finished)
        })
    };
    let normal = graph_with(2);
    assert_eq!(normal.code(), 0, "{normal:?}");
    assert!(!normal.text().contains("deadlock"), "{}", normal.text());
    process.let_go();
    let stuck = graph_with(3);
    assert_eq!(stuck.code(), 0, "{stuck:?}");
    assert!(
        stuck.text().starts_with("possible deadlock 1: "),
        "{}",
        stuck.text()
    );
}

#[test]
fn a_cycle_with_a_time_limit_in_it_is_only_possible() {
    if !has("flock") {
        return;
    }
    let place = Place::new();
    let member = |own: &str, limit: &str, other: &str| {
        let script = format!("echo held; read go; flock {limit} {other} true; exit 0");
        let mut command = place.command("flock");
        command.args(["-o", own, "sh", "-c", &script]);
        let mut running = Running::start_with_stdin(command);
        running.expect_line("held");
        running
    };
    let (mut one, mut two) = (member("a", "-w 100", "b"), member("b", "", "a"));
    one.let_go();
    two.let_go();
    let finished = wait_for("the cycle", || {
        let finished = place.run(["graph", "./a"]);
        finished.text().contains("deadlock").then_some(finished)
    });
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(
        finished.text().starts_with("possible deadlock 1: "),
        "{}",
        finished.text()
    );
}

#[test]
fn a_wait_for_the_end_of_a_process_is_part_of_a_cycle() {
    if !has("flock") {
        return;
    }
    let place = Place::new();
    let mut nested = place.command("flock");
    nested.args(["-o", "x", "sh", "-c", "flock x true; exit $?"]);
    let _nested = Running::start(nested);
    let finished = wait_for("the cycle", || {
        let finished = place.run(["graph", "--json", "./"]);
        (finished.code() == 1).then_some(finished)
    });
    let document = document(&finished);
    let edges = document["edges"].as_array().unwrap();
    assert_eq!(
        edges.iter().filter(|edge| edge["type"] == "ends").count(),
        1
    );
    let text = place.run(["graph", "./"]);
    assert!(
        text.text().contains("waits for the end of pid "),
        "{}",
        text.text()
    );
}

#[test]
fn locks_without_waiters_are_left_out_unless_asked_for() {
    let place = Place::new();
    let idle = place.hold(&["./idle"]);
    let _busy = place.hold(&["./busy"]);
    let waiter = Running::start(place.holdlock(["run", "./busy", "true"]));
    waiter.expect_waiting();
    let shows = |words: &[&str], path: &str| {
        let finished = place.run(["graph"].iter().chain(words));
        let path = format!("{} ", place.join(path).display());
        finished.text().replace(',', " ").contains(&path)
    };
    assert!(shows(&[], "busy") && !shows(&[], "idle"));
    assert!(shows(&["--all"], "idle"));
    assert!(shows(&["./idle"], "idle") && !shows(&["./idle"], "busy"));
    let named = place.run(["graph", "./idle"]);
    let expected = format!("pid {} ", idle.pid());
    assert!(named.text().starts_with(&expected), "{}", named.text());
}

#[test]
fn nothing_is_an_empty_answer_in_every_form() {
    let place = Place::new();
    assert_eq!(place.run(["graph", "./none"]).text(), "");
    for form in [&["--json"][..], &["-J"], &["--dot"], &["--svg", "-"]] {
        let finished = place.run(["graph"].iter().chain(form).chain(&["./none"]));
        assert_eq!(finished.code(), 0, "{form:?}");
        let text = finished.text().replace("pid namespace", "");
        assert!(!text.contains("pid"), "{form:?}: {text}");
    }
    assert_eq!(place.run(["graph", "--dot", "--json"]).code(), 64);
}

#[test]
fn a_picture_is_written_to_its_file_and_nothing_is_printed() {
    let place = Place::new();
    for words in [&["--svg", "x.svg"][..], &["--svg=y.svg"]] {
        let finished = place.run(["graph"].iter().chain(words).chain(&["./none"]));
        assert_eq!((finished.code(), finished.text()), (0, ""), "{words:?}");
    }
    let read = |name| std::fs::read_to_string(place.join(name)).unwrap();
    let picture = read("x.svg");
    assert!(picture.contains("0 requests wait"), "{picture}");
    assert_eq!(read("y.svg"), picture);
    assert_eq!(place.run(["graph", "--svg", "-", "./none"]).text(), picture);
    assert_eq!(place.run(["graph", "--svg"]).code(), 64);
    let script = "ulimit -f 0; exec $HOLDLOCK graph --svg z.svg ./none";
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.code(), 73, "{finished:?}");
    assert!(
        finished.stderr.contains("cannot write z.svg"),
        "{finished:?}"
    );
    let refused = place.run(["graph", "--svg", "no/x.svg", "./none"]);
    assert_eq!(refused.code(), 73);
    let message = "holdlock: cannot write no/x.svg: No such file or directory\n";
    assert!(refused.stderr.ends_with(message), "{}", refused.stderr);
}

#[test]
fn a_wait_of_the_command_is_shown_below_its_lock() {
    let place = Place::new();
    let culprit = place.hold(&["./a"]);
    let script = "\"$HOLDLOCK\" run -q ./a true; exit $?";
    let outer = Running::start(place.holdlock(["run", "./b", "sh", "-c", script]));
    wait_for("the command to wait", || {
        let list = place.run(["list", "-n", "--waiting", "-o", "pid", "./a"]);
        (list.text().lines().count() == 2).then_some(())
    });
    let last = Running::start(place.holdlock(["run", "./b", "true"]));
    last.expect_waiting();
    let finished = place.run(["graph", "./b"]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    let text = finished.text();
    let begin = format!("pid {} ", culprit.pid());
    assert!(text.starts_with(&begin), "{text}");
    let outer = format!(" pid {} ", outer.pid());
    let waits = |line: &str| line.contains(&outer) && line.ends_with(" waits for its end");
    assert!(text.lines().any(waits), "{text}");
    // Processes that inherited a lock are shown only if a search has found them.
    let news = text.lines().filter(|line| !line.contains("see above"));
    assert!(news.count() >= 6, "{text}");
}

#[test]
fn the_help_names_every_field_of_the_edges() {
    let place = Place::new();
    let holder = place.hold(&["--slots", "2", "./x"]);
    let waiter = Running::start(place.holdlock(["run", "./x", "true"]));
    waiter.expect_waiting();
    let document = document(&place.run(["graph", "--json", "./x"]));
    let help = place.run(["graph", "--help"]);
    let line = |name: &str| {
        let start = format!("    {name} (");
        let line = help.text().lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("{name}: {}", help.text()))
    };
    let edges = document["edges"].as_array().unwrap();
    for name in ["waits", "holds"] {
        assert!(edges.iter().any(|edge| edge["type"] == name), "{document}");
    }
    for edge in edges {
        let named = line(edge["type"].as_str().unwrap());
        let fields = edge.as_object().unwrap().keys();
        for field in
            fields.filter(|key| !["type", "from", "to", "deadlock"].contains(&key.as_str()))
        {
            assert!(named.contains(&format!(" {field}")), "{field}: {named}");
        }
    }
    holder.finish();
    waiter.finish();
}

/// Acquires the shared lock in as many processes as told, reports that, and keeps it.
const TOGETHER: &str = r#"
import fcntl, os, sys
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        file = open('x', 'a')
        fcntl.flock(file, fcntl.LOCK_SH)
        os.write(1, b'held\n')
        sys.stdin.read()
        os._exit(0)
sys.stdin.read()
"#;

#[test]
fn few_holders_are_named_and_many_are_counted() {
    if !has("python3") {
        return;
    }
    for (number, expected) in [(3, "together with pid "), (12, "together with 11 others")] {
        let place = Place::new();
        let mut command = place.command("python3");
        command.args(["-c", TOGETHER, &number.to_string()]);
        let mut holders = Running::start_with_stdin(command);
        for _ in 0..number {
            holders.expect_line("held");
        }
        let graph = place.run(["graph", "--all", "./x"]);
        assert!(graph.text().contains(expected), "{}", graph.text());
        holders.finish();
    }
}

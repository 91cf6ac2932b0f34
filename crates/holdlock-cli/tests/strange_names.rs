//! File names and commands that would control a terminal, reverse the text beside them, or end the
//! quotes around them, in every subcommand and format.

mod support;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::peers::{has, python};
use support::terminal::Terminal;
use support::{Finished, Place, Running, wait_for};

/// A title, a line of its own, markup, quotes, a turn of direction, a byte that is no text, C1,
/// no width, a tag, the end of CDATA.
const NAME: &[u8] = b"x\x1b]0;p\x07\x1b[2J\r\nholdlock: all is well\n\t\"<script>&lt;&#27;\\\"; }\
    \xe2\x80\xae gnp\xe2\x81\xa6\xff\xc2\x9b31m\xe2\x80\x8b\xc2\xad\xf3\xa0\x81\x81\x7f]]>";

fn strange(place: &Place, number: u8) -> PathBuf {
    let mut name = NAME.to_vec();
    name.push(b'0' + number);
    place.join(OsStr::from_bytes(&name))
}

fn words(words: &[&str], path: &PathBuf) -> Vec<OsString> {
    let words = words.iter().map(OsString::from);
    let filled = words.map(|word| if word == "X" { path.into() } else { word });
    filled.collect()
}

/// Whether a terminal only shows the text.
fn is_harmless(c: char) -> bool {
    let is_hidden = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !is_hidden
}

/// Checks that all lines are printable, and that the name has not made a line.
fn assert_harmless(what: &dyn std::fmt::Debug, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap_or_else(|error| panic!("{what:?}: {error}"));
    let bad = text.chars().find(|c| *c != '\n' && !is_harmless(*c));
    assert_eq!(bad, None, "{what:?}: {text:?}");
    let forged = text
        .lines()
        .find(|line| line.starts_with("holdlock: all is"));
    assert_eq!(forged, None, "{what:?}: {text:?}");
}

/// Runs the command, and checks all of its output.
fn said(place: &Place, words: &[OsString], code: i32) -> Finished {
    let finished = place.run(words);
    assert_eq!(finished.code(), code, "{words:?}: {finished:?}");
    assert_harmless(&words, &finished.stdout);
    assert_harmless(&words, finished.stderr.as_bytes());
    finished
}

fn document(place: &Place, words: &[OsString], code: i32) -> Value {
    let finished = said(place, words, code);
    serde_json::from_slice(&finished.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", finished.text()))
}

/// The texts of an XML document, if it is one.
fn xml_text(xml: &[u8]) -> Option<String> {
    const PARSE: &str = "import sys, xml.etree.ElementTree as tree\n\
        sys.stdout.write(''.join(tree.fromstring(open(0, 'rb').read()).itertext()))";
    let mut parser = Command::new("python3")
        .args(["-c", PARSE])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    std::io::Write::write_all(&mut parser.stdin.take()?, xml).ok()?;
    let parsed = parser.wait_with_output().ok()?;
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(xml));
    String::from_utf8(parsed.stdout).ok()
}

/// A holder of the lock of a strange file by a strange command, and a waiter.
fn crowd(place: &Place, path: &PathBuf) -> (Running, Running) {
    let mut command = place.holdlock(["run"]);
    command
        .arg(path)
        .args(["--", "sh", "-c", "echo held; read line; exit 0"]);
    command.arg(OsStr::from_bytes(NAME));
    let mut holder = Running::start_with_stdin(command);
    holder.expect_line("held");
    let mut command = place.holdlock(["run"]);
    command.arg(path).arg("true").arg(OsStr::from_bytes(NAME));
    let waiter = Running::start(command);
    waiter.expect_waiting();
    (holder, waiter)
}

#[test]
fn output_is_printable_text_whatever_the_names_are() {
    let place = Place::new();
    let path = strange(&place, 0);
    let (holder, waiter) = crowd(&place, &path);
    let whole = path.to_string_lossy().into_owned();
    let with_path = |words: &[&str]| self::words(words, &path);

    for (words, code) in [
        (&["list"][..], 0),
        (&["list", "--output-all"], 0),
        (&["list", "X"], 0),
        (&["who", "X"], 0),
        (&["who", "--wait=1ms", "X"], 75),
        (&["wait", "-w", "1ms", "X"], 75),
        (&["wait", "-J", "-w", "1ms", "X"], 75),
        (&["graph", "X"], 0),
        (&["graph", "--dot", "X"], 0),
        (&["top", "--once"], 0),
        (&["run", "-n", "X", "true"], 75),
        (&["run", "-w", "10ms", "X", "true"], 75),
        (&["run", "X"], 64),
        (
            &["run", "--progress=always", "-w", "700ms", "X", "true"],
            75,
        ),
        (&["demo", "--max-sleep=1ms", "--svg", "X/x", "demo"], 73),
        (&["who", "X/x"], 1),
        (&["list", "X/x"], 66),
        (&["report", "X/x"], 66),
        (&["X"], 64),
    ] {
        said(&place, &with_path(words), code);
    }
    // Other locks of the host may be in a deadlock, or the machine too slow for the doctor.
    for words in [
        &["graph", "--all"][..],
        &["graph", "--all", "--dot"],
        &["doctor", "X"],
    ] {
        let finished = place.run(with_path(words));
        assert!(matches!(finished.code(), 0 | 1), "{finished:?}");
        assert_harmless(&words, &finished.stdout);
    }
    let listed = document(&place, &with_path(&["list", "--json", "X"]), 0);
    assert_eq!(listed["files"][0]["path"], whole.as_str(), "exactly");
    let asked = document(&place, &with_path(&["who", "--json", "X"]), 0);
    assert_eq!(asked["path"], whole.as_str());
    let graph = document(&place, &with_path(&["graph", "--json", "X"]), 0);
    let nodes = graph["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["path"] == whole.as_str()));
    let doctor = place.run(with_path(&["doctor", "--json", "X"]));
    assert_harmless(&"doctor", &doctor.stdout);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(doctor["path"], whole.as_str());

    let dot = said(&place, &with_path(&["graph", "--dot", "X"]), 0);
    for line in dot.text().lines().filter(|line| line.contains("label=")) {
        let unescaped = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(unescaped.matches('"').count(), 2, "{line}");
    }
    let svg = said(&place, &with_path(&["graph", "--svg=-", "X"]), 0);
    if has("python3") {
        let text = xml_text(&svg.stdout).expect("python3 reads it");
        assert!(text.contains("\"<script>&lt;&#27;"), "{text}");
    }
    holder.finish();
    assert_eq!(waiter.finish().code(), 0);
}

#[test]
fn logs_and_reports_are_text_whatever_ran() {
    let place = Place::new();
    let path = strange(&place, 0);
    let whole = path.to_string_lossy().into_owned();
    let mut logged = words(&["run", "--log", "log", "X", "true"], &path);
    logged.push(OsStr::from_bytes(NAME).to_owned());
    said(&place, &logged, 0);
    let log = std::fs::read(place.join("log")).unwrap();
    assert_harmless(&"the log", &log);
    let line: Value = serde_json::from_slice(&log).unwrap();
    assert_eq!(line["locks"][0], whole.as_str());
    logged[2] = "-".into();
    said(&place, &logged, 0);

    let of_log = |words: &[&str]| self::words(words, &path);
    said(&place, &of_log(&["report", "log"]), 0);
    let report = document(&place, &of_log(&["report", "--json", "log"]), 0);
    assert_eq!(report["locks"][0]["lock"], whole.as_str());
    said(&place, &of_log(&["report", "--svg", "x.svg", "log"]), 0);
    let svg = std::fs::read(place.join("x.svg")).unwrap();
    assert_harmless(&"the picture", &svg);
    assert!(!String::from_utf8_lossy(&svg).contains("]]>"));
    let demo = of_log(&["demo", "--max-sleep=1ms", "--svg", "y.svg", "--json", "X"]);
    let played = place.run(&demo);
    assert_harmless(&"demo", &played.stdout);
    let played: Value = serde_json::from_slice(&played.stdout).unwrap();
    assert_eq!(played["lock"], whole.as_str());
    if has("python3") {
        xml_text(&svg).expect("python3 reads it");
        xml_text(&std::fs::read(place.join("y.svg")).unwrap()).expect("python3 reads it");
    }
}

#[test]
fn messages_of_deadlocks_are_one_line_whatever_the_files_are_called() {
    if !has("python3") {
        return;
    }
    const CLOSES_THE_CYCLE: &str = r#"
import fcntl, os, sys
first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for path in sys.argv[1:3])
fcntl.flock(first, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.readline()
fcntl.flock(second, fcntl.LOCK_EX)
"#;
    let place = Place::new();
    let (ours, theirs) = (strange(&place, 0), strange(&place, 1));
    let mut command = place.command("python3");
    command
        .args(["-c", CLOSES_THE_CYCLE])
        .args([&theirs, &ours]);
    command.arg(OsStr::from_bytes(NAME));
    let mut stranger = Running::start_with_stdin(command);
    stranger.expect_line("held");
    let mut command = place.holdlock(["run"]);
    command.arg(&ours);
    command.args([
        "--",
        "sh",
        "-c",
        "echo held; read line; \"$HOLDLOCK\" run --progress=never \"$0\" true",
    ]);
    command.arg(&theirs);
    let mut cycle = Running::start_with_stdin(command);
    cycle.expect_line("held");
    stranger.say("\n");
    stranger.expect_waiting();
    let ended = cycle.finish();
    assert_eq!(ended.code(), 65, "{ended:?}");
    assert_harmless(&"the deadlock", ended.stderr.as_bytes());
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains(r"\u{202e} gnp\u{2066}\xff"),
        "{ended:?}"
    );
}

#[test]
fn flocks_messages_are_text_whatever_the_words_are() {
    let place = Place::new();
    let path = strange(&place, 0);
    for (words, code) in [
        (&["flock", "X/x", "true"][..], 66),
        (&["flock", "--X"], 64),
        (&["flock", "-w", "X", "lock", "true"], 64),
        (&["flock", "lock", "X"], 69),
        (&["flock", "--verbose", "lock", "X"], 69),
        (&["flock", "X"], 64),
    ] {
        let words = words.iter().map(|word| match *word {
            "X" => path.clone().into_os_string(),
            "X/x" => path.join("x").into_os_string(),
            "--X" => OsString::from_iter([OsStr::new("--"), OsStr::from_bytes(NAME)]),
            word => word.into(),
        });
        let words: Vec<OsString> = words.collect();
        let finished = place.run(&words);
        assert_eq!(finished.code(), code, "{finished:?}");
        assert_harmless(&words, finished.stderr.as_bytes());
        let said = String::from_utf8_lossy(&finished.stdout);
        assert_harmless(&words, said.as_bytes());
    }
}

#[test]
fn what_a_process_calls_itself_is_text() {
    if !has("flock") {
        return;
    }
    let place = Place::new();
    let program = place.join(OsStr::from_bytes(b"\x1b]2;x\x07\xe2\x80\xae<&"));
    let copied = Command::new("cp").arg("/bin/sh").arg(&program).status();
    assert!(copied.unwrap().success());
    // With an empty command line it is known by the name of its file.
    let mut command = Command::new(&program);
    command.arg0("").current_dir(place.join(""));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = Running::start_with_stdin(command);
    holder.say("exec 9>lock; flock 9; echo held; read line\n");
    holder.expect_line("held");
    let asked = said(&place, &words(&["who", "./lock"], &program), 0);
    assert!(asked.text().contains(r"\u{1b}]2;x\u{7}"), "{asked:?}");
    holder.finish();
}

#[test]
fn a_long_command_of_a_job_is_shortened() {
    let place = Place::new();
    let script = format!("echo held; read line # {}", "x".repeat(100_000));
    let mut holder = Running::start_with_stdin(place.holdlock(["run", "L", "sh", "-c", &script]));
    holder.expect_line("held");
    for asked in [
        &["run", "-n", "L", "true"][..],
        &["who", "L"],
        &["wait", "-w", "0", "L"],
        &["list", "L"],
        &["graph", "L"],
    ] {
        let finished = place.run(asked);
        let shown = finished.text().len() + finished.stderr.len();
        let is_named = finished.text().contains("sh -c") || finished.stderr.contains("sh -c");
        assert!(is_named && shown < 2000, "{asked:?}: {shown} bytes");
    }
    holder.finish();
}

#[test]
fn a_line_of_progress_does_not_command_the_terminal() {
    let place = Place::new();
    let path = strange(&place, 0);
    let mut command = place.holdlock(["run"]);
    command
        .arg(&path)
        .args(["--", "sh", "-c", "echo held; read line"]);
    let mut holder = Running::start_with_stdin(command);
    holder.expect_line("held");
    std::fs::write(place.join("path"), path.as_os_str().as_bytes()).unwrap();
    let script = "\"$HOLDLOCK\" run \"$(cat path)\" true; echo code $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.wait_until("the line", |seen| {
        seen.contains("holdlock: waiting ").then_some(())
    });
    holder.let_go();
    let line = terminal.read_until("code 0");
    terminal.finish();
    let ours = line.replace("\x1b[K", "");
    let foreign = ours
        .chars()
        .find(|c| !"\r\n".contains(*c) && !is_harmless(*c));
    assert_eq!(foreign, None, "{line:?}");
    holder.finish();
}

#[test]
fn the_names_of_others_are_shown_by_all_means() {
    // A lock of another family by a strange command: the warning of `run` names it.
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let path = strange(&place, 0);
    let holder = python(&place, "ofd", path.file_name().unwrap());
    let warned = said(&place, &words(&["run", "X", "true"], &path), 0);
    assert!(warned.stderr.contains("fcntl(2) by pid "), "{warned:?}");
    wait_for("the holder", || {
        let both = said(&place, &words(&["who", "X"], &path), 0);
        both.text().contains("exclusive ofd").then_some(())
    });
    holder.finish();
}

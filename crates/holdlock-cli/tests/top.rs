//! `holdlock top` at a terminal.

#[cfg(feature = "engines")]
#[path = "support/bystander.rs"]
mod bystander;
mod support;

use std::fs;
use std::num::NonZero;

#[cfg(feature = "engines")]
use bystander::Bystander;
use rustix::process::{Pid, Signal, kill_process};
use support::peers::{can_trace, in_container, skipped};
use support::terminal::{INTERRUPT, SUSPEND, Terminal};
use support::{Place, Running, wait_for};

const ESC: &str = "\x1b";
const ENTER: &str = "\r";

fn parser(columns: u16, rows: u16) -> vt100::Parser {
    let size = |length| NonZero::new(length).expect("a size");
    vt100::Parser::new(size(rows), size(columns), 0)
}

/// The content of a window of that size. Each complete picture begins with a clear screen.
fn picture(seen: &str, (columns, rows): (u16, u16)) -> String {
    let last = seen.rfind("\x1b[2J").unwrap_or(0);
    let mut parser = parser(columns, rows);
    parser.process(&seen.as_bytes()[last..]);
    parser.screen().contents()
}

fn other_screen(seen: &str) -> bool {
    let mut parser = parser(80, 24);
    parser.process(seen.as_bytes());
    parser.screen().alternate_screen()
}

/// Waits until all of that is on the screen at once.
fn expect(terminal: &mut Terminal, size: (u16, u16), words: &[&str]) -> String {
    terminal.wait_until(&format!("{words:?}"), |seen| {
        let picture = picture(seen, size);
        words
            .iter()
            .all(|word| picture.contains(word))
            .then_some(picture)
    })
}

const SIZE: (u16, u16) = (120, 30);

/// `top`, once it is on the screen.
fn start(place: &Place, before: &str, after: &str) -> Terminal {
    start_script(
        place,
        &format!("{before} \"$HOLDLOCK\" top -i 100ms; status=$?; {after} echo status $status"),
    )
}

fn start_script(place: &Place, script: &str) -> Terminal {
    let mut terminal = Terminal::start(place, &format!("read go; {script}"));
    terminal.resize(SIZE.0, SIZE.1);
    terminal.press("\n");
    expect(&mut terminal, SIZE, &["holdlock top", "PATH"]);
    terminal
}

/// The part that only the paths of the locks of this place have in common.
fn name_of(place: &Place) -> String {
    let directory = place.locks();
    let name = directory.parent().and_then(std::path::Path::file_name);
    format!("{}/", name.expect("it has one").to_string_lossy())
}

fn filter(terminal: &mut Terminal, place: &Place) {
    terminal.press(&format!("/{}{ENTER}", name_of(place)));
}

#[test]
fn a_holder_and_its_queue_are_shown() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let first = Running::start(place.holdlock(["run", "L", "true"]));
    first.expect_waiting();
    let second = Running::start(place.holdlock(["run", "-s", "L", "true"]));
    second.expect_waiting();
    let mut terminal = start(&place, "", "");
    filter(&mut terminal, &place);
    let path = "/locks/L.lock";
    let list = expect(&mut terminal, SIZE, &[path, &holder.pid().to_string()]);
    assert!(
        list.lines().any(|line| line.starts_with("    2 ")),
        "{list}"
    );
    terminal.press(ENTER);
    let line = |turn: &str, mode: &str, pid: u32| format!("{turn} flock {mode} {pid:>7}");
    let words = [
        line("     ", "ex", holder.pid()),
        line("   1.", "ex", first.pid()),
        line("   2.", "sh", second.pid()),
        "sleeping".to_owned(),
        " true  (runs for ".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    expect(&mut terminal, SIZE, &words);
    terminal.press("g");
    let last = format!("s {} true", second.pid());
    let tree = expect(&mut terminal, SIZE, &["`- >", &last]);
    assert!(tree.contains(", held by "), "{tree}");
    // It continues: the holder releases the lock, and the list no longer shows it.
    terminal.press(ESC);
    expect(&mut terminal, SIZE, &["HELD"]);
    for one in [holder, first, second] {
        one.finish();
    }
    expect(
        &mut terminal,
        SIZE,
        &["No process holds a lock on this file"],
    );
    terminal.press(ESC);
    expect(&mut terminal, SIZE, &["No lock has this text"]);
    terminal.press("q");
    terminal.expect("status 0");
}

#[test]
fn k_sends_a_signal_to_the_holder_after_a_question() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let pid = holder.pid().to_string();
    let mut terminal = start(&place, "", "");
    filter(&mut terminal, &place);
    expect(&mut terminal, SIZE, &["/locks/L.lock", &pid]);
    // Any key but y means no.
    terminal.press(&format!("kkill{ENTER}"));
    expect(
        &mut terminal,
        SIZE,
        &[&format!("Send KILL to {pid} sh -c echo held")],
    );
    terminal.press(ENTER);
    expect(&mut terminal, SIZE, &["nothing sent"]);
    terminal.press(&format!("knone{ENTER}"));
    expect(&mut terminal, SIZE, &["none: no signal has this name"]);
    terminal.press(ESC);
    expect(&mut terminal, SIZE, &["nothing sent"]);
    terminal.press(&format!("k{ENTER}"));
    expect(&mut terminal, SIZE, &[&format!("Send TERM to {pid} ")]);
    terminal.press("y");
    expect(&mut terminal, SIZE, &[&format!("TERM sent to {pid}")]);
    let finished = holder.finish();
    assert_eq!(finished.status.code(), Some(143), "{finished:?}");
    expect(&mut terminal, SIZE, &["No lock has this text"]);
    terminal.press("kq");
    terminal.expect("status 0");
}

#[test]
fn a_holder_that_has_released_gets_no_signal() {
    let place = Place::new();
    let script =
        "\"$HOLDLOCK\" run L sh -c 'echo held; read line'; echo released; read line; exit 0";
    let mut holder = Running::start_with_stdin(place.shell(script));
    holder.expect_line("held");
    let mut terminal = start(&place, "", "");
    filter(&mut terminal, &place);
    expect(&mut terminal, SIZE, &["/locks/L.lock"]);
    terminal.press(&format!("k{ENTER}"));
    expect(&mut terminal, SIZE, &["Send TERM to "]);
    holder.say("\n");
    holder.expect_line("released");
    terminal.press("y");
    expect(&mut terminal, SIZE, &["nothing sent"]);
    terminal.press("q");
    terminal.expect("status 0");
    assert_eq!(holder.finish().code(), 0);
}

#[cfg(feature = "engines")]
#[test]
fn a_bystander_that_a_record_of_an_engine_names_gets_no_signal() {
    use holdlock_test_support::servers::{Server, redis};
    let Some(server) = redis::shared() else {
        return;
    };
    let (place, mut bystander) = (Place::new(), Bystander::start());
    let url = server.url("top-forged");
    bystander.is_said_to_hold(server, "top-forged");
    let top = format!("\"$HOLDLOCK\" top -i 100ms '{url}'; echo status $?");
    let mut terminal = start_script(&place, &top);
    terminal.press(&format!("/top-forged{ENTER}"));
    let pid = bystander.0.id().to_string();
    expect(&mut terminal, SIZE, &["top-forged", &pid]);
    terminal.press(&format!("k{ENTER}y"));
    let said = format!("no signal: {pid} has no connection to this server");
    expect(&mut terminal, SIZE, &[&said]);
    assert!(bystander.0.try_wait().expect("a child").is_none());
    terminal.press("q");
    terminal.expect("status 0");
}

#[test]
fn a_deadlock_is_seen() {
    if in_container() {
        return skipped("in a container, locks taken by flock(1) for a shell are not listed");
    }
    let place = Place::new();
    let script = |mine: &str, other: &str| {
        format!("exec 8>{mine} 9>{other}; flock 8; echo have; read line; exec flock 9")
    };
    let (mut one, mut two) = (
        Running::start_with_stdin(place.shell(&script("a", "b"))),
        Running::start_with_stdin(place.shell(&script("b", "a"))),
    );
    if one.read_line() != "have" {
        return skipped("flock(1) is not installed");
    }
    two.expect_line("have");
    one.let_go();
    two.let_go();
    one.expect_waiting();
    two.expect_waiting();
    let mut terminal = start(&place, "", "");
    expect(&mut terminal, SIZE, &["DEADLOCKS"]);
    terminal.press("g");
    expect(
        &mut terminal,
        SIZE,
        &["Deadlock: these wait for one another"],
    );
    terminal.press(INTERRUPT);
    terminal.expect("status 0");
}

#[test]
fn the_window_may_change_its_size() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let mut terminal = start(&place, "", "");
    filter(&mut terminal, &place);
    for size in [(20, 5), (200, 50), (1, 1), (80, 24)] {
        terminal.resize(size.0, size.1);
        let words: &[&str] = if size.0 >= 80 {
            &["? help  q quit", "L.lock"]
        } else {
            &["~"]
        };
        expect(&mut terminal, size, words);
    }
    terminal.press("q");
    terminal.expect("status 0");
    holder.finish();
}

/// How the terminal is set, as `stty` says, before and after; how top ended in between.
fn settings_after(end: impl FnOnce(&mut Terminal, Pid)) -> (String, String) {
    let place = Place::new();
    let mut terminal = start(&place, "stty -g > before;", "stty -g > after;");
    let pid = top_of(&place);
    end(&mut terminal, pid);
    terminal.expect("status ");
    let status = terminal.read_until("\r\n");
    let read = |name| fs::read_to_string(place.join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
    let seen = terminal.finish();
    assert!(!other_screen(&seen), "{seen:?}");
    assert!(
        seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l"),
        "no cursor"
    );
    (status, seen)
}

/// The `top` that was started in that place.
fn top_of(place: &Place) -> Pid {
    let directory = place.join("").canonicalize().unwrap();
    wait_for("top", || {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let here = fs::read_link(entry.path().join("cwd")).ok()? == directory;
            let is_top = line.windows(5).any(|word| word == b"\0top\0");
            (here && is_top).then(|| Pid::from_raw(pid))?
        })
    })
}

#[test]
fn the_terminal_is_given_back_however_top_ends() {
    for key in ["q", INTERRUPT, ESC] {
        let (status, _) = settings_after(|terminal, _| terminal.press(key));
        assert_eq!(status, "0");
    }
    for (signal, number) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let (status, _) = settings_after(|_, pid| kill_process(pid, signal).unwrap());
        assert_eq!(status, number.to_string());
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_goes_on() {
    let place = Place::new();
    let script = "read go; stty -g > before; \"$HOLDLOCK\" top -i 100ms; echo stopped $?; \
                  stty -g > between; read go; fg; echo status $?; stty -g > after; echo end.";
    let mut terminal = Terminal::start(&place, script);
    terminal.resize(SIZE.0, SIZE.1);
    terminal.press("\n");
    expect(&mut terminal, SIZE, &["holdlock top", "PATH"]);
    terminal.press(SUSPEND);
    terminal.expect("\x1b[?1049l");
    terminal.expect("stopped 148");
    terminal.press("\n");
    // The other screen again, and a whole picture.
    terminal.expect("\x1b[?1049h");
    terminal.expect("\x1b[2J");
    terminal.expect("PATH");
    terminal.press("q");
    terminal.expect("status 0");
    terminal.expect("end.");
    let read = |name| fs::read_to_string(place.join(name)).unwrap();
    assert_eq!(read("before"), read("between"));
    assert_eq!(read("before"), read("after"));
}

#[test]
fn without_a_terminal_top_says_what_to_do() {
    let place = Place::new();
    let finished = place.run(["top"]);
    assert_eq!(finished.code(), 64);
    assert!(
        finished.stderr.contains("holdlock list"),
        "{}",
        finished.stderr
    );
    assert!(finished.stdout.is_empty());
    for words in [&["top", "-i", "1ms"][..], &["top", "--size", "80x24"]] {
        assert_eq!(place.run(words).code(), 64, "{words:?}");
    }
}

#[test]
fn one_picture_can_be_had_as_text() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let only = format!("/{}{ENTER}", name_of(&place));
    let words = ["top", "--once", "--size", "200x40", "--press", &only];
    let finished = place.run(words);
    let text = finished.text();
    assert_eq!((finished.code(), text.lines().count()), (0, 40));
    assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
    assert!(text.contains("/locks/L.lock"), "{text}");
    let mut utf8 = place.holdlock(["top", "--once"]);
    utf8.env("LC_ALL", "C.UTF-8");
    assert!(Running::start(utf8).finish().text().contains('▼'));
    holder.finish();
}

#[test]
fn names_cannot_play_with_the_terminal() {
    let place = Place::new();
    let odd = place.join("\x1b]0;title\x07\u{9b}2J\nx.lock");
    let holder = place.hold(&[odd.to_str().unwrap()]);
    let mut terminal = start(&place, "LC_ALL=C.UTF-8", "");
    terminal.press(&format!("/x.lock{ENTER}"));
    expect(&mut terminal, SIZE, &["x.lock"]);
    terminal.press("q");
    terminal.expect("status 0");
    let seen = terminal.finish();
    assert!(!seen.contains("]0;title\x07") && !seen.contains('\u{9b}'));
    holder.finish();
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    for (before, colours) in [("NO_COLOR=1", false), ("", true)] {
        let place = Place::new();
        let mut terminal = start(&place, before, "");
        terminal.press("q");
        terminal.expect("status 0");
        assert_eq!(terminal.finish().contains(";36m"), colours);
    }
}

#[test]
fn a_thousand_locks_cost_little() {
    let place = Place::new();
    // By fifty processes, twenty each.
    let script = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); \
        bash -c 'for n in {10..29}; do eval \"exec $n>$0.$n\"; flock -n $n || exit 1; done; \
                 echo $$; read line' \"$i\" <&3 & done 3<&0; wait";
    if !std::path::Path::new("/bin/bash").exists()
        || std::process::Command::new("flock")
            .arg("--version")
            .output()
            .is_err()
    {
        return skipped("bash or flock(1) is not installed");
    }
    if !can_trace() {
        return;
    }
    let mut holders = Running::start_with_stdin(place.shell(script));
    let pids: Vec<String> = (0..50).map(|_| holders.read_line()).collect();
    let script = "read go; strace -qq -f -e trace=openat -o trace \"$HOLDLOCK\" top; \
                  echo status $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.resize(SIZE.0, SIZE.1);
    terminal.press("\n");
    expect(&mut terminal, SIZE, &["every 1s"]);
    // The first look reads the processes of each lock; later looks only those of new locks. Other
    // programs make new locks all the time.
    let counts = || {
        let trace = fs::read_to_string(place.join("trace")).unwrap();
        let looks = trace.matches("\"/proc/locks\"").count();
        let of_ours = |pid: &String| trace.matches(&format!("/proc/{pid}/fdinfo/")).count();
        (looks, pids.iter().map(of_ours).sum::<usize>())
    };
    assert!(counts().1 >= 1000, "{:?}", counts());
    // Sometimes top looks at everything again; on a slow machine that may be now.
    let mut fewest = usize::MAX;
    for _ in 0..5 {
        let before = counts();
        // Meanwhile, the test has to read its output.
        let after = terminal.wait_until("some looks", |_| {
            Some(counts()).filter(|(looks, _)| *looks >= before.0 + 3)
        });
        fewest = fewest.min(after.1 - before.1);
        if fewest < 500 {
            break;
        }
    }
    assert!(fewest < 500, "{fewest} reads in three looks");
    terminal.press("q");
    terminal.expect("status 0");
    holders.let_go();
    holders.finish();
}

//! The views, drawn into a grid without a terminal.

use std::time::{Duration, Instant, SystemTime};

use holdlock::Mode;
use holdlock::inspect::FileId;

use super::app::{App, Then, View};
use super::draw::{Theme, draw};
use super::keys::Key;
use super::model::{Cycle, File, Held, Host, Step, Wait, Who};
use super::screen::{Screen, as_text};
use super::sort::{Column, chosen};
use super::text::clean;

fn file_id(inode: u64) -> FileId {
    FileId {
        major: 8,
        minor: 1,
        inode,
    }
}

fn who(pid: u32, command: &str) -> Who {
    Who {
        pid,
        user: "ann".into(),
        command: clean(command),
        state: "sleeping".into(),
        started: None,
        inherited: false,
        host: None,
        is_elsewhere: false,
    }
}

/// A file with one holder, and waiters that have been seen for these numbers of seconds.
fn file(inode: u64, path: &str, holder: u32, waiters: &[(u32, u64)], now: Instant) -> File {
    let wait = |(turn, (pid, seconds)): (usize, &(u32, u64))| Wait {
        kind: "flock".into(),
        mode: Mode::Exclusive,
        range: String::new(),
        turn: turn as u32 + 1,
        who: Some(who(*pid, "/usr/bin/waiter")),
        since: now.checked_sub(Duration::from_secs(*seconds)).unwrap(),
    };
    File {
        file_id: file_id(inode),
        path: clean(path),
        about: format!("file {}", file_id(inode)),
        locks: vec![Held {
            kind: "flock".into(),
            mode: Mode::Exclusive,
            range: String::new(),
            inherited_from: None,
            keepers: vec![who(holder, &format!("/usr/bin/holder{holder} x"))],
            held: None,
        }],
        waiters: waiters.iter().enumerate().map(wait).collect(),
    }
}

fn host() -> Host {
    // Uptime may be shorter than the waits below.
    let now = Instant::now() + Duration::from_secs(1000);
    Host {
        name: "vm".into(),
        at: SystemTime::now(),
        now,
        files: vec![
            file(1, "/srv/quiet.lock", 11, &[], now),
            file(2, "/srv/two.lock", 12, &[(21, 5), (22, 3)], now),
            file(3, "/srv/old.lock", 13, &[(23, 90)], now),
        ],
        cycles: Vec::new(),
        unseen: Vec::new(),
        trouble: None,
        is_engine: false,
    }
}

fn picture(app: &mut App, host: &Host, size: (u16, u16)) -> String {
    let mut buffer = Screen::blank(size);
    draw(&mut buffer, app, host, Theme { color: true });
    as_text(buffer, false)
}

fn started(host: &Host) -> App {
    let mut app = App::new(Duration::from_secs(1));
    app.settle(host);
    app
}

fn press(app: &mut App, host: &Host, keys: &str) {
    for key in keys.chars() {
        assert_ne!(app.press(Key::Char(key), host), Then::Quit);
    }
}

fn order(app: &App, host: &Host) -> Vec<u64> {
    let files = chosen(host, &app.choice);
    files.iter().map(|file| file.file_id.inode).collect()
}

#[test]
fn the_list_shows_the_longest_queue_first() {
    let host = host();
    let mut app = started(&host);
    let text = picture(&mut app, &host, (80, 24));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 24);
    assert!(
        lines[0].contains("locks 3  waiting 3  deadlocks 0  every 1s"),
        "{text}"
    );
    assert!(
        lines[2].contains("2      ≥5s flock ex      12 ann      holder12 x"),
        "{text}"
    );
    assert!(lines[2].ends_with("/srv/two.lock"), "{text}");
    assert!(lines[3].contains("≥1m30s"), "{text}");
    assert!(lines[4].starts_with("    –"), "{text}");
}

#[test]
fn a_small_screen_still_shows_the_holder_and_the_path() {
    let host = host();
    let mut app = started(&host);
    let text = picture(&mut app, &host, (40, 10));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "WAIT▼     PID HOLDER     PATH");
    assert_eq!(lines[2], "    2      12 holder12 x /srv/two.lock");
    assert!(
        text.lines().all(|line| line.chars().count() <= 40),
        "{text}"
    );
    let text = picture(&mut app, &host, (60, 10));
    assert!(
        text.contains("holder12 x") && text.contains("flock ex"),
        "{text}"
    );
}

#[test]
fn it_is_sorted_by_each_column_either_way() {
    let host = host();
    let mut app = started(&host);
    assert_eq!(order(&app, &host), [2, 3, 1]);
    press(&mut app, &host, ">");
    assert_eq!(
        (app.choice.column, order(&app, &host)),
        (Column::Longest, vec![3, 2, 1])
    );
    press(&mut app, &host, ">>");
    assert_eq!(
        (app.choice.column, order(&app, &host)),
        (Column::Holder, vec![1, 2, 3])
    );
    press(&mut app, &host, "r");
    assert_eq!(order(&app, &host), [3, 2, 1]);
    press(&mut app, &host, ">");
    assert_eq!(
        (app.choice.column, order(&app, &host)),
        (Column::Path, vec![3, 1, 2])
    );
    press(&mut app, &host, "><");
    assert_eq!(app.choice.column, Column::Path);
}

#[test]
fn the_chosen_file_stays_chosen_when_the_order_changes() {
    let mut host = host();
    let mut app = started(&host);
    app.press(Key::Down, &host);
    assert_eq!(app.selected, Some(file_id(3)));
    let more: Vec<(u32, u64)> = (30..40).map(|pid| (pid, 1)).collect();
    host.files[0] = file(1, "/srv/quiet.lock", 11, &more, host.now);
    app.settle(&host);
    assert_eq!((app.selected, app.row), (Some(file_id(3)), 2));
    // Its lock is released: the file that is in its row now.
    host.files.pop();
    app.settle(&host);
    assert_eq!((app.selected, app.row), (Some(file_id(2)), 1));
    host.files.clear();
    app.settle(&host);
    assert_eq!((app.selected, app.row), (None, 0));
    assert_eq!(app.press(Key::Enter, &host), Then::Draw);
    assert_eq!(app.view(), View::List);
}

#[test]
fn enter_shows_the_queue_and_esc_leads_back() {
    let host = host();
    let mut app = started(&host);
    app.press(Key::Enter, &host);
    let text = picture(&mut app, &host, (80, 24));
    assert!(
        text.contains("flock ex      12 ann      sleeping"),
        "{text}"
    );
    assert!(
        text.contains("   1. flock ex      21 ann      sleeping        ≥5s /usr/bin/waiter"),
        "{text}"
    );
    assert!(text.contains("   2. flock ex      22"), "{text}");
    press(&mut app, &host, "g?g");
    assert_eq!(
        app.views,
        [View::List, View::Queue(file_id(2)), View::Help, View::Graph]
    );
    for _ in 0..3 {
        assert_eq!(app.press(Key::Esc, &host), Then::Draw);
    }
    assert_eq!(app.view(), View::List);
    assert_eq!(app.press(Key::Esc, &host), Then::Quit);
}

#[test]
fn a_queue_that_is_gone_is_reported() {
    let mut host = host();
    let mut app = started(&host);
    app.press(Key::Enter, &host);
    host.files.clear();
    app.settle(&host);
    let text = picture(&mut app, &host, (80, 24));
    assert!(
        text.contains("No process holds a lock on this file"),
        "{text}"
    );
}

#[test]
fn the_graph_shows_chains_and_cycles() {
    let mut host = host();
    // 21 waits for two.lock and has next.lock, for which 41 waits.
    host.files
        .push(file(4, "/srv/next.lock", 21, &[(41, 2)], host.now));
    let mut app = started(&host);
    press(&mut app, &host, "g");
    let text = picture(&mut app, &host, (80, 24));
    let chain = "/srv/two.lock, held by 12 holder12 x (ann)\n\
                 ├─ ≥5s 21 waiter (ann)\n\
                 │  has /srv/next.lock, held by 21 holder21 x (ann)\n\
                 │  └─ ≥2s 41 waiter (ann)\n\
                 └─ ≥3s 22 waiter (ann)\n";
    assert!(text.contains(chain), "{text}");
    // Now 12 waits for next.lock: a cycle, of which the tree sees an end.
    host.files[3] = file(4, "/srv/next.lock", 21, &[(12, 2)], host.now);
    host.cycles = vec![Cycle {
        certain: true,
        steps: vec![
            Step {
                waiter: who(21, "a"),
                file_id: file_id(2),
                path: "/srv/two.lock".into(),
                holder: who(12, "b"),
            },
            Step {
                waiter: who(12, "b"),
                file_id: file_id(4),
                path: "/srv/next.lock".into(),
                holder: who(21, "a"),
            },
        ],
    }];
    let text = picture(&mut app, &host, (80, 40));
    assert!(text.contains("DEADLOCKS 1"), "{text}");
    assert!(
        text.contains("  21 a (ann)\n    waits for /srv/two.lock\n    held by 12 b (ann)\n"),
        "{text}"
    );
    assert!(text.contains("(see above)"), "{text}");
    // What the list leaves out is not here either.
    app.choice.text = "quiet".into();
    let text = picture(&mut app, &host, (80, 40));
    assert!(text.contains("No process waits for another."), "{text}");
}

#[test]
fn text_and_waiters_choose_what_is_shown() {
    let host = host();
    let mut app = started(&host);
    press(&mut app, &host, "w");
    assert_eq!(order(&app, &host), [2, 3]);
    press(&mut app, &host, "w/OLD.");
    assert_eq!(order(&app, &host), [3]);
    assert!(picture(&mut app, &host, (80, 24)).contains("Show only: OLD._"));
    app.press(Key::Backspace, &host);
    assert_eq!(app.choice.text, "OLD");
    app.press(Key::Erase, &host);
    press(&mut app, &host, "holder12");
    app.press(Key::Enter, &host);
    assert_eq!(order(&app, &host), [2]);
    assert_eq!(app.press(Key::Esc, &host), Then::Draw);
    assert_eq!(order(&app, &host).len(), 3);
    press(&mut app, &host, "/nothing");
    assert!(picture(&mut app, &host, (80, 24)).contains("No lock has this text"));
    // While it is typed, q is a letter.
    press(&mut app, &host, "q");
    assert_eq!(app.press(Key::Interrupt, &host), Then::Quit);
}

#[test]
fn every_view_fits_every_size() {
    let mut host = host();
    host.unseen = vec!["3 processes of other users could not be looked at".into()];
    for inode in 10..60 {
        let path = format!("/tmp/{}漢字{inode}", "long/".repeat(40));
        host.files
            .push(file(inode, &path, inode as u32, &[(900, 1)], host.now));
    }
    let sizes = [
        (1, 1),
        (2, 3),
        (20, 5),
        (79, 4),
        (80, 24),
        (500, 200),
        (1, 50),
        (300, 2),
    ];
    for size in sizes {
        for keys in ["", "g", "?", "k", "/x", "w>>"] {
            let mut app = started(&host);
            press(&mut app, &host, keys);
            let text = picture(&mut app, &host, size);
            assert_eq!(text.lines().count(), usize::from(size.1));
            for key in [
                Key::End,
                Key::PageUp,
                Key::PageDown,
                Key::Enter,
                Key::End,
                Key::Up,
            ] {
                app.press(key, &host);
                picture(&mut app, &host, size);
            }
        }
    }
    // Smaller while one has scrolled.
    let mut app = started(&host);
    app.press(Key::End, &host);
    picture(&mut app, &host, (80, 24));
    let text = picture(&mut app, &host, (80, 10));
    let row = chosen(&host, &app.choice)[app.row].clone();
    assert_eq!(Some(row.file_id), app.selected);
    assert_eq!(text.lines().count(), 10);
}

#[test]
fn odd_names_do_not_reach_the_terminal() {
    let mut host = host();
    let odd = "/srv/\x1b]0;title\x07\x1b[2J\n\r\t\u{9b}2J\u{202e}gnp.lock";
    host.files = vec![file(1, odd, 5, &[(6, 1)], host.now)];
    host.files[0].locks[0].keepers[0].command = clean("\x1b[31m");
    for keys in ["", "g", "\r"] {
        let mut app = started(&host);
        for key in keys.chars() {
            let key = if key == '\r' {
                Key::Enter
            } else {
                Key::Char(key)
            };
            app.press(key, &host);
        }
        let mut buffer = Screen::blank((120, 24));
        draw(&mut buffer, &mut app, &host, Theme { color: false });
        let mut sent = Screen::new(false).change(buffer);
        for ours in ["\x1b[", "\x1b[0"] {
            assert!(sent.contains(ours));
        }
        // What remains after our own sequences has no control character.
        while let Some(at) = sent.find("\x1b[") {
            let end = sent[at + 2..]
                .find(|c: char| c.is_ascii_alphabetic())
                .unwrap();
            sent.replace_range(at..=at + 2 + end, "");
        }
        assert!(
            !sent.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{sent:?}"
        );
    }
}

#[test]
fn pause_and_pace() {
    let host = host();
    let mut app = started(&host);
    assert_eq!(app.press(Key::Char(' '), &host), Then::Draw);
    assert!(app.paused && picture(&mut app, &host, (80, 24)).contains("PAUSED"));
    assert_eq!(app.press(Key::Char(' '), &host), Then::Look);
    for (key, millis) in [('+', 500), ('+', 200), ('+', 100), ('+', 100), ('-', 200)] {
        assert_eq!(app.press(Key::Char(key), &host), Then::Look);
        assert_eq!(app.interval, Duration::from_millis(millis));
    }
    assert!(picture(&mut app, &host, (80, 24)).contains("every 200ms"));
}

#[test]
fn without_colour_nothing_is_coloured() {
    let mut host = host();
    host.trouble = Some("cannot look".into());
    let mut app = started(&host);
    let mut buffer = Screen::blank((80, 24));
    draw(&mut buffer, &mut app, &host, Theme { color: false });
    let sent = Screen::new(false).change(buffer);
    for color in [";31m", ";33m", ";36m"] {
        assert!(!sent.contains(color), "{sent:?}");
    }
}

#[test]
fn a_signal_needs_a_holder_that_is_still_the_same() {
    let mut host = host();
    let mut app = started(&host);
    // This process was started at another time than the holder that is shown.
    host.files[1].locks[0].keepers = vec![Who {
        started: Some(SystemTime::UNIX_EPOCH),
        ..who(std::process::id(), "make")
    }];
    app.press(Key::Char('k'), &host);
    assert!(app.question.is_none());
    let text = picture(&mut app, &host, (80, 24));
    assert!(text.contains("no signal: "), "{text}");
    press(&mut app, &host, "gk");
    let text = picture(&mut app, &host, (80, 24));
    assert!(text.contains("choose a lock in the list first"), "{text}");
}

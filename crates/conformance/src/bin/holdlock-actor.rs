//! A process that acquires and releases one lock, as its standard input says.
//!
//! Orders: `lock`, `lock-shared`, `try`, `try-shared`, `lock-upgradeable`, `try-upgradeable`,
//! `upgrade`, `try-upgrade`, `downgrade`, `for MS`, `release`,
//! `current`, `remove` (the lock file), `spawn` (a child that runs on and knows
//! nothing of the lock), `exit` (without releasing), `note TEXT` (acquires with
//! it), `token`, `abandoned` (the pid, or 0). Answers: `ok`, what was asked for,
//! or the error's kind and message.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdlock::{Error, Family, FileLock, Guard, LockOptions, Request, UpgradeableGuard};
use holdlock_conformance::sys;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().expect("a path");
    let mut options = LockOptions::new();
    for option in arguments {
        options = match option.to_str() {
            Some("ofd") => options.family(Family::Ofd),
            Some("delete") => options.delete_on_release(true),
            Some("fair") => options.fair(true),
            Some("record") => options.record(true),
            Some("upgradeable") => options.upgradeable(true),
            Some("follow") => options.follow_symlinks(true),
            Some("fds=3") => limited(options, libc::RLIMIT_NOFILE, 3),
            Some("fds=4") => limited(options, libc::RLIMIT_NOFILE, 4),
            Some("file-size=0") => limited(options, libc::RLIMIT_FSIZE, 0),
            Some("file-size=512") => limited(options, libc::RLIMIT_FSIZE, 512),
            other => panic!("{other:?}"),
        };
    }
    let lock = match options.open(&path) {
        Ok(lock) => lock,
        Err(error) => return say(&format!("{error:?}")),
    };
    say("ready");
    let (mut held, mut right) = (None, None);
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match upgrade(&order, &lock, &mut right) {
            Some(answer) => answer.map_or_else(|error| format!("{error:?}"), |()| "ok".into()),
            None => obey(&order, &lock, &mut held),
        };
        say(&answer);
    }
}

/// Orders for a lock with the right to upgrade.
fn upgrade<'l>(
    order: &str,
    lock: &'l FileLock,
    right: &mut Option<UpgradeableGuard<'l>>,
) -> Option<Result<(), Error>> {
    let take = |request| lock.acquire_upgradeable(request);
    Some(match (order, &mut *right) {
        ("lock-upgradeable", _) => take(Request::shared()).map(|guard| *right = Some(guard)),
        ("try-upgradeable", _) => {
            take(Request::shared().try_once()).map(|guard| *right = Some(guard))
        }
        ("upgrade", Some(guard)) => guard.upgrade(Request::exclusive()),
        ("try-upgrade", Some(guard)) => guard.upgrade(Request::exclusive().try_once()),
        ("downgrade", Some(guard)) => guard.downgrade(),
        ("release", Some(_)) => right.take().map_or(Ok(()), UpgradeableGuard::release),
        _ => return None,
    })
}

/// The resource is limited from now on.
fn limited(options: LockOptions, resource: sys::Resource, value: u64) -> LockOptions {
    sys::limit(resource, value);
    options
}

fn obey<'l>(order: &str, lock: &'l FileLock, held: &mut Option<Guard<'l>>) -> String {
    let (order, operand) = order.split_once(' ').unwrap_or((order, ""));
    let taken = match order {
        "lock" => lock.lock(),
        "lock-shared" => lock.lock_shared(),
        "try" => lock.try_lock(),
        "try-shared" => lock.try_lock_shared(),
        "note" => lock.acquire(Request::exclusive().note(operand)),
        "for" => lock.try_lock_for(Duration::from_millis(operand.parse().expect("a number"))),
        _ => return act(order, lock, held).unwrap_or_else(|error| format!("{error:?}")),
    };
    match taken {
        Ok(guard) => {
            *held = Some(guard);
            "ok".into()
        }
        Err(error) => format!("{error:?}"),
    }
}

fn act<'l>(order: &str, lock: &'l FileLock, held: &mut Option<Guard<'l>>) -> Result<String, Error> {
    match order {
        "release" => held.take().expect("a guard").release()?,
        "current" => {
            return held
                .as_ref()
                .expect("a guard")
                .is_current()
                .map(|is| is.to_string());
        }
        "token" => {
            let token = held.as_ref().expect("a guard").token();
            return Ok(token.unwrap_or(0).to_string());
        }
        "abandoned" => {
            let last = held.as_ref().expect("a guard").abandoned();
            return Ok(last.map_or(0, |last| last.pid).to_string());
        }
        "remove" => std::fs::remove_file(lock.path()).expect("removed"),
        "spawn" => {
            let child = Command::new("sleep")
                .arg("60")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            return Ok(child.expect("sleep").id().to_string());
        }
        "exit" => std::process::exit(0),
        other => panic!("{other}"),
    }
    Ok("ok".into())
}

fn say(answer: &str) {
    println!("{answer}");
    let _ = std::io::stdout().flush();
}

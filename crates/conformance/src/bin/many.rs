//! A process that acquires several locks, as its standard input says.
//!
//! Arguments: paths, or `ofd` first. Orders: `lock N` (the path's number, from 0), `blind N`
//! (without looking for deadlocks), `elsewhere N` (held by another thread), `release N`.
//! Answers: `ok`, or the error.

use std::io::{BufRead, Write};

use holdlock::{Error, Family, FileLock, Guard, LockOptions, Request};

fn main() {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let ofd = paths.first().is_some_and(|path| path == "ofd");
    let family = if ofd {
        paths.remove(0);
        Family::Ofd
    } else {
        Family::Flock
    };
    let open = |path: &String| LockOptions::new().family(family).open(path).expect("opens");
    // Threads borrow the locks until the process ends.
    let locks: &'static [FileLock] = paths.iter().map(open).collect::<Vec<_>>().leak();
    let mut held: Vec<Option<Guard<'_>>> = locks.iter().map(|_| None).collect();
    say("ready");
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (order, number) = order.split_once(' ').expect("an order and a number");
        let number: usize = number.parse().expect("a number");
        let answer = match order {
            "lock" => take(&locks[number], Request::exclusive(), &mut held[number]),
            "blind" => {
                let request = Request::exclusive().notice_deadlocks(false);
                take(&locks[number], request, &mut held[number])
            }
            "elsewhere" => {
                let (told, taken) = std::sync::mpsc::channel();
                std::thread::spawn(move || {
                    let _guard = locks[number].lock();
                    let _ = told.send(());
                    loop {
                        std::thread::park();
                    }
                });
                taken.recv().expect("the thread lives");
                "ok".into()
            }
            "release" => {
                held[number] = None;
                "ok".into()
            }
            other => panic!("{other}"),
        };
        say(&answer);
    }
}

fn take(lock: &'static FileLock, request: Request, held: &mut Option<Guard<'static>>) -> String {
    match lock.acquire(request) {
        Ok(guard) => {
            *held = Some(guard);
            "ok".into()
        }
        Err(error @ Error::Deadlock { .. }) => format!("Deadlock {error}"),
        Err(error) => error.to_string(),
    }
}

fn say(answer: &str) {
    println!("{answer}");
    let _ = std::io::stdout().flush();
}

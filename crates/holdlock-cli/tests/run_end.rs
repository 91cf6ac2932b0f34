//! `holdlock run`: however a job ends, and whatever it leaves at work, no second job runs.
//!
//! A job is a script that starts a worker. The worker locks a witness file while it works. A second
//! job acquires the lock and checks whether the witness file is free.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use support::{Place, Running, is_gone, peers, wait_for};

/// Works until it gets an order to stop, or until its directory is removed.
const WORKER: &str = "
import fcntl, os, signal, sys, time
if 'stubborn' in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
witness = open('witness', 'a')
fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
with open('started.new', 'w') as file:
    file.write(str(os.getpid()))
os.rename('started.new', 'started')
while os.path.exists('witness') and not os.path.exists('stop'):
    time.sleep(0.01)
";

/// A script that prints its process number and starts `$WORK`, and the way it does that.
const SCRIPTS: [(&str, &str); 5] = [
    ("a child", "$WORK; exit 3"),
    ("a background process", "$WORK & wait; exit 3"),
    ("a process of nohup", "nohup $WORK & wait; exit 3"),
    ("a process of setsid", "setsid $WORK & wait; exit 3"),
    ("a pipeline", "$WORK | cat; exit 3"),
];

/// A script in Python, whose child does not inherit the lock.
const CLOSING: &str = "
import os, subprocess
print(os.getpid(), flush=True)
subprocess.Popen(os.environ['WORK'].split(), stdout=subprocess.DEVNULL).wait()
";

/// A way to end a job.
struct End {
    options: &'static [&'static str],
    /// By --max-hold.
    limited: bool,
    /// Ends the job; the arguments are holdlock and the process number of the script.
    act: fn(&Running, Pid),
    /// The script does not wait for its child first, as a shell does after INT.
    is_at_once: bool,
    /// The worker is gone after it, although it ignores TERM.
    of_all: bool,
    /// holdlock has ended and cannot act.
    kills_us: bool,
}

fn wait_for_the_end_of(script: Pid) {
    let pid = script.as_raw_pid().unsigned_abs().into();
    wait_for("the script to end", || is_gone(pid).then_some(()));
}

/// A job whose worker works. If the machine is too slow for the time limit, tries again.
fn job_under(end: &End, place: &Place, script: &[&str]) -> (Running, Pid, u64) {
    let stubborn = if end.of_all { " stubborn" } else { "" };
    let work = format!(
        "{} -I -S worker.py{stubborn}",
        peers::interpreter().unwrap()
    );
    for limit in [1, 5, 20] {
        let limits = [format!("--max-hold={limit}s")];
        let limits: &[String] = if end.limited { &limits } else { &[] };
        let words = limits.iter().map(String::as_str);
        let words = ["run"]
            .into_iter()
            .chain(words)
            .chain(end.options.iter().copied());
        let mut command = place.holdlock(words.chain(["L", "--"]).chain(script.iter().copied()));
        command.env("WORK", &work);
        let mut first = Running::start(command);
        let Ok(script) = first.read_line().parse() else {
            continue;
        };
        let us = u64::from(first.pid());
        let worker = wait_for("the worker to start", || {
            match std::fs::read_to_string(place.join("started")) {
                Ok(started) => Some(started.parse().ok()),
                Err(_) => is_gone(us).then_some(None),
            }
        });
        if let Some(worker) = worker {
            return (first, Pid::from_raw(script).unwrap(), worker);
        }
    }
    panic!("the worker does not start");
}

fn never_two_jobs(end: &End) {
    let Some(python) = peers::interpreter() else {
        return peers::skipped("python3 is not installed");
    };
    std::thread::scope(|scope| {
        for (what, script) in SCRIPTS {
            let script = format!("echo $$; exec >/dev/null 2>&1 </dev/null; {script}");
            scope.spawn(move || never_two_jobs_after(end, what, &["sh", "-c", &script]));
        }
        let script = [python, "-I", "-S", "-c", CLOSING];
        scope.spawn(move || never_two_jobs_after(end, "a child without the lock", &script));
    });
}

fn never_two_jobs_after(end: &End, what: &str, script: &[&str]) {
    let place = Place::new();
    std::fs::write(place.join("worker.py"), WORKER).unwrap();
    let (first, script, worker) = job_under(end, &place, script);
    (end.act)(&first, script);
    if end.is_at_once {
        wait_for_the_end_of(script);
    }

    // A job that starts now, and a job that has already waited.
    let second = |patience: &str| {
        let witness = ["-n", "-E", "99", "./witness", "--", "true"];
        let words = [
            "run",
            "-w",
            patience,
            "L",
            "--",
            env!("CARGO_BIN_EXE_holdlock"),
            "run",
        ];
        place.run(words.iter().chain(&witness))
    };
    let inherits = what != "a child without the lock";
    for patience in ["0", "300ms"] {
        let finished = second(patience);
        if inherits || !end.kills_us {
            assert_ne!(
                finished.code(),
                99,
                "two jobs at once: {what}: {finished:?}"
            );
        }
    }
    if end.of_all {
        first.finish();
        assert!(is_gone(worker), "{what} goes on");
    } else {
        std::fs::write(place.join("stop"), "").unwrap();
        let finished = first.finish();
        wait_for("the worker to end", || is_gone(worker).then_some(()));
        if finished.stderr.contains("continue") {
            assert!(finished.stderr.contains("pid "), "{what}: {finished:?}");
        }
    }
    assert_eq!(second("30s").code(), 0, "{what}: the lock is free at last");
}

const OF_THE_SCRIPT: End = End {
    options: &[],
    limited: false,
    act: |_, script| kill_process(script, Signal::TERM).unwrap(),
    is_at_once: true,
    of_all: false,
    kills_us: false,
};

#[test]
fn nobody_joins_what_a_terminated_holdlock_leaves() {
    never_two_jobs(&End {
        act: |first, _| first.signal(Signal::TERM),
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_an_interrupted_holdlock_leaves() {
    let act = |first: &Running, _| first.signal(Signal::INT);
    never_two_jobs(&End {
        act,
        is_at_once: false,
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_a_holdlock_that_was_hung_up_leaves() {
    never_two_jobs(&End {
        act: |first, _| first.signal(Signal::HUP),
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_a_holdlock_that_quit_leaves() {
    never_two_jobs(&End {
        act: |first, _| first.signal(Signal::QUIT),
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_a_killed_holdlock_leaves() {
    let act = |first: &Running, _| first.signal(Signal::KILL);
    never_two_jobs(&End {
        act,
        kills_us: true,
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_a_killed_holdlock_leaves_of_a_tree() {
    let act = |first: &Running, _| first.signal(Signal::KILL);
    never_two_jobs(&End {
        act,
        kills_us: true,
        options: &["--tree"],
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_a_terminated_script_leaves() {
    never_two_jobs(&OF_THE_SCRIPT);
}

#[test]
fn nobody_joins_what_a_killed_script_leaves() {
    let act = |_: &Running, script| kill_process(script, Signal::KILL).unwrap();
    never_two_jobs(&End {
        act,
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_a_killed_script_leaves_of_a_tree() {
    let act = |_: &Running, script| kill_process(script, Signal::KILL).unwrap();
    never_two_jobs(&End {
        act,
        options: &["--tree"],
        ..OF_THE_SCRIPT
    });
}

#[test]
fn a_second_term_ends_all_of_a_tree_and_nobody_joins_it() {
    let act = |first: &Running, script| {
        first.signal(Signal::TERM);
        wait_for_the_end_of(script);
        first.signal(Signal::TERM);
    };
    let options = &["--tree", "--kill-after=200ms"];
    never_two_jobs(&End {
        act,
        options,
        of_all: true,
        ..OF_THE_SCRIPT
    });
}

#[test]
fn nobody_joins_what_is_ended_because_it_holds_too_long() {
    let options = &["--kill-after=200ms"];
    let limited = End {
        limited: true,
        of_all: true,
        act: |_, _| {},
        ..OF_THE_SCRIPT
    };
    never_two_jobs(&End { options, ..limited });
}

#[test]
fn nobody_joins_a_tree_that_is_ended_because_it_holds_too_long() {
    let options = &["--tree", "--kill-after=200ms"];
    let limited = End {
        limited: true,
        of_all: true,
        act: |_, _| {},
        ..OF_THE_SCRIPT
    };
    never_two_jobs(&End { options, ..limited });
}

//! A process that acquires random sets of locks, again and again.
//!
//! Arguments: a directory, the number of locks in it, a seed, what to do (`times N` or `for MS`),
//! and options: `fair` locks, `hold=MICROSECONDS` inside. It begins when its standard input has a
//! line, and ends with the answer `ACQUISITIONS LONGEST-WAIT-IN-MICROSECONDS`. Each lock has a
//! witness, which sees overlaps.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdlock::{FileLock, LockOptions, LockSet, Mode};
use holdlock_conformance::witness::Witness;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, locks, seed, unit, amount, options @ ..] = words.as_slice() else {
        panic!("DIRECTORY LOCKS SEED times|for AMOUNT [fair]");
    };
    let number = |word: &String| word.parse::<u64>().expect("a number");
    let directory = PathBuf::from(directory);
    let fair = options.iter().any(|option| option == "fair");
    let held = options
        .iter()
        .find_map(|option| option.strip_prefix("hold="));
    let hold = Duration::from_micros(held.map_or(0, |held| held.parse().expect("a number")));
    let path = |number: u64, end: &str| directory.join(format!("{number}.{end}"));
    let locks: Vec<(FileLock, Witness)> = (0..number(locks))
        .map(|number| {
            let options = LockOptions::new().fair(fair);
            let lock = options.open(path(number, "lock")).expect("opens");
            (lock, Witness::open(&path(number, "witness")))
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(number(seed));
    println!("ready");
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("a line");

    let began = Instant::now();
    let (mut done, mut longest) = (0, Duration::ZERO);
    while match unit.as_str() {
        "times" => done < number(amount),
        _ => began.elapsed() < Duration::from_millis(number(amount)),
    } {
        let chosen = choose(&locks, &mut random);
        let set = LockSet::new(
            chosen
                .iter()
                .map(|(number, mode)| (&locks[*number].0, *mode)),
        );
        let asked = Instant::now();
        let guard = set.lock().expect("acquired");
        longest = longest.max(asked.elapsed());
        inside(&chosen, &locks, hold);
        guard.release().expect("released");
        done += 1;
    }
    println!("{done} {}", longest.as_micros());
}

/// Two locks or more in a random order, one in four of them shared.
fn choose(locks: &[(FileLock, Witness)], random: &mut fastrand::Rng) -> Vec<(usize, Mode)> {
    let mut numbers: Vec<usize> = (0..locks.len()).collect();
    random.shuffle(&mut numbers);
    numbers.truncate(random.usize(2..=locks.len()));
    let mode = |number| match random.u8(0..4) {
        0 => (number, Mode::Shared),
        _ => (number, Mode::Exclusive),
    };
    numbers.into_iter().map(mode).collect()
}

/// Enters the sections of all locks, one inside the other.
fn inside(chosen: &[(usize, Mode)], locks: &[(FileLock, Witness)], hold: Duration) {
    let Some(((number, mode), rest)) = chosen.split_first() else {
        if !hold.is_zero() {
            std::thread::sleep(hold);
        }
        return;
    };
    let witness = locks[*number].1;
    match mode {
        Mode::Exclusive => witness.exclusively(|| inside(rest, locks, hold)),
        Mode::Shared => witness.shared(|| inside(rest, locks, hold)),
    }
}

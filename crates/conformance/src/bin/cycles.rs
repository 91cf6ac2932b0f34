//! Random programs that wait in a cycle: those that go on must never get `Error::Deadlock`, and
//! those that are stuck must.
//!
//! `cycles goes-on COUNT [SEED [AT-ONCE]]`, `cycles stuck COUNT [SEED [AT-ONCE]]`; `cycles one KIND
//! SEED` plays a single program. The program itself uses the other words, for its processes.

use std::path::Path;
use std::process::ExitCode;

use holdlock_conformance::cycles::{member, program, run};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |at: usize, otherwise: u64| {
        words
            .get(at)
            .map_or(otherwise, |word| word.parse().expect("a number"))
    };
    let good = match words[1..] {
        ["member", member, own, wants] => {
            let member = member.parse().expect("a member");
            member::process(member, Path::new(own), Path::new(wants));
            true
        }
        ["waiter", wants] => {
            return ExitCode::from(u8::try_from(member::waiter(Path::new(wants))).unwrap_or(1));
        }
        ["one", kind, seed] => {
            let seed = seed.parse().expect("a number");
            program::main(
                seed,
                kind == "goes-on",
                Path::new("/usr/bin/flock").exists(),
            )
        }
        [kind @ ("goes-on" | "stuck"), _, ..] => {
            let at_once = usize::try_from(number(4, 60)).expect("not so many");
            let tally = run::many(
                words[0],
                kind == "goes-on",
                number(2, 0),
                number(3, 0),
                at_once,
            );
            let times = &tally.noticed;
            let percentile = |part: usize| times.get(times.len().saturating_sub(1) * part / 100);
            println!(
                "{kind}: {} programs in {:.0?}, {} wrong; noticed after ms: median {:?}, 99 % {:?}, \
                 at the most {:?}",
                tally.programs,
                tally.took,
                tally.failures.len(),
                percentile(50),
                percentile(99),
                times.last(),
            );
            tally.failures.is_empty()
        }
        _ => panic!("cycles goes-on|stuck COUNT [SEED [AT-ONCE]]"),
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

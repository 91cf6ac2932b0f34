//! `cargo xtask soak`: run the tests again and again on a slow machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::dist::target_directory;
use crate::lanes::processors;
use crate::run::Done;
use crate::{dist, lanes, python, rust};

const USAGE: &str = "\
usage: cargo xtask soak N [--all | ARGUMENT...]
  Run the Rust tests N times beside two busy loops for each processor, and N times pinned to one
  processor; with --all also the Python module's tests; with other arguments only the tests that
  `cargo test` chooses by them; the name of a test comes after `--`. Keep the output of each pass with a failed test in target/soak.";

/// The reason why the machine is slow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Two busy loops for each processor take most of the time.
    Busy,
    /// All processes share one processor.
    Pinned,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Busy, Kind::Pinned];

    fn name(self) -> &'static str {
        match self {
            Kind::Busy => "busy",
            Kind::Pinned => "pinned",
        }
    }
}

/// The number of failures of each test, for each kind.
type Tally = BTreeMap<String, [u32; 2]>;

pub(crate) fn soak(arguments: &[String]) -> Done {
    let (passes, chosen) = arguments.split_first().ok_or(USAGE)?;
    let number = |word: &String| word.parse::<NonZero<u32>>().map_err(|_| USAGE);
    let passes = number(passes)?.get();
    let processors = processors();
    let all = chosen == ["--all"];
    let mut chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
    if all || chosen.is_empty() {
        chosen = rust::ALL.to_vec();
    }
    let tests = Tests {
        rust: rust::Tests::build(&chosen)?,
        documentation: chosen == rust::ALL,
        dist: dist::dist_to_keep()?,
        python: all.then(python::prepare).transpose()?,
    };
    let place = target_directory().join("soak");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let mut tally = Tally::new();
    for number in 1..=passes {
        for kind in Kind::ALL {
            let name = format!("{} {number} of {passes}", kind.name());
            let log = place.join(format!("{}-{number}.log", kind.name()));
            let _trouble = Trouble::begin(kind, processors)?;
            for name in tests.pass(&name, &log)? {
                tally.entry(name).or_default()[kind as usize] += 1;
            }
        }
    }
    conclude(&tally, passes, &place)
}

/// The tests of each pass.
struct Tests {
    rust: rust::Tests,
    /// Whether the documentation's examples are tested.
    documentation: bool,
    dist: PathBuf,
    /// If the Python module is tested.
    python: Option<python::Ready>,
}

impl Tests {
    /// Runs all of them once, prints the result, and returns the names of the failed tests.
    fn pass(&self, name: &str, log: &Path) -> Done<Vec<String>> {
        let began = Instant::now();
        let mut file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut jobs = Vec::new();
        if let Some(python) = &self.python {
            jobs.extend(python.tests());
        }
        jobs.extend(self.rust.jobs(&self.dist));
        if self.documentation {
            jobs.push(rust::documentation());
        }
        let mut outcome = lanes::run(jobs, &mut file)?;
        if outcome.passed == 0 {
            outcome.failed.push("no test ran".into());
        }
        println!(
            "{name}: {} passed, {} failed, {} skipped in {} s",
            outcome.passed,
            outcome.failed.len(),
            outcome.skipped.len(),
            began.elapsed().as_secs()
        );
        if outcome.failed.is_empty() {
            let _ = fs::remove_file(log);
        }
        for name in &outcome.failed {
            println!("    {name}");
        }
        Ok(outcome.failed)
    }
}

fn conclude(tally: &Tally, passes: u32, place: &Path) -> Done {
    if tally.is_empty() {
        println!("soak: no test failed in {passes} passes of each kind");
        return Ok(());
    }
    println!("soak: failures in {passes} passes of each kind\n  busy  pinned");
    for (name, [busy, pinned]) in tally {
        println!("{busy:6}  {pinned:6}  {name}");
    }
    Err(format!(
        "some tests failed; their output is in {}",
        place.display()
    ))
}

/// A slow machine, until it is dropped.
struct Trouble {
    end: Arc<AtomicBool>,
    loops: Vec<JoinHandle<()>>,
    /// The processors that this thread and its children could use before.
    allowed: CpuSet,
}

impl Trouble {
    fn begin(kind: Kind, processors: usize) -> Done<Trouble> {
        let allowed = sched_getaffinity(None).map_err(|error| error.to_string())?;
        let end = Arc::new(AtomicBool::new(false));
        let count = match kind {
            Kind::Busy => 2 * processors,
            Kind::Pinned => 0,
        };
        let spin = |_| {
            let end = end.clone();
            std::thread::spawn(move || while !end.load(Ordering::Relaxed) {})
        };
        let loops = (0..count).map(spin).collect();
        if kind == Kind::Pinned {
            let mut one = CpuSet::new();
            let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
            one.set(first.unwrap_or(0));
            sched_setaffinity(None, &one).map_err(|error| error.to_string())?;
        }
        Ok(Trouble {
            end,
            loops,
            allowed,
        })
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.allowed);
        self.end.store(true, Ordering::Relaxed);
        for busy in self.loops.drain(..) {
            let _ = busy.join();
        }
    }
}

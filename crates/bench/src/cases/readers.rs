//! Reader/writer locks of Python packages: the Python module's, which is fair, beside those of
//! filelock and fasteners.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::worker::Worker;
use crate::{Bench, Outcome};

const PROGRAM: &str = include_str!("readers.py");

/// The packages, each with its directory's name. Ours is the first one.
const PACKAGES: [&str; 3] = ["holdlock", "filelock", "fasteners"];
const READERS: usize = 4;

/// A package, the processes that use it, and its measurements.
struct Peer {
    name: &'static str,
    writer: Worker,
    readers: Vec<Worker>,
    read: Samples,
    write: Samples,
    reads: Samples,
    writes: Samples,
    longest: Samples,
}

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "readers",
        "Reader/writer locks in Python: one process alone; four readers and a writer in tight loops",
        &[
            Column::new("read_us", "read µs", 2),
            Column::new("write_us", "write µs", 2),
            Column::new("reads_per_second", "reads/s", 0),
            Column::new("writes_per_second", "writes/s", 0),
            Column::new("longest_write_ms", "writer waits ms", 1),
        ],
    );
    let Some(packages) = &bench.python else {
        report.note("skipped: the packages are not there; `cargo xtask bench` installs them");
        return Ok(report);
    };
    let start = |name: &'static str| Peer::start(bench, packages, name);
    let mut peers = PACKAGES
        .into_iter()
        .map(start)
        .collect::<Outcome<Vec<_>>>()?;
    for round in 0..=bench.pick(60, 12) {
        for peer in &mut peers {
            peer.alone(round > 0)?;
        }
    }
    let time = Duration::from_millis(bench.pick(2000, 700));
    for _ in 0..bench.pick(3, 1) {
        for peer in &mut peers {
            peer.together(time)?;
        }
    }
    fill(&mut report, &peers);
    Ok(report)
}

impl Peer {
    fn start(bench: &Bench, packages: &Path, name: &'static str) -> Outcome<Peer> {
        let worker = || {
            let mut command = Command::new("python3");
            command
                .env("PYTHONPATH", packages.join(name))
                .args(["-c", PROGRAM, name])
                .arg(bench.dir.join(format!("readers-{name}.lock")))
                .arg(bench.dir.join(format!("readers-{name}.board")));
            Worker::spawn(&mut command)
        };
        Ok(Peer {
            name,
            writer: worker()?,
            readers: (0..READERS).map(|_| worker()).collect::<Outcome<_>>()?,
            read: Samples::default(),
            write: Samples::default(),
            reads: Samples::default(),
            writes: Samples::default(),
            longest: Samples::default(),
        })
    }

    /// Sections of one process while the others are idle.
    fn alone(&mut self, counts: bool) -> Outcome<()> {
        const COUNT: u32 = 100;
        for (what, samples) in [("read", &mut self.read), ("write", &mut self.write)] {
            self.writer.tell(&format!("cycle {what} {COUNT}"))?;
            let nanoseconds: f64 = self.writer.hear()?.parse()?;
            // The first round warms up.
            if counts {
                samples.push(nanoseconds / 1e3 / f64::from(COUNT));
            }
        }
        Ok(())
    }

    /// Sections of all processes, for this time.
    fn together(&mut self, time: Duration) -> Outcome<()> {
        let milliseconds = time.as_millis();
        for reader in &mut self.readers {
            reader.tell(&format!("hammer read {milliseconds}"))?;
        }
        self.writer.tell(&format!("hammer write {milliseconds}"))?;
        let name = self.name;
        let hear = |worker: &mut Worker| -> Outcome<(f64, f64)> {
            let answer = worker.hear()?;
            let (sections, longest) = answer
                .split_once(' ')
                .ok_or_else(|| format!("{name}: {answer}"))?;
            Ok((sections.parse()?, longest.parse()?))
        };
        let mut reads = 0.0;
        for reader in &mut self.readers {
            reads += hear(reader)?.0;
        }
        let (writes, longest) = hear(&mut self.writer)?;
        self.reads.push(reads / time.as_secs_f64());
        self.writes.push(writes / time.as_secs_f64());
        self.longest.push(longest / 1e6);
        Ok(())
    }
}

fn fill(report: &mut Report, peers: &[Peer]) {
    for peer in peers {
        let medians = [&peer.read, &peer.write, &peer.reads, &peer.writes].map(Samples::median);
        let values = medians.into_iter().chain([peer.longest.max()]).collect();
        report.row(peer.name, values);
    }
    let [ours, theirs @ ..] = peers else {
        return;
    };
    let best = |of: fn(&Peer) -> &Samples| {
        let values = theirs.iter().map(|peer| of(peer).median());
        values.fold(f64::NAN, f64::min)
    };
    report.goal(
        "a read section, the quicker of filelock and fasteners over holdlock",
        Bound::AtLeast(5.0),
        best(|peer| &peer.read) / ours.read.median(),
        "x",
    );
    report.goal(
        "a write section, the quicker of filelock and fasteners over holdlock",
        Bound::AtLeast(5.0),
        best(|peer| &peer.write) / ours.write.median(),
        "x",
    );
    report.goal(
        "the longest wait of a writer among readers",
        Bound::AtMost(100.0),
        ours.longest.max(),
        "ms",
    );
}

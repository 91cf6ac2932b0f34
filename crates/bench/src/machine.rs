//! The machine of a run. Numbers mean little without it.

use std::fmt;
use std::fs::read_to_string;
use std::path::Path;

use serde_json::{Value, json};

pub(crate) struct Machine {
    kernel: String,
    cpus: usize,
    file_system: String,
    load: f64,
    quick: bool,
}

impl Machine {
    pub(crate) fn look(dir: &Path, quick: bool) -> Machine {
        let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = read_to_string("/proc/loadavg").unwrap_or_default();
        Machine {
            kernel: kernel.trim_end().to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            file_system: file_system(dir).unwrap_or_else(|| "unknown".into()),
            load: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(f64::NAN),
            quick,
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "kernel": self.kernel,
            "cpus": self.cpus,
            "file_system": self.file_system,
            "load": self.load,
            "quick": self.quick,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Linux {}, {} CPUs, lock files on {}, load {} at the start{}",
            self.kernel,
            self.cpus,
            self.file_system,
            self.load,
            if self.quick { ", quick run" } else { "" },
        )
    }
}

/// The file system of the mount point nearest above `dir`.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = read_to_string("/proc/self/mounts").ok()?;
    let mount = |line: &str| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(point)
            .then(|| (point.len(), kind.to_owned()))
    };
    // The last one of equal mount points hides the earlier ones.
    let nearest = mounts.lines().filter_map(mount).max_by_key(|(n, _)| *n);
    nearest.map(|(_, kind)| kind)
}

//! `cargo xtask screenshots`: make the pictures of docs/top.md with the real program.
//!
//! The processes in the pictures are real, too. They run in a PID namespace of their own, so the
//! pictures do not show locks of other programs, and the pids are the same each time.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::dist::target_directory;
use crate::run::{Done, cargo, root, run};

/// Set inside of the namespace. Its value is the directory of the command.
const INSIDE: &str = "HOLDLOCK_SCREENSHOTS";

/// The directory of the locks in the pictures. It must not exist.
const SCENE: &str = "/tmp/demo";

const DOCUMENT: &str = "docs/top.md";

/// The name of each picture in the document, its size, and the keys that lead to it.
const PICTURES: [(&str, &str, &str); 3] = [
    ("list", "80x12", ""),
    ("queue", "100x13", "\r"),
    ("graph", "80x20", "g"),
];

pub(crate) fn screenshots() -> Done {
    if let Some(programs) = std::env::var_os(INSIDE) {
        return inside(Path::new(&programs));
    }
    run(cargo(&["build", "--package", "holdlock-cli"]))?;
    fs::create_dir(SCENE).map_err(|error| format!("{SCENE}: {error}"))?;
    let us = std::env::current_exe().map_err(|error| error.to_string())?;
    let status = Command::new("unshare")
        .args(["--map-root-user", "--pid", "--fork", "--mount-proc"])
        .arg(us)
        .arg("screenshots")
        .env(INSIDE, target_directory().join("debug"))
        .status();
    let _ = fs::remove_dir_all(SCENE);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("unshare: {status}")),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// This process is the first one of the namespace: when it ends, the kernel ends all its children.
fn inside(programs: &Path) -> Done {
    let stage = Stage { programs };
    let nightly = stage.start("holdlock run backup -- sleep 1000", 1)?;
    let queue = [
        stage.start("holdlock run backup -- rsync -a /srv /mnt", 2)?,
        stage.start("holdlock run backup -- ./check", 3)?,
    ];
    let readers = [
        stage.start("exec flock -s data.lock sleep 1000", 4)?,
        stage.start("exec flock -s data.lock sleep 1000", 5)?,
        stage.start("exec flock data.lock true", 6)?,
    ];
    // Each of the two takes the lock of the other while it holds its own.
    let pair = [
        stage.start("exec flock a.lock -c 'sleep 1; exec flock b.lock make'", 7)?,
        stage.start("exec flock b.lock -c 'sleep 1; exec flock a.lock make'", 8)?,
    ];
    stage.until("the deadlock", || {
        Ok(stage
            .picture("80x24", "")?
            .contains("waiting 5  DEADLOCKS 1"))
    })?;
    let pictures = PICTURES.map(|(name, size, keys)| (name, stage.picture(size, keys)));
    for mut child in [nightly]
        .into_iter()
        .chain(queue)
        .chain(readers)
        .chain(pair)
    {
        let _ = child.kill();
    }
    let file = root().join(DOCUMENT);
    let mut text = fs::read_to_string(&file).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    for (name, picture) in pictures {
        text = replaced(&text, name, &picture?)?;
    }
    fs::write(&file, text).map_err(|error| format!("{DOCUMENT}: {error}"))
}

struct Stage<'p> {
    programs: &'p Path,
}

impl Stage<'_> {
    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .current_dir(SCENE)
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("HOLDLOCK_DIR", SCENE)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Starts the script, and waits until this many locks and requests are listed.
    fn start(&self, script: &str, listed: usize) -> Done<Child> {
        let mut command = self.command("sh");
        command
            .args(["-c", script])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("sh: {error}"))?;
        self.until_listed(listed)?;
        Ok(child)
    }

    fn until_listed(&self, number: usize) -> Done {
        self.until(&format!("lock {number} of the scene"), || {
            let text = fs::read_to_string("/proc/locks").map_err(|error| error.to_string())?;
            Ok(text.lines().count() >= number)
        })
    }

    fn until(&self, what: &str, is_so: impl Fn() -> Done<bool>) -> Done {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so()? {
            if Instant::now() > deadline {
                return Err(format!("waited in vain for {what}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn picture(&self, size: &str, keys: &str) -> Done<String> {
        let mut top = self.command("holdlock");
        top.args(["top", "--once", "--size", size, "--press", keys]);
        let output = top.output().map_err(|error| format!("holdlock: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(masked(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// Masks what differs at each run: the host and the time in the first line, and the number of a
/// file.
fn masked(picture: &str) -> String {
    let (header, rest) = picture.split_once('\n').unwrap_or((picture, ""));
    let words: Vec<&str> = header.split("  ").collect();
    let header = match words.as_slice() {
        [name, _host, _time, figures @ ..] => {
            format!("{name}  host  12:00:00  {}", figures.join("  "))
        }
        _ => header.to_owned(),
    };
    let lines = rest.lines().map(|line| match line.rsplit_once(':') {
        Some((device, _)) if line.starts_with("file ") => format!("{device}:1234567"),
        _ => line.to_owned(),
    });
    let lines: Vec<String> = std::iter::once(header).chain(lines).collect();
    lines.join("\n")
}

/// The text with this picture between the marks of that name.
fn replaced(text: &str, name: &str, picture: &str) -> Done<String> {
    let (start, end) = (format!("<!-- {name} -->\n"), "<!-- end -->");
    let missing = || format!("{DOCUMENT} has no picture `{name}`");
    let (before, rest) = text.split_once(&start).ok_or_else(missing)?;
    let (_, after) = rest.split_once(end).ok_or_else(missing)?;
    let picture = picture.trim_end();
    Ok(format!(
        "{before}{start}```text\n{picture}\n```\n{end}{after}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_takes_the_place_of_the_one_before() {
        let text = "a\n<!-- list -->\nold\n<!-- end -->\nb";
        let new = replaced(text, "list", "x\n\n").unwrap();
        assert_eq!(new, "a\n<!-- list -->\n```text\nx\n```\n<!-- end -->\nb");
        assert_eq!(replaced(&new, "list", "x").unwrap(), new);
        assert!(replaced(text, "other", "x").is_err());
    }

    #[test]
    fn host_and_time_are_masked() {
        let picture = "holdlock top  vm  01:02:03  locks 1\nrest";
        assert_eq!(
            masked(picture),
            "holdlock top  host  12:00:00  locks 1\nrest"
        );
    }
}

//! One program with all its members.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use holdlock::FileLock;

use super::member::{self, Talk};
use super::plan::{Kind, Member, OUT_AFTER, Plan};
use crate::sys;

/// Longer than any of these programs takes, also on a busy machine.
const HANGS: Duration = Duration::from_secs(100);

/// The result of a program.
#[derive(Debug)]
pub struct Report {
    /// The last line of each member.
    pub said: Vec<String>,
    /// From the moment when the cycle was closed to the first `Error::Deadlock`.
    pub noticed: Option<Duration>,
}

/// One line of a member.
type Line = (usize, String);

/// Plays the program in this directory. `cycles` is the path of that bin. The error says how far
/// the program got.
pub fn play(cycles: &Path, plan: &Plan, directory: &Path) -> Result<Report, String> {
    let count = plan.members.len();
    let path = |number: usize| directory.join(format!("{number}.lock"));
    let open = |number: usize| FileLock::open(path(number));
    let common: Vec<FileLock> = (0..count)
        .map(open)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let (lines, said) = mpsc::channel();
    let mut goes: Vec<Go> = Vec::new();
    for (number, member) in plan.members.iter().enumerate() {
        let (own, wants) = (number, (number + 1) % count);
        let lines = lines.clone();
        goes.push(match member.kind {
            Kind::Sharing => {
                let locks = [common[own].clone(), common[wants].clone()];
                thread(*member, number, locks, lines)
            }
            Kind::Thread => {
                let own = open(own).map_err(|error| error.to_string())?;
                let wants = open(wants).map_err(|error| error.to_string())?;
                thread(*member, number, [own, wants], lines)
            }
            _ => process(cycles, *member, number, [path(own), path(wants)], lines),
        });
    }
    let began = Instant::now();
    let next = || {
        let left = HANGS.saturating_sub(began.elapsed());
        said.recv_timeout(left).ok()
    };
    for _ in 0..count {
        match next() {
            Some((_, line)) if line == "held" => {}
            other => return Err(format!("instead of holding its lock: {other:?}")),
        }
    }
    for (number, pause) in &plan.order {
        thread::sleep(*pause);
        goes[*number].go();
    }
    let closed = Instant::now();
    let mut report = Report {
        said: vec![String::new(); count],
        noticed: None,
    };
    for _ in 0..count {
        let Some((number, line)) = next() else {
            return Err(format!("hangs; so far: {:?}", report.said));
        };
        if line.starts_with("deadlock") {
            report.noticed.get_or_insert(closed.elapsed());
        }
        report.said[number] = line;
    }
    Ok(report)
}

/// Lets a member begin to wait. Ends it when dropped.
enum Go {
    Thread(Sender<()>),
    Process(Child, Option<ChildStdin>),
}

impl Go {
    fn go(&mut self) {
        match self {
            Go::Thread(sender) => drop(sender.send(())),
            Go::Process(_, stdin) => {
                if let Some(mut stdin) = stdin.take() {
                    let _ = writeln!(stdin, "go");
                }
            }
        }
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        if let Go::Process(child, _) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Channels {
    number: usize,
    lines: Sender<Line>,
    go: Receiver<()>,
}

impl Talk for Channels {
    fn held(&mut self) {
        let _ = self.lines.send((self.number, "held".into()));
    }

    fn go(&mut self) {
        let _ = self.go.recv();
    }
}

fn thread(member: Member, number: usize, locks: [FileLock; 2], lines: Sender<Line>) -> Go {
    let (sender, go) = mpsc::channel();
    thread::spawn(move || {
        let mut talk = Channels {
            number,
            lines: lines.clone(),
            go,
        };
        let [own, wants] = locks;
        let outcome = member::play(member, &own, &wants, &mut talk);
        let _ = lines.send((number, member::told(&outcome)));
    });
    Go::Thread(sender)
}

fn process(
    cycles: &Path,
    member: Member,
    number: usize,
    locks: [PathBuf; 2],
    lines: Sender<Line>,
) -> Go {
    let mut command = match member.kind {
        Kind::Flock => flock(member, &locks),
        _ => {
            let mut command = Command::new(cycles);
            command.arg("member").arg(member.to_string()).args(&locks);
            command
        }
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a member starts");
    let stdin = child.stdin.take();
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = lines.send((number, line));
        }
    });
    Go::Process(child, stdin)
}

/// flock(1) has one lock and runs a shell, whose only child waits for the other lock.
fn flock(member: Member, [own, wants]: &[PathBuf; 2]) -> Command {
    let limit = match member.way_out {
        Some(_) => format!("-w {}", OUT_AFTER.as_secs_f64()),
        None => String::new(),
    };
    let script = format!(
        "echo held; read go; if flock {limit} \"$0\" true; then echo ok; else echo gave up; fi"
    );
    let mut command = Command::new("flock");
    command.arg(own).args(["sh", "-c", &script]).arg(wants);
    command
}

/// The process of one program: prints the result, and returns whether it is right.
pub fn main(seed: u64, goes_on: bool, has_flock: bool) -> bool {
    sys::die_with_parent();
    let plan = Plan::draw(seed, goes_on, has_flock);
    let scratch = crate::Scratch::new();
    let cycles = std::env::current_exe().expect("we are a program");
    let report = play(&cycles, &plan, &scratch.path(""));
    let wrong = match &report {
        Err(why) => Some(why.clone()),
        Ok(report) => wrong_with(report, goes_on),
    };
    match (&wrong, &report) {
        (Some(why), _) => println!("seed {seed}: {plan}: {why}"),
        (None, Ok(report)) => println!("{:?}", report.noticed.map_or(0, |time| time.as_millis())),
        (None, Err(_)) => {}
    }
    wrong.is_none()
}

/// What is wrong with the result of a program.
pub fn wrong_with(report: &Report, goes_on: bool) -> Option<String> {
    let is_wrong = |line: &&String| line.starts_with("wrong");
    if let Some(line) = report.said.iter().find(is_wrong) {
        return Some(line.clone());
    }
    match (goes_on, report.noticed) {
        (true, Some(_)) => Some(format!("a false deadlock: {:?}", report.said)),
        (false, None) => Some(format!("went on without an error: {:?}", report.said)),
        _ => None,
    }
}

//! A command under `holdlock run`, which beats as long as it works: no beat comes after the first
//! beat of a later holder.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::getppid;

use super::Taker;
use crate::exit::{CONFLICT, LOST, SUCCESS};
use crate::torture::board::{Board, Outcome};
use crate::torture::fault::Fault;
use crate::torture::finding::Kind;
use crate::torture::kernel;
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;
use crate::torture::section::Me;
use crate::torture::worker::{BEAT, WORKER};

/// The exit code for an engine that does not answer, which only a program with engines has.
const UNREACHABLE: u8 = 69;
const PAUSE: Duration = Duration::from_millis(1);
/// How long a command may work after `holdlock run` was killed. It gets a signal when that process
/// has closed its files, and that process may have to wait for a processor in between.
const ORPHAN: Duration = Duration::from_secs(5);

/// What the worker passes to the command.
pub(in crate::torture) struct Beats {
    pub(in crate::torture) participant: usize,
    /// A number that no other command of the run has.
    pub(in crate::torture) number: u64,
    pub(in crate::torture) beats: u64,
}

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    let once = taker.random.u32(..8) == 0;
    taker.me.ask(Inside::Exclusive, mode, None);
    // Its own helper looks at the waits of threads, and this one waits for a process.
    taker.me.doing(crate::torture::board::Doing::Nothing, mode);
    let skips = taker.strikes(Fault::Skip);
    let lock = match &taker.engine {
        Some(engine) => engine.lock_name(mode).into(),
        None => mode.lock_file(&taker.directory).into_os_string(),
    };
    let own = "/proc/self/exe";
    let supervisor = format!("/proc/{}/exe", taker.supervisor);
    let mut command = Command::new(own);
    if skips {
        // It works long enough for another one to begin.
        command.args([WORKER, BEAT]);
    } else {
        command.args(["run", "-q"]);
        command.args(if once { &["-n"][..] } else { &["-w", "5s"] });
        command.arg(lock).args(["--", &supervisor, WORKER, BEAT]);
    }
    let me = &taker.me;
    let number = (me.id as u64 + 1) << 48 | u64::from(me.incarnation) << 24 | u64::from(me.round);
    let beats = if skips { 200 } else { taker.random.u64(..20) };
    command.arg(taker.board.to_string());
    command.args([me.id.to_string(), number.to_string(), beats.to_string()]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let text = format!("cannot start holdlock run: {error}");
            return taker.failed(mode, text, error.raw_os_error());
        }
    };
    let killed = !skips && taker.random.u32(..8) == 0;
    if killed {
        std::thread::sleep(Duration::from_millis(taker.random.u64(..40)));
        // An error: it has ended.
        let _ = child.kill();
    }
    match child.wait() {
        Ok(status) => ended(taker, mode, status, killed),
        Err(error) => taker.failed(mode, error.to_string(), error.raw_os_error()),
    }
}

fn ended(taker: &Taker, mode: Mode, status: ExitStatus, killed: bool) {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let outcome = match code {
        Some(SUCCESS) => return,
        None if killed => return,
        Some(CONFLICT) => Outcome::Refused,
        Some(LOST) => Outcome::Lost,
        Some(UNREACHABLE) if taker.engine.is_some() => Outcome::Unreachable,
        _ => return taker.failed(mode, format!("holdlock run has ended with {status}"), None),
    };
    taker.me.ends(mode, outcome);
}

/// The command.
pub(in crate::torture) fn beat(board: &'static Board, told: &Beats) {
    let mode = Mode::Run;
    let parent = getppid().map_or(0, |pid| pid.as_raw_pid() as u32);
    // Without the words of the participant, which are the worker's.
    let me = Me::of_command(board, told.participant);
    let words = board.mode(mode);
    words.entries.fetch_add(1, Ordering::SeqCst);
    words.token_inside.store(told.number, Ordering::SeqCst);
    let token = std::env::var("HOLDLOCK_TOKEN").ok();
    if let Some(token) = token.and_then(|token| token.parse::<u64>().ok()) {
        let last = words.last_token.fetch_max(token, Ordering::SeqCst);
        if last >= token && kernel::is_alive(parent) {
            let text = format!("token {token} after {last}");
            me.find(Kind::Token, mode, None, text);
        }
    }
    for _ in 0..told.beats {
        std::thread::sleep(PAUSE);
        if words.token_inside.load(Ordering::SeqCst) == told.number {
            continue;
        }
        let mut text = "a command works although another one has begun";
        if !kernel::is_alive(parent) {
            std::thread::sleep(ORPHAN);
            text = "a command works on although holdlock run was killed, and another one has begun";
        }
        return me.find(Kind::Overlap, mode, None, text.to_owned());
    }
    // The next one may have begun by now only if this one overlaps it.
    let end =
        words
            .token_inside
            .compare_exchange(told.number, 0, Ordering::SeqCst, Ordering::SeqCst);
    if end.is_err() && kernel::is_alive(parent) {
        let text = "another command has begun before this one has ended".to_owned();
        me.find(Kind::Overlap, mode, None, text);
    }
}

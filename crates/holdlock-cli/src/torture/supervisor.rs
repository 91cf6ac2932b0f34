//! One run: phase after phase, with kills and stops by the plan, until it is over or something was
//! found.

use std::fs::File;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use super::Settings;
use super::board::{Board, PARTICIPANTS, now};
use super::crew::{Crew, THREADS_EACH};
use super::finding::{Finding, Kind};
use super::flock_program::FlockProgram;
use super::mode::Mode;
use super::place::{LeftOut, Place};
use super::plan::{Act, Pace, Phase, Plan};
use super::progress::Progress;
use super::tally::Tally;
use super::tenure::holder_after;
use super::watch::Watch;
use crate::exit::{Failure, OS_ERROR};
use crate::sys::signals::Blocked;

/// How often the supervisor looks at the participants.
const TICK: Duration = Duration::from_millis(20);

/// How many processes share the locks of an engine. Each thread has a connection.
const AT_ENGINES: usize = 4;

/// Far longer than workers take to end.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a run was.
pub(super) struct Report {
    pub(super) board: &'static Board,
    /// The directory, or the URL of the engine.
    pub(super) place: std::path::PathBuf,
    /// The kind of the engine.
    pub(super) engine: Option<&'static str>,
    pub(super) file_system: Option<String>,
    pub(super) processes: usize,
    pub(super) began: u64,
    pub(super) took: Duration,
    pub(super) tally: Tally,
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) breaks: u64,
    /// How often flock(1) took part. None: it is not installed.
    pub(super) flock_runs: Option<u64>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) finding: Option<Finding>,
}

/// Runs until the time is over, something is found, or one of `signals` comes.
pub(super) fn run(
    settings: &Settings,
    signals: Blocked,
    place: &Place,
    modes: &[Mode],
    left_out: Vec<LeftOut>,
) -> Result<Report, Failure> {
    let failed = |error| Failure::system("cannot share memory between processes", error);
    let (board, file) = Board::create().map_err(failed)?;
    let mut run = Run::start(settings, signals, place, modes, board, &file)?;
    run.main()?;
    let finding = board.finding();
    let tally = Tally::of(board, modes);
    let lost = tally.lost_counts(run.crew.kills);
    let (kills, stops) = (run.crew.kills, run.crew.stops);
    Ok(Report {
        board,
        place: match &place.engine {
            Some((_, about)) => about.shown.clone().into(),
            None => place.parent.clone(),
        },
        engine: place.engine.as_ref().map(|(_, about)| about.kind),
        file_system: place.file_system.clone(),
        processes: run.processes,
        began: run.began,
        took: run.took,
        tally,
        kills,
        stops,
        breaks: board.breaks.load(std::sync::atomic::Ordering::SeqCst),
        flock_runs: run.flock.runs,
        left_out,
        finding: finding.or(lost),
    })
}

struct Run<'s> {
    settings: &'s Settings,
    board: &'static Board,
    processes: usize,
    signals: Blocked,
    plan: Plan,
    crew: Crew,
    flock: FlockProgram,
    watch: Watch,
    progress: Progress,
    phase: Phase,
    next_phase: Instant,
    next_act: (Instant, Act),
    /// The time limit of the locks, if they are those of an engine.
    ttl: Option<Duration>,
    begin: Instant,
    began: u64,
    took: Duration,
}

impl<'s> Run<'s> {
    fn start(
        settings: &'s Settings,
        signals: Blocked,
        place: &Place,
        modes: &[Mode],
        board: &'static Board,
        file: &File,
    ) -> Result<Run<'s>, Failure> {
        let cpus = available_parallelism().map_or(2, usize::from);
        let ttl = place.engine.as_ref().map(|(_, about)| about.ttl);
        let (processes, pace) = match ttl {
            Some(ttl) => (AT_ENGINES, Pace::of(ttl, settings.seed)),
            None => {
                let processes = (2 * cpus).clamp(4, (PARTICIPANTS - 2) / THREADS_EACH);
                (processes, Pace::FILES)
            }
        };
        let fcntl = modes.contains(&Mode::Ofd);
        let workers = processes + usize::from(fcntl);
        let mut plan = Plan::new(settings.seed, modes, workers, pace);
        let phase = plan.next_phase();
        set(board, phase);
        let directory = &place.directory;
        let crew = Crew::start(
            (board, file),
            processes,
            fcntl,
            settings.seed,
            settings.fault,
            place,
        )?;
        let begin = Instant::now();
        let (pause, act) = plan.next_act();
        Ok(Run {
            settings,
            board,
            processes,
            signals,
            next_phase: begin + plan.pace.phase,
            plan,
            flock: FlockProgram::new((board, file), PARTICIPANTS - 1, directory, settings.seed),
            watch: Watch::new(board, place),
            progress: Progress::new(settings.time, settings.sections),
            phase,
            next_act: (begin + pause, act),
            ttl,
            begin,
            began: now(),
            took: Duration::ZERO,
            crew,
        })
    }

    /// Lets the workers work, then lets them end.
    fn main(&mut self) -> Result<(), Failure> {
        while !self.is_over() {
            if self.tick(true)? {
                break;
            }
        }
        self.took = self.begin.elapsed();
        self.crew.go_on_all();
        self.board.end();
        while !self.board.has_finding() {
            let flock_ended = self.look_at_flock(false);
            if self.crew.has_ended(true)? && flock_ended {
                break;
            }
            if self.begin.elapsed() > self.took + PATIENCE {
                let message = "the workers do not end although they are not asleep; is the \
                               machine very busy?";
                return Err(Failure::new(OS_ERROR, message));
            }
            if self.tick(false)? {
                // Asked twice to end.
                break;
            }
        }
        self.progress.end();
        // The writer of a finding may have been interrupted half-way.
        while self.board.has_finding() && self.board.finding().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let enough = self.settings.sections;
        self.board.has_finding()
            || self.begin.elapsed() >= self.settings.time
            || enough.is_some_and(|enough| self.board.sections() >= enough)
    }

    /// Waits for a moment and does what is due. True: a signal asks for the end.
    fn tick(&mut self, working: bool) -> Result<bool, Failure> {
        let now = Instant::now();
        let mut next = now + TICK;
        if working {
            next = next.min(self.next_phase).min(self.next_act.0);
            next = self.crew.next_go_on().map_or(next, |until| next.min(until));
        }
        let failed = |error| Failure::system("cannot wait for signals", error);
        let pause = next
            .saturating_duration_since(now)
            .max(Duration::from_micros(50));
        let arrived = self.signals.next(Some(pause)).map_err(failed)?;
        if arrived.is_some_and(|arrived| arrived.number != libc::SIGCHLD) {
            return Ok(true);
        }
        if self.board.has_finding() {
            return Ok(false);
        }
        self.crew.has_ended(!working)?;
        if working {
            self.act()?;
            self.look_at_flock(true);
        }
        let pids: Vec<u32> = self.crew.pids().collect();
        let calm = self.phase.calm || !working;
        self.watch.look(&pids, calm, self.flock.may_have_lock());
        self.progress
            .show(self.begin.elapsed(), self.board.sections());
        Ok(false)
    }

    fn act(&mut self) -> Result<(), Failure> {
        self.crew.go_on();
        let now = Instant::now();
        if now >= self.next_phase {
            self.phase = self.plan.next_phase();
            set(self.board, self.phase);
            self.next_phase = now + self.plan.pace.phase;
        }
        if now >= self.next_act.0 {
            if !self.phase.calm {
                match self.next_act.1 {
                    Act::Kill(worker) => self.crew.kill(worker)?,
                    Act::Stop(worker, time) => {
                        self.crew.stop(self.with_holder(worker, time), time);
                    }
                }
            }
            let (pause, act) = self.plan.next_act();
            self.next_act = (now + pause, act);
        }
        Ok(())
    }

    /// The worker to be stopped for this long: one with a holder, if its lease ends meanwhile.
    fn with_holder(&self, worker: usize, time: Duration) -> usize {
        let from = worker * THREADS_EACH;
        // Between two holders there is none for some milliseconds.
        let holder = || {
            (0..100).find_map(|_| {
                let holder = holder_after(self.board, from);
                if holder.is_none() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                holder
            })
        };
        match self.ttl {
            Some(ttl) if time >= ttl => holder().map_or(worker, |holder| holder.id / THREADS_EACH),
            _ => worker,
        }
    }

    /// True: flock(1) does not run.
    fn look_at_flock(&mut self, working: bool) -> bool {
        // A command of flock(1) that is only starting would hide a lock that nobody has.
        let takes_part = working && self.ttl.is_none();
        let phase = (takes_part && !self.phase.calm).then_some(self.phase);
        self.flock.look(phase).unwrap_or_else(|text| {
            self.board.find(&Finding {
                kind: Kind::Failed,
                mode: self.phase.modes[0],
                participant: PARTICIPANTS - 1,
                other: None,
                at: now(),
                text,
            });
            true
        })
    }
}

fn set(board: &Board, phase: Phase) {
    use std::sync::atomic::Ordering;
    board.phase.store(phase.word(), Ordering::SeqCst);
}

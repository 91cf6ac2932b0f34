//! Runs test programs side by side. Most tests wait for something most of the time.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, OnceLock};
use std::thread;

use crate::outcome::Outcome;
use crate::run::Done;

type Work<'a> = Box<dyn FnOnce(&mut dyn Write) -> Done<Outcome> + Send + 'a>;

/// A part of the tests that no other part depends on.
pub(crate) struct Job<'a> {
    name: String,
    alone: bool,
    work: Work<'a>,
}

impl<'a> Job<'a> {
    /// `work` runs the tests and writes what they say.
    pub(crate) fn new(
        name: &str,
        work: impl FnOnce(&mut dyn Write) -> Done<Outcome> + Send + 'a,
    ) -> Job<'a> {
        Job {
            name: name.to_owned(),
            alone: false,
            work: Box::new(work),
        }
    }

    /// No other job runs beside it.
    pub(crate) fn alone(mut self) -> Job<'a> {
        self.alone = true;
        self
    }
}

/// How many processors there are. It stays the same if a soak leaves only one of them to the tests.
pub(crate) fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Runs all jobs, in their order, one more at a time than there are processors; after those that
/// run alone. Writes the name of each when it begins, and what it says when it has ended.
pub(crate) fn run(jobs: Vec<Job>, out: &mut (dyn Write + Send)) -> Done<Outcome> {
    let (alone, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.alone);
    let mut outcome = run_in(1, alone, out)?;
    outcome.add(run_in(processors() + 1, others, out)?);
    Ok(outcome)
}

fn run_in(lanes: usize, jobs: Vec<Job>, out: &mut (dyn Write + Send)) -> Done<Outcome> {
    let jobs = Mutex::new(VecDeque::from(jobs));
    let result = Mutex::new((Outcome::default(), out));
    let lane = || -> Done {
        loop {
            let Some(job) = jobs.lock().expect("no lane panics").pop_front() else {
                return Ok(());
            };
            let _ = writeln!(
                result.lock().expect("no lane panics").1,
                "begins: {}",
                job.name
            );
            let mut said = Vec::new();
            let outcome = (job.work)(&mut said)?;
            let (all, out) = &mut *result.lock().expect("no lane panics");
            let _ = out.write_all(&said);
            all.add(outcome);
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let mut ends = lanes
            .into_iter()
            .map(|lane| lane.join().expect("no lane panics"));
        ends.try_for_each(|end| end)
    })?;
    Ok(result.into_inner().expect("no lane panics").0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_runs_once_and_its_lines_stay_together() {
        let jobs = (0..100).map(|number| {
            Job::new("some tests", move |out| {
                let _ = writeln!(out, "first of {number}");
                thread::yield_now();
                let _ = writeln!(out, "second of {number}");
                Ok(Outcome {
                    passed: 1,
                    ..Outcome::default()
                })
            })
        });
        let mut said = Vec::new();
        let outcome = run(jobs.collect(), &mut said).expect("all jobs run");
        assert_eq!(outcome.passed, 100);
        let said = String::from_utf8(said).expect("text");
        for number in 0..100 {
            let together = format!("first of {number}\nsecond of {number}\n");
            assert_eq!(said.matches(&together).count(), 1);
        }
    }

    #[test]
    fn an_error_of_a_job_is_the_result() {
        let jobs = (0..9).map(|number| {
            Job::new("some tests", move |_: &mut dyn Write| match number {
                4 => Err("broken".to_owned()),
                _ => Ok(Outcome::default()),
            })
        });
        let end = run(jobs.collect(), &mut Vec::new());
        assert_eq!(end.err().as_deref(), Some("broken"));
    }
}

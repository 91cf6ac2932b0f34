//! Taking turns: A B C D, A B C D, …

use std::time::Instant;

use crate::Outcome;
use crate::stats::Samples;

/// A short operation, measured in batches.
pub(crate) struct Subject<'a> {
    pub(crate) name: String,
    pub(crate) once: Box<dyn FnMut() -> Outcome<()> + 'a>,
}

/// Nanoseconds of one call, for each subject. The first round is not measured.
pub(crate) fn take(subjects: &mut [Subject<'_>], rounds: u32, batch: u32) -> Outcome<Vec<Samples>> {
    let mut samples = vec![Samples::default(); subjects.len()];
    for round in 0..=rounds {
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            for _ in 0..batch {
                (subject.once)()?;
            }
            if round > 0 {
                samples.push(start.elapsed().as_nanos() as f64 / f64::from(batch));
            }
        }
    }
    Ok(samples)
}

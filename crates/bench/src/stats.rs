//! Medians and other statistics.

/// The measurements of one subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The sample below which `share` of all samples lie. NaN if there are no samples.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * share) as usize;
        let last = sorted.len().saturating_sub(1);
        sorted.get(place.min(last)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

/// Jain's fairness index: 1 if all values are equal, 1/n if one value is everything.
pub(crate) fn fairness(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples = Samples::default();
        for sample in [5.0, 1.0, 4.0, 2.0, 3.0] {
            samples.push(sample);
        }
        assert_eq!(samples.median(), 3.0);
        assert_eq!(samples.p99(), 5.0);
        assert_eq!(samples.quantile(0.0), 1.0);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn fairness_runs_from_one_nth_to_one() {
        assert_eq!(fairness(&[7, 7, 7, 7]), 1.0);
        assert_eq!(fairness(&[9, 0, 0, 0]), 0.25);
    }
}

//! Trying several endpoints, or several addresses, at a time.

use std::future::Future;

use super::failure::Failure;
use crate::race;

/// The result of the way that succeeds first, or why none does.
pub(super) async fn first<T, F>(ways: impl IntoIterator<Item = F>) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>> + 'static,
    T: 'static,
{
    race::first(ways).await.map_err(summary)
}

/// All reasons. What only the user can change goes before them.
fn summary(failures: Vec<Failure>) -> Failure {
    let for_the_user = failures
        .iter()
        .find(|failure| !matches!(failure, Failure::Silent(_)));
    if let Some(failure) = for_the_user {
        return failure.clone();
    }
    let reasons: Vec<&str> = failures.iter().map(Failure::why).collect();
    Failure::Silent(reasons.join("; "))
}

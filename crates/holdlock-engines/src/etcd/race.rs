//! Trying several ways at a time, each with a head start before the next.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;

use super::failure::Failure;

/// How long one way may take before the next one is tried as well.
const STAGGER: Duration = Duration::from_millis(250);

/// The result of the way that succeeds first. A way that fails starts the next one at once.
pub(super) async fn first<T, F>(ways: impl IntoIterator<Item = F>) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>> + 'static,
    T: 'static,
{
    let mut ways = ways.into_iter().peekable();
    let mut tries = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        if let Some(way) = ways.next() {
            tries.spawn_local(way);
        }
        let more = ways.peek().is_some();
        tokio::select! {
            done = tries.join_next() => match done {
                Some(Ok(Ok(found))) => return Ok(found),
                Some(Ok(Err(failure))) => failures.push(failure),
                Some(Err(error)) => failures.push(Failure::Silent(error.to_string())),
                None => return Err(summary(failures)),
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
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

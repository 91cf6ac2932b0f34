//! Trying several ways at a time, each with a head start before the next.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;

/// How long one way may take before the next one is tried as well.
const STAGGER: Duration = Duration::from_millis(250);

/// The result of the way that succeeds first, or all failures. A way that fails starts the next one
/// at once.
pub(crate) async fn first<T, E, F>(ways: impl IntoIterator<Item = F>) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: 'static,
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
                // It has panicked, and has said so.
                Some(Err(_)) => {}
                None => return Err(failures),
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

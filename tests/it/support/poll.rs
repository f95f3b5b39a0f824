//! The only wait in the tests.

use std::time::Duration;

/// Waits for something that another process does, looking every 10 ms; panics after `within`. The only wait in the tests:
/// what happens in this process is awaited, and time is moved by the clock.
pub async fn eventually<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> F,
) {
    let looked = tokio::time::timeout(within, async {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        while !look().await {
            pause.tick().await;
        }
    });
    assert!(looked.await.is_ok(), "{what} did not happen within {within:?}");
}

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

/// Lets time pass on a network under test. Tests themselves have nothing to wait for by the clock.
pub async fn pass_time(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Calls `work` at most every `pause` until `within` is over.
pub async fn every<F: Future<Output = ()>>(
    pause: Duration,
    within: Duration,
    mut work: impl FnMut() -> F,
) {
    let end_at = tokio::time::Instant::now() + within;
    let mut pace = tokio::time::interval(pause);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while pace.tick().await < end_at {
        work().await;
    }
}

/// Calls `work` so many times, one after the other, at most every `pause`.
pub async fn paced(pause: Duration, times: usize, mut work: impl AsyncFnMut(usize)) {
    let mut pace = tokio::time::interval(pause);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0..times {
        pace.tick().await;
        work(number).await;
    }
}

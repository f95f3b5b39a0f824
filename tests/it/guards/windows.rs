//! The guard of windows.

use headroom::clock::Clock;

use super::fixture::consume;
use super::fixture::end;
use super::fixture::start;
use super::fixture::without;
use crate::support::Options;

const MORE_THAN_A_MONTH_MS: i64 = 32 * 86_400_000;

/// Guards promise 1 by `window`: a node whose clock lags may not charge a window that has ended in the shard. Its
/// counter was dropped when the next window began, so without the guard it begins at zero and the limit of the old
/// window is spent a second time.
#[tokio::test]
async fn a_node_whose_clock_lags_cannot_spend_the_last_month_again() {
    let with = spend_with_two_clocks(without(&[])).await;
    let without = spend_with_two_clocks(without(&["window"])).await;

    assert_eq!(with, (false, vec![1, 1]));
    assert_eq!(without, (true, vec![2, 1]));
}

/// Whether the lagging node accepts a second message, and the units of each window in Postgres, of one a month.
async fn spend_with_two_clocks(options: Options) -> (bool, Vec<i64>) {
    let mut app = start(1, options).await;
    app.add_node_with_clock(Clock::with_offset_ms(MORE_THAN_A_MONTH_MS)).await;
    assert!(consume(&app, 0).await);
    assert!(consume(&app, 1).await, "the next month has begun");

    let second = consume(&app, 0).await;

    app.flush().await;
    let rows = app
        .postgres()
        .await
        .query("SELECT used FROM usage_counters ORDER BY window_start", &[])
        .await
        .unwrap();
    end(app).await;
    (second, rows.iter().map(|row| row.get(0)).collect())
}

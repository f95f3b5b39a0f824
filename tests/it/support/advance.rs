//! Futures that are stopped half-way, as a crash would.

use std::pin::Pin;
use std::task::Poll;

/// Runs a future until it has waited `steps` times. `None` when it is not done by then.
pub async fn advance<F: Future>(future: &mut Pin<&mut F>, steps: usize) -> Option<F::Output> {
    let mut left = steps;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

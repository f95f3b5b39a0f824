//! The guard of attempts whose fate is unknown.

use headroom::counters::Operation;

use crate::support::lanes::Lanes;
use crate::support::lanes::decided;

/// Guards promise 4 by `earlier_attempt`: an attempt that follows one of unknown fate finds it in the outbox. Without
/// it one operation is charged twice, and stands in the outbox twice.
#[tokio::test]
async fn an_attempt_after_a_lost_answer_charges_nothing_more() {
    let with = attempt_again(&[]).await;
    let without = attempt_again(&["earlier_attempt"]).await;

    assert_eq!(with, (vec![1], 1));
    assert_eq!(without, (vec![2], 2));
}

/// What is used after the second attempt at one unit, and the entries in the outbox.
async fn attempt_again(guards_off: &[&'static str]) -> (Vec<u64>, u64) {
    let lanes = Lanes::start_without(guards_off).await;
    lanes.load(&["user:u_1"], 0).await;
    let first = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(3))]);
    let seen_before = lanes.counters.sight(0).seq;
    let (first, _) = lanes.counters.submit(Box::new(first)).await.unwrap();

    let again = Operation { since_seq: Some(seen_before), ..*first };
    let (accepted, used) = decided(&lanes.submit(again).await);

    assert!(accepted);
    (used, lanes.outbox_entries().await)
}

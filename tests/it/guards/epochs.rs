//! The guards that tell epochs apart.

use headroom::clock::Clock;
use headroom::counters::Again;
use headroom::counters::Outcome;

use super::fixture::Seen;
use super::fixture::consume;
use super::fixture::end;
use super::fixture::healthy;
use super::fixture::log_then_lose;
use super::fixture::start;
use super::fixture::without;
use crate::support::Options;
use crate::support::lanes;
use crate::support::lanes::Lanes;
use crate::support::mutant;

/// Guards promise 1 by `epoch_in_counter`: a recovery touches no counter, so an old one is known by its epoch. Without
/// it a wrong count survives, and a limit of one lets two through.
#[tokio::test]
async fn a_counter_of_an_earlier_epoch_is_loaded_again() {
    let with = consume_after_a_recovery(without(&[])).await;
    let without = consume_after_a_recovery(without(&["epoch_in_counter"])).await;

    assert_eq!(with, (false, Seen { incidents: 1, ..healthy(1) }));
    let (second, seen) = without;
    assert!(second);
    assert_eq!((seen.counted, seen.lost_at_most), (2, 0), "one above the limit, and none was lost");
}

async fn consume_after_a_recovery(options: Options) -> (bool, Seen) {
    let app = start(1, options).await;
    log_then_lose(&app, 1).await;
    app.flush().await;

    let second = consume(&app, 0).await;

    app.flush().await;
    (second, end(app).await)
}

/// Guards I5 and I6 by `epoch`: a node that missed a recovery is told of the new epoch. Without it it accepts on the
/// counters of the old one, and its event takes a place in the new epoch where no flusher will find it: only the next
/// recovery does.
#[tokio::test]
async fn a_node_that_missed_a_recovery_decides_nothing_in_the_old_epoch() {
    let with = decide_in_the_old_epoch(&[]).await;
    let without = decide_in_the_old_epoch(&["epoch"]).await;

    assert_eq!(with, (Outcome::Again(Again::Load), 0, 0));
    let (outcome, seq, found) = without;
    assert_eq!(lanes::decided(&outcome), (true, vec![1]));
    assert_eq!((seq, found), (1, 0), "a place was given out, and no event stands there");
}

/// The outcome for the node that missed it, the shard's last place, and the entries of the new epoch.
async fn decide_in_the_old_epoch(guards_off: &[&'static str]) -> (Outcome, u64, usize) {
    let lanes = Lanes::start_without(guards_off).await;
    lanes.load(&["user:u_1"], 0).await;
    let tampering = mutant::tampering(guards_off);
    let (other, _) = lanes::counters(&lanes.redis, 1, &Clock::system(), &tampering);
    lanes.open(&other, 2).await;

    let order = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(3))]);
    let outcome = lanes.submit(order).await;

    let page = other.read_outbox(0, 2, 0, 10).await.unwrap();
    (outcome, page.seq, page.entries.len())
}

//! Charges when the outbox is full, and when it cannot tell what became of an earlier attempt.

use headroom::counters::CountersError;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Set;
use headroom::counters::keys;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::now_s;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;

/// What the lanes' outbox holds at most, see `lanes::counters`.
const OUTBOX_EVENTS_MAX: u64 = 1_000_000;

fn order(lanes: &Lanes, kind: OperationKind) -> Operation {
    ask(kind, SUBJECT, sheet(SUBJECT, vec![lanes.line(1, "messages", Some(10))]), 1)
}

async fn refusal(lanes: &Lanes, order: Operation) -> CountersError {
    lanes.counters.submit(Box::new(order)).await.unwrap().1.unwrap_err()
}

/// Guards promise 7: the last place of the outbox is given out and none after it. What does not fit its limit is told that,
/// and looks are answered.
#[tokio::test]
async fn the_outbox_takes_as_many_events_as_it_may() {
    let lanes = start().await;
    let mut command = redis::cmd("HSET");
    command.arg(keys::meta(0)).arg("seq").arg(OUTBOX_EVENTS_MAX - 1);
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();

    assert_eq!(decided(&lanes.submit(order(&lanes, Consume)).await), (true, vec![1]));
    let refused = refusal(&lanes, order(&lanes, Consume)).await;

    assert!(matches!(refused, CountersError::OutboxFull), "{refused:?}");
    let too_much = Operation { amount: super::acts::units(10), ..order(&lanes, Consume) };
    assert_eq!(decided(&lanes.submit(too_much).await), (false, vec![1]));
    assert_eq!(decided(&lanes.submit(order(&lanes, Check)).await), (true, vec![1]));
    assert_eq!(lanes.state(SUBJECT).await.last, OUTBOX_EVENTS_MAX.cast_signed());
}

/// Guards promise 4: where the outbox does not go back far enough to tell whether an attempt was applied, nothing is done, and
/// nothing is said of it, whatever the operation is.
#[tokio::test]
async fn an_attempt_whose_fate_the_outbox_cannot_tell_is_not_made() {
    let lanes = start().await;
    lanes.submit(order(&lanes, Consume)).await;
    let mut command = redis::cmd("XTRIM");
    command.arg(keys::outbox(0)).arg(&["MAXLEN", "0"]);
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();
    let until_s = now_s(&lanes) + 60;
    let hold =
        reserve(SUBJECT, sheet(SUBJECT, vec![lanes.line(1, "messages", Some(10))]), 1, until_s);
    let before = lanes.state(SUBJECT).await;

    for order in [order(&lanes, Consume), order(&lanes, Set), hold] {
        let kind = order.kind;
        let refused = refusal(&lanes, Operation { since_seq: Some(0), ..order }).await;
        let is_unsure = matches!(refused, CountersError::Unavailable { ambiguous: true, .. });
        assert!(is_unsure, "{kind:?}: {refused:?}");
    }

    assert_eq!(lanes.state(SUBJECT).await, before);
    assert_eq!(lanes.outbox_entries().await, 0);
}

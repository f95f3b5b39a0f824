//! Charges when the outbox is full, and when it cannot tell what became of an earlier attempt.

use headroom::counters::CountersError;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Set;
use headroom::counters::keys;
use headroom::domain::Sheet;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::end;
use super::acts::grant;
use super::acts::now_s;
use super::acts::pass;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::told;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;

/// Another subject.
const HOLDER: &str = "user:u_2";
/// What the lanes' outbox holds at most, see `lanes::counters`.
const OUTBOX_EVENTS_MAX: u64 = 1_000_000;

fn order(lanes: &Lanes, kind: OperationKind) -> Operation {
    ask(kind, SUBJECT, sheet(SUBJECT, vec![lanes.line(1, "messages", Some(10))]), 1)
}

/// The same with bonus units beside the limit.
fn of_grants(lanes: &Lanes, kind: OperationKind) -> Operation {
    let grants = vec![grant(1, 7, "messages", 5, None)];
    let limits = vec![lanes.line(1, "messages", Some(10))];
    ask(kind, SUBJECT, Sheet { grants, ..sheet(SUBJECT, limits) }, 1)
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
    let refused = refusal(&lanes, of_grants(&lanes, Consume)).await;
    assert!(matches!(refused, CountersError::OutboxFull), "{refused:?}");
    assert!(decided(&lanes.submit(of_grants(&lanes, Check)).await).0);
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
    lanes.load(&[HOLDER], 0).await;
    lanes.submit(order(&lanes, Consume)).await;
    let until_s = now_s(&lanes) + 60;
    let limits = || vec![lanes.line(1, "messages", Some(10))];
    let hold = |subject| reserve(subject, sheet(subject, limits()), 1, until_s);
    let first = hold(HOLDER);
    let id = first.event_id;
    lanes.submit(first).await;
    let mut command = redis::cmd("XTRIM");
    command.arg(keys::outbox(0)).arg(&["MAXLEN", "0"]);
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();
    let before = lanes.state(SUBJECT).await;

    let orders = [
        order(&lanes, Consume),
        of_grants(&lanes, Consume),
        order(&lanes, Set),
        hold(SUBJECT),
        end(Commit, HOLDER, id, 1),
    ];
    for order in orders {
        let kind = order.kind;
        let refused = refusal(&lanes, Operation { since_seq: Some(0), ..order }).await;
        let is_unsure = matches!(refused, CountersError::Unavailable { ambiguous: true, .. });
        assert!(is_unsure, "{kind:?}: {refused:?}");
    }

    assert_eq!(lanes.state(SUBJECT).await, before);
    assert_eq!(lanes.outbox_entries().await, 0);
}

/// Guards promise 4: an attempt that took the last units is told so again, though no more would fit.
#[tokio::test]
async fn an_attempt_that_took_the_last_units_is_told_so_again() {
    let lanes = start().await;
    let all = || Operation { amount: super::acts::units(10), ..order(&lanes, Consume) };
    let first = all();
    let again = Operation { event_id: first.event_id, since_seq: Some(0), ..all() };

    let (heard, told) = (lanes.submit(first).await, lanes.submit(again).await);

    assert_eq!((decided(&heard), decided(&told)), ((true, vec![10]), (true, vec![10])));
    assert_eq!(lanes.events().await.len(), 1);
}

/// Guards promise 7: what counts against the outbox's bound is what is not trimmed.
#[tokio::test]
async fn a_trimmed_outbox_has_room_again() {
    let lanes = start().await;
    let mut command = redis::cmd("HSET");
    command.arg(keys::meta(0)).arg("seq").arg(OUTBOX_EVENTS_MAX);
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();
    let refused = refusal(&lanes, order(&lanes, Consume)).await;
    assert!(matches!(refused, CountersError::OutboxFull), "{refused:?}");

    lanes.trim(1).await;

    assert_eq!(decided(&lanes.submit(order(&lanes, Consume)).await), (true, vec![1]));
}

/// Guards promises 2 and 4: an attempt was applied, logged and trimmed, and its level was forgotten and loaded again, so that no
/// event of it is known. A level that never had one looks the same, unless nothing was trimmed since. Found by the simulation.
#[tokio::test]
async fn an_attempt_that_was_trimmed_before_its_level_was_loaded_is_not_made_again() {
    let lanes = start().await;
    let first = order(&lanes, Consume);
    let event_id = first.event_id;
    let again = |since| {
        let again = order(&lanes, Consume);
        Operation { event_id, since_seq: Some(since), since_epoch: 1, ..again }
    };
    lanes.submit(first).await;
    lanes.trim(1).await;
    lanes.evict(SUBJECT).await;
    lanes.load_at(1, vec![level(SUBJECT)]).await;

    let refused = refusal(&lanes, again(0)).await;
    let of_later = lanes.submit(again(1)).await;

    assert!(matches!(refused, CountersError::Unavailable { ambiguous: true, .. }), "{refused:?}");
    assert_eq!(decided(&of_later), (true, vec![1]));
}

/// Guards promise 5 in the same place: a level that knows its last event tells, whatever was trimmed since.
#[tokio::test]
async fn an_attempt_after_the_last_event_of_its_level_was_not_applied() {
    let lanes = start().await;
    lanes.load(&[HOLDER], 0).await;
    lanes.submit(order(&lanes, Consume)).await;
    let of_another = vec![lanes.line(1, "messages", Some(10))];
    lanes.submit(ask(Consume, HOLDER, sheet(HOLDER, of_another), 1)).await;
    lanes.trim(2).await;

    let again = Operation { since_seq: Some(1), since_epoch: 1, ..order(&lanes, Consume) };

    assert_eq!(decided(&lanes.submit(again).await), (true, vec![2]));
}

/// Guards promise 4: an attempt at a commit is told again that it was late and that it passed a limit.
#[tokio::test]
async fn an_attempt_at_a_commit_is_told_its_flags_again() {
    for (seconds, amount) in [(0, 1), (0, 20), (61, 1), (61, 20)] {
        let lanes = start().await;
        let limits = vec![lanes.line(1, "messages", Some(10))];
        let hold = reserve(SUBJECT, sheet(SUBJECT, limits), 4, now_s(&lanes) + 60);
        let id = hold.event_id;
        lanes.submit(hold).await;
        pass(&lanes, seconds);
        let first = end(Commit, SUBJECT, id, amount);
        let again = end(Commit, SUBJECT, id, amount);
        let again = Operation { event_id: first.event_id, since_seq: Some(1), ..again };

        let heard = told(&lanes.submit(first).await).hold.unwrap();
        let told_again = told(&lanes.submit(again).await).hold.unwrap();

        assert_eq!((heard.late, heard.overage), (seconds > 0, amount == 20));
        assert_eq!(told_again, heard);
    }
}

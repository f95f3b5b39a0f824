//! Ends of holds of which Redis has no record, and of which Postgres or their ids tell.

use std::sync::Arc;

use headroom::counters::Again;
use headroom::counters::Held;
use headroom::counters::HoldEnd;
use headroom::counters::KnownHold;
use headroom::counters::Operation;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::CommitLate;
use headroom::counters::OperationKind::Release;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::domain::Amount;
use headroom::domain::Line;
use headroom::domain::Period;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::end;
use super::acts::extend;
use super::acts::now_s;
use super::acts::pass;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::told;
use super::acts::units;
use super::hold_ends::finish;
use super::hold_ends::hold;
use super::hold_ends::last_event;
use super::hold_ends::ten;
use super::hold_ends::told_counts;
use super::hold_ends::used_and_held;
use crate::support::lanes::Lanes;

/// Has Redis forget a hold's record.
async fn forget(lanes: &Lanes, id: Uuid) {
    let mut command = redis::cmd("DEL");
    command.arg(headroom::counters::keys::reservation(0, id.into_bytes()));
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();
}

/// A commit of a hold of which Postgres or its id tell, by the log up to the place `seq` of that epoch.
fn known(
    sheet: &PackedSheet,
    (epoch, seq): (u64, u64),
    id: Uuid,
    until_s: i64,
    held: Held,
) -> Operation {
    let amount = units(4);
    let grants = Vec::new();
    let known = KnownHold { epoch, seq, until_s, amount, is_expired: false, sheet, held, grants };
    let sheet = Arc::new(PackedSheet::hold(1, Some(&known)));
    Operation { sheet, ..end(Commit, SUBJECT, id, 4) }
}

/// Guards I6 and I8: a hold that Redis does not know is told, and honoured once.
#[tokio::test]
async fn a_hold_that_redis_lost_is_honoured_once_when_it_is_told() {
    let lanes = start().await;
    let (id, until_s) = hold(&lanes, 4).await;
    forget(&lanes, id).await;
    let packed = PackedSheet::charge(sheet(SUBJECT, ten(&lanes)));
    let held = || Held::Units(vec![4]);

    assert_eq!(finish(&lanes, Commit, id, 4).await, Outcome::Again(Again::Hold));
    let of_another_epoch = lanes.submit(known(&packed, (7, 1), id, until_s, held())).await;
    assert_eq!(of_another_epoch, Outcome::Again(Again::Hold));
    let outcome = lanes.submit(known(&packed, (1, 1), id, until_s, held())).await;
    let again = lanes.submit(known(&packed, (1, 1), id, until_s, held())).await;

    assert_eq!(told_counts(told(&outcome)), (4, 0, false, false));
    assert_eq!(again, Outcome::Ended(HoldEnd::Committed, units(4)));
    assert_eq!(used_and_held(&lanes).await, (4, 0));
}

/// Guards promise 3 and I8: the log tells of a hold as it was before its end, which is still in the outbox, and Redis has lost what
/// it knew. A second end would have the id of the first, and be dropped for it. Found by `headroom-torture`.
#[tokio::test]
async fn a_hold_that_is_told_as_it_was_before_its_end_is_not_ended_again() {
    let lanes = start().await;
    let (id, until_s) = hold(&lanes, 4).await;
    told(&finish(&lanes, Release, id, 0).await);
    forget(&lanes, id).await;
    let packed = PackedSheet::charge(sheet(SUBJECT, ten(&lanes)));
    let commit = |seq| known(&packed, (1, seq), id, until_s, Held::Units(vec![4]));
    let Operation { sheet: told_sheet, .. } = commit(1);
    let extend = Operation { sheet: told_sheet, ..extend(SUBJECT, id, until_s) };

    assert_eq!(lanes.submit(commit(1)).await, Outcome::Again(Again::Hold));
    assert_eq!(lanes.submit(extend).await, Outcome::Again(Again::Hold));
    // What becomes of another, or became of this one before, does not matter.
    let (other, _) = hold(&lanes, 1).await;
    told(&finish(&lanes, Commit, other, 1).await);
    told(&lanes.submit(commit(2)).await);

    assert_eq!(used_and_held(&lanes).await, (5, 0));
}

/// Guards promise 4 in the same place: what ended it was an attempt of unknown fate at this very end.
#[tokio::test]
async fn an_earlier_attempt_at_the_end_of_a_hold_that_is_told_is_told_again() {
    let lanes = start().await;
    let (id, until_s) = hold(&lanes, 4).await;
    let commit = end(Commit, SUBJECT, id, 4);
    let event_id = commit.event_id;
    told(&lanes.submit(commit).await);
    forget(&lanes, id).await;
    let packed = PackedSheet::charge(sheet(SUBJECT, ten(&lanes)));

    let order = known(&packed, (1, 1), id, until_s, Held::Units(vec![4]));
    let again = Operation { event_id, since_seq: Some(1), since_epoch: 1, ..order };
    let again = lanes.submit(again).await;

    assert_eq!(told(&again).event_id, event_id);
    assert_eq!(told_counts(told(&again)), (4, 0, false, false));
    assert_eq!(used_and_held(&lanes).await, (4, 0));
}

/// Guards promise 1: a hold that only its id tells of has no units, so that a commit takes none of another's.
#[tokio::test]
async fn a_hold_that_nobody_remembers_takes_no_held_units() {
    let lanes = start().await;
    let (_, until_s) = hold(&lanes, 6).await;
    let packed = PackedSheet::charge(sheet(SUBJECT, ten(&lanes)));

    let order = known(&packed, (1, 1), Uuid::now_v7(), until_s, Held::Nothing);
    let outcome = lanes.submit(order).await;

    assert_eq!(told_counts(told(&outcome)), (4, 6, false, false));
}

/// Guards I8: of a hold whose expiry is in the log only a late commit is taken.
#[tokio::test]
async fn a_hold_that_is_told_to_have_expired_takes_a_late_commit() {
    let lanes = start().await;
    let packed = PackedSheet::charge(sheet(SUBJECT, ten(&lanes)));
    let (id, until_s) = (Uuid::now_v7(), now_s(&lanes) - 5);
    let order = |kind| {
        let (amount, held, grants) = (units(4), Held::Units(vec![4]), Vec::new());
        let (epoch, seq, is_expired, sheet) = (1, 0, true, &packed);
        let known = KnownHold { epoch, seq, until_s, amount, is_expired, sheet, held, grants };
        let sheet = Arc::new(PackedSheet::hold(1, Some(&known)));
        Operation { sheet, ..end(kind, SUBJECT, id, 3) }
    };

    let too_late = lanes.submit(order(Commit)).await;
    let late = lanes.submit(order(CommitLate)).await;

    assert_eq!(too_late, Outcome::Ended(HoldEnd::Expired, units(0)));
    assert_eq!(told_counts(told(&late)), (3, 0, true, false));
    assert_eq!(last_event(&lanes).await.of, Some(id));
}

/// Guards rollover: an extension tells what is held of days that are over and that a load has left out, beside
/// what it moves, and of nothing else.
#[tokio::test]
async fn an_extension_tells_what_is_held_of_days_that_a_load_left_out() {
    let lanes = start().await;
    let of = |period, metric| lanes.line_of(1, period, metric, None);
    let nothing = Line { weight: Amount::new(0).unwrap(), ..of(Period::Day, "tokens") };
    let held = vec![
        of(Period::Minute, "messages"),
        of(Period::Day, "messages"),
        nothing,
        of(Period::Lifetime, "messages"),
    ];
    let until_s = now_s(&lanes) + 40 * 3_600;
    let order = reserve(SUBJECT, sheet(SUBJECT, held), 1, until_s);
    let id = order.event_id;
    lanes.submit(order).await;
    lanes.evict(SUBJECT).await;
    pass(&lanes, 30 * 3_600);
    lanes.load(&[SUBJECT], 1).await;

    told(&lanes.submit(extend(SUBJECT, id, until_s + 60)).await);

    let event = last_event(&lanes).await;
    let moved =
        event.deltas.lines.iter().map(|line| (line.period, line.metric.as_str(), line.units));
    let of = |period| [(period, "messages", -1), (period, "messages", 1)];
    assert_eq!(moved.collect::<Vec<_>>(), [of(Period::Lifetime), of(Period::Day)].concat());
    let state = lanes.state(SUBJECT).await;
    assert_eq!(state.names(), [format!("messages:l:0@{}", until_s + 60)], "none of the day");
}

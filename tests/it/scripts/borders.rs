//! Grants, holds and what is carried, where one unit more or less decides.

use std::sync::Arc;

use headroom::counters::Idempotency;
use headroom::counters::LevelBase;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Release;
use headroom::counters::OperationKind::Set;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::domain::Amount;
use headroom::domain::GrantLine;
use headroom::domain::Line;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Sheet;
use headroom::domain::Tally;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::counts;
use super::acts::end;
use super::acts::grant;
use super::acts::lines_of;
use super::acts::more;
use super::acts::now_s;
use super::acts::pass;
use super::acts::plain;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::told;
use super::acts::units;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::lanes::operation;

const TTL_S: i64 = 60;

/// A month's messages.
fn month(lanes: &Lanes, max: u64) -> Line {
    lanes.line(1, "messages", Some(max))
}

/// Grants of so many messages, the first used first.
fn grants(amounts: &[u64]) -> Vec<GrantLine> {
    (1..).zip(amounts).map(|(id, amount)| grant(1, id, "messages", *amount, None)).collect()
}

fn with(line: Line, amounts: &[u64]) -> Sheet {
    Sheet { grants: grants(amounts), ..sheet(SUBJECT, vec![line]) }
}

/// Holds so many for a minute.
async fn hold(lanes: &Lanes, sheet: &Sheet, amount: u64) -> (Uuid, Outcome) {
    let order = reserve(SUBJECT, sheet.clone(), amount, now_s(lanes) + TTL_S);
    (order.event_id, lanes.submit(order).await)
}

async fn consume(lanes: &Lanes, sheet: &Sheet, amount: u64) -> Outcome {
    lanes.submit(ask(Consume, SUBJECT, sheet.clone(), amount)).await
}

async fn set(lanes: &Lanes, line: &Line, amount: u64) {
    lanes.submit(ask(Set, SUBJECT, sheet(SUBJECT, vec![line.clone()]), amount)).await;
}

fn give(grants: &[GrantLine], amount: u64) -> Operation {
    let sheet = Arc::new(PackedSheet::give(1, grants));
    Operation { amount: units(amount), ..operation(OperationKind::Give, SUBJECT, sheet) }
}

/// What the last event took of the plan and of each grant.
async fn taken(lanes: &Lanes) -> Vec<(Option<u64>, i64)> {
    let event = lanes.events().await.pop().unwrap();
    let used = lines_of(&event).into_iter().filter(|(_, tally, _)| *tally == Tally::Used);
    used.map(|(grant, _, units)| (grant, units)).collect()
}

/// Whether it was accepted, and when the first held unit is free again.
fn refused_until(outcome: &Outcome) -> (bool, Option<i64>) {
    (decided(outcome).0, more(outcome).free_at_s)
}

/// Guards promise 1: what is held leaves less of the plan, and what the plan has no room for comes from grants.
#[tokio::test]
async fn units_that_are_held_are_not_there_for_the_plan() {
    let lanes = start().await;
    let sheet = with(month(&lanes, 10), &[5]);
    hold(&lanes, &sheet, 6).await;

    assert!(decided(&consume(&lanes, &sheet, 6).await).0);
    assert_eq!(taken(&lanes).await, [(None, 4), (Some(1), 2)]);
}

/// Guards promise 1: what is held of a grant is there for nobody else, and the next grant has what is missing.
#[tokio::test]
async fn units_that_are_held_of_a_grant_are_taken_of_the_next() {
    let lanes = start().await;
    let sheet = with(month(&lanes, 0), &[5, 5]);
    hold(&lanes, &sheet, 4).await;

    assert!(decided(&consume(&lanes, &sheet, 3).await).0);
    assert_eq!(taken(&lanes).await, [(None, 0), (Some(1), 1), (Some(2), 2)]);
}

/// Guards promise 1: a grant that was lowered below what is used of it has nothing, and takes nothing from the next.
#[tokio::test]
async fn a_grant_that_was_lowered_below_its_use_has_nothing() {
    let lanes = start().await;
    consume(&lanes, &with(month(&lanes, 0), &[5]), 5).await;
    let lowered = with(month(&lanes, 0), &[3, 6]);

    assert_eq!(plain(&more(&consume(&lanes, &lowered, 7).await).granted), [6]);
    assert!(decided(&consume(&lanes, &lowered, 4).await).0);
    assert_eq!(taken(&lanes).await, [(None, 0), (Some(2), 4)]);
    let given = lanes.submit(give(&lowered.grants, 2)).await;
    let Outcome::Rewritten { lines, .. } = &given else { panic!("{given:?}") };
    assert_eq!(
        lines.iter().map(|line| (line.grant, line.units)).collect::<Vec<_>>(),
        [(Some(2), 2)]
    );
}

/// Guards transfers: a gift of more than there is takes nothing, also for who is decided after it in the same call.
#[tokio::test]
async fn a_gift_of_too_much_takes_nothing() {
    let lanes = start().await;
    let sheet = with(month(&lanes, 0), &[5]);
    let all = ask(Consume, SUBJECT, sheet.clone(), 5);

    let outcomes = lanes.submit_together(vec![give(&sheet.grants, 6), all]).await;

    assert_eq!(outcomes[0], Outcome::Nothing);
    assert!(decided(&outcomes[1]).0);
}

/// Guards promise 1: above its limit a counter takes nothing, and stands in the way of nothing that comes from grants or weighs
/// nothing.
#[tokio::test]
async fn a_counter_above_its_limit_stands_in_the_way_of_its_own_units_alone() {
    for (is_held, amounts) in [(false, &[][..]), (true, &[][..]), (false, &[9][..])] {
        let lanes = start().await;
        let full = Line { weight: Amount::new(0).unwrap(), ..month(&lanes, 10) };
        set(&lanes, &full, 12).await;
        let tokens = lanes.line(1, "tokens", Some(50));
        if is_held {
            hold(&lanes, &sheet(SUBJECT, vec![tokens.clone()]), 1).await;
        }
        let both = Sheet { grants: grants(amounts), ..sheet(SUBJECT, vec![full.clone(), tokens]) };

        assert!(decided(&lanes.submit(ask(Check, SUBJECT, both.clone(), 3)).await).0);
        assert_eq!(decided(&consume(&lanes, &both, 3).await), (true, vec![12, 3]));
        let (id, reserved) = hold(&lanes, &both, 2).await;
        assert!(decided(&reserved).0);
        let committed = lanes.submit(end(Commit, SUBJECT, id, 2)).await;
        assert!(!told(&committed).hold.unwrap().overage);
        let only_grants = with(month(&lanes, 10), &[9]);
        assert!(decided(&consume(&lanes, &only_grants, 1).await).0);
        assert_eq!(taken(&lanes).await, [(None, 0), (Some(1), 1)]);
    }
}

/// Guards `Retry-After`: what is held of a grant is free when its hold ends, and only if that is enough.
#[tokio::test]
async fn a_refusal_because_of_a_held_grant_says_when_it_is_free() {
    for amounts in [vec![5], vec![5, 0]] {
        let lanes = start().await;
        let sheet = with(month(&lanes, 0), &amounts);
        let until_s = now_s(&lanes) + TTL_S;
        hold(&lanes, &sheet, 4).await;

        assert_eq!(refused_until(&consume(&lanes, &sheet, 2).await), (false, Some(until_s)));
        assert_eq!(refused_until(&consume(&lanes, &sheet, 5).await), (false, Some(until_s)));
        assert_eq!(refused_until(&consume(&lanes, &sheet, 6).await), (false, None));
    }
}

/// Guards `Retry-After`: of the plan and a grant the one counts that is free first.
#[tokio::test]
async fn a_refusal_goes_by_what_is_free_first_of_plan_and_grants() {
    for (of_plan_s, of_grant_s) in [(30, 90), (90, 30)] {
        let lanes = start().await;
        let now_s = now_s(&lanes);
        let of_plan = reserve(SUBJECT, with(month(&lanes, 4), &[]), 4, now_s + of_plan_s);
        lanes.submit(of_plan).await;
        let sheet = with(month(&lanes, 4), &[4, 1]);
        lanes.submit(reserve(SUBJECT, sheet.clone(), 4, now_s + of_grant_s)).await;

        assert_eq!(refused_until(&consume(&lanes, &sheet, 3).await), (false, Some(now_s + 30)));
    }
}

/// Guards the catalogue's `hold_max`: what is above it is never held, whatever grants have and whatever is free again; at none
/// nothing is held.
#[tokio::test]
async fn what_is_above_the_bound_of_holds_is_never_held() {
    let lanes = start().await;
    let bounded = |hold_max| {
        let mut line = month(&lanes, 10);
        line.limit.hold_max = Some(Portion::Units(units(hold_max)));
        line
    };
    assert!(!counts(&hold(&lanes, &with(bounded(0), &[]), 1).await.1).0);
    set(&lanes, &month(&lanes, 10), 6).await;
    hold(&lanes, &with(bounded(3), &[5]), 1).await;

    let (_, refused) = hold(&lanes, &with(bounded(3), &[5]), 4).await;

    assert_eq!(refused_until(&refused), (false, None));
}

/// Guards promise 1: a commit leaves others what they hold of a grant, a release gives back no more than its own, and what was
/// told of either counts the others'.
#[tokio::test]
async fn two_holds_of_one_grant_are_kept_apart() {
    let lanes = start().await;
    let sheet = with(month(&lanes, 0), &[6]);
    let (first, _) = hold(&lanes, &sheet, 2).await;
    let (second, _) = hold(&lanes, &sheet, 2).await;
    let (third, _) = hold(&lanes, &sheet, 1).await;

    let released = lanes.submit(end(Release, SUBJECT, third, 0)).await;
    assert_eq!(plain(&told(&released).more.as_ref().unwrap().granted), [2]);
    let committed = lanes.submit(end(Commit, SUBJECT, first, 5)).await;

    assert!(told(&committed).hold.unwrap().overage);
    assert_eq!(plain(&told(&committed).more.as_ref().unwrap().granted), [0]);
    assert_eq!(taken(&lanes).await, [(None, 1), (Some(1), 4)]);
    let last = lanes.submit(end(Commit, SUBJECT, second, 1)).await;
    assert!(!told(&last).hold.unwrap().overage);
    assert_eq!(taken(&lanes).await, [(Some(1), 1)]);
}

/// Guards promise 1: a hold that has lapsed has nothing left to put aside or to give back, though its counters are still there,
/// and others' holds count.
#[tokio::test]
async fn a_late_commit_takes_no_grant_that_others_hold() {
    let lanes = start().await;
    let sheet = with(month(&lanes, 0), &[6]);
    let (late, _) = hold(&lanes, &sheet, 2).await;
    let other = reserve(SUBJECT, sheet.clone(), 3, now_s(&lanes) + 10 * TTL_S);
    lanes.submit(other).await;
    pass(&lanes, TTL_S + 1);

    let committed = lanes.submit(end(Commit, SUBJECT, late, 4)).await;

    let hold = told(&committed).hold.unwrap();
    assert_eq!((hold.late, hold.overage), (true, true));
    let event = lanes.events().await.pop().unwrap();
    assert_eq!(lines_of(&event), [(None, Tally::Used, 1), (Some(1), Tally::Used, 3)]);
}

/// Guards promise 1: where the counters of a hold are gone, it takes no more of a grant than there is.
#[tokio::test]
async fn a_hold_whose_counters_are_gone_takes_what_the_grant_has() {
    let lanes = start().await;
    let (id, _) = hold(&lanes, &with(month(&lanes, 0), &[5]), 2).await;
    lanes.evict(SUBJECT).await;
    lanes.load_at(1, vec![LevelBase { ..level(SUBJECT) }]).await;

    let committed = lanes.submit(end(Commit, SUBJECT, id, 6)).await;

    assert!(told(&committed).hold.unwrap().overage);
    assert_eq!(taken(&lanes).await, [(None, 1), (Some(1), 5)]);
}

/// Guards promise 1: a commit passes a limit by what others hold beside it, by one unit or by none.
#[tokio::test]
async fn a_commit_passes_a_limit_by_a_single_unit() {
    for (used, amount, is_overage) in [(5, 3, false), (5, 4, true), (7, 1, false), (8, 1, true)] {
        for since_seq in [None, Some(3)] {
            let lanes = start().await;
            let sheet = with(month(&lanes, 10), &[]);
            let (id, _) = hold(&lanes, &sheet, 1).await;
            hold(&lanes, &sheet, 2).await;
            set(&lanes, &month(&lanes, 10), used).await;

            let order = Operation { since_seq, ..end(Commit, SUBJECT, id, amount) };
            let committed = lanes.submit(order).await;

            let hold = told(&committed).hold.unwrap();
            assert_eq!(hold.overage, is_overage, "{used} {amount} {since_seq:?}");
        }
    }
}

/// Guards I3: after its end a hold has nothing, so that a late commit fits beside others to the last unit.
#[tokio::test]
async fn a_late_commit_fits_to_the_last_unit() {
    for (amount, is_overage) in [(3, false), (4, true)] {
        let lanes = start().await;
        let sheet = with(month(&lanes, 10), &[]);
        let (id, _) = hold(&lanes, &sheet, 1).await;
        lanes.submit(reserve(SUBJECT, sheet, 2, now_s(&lanes) + 10 * TTL_S)).await;
        set(&lanes, &month(&lanes, 10), 5).await;
        pass(&lanes, TTL_S + 1);

        let committed = lanes.submit(end(Commit, SUBJECT, id, amount)).await;

        let hold = told(&committed).hold.unwrap();
        assert_eq!((hold.late, hold.overage), (true, is_overage));
    }
}

/// Guards I3 for sliding limits: a commit counts what is used and held in the slices of an hour, and not in the one before.
#[tokio::test]
async fn a_commit_counts_the_slices_of_an_hour() {
    const SLICE_S: i64 = 600;
    for (slices, used) in [(6, 11), (7, 8)] {
        let lanes = start().await;
        let sliding = || sheet(SUBJECT, vec![lanes.sliding(1, Period::Hour, "messages", Some(10))]);
        consume(&lanes, &sliding(), 3).await;
        pass(&lanes, 6 * SLICE_S);
        let order = reserve(SUBJECT, sliding(), 2, now_s(&lanes) + 2 * SLICE_S);
        let id = order.event_id;
        lanes.submit(order).await;
        pass(&lanes, (slices - 6) * SLICE_S);

        let committed = lanes.submit(end(Commit, SUBJECT, id, 8)).await;

        assert_eq!(told(&committed).lines[0].used, units(used), "{slices}");
        assert_eq!(told(&committed).hold.unwrap().overage, used > 10);
    }
    let lanes = start().await;
    let sliding = || sheet(SUBJECT, vec![lanes.sliding(1, Period::Hour, "messages", Some(10))]);
    lanes.submit(reserve(SUBJECT, sliding(), 4, now_s(&lanes) + 3 * SLICE_S)).await;
    pass(&lanes, SLICE_S);
    let order = reserve(SUBJECT, sliding(), 2, now_s(&lanes) + 2 * SLICE_S);
    let id = order.event_id;
    lanes.submit(order).await;
    let committed = lanes.submit(end(Commit, SUBJECT, id, 7)).await;
    assert!(told(&committed).hold.unwrap().overage);
    assert_eq!(told(&committed).more.as_ref().unwrap().held, [units(4)]);
}

/// Guards the order of use for commits: a soft limit begins to use grants at its max, also at none, and one without a max never
/// does; at a limit of none every unit is over.
#[tokio::test]
async fn a_commit_begins_with_grants_where_the_limit_says() {
    let soft = Mode::Soft;
    let cases = [
        (soft, Some(2), vec![(None, 2), (Some(1), 3)], false),
        (soft, Some(0), vec![(Some(1), 5)], false),
        (soft, None, vec![(None, 5)], false),
        (Mode::Hard, Some(0), vec![(Some(1), 5)], false),
        (Mode::Hard, None, vec![(None, 5)], false),
    ];
    for (mode, max, expected, is_overage) in cases {
        let lanes = start().await;
        let mut line = lanes.line(1, "messages", max);
        (line.limit.mode, line.limit.grace) = (mode, Portion::Units(units(3)));
        let (id, _) = hold(&lanes, &with(line, &[6]), 1).await;

        let committed = lanes.submit(end(Commit, SUBJECT, id, 5)).await;

        assert_eq!(taken(&lanes).await, expected, "{mode:?} {max:?}");
        assert_eq!(told(&committed).hold.unwrap().overage, is_overage);
    }
}

/// Guards promise 4: what was taken of grants is known by its key, with what was left of them.
#[tokio::test]
async fn a_key_makes_a_consume_of_grants_known() {
    let lanes = start().await;
    let sheet = with(month(&lanes, 2), &[5]);
    let order = || Operation {
        idempotency: Some(Idempotency { key_hash: [7; 16], fingerprint: [7; 8] }),
        ..ask(Consume, SUBJECT, sheet.clone(), 4)
    };

    let first = lanes.submit(order()).await;
    let Outcome::Replayed(again) = lanes.submit(order()).await else { panic!("not replayed") };

    assert_eq!(decided(&first), (true, vec![2]));
    assert_eq!(again.lines[0].used, units(2));
    assert_eq!(plain(&again.more.unwrap().granted), [3]);
    assert_eq!(lanes.events().await.len(), 1);
}

//! Bonus units, which are used when the plan has no room.

use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Release;
use headroom::counters::Outcome;
use headroom::domain::Amount;
use headroom::domain::Event;
use headroom::domain::GrantLine;
use headroom::domain::Line;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Sheet;
use headroom::domain::Tally;

use super::acts::SUBJECT;
use super::acts::ask;
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

/// Limits and grants as a sheet of the subject's path.
fn with(subject: &str, lines: &[Line], grants: &[GrantLine]) -> Sheet {
    Sheet { grants: grants.to_vec(), ..sheet(subject, lines.to_vec()) }
}

/// Two grants, the one that ends first ahead.
fn two(lanes: &Lanes) -> Vec<GrantLine> {
    let now_s = now_s(lanes);
    let of = |id, amount, in_s| grant(1, id, "messages", amount, Some(now_s + in_s));
    vec![of(7, 3, 100), of(5, 4, 900)]
}

/// Whether it was accepted, what is used of the limits, and what is left of grants by each limit.
async fn ask_for(
    lanes: &Lanes,
    kind: OperationKind,
    sheet: &Sheet,
    amount: u64,
) -> (bool, Vec<u64>, Vec<u64>) {
    let outcome = lanes.submit(ask(kind, SUBJECT, sheet.clone(), amount)).await;
    let (accepted, used) = decided(&outcome);
    (accepted, used, plain(&more(&outcome).granted))
}

async fn last_event(lanes: &Lanes) -> Event {
    lanes.events().await.pop().unwrap()
}

const fn plan(units: i64) -> (Option<u64>, Tally, i64) {
    (None, Tally::Used, units)
}

const fn of(grant: u64, units: i64) -> (Option<u64>, Tally, i64) {
    (Some(grant), Tally::Used, units)
}

/// Guards the order of use: the plan's allowance, then the grant that ends first; when all is used up nothing is taken.
#[tokio::test]
async fn grants_are_used_past_the_plan_and_the_first_end_first() {
    let lanes = start().await;
    let sheet = with(SUBJECT, &[lanes.line(1, "messages", Some(5))], &two(&lanes));

    assert_eq!(ask_for(&lanes, Consume, &sheet, 4).await, (true, vec![4], vec![7]));
    assert_eq!(lines_of(&last_event(&lanes).await), [plan(4)]);
    assert_eq!(ask_for(&lanes, Consume, &sheet, 3).await, (true, vec![5], vec![5]));
    assert_eq!(lines_of(&last_event(&lanes).await), [plan(1), of(7, 2)]);
    assert_eq!(ask_for(&lanes, Check, &sheet, 5).await, (true, vec![5], vec![5]));
    assert_eq!(ask_for(&lanes, Check, &sheet, 6).await, (false, vec![5], vec![5]));
    assert_eq!(ask_for(&lanes, Consume, &sheet, 6).await, (false, vec![5], vec![5]));
    assert_eq!(ask_for(&lanes, Consume, &sheet, 5).await, (true, vec![5], vec![0]));
    assert_eq!(lines_of(&last_event(&lanes).await), [plan(0), of(7, 1), of(5, 4)]);
    assert_eq!(ask_for(&lanes, Consume, &sheet, 1).await, (false, vec![5], vec![0]));
    assert_eq!(lanes.events().await.len(), 3);
}

/// Guards expiry: a grant that has ended gives nothing, whatever is left of it.
#[tokio::test]
async fn a_grant_that_has_ended_is_not_used() {
    let lanes = start().await;
    let sheet = with(SUBJECT, &[lanes.line(1, "messages", Some(5))], &two(&lanes));
    ask_for(&lanes, Consume, &sheet, 6).await;

    pass(&lanes, 101);

    assert_eq!(ask_for(&lanes, Consume, &sheet, 5).await, (false, vec![5], vec![4]));
    assert_eq!(ask_for(&lanes, Consume, &sheet, 4).await, (true, vec![5], vec![0]));
}

/// Guards I3: a unit is of the plan, in each of its limits, or of a grant; each metric has grants of its own.
#[tokio::test]
async fn a_unit_is_of_all_limits_or_of_a_grant() {
    let lanes = start().await;
    let mut tokens = lanes.line(1, "tokens", Some(50));
    tokens.weight = Amount::new(10).unwrap();
    let day = lanes.line_of(1, Period::Day, "messages", Some(2));
    let limits = [day, lanes.line(1, "messages", Some(9)), tokens];
    let of_tokens = grant(1, 8, "tokens", 25, None);
    let sheet = with(SUBJECT, &limits, &[two(&lanes), vec![of_tokens]].concat());

    let first = ask_for(&lanes, Consume, &sheet, 5).await;
    assert_eq!(first, (true, vec![2, 2, 50], vec![4, 4, 25]));
    assert_eq!(lines_of(&last_event(&lanes).await), [plan(2), plan(2), plan(50), of(7, 3)]);
    let second = ask_for(&lanes, Consume, &sheet, 2).await;
    assert_eq!(second, (true, vec![2, 2, 50], vec![2, 2, 5]));
    let event = last_event(&lanes).await;
    assert_eq!(lines_of(&event), [plan(0), plan(0), plan(0), of(5, 2), of(8, 20)]);
    let third = ask_for(&lanes, Consume, &sheet, 1).await;
    assert_eq!(third, (false, vec![2, 2, 50], vec![2, 2, 5]), "tokens are missing");
}

/// Guards promise 1 on paths: each level uses grants of its own.
#[tokio::test]
async fn each_level_uses_its_own_grants() {
    const MEMBER: &str = "team:t_1/user:u_1";
    let lanes = Lanes::start().await;
    lanes.load(&["team:t_1", MEMBER], 0).await;
    lanes.move_past_the_hour();
    let limits = [lanes.line(1, "messages", Some(6)), lanes.line(2, "messages", Some(2))];
    let grants = [grant(1, 1, "messages", 5, None), grant(2, 2, "messages", 5, None)];
    let order = |amount| ask(Consume, MEMBER, with(MEMBER, &limits, &grants), amount);

    let outcome = lanes.submit(order(7)).await;

    assert_eq!(decided(&outcome), (true, vec![6, 2]));
    assert_eq!(plain(&more(&outcome).granted), [4, 0]);
    let event = last_event(&lanes).await;
    assert_eq!(lines_of(&event), [plan(6), plan(2), of(1, 1), of(2, 5)]);
    assert_eq!(event.deltas.lines.iter().map(|line| line.depth).collect::<Vec<_>>(), [1, 2, 1, 2]);
    assert!(!decided(&lanes.submit(order(1)).await).0, "the member has nothing left");
}

/// Guards the order of use: a soft limit's grace comes after grants.
#[tokio::test]
async fn grants_come_before_the_grace_of_a_soft_limit() {
    let lanes = start().await;
    let mut line = lanes.line(1, "messages", Some(2));
    (line.limit.mode, line.limit.grace) = (Mode::Soft, Portion::Units(units(3)));
    let sheet = with(SUBJECT, &[line], &[grant(1, 1, "messages", 4, None)]);

    assert_eq!(ask_for(&lanes, Consume, &sheet, 5).await, (true, vec![2], vec![1]));
    assert_eq!(ask_for(&lanes, Consume, &sheet, 5).await, (false, vec![2], vec![1]));
    assert_eq!(ask_for(&lanes, Consume, &sheet, 4).await, (true, vec![5], vec![0]));
    assert_eq!(lines_of(&last_event(&lanes).await), [plan(3), of(1, 1)]);
    assert!(!ask_for(&lanes, Consume, &sheet, 1).await.0);
}

/// Guards shadow mode: what is never refused never uses a grant.
#[tokio::test]
async fn a_shadow_limit_uses_no_grant() {
    let lanes = start().await;
    let mut line = lanes.line(1, "messages", Some(2));
    line.limit.mode = Mode::Shadow;
    let sheet = with(SUBJECT, &[line], &[grant(1, 1, "messages", 4, None)]);

    assert_eq!(ask_for(&lanes, Consume, &sheet, 9).await, (true, vec![9], vec![4]));
    let order = reserve(SUBJECT, sheet, 9, now_s(&lanes) + 60);
    let id = order.event_id;
    lanes.submit(order).await;
    lanes.submit(end(Commit, SUBJECT, id, 20)).await;

    let event = last_event(&lanes).await;
    assert_eq!((lines_of(&event).len(), event.deltas.overage), (2, false));
}

/// Two units of the plan are left, and five of a grant; four are held.
async fn hold_four(lanes: &Lanes) -> (Operation, Sheet) {
    let sheet =
        with(SUBJECT, &[lanes.line(1, "messages", Some(2))], &[grant(1, 1, "messages", 5, None)]);
    let order = || reserve(SUBJECT, sheet.clone(), 4, now_s(lanes) + 60);
    let made = order();
    let again = Operation { event_id: made.event_id, hold: made.hold, ..order() };
    let until_s = made.hold.unwrap().until_s;
    let outcome = lanes.submit(made).await;
    assert_eq!(plain(&more(&outcome).held), [2]);
    assert_eq!(plain(&more(&outcome).granted), [3]);
    let held = |grant, units| (grant, Tally::Held { until_s }, units);
    assert_eq!(lines_of(&last_event(lanes).await), [held(None, 2), held(Some(1), 2)]);
    (again, sheet)
}

/// Guards I8: a release gives the plan and the grant back what was held of each.
#[tokio::test]
async fn a_release_gives_grants_back() {
    let lanes = start().await;
    let (made, sheet) = hold_four(&lanes).await;
    assert_eq!(ask_for(&lanes, Check, &sheet, 4).await, (false, vec![0], vec![3]));

    let outcome = lanes.submit(end(Release, SUBJECT, made.event_id, 0)).await;

    assert_eq!(plain(&told(&outcome).more.as_ref().unwrap().granted), [5]);
    let until_s = made.hold.unwrap().until_s;
    let held = |grant, units| (grant, Tally::Held { until_s }, units);
    assert_eq!(lines_of(&last_event(&lanes).await), [held(None, -2), held(Some(1), -2)]);
    assert_eq!(ask_for(&lanes, Consume, &sheet, 7).await, (true, vec![2], vec![0]));
}

/// Guards promise 1: a commit uses the plan first and then grants, and passes the limit only by what neither has.
#[tokio::test]
async fn a_commit_uses_grants_as_a_consume_does() {
    let cases = [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 2, 2), (7, 2, 5), (8, 3, 5)];
    for (amount, of_plan, of_grant) in cases {
        let lanes = start().await;
        let (made, _) = hold_four(&lanes).await;

        let outcome = lanes.submit(end(Commit, SUBJECT, made.event_id, amount)).await;

        let told = told(&outcome);
        assert_eq!(told.lines[0].used, units(of_plan), "{amount}");
        assert_eq!(told.more.as_ref().unwrap().granted, [units(5 - of_grant)], "{amount}");
        assert_eq!(told.hold.unwrap().overage, amount == 8);
        let charged = lines_of(&last_event(&lanes).await);
        let used = charged.iter().filter(|(_, tally, _)| *tally == Tally::Used);
        assert_eq!(used.map(|(_, _, units)| *units).sum::<i64>(), i64::try_from(amount).unwrap());
        let left: Vec<_> = lanes.state(SUBJECT).await.counters;
        assert!(left.iter().all(|(name, _)| !name.contains('@')), "{left:?}");
    }
}

/// Guards I9: in a full group each request that takes of a grant has lines of its own in the outbox.
#[tokio::test]
async fn a_full_group_with_grants_has_a_sheet_for_each() {
    const REQUESTS: u64 = 65;
    let lanes = Lanes::start().await;
    let subjects: Vec<String> = (0..REQUESTS).map(|number| format!("user:u_{number}")).collect();
    let paths: Vec<&str> = subjects.iter().map(String::as_str).collect();
    lanes.load(&paths, 0).await;
    lanes.move_past_the_hour();
    let order = |number: u64| {
        let limits = [lanes.line(1, "messages", Some(number))];
        let grants = [grant(1, 100 + number, "messages", 200, None)];
        let subject = paths[usize::try_from(number).unwrap()];
        ask(Consume, subject, with(subject, &limits, &grants), 70)
    };

    let outcomes = lanes.submit_together((0..REQUESTS).map(order).collect()).await;

    for (number, outcome) in (0..REQUESTS).zip(&outcomes) {
        assert_eq!(decided(outcome), (true, vec![number]));
        assert_eq!(plain(&more(outcome).granted), [130 + number]);
    }
    for event in lanes.events().await {
        let number: u64 = event.subject.trim_start_matches("user:u_").parse().unwrap();
        let of_plan = i64::try_from(number).unwrap();
        assert_eq!(lines_of(&event), [plan(of_plan), of(100 + number, 70 - of_plan)]);
    }
    assert!(lanes.outbox_entries().await <= 3, "most were one group");
}

/// Guards promise 4: an attempt of unknown fate takes of grants once, and tells what is left.
#[tokio::test]
async fn an_attempt_of_unknown_fate_takes_of_grants_once() {
    let lanes = start().await;
    let sheet = with(SUBJECT, &[lanes.line(1, "messages", Some(5))], &two(&lanes));
    let order = || ask(Consume, SUBJECT, sheet.clone(), 6);
    let first = order();
    let again = Operation { event_id: first.event_id, since_seq: Some(0), ..order() };

    let heard = lanes.submit(first).await;
    let told_again = lanes.submit(again).await;

    assert_eq!((decided(&told_again), more(&told_again)), (decided(&heard), more(&heard)));
    assert!(matches!(told_again, Outcome::Decided { .. }));
    assert_eq!(lanes.events().await.len(), 1);
}

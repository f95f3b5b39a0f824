//! Units of grants that are given away.

use std::sync::Arc;

use headroom::counters::Idempotency;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Consume;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::domain::EventKind;
use headroom::domain::GrantLine;
use headroom::domain::Sheet;
use headroom::domain::Tally;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::grant;
use super::acts::lines_of;
use super::acts::now_s;
use super::acts::pass;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::units;
use crate::support::lanes::Lanes;
use crate::support::lanes::operation;

/// Three grants of messages, the earliest end first.
fn grants(lanes: &Lanes) -> Vec<GrantLine> {
    let now_s = now_s(lanes);
    vec![
        grant(1, 7, "messages", 3, Some(now_s + 100)),
        grant(1, 5, "messages", 4, Some(now_s + 900)),
        grant(1, 9, "messages", 5, None),
    ]
}

fn give(grants: &[GrantLine], amount: u64) -> Operation {
    let sheet = Arc::new(PackedSheet::give(1, grants));
    Operation { amount: units(amount), ..operation(OperationKind::Give, SUBJECT, sheet) }
}

/// A limit that is spent, so that everything comes from grants.
fn spent(lanes: &Lanes, grants: &[GrantLine]) -> Sheet {
    let line = lanes.line(1, "messages", Some(0));
    Sheet { grants: grants.to_vec(), ..sheet(SUBJECT, vec![line]) }
}

/// Guards transfers: the grants that end first are given first, and the event says what was taken of which.
#[tokio::test]
async fn a_gift_takes_the_grants_that_end_first() {
    let lanes = start().await;
    let grants = grants(&lanes);

    let outcome = lanes.submit(give(&grants, 5)).await;

    let Outcome::Rewritten { lines, .. } = &outcome else { panic!("{outcome:?}") };
    let taken: Vec<_> = lines.iter().map(|line| (line.grant, line.units)).collect();
    assert_eq!(taken, [(Some(7), 3), (Some(5), 2)]);
    let event = lanes.events().await.pop().unwrap();
    assert_eq!(event.kind, EventKind::Transfer);
    assert_eq!(lines_of(&event), [(Some(7), Tally::Used, 3), (Some(5), Tally::Used, 2)]);
    let ends: Vec<i64> = event.deltas.lines.iter().map(|line| line.window.end_s).collect();
    assert_eq!(ends, [grants[0].grant.end_s(), grants[1].grant.end_s()]);
}

/// Guards transfers: all or nothing, and neither what is used nor what is held nor what has ended is given away.
#[tokio::test]
async fn a_gift_is_all_or_nothing_of_what_is_free() {
    let lanes = start().await;
    let grants = grants(&lanes);
    let until_s = now_s(&lanes) + 500;
    lanes.submit(ask(Consume, SUBJECT, spent(&lanes, &grants), 2)).await;
    lanes.submit(reserve(SUBJECT, spent(&lanes, &grants), 2, until_s)).await;

    assert_eq!(lanes.submit(give(&grants, 9)).await, Outcome::Nothing);
    assert_eq!(lanes.events().await.len(), 2);
    pass(&lanes, 101);
    assert_eq!(lanes.submit(give(&grants, 9)).await, Outcome::Nothing, "the first has ended");
    let outcome = lanes.submit(give(&grants, 8)).await;

    assert!(matches!(outcome, Outcome::Rewritten { .. }), "{outcome:?}");
    assert_eq!(lanes.submit(give(&grants, 1)).await, Outcome::Nothing);
    pass(&lanes, 400);
    let lapsed = lanes.submit(give(&grants, 1)).await;
    assert!(matches!(lapsed, Outcome::Rewritten { .. }), "{lapsed:?}");
}

/// Guards I3: what was given away cannot be used.
#[tokio::test]
async fn what_was_given_away_is_used_up() {
    let lanes = start().await;
    let grants = grants(&lanes);
    lanes.submit(give(&grants, 10)).await;

    let too_much = lanes.submit(ask(Consume, SUBJECT, spent(&lanes, &grants), 3)).await;
    let rest = lanes.submit(ask(Consume, SUBJECT, spent(&lanes, &grants), 2)).await;

    assert!(matches!(too_much, Outcome::Decided { accepted: false, .. }), "{too_much:?}");
    assert!(matches!(rest, Outcome::Decided { accepted: true, .. }), "{rest:?}");
}

/// Guards promise 4: a gift of unknown fate is made once.
#[tokio::test]
async fn a_gift_of_unknown_fate_is_made_once() {
    let lanes = start().await;
    let grants = grants(&lanes);
    let first = give(&grants, 4);
    let again = Operation { event_id: first.event_id, since_seq: Some(0), ..give(&grants, 4) };

    let made = lanes.submit(first).await;
    let told = lanes.submit(again).await;

    let (Outcome::Rewritten { lines, .. }, Outcome::Rewritten { lines: told, .. }) = (made, told)
    else {
        panic!("not made");
    };
    assert_eq!(told, lines);
    assert_eq!(lanes.events().await.len(), 1);
}

/// Guards I8: whoever asks for a gift again learns that it was refused, though the giver has the units by then. Found by
/// `headroom-torture`.
#[tokio::test]
async fn a_refused_gift_stays_refused() {
    let lanes = start().await;
    let grants = grants(&lanes);
    let idempotency = Some(Idempotency { key_hash: [1; 16], fingerprint: [0; 8] });
    let gift = |grants| Operation { idempotency, ..give(grants, 8) };
    let another = Idempotency { key_hash: [2; 16], fingerprint: [0; 8] };

    let refused = lanes.submit(gift(&grants[..2])).await;
    let again = lanes.submit(gift(&grants)).await;
    let made = lanes.submit(Operation { idempotency: Some(another), ..gift(&grants) }).await;

    assert_eq!((refused, again), (Outcome::Nothing, Outcome::Mismatch));
    assert!(matches!(made, Outcome::Rewritten { .. }), "{made:?}");
    assert_eq!(lanes.events().await.len(), 1);
}

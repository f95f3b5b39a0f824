//! Who notices that Redis went back, and by what.

use headroom::quota::Found;

use super::world;
use super::world::SUBJECT;
use crate::support::TestApp;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::keyed;
use crate::support::orders::used;

/// The first node flushes what it put in place of lost events; the second, to which those were acknowledged, is asked
/// for one more; and both flush.
async fn cover_up_and_ask(app: &TestApp) {
    crate::support::flush_all(app.quota_of(0)).await;
    accept(app.quota_of(1), SUBJECT, 1).await;
    for node in [0, 1] {
        crate::support::flush_all(app.quota_of(node)).await;
    }
}

/// Two nodes of which the first saw the first event alone, and the second the five that Redis then loses.
async fn after_a_rollback() -> TestApp {
    let mut app = world::start(2, 100).await;
    accept(app.quota_of(0), SUBJECT, 1).await;
    let snapshot = world::snapshot(&mut app).await;
    accept(app.quota_of(1), SUBJECT, 5).await;
    world::restore(&mut app, &snapshot).await;
    app
}

/// Guards ADR 0007: a node to which a later place was acknowledged refuses to decide on the older state, without a flusher.
#[tokio::test]
async fn a_node_notices_that_the_seq_went_back() {
    let app = after_a_rollback().await;

    assert_eq!(accept(app.quota_of(1), SUBJECT, 1).await, 2);

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.salvaged), ("rollback", 1));
    assert_eq!((incident.expected_seq, incident.found_seq), (6, Some(1)));
    assert!(incident.lost_at_most >= 5, "{incident:?}");
    app.finish().await;
}

/// Guards ADR 0007 where the seq says nothing: another node has moved it past the lost events, and only the node's own
/// last event, which is no longer at its place, tells.
#[tokio::test]
async fn a_node_notices_a_rollback_that_another_node_has_covered_up() {
    let app = after_a_rollback().await;
    accept(app.quota_of(0), SUBJECT, 8).await;

    accept(app.quota_of(1), SUBJECT, 1).await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.found_seq), ("rollback", Some(9)));
    assert_eq!((incident.expected_seq, incident.salvaged), (9, 9));
    assert!(incident.lost_at_most >= 5, "{incident:?}");
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 10);
    app.finish().await;
}

/// Guards the bound of the loss: the lost places were given again in part, so what stands there is not what was lost.
#[tokio::test]
async fn places_that_were_given_again_do_not_lower_the_bound() {
    let app = after_a_rollback().await;
    accept(app.quota_of(0), SUBJECT, 3).await;

    accept(app.quota_of(1), SUBJECT, 1).await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.expected_seq, incident.found_seq), (6, Some(4)));
    assert!(incident.lost_at_most >= 5, "{incident:?}");
    app.finish().await;
}

/// Guards promise 3 where the lost places were given again and flushed meanwhile: the node to which the lost events were
/// acknowledged tells how many they were. Found by `headroom-torture`.
#[tokio::test]
async fn a_loss_that_the_cursor_has_passed_is_owned_up_to() {
    let app = after_a_rollback().await;
    accept(app.quota_of(0), SUBJECT, 8).await;

    cover_up_and_ask(&app).await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.lost_at_most), ("rollback", 5));
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 10);
    app.finish().await;
}

/// Guards promise 3 where nobody asks the node to which the lost events were acknowledged for anything more. Found by the simulation.
#[tokio::test]
async fn a_node_that_nobody_asks_notices_a_loss_that_others_have_covered_up() {
    let app = after_a_rollback().await;
    accept(app.quota_of(0), SUBJECT, 8).await;
    let mut found = [Found::default(), Found::default()];

    for (node, found) in found.iter_mut().enumerate() {
        app.quota_of(node).look_for_losses(found).await.unwrap();
    }

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.salvaged), ("rollback", 9));
    assert!(incident.lost_at_most >= 5, "{incident:?}");
    assert_eq!(used(app.quota_of(1), SUBJECT).await, 9);
    app.quota_of(1).look_for_losses(&mut found[1]).await.unwrap();
    assert_eq!(world::incidents(&app).await.len(), 1);
    app.finish().await;
}

/// Guards the bound where a lost call reaches beyond the cursor: its events on both sides of it count.
#[tokio::test]
async fn a_lost_call_on_both_sides_of_the_cursor_is_owned_up_to_as_a_whole() {
    let mut app = world::start(2, 100).await;
    accept(app.quota_of(0), SUBJECT, 1).await;
    let snapshot = world::snapshot(&mut app).await;
    // The first travels alone, and the others together.
    assert_eq!(burst(&[app.quota_of(1)], SUBJECT, 6).await, 6);
    world::restore(&mut app, &snapshot).await;
    accept(app.quota_of(0), SUBJECT, 4).await;

    cover_up_and_ask(&app).await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.expected_seq, incident.lost_at_most), (7, 6), "{incident:?}");
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 6);
    app.finish().await;
}

/// Guards the bound where the last event of a lost call is in the log, because it was asked for again under its key: the others of the
/// call count. Found by the simulation.
#[tokio::test]
async fn a_lost_call_is_owned_up_to_though_its_last_event_was_asked_for_again() {
    let mut app = world::start(2, 100).await;
    accept(app.quota_of(0), SUBJECT, 1).await;
    let snapshot = world::snapshot(&mut app).await;
    // The first travels alone, and the others together, the one with the key last.
    let node = [app.quota_of(1)];
    let plain = burst(&node, SUBJECT, 5);
    let last = app.quota_of(1).consume(keyed(SUBJECT, "messages", "k-1"));
    let (accepted, last) = tokio::join!(plain, last);
    assert_eq!((accepted, last.unwrap().allowed), (5, true));
    world::restore(&mut app, &snapshot).await;
    assert!(app.quota_of(0).consume(keyed(SUBJECT, "messages", "k-1")).await.unwrap().allowed);
    accept(app.quota_of(0), SUBJECT, 8).await;

    cover_up_and_ask(&app).await;

    let incident = world::incident(&app).await;
    assert!(incident.lost_at_most >= 5, "{incident:?}");
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 11);
    app.finish().await;
}

/// Guards the bound where two Redises gave the same places to different events, and both are lost: each counts. Found by
/// `headroom-torture`.
#[tokio::test]
async fn events_at_the_same_places_that_are_all_lost_are_all_owned_up_to() {
    let mut app = world::start(2, 100).await;
    accept(app.quota_of(0), SUBJECT, 1).await;
    let snapshot = world::snapshot(&mut app).await;
    accept(app.quota_of(1), SUBJECT, 3).await;
    world::restore(&mut app, &snapshot).await;
    accept(app.quota_of(0), SUBJECT, 3).await;
    world::forget_everything(&app).await;

    for node in [0, 1] {
        accept(app.quota_of(node), SUBJECT, 1).await;
        crate::support::flush_all(app.quota_of(node)).await;
    }

    let incident = world::incident(&app).await;
    assert_eq!((incident.expected_seq, incident.lost_at_most), (4, 7), "{incident:?}");
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 2);
    app.finish().await;
}

/// Guards promise 3 where only a replayed answer acknowledged an event: the node that replayed it notices that it was lost,
/// though others have covered it up, and owns up to it. Found by `headroom-torture`.
#[tokio::test]
async fn an_answer_that_was_replayed_is_missed_like_a_first_one() {
    let mut app = world::start(3, 100).await;
    accept(app.quota_of(0), SUBJECT, 1).await;
    let snapshot = world::snapshot(&mut app).await;
    for node in [1, 2] {
        let order = keyed(SUBJECT, "messages", "k-1");
        assert!(app.quota_of(node).consume(order).await.unwrap().allowed);
    }
    world::restore(&mut app, &snapshot).await;
    accept(app.quota_of(0), SUBJECT, 8).await;
    crate::support::flush_all(app.quota_of(0)).await;

    accept(app.quota_of(2), SUBJECT, 1).await;
    crate::support::flush_all(app.quota_of(2)).await;

    let incident = world::incident(&app).await;
    assert_eq!(incident.reason, "rollback");
    // The other node to which it was acknowledged may have told by then, too.
    assert!((1..=2).contains(&incident.lost_at_most), "{incident:?}");
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 10);
    app.finish().await;
}

/// Guards promise 3 without any traffic: the flusher compares Redis with its cursor.
#[tokio::test]
async fn the_flusher_notices_a_rollback_without_traffic() {
    let mut app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 2).await;
    let snapshot = world::snapshot(&mut app).await;
    accept(app.quota(), SUBJECT, 5).await;
    app.flush().await;
    world::restore(&mut app, &snapshot).await;
    app.stop_nodes().await;
    app.add_node().await;

    app.flush().await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.lost_at_most), ("rollback", 0));
    assert_eq!(used(app.quota(), SUBJECT).await, 7);
    app.finish().await;
}

/// Guards promise 3: events that were accepted at places that Postgres had passed already would never be flushed. The
/// flusher notices by the event at its cursor, though nobody is left who remembers the lost ones.
#[tokio::test]
async fn the_flusher_notices_a_rollback_that_was_covered_up_before_it_looked() {
    let mut app = world::start(2, 100).await;
    accept(app.quota_of(0), SUBJECT, 1).await;
    let snapshot = world::snapshot(&mut app).await;
    accept(app.quota_of(1), SUBJECT, 5).await;
    crate::support::flush_all(app.quota_of(1)).await;
    world::restore(&mut app, &snapshot).await;

    for others in [5, 8] {
        accept(app.quota_of(0), SUBJECT, others).await;
    }
    crate::support::flush_all(app.quota_of(1)).await;

    let incident = world::incident(&app).await;
    assert_eq!(incident.reason, "rollback");
    assert_eq!(world::logged(&app).await, 6 + 13, "nothing that was accepted is missing");
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 19);
    app.finish().await;
}

/// Guards promise 1: what was accepted beyond a limit on the older state is what the incident explains, and no more.
#[tokio::test]
async fn what_was_accepted_on_the_older_state_is_explained_by_the_incident() {
    let mut app = world::start(2, 6).await;
    accept(app.quota_of(0), SUBJECT, 1).await;
    let snapshot = world::snapshot(&mut app).await;
    accept(app.quota_of(1), SUBJECT, 5).await;
    crate::support::flush_all(app.quota_of(1)).await;
    world::restore(&mut app, &snapshot).await;

    accept(app.quota_of(0), SUBJECT, 5).await;
    let refused = crate::support::orders::consume(app.quota_of(1), SUBJECT).await.unwrap();

    assert!(!refused.allowed);
    assert_eq!(world::incident(&app).await.detail["units_on_older_state"], 5);
    assert_eq!(used(app.quota_of(0), SUBJECT).await, 11);
    app.finish().await;
}

/// Guards I4 and I5 from the start on: a node that starts looks before it serves.
#[tokio::test]
async fn a_node_that_starts_notices_what_happened_while_none_ran() {
    let mut app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 5).await;
    app.flush().await;
    app.stop_nodes().await;
    world::forget_everything(&app).await;

    app.add_node().await;
    let told = app.caller().get("/v1/incidents").await;

    assert_eq!(world::incident(&app).await.reason, "uninitialised");
    assert_eq!(told.body["incidents"][0]["reason"], "uninitialised", "{told:?}");
    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 6);
    app.finish().await;
}

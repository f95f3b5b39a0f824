//! Reservations: rows of their own, kept with the log.

use std::time::Duration;

use chrono::DateTime;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Period;
use headroom::domain::Tally;
use headroom::domain::event::Delta;
use headroom::ledger::Incident;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::ReservationState;
use uuid::Uuid;

use super::fixture;
use super::fixture::DAY;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::used;
use super::lives::LATER_S;
use super::lives::ROOT;
use super::lives::SUBJECT;
use super::lives::UNTIL_S;
use super::lives::assert_agrees;
use super::lives::commit;
use super::lives::commit_late;
use super::lives::end;
use super::lives::event;
use super::lives::extend;
use super::lives::held;
use super::lives::holds;
use super::lives::reserve;
use crate::support::poll::eventually;

/// The state of a reservation and what was committed of it; none when there is no reserve.
async fn state(ledger: &Ledger, id: Uuid) -> Option<(ReservationState, Option<u64>)> {
    let row = ledger.reservation(id).await.unwrap();
    row.map(|row| (row.state, row.committed))
}

/// What both levels hold while a reservation is open.
fn both(until_s: i64) -> [(String, i64, i64); 2] {
    [(ROOT.to_owned(), until_s, 5), (SUBJECT.to_owned(), until_s, 5)]
}

#[tokio::test]
async fn a_reserve_is_an_open_reservation_that_holds_its_lines() {
    let (database, ledger) = fixture::ledger().await;
    let metadata = Some(r#"{"chat": "c_9"}"#.to_owned());
    let reserve =
        Event { metadata: metadata.clone(), request_id: Some("r_1".into()), ..reserve(1) };

    flush(&ledger, &batch(0, vec![reserve.clone()])).await.unwrap();

    let row = ledger.reservation(reserve.event_id).await.unwrap().unwrap();
    assert_eq!((row.id, row.shard, &*row.subject), (reserve.event_id, 1, SUBJECT));
    assert_eq!((row.model.as_deref(), row.amount, &*row.plan), (Some("claude-4"), 5, "pro"));
    assert_eq!((row.until.timestamp(), row.state), (UNTIL_S, ReservationState::Open));
    assert_eq!(row.reserved_at.timestamp_millis(), reserve.occurred_at_ms);
    assert_eq!((row.request_id.as_deref(), row.metadata), (Some("r_1"), metadata));
    assert_eq!((row.ended_at, row.committed), (None, None));
    assert_eq!(row.lines, reserve.deltas.lines);
    assert_eq!(holds(&ledger).await, both(UNTIL_S));
    assert_eq!(used(&ledger, ROOT, "messages").await, None, "what is held is not used");
    let logged = "SELECT count(*) FROM message_logs WHERE kind = 'reserve' AND amount = 5
        AND charges = '{}' AND until = to_timestamp(1795312800) AND settles IS NULL
        AND deltas -> 0 ->> 6 = 'held:1795312800'";
    assert_eq!(database.number(logged).await, 1);
    assert_agrees(&ledger).await;
}

/// Guards I8: a life told in one batch or in many ends in the same state.
#[tokio::test]
async fn each_end_is_the_same_in_one_batch_and_in_many() {
    let (_database, ledger) = fixture::ledger().await;
    let ends: [fn(u64, Uuid) -> Event; 4] = [
        commit,
        commit_late,
        |seq, of| end(seq, EventKind::Release, of),
        |seq, of| end(seq, EventKind::Expire, of),
    ];
    let states = [
        (ReservationState::Committed, Some(3)),
        (ReservationState::Late, Some(3)),
        (ReservationState::Released, None),
        (ReservationState::Expired, None),
    ];
    let mut seq = 0;
    for (end, wanted) in ends.into_iter().zip(states) {
        let reserve_together = reserve(seq + 1);
        let together = reserve_together.event_id;
        let events = vec![reserve_together, end(seq + 2, together), reserve(seq + 3)];
        let apart = events[2].event_id;
        flush(&ledger, &batch(seq, events)).await.unwrap();
        let end = end(seq + 4, apart);
        let ended_at_ms = end.occurred_at_ms;
        flush(&ledger, &batch(seq + 3, vec![end])).await.unwrap();

        assert_eq!(state(&ledger, together).await, Some(wanted));
        assert_eq!(state(&ledger, apart).await, Some(wanted));
        let row = ledger.reservation(apart).await.unwrap().unwrap();
        assert_eq!(row.ended_at.map(|at| at.timestamp_millis()), Some(ended_at_ms));
        assert_eq!(holds(&ledger).await, []);
        seq += 4;
    }
    assert_eq!(used(&ledger, ROOT, "messages").await, Some(12), "two of the four use three each");
    assert_agrees(&ledger).await;
}

#[tokio::test]
async fn a_commit_after_an_expiry_is_late_and_the_last_word() {
    let (database, ledger) = fixture::ledger().await;
    let first = reserve(1);
    let second = reserve(2);
    let (a, b) = (first.event_id, second.event_id);
    let expired = vec![first, second, end(3, EventKind::Expire, a), end(4, EventKind::Expire, b)];
    flush(&ledger, &batch(0, [expired, vec![commit_late(5, b)]].concat())).await.unwrap();
    assert_eq!(state(&ledger, a).await, Some((ReservationState::Expired, None)));

    flush(&ledger, &batch(5, vec![commit_late(6, a)])).await.unwrap();

    for id in [a, b] {
        assert_eq!(state(&ledger, id).await, Some((ReservationState::Late, Some(3))));
    }
    let late = "SELECT count(*) FROM message_logs WHERE late AND overage AND kind = 'commit'
        AND charges = '{\"messages\": 3}' AND amount = 3 AND settles IS NOT NULL";
    assert_eq!(database.number(late).await, 2);
    assert_agrees(&ledger).await;
}

#[tokio::test]
async fn an_extend_moves_the_hold_until_the_reservation_ends() {
    let (_database, ledger) = fixture::ledger().await;
    let (apart, together) = (reserve(1), reserve(2));
    let ids = [apart.event_id, together.event_id];
    flush(&ledger, &batch(0, vec![apart, together, extend(3, ids[1])])).await.unwrap();
    flush(&ledger, &batch(3, vec![extend(4, ids[0])])).await.unwrap();

    for id in ids {
        let row = ledger.reservation(id).await.unwrap().unwrap();
        assert_eq!((row.until.timestamp(), row.state), (LATER_S, ReservationState::Open));
        assert_eq!(row.lines, [held(1, 5, LATER_S), held(2, 5, LATER_S)]);
    }
    let ten = |level: &str| (level.to_owned(), LATER_S, 10);
    assert_eq!(holds(&ledger).await, [ten(ROOT), ten(SUBJECT)]);
    assert_agrees(&ledger).await;

    let ends = vec![end(5, EventKind::Release, ids[0]), extend(6, ids[0]), commit(7, ids[1])];
    flush(&ledger, &batch(4, ends)).await.unwrap();

    assert_eq!(state(&ledger, ids[0]).await, Some((ReservationState::Released, None)));
    assert_eq!(holds(&ledger).await, []);
    assert_agrees(&ledger).await;
}

/// Guards I8 when Redis lost the reserve and its end was honoured by token: it must not come to life afterwards.
#[tokio::test]
async fn a_reserve_that_comes_after_its_end_is_not_open() {
    let (_database, ledger) = fixture::ledger().await;
    let ends: [fn(u64, Uuid) -> Event; 2] = [commit, |seq, of| end(seq, EventKind::Expire, of)];
    let mut seq = 0;
    for end in ends {
        let reserve = Event { seq: seq + 2, ..reserve(seq + 2) };
        let id = reserve.event_id;
        let alone = vec![end(seq + 1, id)];
        flush(&ledger, &batch(seq, alone)).await.unwrap();
        assert_eq!(state(&ledger, id).await, None);
        assert_agrees(&ledger).await;

        flush(&ledger, &batch(seq + 1, vec![reserve, extend(seq + 3, id)])).await.unwrap();

        let row = ledger.reservation(id).await.unwrap().unwrap();
        assert_ne!(row.state, ReservationState::Open);
        assert_eq!((row.amount, row.ended_at.is_some()), (5, true));
        assert_eq!(holds(&ledger).await, []);
        assert_agrees(&ledger).await;
        seq += 3;
    }
}

#[tokio::test]
async fn a_late_commit_is_the_last_word_even_when_the_reserve_comes_with_it() {
    let (_database, ledger) = fixture::ledger().await;
    let reserve = reserve(2);
    let id = reserve.event_id;
    flush(&ledger, &batch(0, vec![end(1, EventKind::Expire, id)])).await.unwrap();

    flush(&ledger, &batch(1, vec![reserve, commit_late(3, id)])).await.unwrap();

    assert_eq!(state(&ledger, id).await, Some((ReservationState::Late, Some(3))));
    assert_eq!(holds(&ledger).await, []);
    assert_agrees(&ledger).await;
}

/// What is not in the table is left to the log.
#[tokio::test]
async fn an_extend_without_a_reserve_changes_nothing() {
    let (database, ledger) = fixture::ledger().await;

    flush(&ledger, &batch(0, vec![extend(1, Uuid::from_u128(7))])).await.unwrap();

    assert_eq!(database.number("SELECT count(*) FROM reservations").await, 0);
    assert_eq!(holds(&ledger).await, []);
    assert_eq!(ledger.totals().await.unwrap().events, 1);
}

/// Guards promise 2: what comes again, in the same batch or under other seqs, is not a second reservation or end.
#[tokio::test]
async fn events_that_come_again_change_no_reservation() {
    let (_database, ledger) = fixture::ledger().await;
    let reserve = reserve(1);
    let id = reserve.event_id;
    let commit = commit(2, id);
    let first = batch(0, vec![reserve.clone()]);
    flush(&ledger, &first).await.unwrap();
    let again = flush(&ledger, &first).await;
    assert!(matches!(again, Err(LedgerError::CursorMoved)), "{again:?}");
    flush(&ledger, &batch(1, vec![commit.clone()])).await.unwrap();

    let both = vec![Event { seq: 3, ..reserve }, Event { seq: 4, ..commit }];
    let flushed = flush(&ledger, &batch(2, both)).await.unwrap();

    assert_eq!((flushed.inserted, flushed.duplicates), (0, vec![3, 4]));
    assert_eq!(state(&ledger, id).await, Some((ReservationState::Committed, Some(3))));
    assert_eq!(holds(&ledger).await, []);
    assert_agrees(&ledger).await;
}

/// Any number of flushers may run; one wins a batch, with all that it does to reservations.
#[tokio::test]
async fn of_two_flushers_at_once_one_keeps_the_reservations() {
    let (_database, ledger) = fixture::ledger().await;
    let reserves: Vec<Event> = (1..=60).map(reserve).collect();
    let ids: Vec<Uuid> = reserves.iter().map(|event| event.event_id).collect();
    let commits = (61..).zip(&ids[..40]).map(|(seq, id)| commit(seq, *id));
    let batch = batch(0, reserves.into_iter().chain(commits).collect());

    let (a, b) = tokio::join!(flush(&ledger, &batch), flush(&ledger, &batch));

    assert_eq!([&a, &b].iter().filter(|outcome| outcome.is_ok()).count(), 1, "{a:?} {b:?}");
    let hundred = |level: &str| (level.to_owned(), UNTIL_S, 100);
    assert_eq!(holds(&ledger).await, [hundred(ROOT), hundred(SUBJECT)]);
    assert_eq!(ledger.reservations_of(SUBJECT, 100).await.unwrap().len(), 20);
    assert_agrees(&ledger).await;
}

/// Guards promise 2: a flusher that dies between two tables leaves neither.
#[tokio::test]
async fn a_flush_that_is_given_up_half_way_leaves_nothing() {
    let (database, ledger) = fixture::ledger().await;
    let batch = batch(0, vec![reserve(1)]);
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database() AND application_name = 'headroom'";
    database
        .with(async |client| {
            client.batch_execute("BEGIN; LOCK TABLE reservation_holds").await.unwrap();
            let is_waiting = || async { database.number(waiting).await == 1 };
            let half_way = eventually("a flush that waits", Duration::from_secs(10), is_waiting);
            let finished = tokio::select! {
                outcome = flush(&ledger, &batch) => Some(outcome),
                () = half_way => None,
            };
            assert_eq!(finished.map(|outcome| outcome.is_ok()), None);
            client.batch_execute("ROLLBACK").await.unwrap();
        })
        .await;
    let is_gone = || async { database.number(waiting).await == 0 };
    eventually("the end of the flush", Duration::from_secs(10), is_gone).await;
    assert_eq!(ledger.totals().await.unwrap().events, 0);
    assert_eq!(database.number("SELECT count(*) FROM reservations").await, 0);

    flush(&ledger, &batch).await.unwrap();

    assert_eq!(holds(&ledger).await, both(UNTIL_S));
    assert_agrees(&ledger).await;
}

/// Guards promise 3: what a recovery salvages lives on.
#[tokio::test]
async fn a_recovery_salvages_reservations() {
    let (_database, ledger) = fixture::ledger().await;
    let (open, done) = (reserve(1), reserve(2));
    let ids = [open.event_id, done.event_id];
    flush(&ledger, &batch(0, vec![open.clone()])).await.unwrap();

    let mut recovery = ledger.begin_recovery(1).await.unwrap();
    recovery.salvage(&[open, done, commit(3, ids[1])]).await.unwrap();
    let detail = serde_json::Value::Null;
    let (redis_epoch, found_seq) = (None, None);
    let (expected_seq, lost_at_most, reason) = (3, 0, "seq went back");
    let incident = Incident { reason, redis_epoch, found_seq, expected_seq, lost_at_most, detail };
    recovery.finish(incident, Uuid::from_u128(7)).await.unwrap();

    assert_eq!(state(&ledger, ids[0]).await, Some((ReservationState::Open, None)));
    assert_eq!(state(&ledger, ids[1]).await, Some((ReservationState::Committed, Some(3))));
    assert_agrees(&ledger).await;
}

#[tokio::test]
async fn open_reservations_are_found_by_subject_and_by_when_they_are_due() {
    let (_database, ledger) = fixture::ledger().await;
    let due = |seq: u64, until_s| Event { until_s: Some(until_s), ..reserve(seq) };
    let events = vec![due(1, UNTIL_S + 9), due(2, UNTIL_S), due(3, LATER_S), due(4, UNTIL_S)];
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    let ended = end(5, EventKind::Release, ids[3]);
    flush(&ledger, &batch(0, [events, vec![ended]].concat())).await.unwrap();
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    let due = async |second, limit| {
        let rows = ledger.due_reservations(at(second), limit).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };

    assert!(due(UNTIL_S - 1, 10).await.is_empty());
    assert_eq!(due(UNTIL_S + 9, 10).await, [ids[1], ids[0]]);
    assert_eq!(due(UNTIL_S + 9, 1).await, [ids[1]]);
    let open = ledger.reservations_of(SUBJECT, 2).await.unwrap();
    assert_eq!(open.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    assert_eq!(ledger.reservations_of(ROOT, 10).await.unwrap(), []);
}

/// Guards docs/adr/0011 for holds, and the load: what it reads is what is open, until it is free by itself.
#[tokio::test]
async fn a_base_has_the_holds_of_days_and_longer_that_have_not_lapsed() {
    let (_database, ledger) = fixture::ledger().await;
    let hour = Delta { period: Period::Hour, ..held(2, 5, UNTIL_S) };
    let granted = Delta { grant: Some(7), period: Period::Lifetime, ..held(2, 2, UNTIL_S) };
    let lines = vec![held(1, 5, UNTIL_S), hour.clone(), granted];
    let reserve = Event { until_s: Some(UNTIL_S), ..event(1, EventKind::Reserve, lines) };
    flush(&ledger, &batch(0, vec![reserve])).await.unwrap();

    let levels = [ROOT, SUBJECT];
    let open = ledger.base(1, &levels, DAY.start_at()).await.unwrap().held;
    let lapsed_at = DateTime::from_timestamp(UNTIL_S, 0).unwrap();
    let lapsed = ledger.base(1, &levels, lapsed_at).await.unwrap().held;
    let sums = ledger.open_holds(1, DAY.start_at(), 10).await.unwrap();

    let of = |hold: &headroom::ledger::HeldCounter| {
        (hold.subject.clone(), hold.period.clone(), hold.grant, hold.until_s, hold.units)
    };
    let day = (ROOT.to_owned(), "day".to_owned(), None, UNTIL_S, 5);
    let grant = (SUBJECT.to_owned(), "lifetime".to_owned(), Some(7), UNTIL_S, 2);
    let hour = (SUBJECT.to_owned(), "hour".to_owned(), None, UNTIL_S, 5);
    assert_eq!(open.iter().map(of).collect::<Vec<_>>(), [day.clone(), grant.clone()]);
    assert_eq!(lapsed, []);
    assert_eq!(sums.iter().map(of).collect::<Vec<_>>(), [day, hour, grant]);
    assert_eq!(ledger.open_holds(1, lapsed_at, 10).await.unwrap(), []);
    assert_eq!(ledger.open_holds(2, DAY.start_at(), 10).await.unwrap(), []);
    assert_agrees(&ledger).await;
}

/// Guards I8's checker: a second end, a state that no event tells of and a hold that is missing are all found.
#[tokio::test]
async fn a_tampered_reservation_is_found() {
    let (database, ledger) = fixture::ledger().await;
    let reserves: Vec<Event> = (1..=3).map(reserve).collect();
    let ids: Vec<Uuid> = reserves.iter().map(|event| event.event_id).collect();
    let ends = vec![commit(4, ids[0]), end(5, EventKind::Release, ids[0])];
    flush(&ledger, &batch(0, [reserves, ends].concat())).await.unwrap();
    let tamper = format!(
        "UPDATE reservations SET state = 'expired', ended_at = now() WHERE id = '{}';
         DELETE FROM reservation_holds WHERE reservation_id = '{}' AND level = '{ROOT}'",
        ids[1], ids[2]
    );
    database.run(&tamper).await;

    let found = ledger.reservations_differ(10).await.unwrap();
    let holds = ledger.holds_differ(10).await.unwrap();

    let found: Vec<_> = found.iter().map(|it| (it.kept.as_deref(), it.logged.as_deref())).collect();
    let twice = (Some("committed 3"), Some("2 ends and 0 late"));
    assert_eq!(found, [twice, (Some("expired"), Some("open"))]);
    let kept: Vec<_> = holds.iter().map(|it| it.kept.is_some()).collect();
    assert_eq!(kept, [true, true, false], "two of the one that is not open, one that is missing");
    assert_eq!(ledger.holds_differ(1).await.unwrap().len(), 1);
}

/// Holds lapse by themselves, so a commit need not name them.
#[tokio::test]
async fn holds_that_a_commit_leaves_out_because_they_lapsed_are_gone_all_the_same() {
    let (_database, ledger) = fixture::ledger().await;
    let reserve = reserve(1);
    let settled = Event { of: Some(reserve.event_id), ..commit_late(2, reserve.event_id) };
    flush(&ledger, &batch(0, vec![reserve])).await.unwrap();
    let negative = |line: &&Delta| matches!(line.tally, Tally::Held { .. });
    assert_eq!(settled.deltas.lines.iter().filter(negative).count(), 0);

    flush(&ledger, &batch(1, vec![settled])).await.unwrap();

    assert_eq!(holds(&ledger).await, []);
    assert_agrees(&ledger).await;
}

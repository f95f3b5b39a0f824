//! Transfers: both sides or neither.

use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::GrantSource;
use headroom::domain::Metric;
use headroom::domain::Profile;
use headroom::domain::Units;
use headroom::ledger::Action;
use headroom::ledger::BeginOutcome;
use headroom::ledger::Completed;
use headroom::ledger::GrantOutcome;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::NewGrant;
use headroom::ledger::NewTransfer;
use headroom::ledger::OtherMonths;
use headroom::ledger::RefusedIn;
use headroom::ledger::TransferRefusal;
use headroom::ledger::TransferRow;
use headroom::ledger::TransferRules;
use headroom::ledger::TransferState;
use uuid::Uuid;

use super::fixture;
use super::fixture::DAY;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::id_at;
use super::lives::SUBJECT;
use super::lives::assert_agrees;
use super::lives::event;
use super::lives::of_grant;
use crate::support::poll::eventually;

const RECEIVER: &str = "user:u_2";
/// The epoch that has begun of every shard.
const IN_FORCE: RefusedIn = RefusedIn { shard: 1, epoch: 1 };

/// The first thing that happens in these tests: noon of the tests' day.
fn noon() -> DateTime<Utc> {
    DAY.start_at() + TimeDelta::hours(12)
}

fn units(count: u64) -> Units {
    Units::new(count).unwrap()
}

/// No rule but that something is given.
fn no_rules() -> TransferRules {
    TransferRules {
        amount_min: units(1),
        daily_max: None,
        day_start_at: DAY.start_at(),
        giver_rest: Duration::ZERO,
        receiver_rest: Duration::ZERO,
    }
}

fn gift(metric: &Metric, amount: u64) -> NewTransfer<'_> {
    NewTransfer {
        id: id_at(noon().timestamp_millis()),
        other_months: OtherMonths::default(),
        from: SUBJECT,
        to: RECEIVER,
        metric,
        amount: units(amount),
        note: Some("enjoy"),
        actor: "k_1",
        request_id: Some("r_1"),
    }
}

async fn begin(
    ledger: &Ledger,
    new: &NewTransfer<'_>,
    rules: &TransferRules,
    at: DateTime<Utc>,
) -> Result<TransferRow, TransferRefusal> {
    match ledger.begin_transfer(new, rules, at).await.unwrap() {
        BeginOutcome::Begun(row) => Ok(row),
        BeginOutcome::Refused(refusal) => Err(refusal),
    }
}

async fn complete(ledger: &Ledger, id: Uuid, taken: &[(u64, u64)]) -> Completed {
    ledger.complete_transfer(id, taken, noon()).await.unwrap().unwrap()
}

/// Gives a subject ten messages that end so many days after noon.
async fn grant(ledger: &Ledger, subject: &str, metric: &Metric, days: Option<i64>) -> u64 {
    let new = NewGrant {
        event_id: id_at(noon().timestamp_millis()),
        other_months: OtherMonths::default(),
        metric,
        amount: units(10),
        period: None,
        expires_s: days.map(|days| noon().timestamp() + days * 86_400),
        source: GrantSource::Purchase,
        note: None,
    };
    let act = fixture::act(Action::GrantCreate, subject);
    match ledger.create_grant(subject, &new, noon(), &act).await.unwrap() {
        GrantOutcome::Created(change) => change.grant.grant.id,
        GrantOutcome::TooManyGrants => panic!("too many grants"),
    }
}

/// What Redis takes of the giver's grants.
fn debit(seq: u64, id: Uuid, taken: &[(u64, u64)]) -> Event {
    let line = |(grant, units): &(u64, u64)| of_grant(*grant, i64::try_from(*units).unwrap());
    let lines = taken.iter().map(line).collect();
    Event { event_id: id, ..event(seq, EventKind::Transfer, lines) }
}

#[tokio::test]
async fn a_transfer_gives_the_receiver_a_grant_for_each_that_was_taken_of() {
    let (database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let a = grant(&ledger, SUBJECT, &metric, Some(9)).await;
    let b = grant(&ledger, SUBJECT, &metric, None).await;
    let new = gift(&metric, 12);
    let begun = begin(&ledger, &new, &no_rules(), noon()).await.unwrap();
    assert_eq!((begun.state, begun.requested_at), (TransferState::Pending, noon()));
    assert_eq!(ledger.transfer(new.id).await.unwrap(), Some(begun));
    let taken = [(b, 2), (a, 10)];
    flush(&ledger, &batch(0, vec![debit(1, new.id, &taken)])).await.unwrap();
    assert_agrees(&ledger).await;

    let done = complete(&ledger, new.id, &taken).await;

    assert_eq!(done.transfer.state, TransferState::Done);
    assert_eq!(
        (done.transfer.ended_at, done.transfer.note.as_deref()),
        (Some(noon()), Some("enjoy"))
    );
    let given: Vec<_> =
        done.grants.iter().map(|row| (row.grant.amount.get(), row.grant.expires_s)).collect();
    assert_eq!(given, [(10, Some(noon().timestamp() + 9 * 86_400)), (2, None)]);
    for row in &done.grants {
        assert_eq!((&*row.subject, row.source, row.used), (RECEIVER, GrantSource::Gift, 0));
        assert_eq!((row.transfer_id, &*row.created_by), (Some(new.id), "k_1"));
    }
    let listed = Profile::parse_stored(&done.for_nodes).unwrap().grants;
    assert_eq!(listed, done.grants.iter().map(|row| row.grant.clone()).collect::<Vec<_>>());
    let row = ledger.subject(RECEIVER).await.unwrap().unwrap();
    assert_eq!((row.version, row.for_nodes), (done.version, done.for_nodes));
    let logged = format!(
        "SELECT count(*) FROM message_logs WHERE kind = 'grant' AND settles = '{}'
         AND subject = '{RECEIVER}' AND (epoch, seq) = (0, 0) AND request_id = 'r_1'",
        new.id
    );
    assert_eq!(database.number(&logged).await, 2);
    assert_agrees(&ledger).await;
}

/// Guards promise 4: whoever finds a transfer half done goes on with it, any number of times and at once.
#[tokio::test]
async fn each_step_of_a_transfer_is_done_once() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let id = grant(&ledger, SUBJECT, &metric, None).await;
    let new = gift(&metric, 4);
    let (rules, taken) = (no_rules(), [(id, 4)]);
    let (a, b) =
        tokio::join!(begin(&ledger, &new, &rules, noon()), begin(&ledger, &new, &rules, noon()));
    assert_eq!(a, b);
    flush(&ledger, &batch(0, vec![debit(1, new.id, &taken)])).await.unwrap();

    let (a, b) = tokio::join!(complete(&ledger, new.id, &taken), complete(&ledger, new.id, &taken));

    assert_eq!(a, b);
    assert_eq!(complete(&ledger, new.id, &taken).await, a);
    assert_eq!(ledger.grants_of(RECEIVER).await.unwrap(), a.grants);
    let refused = ledger.refuse_transfer(new.id, IN_FORCE, noon()).await.unwrap();
    assert_eq!(refused, Some(a.transfer), "it is done and stays so");
    assert_agrees(&ledger).await;
}

/// Guards I8: of two who go on with a gift one may find nothing to take, and refuse it, before the other takes it.
#[tokio::test]
async fn a_refused_transfer_gives_nothing_unless_the_log_has_what_was_taken() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let id = grant(&ledger, SUBJECT, &metric, None).await;
    let new = gift(&metric, 4);
    begin(&ledger, &new, &no_rules(), noon()).await.unwrap();

    let refused = ledger.refuse_transfer(new.id, IN_FORCE, noon()).await.unwrap().unwrap();

    assert_eq!((refused.state, refused.ended_at), (TransferState::Refused, Some(noon())));
    assert_eq!(ledger.grants_of(RECEIVER).await.unwrap(), []);
    assert_eq!(ledger.refuse_transfer(Uuid::nil(), IN_FORCE, noon()).await.unwrap(), None);
    let unknown = ledger.complete_transfer(Uuid::nil(), &[(id, 4)], noon()).await.unwrap();
    assert_eq!(unknown, None);
    assert_agrees(&ledger).await;
    flush(&ledger, &batch(0, vec![debit(1, new.id, &[(id, 4)])])).await.unwrap();
    let refused = ledger.refuse_transfer(new.id, IN_FORCE, noon()).await.unwrap().unwrap();
    assert_eq!(refused.state, TransferState::Pending, "somebody has to go on with it");
    let pending = ledger.pending_transfers(Duration::ZERO, 10).await.unwrap();
    assert_eq!(pending, [refused]);

    let done = complete(&ledger, new.id, &[(id, 4)]).await;

    assert_eq!(done.transfer.state, TransferState::Done);
    assert_agrees(&ledger).await;
}

/// Guards I8: in another epoch Redis need not know that it said there is nothing to take.
#[tokio::test]
async fn a_transfer_is_refused_only_by_the_epoch_in_force() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let new = gift(&metric, 4);
    begin(&ledger, &new, &no_rules(), noon()).await.unwrap();

    for epoch in [0, 2] {
        let refused = RefusedIn { epoch, ..IN_FORCE };
        let kept = ledger.refuse_transfer(new.id, refused, noon()).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.ended_at), (TransferState::Pending, None));
    }
}

#[tokio::test]
async fn each_rule_refuses_and_leaves_no_trace() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let rules = TransferRules {
        amount_min: units(3),
        daily_max: Some(units(10)),
        giver_rest: Duration::from_mins(10),
        receiver_rest: Duration::from_hours(1),
        ..no_rules()
    };
    let after = |minutes| noon() + TimeDelta::minutes(minutes);
    begin(&ledger, &gift(&metric, 6), &rules, noon()).await.unwrap();
    let to_another = NewTransfer { to: "user:u_3", ..gift(&metric, 3) };
    let from_another = NewTransfer { from: "user:u_3", ..gift(&metric, 3) };

    for (new, at, wanted) in [
        (gift(&metric, 2), after(90), TransferRefusal::BelowMinimum),
        (gift(&metric, 5), after(90), TransferRefusal::AboveDailyMax { given: 6 }),
        (to_another, after(9), TransferRefusal::GiverRests { until: after(10) }),
        (from_another, after(59), TransferRefusal::ReceiverRests { until: after(60) }),
    ] {
        assert_eq!(begin(&ledger, &new, &rules, at).await, Err(wanted));
        assert_eq!(ledger.transfer(new.id).await.unwrap(), None);
    }
    assert!(begin(&ledger, &to_another, &rules, after(10)).await.is_ok());
    assert!(begin(&ledger, &from_another, &rules, after(60)).await.is_ok());
}

/// Guards the daily maximum against many requests at once; what was refused does not count.
#[tokio::test]
async fn transfers_at_once_keep_to_the_rules_together() {
    let (database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let rules = TransferRules { daily_max: Some(units(10)), ..no_rules() };
    let receivers: Vec<String> = (0..8).map(|number| format!("user:r_{number}")).collect();
    let gifts: Vec<_> = receivers.iter().map(|to| NewTransfer { to, ..gift(&metric, 4) }).collect();

    let begun = gifts.iter().map(|new| begin(&ledger, new, &rules, noon()));
    let begun = futures_util::future::join_all(begun);
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database() AND application_name = 'headroom'";
    let four_wait = || async { database.number(waiting).await == 4 };
    let begun = database.with(async |client| {
        // Nobody inserts until all connections of the pool wait: for that, or for who goes first.
        client.batch_execute("BEGIN; LOCK TABLE transfers IN SHARE MODE").await.unwrap();
        let release = async {
            eventually("four that wait", Duration::from_secs(10), four_wait).await;
            client.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(begun, release).0
    });
    let begun = begun.await;

    let begun: Vec<_> = begun.into_iter().flatten().collect();
    assert_eq!(begun.len(), 2);
    ledger.refuse_transfer(begun[0].id, IN_FORCE, noon()).await.unwrap();
    assert!(begin(&ledger, &gift(&metric, 4), &rules, noon()).await.is_ok());
    let yesterday = TransferRules { day_start_at: noon() + TimeDelta::hours(12), ..rules };
    assert!(begin(&ledger, &gift(&metric, 10), &yesterday, noon()).await.is_ok());
}

#[tokio::test]
async fn a_receiver_with_too_many_grants_is_given_no_more() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    for _ in 0..headroom::domain::Grant::OPEN_MAX {
        grant(&ledger, RECEIVER, &metric, None).await;
    }

    let answer = begin(&ledger, &gift(&metric, 4), &no_rules(), noon()).await;

    assert_eq!(answer, Err(TransferRefusal::TooManyGrants));
}

/// Guards "both or none": units that were taken must arrive, even when the receiver's list filled up meanwhile.
#[tokio::test]
async fn a_grant_that_has_no_place_beside_the_profile_waits_for_one() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let id = grant(&ledger, SUBJECT, &metric, None).await;
    let new = gift(&metric, 4);
    begin(&ledger, &new, &no_rules(), noon()).await.unwrap();
    let mut first = 0;
    for _ in 0..headroom::domain::Grant::OPEN_MAX {
        first = grant(&ledger, RECEIVER, &metric, None).await;
    }
    flush(&ledger, &batch(0, vec![debit(1, new.id, &[(id, 4)])])).await.unwrap();

    let done = complete(&ledger, new.id, &[(id, 4)]).await;

    let listed = |text: &str| Profile::parse_stored(text).unwrap().grants;
    assert!(!listed(&done.for_nodes).contains(&done.grants[0].grant));
    let act = fixture::act(Action::GrantRevoke, RECEIVER);
    let change = ledger.revoke_grant(RECEIVER, first, noon(), &act).await.unwrap().unwrap();
    assert!(listed(&change.for_nodes).contains(&done.grants[0].grant));
    assert_agrees(&ledger).await;
}

/// Guards promise 2: a transfer that cannot be completed as it was debited is not completed otherwise.
#[tokio::test]
async fn what_was_not_taken_of_the_giver_is_not_given() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let own = grant(&ledger, SUBJECT, &metric, None).await;
    let foreign = grant(&ledger, "user:u_3", &metric, None).await;
    let new = gift(&metric, 4);
    begin(&ledger, &new, &no_rules(), noon()).await.unwrap();

    for taken in
        [vec![], vec![(own, 3)], vec![(own, 3), (foreign, 1)], vec![(own, u64::MAX), (own, 5)]]
    {
        let answer = ledger.complete_transfer(new.id, &taken, noon()).await;
        assert!(matches!(answer, Err(LedgerError::BadData(_))), "{answer:?}");
    }
    let to_itself = NewTransfer { to: SUBJECT, ..gift(&metric, 4) };
    let answer = ledger.begin_transfer(&to_itself, &no_rules(), noon()).await;
    assert!(matches!(answer, Err(LedgerError::BadData(_))), "{answer:?}");

    assert_eq!(ledger.grants_of(RECEIVER).await.unwrap(), []);
    let done = complete(&ledger, new.id, &[(own, 1), (own, 3), (foreign, 0)]).await;
    assert_eq!(done.grants.iter().map(|row| row.grant.amount.get()).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn pending_transfers_are_found_the_oldest_first() {
    let (database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let mut ids = Vec::new();
    for minutes_old in [20, 40, 30, -10, 0] {
        let new = gift(&metric, 4);
        ids.push(begin(&ledger, &new, &no_rules(), noon()).await.unwrap().id);
        let age =
            format!("UPDATE transfers SET begun_at = begun_at - interval '{minutes_old} min'");
        database.run(&format!("{age} WHERE id = '{}'", new.id)).await;
    }
    ledger.refuse_transfer(ids[1], IN_FORCE, noon()).await.unwrap();
    let pending = async |minutes, limit| {
        let rows = ledger.pending_transfers(Duration::from_mins(minutes), limit).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<Uuid>>()
    };

    assert_eq!(pending(15, 10).await, [ids[2], ids[0]]);
    assert_eq!(pending(15, 1).await, [ids[2]]);
    assert_eq!(
        pending(5, 10).await,
        [ids[2], ids[0], ids[3]],
        "the clock was ahead of what it is now"
    );
}

/// Guards the checker of transfers: one side without the other is found.
#[tokio::test]
async fn a_transfer_of_one_side_is_found() {
    let (database, ledger) = fixture::ledger().await;
    let metric = Metric::new("messages").unwrap();
    let id = grant(&ledger, SUBJECT, &metric, None).await;
    let gifts: Vec<_> = (0..4).map(|_| gift(&metric, 2)).collect();
    for new in &gifts {
        begin(&ledger, new, &no_rules(), noon()).await.unwrap();
    }
    complete(&ledger, gifts[0].id, &[(id, 2)]).await;
    let debits = vec![debit(1, gifts[1].id, &[(id, 2)]), debit(2, gifts[2].id, &[(id, 2)])];
    flush(&ledger, &batch(0, debits)).await.unwrap();
    let orphan = format!("UPDATE grants SET transfer_id = '{}' WHERE id = {id}", gifts[3].id);
    database.run(&orphan).await;
    let refused = format!(
        "UPDATE transfers SET state = 'refused', ended_at = now() WHERE id = '{}'",
        gifts[1].id
    );
    database.run(&refused).await;

    let mut found = ledger.transfers_differ(10).await.unwrap();

    found.sort_by(|a, b| a.kept.cmp(&b.kept));
    let found: Vec<_> = found.iter().map(|it| (it.kept.as_deref(), it.logged.as_deref())).collect();
    assert_eq!(
        found,
        [
            (Some("done 2"), Some("debited 0, received 2")),
            (Some("pending 2"), Some("debited 0, received 10")),
            (Some("refused 2"), Some("debited 2, received 0")),
        ]
    );
}

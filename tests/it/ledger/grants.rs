//! Grants: rows of their own, beside the profile and in the log.

use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Grant;
use headroom::domain::GrantSource;
use headroom::domain::Metric;
use headroom::domain::Period;
use headroom::domain::Profile;
use headroom::domain::Units;
use headroom::domain::Window;
use headroom::ledger::Act;
use headroom::ledger::Action;
use headroom::ledger::AuditFilter;
use headroom::ledger::DeleteOutcome;
use headroom::ledger::Expected;
use headroom::ledger::GrantChange;
use headroom::ledger::GrantOutcome;
use headroom::ledger::GrantRow;
use headroom::ledger::GrantUsed;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::NewGrant;
use headroom::ledger::OtherMonths;
use headroom::ledger::PutOutcome;

use super::fixture;
use super::fixture::DAY;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::id_at;
use super::fixture::used;
use super::lives::SUBJECT;
use super::lives::assert_agrees;
use super::lives::base;
use super::lives::event;
use super::lives::of_grant;
use crate::support::poll::eventually;

/// When the grants are made: noon of the tests' day.
fn noon() -> DateTime<Utc> {
    DAY.start_at() + TimeDelta::hours(12)
}

fn messages() -> Metric {
    Metric::new("messages").unwrap()
}

/// Ten messages from support, that end so many days after noon.
fn ten(metric: &Metric, days: Option<i64>) -> NewGrant<'_> {
    NewGrant {
        event_id: id_at(noon().timestamp_millis()),
        other_months: OtherMonths::default(),
        metric,
        amount: Units::new(10).unwrap(),
        period: None,
        expires_s: days.map(|days| noon().timestamp() + days * 86_400),
        source: GrantSource::Admin,
        note: Some("sorry"),
    }
}

async fn create(ledger: &Ledger, new: &NewGrant<'_>, at: DateTime<Utc>) -> GrantOutcome {
    let act = fixture::act(Action::GrantCreate, SUBJECT);
    ledger.create_grant(SUBJECT, new, at, &act).await.unwrap()
}

async fn created(ledger: &Ledger, new: &NewGrant<'_>) -> GrantChange {
    match create(ledger, new, noon()).await {
        GrantOutcome::Created(change) => *change,
        GrantOutcome::TooManyGrants => panic!("too many grants"),
    }
}

/// The ids of the grants that nodes hear of.
fn listed(for_nodes: &str) -> Vec<u64> {
    let profile = Profile::parse_stored(for_nodes).unwrap();
    profile.grants.iter().map(|grant| grant.id).collect()
}

/// Uses units of a grant, and answers the event.
fn uses(seq: u64, grant: u64, units: i64) -> Event {
    event(seq, EventKind::Consume, vec![of_grant(grant, units)])
}

#[tokio::test]
async fn a_grant_stands_in_its_table_beside_the_profile_in_the_log_and_in_the_audit_log() {
    let (database, ledger) = fixture::ledger().await;
    let metric = messages();
    let new = ten(&metric, Some(30));

    let change = created(&ledger, &new).await;

    let grant = Grant {
        id: change.grant.grant.id,
        metric: metric.clone(),
        amount: new.amount,
        expires_s: new.expires_s,
        period: None,
    };
    let wanted = GrantRow {
        grant: grant.clone(),
        subject: SUBJECT.to_owned(),
        used: 0,
        source: GrantSource::Admin,
        note: Some("sorry".to_owned()),
        created_at: noon(),
        created_by: "k_1".to_owned(),
        revoked_at: None,
        transfer_id: None,
    };
    assert_eq!((&change.grant, change.version), (&wanted, 1));
    assert_eq!(ledger.grants_of(SUBJECT).await.unwrap(), [wanted]);
    assert_eq!(Profile::parse_stored(&change.for_nodes).unwrap().grants, [grant]);
    let logged = format!(
        "SELECT count(*) FROM message_logs WHERE event_id = '{}' AND kind = 'grant' AND amount = 10
         AND subject = '{SUBJECT}' AND (epoch, seq, deltas, charges) = (0, 0, '[]', '{{}}')
         AND until = occurred_at + interval '30 days' AND metadata ->> 'source' = 'admin'",
        new.event_id
    );
    assert_eq!(database.number(&logged).await, 1);
    let acts = ledger.audit_page(AuditFilter::default(), 10).await.unwrap();
    assert_eq!((acts.len(), &*acts[0].action, &*acts[0].target), (1, "grant.create", SUBJECT));
    assert!(acts[0].after.as_ref().unwrap().contains("sorry"));
    assert_eq!(
        (ledger.event(new.event_id).await.unwrap(), ledger.totals().await.unwrap().events),
        (None, 1)
    );
    assert_agrees(&ledger).await;
}

/// A node must never hear of a profile without its grants, nor an admin of a profile that nobody put.
#[tokio::test]
async fn putting_and_deleting_a_profile_keeps_the_grants() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let id = created(&ledger, &ten(&metric, None)).await.grant.grant.id;
    let row = ledger.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!((&*row.profile, row.is_deleted, listed(&row.for_nodes)), ("{}", true, vec![id]));
    let act = |action| fixture::act(action, SUBJECT);

    let pro = r#"{"plan": "pro"}"#;
    let put = act(Action::SubjectPut);
    let put = ledger.put_subject(SUBJECT, Expected::Version(0), pro, &put).await.unwrap();

    let PutOutcome::Put { version: 2, for_nodes, .. } = put else { panic!("{put:?}") };
    assert_eq!(listed(&for_nodes), [id]);
    let row = ledger.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!((&*row.profile, &row.for_nodes, row.is_deleted), (pro, &for_nodes, false));
    let second = created(&ledger, &ten(&metric, Some(1))).await;
    assert_eq!(listed(&second.for_nodes), [second.grant.grant.id, id], "the earliest end first");
    assert!(second.for_nodes.contains("pro"), "{}", second.for_nodes);

    let delete = act(Action::SubjectDelete);
    let deleted = ledger.delete_subject(SUBJECT, Expected::Version(3), &delete).await.unwrap();

    let DeleteOutcome::Deleted { version: 4, for_nodes } = deleted else { panic!("{deleted:?}") };
    assert_eq!(listed(&for_nodes), [second.grant.grant.id, id]);
    let changed = ledger.subjects_changed_after(3, 10).await.unwrap();
    assert_eq!(changed.iter().map(|row| &row.for_nodes).collect::<Vec<_>>(), [&for_nodes]);
    let profiles = base(&ledger).await.profiles;
    assert_eq!(profiles.iter().map(|it| &it.profile).collect::<Vec<_>>(), [&for_nodes]);
}

#[tokio::test]
async fn a_revoked_grant_is_taken_back_once() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let [kept, gone] =
        [created(&ledger, &ten(&metric, None)).await, created(&ledger, &ten(&metric, None)).await];
    let (kept, gone) = (kept.grant.grant.id, gone.grant.grant.id);
    let act = fixture::act(Action::GrantRevoke, SUBJECT);
    let revoke = async |path: &str, id| ledger.revoke_grant(path, id, noon(), &act).await.unwrap();

    assert_eq!(revoke("user:other", gone).await, None);
    let change = revoke(SUBJECT, gone).await.unwrap();
    assert_eq!(revoke(SUBJECT, gone).await, None);
    assert_eq!(revoke(SUBJECT, 99).await, None);

    assert_eq!((change.version, change.grant.revoked_at), (3, Some(noon())));
    assert_eq!(listed(&change.for_nodes), [kept]);
    let acts = ledger.audit_page(AuditFilter::default(), 10).await.unwrap();
    let actions: Vec<&str> = acts.iter().map(|act| &*act.action).collect();
    assert_eq!(actions, ["grant.revoke", "grant.create", "grant.create"]);
    let row = ledger.grants_of(SUBJECT).await.unwrap();
    assert_eq!(
        row.iter().map(|row| row.grant.id).collect::<Vec<_>>(),
        [gone, kept],
        "newest first"
    );
}

/// Guards promise 2: what is used of a grant is the sum of the log, and what a load starts from.
#[tokio::test]
async fn a_flush_adds_what_is_used_of_grants_once() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let [a, b, unused] = [Some(30), None, None].map(|days| ten(&metric, days));
    let (a, b) = (created(&ledger, &a).await.grant.grant, created(&ledger, &b).await.grant.grant);
    created(&ledger, &unused).await;
    let first = uses(1, b.id, 3);
    let given_back = event(3, EventKind::Refund, vec![of_grant(b.id, -1)]);
    let events = vec![first.clone(), uses(2, a.id, 4), given_back];
    flush(&ledger, &batch(0, events)).await.unwrap();
    let again = vec![Event { seq: 4, ..first }, uses(5, b.id, 2)];
    flush(&ledger, &batch(3, again)).await.unwrap();

    let grants = base(&ledger).await.grants;

    let of = |grant: &Grant, used| GrantUsed {
        subject: SUBJECT.to_owned(),
        metric: "messages".to_owned(),
        id: grant.id,
        end_s: grant.end_s(),
        used,
    };
    assert_eq!(grants, [of(&a, 4), of(&b, 4)]);
    assert_eq!(grants[1].end_s, Window::LIFETIME.end_s);
    assert_eq!(used(&ledger, SUBJECT, "messages").await, None, "no limit counts it");
    let rows = ledger.grants_of(SUBJECT).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.used).collect::<Vec<_>>(), [0, 4, 4]);
    assert_agrees(&ledger).await;

    let later = DateTime::from_timestamp(a.end_s(), 0).unwrap();
    let open = ledger.base(1, &[SUBJECT], later).await.unwrap().grants;
    assert_eq!(open, [of(&b, 4)]);
}

/// Flushers of different shards, and admins, touch grants at the same time.
#[tokio::test]
async fn flushers_and_admins_do_not_wait_for_each_other_for_ever() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let ids =
        [created(&ledger, &ten(&metric, None)).await, created(&ledger, &ten(&metric, None)).await];
    let ids = ids.map(|change| change.grant.grant.id);
    let events = |from: u64| {
        (1..=40).map(|seq| uses(from + seq, ids[usize::from(seq % 2 == from % 2)], 1)).collect()
    };
    let a = batch(0, events(0));
    let b = headroom::ledger::Batch { shard: 2, ..batch(0, events(0)) };
    let act = fixture::act(Action::GrantRevoke, SUBJECT);

    let (a, b, revoked) = tokio::join!(
        flush(&ledger, &a),
        flush(&ledger, &b),
        ledger.revoke_grant(SUBJECT, ids[0], noon(), &act)
    );

    assert_eq!(
        (a.unwrap().inserted, b.unwrap().inserted, revoked.unwrap().is_some()),
        (40, 40, true)
    );
    let rows = ledger.grants_of(SUBJECT).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.used).sum::<i64>(), 80);
    assert_agrees(&ledger).await;
}

/// Units of a grant that a refund gives back, two days after noon.
fn gives_back(seq: u64, grant: u64, units: i64) -> Event {
    let occurred_at_ms = (noon() + TimeDelta::days(2)).timestamp_millis();
    Event { occurred_at_ms, ..event(seq, EventKind::Refund, vec![of_grant(grant, -units)]) }
}

/// Guards refunds: what nodes go by was made without a grant that was used up, and has it again once it is given back to. One that has
/// ended or was revoked stays away, and nothing is made anew for one that was not used up.
#[tokio::test]
async fn a_used_up_grant_that_is_given_back_to_is_listed_again() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let mut ids = Vec::new();
    for days in [None, Some(1), None] {
        ids.push(created(&ledger, &ten(&metric, days)).await.grant.grant.id);
    }
    let (kept, ended, revoked) = (ids[0], ids[1], ids[2]);
    let used_up = (1..).zip(&ids).map(|(seq, id)| uses(seq, *id, 10)).collect();
    flush(&ledger, &batch(0, used_up)).await.unwrap();
    let act = fixture::act(Action::GrantRevoke, SUBJECT);
    ledger.revoke_grant(SUBJECT, revoked, noon(), &act).await.unwrap();
    let other = created(&ledger, &ten(&metric, None)).await;
    assert_eq!(listed(&other.for_nodes), [other.grant.grant.id]);

    let in_vain = vec![gives_back(4, ended, 10), gives_back(5, revoked, 10)];
    let in_vain = flush(&ledger, &batch(3, in_vain)).await.unwrap();
    let given = flush(&ledger, &batch(5, vec![gives_back(6, kept, 4)])).await.unwrap();
    let more = flush(&ledger, &batch(6, vec![gives_back(7, kept, 1)])).await.unwrap();

    assert_eq!((in_vain.profiles, more.profiles), (vec![], vec![]));
    let in_force = ledger.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!(listed(&in_force.for_nodes), [kept, other.grant.grant.id]);
    let told = &given.profiles[0];
    assert_eq!((&*told.subject, told.version, given.profiles.len()), (SUBJECT, 6, 1));
    assert_eq!((&told.profile, told.version), (&in_force.for_nodes, in_force.version));
    assert_agrees(&ledger).await;
}

/// Guards against a flush and an admin that wait for each other: while a flush waits to make a list, it keeps nobody from a grant.
#[tokio::test]
async fn a_flush_that_lists_a_grant_again_waits_before_it_has_the_grant() {
    let (database, ledger) = fixture::ledger().await;
    let metric = messages();
    let id = created(&ledger, &ten(&metric, None)).await.grant.grant.id;
    flush(&ledger, &batch(0, vec![uses(1, id, 10)])).await.unwrap();
    let refund = batch(1, vec![gives_back(2, id, 10)]);
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database() AND application_name = 'headroom'";
    let is_waiting = || async { database.number(waiting).await == 1 };

    let flushed = database.with(async |client| {
        let lock = "BEGIN; SELECT profile_version FROM profile_versions FOR UPDATE";
        client.batch_execute(lock).await.unwrap();
        let revoke = async {
            eventually("a flush that waits", Duration::from_secs(10), is_waiting).await;
            let revoke = "UPDATE grants SET revoked_at = now(); COMMIT";
            client.batch_execute(revoke).await.unwrap();
        };
        tokio::join!(flush(&ledger, &refund), revoke).0
    });
    let flushed = flushed.await.unwrap();

    assert_eq!(listed(&flushed.profiles[0].profile), [] as [u64; 0], "it was revoked meanwhile");
    assert_agrees(&ledger).await;
}

/// A request that is tried again must not give twice.
#[tokio::test]
async fn a_grant_that_is_asked_for_again_is_made_once() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let new = ten(&metric, None);

    let (a, b) = tokio::join!(created(&ledger, &new), created(&ledger, &new));

    assert_eq!(a, b);
    assert_eq!(ledger.grants_of(SUBJECT).await.unwrap().len(), 1);
    assert_eq!(ledger.profile_version().await.unwrap(), 1);
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap().len(), 1);
}

/// Guards promise 7: what ended, is used up or revoked makes room, and only that.
#[tokio::test]
async fn open_grants_are_bounded_and_ended_ones_make_room() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let mut ids = Vec::new();
    for number in 0..Grant::OPEN_MAX {
        let days = (number == 0).then_some(1);
        let raise = (number == 1).then_some(Period::Day);
        let new = NewGrant { period: raise, ..ten(&metric, days) };
        ids.push(created(&ledger, &new).await.grant.grant.id);
    }
    let one_more = ten(&metric, None);
    assert_eq!(create(&ledger, &one_more, noon()).await, GrantOutcome::TooManyGrants);
    assert_eq!(ledger.grants_of(SUBJECT).await.unwrap().len(), Grant::OPEN_MAX);

    let tomorrow = noon() + TimeDelta::days(1);
    let GrantOutcome::Created(change) = create(&ledger, &one_more, tomorrow).await else {
        panic!("the first one has ended")
    };
    assert_eq!(listed(&change.for_nodes).len(), Grant::OPEN_MAX);
    assert!(!listed(&change.for_nodes).contains(&ids[0]));

    flush(&ledger, &batch(0, vec![uses(1, ids[1], 10), uses(2, ids[2], 10)])).await.unwrap();
    let GrantOutcome::Created(change) = create(&ledger, &ten(&metric, None), tomorrow).await else {
        panic!("one is used up")
    };
    let listed = listed(&change.for_nodes);
    assert!(listed.contains(&ids[1]) && !listed.contains(&ids[2]), "a raised limit is not used up");
    let full = create(&ledger, &ten(&metric, None), tomorrow).await;
    assert_eq!(full, GrantOutcome::TooManyGrants);
}

/// What cannot be audited or logged is not done: all of it is one transaction.
#[tokio::test]
async fn a_grant_that_cannot_be_kept_whole_is_not_made() {
    let (_database, ledger) = fixture::ledger().await;
    let metric = messages();
    let taken = uses(1, 7, 1);
    let of_another_event = NewGrant { event_id: taken.event_id, ..ten(&metric, None) };
    flush(&ledger, &batch(0, vec![taken])).await.unwrap();
    let (long, act) = ("x".repeat(501), fixture::act(Action::GrantCreate, SUBJECT));
    let wordy = Act { reason: Some(&long), ..act };
    let noted = NewGrant { note: Some(&long), ..ten(&metric, None) };
    let nothing = NewGrant { amount: Units::ZERO, ..ten(&metric, None) };

    for (path, new, act) in [
        (SUBJECT, of_another_event, act),
        (SUBJECT, ten(&metric, None), wordy),
        (SUBJECT, noted, act),
        (SUBJECT, nothing, act),
        ("no path", ten(&metric, None), act),
    ] {
        let answer = ledger.create_grant(path, &new, noon(), &act).await;
        assert!(matches!(answer, Err(LedgerError::BadData(_))), "{answer:?}");
    }
    assert_eq!(ledger.grants_of(SUBJECT).await.unwrap(), []);
    assert_eq!(ledger.profile_version().await.unwrap(), 0);
    assert_eq!(ledger.totals().await.unwrap().events, 1);
}

/// Guards the checker of grants: what is used and in no event, and an event of no grant, are both found.
#[tokio::test]
async fn a_tampered_grant_is_found() {
    let (database, ledger) = fixture::ledger().await;
    let metric = messages();
    let id = created(&ledger, &ten(&metric, None)).await.grant.grant.id;
    flush(&ledger, &batch(0, vec![uses(1, id, 2), uses(2, 999, 1)])).await.unwrap();
    database.run("UPDATE grants SET used = used + 1").await;

    let found = ledger.grants_differ(10).await.unwrap();

    let found: Vec<_> =
        found.iter().map(|it| (&*it.id, it.kept.as_deref(), it.logged.as_deref())).collect();
    let id = id.to_string();
    assert_eq!(found, [(&*id, Some("3"), Some("2")), ("999", None, Some("1"))]);
}

use headroom::domain::Period;
use headroom::domain::Window;
use headroom::ledger::Action;
use headroom::ledger::BASE;
use headroom::ledger::Base;
use headroom::ledger::Expected;
use headroom::ledger::Ledger;
use headroom::ledger::LevelProfile;

use super::fixture;
use super::fixture::DAY;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::message;

const LEVELS: [&str; 2] = ["org:acme", "org:acme/user:u_1"];

async fn base(ledger: &Ledger) -> Base {
    ledger.base(1, &LEVELS, DAY.start_at()).await.unwrap()
}

async fn put(ledger: &Ledger, path: &str, profile: &str) {
    let act = fixture::act(Action::SubjectPut, path);
    ledger.put_subject(path, Expected::Any, profile, &act).await.unwrap();
}

#[tokio::test]
async fn a_base_has_the_profiles_of_its_levels_and_the_last_version_of_all() {
    let (_database, ledger) = fixture::ledger().await;
    let nothing = base(&ledger).await;
    assert_eq!((nothing.profile_version, nothing.profiles, nothing.counters), (0, vec![], vec![]));
    let [org, user] = LEVELS;
    put(&ledger, user, r#"{"plan": "pro"}"#).await;
    put(&ledger, org, "{}").await;
    put(&ledger, "org:other", r#"{"plan": "free"}"#).await;
    let act = fixture::act(Action::SubjectDelete, org);
    ledger.delete_subject(org, Expected::Any, &act).await.unwrap();
    flush(&ledger, &batch(0, vec![message(1, user)])).await.unwrap();

    let base = base(&ledger).await;

    assert_eq!((base.epoch, base.seq, base.profile_version), (1, 1, 4));
    let profile = |subject: &str, version, profile: &str| LevelProfile {
        subject: subject.to_owned(),
        version,
        profile: profile.to_owned(),
    };
    assert_eq!(base.profiles, [profile(org, 4, "{}"), profile(user, 1, r#"{"plan": "pro"}"#)]);
    let counters: Vec<_> = base.counters.iter().map(|it| (&*it.subject, it.used)).collect();
    assert_eq!(counters, [(org, 1)]);
}

/// Guards promise 1 at loading: limits and counters that never were in force together must not meet in Redis.
#[tokio::test]
async fn a_base_is_of_one_instant() {
    let (database, ledger) = fixture::ledger().await;
    put(&ledger, "org:acme", r#"{"n": 1}"#).await;
    flush(&ledger, &batch(0, vec![message(1, "org:acme")])).await.unwrap();
    let write = async {
        for number in 2..=100 {
            let change = format!(
                "BEGIN;
                 UPDATE profile_versions SET profile_version = {number};
                 UPDATE subjects SET version = {number}, profile = '{{\"n\": {number}}}';
                 UPDATE usage_counters SET used = {number};
                 UPDATE outbox_cursors SET seq = {number} WHERE shard = 1;
                 COMMIT"
            );
            database.run(&change).await;
        }
    };
    let read = async {
        let mut last = 0;
        while last < 100 {
            let base = base(&ledger).await;
            let seen = (base.profile_version, base.profiles[0].version, base.counters[0].used);
            assert_eq!(seen, (base.seq, base.seq, i64::try_from(base.seq).unwrap()));
            assert_eq!(base.profiles[0].profile, format!(r#"{{"n": {}}}"#, base.seq));
            last = base.seq;
        }
    };

    tokio::join!(write, read);
}

/// A load waits on a user's first request: it must not read through the subjects of everybody or through closed windows.
#[tokio::test]
async fn a_base_is_read_by_indexes() {
    let (database, _ledger) = fixture::ledger_in_english().await;
    database
        .run(
            "INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
             SELECT 'org:acme/user:u_' || mod(number, 1000), 'messages', 'day',
                 '2026-11-22Z'::timestamptz - (number / 1000) * interval '1 day',
                 '2026-11-23Z'::timestamptz - (number / 1000) * interval '1 day', 1
             FROM generate_series(0, 19999) AS number;
             INSERT INTO subjects (subject, version, profile)
             SELECT 'org:acme/user:u_' || number, number, '{}' FROM generate_series(1, 5000) AS number;
             INSERT INTO reservation_holds
             SELECT 'org:acme/user:u_' || number, gen_random_uuid(), 0, 'messages', 'day',
                 '2026-11-22Z', '2026-11-23Z', NULL, '2026-11-22 01:00Z', 1
             FROM generate_series(1, 5000) AS number;
             INSERT INTO grants (event_id, subject, metric, amount, source, created_at, created_by)
             SELECT gen_random_uuid(), 'org:acme/user:u_' || number, 'messages', 1, 'admin', now(), 'cli'
             FROM generate_series(1, 5000) AS number",
        )
        .await;

    let never_s = Window::LIFETIME.end_s;
    let plan = database.plan(BASE, &[&1_i64, &LEVELS.as_slice(), &DAY.start_at(), &never_s]).await;

    for table in ["usage_counters", "subjects", "reservation_holds", "grants"] {
        assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
    }
    assert!(
        plan.contains("on usage_counters_level_window_end_idx")
            || plan.contains("using usage_counters_level_window_end_idx"),
        "{plan}"
    );
    for index in ["subjects_pkey", "reservation_holds_pkey", "grants_subject_id_idx"] {
        assert!(plan.contains(index), "{plan}");
    }
}

/// The window of a lifetime ends in the year 9999, which is after every load.
#[tokio::test]
async fn a_base_leaves_out_windows_that_have_ended() {
    let (database, ledger) = fixture::ledger().await;
    let insert = |period: Period, window: Window| {
        format!(
            "INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
             VALUES ('org:acme', 'messages', '{}', to_timestamp({}), to_timestamp({}), 1)",
            period.as_str(),
            window.start_s,
            window.end_s
        )
    };
    let before = Window { start_s: DAY.start_s - 86_400, end_s: DAY.start_s };
    for (period, window) in
        [(Period::Day, before), (Period::Day, DAY), (Period::Lifetime, Window::LIFETIME)]
    {
        database.run(&insert(period, window)).await;
    }

    let base = base(&ledger).await;

    let found: Vec<_> = base.counters.iter().map(|it| (&*it.period, it.window_start_s)).collect();
    assert_eq!(found, [("day", DAY.start_s), ("lifetime", 0)]);
}

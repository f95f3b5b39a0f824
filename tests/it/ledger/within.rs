use headroom::ledger::Action;
use headroom::ledger::Expected;
use headroom::ledger::Ledger;
use headroom::ledger::SUBJECTS_WITHIN;

use super::fixture;
use super::fixture::Database;

/// Counters of several windows for each of the paths.
async fn count(database: &Database, paths: &[&str]) {
    for path in paths {
        let sql = format!(
            "INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
             SELECT '{path}', 'messages', 'day', day, day + interval '1 day', 1
             FROM generate_series('2026-11-20Z'::timestamptz, '2026-11-22Z', '1 day') AS day"
        );
        database.run(&sql).await;
    }
}

async fn configure(ledger: &Ledger, path: &str) {
    let act = fixture::act(Action::SubjectPut, path);
    ledger.put_subject(path, Expected::Any, "{}", &act).await.unwrap();
}

/// A reset of `org:acme/**` must reach all of acme and nothing of its neighbours.
#[tokio::test]
async fn the_subjects_within_one_are_itself_and_what_lies_below_it_each_once() {
    let (database, ledger) = fixture::ledger_in_english().await;
    let inside = ["org:acme", "org:acme/Z:1", "org:acme/user:u_1", "org:acme/user:u_1/chat:c"];
    let outside =
        ["org:acm", "org:acme-2/user:x", "org:acme.b", "org:acme0", "org:acmeX", "zone:z"];
    count(&database, &inside).await;
    count(&database, &outside).await;
    for path in ["org:acme", "org:acme/user:u_1", "org:acme/user:u_2", "org:acme-2", "org:b"] {
        configure(&ledger, path).await;
    }

    let within = async |prefix| ledger.subjects_within(prefix, None, 100).await.unwrap();

    let [root, z, u_1, chat] = inside;
    assert_eq!(within("org:acme").await, [root, z, u_1, chat, "org:acme/user:u_2"]);
    assert_eq!(within("org:acme/user:u_1").await, [u_1, chat]);
    assert_eq!(within("org:acme/user:u_2").await, ["org:acme/user:u_2"]);
    assert_eq!(within("org:a").await, Vec::<String>::new());
}

/// What lies within `org:a`, by pages of `size`.
async fn paged(ledger: &Ledger, size: u32) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let after = found.last().map(String::as_str);
        let page = ledger.subjects_within("org:a", after, size).await.unwrap();
        assert!(page.len() <= size as usize);
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

#[tokio::test]
async fn pages_of_any_size_hold_the_same_subjects() {
    let (database, ledger) = fixture::ledger_in_english().await;
    count(&database, &["org:a", "org:a/user:1", "org:a/user:3", "org:a/user:5"]).await;
    for path in ["org:a/user:2", "org:a/user:3", "org:a/user:4"] {
        configure(&ledger, path).await;
    }
    let all = ledger.subjects_within("org:a", None, 1_000_000).await.unwrap();
    assert_eq!(all.len(), 6);

    for size in 1..=7 {
        assert_eq!(paged(&ledger, size).await, all, "pages of {size}");
    }
    assert_eq!(ledger.subjects_within("org:a", None, 0).await.unwrap(), Vec::<String>::new());
}

/// Guards the cost: it follows the number of subjects, not that of their counters. 100 subjects have 50,000 of them.
#[tokio::test]
async fn looking_for_subjects_reads_no_table_of_counters_whole() {
    let (database, ledger) = fixture::ledger_in_english().await;
    database
        .run(
            "INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
             SELECT 'org:o_' || mod(number, 10) || '/user:u_' || mod(number, 100), 'messages', 'day',
                 '2020-01-01Z'::timestamptz + number * interval '1 day',
                 '2020-01-02Z'::timestamptz + number * interval '1 day', 1
             FROM generate_series(1, 50000) AS number",
        )
        .await;

    let plan = database.plan(SUBJECTS_WITHIN, &[&"org:o_7", &None::<&str>, &1_000_i64]).await;

    assert!(!plan.contains("Seq Scan on usage_counters"), "{plan}");
    // One look for each of the ten subjects and one that finds the end; each reads one row.
    let looks = "using usage_counters_level_window_end_idx on usage_counters counter";
    let steps = plan.lines().filter(|line| line.contains(looks) && line.contains("loops=11"));
    assert!(steps.count() == 1 && plan.contains("rows=1 loops=11"), "{plan}");
    assert_eq!(ledger.subjects_within("org:o_7", None, 1_000).await.unwrap().len(), 10);
}

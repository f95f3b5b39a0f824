//! Profiles that are as large as may be, and profiles after Postgres was restored to an earlier point.

use std::collections::BTreeMap;
use std::time::Duration;

use headroom::domain::Profile;
use headroom::quota::Expected;

use super::LARGE;
use super::SMALL;
use super::SUBJECT;
use super::max;
use super::put_plan;
use super::start;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::poll;

const WITHIN: Duration = Duration::from_secs(30);

/// A catalogue with so many features that a profile which switches all of them is nearly as long as may be.
fn many_features() -> (String, BTreeMap<String, bool>) {
    let names: Vec<String> = (0..420).map(|number| format!("feature_{number:03}")).collect();
    let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let catalogue = format!(
        "metrics = ['messages']\nfeatures = [{}]\ndefault_plan = 'only'\n\
         [plans.only]\nlimits = [{{ metric = 'messages', period = 'month', max = {SMALL} }}]\n",
        list.join(",")
    );
    (catalogue, names.into_iter().map(|name| (name, true)).collect())
}

/// Guards the bound of a profile: what is accepted can be read by every node, whatever Postgres makes of its spaces.
#[tokio::test]
async fn the_longest_profile_is_in_force_on_every_node() {
    let (catalogue, features) = many_features();
    let options = Options { nodes: 2, catalogue: Some(catalogue), ..Options::default() }.patient();
    let app = TestApp::start_with(options).await;
    let profile = Profile { features, ..Profile::NOTHING };
    assert!((7_900..=Profile::BYTES_MAX).contains(&profile.to_json().len()));
    let (subject, actor) = (orders::subject(SUBJECT), orders::actor());

    let put = app.quota().put_subject(&subject, profile.clone(), Expected::Any, &actor);
    let version = put.await.unwrap().version;

    assert_eq!(app.quota_of(1).subject(&subject).await.unwrap().profile, profile);
    let usage = app.quota_of(1).usage(&subject).await.unwrap();
    assert!(usage.features.values().all(|has| *has));
    assert_eq!(app.quota_of(1).follow_profiles(0).await.unwrap(), version);
    app.finish().await;
}

/// Guards promise 1 and the version of profiles: a ledger that was restored gives out no version again, and what it holds
/// is in force; subjects that are not loaded are served.
#[tokio::test]
async fn after_postgres_was_restored_old_profiles_and_new_ones_are_in_force() {
    let app = start(2).await;
    put_plan(app.quota(), "small").await.unwrap();
    let postgres = app.postgres().await;
    let restore = "CREATE TABLE kept AS SELECT * FROM subjects";
    postgres.batch_execute(restore).await.unwrap();
    for _ in 0..5 {
        put_plan(app.quota(), "large").await.unwrap();
    }
    assert_eq!(max(app.quota_of(1)).await.unwrap(), LARGE);

    let restored = "TRUNCATE subjects; UPDATE profile_versions SET profile_version = 1;
        INSERT INTO subjects (subject, version, profile, is_deleted, created_at, updated_at)
        SELECT subject, version, profile, is_deleted, created_at, updated_at FROM kept;
        DROP TABLE kept";
    postgres.batch_execute(restored).await.unwrap();

    for node in [0, 1] {
        let is_restored = || async { max(app.quota_of(node)).await.is_ok_and(|max| max == SMALL) };
        poll::eventually("the restored profile", WITHIN, is_restored).await;
    }
    let newcomer = orders::subject("user:u_2");
    assert_eq!(app.quota_of(1).subject(&newcomer).await.unwrap().version, 0);
    let profile = Profile { plan: Some("large".to_owned()), ..Profile::NOTHING };
    app.quota().put_subject(&newcomer, profile, Expected::Any, &orders::actor()).await.unwrap();
    assert!(orders::consume(app.quota_of(1), "user:u_2").await.unwrap().allowed);
    put_plan(app.quota(), "large").await.unwrap();
    assert_eq!(max(app.quota_of(1)).await.unwrap(), LARGE);
    app.finish().await;
}

//! Paths of several levels.

use crate::support::Options;
use crate::support::TestApp;

const MEMBER: &str = "org:acme/user:u_1";

const CATALOGUE: &str = "
metrics = ['messages', 'tokens']
default_plan = 'member'
scope_plans = { org = 'team' }
[plans.member]
limits = [
    { metric = 'messages', period = 'month', max = 10 },
    { metric = 'tokens', period = 'month', max = 1000 },
]
[plans.team]
limits = [
    { metric = 'messages', period = 'month', max = 100 },
    { metric = 'tokens', period = 'month', max = 10000 },
]
[[models]]
names = ['*']
charges = { messages = 1, tokens = 7 }
";

/// Guards I1: what a model charges on several levels and metrics is counted each in its place.
#[tokio::test]
async fn a_model_of_two_metrics_is_counted_on_each_level_by_itself() {
    let options = Options { catalogue: Some(CATALOGUE.to_owned()), ..Options::default() };
    let app = TestApp::start_with(options).await;
    let other = "org:acme/user:u_2";
    for _ in 0..3 {
        assert!(app.caller().consume(other, "any").await.is_allowed());
    }

    let answer = app.caller().consume(MEMBER, "any").await;

    let limits = answer.body["limits"].as_array().unwrap();
    let said = limits.iter().map(|limit| {
        (
            limit["subject"].as_str().unwrap(),
            limit["metric"].as_str().unwrap(),
            limit["used"].as_u64().unwrap(),
        )
    });
    let expected = [
        ("org:acme", "messages", 4),
        ("org:acme", "tokens", 28),
        (MEMBER, "messages", 1),
        (MEMBER, "tokens", 7),
    ];
    assert_eq!(said.collect::<Vec<_>>(), expected);
    app.finish().await;
}

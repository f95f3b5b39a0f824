//! What admins do to webhooks and rules, in the audit log.

use serde_json::Value;
use serde_json::json;

use crate::support::TestApp;

/// Guards that whoever changes who is told of what, or what is looked for, is known afterwards, with what there was before; and
/// that a secret is not in the log.
#[tokio::test]
async fn changes_of_webhooks_and_rules_are_in_the_audit_log() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let order = json!({ "url": "https://a.example/", "types": ["quota-denied"] });
    let made = caller.post("/v1/webhooks", &order).await.body;
    let webhook = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let rule = json!({
        "kind": "spike", "threshold": 3, "window_s": 60, "cooldown_s": 0, "enabled": true
    });

    caller.overwrite(&webhook, &json!({ "url": "https://b.example/" })).await;
    caller.post(&format!("{webhook}/replay"), &json!({})).await;
    caller.delete(&webhook).await;
    caller.overwrite("/v1/alerts/usage_spike", &rule).await;
    caller.delete("/v1/alerts/usage_spike").await;
    caller.delete("/v1/alerts/usage_spike").await;

    let log = caller.get("/v1/audit").await;
    let acts: Vec<&Value> = log.body["acts"].as_array().unwrap().iter().rev().collect();
    let told: Vec<_> = acts
        .iter()
        .map(|act| (act["action"].as_str().unwrap(), act["target"].as_str().unwrap()))
        .collect();
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        told,
        [
            ("webhook.create", id),
            ("webhook.put", id),
            ("webhook.replay", id),
            ("webhook.delete", id),
            ("rule.put", "usage_spike"),
            ("rule.delete", "usage_spike"),
        ]
    );
    assert_eq!(acts[1]["before"]["url"], json!("https://a.example/"));
    assert_eq!(acts[1]["after"]["url"], json!("https://b.example/"));
    assert_eq!(acts[2]["after"]["replayed"], json!(0));
    assert_eq!(acts[4]["before"]["threshold"], json!(5), "the default");
    assert_eq!(acts[5]["before"]["threshold"], json!(3));
    assert!(acts.iter().all(|act| act["actor"] == "bootstrap"));
    let secret = made["secret"].as_str().unwrap().trim_start_matches("whsec_");
    assert!(!log.text.contains(secret));
    app.finish().await;
}

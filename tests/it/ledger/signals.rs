//! What a node does to tell of what happens, with its own rights.

use headroom::domain::AlertKind;
use headroom::domain::AlertRule;
use headroom::domain::Attempt;
use headroom::domain::RuleAction;
use headroom::domain::Webhook;
use headroom::domain::WebhookFormat;
use headroom::domain::WebhookSecret;
use headroom::ledger::Action;
use headroom::ledger::Ledger;
use headroom::ledger::NewDelivery;
use uuid::Uuid;

use super::fixture;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::message;
use super::roles::login;

const RULE: &str = "many_set";

fn rule() -> AlertRule {
    AlertRule {
        name: RULE.to_owned(),
        kind: AlertKind::DenialRate,
        threshold: 1,
        window_s: 60,
        cooldown_s: 0,
        subject: None,
        enabled: true,
        action: Some(RuleAction::Block { for_s: 60 }),
        channels: None,
    }
}

fn webhook() -> Webhook {
    Webhook {
        id: Uuid::now_v7(),
        url: "https://a.example/".to_owned(),
        format: WebhookFormat::Standard,
        kinds: Vec::new(),
        subject: None,
        enabled: true,
        disabled_reason: None,
        since_place: 0,
    }
}

/// Makes a delivery, ends its attempt, sends it again, and takes all away.
async fn deliver(ledger: &Ledger) {
    let (webhook, act) = (webhook(), |action| fixture::act(action, "w_1"));
    let secret = WebhookSecret(vec![7; 32]);
    ledger.insert_webhook(&webhook, &secret, &act(Action::WebhookCreate)).await.unwrap();
    ledger.update_webhook(&webhook, &act(Action::WebhookPut)).await.unwrap();
    let fan = ledger.begin_webhook_fan().await.unwrap().expect("the feed has something");
    let (rows, seen) = fan.read(10).await.unwrap();
    let item = &rows[0].items[0];
    let delivery = NewDelivery {
        webhook_id: webhook.id,
        event_id: item.id,
        kind: item.kind,
        body: "{}".to_owned(),
    };
    fan.finish(&[delivery], seen).await.unwrap();
    let taken = ledger.take_deliveries(1, &[]).await.unwrap();
    ledger.end_attempt(&taken[0], &Attempt::Gone).await.unwrap();
    let replay = act(Action::WebhookReplay);
    assert_eq!(ledger.replay(webhook.id, Some(taken[0].event_id), &replay).await.unwrap(), 1);
    ledger.drop_old_deliveries().await.unwrap();
    assert!(ledger.delete_webhook(webhook.id, &act(Action::WebhookDelete)).await.unwrap());
}

/// Guards that a node tells of what happens, delivers, looks at rules and restrains with the rights of `headroom_app`.
#[tokio::test]
async fn a_node_tells_of_what_happens_with_its_own_rights() {
    let (database, _) = fixture::ledger().await;
    let url = login(&database, "headroom_app").await;
    let ledger = Ledger::connect(&fixture::options(&url)).unwrap();
    flush(&ledger, &batch(0, vec![message(1, "user:u_1")])).await.unwrap();
    assert_eq!(ledger.place_feed().await.unwrap(), 1);
    assert_eq!(ledger.first_feed_place().await.unwrap(), Some(1));

    deliver(&ledger).await;
    let act = fixture::act(Action::RulePut, RULE);
    for default in ledger.alert_rules().await.unwrap() {
        ledger.delete_alert_rule(&default.name, &act).await.unwrap();
    }
    ledger.put_alert_rule(&rule(), &act).await.unwrap();
    let refused = "INSERT INTO denial_minutes VALUES (date_trunc('minute', now()), 'user:u_1', 9)";
    database.run(refused).await;
    let evaluated = ledger.evaluate_rule().await.unwrap().expect("the rule is due").unwrap();
    assert_eq!((evaluated.fired, evaluated.restrained.len()), (1, 1));
    database.run("UPDATE restraints SET ends_at = now()").await;
    let ended = ledger.end_due_restraints().await.unwrap();
    assert_eq!((ended[0].subject.as_str(), ended[0].for_nodes.as_str()), ("user:u_1", "{}"));
    assert!(ended[0].version > evaluated.restrained[0].version);
    let lift = fixture::act(Action::RestraintEnd, "user:u_1");
    assert_eq!(ledger.lift_restraints("user:u_1", &lift).await.unwrap(), None);
    assert_eq!(ledger.alerts(10).await.unwrap().len(), 1);
    ledger.drop_old_feed(0, 0).await.unwrap();
}

/// Guards that a row of the feed can be read for webhooks in parts, each item once and in order.
#[tokio::test]
async fn a_row_of_the_feed_is_read_on_from_the_item_where_the_last_look_ended() {
    let (_database, ledger) = fixture::ledger().await;
    let secret = WebhookSecret(vec![7; 32]);
    let act = fixture::act(Action::WebhookCreate, "w_1");
    ledger.insert_webhook(&webhook(), &secret, &act).await.unwrap();
    let events: Vec<_> = (1..=5).map(|seq| message(seq, "user:u_1")).collect();
    flush(&ledger, &batch(0, events[..3].to_vec())).await.unwrap();
    flush(&ledger, &batch(3, events[3..].to_vec())).await.unwrap();
    assert_eq!(ledger.place_feed().await.unwrap(), 2);

    let mut looks = Vec::new();
    // More than are needed, so that looks that get nowhere end.
    for _ in 0..5 {
        let Some(fan) = ledger.begin_webhook_fan().await.unwrap() else { break };
        let (rows, seen) = fan.read(2).await.unwrap();
        fan.finish(&[], seen).await.unwrap();
        let items = rows.iter().flat_map(|row| row.items.iter().map(|item| item.id));
        looks.push((items.collect::<Vec<_>>(), (seen.place, seen.number)));
    }

    let ids: Vec<_> = events.iter().map(|event| event.event_id).collect();
    let parts = [(&ids[..2], (0, 2)), (&ids[2..4], (1, 1)), (&ids[4..], (2, 0))];
    assert_eq!(looks, parts.map(|(ids, seen)| (ids.to_vec(), seen)));
}

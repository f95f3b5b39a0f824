//! The client.

use std::time::Duration;

use headroom_client::Client;
use headroom_client::Error;
use headroom_client::HoldError;
use headroom_client::OnUnavailable;
use headroom_client::Order;
use headroom_client::Policy;
use serde_json::json;
use tokio::net::TcpListener;

use crate::connected;
use crate::network::Fault;
use crate::service::Service;
use crate::used;

const MINUTE: Duration = Duration::from_mins(1);
const USER: &str = "user:u_1";

fn tokens(amount: u64) -> Order {
    Order::metric("tokens").of(USER).amount(amount)
}

/// Guards the whole way of a decision: charged, told, refused, and what a refusal says.
#[tokio::test]
async fn a_consume_is_charged_until_a_limit_leaves_no_room() {
    let service = Service::start().await;
    let (client, _network) = connected(&service).await;
    let premium = Order::model("claude-sonnet-4").of(USER).metadata(json!({ "chat": "c_1" }));

    let decision = client.consume(&premium).await.unwrap();
    let asked = client.check(&premium.clone().amount(20)).await.unwrap();
    let refused = client.consume(&premium.clone().amount(20)).await.unwrap_err();

    assert!(decision.allowed && decision.event_id.is_some() && decision.plan == "chat");
    assert_eq!(decision.limit("premium_messages-month").unwrap().remaining, Some(19));
    assert!(decision.headers["ratelimit"].to_str().unwrap().contains("r=19"));
    assert!(!asked.allowed, "a refusal is an answer to a check");
    let Error::QuotaExceeded(problem) = refused else { panic!("{refused}") };
    assert_eq!((problem.status.as_u16(), problem.code.as_str()), (429, "limit_exceeded"));
    assert_eq!(problem.violated_policies, ["premium_messages-month"]);
    assert!(problem.headers.contains_key("retry-after"));
    assert_eq!(used(&client, USER, "messages-month").await, (1, 0));
    client.refund(&decision.event_id.unwrap()).await.unwrap();
    assert_eq!(used(&client, USER, "messages-month").await, (0, 0));
    service.stop().await;
}

/// Guards promise 4 over a network that loses replies: each write is sent again under its key, and done once.
#[tokio::test]
async fn writes_whose_replies_are_swallowed_are_done_once() {
    let service = Service::start().await;
    let (client, mut network) = connected(&service).await;
    let lossy = [Fault::Swallow, Fault::Busy, Fault::Pass];

    network.fail(&lossy);
    let decision = client.consume(&tokens(5)).await.unwrap();
    let keys = network.keys("/consume");
    network.fail(&lossy);
    let reservation = client.reserve(&tokens(100), MINUTE).await.unwrap();
    let id = reservation.reservation_id.unwrap();
    network.fail(&lossy);
    let committed = client.commit(&id, 30).await.unwrap();
    network.fail(&lossy);
    client.refund(&decision.event_id.unwrap()).await.unwrap();

    assert!(decision.replayed && reservation.decision.replayed && committed.replayed);
    assert_eq!(keys.len(), 3);
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(committed.returned, 70);
    assert_eq!(used(&client, USER, "tokens-day").await, (30, 0));
    service.stop().await;
}

/// Guards work in progress: it is charged with what it took, extended while it runs, and given back when it fails.
#[tokio::test]
async fn work_holds_units_extends_them_and_is_charged_with_what_it_took() {
    let service = Service::start().await;
    let (client, mut network) = connected(&service).await;

    let done: Result<_, HoldError<()>> = client
        .hold(&tokens(1_000), Duration::from_secs(2), |held| async move {
            network.next(":extend").await;
            held.add(100);
            held.add(20);
            Ok(network)
        })
        .await;
    assert_eq!(used(&client, USER, "tokens-day").await, (120, 0));

    let failed: Result<(), _> =
        client.hold(&tokens(1_000), MINUTE, |_| async { Err("the model is away") }).await;
    assert!(matches!(failed, Err(HoldError::Work("the model is away"))));
    assert_eq!(used(&client, USER, "tokens-day").await, (120, 0));

    let too_much: Result<(), HoldError<()>> =
        client.hold(&tokens(50_000), MINUTE, |_| async { panic!("it ran") }).await;
    assert!(matches!(too_much, Err(HoldError::Quota(Error::QuotaExceeded(_)))));
    drop(done);
    service.stop().await;
}

/// Guards typed refusals: the caller's mistakes keep the service's status and code.
#[tokio::test]
async fn every_refusal_has_its_status_and_code() {
    let service = Service::start().await;
    let (client, network) = connected(&service).await;
    let stranger =
        Client::new(&network.url, "hr_live_x", Policy::new(OnUnavailable::Closed)).unwrap();
    let told = |error: &Error| {
        let problem = error.problem().unwrap();
        (problem.status.as_u16(), problem.code.clone())
    };

    let metric = client.consume(&Order::metric("steps").of(USER)).await.unwrap_err();
    let anyone = client.consume(&Order::model("claude-sonnet-4")).await.unwrap_err();
    let key = stranger.usage(USER).await.unwrap_err();
    let keyed = tokens(1).idempotency_key("k");
    client.consume(&keyed).await.unwrap();
    let mismatch = client.consume(&keyed.amount(2)).await.unwrap_err();

    assert_eq!(told(&metric), (404, "unknown_metric".to_owned()));
    assert_eq!(told(&anyone).0, 403);
    assert_eq!(told(&key), (401, "unauthenticated".to_owned()));
    assert_eq!(told(&mismatch), (422, "idempotency_mismatch".to_owned()));
    service.stop().await;
}

/// Guards the explicit choice: nobody listens, and the request passes or does not.
#[tokio::test]
async fn who_fails_open_lets_pass_and_who_fails_closed_does_not() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let of = |choice| {
        let policy = Policy { retries: 1, ..Policy::new(choice) };
        Client::new(&url, "key", policy).unwrap()
    };
    let (open, closed) = (of(OnUnavailable::Open), of(OnUnavailable::Closed));

    let passed = open.consume(&tokens(1)).await.unwrap();
    let ran: Result<_, HoldError<()>> =
        open.hold(&tokens(1), MINUTE, |held| async move { Ok(held.reservation().clone()) }).await;
    let refused = closed.consume(&tokens(1).idempotency_key("mine")).await.unwrap_err();

    assert!(passed.allowed && passed.degraded && passed.event_id.is_none());
    assert!(ran.unwrap().reservation_id.is_none());
    let Error::Unavailable { idempotency_key, .. } = refused else { panic!("{refused}") };
    assert_eq!(idempotency_key.as_deref(), Some("mine"));
    assert!(open.usage(USER).await.is_err(), "facts are not made up");
}

/// Guards the bounds of a call: silence ends at the deadline, whatever the retries.
#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (timeout, deadline) = (Duration::from_millis(100), Duration::from_millis(250));
    let policy = Policy { timeout, deadline, retries: 10, ..Policy::new(OnUnavailable::Closed) };
    let client = Client::new(&url, "key", policy).unwrap();

    let error = client.consume(&tokens(1)).await.unwrap_err();

    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

/// Guards settings that cannot be used.
#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_once() {
    for (url, key) in [("localhost", "k"), ("mailto:a@b", "k"), ("http://localhost", "a\nb")] {
        let client = Client::new(url, key, Policy::new(OnUnavailable::Closed));
        assert!(matches!(client, Err(Error::Settings(_))), "{url} {key}");
    }
}

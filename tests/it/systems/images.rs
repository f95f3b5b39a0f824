//! Document 004: image generations by the day and the month, with its own routes and JSON.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::json;

use super::consume;
use super::move_to;
use super::put;
use super::start;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;

const USER: &str = "user:123";

/// A node on the 15th of January 2024, on which user 123 has generated 45 images this month, 5 of them today.
async fn as_in_the_example() -> TestApp {
    let app = start("images").await;
    move_to(&app, "2024-01-10T12:00:00Z");
    put(&app, USER, &json!({ "plan": "PREMIUM" })).await;
    for day in ["2024-01-10T12:00:00Z", "2024-01-11T12:00:00Z"] {
        move_to(&app, day);
        assert!(consume(&app, USER, "image_generations", 20).await.is_allowed());
    }
    move_to(&app, "2024-01-15T12:00:00Z");
    for _ in 0..5 {
        assert_eq!(track(&app, "123").await.status, StatusCode::OK);
    }
    app
}

async fn get(app: &TestApp, what: &str, user: &str) -> Answer {
    app.caller().get(&format!("/api/usage-tracking/{what}/{user}")).await
}

async fn post(app: &TestApp, what: &str, user: &str) -> Answer {
    let path = format!("/api/usage-tracking/{what}/{user}");
    answer(app.caller().request(Method::POST, &path)).await
}

async fn track(app: &TestApp, user: &str) -> Answer {
    post(app, "track-generation", user).await
}

/// Guards the document's example to the letter, and the parts of it that the other routes answer.
#[tokio::test]
async fn the_answers_are_the_document_s_example_and_its_parts() {
    let app = as_in_the_example().await;

    let all = get(&app, "comprehensive", "123").await;

    assert_eq!(
        all.text,
        "{\"userId\":123,\"canGenerate\":true,\
         \"dailyUsage\":{\"date\":\"2024-01-15\",\"currentUsage\":5,\"remaining\":15,\"limit\":20,\
         \"isUnlimited\":false,\"hasExceeded\":false},\
         \"monthlyUsage\":{\"year\":2024,\"month\":1,\"currentUsage\":45,\"remaining\":55,\
         \"limit\":100,\"isUnlimited\":false,\"hasExceeded\":false},\
         \"limitStatus\":{\"hasActiveLimits\":true,\"hasExceededDailyLimit\":false,\
         \"hasExceededMonthlyLimit\":false,\"subscriptionTier\":\"PREMIUM\",\
         \"message\":\"Generation allowed\"}}"
    );
    assert_eq!(all.header("cache-control"), "no-store");
    assert_eq!(get(&app, "daily-usage", "123").await.body, all.body["dailyUsage"]);
    assert_eq!(get(&app, "monthly-usage", "123").await.body, all.body["monthlyUsage"]);
    let can_generate = get(&app, "can-generate", "123").await.body;
    assert_eq!(
        can_generate,
        json!({ "userId": 123, "canGenerate": true, "dailyRemaining": 15, "monthlyRemaining": 55, "message": "Generation allowed" })
    );
    let mut limits = all.body["limitStatus"].clone();
    limits["userId"] = json!(123);
    limits["dailyGenerationLimit"] = json!(20);
    limits["monthlyGenerationLimit"] = json!(100);
    assert_eq!(get(&app, "limits", "123").await.body, limits);
    app.finish().await;
}

/// Guards the limits: the 21st image of a day is a 429 like any refused consume, and the next day has room again.
#[tokio::test]
async fn a_spent_day_refuses_and_the_next_has_room() {
    let app = as_in_the_example().await;
    assert!(consume(&app, USER, "image_generations", 14).await.is_allowed());

    let twentieth = track(&app, "123").await;
    let refused = track(&app, "123").await;
    let all = get(&app, "comprehensive", "123").await.body;
    move_to(&app, "2024-01-16T00:00:00Z");
    let tomorrow = track(&app, "123").await.body;

    assert_eq!(twentieth.body["dailyUsage"]["remaining"], 0);
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "limit_exceeded"));
    assert_eq!(refused.body["violated-policies"], json!(["image_generations-day"]));
    assert_eq!(refused.body["instance"], "/api/usage-tracking/track-generation/123");
    assert_ne!(refused.header("retry-after"), "");
    assert_eq!(
        (&all["canGenerate"], &all["dailyUsage"]["hasExceeded"]),
        (&json!(false), &json!(true))
    );
    let status = &all["limitStatus"];
    assert_eq!(status["message"], "Generation limit exceeded");
    assert_eq!(
        [&status["hasExceededDailyLimit"], &status["hasExceededMonthlyLimit"]],
        [&json!(true), &json!(false)]
    );
    assert_eq!(tomorrow["dailyUsage"]["date"], "2024-01-16");
    assert_eq!(tomorrow["dailyUsage"]["currentUsage"], 1);
    assert_eq!(tomorrow["monthlyUsage"]["currentUsage"], 61);
    app.finish().await;
}

/// Guards -1: unlimited in what is configured and in every answer.
#[tokio::test]
async fn minus_one_is_unlimited() {
    let app = start("images").await;
    let unlimited = json!({ "plan": "UNLIMITED" });
    put(&app, "user:studio", &unlimited).await;
    assert!(consume(&app, "user:studio", "image_generations", 5_000).await.is_allowed());

    let all = track(&app, "studio").await.body;

    assert_eq!((&all["userId"], &all["canGenerate"]), (&json!("studio"), &json!(true)));
    for usage in [&all["dailyUsage"], &all["monthlyUsage"]] {
        assert_eq!([&usage["limit"], &usage["remaining"]], [&json!(-1), &json!(-1)]);
        assert_eq!(usage["currentUsage"], 5_001);
        assert_eq!([&usage["isUnlimited"], &usage["hasExceeded"]], [&json!(true), &json!(false)]);
    }
    assert_eq!(all["limitStatus"]["subscriptionTier"], "UNLIMITED");
    assert_eq!(all["limitStatus"]["hasActiveLimits"], false);
    app.finish().await;
}

/// Guards "missing subscriptions default to no access": said by reads, a 403 for a generation, and no reason to fail a
/// reset.
#[tokio::test]
async fn no_subscription_is_no_access() {
    let app = start("images").await;

    let all = get(&app, "comprehensive", "124").await;
    let can_generate = get(&app, "can-generate", "124").await;
    let generation = track(&app, "124").await;
    let reset = post(&app, "reset-daily", "124").await;

    assert_eq!((all.status, &all.body["canGenerate"]), (StatusCode::OK, &json!(false)));
    let status = &all.body["limitStatus"];
    assert_eq!(
        [&status["subscriptionTier"], &status["message"]],
        ["NONE", "No active subscription"]
    );
    let expected = json!({ "userId": 124, "canGenerate": false, "dailyRemaining": 0, "monthlyRemaining": 0, "message": "No active subscription" });
    assert_eq!(can_generate.body, expected);
    assert_eq!((generation.status, generation.code()), (StatusCode::FORBIDDEN, "no_plan"));
    assert_eq!((reset.status, &reset.body["canGenerate"]), (StatusCode::OK, &json!(false)));
    app.finish().await;
}

/// Guards that `canGenerate` never promises what a generation is then refused: with a grace, and for the blocked.
#[tokio::test]
async fn can_generate_and_a_generation_agree() {
    let app = start("images").await;
    let soft = json!({ "metric": "image_generations", "period": "day", "max": 1, "mode": "soft", "grace": 1 });
    put(&app, USER, &json!({ "limits": [soft] })).await;
    put(&app, "user:125", &json!({ "plan": "PREMIUM", "blocked": true })).await;
    let can = async |user: &str| get(&app, "can-generate", user).await.body["canGenerate"].clone();

    for generated in 0..2 {
        assert_eq!(can("123").await, true, "{generated} generated");
        assert_eq!(track(&app, "123").await.status, StatusCode::OK);
    }
    assert_eq!(can("123").await, false);
    assert_eq!(track(&app, "123").await.status, StatusCode::TOO_MANY_REQUESTS);
    let overrides = get(&app, "limits", "123").await.body;
    assert_eq!(overrides["subscriptionTier"], "NONE", "limits of its own are no plan");
    let blocked = get(&app, "can-generate", "125").await.body;
    assert_eq!(
        (&blocked["canGenerate"], &blocked["message"]),
        (&json!(false), &json!("The account is blocked"))
    );
    let refused = track(&app, "125").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "subject_blocked"));
    app.finish().await;
}

/// Guards the resets: an admin's, of the day or of the month, each leaving the other.
#[tokio::test]
async fn an_admin_resets_the_day_or_the_month() {
    let app = as_in_the_example().await;
    let counts = |answer: &Answer| {
        ["dailyUsage", "monthlyUsage"].map(|it| answer.body[it]["currentUsage"].clone())
    };
    let backend = crate::api::keys::key(&app, &["check", "consume", "read"]).await;
    let backend = app.caller().with_key(&backend);

    let path = "/api/usage-tracking/reset-daily/123";
    let refused = answer(backend.request(Method::POST, path)).await;
    let stranger = answer(app.caller().stranger(Method::POST, path)).await;
    let day = post(&app, "reset-daily", "123").await;
    let month = post(&app, "reset-monthly", "123").await;
    let allowed =
        answer(backend.request(Method::POST, "/api/usage-tracking/track-generation/123")).await;

    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "permission_denied"));
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    assert_eq!(counts(&day), [json!(0), json!(45)]);
    assert_eq!(counts(&month), [json!(0), json!(0)]);
    assert_eq!(counts(&allowed), [json!(1), json!(1)]);
    app.finish().await;
}

/// Guards retries: a generation that is sent again under its key is counted once.
#[tokio::test]
async fn a_generation_that_is_sent_again_counts_once() {
    let app = as_in_the_example().await;
    let send = async || {
        let path = "/api/usage-tracking/track-generation/123";
        let request = app.caller().request(Method::POST, path);
        answer(request.header("idempotency-key", "\"image-6\"")).await
    };

    let (first, again) = (send().await, send().await);

    assert_eq!([first.is_replayed(), again.is_replayed()], [false, true]);
    assert_eq!(again.body["dailyUsage"]["currentUsage"], 6);
    app.finish().await;
}

/// Guards that a generation which was counted is answered by what the decision found: a second look could fail, and the caller
/// would not know that it counted. The answer is the same as a look's, and says what is left in headers too.
#[tokio::test]
async fn a_generation_is_answered_without_a_second_look() {
    let app = as_in_the_example().await;
    let send = async || {
        let path = "/api/usage-tracking/track-generation/123";
        let request = app.caller().request(Method::POST, path);
        answer(request.header("idempotency-key", "\"image-6\"")).await
    };

    let sixth = send().await;

    assert_eq!(sixth.body, get(&app, "comprehensive", "123").await.body);
    for left in ["\"image_generations-day\";r=14;t=", "\"image_generations-month\";r=54;t="] {
        assert!(sixth.header("ratelimit").contains(left), "{sixth:?}");
    }
    assert_eq!(sixth.header("cache-control"), "no-store");
    assert!(consume(&app, USER, "image_generations", 13).await.is_allowed());
    let last = track(&app, "123").await;
    assert_eq!(
        (&last.body["canGenerate"], &last.body["dailyUsage"]["remaining"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(last.body, get(&app, "comprehensive", "123").await.body);
    assert_eq!(send().await.body, sixth.body, "a look would find the day spent");
    app.finish().await;
}

/// Guards the isolation of users: a token reads its own numbers, nobody else's, and changes none.
#[tokio::test]
async fn a_token_reads_its_own_user_alone() {
    let app = TestApp::start_with(crate::api::tokens::hs256()).await;
    super::apply(&app, &super::demo("images")).await.json();
    app.quota().follow_catalogue().await.unwrap();
    put(&app, USER, &json!({ "plan": "BASIC" })).await;
    let token = crate::api::tokens::signed(&crate::api::tokens::claims("123"));
    let user = app.caller().with_key(&token);
    let ask = async |method: Method, what: &str, id: &str| {
        answer(user.request(method, &format!("/api/usage-tracking/{what}/{id}"))).await
    };

    for what in ["comprehensive", "can-generate", "daily-usage", "monthly-usage", "limits"] {
        assert_eq!(ask(Method::GET, what, "123").await.status, StatusCode::OK, "{what}");
        let other = ask(Method::GET, what, "124").await;
        assert_eq!((other.status, other.code()), (StatusCode::NOT_FOUND, "unknown_subject"));
    }
    for what in ["track-generation", "reset-daily", "reset-monthly"] {
        assert_eq!(ask(Method::POST, what, "123").await.status, StatusCode::FORBIDDEN, "{what}");
    }
    app.finish().await;
}

/// Guards that a catalogue of something else does not look like unlimited images.
#[tokio::test]
async fn a_catalogue_without_images_has_none() {
    let app = start("chat").await;

    let answers: [Answer; 3] = [
        get(&app, "comprehensive", "123").await,
        track(&app, "123").await,
        post(&app, "reset-monthly", "123").await,
    ];

    for answer in answers {
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "unknown_metric"));
    }
    let bad = get(&app, "limits", "a%20b").await;
    assert_eq!((bad.status, bad.code()), (StatusCode::BAD_REQUEST, "invalid_request"));
    assert!(bad.body["detail"].as_str().is_some_and(|detail| detail.starts_with("userId ")));
    app.finish().await;
}

//! Deliveries by e-mail, to a server that speaks SMTP.

use serde_json::Value;
use serde_json::json;

use super::postbox::Postbox;
use super::webhooks::delivery_when;
use crate::support::Options;
use crate::support::TestApp;

const FROM: &str = "Headroom <quota@app.example>";

async fn start(postbox: &Postbox) -> TestApp {
    let options = Options { flushers: true, ..Options::default() }.patient();
    let options = options
        .with("HEADROOM_EMAIL_SMTP_URL", &postbox.url)
        .with("HEADROOM_EMAIL_FROM", FROM)
        .with("HEADROOM_WEBHOOKS_TIMEOUT_MS", 500);
    TestApp::start_with(options).await
}

/// Makes a webhook of mails to an address, and answers it.
async fn mails_to(app: &TestApp, address: &str) -> Value {
    let url = format!("mailto:{address}");
    let order = json!({ "url": url, "format": "email", "types": ["quota-reset"] });
    let answer = app.caller().post("/v1/webhooks", &order).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    answer.body
}

/// Guards that what a webhook of the format `email` asks for comes as a mail: to the address, from who the configuration says, about
/// whom, and under an id by which a second one is known again.
#[tokio::test]
async fn what_is_asked_for_comes_as_a_mail() {
    let postbox = Postbox::start().await;
    let app = start(&postbox).await;
    let made = mails_to(&app, "ops@app.example").await;
    app.caller().consume("user:u_1", "gemini-2.0-flash").await;

    app.caller().delete("/v1/subjects/user:u_1/usage").await;

    let mail = postbox.next().await;
    assert_eq!(
        (mail.from.as_str(), mail.to.as_str()),
        ("<quota@app.example>", "<ops@app.example>")
    );
    let found = delivery_when(&app.caller(), &made, |it| it["state"] == "delivered").await;
    let (event, webhook) = (found["event_id"].as_str().unwrap(), made["id"].as_str().unwrap());
    for line in [
        "From: Headroom <quota@app.example>",
        "To: ops@app.example",
        "Subject: quota-reset user:u_1",
        &format!("Message-ID: <{event}.{webhook}@headroom>"),
        "  \"kind\": \"reset\"",
    ] {
        let has = mail.content.lines().any(|it| it.trim_end_matches(',') == line);
        assert!(has, "{line} in {}", mail.content);
    }
    assert_eq!(found["last_status"], json!(250));
    assert!(postbox.is_empty().await);
    app.finish().await;
}

/// Guards that a server which refuses, hangs or is not there is a failure that is tried again, as with other receivers.
#[tokio::test]
async fn a_mail_that_is_not_taken_is_tried_again() {
    let postbox = Postbox::start().await;
    let app = start(&postbox).await;
    for (address, status, error) in [
        ("nobody@app.example", json!(550), "no such mailbox"),
        ("hang@app.example", Value::Null, "timed out"),
        ("no-address", Value::Null, "the url is not mailto:"),
    ] {
        let made = mails_to(&app, address).await;
        app.caller().delete("/v1/subjects/user:u_1/usage").await;
        let found = delivery_when(&app.caller(), &made, |it| it["last_error"].is_string()).await;
        assert_eq!((&found["state"], &found["last_status"]), (&json!("pending"), &status));
        assert!(found["last_error"].as_str().unwrap().contains(error), "{found}");
        app.caller().delete(&format!("/v1/webhooks/{}", made["id"].as_str().unwrap())).await;
    }
    assert!(postbox.is_empty().await);
    app.finish().await;
}

/// Guards that without a server the log of deliveries says so, and that the format and the url fit each other.
#[tokio::test]
async fn without_a_server_the_log_of_deliveries_says_so() {
    let app = TestApp::start_with(Options { flushers: true, ..Options::default() }.patient()).await;
    let caller = app.caller();
    let made = mails_to(&app, "ops@app.example").await;
    caller.delete("/v1/subjects/user:u_1/usage").await;

    let found = delivery_when(&caller, &made, |it| it["last_error"].is_string()).await;

    assert_eq!(found["last_error"], json!("no smtp server is configured"));
    for (url, format) in [("mailto:a@b.example", "standard"), ("https://b.example", "email")] {
        let answer = caller.post("/v1/webhooks", &json!({ "url": url, "format": format })).await;
        assert_eq!(answer.status.as_u16(), 400, "{answer:?}");
    }
    app.finish().await;
}

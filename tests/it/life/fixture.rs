//! What these tests ask of the use-cases.

use std::time::Duration;

use headroom::domain::Amount;
use headroom::domain::Decision;
use headroom::domain::GrantSource;
use headroom::domain::LimitState;
use headroom::domain::Units;
use headroom::quota::CommitOrder;
use headroom::quota::EndOrder;
use headroom::quota::GrantOrder;
use headroom::quota::HoldEnded;
use headroom::quota::Order;
use headroom::quota::Quota;
use headroom::quota::QuotaError;
use headroom::quota::RequestContext;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;

/// The subject of most tests.
pub const USER: &str = "user:u_1";

/// A minute, which is longer than any test.
pub const MINUTE: Duration = Duration::from_mins(1);

/// One node on a limit of so many messages a month.
pub async fn start(max: u64) -> TestApp {
    start_on(orders::messages_a_month(max)).await
}

/// One node on a catalogue.
pub async fn start_on(catalogue: String) -> TestApp {
    TestApp::start_with(Options { catalogue: Some(catalogue), ..Options::default() }).await
}

/// So many messages of the subject.
pub fn messages(subject: &str, amount: u64) -> Order {
    Order { amount: Amount::new(amount).unwrap(), ..orders::one(subject, "messages") }
}

/// Holds so many messages for a minute; whether that is allowed is for the test to say.
pub async fn reserve(quota: &Quota, amount: u64) -> Decision {
    quota.reserve(messages(USER, amount), MINUTE).await.unwrap()
}

/// The order that ends the reservation which a decision made.
pub fn ending(quota: &Quota, decision: &Decision) -> EndOrder {
    let id = &decision.hold.as_ref().unwrap().id;
    EndOrder {
        reservation: quota.reservation_id(id).unwrap(),
        idempotency_key: None,
        metadata: None,
        context: RequestContext { request_id: "an-end".to_owned(), ..RequestContext::default() },
    }
}

/// Commits what a decision holds.
pub async fn commit(
    quota: &Quota,
    decision: &Decision,
    amount: u64,
) -> Result<HoldEnded, QuotaError> {
    let amount = Amount::new(amount).unwrap();
    quota.commit(&ending(quota, decision), CommitOrder { amount, is_strict: false }).await
}

/// Units used, held and left of a limit, in this order; more bonus units at the end.
pub fn counts(state: &LimitState) -> (u64, u64, u64, u64) {
    let left = state.remaining().map_or(u64::MAX, Units::get);
    (state.used.get(), state.reserved.get(), left, state.granted.get())
}

/// The counts of the subject's first limit.
pub async fn counts_of(quota: &Quota, subject: &str) -> (u64, u64, u64, u64) {
    counts(&quota.usage(&orders::subject(subject)).await.unwrap().limits[0])
}

/// Bonus messages that were paid for.
pub fn purchase(amount: u64) -> GrantOrder {
    GrantOrder {
        metric: orders::metric("messages"),
        amount: Units::new(amount).unwrap(),
        period: None,
        expires_at: None,
        source: GrantSource::Purchase,
        note: None,
    }
}

/// How many events of a kind the log has.
pub async fn logged(app: &TestApp, kind: &str) -> i64 {
    let counted = "SELECT count(*) FROM message_logs WHERE kind = $1";
    app.postgres().await.query_one(counted, &[&kind]).await.unwrap().get(0)
}

/// Time passes, so that another node takes up gifts that are not finished.
pub async fn age_gifts(app: &TestApp) {
    let sql = "UPDATE transfers SET begun_at = begun_at - interval '6 s' WHERE state = 'pending'";
    app.postgres().await.execute(sql, &[]).await.unwrap();
}

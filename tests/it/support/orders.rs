//! What is asked of the use-cases, without HTTP.

use std::sync::Arc;

use headroom::domain::Amount;
use headroom::domain::Decision;
use headroom::domain::Metric;
use headroom::domain::Subject;
use headroom::quota::Actor;
use headroom::quota::Ask;
use headroom::quota::Order;
use headroom::quota::Quota;
use headroom::quota::QuotaError;
use headroom::quota::RequestContext;

/// One unit of a metric for the subject.
pub fn one(subject: &str, metric: &str) -> Order {
    Order {
        subject: self::subject(subject),
        ask: Ask::Metric(self::metric(metric)),
        amount: Amount::ONE,
        metadata: None,
        idempotency_key: None,
        context: RequestContext { request_id: "a-test".to_owned(), ..RequestContext::default() },
    }
}

/// The same under an idempotency key.
pub fn keyed(subject: &str, metric: &str, key: &str) -> Order {
    Order { idempotency_key: Some(key.to_owned()), ..one(subject, metric) }
}

/// An admin with the key `k_1`, who gives a reason.
pub fn actor() -> Actor {
    let context = RequestContext { request_id: "an-act".to_owned(), ..RequestContext::default() };
    let (name, reason) = ("k_1".to_owned(), Some("a test".to_owned()));
    Actor { name, reason, idempotency_key: None, context }
}

/// A subject by its path.
pub fn subject(path: &str) -> Subject {
    Subject::parse(path).unwrap()
}

/// A metric by its name.
pub fn metric(name: &str) -> Metric {
    Metric::new(name).unwrap()
}

/// A catalogue with one metric, `messages`, and one limit on it; every model charges one.
pub fn messages_a_month(max: u64) -> String {
    format!(
        "metrics = [\"messages\"]\ndefault_plan = \"only\"\n\
         [plans.only]\nlimits = [{{ metric = \"messages\", period = \"month\", max = {max} }}]\n\
         [[models]]\nnames = [\"*\"]\ncharges = {{ messages = 1 }}\n"
    )
}

/// Consumes one of the subject's messages.
pub async fn consume(quota: &Quota, subject: &str) -> Result<Decision, QuotaError> {
    quota.consume(one(subject, "messages")).await
}

/// Consumes one after the other; each has to be accepted. Answers what is used after the last.
pub async fn accept(quota: &Quota, subject: &str, count: u64) -> u64 {
    let mut used = 0;
    for _ in 0..count {
        let decision = consume(quota, subject).await.unwrap();
        assert!(decision.allowed, "{decision:?}");
        used = decision.limits[0].used.get();
    }
    used
}

/// Consumes at once, through the nodes in turn; each has to be answered. Answers how many were accepted.
pub async fn burst(nodes: &[&Arc<Quota>], subject: &str, count: usize) -> usize {
    let calls = (0..count).map(|call| consume(nodes[call % nodes.len()], subject));
    let decisions = futures_util::future::join_all(calls).await;
    decisions.into_iter().filter(|decision| decision.as_ref().unwrap().allowed).count()
}

/// What is used of the subject's first limit, by Redis.
pub async fn used(quota: &Quota, path: &str) -> u64 {
    quota.usage(&subject(path)).await.unwrap().limits[0].used.get()
}

/// The shard of the subject.
pub fn shard_of(path: &str) -> u16 {
    subject(path).shard(super::stores::SHARDS)
}

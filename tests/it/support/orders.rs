//! Orders to the use-cases, without HTTP in between.

use std::sync::Arc;

use headroom::domain::Amount;
use headroom::domain::Decision;
use headroom::domain::Subject;
use headroom::quota::Ask;
use headroom::quota::Order;
use headroom::quota::Quota;
use headroom::quota::QuotaError;
use headroom::quota::RequestContext;

/// A catalogue of one metric, `messages`, with `max` units a month.
pub fn messages(max: u64) -> String {
    format!(
        "metrics = ['messages']\ndefault_plan = 'p'\n[plans.p]\nlimits = [{{ metric = 'messages', period = \
         'month', max = {max} }}]\n[[models]]\nnames = ['*']\ncharges = {{ messages = 1 }}\n"
    )
}

/// One message of the subject.
pub fn order(subject: &str) -> Order {
    Order {
        subject: Subject::parse(subject).unwrap(),
        ask: Ask::Model("any".to_owned()),
        amount: Amount::ONE,
        metadata: None,
        idempotency_key: None,
        context: RequestContext::default(),
    }
}

pub async fn consume(quota: &Quota, subject: &str) -> Result<Decision, QuotaError> {
    quota.consume(order(subject)).await
}

/// Consumes one after the other; each has to be accepted. Answers what is used after the last.
pub async fn accept(quota: &Quota, subject: &str, count: u64) -> u64 {
    let mut used = 0;
    for _ in 0..count {
        let decision = consume(quota, subject).await.unwrap();
        assert!(decision.allowed, "{decision:?}");
        used = used_of(&decision);
    }
    used
}

/// Consumes at once, through the nodes in turn; each has to be answered. Answers how many were accepted.
pub async fn burst(nodes: &[&Arc<Quota>], subject: &str, count: usize) -> usize {
    let calls = (0..count).map(|call| consume(nodes[call % nodes.len()], subject));
    let decisions = futures_util::future::join_all(calls).await;
    decisions.into_iter().filter(|decision| decision.as_ref().unwrap().allowed).count()
}

/// What is used of the first limit.
pub fn used_of(decision: &Decision) -> u64 {
    decision.limits[0].used.get()
}

/// What is used of the subject's first limit, by Redis.
pub async fn used(quota: &Quota, subject: &str) -> u64 {
    let usage = quota.usage(&Subject::parse(subject).unwrap()).await.unwrap();
    usage.limits[0].used.get()
}

/// The shard of the subject.
pub fn shard_of(subject: &str) -> u16 {
    Subject::parse(subject).unwrap().shard(super::stores::SHARDS)
}

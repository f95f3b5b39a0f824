//! What is asked of the use-cases, without HTTP.

use headroom::domain::Amount;
use headroom::domain::Metric;
use headroom::domain::Subject;
use headroom::quota::Ask;
use headroom::quota::Order;
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

/// A subject by its path.
pub fn subject(path: &str) -> Subject {
    Subject::parse(path).unwrap()
}

/// A metric by its name.
pub fn metric(name: &str) -> Metric {
    Metric::new(name).unwrap()
}

/// A catalogue with one metric, `messages`, and one limit on it.
pub fn messages_a_month(max: u64) -> String {
    format!(
        "metrics = [\"messages\"]\ndefault_plan = \"only\"\n\
         [plans.only]\nlimits = [{{ metric = \"messages\", period = \"month\", max = {max} }}]\n"
    )
}

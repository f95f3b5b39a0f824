//! Who is charged, and what the limits are: low enough to be reached in a run, so that passing them would show.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use headroom::domain::Subject;

/// Users with two limits each; teams with one more, which their members share.
pub(crate) const TEXT: &str = r#"
metrics = ["messages"]
default_plan = "user"
scope_plans = { team = "team", member = "user" }

[plans.user]
limits = [
    { metric = "messages", period = "day", max = 150 },
    { metric = "messages", period = "month", max = 240 },
]

[plans.team]
limits = [{ metric = "messages", period = "month", max = 500 }]
"#;
const USERS: usize = 40;
const TEAMS: usize = 4;
const MEMBERS: usize = 5;

/// Every subject that is charged.
pub(crate) fn subjects() -> Vec<String> {
    let users = (0..USERS).map(|user| format!("user:u_{user}"));
    let members = (0..TEAMS * MEMBERS).map(|it| format!("team:t_{}/member:m_{it}", it / MEMBERS));
    users.chain(members).collect()
}

/// A subject of each shard, which nobody charges, and which nobody asked about before.
pub(crate) fn one_of_each(shards: u16) -> Vec<String> {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let look = LOOKS.fetch_add(1, Ordering::Relaxed);
    let looked_at = (0..1_000).map(|number| format!("user:looked_at_{look}_{number}"));
    let mut found: BTreeMap<u16, String> = BTreeMap::new();
    for subject in looked_at {
        if let Ok(parsed) = Subject::parse(&subject) {
            found.entry(parsed.shard(shards)).or_insert(subject);
        }
    }
    found.into_values().collect()
}

/// The hard limits of [`TEXT`], by scope, metric and period.
pub(crate) fn limits() -> BTreeMap<(String, String, String), i64> {
    let limits = [
        ("user", "day", 150),
        ("user", "month", 240),
        ("member", "day", 150),
        ("member", "month", 240),
        ("team", "month", 500),
    ];
    let named = limits.map(|(scope, period, max)| {
        ((scope.to_owned(), "messages".to_owned(), period.to_owned()), max)
    });
    named.into_iter().collect()
}

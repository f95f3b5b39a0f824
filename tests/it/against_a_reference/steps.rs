//! What can be asked for, and what is said to it.

use std::collections::BTreeMap;

use headroom::domain::Calendar;
use headroom::domain::Catalogue;
use headroom::domain::LimitState;
use headroom::domain::Metric;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Profile;
use headroom::domain::Units;
use headroom::domain::Window;
use headroom::quota::Ask;
use headroom::quota::GrantOrder;
use headroom::quota::ResetScope;
use headroom::quota::SetOrder;

/// One command to the system. `node` is the one that is asked; paths are without the case's prefix.
#[derive(Clone, Debug)]
pub enum Step {
    /// Configures a subject.
    Put { node: usize, path: &'static str, profile: Profile },
    /// Takes back what is configured for a subject.
    Delete { node: usize, path: &'static str },
    /// Replaces the catalogue.
    Replace { node: usize, catalogue: Catalogue },
    /// A consume, a check or a reserve.
    Order { node: usize, asked: Asked, want: Want },
    /// The end of a hold, or more time for it. Of a place above all their number the rest counts, as with grants.
    End { node: usize, hold: usize, end: End },
    /// A refund of an event; one beyond all events is unknown.
    Refund { node: usize, event: usize, key: Option<u8> },
    /// A new grant.
    Give { node: usize, path: &'static str, order: GrantOrder },
    /// A grant is taken back.
    Revoke { node: usize, grant: usize },
    /// A gift.
    Transfer { node: usize, gift: Gift },
    /// What has lapsed is written down.
    Sweep { node: usize },
    /// A look at all limits.
    Look { node: usize, path: &'static str },
    /// Gives counters another value.
    Set { node: usize, path: &'static str, order: SetOrder },
    /// Clears counters.
    Reset { node: usize, path: &'static str, scope: ResetScope },
    /// Time goes on.
    Move(Jump),
    /// Redis drops a level, and its profile perhaps.
    Evict { path: &'static str, with_profile: bool },
    /// Redis drops the scripts.
    ForgetScripts,
    /// Everything goes to Postgres.
    Flush { node: usize },
    /// Both shards are recovered, and begin a new epoch.
    Recover { node: usize },
}

/// How far time goes.
#[derive(Clone, Copy, Debug)]
pub enum Jump {
    /// So many milliseconds.
    By(i64),
    /// To the end of the window of a period, or to the last millisecond before it.
    ToEnd { period: Period, calendar: Calendar, before: bool },
}

/// What is wanted of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Consume,
    Check,
    Reserve { ttl_s: u64 },
}

impl Want {
    pub const fn is_hold(self) -> bool {
        matches!(self, Self::Reserve { .. })
    }
}

/// What is to become of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit { amount: u64, is_strict: bool },
    Release,
    Extend { ttl_s: u64 },
}

/// Units that go from one subject to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gift {
    pub from: &'static str,
    pub to: &'static str,
    pub metric: Metric,
    pub amount: u64,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: &'static str,
    pub ask: Ask,
    pub amount: u64,
    /// The number of an idempotency key.
    pub key: Option<u8>,
}

/// What a command is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is done.
    Done,
    /// The code of an error.
    Refused(String),
    /// An answer to a consume, a check or a reserve; the limits in the order of subjects, metrics and periods.
    Decided {
        allowed: bool,
        replayed: bool,
        plan: String,
        limits: Vec<LimitSaid>,
        /// The number of the hold, and until when it holds.
        hold: Option<(usize, i64)>,
        /// When the first hold that is in the way ends.
        free_at_s: Option<i64>,
    },
    /// A hold has ended, or has more time. The limits are those whose windows go on; where one has ended, the rules do not
    /// say whether it was passed.
    Ended { late: bool, overage: Option<bool>, held: u64, until_s: i64, limits: Vec<LimitSaid> },
    /// What was given back, sorted.
    Refunded { given: Vec<GivenSaid>, replayed: bool },
    /// An answer to a look.
    Used {
        plan: String,
        limits: Vec<LimitSaid>,
        features: BTreeMap<String, bool>,
        is_blocked: bool,
        calendar: Calendar,
    },
    /// What an act did, sorted: metric, period, start of the window, units added.
    Rewritten(Vec<(String, Period, i64, i64)>),
}

/// What was given back to a limit or a grant, by its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GivenSaid {
    pub path: String,
    pub metric: String,
    pub period: Option<Period>,
    pub grant: Option<usize>,
    pub start_s: i64,
    pub end_s: i64,
    pub units: u64,
}

/// A limit in an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitSaid {
    pub path: String,
    pub metric: String,
    pub period: Period,
    pub window: Window,
    pub is_sliding: bool,
    pub max: Option<u64>,
    pub used: u64,
    pub held: u64,
    pub carried: u64,
    pub granted: u64,
    pub remaining: Option<u64>,
    pub overage: u64,
    pub mode: &'static str,
    pub is_violated: bool,
    pub would_deny: bool,
}

impl LimitSaid {
    /// What the service says of a limit. `path` is the limit's subject without the case's prefix.
    pub fn of(state: &LimitState, path: String) -> Self {
        Self {
            path,
            metric: state.metric.to_string(),
            period: state.period,
            window: state.window,
            is_sliding: state.sliding,
            max: state.max.map(Units::get),
            used: state.used.get(),
            held: state.reserved.get(),
            carried: state.carried.get(),
            granted: state.granted.get(),
            remaining: state.remaining().map(Units::get),
            overage: state.overage().get(),
            mode: Mode::as_str(state.mode),
            is_violated: state.violated,
            would_deny: state.would_deny,
        }
    }
}

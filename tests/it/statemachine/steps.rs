//! What can be asked for, and what is said to it.

use std::collections::BTreeMap;

use headroom::domain::Calendar;
use headroom::domain::Catalogue;
use headroom::domain::LimitState;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Profile;
use headroom::domain::Units;
use headroom::domain::Window;
use headroom::quota::Ask;
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
    /// A consume or a check.
    Order { node: usize, asked: Asked, is_check: bool },
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

/// A consume or a check.
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
    /// An answer to a consume or a check; the limits in the order of subjects, metrics and periods.
    Decided { allowed: bool, replayed: bool, plan: String, limits: Vec<LimitSaid> },
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
            remaining: state.remaining().map(Units::get),
            overage: state.overage().get(),
            mode: Mode::as_str(state.mode),
            is_violated: state.violated,
            would_deny: state.would_deny,
        }
    }
}

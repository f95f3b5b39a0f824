//! What rules put on subjects for a while.

use serde::Deserialize;
use serde::Serialize;

use super::limit::Limit;
use super::period::Period;
use super::units::Metric;
use super::units::Units;

/// What a rule does to a subject that it fires for, beside telling of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RuleAction {
    /// Every request of it is refused.
    Block {
        /// For how long, in seconds.
        #[schema(minimum = 1, maximum = 2_678_400, example = 600)]
        for_s: u64,
    },
    /// It has a limit a minute, if it has no lower one.
    Slow {
        /// Of which metric.
        #[schema(value_type = String, example = "messages")]
        metric: Metric,
        /// Units of each minute.
        #[schema(value_type = u64, minimum = 0, example = 5)]
        per_minute: Units,
        /// For how long, in seconds.
        #[schema(minimum = 1, maximum = 2_678_400, example = 600)]
        for_s: u64,
    },
}

impl RuleAction {
    /// The longest time that a restraint is in force, in seconds.
    pub const FOR_S_MAX: u64 = 31 * 86_400;

    /// For how long it is, in seconds.
    #[must_use]
    pub const fn for_s(&self) -> u64 {
        match self {
            Self::Block { for_s } | Self::Slow { for_s, .. } => *for_s,
        }
    }
}

/// What a rule has put on a subject. Postgres owns it; it travels with the profile, and is taken back when it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restraint {
    /// The rule.
    #[schema(example = "high_denial_rate")]
    pub rule: String,
    /// What it does.
    pub action: RuleAction,
    /// What the rule found.
    #[schema(example = "denial_rate 12, from 5")]
    pub reason: String,
    /// When it ends, in Unix seconds.
    pub ends_s: i64,
}

/// Why every request of a subject is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// An admin said so, without an end.
    ByAdmin,
    /// A rule did, for a while.
    ByRule {
        /// When it ends, in Unix seconds.
        ends_s: i64,
    },
}

impl Restraint {
    /// Restraints in force on one subject.
    pub const IN_FORCE_MAX: usize = 8;
    /// The longest JSON text of one, in bytes.
    pub const BYTES_MAX: usize = 512;

    /// When it ends, in Unix seconds, if it refuses every request.
    #[must_use]
    pub const fn block_ends_s(&self) -> Option<i64> {
        match self.action {
            RuleAction::Block { .. } => Some(self.ends_s),
            RuleAction::Slow { .. } => None,
        }
    }

    /// The limit that it is.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        match &self.action {
            RuleAction::Block { .. } => None,
            RuleAction::Slow { metric, per_minute, .. } => {
                Some(Limit::new(metric.clone(), Period::Minute, Some(*per_minute)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restraint_reads_back_and_is_within_its_bytes() {
        let metric = Metric::new(&"m".repeat(64)).unwrap();
        let action = RuleAction::Slow { metric, per_minute: Units::MAX, for_s: 2_678_400 };
        let (rule, reason) =
            ("r".repeat(64), "denial_rate 9007199254740991, from 9007199254740991");
        let restraint = Restraint { rule, action, reason: reason.to_owned(), ends_s: i64::MAX };
        let text = serde_json::to_string(&restraint).unwrap();
        assert!(text.len() <= Restraint::BYTES_MAX, "{}", text.len());
        assert_eq!(serde_json::from_str::<Restraint>(&text).unwrap(), restraint);
        assert_eq!(restraint.block_ends_s(), None);
        let limit = restraint.limit().unwrap();
        assert_eq!((limit.period, limit.max), (Period::Minute, Some(Units::MAX)));
    }
    #[test]
    fn a_restraint_is_in_force_for_31_days_at_most() {
        assert_eq!(RuleAction::FOR_S_MAX, 2_678_400);
        let metric = Metric::new("messages").unwrap();
        let slow = RuleAction::Slow { metric, per_minute: Units::ZERO, for_s: 7 };
        assert_eq!((slow.for_s(), RuleAction::Block { for_s: 9 }.for_s()), (7, 9));
    }
}

//! Limits: how much of a metric a window holds, and what happens past it.

use chrono::NaiveDate;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::Error as _;

use super::dynamic::Dynamic;
use super::dynamic::DynamicError;
use super::period::Period;
use super::portion::Portion;
use super::subject::Scope;
use super::units::Metric;
use super::units::Units;

/// What happens when a charge would pass the limit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The charge is refused.
    #[default]
    Hard,
    /// The charge is accepted and marked as overage, up to the grace.
    Soft,
    /// The charge is accepted; what would have been refused is only reported.
    Shadow,
}

impl Mode {
    /// The name in catalogues and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Shadow => "shadow",
        }
    }
}

/// How a decision is answered while Redis cannot be reached.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum StoreAway {
    /// 503: nobody passes uncounted.
    #[default]
    Closed,
    /// 200 with `"degraded": true`: nobody is kept waiting.
    Open,
}

impl StoreAway {
    /// The name in catalogues.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// A rule: at most `max` units of `metric` in each window of `period`.
///
/// TOML and JSON have the same fields; what has its default is left out on output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is counted.
    #[schema(value_type = String, example = "messages")]
    pub metric: Metric,
    /// How often the count starts anew.
    pub period: Period,
    /// The most units in a window; `None` is unlimited (absent, null or -1 on input), 0 is blocked.
    #[serde(default, deserialize_with = "max", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = -1, example = 100)]
    pub max: Option<Units>,
    /// What happens past the limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// What a soft limit accepts past `max`: units, or a share of `max` such as `"10%"`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = serde_json::Value, example = "10%")]
    pub grace: Portion,
    /// How the limit is answered while Redis is away; `None` takes the service's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_away: Option<StoreAway>,
    /// Whether a refund gives units of this limit back.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub refundable: bool,
    /// The most that refunds give back in a window: units, or a share of `max`; `None` is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, example = "10%")]
    pub refund_max: Option<Portion>,
    /// The most that reservations may hold at once: units, or a share of `max`; `None` is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, example = "50%")]
    pub hold_max: Option<Portion>,
    /// The most units that a window leaves unused to the next: units, or a share of `max`; `None` carries nothing over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, example = "20%")]
    pub rollover: Option<Portion>,
    /// Whether the trailing minute or hour counts, instead of the current one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sliding: bool,
    /// The share of `max` from which answers warn, 1–100 and at most `critical_percent`.
    #[serde(
        default = "warning_percent",
        deserialize_with = "percent",
        skip_serializing_if = "is_warning_percent"
    )]
    #[schema(minimum = 1, maximum = 100)]
    pub warning_percent: u8,
    /// The share of `max` from which answers call the counter critical, 1–100.
    #[serde(
        default = "critical_percent",
        deserialize_with = "percent",
        skip_serializing_if = "is_critical_percent"
    )]
    #[schema(minimum = 1, maximum = 100)]
    pub critical_percent: u8,
    /// With a scope, the limit holds for each deeper level of that scope by itself, and not for the level that has it: a
    /// cap for each member of a team.
    #[serde(default, deserialize_with = "each", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "user")]
    pub each: Option<Scope>,
    /// How `max` follows what was used, computed every day; `None` leaves it as it is. Only on roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<Dynamic>,
    /// Why `max` is what it is, when it was computed; at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub reason: Option<String>,
    /// The day (UTC) on which `max` was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_on: Option<NaiveDate>,
    /// Whether the entry was computed from the plan's and goes with it: when that changes, so does this.
    #[serde(default, skip_serializing_if = "is_default")]
    pub of_plan: bool,
}

/// Which fields of a limit do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Other modes accept nothing past `max`, or everything.
    #[error("grace needs mode \"soft\", got mode {:?}", .0.as_str())]
    GraceWithoutSoft(Mode),
    /// Longer periods are counted by the calendar.
    #[error("sliding needs period \"minute\" or \"hour\", got {:?}", .0.as_str())]
    SlidingPeriod(Period),
    /// Only windows of the calendar leave anything to the next.
    #[error("rollover needs period \"day\", \"week\" or \"month\", got {:?}", .0.as_str())]
    RolloverPeriod(Period),
    /// Without a `max` nothing is ever left.
    #[error("rollover needs max")]
    RolloverWithoutMax,
    /// A share that is none.
    #[error("warning_percent and critical_percent must be 1 to 100, got {0}")]
    Percent(i64),
    /// Critical before warned.
    #[error("warning_percent must be at most critical_percent ({critical}), got {warning}")]
    WarningAboveCritical {
        /// The limit's `warning_percent`.
        warning: u8,
        /// The limit's `critical_percent`.
        critical: u8,
    },
    /// A rule for `max` that does not fit.
    #[error(transparent)]
    Dynamic(#[from] DynamicError),
}

impl Limit {
    /// Where warnings begin unless a limit says otherwise, as with most usage meters.
    pub const WARNING_PERCENT: u8 = 80;
    /// Where a counter is critical unless a limit says otherwise.
    pub const CRITICAL_PERCENT: u8 = 95;

    /// A hard limit with the defaults in all else.
    #[must_use]
    pub const fn new(metric: Metric, period: Period, max: Option<Units>) -> Self {
        Self {
            metric,
            period,
            max,
            mode: Mode::Hard,
            grace: Portion::NONE,
            store_away: None,
            refundable: true,
            refund_max: None,
            hold_max: None,
            rollover: None,
            sliding: false,
            warning_percent: Self::WARNING_PERCENT,
            critical_percent: Self::CRITICAL_PERCENT,
            each: None,
            dynamic: None,
            reason: None,
            computed_on: None,
            of_plan: false,
        }
    }

    /// The limit's name in headers and answers: `messages-month`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.metric, self.period.as_str())
    }

    /// The limit's name in a list that may also hold limits for each of a scope: `messages-month each user`.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self.name();
        self.each.as_ref().map_or_else(|| name.clone(), |scope| format!("{name} each {scope}"))
    }

    /// Whether both are the same entry of a list: they agree in metric, period and `each`.
    #[must_use]
    pub fn is_same_entry(&self, other: &Self) -> bool {
        self.period == other.period && self.metric == other.metric && self.each == other.each
    }

    /// The count above which a charge is refused, or `None` when none is.
    #[must_use]
    pub fn ceiling(&self) -> Option<Units> {
        match self.mode {
            Mode::Hard => self.max,
            Mode::Soft => self.max.map(|max| max.saturating_add(self.grace.of(max).get())),
            Mode::Shadow => None,
        }
    }

    /// The count from which grants are used, or `None` when it is never reached: a soft limit's grace comes after them.
    #[must_use]
    pub fn allowance(&self) -> Option<Units> {
        if self.mode == Mode::Shadow { None } else { self.max }
    }

    /// The most units that reservations may hold at once; `None` is no bound. A share of no `max` is none.
    #[must_use]
    pub fn hold_units(&self) -> Option<Units> {
        match (self.hold_max?, self.max) {
            (Portion::Units(units), _) => Some(units),
            (share, max) => max.map(|max| share.of(max)),
        }
    }

    /// The most units that a window leaves to the next.
    #[must_use]
    pub fn rollover_units(&self) -> Units {
        self.rollover.zip(self.max).map_or(Units::ZERO, |(portion, max)| portion.of(max))
    }

    /// The most units that refunds give back in a window; `None` is no bound. A share of no `max` is none.
    #[must_use]
    pub fn refund_units(&self) -> Option<Units> {
        match (self.refund_max?, self.max) {
            (Portion::Units(units), _) => Some(units),
            (share, max) => max.map(|max| share.of(max)),
        }
    }

    /// Whether the fields go together.
    ///
    /// # Errors
    ///
    /// [`LimitError`] naming the first field that does not fit, and its bound.
    pub fn check(&self) -> Result<(), LimitError> {
        if self.mode != Mode::Soft && self.grace != Portion::NONE {
            return Err(LimitError::GraceWithoutSoft(self.mode));
        }
        if self.sliding && !matches!(self.period, Period::Minute | Period::Hour) {
            return Err(LimitError::SlidingPeriod(self.period));
        }
        self.check_rollover()?;
        self.check_dynamic()?;
        let (warning, critical) = (self.warning_percent, self.critical_percent);
        for percent in [warning, critical] {
            check_percent(percent.into())?;
        }
        if warning > critical {
            return Err(LimitError::WarningAboveCritical { warning, critical });
        }
        Ok(())
    }
}

impl Limit {
    fn check_rollover(&self) -> Result<(), LimitError> {
        if self.rollover.is_none() {
            return Ok(());
        }
        if !matches!(self.period, Period::Day | Period::Week | Period::Month) {
            return Err(LimitError::RolloverPeriod(self.period));
        }
        self.max.map(|_| ()).ok_or(LimitError::RolloverWithoutMax)
    }
}

fn check_percent(percent: i64) -> Result<u8, LimitError> {
    let small = u8::try_from(percent).ok().filter(|small| (1..=100).contains(small));
    small.ok_or(LimitError::Percent(percent))
}

/// `-1` is what several systems write for unlimited.
fn max<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Units>, D::Error> {
    let Some(count) = Option::<i64>::deserialize(input)?.filter(|count| *count != -1) else {
        return Ok(None);
    };
    let units = u64::try_from(count).ok().and_then(|count| Units::new(count).ok());
    let bounds = || format!("max must be -1 (unlimited) or 0 to {}, got {count}", Units::MAX);
    units.map(Some).ok_or_else(|| D::Error::custom(bounds()))
}

fn percent<'de, D: Deserializer<'de>>(input: D) -> Result<u8, D::Error> {
    check_percent(i64::deserialize(input)?).map_err(D::Error::custom)
}

fn each<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Scope>, D::Error> {
    let name = Option::<String>::deserialize(input)?;
    let scope = name.map(|name| Scope::new(&name)).transpose();
    scope.map_err(|error| D::Error::custom(format!("each: {error}")))
}

const fn yes() -> bool {
    true
}

const fn warning_percent() -> u8 {
    Limit::WARNING_PERCENT
}

const fn critical_percent() -> u8 {
    Limit::CRITICAL_PERCENT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field")]
const fn is_warning_percent(percent: &u8) -> bool {
    *percent == Limit::WARNING_PERCENT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field")]
const fn is_critical_percent(percent: &u8) -> bool {
    *percent == Limit::CRITICAL_PERCENT
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn parse(fields: &str) -> Result<Limit, String> {
        let text = format!(r#"{{"metric": "messages", "period": "minute"{fields}}}"#);
        let limit: Limit = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        limit.check().map_err(|error| error.to_string())?;
        Ok(limit)
    }

    #[test]
    fn absence_null_and_minus_one_are_unlimited_and_zero_is_blocked() {
        for fields in ["", r#", "max": null"#, r#", "max": -1"#] {
            assert_eq!(parse(fields).unwrap().max, None, "{fields}");
        }
        assert_eq!(parse(r#", "max": 0"#).unwrap().max, Some(Units::ZERO));
        assert_eq!(parse(r#", "max": 9007199254740991"#).unwrap().max, Some(Units::MAX));
    }

    #[test]
    fn a_mistake_names_the_field_and_the_bound() {
        for (fields, wanted) in [
            (r#", "max": -2"#, "max must be -1 (unlimited) or 0 to 9007199254740991, got -2"),
            (r#", "max": 9007199254740992"#, "max must be"),
            (r#", "grace": 1"#, "grace needs mode \"soft\", got mode \"hard\""),
            (r#", "mode": "soft", "grace": "1001%""#, "refund_max must be 0 to"),
            (r#", "rollover": "10%""#, "rollover needs period"),
            (r#", "warning_percent": 0"#, "warning_percent and critical_percent must be 1 to 100"),
            (r#", "critical_percent": 256"#, "must be 1 to 100, got 256"),
            (r#", "warning_percent": 96"#, "at most critical_percent (95), got 96"),
            (r#", "each": "A user""#, "each: a scope must be 1 to 32"),
            (r#", "computed_on": "2026-11-25""#, "reason, computed_on and of_plan need dynamic"),
            (r#", "period2": 1"#, "unknown field `period2`"),
        ] {
            let error = parse(fields).unwrap_err();
            assert!(error.contains(wanted), "{fields}: {error}");
        }
        assert!(parse(r#", "warning_percent": 95"#).is_ok());
        let monthly = Limit { period: Period::Month, ..parse(r#", "sliding": true"#).unwrap() };
        assert_eq!(monthly.check(), Err(LimitError::SlidingPeriod(Period::Month)));
    }

    #[test]
    fn what_has_its_default_is_left_out() {
        let limit = Limit::new(Metric::new("tokens").unwrap(), Period::Day, Some(Units::ZERO));
        let text = serde_json::to_string(&limit).unwrap();
        assert_eq!(text, r#"{"metric":"tokens","period":"day","max":0}"#);
        assert_eq!(serde_json::from_str::<Limit>(&text).unwrap(), limit);
        assert!(limit.refundable && limit.check().is_ok());
    }

    #[test]
    fn the_ceiling_is_as_far_as_the_mode_accepts() {
        let of = |mode: &str| parse(&format!(r#", "max": 200, "mode": {mode}"#)).unwrap().ceiling();
        assert_eq!(of(r#""hard""#), Units::new(200).ok());
        assert_eq!(of(r#""shadow""#), None);
        assert_eq!(of(r#""soft""#), Units::new(200).ok());
        assert_eq!(of(r#""soft", "grace": 7"#), Units::new(207).ok());
        assert_eq!(of(r#""soft", "grace": "10%""#), Units::new(220).ok());
        assert_eq!(parse("").unwrap().ceiling(), None);
    }

    #[test]
    fn an_entry_is_known_by_metric_period_and_scope() {
        let (pool, member) = (parse("").unwrap(), parse(r#", "each": "user""#).unwrap());
        assert!(!pool.is_same_entry(&member));
        assert!(member.is_same_entry(&Limit { max: Some(Units::ZERO), ..member.clone() }));
        assert_eq!(
            (pool.label(), member.label()),
            ("messages-minute".into(), "messages-minute each user".into())
        );
        assert_eq!(member.name(), "messages-minute");
    }

    prop_compose! {
        fn any_limit()(
            index in 0_usize..6,
            max in proptest::option::of(0..=Units::MAX.get()),
            mode in select(&[Mode::Hard, Mode::Soft, Mode::Shadow][..]),
            grace in prop_oneof![
                (1_u64..1 << 53).prop_map(|units| units.to_string()),
                (1..=1_000).prop_map(|share| format!("{share}%")),
            ],
            store_away in select(&[None, Some(StoreAway::Open), Some(StoreAway::Closed)][..]),
            (refundable, sliding, each) in any::<(bool, bool, bool)>(),
            (warning_percent, further) in (1_u8..=100, 0_u8..100),
        ) -> Limit {
            let period = Period::ALL[index];
            let max = max.map(|max| Units::new(max).unwrap());
            Limit {
                mode,
                grace: if mode == Mode::Soft { grace.parse().unwrap() } else { Portion::NONE },
                store_away,
                refundable,
                sliding: sliding && index < 2,
                warning_percent,
                critical_percent: warning_percent.saturating_add(further).min(100),
                each: each.then(|| Scope::new("user").unwrap()),
                ..Limit::new(Metric::new("messages").unwrap(), period, max)
            }
        }
    }

    proptest! {
        #[test]
        fn a_limit_reads_back_from_json_and_toml(limit in any_limit()) {
            prop_assert_eq!(limit.check(), Ok(()));
            let json = serde_json::to_string(&limit).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Limit>(&json).unwrap(), &limit);
            let toml = toml::to_string(&limit).unwrap();
            prop_assert_eq!(&toml::from_str::<Limit>(&toml).unwrap(), &limit);
        }

        #[test]
        fn a_ceiling_is_never_below_max(limit in any_limit()) {
            let max = limit.max.unwrap_or(Units::MAX);
            prop_assert!(max <= limit.ceiling().unwrap_or(Units::MAX));
        }
    }
}

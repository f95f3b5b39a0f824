//! The JSON that image generators know.

use chrono::DateTime;
use chrono::Datelike;
use chrono::NaiveDate;
use chrono::Utc;
use serde::Serialize;

use crate::domain::Calendar;
use crate::domain::LimitState;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Units;
use crate::quota::Usage;

use super::IMAGE_GENERATIONS;

/// What stands for unlimited in `limit` and `remaining`.
const UNLIMITED: i64 = -1;
/// A user's id: a number where it is written like one, else a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum UserId {
    /// All digits, without a leading zero, at most 2^53-1.
    Number(u64),
    /// Everything else.
    Text(String),
}

impl UserId {
    fn of(subject: &Subject) -> Self {
        let id = subject.id();
        let number = id.parse().ok().filter(|number: &u64| number.to_string() == id);
        let number = number.filter(|number| Units::new(*number).is_ok());
        number.map_or_else(|| Self::Text(id.to_owned()), Self::Number)
    }
}

/// All that is known of a user's generations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "userId": 123,
    "canGenerate": true,
    "dailyUsage": {"date": "2024-01-15", "currentUsage": 5, "remaining": 15, "limit": 20, "isUnlimited": false, "hasExceeded": false},
    "monthlyUsage": {"year": 2024, "month": 1, "currentUsage": 45, "remaining": 55, "limit": 100, "isUnlimited": false, "hasExceeded": false},
    "limitStatus": {"hasActiveLimits": true, "hasExceededDailyLimit": false, "hasExceededMonthlyLimit": false, "subscriptionTier": "PREMIUM", "message": "Generation allowed"}
}))]
pub struct ImageUsage {
    pub(super) user_id: UserId,
    pub(super) can_generate: bool,
    pub(super) daily_usage: DailyUsage,
    pub(super) monthly_usage: MonthlyUsage,
    pub(super) limit_status: LimitStatus,
}

/// The current day, by the user's calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"date": "2024-01-15", "currentUsage": 5, "remaining": 15, "limit": 20, "isUnlimited": false, "hasExceeded": false}))]
pub struct DailyUsage {
    /// The date.
    date: String,
    #[serde(flatten)]
    count: GenerationCount,
}

/// The current month, by the user's calendar: that in which it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"year": 2024, "month": 1, "currentUsage": 45, "remaining": 55, "limit": 100, "isUnlimited": false, "hasExceeded": false}))]
pub struct MonthlyUsage {
    year: i32,
    month: u32,
    #[serde(flatten)]
    count: GenerationCount,
}

/// The count of a day or a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationCount {
    /// Generations so far; 0 where the plan does not mention the period.
    current_usage: u64,
    /// Generations that are left; -1 is unlimited.
    pub(super) remaining: i64,
    /// The most generations; -1 is unlimited.
    limit: i64,
    is_unlimited: bool,
    has_exceeded: bool,
}

/// What the limits say together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"hasActiveLimits": true, "hasExceededDailyLimit": false, "hasExceededMonthlyLimit": false, "subscriptionTier": "PREMIUM", "message": "Generation allowed"}))]
pub struct LimitStatus {
    /// Whether any limit of the user's plan has a number.
    has_active_limits: bool,
    has_exceeded_daily_limit: bool,
    has_exceeded_monthly_limit: bool,
    /// The plan's name in upper case; `NONE` without a plan.
    subscription_tier: String,
    /// `Generation allowed`, or why it is not.
    pub(super) message: &'static str,
}

/// Whether a user can generate, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"userId": 123, "canGenerate": true, "dailyRemaining": 15, "monthlyRemaining": 55, "message": "Generation allowed"}))]
#[expect(clippy::struct_field_names, reason = "the names are the interface")]
pub struct CanGenerate {
    user_id: UserId,
    can_generate: bool,
    /// -1 is unlimited.
    daily_remaining: i64,
    /// -1 is unlimited.
    monthly_remaining: i64,
    message: &'static str,
}

/// A user's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"userId": 123, "dailyGenerationLimit": 20, "monthlyGenerationLimit": 100, "hasActiveLimits": true, "hasExceededDailyLimit": false, "hasExceededMonthlyLimit": false, "subscriptionTier": "PREMIUM", "message": "Generation allowed"}))]
pub struct GenerationLimits {
    user_id: UserId,
    /// -1 is unlimited.
    daily_generation_limit: i64,
    /// -1 is unlimited.
    monthly_generation_limit: i64,
    #[serde(flatten)]
    status: LimitStatus,
}

impl ImageUsage {
    /// What a look at the counters found.
    pub(super) fn of(usage: &Usage) -> Self {
        let at = DateTime::from_timestamp_millis(usage.decided_at_ms).unwrap_or_default();
        let generations =
            || usage.limits.iter().filter(|state| state.metric.as_str() == IMAGE_GENERATIONS);
        let of = |period| GenerationCount::of(generations().find(|state| state.period == period));
        let can_generate = usage.has_room(IMAGE_GENERATIONS);
        let message = match (can_generate, usage.is_blocked) {
            (true, _) => "Generation allowed",
            (false, true) => "The account is blocked",
            (false, false) => "Generation limit exceeded",
        };
        let daily_usage = DailyUsage::of(at, usage.calendar, of(Period::Day));
        let monthly_usage = MonthlyUsage::of(at, usage.calendar, of(Period::Month));
        let limit_status = LimitStatus {
            has_active_limits: generations().any(|state| state.max.is_some()),
            has_exceeded_daily_limit: daily_usage.count.has_exceeded,
            has_exceeded_monthly_limit: monthly_usage.count.has_exceeded,
            subscription_tier: tier(&usage.plan),
            message,
        };
        let user_id = UserId::of(&usage.subject);
        Self { user_id, can_generate, daily_usage, monthly_usage, limit_status }
    }

    /// A missing subscription is no access. The dates are those of UTC.
    pub(super) fn without_subscription(user: &Subject, at: DateTime<Utc>) -> Self {
        Self {
            user_id: UserId::of(user),
            can_generate: false,
            daily_usage: DailyUsage::of(at, Calendar::UTC, GenerationCount::NO_ACCESS),
            monthly_usage: MonthlyUsage::of(at, Calendar::UTC, GenerationCount::NO_ACCESS),
            limit_status: LimitStatus {
                has_active_limits: false,
                has_exceeded_daily_limit: true,
                has_exceeded_monthly_limit: true,
                subscription_tier: tier(""),
                message: "No active subscription",
            },
        }
    }

    /// The part that says whether the user can generate.
    pub(super) fn into_can_generate(self) -> CanGenerate {
        CanGenerate {
            user_id: self.user_id,
            can_generate: self.can_generate,
            daily_remaining: self.daily_usage.count.remaining,
            monthly_remaining: self.monthly_usage.count.remaining,
            message: self.limit_status.message,
        }
    }

    /// The part that says what the limits are.
    pub(super) fn into_limits(self) -> GenerationLimits {
        GenerationLimits {
            user_id: self.user_id,
            daily_generation_limit: self.daily_usage.count.limit,
            monthly_generation_limit: self.monthly_usage.count.limit,
            status: self.limit_status,
        }
    }
}

fn tier(plan: &str) -> String {
    if plan.is_empty() { "NONE".to_owned() } else { plan.to_uppercase() }
}

impl DailyUsage {
    fn of(at: DateTime<Utc>, calendar: Calendar, count: GenerationCount) -> Self {
        let date = first_date(Period::Day, at, calendar);
        Self { date: date.to_string(), count }
    }
}

impl MonthlyUsage {
    fn of(at: DateTime<Utc>, calendar: Calendar, count: GenerationCount) -> Self {
        let date = first_date(Period::Month, at, calendar);
        Self { year: date.year(), month: date.month(), count }
    }
}

/// The local date on which the window that holds the instant begins.
fn first_date(period: Period, at: DateTime<Utc>, calendar: Calendar) -> NaiveDate {
    calendar.date_at(period.window_at(at, &calendar).start_at())
}

impl GenerationCount {
    const NO_ACCESS: Self =
        Self { current_usage: 0, remaining: 0, limit: 0, is_unlimited: false, has_exceeded: true };

    /// The count of a limit; a period without one is unlimited, and nobody counts it.
    fn of(state: Option<&LimitState>) -> Self {
        let number = |units: Option<Units>| {
            units.map_or(UNLIMITED, |units| i64::try_from(units.get()).unwrap_or(i64::MAX))
        };
        let remaining = state.and_then(LimitState::remaining);
        Self {
            current_usage: state.map_or(0, |state| state.used.get()),
            remaining: number(remaining),
            limit: number(state.and_then(|state| state.max)),
            is_unlimited: remaining.is_none(),
            has_exceeded: remaining == Some(Units::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::samples;

    fn usage(day: Option<u64>, daily: u64, month: Option<u64>, monthly: u64) -> Usage {
        let limit = |period, max, used| {
            let state = samples::limit("user:123", IMAGE_GENERATIONS, period, max, used);
            LimitState { violated: max.is_some_and(|max| used >= max), ..state }
        };
        let limits = vec![limit(Period::Day, day, daily), limit(Period::Month, month, monthly)];
        Usage { plan: "Premium".to_owned(), ..samples::usage("user:123", limits) }
    }

    #[test]
    fn the_json_is_exactly_that_of_the_document() {
        let body = ImageUsage::of(&usage(Some(20), 5, Some(100), 45));
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            "{\"userId\":123,\"canGenerate\":true,\
             \"dailyUsage\":{\"date\":\"2025-11-22\",\"currentUsage\":5,\"remaining\":15,\"limit\":20,\
             \"isUnlimited\":false,\"hasExceeded\":false},\
             \"monthlyUsage\":{\"year\":2025,\"month\":11,\"currentUsage\":45,\"remaining\":55,\"limit\":100,\
             \"isUnlimited\":false,\"hasExceeded\":false},\
             \"limitStatus\":{\"hasActiveLimits\":true,\"hasExceededDailyLimit\":false,\
             \"hasExceededMonthlyLimit\":false,\"subscriptionTier\":\"PREMIUM\",\
             \"message\":\"Generation allowed\"}}"
        );
    }

    #[test]
    fn unlimited_is_minus_one_and_never_exceeded() {
        let body = ImageUsage::of(&usage(None, 5_000, None, 45_000));
        for count in [&body.daily_usage.count, &body.monthly_usage.count] {
            assert_eq!((count.limit, count.remaining), (-1, -1));
            assert_eq!((count.is_unlimited, count.has_exceeded), (true, false));
        }
        assert_eq!(body.monthly_usage.count.current_usage, 45_000);
        assert!(body.can_generate && !body.limit_status.has_active_limits);
    }

    #[test]
    fn either_spent_limit_stops_generations_and_is_named() {
        let of = |daily, monthly| {
            let body = ImageUsage::of(&usage(Some(20), daily, Some(100), monthly));
            let status = &body.limit_status;
            assert_eq!(status.message, "Generation limit exceeded");
            (body.can_generate, status.has_exceeded_daily_limit, status.has_exceeded_monthly_limit)
        };
        assert_eq!(of(20, 45), (false, true, false));
        assert_eq!(of(5, 100), (false, false, true));
    }

    #[test]
    fn dates_are_those_of_the_user_s_calendar() {
        // 2025-11-22T08:26:40Z is the evening of the 21st in Honolulu, whose month began on the 25th of October.
        let calendar = Calendar::parse("Pacific/Honolulu", 25).unwrap();
        let body = ImageUsage::of(&Usage { calendar, ..usage(Some(20), 5, Some(100), 45) });
        assert_eq!(body.daily_usage.date, "2025-11-21");
        assert_eq!((body.monthly_usage.year, body.monthly_usage.month), (2025, 10));
    }

    #[test]
    fn an_id_is_a_number_only_where_nothing_is_lost() {
        let of = |id: &str| UserId::of(&Subject::user(id).unwrap());
        assert_eq!(of("123"), UserId::Number(123));
        assert_eq!(of("9007199254740991"), UserId::Number(9_007_199_254_740_991));
        for id in ["user_123", "0123", "+1", "9007199254740992", "99999999999999999999"] {
            assert_eq!(of(id), UserId::Text(id.to_owned()));
        }
    }
}

//! What usage adds up to. Days and months are those of UTC; of a path the root stands for all of it; shares are in thousandths.

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::Utc;
use serde::Serialize;
use utoipa::ToSchema;

/// What was sent on some days, and by how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Summary {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// Units of the metric for messages.
    pub total_messages: i64,
    /// Units of the metric for premium messages.
    pub premium_messages: i64,
    /// Root subjects with a message on any of the days.
    pub active_users: i64,
    /// Each of the days, in order.
    pub days: Vec<DaySummary>,
}

/// What was sent on a day, and by how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DaySummary {
    /// The day.
    pub date: NaiveDate,
    /// Units of the metric for messages.
    pub total_messages: i64,
    /// Units of the metric for premium messages.
    pub premium_messages: i64,
    /// Root subjects with a message.
    pub active_users: i64,
}

/// The subjects that used most of a metric in a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TopSubjects {
    /// First day of the month.
    pub month: NaiveDate,
    /// What was counted.
    pub metric: String,
    /// Those that used most, the first first.
    pub subjects: Vec<SubjectUsage>,
}

/// What a subject used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubjectUsage {
    /// The root subject.
    #[schema(example = "user:u_1")]
    pub subject: String,
    /// Events that charged the metric.
    pub events: i64,
    /// Units charged, less those refunded.
    pub units: i64,
    /// Its share of all units, in thousandths.
    pub share_permille: i64,
}

/// How the units of a metric are spread over subjects in a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Distribution {
    /// First day of the month.
    pub month: NaiveDate,
    /// What was counted.
    pub metric: String,
    /// Root subjects that used it.
    pub subjects: i64,
    /// Units of all of them.
    pub units: i64,
    /// Half of the subjects used at most so many units; 0 without subjects, like the others.
    pub p50: i64,
    /// Nine in ten used at most so many.
    pub p90: i64,
    /// 99 in a hundred used at most so many.
    pub p99: i64,
    /// The most that one used.
    pub max: i64,
    /// How many subjects used how much; empty buckets are left out.
    pub buckets: Vec<Bucket>,
}

/// Subjects that used about as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Bucket {
    /// The fewest units.
    pub from: i64,
    /// Fewer units than these; `null` for the last bucket.
    #[schema(required)]
    pub below: Option<i64>,
    /// How many subjects.
    pub subjects: i64,
}

/// What each model charged on some days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelShares {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// What was counted.
    pub metric: String,
    /// The models, the most used first.
    pub models: Vec<ModelUsage>,
}

/// What a model charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelUsage {
    /// The model; empty when a metric was named.
    #[schema(example = "claude-sonnet-4")]
    pub model: String,
    /// Events that charged the metric.
    pub events: i64,
    /// Units charged, less those refunded.
    pub units: i64,
    /// Its share of all units, in thousandths.
    pub share_permille: i64,
}

/// How many requests were refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DenialRate {
    /// What the limits count.
    pub metric: String,
    /// Requests refused, with those that reached no limit and so name no metric.
    pub denied: i64,
    /// Events that charged the metric.
    pub accepted: i64,
    /// The refused in all requests, in thousandths.
    pub denied_permille: i64,
    /// Each hour with a request, in order.
    pub hours: Vec<DenialHour>,
    /// Why, the most frequent first.
    pub codes: Vec<DenialCount>,
    /// On which model, the most frequent first.
    pub models: Vec<DenialCount>,
}

/// How many requests were refused in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DenialHour {
    /// First instant of the hour.
    pub hour: DateTime<Utc>,
    /// Requests refused.
    pub denied: i64,
    /// Events that charged the metric.
    pub accepted: i64,
}

/// How many requests were refused for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DenialCount {
    /// The code of the answer, or the model.
    pub name: String,
    /// Requests refused.
    pub denied: i64,
}

/// What was used in each of some months.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MonthOverMonth {
    /// What was counted.
    pub metric: String,
    /// The months, in order.
    pub months: Vec<MonthUsage>,
}

/// What was used in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MonthUsage {
    /// First day of the month.
    pub month: NaiveDate,
    /// Events that charged the metric.
    pub events: i64,
    /// Units charged, less those refunded.
    pub units: i64,
    /// Root subjects with an event.
    pub active_subjects: i64,
    /// How much more than in the month before, in thousandths of it; `null` when that had none.
    #[schema(required)]
    pub change_permille: Option<i64>,
}

/// A counter that is near its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NearLimit {
    /// The level of a subject.
    #[schema(example = "user:u_1")]
    pub subject: String,
    /// The limit's name.
    #[schema(example = "messages-month")]
    pub limit: String,
    /// Units used in the window, as Postgres knows them.
    pub used: u64,
    /// The most units in the window.
    pub max: u64,
    /// The share that is used, in thousandths.
    pub used_permille: u64,
    /// When the window ends.
    pub resets_at: DateTime<Utc>,
}

/// A part of a whole in thousandths, rounded; 0 when there is no whole.
#[must_use]
pub fn permille(part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return 0;
    }
    let (part, whole) = (i128::from(part), i128::from(whole));
    let rounded = (part * 2_000 + whole).div_euclid(whole * 2);
    i64::try_from(rounded).unwrap_or(if part < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_to_thousandths() {
        assert_eq!((permille(1, 3), permille(2, 3), permille(1, 2)), (333, 667, 500));
        assert_eq!((permille(7, 0), permille(0, 7), permille(7, 7)), (0, 0, 1_000));
        assert_eq!((permille(-1, 2), permille(i64::MAX, 1)), (-500, i64::MAX));
    }

    #[test]
    fn a_share_beyond_all_numbers_is_the_last_one_on_its_side() {
        assert_eq!(permille(i64::MAX, 1), i64::MAX);
        assert_eq!(permille(i64::MIN, 1), i64::MIN);
    }
}

//! The queries of analysts.

use std::ops::RangeInclusive;

use chrono::NaiveDate;
use serde::Deserialize;

use crate::http::error::ApiError;
use crate::http::fields;
use crate::http::state::Api;

/// The metric of messages, as the chat's catalogue names it.
pub(super) const MESSAGES: &str = "messages";
const PREMIUM_MESSAGES: &str = "premium_messages";
const DAYS_DEFAULT: u32 = 7;
const DAYS_MAX: u32 = 92;
const MONTHS_DEFAULT: u32 = 2;
const MONTHS_MAX: u32 = 13;
const TOP_DEFAULT: u32 = 10;
const TOP_MAX: u32 = 1_000;
const PERCENT_DEFAULT: u32 = 80;
const NEAR_DEFAULT: u32 = 100;

/// Which days, and what is a message.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SummaryQuery {
    /// How many days, with today.
    #[param(minimum = 1, maximum = 92, default = 7)]
    days: Option<u32>,
    /// The metric that counts messages.
    #[param(default = "messages")]
    metric: Option<String>,
    /// The metric that counts premium messages.
    #[param(default = "premium_messages")]
    premium_metric: Option<String>,
}

/// Which days, and which metric.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DaysQuery {
    /// How many days, with today.
    #[param(minimum = 1, maximum = 92, default = 7)]
    days: Option<u32>,
    /// What is counted.
    #[param(default = "messages")]
    metric: Option<String>,
}

/// Which month, and which metric.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MonthQuery {
    /// The month; this one when absent.
    #[param(example = "2026-11")]
    month: Option<String>,
    /// What is counted.
    #[param(default = "messages")]
    metric: Option<String>,
}

/// Which month, which metric, and how many.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TopQuery {
    /// The month; this one when absent.
    #[param(example = "2026-11")]
    month: Option<String>,
    /// What is counted.
    #[param(default = "messages")]
    metric: Option<String>,
    /// The most subjects in the answer.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<u32>,
}

/// How many months, and which metric.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MonthsQuery {
    /// How many months, with this one.
    #[param(minimum = 1, maximum = 13, default = 2)]
    months: Option<u32>,
    /// What is counted.
    #[param(default = "messages")]
    pub(super) metric: Option<String>,
}

/// How near, and to the limits of which metric.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NearLimitQuery {
    /// What is counted.
    #[param(default = "messages")]
    pub(super) metric: Option<String>,
    /// The share of the limit from which a counter is near it.
    #[param(minimum = 1, maximum = 100, default = 80)]
    percent: Option<u32>,
    /// The most counters in the answer.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

impl SummaryQuery {
    pub(super) fn days(&self) -> Result<u32, ApiError> {
        within("days", self.days, DAYS_DEFAULT, 1..=DAYS_MAX)
    }

    pub(super) fn metric(&self, api: &Api) -> Result<String, ApiError> {
        metric(api, self.metric.as_deref(), MESSAGES)
    }

    pub(super) fn premium_metric(&self, api: &Api) -> Result<String, ApiError> {
        metric(api, self.premium_metric.as_deref(), PREMIUM_MESSAGES)
    }
}

impl DaysQuery {
    pub(super) fn days(&self) -> Result<u32, ApiError> {
        within("days", self.days, DAYS_DEFAULT, 1..=DAYS_MAX)
    }

    pub(super) fn metric(&self, api: &Api) -> Result<String, ApiError> {
        metric(api, self.metric.as_deref(), MESSAGES)
    }
}

impl MonthQuery {
    pub(super) fn month(&self, api: &Api) -> Result<NaiveDate, ApiError> {
        month(api, self.month.as_deref())
    }

    pub(super) fn metric(&self, api: &Api) -> Result<String, ApiError> {
        metric(api, self.metric.as_deref(), MESSAGES)
    }
}

impl TopQuery {
    pub(super) fn month(&self, api: &Api) -> Result<NaiveDate, ApiError> {
        month(api, self.month.as_deref())
    }

    pub(super) fn metric(&self, api: &Api) -> Result<String, ApiError> {
        metric(api, self.metric.as_deref(), MESSAGES)
    }

    pub(super) fn limit(&self) -> Result<u32, ApiError> {
        within("limit", self.limit, TOP_DEFAULT, 1..=TOP_MAX)
    }
}

impl MonthsQuery {
    pub(super) fn months(&self) -> Result<u32, ApiError> {
        within("months", self.months, MONTHS_DEFAULT, 1..=MONTHS_MAX)
    }
}

impl NearLimitQuery {
    pub(super) fn percent(&self) -> Result<u8, ApiError> {
        let percent = within("percent", self.percent, PERCENT_DEFAULT, 1..=100)?;
        u8::try_from(percent).map_err(|error| ApiError::Internal(error.into()))
    }

    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        Ok(within("limit", self.limit, NEAR_DEFAULT, 1..=TOP_MAX)? as usize)
    }
}

/// The metric that is asked for, which the catalogue must define; the chat's when none is named, whatever the catalogue.
pub(super) fn metric(api: &Api, name: Option<&str>, default: &str) -> Result<String, ApiError> {
    let Some(name) = name else { return Ok(default.to_owned()) };
    let metric = fields::metric(name)?;
    let is_known = api.quota.has_metric(&metric);
    is_known.then(|| name.to_owned()).ok_or(ApiError::UnknownMetric)
}

/// `2026-11` as the first day of that month.
fn month(api: &Api, text: Option<&str>) -> Result<NaiveDate, ApiError> {
    let Some(text) = text else { return Ok(api.quota.this_month()) };
    let digits = text.len() == 7 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let parsed = digits.then(|| format!("{text}-01").parse().ok()).flatten();
    parsed.ok_or_else(|| ApiError::invalid("month", "must be a month such as 2026-11"))
}

fn within(
    field: &'static str,
    value: Option<u32>,
    default: u32,
    bounds: RangeInclusive<u32>,
) -> Result<u32, ApiError> {
    let value = value.unwrap_or(default);
    let rule = format_args!("must be {} to {}", bounds.start(), bounds.end());
    if bounds.contains(&value) { Ok(value) } else { Err(ApiError::invalid(field, rule)) }
}

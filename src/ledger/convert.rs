//! Numbers, instants and documents between this crate and Postgres, whose integers are signed.

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::Utc;
use serde_json::value::RawValue;
use tokio_postgres::types::Json;

use super::error::LedgerError;

/// The first instant of the year 10000; later ones have no four-digit year.
const INSTANT_END_MS: i64 = 253_402_300_800_000;

/// A count for a bigint.
pub(super) fn signed(count: u64) -> Result<i64, LedgerError> {
    i64::try_from(count).map_err(|error| LedgerError::BadData(error.into()))
}

/// A bigint that is never negative.
pub(super) fn unsigned(count: i64) -> Result<u64, LedgerError> {
    u64::try_from(count).map_err(|error| LedgerError::Internal(error.into()))
}

/// A bigint that is a shard's number or the number of shards.
pub(super) fn small(count: i64) -> Result<u16, LedgerError> {
    u16::try_from(count).map_err(|error| LedgerError::Internal(error.into()))
}

/// An instant from Unix milliseconds, between 1970 and 9999.
pub(super) fn instant_ms(at_ms: i64) -> Result<DateTime<Utc>, LedgerError> {
    let known = (0..INSTANT_END_MS).contains(&at_ms);
    known
        .then(|| DateTime::from_timestamp_millis(at_ms))
        .flatten()
        .ok_or_else(|| LedgerError::BadData("an instant is not between 1970 and 9999".into()))
}

/// An instant from Unix seconds, between 1970 and 9999.
pub(super) fn instant_s(at_s: i64) -> Result<DateTime<Utc>, LedgerError> {
    instant_ms(at_s.saturating_mul(1_000))
}

/// A date from days since 1970-01-01, between 1970 and 9999.
pub(super) fn date(day: i64) -> Result<NaiveDate, LedgerError> {
    instant_s(day.saturating_mul(86_400)).map(|at| at.date_naive())
}

/// A document for a jsonb, from JSON text.
pub(super) fn json(text: &str) -> Result<Json<&RawValue>, LedgerError> {
    serde_json::from_str(text).map(Json).map_err(|error| LedgerError::BadData(error.into()))
}

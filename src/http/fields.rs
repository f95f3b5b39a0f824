//! Fields, parameters and path segments that several routes read.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use super::error::ApiError;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;

/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 500;

/// The subject that is a path's one parameter.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming the rule that it breaks.
pub fn subject(path: Result<Path<String>, PathRejection>) -> Result<Subject, ApiError> {
    let Path(text) = path.map_err(|_| undecodable("subject"))?;
    Subject::parse(&text).map_err(ApiError::subject)
}

/// The subject of a path, and the parameter that follows it.
///
/// # Errors
///
/// As [`subject`].
pub fn subject_and<T>(
    path: Result<Path<(String, T)>, PathRejection>,
) -> Result<(Subject, T), ApiError> {
    let Path((text, rest)) = path.map_err(|_| undecodable("subject"))?;
    Ok((Subject::parse(&text).map_err(ApiError::subject)?, rest))
}

/// A path segment that is not UTF-8 once it is decoded.
#[must_use]
pub fn undecodable(field: &'static str) -> ApiError {
    ApiError::invalid(field, "must be percent-encoded utf-8")
}

/// What people say of a grant or a gift; an empty text is none.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming the bound.
pub fn note(note: Option<String>) -> Result<Option<String>, ApiError> {
    let fits = |text: &String| text.len() <= NOTE_BYTES_MAX && !text.chars().any(char::is_control);
    let rule = format_args!("must be at most {NOTE_BYTES_MAX} bytes without control characters");
    if !note.as_ref().is_none_or(fits) {
        return Err(ApiError::invalid("note", rule));
    }
    Ok(note.filter(|text| !text.is_empty()))
}

/// A metric by its name.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming the rule that it breaks.
pub fn metric(name: &str) -> Result<Metric, ApiError> {
    Metric::new(name).map_err(|error| ApiError::invalid("metric", error))
}

/// A period by its name.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming those that there are.
pub fn period(name: &str) -> Result<Period, ApiError> {
    let rule = "must be minute, hour, day, week, month or lifetime";
    Period::named(name).ok_or_else(|| ApiError::invalid("period", rule))
}

//! What is told of a reservation that has ended.

use axum::http::StatusCode;

use super::error::ApiError;
use super::problem_code::ProblemCode;
use crate::domain::Units;
use crate::quota::HoldEnd;

/// A reservation that has ended, or is there already.
pub(super) fn ended(end: HoldEnd, amount: Units) -> ApiError {
    let amount = amount.get();
    let (status, code, detail) = match end {
        HoldEnd::Committed | HoldEnd::CommittedLate => (
            StatusCode::CONFLICT,
            ProblemCode::ReservationAlreadyCommitted,
            format!("the reservation was committed before, with the amount {amount}"),
        ),
        HoldEnd::Released => (
            StatusCode::CONFLICT,
            ProblemCode::ReservationAlreadyReleased,
            "the reservation was released before".to_owned(),
        ),
        HoldEnd::Expired => (
            StatusCode::GONE,
            ProblemCode::ReservationExpired,
            "the reservation has expired".to_owned(),
        ),
        HoldEnd::Open => (
            StatusCode::CONFLICT,
            ProblemCode::ReservationExists,
            format!("the reservation is there already, with the amount {amount}"),
        ),
    };
    ApiError::unfit(status, code, detail)
}

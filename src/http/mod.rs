//! The HTTP edge: it parses, makes one use-case call and replies.
//!
//! **Architecture invariant:** nothing here knows Redis or Postgres, and errors become statuses in
//! [`error::ApiError::status_and_code`] alone. [`layers::edge`] is the only layer, so that a decision passes through
//! one piece of code on its way in and out.

pub mod auth;
pub mod batch_body;
pub mod batch_results;
pub mod body;
pub mod decision;
pub mod docs;
pub mod documented;
pub mod error;
pub mod fields;
pub mod forwarded;
pub mod hold;
mod hold_end;
pub mod idempotency;
pub mod jwt;
pub mod layers;
pub mod limit_body;
mod limit_texts;
pub mod order_body;
mod patience;
pub mod precondition;
pub mod problem;
pub mod problem_code;
pub mod rate_limit_headers;
pub mod reply;
pub mod request_id;
pub mod reserve_body;
pub mod router;
pub mod routes;
#[cfg(test)]
mod samples;
pub mod series;
pub mod state;
pub mod subject_path;
mod text;

pub use jwt::JwtError;
pub use patience::PatientListener;
pub use router::openapi;
pub use router::router;
pub use state::Api;

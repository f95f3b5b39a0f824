//! What a gateway asks for, in headers and in the query.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use serde::Deserialize;

use super::auth::Gateway;
use super::error::ApiError;
use super::order_body;
use crate::domain::Amount;
use crate::domain::Subject;
use crate::quota::Ask;

/// Who is charged.
pub const X_HEADROOM_SUBJECT: HeaderName = HeaderName::from_static("x-headroom-subject");
const X_HEADROOM_MODEL: HeaderName = HeaderName::from_static("x-headroom-model");
const X_HEADROOM_METRIC: HeaderName = HeaderName::from_static("x-headroom-metric");

/// What the gateway's configuration says, in the address that it asks.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ForwardAuthQuery {
    /// Who is charged. Absent: `X-Headroom-Subject` beside an API key, or else the user of the token.
    #[param(example = "user:u_1")]
    pub subject: Option<String>,
    /// A chat model; the catalogue says which metrics it charges.
    #[param(example = "claude-sonnet-4")]
    pub model: Option<String>,
    /// One metric. Exactly one of `model` and `metric` is given, here or as a header.
    #[param(example = "messages")]
    pub metric: Option<String>,
    /// How often; 0 looks without charging.
    #[param(default = 1, minimum = 0, maximum = 2_147_483_648_u64)]
    pub amount: Option<u64>,
    /// `403` answers a refusal with 403 instead of 429, for gateways that know no other: nginx makes 500 of the rest.
    #[param(example = "403")]
    pub deny: Option<String>,
}

/// What a gateway asks for, within every rule of form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Who is charged.
    pub subject: Subject,
    /// What is charged.
    pub ask: Ask,
    /// How often.
    pub amount: Amount,
}

impl Forwarded {
    /// Reads the query, and the headers when whoever sends them holds an API key.
    ///
    /// # Errors
    ///
    /// [`ApiError::NoCredential`] when nothing names who is charged, and [`ApiError::InvalidRequest`] when something is
    /// named twice or breaks a rule of form: a header that slips through from a gateway's caller then stops the request.
    pub fn of<P>(
        gateway: &Gateway<P>,
        headers: &HeaderMap,
        query: ForwardAuthQuery,
    ) -> Result<Self, ApiError> {
        let header = |name: &HeaderName| headers.get(name).filter(|_| gateway.holds_key());
        let one = |field: &'static str, given: Option<String>, name: HeaderName| {
            let Some(value) = header(&name) else { return Ok(given) };
            let text = value.to_str().map_err(|_| ApiError::invalid(field, "must be ascii"))?;
            match given {
                Some(_) => Err(ApiError::invalid(field, "is named by a header and by the query")),
                None => Ok(Some(text.to_owned())),
            }
        };
        let subject = one("subject", query.subject, X_HEADROOM_SUBJECT)?;
        let model = one("model", query.model, X_HEADROOM_MODEL)?;
        let metric = one("metric", query.metric, X_HEADROOM_METRIC)?;
        Ok(Self {
            subject: match subject {
                Some(text) => Subject::parse(&text).map_err(ApiError::subject)?,
                None => gateway.user().cloned().ok_or(ApiError::NoCredential)?,
            },
            ask: order_body::named(model, metric)?,
            amount: query.amount.map_or(Ok(Amount::ONE), order_body::amount)?,
        })
    }
}

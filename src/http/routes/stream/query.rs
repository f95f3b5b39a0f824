//! What of the feed is asked for.

use serde::Deserialize;

use crate::domain::SignalKind;
use crate::domain::Subject;
use crate::http::auth::Caller;
use crate::http::auth::Identity;
use crate::http::auth::Read;
use crate::http::error::ApiError;
use crate::quota::FeedItem;
use crate::quota::FeedPlace;
use crate::quota::is_within;

/// Which events are asked for: those that fit all that is given.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Only what is about this subject, and all below it.
    #[param(example = "org:acme", max_length = 512)]
    subject: Option<String>,
    /// Only these types, joined by commas.
    #[param(example = "quota-denied,quota-warning")]
    types: Option<String>,
    /// The id of the last event that was read, for clients that cannot send `Last-Event-ID`.
    #[param(example = "12.5")]
    last_event_id: Option<String>,
}

/// What of the feed a caller gets.
pub(super) struct Filter {
    /// `None` is all, also what is about no subject.
    prefix: Option<String>,
    /// `None` is all.
    kinds: Option<Vec<SignalKind>>,
}

impl StreamQuery {
    /// The filter, within what the caller reaches.
    pub(super) fn filter(&self, caller: &Caller<Read>) -> Result<Filter, ApiError> {
        let kinds = self.types.as_deref().map(kinds_of).transpose()?;
        let prefix = match &self.subject {
            Some(path) => {
                let subject =
                    Subject::parse(path).map_err(|error| ApiError::invalid("subject", error))?;
                Some(caller.reach(subject)?.as_str().to_owned())
            }
            None => match &caller.identity {
                Identity::Key(grant) => grant.subject_prefix.clone(),
                Identity::EndUser(user) => Some(user.as_str().to_owned()),
            },
        };
        Ok(Filter { prefix, kinds })
    }

    pub(super) fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }
}

impl Filter {
    pub(super) fn takes(&self, item: &FeedItem) -> bool {
        let is_asked = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&item.kind));
        is_asked && is_within(item, self.prefix.as_deref())
    }
}

fn kinds_of(names: &str) -> Result<Vec<SignalKind>, ApiError> {
    let kinds: Option<_> = names.split(',').map(SignalKind::named).collect();
    kinds.ok_or_else(|| {
        let known = SignalKind::ALL.map(SignalKind::as_str).join(", ");
        ApiError::invalid("types", format_args!("must be of {known}"))
    })
}

/// The place that an event's id names.
pub(super) fn place_of(id: &str) -> Result<FeedPlace, ApiError> {
    let place = id.split_once('.').and_then(|(row, number)| {
        Some(FeedPlace { row: row.parse().ok()?, number: number.parse().ok()? })
    });
    let bounded = place.filter(|place| (1..1 << 62).contains(&place.row));
    bounded.ok_or_else(|| ApiError::invalid("Last-Event-ID", "must be the id of an event"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_place_and_nothing_else_does() {
        assert_eq!(place_of("12.5").unwrap(), FeedPlace { row: 12, number: 5 });
        for wrong in ["", "12", "0.1", "12.", "-1.2", "9223372036854775807.1"] {
            assert!(place_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn types_are_known_ones() {
        let kinds = kinds_of("quota-denied,abuse-detected").unwrap();
        assert_eq!(kinds, [SignalKind::Denied, SignalKind::Abuse]);
        assert!(kinds_of("quota-denied,").is_err() && kinds_of("gift").is_err());
    }
}

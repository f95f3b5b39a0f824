//! Profiles: what is configured for one subject.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Deserialize;
use serde::Serialize;

use super::calendar::AnchorDay;
use super::calendar::Calendar;
use super::calendar::time_zone;
use super::catalogue::Catalogue;
use super::catalogue::CatalogueError;
use super::grant::Grant;
use super::limit::Limit;
use super::restraint::Block;
use super::restraint::Restraint;

/// What is configured for one subject. A subject without a profile has [`Profile::NOTHING`].
///
/// Kept as JSON of at most [`Profile::BYTES_MAX`] bytes; what has its default is left out, so that nothing configured is
/// `{}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// The subject's plan; `None` takes that of its scope, or of the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Limits of its own, at most 32. One replaces the plan's with the same metric, period and `each`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Features that are on or off whatever the plans say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, bool>,
    /// The zone whose local dates count.
    #[serde(with = "time_zone", skip_serializing_if = "is_utc")]
    #[schema(value_type = String, default = "UTC", example = "Europe/Berlin")]
    pub time_zone: Tz,
    /// The day on which months begin.
    #[serde(skip_serializing_if = "is_first")]
    #[schema(value_type = u8, default = 1, minimum = 1, maximum = 31)]
    pub anchor_day: AnchorDay,
    /// Whether every request is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Bonus units, at most [`Grant::OPEN_MAX`], the earliest expiry first. The store adds them to what an admin puts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(ignore)]
    pub grants: Vec<Grant>,
    /// What rules have put on it, at most [`Restraint::IN_FORCE_MAX`]. The store adds them to what an admin puts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(ignore)]
    pub restraints: Vec<Restraint>,
}

/// Why something is not a profile, or does not fit the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON of this form. The message names the field.
    #[error("not a profile: {0}")]
    Syntax(String),
    /// Grants have routes of their own.
    #[error("grants are no part of a profile that is put; give them by POST …/grants")]
    Grants,
    /// Rules put restraints on subjects.
    #[error("restraints are no part of a profile that is put; rules make them")]
    Restraints,
    /// Only what roots use is summed up by the day.
    #[error("limits[{0}]: dynamic is for the root of a path, such as user:u_1")]
    DynamicBelowRoot(usize),
    /// More text than a subject's hash should carry.
    #[error("a profile must have at most {max} bytes of JSON, got {0}", max = Profile::BYTES_MAX)]
    TooLong(usize),
    /// A name that the catalogue does not define, or limits that do not fit it.
    #[error(transparent)]
    Misfit(#[from] CatalogueError),
}

impl Profile {
    /// The longest JSON text of a profile, in bytes.
    pub const BYTES_MAX: usize = 8_192;
    /// The longest stored text: Postgres puts a space behind each colon and comma.
    pub const STORED_BYTES_MAX: usize = 2
        * (Self::BYTES_MAX
            + Grant::OPEN_MAX * Grant::BYTES_MAX
            + Restraint::IN_FORCE_MAX * Restraint::BYTES_MAX);

    /// Nothing is configured.
    pub const NOTHING: Self = Self {
        plan: None,
        limits: Vec::new(),
        features: BTreeMap::new(),
        time_zone: Tz::UTC,
        anchor_day: AnchorDay::FIRST,
        blocked: false,
        grants: Vec::new(),
        restraints: Vec::new(),
    };

    /// Reads a JSON text. Whether the catalogue knows what it names is for [`Profile::check`] to say.
    ///
    /// # Errors
    ///
    /// [`ProfileError::TooLong`] and [`ProfileError::Syntax`].
    pub fn parse(json: &str) -> Result<Self, ProfileError> {
        if json.len() > Self::BYTES_MAX {
            return Err(ProfileError::TooLong(json.len()));
        }
        serde_json::from_str(json).map_err(|error| ProfileError::Syntax(error.to_string()))
    }

    /// Reads a profile that was checked and stored: as [`Profile::parse`], with room for the spaces of the store.
    ///
    /// # Errors
    ///
    /// [`ProfileError::TooLong`] and [`ProfileError::Syntax`].
    pub fn parse_stored(json: &str) -> Result<Self, ProfileError> {
        if json.len() > Self::STORED_BYTES_MAX {
            return Err(ProfileError::TooLong(json.len()));
        }
        serde_json::from_str(json).map_err(|error| ProfileError::Syntax(error.to_string()))
    }

    /// The profile as a JSON text that [`Profile::parse`] reads back.
    ///
    /// # Panics
    ///
    /// Never: every field has a form in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("every field has a form in JSON")
    }

    /// Whether the profile is within its bounds, and the catalogue defines all that it names.
    ///
    /// # Errors
    ///
    /// [`ProfileError`] naming the first field that is wrong.
    pub fn check(&self, catalogue: &Catalogue) -> Result<(), ProfileError> {
        if !self.grants.is_empty() {
            return Err(ProfileError::Grants);
        }
        if !self.restraints.is_empty() {
            return Err(ProfileError::Restraints);
        }
        let bytes = self.to_json().len();
        if bytes > Self::BYTES_MAX {
            return Err(ProfileError::TooLong(bytes));
        }
        if let Some(plan) = &self.plan {
            catalogue.check_plan_name("plan", plan)?;
        }
        catalogue.check_limits("limits", &self.limits)?;
        for feature in self.features.keys() {
            catalogue.check_feature("features", feature)?;
        }
        Ok(())
    }

    /// Why every request is refused: by an admin, or by the rule whose block ends last.
    #[must_use]
    pub fn block(&self) -> Option<Block> {
        if self.blocked {
            return Some(Block::ByAdmin);
        }
        let ends_s = self.restraints.iter().filter_map(Restraint::block_ends_s).max();
        ends_s.map(|ends_s| Block::ByRule { ends_s })
    }

    /// The calendar that the subject's days, weeks and months follow.
    #[must_use]
    pub const fn calendar(&self) -> Calendar {
        Calendar { zone: self.time_zone, anchor_day: self.anchor_day }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::NOTHING
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field")]
fn is_utc(zone: &Tz) -> bool {
    *zone == Tz::UTC
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field")]
fn is_first(day: &AnchorDay) -> bool {
    *day == AnchorDay::FIRST
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = concat!(
        r#"{"plan":"team","limits":[{"metric":"messages","period":"month","max":5}],"#,
        r#""features":{"export":false,"sso":true},"#,
        r#""time_zone":"Pacific/Apia","anchor_day":31,"blocked":true}"#,
    );

    fn catalogue() -> Catalogue {
        let text = "metrics = ['messages']\nfeatures = ['export', 'sso']\n[plans.team]";
        Catalogue::parse(text).unwrap()
    }

    #[test]
    fn nothing_configured_is_an_empty_object() {
        assert_eq!(Profile::parse("{}").unwrap(), Profile::NOTHING);
        assert_eq!(Profile::default().to_json(), "{}");
        assert_eq!(Profile::NOTHING.calendar(), Calendar::UTC);
        assert_eq!(Profile::NOTHING.check(&catalogue()), Ok(()));
    }

    #[test]
    fn a_profile_reads_back_as_it_was_written() {
        let profile = Profile::parse(FULL).unwrap();
        assert_eq!(profile.to_json(), FULL);
        assert_eq!(profile.calendar(), Calendar::parse("Pacific/Apia", 31).unwrap());
        assert_eq!(profile.check(&catalogue()), Ok(()));
    }

    #[test]
    fn what_is_no_profile_is_refused_with_the_field() {
        for (json, wanted) in [
            (r#"{"color": 1}"#, "unknown field `color`"),
            (r#"{"time_zone": "Mars/Olympus"}"#, "time_zone must be an IANA time zone"),
            (r#"{"anchor_day": 0}"#, "anchor_day must be 1 to 31, got 0"),
            (r#"{"limits": [{"metric": "messages", "period": "day", "max": -2}]}"#, "max must be"),
            ("", "not a profile: "),
        ] {
            let error = Profile::parse(json).unwrap_err().to_string();
            assert!(error.contains(wanted), "{json}: {error}");
        }
    }

    #[test]
    fn what_the_catalogue_does_not_define_is_refused_with_the_field() {
        for (json, wanted) in [
            (r#"{"plan": "gold"}"#, "plan names the plan \"gold\""),
            (
                r#"{"limits": [{"metric": "tokens", "period": "day"}]}"#,
                "limits[0] names the metric \"tokens\"",
            ),
            (r#"{"features": {"chat": true}}"#, "features names the feature \"chat\""),
            (
                r#"{"limits": [{"metric": "messages", "period": "day", "sliding": true}]}"#,
                "limits[0]: sliding needs",
            ),
        ] {
            let error = Profile::parse(json).unwrap().check(&catalogue()).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_profile_is_bounded_in_limits_and_bytes() {
        let limit = |index: usize| {
            let each = Some(crate::domain::Scope::new(&format!("s{index}")).unwrap());
            let metric = crate::domain::Metric::new("messages").unwrap();
            Limit { each, ..Limit::new(metric, crate::domain::Period::Day, None) }
        };
        let of = |count| Profile { limits: (0..count).map(limit).collect(), ..Profile::NOTHING };
        assert_eq!(of(32).check(&catalogue()), Ok(()));
        let error = of(33).check(&catalogue()).unwrap_err().to_string();
        assert_eq!(error, "limits must have at most 32 entries, got 33");

        let long = Profile { plan: Some("p".repeat(Profile::BYTES_MAX)), ..Profile::NOTHING };
        let error = ProfileError::TooLong(long.to_json().len());
        assert_eq!(long.check(&catalogue()), Err(error.clone()));
        assert_eq!(Profile::parse(&long.to_json()), Err(error));
    }

    #[test]
    fn lengths_end_where_they_are_said_to() {
        let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
        let (most, stored) = (Profile::BYTES_MAX, Profile::STORED_BYTES_MAX);
        assert_eq!((most, stored), (8_192, 40_960));
        assert_eq!(Profile::parse(&padded(most)), Ok(Profile::NOTHING));
        assert_eq!(Profile::parse(&padded(most + 1)), Err(ProfileError::TooLong(most + 1)));
        assert_eq!(Profile::parse_stored(&padded(stored)), Ok(Profile::NOTHING));
        assert_eq!(
            Profile::parse_stored(&padded(stored + 1)),
            Err(ProfileError::TooLong(stored + 1))
        );
        assert_eq!(Profile::parse_stored(FULL), Profile::parse(FULL));
    }

    #[test]
    fn a_profile_of_the_most_bytes_passes_that_check() {
        let named = |length: usize| Profile { plan: Some("p".repeat(length)), ..Profile::NOTHING };
        let most = Profile::BYTES_MAX - named(0).to_json().len();
        let is_too_long =
            |length| matches!(named(length).check(&catalogue()), Err(ProfileError::TooLong(_)));
        assert!(!is_too_long(most) && is_too_long(most + 1));
    }
}

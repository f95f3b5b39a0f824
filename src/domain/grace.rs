//! How far a soft limit goes past its `max`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Visitor;

use super::units::Units;

/// What a soft limit accepts past its `max`: some units, or a share of `max`.
///
/// In TOML and JSON an integer of units or a text such as `"10%"`. No share at all is no units: [`Grace::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grace {
    /// So many units.
    Units(Units),
    /// A share of `max` in percent, 1–1000, rounded down to whole units.
    Percent(u16),
}

/// A grace that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grace must be 0 to 9007199254740991 units, or \"0%\" to \"1000%\"")]
pub struct BadGrace;

impl Grace {
    /// Nothing past `max`, the default.
    pub const NONE: Self = Self::Units(Units::ZERO);
    /// The largest share, in percent.
    pub const PERCENT_MAX: u16 = 1_000;

    /// The units past `max` that are accepted.
    #[must_use]
    pub fn of(self, max: Units) -> Units {
        match self {
            Self::Units(units) => units,
            Self::Percent(percent) => {
                let share = u128::from(max.get()) * u128::from(percent) / 100;
                Units::ZERO.saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
            }
        }
    }

    fn units(count: u64) -> Result<Self, BadGrace> {
        Units::new(count).map(Self::Units).map_err(|_| BadGrace)
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromStr for Grace {
    type Err = BadGrace;

    /// Reads `"25"` and `"10%"`.
    fn from_str(text: &str) -> Result<Self, BadGrace> {
        let Some(percent) = text.strip_suffix('%') else {
            return Self::units(text.parse().map_err(|_| BadGrace)?);
        };
        match percent.parse() {
            Ok(0) => Ok(Self::NONE),
            Ok(percent) if percent <= Self::PERCENT_MAX => Ok(Self::Percent(percent)),
            _ => Err(BadGrace),
        }
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => units.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Grace {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Units(units) => units.serialize(output),
            Self::Percent(_) => output.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Grace {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(GraceVisitor)
    }
}

struct GraceVisitor;

impl Visitor<'_> for GraceVisitor {
    type Value = Grace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a grace of units or a text such as \"10%\"")
    }

    fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Grace, E> {
        Grace::units(count).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Grace, E> {
        let count = u64::try_from(count).map_err(|_| E::custom(BadGrace))?;
        self.visit_u64(count)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Grace, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_is_units_or_a_share() {
        let parse = |json: &str| serde_json::from_str::<Grace>(json).ok();
        let units = |count| Units::new(count).unwrap();
        for (json, wanted) in [
            ("0", Some(Grace::NONE)),
            ("25", Some(Grace::Units(units(25)))),
            ("\"10%\"", Some(Grace::Percent(10))),
            ("\"1000%\"", Some(Grace::Percent(1_000))),
            ("\"0%\"", Some(Grace::NONE)),
            ("\"1001%\"", None),
            ("\"-1%\"", None),
            ("\"%\"", None),
            ("-1", None),
            ("1.5", None),
            ("9007199254740992", None),
            ("null", None),
        ] {
            assert_eq!(parse(json), wanted, "{json}");
        }
        assert_eq!(serde_json::to_string(&Grace::Percent(10)).unwrap(), "\"10%\"");
        assert_eq!(serde_json::to_string(&Grace::Units(units(5))).unwrap(), "5");
    }

    #[test]
    fn a_share_is_rounded_down_and_held_at_the_largest_count() {
        let of = |percent, max| Grace::Percent(percent).of(Units::new(max).unwrap()).get();
        assert_eq!((of(10, 19), of(10, 20), of(1_000, 3)), (1, 2, 30));
        assert_eq!(of(1_000, Units::MAX.get()), Units::MAX.get());
    }
}

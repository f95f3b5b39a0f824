//! Units, or a share of a limit's `max`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Visitor;

use super::units::Units;

/// A part of a limit's `max`: some units, or a share of it.
///
/// In TOML and JSON an integer of units or a text such as `"10%"`. No share at all is no units: [`Portion::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Portion {
    /// So many units.
    Units(Units),
    /// A share of `max` in percent, 1–1000, rounded down to whole units.
    Percent(u16),
}

/// A portion that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "grace, rollover, hold_max and refund_max must be 0 to 9007199254740991 units, or \"0%\" to \"1000%\""
)]
pub struct BadPortion;

impl Portion {
    /// Nothing.
    pub const NONE: Self = Self::Units(Units::ZERO);
    /// The largest share, in percent.
    pub const PERCENT_MAX: u16 = 1_000;

    /// The units of it that a limit of `max` has.
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

    fn units(count: u64) -> Result<Self, BadPortion> {
        Units::new(count).map(Self::Units).map_err(|_| BadPortion)
    }
}

impl Default for Portion {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromStr for Portion {
    type Err = BadPortion;

    /// Reads `"25"` and `"10%"`.
    fn from_str(text: &str) -> Result<Self, BadPortion> {
        let Some(percent) = text.strip_suffix('%') else {
            return Self::units(text.parse().map_err(|_| BadPortion)?);
        };
        match percent.parse() {
            Ok(0) => Ok(Self::NONE),
            Ok(percent) if percent <= Self::PERCENT_MAX => Ok(Self::Percent(percent)),
            _ => Err(BadPortion),
        }
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => units.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Portion {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Units(units) => units.serialize(output),
            Self::Percent(_) => output.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Portion {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(PortionVisitor)
    }
}

struct PortionVisitor;

impl Visitor<'_> for PortionVisitor {
    type Value = Portion;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("units or a text such as \"10%\"")
    }

    fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Portion, E> {
        Portion::units(count).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Portion, E> {
        let count = u64::try_from(count).map_err(|_| E::custom(BadPortion))?;
        self.visit_u64(count)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Portion, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_units_or_a_share() {
        let parse = |json: &str| serde_json::from_str::<Portion>(json).ok();
        let units = |count| Units::new(count).unwrap();
        for (json, wanted) in [
            ("0", Some(Portion::NONE)),
            ("25", Some(Portion::Units(units(25)))),
            ("\"10%\"", Some(Portion::Percent(10))),
            ("\"1000%\"", Some(Portion::Percent(1_000))),
            ("\"0%\"", Some(Portion::NONE)),
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
        assert_eq!(serde_json::to_string(&Portion::Percent(10)).unwrap(), "\"10%\"");
        assert_eq!(serde_json::to_string(&Portion::Units(units(5))).unwrap(), "5");
    }

    #[test]
    fn a_share_is_rounded_down_and_held_at_the_largest_count() {
        let of = |percent, max| Portion::Percent(percent).of(Units::new(max).unwrap()).get();
        assert_eq!((of(10, 19), of(10, 20), of(1_000, 3)), (1, 2, 30));
        assert_eq!(of(1_000, Units::MAX.get()), Units::MAX.get());
    }
    #[test]
    fn what_is_neither_units_nor_a_text_is_told_what_is_expected() {
        let error = serde_json::from_str::<Portion>("[]").unwrap_err().to_string();
        assert!(error.contains("units or a text such as \"10%\""), "{error}");
    }
}

//! What is counted, and how much of it.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

/// A count of whatever the metric counts, in whole units.
///
/// Never above [`Units::MAX`], so that a Lua number (an `f64`) holds it exactly.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Units(u64);

/// A count above 2^53 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be at most 9007199254740991, got {0}")]
pub struct TooManyUnits(pub u64);

impl Units {
    /// No units.
    pub const ZERO: Self = Self(0);
    /// 2^53 - 1 units.
    pub const MAX: Self = Self(9_007_199_254_740_991);

    /// # Errors
    ///
    /// [`TooManyUnits`] when `count` is above [`Units::MAX`].
    pub const fn new(count: u64) -> Result<Self, TooManyUnits> {
        if count > Self::MAX.0 {
            return Err(TooManyUnits(count));
        }
        Ok(Self(count))
    }

    /// The count as a plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, held at [`Units::MAX`].
    #[must_use]
    pub fn saturating_add(self, other: u64) -> Self {
        Self(self.0.saturating_add(other).min(Self::MAX.0))
    }

    /// The difference, held at zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Amount> for Units {
    fn from(amount: Amount) -> Self {
        Self(amount.0.into())
    }
}

impl TryFrom<u64> for Units {
    type Error = TooManyUnits;

    fn try_from(count: u64) -> Result<Self, TooManyUnits> {
        Self::new(count)
    }
}

impl From<Units> for u64 {
    fn from(units: Units) -> Self {
        units.0
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Units asked for in one call: `0 … 2^31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u32);

/// An amount above 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be between 0 and 2147483648, got {0}")]
pub struct AmountTooLarge(pub u64);

impl Amount {
    /// Nothing, which asks for the state of the limits alone.
    pub const ZERO: Self = Self(0);
    /// One unit, the default.
    pub const ONE: Self = Self(1);
    /// 2^31 units.
    pub const MAX: Self = Self(1 << 31);

    /// # Errors
    ///
    /// [`AmountTooLarge`] when `count` is above [`Amount::MAX`].
    pub fn new(count: u64) -> Result<Self, AmountTooLarge> {
        match u32::try_from(count) {
            Ok(small) if small <= Self::MAX.0 => Ok(Self(small)),
            _ => Err(AmountTooLarge(count)),
        }
    }

    /// The amount as a plain number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The amount times a weight of the catalogue.
    ///
    /// # Errors
    ///
    /// [`AmountTooLarge`] when the product is above [`Amount::MAX`].
    pub fn weighted(self, weight: u32) -> Result<Self, AmountTooLarge> {
        Self::new(u64::from(self.0) * u64::from(weight))
    }
}

/// The name of what is counted: `messages`, `premium_messages`, `tokens`.
///
/// 1–64 bytes of `a-z`, `0-9` and `_`, beginning with a letter, so that it is safe in a key, a header and a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Metric(Arc<str>);

/// A metric's name outside its alphabet or length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of a-z, 0-9 and _, beginning with a letter")]
pub struct BadMetric;

impl Metric {
    /// # Errors
    ///
    /// [`BadMetric`] when `name` is not 1–64 bytes of `a-z0-9_` beginning with a letter.
    pub fn new(name: &str) -> Result<Self, BadMetric> {
        let mut bytes = name.bytes();
        let starts_well = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let goes_on_well = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if starts_well && goes_on_well && name.len() <= 64 {
            return Ok(Self(name.into()));
        }
        Err(BadMetric)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Metric {
    type Error = BadMetric;

    fn try_from(name: String) -> Result<Self, BadMetric> {
        Self::new(&name)
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.0.as_ref().to_owned()
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_units_and_amounts_are_inclusive() {
        assert!(Units::new(Units::MAX.get()).is_ok());
        assert_eq!(Units::new(1 << 53), Err(TooManyUnits(1 << 53)));
        assert_eq!(Amount::new(1 << 31), Ok(Amount::MAX));
        assert_eq!(Amount::new((1 << 31) + 1), Err(AmountTooLarge((1 << 31) + 1)));
    }

    #[test]
    fn a_weight_cannot_push_an_amount_past_its_bound() {
        assert_eq!(Amount::ONE.weighted(3), Amount::new(3));
        assert!(Amount::MAX.weighted(2).is_err());
    }

    #[test]
    fn a_metric_is_a_small_safe_word() {
        assert!(Metric::new("premium_messages").is_ok());
        for bad in ["", "1st", "Messages", "a:b", "a{b}", "a b", &"m".repeat(65)] {
            assert_eq!(Metric::new(bad), Err(BadMetric), "{bad}");
        }
    }
    #[test]
    fn an_amount_is_as_many_units() {
        assert_eq!(Units::from(Amount::new(7).unwrap()).get(), 7);
    }
}

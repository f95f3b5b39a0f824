//! Rules about what happens.

use super::signal::SignalKind;

/// What a rule looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Refused consumes of a subject in one minute.
    DenialRate,
    /// Events of a subject that were decided in one millisecond: who asks with many connections at once.
    Concurrent,
    /// Usage that was reported without a decision before it: counters that were set, and commits after their hold's end.
    Bypass,
    /// Today's units of a metric, as times the average of the seven days before.
    Spike,
    /// Levels of limits that were reached, critical ones and limits.
    NearLimit,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::DenialRate, Self::Concurrent, Self::Bypass, Self::Spike, Self::NearLimit];

    /// The name in the API and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DenialRate => "denial_rate",
            Self::Concurrent => "concurrent",
            Self::Bypass => "bypass",
            Self::Spike => "spike",
            Self::NearLimit => "near_limit",
        }
    }

    /// The kind with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What an alert is told of as.
    #[must_use]
    pub const fn signal(self) -> SignalKind {
        match self {
            Self::DenialRate | Self::Concurrent | Self::Bypass => SignalKind::Abuse,
            Self::Spike => SignalKind::Spike,
            Self::NearLimit => SignalKind::Warning,
        }
    }

    /// What one alert adds to a subject's risk.
    #[must_use]
    pub const fn risk(self) -> u64 {
        match self {
            Self::DenialRate | Self::Concurrent => 20,
            Self::Bypass => 40,
            Self::Spike => 10,
            Self::NearLimit => 0,
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRule {
    /// Its name.
    pub name: String,
    /// What it looks for.
    pub kind: AlertKind,
    /// From which value it fires.
    pub threshold: u64,
    /// How far back is looked, in seconds.
    pub window_s: u64,
    /// How long it stays silent about a subject that it fired for, in seconds.
    pub cooldown_s: u64,
    /// Only about this subject or below it; `None` is all.
    pub subject: Option<String>,
    /// Whether it is looked at.
    pub enabled: bool,
}

/// A subject's risk, 0 to 100: what its alerts add up to.
#[must_use]
pub fn risk_of(alerts: impl IntoIterator<Item = (AlertKind, u64)>) -> u64 {
    let sum =
        alerts.into_iter().map(|(kind, count)| kind.risk().saturating_mul(count)).sum::<u64>();
    sum.min(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in AlertKind::ALL {
            assert_eq!(AlertKind::named(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn risk_adds_up_to_a_hundred_at_most() {
        assert_eq!(risk_of([]), 0);
        assert_eq!(risk_of([(AlertKind::DenialRate, 2), (AlertKind::Spike, 1)]), 50);
        assert_eq!(risk_of([(AlertKind::Bypass, 9), (AlertKind::NearLimit, 9)]), 100);
    }
}

//! The usage of some events, added up.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::event::Deltas;
use crate::domain::event::Event;
use crate::domain::event::EventKind;

use super::super::charges::charges_of;
use super::super::error::LedgerError;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Days since 1970-01-01 (UTC), root subject, metric, model; the model is empty when a metric was named.
pub(super) type DayKey<'a> = (i64, &'a str, &'a str, &'a str);
/// Hours since 1970-01-01T00 (UTC), metric, model.
pub(super) type HourKey<'a> = (i64, &'a str, &'a str);

/// What some events charged together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) events: i64,
    pub(super) units: i64,
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) -> Result<(), LedgerError> {
        self.events += other.events;
        let sum = self.units.checked_add(other.units);
        self.units =
            sum.ok_or_else(|| LedgerError::BadData("a sum of units is above 2^63 - 1".into()))?;
        Ok(())
    }
}

/// The usage of some events.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Tally<'a> {
    pub(super) days: BTreeMap<DayKey<'a>, Sum>,
    pub(super) hours: BTreeMap<HourKey<'a>, Sum>,
}

impl<'a> Tally<'a> {
    /// What `events` charged; those that are no usage are left out.
    pub(in crate::ledger) fn of(events: &[&'a Event]) -> Result<Self, LedgerError> {
        let mut tally = Self::default();
        let mut charges: HashMap<(EventKind, *const Deltas), BTreeMap<&'a str, i64>> =
            HashMap::new();
        for event in events {
            let sign = event.kind.usage_sign();
            if sign == 0 {
                continue;
            }
            let of_sheet = charges.entry((event.kind, Arc::as_ptr(&event.deltas)));
            let of_event = || charges_of(event.kind, &event.deltas.lines);
            for (metric, units) in of_sheet.or_insert_with(of_event) {
                let sum = Sum { events: sign.max(0), units: sign * units.abs() };
                tally.add(event, metric, sum)?;
            }
        }
        Ok(tally)
    }

    fn add(&mut self, event: &'a Event, metric: &'a str, sum: Sum) -> Result<(), LedgerError> {
        let model = event.model.as_deref().unwrap_or("");
        let (day, hour) =
            (event.occurred_at_ms.div_euclid(DAY_MS), event.occurred_at_ms.div_euclid(HOUR_MS));
        self.days.entry((day, event.level(1), metric, model)).or_default().add(sum)?;
        self.hours.entry((hour, metric, model)).or_default().add(sum)
    }
}

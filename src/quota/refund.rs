//! Refunds: what an event took is given back.

use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::Field;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::counters::StoredLine;
use crate::counters::Taken;
use crate::domain::EventKind;
use crate::domain::Limit;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Tally;
use crate::domain::Units;
use crate::domain::Window;
use crate::domain::event::Delta;
use crate::ledger::LoggedEvent;

use super::Quota;
use super::error::QuotaError;
use super::identity;
use super::order::RequestContext;
use super::profiles::LevelProfiles;
use super::resolve::Charge;
use super::resolve::Edition;
use super::settle::Measure;
use super::settle::Measured;

/// An event of the log, which is to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refundable {
    /// Its id.
    pub event_id: Uuid,
    /// Who was charged.
    pub subject: Subject,
    event: LoggedEvent,
}

/// Who asks for a refund.
#[derive(Clone, Debug, Default)]
pub struct RefundOrder {
    /// The caller's idempotency key, 1–255 bytes, unquoted.
    pub idempotency_key: Option<String>,
    /// The caller's own data for the message log: JSON text of at most 2,048 bytes.
    pub metadata: Option<String>,
    /// Where the request came from.
    pub context: RequestContext,
}

/// What was given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// The refund's own event.
    pub event_id: Uuid,
    /// The event that was given back.
    pub refunds: Uuid,
    /// What was given back.
    pub given: Vec<GivenBack>,
    /// Whether the answer repeats an earlier one.
    pub replayed: bool,
}

/// Units that a limit or a grant has again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// The level of the subject, as a path.
    pub subject: String,
    /// What is counted.
    pub metric: Metric,
    /// The limit's period; `None` when the units are of a grant.
    pub period: Option<Period>,
    /// The grant that has them again.
    pub grant: Option<u64>,
    /// The instance of the period, or, of a grant, the time until it ends.
    pub window: Window,
    /// How many.
    pub units: Units,
}

impl Quota {
    /// The event of that id. One that is not in the log yet is waited for. Whether it can be given back is for
    /// [`Quota::refund`] to say, so that nobody learns of an event before they are known to be within reach of its subject.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownEvent`], [`QuotaError::Unavailable`].
    pub async fn refundable(&self, event_id: Uuid) -> Result<Refundable, QuotaError> {
        let mut event = self.ledger.event(event_id).await.map_err(QuotaError::of_ledger)?;
        if event.is_none() {
            self.flushed(0..self.shard_count()).await?;
            event = self.ledger.event(event_id).await.map_err(QuotaError::of_ledger)?;
        }
        let event = event.ok_or(QuotaError::UnknownEvent)?;
        let subject = Subject::parse(&event.subject);
        let subject = subject.map_err(|error| QuotaError::Internal(Box::new(error)))?;
        Ok(Refundable { event_id, subject, event })
    }

    /// Gives back what a consume or a commit took of each limit and grant, once, where its window goes on and the limit allows
    /// it.
    ///
    /// # Errors
    ///
    /// [`QuotaError::NotRefundable`], [`QuotaError::AlreadyRefunded`], [`QuotaError::NothingToRefund`], [`QuotaError::Unavailable`].
    pub async fn refund(
        &self,
        of: &Refundable,
        order: &RefundOrder,
    ) -> Result<Refunded, QuotaError> {
        if !matches!(of.event.kind, EventKind::Consume | EventKind::Commit) {
            return Err(QuotaError::NotRefundable);
        }
        let event_id = identity::of_settling("refund", of.event_id);
        let logged = self.ledger.event(event_id).await.map_err(QuotaError::of_ledger)?;
        let giving = Giving { of, is_done: logged.is_some() };
        let key = order.idempotency_key.as_deref();
        let operation = Operation {
            event_id,
            idempotency: Some(identity::of_refund(of.event_id, key)),
            refunds: Some(of.event_id),
            model: of.event.model.clone(),
            metadata: order.metadata.clone(),
            ..self.operation(OperationKind::Refund, &of.subject, &order.context)
        };
        let settled = self.settle_on(Box::new(operation), &giving).await?;
        let (lines, replayed) = match settled.outcome {
            Outcome::Rewritten { lines, .. } => (lines, false),
            Outcome::Replayed(answer) => (answer.lines, true),
            Outcome::Nothing if !giving.is_done => return Err(QuotaError::NothingToRefund),
            Outcome::Nothing | Outcome::Mismatch => return Err(QuotaError::AlreadyRefunded),
            _ => {
                return Err(QuotaError::Internal("a refund ended in another's outcome".into()));
            }
        };
        let given = lines.into_iter().filter(|line| line.tally == Tally::Used);
        let given = given.map(|line| given_back(&of.subject, line)).collect();
        Ok(Refunded { event_id, refunds: of.event_id, given, replayed })
    }
}

fn given_back(subject: &Subject, line: StoredLine) -> GivenBack {
    let StoredLine { depth, metric, period, window, grant, units, .. } = line;
    GivenBack {
        subject: subject.level(depth).to_owned(),
        metric,
        period: grant.is_none().then_some(period),
        grant,
        window,
        units: Units::new(units.unsigned_abs()).unwrap_or(Units::MAX),
    }
}

/// What is to be given back; nothing more, when the log has the refund already.
struct Giving<'a> {
    of: &'a Refundable,
    is_done: bool,
}

impl Measure for Giving<'_> {
    fn measure(
        &self,
        edition: &Edition,
        profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        let Refundable { subject, event, .. } = self.of;
        let in_force = edition.resolve(subject, profiles, Charge::Everything, at);
        let limits = in_force.as_ref().map_or(&[][..], |it| it.sheet.sheet.lines.as_slice());
        let deltas = event.deltas.iter().filter(|_| !self.is_done);
        let taken: Vec<Taken> = deltas.filter_map(|delta| taken(delta, limits)).collect();
        let sheet = PackedSheet::refund(subject.depth(), &event.plan, &taken);
        Ok(Measured { sheet: Arc::new(sheet), resolved: None })
    }
}

/// What a delta took, if it is given back. A limit that is gone allows it.
fn taken(delta: &Delta, limits: &[Line]) -> Option<Taken> {
    let units = u64::try_from(delta.units).ok().filter(|units| *units > 0)?;
    if delta.tally != Tally::Used {
        return None;
    }
    let (depth, end_s, field) = (delta.depth, delta.window.end_s, Field::of_delta(delta));
    if delta.grant.is_some() {
        return Some(Taken { depth, field, units, refund_max: None, end_s });
    }
    let is_of = |line: &&Line| {
        (line.depth, line.limit.period) == (depth, delta.period)
            && line.limit.metric == delta.metric
    };
    let limit = limits.iter().find(is_of).map(|line| &line.limit);
    if limit.is_some_and(|limit| !limit.refundable) {
        return None;
    }
    let refund_max = limit.and_then(Limit::refund_units);
    Some(Taken { depth, field, units, refund_max, end_s })
}

//! Gifts: grant units go from one subject to another, wherever the two live.
//!
//! The transfer is written down first; then Redis takes the units of the giver's grants, under the transfer's id; when that is
//! in the log, one transaction gives the receiver its grants and ends the transfer. Whoever finds it unfinished goes on from
//! there, and every step knows when it was done before: both sides or none, also when Redis loses what it took.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::domain::Calendar;
use crate::domain::Grant;
use crate::domain::GrantLine;
use crate::domain::GrantSource;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Units;
use crate::ledger::BeginOutcome;
use crate::ledger::NewTransfer;
use crate::ledger::OtherMonths;
use crate::ledger::RefusedIn;
use crate::ledger::TransferRules;
use crate::ledger::TransferState;

use super::Quota;
use super::actor::Actor;
use super::error::QuotaError;
use super::error::Store;
use super::identity;
use super::order::RequestContext;
use super::profiles::LevelProfiles;
use super::profiles::level_profile;
use super::resolve::Edition;
use super::settle::Measure;
use super::settle::Measured;

pub use crate::ledger::TransferRefusal;
pub use crate::ledger::TransferRow;

/// What an idempotency key of a gift belongs to.
const TRANSFER: &str = "transfer";
/// Unfinished transfers that are taken up at once.
const PENDING_MAX: u32 = 100;
/// How old a transfer is before somebody else takes it up.
const PENDING_AFTER: Duration = Duration::from_secs(5);

/// What gifts must keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferPolicy {
    /// Grants of these sources may be given away.
    pub sources: Vec<GrantSource>,
    /// The fewest units of one gift.
    pub amount_min: Units,
    /// The most units of a metric that one subject gives in a day (UTC); `None` is no bound.
    pub daily_max: Option<Units>,
    /// How long a giver waits from one gift to the next.
    pub giver_rest: Duration,
    /// How long a receiver waits from one gift to the next.
    pub receiver_rest: Duration,
}

/// A gift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferOrder {
    /// Who gives.
    pub from: Subject,
    /// Who receives.
    pub to: Subject,
    /// What.
    pub metric: Metric,
    /// How much, at least 1.
    pub amount: Units,
    /// What the giver says, at most 500 bytes.
    pub note: Option<String>,
}

impl Quota {
    /// Gives units of the giver's grants, those that end first, to the receiver, as grants that end when the giver's would
    /// have. When this returns, every node goes by them.
    ///
    /// # Errors
    ///
    /// [`QuotaError::TransferRefused`], [`QuotaError::InsufficientGrant`], [`QuotaError::UnknownMetric`];
    /// [`QuotaError::Unavailable`] when a store is away: the gift is made when it is back, or it is not, and the same
    /// idempotency key finds out.
    pub async fn transfer(
        &self,
        order: &TransferOrder,
        actor: &Actor,
    ) -> Result<TransferRow, QuotaError> {
        if !self.has_metric(&order.metric) {
            return Err(QuotaError::UnknownMetric);
        }
        let now = self.counters.redis_now();
        let identity = identity::of_act(TRANSFER, &order.from, "", actor, now);
        let ttl = self.options.idempotency_ttl;
        let ids = identity::of_act_in_other_months(TRANSFER, &order.from, actor, now, ttl);
        let new = NewTransfer {
            id: identity.event_id,
            other_months: OtherMonths { ids: &ids, since: now - ttl },
            from: order.from.as_str(),
            to: order.to.as_str(),
            metric: &order.metric,
            amount: order.amount,
            note: order.note.as_deref(),
            actor: &actor.name,
            request_id: Some(actor.context.request_id.as_str()).filter(|id| !id.is_empty()),
        };
        let begun = self.ledger.begin_transfer(&new, &self.transfer_rules(now), now).await;
        match begun.map_err(QuotaError::of_ledger)? {
            BeginOutcome::Refused(refusal) => Err(QuotaError::TransferRefused(refusal)),
            BeginOutcome::Begun(row) if !is_as_asked(&row, order) => {
                Err(QuotaError::IdempotencyMismatch)
            }
            BeginOutcome::Begun(row) => self.go_on(row).await,
        }
    }

    fn transfer_rules(&self, now: DateTime<Utc>) -> TransferRules {
        let policy = &self.options.transfers;
        TransferRules {
            amount_min: policy.amount_min,
            daily_max: policy.daily_max,
            day_start_at: Period::Day.window_at(now, &Calendar::UTC).start_at(),
            giver_rest: policy.giver_rest,
            receiver_rest: policy.receiver_rest,
        }
    }

    /// Takes a transfer up where it is, and goes on to its end.
    async fn go_on(&self, row: TransferRow) -> Result<TransferRow, QuotaError> {
        let row = match row.state {
            TransferState::Pending => self.finish(row).await?,
            TransferState::Done | TransferState::Refused => row,
        };
        match row.state {
            TransferState::Done => Ok(row),
            TransferState::Refused => Err(QuotaError::InsufficientGrant),
            // Somebody took the units meanwhile, or Redis has lost that it refused them.
            TransferState::Pending => Err(QuotaError::away(Store::Redis)),
        }
    }

    async fn finish(&self, row: TransferRow) -> Result<TransferRow, QuotaError> {
        let misread = |error| QuotaError::Internal(Box::new(error));
        let from = Subject::parse(&row.from).map_err(misread)?;
        let shard = from.shard(self.shard_count());
        let asked_in = RefusedIn { shard, epoch: self.counters.sight(shard).epoch };
        // In an epoch before somebody may have refused it: that is told from here on.
        let row = self.transfer_of(row.id).await?.ok_or_else(gone)?;
        if row.state != TransferState::Pending {
            return Ok(row);
        }
        let now = self.counters.redis_now();
        let Some(taken) = self.take(&row, &from, asked_in).await? else {
            let refused = self.ledger.refuse_transfer(row.id, asked_in, now).await;
            return refused.map_err(QuotaError::of_ledger)?.ok_or_else(gone);
        };
        let completed = self.ledger.complete_transfer(row.id, &taken, now).await;
        let done = completed.map_err(QuotaError::of_ledger)?.ok_or_else(gone)?;
        self.bring_into_force(level_profile(&row.to, done.version, done.for_nodes)).await?;
        Ok(done.transfer)
    }

    /// What is taken of which of the giver's grants, now or by an attempt before, once that is in the log: what Redis alone has
    /// it may lose. None when the grants do not have as much.
    async fn take(
        &self,
        row: &TransferRow,
        from: &Subject,
        asked_in: RefusedIn,
    ) -> Result<Option<Vec<(u64, u64)>>, QuotaError> {
        if let Some(taken) = self.logged(row.id).await? {
            return Ok(Some(taken));
        }
        let is_taken = self.ask_for(row, from, asked_in.epoch).await?;
        // An attempt before may have taken the units, and Redis may have lost its record.
        self.flush_now(asked_in.shard).await?;
        match self.logged(row.id).await? {
            None if is_taken => Err(QuotaError::away(Store::Redis)),
            taken => Ok(taken),
        }
    }

    /// What the log says that was taken of which grants.
    async fn logged(&self, id: Uuid) -> Result<Option<Vec<(u64, u64)>>, QuotaError> {
        let logged = self.ledger.event(id).await.map_err(QuotaError::of_ledger)?;
        Ok(logged.map(|event| {
            let of_grants = event.deltas.iter();
            of_grants.filter_map(|it| Some((it.grant?, it.units.unsigned_abs()))).collect()
        }))
    }

    /// Has Redis take the units, if it did not before; whether they are taken then. That they are not it remembers, too.
    async fn ask_for(
        &self,
        row: &TransferRow,
        from: &Subject,
        epoch: u64,
    ) -> Result<bool, QuotaError> {
        let giving = Giving { depth: from.depth(), grants: self.givable(row).await? };
        let context = RequestContext {
            request_id: row.request_id.clone().unwrap_or_else(|| row.id.to_string()),
            made_id: None,
            trace_id: None,
        };
        let operation = Operation {
            event_id: row.id,
            idempotency: Some(identity::of_transfer(row.id, epoch)),
            amount: row.amount,
            ..self.operation(OperationKind::Give, from, &context)
        };
        match self.settle_on(Box::new(operation), &giving).await?.outcome {
            Outcome::Rewritten { .. } | Outcome::Replayed(_) => Ok(true),
            Outcome::Nothing | Outcome::Mismatch => Ok(false),
            _ => Err(QuotaError::Internal("a gift ended in another's outcome".into())),
        }
    }

    /// The giver's grants of which something may be given away, in the order in which they are used up.
    async fn givable(&self, row: &TransferRow) -> Result<Vec<GrantLine>, QuotaError> {
        let (now_s, policy) = (self.counters.redis_now().timestamp(), &self.options.transfers);
        let rows = self.ledger.grants_of(&row.from).await.map_err(QuotaError::of_ledger)?;
        let depth = u8::try_from(row.from.split('/').count()).unwrap_or(1);
        let open = rows.into_iter().filter(|it| {
            it.revoked_at.is_none()
                && it.grant.period.is_none()
                && it.grant.metric == row.metric
                && it.grant.end_s() > now_s
                && policy.sources.contains(&it.source)
        });
        let mut open: Vec<_> = open.map(|it| GrantLine { depth, grant: it.grant }).collect();
        open.sort_by_key(|line| (line.grant.end_s(), line.grant.id));
        // The receiver gets one for each.
        open.truncate(Grant::OPEN_MAX);
        Ok(open)
    }

    /// Goes on with transfers that were left unfinished, and answers how many are finished now.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; try again.
    pub async fn finish_transfers(&self) -> Result<u64, QuotaError> {
        let pending = self.ledger.pending_transfers(PENDING_AFTER, PENDING_MAX);
        let (mut finished, mut failed) = (0, None);
        for row in pending.await.map_err(QuotaError::of_ledger)? {
            // One that cannot be finished must not keep the others.
            match self.finish(row).await {
                Ok(row) => finished += u64::from(row.state != TransferState::Pending),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(finished), Err)
    }

    /// The transfer of that id.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn transfer_of(&self, id: Uuid) -> Result<Option<TransferRow>, QuotaError> {
        self.ledger.transfer(id).await.map_err(QuotaError::of_ledger)
    }
}

fn gone() -> QuotaError {
    QuotaError::Internal("a transfer that was begun is gone".into())
}

fn is_as_asked(row: &TransferRow, order: &TransferOrder) -> bool {
    row.from == order.from.as_str()
        && row.to == order.to.as_str()
        && row.metric == order.metric
        && row.amount == order.amount
}

/// The grants of which something is given away.
struct Giving {
    depth: u8,
    grants: Vec<GrantLine>,
}

impl Measure for Giving {
    fn measure(
        &self,
        _edition: &Edition,
        _profiles: &LevelProfiles,
        _at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        let sheet = PackedSheet::give(self.depth, &self.grants);
        Ok(Measured { sheet: Arc::new(sheet), resolved: None })
    }
}

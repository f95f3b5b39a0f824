//! A case's commands about holds, refunds, grants and gifts, to the system.

use std::time::Duration;

use headroom::domain::Amount;
use headroom::domain::Units;
use headroom::quota::CommitOrder;
use headroom::quota::EndOrder;
use headroom::quota::GivenBack;
use headroom::quota::GrantOrder;
use headroom::quota::HoldEnded;
use headroom::quota::QuotaError;
use headroom::quota::RefundOrder;
use headroom::quota::RequestContext;
use headroom::quota::TransferOrder;
use uuid::Uuid;

use super::case::Case;
use super::ending::sweep;
use super::steps::End;
use super::steps::Gift;
use super::steps::GivenSaid;
use super::steps::LimitSaid;
use super::steps::Said;
use super::steps::Step;
use crate::support::flush_all;
use crate::support::orders::actor;

impl Case {
    /// What is done with units that are held, taken or given.
    pub(super) async fn settle(&self, step: &Step, now_ms: i64) -> Result<Said, QuotaError> {
        match step {
            Step::End { node, hold, end } => self.end(*node, *hold, *end, now_ms).await,
            Step::Refund { node, event, key } => self.refund(*node, *event, *key).await,
            Step::Give { node, path, order } => self.give(*node, path, order).await,
            Step::Revoke { node, grant } => self.revoke(*node, *grant).await,
            Step::Transfer { node, gift } => self.transfer(*node, gift).await,
            Step::Sweep { node } => {
                sweep(self.world.quota(*node)).await;
                Ok(Said::Done)
            }
            other => panic!("{other:?} settles nothing"),
        }
    }

    async fn end(
        &self,
        node: usize,
        hold: usize,
        end: End,
        now_ms: i64,
    ) -> Result<Said, QuotaError> {
        let quota = self.world.quota(node);
        let holds = self.told.borrow().holds.clone();
        if holds.is_empty() {
            return Ok(Said::Done);
        }
        let order = EndOrder {
            reservation: quota.reservation_id(&holds[hold % holds.len()])?,
            idempotency_key: None,
            metadata: None,
            context: RequestContext::default(),
        };
        let ended = match end {
            End::Commit { amount, is_strict } => {
                let amount = Amount::new(amount).unwrap();
                quota.commit(&order, CommitOrder { amount, is_strict }).await?
            }
            End::Release => quota.release(&order).await?,
            End::Extend { ttl_s } => quota.extend(&order, Duration::from_secs(ttl_s)).await?,
        };
        self.told.borrow_mut().events.push(ended.event_id);
        Ok(self.ended(&ended, now_ms))
    }

    fn ended(&self, ended: &HoldEnded, at_ms: i64) -> Said {
        let now_s = at_ms.div_euclid(1_000);
        let live = ended.limits.iter().filter(|state| {
            // The slices that count begin up to six before the current one.
            let later_s = if state.sliding { 6 * state.window.seconds() } else { 0 };
            state.window.end_s + later_s > now_s
        });
        let live: Vec<_> = live.cloned().collect();
        let limits = self.limits(&live).into_iter();
        Said::Ended {
            late: ended.late,
            overage: Some(ended.overage),
            held: ended.held.get(),
            until_s: ended.until_s,
            limits: limits.map(|it| LimitSaid { would_deny: false, ..it }).collect(),
        }
    }

    async fn refund(&self, node: usize, event: usize, key: Option<u8>) -> Result<Said, QuotaError> {
        let quota = self.world.quota(node);
        flush_all(quota).await;
        let event = self.told.borrow().events.get(event).copied();
        let of = quota.refundable(event.unwrap_or_else(Uuid::now_v7)).await?;
        let idempotency_key = key.map(|key| format!("key-{key}"));
        let refunded =
            quota.refund(&of, &RefundOrder { idempotency_key, ..RefundOrder::default() }).await?;
        if !refunded.replayed {
            self.told.borrow_mut().events.push(refunded.event_id);
        }
        let mut given: Vec<_> = refunded.given.iter().map(|it| self.given(it)).collect();
        given.sort();
        Ok(Said::Refunded { given, replayed: refunded.replayed })
    }

    fn given(&self, it: &GivenBack) -> GivenSaid {
        let told = self.told.borrow();
        GivenSaid {
            path: self.path(&it.subject),
            metric: it.metric.to_string(),
            period: it.period,
            grant: it.grant.map(|id| told.grants.iter().position(|known| *known == id).unwrap()),
            start_s: it.window.start_s,
            end_s: it.window.end_s,
            units: it.units.get(),
        }
    }

    async fn give(
        &self,
        node: usize,
        path: &'static str,
        order: &GrantOrder,
    ) -> Result<Said, QuotaError> {
        let quota = self.world.quota(node);
        flush_all(quota).await;
        let row = quota.give_grant(&self.subject(path), order, &actor()).await?;
        self.keep_grant(row.grant.id, path);
        Ok(Said::Done)
    }

    fn keep_grant(&self, id: u64, path: &'static str) {
        let mut told = self.told.borrow_mut();
        told.grants.push(id);
        told.owners.push(path);
    }

    async fn revoke(&self, node: usize, grant: usize) -> Result<Said, QuotaError> {
        let quota = self.world.quota(node);
        let of = {
            let told = self.told.borrow();
            let place = grant.checked_rem(told.grants.len());
            place.map(|place| (told.grants[place], told.owners[place]))
        };
        let Some((id, path)) = of else { return Ok(Said::Done) };
        flush_all(quota).await;
        quota.revoke_grant(&self.subject(path), id, &actor()).await?;
        Ok(Said::Done)
    }

    async fn transfer(&self, node: usize, gift: &Gift) -> Result<Said, QuotaError> {
        let quota = self.world.quota(node);
        flush_all(quota).await;
        let to = self.subject(gift.to);
        let order = TransferOrder {
            from: self.subject(gift.from),
            to: to.clone(),
            metric: gift.metric.clone(),
            amount: Units::new(gift.amount).unwrap(),
            note: None,
        };
        let row = quota.transfer(&order, &actor()).await?;
        let grants = quota.grants(&to).await?.into_iter().rev();
        for made in grants.filter(|made| made.transfer_id == Some(row.id)) {
            self.keep_grant(made.grant.id, gift.to);
        }
        Ok(Said::Done)
    }
}

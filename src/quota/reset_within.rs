//! The admin's reset of a subject and all that lies below it, page by page.

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream;
use uuid::Uuid;

use crate::domain::Subject;

use super::Quota;
use super::actor::Actor;
use super::error::QuotaError;
use super::flush::FlushState;
use super::flush::FlushStep;
use super::order::RequestContext;
use super::order::ResetScope;
use super::rewrite::Rewritten;

/// Subjects that are worked on at once.
const AT_ONCE: usize = 16;
/// Batches that are flushed before the first page. A longer outbox is left to the flusher.
const FLUSH_PASSES_MAX: usize = 64;

/// A page of subjects that are to be reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetWithin {
    /// The subject at and below which they lie.
    pub prefix: Subject,
    /// Which of their counters are meant.
    pub scope: ResetScope,
    /// Only looks at what would be cleared.
    pub is_dry_run: bool,
    /// The last path of the page before; none for the first page.
    pub after: Option<String>,
    /// The most subjects of the page, at most 1,000.
    pub subjects_max: u32,
}

/// What became of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetPage {
    /// The subjects of which something was cleared, or would be, in the order of bytes.
    pub subjects: Vec<SubjectReset>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// What was cleared of one subject, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectReset {
    /// The subject's path.
    pub subject: String,
    /// The event that stands in the log; none after a dry run.
    pub event_id: Option<Uuid>,
    /// The counters, with the units that were added: negative ones.
    pub counters: Vec<Rewritten>,
}

impl Quota {
    /// Clears counters of the subjects of one page as [`Quota::reset`] does of one, or looks at what that would clear. The
    /// first page brings the outbox into Postgres before it looks for subjects. A page that fails half-way can be asked
    /// for again.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`]; [`QuotaError::Unavailable`] when a store is away.
    pub async fn reset_within(
        &self,
        order: &ResetWithin,
        actor: &Actor,
    ) -> Result<ResetPage, QuotaError> {
        if order.scope.metric.as_ref().is_some_and(|metric| !self.has_metric(metric)) {
            return Err(QuotaError::UnknownMetric);
        }
        if order.after.is_none() {
            self.flush_up_to_now(order.prefix.shard(self.shard_count())).await?;
        }
        let after = order.after.as_deref();
        let paths = self.subjects_within(&order.prefix, after, order.subjects_max).await?;
        let is_full = paths.len() >= order.subjects_max as usize;
        let next = paths.last().filter(|_| is_full).cloned();
        let resets = paths.into_iter().map(|path| self.reset_one(path, order, actor));
        let resets: Vec<SubjectReset> =
            stream::iter(resets).buffered(AT_ONCE).try_collect().await?;
        let subjects = resets.into_iter().filter(|reset| !reset.counters.is_empty());
        Ok(ResetPage { subjects: subjects.collect(), next })
    }

    async fn reset_one(
        &self,
        path: String,
        order: &ResetWithin,
        actor: &Actor,
    ) -> Result<SubjectReset, QuotaError> {
        let subject = Subject::parse(&path);
        let subject = subject.map_err(|error| QuotaError::Internal(error.into()))?;
        if order.is_dry_run {
            let counters = self.would_clear(&subject, &order.scope).await?;
            return Ok(SubjectReset { subject: path, event_id: None, counters });
        }
        // Each subject has an event of its own, so the request's id cannot be theirs.
        let context = RequestContext { made_id: None, ..actor.context.clone() };
        let actor = Actor { context, ..actor.clone() };
        let rewrite = self.clear(&subject, order.scope.clone(), &actor).await?;
        let event_id = Some(rewrite.event_id);
        Ok(SubjectReset { subject: path, event_id, counters: rewrite.counters })
    }

    async fn flush_up_to_now(&self, shard: u16) -> Result<(), QuotaError> {
        let mut state = FlushState::default();
        for _ in 0..FLUSH_PASSES_MAX {
            if self.flush(shard, &mut state).await? == FlushStep::Idle {
                break;
            }
        }
        Ok(())
    }
}

//! Grants and gifts in the reference.

use headroom::domain::GrantSource;
use headroom::domain::Units;
use headroom::domain::Window;
use headroom::quota::GrantOrder;

use super::claims::Available;
use super::limits;
use super::limits::Rules;
use super::reference::Reference;
use super::refunds::Taken;
use super::steps::Gift;
use super::steps::Said;
use headroom::domain::Period;
use headroom::quota::Ask;

/// Open grants of one subject.
const OPEN_MAX: usize = 32;

/// A grant, as long as the case goes.
#[derive(Clone, Debug)]
pub struct Grant {
    pub path: String,
    pub metric: String,
    pub amount: u64,
    pub used: u64,
    pub end_s: i64,
    pub period: Option<Period>,
    /// Whether it may be given away.
    pub is_giveable: bool,
    pub is_revoked: bool,
    /// Whether nodes go by it.
    pub is_listed: bool,
}

impl Reference {
    /// What a grant of that amount has, without what the asker itself holds.
    pub fn available(&self, grant: usize, amount: u64, own: u64) -> Available {
        let open = self.holds.iter().filter(|hold| hold.holds_at(self.now_s()));
        let of_grant = open.flat_map(|hold| hold.grants.iter().map(move |it| (hold.until_s, it)));
        let held: Vec<(i64, u64)> = of_grant
            .filter(|(_, it)| it.grant == grant && it.held > 0)
            .map(|(until_s, it)| (until_s, it.held))
            .collect();
        let sum: u64 = held.iter().map(|it| it.1).sum();
        let unused = amount.saturating_sub(self.grants[grant].used);
        Available {
            grant,
            left: unused.saturating_sub(sum - own),
            unused,
            free_at_s: held.iter().map(|it| it.0).min(),
        }
    }

    /// The grants of a level and metric that nodes go by, the first to end first.
    pub fn listed(&self, path: &str, metric: &str) -> Vec<Available> {
        let of_group = |it: &Grant| {
            it.path == path && it.metric == metric && it.period.is_none() && it.is_listed
        };
        self.open(of_group)
            .into_iter()
            .map(|id| self.available(id, self.grants[id].amount, 0))
            .collect()
    }

    /// Grants that have not ended, the first to end first.
    fn open(&self, is_wanted: impl Fn(&Grant) -> bool) -> Vec<usize> {
        let open = self.grants.iter().enumerate();
        let open = open.filter(|(_, it)| it.end_s > self.now_s() && is_wanted(it));
        let mut open: Vec<usize> = open.map(|(id, _)| id).collect();
        open.sort_by_key(|id| (self.grants[*id].end_s, *id));
        open
    }

    pub fn use_grants(&mut self, shares: &[(usize, u64)]) -> Vec<Taken> {
        let mut taken = Vec::new();
        for (id, units) in shares.iter().filter(|(_, units)| *units > 0) {
            self.grants[*id].used += units;
            taken.push(Taken::of_grant(*id, &self.grants[*id], *units));
        }
        taken
    }

    /// Raises the limits that grants raise at an instant.
    pub fn raise(&self, rules: &mut Rules<'_>, at_s: i64) {
        for grant in self.grants.iter().filter(|it| it.is_listed && it.end_s > at_s) {
            let level = rules.levels.iter_mut().find(|level| level.path == grant.path);
            let limits = level.into_iter().flat_map(|level| &mut level.limits);
            let raised = limits.filter(|limit| {
                limit.metric.as_str() == grant.metric && Some(limit.period) == grant.period
            });
            for limit in raised {
                limit.max = limit.max.map(|max| Units::new(max.get() + grant.amount).unwrap());
            }
        }
    }

    /// The open grants of a level by what is used: neither revoked nor ended, and with something left.
    fn unspent(&self, path: &str) -> Vec<usize> {
        self.open(|it| {
            it.path == path && !it.is_revoked && (it.period.is_some() || it.used < it.amount)
        })
    }

    /// A change of a level's grants: nodes go by those that are open now.
    fn relist(&mut self, path: &str) {
        let open = self.unspent(path);
        self.known.insert(path.to_owned());
        for (id, grant) in self.grants.iter_mut().enumerate().filter(|(_, it)| it.path == path) {
            grant.is_listed = open.iter().take(OPEN_MAX).any(|it| *it == id);
        }
    }

    pub(super) fn give(&mut self, path: &str, order: &GrantOrder) -> Result<Said, String> {
        limits::charges(&self.catalogue, path, &Ask::Metric(order.metric.clone()))?;
        if self.unspent(path).len() >= OPEN_MAX {
            return Err("too_many_grants".to_owned());
        }
        self.grants.push(Grant {
            path: path.to_owned(),
            metric: order.metric.to_string(),
            amount: order.amount.get(),
            used: 0,
            end_s: order.expires_at.map_or(Window::LIFETIME.end_s, |at| at.timestamp()),
            period: order.period,
            is_giveable: order.source == GrantSource::Purchase,
            is_revoked: false,
            is_listed: false,
        });
        self.events += 1;
        self.relist(path);
        Ok(Said::Done)
    }

    pub(super) fn revoke(&mut self, place: usize) -> Result<Said, String> {
        if self.grants.is_empty() {
            return Ok(Said::Done);
        }
        let id = place % self.grants.len();
        if std::mem::replace(&mut self.grants[id].is_revoked, true) {
            return Err("unknown_grant".to_owned());
        }
        self.relist(&self.grants[id].path.clone());
        Ok(Said::Done)
    }

    pub(super) fn transfer(&mut self, gift: &Gift) -> Result<Said, String> {
        limits::charges(&self.catalogue, gift.from, &Ask::Metric(gift.metric.clone()))?;
        if self.unspent(gift.to).len() >= OPEN_MAX {
            return Err("too_many_grants".to_owned());
        }
        let givable = self.open(|it| {
            it.path == gift.from
                && it.metric == gift.metric.as_str()
                && it.period.is_none()
                && it.is_giveable
                && !it.is_revoked
        });
        let mut wanted = gift.amount;
        let mut shares = Vec::new();
        for id in givable {
            let units = wanted.min(self.available(id, self.grants[id].amount, 0).left);
            wanted -= units;
            shares.push((id, units));
        }
        if wanted > 0 {
            self.transfers.push((gift.from, gift.to, gift.amount, "refused"));
            return Err("insufficient_grant".to_owned());
        }
        self.transfers.push((gift.from, gift.to, gift.amount, "done"));
        self.use_grants(&shares);
        self.events += 1;
        shares.sort_unstable();
        for (id, units) in shares.into_iter().filter(|(_, units)| *units > 0) {
            let given = Grant {
                path: gift.to.to_owned(),
                amount: units,
                used: 0,
                is_giveable: false,
                is_revoked: false,
                is_listed: false,
                ..self.grants[id].clone()
            };
            self.grants.push(given);
            self.events += 1;
        }
        self.relist(gift.to);
        Ok(Said::Done)
    }
}

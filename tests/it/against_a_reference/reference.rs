//! What every answer must be: rules over a map of counters, with a clock that stands still.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use headroom::domain::Catalogue;
use headroom::domain::Period;
use headroom::domain::Profile;

use super::grants::Grant;
use super::holds::Hold;
use super::lines::is_short;
use super::refunds::Logged;
use super::steps::Asked;
use super::steps::Jump;
use super::steps::Said;
use super::steps::Step;
use super::steps::Want;

/// Path, metric, period, whether it is a slice, first second of the window.
pub type Counter = (String, String, Period, bool, i64);

/// What a counter holds, as Postgres has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub end_s: i64,
    pub used: u64,
    /// What the window before left, once that was worked out.
    pub carried: Option<u64>,
    /// What refunds gave back under a limit that has a most of it.
    pub refunded: u64,
    /// When it was last cleared, in Unix milliseconds.
    pub reset_at_ms: Option<i64>,
}

/// The whole state of the system, and what it said last.
#[derive(Clone, Debug)]
pub struct Reference {
    pub now_ms: i64,
    pub catalogue: Catalogue,
    pub profiles: BTreeMap<String, Profile>,
    pub counters: BTreeMap<Counter, Count>,
    /// Subjects for which something was ever configured.
    pub known: BTreeSet<String>,
    pub holds: Vec<Hold>,
    pub grants: Vec<Grant>,
    /// Giver, receiver, amount and what became of it.
    pub transfers: Vec<(&'static str, &'static str, u64, &'static str)>,
    /// Events whose ids were told, in order.
    pub logged: Vec<Logged>,
    /// By path, key and whether it is of a reserve.
    pub answered: BTreeMap<(&'static str, u8, bool), (Asked, Want, Said)>,
    /// All that the log has.
    pub events: usize,
    /// Whether the last command began windows that roll over, for which Postgres may be asked.
    pub has_rolled: bool,
    /// Acts on counters, by name.
    pub acts: Vec<&'static str>,
    pub said: Said,
}

impl Reference {
    pub fn new(now_ms: i64, catalogue: Catalogue) -> Self {
        Self {
            now_ms,
            catalogue,
            profiles: BTreeMap::new(),
            counters: BTreeMap::new(),
            known: BTreeSet::new(),
            holds: Vec::new(),
            grants: Vec::new(),
            transfers: Vec::new(),
            logged: Vec::new(),
            answered: BTreeMap::new(),
            events: 0,
            has_rolled: false,
            acts: Vec::new(),
            said: Said::Done,
        }
    }

    /// Does what a command does, and keeps what is said to it.
    pub fn take(&mut self, step: &Step) {
        self.has_rolled = false;
        let said = match step {
            Step::Put { path, profile, .. } => self.put(path, profile),
            Step::Delete { path, .. } => match self.profiles.remove(*path) {
                Some(_) => Ok(Said::Done),
                None => Err("unknown_subject".to_owned()),
            },
            Step::Replace { catalogue, .. } => {
                self.catalogue = catalogue.clone();
                Ok(Said::Done)
            }
            Step::Order { asked, want, .. } => self.order(asked, *want),
            Step::End { hold, end, .. } => self.end(*hold, *end),
            Step::Refund { event, key, .. } => self.refund(*event, *key),
            Step::Give { path, order, .. } => self.give(path, order),
            Step::Revoke { grant, .. } => self.revoke(*grant),
            Step::Transfer { gift, .. } => self.transfer(gift),
            Step::Sweep { .. } => {
                self.sweep();
                Ok(Said::Done)
            }
            Step::Look { path, .. } => self.look(path),
            Step::Set { path, order, .. } => self.set(path, order),
            Step::Reset { path, scope, .. } => self.reset(path, scope),
            Step::Move(jump) => {
                self.now_ms = self.after(*jump);
                Ok(Said::Done)
            }
            Step::Recover { .. } => {
                // Redis alone has counters of minutes and hours.
                self.counters.retain(|counter, _| !is_short(counter.2));
                self.holds.iter_mut().for_each(Hold::recover);
                Ok(Said::Done)
            }
            Step::Evict { .. } | Step::ForgetScripts | Step::Flush { .. } => Ok(Said::Done),
        };
        self.said = said.unwrap_or_else(Said::Refused);
    }

    fn put(&mut self, path: &str, profile: &Profile) -> Result<Said, String> {
        let Catalogue { plans, metrics, features, .. } = &self.catalogue;
        let fits = profile.plan.as_ref().is_none_or(|plan| plans.contains_key(plan))
            && profile.limits.iter().all(|limit| metrics.contains(&limit.metric))
            && profile.features.keys().all(|feature| features.contains(feature));
        if !fits {
            return Err("bad_profile".to_owned());
        }
        self.profiles.insert(path.to_owned(), profile.clone());
        self.known.insert(path.to_owned());
        Ok(Said::Done)
    }

    fn after(&self, jump: Jump) -> i64 {
        match jump {
            Jump::By(ms) => self.now_ms + ms,
            Jump::ToEnd { period, calendar, before } => {
                let end_ms = period.window_at(self.now(), &calendar).end_s * 1_000;
                if before { end_ms - 1 } else { end_ms }
            }
        }
    }
}

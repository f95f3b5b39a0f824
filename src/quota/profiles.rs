//! What is configured for subjects: this node's copies, and the admin's changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::LevelProfile;
use crate::domain::LevelLimitsError;
use crate::domain::Profile;
use crate::domain::ProfileError;
use crate::domain::Restraint;
use crate::domain::Subject;
use crate::domain::limits_of;
use crate::ledger;
use crate::ledger::Action;
use crate::ledger::DeleteOutcome;
use crate::ledger::Expected;
use crate::ledger::PutOutcome;
use crate::ledger::SubjectRow;
use crate::telemetry::Chain;

use super::Quota;
use super::actor::Actor;
use super::effective::Effective;
use super::error::QuotaError;
use super::event_ledger::EventLedger;

/// Profiles kept at once; past the bound all are asked for anew.
const PROFILES_MAX: usize = 100_000;
/// Different profiles kept at once, of at most 16 kB each.
const TEXTS_MAX: usize = 10_000;
/// Changes that are announced at once.
const CHANGES_MAX: u32 = 1_000;

/// A profile. Subjects with the same configuration share one.
#[derive(Debug)]
struct Configured {
    /// Another number for another profile; 0 is nothing.
    id: u64,
    profile: Profile,
}

/// A subject's profile as this node last saw it.
#[derive(Clone, Debug)]
struct Known {
    version: u64,
    /// `None` is nothing.
    configured: Option<Arc<Configured>>,
}

impl Known {
    const NOTHING: Self = Self { version: 0, configured: None };
}

static NOTHING: Profile = Profile::NOTHING;

#[derive(Default)]
struct Copies {
    by_level: HashMap<Box<str>, Known>,
    by_text: HashMap<Box<str>, Arc<Configured>>,
    last_id: u64,
}

/// This node's copies of profiles. A level that is not here is taken to have none; the script says when that is wrong.
#[derive(Default)]
pub(super) struct Profiles(RwLock<Copies>);

/// The profiles of a subject's levels, root first.
pub(super) struct LevelProfiles {
    known: [Known; Subject::LEVELS_MAX],
    depth: usize,
}

impl LevelProfiles {
    /// Their versions; 0 for a level without.
    pub(super) fn versions(&self) -> [u64; Subject::LEVELS_MAX] {
        self.known.each_ref().map(|known| known.version)
    }

    /// Numbers that differ where profiles do.
    pub(super) fn ids(&self) -> [u64; Subject::LEVELS_MAX] {
        self.known.each_ref().map(|known| known.configured.as_ref().map_or(0, |it| it.id))
    }

    /// The profiles themselves.
    pub(super) fn profiles(&self) -> Vec<&Profile> {
        let known = self.known.iter().take(self.depth);
        known.map(|it| it.configured.as_ref().map_or(&NOTHING, |it| &it.profile)).collect()
    }
}

impl Profiles {
    /// The profiles of the subject's levels, as far as this node knows.
    pub(super) fn of(&self, subject: &Subject) -> LevelProfiles {
        let mut known = [const { Known::NOTHING }; Subject::LEVELS_MAX];
        let copies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let levels = known.iter_mut().zip(subject.levels()).filter(|_| !copies.by_level.is_empty());
        for (place, level) in levels {
            place.clone_from(copies.by_level.get(level).unwrap_or(&Known::NOTHING));
        }
        LevelProfiles { known, depth: subject.depth().into() }
    }

    /// The version of a level's copy; 0 without.
    fn version(&self, level: &str) -> u64 {
        let copies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        copies.by_level.get(level).map_or(0, |known| known.version)
    }

    /// Takes in a change, when this node has a copy that it changes.
    fn follow(&self, it: &LevelProfile) {
        if self.version(&it.path) == 0 {
            return;
        }
        if let Err(error) = self.learn(it) {
            tracing::error!(subject = it.path, error = %Chain(&error), "a profile cannot be read");
        }
    }

    /// Forgets all copies.
    fn forget(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes in a profile, unless a newer one is known.
    fn learn(&self, it: &LevelProfile) -> Result<(), QuotaError> {
        let misread = |error| QuotaError::Internal(Box::new(error));
        let profile = Profile::parse_stored(&it.profile).map_err(misread)?;
        let mut copies = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if copies.by_level.get(&*it.path).is_some_and(|known| known.version >= it.version) {
            return Ok(());
        }
        if copies.by_level.len() >= PROFILES_MAX || copies.by_text.len() >= TEXTS_MAX {
            copies.clear();
        }
        let configured = copies.share(it.profile.as_str(), profile);
        copies.by_level.insert(it.path.as_str().into(), Known { version: it.version, configured });
        Ok(())
    }
}

impl Copies {
    fn clear(&mut self) {
        self.by_level.clear();
        self.by_text.clear();
    }

    fn share(&mut self, text: &str, profile: Profile) -> Option<Arc<Configured>> {
        if profile == NOTHING {
            return None;
        }
        if let Some(known) = self.by_text.get(text) {
            return Some(known.clone());
        }
        self.last_id += 1;
        let configured = Arc::new(Configured { id: self.last_id, profile });
        self.by_text.insert(text.into(), configured.clone());
        Some(configured)
    }
}

/// What is configured for a subject, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectView {
    /// Who.
    pub subject: Subject,
    /// The profile's version; 0 when nothing is configured.
    pub version: u64,
    /// The profile.
    pub profile: Profile,
    /// What rules have put on the subject.
    pub restraints: Vec<Restraint>,
    /// When the profile was first put; `None` when nothing is configured.
    pub created_at: Option<DateTime<Utc>>,
    /// What the subject has by all its levels.
    pub effective: Effective,
}

impl<L: EventLedger> Quota<L> {
    /// Reads a level's profile, after the script said that there is a newer one than this node's: from Redis, and from
    /// Postgres when Redis does not have it.
    pub(super) async fn learn_profile(&self, shard: u16, level: &str) -> Result<(), QuotaError> {
        let known = self.profiles.version(level);
        let kept = self.counters.profile(shard, level).await.map_err(QuotaError::of_counters)?;
        if let Some(kept) = kept.filter(|kept| kept.version > known) {
            return self.profiles.learn(&kept);
        }
        let row = self.ledger.subject(level).await.map_err(QuotaError::of_ledger)?;
        let Some(profile) = row.map(of_row) else { return Ok(()) };
        // Put back, so that the next node need not ask Postgres, which may be away then.
        let kept = self.counters.announce_profiles(shard, std::slice::from_ref(&profile)).await;
        kept.map_err(QuotaError::of_counters)?;
        self.profiles.learn(&profile)
    }

    /// Tells Redis of profiles of a shard that a flush changed. Where that fails, whoever follows the profiles does it.
    pub(super) async fn announce_flushed(&self, shard: u16, profiles: &[ledger::LevelProfile]) {
        for some in profiles.chunks(CHANGES_MAX as usize) {
            let some =
                some.iter().map(|it| level_profile(&it.subject, it.version, it.profile.clone()));
            let some: Vec<LevelProfile> = some.collect();
            if let Err(error) = self.counters.announce_profiles(shard, &some).await {
                tracing::warn!(shard, %error, "grants that are open again are announced later");
                return;
            }
        }
    }
}

impl Quota {
    /// What is configured for the subject; [`Profile::NOTHING`] when nothing is.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn subject(&self, subject: &Subject) -> Result<SubjectView, QuotaError> {
        let row = self.ledger.subject(subject.as_str()).await.map_err(QuotaError::of_ledger)?;
        let misread = |error| QuotaError::Internal(Box::new(error));
        // Also of a subject without a profile.
        let for_nodes = row.as_ref().map(|row| Profile::parse_stored(&row.for_nodes)).transpose();
        let restraints = for_nodes.map_err(misread)?.unwrap_or_default().restraints;
        let row = row.filter(|row| !row.is_deleted);
        let profile = row.as_ref().map(|row| Profile::parse_stored(&row.profile)).transpose();
        let profile = profile.map_err(misread)?.unwrap_or_default();
        Ok(SubjectView {
            subject: subject.clone(),
            version: row.as_ref().map_or(0, |row| row.version),
            effective: self.effective(subject, &profile).await?,
            profile,
            restraints,
            created_at: row.map(|row| row.created_at),
        })
    }

    /// Configures the subject, if what is in force is as expected. When this returns, no node decides by the old
    /// profile.
    ///
    /// # Errors
    ///
    /// [`QuotaError::BadProfile`], [`QuotaError::Stale`]; [`QuotaError::Unavailable`] when a store is away. When that is
    /// Redis, the profile is stored already and comes into force when Redis is back.
    pub async fn put_subject(
        &self,
        subject: &Subject,
        profile: Profile,
        expected: Expected,
        actor: &Actor,
    ) -> Result<SubjectView, QuotaError> {
        // A plan that was put through another node a moment ago may be named.
        self.follow_catalogue().await?;
        profile.check(&self.edition().catalogue).map_err(QuotaError::BadProfile)?;
        check_dynamic(subject, &profile).map_err(QuotaError::BadProfile)?;
        self.check_limits(subject, &profile)?;
        let text = profile.to_json();
        let act = actor.act(Action::SubjectPut, subject.as_str());
        let put = self.ledger.put_subject(subject.as_str(), expected, &text, &act).await;
        match put.map_err(QuotaError::of_ledger)? {
            PutOutcome::Stale { found } => Err(QuotaError::Stale { found }),
            PutOutcome::Put { version, created_at, for_nodes } => {
                let restraints = Profile::parse_stored(&for_nodes).unwrap_or_default().restraints;
                self.bring_into_force(level_profile(subject.as_str(), version, for_nodes)).await?;
                let effective = self.effective(subject, &profile).await?;
                let (subject, created_at) = (subject.clone(), Some(created_at));
                Ok(SubjectView { subject, version, profile, restraints, created_at, effective })
            }
        }
    }

    /// Whether the subject's last level would have more limits than a level may, by the profiles above it as this node
    /// knows them.
    fn check_limits(&self, subject: &Subject, own: &Profile) -> Result<(), QuotaError> {
        let above = self.profiles.of(subject);
        let mut profiles = above.profiles();
        if let Some(last) = profiles.last_mut() {
            *last = own;
        }
        match limits_of(&self.edition().catalogue, subject, &profiles) {
            Err(error @ LevelLimitsError::TooManyLimits { .. }) => {
                Err(QuotaError::Misconfigured(error))
            }
            _ => Ok(()),
        }
    }

    /// Takes back what was configured for the subject, if what is in force is as expected. Its counters stay.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownSubject`] when nothing is configured, else as [`Quota::put_subject`].
    pub async fn delete_subject(
        &self,
        subject: &Subject,
        expected: Expected,
        actor: &Actor,
    ) -> Result<(), QuotaError> {
        let act = actor.act(Action::SubjectDelete, subject.as_str());
        let deleted = self.ledger.delete_subject(subject.as_str(), expected, &act).await;
        match deleted.map_err(QuotaError::of_ledger)? {
            DeleteOutcome::Absent => Err(QuotaError::UnknownSubject),
            DeleteOutcome::Stale { found } => Err(QuotaError::Stale { found }),
            DeleteOutcome::Deleted { version, for_nodes } => {
                self.bring_into_force(level_profile(subject.as_str(), version, for_nodes)).await
            }
        }
    }

    pub(super) async fn bring_into_force(&self, profile: LevelProfile) -> Result<(), QuotaError> {
        self.announce(std::slice::from_ref(&profile)).await?;
        self.profiles.learn(&profile)
    }

    /// Tells Redis of profiles that are committed.
    async fn announce(&self, profiles: &[LevelProfile]) -> Result<(), QuotaError> {
        for shard in 0..self.shard_count() {
            let is_here = |it: &&LevelProfile| {
                Subject::parse(&it.path).is_ok_and(|it| it.shard(self.shard_count()) == shard)
            };
            let here: Vec<LevelProfile> = profiles.iter().filter(is_here).cloned().collect();
            if !here.is_empty() {
                let announced = self.counters.announce_profiles(shard, &here).await;
                announced.map_err(QuotaError::of_counters)?;
            }
        }
        Ok(())
    }

    /// Announces the changes after the version `seen` again, at most 1,000, and answers the last version that is
    /// announced. What an admin's call could not announce, because Redis or its node failed in between, comes into force by
    /// this. A node begins at 0.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; go on from `seen`.
    pub async fn follow_profiles(&self, seen: u64) -> Result<u64, QuotaError> {
        // In this order: what is announced by now is committed before Postgres is asked.
        let mut announced = seen;
        for shard in 0..self.shard_count() {
            let of_shard = self.counters.newest_profile(shard).await;
            announced = announced.max(of_shard.map_err(QuotaError::of_counters)?);
        }
        let newest = self.ledger.profile_version().await.map_err(QuotaError::of_ledger)?;
        if newest < announced {
            return self.begin_anew(announced).await;
        }
        if newest == seen {
            return Ok(seen);
        }
        let changed = self.ledger.subjects_changed_after(seen, CHANGES_MAX).await;
        let changed = changed.map_err(QuotaError::of_ledger)?;
        let last = changed.last().map_or(newest, |row| row.version);
        let profiles: Vec<LevelProfile> = changed.into_iter().map(of_row).collect();
        self.announce(&profiles).await?;
        for profile in &profiles {
            self.profiles.follow(profile);
        }
        Ok(last)
    }

    /// Postgres was restored to an earlier point: versions that are announced are not given out any more. What it holds
    /// gets versions above all of them, and is announced anew.
    async fn begin_anew(&self, announced: u64) -> Result<u64, QuotaError> {
        tracing::warn!(announced, "postgres is behind the profiles that were announced");
        let renumbered = self.ledger.renumber_subjects(announced).await;
        renumbered.map_err(QuotaError::of_ledger)?;
        self.profiles.forget();
        Ok(announced)
    }
}

/// Whether limits that follow usage stand on a root alone.
fn check_dynamic(subject: &Subject, profile: &Profile) -> Result<(), ProfileError> {
    let below = profile.limits.iter().position(|limit| limit.dynamic.is_some());
    let below = below.filter(|_| subject.depth() > 1);
    below.map_or(Ok(()), |index| Err(ProfileError::DynamicBelowRoot(index)))
}

pub(super) fn level_profile(path: &str, version: u64, profile: String) -> LevelProfile {
    LevelProfile { path: path.to_owned(), version, profile }
}

fn of_row(row: SubjectRow) -> LevelProfile {
    LevelProfile { path: row.subject, version: row.version, profile: row.for_nodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(version: u64, anchor_day: u8) -> LevelProfile {
        let profile = format!("{{\"anchor_day\":{anchor_day}}}");
        LevelProfile { path: "user:u_1".into(), version, profile }
    }

    /// The version that is known of the level, and its anchor day.
    fn known(profiles: &Profiles) -> (u64, u8) {
        let subject = Subject::parse("user:u_1").unwrap();
        let levels = profiles.of(&subject);
        (levels.versions()[0], levels.profiles()[0].anchor_day.get())
    }

    #[test]
    fn a_newer_profile_takes_the_place_of_an_older_one_and_never_the_other_way() {
        let profiles = Profiles::default();
        let before = known(&profiles);

        profiles.learn(&profile(5, 15)).unwrap();
        profiles.learn(&profile(4, 4)).unwrap();
        profiles.learn(&profile(5, 5)).unwrap();
        let first = known(&profiles);
        profiles.learn(&profile(7, 17)).unwrap();

        assert_eq!((before, first, known(&profiles)), ((0, 1), (5, 15), (7, 17)));
        profiles.forget();
        assert_eq!(known(&profiles), (0, 1));
    }

    /// Guards a node's memory: it follows changes of what it has, and takes in no others.
    #[test]
    fn a_change_is_followed_where_there_is_a_copy() {
        let profiles = Profiles::default();

        profiles.follow(&profile(5, 15));
        let none = known(&profiles);
        profiles.learn(&profile(5, 15)).unwrap();
        profiles.follow(&profile(6, 16));

        assert_eq!((none, known(&profiles)), ((0, 1), (6, 16)));
    }

    /// Guards the other bound: when there are too many copies they are read anew.
    #[test]
    fn too_many_copies_begin_anew() {
        let profiles = Profiles::default();
        for number in 0..PROFILES_MAX {
            let path = format!("user:u_{number}x");
            profiles.learn(&LevelProfile { path, ..profile(1, 2) }).unwrap();
        }
        assert_eq!(profiles.version("user:u_0x"), 1);

        profiles.learn(&profile(5, 15)).unwrap();

        assert_eq!((profiles.version("user:u_0x"), known(&profiles)), (0, (5, 15)));
    }
}

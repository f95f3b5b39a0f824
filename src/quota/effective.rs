//! What a subject has by its plans and profiles.

use std::collections::BTreeMap;

use crate::domain::Catalogue;
use crate::domain::Profile;
use crate::domain::Subject;
use crate::domain::limits_of;

use super::Quota;
use super::error::QuotaError;

/// What a subject has by the plans and profiles of all its levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// Whether there are limits that a request could be measured against.
    pub has_access: bool,
    /// The plan of the deepest level that has one; `None` also when a profile names one that the catalogue does not define.
    pub plan: Option<String>,
    /// Where the subject can get more.
    pub upgrade_url: Option<String>,
    /// Every feature of the catalogue: whether the subject has it.
    pub features: BTreeMap<String, bool>,
}

impl Effective {
    fn of(catalogue: &Catalogue, subject: &Subject, profiles: &[&Profile]) -> Self {
        let limits = limits_of(catalogue, subject, profiles);
        let levels = limits.as_deref().unwrap_or_default();
        let plan = levels.iter().rev().find_map(|level| level.plan);
        let has = |feature: &str| levels.last().is_some_and(|last| last.features.contains(feature));
        Self {
            has_access: limits.is_ok(),
            plan: plan.map(str::to_owned),
            upgrade_url: plan.and_then(|name| catalogue.plans.get(name)?.upgrade_url.clone()),
            features: catalogue.features.iter().map(|it| (it.clone(), has(it))).collect(),
        }
    }
}

impl Quota {
    /// What the subject has with `own` as its profile, by the profiles above it in the ledger and the catalogue in force on
    /// this node.
    pub(super) async fn effective(
        &self,
        subject: &Subject,
        own: &Profile,
    ) -> Result<Effective, QuotaError> {
        let mut profiles = Vec::with_capacity(Subject::LEVELS_MAX);
        for level in subject.levels().take(usize::from(subject.depth()) - 1) {
            profiles.push(self.profile_of(level).await?);
        }
        profiles.push(own.clone());
        let profiles: Vec<&Profile> = profiles.iter().collect();
        Ok(Effective::of(&self.edition().catalogue, subject, &profiles))
    }

    async fn profile_of(&self, level: &str) -> Result<Profile, QuotaError> {
        let row = self.ledger.subject(level).await.map_err(QuotaError::of_ledger)?;
        let profile = row.map(|row| Profile::parse_stored(&row.profile)).transpose();
        let misread = |error| QuotaError::Internal(Box::new(error));
        Ok(profile.map_err(misread)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOGUE: &str = "metrics = ['messages']
        features = ['export', 'sso']
        scope_plans = { org = 'team' }
        [plans.team]
        features = ['sso']
        upgrade_url = 'https://app.example/more'
        [plans.solo]";

    fn effective(path: &str, profiles: [&str; 2]) -> Effective {
        let profiles = profiles.map(|profile| Profile::parse(profile).unwrap());
        let catalogue = Catalogue::parse(CATALOGUE).unwrap();
        Effective::of(&catalogue, &Subject::parse(path).unwrap(), &[&profiles[0], &profiles[1]])
    }

    #[test]
    fn a_member_has_the_plan_above_it_until_it_has_its_own() {
        let member = effective("org:acme/user:u_1", ["{}", r#"{"features": {"export": true}}"#]);
        assert_eq!((member.has_access, member.plan.as_deref()), (true, Some("team")));
        assert_eq!(member.upgrade_url.as_deref(), Some("https://app.example/more"));
        assert!(member.features["sso"] && member.features["export"]);
        let own = effective("org:acme/user:u_1", ["{}", r#"{"plan": "solo"}"#]);
        assert_eq!((own.plan.as_deref(), own.upgrade_url), (Some("solo"), None));
    }

    #[test]
    fn without_a_plan_or_with_a_lost_one_there_is_no_access() {
        let nothing = effective("user:u_1", ["{}", "{}"]);
        assert_eq!(
            (nothing.has_access, nothing.plan, nothing.features["sso"]),
            (false, None, false)
        );
        let lost = effective("user:u_1", [r#"{"plan": "gone"}"#, "{}"]);
        assert_eq!((lost.has_access, lost.plan), (false, None));
    }
}

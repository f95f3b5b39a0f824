//! The catalogue: the edition in force on this node, and the admin's changes.

use std::sync::Arc;
use std::sync::PoisonError;

use crate::domain::Catalogue;
use crate::domain::CatalogueError;
use crate::domain::ModelRule;
use crate::domain::Plan;
use crate::ledger::Action;
use crate::ledger::CatalogueRow;
use crate::ledger::Expected;
use crate::ledger::Ledger;
use crate::ledger::LedgerError;
use crate::ledger::Replaced;

use super::Quota;
use super::StartError;
use super::actor::Actor;
use super::error::QuotaError;
use super::resolve::Edition;

/// Attempts at a change that is to be made whatever there is, while others change the catalogue.
const ATTEMPTS_MAX: usize = 8;

/// The catalogue, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueView {
    /// Its version, from 1.
    pub version: u64,
    /// The catalogue.
    pub catalogue: Catalogue,
}

/// A change of one part of the catalogue, or of all of it.
#[derive(Clone, Debug)]
pub enum CatalogueChange {
    /// Everything.
    All(Catalogue),
    /// The plan of that name.
    Plan(String, Plan),
    /// All model rules, in order.
    Models(Vec<ModelRule>),
}

impl CatalogueChange {
    const fn action(&self) -> Action {
        match self {
            Self::All(_) => Action::CatalogueReplace,
            Self::Plan(..) => Action::PlanPut,
            Self::Models(_) => Action::ModelPut,
        }
    }

    fn target(&self) -> String {
        match self {
            Self::All(_) => "catalogue".to_owned(),
            Self::Plan(name, _) => name.clone(),
            Self::Models(_) => "models".to_owned(),
        }
    }

    fn apply(self, catalogue: Catalogue) -> Catalogue {
        match self {
            Self::All(catalogue) => catalogue,
            Self::Plan(name, plan) => {
                let mut plans = catalogue.plans;
                plans.insert(name, plan);
                Catalogue { plans, ..catalogue }
            }
            Self::Models(models) => Catalogue { models, ..catalogue },
        }
    }
}

impl<L> Quota<L> {
    /// The edition in force on this node.
    pub(super) fn edition(&self) -> Arc<Edition> {
        self.edition.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Quota {
    /// The catalogue in force on this node, at most two seconds behind the newest.
    #[must_use]
    pub fn catalogue(&self) -> CatalogueView {
        let edition = self.edition();
        CatalogueView { version: edition.version, catalogue: edition.catalogue.clone() }
    }

    /// The newest catalogue, from the ledger.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn newest_catalogue(&self) -> Result<CatalogueView, QuotaError> {
        let row = self.ledger.catalogue().await.map_err(QuotaError::of_ledger)?;
        let missing = || QuotaError::Internal("the ledger holds no catalogue".into());
        read(&row.ok_or_else(missing)?)
    }

    /// Changes the catalogue, if the version in force is as expected. This node goes by the new one when this returns,
    /// the others within two seconds.
    ///
    /// # Errors
    ///
    /// [`QuotaError::BadCatalogue`], [`QuotaError::Stale`]; [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn change_catalogue(
        &self,
        change: CatalogueChange,
        expected: Expected,
        actor: &Actor,
    ) -> Result<CatalogueView, QuotaError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.try_change(change.clone(), expected, actor).await {
                Err(QuotaError::Stale { .. }) if expected == Expected::Any => {}
                outcome => return outcome,
            }
        }
        Err(QuotaError::Overloaded)
    }

    async fn try_change(
        &self,
        change: CatalogueChange,
        expected: Expected,
        actor: &Actor,
    ) -> Result<CatalogueView, QuotaError> {
        let current = self.newest_catalogue().await?;
        if let Expected::Version(version) = expected
            && version != current.version
        {
            return Err(QuotaError::Stale { found: current.version });
        }
        let (action, target) = (change.action(), change.target());
        let catalogue = change.apply(current.catalogue);
        catalogue.check().map_err(QuotaError::BadCatalogue)?;
        let act = actor.act(action, &target);
        let document = document(&catalogue)?;
        let replaced = self.ledger.replace_catalogue(current.version, &document, &act).await;
        let too_large = |error| match error {
            // Everything else about it is checked by now.
            LedgerError::BadData(_) => QuotaError::BadCatalogue(CatalogueError::TooLarge),
            error => QuotaError::of_ledger(error),
        };
        match replaced.map_err(too_large)? {
            Replaced::Stale { found } => Err(QuotaError::Stale { found }),
            Replaced::Done { version } => {
                self.take_edition(Edition::new(version, catalogue.clone()));
                Ok(CatalogueView { version, catalogue })
            }
        }
    }

    /// Whether this is the catalogue in force.
    #[must_use]
    pub fn goes_by(&self, catalogue: &Catalogue) -> bool {
        self.edition().catalogue == *catalogue
    }

    /// Goes by the newest catalogue from now on.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away: the edition stays as it is.
    pub async fn follow_catalogue(&self) -> Result<(), QuotaError> {
        let version = self.ledger.catalogue_version().await.map_err(QuotaError::of_ledger)?;
        if version.is_none_or(|version| version <= self.edition().version) {
            return Ok(());
        }
        let newest = self.newest_catalogue().await?;
        tracing::info!(version = newest.version, "a new catalogue is in force");
        self.take_edition(Edition::new(newest.version, newest.catalogue));
        Ok(())
    }

    fn take_edition(&self, edition: Arc<Edition>) {
        let mut current = self.edition.write().unwrap_or_else(PoisonError::into_inner);
        if edition.version > current.version {
            *current = edition;
        }
    }
}

/// The catalogue in the ledger, after it was given `seed` when it had none.
pub(super) async fn first_edition(
    ledger: &Ledger,
    seed: &Catalogue,
) -> Result<Arc<Edition>, StartError> {
    let document = document(seed).map_err(StartError::Catalogue)?;
    ledger.seed_catalogue(&document).await.map_err(StartError::Ledger)?;
    let row = ledger.catalogue().await.map_err(StartError::Ledger)?;
    let missing = || StartError::Catalogue(QuotaError::Internal("no catalogue".into()));
    let view = read(&row.ok_or_else(missing)?).map_err(StartError::Catalogue)?;
    Ok(Edition::new(view.version, view.catalogue))
}

fn document(catalogue: &Catalogue) -> Result<String, QuotaError> {
    serde_json::to_string(catalogue).map_err(|error| QuotaError::Internal(Box::new(error)))
}

fn read(row: &CatalogueRow) -> Result<CatalogueView, QuotaError> {
    let misread = |error| QuotaError::Internal(Box::new(error));
    let catalogue: Catalogue = serde_json::from_str(&row.document).map_err(misread)?;
    Ok(CatalogueView { version: row.version, catalogue })
}

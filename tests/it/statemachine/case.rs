//! One case: its commands to the system, and what the system says.

use std::cell::RefCell;
use std::rc::Rc;

use headroom::domain::Amount;
use headroom::domain::LimitState;
use headroom::domain::Subject;
use headroom::quota::Expected;
use headroom::quota::Order;
use headroom::quota::QuotaError;
use headroom::quota::Rewritten;
use proptest::strategy::BoxedStrategy;
use proptest::strategy::Strategy;
use proptest_state_machine::ReferenceStateMachine;
use proptest_state_machine::StateMachineTest;

use super::catalogues;
use super::generate;
use super::reference::Reference;
use super::steps::Asked;
use super::steps::LimitSaid;
use super::steps::Said;
use super::steps::Step;
use super::world::World;
use crate::support::flush_all;
use crate::support::orders;
use crate::support::orders::actor;

thread_local! {
    /// Where the cases of this thread happen: the state machine makes them out of nothing.
    pub static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let begin = (generate::start_ms(), catalogues::catalogue());
        begin.prop_map(|(now_ms, catalogue)| Self::new(now_ms, catalogue)).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        generate::step()
    }

    fn apply(mut reference: Self, step: &Step) -> Self {
        reference.take(step);
        reference
    }
}

/// The subjects of one case.
pub struct Case {
    world: Rc<World>,
    /// Before the id of each root.
    prefix: String,
}

impl StateMachineTest for Case {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Self {
        let world = WORLD.with_borrow(|world| world.clone().unwrap());
        let case = Self { prefix: world.next_prefix(), world };
        case.block_on(async {
            case.world.evict_all().await;
            case.world.set_time(reference.now_ms).await;
            case.world.replace(0, reference.catalogue.clone()).await;
        });
        case
    }

    fn apply(case: Self, reference: &Reference, step: Step) -> Self {
        let said = case.block_on(case.take(&step, reference.now_ms));
        assert_eq!(said, reference.said, "{step:?}");
        case
    }

    fn teardown(case: Self, reference: Reference) {
        case.block_on(case.world.compare(&case.prefix, &reference));
    }
}

impl Case {
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.world.runtime.block_on(work)
    }

    /// The subject of a path in this case.
    fn subject(&self, path: &str) -> Subject {
        orders::subject(&path.replacen(':', &format!(":{}", self.prefix), 1))
    }

    /// A subject's path in all cases.
    fn path(&self, subject: &str) -> String {
        subject.replacen(&self.prefix, "", 1)
    }

    async fn take(&self, step: &Step, now_ms: i64) -> Said {
        let said = match step {
            Step::Order { node, asked, is_check } => self.order(*node, asked, *is_check).await,
            Step::Look { node, path } => self.look(*node, path).await,
            Step::Set { .. } | Step::Reset { .. } => self.act(step).await,
            Step::Put { .. } | Step::Delete { .. } => self.configure(step).await,
            other => {
                self.disturb(other, now_ms).await;
                Ok(Said::Done)
            }
        };
        said.unwrap_or_else(|error| Said::Refused(self.code(&error)))
    }

    async fn order(&self, node: usize, asked: &Asked, is_check: bool) -> Result<Said, QuotaError> {
        let order = Order {
            subject: self.subject(asked.path),
            ask: asked.ask.clone(),
            amount: Amount::new(asked.amount).unwrap(),
            idempotency_key: asked.key.map(|key| format!("key-{key}")),
            ..orders::one("user:u_1", "messages")
        };
        let quota = self.world.quota(node);
        let decision =
            if is_check { quota.check(order).await } else { quota.consume(order).await }?;
        assert!(!decision.degraded);
        assert_eq!(decision.event_id.is_some(), decision.allowed && !is_check && asked.amount > 0);
        Ok(Said::Decided {
            allowed: decision.allowed,
            replayed: decision.replayed,
            limits: self.limits(&decision.limits),
            plan: decision.plan,
        })
    }

    async fn look(&self, node: usize, path: &str) -> Result<Said, QuotaError> {
        let usage = self.world.quota(node).usage(&self.subject(path)).await?;
        Ok(Said::Used {
            limits: self.limits(&usage.limits),
            plan: usage.plan,
            features: usage.features,
            is_blocked: usage.is_blocked,
            calendar: usage.calendar,
        })
    }

    async fn act(&self, step: &Step) -> Result<Said, QuotaError> {
        let counters = match step {
            Step::Set { node, path, order } => {
                let subject = self.subject(path);
                self.world.quota(*node).set_usage(&subject, order, &actor()).await?.counters
            }
            Step::Reset { node, path, scope } => {
                let subject = self.subject(path);
                self.world.quota(*node).clear(&subject, scope.clone(), &actor()).await?.counters
            }
            other => panic!("{other:?} is no act on counters"),
        };
        let said = |it: Rewritten| (it.metric.to_string(), it.period, it.window.start_s, it.units);
        let mut rewritten: Vec<_> = counters.into_iter().map(said).collect();
        rewritten.sort();
        Ok(Said::Rewritten(rewritten))
    }

    async fn configure(&self, step: &Step) -> Result<Said, QuotaError> {
        match step {
            Step::Put { node, path, profile } => {
                let (subject, profile) = (self.subject(path), profile.clone());
                let quota = self.world.quota(*node);
                quota.put_subject(&subject, profile, Expected::Any, &actor()).await?;
            }
            Step::Delete { node, path } => {
                let quota = self.world.quota(*node);
                quota.delete_subject(&self.subject(path), Expected::Any, &actor()).await?;
            }
            other => panic!("{other:?} configures no subject"),
        }
        Ok(Said::Done)
    }

    /// What nobody is answered.
    async fn disturb(&self, step: &Step, now_ms: i64) {
        let world = &self.world;
        match step {
            Step::Move(_) => world.set_time(now_ms).await,
            Step::Replace { node, catalogue } => world.replace(*node, catalogue.clone()).await,
            Step::Evict { path, with_profile } => {
                world.evict(self.subject(path).as_str(), *with_profile).await;
            }
            Step::ForgetScripts => world.forget_scripts().await,
            Step::Flush { node } => drop(flush_all(world.quota(*node)).await),
            Step::Recover { node } => world.recover(*node).await,
            other => panic!("{other:?} is answered"),
        }
    }

    fn limits(&self, states: &[LimitState]) -> Vec<LimitSaid> {
        let said = states.iter().map(|state| LimitSaid::of(state, self.path(&state.subject)));
        let mut said: Vec<LimitSaid> = said.collect();
        said.sort();
        said
    }

    /// The reference's name of an error.
    fn code(&self, error: &QuotaError) -> String {
        match error {
            QuotaError::UnknownMetric => "unknown_metric".to_owned(),
            QuotaError::ModelNotAllowed => "model_not_allowed".to_owned(),
            QuotaError::AnonymousModel => "anonymous_model".to_owned(),
            QuotaError::NoPlan => "no_plan".to_owned(),
            QuotaError::UnknownFeature => "unknown_feature".to_owned(),
            QuotaError::FeatureNotEntitled(missing) => format!("not_entitled {}", missing.feature),
            QuotaError::Blocked(subject) => format!("blocked {}", self.path(subject)),
            QuotaError::Misconfigured(_) => "misconfigured".to_owned(),
            QuotaError::UnknownSubject => "unknown_subject".to_owned(),
            QuotaError::BadProfile(_) => "bad_profile".to_owned(),
            QuotaError::IdempotencyMismatch => "mismatch".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

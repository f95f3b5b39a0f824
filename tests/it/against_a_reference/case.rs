//! One case: its commands to the system, and what the system says.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use headroom::domain::Amount;
use headroom::domain::Decision;
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
use uuid::Uuid;

use super::catalogues;
use super::generate;
use super::reference::Reference;
use super::steps::Asked;
use super::steps::LimitSaid;
use super::steps::Said;
use super::steps::Step;
use super::steps::Want;
use super::world::World;
use crate::support::flush_all;
use crate::support::orders;
use crate::support::orders::actor;

/// Cases from one check of all invariants to the next.
const VERIFY_EVERY: usize = 10;
/// How often there is a flush while a command waits for it.
const FLUSH_EVERY: Duration = Duration::from_millis(5);

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

    fn preconditions(reference: &Self, step: &Step) -> bool {
        match step {
            Step::End { hold, end, .. } => {
                let number = hold.checked_rem(reference.holds.len());
                number.is_none_or(|number| reference.knows_end(number, *end))
            }
            _ => true,
        }
    }

    fn apply(mut reference: Self, step: &Step) -> Self {
        reference.take(step);
        reference
    }
}

/// The subjects of one case.
pub struct Case {
    pub(super) world: Rc<World>,
    /// Before the id of each root.
    prefix: String,
    pub(super) told: RefCell<Told>,
}

/// Ids that the case was told, in the order of the reference's numbers.
#[derive(Default)]
pub(super) struct Told {
    pub(super) holds: Vec<String>,
    pub(super) events: Vec<Uuid>,
    pub(super) grants: Vec<u64>,
    /// Of the grants.
    pub(super) owners: Vec<&'static str>,
}

impl StateMachineTest for Case {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Self {
        let world = WORLD.with_borrow(|world| world.clone().unwrap());
        let case = Self { prefix: world.next_prefix(), world, told: RefCell::default() };
        case.block_on(async {
            case.world.evict_all().await;
            case.world.set_time(reference.now_ms).await;
            case.world.replace(0, reference.catalogue.clone()).await;
        });
        case
    }

    fn apply(case: Self, reference: &Reference, step: Step) -> Self {
        case.world.steps.set(case.world.steps.get() + 1);
        let mut said = case.block_on(case.take(&step, reference));
        if let (Said::Ended { overage, .. }, Said::Ended { overage: None, .. }) =
            (&mut said, &reference.said)
        {
            *overage = None;
        }
        assert_eq!(said, reference.said, "{step:?}");
        case
    }

    fn teardown(case: Self, reference: Reference) {
        let grants = case.told.borrow().grants.clone();
        case.block_on(case.world.compare(&case.prefix, &reference, &grants));
        if case.world.cases().is_multiple_of(VERIFY_EVERY) {
            case.block_on(case.world.check());
        }
    }
}

impl Case {
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.world.runtime.block_on(work)
    }

    /// The subject of a path in this case.
    pub(super) fn subject(&self, path: &str) -> Subject {
        orders::subject(&path.replacen(':', &format!(":{}", self.prefix), 1))
    }

    /// A subject's path in all cases.
    pub(super) fn path(&self, subject: &str) -> String {
        subject.replacen(&self.prefix, "", 1)
    }

    async fn take(&self, step: &Step, reference: &Reference) -> Said {
        let now_ms = reference.now_ms;
        if !reference.has_rolled {
            return self.do_it(step, now_ms).await;
        }
        // A roll waits until Postgres has everything; a second one waits for the first.
        let flushing = async {
            let mut ticks = tokio::time::interval(FLUSH_EVERY);
            loop {
                flush_all(self.world.quota(0)).await;
                ticks.tick().await;
            }
        };
        tokio::select! {
            biased;
            () = flushing => unreachable!("it goes on and on"),
            said = self.do_it(step, now_ms) => said,
        }
    }

    async fn do_it(&self, step: &Step, now_ms: i64) -> Said {
        let said = match step {
            Step::Order { node, asked, want } => self.order(*node, asked, *want).await,
            Step::End { .. }
            | Step::Refund { .. }
            | Step::Give { .. }
            | Step::Revoke { .. }
            | Step::Transfer { .. }
            | Step::Sweep { .. } => self.settle(step, now_ms).await,
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

    async fn order(&self, node: usize, asked: &Asked, want: Want) -> Result<Said, QuotaError> {
        let order = Order {
            subject: self.subject(asked.path),
            ask: asked.ask.clone(),
            amount: Amount::new(asked.amount).unwrap(),
            idempotency_key: asked.key.map(|key| format!("key-{key}")),
            ..orders::one("user:u_1", "messages")
        };
        let quota = self.world.quota(node);
        let decision = match want {
            Want::Check => quota.check(order).await,
            Want::Consume => quota.consume(order).await,
            Want::Reserve { ttl_s } => quota.reserve(order, Duration::from_secs(ttl_s)).await,
        }?;
        assert!(!decision.degraded);
        let is_event = decision.allowed && want != Want::Check && asked.amount > 0;
        assert_eq!(decision.event_id.is_some(), is_event);
        Ok(Said::Decided {
            hold: self.keep(&decision),
            allowed: decision.allowed,
            replayed: decision.replayed,
            limits: self.limits(&decision.limits),
            plan: decision.plan,
            free_at_s: decision.free_at_s,
        })
    }

    /// Keeps the ids that a decision tells; the number of its hold, and until when it holds.
    fn keep(&self, decision: &Decision) -> Option<(usize, i64)> {
        let mut told = self.told.borrow_mut();
        told.events.extend(decision.event_id.filter(|_| !decision.replayed));
        let hold = decision.hold.as_ref()?;
        let known = told.holds.iter().position(|id| *id == hold.id);
        let number = known.unwrap_or_else(|| {
            told.holds.push(hold.id.clone());
            told.holds.len() - 1
        });
        Some((number, hold.until_s))
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

    pub(super) fn limits(&self, states: &[LimitState]) -> Vec<LimitSaid> {
        let said = states.iter().map(|state| LimitSaid::of(state, self.path(&state.subject)));
        let mut said: Vec<LimitSaid> = said.collect();
        said.sort();
        said
    }
}

//! What clients ask of nodes, and what they were answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headroom::domain::Amount;
use headroom::domain::Decision;
use headroom::quota::CommitOrder;
use headroom::quota::EndOrder;
use headroom::quota::Order;
use headroom::quota::Quota;
use headroom::quota::QuotaError;
use uuid::Builder;
use uuid::Uuid;

use super::calls::LedgerWay;
use super::tasks::Tasks;
use crate::random::Dice;
use crate::support::orders;

/// Who asks.
pub const SUBJECTS: [&str; 2] = ["user:a", "user:b"];

type Node = Arc<Quota<LedgerWay>>;

/// What is asked.
#[derive(Clone, Debug)]
enum Ask {
    Consume(Order),
    Reserve(Order, Duration),
    Commit(String, u64),
    Release(String),
}

/// What clients know.
#[derive(Default)]
pub struct History {
    /// The events that were acknowledged, each with how often Redis had lost something by then.
    pub acknowledged: BTreeMap<Uuid, u64>,
    /// How often Redis has lost something so far.
    pub losses: u64,
    /// Reservations that were given out.
    reserved: Vec<String>,
    /// What was asked with a key, and may be asked again.
    asked: Vec<Ask>,
    pub refused: u64,
    pub unknown: u64,
    /// Answers that nobody should be given.
    pub wrong: Vec<String>,
}

/// The clients of all nodes.
#[derive(Default)]
pub struct Clients {
    pub history: Rc<RefCell<History>>,
    asked: u64,
}

impl Clients {
    /// Asks a node for something.
    pub fn ask(
        &mut self,
        dice: &mut Dice,
        now_ms: i64,
        (life, node): (u64, &Node),
        tasks: &mut Tasks,
    ) -> String {
        let ask = self.choose(dice, now_ms);
        let text = format!("{ask:?}");
        let (node, history) = (node.clone(), self.history.clone());
        tasks.spawn(life, "client", async move { ask.run(&node, &history).await });
        text
    }

    fn choose(&mut self, dice: &mut Dice, now_ms: i64) -> Ask {
        self.asked += 1;
        let mut history = self.history.borrow_mut();
        let chance = dice.below(10);
        if chance < 2 && !history.asked.is_empty() {
            return pick(dice, &history.asked).clone();
        }
        if chance < 5 && !history.reserved.is_empty() {
            let id = pick(dice, &history.reserved).clone();
            return if dice.below(3) == 0 {
                Ask::Release(id)
            } else {
                Ask::Commit(id, dice.below(2))
            };
        }
        let mut order = orders::one(dice.choose(&SUBJECTS), "messages");
        order.context.request_id = format!("request-{}", self.asked);
        let is_hold = chance < 6;
        if is_hold || dice.below(2) == 0 {
            order.idempotency_key = Some(format!("key-{}", self.asked));
        } else {
            let bits = (u128::from(self.asked) << 8 | 1).to_be_bytes();
            let mut random = [0; 10];
            random.copy_from_slice(&bits[6..]);
            let at_ms = now_ms.cast_unsigned();
            let id = Builder::from_unix_timestamp_millis(at_ms, &random).into_uuid();
            order.context.made_id = Some(id);
            return Ask::Consume(order);
        }
        let time = Duration::from_secs(1 + dice.below(30));
        let ask = if is_hold { Ask::Reserve(order, time) } else { Ask::Consume(order) };
        history.asked.push(ask.clone());
        ask
    }
}

fn pick<'a, T>(dice: &mut Dice, from: &'a [T]) -> &'a T {
    &from[usize::try_from(dice.below(from.len() as u64)).unwrap()]
}

impl Ask {
    async fn run(self, node: &Node, history: &RefCell<History>) {
        match self {
            Self::Consume(order) => {
                let outcome = node.consume(order).await;
                history.borrow_mut().decided(outcome);
            }
            Self::Reserve(order, time) => {
                let outcome = node.reserve(order, time).await;
                history.borrow_mut().decided(outcome);
            }
            Self::Commit(id, amount) => {
                let commit = CommitOrder {
                    amount: if amount == 0 { Amount::ZERO } else { Amount::ONE },
                    is_strict: false,
                };
                let ended = node.commit(&end_of(node, &id), commit).await;
                history.borrow_mut().ended(ended.map(|it| it.event_id));
            }
            Self::Release(id) => {
                let ended = node.release(&end_of(node, &id)).await;
                history.borrow_mut().ended(ended.map(|it| it.event_id));
            }
        }
    }
}

fn end_of(node: &Node, id: &str) -> EndOrder {
    EndOrder {
        reservation: node.reservation_id(id).unwrap(),
        idempotency_key: None,
        metadata: None,
        context: orders::one("user:a", "messages").context,
    }
}

impl History {
    fn decided(&mut self, outcome: Result<Decision, QuotaError>) {
        match outcome {
            Ok(decision) if decision.allowed => {
                let at = self.losses;
                self.acknowledged.extend(decision.event_id.map(|id| (id, at)));
                self.reserved.extend(decision.hold.map(|hold| hold.id));
            }
            // A reserve that is asked again may have had its hold, and its end.
            Ok(_) | Err(QuotaError::ReservationEnded { .. }) => self.refused += 1,
            Err(error) => self.failed(&error),
        }
    }

    fn ended(&mut self, outcome: Result<Uuid, QuotaError>) {
        match outcome {
            Ok(event) => {
                self.acknowledged.insert(event, self.losses);
            }
            Err(QuotaError::ReservationEnded { .. }) => self.refused += 1,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &QuotaError) {
        match error {
            QuotaError::Unavailable { .. } => self.unknown += 1,
            other => self.wrong.push(format!("{other:?}")),
        }
    }
}

//! Requests of every kind in one call: each is decided as it would be after those before it, each in a call of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use headroom::counters::Clearing;
use headroom::counters::Field;
use headroom::counters::HoldOf;
use headroom::counters::Idempotency;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::CommitLate;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Decrement;
use headroom::counters::OperationKind::Expire;
use headroom::counters::OperationKind::Extend;
use headroom::counters::OperationKind::Give;
use headroom::counters::OperationKind::Refund;
use headroom::counters::OperationKind::Release;
use headroom::counters::OperationKind::Reserve;
use headroom::counters::OperationKind::Set;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Roll;
use headroom::counters::Taken;
use headroom::domain::Amount;
use headroom::domain::Event;
use headroom::domain::GrantLine;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Sheet;
use uuid::Uuid;

use super::acts::end;
use super::acts::grant;
use super::acts::sheet;
use super::acts::units;
use super::acts::used_before;
use crate::random::Dice;
use crate::support::lanes::Lanes;
use crate::support::lanes::operation;
use crate::support::orders;

/// Noon of a Wednesday.
const NOON_S: i64 = 1_804_680_000;
const TEAM: &str = "team:t_1";
const MEMBER: &str = "team:t_1/user:u_1";
/// Whose day rolls over.
const OTHER: &str = "user:u_2";
const SUBJECTS: [&str; 3] = [TEAM, MEMBER, OTHER];
/// Requests of a case that are made one by one before the group.
const ALONE: u64 = 24;
/// Requests of a group.
const TOGETHER: u64 = 60;
const SEEDS: u64 = 4;

/// What a case is made of: the same for each of two shards.
struct Case<'a> {
    lanes: &'a Lanes,
    dice: Dice,
    /// So many requests were made already.
    made: u64,
    /// Requests that are attempted again, once each: a call has at most one attempt at a request.
    repeated: BTreeSet<u64>,
}

/// The id of the request of a number.
fn id_of(number: u64) -> Uuid {
    Uuid::from_u128(number.into())
}

/// Whose the hold of a number is.
fn owner(hold: u64) -> &'static str {
    SUBJECTS[usize::try_from(hold).unwrap() % SUBJECTS.len()]
}

impl Case<'_> {
    fn number(&mut self, end: u64) -> u64 {
        self.dice.below(end)
    }

    fn depth(subject: &str) -> u8 {
        orders::subject(subject).depth()
    }

    fn day(&self) -> Line {
        let mut line = self.lanes.line_of(1, Period::Day, "messages", Some(9));
        line.limit.rollover = Some(Portion::Units(units(4)));
        line
    }

    fn grants(subject: &str) -> Vec<GrantLine> {
        let depth = Self::depth(subject);
        vec![
            grant(depth, 7, "messages", 6, Some(NOON_S + 600)),
            grant(depth, 5, "messages", 9, None),
            grant(1, 3, "tokens", 5, None),
        ]
    }

    /// Limits of each level, of which some weigh nothing, slide or have no end.
    fn lines(&mut self, subject: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        for depth in 1..=Self::depth(subject) {
            let max = 10 + self.number(20);
            lines.push(self.lanes.line(depth, "messages", Some(max)));
            if self.number(3) == 0 {
                lines.push(self.lanes.sliding(depth, Period::Hour, "messages", Some(max)));
            }
            if self.number(3) == 0 {
                let weight = Amount::new(self.number(3)).unwrap();
                let max = (self.number(2) == 0).then(|| 20 + self.number(20));
                lines.push(Line { weight, ..self.lanes.line(depth, "tokens", max) });
            }
        }
        lines
    }

    fn sheet(&mut self, subject: &str) -> Sheet {
        let lines = self.lines(subject);
        let has_grants = self.number(3) == 0;
        let grants = if has_grants { Self::grants(subject) } else { Vec::new() };
        let is_rolling = subject == OTHER && self.number(2) == 0;
        let rolling = if is_rolling { vec![self.day()] } else { Vec::new() };
        let lines = if is_rolling { vec![self.day()] } else { lines };
        Sheet { grants, rolling, ..sheet(subject, lines) }
    }

    fn taken(&mut self, subject: &str) -> Vec<Taken> {
        let lines = self.lines(subject);
        let taken = lines.iter().filter(|line| !line.limit.sliding).map(|line| {
            let (period, start_s) = (line.limit.period, line.window.start_s);
            let field = Field::used(line.limit.metric.as_str(), period, false, start_s);
            let refund_max = (self.dice.below(2) == 0).then(|| units(4));
            let units = 1 + self.dice.below(3);
            Taken { depth: line.depth, field, units, refund_max, end_s: line.window.end_s }
        });
        taken.collect()
    }

    /// What stands in place of a sheet, and what is asked by it.
    fn special(&mut self, kind: OperationKind, subject: &str) -> Operation {
        let depth = Self::depth(subject);
        let sheet = match kind {
            Refund => {
                let taken = self.taken(subject);
                PackedSheet::refund(depth, "test", &taken)
            }
            Give => PackedSheet::give(depth, &Self::grants(subject)[..2]),
            OperationKind::Roll => {
                let line = Line { depth, ..self.day() };
                let before = used_before(i64::try_from(self.number(9)).unwrap(), 0);
                let before_s = line.window.start_s - 86_400;
                PackedSheet::roll(depth, &[Roll { line, before_s, before }])
            }
            _ => {
                let window = self.lanes.line(1, "messages", None).window;
                let (period, from_s) = (Period::Month, window.start_s);
                let clearing = Clearing { period, sliding: false, from_s, window };
                PackedSheet::reset(depth, Some(&orders::metric("messages")), &[clearing])
            }
        };
        operation(kind, subject, Arc::new(sheet))
    }

    fn kind(&mut self) -> OperationKind {
        const KINDS: [OperationKind; 18] = [
            Check,
            Consume,
            Consume,
            Consume,
            OperationKind::Reset,
            Set,
            Decrement,
            Reserve,
            Reserve,
            Reserve,
            Commit,
            Commit,
            CommitLate,
            Release,
            Expire,
            Extend,
            Refund,
            Give,
        ];
        if self.number(12) == 0 { OperationKind::Roll } else { self.dice.choose(&KINDS) }
    }

    fn next(&mut self) -> Operation {
        self.made += 1;
        let kind = self.kind();
        // The hold that is made, or one that may have been; its id says whose it is.
        let hold = if kind.is_of_hold() { 1 + self.number(ALONE + TOGETHER) } else { self.made };
        let is_held = kind.is_of_hold() || kind == Reserve;
        let subject = match kind {
            // Where something is carried, other parts of the script decide.
            OperationKind::Roll => OTHER,
            _ if is_held => owner(hold),
            _ => self.dice.choose(&SUBJECTS),
        };
        let mut order = match kind {
            Check | Consume | Set | Decrement | Reserve => {
                let sheet = Arc::new(PackedSheet::charge(self.sheet(subject)));
                operation(kind, subject, sheet)
            }
            kind if kind.is_of_hold() => end(kind, subject, Uuid::nil(), 0),
            kind => self.special(kind, subject),
        };
        let has_amount = !matches!(kind, Release | Expire | Extend);
        order.amount = units(if has_amount { self.number(4) } else { 0 });
        order.event_id = id_of(self.made);
        if is_held {
            let until_s = NOON_S + 60 + 30 * i64::try_from(self.number(3)).unwrap();
            let is_strict = kind == Commit && self.number(3) == 0;
            order.hold = Some(HoldOf { id: id_of(hold), until_s, is_strict });
        }
        self.repeat(&mut order);
        order
    }

    /// Some have a key that others had, some are attempts at what may have been done.
    fn repeat(&mut self, order: &mut Operation) {
        if order.kind != Check && self.number(3) == 0 {
            let key = u8::try_from(self.number(6)).unwrap();
            let fingerprint = [u8::try_from(self.number(2)).unwrap(); 8];
            order.idempotency = Some(Idempotency { key_hash: [key; 16], fingerprint });
        }
        let earlier = 1 + self.number(ALONE);
        let is_again = self.made > ALONE && order.kind != Check && self.number(4) == 0;
        let is_same = order.kind != Reserve || owner(earlier) == order.subject.as_str();
        if is_again && is_same && self.repeated.insert(earlier) {
            order.event_id = id_of(earlier);
            order.since_seq = Some(self.number(4));
            if order.kind == Reserve {
                order.hold = order.hold.map(|hold| HoldOf { id: order.event_id, ..hold });
            }
        }
    }
}

/// What a shard answers to the requests of a seed, of which the last are made in one call or one by one.
async fn play(seed: u64, is_group: bool) -> (Vec<Outcome>, Vec<Event>, Vec<Vec<(String, i64)>>) {
    let lanes = Lanes::start().await;
    lanes.stop_at(NOON_S).await;
    lanes.load(&SUBJECTS, 0).await;
    let (dice, repeated) = (Dice::new(seed), BTreeSet::new());
    let mut case = Case { lanes: &lanes, dice, made: 0, repeated };
    let mut outcomes = Vec::new();
    for _ in 0..ALONE {
        let order = case.next();
        outcomes.push(lanes.submit(order).await);
    }
    let orders: Vec<_> = (0..TOGETHER).map(|_| case.next()).collect();
    if is_group {
        outcomes.extend(lanes.submit_together(orders).await);
        assert!(lanes.outbox_entries().await <= ALONE + 1, "the last were one call");
    } else {
        for order in orders {
            outcomes.push(lanes.submit(order).await);
        }
    }
    let mut states = Vec::new();
    for subject in SUBJECTS {
        let mut counters = lanes.state(subject).await.counters;
        counters.sort_unstable();
        states.push(counters);
    }
    (outcomes, lanes.events().await, states)
}

/// Guards promises 1, 2 and 4: a group is decided as its requests one by one, whatever they are.
#[tokio::test]
async fn a_group_of_any_requests_is_decided_as_they_are_one_by_one() {
    for seed in 1..=SEEDS {
        let (together, events, counters) = play(seed, true).await;
        let (alone, events_alone, counters_alone) = play(seed, false).await;

        for (place, (one, other)) in together.iter().zip(&alone).enumerate() {
            assert_eq!(one, other, "seed {seed}, request {place}");
        }
        assert_eq!(events, events_alone, "seed {seed}");
        assert_eq!(counters, counters_alone, "seed {seed}");
    }
}

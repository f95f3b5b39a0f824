//! Loads of levels whose outbox has events of every kind: what is loaded is what was evicted, counter by counter.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use headroom::counters::Again;
use headroom::counters::Before;
use headroom::counters::Clearing;
use headroom::counters::Field;
use headroom::counters::Held;
use headroom::counters::HoldOf;
use headroom::counters::KnownHold;
use headroom::counters::LevelBase;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Extend;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Roll;
use headroom::counters::Taken;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::GrantLine;
use headroom::domain::Line;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Sheet;
use headroom::domain::Tally;
use headroom::domain::event::Delta;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prop_oneof;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::acts;
use super::acts::units;
use super::acts::used_before;
use crate::support::lanes::Lanes;
use crate::support::lanes::level;
use crate::support::lanes::operation;

/// Steps of a case.
const STEPS_MAX: usize = 30;
/// How often a step is asked again, each time for another reason.
const ATTEMPTS_MAX: usize = 5;
/// What refunds give back of the member's month.
const REFUND_MAX: u64 = 9;

/// One step of a case; what it names is taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A consume, a set or a decrement of the member's path or, of the team's.
    Charge(OperationKind, bool, u64),
    Reserve(bool, u64, i64),
    /// An end of one of the holds, strict or not.
    End(OperationKind, usize, u64, bool),
    Extend(usize, i64),
    /// Redis loses the record of a hold that is open.
    Forget(usize),
    Refund(usize),
    Give(u64),
    Reset,
    Pass(i64),
    /// The levels are evicted, and loaded from a base at a cursor.
    Load(usize),
}

fn step() -> impl Strategy<Value = Step> {
    use OperationKind::*;
    let charges = prop_oneof![6 => Just(Consume), 1 => Just(Set), 1 => Just(Decrement)];
    let ends = prop_oneof![
        4 => Just(Commit), 1 => Just(Release), 1 => Just(Expire), 1 => Just(CommitLate)
    ];
    let (is_deep, which) = (proptest::bool::ANY, 0..1_000_usize);
    prop_oneof![
        5 => (charges, is_deep, 0..7_u64).prop_map(|(kind, deep, n)| Step::Charge(kind, deep, n)),
        5 => (is_deep, 1..7_u64, 1..90_i64).prop_map(|(deep, n, ttl)| Step::Reserve(deep, n, ttl)),
        5 => (ends, which.clone(), 0..9_u64, is_deep)
            .prop_map(|(kind, hold, n, strict)| Step::End(kind, hold, n, strict)),
        1 => (which.clone(), 1..90_i64).prop_map(|(hold, ttl)| Step::Extend(hold, ttl)),
        1 => which.clone().prop_map(Step::Forget),
        3 => which.clone().prop_map(Step::Refund),
        1 => (1..5_u64).prop_map(Step::Give),
        1 => Just(Step::Reset),
        3 => prop_oneof![1..40_i64, Just(3_600), Just(86_400)].prop_map(Step::Pass),
        3 => which.prop_map(Step::Load),
    ]
}

/// A hold that was made: its path, its event, and what it was measured against.
struct Made {
    path: String,
    id: Uuid,
    sheet: Arc<PackedSheet>,
    amount: u64,
}

/// Two levels that nobody had before, and what was done to them.
struct Case<'a> {
    lanes: &'a Lanes,
    team: String,
    member: String,
    /// The seq before the case.
    from: u64,
    holds: Vec<Made>,
    grants: Vec<GrantLine>,
}

impl<'a> Case<'a> {
    async fn start(lanes: &'a Lanes, number: u32) -> Self {
        let (team, member) = (format!("team:t_{number}"), format!("team:t_{number}/user:u_1"));
        lanes.move_past_the_hour();
        let from = lanes.counters.sight(0).seq;
        lanes.load_at(from, vec![level(&team), level(&member)]).await;
        let soon_s = acts::now_s(lanes) + 2_000;
        let id = u64::from(number) * 10;
        let grants = vec![
            acts::grant(1, id + 1, "messages", 5, Some(soon_s)),
            acts::grant(1, id + 2, "messages", 20, None),
            acts::grant(2, id + 3, "messages", 6, Some(soon_s)),
        ];
        Self { lanes, team, member, from, holds: Vec::new(), grants }
    }

    /// The limits of both levels now: one that rolls over, soft, shadow and sliding ones, and a cap on holds.
    fn lines(&self) -> Vec<Line> {
        let of = |depth, period, max| self.lanes.line_of(depth, period, "messages", Some(max));
        let mut day = of(1, Period::Day, 20);
        day.limit.rollover = Some(Portion::Units(units(7)));
        let mut month = of(1, Period::Month, 60);
        (month.limit.mode, month.limit.grace) = (Mode::Soft, Portion::Units(units(15)));
        let mut minute = of(2, Period::Minute, 30);
        minute.limit.mode = Mode::Shadow;
        let mut own_month = of(2, Period::Month, 50);
        own_month.limit.hold_max = Some(Portion::Units(units(12)));
        let sliding = self.lanes.sliding(2, Period::Hour, "messages", Some(40));
        let tokens = self.lanes.line(2, "tokens", Some(90));
        vec![day, month, of(1, Period::Hour, 35), minute, own_month, sliding, tokens]
    }

    fn sheet(&self, is_deep: bool) -> Sheet {
        let depth = if is_deep { 2 } else { 1 };
        let lines: Vec<Line> = self.lines().into_iter().filter(|it| it.depth <= depth).collect();
        let rolling = vec![lines[0].clone()];
        let grants = self.grants.iter().filter(|it| it.depth <= depth).cloned().collect();
        let now_s = acts::now_s(self.lanes);
        let ends = self.grants.iter().map(|it| it.grant.end_s()).filter(|end_s| *end_s > now_s);
        let (plan, until_s) = ("test".to_owned(), ends.min());
        Sheet { plan, depth, lines, grants, rolling, until_s }
    }

    fn path(&self, is_deep: bool) -> &str {
        if is_deep { &self.member } else { &self.team }
    }

    async fn events(&self) -> Vec<Event> {
        let events = self.lanes.events().await;
        events.into_iter().filter(|event| event.seq > self.from).collect()
    }

    /// Asks until there is an answer: first rolls over, or tells a hold.
    async fn submit(&self, make: impl AsyncFn(&Self, bool) -> Operation) -> Outcome {
        let mut is_hold_known = false;
        for _ in 0..ATTEMPTS_MAX {
            let outcome = self.lanes.submit(make(self, is_hold_known).await).await;
            match outcome {
                Outcome::Again(Again::Roll(depth)) => self.roll(depth).await,
                Outcome::Again(Again::Hold) => is_hold_known = true,
                Outcome::Again(Again::WrongWindow(_)) => {}
                Outcome::Again(_) => panic!("{outcome:?}"),
                _ => return outcome,
            }
        }
        panic!("asked too often");
    }

    /// Carries over what the team's day left.
    async fn roll(&self, depth: u8) {
        assert_eq!(depth, 1);
        let line = self.lines().remove(0);
        let before_s = line.window.start_s - 86_400;
        for before in [Before::Unknown, self.before(before_s).await] {
            let rolls = [Roll { line: line.clone(), before_s, before }];
            let sheet = Arc::new(PackedSheet::roll(1, &rolls));
            let outcome =
                self.lanes.submit(operation(OperationKind::Roll, &self.team, sheet)).await;
            match outcome {
                Outcome::Again(Again::Before) => {}
                Outcome::Rewritten { .. } | Outcome::Nothing => return,
                _ => panic!("{outcome:?}"),
            }
        }
        panic!("what was used before was told");
    }

    /// What Postgres would say of the team's day before.
    async fn before(&self, start_s: i64) -> Before {
        let counts = sums(&self.events().await, &self.team, u64::MAX);
        let used = Field::used("messages", Period::Day, false, start_s);
        let carried = Field { tally: Tally::Carried, ..used.clone() };
        match (counts.get(&used), counts.get(&carried)) {
            (None, None) => Before::Nothing,
            (used, carried) => used_before(*used.unwrap_or(&0), *carried.unwrap_or(&0)),
        }
    }

    async fn reserve(&mut self, is_deep: bool, amount: u64, ttl_s: i64) {
        let id = Uuid::now_v7();
        let until_s = acts::now_s(self.lanes) + ttl_s;
        let order = |case: &Self| {
            let order = acts::reserve(case.path(is_deep), case.sheet(is_deep), amount, until_s);
            let hold = Some(HoldOf { id, until_s, is_strict: false });
            Operation { event_id: id, hold, ..order }
        };
        let sheet = order(self).sheet;
        let outcome = self.submit(async |case, _| order(case)).await;
        assert!(matches!(outcome, Outcome::Decided { .. }), "{outcome:?}");
        if matches!(outcome, Outcome::Decided { accepted: true, .. }) {
            self.holds.push(Made { path: self.path(is_deep).to_owned(), id, sheet, amount });
        }
    }

    /// Ends or moves a hold, told by the outbox when Redis does not know it.
    async fn finish(&self, kind: OperationKind, place: usize, amount: u64, extra: HoldOf) {
        let Some(made) = place.checked_rem(self.holds.len()).map(|place| &self.holds[place]) else {
            return;
        };
        let hold = Some(HoldOf { id: made.id, ..extra });
        let outcome = self.submit(async |case, is_hold_known| {
            let order = acts::end(kind, &made.path, made.id, amount);
            let events = case.events().await;
            let known = is_hold_known.then(|| known_hold(&events, made, &case.grants));
            let depth = if made.path == case.team { 1 } else { 2 };
            let sheet = known.map_or(order.sheet.clone(), |known| {
                Arc::new(PackedSheet::hold(depth, Some(&known)))
            });
            Operation { sheet, hold, ..order }
        });
        let outcome = outcome.await;
        let is_end =
            matches!(outcome, Outcome::HoldEnded(_) | Outcome::Ended(..) | Outcome::Nothing);
        assert!(is_end, "{outcome:?}");
    }

    async fn forget(&self, place: usize) {
        let Some(made) = place.checked_rem(self.holds.len()).map(|place| &self.holds[place]) else {
            return;
        };
        let is_end = |event: &Event| event.of == Some(made.id) && event.kind != EventKind::Extend;
        if self.events().await.iter().any(is_end) {
            return;
        }
        let mut command = redis::cmd("DEL");
        command.arg(headroom::counters::keys::reservation(0, made.id.into_bytes()));
        command.exec_async(&mut self.lanes.connection.clone()).await.unwrap();
    }

    async fn refund(&self, place: usize) {
        let mut events = self.events().await;
        events.retain(|event| {
            let is_refunded = matches!(event.kind, EventKind::Consume | EventKind::Commit);
            is_refunded && event.deltas.lines.iter().any(|line| line.units > 0)
        });
        let Some(event) = place.checked_rem(events.len()).map(|place| &events[place]) else {
            return;
        };
        let taken: Vec<Taken> = event.deltas.lines.iter().filter_map(taken).collect();
        let depth = if event.subject == self.team { 1 } else { 2 };
        let sheet = Arc::new(PackedSheet::refund(depth, "test", &taken));
        let order = operation(OperationKind::Refund, &event.subject, sheet);
        let outcome = self.lanes.submit(Operation { refunds: Some(event.event_id), ..order }).await;
        assert!(matches!(outcome, Outcome::Rewritten { .. } | Outcome::Nothing), "{outcome:?}");
    }

    async fn give(&self, amount: u64) {
        let grants = &self.grants[..2];
        let sheet = Arc::new(PackedSheet::give(1, grants));
        let order = operation(OperationKind::Give, &self.team, sheet);
        let outcome = self.lanes.submit(Operation { amount: units(amount), ..order }).await;
        assert!(matches!(outcome, Outcome::Rewritten { .. } | Outcome::Nothing), "{outcome:?}");
    }

    async fn reset(&self) {
        let clearing = |line: &Line| Clearing {
            period: line.limit.period,
            sliding: line.limit.sliding,
            from_s: line.earlier_s.last().copied().unwrap_or(line.window.start_s),
            window: line.window,
        };
        let lines = self.lines();
        let clearings: Vec<Clearing> =
            lines.iter().filter(|line| line.depth == 2).take(3).map(clearing).collect();
        let outcome = self.lanes.submit(Lanes::reset(&self.member, None, &clearings)).await;
        assert!(matches!(outcome, Outcome::Rewritten { .. }), "{outcome:?}");
    }

    async fn step(&mut self, step: &Step) {
        let now_s = acts::now_s(self.lanes);
        let hold = HoldOf { id: Uuid::nil(), until_s: 0, is_strict: false };
        match *step {
            Step::Charge(kind, is_deep, amount) => {
                let order = async |case: &Self, _| {
                    acts::ask(kind, case.path(is_deep), case.sheet(is_deep), amount)
                };
                self.submit(order).await;
            }
            Step::Reserve(is_deep, amount, ttl_s) => self.reserve(is_deep, amount, ttl_s).await,
            Step::End(kind, place, amount, is_strict) => {
                self.finish(kind, place, amount, HoldOf { is_strict, ..hold }).await;
            }
            Step::Extend(place, ttl_s) => {
                self.finish(Extend, place, 0, HoldOf { until_s: now_s + ttl_s, ..hold }).await;
            }
            Step::Forget(place) => self.forget(place).await,
            Step::Refund(place) => self.refund(place).await,
            Step::Give(amount) => self.give(amount).await,
            Step::Reset => self.reset().await,
            Step::Pass(seconds) => acts::pass(self.lanes, seconds),
            Step::Load(cursor) => self.load_again(cursor).await,
        }
    }

    /// Evicts both levels and loads them as Postgres has them at one of the cursors.
    async fn load_again(&self, cursor: usize) {
        let events = self.events().await;
        let cursor = self.from + (cursor % (events.len() + 1)) as u64;
        let mut bases = Vec::new();
        let mut before = Vec::new();
        for path in [&self.team, &self.member] {
            let state = self.lanes.state(path).await;
            before.push((state.last, state.reset_at_ms, self.counted(path).await));
            self.lanes.evict(path).await;
            bases.push(base(&events, path, cursor));
        }
        self.lanes.load_at(cursor, bases).await;
        for (path, before) in [&self.team, &self.member].into_iter().zip(before) {
            let state = self.lanes.state(path).await;
            let after = (state.last, state.reset_at_ms, self.counted(path).await);
            assert_eq!(after, before, "{path}, cursor {cursor}: {events:#?}");
        }
    }

    /// The counters of a level that count, by their names.
    async fn counted(&self, path: &str) -> BTreeMap<String, i64> {
        let now_s = acts::now_s(self.lanes);
        let counters = self.lanes.state(path).await.counters.into_iter();
        let counts = counters.filter(|(name, units)| {
            assert!(*units >= 0, "{name} is {units}");
            (*units != 0 || name.ends_with('+')) && !has_ended(name, now_s)
        });
        counts.collect()
    }
}

/// Whether a counter of that name counts no more: its hold has lapsed, or its window is long over.
fn has_ended(name: &str, now_s: i64) -> bool {
    let (name, until) = name.split_once('@').unwrap_or((name, ""));
    if until.parse::<i64>().is_ok_and(|until_s| until_s <= now_s) {
        return true;
    }
    let mut parts = name.trim_end_matches(['+', '-']).split(':').skip(1);
    let (letter, at) = (parts.next().unwrap(), parts.next().unwrap());
    let at_s: i64 = at.split('#').next().unwrap().parse().unwrap();
    let longest_s = HashMap::from([
        ("n", 60),
        ("h", 3_600),
        ("H", 4_200),
        ("d", 93_600),
        ("m", 2_685_600),
        ("g", 0),
    ]);
    at_s + longest_s[letter] <= now_s
}

/// What an event took of a counter of a window or a grant.
fn taken(delta: &Delta) -> Option<Taken> {
    let units = u64::try_from(delta.units).ok().filter(|_| delta.tally == Tally::Used)?;
    let is_capped = delta.depth == 2 && delta.period == Period::Month && delta.grant.is_none();
    let refund_max = is_capped.then(|| acts::units(REFUND_MAX));
    let is_sliding = delta.depth == 2 && delta.period == Period::Hour;
    let field = Field { sliding: is_sliding, ..field(delta) };
    Some(Taken { depth: delta.depth, field, units, refund_max, end_s: delta.window.end_s })
}

/// The counter that a delta changed; slices look like windows.
fn field(delta: &Delta) -> Field {
    let metric = delta.metric.as_str();
    let used = match delta.grant {
        Some(id) => Field::of_grant(metric, id, delta.window.end_s),
        None => Field::used(metric, delta.period, false, delta.window.start_s),
    };
    Field { tally: delta.tally, ..used }
}

/// What the events up to a cursor add up to on a level, as Postgres keeps it: without minutes and hours.
fn sums(events: &[Event], path: &str, cursor: u64) -> BTreeMap<Field, i64> {
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|event| event.seq <= cursor) {
        let is_kept = |line: &&Delta| !matches!(line.period, Period::Minute | Period::Hour);
        for line in event.deltas.lines.iter().filter(is_kept) {
            if event.level(line.depth) == path {
                *counts.entry(field(line)).or_insert(0) += line.units;
            }
        }
    }
    counts
}

fn base(events: &[Event], path: &str, cursor: u64) -> LevelBase {
    let counters = sums(events, path, cursor).into_iter().collect();
    let is_reset = |event: &&Event| event.kind == EventKind::Reset && event.subject == path;
    let resets = events.iter().filter(|event| event.seq <= cursor).filter(is_reset);
    let reset_at_ms = resets.map(|event| event.occurred_at_ms).max().unwrap_or(0);
    LevelBase { counters, reset_at_ms, ..level(path) }
}

/// A hold as the log tells of it: its last end, and what its lines and grants have.
fn known_hold<'a>(events: &[Event], made: &'a Made, grants: &[GrantLine]) -> KnownHold<'a> {
    let reserve = events.iter().find(|event| event.event_id == made.id).unwrap();
    let ends = events.iter().filter(|event| event.of == Some(made.id));
    let until_s = ends.filter_map(|event| event.until_s).next_back().or(reserve.until_s).unwrap();
    let is_of_plan = |line: &&Delta| line.grant.is_none();
    let held = |line: &Delta| u64::try_from(line.units).unwrap();
    let lines = &reserve.deltas.lines;
    let units_held = lines.iter().filter(is_of_plan).map(held).collect();
    let of_grant = |line: &GrantLine| {
        let found = lines.iter().find(|it| it.grant == Some(line.grant.id));
        (line.clone(), found.map_or(0, held))
    };
    let is_of_path = |line: &&GrantLine| line.depth <= made.sheet.sheet.depth;
    KnownHold {
        epoch: 1,
        seq: events.last().map_or(0, |event| event.seq),
        until_s,
        amount: units(made.amount),
        is_expired: false,
        sheet: &made.sheet,
        held: Held::Units(units_held),
        grants: grants.iter().filter(is_of_path).map(of_grant).collect(),
    }
}

/// Guards I1, I2 and I8: whatever was consumed, held, settled, given back, given away, carried over or cleared on two levels,
/// a load from what Postgres has at any cursor makes every counter what it was.
#[test]
fn a_load_restores_every_counter_at_any_cursor() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lanes = runtime.block_on(Lanes::start());
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let number = Cell::new(0);
    let done = TestRunner::new_with_rng(config, rng).run(&vec(step(), 1..STEPS_MAX), |steps| {
        number.set(number.get() + 1);
        runtime.block_on(async {
            let mut case = Case::start(&lanes, number.get()).await;
            for step in steps.iter().chain(&[Step::Load(STEPS_MAX), Step::Load(7)]) {
                case.step(step).await;
            }
            lanes.trim(lanes.counters.sight(0).seq).await;
        });
        Ok(())
    });
    if let Err(failure) = done {
        panic!("{failure}");
    }
}

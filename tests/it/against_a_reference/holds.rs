//! What is held, in the reference, and what ends it.

use headroom::quota::Ask;

use super::claims::Available;
use super::claims::Group;
use super::limits::UNITS_MAX;
use super::lines::Line;
use super::lines::is_short;
use super::reference::Reference;
use super::refunds::Taken;
use super::steps::Asked;
use super::steps::End;
use super::steps::LimitSaid;
use super::steps::Said;

/// A reservation, as long as the case goes.
#[derive(Clone, Debug)]
pub struct Hold {
    pub path: &'static str,
    pub ask: Ask,
    pub at_s: i64,
    pub until_s: i64,
    pub amount: u64,
    pub lines: Vec<HeldLine>,
    pub grants: Vec<HeldGrant>,
    /// `open`, or how it has ended.
    pub state: &'static str,
    /// What was committed.
    pub committed: u64,
    /// Whether Redis has it; a recovery forgets it.
    pub is_known: bool,
    /// Whether it was given more time when a window had ended: how much of that Postgres has is not for the rules to say.
    pub is_vague: bool,
}

/// What is held of a limit.
#[derive(Clone, Debug)]
pub struct HeldLine {
    /// With the units of an amount of one.
    pub line: Line,
    pub held: u64,
    /// What Postgres says is held.
    pub logged: u64,
}

/// A grant that a hold was measured against.
#[derive(Clone, Debug)]
pub struct HeldGrant {
    pub grant: usize,
    pub held: u64,
    pub amount: u64,
}

/// When a hold that begins now ends: the next whole second, of a long one the next multiple of a 64th of its time.
pub fn end_of(now_ms: i64, ttl_s: u64) -> i64 {
    let ttl_s = i64::try_from(ttl_s.clamp(1, 86_400)).unwrap();
    let second = (now_ms + ttl_s * 1_000 + 999).div_euclid(1_000);
    let apart = (ttl_s / 64).max(1);
    (second + apart - 1).div_euclid(apart) * apart
}

impl Hold {
    pub fn new(
        asked: &Asked,
        (at_s, until_s): (i64, i64),
        lines: &[Line],
        units: &[u64],
        grants: Vec<HeldGrant>,
    ) -> Self {
        let of_one = |line: &Line| Line { units: line.units / asked.amount, ..line.clone() };
        let held = |(line, units): (&Line, &u64)| HeldLine {
            line: of_one(line),
            held: *units,
            logged: *units,
        };
        Self {
            path: asked.path,
            ask: asked.ask.clone(),
            at_s,
            until_s,
            amount: asked.amount,
            lines: lines.iter().zip(units).map(held).collect(),
            grants,
            state: "open",
            committed: 0,
            is_known: true,
            is_vague: false,
        }
    }

    pub fn holds_at(&self, now_s: i64) -> bool {
        self.state == "open" && self.until_s > now_s
    }

    /// What a recovery leaves of it: Redis alone has what is held of minutes and hours.
    pub fn recover(&mut self) {
        self.is_known = false;
        for it in self.lines.iter_mut().filter(|it| is_short(it.line.limit.period)) {
            it.held = 0;
        }
    }
}

impl Reference {
    /// What is held of the counters of a line, and when the first of it is free again.
    pub fn held(&self, line: &Line) -> (u64, Option<i64>) {
        let (mut units, mut free_at_s) = (0, None);
        for hold in self.holds.iter().filter(|hold| hold.holds_at(self.now_s())) {
            let of_line = hold.lines.iter();
            let of_line = of_line.filter(|it| line.counters.contains(&it.line.counters[0]));
            let held: u64 = of_line.map(|it| it.held).sum();
            if held > 0 {
                units += held;
                free_at_s = Some(free_at_s.map_or(hold.until_s, |it: i64| it.min(hold.until_s)));
            }
        }
        (units, free_at_s)
    }

    pub fn held_grant(&self, grant: usize, held: u64) -> HeldGrant {
        HeldGrant { grant, held, amount: self.grants[grant].amount }
    }

    /// The grants of a hold of a level and metric; without what the hold itself holds when it asks.
    fn of_hold(&self, hold: &Hold, is_own: bool, path: &str, metric: &str) -> Vec<Available> {
        let is_own = is_own && hold.holds_at(self.now_s());
        let own = |it: &HeldGrant| if is_own { it.held } else { 0 };
        let of_group = hold.grants.iter().filter(|it| {
            let grant = &self.grants[it.grant];
            grant.path == path && grant.metric == metric && grant.end_s > self.now_s()
        });
        of_group.map(|it| self.available(it.grant, it.amount, own(it))).collect()
    }

    pub(super) fn end(&mut self, number: usize, end: End) -> Result<Said, String> {
        if self.holds.is_empty() {
            return Ok(Said::Done);
        }
        let number = number % self.holds.len();
        let mut hold = self.hold_now(number);
        let is_lapsed = hold.until_s <= self.now_s();
        let can_end = match end {
            End::Commit { .. } => ["open", "expired"].contains(&hold.state),
            _ => hold.state == "open" && !is_lapsed,
        };
        if !can_end {
            let state = if hold.state == "open" { "expired" } else { hold.state };
            return Err(format!("ended {state} {}", hold.committed));
        }
        let (mut overage, mut late) = (Some(false), false);
        match end {
            End::Commit { amount, is_strict } => {
                (overage, late) = (self.commit(&hold, amount, is_strict)?, is_lapsed);
                hold.committed = amount;
                hold.state = if late { "late" } else { "committed" };
            }
            End::Release => {
                hold.state = "released";
                self.log(hold.path, None);
            }
            End::Extend { ttl_s } => {
                hold.until_s = end_of(self.now_ms, ttl_s);
                hold.is_vague |= hold.lines.iter().any(|it| it.line.has_ended(self.now_s()));
                for it in &mut hold.lines {
                    it.logged = it.held;
                }
                self.log(hold.path, None);
            }
        }
        self.holds[number] = hold.clone();
        let (limits, until_s) = (self.told(&hold), hold.until_s);
        Ok(Said::Ended { late, overage, held: hold.amount, until_s, limits })
    }

    /// Charges what the work took; whether that passed a limit, if that can be told.
    fn commit(
        &mut self,
        hold: &Hold,
        amount: u64,
        is_strict: bool,
    ) -> Result<Option<bool>, String> {
        let is_open = hold.holds_at(self.now_s());
        let own: Vec<u64> = hold.lines.iter().map(|it| if is_open { it.held } else { 0 }).collect();
        let line = |it: &HeldLine| {
            let line = self.as_now(&it.line);
            Line { units: it.line.units * amount, ..line }
        };
        let lines: Vec<Line> = hold.lines.iter().map(line).collect();
        let grants = |path: &str, metric: &str| self.of_hold(hold, true, path, metric);
        let claims = self.claims(&lines, &own, false, grants);
        let is_overage = (0..lines.len()).any(|at| claims.is_above(at));
        if is_strict && is_overage && amount > hold.amount {
            return Err("does_not_fit".to_owned());
        }
        let can_tell = !lines.iter().any(|line| line.has_ended(self.now_s()));
        let shares: Vec<_> = claims.groups.iter().flat_map(Group::shares).collect();
        let spared: Vec<u64> = (0..lines.len()).map(|at| claims.of(at).spared()).collect();
        let mut taken = Vec::new();
        for (held, (line, spared)) in hold.lines.iter().zip(lines.iter().zip(spared)) {
            let units = (line.units - spared).min(UNITS_MAX.saturating_sub(self.used(line)));
            if units > 0 {
                self.count(&held.line).used += units;
                taken.push(Taken::of_line(&held.line, units));
            }
        }
        taken.extend(self.use_grants(&shares));
        self.log(hold.path, Some(taken));
        Ok(can_tell.then_some(is_overage))
    }

    /// The limits of a hold as they are now, but for windows that have ended.
    fn told(&self, hold: &Hold) -> Vec<LimitSaid> {
        let live = hold.lines.iter().filter(|it| !it.line.has_ended(self.now_s()));
        let state = |it: &HeldLine| {
            let metric = it.line.limit.metric.as_str();
            let granted = self.of_hold(hold, false, &it.line.path, metric);
            self.state(&self.as_now(&it.line), granted.iter().map(|it| it.left).sum())
        };
        let mut told: Vec<LimitSaid> = live.map(state).collect();
        told.sort();
        told
    }

    /// Writes down the holds that have lapsed.
    pub(super) fn sweep(&mut self) {
        for number in 0..self.holds.len() {
            let hold = &self.holds[number];
            if hold.state != "open" || hold.until_s > self.now_s() {
                continue;
            }
            let is_told = hold.is_known || !hold.is_vague;
            let found = if is_told { self.hold_now(number) } else { hold.clone() };
            self.holds[number] = Hold { state: "expired", ..found };
            self.events += 1;
        }
    }
}

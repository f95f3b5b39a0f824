//! Consumes, checks, reserves and looks in the reference.

use headroom::domain::Mode;
use headroom::domain::Units;

use super::claims::Group;
use super::holds::Hold;
use super::limits;
use super::limits::Charges;
use super::limits::Rules;
use super::lines::Line;
use super::lines::lines_at;
use super::reference::Reference;
use super::refunds::Taken;
use super::steps::Asked;
use super::steps::LimitSaid;
use super::steps::Said;
use super::steps::Want;

/// What became of an order.
struct Decided {
    allowed: bool,
    limits: Vec<LimitSaid>,
    /// When something is free again, if only what is held is in the way.
    free_at_s: Option<i64>,
}

impl Reference {
    /// The rules of a path, with the limits that are raised.
    pub fn rules_now(&self, path: &str) -> Result<Rules<'_>, String> {
        let mut rules = limits::rules(&self.catalogue, &self.profiles, path)?;
        self.raise(&mut rules, self.now_s());
        Ok(rules)
    }

    pub(super) fn order(&mut self, asked: &Asked, want: Want) -> Result<Said, String> {
        let Charges { of_one, feature } = limits::charges(&self.catalogue, asked.path, &asked.ask)?;
        let is_charge = want != Want::Check && asked.amount > 0;
        let key = asked.key.filter(|_| is_charge).map(|key| (asked.path, key, want.is_hold()));
        if let Some((first, of, said)) = key.and_then(|key| self.answered.get(&key)) {
            let is_same = (&first.ask, first.amount, *of) == (&asked.ask, asked.amount, want);
            return if is_same { Ok(said.clone()) } else { Err("mismatch".to_owned()) };
        }
        let rules = self.rules_now(asked.path)?;
        if let Some(path) = rules.blocked() {
            return Err(format!("blocked {path}"));
        }
        if let Some(feature) = feature.filter(|feature| !rules.features.contains(&**feature)) {
            return Err(format!("not_entitled {feature}"));
        }
        let charged: Vec<_> =
            of_one.iter().map(|(name, weight)| (name.clone(), weight * asked.amount)).collect();
        let (plan, lines) = (rules.plan(), lines_at(self.now(), &rules, &charged));
        let rolling = self.rolling(&rules);
        self.roll(rolling);
        let Decided { allowed, limits, free_at_s } = self.decide(asked, &lines, want, is_charge);
        let hold = (allowed && want.is_hold()).then(|| {
            let number = self.holds.len() - 1;
            (number, self.holds[number].until_s)
        });
        let answer = |replayed| Said::Decided {
            allowed,
            replayed,
            plan: plan.clone(),
            limits: limits.clone(),
            hold,
            free_at_s,
        };
        if let Some(key) = key.filter(|_| allowed) {
            self.answered.insert(key, (asked.clone(), want, answer(true)));
        }
        Ok(answer(false))
    }

    /// Charges or holds all lines or none.
    fn decide(&mut self, asked: &Asked, lines: &[Line], want: Want, is_charge: bool) -> Decided {
        let grants = |path: &str, metric: &str| self.listed(path, metric);
        let claims = self.claims(lines, &[], want.is_hold(), grants);
        let allowed = claims.fit();
        let is_charged = allowed && is_charge;
        let marks: Vec<(bool, bool, u64)> = (0..lines.len())
            .map(|at| {
                let (spared, granted) = (claims.of(at).spared(), claims.of(at).granted());
                let left = granted - if is_charged { spared } else { 0 };
                (!allowed && claims.is_violated(at), self.would_deny(&lines[at], spared), left)
            })
            .collect();
        if is_charged {
            let shares: Vec<_> = claims.groups.iter().flat_map(Group::shares).collect();
            let units = |(at, line): (usize, &Line)| line.units - claims.of(at).spared();
            let units: Vec<u64> = lines.iter().enumerate().map(units).collect();
            match want {
                Want::Reserve { ttl_s } => {
                    let until_s = super::holds::end_of(self.now_ms, ttl_s);
                    let of_grant = |(id, units)| self.held_grant(id, units);
                    let grants = shares.into_iter().map(of_grant).collect();
                    let hold = Hold::new(asked, (self.now_s(), until_s), lines, &units, grants);
                    self.holds.push(hold);
                    self.log(asked.path, None);
                }
                _ => self.charge(asked.path, lines, &units, &shares),
            }
        }
        let said = lines.iter().zip(marks).map(|(line, (is_violated, would_deny, granted))| {
            LimitSaid { is_violated, would_deny, ..self.state(line, granted) }
        });
        let mut limits: Vec<LimitSaid> = said.collect();
        limits.sort();
        let free_at_s = if allowed { None } else { claims.free_at_s() };
        Decided { allowed, limits, free_at_s }
    }

    /// Whether only its mode lets a shadow limit pass.
    fn would_deny(&self, line: &Line, spared: u64) -> bool {
        let after = self.used(line) + self.held(line).0 + line.units - spared;
        let is_above = |max: Units| after > max.get() + self.carried(line);
        line.limit.mode == Mode::Shadow && line.units > 0 && line.limit.max.is_some_and(is_above)
    }

    /// Uses units of lines and grants, in one event that can be given back.
    fn charge(&mut self, path: &str, lines: &[Line], units: &[u64], shares: &[(usize, u64)]) {
        let mut taken = Vec::new();
        for (line, units) in lines.iter().zip(units) {
            self.count(line).used += units;
            taken.push(Taken::of_line(line, *units));
        }
        taken.extend(self.use_grants(shares));
        self.log(path, Some(taken));
    }

    pub(super) fn look(&mut self, path: &str) -> Result<Said, String> {
        let rolling = self.rolling(&self.rules_now(path)?);
        self.roll(rolling);
        let rules = self.rules_now(path)?;
        let mut limits = Vec::new();
        for level in &rules.levels {
            for limit in &level.limits {
                let line = self.line(&level.path, limit, level.calendar, 0);
                let granted = self.listed(&level.path, limit.metric.as_str());
                let granted = granted.iter().map(|it| it.left).sum();
                let taken = self.used(&line) + self.held(&line).0;
                let is_violated = limit.max.is_some()
                    && limit.mode != Mode::Shadow
                    && granted == 0
                    && taken >= limits::ceiling(limit) + self.carried(&line);
                limits.push(LimitSaid { is_violated, ..self.state(&line, granted) });
            }
        }
        limits.sort();
        let features = self.catalogue.features.iter();
        Ok(Said::Used {
            plan: rules.plan(),
            limits,
            features: features.map(|it| (it.clone(), rules.features.contains(&**it))).collect(),
            is_blocked: rules.blocked().is_some(),
            calendar: rules.last().calendar,
        })
    }
}

//! Consumes, checks, reserves and looks in the reference.

use headroom::domain::Calendar;
use headroom::domain::Limit;
use headroom::domain::Mode;
use headroom::domain::Period;

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
        let (limits, free_at_s) = self.decide(asked, &lines, want, is_charge);
        let allowed = limits.1;
        let limits = limits.0;
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

    /// Charges or holds all lines or none. The limits as they are then and whether it was allowed; and when something is
    /// free again.
    fn decide(
        &mut self,
        asked: &Asked,
        lines: &[Line],
        want: Want,
        is_charge: bool,
    ) -> ((Vec<LimitSaid>, bool), Option<i64>) {
        let claims =
            self.claims(lines, &[], want.is_hold(), |path, metric| self.listed(path, metric));
        let fits = claims.fit();
        let is_charged = fits && is_charge;
        let marks: Vec<_> = lines
            .iter()
            .enumerate()
            .map(|(at, line)| {
                let spared = claims.of(at).spared();
                let after = self.used(line) + self.held(line).0 + line.units - spared;
                let is_above =
                    line.limit.max.is_some_and(|max| after > max.get() + self.carried(line));
                let would_deny = line.limit.mode == Mode::Shadow && line.units > 0 && is_above;
                (
                    claims.is_violated(at),
                    would_deny,
                    claims.of(at).granted() - if is_charged { spared } else { 0 },
                )
            })
            .collect();
        let free_at_s = if fits { None } else { claims.free_at_s() };
        if is_charged {
            let shares: Vec<_> = claims.groups.iter().flat_map(|group| group.shares()).collect();
            let units = lines.iter().enumerate();
            let units: Vec<u64> =
                units.map(|(at, line)| line.units - claims.of(at).spared()).collect();
            match want {
                Want::Reserve { ttl_s } => self.hold(asked, lines, &units, shares, ttl_s),
                _ => self.charge(asked.path, lines, &units, &shares),
            }
        }
        let said = lines.iter().zip(marks).map(|(line, (is_violated, would_deny, granted))| {
            LimitSaid { is_violated: is_violated && !fits, would_deny, ..self.state(line, granted) }
        });
        let mut said: Vec<LimitSaid> = said.collect();
        said.sort();
        ((said, fits), free_at_s)
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

    fn hold(
        &mut self,
        asked: &Asked,
        lines: &[Line],
        units: &[u64],
        shares: Vec<(usize, u64)>,
        ttl_s: u64,
    ) {
        let until_s = super::holds::end_of(self.now_ms, ttl_s);
        let grants = shares.into_iter().map(|(id, held)| self.held_grant(id, held)).collect();
        self.holds.push(Hold::new(asked, self.now_s(), until_s, lines, units, grants));
        self.log(asked.path, None);
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

    /// The limits of a path that roll over, by level, and the calendar of each.
    pub fn rolling(&self, rules: &Rules<'_>) -> Vec<(Calendar, Vec<Line>)> {
        let of_level = rules.levels.iter().map(|level| {
            let rolling = level.limits.iter().filter(|limit| limit.rollover.is_some());
            let line = |limit: &Limit| self.line(&level.path, limit, level.calendar, 0);
            (level.calendar, rolling.map(line).collect())
        });
        of_level.collect()
    }

    /// Begins the windows that nobody has begun, with what those before them left: an event a level.
    pub fn roll(&mut self, levels: Vec<(Calendar, Vec<Line>)>) {
        for (calendar, lines) in levels {
            let is_new = |line: &&Line| !self.counters.contains_key(&line.counters[0]);
            let new: Vec<Line> = lines.iter().filter(is_new).cloned().collect();
            let left: Vec<u64> = new.iter().map(|line| self.left_before(line, &calendar)).collect();
            for (line, left) in new.iter().zip(left) {
                self.count(line).carried = Some(left);
            }
            if !new.is_empty() {
                (self.events, self.has_rolled) = (self.events + 1, true);
            }
        }
    }

    fn left_before(&self, line: &Line, calendar: &Calendar) -> u64 {
        let last = line.window.start_at() - chrono::TimeDelta::seconds(1);
        let before_s = Period::window_at(line.limit.period, last, calendar).start_s;
        let mut counter = line.counters[0].clone();
        counter.4 = before_s;
        let (held, _) = self.held(&Line { counters: vec![counter.clone()], ..line.clone() });
        let max = line.limit.max.unwrap().get();
        let most = limits::portion(line.limit.rollover.unwrap(), max);
        match self.counters.get(&counter) {
            Some(count) => {
                let own = (count.used + held).saturating_sub(count.carried.unwrap_or(0));
                most.min(max.saturating_sub(own))
            }
            None if held > 0 || self.known.contains(&line.path) => {
                most.min(max.saturating_sub(held))
            }
            None => 0,
        }
    }
}

//! Holds that Redis has lost in a recovery, in the reference.

use headroom::domain::Limit;

use super::holds::HeldGrant;
use super::holds::HeldLine;
use super::holds::Hold;
use super::limits;
use super::limits::UNITS_MAX;
use super::lines::Line;
use super::lines::lines_at;
use super::reference::Reference;
use super::steps::End;

impl Reference {
    /// A hold as the next end finds it. What Redis has lost is worked out anew by the rules in force.
    pub fn hold_now(&self, number: usize) -> Hold {
        let hold = self.holds[number].clone();
        if hold.is_known {
            return hold;
        }
        let at = chrono::DateTime::from_timestamp(hold.at_s, 0).unwrap();
        let lines = self.lines_of_lost(&hold, at);
        let with_own = |line: Line| {
            let own = hold.lines.iter().find(|it| it.line.counters[0] == line.counters[0]);
            HeldLine {
                held: own.map_or(0, |it| it.held),
                logged: own.map_or(0, |it| it.logged),
                line,
            }
        };
        let mut found: Vec<HeldLine> = lines.into_iter().map(with_own).collect();
        let is_missing = |it: &&HeldLine| {
            !found.iter().any(|known| known.line.counters[0] == it.line.counters[0])
        };
        let gone: Vec<HeldLine> =
            hold.lines.iter().filter(|it| it.logged > 0).filter(is_missing).cloned().collect();
        found.extend(gone.into_iter().map(|it| {
            let Limit { metric, period, sliding, .. } = it.line.limit.clone();
            let limit = Limit { sliding, ..Limit::new(metric, period, None) };
            let units = it.logged / hold.amount;
            HeldLine { line: Line { limit, units, ..it.line }, ..it }
        }));
        let of_grants = hold.grants.iter().filter(|it| it.held > 0);
        let grants = of_grants.map(|it| {
            let is_listed = self.grants[it.grant].is_listed;
            HeldGrant { amount: if is_listed { it.amount } else { it.held }, ..it.clone() }
        });
        Hold { lines: found, grants: grants.collect(), is_known: true, ..hold }
    }

    fn lines_of_lost(&self, hold: &Hold, at: chrono::DateTime<chrono::Utc>) -> Vec<Line> {
        let charges = limits::charges(&self.catalogue, hold.path, &hold.ask);
        let rules = limits::rules(&self.catalogue, &self.profiles, hold.path);
        let (Ok(charges), Ok(mut rules)) = (charges, rules) else { return Vec::new() };
        self.raise(&mut rules, hold.at_s);
        lines_at(at, &rules, &charges.of_one)
    }

    /// Whether the answer to an end follows from the rules: what Redis has of a window that has ended is not theirs to say.
    pub fn knows_end(&self, number: usize, end: End) -> bool {
        let Some(hold) = self.holds.get(number) else { return true };
        let (now, is_known) = (self.hold_now(number), hold.is_known);
        let has_ended = |it: &Hold| it.lines.iter().any(|it| it.line.has_ended(self.now_s()));
        let has_ended = has_ended(hold) || has_ended(&now);
        if !is_known && hold.is_vague {
            return false;
        }
        // Nor whether a counter has room for what is charged there.
        let is_full =
            |it: &HeldLine| it.line.has_ended(self.now_s()) && self.used(&it.line) > UNITS_MAX / 2;
        if now.lines.iter().any(is_full) {
            return false;
        }
        let is_open = ["open", "expired"].contains(&hold.state);
        let is_strict = matches!(end, End::Commit { is_strict: true, .. });
        !is_open || !has_ended || is_known && now.grants.is_empty() && !is_strict
    }
}

//! What a request claims of limits and grants: a unit is taken from the plan, in each of its limits on a level, or from a
//! grant.

use headroom::domain::Mode;
use headroom::domain::Units;

use super::limits;
use super::limits::UNITS_MAX;
use super::lines::Line;
use super::reference::Reference;

/// A line's claim.
struct Claim {
    units: u64,
    used: u64,
    held: u64,
    free_at_s: Option<i64>,
    /// The limit with what is carried.
    allowance: u64,
    ceiling: u64,
    hold_max: Option<u64>,
}

/// What a grant has for a request.
#[derive(Clone, Debug)]
pub struct Available {
    pub grant: usize,
    /// Units that are neither used nor held.
    pub left: u64,
    /// Units that are not used.
    pub unused: u64,
    pub free_at_s: Option<i64>,
}

/// The claims on one level and metric.
pub struct Group {
    path: String,
    metric: String,
    claims: Vec<Claim>,
    grants: Vec<Available>,
}

impl Group {
    /// Units that are taken from grants, when nothing is held or with all holds.
    fn spared_with(&self, is_held: bool) -> u64 {
        let over = |it: &Claim| {
            let taken = it.used + if is_held { it.held } else { 0 };
            it.units.min((taken + it.units).saturating_sub(it.allowance))
        };
        let left = |it: &Available| if is_held { it.left } else { it.unused };
        let excess = self.claims.iter().map(over).max().unwrap_or(0);
        excess.min(self.grants.iter().map(left).sum())
    }

    pub fn spared(&self) -> u64 {
        self.spared_with(true)
    }

    fn fits(&self, is_held: bool) -> bool {
        let spared = self.spared_with(is_held);
        self.claims.iter().all(|it| it.fits(spared, is_held))
    }

    /// Units of grants that nobody used or holds.
    pub fn granted(&self) -> u64 {
        self.grants.iter().map(|it| it.left).sum()
    }

    /// What is taken of which grant, the first first.
    pub fn shares(&self) -> Vec<(usize, u64)> {
        let mut left = self.spared();
        let share = |it: &Available| {
            let units = left.min(it.left);
            left -= units;
            (it.grant, units)
        };
        self.grants.iter().map(share).collect()
    }

    fn first_free_s(&self) -> Option<i64> {
        let of_claims = self.claims.iter().filter_map(|it| it.free_at_s);
        of_claims.chain(self.grants.iter().filter_map(|it| it.free_at_s)).min()
    }
}

impl Claim {
    fn fits(&self, spared: u64, is_held: bool) -> bool {
        let units = self.units - spared;
        let held = if is_held { self.held } else { 0 };
        units == 0
            || self.used + held + units <= self.ceiling
                && self.hold_max.is_none_or(|most| held + units <= most)
    }
}

/// All groups of a request, and the group of each line with its place in it.
pub struct Claims {
    pub groups: Vec<Group>,
    places: Vec<(usize, usize)>,
}

impl Claims {
    pub fn fit(&self) -> bool {
        self.groups.iter().all(|group| group.fits(true))
    }

    /// Whether a line alone refuses.
    pub fn is_violated(&self, line: usize) -> bool {
        let (group, place) = self.places[line];
        let group = &self.groups[group];
        !group.claims[place].fits(group.spared(), true)
    }

    /// The group of a line.
    pub fn of(&self, line: usize) -> &Group {
        &self.groups[self.places[line].0]
    }

    /// When something is free again, if only what is held is in the way.
    pub fn free_at_s(&self) -> Option<i64> {
        if !self.groups.iter().all(|group| group.fits(false)) {
            return None;
        }
        let in_the_way = self.groups.iter().filter(|group| !group.fits(true));
        in_the_way.filter_map(Group::first_free_s).max()
    }

    /// Whether a line passes its ceiling.
    pub fn is_above(&self, line: usize) -> bool {
        let (group, place) = self.places[line];
        let spared = self.groups[group].spared();
        let it = &self.groups[group].claims[place];
        it.units > spared && it.used + it.held + it.units - spared > it.ceiling
    }
}

impl Reference {
    /// The claims of lines. `own` is what the asker itself holds of each, which does not count; `grants` has what a level's
    /// grants of a metric have.
    pub fn claims(
        &self,
        lines: &[Line],
        own: &[u64],
        is_hold: bool,
        grants: impl Fn(&str, &str) -> Vec<Available>,
    ) -> Claims {
        let mut claims = Claims { groups: Vec::new(), places: Vec::new() };
        for (at, line) in lines.iter().enumerate() {
            let metric = line.limit.metric.as_str();
            let is_of = |it: &Group| it.path == line.path && it.metric == metric;
            let group = claims.groups.iter().position(is_of).unwrap_or_else(|| {
                let (path, metric) = (line.path.clone(), metric.to_owned());
                let grants = grants(&path, &metric);
                claims.groups.push(Group { path, metric, claims: Vec::new(), grants });
                claims.groups.len() - 1
            });
            let of_group = &mut claims.groups[group].claims;
            claims.places.push((group, of_group.len()));
            of_group.push(self.claim(line, own.get(at).copied().unwrap_or(0), is_hold));
        }
        claims
    }

    fn claim(&self, line: &Line, own: u64, is_hold: bool) -> Claim {
        let (carried, (held, free_at_s)) = (self.carried(line), self.held(line));
        let max = line.limit.max.filter(|_| line.limit.mode != Mode::Shadow);
        Claim {
            units: line.units,
            used: self.used(line),
            held: held.saturating_sub(own),
            free_at_s,
            allowance: UNITS_MAX.min(max.map_or(UNITS_MAX, Units::get) + carried),
            ceiling: UNITS_MAX.min(limits::ceiling(&line.limit) + carried),
            hold_max: limits::hold_max(&line.limit).filter(|_| is_hold),
        }
    }
}

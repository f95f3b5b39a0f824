//! Which plan would have let a refused request pass.

use crate::domain::Amount;
use crate::domain::Limit;
use crate::domain::LimitState;
use crate::domain::Metric;
use crate::domain::Plan;
use crate::domain::Units;

use super::Catalogue;

impl Catalogue {
    /// The cheapest listed plan that has room for a refused request: another than `current`, with every limit that it has
    /// on an asked metric at or above what is used, held and asked for. A plan without a price comes after all others.
    ///
    /// `refused` are the limit states of the level that was refused; a counter that they do not know is at 0. What soft
    /// and shadow limits accept past their `max` is no room, since a recommended plan should not begin with an overage.
    #[must_use]
    pub fn recommend(
        &self,
        refused: &[LimitState],
        asked: &[(Metric, Amount)],
        current: Option<&str>,
    ) -> Option<&str> {
        let plans = self.plans.iter().filter(|(name, plan)| {
            plan.is_listed()
                && Some(name.as_str()) != current
                && asked.iter().all(|(metric, amount)| has_room(plan, refused, metric, *amount))
        });
        let cheapest = plans.min_by_key(|(_, plan)| plan.price.map_or(u64::MAX, u64::from));
        cheapest.map(|(name, _)| name.as_str())
    }
}

fn has_room(plan: &Plan, states: &[LimitState], metric: &Metric, amount: Amount) -> bool {
    let limits = plan.limits.iter().filter(|it| it.metric == *metric && it.each.is_none());
    let holds = |limit: &Limit| {
        let wanted = taken(states, limit).saturating_add(amount.get().into());
        limit.max.is_none_or(|max| wanted <= max)
    };
    amount == Amount::ZERO || limits.into_iter().all(holds)
}

/// What is used and held of the counter that the limit would go on with.
fn taken(states: &[LimitState], limit: &Limit) -> Units {
    let mut states = states.iter();
    let known = states.find(|it| it.metric == limit.metric && it.period == limit.period);
    known.map_or(Units::ZERO, LimitState::taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Mode;
    use crate::domain::Period;
    use crate::domain::Window;

    const TIERS: &str = r#"
        metrics = ["ai_generations", "exports"]
        [plans.free]
        price = 0
        limits = [
            { metric = "ai_generations", period = "month", max = 10 },
            { metric = "exports", period = "month", max = 1 },
        ]
        [plans.starter]
        price = 900
        limits = [
            { metric = "ai_generations", period = "month", max = 100 },
            { metric = "ai_generations", period = "day", max = 20 },
            { metric = "exports", period = "month", max = 1 },
        ]
        [plans.growth]
        price = 2900
        limits = [{ metric = "ai_generations", period = "month", max = 500 }]
        [plans.soft]
        price = 1
        limits = [{ metric = "ai_generations", period = "month", max = 5, mode = "shadow" }]
        [plans.members]
        price = 2901
        limits = [{ metric = "ai_generations", period = "month", max = 1, each = "user" }]
        [plans.hidden]
        price = 2
        listed = false
        [plans.quote]
        listed = true
    "#;

    fn metric(name: &str) -> Metric {
        Metric::new(name).unwrap()
    }

    fn state(name: &str, period: Period, used: u64, reserved: u64) -> LimitState {
        LimitState {
            subject: "user:u_1".into(),
            metric: metric(name),
            period,
            window: Window::LIFETIME,
            sliding: false,
            max: Some(Units::ZERO),
            mode: Mode::Hard,
            warning_percent: Limit::WARNING_PERCENT,
            critical_percent: Limit::CRITICAL_PERCENT,
            used: Units::new(used).unwrap(),
            reserved: Units::new(reserved).unwrap(),
            carried: Units::ZERO,
            granted: Units::ZERO,
            violated: true,
            would_deny: false,
        }
    }

    /// The plan for a month in which so many generations are used and held, and so many more are wanted.
    fn recommended(used: u64, reserved: u64, wanted: u64, current: Option<&str>) -> Option<String> {
        let states = [state("ai_generations", Period::Month, used, reserved)];
        let asked = [(metric("ai_generations"), Amount::new(wanted).unwrap())];
        let tiers = Catalogue::parse(TIERS).unwrap();
        tiers.recommend(&states, &asked, current).map(ToOwned::to_owned)
    }

    #[test]
    fn the_cheapest_plan_with_room_is_recommended() {
        let from_free = |used, reserved, wanted| recommended(used, reserved, wanted, Some("free"));
        assert_eq!(from_free(10, 0, 1).as_deref(), Some("starter"));
        assert_eq!(from_free(80, 0, 20).as_deref(), Some("starter"));
        assert_eq!(from_free(80, 1, 20).as_deref(), Some("growth"));
        // The day's counter is not known and so at 0; 21 in one go are too many all the same.
        assert_eq!(from_free(10, 0, 21).as_deref(), Some("growth"));
        assert_eq!(from_free(500, 0, 1).as_deref(), Some("members"));
    }

    #[test]
    fn neither_the_current_plan_nor_an_unlisted_one_is_recommended() {
        assert_eq!(recommended(0, 0, 6, Some("starter")).as_deref(), Some("free"));
        assert_eq!(recommended(0, 0, 6, None).as_deref(), Some("free"));
        assert_eq!(recommended(500, 0, 1, Some("members")).as_deref(), Some("quote"));
    }

    #[test]
    fn every_asked_metric_needs_room() {
        let tiers = Catalogue::parse(TIERS).unwrap();
        let states =
            [state("ai_generations", Period::Month, 10, 0), state("exports", Period::Month, 1, 0)];
        let asked =
            |exports| [(metric("ai_generations"), Amount::ONE), (metric("exports"), exports)];
        assert_eq!(tiers.recommend(&states, &asked(Amount::ONE), Some("free")), Some("growth"));
        assert_eq!(tiers.recommend(&states, &asked(Amount::ZERO), Some("free")), Some("starter"));
    }

    #[test]
    fn nothing_is_recommended_when_no_plan_has_room() {
        let limits = "[{ metric = 'exports', period = 'day', max = 0 }]";
        let text = format!("metrics = ['exports']\n[plans.p]\nprice = 1\nlimits = {limits}");
        let blocked = Catalogue::parse(&text).unwrap();
        assert_eq!(blocked.recommend(&[], &[(metric("exports"), Amount::ONE)], None), None);
    }
}

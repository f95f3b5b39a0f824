use super::*;

const TEAMS: &str = r#"
    metrics = ["messages", "tokens"]
    features = ["export", "sso", "beta"]
    default_plan = "free"
    anonymous_plan = "visitor"
    scope_plans = { org = "team" }

    [plans.free]
    features = ["export"]
    limits = [
        { metric = "messages", period = "month", max = 100 },
        { metric = "tokens", period = "day", max = 50 },
    ]

    [plans.visitor]
    limits = [{ metric = "messages", period = "day", max = 3 }]

    [plans.team]
    features = ["sso"]
    limits = [
        { metric = "messages", period = "month", max = 1000 },
        { metric = "messages", period = "month", max = 40, each = "user" },
    ]
"#;

fn teams() -> Catalogue {
    Catalogue::parse(TEAMS).unwrap()
}

fn without_defaults() -> Catalogue {
    Catalogue { default_plan: None, anonymous_plan: None, scope_plans: [].into(), ..teams() }
}

/// Each level as `plan: limit max, limit max`.
fn told(catalogue: &Catalogue, path: &str, profiles: &[&str]) -> Vec<String> {
    let profiles: Vec<_> = profiles.iter().map(|json| Profile::parse(json).unwrap()).collect();
    let levels = resolve(catalogue, path, &profiles).unwrap();
    let text = |level: &LevelLimits<'_>| {
        let limits = level.limits.iter().map(|limit| match limit.max {
            Some(max) => format!("{} {max}", limit.label()),
            None => limit.label(),
        });
        format!("{}: {}", level.plan.unwrap_or("-"), limits.collect::<Vec<_>>().join(", "))
    };
    levels.iter().map(text).collect()
}

fn resolve<'a>(
    catalogue: &'a Catalogue,
    path: &str,
    profiles: &'a [Profile],
) -> Result<Vec<LevelLimits<'a>>, LevelLimitsError> {
    let profiles: Vec<&Profile> = profiles.iter().collect();
    limits_of(catalogue, &Subject::parse(path).unwrap(), &profiles)
}

#[test]
fn a_level_has_the_plan_of_its_profile_else_of_its_scope_else_of_the_catalogue() {
    let free = "free: messages-month 100, tokens-day 50";
    let pool = "team: messages-month 1000";
    assert_eq!(told(&teams(), "user:u_1", &[]), [free]);
    assert_eq!(told(&teams(), "org:a", &[]), [pool]);
    assert_eq!(told(&teams(), "user:u_1", &[r#"{"plan": "team"}"#]), [pool]);
    assert_eq!(told(&teams(), "org:a", &[r#"{"plan": "free"}"#]), [free]);
}

#[test]
fn only_the_last_level_has_the_default_plan() {
    assert_eq!(told(&teams(), "user:u_1/project:p", &[])[0], "-: ");
    assert_eq!(
        told(&teams(), "user:u_1/project:p", &[])[1],
        "free: messages-month 100, tokens-day 50"
    );
}

#[test]
fn an_anonymous_caller_has_the_anonymous_plan_on_the_last_level() {
    let visitor = "visitor: messages-day 3";
    assert_eq!(told(&teams(), Subject::ANYONE, &[]), [visitor]);
    assert_eq!(told(&teams(), "anonymous:site/session:s", &[]), ["-: ", visitor]);
    let closed = Catalogue { anonymous_plan: None, ..teams() };
    assert_eq!(resolve(&closed, Subject::ANYONE, &[]), Err(LevelLimitsError::NoPlan));
}

#[test]
fn a_team_has_a_pool_and_each_member_a_cap() {
    let levels = told(&teams(), "org:a/user:u_1", &[]);
    assert_eq!(levels, ["team: messages-month 1000", "free: messages-month 40, tokens-day 50"]);
    // Projects are not members; a member's own projects are below it, not it.
    let levels = told(&teams(), "org:a/user:u_1/project:p", &[]);
    assert_eq!(levels[1..], ["-: messages-month 40", "free: messages-month 100, tokens-day 50"]);
}

#[test]
fn the_lowest_ceiling_holds_unless_the_level_has_an_override() {
    let member = |profile: &str| told(&teams(), "org:a/user:u_1", &["{}", profile])[1].clone();
    let own = |max| {
        member(&format!(
            r#"{{"limits": [{{"metric": "messages", "period": "month", "max": {max}}}]}}"#
        ))
    };
    assert_eq!(own(500), "free: tokens-day 50, messages-month 500");
    assert_eq!(own(7), "free: tokens-day 50, messages-month 7");
    assert_eq!(own(-1), "free: tokens-day 50, messages-month");

    let team =
        r#"{"limits": [{"metric": "messages", "period": "month", "max": 400, "each": "user"}]}"#;
    let levels = told(&teams(), "org:a/user:u_1", &[team]);
    assert_eq!(levels, ["team: messages-month 1000", "free: messages-month 100, tokens-day 50"]);
}

#[test]
fn an_override_replaces_the_entry_of_the_plan_and_adds_what_it_does_not_have() {
    let profile = r#"{"limits": [
        {"metric": "tokens", "period": "day", "max": 9},
        {"metric": "tokens", "period": "hour", "max": 1}
    ]}"#;
    let levels = told(&teams(), "user:u_1", &[profile]);
    assert_eq!(levels, ["free: messages-month 100, tokens-day 9, tokens-hour 1"]);
    assert_eq!(
        told(&without_defaults(), "user:u_1", &[profile]),
        ["-: tokens-day 9, tokens-hour 1"]
    );
}

#[test]
fn without_a_plan_or_an_override_on_any_level_there_is_no_access() {
    let catalogue = without_defaults();
    assert_eq!(resolve(&catalogue, "org:a/user:u_1", &[]), Err(LevelLimitsError::NoPlan));
    let root = r#"{"plan": "free"}"#;
    let levels = told(&catalogue, "org:a/user:u_1", &[root]);
    assert_eq!(levels, ["free: messages-month 100, tokens-day 50", "-: "]);
}

#[test]
fn each_level_has_its_own_calendar_and_block() {
    let profiles = [
        Profile { blocked: true, ..Profile::NOTHING },
        Profile::parse(r#"{"time_zone": "Asia/Kolkata", "anchor_day": 15}"#).unwrap(),
    ];
    let catalogue = teams();
    let levels = resolve(&catalogue, "org:a/user:u_1", &profiles).unwrap();
    let told: Vec<_> = levels.iter().map(|it| (it.depth, it.block, it.calendar)).collect();
    let kolkata = Calendar::parse("Asia/Kolkata", 15).unwrap();
    assert_eq!(told, [(1, Some(Block::ByAdmin), Calendar::UTC), (2, None, kolkata)]);
}

#[test]
fn features_come_from_all_plans_and_the_deepest_profile_decides() {
    let of = |profiles: &[&str]| {
        let profiles: Vec<_> = profiles.iter().map(|json| Profile::parse(json).unwrap()).collect();
        let catalogue = teams();
        let levels = resolve(&catalogue, "org:a/user:u_1", &profiles).unwrap();
        let features = |level: &LevelLimits<'_>| Vec::from_iter(level.features.clone()).join(" ");
        levels.iter().map(features).collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), ["sso", "export sso"]);
    let off = r#"{"features": {"export": false, "sso": false}}"#;
    assert_eq!(of(&[off]), ["", ""]);
    assert_eq!(of(&[off, r#"{"features": {"sso": true, "beta": true}}"#])[1], "beta sso");
    assert_eq!(
        of(&[r#"{"features": {"beta": true}}"#, r#"{"features": {"beta": false}}"#])[1],
        "export sso"
    );
}

#[test]
fn a_plan_that_is_gone_and_too_many_limits_are_errors() {
    let gone = [Profile { plan: Some("gold".to_owned()), ..Profile::NOTHING }];
    let catalogue = teams();
    let error = resolve(&catalogue, "user:u_1", &gone).unwrap_err();
    assert_eq!(error, LevelLimitsError::UnknownPlan { depth: 1, plan: "gold".to_owned() });

    let metrics: Vec<String> = (0..33).map(|index| format!("m{index}")).collect();
    let limit = |metric: &String| format!("{{ metric = '{metric}', period = 'day' }}");
    let limits = |metrics: &[String]| metrics.iter().map(limit).collect::<Vec<_>>().join(", ");
    let text = format!(
        "metrics = {metrics:?}\n[plans.a]\nlimits = [{}]\n[plans.b]\nlimits = [{}]",
        limits(&metrics[..32]),
        limits(&metrics[32..]).replace(" }", ", each = 'user' }"),
    );
    let catalogue = Catalogue::parse(&text).unwrap();
    let plans = ["b", "a"].map(|plan| Profile { plan: Some(plan.to_owned()), ..Profile::NOTHING });
    let error = resolve(&catalogue, "org:a/user:u_1", &plans).unwrap_err();
    assert_eq!(error, LevelLimitsError::TooManyLimits { depth: 2, count: 33 });
    assert_eq!(resolve(&catalogue, "org:a/team:t", &plans).unwrap()[1].limits.len(), 32);
}

/// What a rule puts on a level is lower than what it has, or has no effect.
#[test]
fn a_restraint_slows_or_blocks_its_level_alone() {
    let slow = |metric: &str, per_minute: u64| {
        format!(
            r#"{{"rule": "r", "reason": "", "ends_s": 1, "action":
                {{"slow": {{"metric": "{metric}", "per_minute": {per_minute}, "for_s": 60}}}}}}"#
        )
    };
    let restrained = format!(
        r#"{{"limits": [{{"metric": "tokens", "period": "minute", "max": 7}}],
            "restraints": [{}, {}, {}]}}"#,
        slow("messages", 5),
        slow("messages", 3),
        slow("tokens", 9)
    );
    let user = told(&teams(), "user:u_1", &[&restrained]);
    let wanted = "messages-month 100, tokens-day 50, tokens-minute 7, messages-minute 3";
    assert_eq!(user, [format!("free: {wanted}")]);

    let block = r#"{"restraints": [
        {"rule": "r", "reason": "", "ends_s": 9, "action": {"block": {"for_s": 60}}},
        {"rule": "q", "reason": "", "ends_s": 7, "action": {"block": {"for_s": 60}}}]}"#;
    let mut profiles = [Profile::NOTHING, Profile::parse(block).unwrap()];
    let catalogue = teams();
    let blocks = |profiles: &[Profile]| {
        let levels = resolve(&catalogue, "org:acme/user:u_1", profiles).unwrap();
        levels.iter().map(|it| it.block).collect::<Vec<_>>()
    };
    assert_eq!(blocks(&profiles), [None, Some(Block::ByRule { ends_s: 9 })]);
    profiles[1].blocked = true;
    assert_eq!(blocks(&profiles), [None, Some(Block::ByAdmin)], "which has no end");
}

#[test]
fn of_two_entries_with_one_ceiling_the_first_stays() {
    let limit =
        |fields: &str| format!("{{ metric = 'messages', period = 'day', max = 5{fields} }}");
    let text = format!(
        "metrics = ['messages']\n[plans.a]\nlimits = [{}]\n[plans.b]\nlimits = [{}]",
        limit(", each = 'user', warning_percent = 50"),
        limit(", warning_percent = 60"),
    );
    let catalogue = Catalogue::parse(&text).unwrap();
    let slow = r#"{"rule": "r", "reason": "", "ends_s": 1, "action":
        {"slow": {"metric": "messages", "per_minute": 5, "for_s": 60}}}"#;
    let own = r#"{"metric": "messages", "period": "minute", "max": 5, "warning_percent": 70}"#;
    let user = format!(r#"{{"plan": "b", "limits": [{own}], "restraints": [{slow}]}}"#);
    let profiles = [r#"{"plan": "a"}"#, &user].map(|json| Profile::parse(json).unwrap());
    let levels = resolve(&catalogue, "org:a/user:u_1", &profiles).unwrap();
    let percents: Vec<_> = levels[1].limits.iter().map(|limit| limit.warning_percent).collect();
    assert_eq!(percents, [60, 70]);
}

#[test]
fn a_level_that_is_full_of_limits_has_no_room_for_those_of_rules() {
    let metrics: Vec<String> = (0..32).map(|index| format!("m{index}")).collect();
    let limit = |metric: &String| format!("{{ metric = '{metric}', period = 'day' }}");
    let limits = metrics.iter().map(limit).collect::<Vec<_>>().join(", ");
    let text = format!("metrics = {metrics:?}\n[plans.a]\nlimits = [{limits}]");
    let slow = r#"{"plan": "a", "restraints": [{"rule": "r", "reason": "", "ends_s": 1, "action":
        {"slow": {"metric": "m0", "per_minute": 5, "for_s": 60}}}]}"#;
    let catalogue = Catalogue::parse(&text).unwrap();
    let profiles = [Profile::parse(slow).unwrap()];
    let levels = resolve(&catalogue, "user:u_1", &profiles).unwrap();
    assert_eq!(levels[0].limits.len(), Catalogue::LIMITS_MAX);
    assert!(levels[0].limits.iter().all(|limit| limit.period == Period::Day));
}

#[test]
fn what_is_raised_is_the_limit_of_that_metric_and_period() {
    let (catalogue, profiles) = (teams(), [Profile::NOTHING]);
    let mut levels = resolve(&catalogue, "user:u_1", &profiles).unwrap();
    let tokens = Metric::new("tokens").unwrap();
    let maxima = |level: &LevelLimits<'_>| -> Vec<_> {
        level.limits.iter().map(|limit| limit.max.map(Units::get)).collect()
    };
    levels[0].raise(&tokens, Period::Month, Units::new(7).unwrap());
    assert_eq!(maxima(&levels[0]), [Some(100), Some(50)]);
    levels[0].raise(&tokens, Period::Day, Units::new(7).unwrap());
    assert_eq!(maxima(&levels[0]), [Some(100), Some(57)]);
}

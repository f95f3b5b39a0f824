use super::*;
use crate::domain::Amount;
use crate::domain::Portion;
use crate::domain::Profile;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::limits_of;

const CHAT: &str = include_str!("../../../deploy/catalogues/chat.toml");

#[test]
fn the_chat_catalogue_knows_its_premium_models() {
    let catalogue = Catalogue::parse(CHAT).unwrap();
    let charges = |model: &str| catalogue.model(model).unwrap().1.charges.len();
    for premium in [
        "claude-3.5-sonnet",
        "claude-3-haiku",
        "claude-3-opus",
        "claude-3.7-sonnet",
        "claude-sonnet-4",
        "claude-opus-4",
        "claude-of-tomorrow",
    ] {
        assert_eq!(charges(premium), 2, "{premium}");
    }
    assert_eq!(charges("gemini-2.0-flash"), 1);
    assert_eq!(charges("anything-else"), 1);
    assert!(catalogue.model("gemini-2.0-flash").unwrap().1.anonymous);
    assert!(!catalogue.model("gemini-2.5-pro").unwrap().1.anonymous);
}

#[test]
fn absence_and_minus_one_are_unlimited_and_zero_is_blocked() {
    let text = "metrics = ['a', 'b', 'c']\n[plans.p]\nlimits = [{ metric = 'a', period = 'day' }, \
                { metric = 'b', period = 'day', max = -1 }, { metric = 'c', period = 'day', max = 0 }]";
    let catalogue = Catalogue::parse(text).unwrap();
    let maxima: Vec<_> =
        catalogue.plans["p"].limits.iter().map(|limit| limit.max.map(Units::get)).collect();
    assert_eq!(maxima, [None, None, Some(0)]);
}

/// Every field, none with its default.
const FULL: &str = r#"
    metrics = ["messages", "tokens"]
    features = ["export", "sso"]
    default_plan = "free"
    anonymous_plan = "free"
    scope_plans = { org = "team", user = "free" }

    [plans.free]

    [plans.team]
    title = "Team"
    price = 4900
    listed = false
    upgrade_url = "https://chat.example/upgrade"
    features = ["export"]
    limits = [
        { metric = "messages", period = "month", max = 1000, mode = "soft", grace = "10%" },
        { metric = "messages", period = "month", max = 100, each = "user", refundable = false },
        { metric = "tokens", period = "minute", max = 0, sliding = true, store_away = "open" },
        { metric = "tokens", period = "lifetime", warning_percent = 50, critical_percent = 60 },
    ]

    [[models]]
    names = ["gpt-*"]
    charges = { messages = 2, tokens = 0 }
    anonymous = true
    feature = "sso"
"#;

#[test]
fn a_catalogue_reads_back_from_toml_and_json() {
    for text in [FULL, CHAT] {
        let catalogue = Catalogue::parse(text).unwrap();
        assert_eq!(Catalogue::parse(&catalogue.to_toml()).unwrap(), catalogue);
        let json = serde_json::to_string(&catalogue).unwrap();
        assert_eq!(serde_json::from_str::<Catalogue>(&json).unwrap(), catalogue);
    }
    let team = &Catalogue::parse(FULL).unwrap().plans["team"];
    assert_eq!(team.limits[0].grace, Portion::Percent(10));
    assert!(team.limits[1].each.is_some() && team.limits[2].sliding);
}

#[test]
fn an_export_is_short() {
    let chat = Catalogue::parse(CHAT).unwrap().to_toml();
    for default in ["refundable", "sliding", "grace", "_percent", "features", "mode ="] {
        assert!(!chat.contains(default), "{default}: {chat}");
    }
}

/// What is on a level of the subject under a demo catalogue, as `plan: limit max, limit`.
fn last_level(text: &str, path: &str, profile: &str) -> Option<String> {
    let catalogue = Catalogue::parse(text).unwrap();
    let profile = Profile::parse(profile).unwrap();
    assert_eq!(profile.check(&catalogue), Ok(()));
    let subject = Subject::parse(path).unwrap();
    let profiles = vec![&profile; usize::from(subject.depth())];
    let level = limits_of(&catalogue, &subject, &profiles).ok()?.pop().unwrap();
    let limits = level.limits.iter().map(|limit| match limit.max {
        Some(max) => format!("{} {max}", limit.name()),
        None => limit.name(),
    });
    Some(format!("{}: {}", level.plan.unwrap_or("-"), limits.collect::<Vec<_>>().join(", ")))
}

#[test]
fn the_entries_are_of_users_and_of_projects() {
    let entries = include_str!("../../../deploy/catalogues/entries.toml");
    let user = last_level(entries, "user:user_123", "{}");
    assert_eq!(user.unwrap(), "user: storage-lifetime 1048576");
    let project = last_level(entries, "user:user_123/project:proj_42", "{}");
    assert_eq!(project.unwrap(), "project: page_count-month 100, visitor_count-day");
    let catalogue = Catalogue::parse(entries).unwrap();
    let project = Subject::parse("project:proj_42").unwrap();
    let levels = limits_of(&catalogue, &project, &[]).unwrap();
    assert!(levels[0].features.contains("ab_test_enabled"));
}

#[test]
fn the_three_tiers_recommend_the_next() {
    let tiers = include_str!("../../../deploy/catalogues/tiers.toml");
    let of = |plan: &str| last_level(tiers, "user:u_1", &format!("{{\"plan\": \"{plan}\"}}"));
    let free = "free: ai_generations-month 10, projects-lifetime 3, exports-month 1";
    assert_eq!(last_level(tiers, "user:u_1", "{}").unwrap(), free);
    let starter = "starter: ai_generations-month 100, projects-lifetime 10, exports-month 10";
    assert_eq!(of("starter").unwrap(), starter);
    let growth = "growth: ai_generations-month 500, projects-lifetime 50, exports-month 50";
    assert_eq!(of("growth").unwrap(), growth);
    let asked = |count| [(Metric::new("exports").unwrap(), Amount::new(count).unwrap())];
    let catalogue = Catalogue::parse(tiers).unwrap();
    let recommended =
        [2, 11, 51].map(|count| catalogue.recommend(&[], &asked(count), Some("free")));
    assert_eq!(recommended, [Some("starter"), Some("growth"), None]);
}

#[test]
fn invoicing_has_months_and_totals() {
    let invoicing = include_str!("../../../deploy/catalogues/invoicing.toml");
    let of = |profile: &str| last_level(invoicing, "company:7", profile).unwrap();
    assert_eq!(
        of("{}"),
        "free: expenses_per_month-month 5, estimates_per_month-month 3, ai_queries_per_month-month 3, \
         custom_fields-lifetime 2, recurring_invoices_active-lifetime 1"
    );
    assert_eq!(
        of(r#"{"plan": "starter"}"#),
        "starter: expenses_per_month-month 50, estimates_per_month-month 20, custom_fields-lifetime 5, \
         recurring_invoices_active-lifetime 5"
    );
    assert_eq!(
        of(r#"{"plan": "business"}"#),
        "business: expenses_per_month-month, estimates_per_month-month, ai_queries_per_month-month, \
         custom_fields-lifetime, recurring_invoices_active-lifetime"
    );
}

#[test]
fn images_need_a_subscription() {
    let images = include_str!("../../../deploy/catalogues/images.toml");
    let of = |profile: &str| last_level(images, "user:123", profile);
    assert_eq!(of("{}"), None);
    let premium = of(r#"{"plan": "PREMIUM"}"#).unwrap();
    assert_eq!(premium, "PREMIUM: image_generations-day 20, image_generations-month 100");
    let unlimited = of(r#"{"plan": "UNLIMITED"}"#).unwrap();
    assert_eq!(unlimited, "UNLIMITED: image_generations-day, image_generations-month");
}

#[test]
fn the_readme_shows_a_catalogue_that_does_what_it_says() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let catalogue = Catalogue::parse(text).unwrap();
    let subject = Subject::parse("org:acme/user:u_1").unwrap();
    let team = Profile::parse(r#"{"plan": "team"}"#).unwrap();
    let levels = limits_of(&catalogue, &subject, &[&team]).unwrap();
    let limits = levels.iter().flat_map(|level| level.limits.iter());
    let shown: Vec<_> =
        limits.map(|limit| format!("{} {}", limit.name(), limit.max.unwrap())).collect();
    assert_eq!(shown, ["messages-month 1000", "messages-month 100", "messages-day 50"]);
    assert!(levels[1].features.contains("export"));
}

#[test]
fn the_greatest_weight_is_the_greatest_amount() {
    let catalogue = |weight: u32| {
        let text = "metrics = ['m']\n[plans.p]\nlimits = []\n[[models]]\nnames = ['*']";
        Catalogue::parse(&format!("{text}\ncharges = {{ m = {weight} }}"))
    };
    assert_eq!(Amount::MAX.get(), 2_147_483_648);
    assert!(catalogue(Amount::MAX.get()).is_ok());
    let error = catalogue(Amount::MAX.get() + 1).unwrap_err();
    assert!(matches!(error, CatalogueError::Weight { .. }), "{error}");
}

use super::*;
use crate::domain::Grace;
use crate::domain::Units;

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
    assert_eq!(team.limits[0].grace, Grace::Percent(10));
    assert!(team.limits[1].each.is_some() && team.limits[2].sliding);
}

#[test]
fn an_export_is_short() {
    let chat = Catalogue::parse(CHAT).unwrap().to_toml();
    for default in ["refundable", "sliding", "grace", "_percent", "features", "mode ="] {
        assert!(!chat.contains(default), "{default}: {chat}");
    }
}

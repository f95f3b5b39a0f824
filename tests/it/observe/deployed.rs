//! What is deployed to look at the service: the dashboard, the alert rules and the page for operators. Needs no server.

use std::collections::BTreeSet;
use std::fmt::Write;

use headroom::telemetry::names;
use headroom::telemetry::names::Kind;
use headroom::telemetry::names::Metric;
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../deploy/grafana/headroom.json");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yml");
const OPERATIONS: &str = include_str!("../../../docs/OPERATIONS.md");
/// What the series of a histogram are called behind its name.
const SERIES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The metrics of this service that an expression names.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expression.split(|letter| !is_word(letter));
    words.filter(|word| word.starts_with("headroom_")).map(str::to_owned).collect()
}

fn is_described(series: &str) -> bool {
    names::ALL.iter().any(|metric| match metric.kind {
        Kind::Histogram(_) => {
            SERIES.iter().any(|end| series.strip_suffix(end) == Some(metric.name))
        }
        Kind::Counter | Kind::Gauge => series == metric.name,
    })
}

/// Every `expr` in a document, at whatever depth.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let own = fields.get("expr").and_then(Value::as_str);
            found.extend(own.map(str::to_owned));
            fields.values().for_each(|field| expressions(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// An alert as the rules have it.
struct Alert {
    name: String,
    expression: String,
    /// The other lines.
    rest: String,
}

/// The alerts of the rules, whose expressions are on one line each.
fn alerts() -> Vec<Alert> {
    let (_, rules) = ALERTS.split_once("    rules:\n").unwrap();
    let rules = rules.split("      - alert: ").skip(1).map(|text| {
        let (name, rest) = text.split_once('\n').unwrap();
        let expression = rest.lines().find_map(|line| line.trim().strip_prefix("expr: "));
        Alert {
            name: name.to_owned(),
            expression: expression.unwrap_or_else(|| panic!("{name} has no expr")).to_owned(),
            rest: rest.to_owned(),
        }
    });
    rules.collect()
}

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let labels: Vec<String> = metric.labels.iter().map(|(name, _)| format!("`{name}`")).collect();
    format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join(", "), metric.about)
}

/// Guards the dashboard: every panel asks for what the service has.
#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);

    let named: BTreeSet<String> = asked.iter().flat_map(|it| metrics_in(it)).collect();

    let unknown: Vec<&String> = named.iter().filter(|series| !is_described(series)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(asked.iter().all(|it| !metrics_in(it).is_empty()), "{asked:#?}");
    for metric in names::ALL {
        let is_shown = named.iter().any(|series| series.starts_with(metric.name));
        assert!(is_shown, "{} is on no panel", metric.name);
    }
}

/// Guards the alerts: each asks for what the service has, waits for a while, and points to its paragraph.
#[test]
fn each_alert_asks_for_metrics_that_there_are_and_has_its_paragraph() {
    let alerts = alerts();
    assert!(alerts.len() >= 10, "the rules were read");
    for Alert { name, expression, rest } in &alerts {
        let unknown: Vec<String> =
            metrics_in(expression).into_iter().filter(|series| !is_described(series)).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        let anchor = format!("docs/OPERATIONS.md#{}", name.to_lowercase());
        for wanted in ["for: ", "severity: ", "summary: ", &anchor] {
            assert!(rest.contains(wanted), "{name} has no {wanted}");
        }
        let heading = format!("\n### {name}\n");
        let (_, paragraph) = OPERATIONS.split_once(&heading).unwrap_or_else(|| panic!("{heading}"));
        let paragraph = paragraph.split("\n#").next().unwrap();
        for part in ["**Means.** ", "**Look.** ", "**Do.** "] {
            assert!(paragraph.contains(part), "{name}: {part}");
        }
    }
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names.len(), alerts.len(), "a name stands once");
    let headings = OPERATIONS.lines().filter_map(|line| line.strip_prefix("### "));
    for heading in headings.filter(|heading| heading.starts_with("Headroom")) {
        assert!(names.contains(heading), "{heading} is no alert");
    }
}

/// Guards the page for operators: it lists every metric as the service describes it.
#[test]
fn the_page_for_operators_lists_every_metric() {
    let mut table = "| metric | kind | labels | what it is |\n|---|---|---|---|\n".to_owned();
    names::ALL.iter().for_each(|metric| write!(table, "{}", row(metric)).unwrap());

    assert!(OPERATIONS.contains(&table), "docs/OPERATIONS.md should have:\n{table}");
}

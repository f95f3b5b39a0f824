//! Deltas as `message_logs.deltas` and `reservations.lines` hold them.
//!
//! `[[depth, metric, period, window start, window end, units], …]`. A seventh value stands behind them when they are not the
//! use of a limit: `held:UNTIL`, `carried`, `refunded`, `grant:ID`, `grant:ID:held:UNTIL`.

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::value::to_raw_value;
use tokio_postgres::types::Json;

use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Tally;
use crate::domain::Window;
use crate::domain::event::Delta;

use super::error::LedgerError;

/// A delta as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line<'a> {
    Used(#[serde(borrow)] (u8, &'a str, &'a str, i64, i64, i64)),
    Marked(#[serde(borrow)] (u8, &'a str, &'a str, i64, i64, i64, String)),
}

/// What a delta counts, in the words of the log; `None` for the use of a limit.
pub(super) fn mark_of(delta: &Delta) -> Option<String> {
    let tally = match delta.tally {
        Tally::Used => None,
        Tally::Held { until_s } => Some(format!("held:{until_s}")),
        Tally::Carried => Some("carried".to_owned()),
        Tally::Refunded => Some("refunded".to_owned()),
    };
    match (delta.grant, tally) {
        (None, tally) => tally,
        (Some(grant), None) => Some(format!("grant:{grant}")),
        (Some(grant), Some(tally)) => Some(format!("grant:{grant}:{tally}")),
    }
}

/// The grant and the tally that a mark names.
fn read_mark(mark: &str) -> Option<(Option<u64>, Tally)> {
    let Some(rest) = mark.strip_prefix("grant:") else { return Some((None, read_tally(mark)?)) };
    match rest.split_once(':') {
        None => Some((Some(rest.parse().ok()?), Tally::Used)),
        Some((grant, tally)) => Some((Some(grant.parse().ok()?), read_tally(tally)?)),
    }
}

fn read_tally(text: &str) -> Option<Tally> {
    match text {
        "carried" => Some(Tally::Carried),
        "refunded" => Some(Tally::Refunded),
        _ => Some(Tally::Held { until_s: text.strip_prefix("held:")?.parse().ok()? }),
    }
}

/// The deltas for a jsonb.
pub(super) fn stored<'a>(
    deltas: impl IntoIterator<Item = &'a Delta>,
) -> Result<Json<Box<RawValue>>, LedgerError> {
    let line = |delta: &'a Delta| {
        let (depth, metric, period) = (delta.depth, delta.metric.as_str(), delta.period.as_str());
        let (start_s, end_s, units) = (delta.window.start_s, delta.window.end_s, delta.units);
        match mark_of(delta) {
            None => Line::Used((depth, metric, period, start_s, end_s, units)),
            Some(mark) => Line::Marked((depth, metric, period, start_s, end_s, units, mark)),
        }
    };
    let lines: Vec<Line<'_>> = deltas.into_iter().map(line).collect();
    to_raw_value(&lines).map(Json).map_err(|error| LedgerError::Internal(error.into()))
}

/// The deltas of a jsonb, given as JSON text. `after` is not stored and is `None`.
///
/// # Errors
///
/// [`LedgerError::Internal`] when it holds what this version cannot name.
pub(super) fn read(json: &str) -> Result<Vec<Delta>, LedgerError> {
    let misread = |error: serde_json::Error| LedgerError::Internal(error.into());
    let lines: Vec<Line<'_>> = serde_json::from_str(json).map_err(misread)?;
    let deltas = lines.into_iter().map(read_line).collect::<Option<_>>();
    deltas.ok_or_else(|| LedgerError::Internal("a delta of the log cannot be read".into()))
}

fn read_line(line: Line<'_>) -> Option<Delta> {
    let (depth, metric, period, start_s, end_s, units, mark) = match line {
        Line::Used((depth, metric, period, start_s, end_s, units)) => {
            (depth, metric, period, start_s, end_s, units, None)
        }
        Line::Marked((depth, metric, period, start_s, end_s, units, mark)) => {
            (depth, metric, period, start_s, end_s, units, Some(mark))
        }
    };
    let (grant, tally) = mark.map_or(Some((None, Tally::Used)), |mark| read_mark(&mark))?;
    Some(Delta {
        depth,
        metric: Metric::new(metric).ok()?,
        period: Period::named(period)?,
        window: Window { start_s, end_s },
        grant,
        tally,
        units,
        after: None,
        limit: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(grant: Option<u64>, tally: Tally) -> Delta {
        Delta {
            depth: 2,
            metric: Metric::new("messages").unwrap(),
            period: Period::Day,
            window: Window { start_s: 86_400, end_s: 172_800 },
            grant,
            tally,
            units: -3,
            after: None,
            limit: None,
        }
    }

    #[test]
    fn deltas_read_back_as_they_were_stored() {
        let held = Tally::Held { until_s: 99 };
        let deltas = [
            (None, Tally::Used, r#"[2,"messages","day",86400,172800,-3]"#),
            (None, held, r#"[2,"messages","day",86400,172800,-3,"held:99"]"#),
            (None, Tally::Carried, r#"[2,"messages","day",86400,172800,-3,"carried"]"#),
            (None, Tally::Refunded, r#"[2,"messages","day",86400,172800,-3,"refunded"]"#),
            (Some(7), Tally::Used, r#"[2,"messages","day",86400,172800,-3,"grant:7"]"#),
            (Some(7), held, r#"[2,"messages","day",86400,172800,-3,"grant:7:held:99"]"#),
        ];
        for (grant, tally, wanted) in deltas {
            let delta = delta(grant, tally);
            let text = stored([&delta]).unwrap().0.get().to_owned();
            assert_eq!(text, format!("[{wanted}]"));
            assert_eq!(read(&text).unwrap(), [delta]);
        }
    }

    #[test]
    fn what_is_no_delta_is_not_read() {
        for text in [
            "{}",
            r#"[[1,"messages","day",0,1]]"#,
            r#"[[1,"messages","era",0,1,1]]"#,
            r#"[[1,"messages","day",0,1,1,"gone"]]"#,
            r#"[[1,"messages","day",0,1,1,"grant:x"]]"#,
        ] {
            assert!(matches!(read(text), Err(LedgerError::Internal(_))), "{text}");
        }
    }
}

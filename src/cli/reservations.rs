//! `headroom reservations`, `release` and `refund`: what support does for work that went wrong.

use std::process::ExitCode;

use serde_json::json;
use uuid::Uuid;

use crate::config::Config;
use crate::domain::Window;
use crate::http::routes::refunds::RefundedBody;
use crate::http::routes::reservations::OpenBody;
use crate::quota::Ask;
use crate::quota::EndOrder;
use crate::quota::GivenBack;
use crate::quota::OpenReservation;
use crate::quota::RefundOrder;
use crate::quota::RequestContext;

use super::core::flush;
use super::core::flush_all;
use super::core::on_core;
use super::core::parse_subject;
use super::output::Failure;
use super::output::Table;
use super::output::print_tables;

pub(super) async fn reservations(config: &Config, subject: &str) -> Result<ExitCode, Failure> {
    let subject = parse_subject(subject)?;
    on_core(config, async |core| {
        // A list is as far as the log goes.
        flush(core, &subject).await?;
        let open = core.quota.open_reservations(&subject).await?;
        let bodies = open.iter().map(OpenBody::of).collect::<Result<Vec<_>, _>>()?;
        let header = &["made at", "expires at", "of", "amount", "reservation"];
        print_tables(&bodies, &[Table { header, rows: open.iter().map(open_row).collect() }])
    })
    .await
}

fn open_row(open: &OpenReservation) -> Vec<String> {
    let of = match &open.parts.ask {
        Ask::Model(name) | Ask::Feature(name) => name.as_str(),
        Ask::Metric(metric) => metric.as_str(),
    };
    vec![
        open.reserved_at.to_rfc3339(),
        open.expires_at.to_rfc3339(),
        of.to_owned(),
        open.parts.amount.get().to_string(),
        open.id.clone(),
    ]
}

pub(super) async fn release(config: &Config, id: &str) -> Result<ExitCode, Failure> {
    on_core(config, async |core| {
        let order = EndOrder {
            reservation: core.quota.reservation_id(id)?,
            idempotency_key: None,
            metadata: None,
            context: RequestContext::default(),
        };
        let ended = core.quota.release(&order).await?;
        let subject = &order.reservation.subject;
        flush(core, subject).await?;
        let value = json!({
            "reservation_id": id,
            "event_id": ended.event_id,
            "subject": subject.as_str(),
            "state": "released",
            "returned": ended.held,
        });
        let row = vec![subject.as_str().to_owned(), ended.held.to_string()];
        print_tables(&value, &[Table { header: &["subject", "released"], rows: vec![row] }])
    })
    .await
}

pub(super) async fn refund(config: &Config, event_id: Uuid) -> Result<ExitCode, Failure> {
    on_core(config, async |core| {
        // An event is refunded once it is in the log; whose it is, only the log tells.
        flush_all(core).await?;
        let event = core.quota.refundable(event_id).await?;
        let refunded = core.quota.refund(&event, &RefundOrder::default()).await?;
        flush(core, &event.subject).await?;
        let rows = refunded.given.iter().map(given_row).collect();
        let header = &["level", "of", "since", "units given back"];
        print_tables(&RefundedBody::of(&refunded, ""), &[Table { header, rows }])
    })
    .await
}

fn given_row(given: &GivenBack) -> Vec<String> {
    let GivenBack { subject, metric, period, grant, window, units } = given;
    let of_grant = || format!("{metric} of grant {}", grant.unwrap_or_default());
    let of = period.map_or_else(of_grant, |period| format!("{metric}-{}", period.as_str()));
    let is_window = period.is_some() && *window != Window::LIFETIME;
    let since = if is_window { window.start_at().to_rfc3339() } else { String::new() };
    vec![subject.clone(), of, since, units.to_string()]
}

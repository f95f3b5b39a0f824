//! Changes of profiles and of the catalogue, under load, with two nodes, and while a store is away.

mod announcements;
mod editions;
mod levels;
mod plans;
mod restored;

use headroom::domain::Profile;
use headroom::quota::Expected;
use headroom::quota::Quota;
use headroom::quota::QuotaError;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;

const SUBJECT: &str = "user:u_1";
/// What the plan `small` holds, and the plan `large`.
const SMALL: u64 = 5;
const LARGE: u64 = 1_000_000;

/// Nodes on two plans of one metric. Nobody has a plan without a profile.
fn options(nodes: usize) -> Options {
    let catalogue = format!(
        "metrics = ['messages']\n\
         [plans.small]\nlimits = [{{ metric = 'messages', period = 'month', max = {SMALL} }}]\n\
         [plans.large]\nlimits = [{{ metric = 'messages', period = 'month', max = {LARGE} }}]\n\
         [[models]]\nnames = ['*']\ncharges = {{ messages = 1 }}\n"
    );
    Options { nodes, catalogue: Some(catalogue), ..Options::default() }.patient()
}

async fn start(nodes: usize) -> TestApp {
    TestApp::start_with(options(nodes)).await
}

/// Gives the subject a plan, through a node.
async fn put_plan(quota: &Quota, plan: &str) -> Result<(), QuotaError> {
    let profile = Profile { plan: Some(plan.to_owned()), ..Profile::NOTHING };
    let subject = orders::subject(SUBJECT);
    quota.put_subject(&subject, profile, Expected::Any, &orders::actor()).await.map(drop)
}

/// The limit by which a node decides now.
async fn max(quota: &Quota) -> Result<u64, QuotaError> {
    let decision = quota.check(orders::one(SUBJECT, "messages")).await?;
    Ok(decision.limits[0].max.unwrap().get())
}

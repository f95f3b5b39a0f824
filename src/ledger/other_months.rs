//! Acts that were done under the id of another month.

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

/// The ids that an act has in the months beside its own. What was done under one of them a short while ago is the same act, asked
/// for again over the end of a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherMonths<'a> {
    /// The ids; none when asking again is asking for more.
    pub ids: &'a [Uuid],
    /// What was done before does not count.
    pub since: DateTime<Utc>,
}

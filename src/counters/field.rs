//! The names of counters in a level's state.

use std::fmt;

use crate::domain::Period;
use crate::domain::Tally;
use crate::domain::event::Delta;

/// What a counter of a level counts.
///
/// By name `messages:m:1793491200` is used in a window, behind it `@1793491260` held until then, `+` carried into it, `-`
/// given back in it. `messages:g:1793491200#7` is used of grant 7, which ends then. A capital letter is a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    /// What is counted.
    pub metric: String,
    /// The limit's period; `lifetime` for a grant.
    pub period: Period,
    /// Whether the window is a slice of a sliding limit.
    pub sliding: bool,
    /// The first second of the window; of a grant the second at which it ends.
    pub at_s: i64,
    /// The grant, when the units are of one.
    pub grant: Option<u64>,
    /// Which count it is.
    pub tally: Tally,
}

impl Field {
    /// What is used in a window of a limit.
    #[must_use]
    pub fn used(metric: &str, period: Period, sliding: bool, start_s: i64) -> Self {
        let metric = metric.to_owned();
        Self { metric, period, sliding, at_s: start_s, grant: None, tally: Tally::Used }
    }

    /// What is used of a grant that ends then.
    #[must_use]
    pub fn of_grant(metric: &str, grant: u64, end_s: i64) -> Self {
        let metric = metric.to_owned();
        let (period, sliding, grant) = (Period::Lifetime, false, Some(grant));
        Self { metric, period, sliding, at_s: end_s, grant, tally: Tally::Used }
    }

    /// The counter that a delta changes.
    #[must_use]
    pub fn of_delta(delta: &Delta) -> Self {
        let (metric, window) = (delta.metric.as_str(), delta.window);
        if let Some(grant) = delta.grant {
            return Self { tally: delta.tally, ..Self::of_grant(metric, grant, window.end_s) };
        }
        let is_slice = delta.period.slice_s() == Some(window.seconds());
        let used = Self::used(metric, delta.period, is_slice, window.start_s);
        Self { tally: delta.tally, ..used }
    }

    /// The field of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (metric, rest) = name.split_once(':')?;
        let (letter, rest) = rest.split_once(':')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (at, rest) = rest.split_at(digits);
        let at_s = at.parse().ok()?;
        if let Some(rest) = rest.strip_prefix('#').filter(|_| letter == "g") {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (grant, rest) = rest.split_at(digits);
            let of_grant = Self::of_grant(metric, grant.parse().ok()?, at_s);
            return Some(Self { tally: tally(rest)?, ..of_grant });
        }
        let letter = letter.chars().next()?;
        let period = Period::lettered(letter.to_ascii_lowercase())?;
        let used = Self::used(metric, period, letter.is_ascii_uppercase(), at_s);
        Some(Self { tally: tally(rest)?, ..used })
    }
}

fn tally(suffix: &str) -> Option<Tally> {
    match suffix {
        "" => Some(Tally::Used),
        "+" => Some(Tally::Carried),
        "-" => Some(Tally::Refunded),
        _ => Some(Tally::Held { until_s: suffix.strip_prefix('@')?.parse().ok()? }),
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, at_s, .. } = self;
        let letter = self.period.letter();
        match self.grant {
            Some(grant) => write!(f, "{metric}:g:{at_s}#{grant}")?,
            None if self.sliding => write!(f, "{metric}:{}:{at_s}", letter.to_ascii_uppercase())?,
            None => write!(f, "{metric}:{letter}:{at_s}")?,
        }
        match self.tally {
            Tally::Used => Ok(()),
            Tally::Held { until_s } => write!(f, "@{until_s}"),
            Tally::Carried => f.write_str("+"),
            Tally::Refunded => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_reads_back_as_it_was_written() {
        for name in [
            "messages:m:1793491200",
            "messages:N:1793491200",
            "messages:m:1793491200@1793491260",
            "messages:d:1793491200+",
            "messages:d:1793491200-",
            "premium_messages:g:253402214400#7",
            "premium_messages:g:1793491200#12@1793491260",
        ] {
            assert_eq!(Field::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for name in
            ["messages", "messages:m", "messages:q:1", "messages:m:", "messages:m:1@", "m:m:1!"]
        {
            assert_eq!(Field::parse(name), None, "{name}");
        }
    }
}

//! How often a request is sent, and what follows each time.

use std::time::Duration;

use http::HeaderMap;
use http::StatusCode;
use http::header::RETRY_AFTER;
use tokio::time::Instant;

const RETRIES_MAX: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What becomes of a decision when the service gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnavailable {
    /// The request passes, uncharged and `degraded`.
    Open,
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    Closed,
}

/// The bounds of one call.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What becomes of a decision when the service gives none.
    pub on_unavailable: OnUnavailable,
    /// How long one attempt waits; 2 s by default.
    pub timeout: Duration,
    /// How long all attempts and the waits between them may take; 5 s by default.
    pub deadline: Duration,
    /// How often a request is sent again, 0 to 10; 2 by default.
    pub retries: u32,
}

impl Policy {
    /// The default bounds. There is no default for what happens when the service is away.
    #[must_use]
    pub fn new(on_unavailable: OnUnavailable) -> Self {
        let (timeout, deadline) = (Duration::from_secs(2), Duration::from_secs(5));
        Self { on_unavailable, timeout, deadline, retries: 2 }
    }
}

/// What an attempt came to.
pub(crate) enum Outcome {
    Answer { status: StatusCode, headers: HeaderMap, body: Vec<u8> },
    NoAnswer(String),
}

impl Outcome {
    /// Whether the same request may be answered in a moment. All else would be answered the same again.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Answer { status, .. } => matches!(status.as_u16(), 502..=504),
            Self::NoAnswer(_) => true,
        }
    }

    fn asked_wait(&self) -> Duration {
        let Self::Answer { headers, .. } = self else { return Duration::ZERO };
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Duration::from_secs(seconds.unwrap_or(0))
    }
}

/// The attempts of one call.
pub(crate) struct Attempts {
    timeout: Duration,
    ends_at: Instant,
    retries_left: u32,
    longest_wait: Duration,
}

impl Attempts {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            timeout: policy.timeout,
            ends_at: Instant::now() + policy.deadline,
            retries_left: policy.retries.min(RETRIES_MAX),
            longest_wait: FIRST_WAIT,
        }
    }

    /// How long the next attempt may take.
    pub(crate) fn timeout(&self) -> Duration {
        let left = self.ends_at.saturating_duration_since(Instant::now());
        self.timeout.min(left).max(Duration::from_millis(1))
    }

    /// How long to wait for the next attempt; `None` when there is none, because it is pointless or too late.
    pub(crate) fn wait(&mut self, outcome: &Outcome) -> Option<Duration> {
        if !outcome.is_passing() || self.retries_left == 0 {
            return None;
        }
        let wait = self.jittered().max(outcome.asked_wait());
        if Instant::now() + wait >= self.ends_at {
            return None;
        }
        self.retries_left -= 1;
        Some(wait)
    }

    /// Between a half and the whole of the longest wait, which doubles each time.
    fn jittered(&mut self) -> Duration {
        let longest = self.longest_wait;
        self.longest_wait = (longest * 2).min(LONGEST_WAIT);
        let chance = uuid::Uuid::new_v4().as_bytes()[0];
        longest / 2 + longest / 2 * u32::from(chance) / 255
    }
}

//! Realistic events of a chat, always the same for the same seed: a daily rhythm, a few subjects that write most, a mix of
//! models. The benchmark and the tests share it.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::DateTime;
use headroom::domain::Calendar;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Metric;
use headroom::domain::Period;
use headroom::domain::Tally;
use headroom::domain::event::Delta;
use headroom::domain::event::Deltas;

/// How much is written in each hour of a day (UTC): little at night, most in the evening.
const RHYTHM: [u64; 24] =
    [3, 2, 1, 1, 1, 2, 4, 8, 13, 16, 17, 16, 15, 16, 17, 17, 16, 17, 19, 21, 20, 16, 10, 6];
/// Each model, its share in percent, and whether its messages are premium.
const MODELS: [(&str, u64, bool); 6] = [
    ("gemini-2.0-flash", 46, false),
    ("gpt-4o-mini", 22, false),
    ("claude-3.5-sonnet", 14, true),
    ("claude-sonnet-4", 9, true),
    ("deepseek-chat", 7, false),
    ("claude-opus-4", 2, true),
];
/// One subject in so many is a member of a team.
const TEAM_EVERY: u64 = 10;
const MEMBERS_A_TEAM: u64 = 25;
const DAY_MS: u64 = 86_400_000;

/// What is generated.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Another seed gives other events.
    pub seed: u64,
    /// Events in all.
    pub events: u64,
    /// Subjects that they are of, at most.
    pub subjects: u64,
    /// Midnight (UTC) of the first day, in Unix seconds.
    pub start_s: i64,
    /// Days over which they are spread.
    pub days: u64,
}

impl Traffic {
    /// The events in the order of time, with seqs from 1.
    pub fn events(self) -> impl Iterator<Item = Event> {
        let mut random = Random(self.seed);
        let mut sheets = HashMap::new();
        (0..self.events).map(move |number| self.event(number, &mut random, &mut sheets))
    }

    fn event(self, number: u64, random: &mut Random, sheets: &mut Sheets) -> Event {
        let occurred_at_ms = self.start_s * 1_000 + self.offset_ms(number).cast_signed();
        let place = random.place_of(self.subjects);
        let (model, is_premium) = random.model();
        Event {
            seq: number + 1,
            event_id: random.id_at(occurred_at_ms),
            occurred_at_ms,
            kind: EventKind::Consume,
            subject: subject(place),
            model: Some(model.to_owned()),
            amount: 1,
            until_s: None,
            of: None,
            deltas: sheet(sheets, occurred_at_ms, is_premium),
            request_id: None,
            trace_id: None,
            metadata: None,
        }
    }

    /// How long after the start an event happens: its part of its day, stretched by the rhythm.
    fn offset_ms(self, number: u64) -> u64 {
        let scaled = u128::from(number) * u128::from(self.days) * u128::from(DAY_MS);
        let even_ms = u64::try_from(scaled / u128::from(self.events)).unwrap_or(u64::MAX);
        let (day, in_day_ms) = (even_ms / DAY_MS, even_ms % DAY_MS);
        let total: u64 = RHYTHM.iter().sum();
        let mut weight = in_day_ms * total;
        for (hour, share) in (0_u64..).zip(RHYTHM) {
            if weight < share * DAY_MS {
                return day * DAY_MS + hour * 3_600_000 + weight / share / 24;
            }
            weight -= share * DAY_MS;
        }
        (day + 1) * DAY_MS - 1
    }
}

type Sheets = HashMap<(i64, bool), Arc<Deltas>>;

/// What a message of the month charges: one a month, and a premium one.
fn sheet(sheets: &mut Sheets, occurred_at_ms: i64, is_premium: bool) -> Arc<Deltas> {
    let at = DateTime::from_timestamp_millis(occurred_at_ms).unwrap_or_default();
    let window = Period::Month.window_at(at, &Calendar::UTC);
    let sheet = sheets.entry((window.start_s, is_premium)).or_insert_with(|| {
        let metrics =
            ["messages", "premium_messages"].into_iter().take(1 + usize::from(is_premium));
        let line = |metric| Delta {
            depth: 1,
            metric,
            period: Period::Month,
            window,
            grant: None,
            tally: Tally::Used,
            units: 1,
            after: None,
            limit: None,
        };
        let lines = metrics.filter_map(|name| Metric::new(name).ok()).map(line).collect();
        Arc::new(Deltas { plan: "chat".to_owned(), lines, late: false, overage: false })
    });
    Arc::clone(sheet)
}

/// The subject at a place, of which the lowest write most.
fn subject(place: u64) -> String {
    if place % TEAM_EVERY == TEAM_EVERY - 1 {
        return format!("org:o_{}/user:u_{place}", place / TEAM_EVERY / MEMBERS_A_TEAM);
    }
    format!("user:u_{place}")
}

/// A small generator of random numbers (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A place below `count`, by Zipf's law: the logarithm of a place is spread evenly.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "places are far below 2^53 and not negative"
    )]
    fn place_of(&mut self, count: u64) -> u64 {
        let even = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let place = (even * ((count + 1) as f64).ln()).exp() as u64;
        place.clamp(1, count.max(1)) - 1
    }

    fn model(&mut self) -> (&'static str, bool) {
        let mut percent = self.next() % 100;
        for (model, share, is_premium) in MODELS {
            if percent < share {
                return (model, is_premium);
            }
            percent -= share;
        }
        (MODELS[0].0, MODELS[0].2)
    }

    fn id_at(&mut self, at_ms: i64) -> uuid::Uuid {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_be_bytes());
        let at_ms = u64::try_from(at_ms).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(at_ms, &random).into_uuid()
    }
}

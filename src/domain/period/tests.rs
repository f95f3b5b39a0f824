use chrono::TimeZone;
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// 2100-01-01, where the tables of the zones end.
const LAST_S: i64 = 4_102_444_800;
const HOUR_S: i64 = 3_600;

/// Zones that have changed at midnight, by half an hour or by a day, or that change for a month of fasting.
const ODD: [Tz; 10] = [
    Tz::America__Sao_Paulo,
    Tz::America__Havana,
    Tz::America__St_Johns,
    Tz::Asia__Kolkata,
    Tz::Pacific__Apia,
    Tz::Pacific__Kwajalein,
    Tz::Africa__Casablanca,
    Tz::Africa__Monrovia,
    Tz::Antarctica__Troll,
    Tz::Australia__Lord_Howe,
];

/// The definition, looked at second by second (in steps of 30, of which all changes since 1970 are multiples).
mod reference {
    use super::*;

    const STEP_S: i64 = 30;

    pub fn window(period: Period, calendar: Calendar, second: i64) -> Window {
        let mut first = reached(calendar.zone, second);
        while !begins(period, calendar, first) {
            first = first - Days::new(1);
        }
        let mut next = first + Days::new(1);
        while !begins(period, calendar, next) {
            next = next + Days::new(1);
        }
        Window {
            start_s: first_second(calendar.zone, first),
            end_s: first_second(calendar.zone, next),
        }
    }

    /// The latest local date that has begun: clocks that go back do not end it.
    fn reached(zone: Tz, second: i64) -> NaiveDate {
        let day_before = second - second.rem_euclid(STEP_S) - 26 * HOUR_S;
        let seconds = (day_before..second).step_by(30).chain([second]);
        seconds.map(|second| date(zone, second)).max().unwrap()
    }

    fn begins(period: Period, calendar: Calendar, date: NaiveDate) -> bool {
        let last = (date.day()..=31).rev().find(|day| date.with_day(*day).is_some()).unwrap();
        match period {
            Period::Week => date.weekday() == chrono::Weekday::Mon,
            Period::Month => date.day() == u32::from(calendar.anchor_day.get()).min(last),
            _ => true,
        }
    }

    fn first_second(zone: Tz, wanted: NaiveDate) -> i64 {
        let midnight = wanted.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
        let mut seconds = (midnight - 15 * HOUR_S..midnight + 15 * HOUR_S).step_by(30);
        seconds.find(|second| date(zone, *second) >= wanted).unwrap()
    }

    fn date(zone: Tz, second: i64) -> NaiveDate {
        zone.timestamp_opt(second, 0).unwrap().date_naive()
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn calendar(zone: &str, anchor_day: i64) -> Calendar {
    Calendar::parse(zone, anchor_day).unwrap()
}

fn bounds(period: Period, calendar: Calendar, instant: &str) -> (String, String) {
    let window = period.window_at(at(instant), &calendar);
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    (text(window.start_at()), text(window.end_at()))
}

#[test]
fn a_month_goes_from_the_first_to_the_first() {
    assert_eq!(
        bounds(Period::Month, Calendar::UTC, "2024-02-29T23:59:59Z"),
        ("2024-02-01T00:00:00Z".to_owned(), "2024-03-01T00:00:00Z".to_owned())
    );
}

#[test]
fn a_week_begins_on_monday() {
    let window = Period::Week.window_at(at("2026-11-22T12:00:00Z"), &Calendar::UTC);
    assert_eq!(window.start_at(), at("2026-11-16T00:00:00Z"));
    assert_eq!(window.seconds(), 7 * 86_400);
}

#[test]
fn an_anchor_day_that_a_month_does_not_have_is_its_last_day() {
    let utc = |anchor_day| calendar("UTC", anchor_day);
    for (anchor_day, instant, start, end) in [
        (31, "2026-02-27T12:00:00Z", "2026-01-31", "2026-02-28"),
        (31, "2026-02-28T00:00:00Z", "2026-02-28", "2026-03-31"),
        (31, "2026-04-30T00:00:00Z", "2026-04-30", "2026-05-31"),
        (30, "2024-02-29T00:00:00Z", "2024-02-29", "2024-03-30"),
        (29, "2024-02-28T23:59:59Z", "2024-01-29", "2024-02-29"),
        (29, "2100-02-28T00:00:00Z", "2100-02-28", "2100-03-29"),
        (28, "2026-01-01T00:00:00Z", "2025-12-28", "2026-01-28"),
    ] {
        let wanted = (format!("{start}T00:00:00Z"), format!("{end}T00:00:00Z"));
        assert_eq!(bounds(Period::Month, utc(anchor_day), instant), wanted, "{anchor_day}");
    }
}

#[test]
fn days_are_as_long_as_the_clocks_make_them() {
    for (zone, instant, start, end) in [
        (
            "America/Sao_Paulo",
            "2018-11-04T12:00:00Z",
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z",
        ),
        (
            "America/Sao_Paulo",
            "2018-02-18T02:30:00Z",
            "2018-02-17T02:00:00Z",
            "2018-02-18T03:00:00Z",
        ),
        (
            "Australia/Lord_Howe",
            "2026-10-03T20:00:00Z",
            "2026-10-03T13:30:00Z",
            "2026-10-04T13:00:00Z",
        ),
        // The 29th is followed by the 31st.
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
        // At 00:01 the clocks went back to 23:01 of the day before; the new day had begun.
        (
            "America/St_Johns",
            "2009-11-01T03:00:00Z",
            "2009-11-01T02:30:00Z",
            "2009-11-02T03:30:00Z",
        ),
    ] {
        let wanted = (start.to_owned(), end.to_owned());
        assert_eq!(bounds(Period::Day, calendar(zone, 1), instant), wanted, "{zone} {instant}");
    }
}

#[test]
fn letters_and_names_are_one_to_one() {
    for period in Period::ALL {
        assert_eq!(Period::named(period.as_str()), Some(period));
        assert_eq!(Period::lettered(period.letter()), Some(period));
    }
}

#[test]
fn from_1970_to_2100_each_window_begins_where_the_one_before_ends() {
    for (zone, period, longest_s) in ODD
        .into_iter()
        .flat_map(|zone| [(zone, Period::Day, 26 * HOUR_S), (zone, Period::Month, 32 * 86_400)])
    {
        let calendar = Calendar { zone, anchor_day: AnchorDay::new(30).unwrap() };
        let mut window = period.window_at(DateTime::UNIX_EPOCH, &calendar);
        while window.end_s < LAST_S {
            let next = period.window_at(window.end_at(), &calendar);
            assert_eq!(next.start_s, window.end_s, "{zone} {period:?} {}", window.end_at());
            let length_s = next.seconds();
            assert!(0 < length_s && length_s <= longest_s, "{zone} {period:?} {}", next.start_at());
            window = next;
        }
    }
}

/// The first hour after `second`, within 400 days, in which the zone's clocks change; else `second`.
fn next_change(zone: Tz, second: i64) -> i64 {
    let offset = |second| zone.timestamp_opt(second, 0).unwrap().offset().to_string();
    let now = offset(second);
    let hours = (1..400 * 24).map(|hours| second + hours * HOUR_S);
    hours.into_iter().find(|second| offset(*second) != now).unwrap_or(second)
}

prop_compose! {
    fn any_calendar()(
        zone in prop_oneof![select(ODD.as_slice()), select(TZ_VARIANTS.as_slice())],
        anchor_day in prop_oneof![Just(1), 28_i64..=31, 1_i64..=31],
    ) -> Calendar {
        Calendar { zone, anchor_day: AnchorDay::new(anchor_day).unwrap() }
    }
}

prop_compose! {
    /// An instant and a calendar; half of the instants lie within a day of a change of the clocks.
    fn any_moment()(
        calendar in any_calendar(),
        second in 0..LAST_S,
        nearby_s in proptest::option::of(-26 * HOUR_S..26 * HOUR_S),
    ) -> (Calendar, i64) {
        let near = |nearby_s: i64| (next_change(calendar.zone, second) + nearby_s).clamp(0, LAST_S);
        (calendar, nearby_s.map_or(second, near))
    }
}

proptest! {
    #[test]
    fn windows_are_what_the_definition_says(
        (calendar, second) in any_moment(),
        index in 2_usize..5,
    ) {
        let period = Period::ALL[index];
        let window = period.window_at(at_second(second), &calendar);
        prop_assert_eq!(window, reference::window(period, calendar, second));
    }

    #[test]
    fn windows_tile_the_time_line((calendar, second) in any_moment(), index in 0_usize..5) {
        let period = Period::ALL[index];
        let window = period.window_at(at_second(second), &calendar);
        prop_assert!(window.start_s <= second && second < window.end_s);
        for inside in [window.start_s, window.end_s - 1] {
            prop_assert_eq!(period.window_at(at_second(inside), &calendar), window);
        }
        prop_assert_eq!(period.window_at(window.end_at(), &calendar).start_s, window.end_s);
    }

    #[test]
    fn slices_cover_the_trailing_period_and_hardly_more(second in 0..LAST_S) {
        for (period, length_s) in [(Period::Minute, 60), (Period::Hour, HOUR_S)] {
            let slices = period.slices(at_second(second)).unwrap();
            prop_assert!(slices.current.start_s <= second && second < slices.current.end_s);
            prop_assert_eq!(slices.current.seconds() * 6, length_s);
            let mut start_s = slices.current.start_s;
            for earlier_s in slices.earlier_s {
                prop_assert_eq!(earlier_s, start_s - length_s / 6);
                start_s = earlier_s;
            }
            prop_assert!(start_s <= second - length_s);
            prop_assert!(start_s > second - length_s - length_s / 6);
        }
    }
}

#[test]
fn only_minutes_and_hours_have_slices() {
    let sliding = Period::ALL.into_iter().filter(|it| it.slices(DateTime::UNIX_EPOCH).is_some());
    assert_eq!(sliding.collect::<Vec<_>>(), [Period::Minute, Period::Hour]);
}

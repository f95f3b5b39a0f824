//! What stays in Redis, and for how long.

use headroom::counters::Idempotency;
use headroom::counters::Operation;
use headroom::counters::keys;
use headroom::domain::Calendar;
use headroom::domain::Line;
use headroom::domain::Period;

use crate::support::lanes::IDLE_TTL_S;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;

const DAY_MS: i64 = 86_400_000;

/// The lines of two periods at the clock's time.
fn lines(lanes: &Lanes) -> Vec<Line> {
    [Period::Day, Period::Lifetime]
        .map(|period| lanes.line_of(1, period, "messages", Some(99)))
        .to_vec()
}

/// Guards promise 7: a subject keeps the counters of current windows alone; those of earlier ones go when the next
/// window is touched.
#[tokio::test]
async fn the_counters_of_earlier_windows_go_on_touch() {
    let lanes = Lanes::start().await;
    // A day is kept for two hours more, so not in its first two hours.
    lanes.move_to("2027-03-10T12:00:01Z");
    lanes.load(&["user:u_1"], 0).await;
    lanes.submit(Lanes::consume("user:u_1", lines(&lanes))).await;
    lanes.clock.advance(DAY_MS);

    let looked = lanes.submit(Lanes::check("user:u_1", lines(&lanes))).await;
    let before = lanes.state("user:u_1").await.counters.len();
    let outcome = lanes.submit(Lanes::consume("user:u_1", lines(&lanes))).await;

    assert_eq!((decided(&looked).1, before), (vec![0, 1], 2));
    assert_eq!(decided(&outcome), (true, vec![1, 2]));
    let day = Period::Day.window_at(lanes.clock.now(), &Calendar::UTC).start_s;
    let state = lanes.state("user:u_1").await;
    assert_eq!(state.names(), [format!("messages:d:{day}").as_str(), "messages:l:0"]);
}

async fn ttl_s(lanes: &Lanes) -> u64 {
    let mut connection = lanes.connection.clone();
    let mut command = redis::cmd("TTL");
    command.arg(keys::subject(0, "user:u_1")).query_async(&mut connection).await.unwrap()
}

/// Guards promise 7: an idle subject leaves Redis; one that is used stays, without an `EXPIRE` a request.
#[tokio::test]
async fn the_idle_time_begins_anew_with_use() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    assert!(ttl_s(&lanes).await > IDLE_TTL_S - 60);
    let key = keys::subject(0, "user:u_1");
    let mut connection = lanes.connection.clone();
    let _: u64 = redis::cmd("EXPIRE").arg(&key).arg(50).query_async(&mut connection).await.unwrap();

    // Less than an eighth of the idle time after the load, then more.
    lanes.submit(Lanes::consume("user:u_1", lines(&lanes))).await;
    let soon = ttl_s(&lanes).await;
    lanes.clock.advance(i64::try_from(IDLE_TTL_S).unwrap() * 1_000 / 8 + 1_000);
    lanes.submit(Lanes::consume("user:u_1", lines(&lanes))).await;

    assert!(soon <= 50);
    assert!(ttl_s(&lanes).await > IDLE_TTL_S - 60);
}

/// Guards promise 7: what a pending event and an idempotency record take, in bytes. The numbers are printed; the
/// bounds are twice of what they are.
#[tokio::test]
async fn events_and_records_are_small() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let mut connection = lanes.connection.clone();
    let two = || ["messages", "premium_messages"].map(|it| lanes.line(1, it, Some(9_999))).to_vec();
    let keyed = |number: u8| {
        let idempotency = Idempotency { key_hash: [number; 16], fingerprint: [number; 8] };
        let order = Lanes::consume("user:u_1", two());
        Operation { idempotency: Some(idempotency), ..order }
    };
    lanes.submit(keyed(0)).await;
    let record: u64 = redis::cmd("STRLEN")
        .arg(keys::idempotency(0, "user:u_1", [0; 16]))
        .query_async(&mut connection)
        .await
        .unwrap();

    let mut alone = 0;
    for _ in 0..100 {
        lanes.submit(Lanes::consume("user:u_1", two())).await;
        alone += 1;
    }
    let page = lanes.counters.read_outbox(0, 1, 0, 1_000).await.unwrap();
    let in_redis: usize = redis::cmd("MEMORY")
        .arg(&["USAGE", &keys::outbox(0), "SAMPLES", "0"])
        .query_async(&mut connection)
        .await
        .unwrap();

    let bytes = page.entries.last().unwrap().bytes;
    let each = in_redis / (alone + 1);
    println!(
        "a record: {record} bytes; an event that travels alone: {bytes} bytes, in redis {each}"
    );
    assert!(record < 400 && bytes < 400 && each < 600);
}

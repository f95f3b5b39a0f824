//! The short form of `make torture`.

use std::time::Duration;

use tokio::process::Command;

use crate::support::stores::open_folder;

/// The load and the faults, in seconds. `make torture` takes many seeds and longer runs.
const SECONDS: &str = "12";
const WITHIN: Duration = Duration::from_mins(5);

/// Guards promises 1, 2, 3, 4 and 6 and I1–I8 with real processes: whatever the nemesis of this seed kills, stops, cuts off,
/// fills and takes back, the checker finds nothing lost, nothing doubled and no limit passed. That the checker would find it is
/// for the tests in `torture/check` to show.
#[tokio::test]
async fn a_nemesis_of_a_fixed_seed_breaks_no_promise() {
    let kept = open_folder();
    let mut torture = Command::new(env!("CARGO_BIN_EXE_headroom-torture"));
    torture.args([
        "--topology",
        "single",
        "--runs",
        "1",
        "--first-seed",
        "3",
        "--seconds",
        SECONDS,
        "--keep",
    ]);
    torture.arg(kept.path()).kill_on_drop(true);

    let output = tokio::time::timeout(WITHIN, torture.output()).await.unwrap().unwrap();

    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("0 over-admitted: kept"), "{said}");
}

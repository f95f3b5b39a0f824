//! Each guard of the protocol has its test: the same story with the guard and without it.
//!
//! With the guard the promise holds; without it the promise is seen to break, in the way that the counter-examples of
//! `model/` tell. A guard whose absence nobody notices would not be worth its code.

mod attempts;
mod epochs;
mod fixture;
mod flushing;
mod loading;
mod recovering;
mod resets;
mod trimming;
mod windows;

/// Guards of the scripts that have a test in this folder.
const TESTED: [&str; 11] = [
    "earlier_attempt",
    "epoch",
    "epoch_in_counter",
    "fence",
    "floor_check",
    "newest_profile",
    "profile_version",
    "seen_seq",
    "tail",
    "trim_after_commit",
    "window",
];

/// A guard that is added to a script without a test here is noticed.
#[test]
fn every_guard_of_the_scripts_has_its_test() {
    let scripts = ["lua", "lua/lib"].into_iter().flat_map(|folder| {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|it| it == "lua")).collect::<Vec<_>>()
    });

    let mut names: Vec<String> = Vec::new();
    for script in scripts {
        let text = std::fs::read_to_string(script).unwrap();
        let guarded = text.lines().filter_map(|line| line.split_once(" -- guard: "));
        names.extend(guarded.map(|(_, name)| name.trim().to_owned()));
    }
    names.sort_unstable();
    names.dedup();

    assert_eq!(names, TESTED);
}

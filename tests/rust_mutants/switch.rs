//! Which of the mutants that are woven into the sources acts: the one whose number `HEADROOM_MUTANT` has, or none.
//! With `HEADROOM_REACHED` it writes into that folder which thread reached which; tests are called like their threads.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::sync::{LazyLock, Mutex};

static ACTS: LazyLock<u32> = LazyLock::new(|| {
    std::env::var("HEADROOM_MUTANT").ok().and_then(|it| it.parse().ok()).unwrap_or(0)
});

struct Reached {
    seen: HashSet<(u32, String)>,
    file: File,
}

static REACHED: LazyLock<Option<Mutex<Reached>>> = LazyLock::new(|| {
    let folder = std::env::var("HEADROOM_REACHED").ok()?;
    let file = File::create(format!("{folder}/{}", std::process::id())).ok()?;
    Some(Mutex::new(Reached { seen: HashSet::new(), file }))
});

/// The number of the mutant that acts, asked where those with these numbers are.
pub fn at(numbers: &[u32]) -> u32 {
    if let Some(reached) = &*REACHED {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("");
        let mut reached = reached.lock().unwrap();
        for number in numbers {
            if reached.seen.insert((*number, name.to_owned())) {
                let _written = writeln!(reached.file, "{number} {name}");
            }
        }
    }
    *ACTS
}

//! What long work shows while it goes on: a line on the standard error when that is a terminal, and nothing elsewhere.

use std::time::Duration;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;

const TICK: Duration = Duration::from_millis(100);

/// A bar of `steps` steps under a name; it goes away when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar that is empty.
    pub(super) fn bar(name: &'static str, steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        Self::styled(bar, name, "{prefix} [{bar:30}] {pos}/{len} {msg} {elapsed}")
    }

    /// Work whose end is not known.
    pub(super) fn open_ended(name: &'static str) -> Self {
        Self::styled(ProgressBar::no_length(), name, "{spinner} {prefix} {msg} {elapsed}")
    }

    fn styled(bar: ProgressBar, name: &'static str, template: &str) -> Self {
        // A template that cannot be read would leave the library's own.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Says what is at hand.
    pub(super) fn say(&self, text: String) {
        self.0.set_message(text);
    }

    /// One step is done.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

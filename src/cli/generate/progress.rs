//! How far the work is, shown on a terminal and nowhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; hidden when that is not a terminal.
#[derive(Debug)]
pub(super) struct ProgressDisplay {
    bar: ProgressBar,
}

impl ProgressDisplay {
    /// A spinner with what is being done before steps are counted.
    pub(super) fn start(message: &'static str) -> Self {
        // indicatif draws nothing where standard error is not a terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_message(message);
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self { bar }
    }

    /// What is being done, before steps of it are counted.
    pub(super) fn task(&self, title: &str) {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            self.bar.set_style(style);
        }
        self.bar.unset_length();
        self.bar.set_position(0);
        self.bar.set_message(title.to_owned());
    }

    /// What is being done, beside the steps that are counted.
    pub(super) fn title(&self, title: &str) {
        self.bar.set_message(title.to_owned());
    }

    /// `done` of `all` steps.
    pub(super) fn steps(&self, done: u64, all: u64) {
        if self.bar.length() != Some(all)
            && let Ok(style) = ProgressStyle::with_template("{bar:40} {msg} {pos}/{len}, {elapsed} (about {eta} left)")
        {
            self.bar.set_style(style);
            self.bar.set_length(all);
        }
        self.bar.set_position(done);
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

//! What a fake device shall do wrong, as words in the prompt, so that it can be said over any interface.

use crate::task::{Failure, FailureClass};

/// Orders to a fake device. Evaluations count from 0, per picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `fake:crash_at=N`: the worker dies before evaluation N.
    pub crash_at: Option<u32>,
    /// `fake:hang_at=N`: no progress and no sign of life from evaluation N on, whatever it is told.
    pub hang_at: Option<u32>,
    /// No progress of this task from evaluation N on until it is interrupted. Has no word: a long `step_ms` does the same.
    pub stuck_at: Option<u32>,
    /// `fake:fail_at=N`: the task fails before evaluation N.
    pub fail_at: Option<(u32, Failure)>,
    /// `fake:garbage_at=N`: the worker writes bytes that are no frame.
    pub garbage_at: Option<u32>,
    /// `fake:out_of_memory`: the task does not fit.
    pub out_of_memory: bool,
    /// `fake:lie_memory`: the worker reports memory that no machine has.
    pub lies_about_memory: bool,
    /// `fake:step_ms=N`: an evaluation takes this long.
    pub step_ms: Option<u64>,
}

impl Words {
    /// The orders in a prompt; words that are none are part of the picture.
    pub fn of(prompt: &str) -> Self {
        let mut words = Self::default();
        if !prompt.contains("fake:") {
            return words;
        }
        for word in prompt.split_ascii_whitespace().filter_map(|word| word.strip_prefix("fake:")) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let at = || value.parse().ok();
            match name {
                "crash_at" => words.crash_at = at(),
                "hang_at" => words.hang_at = at(),
                "garbage_at" => words.garbage_at = at(),
                "fail_at" => {
                    let failure = Failure::new(FailureClass::DeviceFailed, "the fake device was told to fail");
                    words.fail_at = at().map(|at| (at, failure));
                }
                "out_of_memory" => words.out_of_memory = true,
                "lie_memory" => words.lies_about_memory = true,
                "step_ms" => words.step_ms = value.parse().ok(),
                _ => {}
            }
        }
        words
    }

    /// Whether the task makes no progress now.
    pub(super) fn is_stuck(&self, done: u32) -> bool {
        self.stuck_at.is_some_and(|at| done >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_found_among_other_words() {
        assert_eq!(Words::of("a fakir, fake news"), Words::default());
        let words = Words::of("a cat fake:crash_at=3 on a mat fake:step_ms=7 fake:lie_memory fake:hang_at=x fake:unknown=1");
        assert_eq!(words, Words { crash_at: Some(3), step_ms: Some(7), lies_about_memory: true, ..Words::default() });
        assert_eq!(Words::of("fake:fail_at=0").fail_at.unwrap().0, 0);
        assert!(Words::of("fake:out_of_memory").out_of_memory);
        assert_eq!(
            Words::of("fake:garbage_at=2 fake:hang_at=4"),
            Words { garbage_at: Some(2), hang_at: Some(4), ..Words::default() }
        );
    }
}

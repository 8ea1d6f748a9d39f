//! Labels that stay few, whatever clients and configurations do.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::domain::ModelId;

/// What stands for everything beyond the bound.
pub(super) const OTHER: &str = "other";

/// How many models have a label of their own.
const MOST_MODELS: usize = 64;

/// A priority as a label.
pub(super) fn priority_class(priority: i32) -> &'static str {
    match priority {
        ..=-1 => PRIORITY_CLASSES[0],
        0 => PRIORITY_CLASSES[1],
        1.. => PRIORITY_CLASSES[2],
    }
}

/// Every [`priority_class`]: below 0, 0, above 0.
pub(super) const PRIORITY_CLASSES: [&str; 3] = ["low", "normal", "high"];

/// A method as a label: HTTP lets clients invent methods.
pub(super) fn method(name: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == name).unwrap_or(OTHER)
}

/// The models that have a label of their own: the first ones that did something here. Only installed models do anything, but over
/// months many may have been.
#[derive(Debug, Default)]
pub(super) struct ModelLabels {
    known: Mutex<BTreeSet<ModelId>>,
}

impl ModelLabels {
    /// The label of `model`.
    pub(super) fn of<'a>(&self, model: &'a ModelId) -> &'a str {
        let mut known = self.known.lock();
        if known.contains(model) {
            return model.as_str();
        }
        if known.len() >= MOST_MODELS {
            return OTHER;
        }
        known.insert(model.clone());
        model.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_fall_into_three_classes() {
        for (priority, class) in [(i32::MIN, "low"), (-1, "low"), (0, "normal"), (1, "high"), (i32::MAX, "high")] {
            assert_eq!(priority_class(priority), class);
        }
    }

    #[test]
    fn the_last_models_share_a_label() {
        let labels = ModelLabels::default();
        let model = |index: usize| format!("model-{index}").parse::<ModelId>().unwrap();
        for index in 0..MOST_MODELS {
            assert_eq!(labels.of(&model(index)), format!("model-{index}"));
        }
        assert_eq!(labels.of(&model(MOST_MODELS)), OTHER);
        assert_eq!(labels.of(&model(0)), "model-0", "a label once given stays");
    }
}

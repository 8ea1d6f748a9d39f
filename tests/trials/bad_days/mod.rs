//! Bad input and bad days, one at a time: what the issue of a bad thing is, for the one it happens to and for everybody else.

mod clock;
mod disk;
mod files;
mod names;
mod queue;
mod quota;
mod secrets;
mod workers;

use std::time::Duration;

use serde_json::{Value, json};

/// How long any one job may take here.
const JOB_LIMIT: Duration = Duration::from_mins(1);

/// A request for a small picture; words for a fake device stand in the prompt.
fn order(prompt: &str) -> Value {
    json!({"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 10})
}

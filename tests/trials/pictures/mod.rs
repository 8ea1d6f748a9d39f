//! The demo model on real devices: killed and batched runs give the same pictures as undisturbed and single ones, and workers share
//! their weights.

mod batch;
mod memory;
mod resume;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::picture::Picture;
use crate::support::server::Server;
use crate::support::task::Task;

/// How long a job of the demo model may take on a busy machine.
const JOB_LIMIT: Duration = Duration::from_mins(5);

fn order(seed: u64, steps: u32) -> Value {
    json!({
        "model": "demo-sdxl", "prompt": "a large red circle on a blue background", "seed": seed, "num_inference_steps": steps,
        "width": 128, "height": 128,
    })
}

fn server(directory: &tempfile::TempDir, pool: &str) -> Server {
    let mut server = Server::new(directory.path(), &format!("gpu_pool: {{{pool}}}\n"), &[]);
    server.start();
    server
}

/// A task's pictures.
fn pictures(server: &Server, task: &Task) -> Vec<Picture> {
    assert!(task.is_completed(), "{task:?}");
    task.outputs.iter().map(|output| Picture::read(&server.outputs().join(&output.path))).collect()
}

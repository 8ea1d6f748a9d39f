//! Films of several scenes: made by several devices at once, killed on the way, cancelled, out of quota, out of disk, removed.

mod cancel;
mod devices;
mod disk;
mod kills;
mod quota;
mod removal;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::database::Store;
use crate::support::film::Film;
use crate::support::records::TaskRecord;
use crate::support::server::Server;
use crate::support::task::Task;
use crate::support::trial;

/// How long any one film may take here.
const JOB_LIMIT: Duration = Duration::from_mins(1);
/// How soon work ends that nobody wants any more, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);
/// The scenes of a film, in order.
const SCENES: [&str; 4] = ["s1", "s2", "s3", "s4"];
/// A keyframe, a clip, and the scene made of it.
const TASKS_OF_A_SCENE: usize = 3;
/// Frames of a film: a second of each scene.
const FRAMES: usize = 32;

/// A film of four scenes with all that can be asked of one: keyframes, a camera, more frames than the model makes, crossfades.
fn order(steps_of_a_clip: u32) -> Value {
    let scene = |id: &str| json!({"id": id, "prompt": format!("{id} [Zoom in]"), "duration": 1.0, "transition": "crossfade"});
    json!({
        "scenes": SCENES.map(scene),
        "video_config": {"fps": 8, "width": 64, "height": 64},
        "num_inference_steps": steps_of_a_clip,
        "seed": 5,
    })
}

/// Whether an event says that a task of a film is in this state; a film's last task is of no scene.
fn tells(event: &Value, task: &str, scene: Option<&str>, state: &str) -> bool {
    event["task"] == task && event["scene"].as_str() == scene && event["state"] == state
}

/// A server on which films are made, and somebody who asks for them.
struct Studio {
    server: Server,
    client: Client,
    store: Store,
    outputs: PathBuf,
    /// The last field: it goes when nothing uses it any more.
    _directory: TempDir,
}

impl Studio {
    /// Opens a studio with these devices.
    fn open(store: Store, pool: &str) -> Self {
        Self::with(store, pool, None, &[])
    }

    /// Opens a studio with these devices, its storage at `outputs`, and these files beside its system file.
    fn with(store: Store, pool: &str, outputs: Option<&Path>, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let outputs = outputs.map_or_else(|| directory.path().join("outputs"), Path::to_owned);
        let yaml = system_file(pool, &outputs);
        let mut server = Server::new(directory.path(), &yaml, &store.variables());
        for (name, text) in files {
            server.write(name, text);
        }
        server.start();
        let client = server.user("anna");
        Self { server, client, store, outputs, _directory: directory }
    }

    /// The tasks of a film as the store has them, in the order of its plan.
    fn records(&self, film: &str) -> Vec<TaskRecord> {
        self.store.tasks(&self.server.database(), film)
    }

    /// How often each task of a film has been claimed.
    fn attempts(&self, film: &str) -> Vec<i64> {
        self.records(film).iter().map(|task| task.attempt).collect()
    }

    /// The scenes of a film that are made, by name.
    fn made_scenes(&self, film: &str) -> Vec<String> {
        let document = self.client.document(film);
        let scenes = document["scenes"].as_array().expect("a film has scenes").iter();
        scenes.filter(|scene| scene["status"] == "completed").map(|scene| scene["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The tasks that devices work on.
    fn running(&self) -> u64 {
        let devices = self.client.get("/api/v1/devices").expect(200).json();
        devices["devices"].as_array().expect("a list").iter().map(|device| device["running"].as_u64().expect("a number")).sum()
    }

    /// Nothing of a film that has ended is worked on, or will be.
    fn stands_still(&self, film: &str) {
        trial::wait_for("no device works", AT_ONCE, || (self.running() == 0).then_some(()));
        let tasks = self.records(film);
        assert!(tasks.iter().all(|task| !matches!(task.state.as_str(), "queued" | "running")), "{tasks:?}");
        trial::wait_for("no work directory is left", AT_ONCE, || self.server.work_left().is_empty().then_some(()));
    }

    /// A film that has ended well.
    fn film(&self, task: &Task) -> Film {
        assert!(task.is_completed(), "{task:?}");
        Film::read(&self.outputs.join(&task.outputs[0].path))
    }

    /// Every file below the storage directory, whatever it is.
    fn files(&self) -> Vec<PathBuf> {
        files_below(&self.outputs)
    }

    /// Files that were begun, and have no name of their own yet.
    fn half_files(&self) -> Vec<PathBuf> {
        self.files().into_iter().filter(|file| file.to_string_lossy().contains('#')).collect()
    }

    /// Removes every task, after which nothing of them may be there.
    fn remove_all(&self) {
        for task in self.client.tasks() {
            self.client.call("DELETE", &format!("/api/v1/tasks/{}", task.id), None, None).expect(204);
        }
        self.is_empty();
    }

    /// No file is left.
    fn is_empty(&self) {
        goes_away(|| self.files());
    }
}

/// Waits until nothing is left: what a task leaves that was cut off is removed once it has come to a stop.
fn goes_away(left: impl Fn() -> Vec<PathBuf>) {
    let begun = Instant::now();
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < AT_ONCE, "nobody refers to {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn system_file(pool: &str, outputs: &Path) -> String {
    format!("gpu_pool: {{{pool}}}\ndatabase: {{lease_seconds: 2}}\nstorage: {{type: local, base_path: {}}}\n", outputs.display())
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] }).collect()
}

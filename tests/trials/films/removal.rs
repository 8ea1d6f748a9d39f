//! What is made of a film goes with it: when somebody deletes it, and when it is too old.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{JOB_LIMIT, SCENES, Studio, order, system_file};
use crate::support::database::Store;
use crate::support::picture::png_base64;
use crate::support::{records, trial};

const POOL: &str = "devices: [fake, fake], fake: {step_ms: 1}";
/// Samples a second of the sound.
const SAMPLE_RATE: u32 = 8000;

/// Two seconds of silence as base64 of a WAV file: 16 bits, one channel.
fn silence() -> String {
    let data = vec![0_u8; SAMPLE_RATE as usize * 2 * 2];
    let length = data.len() as u32;
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    for number in [1_u16, 1] {
        file.extend(number.to_le_bytes());
    }
    file.extend(SAMPLE_RATE.to_le_bytes());
    file.extend((SAMPLE_RATE * 2).to_le_bytes());
    for number in [2_u16, 16] {
        file.extend(number.to_le_bytes());
    }
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    BASE64_STANDARD.encode(file)
}

/// A film that comes with files.
fn with_inputs() -> Value {
    let mut body = order(2);
    body["scenes"][0]["image"] = json!(png_base64(64, 64));
    body["video_config"]["audio"] = json!(silence());
    body
}

#[test]
fn a_deleted_film_leaves_no_file_and_neither_does_one_that_is_too_old() {
    let _alone = trial::alone();
    let mut studio = Studio::open(Store::Sqlite, POOL);
    let client = &studio.client;
    let first = client.submit_film(&with_inputs());
    assert!(client.ended(&first, JOB_LIMIT).is_completed());
    let files = studio.files();
    for folder in ["inputs", "parts", "thumbnails", "videos"] {
        assert!(files.iter().any(|file| file.starts_with(studio.outputs.join(folder))), "nothing in {folder}: {files:?}");
    }
    // What is taken over is a file of the retry's own.
    let retry = client.retry(&first, &json!({"scene": SCENES[1], "seed": 99}));
    let retried = client.ended(&retry, JOB_LIMIT);
    let mut failing = with_inputs();
    failing["scenes"][2]["prompt"] = json!("fake:fail_at=1");
    let failing = client.submit_film(&failing);
    assert_eq!(client.ended(&failing, JOB_LIMIT).error_code(), "device_failed");

    client.call("DELETE", &format!("/api/v1/tasks/{first}"), None, None).expect(204);
    studio.film(&retried);
    assert_eq!(client.get(&format!("/api/v1/tasks/{retry}/result/0")).expect(200).body.len() as u64, retried.outputs[0].bytes);
    let left: Vec<_> = studio.files().into_iter().filter(|file| file.to_string_lossy().contains(&first)).collect();
    assert!(left.is_empty(), "{left:?}");

    studio.server.stop();
    records::age(&studio.server.database(), 2);
    studio.server.write("system.yaml", &format!("{}retention_days: 1\n", system_file(POOL, &studio.outputs)));
    studio.server.start();
    trial::wait_for("old films are forgotten", JOB_LIMIT, || studio.client.tasks().is_empty().then_some(()));
    studio.is_empty();
    let used = studio.server.administrator().usage("user=anna");
    assert_eq!(used["storage_bytes"], 0, "{used:?}");
    trial::say(&format!("films: {} files of a film went with it, and those of two others with their time", files.len()));
}

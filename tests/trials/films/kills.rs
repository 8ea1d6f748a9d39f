//! Done when: a server killed in scene 3 of 4 makes scenes 1 and 2 once, and the same film as one that was let alone.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{FRAMES, JOB_LIMIT, SCENES, Studio, TASKS_OF_A_SCENE, goes_away, order, tells};
use crate::support::database::Store;
use crate::support::events::Events;
use crate::support::film::Film;
use crate::support::trial;

/// Long enough for a kill in a clip: a second.
const STEPS: u32 = 25;
/// Place in the plan of the task that joins the scenes.
const FILM: usize = SCENES.len() * TASKS_OF_A_SCENE;

/// The film as it comes out undisturbed, on devices of another pace.
fn undisturbed() -> &'static Film {
    static FILM: OnceLock<Film> = OnceLock::new();
    FILM.get_or_init(|| {
        let studio = Studio::open(Store::Sqlite, "devices: [fake, fake], fake: {step_ms: 1}");
        let film = studio.client.submit_film(&order(STEPS));
        studio.film(&studio.client.ended(&film, JOB_LIMIT))
    })
}

/// Reads events until what they told of the film's tasks is what is waited for; gives that.
fn wait_until(events: &mut Events, mut is_time: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    while !is_time(&told) {
        let event = events.next().unwrap_or_else(|| panic!("too late: {told:#?}"));
        if event["task"].is_string() {
            told.push(event);
        }
    }
    told
}

/// The scenes, in order, of whose task of this kind events have told this state.
fn scenes<'a>(told: &[Value], task: &str, state: &str) -> Vec<&'a str> {
    SCENES.into_iter().filter(|scene| told.iter().any(|event| tells(event, task, Some(scene), state))).collect()
}

#[test]
fn a_film_killed_in_its_third_scene_keeps_two_on_sqlite() {
    let _alone = trial::alone();
    killed_in_the_third_scene(Store::Sqlite);
}

#[test]
fn a_film_killed_in_its_third_scene_keeps_two_on_postgresql() {
    let _alone = trial::alone();
    if let Some(store) = Store::postgres("a film killed on PostgreSQL") {
        killed_in_the_third_scene(store);
    }
}

fn killed_in_the_third_scene(store: Store) {
    let expected = undisturbed();
    let mut studio = Studio::open(store, "devices: [fake], fake: {step_ms: 40}");
    let film = studio.client.submit_film(&order(STEPS));
    let watched = format!("/api/v1/tasks/{film}/events");
    let mut events = Events::open(&studio.client, &watched);
    // Which scenes are the first ones is the scheduler's choice.
    let told = wait_until(&mut events, |told| {
        let clips = [scenes(told, "clip", "running").len(), scenes(told, "clip", "completed").len()];
        scenes(told, "scene", "completed").len() == 2 && clips == [3, 2]
    });
    let (made, begun) = (scenes(&told, "scene", "completed"), scenes(&told, "clip", "running"));
    studio.server.kill();

    studio.server.start();
    let after: Vec<Value> = Events::open(&studio.client, &watched).collect();
    let again: Vec<&Value> = after.iter().filter(|event| made.iter().any(|scene| event["scene"] == *scene)).collect();
    assert!(again.is_empty(), "scenes that were made are made again: {again:#?}");
    let ended = studio.client.ended(&film, JOB_LIMIT);
    let film_made = studio.film(&ended);
    let interrupted = SCENES.iter().position(|scene| begun.contains(scene) && !made.contains(scene)).expect("a third scene");
    let mut attempts = vec![1; FILM + 1];
    attempts[interrupted * TASKS_OF_A_SCENE + 1] = 2;
    assert_eq!(studio.attempts(&film), attempts, "only the clip that ran is begun again");
    assert_eq!((film_made.frames(), expected.frames()), (FRAMES, FRAMES));
    assert!(film_made == *expected, "another film than without the kill");
    let resumed = ended.manifest["scenes"][interrupted]["clips"][0]["resumed_steps"].as_u64().expect("a clip says so");
    trial::say(&format!(
        "films: killed on {} in the third of four scenes: the first two were made once, the clip went on from step {resumed} of \
         {STEPS}; the same {FRAMES} frames",
        studio.store
    ));
    studio.remove_all();
}

#[test]
fn a_film_killed_while_its_scenes_are_joined_keeps_them_all() {
    let _alone = trial::alone();
    // Large enough that joining takes a while.
    let mut large = order(2);
    large["video_config"] = json!({"fps": 24, "width": 256, "height": 256});
    let mut studio = Studio::open(Store::Sqlite, "devices: [fake, fake], fake: {step_ms: 1}");
    let undisturbed = studio.client.submit_film(&large);
    let undisturbed = studio.film(&studio.client.ended(&undisturbed, JOB_LIMIT));
    studio.remove_all();

    let film = studio.client.submit_film(&large);
    let watched = format!("/api/v1/tasks/{film}/events");
    let is_joined = |told: &[Value]| told.iter().any(|event| tells(event, "film", None, "running"));
    wait_until(&mut Events::open(&studio.client, &watched), is_joined);
    let half = trial::wait_for("the film is begun", JOB_LIMIT, || studio.half_files().pop());
    studio.server.kill();
    assert!(half.exists(), "too late");

    studio.server.start();
    let after: Vec<Value> = Events::open(&studio.client, &watched).collect();
    assert!(after.iter().all(|event| event["scene"].is_null()), "no scene is made again: {after:#?}");
    let made = studio.film(&studio.client.ended(&film, JOB_LIMIT));
    let mut attempts = vec![1; FILM];
    attempts.push(2);
    assert_eq!(studio.attempts(&film), attempts);
    assert!(made == undisturbed, "another film than without the kill");
    goes_away(|| studio.half_files());
    let frames = made.frames();
    trial::say(&format!("films: killed while its scenes were joined: they were made once; the same {frames} frames"));
    studio.remove_all();
}

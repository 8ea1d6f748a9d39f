//! The tasks that a job consists of, and which of them may run. Pure: everything follows from the request.
//!
//! A request for pictures is one task, and so is one to a provider. A film is, for each scene, a keyframe where the scene brings no picture, its clips one after the
//! other, and the scene made of them; and then the film made of the scenes. Every task ends with files of its own, which stay as long
//! as the job: what is there is not made again.
//!
//! A routed request is one stage for each of its targets: the tasks of the first one, and, where that target fails and another may do
//! better, those of the next.

use serde::Serialize;

use super::batch::{BatchKey, rows};
use super::digest::Sha256Digest;
use super::film::FilmRequest;
use super::ids::ProviderId;
use super::image_request::ImageRequest;
use super::job_request::JobRequest;

/// What a task of a job makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskRole {
    /// All pictures of a request for pictures.
    Pictures,
    /// The picture that a scene begins with.
    Keyframe {
        /// Index of the scene.
        scene: usize,
    },
    /// Frames of a scene.
    Clip {
        /// Index of the scene.
        scene: usize,
        /// Which of the scene's clips.
        clip: u32,
    },
    /// A scene at the film's frame rate and size.
    Scene {
        /// Index of the scene.
        scene: usize,
    },
    /// The whole film.
    Film,
    /// All that a provider was asked for.
    Remote,
}

impl TaskRole {
    /// The word that events and documents use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pictures => "pictures",
            Self::Keyframe { .. } => "keyframe",
            Self::Clip { .. } => "clip",
            Self::Scene { .. } => "scene",
            Self::Film => "film",
            Self::Remote => "remote",
        }
    }

    /// Index of the scene that it is for.
    pub const fn scene(self) -> Option<usize> {
        match self {
            Self::Keyframe { scene } | Self::Clip { scene, .. } | Self::Scene { scene } => Some(scene),
            Self::Pictures | Self::Film | Self::Remote => None,
        }
    }
}

/// Where a task runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// On a device that holds a model.
    Device {
        /// With whom it can share evaluations.
        batch: BatchKey,
        /// Rows of its evaluations.
        rows: u32,
        /// It shares a device with nobody.
        alone: bool,
    },
    /// On the server's own processor, beside what the devices do.
    Host {
        /// At no time with another such task: networks finish the scene, which takes memory and all of the processor.
        alone: bool,
    },
    /// At a provider.
    Remote {
        /// Which.
        provider: ProviderId,
    },
}

/// Who takes waiting tasks from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Devices.
    Device,
    /// The server's own processor.
    Host,
    /// Whoever speaks with providers.
    Remote,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 3] = [Self::Device, Self::Host, Self::Remote];

    /// The word that the database uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Host => "host",
            Self::Remote => "remote",
        }
    }
}

/// A task of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTask {
    /// What it makes.
    pub role: TaskRole,
    /// Hash of all that its files depend on.
    pub key: Sha256Digest,
    /// Positions of the tasks whose files it needs; all smaller than its own.
    pub after: Vec<u32>,
    /// Where it runs.
    pub place: Place,
    /// Evaluations · megapixels (of all frames), guided ones twice: for estimates of time.
    pub work: f64,
    /// What it adds to the progress of its stage.
    pub steps: u32,
    /// Which of the request's targets it is for: [`JobRequest::target`].
    pub stage: u32,
    /// Whether its files are the job's: with it the job is completed.
    pub is_last: bool,
}

/// Units of progress of a provider's task: percent.
const REMOTE_STEPS: u32 = 100;
impl PlannedTask {
    /// Whether another target of the request can be tried where this task's fails.
    pub fn has_next_target(&self, request: &JobRequest) -> bool {
        (self.stage as usize + 1) < request.targets().len()
    }

    /// How it waits: in whose lane, with whom it can share evaluations, with how many rows, and whether it shares its place with nobody. A
    /// task without a device has a size of nothing; a provider's stands under the provider's name.
    pub fn waits(&self, request: &JobRequest) -> (Lane, BatchKey, u32, bool) {
        let sizeless = |model| BatchKey { model, width: 0, height: 0 };
        match &self.place {
            Place::Device { batch, rows, alone } => (Lane::Device, batch.clone(), *rows, *alone),
            Place::Host { alone } => (Lane::Host, sizeless(request.model().clone()), 1, *alone),
            Place::Remote { provider } => (Lane::Remote, sizeless(provider.into()), 1, false),
        }
    }
}

/// A unit of progress of a task that evaluates no model.
const HOST_STEPS: u32 = 1;

/// The tasks of a request, stage by stage, and of each in an order in which they could run one after the other. The files of a stage's last
/// one are the job's.
pub fn plan(request: &JobRequest) -> Vec<PlannedTask> {
    let mut tasks: Vec<PlannedTask> = Vec::new();
    for (stage, target) in request.targets().iter().enumerate() {
        let before = tasks.len() as u32;
        tasks.extend(target_plan(target).into_iter().map(|task| PlannedTask {
            after: task.after.iter().map(|position| position + before).collect(),
            stage: stage as u32,
            ..task
        }));
        if let Some(last) = tasks.last_mut() {
            last.is_last = true;
        }
    }
    tasks
}

fn target_plan(request: &JobRequest) -> Vec<PlannedTask> {
    match request {
        JobRequest::Image(request) => vec![PlannedTask {
            role: TaskRole::Pictures,
            key: digest(request),
            after: Vec::new(),
            place: picture_place(request),
            work: picture_work(request),
            steps: request.num_inference_steps.saturating_mul(request.num_images),
            stage: 0,
            is_last: false,
        }],
        JobRequest::Film(film) => film_plan(film),
        JobRequest::Remote(request) => vec![PlannedTask {
            role: TaskRole::Remote,
            key: digest(&("remote", request)),
            after: Vec::new(),
            place: Place::Remote { provider: request.provider.clone() },
            work: 0.0,
            steps: REMOTE_STEPS,
            stage: 0,
            is_last: false,
        }],
        // Routes hold none.
        JobRequest::Routed(_) => Vec::new(),
    }
}

/// Positions of the tasks of a stage that may run now: all that they need is there, and they are neither there nor on their way. `state`
/// says of a position whether its files are there (`Some(true)`), or it waits or runs (`Some(false)`).
pub fn ready(plan: &[PlannedTask], stage: u32, state: impl Fn(u32) -> Option<bool>) -> Vec<u32> {
    let is_ready = |position: &u32| {
        let task = &plan[*position as usize];
        task.stage == stage && state(*position).is_none() && task.after.iter().all(|needed| state(*needed) == Some(true))
    };
    (0..plan.len() as u32).filter(is_ready).collect()
}

/// Progress units of a stage.
pub fn total_steps(plan: &[PlannedTask], stage: u32) -> u32 {
    plan.iter().filter(|task| task.stage == stage).map(|task| task.steps).fold(0, u32::saturating_add)
}

fn film_plan(film: &FilmRequest) -> Vec<PlannedTask> {
    let mut tasks: Vec<PlannedTask> = Vec::new();
    let mut scenes = Vec::with_capacity(film.scenes.len());
    for (index, scene) in film.scenes.iter().enumerate() {
        // What the next clip begins with: a task's last picture, or a file that came with the request.
        let mut before: Option<u32> = None;
        let mut origin = scene.init_image.as_ref().map(|file| file.sha256.clone());
        if let Some(request) = film.keyframe(index) {
            let key = digest(&("keyframe", &request));
            origin = Some(key.to_string());
            before = Some(tasks.len() as u32);
            tasks.push(PlannedTask {
                role: TaskRole::Keyframe { scene: index },
                key,
                after: Vec::new(),
                place: picture_place(&request),
                work: picture_work(&request),
                steps: request.num_inference_steps,
                stage: 0,
                is_last: false,
            });
        }
        let mut clips = Vec::new();
        for clip in 0..film.clips_of(index) {
            let request = film.clip(index, clip);
            let key = digest(&("clip", &request, &origin));
            origin = Some(key.to_string());
            let position = tasks.len() as u32;
            let settings = &request.settings;
            let rows = if request.is_guided() { 2 } else { 1 };
            let batch = BatchKey { model: request.model.clone(), width: settings.width, height: settings.height };
            tasks.push(PlannedTask {
                role: TaskRole::Clip { scene: index, clip },
                key,
                after: before.into_iter().collect(),
                place: Place::Device { batch, rows, alone: true },
                work: f64::from(settings.num_inference_steps)
                    * f64::from(rows)
                    * f64::from(settings.num_frames)
                    * megapixels(settings.width, settings.height),
                steps: settings.num_inference_steps,
                stage: 0,
                is_last: false,
            });
            clips.push(position);
            before = Some(position);
        }
        let keys: Vec<String> = clips.iter().map(|clip| tasks[*clip as usize].key.to_string()).collect();
        let size = (film.width, film.height);
        let handling = (film.frame_rate, size, film.interpolation, film.upscaling, film.clips.fps);
        let scene = ("scene", keys, film.frames_made(index), handling, &scene.camera, scene.seed);
        // Only where there are any, so that the keys of scenes without them are what they always were.
        let key = match (&film.interpolation_network, &film.upscaling_network) {
            (None, None) => digest(&scene),
            networks => digest(&(scene, networks)),
        };
        scenes.push(tasks.len() as u32);
        tasks.push(PlannedTask {
            role: TaskRole::Scene { scene: index },
            key,
            after: clips,
            place: Place::Host { alone: film.needs_network() },
            work: 0.0,
            steps: HOST_STEPS,
            stage: 0,
            is_last: false,
        });
    }
    let keys: Vec<String> = scenes.iter().map(|scene| tasks[*scene as usize].key.to_string()).collect();
    let joints: Vec<_> = film.scenes.iter().map(|scene| (scene.frames, scene.transition)).collect();
    let key = digest(&("film", keys, joints, film.codec, film.audio.as_ref().map(|audio| &audio.sha256)));
    let place = Place::Host { alone: false };
    let (stage, is_last) = (0, false);
    tasks.push(PlannedTask { role: TaskRole::Film, key, after: scenes, place, work: 0.0, steps: HOST_STEPS, stage, is_last });
    tasks
}

fn picture_place(request: &ImageRequest) -> Place {
    Place::Device { batch: BatchKey::of(request), rows: rows(request), alone: false }
}

/// The size of a request in evaluations · megapixels; a guided evaluation counts twice (two rows).
pub fn picture_work(request: &ImageRequest) -> f64 {
    let rows = if request.guidance_scale > 1.0 { 2.0 } else { 1.0 };
    let begun_late = if request.init_image.is_some() { f64::from(request.strength.clamp(0.0, 1.0)) } else { 1.0 };
    let megapixels = megapixels(request.width, request.height);
    f64::from(request.num_inference_steps) * begun_late * rows * f64::from(request.num_images) * megapixels
}

fn megapixels(width: u32, height: u32) -> f64 {
    f64::from(width) * f64::from(height) / 1e6
}

/// Hash of a value's JSON.
fn digest(value: &impl Serialize) -> Sha256Digest {
    // Plain data of texts and numbers always serialises; an empty text would only make two keys of one job equal.
    Sha256Digest::of(&serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::NetworkIdentity;
    use crate::domain::film::tests::film;
    use crate::domain::film::{InputFile, Interpolation, Transition, Upscaling};

    fn planned(film: &FilmRequest) -> Vec<PlannedTask> {
        plan(&film.clone().into())
    }

    fn keys(film: &FilmRequest) -> Vec<String> {
        planned(film).iter().map(|task| task.key.to_string()).collect()
    }

    /// Roles of the tasks whose keys `a` has and `b` has not.
    fn changed(a: &FilmRequest, b: &FilmRequest) -> Vec<TaskRole> {
        let kept: BTreeSet<String> = keys(b).into_iter().collect();
        planned(a).into_iter().filter(|task| !kept.contains(&task.key.to_string())).map(|task| task.role).collect()
    }

    #[test]
    fn a_film_is_keyframes_clips_scenes_and_the_film() {
        let mut film = film(&[24, 96]);
        film.scenes[0].init_image = Some(InputFile { key: "k".to_owned(), sha256: "00".to_owned() });
        let roles: Vec<TaskRole> = planned(&film).iter().map(|task| task.role).collect();
        assert_eq!(
            roles,
            [
                TaskRole::Clip { scene: 0, clip: 0 },
                TaskRole::Scene { scene: 0 },
                TaskRole::Keyframe { scene: 1 },
                TaskRole::Clip { scene: 1, clip: 0 },
                TaskRole::Clip { scene: 1, clip: 1 },
                TaskRole::Clip { scene: 1, clip: 2 },
                TaskRole::Scene { scene: 1 },
                TaskRole::Film,
            ]
        );
        let after: Vec<Vec<u32>> = planned(&film).into_iter().map(|task| task.after).collect();
        assert_eq!(after, [vec![], vec![0], vec![], vec![2], vec![3], vec![4], vec![3, 4, 5], vec![1, 6]]);
    }

    #[test]
    fn scenes_are_independent_until_the_film() {
        let film = film(&[24, 24, 24, 24]);
        let plan = planned(&film);
        let first = ready(&plan, 0, |_| None);
        assert_eq!(first.len(), 4, "all keyframes");
        // Run everything, always the last that is ready: the order does not matter, and all of it ends.
        let mut done = BTreeSet::new();
        while let Some(next) = ready(&plan, 0, |position| done.contains(&position).then_some(true)).pop() {
            done.insert(next);
        }
        assert_eq!(done.len(), plan.len());
        assert!(ready(&plan, 0, |position| (position < 4).then_some(false)).iter().all(|&position| position >= 4));
    }

    #[test]
    fn another_seed_makes_one_scene_anew() {
        let before = film(&[24, 96, 24]);
        let mut after = before.clone();
        after.scenes[1].seed += 1;
        let roles = changed(&after, &before);
        assert!(roles.iter().all(|role| role.scene().is_none_or(|scene| scene == 1)), "{roles:?}");
        assert_eq!(roles.len(), 1 + 3 + 1 + 1);
    }

    #[test]
    fn what_concerns_only_the_joining_keeps_the_clips() {
        let before = film(&[24, 24]);
        let mut faded = before.clone();
        faded.scenes[0].transition = Transition::Fade { frames: 6 };
        assert_eq!(changed(&faded, &before), [TaskRole::Film]);
        let mut moved = before.clone();
        moved.scenes[1].camera = Some("Zoom in".to_owned());
        assert_eq!(changed(&moved, &before), [TaskRole::Scene { scene: 1 }, TaskRole::Film]);
    }

    #[test]
    fn another_network_makes_the_scenes_and_the_film_anew() {
        let network = |digit: &str| Some(NetworkIdentity { sha256: digit.repeat(64), precision: "f32".to_owned() });
        let mut before = film(&[24, 24]);
        (before.interpolation, before.upscaling) = (Interpolation::Rife, Upscaling::RealEsrgan);
        let unnamed = before.clone();
        (before.interpolation_network, before.upscaling_network) = (network("1"), network("2"));
        let made_anew = [TaskRole::Scene { scene: 0 }, TaskRole::Scene { scene: 1 }, TaskRole::Film];
        let in_bf16 = network("2").map(|network| NetworkIdentity { precision: "bf16".to_owned(), ..network });
        for after in [
            unnamed,
            FilmRequest { interpolation_network: network("3"), ..before.clone() },
            FilmRequest { upscaling_network: network("3"), ..before.clone() },
            FilmRequest { upscaling_network: in_bf16, ..before.clone() },
            FilmRequest { interpolation_network: network("2"), upscaling_network: network("1"), ..before.clone() },
        ] {
            assert_eq!(changed(&after, &before), made_anew, "{after:?}");
        }
        assert_eq!(keys(&before), keys(&before.clone()));
    }

    #[test]
    fn a_scenes_key_without_networks_is_what_it_was() {
        // Written down by the release before networks were named: what is stored is taken over.
        let key = keys(&film(&[24])).into_iter().nth(2).unwrap();
        assert_eq!(key, "80840d83f4824084655a0d1a070fd886da00bd6956804272ad3bddf5dfa062fe");
    }

    #[test]
    fn scenes_that_networks_finish_have_the_processor_alone() {
        let alone = |film: &FilmRequest| -> Vec<bool> {
            let host = planned(film).into_iter().filter(|task| matches!(task.place, Place::Host { .. }));
            host.map(|task| task.place == Place::Host { alone: true }).collect()
        };
        let plain = film(&[24, 24]);
        let enlarged = FilmRequest { upscaling: Upscaling::RealEsrgan, ..plain.clone() };
        let same_size = FilmRequest { width: 128, height: 128, ..enlarged.clone() };
        let interpolated = FilmRequest { interpolation: Interpolation::Rife, ..plain.clone() };
        for (film, expected) in [
            (plain, [false, false, false]),
            (enlarged, [true, true, false]),
            (same_size, [false, false, false]),
            (interpolated, [true, true, false]),
        ] {
            assert_eq!(alone(&film), expected, "scenes, then the film: {film:?}");
        }
    }

    #[test]
    fn keys_do_not_name_where_an_input_lies() {
        let mut one = film(&[24]);
        one.scenes[0].init_image = Some(InputFile { key: "inputs/a".to_owned(), sha256: "ab".to_owned() });
        let mut other = one.clone();
        other.scenes[0].init_image = Some(InputFile { key: "inputs/b".to_owned(), sha256: "ab".to_owned() });
        assert_eq!(keys(&one), keys(&other));
        other.scenes[0].init_image = Some(InputFile { key: "inputs/b".to_owned(), sha256: "cd".to_owned() });
        assert_eq!(changed(&one, &other).len(), 3);
    }
}

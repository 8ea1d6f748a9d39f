//! Where a camera looks, frame by frame.

use std::f64::consts::TAU;

use super::command::CameraCommand;
use super::script::CameraScript;
use crate::domain::FrameRate;

/// What a frame shows of the scene: the part of it that fills the view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraPose {
    /// How many times larger than life; at least 1.
    pub zoom: f64,
    /// How far the middle of what is seen lies to the right of the scene's middle, in widths of the frame.
    pub x: f64,
    /// How far it lies below, in heights of the frame.
    pub y: f64,
    /// How far the camera is turned clockwise, radians.
    pub roll: f64,
}

impl CameraPose {
    /// The whole scene, upright.
    pub const WHOLE: Self = Self { zoom: 1.0, x: 0.0, y: 0.0, roll: 0.0 };
}

/// A pose for every frame of a scene. What it shows always lies within the scene, and it goes on without a jump from shot to shot.
///
/// A command that fills the whole scene goes its full way; one of several in sequence goes its part of it, so that all go at one speed. Each
/// shot begins and ends gently. A view that moves sideways must be smaller than the scene: all of the path is zoomed in by what its farthest
/// point needs, and its middle is the scene's.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraPath {
    poses: Vec<CameraPose>,
}

/// How far a command goes over a whole scene.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// Natural logarithm of the zoom.
    log_zoom: f64,
    /// Widths to the right.
    x: f64,
    /// Heights down.
    y: f64,
    /// Strength of the shaking: 1 or nothing.
    shake: f64,
}

/// Widths, or heights, that a camera goes.
const TRAVEL: f64 = 0.14;
/// Widths, or heights, that a turning camera's view goes.
const TURN: f64 = 0.18;
/// Zoom at the end of a push.
const PUSH: f64 = 1.25;
/// Zoom at the end of a zoom.
const ZOOM: f64 = 1.45;
/// Zoom of the closest point of any path; more would show the pixels.
const MAX_ZOOM_RANGE: f64 = 1.8;
/// Widths, or heights, from one end of any path to the other.
const MAX_TRAVEL_RANGE: f64 = 0.24;
/// How far a hand shakes: widths or heights, and radians.
const SHAKE: (f64, f64) = (0.008, 0.004);
/// How often a hand shakes: three swings that never meet, hertz, and their parts.
const SWINGS: [(f64, f64); 3] = [(1.3, 0.5), (2.9, 0.3), (5.3, 0.2)];

impl CameraPath {
    /// The path of a script through a scene of so many frames. The frame's shape, in pixels, says how far it may turn; the seed is that of
    /// the shaking, and the same seed shakes the same. A still script is the whole scene, at rest.
    pub fn new(script: &CameraScript, frames: u64, rate: FrameRate, width: u32, height: u32, seed: u64) -> Self {
        if script.is_still() {
            return Self { poses: vec![CameraPose::WHOLE; frames as usize] };
        }
        let shots: Vec<Reach> = script.shots().iter().map(|shot| reach(shot.commands())).collect();
        let mut raw: Vec<(Reach, f64)> =
            (0..frames).map(|frame| at(&shots, frame as f64 / frames.saturating_sub(1).max(1) as f64)).collect();
        settle(&mut raw);
        let hand = Hand::new(seed);
        let poses: Vec<CameraPose> = raw
            .iter()
            .enumerate()
            .map(|(frame, (reached, shaking))| {
                let (x, y, roll) = hand.at(rate.seconds_of(frame as u64));
                CameraPose {
                    zoom: reached.log_zoom.exp(),
                    x: reached.x + x * shaking,
                    y: reached.y + y * shaking,
                    roll: roll * shaking,
                }
            })
            .collect();
        Self { poses: within_the_scene(poses, f64::from(width) / f64::from(height.max(1))) }
    }

    /// The pose of a frame; beyond the last one, the last.
    pub fn pose(&self, frame: u64) -> CameraPose {
        let last = self.poses.len().saturating_sub(1);
        self.poses.get((frame as usize).min(last)).copied().unwrap_or(CameraPose::WHOLE)
    }

    /// Whether every frame is the scene as it is.
    pub fn is_identity(&self) -> bool {
        self.poses.iter().all(|pose| *pose == CameraPose::WHOLE)
    }
}

fn reach(commands: &[CameraCommand]) -> Reach {
    let mut sum = Reach::default();
    for command in commands {
        match command {
            CameraCommand::TruckLeft => sum.x -= TRAVEL,
            CameraCommand::TruckRight => sum.x += TRAVEL,
            CameraCommand::PanLeft => sum.x -= TURN,
            CameraCommand::PanRight => sum.x += TURN,
            CameraCommand::PedestalUp => sum.y -= TRAVEL,
            CameraCommand::PedestalDown => sum.y += TRAVEL,
            CameraCommand::TiltUp => sum.y -= TURN,
            CameraCommand::TiltDown => sum.y += TURN,
            CameraCommand::PushIn => sum.log_zoom += PUSH.ln(),
            CameraCommand::PullOut => sum.log_zoom -= PUSH.ln(),
            CameraCommand::ZoomIn => sum.log_zoom += ZOOM.ln(),
            CameraCommand::ZoomOut => sum.log_zoom -= ZOOM.ln(),
            CameraCommand::Shake => sum.shake = 1.0,
            CameraCommand::TrackingShot => {
                sum.log_zoom += PUSH.ln() / 2.0;
                sum.x += TRAVEL / 2.0;
            }
            CameraCommand::StaticShot => {}
        }
    }
    sum
}

/// How far all shots have come at a moment from 0 to 1, and how much it shakes then.
fn at(shots: &[Reach], moment: f64) -> (Reach, f64) {
    let each = 1.0 / shots.len() as f64;
    let mut sum = Reach::default();
    let mut shaking: f64 = 0.0;
    for (index, shot) in shots.iter().enumerate() {
        let part = ((moment - index as f64 * each) / each).clamp(0.0, 1.0);
        let gone = smooth(part) * each;
        sum.log_zoom += shot.log_zoom * gone;
        sum.x += shot.x * gone;
        sum.y += shot.y * gone;
        // Shaking comes and goes within the first and the last tenth of its shot.
        let begun_and_not_over = part > 0.0 && part < 1.0;
        if begun_and_not_over {
            shaking += shot.shake * smooth((part * 10.0).min(1.0)) * smooth(((1.0 - part) * 10.0).min(1.0));
        }
    }
    (sum, shaking)
}

/// From 0 to 1 with no speed at either end.
fn smooth(part: f64) -> f64 {
    part * part * (3.0 - 2.0 * part)
}

/// Brings a path into its limits: the widest view is life-size, what is too long is shortened as a whole, and its middle is the scene's.
fn settle(path: &mut [(Reach, f64)]) {
    let range = |value: fn(&Reach) -> f64, path: &[(Reach, f64)]| {
        path.iter()
            .map(|(reached, _)| value(reached))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
    };
    let (widest, closest) = range(|reached| reached.log_zoom, path);
    let (left, right) = range(|reached| reached.x, path);
    let (top, bottom) = range(|reached| reached.y, path);
    let shortened = |length: f64, most: f64| if length > most { most / length } else { 1.0 };
    let by_zoom = shortened(closest - widest, MAX_ZOOM_RANGE.ln());
    let by_x = shortened(right - left, MAX_TRAVEL_RANGE);
    let by_y = shortened(bottom - top, MAX_TRAVEL_RANGE);
    for (reached, _) in path {
        reached.log_zoom = (reached.log_zoom - widest) * by_zoom;
        reached.x = (reached.x - f64::midpoint(left, right)) * by_x;
        reached.y = (reached.y - f64::midpoint(top, bottom)) * by_y;
    }
}

/// Zooms the whole path in until every frame's view lies within the scene.
fn within_the_scene(poses: Vec<CameraPose>, aspect: f64) -> Vec<CameraPose> {
    // Half of what is seen reaches, turned by θ, (cos θ + sin θ / aspect) / 2z widths to a side, and (cos θ + sin θ · aspect) / 2z heights;
    // with the middle x widths off, there is room for 1/2 − |x|.
    let needed = |pose: &CameraPose| {
        let (sine, cosine) = (pose.roll.sin().abs(), pose.roll.cos());
        let across = (cosine + sine / aspect) / (1.0 - 2.0 * pose.x.abs());
        let down = (cosine + sine * aspect) / (1.0 - 2.0 * pose.y.abs());
        across.max(down) / pose.zoom
    };
    let base = poses.iter().map(needed).fold(1.0, f64::max);
    poses.into_iter().map(|pose| CameraPose { zoom: pose.zoom * base, ..pose }).collect()
}

/// A hand that shakes: sums of swings whose phases the seed says.
struct Hand {
    phases: [[f64; SWINGS.len()]; 3],
}

impl Hand {
    fn new(seed: u64) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014): well mixed from the first number on.
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 * TAU
        };
        Self { phases: std::array::from_fn(|_| std::array::from_fn(|_| next())) }
    }

    /// Widths to the right, heights down and radians clockwise at a time in seconds.
    fn at(&self, seconds: f64) -> (f64, f64, f64) {
        let [x, y, roll] = self.phases.map(|phases| {
            let swings = SWINGS.iter().zip(phases).map(|((hertz, part), phase)| part * (TAU * hertz * seconds + phase).sin());
            swings.sum::<f64>()
        });
        (x * SHAKE.0, y * SHAKE.0, roll * SHAKE.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: u64 = 97;
    const SIZE: (u32, u32) = (1280, 768);

    fn path(script: &str) -> CameraPath {
        CameraPath::new(&script.parse().unwrap(), FRAMES, FrameRate::FILM, SIZE.0, SIZE.1, 42)
    }

    fn poses(script: &str) -> Vec<CameraPose> {
        (0..FRAMES).map(|frame| path(script).pose(frame)).collect()
    }

    #[test]
    fn a_camera_that_stands_sees_the_whole() {
        for script in ["", "Static shot", "[Static][固定]"] {
            assert!(path(script).is_identity());
        }
        assert!(!path("Shake").is_identity());
        assert!(!path("[Static][Pan left]").is_identity());
    }

    #[test]
    fn each_command_goes_its_way() {
        for (script, zoom, x, y) in [
            ("Truck left", 0, -1, 0),
            ("Truck right", 0, 1, 0),
            ("Pan left", 0, -1, 0),
            ("Pan right", 0, 1, 0),
            ("Push in", 1, 0, 0),
            ("Pull out", -1, 0, 0),
            ("Pedestal up", 0, 0, -1),
            ("Pedestal down", 0, 0, 1),
            ("Tilt up", 0, 0, -1),
            ("Tilt down", 0, 0, 1),
            ("Zoom in", 1, 0, 0),
            ("Zoom out", -1, 0, 0),
            ("Tracking shot", 1, 1, 0),
            ("Pan left, Tilt up, Zoom in", 1, -1, -1),
        ] {
            let poses = poses(script);
            for pair in poses.windows(2) {
                for (before, after, sign) in
                    [(pair[0].zoom, pair[1].zoom, zoom), (pair[0].x, pair[1].x, x), (pair[0].y, pair[1].y, y)]
                {
                    let went = after - before;
                    assert!(if sign == 0 { went.abs() < 1e-12 } else { went * f64::from(sign) > 0.0 }, "{script}: {pair:?}");
                }
            }
            assert!(poses.iter().all(|pose| pose.roll == 0.0));
        }
    }

    #[test]
    fn what_is_seen_lies_within_and_nothing_jumps() {
        let all: Vec<&str> = CameraCommand::ALL.map(CameraCommand::name).to_vec();
        let mut scripts: Vec<String> = all.iter().map(ToString::to_string).collect();
        scripts.extend(all.iter().flat_map(|a| all.iter().map(move |b| format!("[{a}][{b}, Shake]"))));
        scripts.push("[Zoom in][Zoom in][Zoom in][Pan left][Pan left][Pan left][Tilt up]".to_owned());
        scripts.push("[Pan left, Truck left, Tilt up][Pan left, Zoom in]".to_owned());
        for script in scripts {
            let poses = poses(&script);
            let aspect = f64::from(SIZE.0) / f64::from(SIZE.1);
            for pose in &poses {
                let half = 0.5 / pose.zoom;
                let (sine, cosine) = (pose.roll.sin().abs(), pose.roll.cos());
                assert!(pose.x.abs() + half * (cosine + sine / aspect) <= 0.5 + 1e-9, "{script}: {pose:?}");
                assert!(pose.y.abs() + half * (cosine + sine * aspect) <= 0.5 + 1e-9, "{script}: {pose:?}");
                assert!((1.0..3.0).contains(&pose.zoom), "{script}: {pose:?}");
            }
            for pair in poses.windows(2) {
                let jump =
                    (pair[0].x - pair[1].x).abs().max((pair[0].y - pair[1].y).abs()).max((pair[0].zoom - pair[1].zoom).abs());
                // 0.24 widths in 97 frames, half as fast again in the middle, and a hand on top.
                assert!(jump < 0.02, "{script}: {pair:?}");
            }
        }
    }

    #[test]
    fn shaking_is_the_seeds_own_and_ends_where_it_began() {
        let script: CameraScript = "Shake".parse().unwrap();
        let shaken = |seed| CameraPath::new(&script, FRAMES, FrameRate::FILM, SIZE.0, SIZE.1, seed);
        assert_eq!(shaken(1), shaken(1));
        assert_ne!(shaken(1), shaken(2));
        let path = shaken(1);
        for frame in [0, FRAMES - 1] {
            let pose = path.pose(frame);
            assert_eq!((pose.x, pose.y, pose.roll), (0.0, 0.0, 0.0));
        }
        assert!((0..FRAMES).any(|frame| path.pose(frame).roll.abs() > 0.001));
        assert_eq!(path.pose(FRAMES + 5), path.pose(FRAMES - 1));
    }

    #[test]
    fn shots_in_sequence_share_the_scene() {
        let poses = poses("[Push in][Pull out]");
        let zooms: Vec<f64> = poses.iter().map(|pose| pose.zoom).collect();
        assert!((zooms[0] - 1.0).abs() < 1e-12 && (zooms[96] - 1.0).abs() < 1e-12);
        assert!((zooms[48] - PUSH.sqrt()).abs() < 1e-9);
    }
}

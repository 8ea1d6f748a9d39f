//! Every sampler against diffusers': timesteps, sigmas, and each step.

#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[expect(dead_code, reason = "devices and checkpoints are not needed here")]
mod support;

use framewright_engine::latent::Latent;
use framewright_engine::noise::Generator;
use framewright_engine::samplers::{Sampler, SchedulerConfig};
use serde_json::Value;

/// What the issue asks of sampler steps.
const TOLERANCE: f64 = 1e-5;
/// Ancestral noise on a zero-terminal-SNR schedule: from σ = 4096, the f32 difference `√(σ² − σ_up²)` of two nearly equal numbers has
/// few digits left, and one rounding of torch's square root (which is not correctly rounded) moves the step by 2⁻¹² · derivative.
const ANCESTRAL_ZERO_SNR_TOLERANCE: f64 = 1e-4;

fn latent(values: &[f32]) -> Latent {
    Latent::from_channels_first(1, 4, 2, 2, values)
}

fn range(case: &Value, key: &str) -> std::ops::Range<usize> {
    let end = |index: usize| case[key][index].as_u64().unwrap() as usize;
    end(0)..end(1)
}

/// The checkpoint's file with the case's keys put over it, then the sampler by name.
fn configured(reference: &Value, case: &Value, sampler: &str) -> SchedulerConfig {
    let mut config = reference["base_config"].as_object().unwrap().clone();
    config.extend(case["config"].as_object().unwrap().clone());
    let sampler = sampler.strip_prefix("svd_").unwrap_or(sampler);
    let name = match case["sigma_mode"].as_str().unwrap() {
        "plain" => sampler.to_owned(),
        mode => format!("{sampler}_{mode}"),
    };
    SchedulerConfig::from_json(&Value::Object(config).to_string()).unwrap().with_sampler(&name).unwrap()
}

fn begun(reference: &Value, case: &Value, sampler: &str) -> (Box<dyn Sampler>, Latent) {
    let strength = case["strength"].as_f64().map(|strength| strength as f32);
    let steps = case["steps"].as_u64().unwrap() as usize;
    let run = configured(reference, case, sampler).sampler(steps, strength).unwrap();
    let initial = latent(&support::input("input.initial", 16));
    let start = match strength {
        None => initial.map(|value| value * run.initial_noise_scale()),
        Some(_) => run.add_noise(&latent(&support::input("input.clean", 16)), &initial),
    };
    (run, start)
}

fn generator(reference: &Value) -> Generator {
    Generator::new(reference["seed"].as_u64().unwrap_or_default())
}

/// All cases of one sampler; gives how many there were.
fn check(sampler: &str) -> usize {
    let reference = support::json(format!("sampler/{sampler}.json"));
    let arrays = support::arrays(format!("sampler/{sampler}.safetensors"));
    let row = |name: &str, index: usize| &arrays[name].values[index * 16..(index + 1) * 16];
    let cases = reference["cases"].as_array().unwrap();
    for (number, case) in cases.iter().enumerate() {
        let what = |detail: &str| format!("{sampler} case {number} ({case}): {detail}");
        let (mut run, start) = begun(&reference, case, sampler);
        support::assert_close(
            &what("timesteps"),
            run.timesteps(),
            &arrays["timesteps"].values[range(case, "timesteps")],
            TOLERANCE,
        );
        if let Some(sigmas) = arrays.get("sigmas") {
            support::assert_close(&what("sigmas"), run.sigmas(), &sigmas.values[range(case, "sigmas")], TOLERANCE);
        }
        let scale = case["init_noise_sigma"].as_f64().unwrap();
        assert!((f64::from(run.initial_noise_scale()) / scale - 1.0).abs() <= TOLERANCE, "{}", what("initial scale"));
        assert_eq!(run.evaluations() as u64, case["evaluations"].as_u64().unwrap(), "{}", what("evaluations"));
        support::assert_close(&what("start"), &start.to_channels_first(), row("start", number), TOLERANCE);

        let ill_conditioned = sampler == "euler_ancestral" && case["config"]["rescale_betas_zero_snr"] == true;
        let tolerance = if ill_conditioned { ANCESTRAL_ZERO_SNR_TOLERANCE } else { TOLERANCE };
        let samples = range(case, "samples");
        let mut generator = generator(&reference);
        let mut sample = start;
        for evaluation in 0..run.evaluations() {
            if evaluation == 1 || run.evaluations() == 1 {
                let scaled = run.model_input(&sample).to_channels_first();
                support::assert_close(&what("model input"), &scaled, row("scaled", number), tolerance);
            }
            let output = latent(&support::input(&format!("input.output.{evaluation}"), 16));
            sample = run.step(&output, &sample, &mut generator).unwrap();
            let kept = if samples.len() == 1 { evaluation + 1 == run.evaluations() } else { true };
            if kept {
                let index = if samples.len() == 1 { samples.start } else { samples.start + evaluation };
                let step = format!("sample after evaluation {evaluation}");
                support::assert_close(&what(&step), &sample.to_channels_first(), row("samples", index), tolerance);
            }
        }
    }
    cases.len()
}

macro_rules! goldens {
    ($($sampler:ident)*) => {
        $(#[test]
        fn $sampler() {
            assert!(check(stringify!($sampler)) > 0);
        })*

        #[test]
        fn every_golden_has_its_test() {
            let mut tested = vec![$(stringify!($sampler)),*];
            tested.sort_unstable();
            assert_eq!(support::names("sampler"), tested);
        }
    };
}

goldens! { ddim dpmpp_2m dpmpp_2m_sde euler euler_ancestral heun lcm svd_euler unipc }

#[test]
fn a_run_restored_after_any_evaluation_ends_in_the_same_bits() {
    for sampler in SchedulerConfig::names() {
        for strength in [None, Some(0.6)] {
            let config = SchedulerConfig::from_json("{}").unwrap().with_sampler(&sampler).unwrap();
            let new = || config.sampler(6, strength).unwrap();
            let step = |run: &mut Box<dyn Sampler>, sample: &Latent, generator: &mut Generator| {
                let output = latent(&support::input(&format!("input.output.{}", run.done()), 16));
                run.step(&output, sample, generator).unwrap()
            };
            let start = latent(&support::input("input.initial", 16));

            let (mut run, mut sample, mut generator) = (new(), start.clone(), Generator::new(9));
            let mut saved = Vec::new();
            while run.done() < run.evaluations() {
                saved.push((run.state(), sample.clone(), generator.state()));
                sample = step(&mut run, &sample, &mut generator);
            }
            for (index, (state, at, drawn)) in saved.iter().enumerate() {
                let (mut again, mut resumed) = (new(), at.clone());
                again.restore(state).unwrap();
                assert_eq!(again.done(), index);
                assert_eq!(again.state(), *state);
                let mut generator = Generator::from_state(drawn).unwrap();
                while again.done() < again.evaluations() {
                    resumed = step(&mut again, &resumed, &mut generator);
                }
                assert_eq!(resumed, sample, "{sampler} from {index}");
                assert_eq!(again.predicted(), run.predicted());
            }
        }
    }
}

#[test]
fn states_of_other_runs_and_broken_ones_are_refused() {
    let config = SchedulerConfig::from_json("{}").unwrap();
    let zeros = Latent::zeros(1, 2, 2, 4);
    for name in SchedulerConfig::names() {
        let chosen = config.with_sampler(&name).unwrap();
        let mut run = chosen.sampler(5, None).unwrap();
        for _ in 0..3 {
            run.step(&zeros, &zeros, &mut Generator::new(0)).unwrap();
        }
        let state = run.state();
        for length in 0..state.len() {
            assert!(chosen.sampler(5, None).unwrap().restore(&state[..length]).is_err(), "{name}: {length} bytes");
        }
        assert!(chosen.sampler(5, None).unwrap().restore(&[&state[..], &[0]].concat()).is_err());
        assert!(chosen.sampler(6, None).unwrap().restore(&state).is_err(), "{name}: other steps");
        assert!(chosen.sampler(5, Some(0.6)).unwrap().restore(&state).is_err(), "{name}: other strength");
        for position in 0..state.len() {
            // Whatever one byte says instead, the sampler answers, and steps or refuses to.
            let mut changed = state.clone();
            changed[position] ^= 0xff;
            let mut other = chosen.sampler(5, None).unwrap();
            if other.restore(&changed).is_ok() {
                let _ = other.step(&zeros, &zeros, &mut Generator::new(0));
            }
        }
    }
}

#[test]
fn a_finished_run_and_another_shape_are_errors() {
    for name in SchedulerConfig::names() {
        let mut run = SchedulerConfig::from_json("{}").unwrap().with_sampler(&name).unwrap().sampler(1, None).unwrap();
        let (sample, other) = (Latent::zeros(1, 2, 2, 4), Latent::zeros(1, 2, 3, 4));
        assert!(run.step(&other, &sample, &mut Generator::new(0)).is_err(), "{name}");
        assert_eq!(run.done(), 0);
        assert!(run.step(&sample, &sample, &mut Generator::new(0)).is_ok(), "{name}");
        assert!(run.step(&sample, &sample, &mut Generator::new(0)).is_err(), "{name}");
        assert!(run.timestep().is_finite());
    }
}

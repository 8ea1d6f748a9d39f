//! What a configuration makes of published and of hostile files.

use super::*;

const PUBLISHED: &str = r#"{"_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "clip_sample": false, "interpolation_type": "linear", "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": false, "skip_prk_steps": true,
    "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": null, "use_karras_sigmas": false}"#;

fn published() -> SchedulerConfig {
    SchedulerConfig::from_json(PUBLISHED).unwrap()
}

#[track_caller]
fn close(value: f32, expected: f32) {
    assert!((value / expected - 1.0).abs() < 1e-5, "{value} for {expected}");
}

#[test]
fn sdxls_euler() {
    for (steps, timestep, sigma, scale) in [
        (30, 958.0, 11.476_85, 11.520_33),
        (20, 951.0, 11.028_34, 11.073_58),
        (25, 961.0, 11.676_05, 11.718_79),
        (50, 981.0, 13.120_42, 13.158_47),
    ] {
        let sampler = published().sampler(steps, None).unwrap();
        assert_eq!(sampler.evaluations(), steps);
        close(sampler.timestep(), timestep);
        close(sampler.sigmas()[0], sigma);
        close(sampler.initial_noise_scale(), scale);
    }
    let sampler = published().sampler(30, None).unwrap();
    for (sigma, expected) in sampler.sigmas()[28..30].iter().zip([0.182_17, 0.041_31]) {
        assert!((sigma - expected).abs() < 1e-5);
    }
    assert_eq!(sampler.sigmas().len(), 31);
}

#[test]
fn trailing_levels() {
    let config = SchedulerConfig::from_json(r#"{"timestep_spacing": "trailing"}"#).unwrap();
    let sampler = config.sampler(4, None).unwrap();
    for (sigma, expected) in sampler.sigmas().iter().zip([14.614_65, 4.081_73, 1.612_89, 0.693_21]) {
        close(*sigma, expected);
    }
    close(sampler.initial_noise_scale(), 14.614_65);
}

#[test]
fn an_empty_file_means_sdxls_published_values() {
    let empty = SchedulerConfig::from_json("{}").unwrap();
    assert_eq!(format!("{empty:?}"), format!("{:?}", published()));
}

#[test]
fn the_requests_sampler_keeps_the_checkpoints_settings() {
    let trailing = SchedulerConfig::from_json(
        r#"{"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing", "prediction_type": "v_prediction"}"#,
    )
    .unwrap();
    assert_eq!(trailing.kind(), SamplerKind::EulerAncestral);
    let config = trailing.with_sampler("dpmpp_2m").unwrap();
    assert_eq!((config.kind(), config.prediction, config.spacing), (SamplerKind::Dpmpp2m, Prediction::V, Spacing::Trailing));
    assert_eq!(config.sampler(4, None).unwrap().timesteps(), [999.0, 749.0, 499.0, 249.0]);

    let karras = published().with_sampler("dpmpp_2m_karras").unwrap().sampler(25, None).unwrap();
    close(karras.sigmas()[0], 14.614_65);
    close(karras.sigmas()[1], 12.283_04);
}

#[test]
fn a_suffix_changes_the_sigma_spacing_alone() {
    let karras = SchedulerConfig::from_json(r#"{"use_karras_sigmas": true}"#).unwrap();
    assert_eq!(karras.with_sampler("heun").unwrap().sigma_spacing, SigmaSpacing::Karras);
    assert_eq!(karras.with_sampler("heun_exponential").unwrap().sigma_spacing, SigmaSpacing::Exponential);
    assert_eq!(published().with_sampler("heun").unwrap().sigma_spacing, SigmaSpacing::Plain);
}

#[test]
fn svds_continuous_timesteps() {
    let config = SchedulerConfig::from_json(
        r#"{"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction", "sigma_min": 0.002, "sigma_max": 700.0,
            "timestep_type": "continuous", "use_karras_sigmas": true, "timestep_spacing": "leading"}"#,
    )
    .unwrap();
    let sampler = config.sampler(25, None).unwrap();
    for (sigma, expected) in sampler.sigmas().iter().zip([700.0, 545.729_2, 421.569_1, 322.453_7]) {
        close(*sigma, expected);
    }
    close(sampler.timestep(), 1.637_77);
    close(sampler.timesteps()[24], -1.553_652);
    close(sampler.initial_noise_scale(), 700.000_7);
}

#[test]
fn latent_consistency_timesteps() {
    let lcm = published().with_sampler("lcm").unwrap();
    assert_eq!(lcm.sampler(4, None).unwrap().timesteps(), [999.0, 759.0, 499.0, 259.0]);
    assert_eq!(lcm.sampler(8, None).unwrap().timesteps(), [999.0, 879.0, 759.0, 639.0, 499.0, 379.0, 259.0, 139.0]);
    assert!(lcm.sampler(51, None).unwrap_err().to_string().starts_with("num_inference_steps: 51 is outside 1 to 50"));
}

#[test]
fn strength_counts_decimal_steps() {
    for (steps, strength, evaluations) in [(10, 0.7, 7), (20, 0.3, 6), (10, 0.6, 6), (5, 0.6, 3), (30, 1.0, 30), (10, 0.1, 1)] {
        assert_eq!(published().sampler(steps, Some(strength)).unwrap().evaluations(), evaluations, "{steps} {strength}");
        let heun = published().with_sampler("heun").unwrap().sampler(steps, Some(strength)).unwrap();
        assert_eq!(heun.evaluations(), 2 * evaluations - 1);
    }
    for (steps, strength) in [(10, 0.05), (10, 0.0), (10, -1.0), (10, 1.01), (10, f32::NAN)] {
        assert!(published().sampler(steps, Some(strength)).unwrap_err().to_string().starts_with("strength: "), "{strength}");
    }
}

#[test]
fn every_sampler_does_one_step_and_as_many_as_it_claims() {
    for name in SchedulerConfig::names() {
        for spacing in ["leading", "trailing", "linspace"] {
            let text = format!(r#"{{"timestep_spacing": "{spacing}"}}"#);
            let config = SchedulerConfig::from_json(&text).unwrap().with_sampler(&name).unwrap();
            for steps in [1, 2, 15, config.most_steps() - 1] {
                let sampler = config.sampler(steps, None).unwrap();
                assert!(sampler.timesteps().iter().all(|timestep| timestep.is_finite()), "{name} {spacing} {steps}");
                assert!(sampler.sigmas().iter().all(|sigma| sigma.is_finite()), "{name} {spacing} {steps}");
            }
            for steps in [0, config.most_steps() + 1, usize::MAX] {
                let error = config.sampler(steps, None).unwrap_err().to_string();
                assert!(error.starts_with("num_inference_steps: "), "{error}");
            }
        }
    }
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    for (text, named) in [
        (r#"{"_class_name": "PNDMScheduler"}"#, "PNDMScheduler"),
        (r#"{"_class_name": "DPMSolverSinglestepScheduler"}"#, "DPMSolverSinglestepScheduler"),
        (r#"{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}"#, "dpmsolver"),
        (r#"{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}"#, "solver_order 3"),
        (r#"{"beta_schedule": "squaredcos_cap_v2"}"#, "squaredcos_cap_v2"),
        (r#"{"trained_betas": [0.1]}"#, "trained_betas"),
        (r#"{"prediction_type": "flow_prediction"}"#, "flow_prediction"),
        (r#"{"timestep_spacing": "sideways"}"#, "sideways"),
        (r#"{"thresholding": true}"#, "thresholding"),
        (r#"{"use_beta_sigmas": true}"#, "use_beta_sigmas"),
        (r#"{"num_train_timesteps": 1000000000000}"#, "num_train_timesteps"),
        (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps"),
        (r#"{"beta_start": 0}"#, "beta_start"),
        (r#"{"steps_offset": 1000}"#, "steps_offset"),
        (r#"{"sigma_min": -1, "use_karras_sigmas": true}"#, "sigma_min"),
        ("[1", "scheduler_config.json"),
    ] {
        let error = SchedulerConfig::from_json(text).unwrap_err().to_string();
        assert!(error.starts_with("scheduler: ") && error.contains(named), "{text}: {error}");
    }
    let error = published().with_sampler("eular").unwrap_err().to_string();
    assert!(error.starts_with("sampler: there is no `eular`; one of: euler, euler_karras,"), "{error}");
}

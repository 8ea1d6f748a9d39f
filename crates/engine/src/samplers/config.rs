//! `scheduler/scheduler_config.json`, and the sampler a request names.

use super::Sampler;
use super::betas::{BetaSchedule, Betas, linspace};
use super::ddim::Ddim;
use super::dpmpp_2m::Dpmpp2m;
use super::dpmpp_2m_sde::Dpmpp2mSde;
use super::euler::Euler;
use super::euler_ancestral::EulerAncestral;
use super::heun::Heun;
use super::kind::{self, SamplerKind, SigmaSpacing};
use super::lcm::Lcm;
use super::multistep::{Correction, OrderPolicy, TwoStep};
use super::run::{Prediction, Run};
use super::scheduler_file::SchedulerFile;
use super::sigmas::{SigmaTable, respaced};
use super::spacing::{self, Spacing};
use super::unipc::{History, Scaling, UniPc};
use crate::error::{Error, Result, shortened};

/// More training timesteps than any model has; a file that claims more is refused before a table is made.
const MOST_TRAINED_TIMESTEPS: usize = 100_000;

/// Where σ ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FinalSigma {
    Zero,
    Least,
}

/// How σ is found between timesteps (Euler).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interpolation {
    Linear,
    LogLinear,
}

/// A checkpoint's scheduler configuration; keys that it lacks take SDXL's published values.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub struct SchedulerConfig {
    kind: SamplerKind,
    betas: Betas,
    spacing: Spacing,
    steps_offset: usize,
    prediction: Prediction,
    sigma_spacing: SigmaSpacing,
    sigma_min: Option<f64>,
    sigma_max: Option<f64>,
    interpolation: Interpolation,
    final_sigma: FinalSigma,
    /// Timesteps given to the model are ¼·ln σ (Euler with v prediction).
    continuous: bool,
    set_alpha_to_one: bool,
    clip: Option<f32>,
    solver_order: usize,
    correction: Correction,
    scaling: Scaling,
    lower_order_final: bool,
    euler_at_final: bool,
    lambda_min: f64,
    original_steps: usize,
    timestep_scaling: f32,
}

fn refused(key: &str, value: impl std::fmt::Display, known: &str) -> Error {
    Error::checkpoint("scheduler", format!("{key} {} is not supported ({known})", shortened(&value.to_string())))
}

/// The value of `key` by name, `default` where it is absent.
fn choose<T: Copy>(key: &str, value: Option<&str>, default: T, known: &[(&str, T)]) -> Result<T> {
    let Some(value) = value else { return Ok(default) };
    known.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        refused(key, value, &format!("known: {}", names.join(", ")))
    })
}

impl SchedulerConfig {
    /// Reads the JSON text of a `scheduler_config.json`. Unknown prediction types, spacings and classes are refused by name.
    pub fn from_json(text: &str) -> Result<Self> {
        let file = SchedulerFile::parse(text)
            .map_err(|error| Error::checkpoint("scheduler", format!("scheduler_config.json: {error}")))?;
        for (key, asked) in [
            ("thresholding", file.thresholding),
            ("use_beta_sigmas", file.use_beta_sigmas),
            ("use_flow_sigmas", file.use_flow_sigmas),
            ("use_lu_lambdas", file.use_lu_lambdas),
            ("predict_x0", file.predict_x0.map(|predicts| !predicts)),
        ] {
            if asked == Some(true) {
                return Err(refused(key, key != "predict_x0", "the opposite is"));
            }
        }
        if file.trained_betas.is_some() {
            return Err(refused("trained_betas", "as a list", "beta_start, beta_end and beta_schedule are"));
        }
        if let Some(variance) = &file.variance_type {
            return Err(refused("variance_type", variance, "null is"));
        }
        let sigma_spacing = match (file.use_karras_sigmas.unwrap_or(false), file.use_exponential_sigmas.unwrap_or(false)) {
            (false, false) => SigmaSpacing::Plain,
            (true, false) => SigmaSpacing::Karras,
            (false, true) => SigmaSpacing::Exponential,
            (true, true) => return Err(refused("use_karras_sigmas", "with use_exponential_sigmas", "one of them is")),
        };
        let config = Self {
            kind: kind_of(&file)?,
            betas: betas_of(&file)?,
            spacing: choose(
                "timestep_spacing",
                file.timestep_spacing.as_deref(),
                Spacing::Leading,
                &[("leading", Spacing::Leading), ("trailing", Spacing::Trailing), ("linspace", Spacing::Linspace)],
            )?,
            steps_offset: file.steps_offset.unwrap_or(1),
            prediction: choose(
                "prediction_type",
                file.prediction_type.as_deref(),
                Prediction::Epsilon,
                &[("epsilon", Prediction::Epsilon), ("v_prediction", Prediction::V), ("sample", Prediction::Sample)],
            )?,
            sigma_spacing,
            sigma_min: file.sigma_min,
            sigma_max: file.sigma_max,
            interpolation: choose(
                "interpolation_type",
                file.interpolation_type.as_deref(),
                Interpolation::Linear,
                &[("linear", Interpolation::Linear), ("log_linear", Interpolation::LogLinear)],
            )?,
            final_sigma: choose(
                "final_sigmas_type",
                file.final_sigmas_type.as_deref(),
                FinalSigma::Zero,
                &[("zero", FinalSigma::Zero), ("sigma_min", FinalSigma::Least)],
            )?,
            continuous: choose(
                "timestep_type",
                file.timestep_type.as_deref(),
                false,
                &[("discrete", false), ("continuous", true)],
            )?,
            set_alpha_to_one: file.set_alpha_to_one.unwrap_or(false),
            clip: file.clip_sample.unwrap_or(false).then_some(file.clip_sample_range.unwrap_or(1.0)),
            solver_order: file.solver_order.unwrap_or(2),
            // One key serves two solvers; each reads the other's values as its own default, as diffusers does.
            correction: choose(
                "solver_type",
                file.solver_type.as_deref(),
                Correction::Midpoint,
                &[
                    ("midpoint", Correction::Midpoint),
                    ("heun", Correction::Heun),
                    ("logrho", Correction::Midpoint),
                    ("bh1", Correction::Midpoint),
                    ("bh2", Correction::Midpoint),
                ],
            )?,
            scaling: if file.solver_type.as_deref() == Some("bh1") { Scaling::Bh1 } else { Scaling::Bh2 },
            lower_order_final: file.lower_order_final.unwrap_or(true),
            euler_at_final: file.euler_at_final.unwrap_or(false),
            lambda_min: file.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY),
            original_steps: file.original_inference_steps.unwrap_or(50),
            timestep_scaling: file.timestep_scaling.unwrap_or(10.0),
        };
        config.validate()?;
        Ok(config)
    }

    /// The checkpoint's own sampler with the request's choice (`euler`, `dpmpp_2m_karras`, …) put over it; betas, spacing, offset
    /// and prediction type stay the checkpoint's.
    pub fn with_sampler(&self, name: &str) -> Result<Self> {
        let (kind, sigma_spacing) = kind::parse(name).ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            Error::request("sampler", format!("there is no `{shown}`; one of: {}", Self::names().join(", ")))
        })?;
        let config = Self { kind, sigma_spacing: sigma_spacing.unwrap_or(self.sigma_spacing), ..self.clone() };
        config.validate().map_err(|error| match error {
            Error::Checkpoint { reason, .. } => Error::request("sampler", format!("{}: {reason}", kind.name())),
            other => other,
        })?;
        Ok(config)
    }

    /// A sampler for a run of `steps` steps. `strength` below 1 starts part of the way (picture to picture).
    pub fn sampler(&self, steps: usize, strength: Option<f32>) -> Result<Box<dyn Sampler>> {
        let most = self.most_steps();
        if !(1..=most).contains(&steps) {
            let reason = format!("{steps} is outside 1 to {most}, which is what {} can do with this model", self.kind.name());
            return Err(Error::request("num_inference_steps", reason));
        }
        let begin = skipped_steps(steps, strength)? * self.kind.order();
        Ok(match self.kind {
            SamplerKind::Euler => {
                let (run, prediction) = (self.exploding_run(steps, begin)?, self.prediction);
                Box::new(Euler { run, prediction, leading: self.spacing == Spacing::Leading })
            }
            SamplerKind::EulerAncestral => {
                let (run, prediction) = (self.exploding_run(steps, begin)?, self.prediction);
                Box::new(EulerAncestral { run, prediction, leading: self.spacing == Spacing::Leading })
            }
            SamplerKind::Heun => Box::new(Heun {
                run: self.exploding_run(steps, begin)?,
                prediction: self.prediction,
                leading: self.spacing == Spacing::Leading,
                clip: self.clip,
                first_half: None,
            }),
            SamplerKind::Ddim => Box::new(self.ddim(steps, begin)?),
            SamplerKind::Dpmpp2m => Box::new(Dpmpp2m { solver: self.two_step(steps, begin)? }),
            SamplerKind::Dpmpp2mSde => Box::new(Dpmpp2mSde { solver: self.two_step(steps, begin)? }),
            SamplerKind::UniPc => Box::new(UniPc {
                run: self.multistep_run(steps, begin)?,
                prediction: self.prediction,
                scaling: self.scaling,
                highest_order: self.solver_order,
                lower_order_final: self.lower_order_final,
                history: History::default(),
            }),
            SamplerKind::Lcm => Box::new(self.lcm(steps, begin)?),
        })
    }

    /// Every name that [`Self::with_sampler`] takes.
    pub fn names() -> Vec<String> {
        kind::names()
    }

    /// The sampler that this configuration makes.
    pub fn kind(&self) -> SamplerKind {
        self.kind
    }

    /// The highest number of steps that [`Self::sampler`] takes.
    pub fn most_steps(&self) -> usize {
        let trained = self.betas.count;
        match self.kind {
            SamplerKind::Lcm => self.original_steps,
            // Their grid has one point more.
            kind if kind.is_multistep() => self.last_timestep() - 1,
            _ => trained,
        }
    }

    /// Whether the values go together, for this kind of sampler.
    fn validate(&self) -> Result<()> {
        let kind = self.kind;
        if kind == SamplerKind::EulerAncestral && self.prediction == Prediction::Sample {
            return Err(refused("prediction_type", "sample", "not with euler_ancestral"));
        }
        if kind.is_multistep() && !(1..=2).contains(&self.solver_order) {
            return Err(refused("solver_order", self.solver_order, "known: 1, 2"));
        }
        if kind == SamplerKind::UniPc && !self.lower_order_final && self.final_sigma == FinalSigma::Zero {
            return Err(refused("lower_order_final", "false", "true is, or final_sigmas_type sigma_min"));
        }
        if matches!(kind, SamplerKind::Ddim | SamplerKind::Lcm)
            && self.betas.zero_terminal_snr
            && self.prediction == Prediction::Epsilon
        {
            return Err(refused("rescale_betas_zero_snr", "with epsilon prediction", "v_prediction and sample are"));
        }
        if self.steps_offset >= self.betas.count {
            return Err(refused("steps_offset", self.steps_offset, "below num_train_timesteps"));
        }
        if kind == SamplerKind::Lcm && !(1..=self.betas.count).contains(&self.original_steps) {
            return Err(refused("original_inference_steps", self.original_steps, "1 to num_train_timesteps"));
        }
        let positive = |sigma: Option<f64>| sigma.is_none_or(|sigma| sigma.is_finite() && sigma > 0.0);
        if !positive(self.sigma_min) || !positive(self.sigma_max) {
            return Err(refused("sigma_min, sigma_max", "not positive", "null and positive numbers are"));
        }
        if self.clip.is_some_and(|range| !(range.is_finite() && range > 0.0)) {
            return Err(refused("clip_sample_range", "not positive", "positive numbers are"));
        }
        Ok(())
    }

    /// σ of all training timesteps. Heun's method knows no zero-terminal-SNR rescale.
    fn sigma_table(&self) -> SigmaTable {
        let rescale = self.betas.zero_terminal_snr && self.kind != SamplerKind::Heun;
        SigmaTable::new(&self.betas.alphas_cumprod(rescale, true))
    }

    /// The ends of respaced sigmas: the file's, else those given.
    fn sigma_ends(&self, greatest: f64, least: f64) -> (f64, f64) {
        (self.sigma_max.unwrap_or(greatest), self.sigma_min.unwrap_or(least))
    }

    /// The schedule of Euler's family: σ at each timestep, respaced between the first and the last of them.
    fn exploding_run(&self, steps: usize, begin: usize) -> Result<Run> {
        let table = self.sigma_table();
        let mut timesteps = spacing::timesteps(self.spacing, steps, self.betas.count, self.steps_offset);
        let plain_euler = self.kind == SamplerKind::Euler;
        let mut sigmas: Vec<f64> = if plain_euler && self.interpolation == Interpolation::LogLinear {
            let (greatest, least) = (libm::logf(table.greatest()), libm::logf(table.least()));
            linspace(greatest, least, steps + 1).into_iter().map(|level| f64::from(libm::expf(level))).collect()
        } else {
            timesteps.iter().map(|timestep| table.at(f64::from(*timestep as f32))).collect()
        };
        if self.kind.has_sigma_spacing() && self.sigma_spacing != SigmaSpacing::Plain {
            let ends = (sigmas.first().copied().unwrap_or_default(), sigmas.last().copied().unwrap_or_default());
            let (greatest, least) = self.sigma_ends(ends.0, ends.1);
            sigmas = respaced(self.sigma_spacing, greatest, least, steps);
            timesteps = sigmas.iter().map(|sigma| table.timestep_of(*sigma)).collect();
        }
        sigmas.push(if plain_euler { self.last_sigma(&table) } else { 0.0 });
        let mut timesteps: Vec<f32> = timesteps.into_iter().map(|timestep| timestep as f32).collect();
        let mut sigmas: Vec<f32> = sigmas.into_iter().map(|sigma| sigma as f32).collect();
        if plain_euler && self.continuous && self.prediction == Prediction::V {
            timesteps = sigmas.iter().take(steps).map(|sigma| 0.25 * libm::logf(*sigma)).collect();
        }
        if self.kind == SamplerKind::Heun {
            timesteps = doubled(&timesteps, 1..timesteps.len());
            sigmas = doubled(&sigmas, 1..sigmas.len() - 1);
        }
        started(Run::new(timesteps, sigmas, begin))
    }

    /// The schedule of the multistep solvers: whole timesteps; respaced sigmas span the whole table.
    fn multistep_run(&self, steps: usize, begin: usize) -> Result<Run> {
        let table = self.sigma_table();
        let trained = self.betas.count;
        let (mut timesteps, mut sigmas);
        if self.sigma_spacing == SigmaSpacing::Plain {
            timesteps = spacing::multistep_timesteps(self.spacing, steps, trained, self.last_timestep(), self.steps_offset);
            sigmas = timesteps.iter().map(|timestep| table.at(*timestep)).collect::<Vec<_>>();
            sigmas.push(self.last_sigma(&table));
        } else {
            let (greatest, least) = self.sigma_ends(f64::from(table.greatest()), f64::from(table.least()));
            sigmas = respaced(self.sigma_spacing, greatest, least, steps);
            timesteps = sigmas.iter().map(|sigma| table.timestep_of(*sigma)).collect();
            for timestep in &mut timesteps {
                *timestep = match self.sigma_spacing {
                    SigmaSpacing::Karras => timestep.round_ties_even(),
                    // diffusers cuts these off where it rounds Karras'.
                    _ => timestep.trunc(),
                };
            }
            sigmas.push(match (self.kind, self.final_sigma) {
                (SamplerKind::UniPc, FinalSigma::Least) => sigmas.last().copied().unwrap_or_default(),
                _ => self.last_sigma(&table),
            });
        }
        let timesteps = timesteps.into_iter().map(|timestep| timestep as f32).collect();
        let sigmas = sigmas.into_iter().map(|sigma| sigma as f32).collect();
        started(Run::new(timesteps, sigmas, begin))
    }

    fn two_step(&self, steps: usize, begin: usize) -> Result<TwoStep> {
        let policy = OrderPolicy {
            highest: self.solver_order,
            lower_order_final: self.lower_order_final,
            first_order_last: self.euler_at_final || self.final_sigma == FinalSigma::Zero,
            correction: self.correction,
        };
        Ok(TwoStep { run: self.multistep_run(steps, begin)?, prediction: self.prediction, policy })
    }

    fn ddim(&self, steps: usize, begin: usize) -> Result<Ddim> {
        let table = self.betas.alphas_cumprod(self.betas.zero_terminal_snr, false);
        let trained = self.betas.count;
        let timesteps: Vec<f64> =
            spacing::timesteps(self.spacing, steps, trained, self.steps_offset).into_iter().map(f64::round_ties_even).collect();
        let last_alpha = if self.set_alpha_to_one { 1.0 } else { table[0] };
        let stride = (trained / steps) as f64;
        let at = |timestep: f64| if timestep < 0.0 { Some(last_alpha) } else { table.get(timestep as usize).copied() };
        let alphas: Option<Vec<f32>> = timesteps.iter().map(|timestep| at(*timestep)).collect();
        let previous_alphas: Option<Vec<f32>> = timesteps.iter().map(|timestep| at(timestep - stride)).collect();
        let (Some(alphas), Some(previous_alphas)) = (alphas, previous_alphas) else {
            let reason = format!("{steps} leads past the model's {trained} timesteps with steps_offset {}", self.steps_offset);
            return Err(Error::request("num_inference_steps", reason));
        };
        let timesteps = timesteps.into_iter().map(|timestep| timestep as f32).collect();
        let run = started(Run::new(timesteps, Vec::new(), begin))?;
        Ok(Ddim { run, prediction: self.prediction, clip: self.clip, alphas, previous_alphas })
    }

    fn lcm(&self, steps: usize, begin: usize) -> Result<Lcm> {
        let table = self.betas.alphas_cumprod(self.betas.zero_terminal_snr, false);
        let stride = self.betas.count / self.original_steps;
        // The distilled timesteps are those of `original_steps`; `steps` of them, evenly from the highest.
        let gap = self.original_steps as f64 / steps as f64;
        let timesteps: Vec<usize> =
            (0..steps).map(|index| (self.original_steps - (index as f64 * gap).floor() as usize) * stride - 1).collect();
        let alphas = timesteps.iter().map(|timestep| table[*timestep]).collect();
        let run = started(Run::new(timesteps.iter().map(|timestep| *timestep as f32).collect(), Vec::new(), begin))?;
        Ok(Lcm { run, prediction: self.prediction, clip: self.clip, alphas, timestep_scaling: self.timestep_scaling })
    }

    fn last_sigma(&self, table: &SigmaTable) -> f64 {
        match self.final_sigma {
            FinalSigma::Zero => 0.0,
            FinalSigma::Least => f64::from(table.least()),
        }
    }

    /// One past the highest timestep whose log-SNR is not below `lambda_min_clipped` (DPM-Solver++).
    fn last_timestep(&self) -> usize {
        if self.kind == SamplerKind::UniPc || self.lambda_min == f64::NEG_INFINITY {
            return self.betas.count;
        }
        let table = self.betas.alphas_cumprod(self.betas.zero_terminal_snr, true);
        let lambda = |alpha: &f32| f64::from(libm::logf(alpha.sqrt()) - libm::logf((1.0 - alpha).sqrt()));
        table.iter().filter(|alpha| lambda(alpha) >= self.lambda_min).count().max(1)
    }
}

/// A run in which something is left to do.
fn started(run: Run) -> Result<Run> {
    if run.evaluations() == 0 {
        return Err(Error::request("strength", "it leaves no step to do; raise strength or num_inference_steps"));
    }
    Ok(run)
}

/// How many steps a run from a picture leaves out.
fn skipped_steps(steps: usize, strength: Option<f32>) -> Result<usize> {
    let Some(strength) = strength else { return Ok(0) };
    if !(strength > 0.0 && strength <= 1.0) {
        return Err(Error::request("strength", format!("{strength} is outside (0, 1]")));
    }
    // The decimal that the user wrote: 0.7 as f32 and widened is 0.69999999, and would lose one of ten steps.
    let strength = strength.to_string().parse().unwrap_or(f64::from(strength));
    let taken = ((steps as f64 * strength) as usize).min(steps);
    if taken == 0 {
        let least = (1.0 / steps as f64 * 1000.0).ceil() / 1000.0;
        let reason =
            format!("{strength} of {steps} steps is less than one step; use at least {least}, or more num_inference_steps");
        return Err(Error::request("strength", reason));
    }
    Ok(steps - taken)
}

/// The values with those at `range` twice.
fn doubled(values: &[f32], range: std::ops::Range<usize>) -> Vec<f32> {
    let copies = |index| if range.contains(&index) { 2 } else { 1 };
    values.iter().enumerate().flat_map(|(index, value)| std::iter::repeat_n(*value, copies(index))).collect()
}

fn kind_of(file: &SchedulerFile) -> Result<SamplerKind> {
    let Some(class) = file.class_name.as_deref() else {
        return Ok(SamplerKind::Euler);
    };
    if class == "DPMSolverMultistepScheduler" {
        return choose(
            "algorithm_type",
            file.algorithm_type.as_deref(),
            SamplerKind::Dpmpp2m,
            &[("dpmsolver++", SamplerKind::Dpmpp2m), ("sde-dpmsolver++", SamplerKind::Dpmpp2mSde)],
        );
    }
    choose(
        "_class_name",
        Some(class),
        SamplerKind::Euler,
        &[
            ("EulerDiscreteScheduler", SamplerKind::Euler),
            ("EulerAncestralDiscreteScheduler", SamplerKind::EulerAncestral),
            ("HeunDiscreteScheduler", SamplerKind::Heun),
            ("DDIMScheduler", SamplerKind::Ddim),
            ("UniPCMultistepScheduler", SamplerKind::UniPc),
            ("LCMScheduler", SamplerKind::Lcm),
        ],
    )
}

fn betas_of(file: &SchedulerFile) -> Result<Betas> {
    let betas = Betas {
        start: file.beta_start.unwrap_or(0.00085),
        end: file.beta_end.unwrap_or(0.012),
        schedule: choose(
            "beta_schedule",
            file.beta_schedule.as_deref(),
            BetaSchedule::ScaledLinear,
            &[("scaled_linear", BetaSchedule::ScaledLinear), ("linear", BetaSchedule::Linear)],
        )?,
        count: file.num_train_timesteps.unwrap_or(1000),
        zero_terminal_snr: file.rescale_betas_zero_snr.unwrap_or(false),
    };
    if !(2..=MOST_TRAINED_TIMESTEPS).contains(&betas.count) {
        return Err(refused("num_train_timesteps", betas.count, &format!("2 to {MOST_TRAINED_TIMESTEPS}")));
    }
    let proper = |beta: f64| beta > 0.0 && beta < 1.0;
    if !proper(betas.start) || !proper(betas.end) {
        return Err(refused("beta_start, beta_end", "outside 0 to 1", "both must lie between"));
    }
    Ok(betas)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

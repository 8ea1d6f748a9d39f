//! Samplers and schedules: one table for both directions.

/// How noise levels are spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The web UI's name for programs.
    pub name: &'static str,
    /// Its name for people, which it writes into pictures.
    pub label: &'static str,
    /// What our names of samplers end with.
    suffix: &'static str,
    /// Its ρ; −1 where it has none.
    pub default_rho: f64,
    /// Whether it asks the model for its noise levels.
    pub needs_model: bool,
}

/// Whichever the sampler is at its best with.
const AUTOMATIC: Schedule = Schedule { name: "automatic", label: "Automatic", suffix: "", default_rho: -1.0, needs_model: false };
/// As the model's timesteps fall.
const UNIFORM: Schedule = Schedule { name: "uniform", label: "Uniform", suffix: "", default_rho: -1.0, needs_model: true };
/// Karras et al. 2022.
const KARRAS: Schedule = Schedule { name: "karras", label: "Karras", suffix: "_karras", default_rho: 7.0, needs_model: false };
/// Evenly in the logarithm.
const EXPONENTIAL: Schedule =
    Schedule { name: "exponential", label: "Exponential", suffix: "_exponential", default_rho: -1.0, needs_model: false };

/// The schedules that this engine has.
pub const SCHEDULES: &[Schedule] = &[AUTOMATIC, UNIFORM, KARRAS, EXPONENTIAL];

/// A sampler that this engine has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The web UI's name.
    pub name: &'static str,
    /// Other names that its clients send.
    pub aliases: &'static [&'static str],
    /// Our name, without a schedule.
    pub ours: &'static str,
    /// What "Automatic" means for it.
    pub automatic: Schedule,
    /// The schedules that it can be asked for beside "Automatic".
    takes: Takes,
    /// η, the share of noise that is new at each step, where the web UI lets it be set.
    pub eta: Option<f64>,
    /// Whether a step takes two evaluations.
    pub second_order: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Takes {
    /// Each of [`SCHEDULES`].
    Every,
    /// Its own alone.
    Uniform,
    /// Whatever is asked for is ignored, there as here.
    Nothing,
}

const fn sampler(name: &'static str, aliases: &'static [&'static str], ours: &'static str, takes: Takes) -> Sampler {
    Sampler { name, aliases, ours, automatic: UNIFORM, takes, eta: None, second_order: false }
}

/// The table.
pub const SAMPLERS: &[Sampler] = &[
    Sampler { automatic: KARRAS, ..sampler("DPM++ 2M", &["k_dpmpp_2m"], "dpmpp_2m", Takes::Every) },
    Sampler {
        automatic: EXPONENTIAL,
        eta: Some(1.0),
        ..sampler("DPM++ 2M SDE", &["k_dpmpp_2m_sde"], "dpmpp_2m_sde", Takes::Every)
    },
    Sampler { eta: Some(1.0), ..sampler("Euler a", &["k_euler_a", "k_euler_ancestral"], "euler_ancestral", Takes::Uniform) },
    sampler("Euler", &["k_euler"], "euler", Takes::Every),
    Sampler { second_order: true, ..sampler("Heun", &["k_heun"], "heun", Takes::Every) },
    sampler("LCM", &["k_lcm"], "lcm", Takes::Uniform),
    Sampler { eta: Some(0.0), ..sampler("DDIM", &["ddim"], "ddim", Takes::Nothing) },
    sampler("UniPC", &["unipc"], "unipc", Takes::Every),
];

impl Sampler {
    /// The schedules that it can be asked for, "Automatic" first.
    pub fn schedules(&self) -> &'static [Schedule] {
        match self.takes {
            Takes::Every | Takes::Nothing => SCHEDULES,
            Takes::Uniform => SCHEDULES.get(..2).unwrap_or(SCHEDULES),
        }
    }

    fn with(&self, schedule: Schedule) -> String {
        let suffix = match (self.takes, schedule) {
            (Takes::Nothing, _) => "",
            (_, AUTOMATIC) => self.automatic.suffix,
            _ => schedule.suffix,
        };
        format!("{}{suffix}", self.ours)
    }
}

/// Names that mean no sampler of this engine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplerNameError {
    /// The sampler is unknown.
    #[error("'{name}' is unknown; known: {}", listed(SAMPLERS.iter().map(|sampler| sampler.name)))]
    Sampler {
        /// The name, or its beginning.
        name: String,
    },
    /// The schedule is unknown.
    #[error("'{name}' is unknown; known: {}", listed(SCHEDULES.iter().map(|schedule| schedule.label)))]
    Schedule {
        /// The name, or its beginning.
        name: String,
    },
    /// The sampler does not go with the schedule.
    #[error("'{schedule}' does not go with {sampler}; allowed: {}", listed(.allowed.iter().map(|schedule| schedule.label)))]
    Pair {
        /// The sampler.
        sampler: &'static str,
        /// The schedule.
        schedule: &'static str,
        /// Those that do.
        allowed: &'static [Schedule],
    },
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// The sampler and our full name of it, for a name and a schedule as the web UI's clients write them.
///
/// A schedule at the name's end, `DPM++ 2M Karras`, is how the web UI wrote it before 1.9, and goes before the other.
pub fn sampler_named(name: &str, schedule: Option<&str>) -> Result<(&'static Sampler, String), SamplerNameError> {
    let name = name.trim();
    let (base, written) =
        SCHEDULES.iter().find_map(|schedule| Some((without(name, schedule)?, Some(*schedule)))).unwrap_or((name, None));
    let sampler = SAMPLERS
        .iter()
        .find(|sampler| [sampler.name].iter().chain(sampler.aliases).any(|known| known.eq_ignore_ascii_case(base)))
        .ok_or_else(|| SamplerNameError::Sampler { name: beginning(name) })?;
    let schedule = match (written, schedule.map(str::trim).filter(|schedule| !schedule.is_empty())) {
        (Some(written), _) => written,
        (None, None) => AUTOMATIC,
        (None, Some(asked)) => *SCHEDULES
            .iter()
            .find(|schedule| schedule.name.eq_ignore_ascii_case(asked) || schedule.label.eq_ignore_ascii_case(asked))
            .ok_or_else(|| SamplerNameError::Schedule { name: beginning(asked) })?,
    };
    let allowed = sampler.schedules();
    if !allowed.contains(&schedule) {
        return Err(SamplerNameError::Pair { sampler: sampler.name, schedule: schedule.label, allowed });
    }
    Ok((sampler, sampler.with(schedule)))
}

/// `DPM++ 2M Karras` without ` Karras`.
fn without<'a>(name: &'a str, schedule: &Schedule) -> Option<&'a str> {
    let at = name.len().checked_sub(schedule.label.len())?;
    let (base, label) = name.split_at_checked(at)?;
    if label.eq_ignore_ascii_case(schedule.label) { base.strip_suffix(' ') } else { None }
}

fn beginning(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The web UI's names of one of our samplers and of its schedule.
pub fn sampler_names(ours: &str) -> (&str, &'static str) {
    let (base, schedule) = [KARRAS, EXPONENTIAL]
        .into_iter()
        .find_map(|schedule| Some((ours.strip_suffix(schedule.suffix)?, schedule)))
        .unwrap_or((ours, UNIFORM));
    let Some(sampler) = SAMPLERS.iter().find(|sampler| sampler.ours == base) else { return (base, AUTOMATIC.label) };
    // What "Automatic" means is said where it says something.
    let label = if schedule == UNIFORM && sampler.automatic == UNIFORM { AUTOMATIC.label } else { schedule.label };
    (sampler.name, label)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Euler", None, "euler")]
    #[case("Euler", Some("Automatic"), "euler")]
    #[case("Euler", Some("automatic"), "euler")]
    #[case("Euler", Some(""), "euler")]
    #[case("Euler", Some("Karras"), "euler_karras")]
    #[case("euler a", Some("uniform"), "euler_ancestral")]
    #[case("k_euler_a", None, "euler_ancestral")]
    #[case("DPM++ 2M", None, "dpmpp_2m_karras")]
    #[case("DPM++ 2M", Some("Automatic"), "dpmpp_2m_karras")]
    #[case("DPM++ 2M", Some("Uniform"), "dpmpp_2m")]
    #[case("DPM++ 2M", Some("exponential"), "dpmpp_2m_exponential")]
    #[case("DPM++ 2M Karras", None, "dpmpp_2m_karras")]
    #[case("DPM++ 2M Exponential", Some("Karras"), "dpmpp_2m_exponential")]
    #[case("DPM++ 2M SDE", None, "dpmpp_2m_sde_exponential")]
    #[case("DPM++ 2M SDE Karras", Some("Automatic"), "dpmpp_2m_sde_karras")]
    #[case("Heun", Some("KARRAS"), "heun_karras")]
    #[case("DDIM", Some("Karras"), "ddim")]
    #[case("UniPC", None, "unipc")]
    #[case("LCM", None, "lcm")]
    fn their_names_are_ours(#[case] name: &str, #[case] schedule: Option<&str>, #[case] ours: &str) {
        assert_eq!(sampler_named(name, schedule).unwrap().1, ours);
    }

    #[rstest]
    #[case(
        "DPM++ 3M SDE",
        None,
        "'DPM++ 3M SDE' is unknown; known: DPM++ 2M, DPM++ 2M SDE, Euler a, Euler, Heun, LCM, DDIM, UniPC"
    )]
    #[case("", None, "'' is unknown; known: DPM++ 2M, DPM++ 2M SDE, Euler a, Euler, Heun, LCM, DDIM, UniPC")]
    #[case("Euler", Some("Beta"), "'Beta' is unknown; known: Automatic, Uniform, Karras, Exponential")]
    #[case("Euler a", Some("Karras"), "'Karras' does not go with Euler a; allowed: Automatic, Uniform")]
    #[case("LCM Karras", None, "'Karras' does not go with LCM; allowed: Automatic, Uniform")]
    fn other_names_are_refused(#[case] name: &str, #[case] schedule: Option<&str>, #[case] message: &str) {
        assert_eq!(sampler_named(name, schedule).unwrap_err().to_string(), message);
    }

    #[rstest]
    #[case("euler", "Euler", "Automatic")]
    #[case("euler_ancestral", "Euler a", "Automatic")]
    #[case("heun_exponential", "Heun", "Exponential")]
    #[case("dpmpp_2m", "DPM++ 2M", "Uniform")]
    #[case("dpmpp_2m_karras", "DPM++ 2M", "Karras")]
    #[case("lcm", "LCM", "Automatic")]
    #[case("something_new", "something_new", "Automatic")]
    fn our_names_are_theirs(#[case] ours: &str, #[case] name: &str, #[case] schedule: &str) {
        assert_eq!(sampler_names(ours), (name, schedule));
    }

    #[test]
    fn every_sampler_comes_back_from_its_names() {
        for sampler in SAMPLERS {
            for schedule in sampler.schedules() {
                let ours = sampler.with(*schedule);
                let (name, label) = sampler_names(&ours);
                assert_eq!(sampler_named(name, Some(label)).unwrap().1, ours, "{} with {}", sampler.name, schedule.label);
            }
        }
    }

    #[test]
    fn a_name_of_many_bytes_is_quoted_in_part() {
        let message = sampler_named(&"é".repeat(1 << 20), None).unwrap_err().to_string();
        assert!(message.len() < 400, "{}", message.len());
    }
}

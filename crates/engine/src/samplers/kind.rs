//! The samplers by name.

/// A sampler as requests name it; `_karras` and `_exponential` may follow any that has sigmas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SamplerKind {
    /// Euler.
    Euler,
    /// Euler with ancestral noise.
    EulerAncestral,
    /// Heun's second-order method.
    Heun,
    /// DDIM (η = 0).
    Ddim,
    /// DPM-Solver++ 2M.
    Dpmpp2m,
    /// DPM-Solver++ 2M, stochastic.
    Dpmpp2mSde,
    /// UniPC.
    UniPc,
    /// Latent consistency.
    Lcm,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 8] =
        [Self::Euler, Self::EulerAncestral, Self::Heun, Self::Ddim, Self::Dpmpp2m, Self::Dpmpp2mSde, Self::UniPc, Self::Lcm];

    /// The name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::Heun => "heun",
            Self::Ddim => "ddim",
            Self::Dpmpp2m => "dpmpp_2m",
            Self::Dpmpp2mSde => "dpmpp_2m_sde",
            Self::UniPc => "unipc",
            Self::Lcm => "lcm",
        }
    }

    /// Whether its noise levels can be spaced as Karras or exponential sigmas.
    pub const fn has_sigma_spacing(self) -> bool {
        matches!(self, Self::Euler | Self::Heun | Self::Dpmpp2m | Self::Dpmpp2mSde | Self::UniPc)
    }

    /// Whether its grid has one more point than steps, the last of which is dropped.
    pub(super) const fn is_multistep(self) -> bool {
        matches!(self, Self::Dpmpp2m | Self::Dpmpp2mSde | Self::UniPc)
    }

    /// Model evaluations of a step (but the last one of Heun's).
    pub(super) const fn order(self) -> usize {
        match self {
            Self::Heun => 2,
            _ => 1,
        }
    }
}

/// How noise levels are spaced between the largest and the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SigmaSpacing {
    /// As the timesteps fall.
    Plain,
    /// Karras et al. 2022, equation 5, ρ = 7.
    Karras,
    /// Evenly in the logarithm.
    Exponential,
}

impl SigmaSpacing {
    const ALL: [Self; 3] = [Self::Plain, Self::Karras, Self::Exponential];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Karras => "_karras",
            Self::Exponential => "_exponential",
        }
    }
}

/// Every name, in the order of [`SamplerKind::ALL`].
pub(super) fn names() -> Vec<String> {
    let mut names = Vec::new();
    for kind in SamplerKind::ALL {
        for spacing in SigmaSpacing::ALL {
            if spacing == SigmaSpacing::Plain || kind.has_sigma_spacing() {
                names.push(format!("{}{}", kind.name(), spacing.suffix()));
            }
        }
    }
    names
}

/// What a name asks for: a sampler and, with a suffix, a spacing. The spellings of A1111 and ComfyUI (`Euler a`, `DPM++ 2M Karras`,
/// `uni_pc`) are understood too. `None` when there is no such sampler.
pub(super) fn parse(name: &str) -> Option<(SamplerKind, Option<SigmaSpacing>)> {
    let plain = name.trim().to_ascii_lowercase().replace([' ', '-'], "_").replace("dpm++", "dpmpp");
    let (base, spacing) = [SigmaSpacing::Karras, SigmaSpacing::Exponential]
        .into_iter()
        .find_map(|spacing| plain.strip_suffix(spacing.suffix()).map(|base| (base, Some(spacing))))
        .unwrap_or((&plain, None));
    let base = match base {
        "euler_a" => "euler_ancestral",
        "uni_pc" => "unipc",
        other => other,
    };
    let kind = SamplerKind::ALL.into_iter().find(|kind| kind.name() == base)?;
    (spacing.is_none() || kind.has_sigma_spacing()).then_some((kind, spacing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_itself() {
        for name in names() {
            let (kind, spacing) = parse(&name).unwrap();
            assert_eq!(name, format!("{}{}", kind.name(), spacing.map_or("", SigmaSpacing::suffix)));
        }
    }

    #[test]
    fn other_spellings_are_understood() {
        for (name, kind, spacing) in [
            ("Euler a", SamplerKind::EulerAncestral, None),
            ("euler_a", SamplerKind::EulerAncestral, None),
            ("DPM++ 2M Karras", SamplerKind::Dpmpp2m, Some(SigmaSpacing::Karras)),
            ("dpm++_2m_sde_exponential", SamplerKind::Dpmpp2mSde, Some(SigmaSpacing::Exponential)),
            ("uni_pc", SamplerKind::UniPc, None),
        ] {
            assert_eq!(parse(name), Some((kind, spacing)), "{name}");
        }
        for name in ["", "karras", "_karras", "ddim_karras", "euler_ancestral_karras", "dpmpp_3m", "eulerx"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}

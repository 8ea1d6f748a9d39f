//! What no window and no refund could ever make possible.

use super::counters::limit;
use super::{Forbidden, text};
use crate::domain::{
    FilmRequest, Frame, Holder, ImageRequest, JobKind, JobRequest, LOCAL_PROVIDER, Meter, ModelId, RemoteRequest, TenantPolicy,
};

/// Refuses what `policy` can never allow.
pub(super) fn check(request: &JobRequest, holder: &Holder, policy: &TenantPolicy) -> Result<(), Forbidden> {
    let check = Check { whose: text::whose(holder), policy };
    // A route's name is on the list, or each of its targets' is.
    let is_routed = matches!(request, JobRequest::Routed(_));
    let is_named = is_routed && policy.limits.models.as_ref().is_some_and(|models| models.contains(request.model()));
    request.targets().iter().try_for_each(|target| match target {
        JobRequest::Image(request) => check.pictures(request, is_named),
        JobRequest::Film(film) => check.film(film, is_named),
        JobRequest::Remote(request) => check.remote(request, is_named),
        // Routes hold none.
        JobRequest::Routed(_) => Ok(()),
    })
}

/// A policy and whose it is.
struct Check<'a> {
    whose: String,
    policy: &'a TenantPolicy,
}

impl Check<'_> {
    fn pictures(&self, request: &ImageRequest, is_named: bool) -> Result<(), Forbidden> {
        self.model(&request.model, is_named)?;
        self.provider(&request.model, LOCAL_PROVIDER)?;
        self.resolution(request.width, request.height)?;
        self.picture_count(request.num_images)?;
        self.something_left("num_images", "pictures")
    }

    fn picture_count(&self, pictures: u32) -> Result<(), Forbidden> {
        let (pictures, whose) = (i64::from(pictures), &self.whose);
        if let Some(most) = limit(&self.policy.quotas, Meter::Images).filter(|most| pictures > *most) {
            return refuse("num_images", format!("{pictures} at once is more than images_per_day{whose} allows, {most}"));
        }
        Ok(())
    }

    fn remote(&self, request: &RemoteRequest, is_named: bool) -> Result<(), Forbidden> {
        self.model(&request.model, is_named)?;
        self.provider(&request.model, request.provider.as_str())?;
        if let Some(frame) = request.frame {
            self.frame(frame)?;
        }
        let cost = [(Meter::CostMicros, request.estimated_cost_micros)];
        match request.output {
            JobKind::Image => {
                self.picture_count(request.count)?;
                self.amounts("model", "the request", &cost)?;
                self.bytes_left("num_images", "pictures")
            }
            JobKind::Film => {
                let whose = &self.whose;
                let seconds = request.duration_ms() as f64 / 1000.0;
                if let Some(most) = self.policy.limits.max_duration_seconds.filter(|most| seconds > *most) {
                    return refuse(
                        "duration",
                        format!("{seconds} s is more than limits.max_duration_seconds{whose} allows, {most}"),
                    );
                }
                self.amounts("model", "the film", &cost)?;
                self.amounts("duration", "the film", &[(Meter::Videos, 1), (Meter::VideoMs, request.duration_ms())])?;
                self.bytes_left("duration", "films")
            }
        }
    }

    /// Refuses what is more than a counter ever holds.
    fn amounts(&self, field: &'static str, what: &str, amounts: &[(Meter, i64)]) -> Result<(), Forbidden> {
        let whose = &self.whose;
        for &(meter, amount) in amounts {
            if let Some(most) = limit(&self.policy.quotas, meter).filter(|most| amount > *most) {
                let (setting, asked, most) = (text::setting(meter), text::amount(meter, amount), text::amount(meter, most));
                return refuse(field, format!("{what} takes {asked}, which is more than {setting}{whose} allows, {most}"));
            }
        }
        Ok(())
    }

    fn film(&self, film: &FilmRequest, is_named: bool) -> Result<(), Forbidden> {
        let whose = &self.whose;
        self.model(&film.model, is_named)?;
        self.provider(&film.model, LOCAL_PROVIDER)?;
        if let Some(keyframes) = &film.keyframes {
            // A route's name stands for its targets, not for what makes the pictures that a film begins with.
            self.model(&keyframes.model, false)?;
        }
        self.resolution(film.width, film.height)?;
        let (seconds, frames) = (film.duration_ms() as f64 / 1000.0, film.frames());
        let limits = &self.policy.limits;
        if let Some(most) = limits.max_duration_seconds.filter(|most| seconds > *most) {
            return refuse("duration", format!("{seconds} s is more than limits.max_duration_seconds{whose} allows, {most}"));
        }
        if let Some(most) = limits.max_frames.filter(|most| frames > *most) {
            return refuse("duration", format!("{frames} frames are more than limits.max_frames{whose} allows, {most}"));
        }
        self.amounts("scenes", "the film", &[(Meter::Videos, 1), (Meter::VideoMs, film.duration_ms())])?;
        self.something_left("scenes", "films")
    }

    fn model(&self, model: &ModelId, is_named: bool) -> Result<(), Forbidden> {
        let (limits, whose) = (&self.policy.limits, &self.whose);
        if let Some(models) = &limits.models
            && !is_named
            && !models.contains(model)
        {
            let allowed: Vec<&str> = models.iter().map(ModelId::as_str).collect();
            return refuse("model", format!("'{model}' is not one of limits.models{whose}: {}", listed(&allowed)));
        }
        Ok(())
    }

    fn provider(&self, model: &ModelId, provider: &str) -> Result<(), Forbidden> {
        let (limits, whose) = (&self.policy.limits, &self.whose);
        if let Some(providers) = &limits.providers
            && !providers.contains(provider)
        {
            let allowed: Vec<&str> = providers.iter().map(String::as_str).collect();
            return refuse(
                "model",
                format!("'{model}' runs on '{provider}', which is not one of limits.providers{whose}: {}", listed(&allowed)),
            );
        }
        Ok(())
    }

    fn resolution(&self, width: u32, height: u32) -> Result<(), Forbidden> {
        let Some((long, short)) = self.policy.quotas.max_resolution else { return Ok(()) };
        let is_wide = width >= height;
        let (asked_long, asked_short) = if is_wide { (width, height) } else { (height, width) };
        if asked_long <= long && asked_short <= short {
            return Ok(());
        }
        let (field, whose) = (if is_wide == (asked_long > long) { "width" } else { "height" }, &self.whose);
        refuse(
            field,
            format!(
                "{width}x{height} is larger than max_resolution{whose}, {long}x{short} (long side with long, short with short)"
            ),
        )
    }

    /// The same of a size in a provider's words. A shape alone, as no size at all, leaves the size to the model: how large that is shows
    /// only in the result, so it passes.
    fn frame(&self, frame: Frame) -> Result<(), Forbidden> {
        let size = match frame {
            Frame::Size(size) => return self.resolution(size.width, size.height),
            Frame::Tier(tier) => tier.usual_size(),
            Frame::TierAndRatio(tier, ratio) => tier.usual_size_of(ratio),
            Frame::Ratio(_) => return Ok(()),
        };
        let Some((long, short)) = self.policy.quotas.max_resolution else { return Ok(()) };
        if size.long_side() <= long && size.short_side() <= short {
            return Ok(());
        }
        let whose = &self.whose;
        refuse(
            "resolution",
            format!(
                "{frame}, which is {size}, is larger than max_resolution{whose}, {long}x{short} (long side with long, short with short)"
            ),
        )
    }

    /// What is known only afterwards has to be below its limit, and nothing is below 0.
    fn something_left(&self, field: &'static str, things: &str) -> Result<(), Forbidden> {
        self.none_is_zero(&[Meter::GpuMs, Meter::StorageBytes], field, things)
    }

    /// The same of what takes no device.
    fn bytes_left(&self, field: &'static str, things: &str) -> Result<(), Forbidden> {
        self.none_is_zero(&[Meter::StorageBytes], field, things)
    }

    fn none_is_zero(&self, meters: &[Meter], field: &'static str, things: &str) -> Result<(), Forbidden> {
        for &meter in meters {
            if limit(&self.policy.quotas, meter) == Some(0) {
                return refuse(field, format!("{}{} is 0, which allows no {things}", text::setting(meter), self.whose));
            }
        }
        Ok(())
    }
}

fn refuse(field: &'static str, message: String) -> Result<(), Forbidden> {
    Err(Forbidden::Limit { field, message })
}

fn listed(names: &[&str]) -> String {
    /// Enough to find a typing error by; a list may be of any length.
    const SHOWN: usize = 20;
    match names.len() {
        0 => "none".to_owned(),
        length if length > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), length - SHOWN),
        _ => names.join(", "),
    }
}

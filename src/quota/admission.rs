//! What no window and no refund could ever make possible.

use super::counters::limit;
use super::{Forbidden, text};
use crate::domain::{FilmRequest, Holder, ImageRequest, JobRequest, Meter, ModelId, TenantPolicy};

/// The name of what runs on this machine's own devices, in a list of providers.
const LOCAL_PROVIDER: &str = "local";

/// Refuses what `policy` can never allow.
pub(super) fn check(request: &JobRequest, holder: &Holder, policy: &TenantPolicy) -> Result<(), Forbidden> {
    let check = Check { whose: text::whose(holder), policy };
    match request {
        JobRequest::Image(request) => check.pictures(request),
        JobRequest::Film(film) => check.film(film),
    }
}

/// A policy and whose it is.
struct Check<'a> {
    whose: String,
    policy: &'a TenantPolicy,
}

impl Check<'_> {
    fn pictures(&self, request: &ImageRequest) -> Result<(), Forbidden> {
        self.model(&request.model)?;
        self.resolution(request.width, request.height)?;
        let (pictures, whose) = (i64::from(request.num_images), &self.whose);
        if let Some(most) = limit(&self.policy.quotas, Meter::Images).filter(|most| pictures > *most) {
            return refuse("num_images", format!("{pictures} at once is more than images_per_day{whose} allows, {most}"));
        }
        self.something_left("num_images", "pictures")
    }

    fn film(&self, film: &FilmRequest) -> Result<(), Forbidden> {
        let whose = &self.whose;
        self.model(&film.model)?;
        if let Some(keyframes) = &film.keyframes {
            self.model(&keyframes.model)?;
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
        for (meter, amount) in [(Meter::Videos, 1), (Meter::VideoMs, film.duration_ms())] {
            if let Some(most) = limit(&self.policy.quotas, meter).filter(|most| amount > *most) {
                let (setting, asked, most) = (text::setting(meter), text::amount(meter, amount), text::amount(meter, most));
                return refuse("scenes", format!("the film takes {asked}, which is more than {setting}{whose} allows, {most}"));
            }
        }
        self.something_left("scenes", "films")
    }

    fn model(&self, model: &ModelId) -> Result<(), Forbidden> {
        let (limits, whose) = (&self.policy.limits, &self.whose);
        if let Some(models) = &limits.models
            && !models.contains(model)
        {
            let allowed: Vec<&str> = models.iter().map(ModelId::as_str).collect();
            return refuse("model", format!("'{model}' is not one of limits.models{whose}: {}", listed(&allowed)));
        }
        if let Some(providers) = &limits.providers
            && !providers.contains(LOCAL_PROVIDER)
        {
            let allowed: Vec<&str> = providers.iter().map(String::as_str).collect();
            return refuse(
                "model",
                format!("'{model}' runs on 'local', which is not one of limits.providers{whose}: {}", listed(&allowed)),
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

    /// What is known only afterwards has to be below its limit, and nothing is below 0.
    fn something_left(&self, field: &'static str, things: &str) -> Result<(), Forbidden> {
        for meter in [Meter::GpuMs, Meter::StorageBytes] {
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

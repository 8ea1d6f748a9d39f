//! What no window and no refund could ever make possible.

use super::counters::limit;
use super::{Forbidden, text};
use crate::domain::{Holder, ImageRequest, Meter, TenantPolicy};

/// The name of what runs on this machine's own devices, in a list of providers.
const LOCAL_PROVIDER: &str = "local";

/// Refuses what `policy` can never allow.
pub(super) fn check(request: &ImageRequest, holder: &Holder, policy: &TenantPolicy) -> Result<(), Forbidden> {
    let whose = text::whose(holder);
    let refuse = |field, message| Err(Forbidden::Limit { field, message });
    if let Some(models) = &policy.limits.models
        && !models.contains(&request.model)
    {
        let allowed: Vec<&str> = models.iter().map(crate::domain::ModelId::as_str).collect();
        return refuse("model", format!("'{}' is not one of limits.models{whose}: {}", request.model, listed(&allowed)));
    }
    if let Some(providers) = &policy.limits.providers
        && !providers.contains(LOCAL_PROVIDER)
    {
        let allowed: Vec<&str> = providers.iter().map(String::as_str).collect();
        return refuse(
            "model",
            format!("'{}' runs on 'local', which is not one of limits.providers{whose}: {}", request.model, listed(&allowed)),
        );
    }
    if let Some((long, short)) = policy.quotas.max_resolution {
        let is_wide = request.width >= request.height;
        let (asked_long, asked_short) = if is_wide { (request.width, request.height) } else { (request.height, request.width) };
        if asked_long > long || asked_short > short {
            let field = if is_wide == (asked_long > long) { "width" } else { "height" };
            return refuse(
                field,
                format!(
                    "{}x{} is larger than max_resolution{whose}, {long}x{short} (long side with long, short with short)",
                    request.width, request.height
                ),
            );
        }
    }
    let pictures = i64::from(request.num_images);
    if let Some(most) = limit(&policy.quotas, Meter::Images).filter(|most| pictures > *most) {
        return refuse("num_images", format!("{pictures} at once is more than images_per_day{whose} allows, {most}"));
    }
    // What is known only afterwards has to be below its limit, and nothing is below 0.
    for meter in [Meter::GpuMs, Meter::StorageBytes] {
        if limit(&policy.quotas, meter) == Some(0) {
            return refuse("num_images", format!("{}{whose} is 0, which allows no pictures", text::setting(meter)));
        }
    }
    Ok(())
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

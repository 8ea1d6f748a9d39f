//! Names that `--model` knows beside this machine's models: those of the configured providers, and of routes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Value, json};

use super::failure::{OrFail, Outcome};
use super::offline_providers;
use crate::config::Config;
use crate::domain::{LOCAL_PROVIDER, Micros, ModelId, Price};
use crate::execution::remote::{OfferedModel, called};
use crate::providers::capabilities::{FrameRule, Mode, SecondsRule};
use crate::routes::{Route, RouteTarget};

/// Names of providers' models that a hint has; the rest is counted.
const MOST_NAMES: usize = 6;

/// What the configuration adds.
#[derive(Debug, Default)]
pub(super) struct OfferedModels {
    models: Vec<OfferedModel>,
    routes: BTreeMap<ModelId, Route>,
    /// Providers that are off for want of a key, each with what gives it one.
    keyless: Vec<String>,
}

/// Reads what the configuration says; providers are opened, where one is enabled, and asked nothing.
pub(super) fn read(config: &Config) -> Outcome<OfferedModels> {
    let routes = config.routes.load()?;
    let settings = config.providers.load()?;
    let keyless = settings
        .providers
        .iter()
        .filter(|(_, entry)| entry.lacks_key)
        .map(|(id, entry)| format!("provider '{id}' is off for want of a key: {}", entry.key_remedy()));
    let keyless = keyless.collect();
    let models = if settings.providers.values().any(|entry| entry.is_enabled) {
        super::runtime()?.block_on(offline_providers::open(config))?.executor.describe()
    } else {
        Vec::new()
    };
    Ok(OfferedModels { models, routes, keyless })
}

impl OfferedModels {
    /// Lines of `models list`, behind those of this machine's models and apart from them.
    pub(super) fn list(&self, out: &mut dyn Write) -> Outcome {
        if !self.models.is_empty() {
            writeln!(out, "\nof providers:").or_fail()?;
        }
        for model in &self.models {
            let kinds: Vec<&str> = model.modes.iter().map(|mode| mode.kind.name()).collect();
            let mut line = format!("{}  {}  {}", model.id, model.provider, kinds.join(", "));
            for price in &model.prices {
                let _ = write!(line, "  {}", price_in_words(price, &model.currency));
            }
            writeln!(out, "{line}").or_fail()?;
        }
        if !self.routes.is_empty() {
            writeln!(out, "\nroutes, with --server:").or_fail()?;
        }
        for route in self.routes.values() {
            let target = |target: &RouteTarget| match &target.provider {
                Some(provider) => format!("{} ({provider})", target.model),
                None => format!("{} ({LOCAL_PROVIDER})", target.model),
            };
            let targets: Vec<String> = route.targets.iter().map(target).collect();
            writeln!(out, "{}  {}  {}", route.name, route.strategy.as_str(), targets.join(", ")).or_fail()?;
        }
        if !self.keyless.is_empty() {
            writeln!(out).or_fail()?;
        }
        self.keyless.iter().try_for_each(|provider| writeln!(out, "note: {provider}")).or_fail()
    }

    /// What there is to know of a name; none where it is neither a route's nor that of a provider's model.
    pub(super) fn inspect(&self, name: &ModelId) -> Option<Value> {
        if let Some(route) = self.routes.get(name) {
            let targets = route.targets.iter().map(|target| {
                let provider = target.provider.as_ref().map_or(LOCAL_PROVIDER, |provider| provider.as_str());
                json!({ "provider": provider, "model": target.model, "weight": target.weight })
            });
            let targets: Vec<Value> = targets.collect();
            return Some(json!({ "route": route.name, "strategy": route.strategy.as_str(), "targets": targets }));
        }
        let model = called(&self.models, name, |_| true)?;
        Some(json!({
            "id": model.id,
            "provider": model.provider,
            "provider_model": model.name,
            "aliases": model.aliases,
            "modes": model.modes.iter().map(mode).collect::<Vec<Value>>(),
            "prices": model.prices.iter().map(price).collect::<Vec<Value>>(),
            "currency": model.currency,
        }))
    }

    /// What else `name` may have been meant for, to stand behind a message; nothing where no provider and no route is configured.
    pub(super) fn hint(&self, name: &str) -> String {
        let mut hint = String::new();
        for (of, names) in [
            ("of providers", self.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>()),
            ("routes", self.routes.keys().map(ModelId::as_str).collect()),
        ] {
            if !names.is_empty() {
                let _ = write!(hint, "; {of}: {}", nearest(name, names));
            }
        }
        for provider in &self.keyless {
            let _ = write!(hint, "; {provider}");
        }
        hint
    }
}

/// The names that are most like `name`, those first, and how many more there are.
fn nearest(name: &str, mut names: Vec<&str>) -> String {
    names.sort_by_cached_key(|other| distance(name, other));
    names.dedup();
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more ('framewright models list')") }
}

/// How many characters must be put in, taken out or changed to make one name of another, whether they are capitals or not.
fn distance(from: &str, to: &str) -> usize {
    strsim::levenshtein(&from.to_lowercase(), &to.to_lowercase())
}

fn price_in_words(price: &Price, currency: &str) -> String {
    let parts = [(price.per_second, "a second"), (price.per_picture, "a picture"), (price.per_request, "a request")];
    let parts = parts.into_iter().filter(|(amount, _)| *amount != Micros::ZERO);
    let parts: Vec<String> = parts.map(|(amount, of)| format!("{amount} {currency} {of}")).collect();
    let parts = if parts.is_empty() { format!("0 {currency}") } else { parts.join(" and ") };
    price.tier.map_or_else(|| parts.clone(), |tier| format!("{parts} at {tier}"))
}

fn price(price: &Price) -> Value {
    json!({
        "tier": price.tier.map(|tier| tier.to_string()),
        "per_second": price.per_second.to_string(),
        "per_picture": price.per_picture.to_string(),
        "per_request": price.per_request.to_string(),
    })
}

/// What can be asked of a model; null is what nothing can be said about.
fn mode(mode: &Mode) -> Value {
    let pictures = mode.pictures.slots.iter();
    let pictures = pictures.map(|slot| json!({ "role": slot.role.name(), "fewest": slot.fewest, "most": slot.most }));
    json!({
        "kind": mode.kind.name(),
        "prompt": { "required": mode.prompt.required, "most_characters": mode.prompt.most_characters, "camera_commands": mode.camera },
        "negative_prompt": mode.negative_prompt_characters.map(|most| json!({ "most_characters": most })),
        "size": size(mode.frame),
        "seconds": seconds(mode.seconds),
        "fps": (!mode.frames_per_second.is_empty()).then_some(mode.frames_per_second),
        "seed": mode.most_seed.map(|most| json!({ "most": most })),
        "most_results": mode.most_results,
        "pictures": pictures.collect::<Vec<Value>>(),
    })
}

fn size(rule: FrameRule) -> Value {
    match rule {
        FrameRule::Untold => Value::Null,
        FrameRule::Sizes { rows, default, custom } => json!({
            "sizes": words(rows.iter().map(|row| row.size)),
            "default": default.map(|size| size.to_string()),
            "others": custom.map(|custom| json!({
                "fewest_side": custom.fewest_side,
                "most_side": custom.most_side,
                "multiple": custom.multiple,
                "most_pixels": custom.most_pixels,
            })),
        }),
        FrameRule::Tiers { tiers, default } => {
            json!({ "tiers": words(tiers), "default": default.map(|tier| tier.to_string()) })
        }
        FrameRule::TiersAndRatios { tiers, default_tier, ratios, default_ratio, rows: _ } => json!({
            "tiers": words(tiers),
            "default_tier": default_tier.map(|tier| tier.to_string()),
            "ratios": words(ratios),
            "default_ratio": default_ratio.map(|ratio| ratio.to_string()),
        }),
    }
}

fn seconds(rule: SecondsRule) -> Value {
    match rule {
        SecondsRule::Untold => Value::Null,
        SecondsRule::Always { seconds, sent: _ } => json!({ "always": seconds }),
        SecondsRule::Listed { allowed, default } => json!({ "allowed": allowed, "default": default }),
        SecondsRule::Between { fewest, most, default } => json!({ "fewest": fewest, "most": most, "default": default }),
        SecondsRule::ByTier { allowed, default } => {
            let tiers = allowed.iter().map(|(tier, seconds)| (tier.to_string(), json!(seconds)));
            json!({ "allowed": tiers.collect::<serde_json::Map<_, _>>(), "default": default })
        }
    }
}

fn words(values: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("cogview", "cogview", 0)]
    #[case("CogView-5", "cogview-4", 1)]
    #[case("", "abc", 3)]
    #[case("kitten", "sitting", 3)]
    fn distances(#[case] from: &str, #[case] to: &str, #[case] expected: usize) {
        assert_eq!((distance(from, to), distance(to, from)), (expected, expected));
    }

    #[test]
    fn the_nearest_names_come_first() {
        assert_eq!(nearest("cogview5", vec!["wan2.6-t2v", "cogview-4"]), "cogview-4, wan2.6-t2v");
        let many: Vec<String> = (0..9).map(|number| format!("model-{number}")).collect();
        let said = nearest("model-8", many.iter().map(String::as_str).collect());
        assert!(said.starts_with("model-8, ") && said.ends_with(" and 3 more ('framewright models list')"), "{said}");
    }

    #[test]
    fn prices_are_said_as_they_are_counted() {
        let micros = |text: &str| text.parse::<Micros>().unwrap();
        let price = Price { per_second: micros("0.05"), per_request: micros("1"), ..Price::default() };
        assert_eq!(price_in_words(&price, "EUR"), "0.05 EUR a second and 1 EUR a request");
        assert_eq!(price_in_words(&Price::default(), "EUR"), "0 EUR");
    }
}

//! Who made what was asked for, and how it is made again: the words behind a file's name.

use serde_json::Value;

/// The provider that made it, with what it took for it; none where a device made it.
pub(super) fn of_provider(manifest: &Value) -> Option<String> {
    let provider = manifest["provider"].as_str()?;
    let cost = &manifest["cost"];
    let cost = match (cost["amount"].as_str(), cost["currency"].as_str()) {
        (Some(amount), Some(currency)) if amount != "0" => format!(", {amount} {currency}"),
        _ => String::new(),
    };
    Some(format!("by {provider}{cost}"))
}

/// A provider, as [`of_provider`] has it; else `own`, what is known of what this server's devices make, behind the model's name where that is
/// not the one that was asked for: a route's name says not which.
pub(super) fn of_server(asked: &str, manifest: &Value, own: Vec<String>) -> String {
    of_provider(manifest).unwrap_or_else(|| {
        let by = manifest["model"].as_str().filter(|model| *model != asked).map(|model| format!("by {model}"));
        by.into_iter().chain(own).collect::<Vec<_>>().join(", ")
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::of_a_device(json!({"model": "demo", "seed": 7}), "seed 7")]
    #[case::of_a_routes_device(json!({"model": "other", "seed": 7}), "by other, seed 7")]
    #[case::of_a_provider(json!({"model": "demo", "provider": "mypics", "cost": {"amount": "0.02", "currency": "EUR"}}), "by mypics, 0.02 EUR")]
    #[case::for_nothing(json!({"model": "other", "provider": "mypics", "cost": {"amount": "0", "currency": "EUR"}}), "by mypics")]
    fn words(#[case] manifest: Value, #[case] expected: &str) {
        assert_eq!(of_server("demo", &manifest, vec!["seed 7".to_owned()]), expected);
    }
}

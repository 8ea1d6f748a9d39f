//! What is probably not meant in the settings of a provider. It is said, and no reason to refuse them: a table may be behind the provider.

use crate::domain::{OfferedName, Price, ProviderEntry, ProviderId, Tier};
use crate::net::egress::EgressPolicy;
use crate::providers::capabilities::{FrameRule, Mode, Model};
use crate::providers::{self, Provider};

/// One line for each thing, with its key. Results behind links are fetched as `policy` allows.
pub(super) fn of_provider(
    id: &ProviderId,
    entry: &ProviderEntry,
    provider: Option<&dyn Provider>,
    policy: &EgressPolicy,
) -> Vec<String> {
    if entry.lacks_key {
        let remedy = entry.key_remedy();
        return vec![format!(
            "providers.{id}: is off: no key: {remedy}; a service that needs none takes any, such as [{{ key: none }}]"
        )];
    }
    let Some(provider) = provider.filter(|_| entry.is_enabled) else { return Vec::new() };
    if provider.models().is_empty() {
        return vec![format!("providers.{id}: offers nothing; name its models under models, with kinds")];
    }
    let closed = entry.base_url.as_deref().and_then(|url| policy.check(url).err());
    let closed = closed.map(|refusal| format!("providers.{id}.base_url: links to results there would not be opened: {refusal}"));
    let own = provider.remarks().into_iter().map(|remark| format!("providers.{id}: {remark}"));
    let unknown = entry.models.iter().filter(|model| providers::model(provider, &model.name).is_none());
    let unknown = unknown.map(|model| {
        format!(
            "providers.{id}.models: {} has no model '{}', so it is not offered; {}",
            provider.name(),
            model.name,
            known(provider)
        )
    });
    let prices = entry.prices.iter().filter_map(|price| of_price(price, &entry.models, provider));
    let prices = prices.map(|remark| format!("providers.{id}.prices: {remark}"));
    closed.into_iter().chain(own).chain(unknown).chain(prices).collect()
}

/// Why a price never counts.
fn of_price(price: &Price, listed: &[OfferedName], provider: &dyn Provider) -> Option<String> {
    let models: Vec<&Model> = match price.model.as_deref() {
        Some(name) => {
            let Some(model) = providers::model(provider, name) else {
                let meant = listed.iter().find(|model| model.id.as_str() == name).map(|model| &model.name);
                let hint = meant.map_or_else(|| known(provider), |name| format!("write {name}, as the provider calls it"));
                return Some(format!("{} has no model '{name}', so this price never counts; {hint}", provider.name()));
            };
            vec![model]
        }
        None => provider.models().iter().collect(),
    };
    let tier = price.tier?;
    let mut known: Vec<Tier> = Vec::new();
    for mode in models.iter().flat_map(|model| model.modes) {
        known.extend(tiers(mode)?);
    }
    if known.is_empty() || known.contains(&tier) {
        return None;
    }
    let names: Vec<&str> = Tier::ALL.into_iter().filter(|tier| known.contains(tier)).map(Tier::name).collect();
    let whose = price.model.as_deref().unwrap_or(provider.name());
    Some(format!("{whose} has no tier {}, so this price never counts; it has {}", tier.name(), names.join(", ")))
}

/// The tiers that a mode can be asked for; none where that is not certain.
fn tiers(mode: &Mode) -> Option<Vec<Tier>> {
    match mode.frame {
        FrameRule::Tiers { tiers, .. } | FrameRule::TiersAndRatios { tiers, .. } => (!tiers.is_empty()).then(|| tiers.to_vec()),
        FrameRule::Sizes { rows, custom: None, .. } => rows.iter().map(|row| row.tier).collect(),
        FrameRule::Sizes { .. } | FrameRule::Untold => None,
    }
}

fn known(provider: &dyn Provider) -> String {
    let names: Vec<&str> = provider.models().iter().map(|model| model.name).collect();
    if names.is_empty() { "none is told of under models".to_owned() } else { format!("it has {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::domain::{Micros, ProviderKind, ToldModel};
    use crate::providers::Account;
    use crate::providers::minimax::{Minimax, Site};

    fn minimax() -> Minimax {
        let account = Account::new("https://host", SecretString::from("sk-1")).unwrap();
        Minimax::new(account, Site::China, None).unwrap()
    }

    fn remarks(entry: &ProviderEntry) -> Vec<String> {
        of_provider(&"minimax".parse().unwrap(), entry, Some(&minimax()), &EgressPolicy::new(Vec::new()))
    }

    fn price(model: Option<&str>, tier: Option<Tier>) -> Price {
        Price { model: model.map(str::to_owned), tier, per_request: Micros::new(1), ..Price::default() }
    }

    #[test]
    fn prices_that_never_count_are_named() {
        let entry = |prices| ProviderEntry { is_enabled: true, prices, ..ProviderEntry::of_kind(ProviderKind::Minimax) };
        for right in [
            price(None, None),
            price(Some("MiniMax-Hailuo-02"), None),
            price(Some("MiniMax-Hailuo-02"), Some(Tier::P1080)),
            price(None, Some(Tier::P1080)),
        ] {
            assert_eq!(remarks(&entry(vec![right.clone()])), [""; 0], "{right:?}");
        }
        for (wrong, expected) in [
            (price(Some("MiniMax-Hailuo-2"), None), "providers.minimax.prices: minimax has no model 'MiniMax-Hailuo-2'"),
            (
                price(Some("MiniMax-Hailuo-02"), Some(Tier::P480)),
                "MiniMax-Hailuo-02 has no tier 480P, so this price never counts; it",
            ),
        ] {
            let said = remarks(&entry(vec![wrong]));
            assert!(said.len() == 1 && said[0].contains(expected), "{said:?}");
        }
    }

    #[test]
    fn names_of_models_are_those_of_the_provider() {
        let listed =
            OfferedName { id: "films".parse().unwrap(), name: "MiniMax-Hailuo-02".to_owned(), told: ToldModel::default() };
        let missing = OfferedName { name: "Hailuo-7".to_owned(), ..listed.clone() };
        let entry = ProviderEntry {
            is_enabled: true,
            models: vec![listed, missing],
            prices: vec![price(Some("films"), None)],
            ..ProviderEntry::of_kind(ProviderKind::Minimax)
        };
        let said = remarks(&entry);
        assert!(
            said[0].starts_with("providers.minimax.models: minimax has no model 'Hailuo-7', so it is not offered"),
            "{said:?}"
        );
        assert!(said[1].ends_with("write MiniMax-Hailuo-02, as the provider calls it"), "{said:?}");
    }

    #[test]
    fn who_has_no_key_is_told_how_to_give_one() {
        let entry = ProviderEntry { lacks_key: true, ..ProviderEntry::of_kind(ProviderKind::Minimax) };
        let said = of_provider(&"films".parse().unwrap(), &entry, None, &EgressPolicy::new(Vec::new()));
        assert!(said[0].starts_with("providers.films: is off: no key: set MINIMAX_API_KEY, or name one under keys"), "{said:?}");
        assert_eq!(
            of_provider(
                &"films".parse().unwrap(),
                &ProviderEntry::of_kind(ProviderKind::Minimax),
                None,
                &EgressPolicy::new(Vec::new())
            ),
            [""; 0]
        );
    }

    #[test]
    fn addresses_whose_links_stay_closed_are_named() {
        let entry = |url: &str| ProviderEntry {
            is_enabled: true,
            base_url: Some(url.to_owned()),
            ..ProviderEntry::of_kind(ProviderKind::Minimax)
        };
        let said = remarks(&entry("http://127.0.0.1:9100/v1"));
        assert!(
            said[0].contains("base_url: links to results there would not be opened") && said[0].contains("egress.allow"),
            "{said:?}"
        );
        let open = EgressPolicy::new(vec!["127.0.0.1/32".parse().unwrap()]);
        let id = "minimax".parse().unwrap();
        assert_eq!(of_provider(&id, &entry("http://127.0.0.1:9100/v1"), Some(&minimax()), &open), [""; 0]);
        assert_eq!(of_provider(&id, &entry("https://api.minimax.io"), Some(&minimax()), &open), [""; 0]);
    }
}

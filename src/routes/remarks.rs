//! What is probably not meant in routes. It is said, and no reason to refuse them: a provider may come later. Pure.

use std::collections::BTreeMap;

use super::{Route, RouteTarget};
use crate::domain::{ModelId, ProviderId};

/// What is known of models when routes are looked at.
pub struct Surroundings<'a> {
    /// The providers that are used.
    pub providers: &'a [ProviderId],
    /// Whether a provider offers a model.
    pub is_offered: &'a dyn Fn(&ProviderId, &ModelId) -> bool,
    /// The models of this server.
    pub installed: &'a [ModelId],
}

/// One line for each target that leads nowhere, and each name that hides a model.
pub fn remarks(routes: &BTreeMap<ModelId, Route>, around: &Surroundings<'_>) -> Vec<String> {
    let of_route = |route: &Route| {
        let hidden =
            around.installed.contains(&route.name).then(|| "has the name of a model of this server, which it hides".to_owned());
        let targets = route.targets.iter().filter_map(|target| of_target(target, around));
        let said: Vec<String> = hidden.into_iter().chain(targets.map(|remark| format!("targets: {remark}"))).collect();
        said.into_iter().map(|remark| format!("routes.{}: {remark}", route.name)).collect::<Vec<_>>()
    };
    routes.values().flat_map(of_route).collect()
}

/// Why a target is never asked.
fn of_target(target: &RouteTarget, around: &Surroundings<'_>) -> Option<String> {
    let model = &target.model;
    match &target.provider {
        None if around.installed.contains(model) => None,
        None => Some(format!("this server has no model '{model}'")),
        Some(provider) if !around.providers.contains(provider) => Some(format!("no provider '{provider}' is in use")),
        Some(provider) if !(around.is_offered)(provider, model) => Some(format!("{provider} does not offer a model '{model}'")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Strategy;

    #[test]
    fn what_leads_nowhere_is_named() {
        let id = |text: &str| text.parse::<ModelId>().unwrap();
        let target = |provider: Option<&str>, model: &str| RouteTarget {
            provider: provider.map(|name| name.parse().unwrap()),
            model: id(model),
            weight: 1,
        };
        let route = |name: &str, targets| (id(name), Route { name: id(name), strategy: Strategy::Fallback, targets });
        let routes = BTreeMap::from([
            route("best", vec![target(Some("minimax"), "films"), target(None, "demo")]),
            route("demo", vec![target(Some("minimax"), "film"), target(Some("minimx"), "films"), target(None, "dem")]),
        ]);
        let around = Surroundings {
            providers: &["minimax".parse().unwrap()],
            is_offered: &|_, model| model.as_str() == "films",
            installed: &[id("demo")],
        };
        assert_eq!(
            remarks(&routes, &around),
            [
                "routes.demo: has the name of a model of this server, which it hides",
                "routes.demo: targets: minimax does not offer a model 'film'",
                "routes.demo: targets: no provider 'minimx' is in use",
                "routes.demo: targets: this server has no model 'dem'",
            ]
        );
    }
}

//! `routes.yaml` beside the system file: names of models that stand for several.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::number::Whole;
use super::{ConfigError, WatchedFile, yaml};
use crate::domain::{LOCAL_PROVIDER, ModelId, ProviderId};
use crate::routes::{Route, RouteTarget, Strategy};

/// Routes by their names.
pub type RoutesByName = BTreeMap<ModelId, Route>;

/// The file's name.
const FILE: &str = "routes.yaml";
/// Most targets of a route.
const MOST_TARGETS: usize = 32;

/// The file as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RoutesDocument {
    routes: BTreeMap<ModelId, RouteSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteSection {
    #[serde(default)]
    strategy: StrategyWord,
    targets: Vec<TargetSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetSection {
    #[serde(default)]
    provider: Option<ProviderId>,
    model: ModelId,
    #[serde(default)]
    weight: Option<Whole<0, 1_000_000>>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct StrategyWord(Strategy);

impl Default for StrategyWord {
    fn default() -> Self {
        Self(Strategy::Fallback)
    }
}

impl TryFrom<String> for StrategyWord {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = || Strategy::ALL.map(Strategy::as_str).join(", ");
        Strategy::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == text)
            .map(Self)
            .ok_or_else(|| format!("must be one of {}", known()))
    }
}

/// Where routes are told of.
#[derive(Clone, Debug, Default)]
pub struct RouteSource {
    /// The file, which need not be there; none without a system file.
    pub file: Option<PathBuf>,
}

impl RouteSource {
    /// What is beside a system file in this directory.
    pub(super) fn new(directory: Option<&Path>) -> Self {
        Self { file: directory.map(|directory| directory.join(FILE)) }
    }

    /// Reads it, and notices changes from then on. Blocking.
    pub fn watch(self) -> Result<(WatchedFile<RoutesByName>, RoutesByName), ConfigError> {
        WatchedFile::open(self.file.clone(), move || self.load(), |_| Vec::new())
    }

    /// Reads it. Without a file there are no routes. Blocking.
    pub fn load(&self) -> Result<RoutesByName, ConfigError> {
        let Some(file) = &self.file else { return Ok(BTreeMap::new()) };
        match std::fs::metadata(file) {
            Ok(_) => parse(file, &super::read_bounded(file)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(source) => Err(ConfigError::Unreadable { path: file.clone(), source }),
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<RoutesByName, ConfigError> {
    let document: RoutesDocument = yaml::parse(path, text)?;
    let names: Vec<ModelId> = document.routes.keys().cloned().collect();
    document
        .routes
        .into_iter()
        .map(|(name, section)| {
            let refused = |reason: String| ConfigError::Refused {
                path: path.to_owned(),
                reason: format!("routes.{name}.targets: {reason}"),
            };
            let route = route(&name, section, &names).map_err(refused)?;
            Ok((name.clone(), route))
        })
        .collect()
}

fn route(name: &ModelId, section: RouteSection, names: &[ModelId]) -> Result<Route, String> {
    let targets = section.targets.len();
    if targets == 0 || targets > MOST_TARGETS {
        return Err(format!("are {targets}; a route has 1 to {MOST_TARGETS}"));
    }
    let mut read: Vec<RouteTarget> = Vec::with_capacity(targets);
    for target in section.targets {
        let provider = target.provider.filter(|provider| provider.as_str() != LOCAL_PROVIDER);
        if provider.is_none() && names.contains(&target.model) {
            return Err(format!("'{}' is a route itself; a route leads to models of this server or of providers", target.model));
        }
        if read.iter().any(|other| other.provider == provider && other.model == target.model) {
            return Err(format!("'{}' is there twice", target.model));
        }
        read.push(RouteTarget { provider, model: target.model, weight: target.weight.map_or(1, |weight| weight.0 as u32) });
    }
    if section.strategy.0 == Strategy::Weighted && read.iter().all(|target| target.weight == 0) {
        return Err("all have a weight of 0; one of them must have more".to_owned());
    }
    Ok(Route { name: name.clone(), strategy: section.strategy.0, targets: read })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(text: &str) -> Result<RoutesByName, String> {
        parse(Path::new("routes.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_route_leads_to_models_of_providers_and_of_this_server() {
        let text = "
routes:
  best-video:
    strategy: cheapest
    targets:
      - { provider: minimax, model: MiniMax-Hailuo-02, weight: 3 }
      - { provider: local, model: demo-svd }
  plain: { targets: [{ model: demo-sdxl }] }
";
        let routes = read(text).unwrap();
        let route = &routes[&"best-video".parse().unwrap()];
        assert_eq!(route.strategy, Strategy::Cheapest);
        assert_eq!(
            route.targets,
            [
                RouteTarget {
                    provider: Some("minimax".parse().unwrap()),
                    model: "MiniMax-Hailuo-02".parse().unwrap(),
                    weight: 3
                },
                RouteTarget { provider: None, model: "demo-svd".parse().unwrap(), weight: 1 },
            ]
        );
        assert_eq!(routes[&"plain".parse().unwrap()].strategy, Strategy::Fallback);
        assert_eq!(read("").unwrap(), BTreeMap::new());
    }

    #[rstest]
    #[case("routes: { a: { targets: [] } }", "routes.a.targets: are 0; a route has 1 to 32")]
    #[case("routes: { a: { targets: [{ model: b }, { provider: local, model: b }] } }", "'b' is there twice")]
    #[case("routes: { a: { targets: [{ model: b }] }, b: { targets: [{ model: c }] } }", "'b' is a route itself")]
    #[case("routes: { a: { strategy: weighted, targets: [{ model: b, weight: 0 }] } }", "all have a weight of 0")]
    #[case("routes: { a: { strategy: best, targets: [{ model: b }] } }", "must be one of fallback, cheapest")]
    #[case("routes: { a: { targets: [{ model: b, price: 1 }] } }", "price")]
    #[case("routes: { 'a/b': { targets: [{ model: b }] } }", "a/b")]
    fn mistakes_are_named(#[case] text: &str, #[case] expected: &str) {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

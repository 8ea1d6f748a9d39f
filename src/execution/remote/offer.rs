//! What can be asked for: models with their limits, and what a request would cost.

use crate::domain::{Frame, Micros, ModelId, Price, ProviderEntry, ProviderId, RemoteRequest};
use crate::providers::capabilities::{Mode, Model};
use crate::providers::{self, CreateOptions, Provider, RequestRefusal};

use super::generation::{self, Checked};
use super::price::{Billed, estimate, price_of};
use crate::domain::UnixMs;

/// A model that a provider offers.
#[derive(Clone, Debug)]
pub struct OfferedModel {
    /// What clients call it.
    pub id: ModelId,
    /// Who makes it.
    pub provider: ProviderId,
    /// What the provider calls it.
    pub name: String,
    /// Other names of the provider's for it. Requests may use them; lists show none.
    pub aliases: &'static [&'static str],
    /// What it can be asked for.
    pub modes: Vec<Mode>,
    /// What it costs, the most exact price first.
    pub prices: Vec<Price>,
    /// The currency.
    pub currency: String,
}

/// The model of a name among those that `is_meant` holds of: the one that lists show by it, else one that has it as another name.
pub fn called(offered: &[OfferedModel], name: &ModelId, is_meant: impl Fn(&OfferedModel) -> bool) -> Option<OfferedModel> {
    let meant = || offered.iter().filter(|model| is_meant(model));
    let listed = meant().find(|model| model.id == *name).cloned();
    listed.or_else(|| meant().find_map(|model| model.by_alias(name.as_str())))
}

impl OfferedModel {
    /// The model as a request means it that uses one of its other names, by which the provider is asked. Clients and policies go on with the
    /// name that lists show.
    pub fn by_alias(&self, alias: &str) -> Option<Self> {
        self.aliases.contains(&alias).then(|| Self { name: alias.to_owned(), ..self.clone() })
    }
}

/// A request that a model can fulfil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// What it will probably cost.
    pub estimated: Micros,
    /// The length of the film, seconds, where it is known.
    pub expected_seconds: Option<u32>,
    /// How large the result is as the provider is told; none where it is told nothing.
    pub frame: Option<Frame>,
}

/// The models that an enabled provider offers: those of the allow-list, else all whose names clients can use.
pub(super) fn models(id: &ProviderId, entry: &ProviderEntry, provider: &dyn Provider, currency: &str) -> Vec<OfferedModel> {
    let offered = |id_of_model: ModelId, name: &str, model: &Model| OfferedModel {
        provider: id.clone(),
        name: name.to_owned(),
        // A name of the operator's own stands for what it says and for nothing else.
        aliases: if id_of_model.as_str() == model.name && name == model.name { model.aliases } else { &[] },
        id: id_of_model,
        modes: model.modes.to_vec(),
        prices: entry.prices.iter().filter(|price| price.model.as_deref().is_none_or(|of| of == name)).cloned().collect(),
        currency: currency.to_owned(),
    };
    if entry.models.is_empty() {
        let all = provider.models().iter();
        return all.filter_map(|model| Some(offered(model.name.parse().ok()?, model.name, model))).collect();
    }
    let listed = entry.models.iter();
    listed.filter_map(|name| Some(offered(name.id.clone(), &name.name, providers::model(provider, &name.name)?))).collect()
}

/// What the provider calls a model that clients name; none where it is not offered.
pub(super) fn name_of(entry: &ProviderEntry, provider: &dyn Provider, id: &str) -> Option<String> {
    if entry.models.is_empty() {
        return providers::model(provider, id).map(|_| id.to_owned());
    }
    if let Some(name) = entry.models.iter().find(|name| name.id.as_str() == id) {
        return Some(name.name.clone());
    }
    let model = providers::model(provider, id).filter(|model| model.aliases.contains(&id))?;
    entry.models.iter().any(|name| name.id.as_str() == model.name && name.name == model.name).then(|| id.to_owned())
}

/// Checks a request for a model, by the provider's name of it.
pub(super) fn validate(
    entry: &ProviderEntry,
    provider: &dyn Provider,
    name: &str,
    request: &RemoteRequest,
    now: UnixMs,
) -> Result<Priced, RequestRefusal> {
    let Some(model) = providers::model(provider, name) else {
        let names: Vec<&str> = provider.models().iter().map(|model| model.name).collect();
        return Err(RequestRefusal::new("model", name, provider.name(), names.join(", ")));
    };
    let checked = generation::check(model, request)?;
    if request.pictures.is_empty() {
        // Some things only the account knows; with pictures they are seen when those are there.
        providers::create(provider, name, &generation::sketch(request), &CreateOptions::default(), now)?;
    }
    Ok(priced(entry, Some(provider), name, request, checked))
}

/// The names under which a model may have its price: the one that the provider is told, and the one of its table.
pub(super) fn priced_names<'a>(provider: Option<&'a dyn Provider>, name: &'a str) -> Vec<&'a str> {
    let table = provider.and_then(|provider| providers::model(provider, name)).map(|model| model.name);
    std::iter::once(name).chain(table.filter(|table| *table != name)).collect()
}

/// What a request costs.
pub(super) fn priced(
    entry: &ProviderEntry,
    provider: Option<&dyn Provider>,
    name: &str,
    request: &RemoteRequest,
    checked: Checked,
) -> Priced {
    let price = price_of(&entry.prices, &priced_names(provider, name), checked.tier);
    let Checked { expected_seconds, frame, .. } = checked;
    Priced { estimated: estimate(price, &billed(request, checked)), expected_seconds, frame }
}

/// What is billed of a request.
pub(super) fn billed(request: &RemoteRequest, checked: Checked) -> Billed {
    let seconds = checked.expected_seconds.or(request.seconds);
    Billed { output: request.output, seconds, pictures: request.count }
}

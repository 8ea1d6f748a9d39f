//! Which models a caller sees, and which one a request means.

use super::error::{ApiError, ErrorKind};
use super::state::ApiState;
use super::target::{Target, elsewhere, list_elsewhere, parse_provider};
use super::tenancy::Tenancy;
use crate::domain::{LOCAL_PROVIDER, ModelDescription, ModelId, ModelKind, Principal};
use crate::models::{ModelCatalog, ModelError};

/// Which models somebody may know of.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// An administrator's: all.
    All,
    /// Those that the policies allow.
    Allowed(Tenancy),
}

impl Sight {
    /// The caller's.
    pub(super) fn of(state: &ApiState, principal: &Principal) -> Result<Self, ApiError> {
        if principal.admin { Ok(Self::All) } else { Tenancy::of_caller(state, principal).map(Self::Allowed) }
    }

    /// Whether it is an administrator's.
    pub(super) const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether a model may be known of.
    pub(super) fn shows(&self, model: &ModelId) -> bool {
        match self {
            Self::All => true,
            Self::Allowed(tenancy) => tenancy.allows(model),
        }
    }

    fn list(&self, models: &ModelCatalog) -> Vec<ModelDescription> {
        models.list().into_iter().filter(|model| self.shows(&model.id)).collect()
    }

    /// A model by name. One that the caller may not know of is as if it were not there.
    fn find(&self, models: &ModelCatalog, name: &str) -> Result<ModelDescription, ApiError> {
        let id: ModelId = name.parse().map_err(|error: crate::domain::IdError| {
            ApiError::new(ErrorKind::ModelNotFound, error.to_string()).with_field("model")
        })?;
        match models.describe(&id) {
            Ok(model) if self.shows(&id) => Ok(model),
            Ok(_) | Err(ModelError::NotFound { .. }) => Err(self.not_found(models, &id)),
            Err(error) => Err(error.into()),
        }
    }

    fn not_found(&self, models: &ModelCatalog, id: &ModelId) -> ApiError {
        let installed = names(&self.list(models));
        ApiError::new(ErrorKind::ModelNotFound, format!("no model '{id}'; installed: {installed}")).with_field("model")
    }
}

/// Models by name, in a sentence.
fn names(models: &[ModelDescription]) -> String {
    if models.is_empty() {
        return "none".to_owned();
    }
    models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// Models that the caller may know of, and those that requests without a model get.
#[derive(Debug)]
pub(super) struct SeenModels {
    pub(super) models: Vec<ModelDescription>,
    pub(super) default_image: Option<ModelId>,
    pub(super) default_video: Option<ModelId>,
}

/// Every usable model that the caller may know of, and the ones that requests without a model get.
pub(super) async fn list_models(state: &ApiState, principal: &Principal) -> Result<SeenModels, ApiError> {
    let sight = Sight::of(state, principal)?;
    let tenancy = Tenancy::of_caller(state, principal)?;
    let (models, settings) = (state.models.clone(), state.settings.clone());
    let elsewhere = list_elsewhere(state, &sight);
    look_up(&state.models, move || {
        let mut seen = sight.list(&models);
        for model in elsewhere {
            if !seen.iter().any(|known| known.id == model.id) {
                seen.push(model);
            }
        }
        seen.sort_by(|a, b| a.id.cmp(&b.id));
        let default = |kind: ModelKind| {
            let is_one = |id: &ModelId| seen.iter().any(|model| model.id == *id && model.kind == kind);
            let engine: Option<ModelId> = tenancy.default_engine().and_then(|engine| engine.parse().ok());
            engine
                .filter(is_one)
                .or_else(|| settings.default_model(kind).cloned())
                .or_else(|| {
                    let own = seen.iter().filter(|model| model.provider == LOCAL_PROVIDER).cloned().collect();
                    ModelCatalog::default_among(own, kind).map(|model| model.id)
                })
                .filter(is_one)
        };
        let (default_image, default_video) = (default(ModelKind::Image), default(ModelKind::Video));
        Ok(SeenModels { models: seen, default_image, default_video })
    })
    .await
}

/// A model that the caller may know of.
pub(super) async fn find_model(state: &ApiState, principal: &Principal, name: String) -> Result<ModelDescription, ApiError> {
    let (sight, models) = (Sight::of(state, principal)?, state.models.clone());
    let elsewhere = name.parse().ok().and_then(|id| elsewhere(state, &sight, None, &id));
    look_up(&state.models, move || match (sight.find(&models, &name), elsewhere) {
        (Err(_), Some((model, _))) => Ok(model),
        (found, _) => found,
    })
    .await
}

/// What kind of thing the model of a request makes, where the request's fields do not say it; asked of `provider` where it names one. What
/// that provider does not offer is told by [`target_of_request`].
pub(super) async fn kind_of(
    state: &ApiState,
    principal: &Principal,
    provider: Option<&str>,
    name: &str,
) -> Result<ModelKind, ApiError> {
    let provider = provider.map(parse_provider).transpose()?.flatten();
    let id: Option<ModelId> = name.parse().ok();
    if let Some(id) = &id
        && (provider.is_some() || state.routes.find(id).is_some())
    {
        let found = elsewhere(state, &Sight::of(state, principal)?, provider.as_ref(), id);
        return Ok(found.map_or(ModelKind::Video, |(model, _)| model.kind));
    }
    Ok(find_model(state, principal, name.to_owned()).await?.kind)
}

/// The model of a request, and who runs it. A route's name goes before a model's of this server, and that before a provider's. Without a
/// name it is as [`model_of_request`] says; the configured default may be any of the three.
pub(super) async fn target_of_request(
    state: &ApiState,
    principal: &Principal,
    tenancy: &Tenancy,
    kind: ModelKind,
    provider: Option<&str>,
    name: Option<String>,
) -> Result<(ModelDescription, Target), ApiError> {
    let provider = match provider {
        Some(provider) => Some(parse_provider(provider)?),
        None => None,
    };
    let configured = || state.settings.default_model(kind).filter(|id| state.models.describe(id).is_err());
    let named = name.clone().or_else(|| tenancy.default_engine().map(str::to_owned));
    let id: Option<ModelId> = named.and_then(|name| name.parse().ok()).or_else(|| configured().cloned());
    // A provider that is named is asked before this server; this server itself is named by `None`.
    let is_own = |id: &ModelId| !matches!(provider, Some(Some(_))) && state.models.describe(id).is_ok();
    if provider != Some(None)
        && let Some(id) = &id
        && (!is_own(id) || state.routes.find(id).is_some())
    {
        let sight = Sight::Allowed(tenancy.clone());
        let sight = if principal.admin { Sight::All } else { sight };
        match elsewhere(state, &sight, provider.as_ref().and_then(Option::as_ref), id) {
            Some((model, target)) if model.kind == kind => return Ok((model, target)),
            Some((model, _)) if name.is_some() => return Err(wrong_kind(&model, kind)),
            _ => {}
        }
    }
    if let Some(Some(provider)) = &provider {
        let shown = name.as_deref().unwrap_or_default().chars().take(64).collect::<String>();
        let message = format!("provider '{provider}' offers no model '{shown}' to you; GET /api/v1/models lists what there is");
        return Err(ApiError::new(ErrorKind::ModelNotFound, message).with_field("model"));
    }
    Ok((model_of_request(state, principal, tenancy, kind, name).await?, Target::Local))
}

/// The model of a request for what a `kind` of model makes: the one it names, else the project's, else the configured one, else the only
/// one that may be used. `field` is where the request would name it.
///
/// A model that is installed but not allowed is found here and refused with the quotas, where the refusal says whose list it is not on.
pub(super) async fn model_of_request(
    state: &ApiState,
    principal: &Principal,
    tenancy: &Tenancy,
    kind: ModelKind,
    name: Option<String>,
) -> Result<ModelDescription, ApiError> {
    let sight = Sight::of(state, principal)?;
    let (models, configured, tenancy) = (state.models.clone(), state.settings.default_model(kind).cloned(), tenancy.clone());
    look_up(&state.models, move || {
        let named = |name: &str| {
            let installed = name.parse().ok().and_then(|id| models.describe(&id).ok());
            installed.map_or_else(|| sight.find(&models, name), Ok)
        };
        if let Some(name) = name {
            let model = named(&name)?;
            return if model.kind == kind { Ok(model) } else { Err(wrong_kind(&model, kind)) };
        }
        if let Some((project, engine)) = tenancy.project().zip(tenancy.default_engine()) {
            let engine = named(engine);
            // A project's engine for pictures is none for films, and the other way round.
            if engine.as_ref().is_ok_and(|engine| engine.kind == kind) || (engine.is_err() && kind == ModelKind::Image) {
                return engine.map_err(|error| {
                    let message = format!("the request names no model, and default_engine of project '{project}' is no help: ");
                    ApiError::new(error.kind(), message + error.message()).with_field("model")
                });
            }
        }
        if let Some(id) = configured {
            return Ok(models.describe(&id)?);
        }
        let usable: Vec<ModelDescription> = models.list().into_iter().filter(|model| tenancy.allows(&model.id)).collect();
        let usable: Vec<ModelDescription> = usable.into_iter().filter(|model| model.kind == kind).collect();
        ModelCatalog::default_among(usable.clone(), kind).ok_or_else(|| no_default(&usable, kind))
    })
    .await
}

/// What the model that a request names is for; `otherwise` without a name, and where [`model_of_request`] will not find it.
pub(super) async fn kind_named(state: &ApiState, name: Option<&str>, otherwise: ModelKind) -> Result<ModelKind, ApiError> {
    let Some(id) = name.and_then(|name| name.parse::<ModelId>().ok()) else { return Ok(otherwise) };
    let of_others = elsewhere(state, &Sight::All, None, &id).map(|(model, _)| model.kind);
    let (models, is_route) = (state.models.clone(), state.routes.find(&id).is_some());
    look_up(&state.models, move || {
        let own = models.describe(&id).ok().map(|model| model.kind);
        let kind = if is_route { of_others.or(own) } else { own.or(of_others) };
        Ok(kind.unwrap_or(otherwise))
    })
    .await
}

/// What a kind of model makes, in a sentence.
const fn makes(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Image => "pictures",
        ModelKind::Video => "films",
    }
}

fn wrong_kind(model: &ModelDescription, wanted: ModelKind) -> ApiError {
    let message = format!("'{}' makes {}, not {}", model.id, makes(model.kind), makes(wanted));
    ApiError::invalid("model", message)
}

fn no_default(usable: &[ModelDescription], kind: ModelKind) -> ApiError {
    if usable.is_empty() {
        return ApiError::new(ErrorKind::ModelNotFound, format!("no model for {} is installed", makes(kind))).with_field("model");
    }
    let installed = names(usable);
    ApiError::about(ErrorKind::MissingField, "model", format!("is missing and there is no default; installed: {installed}"))
}

/// The catalogue reads directories, every now and then: not on the async threads.
async fn look_up<T: Send + 'static>(
    models: &ModelCatalog,
    look: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if models.is_fresh() { look() } else { tokio::task::spawn_blocking(look).await.map_err(ApiError::internal)? }
}

//! What a model's name stands for: a model of this server, one of a provider, or a route to several.

use super::error::ApiError;
use super::model_choice::Sight;
use super::state::ApiState;
use super::tenancy::Tenancy;
use crate::domain::{LOCAL_PROVIDER, ModelDescription, ModelId, ModelKind, ModelLimits, ProviderId};
use crate::execution::remote::{OfferedModel, called};
use crate::providers::GenerationKind;
use crate::providers::capabilities::{FrameRule, Mode};
use crate::routes::Route;

/// Largest side that a provider may be asked for, pixels.
const MOST_SIDE: u32 = 16_384;
/// The size that is shown of a model whose own is not known, pixels.
const USUAL_SIZE: (u32, u32) = (1280, 720);

/// What a model's name stands for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A model of this server.
    Local,
    /// A model of a provider.
    Offered(Box<OfferedModel>),
    /// The first of several that can.
    Route(Box<Route>),
}

/// What a name stands for that no model of this server has, or that is asked of a certain provider; none where nobody has it. What the
/// caller may not know of is as if it were not there.
pub(super) fn elsewhere(
    state: &ApiState,
    sight: &Sight,
    provider: Option<&ProviderId>,
    name: &ModelId,
) -> Option<(ModelDescription, Target)> {
    let is_seen = |model: &OfferedModel| {
        provider.is_none_or(|wanted| model.provider == *wanted) && sight.shows_of(&model.provider, &model.id)
    };
    let offered = state.remote.describe();
    if provider.is_none()
        && let Some(route) = state.routes.find(name)
        && sight.shows_route(&route)
    {
        let description = describe_route(state, &offered, &route)?;
        return Some((description, Target::Route(Box::new(route))));
    }
    let model = called(&offered, name, is_seen)?;
    Some((describe(&model), Target::Offered(Box::new(model))))
}

/// Every route, and every model of providers, that the caller may know of.
pub(super) fn list_elsewhere(state: &ApiState, sight: &Sight) -> Vec<ModelDescription> {
    let offered = state.remote.describe();
    let routes = state.routes.all();
    let shown_routes = routes.values().filter(|route| sight.shows_route(route));
    let mut listed: Vec<ModelDescription> = shown_routes.filter_map(|route| describe_route(state, &offered, route)).collect();
    for model in offered.iter().filter(|model| sight.shows_of(&model.provider, &model.id)) {
        if !listed.iter().any(|known| known.id == model.id) {
            listed.push(describe(model));
        }
    }
    listed
}

/// A model of a provider, in the words of ours. What only the provider knows is left at what refuses nothing: its own tables are asked.
pub(super) fn describe(model: &OfferedModel) -> ModelDescription {
    let makes_pictures = model.modes.iter().any(|mode| mode.kind == GenerationKind::TextToImage);
    let (width, height) = model.modes.iter().find_map(usual_size).unwrap_or(USUAL_SIZE);
    let most = |of: fn(&Mode) -> u32| model.modes.iter().map(of).max().unwrap_or(1);
    ModelDescription {
        id: model.id.clone(),
        kind: if makes_pictures { ModelKind::Image } else { ModelKind::Video },
        family: model.provider.to_string(),
        provider: model.provider.to_string(),
        parameters: 0,
        weight_file_bytes: 0,
        created: 0,
        limits: ModelLimits {
            min_side: 1,
            max_side: MOST_SIDE,
            side_multiple: 1,
            max_images: most(|mode| mode.most_results),
            max_steps: 0,
            max_guidance_scale: 0.0,
            max_prompt_characters: most(|mode| u32::try_from(mode.prompt.most_characters).unwrap_or(u32::MAX)),
            default_width: width,
            default_height: height,
            default_steps: 0,
            default_guidance_scale: 0.0,
            default_strength: 0.0,
            samplers: Vec::new(),
            max_steps_by_sampler: std::collections::BTreeMap::new(),
        },
        inpainting: None,
        video: None,
    }
}

fn usual_size(mode: &Mode) -> Option<(u32, u32)> {
    match mode.frame {
        FrameRule::Sizes { default: Some(size), .. } => Some((size.width, size.height)),
        _ => None,
    }
}

/// A route in the words of its first target that is there.
fn describe_route(state: &ApiState, offered: &[OfferedModel], route: &Route) -> Option<ModelDescription> {
    let of_target = |target: &crate::routes::RouteTarget| match &target.provider {
        Some(provider) => called(offered, &target.model, |model| model.provider == *provider).as_ref().map(describe),
        None => state.models.describe(&target.model).ok(),
    };
    let described = route.targets.iter().find_map(of_target)?;
    let (id, family) = (route.name.clone(), "route".to_owned());
    Some(ModelDescription { id, family, provider: "route".to_owned(), ..described })
}

impl Sight {
    /// Whether a model of a provider may be known of.
    pub(super) fn shows_of(&self, provider: &ProviderId, model: &ModelId) -> bool {
        match self {
            Self::All => true,
            Self::Allowed(tenancy) => tenancy.allows_of(provider.as_str(), model),
        }
    }

    /// Whether a route may be known of: it is on the list itself, or one of its targets is.
    fn shows_route(&self, route: &Route) -> bool {
        let target = |tenancy: &Tenancy| {
            route.targets.iter().any(|target| {
                let provider = target.provider.as_ref().map_or(LOCAL_PROVIDER, ProviderId::as_str);
                tenancy.allows_of(provider, &target.model) || tenancy.allows_of(provider, &route.name)
            })
        };
        match self {
            Self::All => true,
            Self::Allowed(tenancy) => target(tenancy),
        }
    }
}

/// The provider that a request names; none for this server itself.
pub(super) fn parse_provider(text: &str) -> Result<Option<ProviderId>, ApiError> {
    if text == LOCAL_PROVIDER {
        return Ok(None);
    }
    let parsed: Result<ProviderId, crate::domain::IdError> = text.parse();
    parsed.map(Some).map_err(|error| ApiError::invalid("provider", format!("cannot be used: {error}")))
}

//! `/sdapi/v1/upscalers`: what enlarges a single picture.

use axum::Json;
use image::imageops::FilterType;
use serde::Serialize;
use utoipa::ToSchema;

use super::networks::NamedItem;

/// An upscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upscaler {
    /// Leaves the picture as it is.
    None,
    /// Filters it.
    Lanczos,
    /// Repeats pixels.
    Nearest,
}

impl Upscaler {
    const ALL: [Self; 3] = [Self::None, Self::Lanczos, Self::Nearest];

    /// The web UI's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Lanczos => "Lanczos",
            Self::Nearest => "Nearest",
        }
    }

    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upscaler| upscaler.name() == name)
    }

    /// How it enlarges, if it does.
    pub(super) const fn filter(self) -> Option<FilterType> {
        match self {
            Self::None => None,
            Self::Lanczos => Some(FilterType::Lanczos3),
            Self::Nearest => Some(FilterType::Nearest),
        }
    }

    /// All names, for people.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// An upscaler.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UpscalerItem {
    /// What `upscaler_1` takes.
    #[schema(value_type = String, example = "Lanczos")]
    name: &'static str,
    /// Always null.
    model_name: Option<String>,
    /// Always null.
    model_path: Option<String>,
    /// Always null.
    model_url: Option<String>,
    /// The web UI's number for those without a model.
    scale: f64,
}

/// List the upscalers
#[utoipa::path(get, path = "/sdapi/v1/upscalers", tag = "a1111", responses((status = 200, description = "Every upscaler", body = Vec<UpscalerItem>)))]
pub(in crate::api) async fn list_upscalers() -> Json<Vec<UpscalerItem>> {
    let item = |upscaler: Upscaler| UpscalerItem {
        name: upscaler.name(),
        model_name: None,
        model_path: None,
        model_url: None,
        scale: 4.0,
    };
    Json(Upscaler::ALL.map(item).into())
}

/// List the latent upscalers
///
/// None: there is no second pass here.
#[utoipa::path(get, path = "/sdapi/v1/latent-upscale-modes", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_latent_upscale_modes() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}

//! The surface's routes.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    checkpoints, extras, interrupt, memory, models, networks, options, pictures, png_info, progress, samplers, scripts,
    task_progress, upscalers,
};
use crate::api::state::ApiState;

/// All of them; they need a key.
pub(in crate::api) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(pictures::text_to_image))
        .routes(routes!(pictures::image_to_image))
        .routes(routes!(extras::enlarge_image))
        .routes(routes!(png_info::read_png_info))
        .routes(routes!(progress::get_progress))
        .routes(routes!(task_progress::get_task_progress))
        .routes(routes!(interrupt::interrupt))
        .routes(routes!(interrupt::skip))
        .routes(routes!(options::get_options, options::set_options))
        .routes(routes!(options::get_command_flags))
        .routes(routes!(memory::get_memory))
        .routes(routes!(models::list_sd_models))
        .routes(routes!(models::list_sd_vaes))
        .routes(routes!(samplers::list_samplers))
        .routes(routes!(samplers::list_schedulers))
        .routes(routes!(upscalers::list_upscalers))
        .routes(routes!(upscalers::list_latent_upscale_modes))
        .routes(routes!(networks::list_loras))
        .routes(routes!(networks::list_embeddings))
        .routes(routes!(networks::list_hypernetworks))
        .routes(routes!(networks::list_face_restorers))
        .routes(routes!(networks::list_realesrgan_models))
        .routes(routes!(networks::list_prompt_styles))
        .routes(routes!(scripts::list_scripts))
        .routes(routes!(scripts::list_script_info))
        .routes(routes!(scripts::list_extensions))
        .routes(routes!(checkpoints::unload_checkpoint))
        .routes(routes!(checkpoints::reload_checkpoint))
        .routes(routes!(checkpoints::refresh_checkpoints))
        .routes(routes!(checkpoints::refresh_vae))
        .routes(routes!(checkpoints::refresh_loras))
}

//! A request to `txt2img` or `img2img`, in the web UI's fields.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::whole_number::WholeNumber;

/// The web UI's fields; an absent or null one has the web UI's default. Fields that are not here are accepted and ignored, as there.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(in crate::api) struct PictureRequest {
    /// What the picture shows. Attention such as `(word:1.2)` is read as plain words by this version.
    #[schema(example = "a large red circle on a blue background")]
    pub(super) prompt: Option<String>,
    /// What it must not show.
    pub(super) negative_prompt: Option<String>,
    /// No styles are kept here: empty.
    pub(super) styles: Option<Vec<String>>,
    /// Seed of the first picture; picture i has seed + i. −1 is a random one, and the default.
    #[schema(value_type = Option<i64>, example = -1)]
    pub(super) seed: Option<WholeNumber>,
    /// Without effect at strength 0.
    #[schema(value_type = Option<i64>)]
    pub(super) subseed: Option<WholeNumber>,
    /// 0; there are no variation seeds here.
    pub(super) subseed_strength: Option<f64>,
    /// 0 or −1; seeds are not resized here.
    #[schema(value_type = Option<i64>)]
    pub(super) seed_resize_from_h: Option<WholeNumber>,
    /// 0 or −1; seeds are not resized here.
    #[schema(value_type = Option<i64>)]
    pub(super) seed_resize_from_w: Option<WholeNumber>,
    /// A name of `/sdapi/v1/samplers`; absent: `sampler_index`.
    #[schema(example = "DPM++ 2M")]
    pub(super) sampler_name: Option<String>,
    /// The old name of `sampler_name`; absent: `Euler`.
    pub(super) sampler_index: Option<String>,
    /// A name or label of `/sdapi/v1/schedulers`; absent: `Automatic`.
    #[schema(example = "Karras")]
    pub(super) scheduler: Option<String>,
    /// Pictures of a batch; absent: 1. A request has `batch_size` · `n_iter` pictures, as many as the model allows.
    #[schema(value_type = Option<u32>)]
    pub(super) batch_size: Option<WholeNumber>,
    /// Batches; absent: 1.
    #[schema(value_type = Option<u32>)]
    pub(super) n_iter: Option<WholeNumber>,
    /// Sampler steps; absent: 50, or the model's default where it cannot do as many.
    #[schema(value_type = Option<u32>)]
    pub(super) steps: Option<WholeNumber>,
    /// Classifier-free guidance; absent: 7.
    pub(super) cfg_scale: Option<f64>,
    /// Forge's; without effect on the models here.
    pub(super) distilled_cfg_scale: Option<f64>,
    /// Pixels across; absent: 512, or the model's default where it cannot do that.
    #[schema(value_type = Option<u32>)]
    pub(super) width: Option<WholeNumber>,
    /// Pixels down; absent: 512, or the model's default where it cannot do that.
    #[schema(value_type = Option<u32>)]
    pub(super) height: Option<WholeNumber>,
    /// False.
    pub(super) restore_faces: Option<bool>,
    /// False.
    pub(super) tiling: Option<bool>,
    /// Without effect: pictures are always kept.
    pub(super) do_not_save_samples: Option<bool>,
    /// Without effect: no grids are made.
    pub(super) do_not_save_grid: Option<bool>,
    /// The sampler's own: 1 for `Euler a` and `DPM++ 2M SDE`, 0 for `DDIM`; without effect on the others.
    pub(super) eta: Option<f64>,
    /// How much of the initial picture is noised away: above 0, at most 1; absent: 0.75. Without effect on `txt2img`.
    pub(super) denoising_strength: Option<f64>,
    /// 0.
    pub(super) s_min_uncond: Option<f64>,
    /// 0.
    pub(super) s_churn: Option<f64>,
    /// Without effect at `s_churn` 0.
    pub(super) s_tmax: Option<f64>,
    /// Without effect at `s_churn` 0.
    pub(super) s_tmin: Option<f64>,
    /// 1 for samplers that add noise; without effect on the others.
    pub(super) s_noise: Option<f64>,
    /// Settings for this request alone: `sd_model_checkpoint` is honoured; others that would make another picture are refused.
    #[schema(value_type = Option<Object>)]
    pub(super) override_settings: Option<Map<String, Value>>,
    /// Without effect: no setting outlives its request.
    pub(super) override_settings_restore_afterwards: Option<bool>,
    /// There are no refiners here.
    pub(super) refiner_checkpoint: Option<String>,
    /// Without effect without a refiner.
    pub(super) refiner_switch_at: Option<f64>,
    /// Without effect.
    pub(super) disable_extra_networks: Option<bool>,
    /// Null.
    #[schema(value_type = Option<Object>)]
    pub(super) firstpass_image: Option<Value>,
    /// Without effect.
    #[schema(value_type = Option<Object>)]
    pub(super) comments: Option<Value>,
    /// False; the fields that begin with `hr_` and `firstphase_` are without effect.
    pub(super) enable_hr: Option<bool>,
    #[schema(value_type = Option<u32>)]
    pub(super) firstphase_width: Option<Value>,
    #[schema(value_type = Option<u32>)]
    pub(super) firstphase_height: Option<Value>,
    #[schema(value_type = Option<f64>)]
    pub(super) hr_scale: Option<Value>,
    #[schema(value_type = Option<String>)]
    pub(super) hr_upscaler: Option<Value>,
    #[schema(value_type = Option<u32>)]
    pub(super) hr_second_pass_steps: Option<Value>,
    #[schema(value_type = Option<u32>)]
    pub(super) hr_resize_x: Option<Value>,
    #[schema(value_type = Option<u32>)]
    pub(super) hr_resize_y: Option<Value>,
    #[schema(value_type = Option<String>)]
    pub(super) hr_checkpoint_name: Option<Value>,
    #[schema(value_type = Option<String>)]
    pub(super) hr_sampler_name: Option<Value>,
    #[schema(value_type = Option<String>)]
    pub(super) hr_scheduler: Option<Value>,
    #[schema(value_type = Option<String>)]
    pub(super) hr_prompt: Option<Value>,
    #[schema(value_type = Option<String>)]
    pub(super) hr_negative_prompt: Option<Value>,
    /// There are no scripts here.
    pub(super) script_name: Option<String>,
    /// Without effect without a script.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(super) script_args: Option<Vec<Value>>,
    /// There are no scripts here: empty.
    #[schema(value_type = Option<Object>)]
    pub(super) alwayson_scripts: Option<Map<String, Value>>,
    /// Whether the answer carries the pictures; absent: true.
    pub(super) send_images: Option<bool>,
    /// Without effect: pictures are always kept.
    pub(super) save_images: Option<bool>,
    /// Your name of the task, for `/internal/progress`.
    pub(super) force_task_id: Option<String>,
    /// Null; fields are not read from such a text.
    pub(super) infotext: Option<String>,
    /// `img2img`: the picture to start from, base64, a data URL or a link; one.
    pub(super) init_images: Option<Vec<String>>,
    /// `img2img`: 0 stretches the picture to the size, 1 its middle, 2 draws its edges out over what it leaves free; 3 only for a picture of that size.
    #[schema(value_type = Option<u32>)]
    pub(super) resize_mode: Option<WholeNumber>,
    /// `img2img`: without effect on the models here.
    pub(super) image_cfg_scale: Option<f64>,
    /// `img2img`: which part is repainted, as a picture in the same forms: what is white; what is black or transparent is kept.
    pub(super) mask: Option<String>,
    /// `img2img`: 4 or 0, to the same effect: masks are black or white here. Without effect without a mask, as the fields that follow.
    #[schema(value_type = Option<u32>)]
    pub(super) mask_blur: Option<Value>,
    #[schema(value_type = Option<u32>)]
    pub(super) mask_blur_x: Option<Value>,
    #[schema(value_type = Option<u32>)]
    pub(super) mask_blur_y: Option<Value>,
    pub(super) mask_round: Option<bool>,
    /// `img2img`: 1; 0 is the same here: what is repainted begins with what was there.
    #[schema(value_type = Option<u32>)]
    pub(super) inpainting_fill: Option<Value>,
    /// `img2img`: false; true is the same here: the whole picture is worked on.
    #[schema(value_type = Option<bool>)]
    pub(super) inpaint_full_res: Option<Value>,
    #[schema(value_type = Option<u32>)]
    pub(super) inpaint_full_res_padding: Option<Value>,
    /// `img2img`: 1 repaints what is black.
    #[schema(value_type = Option<u32>)]
    pub(super) inpainting_mask_invert: Option<Value>,
    /// `img2img`: 1.
    pub(super) initial_noise_multiplier: Option<f64>,
    /// `img2img`: null.
    #[schema(value_type = Option<Object>)]
    pub(super) latent_mask: Option<Value>,
    /// `img2img`: whether the answer repeats the initial picture.
    pub(super) include_init_images: Option<bool>,
}

//! The fields that an answer repeats, with the web UI's defaults.

use serde_json::{Map, Value, json};

use super::picture_request::PictureRequest;
use crate::api::error::ApiError;
use crate::domain::ImageRequest;

/// The request as the web UI repeats it: every field, those that were absent with the values that took their place.
pub(super) fn repeated(
    request: &PictureRequest,
    made: &ImageRequest,
    is_from_picture: bool,
) -> Result<Map<String, Value>, ApiError> {
    let mut repeated = object(json!({
        "prompt": "",
        "negative_prompt": "",
        "styles": [],
        "seed": -1,
        "subseed": -1,
        "subseed_strength": 0,
        "seed_resize_from_h": -1,
        "seed_resize_from_w": -1,
        "sampler_name": null,
        "scheduler": null,
        "batch_size": 1,
        "n_iter": 1,
        "steps": made.num_inference_steps,
        "cfg_scale": made.guidance_scale,
        "width": made.width,
        "height": made.height,
        "restore_faces": null,
        "tiling": null,
    }));
    repeated.extend(object(json!({
        "do_not_save_samples": false,
        "do_not_save_grid": false,
        "eta": null,
        "denoising_strength": null,
        "s_min_uncond": null,
        "s_churn": null,
        "s_tmax": null,
        "s_tmin": null,
        "s_noise": null,
        "override_settings": null,
        "override_settings_restore_afterwards": true,
        "refiner_checkpoint": null,
        "refiner_switch_at": null,
        "disable_extra_networks": false,
        "firstpass_image": null,
        "comments": null,
        "sampler_index": "Euler",
        "script_name": null,
        "script_args": [],
        "send_images": true,
        "save_images": false,
        "alwayson_scripts": {},
        "force_task_id": null,
        "infotext": null,
    })));
    repeated.extend(object(if is_from_picture {
        json!({
            "denoising_strength": 0.75,
            "init_images": null,
            "resize_mode": 0,
            "image_cfg_scale": null,
            "mask": null,
            "mask_blur_x": 4,
            "mask_blur_y": 4,
            "mask_blur": null,
            "mask_round": true,
            "inpainting_fill": 0,
            "inpaint_full_res": true,
            "inpaint_full_res_padding": 0,
            "inpainting_mask_invert": 0,
            "initial_noise_multiplier": null,
            "latent_mask": null,
        })
    } else {
        json!({
            "enable_hr": false,
            "firstphase_width": 0,
            "firstphase_height": 0,
            "hr_scale": 2.0,
            "hr_upscaler": null,
            "hr_second_pass_steps": 0,
            "hr_resize_x": 0,
            "hr_resize_y": 0,
            "hr_checkpoint_name": null,
            "hr_sampler_name": null,
            "hr_scheduler": null,
            "hr_prompt": "",
            "hr_negative_prompt": "",
        })
    }));
    for (name, value) in object(serde_json::to_value(request).map_err(ApiError::internal)?) {
        if !value.is_null()
            && let Some(repeated) = repeated.get_mut(&name)
        {
            *repeated = value;
        }
    }
    Ok(repeated)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

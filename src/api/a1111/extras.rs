//! `/sdapi/v1/extra-single-image`: a picture made larger.

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sent_file::{bytes_of, sent_file};
use super::upscalers::Upscaler;
use crate::api::error::{A1111ValidationError, ApiError, ErrorKind};
use crate::api::extract::JsonBody;
use crate::api::state::ApiState;
use crate::api::whole_number::WholeNumber;
use crate::media::decode::{DecodedImage, MAX_SIDE, decode_image};
use crate::media::encode::{PngText, encode_png};

/// Most pixels of a picture that is made here, and of what the filter works in on the way.
const MOST_PIXELS: u64 = 16_777_216;
/// The web UI makes sides multiples of this.
const SIDE_MULTIPLE: f64 = 8.0;

/// A picture and the size that it shall have.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ExtraImageRequest {
    /// 0: larger by `upscaling_resize`; 1: as large as `upscaling_resize_w` and `upscaling_resize_h`. Absent: 0.
    #[schema(value_type = Option<u32>)]
    resize_mode: Option<WholeNumber>,
    /// Without effect.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    show_extras_results: Option<bool>,
    /// 0; there are no networks for faces here.
    gfpgan_visibility: Option<f64>,
    /// 0; there are no networks for faces here.
    codeformer_visibility: Option<f64>,
    /// Without effect.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    codeformer_weight: Option<f64>,
    /// Absent: 2.
    upscaling_resize: Option<f64>,
    /// Pixels; absent: 512.
    #[schema(value_type = Option<u32>)]
    upscaling_resize_w: Option<WholeNumber>,
    /// Pixels; absent: 512.
    #[schema(value_type = Option<u32>)]
    upscaling_resize_h: Option<WholeNumber>,
    /// Whether what is left over of another shape is cut off; absent: true.
    upscaling_crop: Option<bool>,
    /// A name of `/sdapi/v1/upscalers`; absent: `None`, which leaves the picture as it is.
    upscaler_1: Option<String>,
    /// `None`.
    upscaler_2: Option<String>,
    /// 0.
    extras_upscaler_2_visibility: Option<f64>,
    /// Without effect.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    upscale_first: Option<bool>,
    /// The picture: base64, a data URL, or a link.
    image: String,
}

/// The picture.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ExtraImage {
    /// What was done, in HTML.
    html_info: String,
    /// A PNG file in base64.
    image: String,
}

/// What shall be done.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Enlargement {
    upscaler: Upscaler,
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Factor(f64),
    Size { width: u32, height: u32, crops: bool },
}

/// Make a picture larger
///
/// By a filter, at once: it is no task, and nothing of it is kept.
#[utoipa::path(
    post, path = "/sdapi/v1/extra-single-image", tag = "a1111", request_body = ExtraImageRequest,
    responses(
        (status = 200, description = "The picture", body = ExtraImage),
        (status = 422, description = "A field cannot be used", body = A1111ValidationError),
    )
)]
pub(in crate::api) async fn enlarge_image(
    State(state): State<ApiState>,
    JsonBody(request): JsonBody<ExtraImageRequest>,
) -> Result<Json<ExtraImage>, ApiError> {
    let enlargement = request.enlargement()?;
    let file = sent_file(&state, "image", request.image).await?;
    let made = state.init_images.beside_others(move || {
        let bytes = bytes_of("image", file)?;
        let picture = decode_image(&bytes).map_err(|error| ApiError::invalid("image", format!("cannot be used: {error}")))?;
        let made = enlargement.apply(picture)?;
        encode_png(made.width, made.height, &made.rgb, &PngText::default()).map_err(ApiError::internal)
    });
    Ok(Json(ExtraImage { html_info: enlargement.html(), image: BASE64_STANDARD.encode(made.await?) }))
}

impl ExtraImageRequest {
    fn enlargement(&self) -> Result<Enlargement, ApiError> {
        let is_zero = |value: Option<f64>| value.is_none_or(|value| value == 0.0);
        let faces = [("gfpgan_visibility", self.gfpgan_visibility), ("codeformer_visibility", self.codeformer_visibility)];
        if let Some((field, _)) = faces.into_iter().find(|(_, value)| !is_zero(*value)) {
            return Err(ApiError::about(ErrorKind::UnsupportedField, field, "is not supported here; allowed: 0"));
        }
        let second = self.upscaler_2.as_deref().is_none_or(|name| name.is_empty() || name == "None");
        if !second && !is_zero(self.extras_upscaler_2_visibility) {
            return Err(ApiError::about(ErrorKind::UnsupportedField, "upscaler_2", "is not supported here; allowed: None"));
        }
        let name = self.upscaler_1.as_deref().filter(|name| !name.is_empty()).unwrap_or("None");
        let upscaler = Upscaler::named(name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            ApiError::about(ErrorKind::UnsupportedField, "upscaler_1", format!("is '{shown}'; allowed: {}", Upscaler::names()))
        })?;
        let side = |field: &'static str, number: Option<WholeNumber>| match u32::try_from(number.map_or(512, |number| number.0)) {
            Ok(side) if (1..=MAX_SIDE).contains(&side) => Ok(side),
            _ => Err(ApiError::invalid(field, format!("must be from 1 to {MAX_SIDE} pixels"))),
        };
        let target = match self.resize_mode.map_or(0, |number| number.0) {
            0 => match self.upscaling_resize.unwrap_or(2.0) {
                factor if factor > 0.0 && factor <= f64::from(MAX_SIDE) => Target::Factor(factor),
                factor => return Err(ApiError::invalid("upscaling_resize", format!("is {factor}; allowed: above 0"))),
            },
            1 => Target::Size {
                width: side("upscaling_resize_w", self.upscaling_resize_w)?,
                height: side("upscaling_resize_h", self.upscaling_resize_h)?,
                crops: self.upscaling_crop != Some(false),
            },
            mode => return Err(ApiError::invalid("resize_mode", format!("is {mode}; allowed: 0, 1"))),
        };
        Ok(Enlargement { upscaler, target })
    }
}

impl Enlargement {
    /// Blocking.
    fn apply(self, picture: DecodedImage) -> Result<DecodedImage, ApiError> {
        let Some(filter) = self.upscaler.filter() else { return Ok(picture) };
        let (across, down) = (f64::from(picture.width), f64::from(picture.height));
        let factor = match self.target {
            Target::Factor(factor) => factor,
            Target::Size { width, height, .. } => (f64::from(width) / across).max(f64::from(height) / down),
        };
        let (width, height) = (rounded(across * factor), rounded(down * factor));
        // The filter goes down first: it works in a picture of the old width and the new height.
        let most_pixels = (u64::from(width).max(picture.width.into())) * u64::from(height);
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE || most_pixels > MOST_PIXELS {
            let problem = format!("would be {width}x{height} pixels; allowed: 8 to {MAX_SIDE} a side, {MOST_PIXELS} in all");
            return Err(ApiError::invalid("image", problem));
        }
        let pixels = RgbImage::from_raw(picture.width, picture.height, picture.rgb)
            .ok_or_else(|| ApiError::internal("a picture's pixels do not fit its size"))?;
        let made = imageops::resize(&pixels, width, height, filter);
        let made = match self.target {
            Target::Size { width, height, crops: true } => on_black(&made, width, height),
            _ => made,
        };
        Ok(DecodedImage { width: made.width(), height: made.height(), rgb: made.into_raw() })
    }

    fn html(self) -> String {
        let what = match (self.upscaler, self.target) {
            (Upscaler::None, _) => return String::new(),
            (_, Target::Factor(factor)) => format!("Postprocess upscale by: {factor}"),
            (_, Target::Size { width, height, .. }) => format!("Postprocess upscale to: {width}x{height}"),
        };
        format!("<p>{what}, Postprocess upscaler: {}</p>", self.upscaler.name())
    }
}

/// Down to a multiple, as the web UI does.
fn rounded(side: f64) -> u32 {
    ((side / SIDE_MULTIPLE).floor() * SIDE_MULTIPLE) as u32
}

/// The middle of a picture, at exactly this size.
fn on_black(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let mut canvas = RgbImage::new(width, height);
    let at = |canvas: u32, picture: u32| i64::from(canvas / 2) - i64::from(picture / 2);
    imageops::replace(&mut canvas, picture, at(width, picture.width()), at(height, picture.height()));
    canvas
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn request(mut body: Value) -> Result<Enlargement, ApiError> {
        body["image"] = json!("");
        serde_json::from_value::<ExtraImageRequest>(body).unwrap().enlargement()
    }

    fn size(body: Value, width: u32, height: u32) -> (u32, u32) {
        let picture = DecodedImage { width, height, rgb: vec![200; (width * height * 3) as usize] };
        let made = request(body).unwrap().apply(picture).unwrap();
        assert_eq!(made.rgb.len(), (made.width * made.height * 3) as usize);
        (made.width, made.height)
    }

    #[rstest]
    #[case::none(json!({}), (13, 9), (13, 9))]
    #[case::twice(json!({"upscaler_1": "Lanczos"}), (16, 8), (32, 16))]
    #[case::multiples(json!({"upscaler_1": "Nearest", "upscaling_resize": 3}), (13, 9), (32, 24))]
    #[case::crop(json!({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 40, "upscaling_resize_h": 40}), (16, 8), (40, 40))]
    #[case::no_crop(
        json!({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 40, "upscaling_resize_h": 40, "upscaling_crop": false}),
        (16, 8), (80, 40)
    )]
    fn sizes(#[case] body: Value, #[case] (width, height): (u32, u32), #[case] expected: (u32, u32)) {
        assert_eq!(size(body, width, height), expected);
    }

    #[rstest]
    #[case(json!({"upscaler_1": "R-ESRGAN 4x+"}), "upscaler_1")]
    #[case(json!({"upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.5}), "upscaler_2")]
    #[case(json!({"gfpgan_visibility": 1}), "gfpgan_visibility")]
    #[case(json!({"resize_mode": 2}), "resize_mode")]
    #[case(json!({"upscaling_resize": 0}), "upscaling_resize")]
    #[case(json!({"resize_mode": 1, "upscaling_resize_w": 100_000}), "upscaling_resize_w")]
    fn other_wishes_are_refused(#[case] body: Value, #[case] field: &str) {
        assert_eq!(request(body).unwrap_err().field(), Some(field));
    }

    #[rstest]
    #[case(1000.0, 64, 64)]
    #[case(0.1, 16, 16)]
    #[case(1.0, 4100, 4100)]
    fn sizes_are_bounded(#[case] factor: f64, #[case] width: u32, #[case] height: u32) {
        let enlargement = request(json!({"upscaler_1": "Lanczos", "upscaling_resize": factor})).unwrap();
        let picture = DecodedImage { width, height, rgb: vec![0; (width * height * 3) as usize] };
        assert_eq!(enlargement.apply(picture).unwrap_err().field(), Some("image"));
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let picture = DecodedImage { width: 8, height: 8, rgb: vec![77; 8 * 8 * 3] };
        let made = request(json!({"upscaler_1": "Lanczos", "upscaling_resize": 2})).unwrap().apply(picture).unwrap();
        assert!(made.rgb.iter().all(|value| *value == 77));
    }
}

//! From what a job stores to what a provider's wire takes. Pure.

use crate::domain::{JobKind, PictureRole, RemotePicture, RemoteRequest, Tier};
use crate::media::decode::{DecodeError, decode_image};
use crate::media::encode::{EncodeError, encode_jpeg};
use crate::providers::capabilities::{Model, PictureRule};
use crate::providers::{
    Frame, FrameChoice, GenerationKind, GenerationRequest, Picture, PictureFormat, PictureSource, RequestRefusal, Validated,
    validate,
};

/// The quality of pictures that a provider does not take as they are, 1 to 100.
const JPEG_QUALITY: u8 = 92;

/// Why a picture of a request cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It cannot be read.
    #[error("a picture of the request cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// It cannot be written in a format of the provider's.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What is made from what.
pub fn kind_of(request: &RemoteRequest) -> GenerationKind {
    let has = |role| request.pictures.iter().any(|picture| picture.role == role);
    match request.output {
        JobKind::Image => GenerationKind::TextToImage,
        JobKind::Film if has(PictureRole::Reference) => GenerationKind::SubjectReference,
        JobKind::Film if has(PictureRole::LastFrame) => GenerationKind::FirstLastFrame,
        JobKind::Film if has(PictureRole::FirstFrame) => GenerationKind::ImageToVideo,
        JobKind::Film => GenerationKind::TextToVideo,
    }
}

/// The request with these pictures.
pub fn generation(request: &RemoteRequest, pictures: Vec<Picture>) -> GenerationRequest {
    let options = &request.options;
    GenerationRequest {
        negative_prompt: request.negative_prompt.clone(),
        frame: request.frame,
        seconds: request.seconds,
        frames_per_second: request.frames_per_second,
        seed: request.seed,
        count: (request.output == JobKind::Image).then_some(request.count),
        pictures,
        audio: options.audio,
        watermark: options.watermark,
        prompt_extension: options.prompt_extension,
        fast_pretreatment: options.fast_pretreatment,
        quality: options.quality.clone(),
        style: options.style.clone(),
        movement_amplitude: options.movement_amplitude.clone(),
        shot_type: options.shot_type.clone(),
        ..GenerationRequest::new(kind_of(request), request.prompt.clone())
    }
}

/// The request with pictures of which only the sizes are known: enough to be checked. Their formats are brought to the provider's when they
/// are sent.
pub fn sketch(request: &RemoteRequest) -> GenerationRequest {
    let picture = |picture: &RemotePicture| Picture {
        role: picture.role,
        source: PictureSource::Link("https://pictures.invalid/later.png".to_owned()),
        size: Some(picture.size()),
    };
    generation(request, request.pictures.iter().map(picture).collect())
}

/// A picture as the provider takes it: as the PNG that it is, or else as JPEG. Takes time: call it off the async threads.
pub fn picture(of: &RemotePicture, png: &[u8], rule: &PictureRule) -> Result<Picture, PictureError> {
    let fits = |format, bytes: u64| rule.formats.contains(&format) && bytes <= rule.most_bytes;
    let (format, bytes) = if fits(PictureFormat::Png, png.len() as u64) || !rule.formats.contains(&PictureFormat::Jpeg) {
        (PictureFormat::Png, png.to_vec())
    } else {
        let decoded = decode_image(png)?;
        let jpeg = encode_jpeg(decoded.width, decoded.height, &decoded.rgb, JPEG_QUALITY)?;
        (PictureFormat::Jpeg, jpeg)
    };
    Ok(Picture { role: of.role, source: PictureSource::Bytes { format, bytes }, size: Some(of.size()) })
}

/// Checks a request against a model's tables, with its sizes alone. Fails with [`RequestRefusal`].
pub fn check(model: &Model, request: &RemoteRequest) -> Result<Checked, RequestRefusal> {
    let sketch = sketch(request);
    let validated = validate(model, &sketch)?;
    let (tier, expected_seconds) = (tier_of(&validated, request.frame), validated.expected_seconds);
    Ok(Checked { tier, expected_seconds, frame: validated.frame.told() })
}

/// What is known of a request that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The tier of its size, which prices depend on.
    pub tier: Option<Tier>,
    /// The length that is made, seconds, where it is known.
    pub expected_seconds: Option<u32>,
    /// The size as the provider is told it; none where it is told nothing.
    pub frame: Option<Frame>,
}

/// The tier of a size: as it is sent, as it was asked for, or the one whose short side it has.
fn tier_of(validated: &Validated<'_>, asked: Option<Frame>) -> Option<Tier> {
    let size = match (validated.frame, asked) {
        (FrameChoice::TierAndRatio(Some(tier), _), _) | (_, Some(Frame::Tier(tier) | Frame::TierAndRatio(tier, _))) => {
            return Some(tier);
        }
        (FrameChoice::Size(size), _) => size,
        _ => return None,
    };
    // By pixels, since tiers have square sizes too: 960x960 is one of 720P.
    Some(match size.pixels() {
        0..=500_000 => Tier::P480,
        500_001..=1_300_000 => Tier::P720,
        1_300_001..=2_600_000 => Tier::P1080,
        2_600_001..=5_000_000 => Tier::K2,
        _ => Tier::K4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job_request::tests::remote;
    use crate::domain::{PixelSize, RemoteOptions};
    use crate::media::encode::{PngText, encode_png};
    use crate::providers::capabilities::PictureSlot;

    const SLOTS: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];

    fn pictures(roles: &[PictureRole]) -> Vec<RemotePicture> {
        roles.iter().map(|role| RemotePicture { role: *role, file: None, width: 640, height: 480 }).collect()
    }

    #[test]
    fn what_is_made_from_what_follows_from_the_pictures() {
        use PictureRole::{FirstFrame, LastFrame, Reference};
        for (output, roles, kind) in [
            (JobKind::Image, vec![], GenerationKind::TextToImage),
            (JobKind::Film, vec![], GenerationKind::TextToVideo),
            (JobKind::Film, vec![FirstFrame], GenerationKind::ImageToVideo),
            (JobKind::Film, vec![LastFrame], GenerationKind::FirstLastFrame),
            (JobKind::Film, vec![FirstFrame, LastFrame], GenerationKind::FirstLastFrame),
            (JobKind::Film, vec![Reference, FirstFrame], GenerationKind::SubjectReference),
        ] {
            let request = RemoteRequest { output, pictures: pictures(&roles), ..remote("minimax") };
            assert_eq!(kind_of(&request), kind, "{roles:?}");
        }
    }

    #[test]
    fn every_field_goes_along() {
        let request = RemoteRequest {
            negative_prompt: Some("rain".to_owned()),
            frames_per_second: Some(30),
            seed: Some(7),
            count: 3,
            options: RemoteOptions {
                audio: Some(true),
                watermark: Some(false),
                prompt_extension: Some(true),
                fast_pretreatment: Some(false),
                quality: Some("speed".to_owned()),
                style: Some("anime".to_owned()),
                movement_amplitude: Some("small".to_owned()),
                shot_type: Some("multi".to_owned()),
            },
            ..remote("minimax")
        };
        let made = generation(&request, Vec::new());
        assert_eq!((made.prompt.as_str(), made.negative_prompt.as_deref()), ("a ship [Push in]", Some("rain")));
        assert_eq!((made.frame, made.seconds, made.frames_per_second, made.seed), (request.frame, Some(6), Some(30), Some(7)));
        assert_eq!((made.audio, made.watermark), (Some(true), Some(false)));
        assert_eq!((made.prompt_extension, made.fast_pretreatment), (Some(true), Some(false)));
        let words = [made.quality, made.style, made.movement_amplitude, made.shot_type].map(Option::unwrap_or_default);
        assert_eq!(words, ["speed", "anime", "small", "multi"]);
        assert_eq!(made.count, None, "of films there is one");
        let pictures = RemoteRequest { output: JobKind::Image, ..request };
        assert_eq!(generation(&pictures, Vec::new()).count, Some(3));
    }

    #[test]
    fn pictures_are_sent_as_png_where_that_is_taken_and_small_enough() {
        let png = encode_png(32, 32, &[7; 32 * 32 * 3], &PngText::default()).unwrap();
        let of = &pictures(&[PictureRole::FirstFrame])[0];
        let rule = |formats, most_bytes| PictureRule { slots: SLOTS, formats, most_bytes, ..PictureRule::NONE };
        for (formats, most_bytes, expected) in [
            (&[PictureFormat::Png, PictureFormat::Jpeg][..], 1 << 20, PictureFormat::Png),
            (&[PictureFormat::Png, PictureFormat::Jpeg], 10, PictureFormat::Jpeg),
            (&[PictureFormat::Jpeg], 1 << 20, PictureFormat::Jpeg),
            (&[PictureFormat::Png], 10, PictureFormat::Png),
        ] {
            let sent = picture(of, &png, &rule(formats, most_bytes)).unwrap();
            let PictureSource::Bytes { format, bytes } = sent.source else { panic!("they are bytes") };
            assert_eq!(format, expected);
            assert!(decode_image(&bytes).is_ok());
            assert_eq!(sent.size, Some(PixelSize::new(640, 480)));
        }
        assert!(picture(of, b"no picture", &rule(&[PictureFormat::Jpeg], 1)).is_err());
    }
}

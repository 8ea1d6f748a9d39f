//! What all providers have in common: tools for their tests, and the rules of the tables.

mod hostile;

use secrecy::SecretString;
use serde_json::json;

use super::aliyun::{Aliyun, Region};
use super::capabilities::{FrameRule, SecondsRule};
use super::kling::Kling;
use super::minimax::{Minimax, Site};
use super::openai::{OpenAi, ServedModel};
use super::runway::Runway;
use super::stability::Stability;
use super::veo::Veo;
use super::zhipuai::{Authentication, Zhipuai};
use super::*;
use crate::domain::UnixMs;

/// A time.
pub(super) const NOW: UnixMs = UnixMs(1_760_000_000_000);

/// An account whose key must never be seen.
pub(super) fn account(base_url: &str) -> Account {
    Account::new(base_url, SecretString::from("an-id.a-secret")).unwrap()
}

/// A picture behind a link.
pub(super) fn linked(role: PictureRole, link: &str) -> Picture {
    Picture { role, source: PictureSource::Link(link.to_owned()), size: None }
}

/// A picture in a form that a rule takes.
fn pictured(rule: &capabilities::PictureRule, role: PictureRole) -> Picture {
    if rule.links { linked(role, "https://host/a.png") } else { bytes_of(role, PictureFormat::Png, 3) }
}

/// A picture that is here.
fn bytes_of(role: PictureRole, format: PictureFormat, length: usize) -> Picture {
    Picture { role, source: PictureSource::Bytes { format, bytes: vec![0; length] }, size: None }
}

/// An answer that nothing but status and body matter of.
pub(super) fn answered(status: u16, body: &[u8]) -> WireResponse<'_> {
    WireResponse { status, headers: &[], body }
}

/// A call as text: what goes over the wire, with credentials as their length.
pub(super) fn shown(request: &WireRequest) -> String {
    let headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| match value {
            HeaderText::Plain(text) => format!("{name}: {text}"),
            HeaderText::Secret(_) => format!("{name}: ({} hidden bytes)", value.expose().len()),
        })
        .collect();
    let body = match &request.body {
        None => String::new(),
        Some(Payload::Json(body)) => format!("\n\n{}", serde_json::to_string_pretty(body).unwrap()),
        Some(Payload::Form(fields)) => format!("\n\n{fields:?}"),
        Some(Payload::Multipart(parts)) => {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| match &part.file {
                    None => format!("{}: {}", part.name, String::from_utf8(part.bytes.clone()).unwrap()),
                    Some((name, media_type)) => {
                        format!("{}: ({name}, {media_type}, {} bytes)", part.name, part.bytes.len())
                    }
                })
                .collect();
            format!("\n\n{}", parts.join("\n"))
        }
    };
    format!("{} {}\n{}{body}", request.method.as_str(), request.url, headers.join("\n"))
}

/// A create that is possible.
pub(super) fn written(provider: &dyn Provider, model: &str, request: &GenerationRequest) -> WireRequest {
    create(provider, model, request, &CreateOptions::default(), NOW).unwrap_or_else(|refusal| panic!("{model}: {refusal}"))
}

/// Why a create is not possible.
pub(super) fn refused(provider: &dyn Provider, model: &str, request: &GenerationRequest) -> String {
    create(provider, model, request, &CreateOptions::default(), NOW).expect_err(model).to_string()
}

/// A model's name as far as messages repeat it.
fn begun(model: &capabilities::Model) -> &str {
    &model.name[..model.name.len().min(60)]
}

/// The smallest request that a mode takes.
pub(super) fn smallest(mode: &capabilities::Mode) -> GenerationRequest {
    let mut request = GenerationRequest::new(mode.kind, "a cat in the moonlight");
    for slot in mode.pictures.slots {
        request.pictures.extend((0..slot.fewest).map(|_| pictured(&mode.pictures, slot.role)));
    }
    request
}

/// A task of a model, for a film from a prompt.
pub(super) fn task(model: &str) -> RemoteTask {
    task_of(model, GenerationKind::TextToVideo)
}

/// A task of a model and a kind.
pub(super) fn task_of(model: &str, kind: GenerationKind) -> RemoteTask {
    RemoteTask { id: "0385dc79-5ff8-4d82-bcb6-000000000000".to_owned(), model: model.to_owned(), kind }
}

/// A task that was waiting, some polls ago.
pub(super) const RUNNING: Known = Known { state: Underway::Running, polls: 9 };

fn providers() -> Vec<Box<dyn Provider>> {
    vec![
        Box::new(Aliyun::new(account("https://dashscope.test/api/v1"), Region::Beijing, None).unwrap()),
        Box::new(Zhipuai::new(account("https://bigmodel.test/api/paas/v4"), Authentication::Key).unwrap()),
        Box::new(Minimax::new(account("https://minimax.test"), Site::China, None).unwrap()),
        Box::new(Kling::new(account("https://kling.test"), None).unwrap()),
        Box::new(Runway::new(account("https://runway.test/v1"))),
        Box::new(replicate::tests::replicate()),
        Box::new(fal::tests::fal()),
        Box::new(openai()),
        Box::new(Stability::new(account("https://stability.test"))),
        Box::new(Veo::new(account("https://veo.test/v1beta"))),
    ]
}

/// A service with models of the documents and with others.
fn openai() -> OpenAi {
    use GenerationKind::{ImageToVideo, TextToImage, TextToVideo};
    let mut models: Vec<ServedModel> = ["gpt-image-1", "gpt-image-2", "dall-e-3", "dall-e-2", "acme/painter:1"]
        .map(|name| ServedModel::new(name, &[TextToImage]).unwrap())
        .into();
    models.extend(["sora-2", "acme/filmer"].map(|name| ServedModel::new(name, &[TextToVideo, ImageToVideo]).unwrap()));
    OpenAi::new(account("https://openai.test/v1"), models).unwrap()
}

/// Every provider, model and mode.
fn every_mode(mut check: impl FnMut(&dyn Provider, &capabilities::Model, &capabilities::Mode)) {
    for provider in providers() {
        for model in provider.models() {
            for mode in model.modes {
                check(provider.as_ref(), model, mode);
            }
        }
    }
}

#[test]
fn every_mode_of_every_model_takes_its_smallest_request() {
    let mut modes = 0;
    every_mode(|provider, model, mode| {
        let call = written(provider, model.name, &smallest(mode));
        assert_eq!(call.method, Method::Post);
        assert!(matches!(call.headers[0].1, HeaderText::Secret(_)), "{}", model.name);
        // Where its whole name stands nowhere, it decides the route.
        let last_word = model.name.rsplit(['/', ':', '-']).next().unwrap();
        assert!(shown(&call).contains(last_word), "{}", model.name);
        assert!(!shown(&call).contains("a-secret") && !format!("{call:?}").contains("a-secret"));
        modes += 1;
    });
    assert!(modes > 50, "{modes}");
}

#[test]
fn no_name_means_two_models() {
    for provider in providers() {
        for model in provider.models() {
            for name in std::iter::once(&model.name).chain(model.aliases) {
                let meant: Vec<&str> =
                    provider.models().iter().filter(|other| other.is_called(name)).map(|other| other.name).collect();
                assert_eq!(meant, [model.name], "{name}");
            }
            let mut kinds: Vec<GenerationKind> = model.modes.iter().map(|mode| mode.kind).collect();
            kinds.dedup();
            assert_eq!(kinds.len(), model.modes.len(), "{}", model.name);
        }
    }
}

#[test]
fn an_unknown_model_is_named_with_those_that_are_known() {
    for provider in providers() {
        let message = refused(provider.as_ref(), "sora-9", &GenerationRequest::new(GenerationKind::TextToVideo, "x"));
        assert!(message.starts_with("model: 'sora-9' is not possible with"), "{message}");
        assert!(message.contains(provider.models()[0].name), "{message}");
    }
}

#[test]
fn a_kind_that_a_model_does_not_make_is_refused_with_those_it_makes() {
    every_mode(|provider, model, mode| {
        for kind in [
            GenerationKind::TextToVideo,
            GenerationKind::ImageToVideo,
            GenerationKind::FirstLastFrame,
            GenerationKind::SubjectReference,
            GenerationKind::TextToImage,
        ] {
            if model.mode(kind).is_none() {
                let message = refused(provider, model.name, &GenerationRequest::new(kind, "x"));
                assert!(message.starts_with("kind: ") && message.contains(mode.kind.name()), "{message}");
            }
        }
    });
}

#[test]
fn a_prompt_may_have_as_many_characters_as_the_table_says_and_not_one_more() {
    every_mode(|provider, model, mode| {
        // Characters, not bytes: these have three each.
        let mut request = smallest(mode);
        request.prompt = "猫".repeat(mode.prompt.most_characters);
        written(provider, model.name, &request);
        request.prompt.push('猫');
        let message = refused(provider, model.name, &request);
        assert!(message.starts_with("prompt: '") && message.contains(&mode.prompt.most_characters.to_string()), "{message}");
        request.prompt = "  ".to_owned();
        if mode.prompt.required {
            assert!(refused(provider, model.name, &request).starts_with("prompt: "), "{}", model.name);
        } else {
            let body = written(provider, model.name, &request).json().unwrap().clone();
            assert!(!body.to_string().contains("\"prompt\"") && !body.to_string().contains("\"text\""), "{body}");
        }
    });
}

#[test]
fn a_negative_prompt_is_bounded_or_refused() {
    every_mode(|provider, model, mode| {
        let mut request = smallest(mode);
        request.negative_prompt = Some("x".repeat(mode.negative_prompt_characters.unwrap_or(0)));
        written(provider, model.name, &request);
        request.negative_prompt = Some("x".repeat(mode.negative_prompt_characters.unwrap_or(0) + 1));
        let message = refused(provider, model.name, &request);
        assert!(message.starts_with("negative_prompt: "), "{message}");
    });
}

#[test]
fn every_length_of_the_table_is_sent_and_no_other() {
    every_mode(|provider, model, mode| {
        let mut request = smallest(mode);
        let (allowed, sent): (Vec<u32>, bool) = match mode.seconds {
            SecondsRule::Untold => (vec![], false),
            SecondsRule::Always { seconds, sent } => (vec![seconds], sent),
            SecondsRule::Listed { allowed, .. } => (allowed.to_vec(), true),
            SecondsRule::Between { fewest, most, .. } => ((fewest..=most).collect(), true),
            SecondsRule::ByTier { .. } => return,
        };
        for seconds in 0..=20 {
            request.seconds = Some(seconds);
            if allowed.contains(&seconds) {
                let text = shown(&written(provider, model.name, &request));
                let number = text.contains(&format!("\"duration\": {seconds}"));
                let as_text = text.contains(&format!("\"duration\": \"{seconds}\""));
                let in_form = text.contains(&format!("\nseconds: {seconds}"));
                assert_eq!(number || as_text || in_form, sent, "{text}");
            } else {
                let message = refused(provider, model.name, &request);
                assert!(message.starts_with(&format!("seconds: '{seconds}' is not possible with {}", begun(model))), "{message}");
            }
        }
    });
}

#[test]
fn what_is_sent_unasked_can_be_asked_for() {
    every_mode(|provider, model, mode| {
        let request = smallest(mode);
        let first = validate(model, &request).unwrap();
        let told = GenerationRequest { frame: first.frame.told(), seconds: first.expected_seconds, ..request.clone() };
        let second = validate(model, &told).unwrap();
        assert_eq!((second.frame, second.seconds, second.expected_seconds), (first.frame, first.seconds, first.expected_seconds));
        assert_eq!(shown(&written(provider, model.name, &told)), shown(&written(provider, model.name, &request)));
    });
}

#[test]
fn every_size_tier_and_ratio_of_the_table_is_possible_and_no_other() {
    every_mode(|provider, model, mode| {
        let mut request = smallest(mode);
        let mut possible = |frame: Frame, expected: bool| {
            request.frame = Some(frame);
            if expected {
                written(provider, model.name, &request);
            } else {
                let message = refused(provider, model.name, &request);
                assert!(message.starts_with(&format!("size: '{frame}' is not possible with {}", begun(model))), "{message}");
            }
        };
        let odd = Frame::Size(PixelSize::new(1279, 721));
        match mode.frame {
            FrameRule::Untold => {
                possible(odd, false);
                for tier in Tier::ALL {
                    possible(Frame::Tier(tier), false);
                }
            }
            FrameRule::Sizes { rows, custom, .. } => {
                for row in rows {
                    possible(Frame::Size(row.size), true);
                }
                for row in rows {
                    possible(Frame::Ratio(row.ratio), true);
                }
                for tier in Tier::ALL {
                    possible(Frame::Tier(tier), rows.iter().any(|row| row.tier == Some(tier)));
                }
                possible(odd, custom.is_some_and(|custom| custom.contains(PixelSize::new(1279, 721))));
                possible(Frame::Ratio(Ratio::new(5, 1)), false);
            }
            FrameRule::Tiers { tiers, .. } => {
                for tier in Tier::ALL {
                    possible(Frame::Tier(tier), tiers.contains(&tier));
                }
                possible(odd, false);
                possible(Frame::Ratio(Ratio::new(16, 9)), false);
            }
            FrameRule::TiersAndRatios { tiers, ratios, rows, .. } => {
                for tier in Tier::ALL {
                    possible(Frame::Tier(tier), tiers.contains(&tier));
                    possible(
                        Frame::TierAndRatio(tier, Ratio::new(1, 1)),
                        tiers.contains(&tier) && ratios.contains(&Ratio::new(1, 1)),
                    );
                }
                for ratio in [Ratio::new(16, 9), Ratio::new(4, 3), Ratio::new(21, 9), Ratio::new(5, 1)] {
                    possible(Frame::Ratio(ratio), ratios.contains(&ratio));
                }
                for row in rows {
                    possible(Frame::Size(row.size), true);
                }
                possible(odd, false);
            }
        }
    });
}

#[test]
fn every_picture_limit_has_an_inside_and_an_outside() {
    every_mode(|provider, model, mode| {
        let rule = mode.pictures;
        let Some(slot) = rule.slots.last() else {
            let mut request = smallest(mode);
            request.pictures.push(pictured(&rule, PictureRole::FirstFrame));
            let message = refused(provider, model.name, &request);
            assert!(message.starts_with("first_frame: '1 of the role first frame'"), "{message}");
            return;
        };
        // How many.
        let mut request = smallest(mode);
        while request.pictures_of(slot.role).count() < slot.most {
            request.pictures.push(pictured(&rule, slot.role));
        }
        written(provider, model.name, &request);
        request.pictures.push(pictured(&rule, slot.role));
        assert!(refused(provider, model.name, &request).starts_with(slot.role.field()));
        request.pictures.clear();
        assert!(refused(provider, model.name, &request).contains(": '0 of the role "));
        // Formats and bytes.
        let with = |picture: Picture| {
            let mut request = smallest(mode);
            let at = request.pictures.iter().position(|other| other.role == picture.role).unwrap();
            request.pictures[at] = picture;
            create(provider, model.name, &request, &CreateOptions::default(), NOW).map_err(|refusal| refusal.to_string())
        };
        let bytes = |format, length: u64| with(bytes_of(slot.role, format, usize::try_from(length).unwrap()));
        for format in [PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp, PictureFormat::Bmp] {
            assert_eq!(bytes(format, 3).is_ok(), rule.formats.contains(&format), "{}", model.name);
        }
        assert!(bytes(PictureFormat::Png, 0).unwrap_err().contains("0 bytes"));
        let message = bytes(PictureFormat::Png, rule.most_bytes + 1).unwrap_err();
        assert!(message.contains(&format!("1 to {} bytes", rule.most_bytes)), "{message}");
        // Sides and shape, where they are known.
        let sized = |width, height| with(Picture { size: Some(PixelSize::new(width, height)), ..pictured(&rule, slot.role) });
        assert!(sized(rule.fewest_side, rule.fewest_side).is_ok());
        assert!(sized(rule.most_side, rule.most_side).is_ok());
        assert!(rule.fewest_side == 1 || sized(rule.fewest_side - 1, rule.fewest_side).unwrap_err().contains("sides from"));
        assert!(sized(rule.most_side + 1, rule.most_side).unwrap_err().contains("sides from"));
        if rule.most_aspect_percent < 10_000 {
            let long = 400 * rule.most_aspect_percent / 100;
            assert!(sized(long, 400).is_ok() && sized(400, long).is_ok());
            assert!(sized(long + 1, 400).unwrap_err().contains("long by short side"));
        }
        // Links.
        assert_eq!(with(linked(slot.role, "https://host/a.png")).is_ok(), rule.links);
        assert_eq!(with(linked(slot.role, "oss://bucket/a.png")).is_ok(), rule.oss_links);
        for link in
            ["", "https://", "ftp://host/a", "file:///etc/passwd", "data:image/png;base64,AA", "https://host/a b", "a.png"]
        {
            let message = with(linked(slot.role, link)).unwrap_err();
            assert!(message.starts_with(&format!("{}: 'a link", slot.role.field())), "{message}");
        }
    });
}

#[test]
fn seeds_numbers_switches_and_words_are_those_of_the_table() {
    every_mode(|provider, model, mode| {
        let check = |field: &str, possible: bool, change: &dyn Fn(&mut GenerationRequest)| {
            let mut request = smallest(mode);
            change(&mut request);
            if possible {
                written(provider, model.name, &request);
            } else {
                let message = refused(provider, model.name, &request);
                assert!(message.starts_with(&format!("{field}: ")), "{}: {message}", model.name);
            }
        };
        check("seed", mode.most_seed.is_some(), &|request| request.seed = Some(mode.most_seed.unwrap_or(0)));
        check("seed", false, &|request| request.seed = Some(mode.most_seed.unwrap_or(0) + 1));
        check("n", true, &|request| request.count = Some(mode.most_results));
        check("n", false, &|request| request.count = Some(mode.most_results + 1));
        check("n", false, &|request| request.count = Some(0));
        for rate in [24, 30, 60] {
            check("fps", mode.frames_per_second.contains(&rate), &|request| request.frames_per_second = Some(rate));
        }
        for (field, switch) in [
            ("audio", mode.audio),
            ("watermark", mode.watermark),
            ("prompt_extension", mode.prompt_extension),
            ("fast_pretreatment", mode.fast_pretreatment),
        ] {
            for value in [false, true] {
                let possible = match switch {
                    capabilities::Switch::Never => !value,
                    capabilities::Switch::Always => value,
                    capabilities::Switch::Untold => false,
                    capabilities::Switch::Free | capabilities::Switch::Sent(_) => true,
                };
                check(field, possible, &|request| match field {
                    "audio" => request.audio = Some(value),
                    "watermark" => request.watermark = Some(value),
                    "prompt_extension" => request.prompt_extension = Some(value),
                    _ => request.fast_pretreatment = Some(value),
                });
            }
        }
        check("audio_link", mode.audio_link, &|request| request.audio_link = Some("https://host/a.mp3".to_owned()));
        check("audio_link", false, &|request| request.audio_link = Some("file:///a.mp3".to_owned()));
        for (field, words) in [
            ("quality", mode.qualities),
            ("style", mode.styles),
            ("movement_amplitude", mode.movement_amplitudes),
            ("shot_type", mode.shot_types),
        ] {
            for word in words.iter().chain(&["no such word"]) {
                check(field, words.contains(word), &|request| {
                    let place = match field {
                        "quality" => &mut request.quality,
                        "style" => &mut request.style,
                        "movement_amplitude" => &mut request.movement_amplitude,
                        _ => &mut request.shot_type,
                    };
                    *place = Some((*word).to_owned());
                });
            }
        }
    });
}

#[test]
fn camera_commands_are_for_models_that_know_them() {
    every_mode(|provider, model, mode| {
        let mut request = smallest(mode);
        request.prompt = "a man reads [Push in], then [固定]; [sic]".to_owned();
        if mode.camera {
            let body = written(provider, model.name, &request).json().unwrap().clone();
            assert_eq!(body["prompt"], json!(request.prompt), "commands stay in the prompt as they were written");
        } else {
            let message = refused(provider, model.name, &request);
            assert!(message.starts_with("prompt: '[Push in]' is not possible"), "{message}");
        }
        // What is no command is text.
        request.prompt = "[sic] a sign".to_owned();
        written(provider, model.name, &request);
        request.prompt = "[Push in, fly away] a sign".to_owned();
        assert!(refused(provider, model.name, &request).starts_with("prompt: "));
    });
}

#[test]
fn task_ids_that_no_provider_gives_are_not_polled() {
    for provider in providers() {
        for id in ["", "..", "a/../b", "a?b=c", "a#b", "a b", "é"] {
            for model in ["MiniMax-H3", "MiniMax-Hailuo-02"] {
                let task = RemoteTask { id: id.to_owned(), ..task(model) };
                assert_eq!(provider.poll(&task, NOW).unwrap_err().code, "bad_task_id");
                assert!(provider.cancel(&task, Known { state: Underway::Queued, polls: 0 }, NOW).is_none());
            }
        }
    }
}

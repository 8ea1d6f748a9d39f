use rstest::rstest;

use super::*;
use crate::providers::request::GenerationRequest;
use crate::providers::tests::linked;
use crate::providers::validate::validate;
use GenerationKind::{FirstLastFrame, ImageToVideo, SubjectReference, TextToImage, TextToVideo};

fn inputs() -> Inputs {
    Inputs {
        negative_prompt: Some("negative_prompt".to_owned()),
        size: Some(SizeInput::WidthAndHeight { width: "width".to_owned(), height: "height".to_owned() }),
        seconds: Some(SecondsInput { name: "duration".to_owned(), as_text: false, allowed: vec![5, 10] }),
        seed: Some("seed".to_owned()),
        first_frame: Some("image".to_owned()),
        fixed: json!({ "guidance": 3.5, "seed": 1 }).as_object().unwrap().clone(),
        ..Inputs::default()
    }
}

fn written(inputs: Inputs, kind: GenerationKind, request: &GenerationRequest) -> Result<Value, String> {
    let model = DescribedModel::new("a/b", &[kind], inputs).map_err(|error| error.to_string())?;
    let described = Described::new(vec![model], |_| true, "").map_err(|error| error.to_string())?;
    let checked = validate(&described.models()[0], request).map_err(|refusal| refusal.to_string())?;
    let object = described.of("a/b").unwrap().inputs.write("a/b", &checked).map_err(|refusal| refusal.to_string())?;
    Ok(Value::from(object))
}

#[test]
fn what_has_a_name_is_sent_under_it_beside_what_is_always_sent() {
    let request = GenerationRequest {
        negative_prompt: Some("blur".to_owned()),
        frame: Some("832x480".parse().unwrap()),
        seconds: Some(10),
        seed: Some(7),
        pictures: vec![linked(PictureRole::FirstFrame, "https://host/a.png")],
        ..GenerationRequest::new(ImageToVideo, "a ship")
    };
    let expected = json!({ "prompt": "a ship", "negative_prompt": "blur", "width": 832, "height": 480, "duration": 10, "seed": 7,
        "image": "https://host/a.png", "guidance": 3.5 });
    assert_eq!(written(inputs(), ImageToVideo, &request), Ok(expected));
    let request = GenerationRequest::new(TextToVideo, "a ship");
    let expected = json!({ "prompt": "a ship", "duration": 5, "seed": 1, "guidance": 3.5 });
    assert_eq!(written(inputs(), TextToVideo, &request), Ok(expected), "what is not asked for is as it is always sent");
}

#[test]
fn what_has_no_name_is_refused() {
    let plain = GenerationRequest::new(TextToVideo, "x");
    for (field, request) in [
        ("negative_prompt", GenerationRequest { negative_prompt: Some("y".to_owned()), ..plain.clone() }),
        ("size", GenerationRequest { frame: Some("512x512".parse().unwrap()), ..plain.clone() }),
        ("seconds", GenerationRequest { seconds: Some(5), ..plain.clone() }),
        ("seed", GenerationRequest { seed: Some(5), ..plain.clone() }),
        ("n", GenerationRequest { count: Some(2), ..plain.clone() }),
        ("audio", GenerationRequest { audio: Some(true), ..plain.clone() }),
    ] {
        let message = written(Inputs::default(), TextToVideo, &request).unwrap_err();
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    assert_eq!(written(Inputs::default(), TextToVideo, &plain), Ok(json!({ "prompt": "x" })));
}

#[test]
fn a_told_limit_without_an_input_for_it_is_refused_too() {
    let mut model = DescribedModel::new("a/b", &[TextToVideo], Inputs::default()).unwrap();
    model.modes[0].most_seed = Some(9);
    let described = Described::new(vec![model], |_| true, "").unwrap();
    let request = GenerationRequest { seed: Some(5), ..GenerationRequest::new(TextToVideo, "x") };
    let checked = validate(&described.models()[0], &request).unwrap();
    let refusal = described.of("a/b").unwrap().inputs.write("a/b", &checked).unwrap_err();
    assert_eq!(refusal.field, "seed");
}

#[rstest]
#[case(SizeInput::Text("size".to_owned()), "512x768", json!({ "size": "512x768" }))]
#[case(SizeInput::Object("image_size".to_owned()), "512x768", json!({ "image_size": { "width": 512, "height": 768 } }))]
#[case(words(), "720P 16:9", json!({ "resolution": "720p", "aspect_ratio": "16:9" }))]
#[case(words(), "9:16", json!({ "aspect_ratio": "9:16" }))]
fn sizes_are_told_in_the_models_words(#[case] size: SizeInput, #[case] frame: &str, #[case] expected: Value) {
    let request = GenerationRequest { frame: Some(frame.parse().unwrap()), ..GenerationRequest::new(TextToImage, "x") };
    let mut object = written(Inputs { size: Some(size), ..Inputs::default() }, TextToImage, &request).unwrap();
    object.as_object_mut().unwrap().remove("prompt");
    assert_eq!(object, expected);
}

fn words() -> SizeInput {
    SizeInput::Words {
        tier: Some(("resolution".to_owned(), vec![Tier::P720])),
        ratio: Some(("aspect_ratio".to_owned(), vec![Ratio::new(16, 9), Ratio::new(9, 16)])),
    }
}

#[test]
fn words_that_were_not_told_are_refused() {
    for frame in ["1080P", "1:1", "512x512"] {
        let request = GenerationRequest { frame: Some(frame.parse().unwrap()), ..GenerationRequest::new(TextToImage, "x") };
        let message = written(Inputs { size: Some(words()), ..Inputs::default() }, TextToImage, &request).unwrap_err();
        assert!(message.starts_with(&format!("size: '{frame}' is not possible with a/b")), "{message}");
    }
}

#[test]
fn lengths_may_be_texts() {
    let seconds = SecondsInput { name: "seconds".to_owned(), as_text: true, allowed: vec![] };
    let inputs = Inputs { seconds: Some(seconds), ..Inputs::default() };
    let request = GenerationRequest { seconds: Some(7), ..GenerationRequest::new(TextToVideo, "x") };
    assert_eq!(written(inputs.clone(), TextToVideo, &request), Ok(json!({ "prompt": "x", "seconds": "7" })));
    let request = GenerationRequest { seconds: Some(121), ..GenerationRequest::new(TextToVideo, "x") };
    assert!(written(inputs, TextToVideo, &request).unwrap_err().contains("allowed: 1 to 120"));
}

#[test]
fn a_number_of_results_is_always_told() {
    let inputs = Inputs { count: Some(("num_outputs".to_owned(), 4)), ..Inputs::default() };
    let request = GenerationRequest::new(TextToImage, "x");
    assert_eq!(written(inputs.clone(), TextToImage, &request), Ok(json!({ "prompt": "x", "num_outputs": 1 })));
    let request = GenerationRequest { count: Some(5), ..GenerationRequest::new(TextToImage, "x") };
    assert!(written(inputs, TextToImage, &request).unwrap_err().starts_with("n: '5'"));
}

#[test]
fn descriptions_that_make_no_sense_are_refused() {
    let missing = |kind, inputs| DescribedModel::new("a/b", &[kind], inputs).unwrap_err().to_string();
    assert_eq!(missing(ImageToVideo, Inputs::default()), "model 'a/b': image to video needs a name for the input 'first_frame'");
    assert!(missing(FirstLastFrame, inputs()).contains("'last_frame'"));
    assert!(missing(SubjectReference, inputs()).contains("'references'"));
    let twice = Inputs { seed: Some("prompt".to_owned()), ..Inputs::default() };
    assert!(missing(TextToVideo, twice).contains("the name 'prompt' of an input"));
    assert!(missing(TextToVideo, Inputs { prompt: String::new(), ..Inputs::default() }).contains("the name '' of an input"));

    let model = |kinds: &[GenerationKind]| DescribedModel::new("a/b", kinds, Inputs::default()).unwrap();
    let refused = |models: Vec<DescribedModel>| Described::new(models, |name| name.contains('/'), "owner/name").unwrap_err();
    assert_eq!(refused(vec![model(&[TextToVideo, TextToImage])]), DescriptionError::Kinds("a/b".to_owned()));
    assert_eq!(refused(vec![model(&[])]), DescriptionError::Kinds("a/b".to_owned()));
    assert_eq!(refused(vec![model(&[TextToVideo]), model(&[TextToImage])]), DescriptionError::Twice("a/b".to_owned()));
    let pointing = DescribedModel { results: Some("video.url".to_owned()), ..model(&[TextToVideo]) };
    assert_eq!(refused(vec![pointing]), DescriptionError::Pointer("a/b".to_owned()));
    let nameless = DescribedModel { name: "ab".to_owned(), ..model(&[TextToVideo]) };
    assert_eq!(refused(vec![nameless]).to_string(), "model: 'ab' is no name of a model here; write it as owner/name");
}

#[rstest]
#[case(json!("https://host/a.png"), 1)]
#[case(json!(["https://host/a.png", "https://host/b.png", 7, "words"]), 2)]
#[case(json!({ "url": "https://host/a.png", "thumbnail": "https://host/t.png" }), 1)]
#[case(json!({ "images": [{ "url": "https://host/a.png" }, { "url": "data:image/png;base64,AQID" }] }), 2)]
#[case(json!([[[[["https://host/a.png"]]]]]), 0)]
#[case(json!(["file:///etc/passwd", "ftp://host/a", null, {}]), 0)]
fn results_are_links_wherever_they_stand_but_not_too_deep(#[case] output: Value, #[case] count: usize) {
    let model = DescribedModel::new("a/b", &[TextToImage], Inputs::default()).unwrap();
    let described = Described::new(vec![model], |_| true, "").unwrap();
    assert_eq!(described.of("a/b").unwrap().results(&output, &[""]).len(), count);
}

#[test]
fn the_operator_may_point_at_results() {
    let model = DescribedModel::new("a/b", &[TextToVideo], Inputs::default()).unwrap();
    let model = DescribedModel { results: Some("/out/film".to_owned()), ..model };
    let described = Described::new(vec![model], |_| true, "").unwrap();
    let details = described.of("a/b").unwrap();
    let output = json!({ "preview": "https://host/p.png",
        "out": { "film": { "url": "https://host/a.mp4", "width": 1280, "height": 720 } } });
    let results = details.results(&output, &[""]);
    assert_eq!(results.len(), 1);
    assert_eq!((results[0].kind, results[0].size), (ResultKind::Video, Some(PixelSize::new(1280, 720))));
    assert!(details.results(&json!({ "preview": "https://host/p.png" }), &[""]).is_empty());
    let many: Vec<String> = (0..100).map(|number| format!("https://host/{number}.mp4")).collect();
    assert_eq!(details.results(&json!({ "out": { "film": many } }), &[""]).len(), MOST_RESULTS);
}

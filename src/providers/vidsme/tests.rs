use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};

use aes::Aes128;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use proptest::prelude::*;
use rsa::pkcs8::DecodePrivateKey;
use rsa::{Pkcs1v15Encrypt, PrivateKey};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{self, InvalidRequest, OutcomeUnknown, Upstream};
use crate::providers::outcome::{ResultSource, Underway};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationKind, GenerationRequest};
use crate::providers::tests::{NOW, RUNNING, answered, refused, task_of, written};

/// Made for these tests and used nowhere else.
const PRIVATE_KEY: &str = include_str!("test_keys/private_key.pem");
const PUBLIC_KEY: &str = include_str!("test_keys/public_key.pem");

/// Counts upwards, or gives nothing.
#[derive(Debug)]
struct Counting(Option<AtomicU8>);

impl Randomness for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        let next = self.0.as_ref().ok_or(NoRandomness)?;
        bytes.fill_with(|| next.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

fn settings() -> Settings {
    Settings {
        app_id: "an-app".to_owned(),
        salt: SecretString::from("some-salt"),
        public_key: PUBLIC_KEY.to_owned(),
        pictures_url: PICTURES_URL.to_owned(),
        models: vec![
            Named { name: "anime".to_owned(), wire_name: None },
            Named { name: "another".to_owned(), wire_name: Some("another(wire)".to_owned()) },
        ],
    }
}

fn account() -> Account {
    Account::new(BASE_URL, SecretString::from("0123abcd")).unwrap()
}

fn vidsme() -> Vidsme {
    Vidsme::new(account(), settings(), Arc::new(Counting(Some(AtomicU8::new(0))))).unwrap()
}

fn asked() -> GenerationRequest {
    GenerationRequest::new(GenerationKind::TextToImage, "a cat")
}

fn task() -> RemoteTask {
    task_of("anime", GenerationKind::TextToImage)
}

fn query(call: &WireRequest) -> HashMap<String, String> {
    call.url.query_pairs().into_owned().collect()
}

fn polled(status: u16, body: &Value) -> Result<Polled, ProviderFailure> {
    vidsme().read_polled(&task(), RUNNING, &answered(status, body.to_string().as_bytes()))
}

/// What the application does with a signature: the text that was signed, and the key that it was signed with.
fn opened(query: &HashMap<String, String>) -> (String, Vec<u8>) {
    let private_key = PrivateKey::from_pkcs8_pem(PRIVATE_KEY).unwrap();
    let decoded = |field: &str| BASE64_STANDARD.decode(&query[field]).unwrap();
    let key = private_key.decrypt(Pkcs1v15Encrypt, &decoded("secret_key")).unwrap();
    let cipher = Decryptor::<Aes128>::new_from_slices(&key, &key).unwrap();
    let text = cipher.decrypt_padded_vec::<Pkcs7>(&decoded("sign")).unwrap();
    (String::from_utf8(text).unwrap(), key)
}

#[test]
fn the_application_can_open_what_was_signed() {
    let call = written(&vidsme(), "anime", &asked());
    let query = query(&call);
    let (text, key) = opened(&query);
    assert_eq!(key, b"AgCiEkGmAgCiEkGm", "the random bytes 0, 32, 64 and so on, as letters");
    // After 512 bytes the counter is at 0 again; version and variant of the UUID are set.
    assert_eq!(query["nonce"], "00010203-0405-4607-8809-0a0b0c0d0e0f");
    assert_eq!((query["app_id"].as_str(), query["t"].as_str()), ("an-app", "1760000000"), "seconds, not milliseconds");
    assert_eq!(text, format!("an-app:some-salt:1760000000:{}:{}", query["nonce"], query["secret_key"]));
    assert_eq!(query.len(), 5);
}

#[test]
fn every_call_is_signed_anew() {
    let provider = vidsme();
    let (one, another) = (query(&written(&provider, "anime", &asked())), query(&written(&provider, "anime", &asked())));
    for field in ["nonce", "secret_key", "sign"] {
        assert_ne!(one[field], another[field], "{field}");
    }
}

#[test]
fn the_calls_are_those_of_the_web_application() {
    let call = written(&vidsme(), "another", &asked());
    assert_eq!((call.method, call.url.path()), (Method::Post, "/api/texttoimg/v1/task"));
    let body = json!({ "prompt": "a cat", "model": "another(wire)", "user_id": "0123abcd", "height": 768, "width": 512 });
    assert_eq!(call.json(), Some(&body), "nothing is added to the prompt");
    assert!(call.headers.iter().any(|(name, value)| name == "Origin" && value.expose() == "https://chatsweetie.ai"));
    let call = vidsme().poll(&RemoteTask { id: "77".to_owned(), ..task() }, NOW).unwrap();
    let query = query(&call);
    assert_eq!((call.method, query["user_id"].as_str(), query["job_id"].as_str()), (Method::Get, "0123abcd", "77"));
    opened(&query);
    let shown = format!("{call:?} {:?}", vidsme());
    assert!(!shown.contains("0123abcd") && !shown.contains("secret_key=") && !shown.contains("some-salt"), "{shown}");
}

#[test]
fn three_shapes_and_no_other() {
    for (frame, sent) in [("1:1", (512, 512)), ("3:2", (768, 512)), ("2:3", (512, 768)), ("512x768", (512, 768))] {
        let body = written(&vidsme(), "anime", &GenerationRequest { frame: Some(frame.parse().unwrap()), ..asked() });
        let body = body.json().unwrap().clone();
        assert_eq!((&body["width"], &body["height"]), (&json!(sent.0), &json!(sent.1)), "{frame}");
    }
    let odd = GenerationRequest { frame: Some("1024x1024".parse().unwrap()), ..asked() };
    assert!(create(&vidsme(), "anime", &odd, &CreateOptions::default(), NOW).is_err());
}

#[test]
fn there_are_no_models_unless_they_are_named() {
    let none = Settings { models: Vec::new(), ..settings() };
    let provider = Vidsme::new(account(), none, Arc::new(Counting(None))).unwrap();
    assert!(provider.models().is_empty());
    assert!(refused(&provider, "anime", &asked()).starts_with("model: 'anime' is not possible with vidsme"));
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut changed = settings();
        change(&mut changed);
        Vidsme::new(account(), changed, Arc::new(Counting(None))).unwrap_err().to_string()
    };
    assert!(refused(&|settings| settings.app_id = "a:b".to_owned()).starts_with("app_id: "));
    assert!(refused(&|settings| settings.models[0].name = "a b".to_owned()).starts_with("model: "));
    for key in ["", "key", PRIVATE_KEY, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert!(refused(&|settings| settings.public_key = key.to_owned()).starts_with("public_key: is no RSA key"), "{key}");
    }
    for url in ["", "ftp://host/", "https://u:p@host/", "https://host/?a=b"] {
        assert!(refused(&|settings| settings.pictures_url = url.to_owned()).starts_with("pictures_url: "), "{url}");
    }
    let odd = Account::new(BASE_URL, SecretString::from("a&b=c")).unwrap();
    assert!(Vidsme::new(odd, settings(), Arc::new(Counting(None))).is_err());
}

#[test]
fn without_random_numbers_nothing_is_sent() {
    let provider = Vidsme::new(account(), settings(), Arc::new(Counting(None))).unwrap();
    assert!(refused(&provider, "anime", &asked()).contains("no random numbers"));
    assert_eq!(provider.poll(&task(), NOW).unwrap_err().code, "not_sent");
}

#[rstest]
#[case(200, json!({ "code": 4001, "msg": "no" }), InvalidRequest, "4001")]
#[case(200, json!({ "code": 200, "data": {} }), OutcomeUnknown, "unreadable_answer")]
#[case(200, json!({ "data": { "job_id": "7" } }), OutcomeUnknown, "http_200")]
#[case(502, json!({ "code": 502 }), OutcomeUnknown, "502")]
fn a_create_that_is_refused_says_so(#[case] status: u16, #[case] body: Value, #[case] class: FailureClass, #[case] code: &str) {
    let failure = vidsme().read_created("anime", &answered(status, body.to_string().as_bytes())).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (class, code));
}

#[test]
fn a_job_has_an_id_of_letters_or_a_number() {
    for (job_id, id) in [(json!("ab-7"), "ab-7"), (json!(77), "77")] {
        let body = json!({ "code": 200, "msg": "ok", "data": { "job_id": job_id } }).to_string();
        let accepted = Created::Accepted { task: id.to_owned(), state: Underway::Queued };
        assert_eq!(vidsme().read_created("anime", &answered(200, body.as_bytes())), Ok(accepted));
    }
}

#[test]
fn a_path_is_the_end_and_stays_on_the_configured_host() {
    for data in
        [json!({ "status": 1 }), json!({ "status": "x", "generate_url": "" }), json!({ "generate_url": null }), json!(null)]
    {
        assert_eq!(polled(200, &json!({ "code": 200, "data": data })), Ok(Polled::underway(Underway::Running)));
    }
    for (path, url) in [
        ("path/of/image.png", "https://art-global.yimeta.ai/path/of/image.png"),
        ("/a.png", "https://art-global.yimeta.ai/a.png"),
        ("//evil.test/a.png", "https://art-global.yimeta.ai/evil.test/a.png"),
        ("https://evil.test/a.png", "https://art-global.yimeta.ai/https://evil.test/a.png"),
        ("@evil.test/a.png", "https://art-global.yimeta.ai/@evil.test/a.png"),
    ] {
        let Ok(Polled::Finished(finished)) = polled(200, &json!({ "code": 200, "data": { "generate_url": path } })) else {
            panic!("not finished: {path}")
        };
        assert_eq!(finished.results[0].source, ResultSource::link(url));
    }
    let without_slash = pictures_url("https://host").unwrap();
    assert_eq!(without_slash.as_str(), "https://host/");
    assert!(polled(200, &json!({ "code": 500, "msg": "busy" })).unwrap_err().class.may_read_again());
}

#[test]
fn a_page_against_programs_is_reported_and_not_got_round() {
    let page = answered(403, b"\n<html><body>Attention Required!</body></html>");
    for failure in
        [vidsme().read_created("anime", &page).unwrap_err(), vidsme().read_polled(&task(), RUNNING, &page).unwrap_err()]
    {
        assert_eq!((failure.class, failure.code.as_str()), (Upstream, "upstream_blocked"));
    }
}

#[test]
fn nothing_can_be_cancelled_and_only_ids_are_polled() {
    assert!(vidsme().cancel(&task(), RUNNING, NOW).is_none() && !vidsme().following("anime").cancels_queued);
    let odd = RemoteTask { id: "1&user_id=2".to_owned(), ..task() };
    assert_eq!(vidsme().poll(&odd, NOW).unwrap_err().code, "bad_task_id");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_signature_can_be_opened(start in any::<u8>(), now in 0_i64..4_000_000_000_000) {
        let provider = Vidsme::new(account(), settings(), Arc::new(Counting(Some(AtomicU8::new(start))))).unwrap();
        let (text, key) = opened(&query(&provider.call(Method::Get, UnixMs(now)).unwrap()));
        let start = format!("an-app:some-salt:{}:", now / 1000);
        prop_assert!(text.starts_with(&start), "{}", text);
        prop_assert!(key.len() == 16 && key.iter().all(u8::is_ascii_alphanumeric));
    }

    #[test]
    fn no_answer_makes_a_reader_panic(
        status in any::<u16>(),
        field in "(code|data|msg|job_id)",
        value in "\\PC{0,30}|[0-9]{1,20}|\\{\"generate_url\":\"[a-z/:@?#]{0,20}\"\\}|null",
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let body = format!(r#"{{"code":200,"{field}":{value}}}"#);
        let provider = vidsme();
        for body in [body.as_bytes(), &bytes] {
            let response = answered(status, body);
            let _ = provider.read_created("anime", &response);
            let _ = provider.read_polled(&task(), RUNNING, &response);
        }
    }
}

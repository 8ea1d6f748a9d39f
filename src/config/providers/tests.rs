//! What people write, and what it means.

use secrecy::ExposeSecret;

use super::*;
use crate::config::FileChange;
use crate::domain::{Micros, Tier};

fn variables(pairs: &[(&str, &str)]) -> Variables {
    Variables::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn parsed(text: &str, variables: &Variables) -> Result<ProviderSettings, String> {
    let document = yaml::parse(Path::new("providers.yaml"), text).map_err(|error| error.to_string())?;
    resolve(document, variables, Path::new("/nowhere")).map_err(|refusal| refusal.to_string())
}

fn of<'a>(settings: &'a ProviderSettings, id: &str) -> &'a ProviderEntry {
    &settings.providers[&id.parse::<ProviderId>().unwrap()]
}

#[test]
fn a_key_in_the_environment_is_a_provider() {
    let settings = parsed("", &variables(&[("ALIYUN_API_KEY", " sk-1 "), ("OTHER", "x")])).unwrap();
    assert_eq!((settings.currency.as_str(), settings.providers.len()), ("USD", 1));
    let aliyun = of(&settings, "aliyun");
    assert!(aliyun.is_enabled && aliyun.kind == ProviderKind::Aliyun);
    assert_eq!((aliyun.keys[0].id.as_str(), aliyun.keys[0].secret.expose_secret()), ("key-1", "sk-1"));
    let off = parsed("providers: { aliyun: { enabled: false } }", &variables(&[("ALIYUN_API_KEY", "sk-1")])).unwrap();
    assert!(!of(&off, "aliyun").is_enabled, "the file goes before the environment");
    assert!(parsed("", &variables(&[])).unwrap().providers.is_empty());
    assert!(
        !of(&parsed("providers: { minimax: {} }", &variables(&[])).unwrap(), "minimax").is_enabled,
        "nothing to call it with"
    );
}

#[test]
fn everything_that_can_be_said_is_taken() {
    let text = "
currency: CNY
providers:
  wan:
    kind: aliyun
    enabled: true
    base_url: http://127.0.0.1:9/api/v1
    region: singapore
    workspace: ws-1
    keys:
      - { id: main, env: WAN_KEY, max_concurrent: 2 }
      - { key: sk-second }
    models:
      - wan2.2-t2v-plus
      - { id: cheap, model: wanx2.1-t2v-turbo }
    prices:
      - { model: wan2.2-t2v-plus, tier: 1080p, per_second: 0.70 }
      - { per_request: 0.000001, per_picture: 2 }
    deadline_seconds: 900
    start_within_seconds: 300
    poll: { first_seconds: 0.5, most_seconds: 8 }
    bills_failures: true
";
    let settings = parsed(text, &variables(&[("WAN_KEY", "sk-first")])).unwrap();
    assert_eq!(settings.currency, "CNY");
    let wan = of(&settings, "wan");
    assert!(wan.is_enabled && wan.bills_failures);
    assert_eq!((wan.setting("region"), wan.setting("workspace"), wan.setting("site")), (Some("singapore"), Some("ws-1"), None));
    assert_eq!(wan.base_url.as_deref(), Some("http://127.0.0.1:9/api/v1"));
    let keys: Vec<_> = wan.keys.iter().map(|key| (key.id.as_str(), key.secret.expose_secret(), key.max_concurrent)).collect();
    assert_eq!(keys, [("main", "sk-first", Some(2)), ("key-2", "sk-second", None)]);
    let models: Vec<_> = wan.models.iter().map(|model| (model.id.as_str(), model.name.as_str())).collect();
    assert_eq!(models, [("wan2.2-t2v-plus", "wan2.2-t2v-plus"), ("cheap", "wanx2.1-t2v-turbo")]);
    assert_eq!(wan.prices[0].tier, Some(Tier::P1080));
    assert_eq!((wan.prices[0].per_second, wan.prices[0].per_picture), (Micros::new(700_000), Micros::ZERO));
    assert_eq!((wan.prices[1].per_request, wan.prices[1].per_picture), (Micros::new(1), Micros::new(2_000_000)));
    assert_eq!((wan.deadline_seconds, wan.start_within_seconds), (Some(900), Some(300)));
    assert_eq!(wan.poll, PollSettings { first_pause_ms: Some(500), most_pause_ms: Some(8000) });
    let shown = format!("{settings:?}");
    assert!(!shown.contains("sk-first") && !shown.contains("sk-second"), "{shown}");
}

#[test]
fn mistakes_are_named_with_their_place_and_without_secrets() {
    for (text, words) in [
        ("provider: {}", "providers.yaml:1:1: unknown field `provider`"),
        ("providers:\n  aliyun:\n    kye: x", "providers.yaml:3:"),
        ("providers:\n  aliyun: { kind: alibaba }", "kind: must be one of aliyun, zhipuai, minimax, declared, openai"),
        ("providers: { cloud: { enabled: true } }", "providers.cloud.kind: is missing"),
        ("providers: { aliyun: { region: moon } }", "providers.aliyun.region: must be one of beijing, singapore, virginia"),
        (
            "providers: { aliyun: { group_id: 'x' } }",
            "providers.aliyun.group_id: a provider of the kind aliyun has no such setting",
        ),
        ("providers: { aliyun: { enabled: true } }", "providers.aliyun.keys: is empty; an enabled provider needs a key"),
        (
            "providers: { aliyun: { keys: [{ env: NOWHERE }] } }",
            "providers.aliyun.keys: the environment has no variable 'NOWHERE'",
        ),
        ("providers: { aliyun: { keys: [{ key: sk-secret, env: X }] } }", "providers.aliyun.keys: 'key-1' needs either key"),
        ("providers: { aliyun: { keys: [{ id: a, key: sk-secret }, { id: a, key: sk-secret }] } }", "keys: two are called 'a'"),
        ("providers: { aliyun: { keys: [{ key: [sk-secret] }] } }", "providers.yaml:1:"),
        ("providers: { aliyun: { models: ['a/b'] } }", "models: 'a/b' is no name that clients can use"),
        ("providers: { aliyun: { models: [a, { id: a, model: b }] } }", "models: two are called 'a'"),
        ("providers: { aliyun: { models: [{ id: a, modle: b }] } }", "unknown field `modle`"),
        ("providers: { aliyun: { prices: [{ model: a }] } }", "prices: each needs per_second, per_picture or per_request"),
        ("providers: { aliyun: { prices: [{ per_second: 0.0000001 }] } }", "at most six digits behind the point"),
        ("providers: { aliyun: { prices: [{ per_second: -1 }] } }", "must be an amount"),
        ("providers: { aliyun: { prices: [{ tier: 9000P, per_second: 1 }] } }", "must be one of 480P"),
        ("providers: { aliyun: { base_url: 'https://u:sk-secret@host' } }", "base_url: must be the address of an API"),
        ("providers: { aliyun: { deadline_seconds: 1 } }", "must be a whole number of 10 to 86400"),
        ("providers: { aliyun: { start_within_seconds: 1 } }", "must be a whole number of 10 to 86400"),
        ("providers: { aliyun: { poll: { first_seconds: 0 } } }", "must be above 0"),
        ("providers: { aliyun: { poll: { first_seconds: 5, most_seconds: 2 } } }", "aliyun.poll: most_seconds must not be less"),
        ("currency: dollars", "must be a currency's code"),
    ] {
        let message = parsed(text, &variables(&[])).unwrap_err();
        assert!(message.contains(words) && !message.contains("sk-secret") && !message.contains('\n'), "{text}: {message}");
    }
}

#[test]
fn a_wrong_address_in_the_environment_is_not_blamed_on_the_file() {
    let of_environment = variables(&[("MINIMAX_API_KEY", "sk-1"), ("MINIMAX_API_HOST", "api.minimax.io")]);
    let source = ProviderSource { file: Some("./providers.yaml".into()), variables: of_environment.clone() };
    let message = source.load().unwrap_err().to_string();
    assert!(message.starts_with("MINIMAX_API_HOST: must be the address of an API"), "{message}");
    let named = parsed("providers: { minimax: { base_url: 'https://host' } }", &of_environment).unwrap();
    assert_eq!(of(&named, "minimax").base_url.as_deref(), Some("https://host"), "the file goes before it");
}

#[test]
fn a_key_of_the_environment_goes_to_no_other_service() {
    let set = variables(&[("OPENAI_API_KEY", "sk-1")]);
    for (provider, has_key) in [
        ("openai: { base_url: 'http://127.0.0.1:9100/v1' }", true),
        ("mine: { kind: openai }", true),
        ("mine: { kind: openai, base_url: 'http://127.0.0.1:9100/v1' }", false),
    ] {
        let settings = parsed(&format!("providers: {{ {provider} }}"), &set).unwrap();
        let entry = settings.providers.values().find(|entry| entry.kind == ProviderKind::Openai).unwrap();
        assert_eq!((entry.keys.len() == 1, entry.lacks_key), (has_key, !has_key), "{provider}");
    }
    let named = "providers: { mine: { kind: openai, base_url: 'http://host', keys: [{ env: OPENAI_API_KEY }] } }";
    assert_eq!(of(&parsed(named, &set).unwrap(), "mine").keys.len(), 1, "it is sent where it is named");
    let enabled = "providers: { mine: { kind: openai, base_url: 'http://host', enabled: true } }";
    let refusal = parsed(enabled, &set).unwrap_err();
    assert!(!refusal.contains("OPENAI_API_KEY"), "{refusal}");
}

#[test]
fn who_has_no_key_is_told_from_who_is_off() {
    let text = "providers: { aliyun: {}, zhipuai: { enabled: false }, mindvideo: {}, minimax: {} }";
    let settings = parsed(text, &variables(&[("MINIMAX_API_KEY", "sk-1")])).unwrap();
    let lacking = ["aliyun", "zhipuai", "mindvideo", "minimax"].map(|id| of(&settings, id).lacks_key);
    assert_eq!(lacking, [true, false, false, false]);
}

#[test]
fn keys_in_the_place_of_a_variable_are_not_repeated() {
    let refusal = |name: &str| {
        let text = format!("providers: {{ aliyun: {{ keys: [{{ env: '{name}' }}] }} }}");
        parsed(&text, &variables(&[])).unwrap_err()
    };
    for name in ["NOWHERE", "MY_KEY_2", "_KEY", "A_NAME_OF_MANY_WORDS_THAT_SOMEBODY_GAVE_ITS_KEY"] {
        assert_eq!(refusal(name), format!("providers.aliyun.keys: the environment has no variable '{name}'"));
    }
    let long = format!("KEY_{}", "K".repeat(61));
    for key in [
        "sk-cp-AbCdEfGh",
        "sk_live_abcdef",
        "0123456789.abcdef",
        "ABCDEFGHIJKLMNOPQ",
        "A1B2_C3D4",
        "4_KEY",
        "minimax_key",
        "KEY WITH SPACES",
        &long,
    ] {
        let message = refusal(key);
        assert!(message.starts_with("providers.aliyun.keys: 'key-1': env must be the name of a variable"), "{message}");
        assert!(!message.contains(key) && !message.contains('\n'), "{message}");
    }
    let lower = parsed("providers: { aliyun: { keys: [{ env: minimax_key }] } }", &variables(&[("minimax_key", "sk-1")]));
    assert!(of(&lower.unwrap(), "aliyun").is_enabled, "what is set is taken, whatever it is called");
}

#[test]
fn the_example_is_taken_as_it_stands_and_uncommented() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/providers.yaml")).unwrap();
    let settings = parsed(&text, &variables(&[])).unwrap();
    assert!(settings.providers.values().all(|entry| !entry.is_enabled), "it enables nothing");
    let uncommented: String = text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), uncommented).unwrap();
    fs::write(directory.path().join("reelworks.yaml"), "name: reelworks").unwrap();
    let of_kinds = ProviderKind::ALL.into_iter().flat_map(|kind| {
        let settings = kind.settings().iter().filter_map(|setting| setting.variable);
        kind.key_variable().into_iter().chain(settings)
    });
    let names: Vec<&str> = of_kinds.chain(["ALIYUN_API_KEY_2", "REELWORKS_KEY"]).collect();
    let pairs: Vec<(&str, &str)> = names.into_iter().map(|name| (name, "sk-1")).collect();
    let settings = ProviderSource::new(Some(directory.path()), variables(&pairs)).load().unwrap();
    let kinds: BTreeSet<ProviderKind> = settings.providers.values().map(|entry| entry.kind).collect();
    assert_eq!(kinds, BTreeSet::from(ProviderKind::ALL), "it shows every kind");
    for (id, entry) in &settings.providers {
        assert!(entry.is_enabled, "{id}");
    }
}

#[test]
fn a_declaration_lies_beside_and_its_changes_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let source = ProviderSource::new(Some(directory.path()), variables(&[("REELWORKS_KEY", "sk-1")]));
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let declared = |file: &str| {
        format!("providers: {{ reel: {{ kind: declared, declaration: {file}, keys: [{{ env: REELWORKS_KEY }}] }} }}")
    };
    for (file, words) in [
        ("reelworks.yaml", "providers.reel.declaration: "),
        ("../reelworks.yaml", "must be the name of a file beside this one"),
        ("/etc/passwd", "must be the name of a file beside this one"),
        ("..", "must be the name of a file beside this one"),
    ] {
        write(FILE, &declared(file));
        let message = source.load().unwrap_err().to_string();
        assert!(message.contains(words), "{file}: {message}");
    }
    write(FILE, &declared("reelworks.yaml"));
    write("reelworks.yaml", "name: one");
    let (mut file, settings) = source.watch().unwrap();
    let entry = of(&settings, "reel");
    let text = |entry: &ProviderEntry| entry.declaration.as_ref().unwrap().text.to_string();
    assert!(entry.is_enabled && text(entry) == "name: one");
    assert!(file.changed().is_none());
    write("reelworks.yaml", "name: another");
    assert!(file.changed().is_none());
    let Some(FileChange::Settings(settings)) = file.changed() else { panic!("the change is not seen") };
    assert_eq!(text(of(&settings, "reel")), "name: another");
    assert!(file.changed().is_none());
}

#[test]
fn models_are_told_where_no_table_has_them() {
    let text = "
providers:
  gateway:
    kind: openai
    base_url: http://127.0.0.1:9/v1
    keys: [{ key: sk-1 }]
    models:
      - { model: gpt-image-1, kinds: [text_to_image], response_format: base64 }
  fal:
    keys: [{ key: sk-1 }]
    models:
      - id: ltx
        model: fal-ai/ltx-video
        kinds: [text_to_video, image_to_video]
        inputs: { seed: seed, ratio: aspect_ratio, seconds_text: duration, first_frame: image_url }
        ratios: ['16:9', '9:16']
        seconds: [5, 10]
        fixed: { expand_prompt: false }
        results: /video/url
";
    let settings = parsed(text, &variables(&[])).unwrap();
    let told = &of(&settings, "gateway").models[0];
    assert_eq!((told.id.as_str(), told.told.response_format), ("gpt-image-1", Some(crate::domain::PictureForm::Base64)));
    let told = &of(&settings, "fal").models[0].told;
    assert_eq!((told.kinds.len(), told.ratios.len(), &told.seconds), (2, 2, &vec![5, 10]));
    assert_eq!((told.inputs.ratio.as_deref(), told.fixed["expand_prompt"].as_bool()), (Some("aspect_ratio"), Some(false)));
    for (text, words) in [
        ("providers: { openai: { models: [gpt-image-1] } }", "models: 'gpt-image-1': kinds: is missing"),
        ("providers: { openai: { models: [{ model: a, kinds: [text_to_poem] }] } }", "unknown variant `text_to_poem`"),
        ("providers: { openai: { models: [{ model: a, kinds: [text_to_image], bot: 1 }] } }", "bot: nothing that is told"),
        ("providers: { aliyun: { models: [{ model: a, kinds: [text_to_image] }] } }", "kinds: nothing that is told"),
        ("providers: { kling: { keys: [{ key: sk-1 }] } }", "providers.kling.access_key: is missing; say it here, or set KLING"),
        (
            "providers: { kling: { keys: [{ key: ak-1.sk-1 }, { key: sk-2 }] } }",
            "providers.kling.access_key: is missing; say it here",
        ),
        ("providers: { reel: { kind: declared, keys: [{ key: sk-1 }] } }", "providers.reel.declaration: is missing"),
        ("providers: { mindvideo: { enabled: true, keys: [{ key: sk-1 }] } }", "providers.mindvideo.app_key: is missing"),
    ] {
        let message = parsed(text, &variables(&[])).unwrap_err();
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn keys_may_bring_the_access_keys_of_their_accounts() {
    let text = "providers: { kling: { keys: [{ key: ak-1.sk-1 }, { key: ak-2.sk-2 }] } }";
    let settings = parsed(text, &variables(&[])).unwrap();
    assert!(of(&settings, "kling").is_enabled && of(&settings, "kling").keys.len() == 2);
    assert_eq!(of(&settings, "kling").setting("access_key"), None);
}

#[test]
fn two_kinds_are_off_until_the_file_says_otherwise() {
    let variables = variables(&[
        ("MINDVIDEO_AUTH_TOKEN_1", "t-1"),
        ("MINDVIDEO_AUTH_TOKEN_3", "t-3"),
        ("MINDVIDEO_APP_KEY", "k"),
        ("USER_ID", "ann"),
        ("VIDSME_APP_ID", "id"),
        ("VIDSME_SALT", "salt"),
        ("VIDSME_PUBLIC_KEY", "pem"),
    ]);
    assert!(parsed("", &variables).unwrap().providers.is_empty(), "keys are not enough");
    let named = parsed("providers: { mindvideo: {}, vidsme: {} }", &variables).unwrap();
    assert!(named.providers.values().all(|entry| !entry.is_enabled));
    let wanted = parsed("providers: { mindvideo: { enabled: true }, vidsme: { enabled: true } }", &variables).unwrap();
    let (mindvideo, vidsme) = (of(&wanted, "mindvideo"), of(&wanted, "vidsme"));
    let keys: Vec<_> = mindvideo.keys.iter().map(|key| (key.id.as_str(), key.secret.expose_secret())).collect();
    assert_eq!(keys, [("key-1", "t-1"), ("key-3", "t-3")]);
    assert_eq!(mindvideo.secrets["app_key"].expose_secret(), "k");
    assert_eq!((vidsme.setting("app_id"), vidsme.secrets["salt"].expose_secret()), (Some("id"), "salt"));
    assert!(mindvideo.is_enabled && vidsme.is_enabled);
}

#[test]
fn a_changed_file_is_taken_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let source = ProviderSource::new(Some(directory.path()), variables(&[("ZHIPUAI_API_KEY", "id.secret")]));
    let path = source.file.clone().unwrap();
    let (mut file, settings) = source.watch().unwrap();
    assert_eq!(settings.providers.len(), 1, "the environment alone");
    assert!(file.changed().is_none());
    // Taken when it looks the same twice.
    fs::write(&path, "currency: EUR").unwrap();
    assert!(file.changed().is_none());
    let Some(FileChange::Settings(settings)) = file.changed() else { panic!("the change is not seen") };
    assert_eq!(settings.currency, "EUR");
    assert!(file.changed().is_none());
    fs::write(&path, "currency: euro").unwrap();
    assert!(file.changed().is_none());
    assert!(matches!(file.changed(), Some(FileChange::Broken(_))));
    assert!(file.changed().is_none(), "it is said once");
    fs::write(&path, "currency: CNY # again").unwrap();
    assert!(file.changed().is_none());
    assert!(matches!(file.changed(), Some(FileChange::Settings(settings)) if settings.currency == "CNY"));
    fs::remove_file(&path).unwrap();
    assert!(file.changed().is_none());
    let Some(FileChange::Broken(error)) = file.changed() else { panic!("that it is gone is not seen") };
    assert!(error.to_string().contains("is not there any more"), "{error}");
}

//! The whole file, as users write it.

use super::*;
use crate::domain::DeviceName;

const MACHINE: Machine = Machine { cuda_built: true, gpus: 4 };

fn resolve(yaml: &str, machine: Machine) -> Result<Config, String> {
    let file = yaml::parse(Path::new("system_config.yaml"), yaml).map_err(|error| error.to_string())?;
    Config::resolve(file, &Flags::default(), Environment::default(), machine).map_err(|error| error.to_string())
}

#[test]
fn without_a_file_everything_has_a_default() {
    let config = resolve("", Machine { cuda_built: false, gpus: 0 }).unwrap();
    assert_eq!(config.data_dir, Path::new("data"));
    assert_eq!(config.storage.base_path, Path::new("data/outputs"));
    assert_eq!(config.database.path, Path::new("data/framewright.db"));
    assert_eq!(config.server.listen, DEFAULT_LISTEN);
    assert_eq!(config.devices, [DeviceName::Cpu]);
    assert!(config.auth.enabled && config.models.keep_loaded && config.notices.is_empty());
}

#[test]
fn the_published_example_is_taken_as_it_stands() {
    let config = resolve(
        "gpu_pool:    { enabled: true, max_concurrent: 4, gpu_ids: [0, 1, 2, 3] }\n\
         model_cache: { enabled: true, max_size_gb: 100 }\n\
         storage:     { type: local, base_path: /data/outputs }\n",
        MACHINE,
    )
    .unwrap();
    assert_eq!(config.devices.len(), 4);
    assert_eq!(config.storage.base_path, Path::new("/data/outputs"));
    let notices: Vec<_> = config.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(notices, ["model_cache.max_size_gb: has no effect yet in this version"]);
}

#[test]
fn the_files_in_configs_parse() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    for name in ["local.yaml", "system_config.yaml"] {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        resolve(&text, MACHINE).unwrap_or_else(|error| panic!("configs/{name}: {error}"));
        let uncommented: String =
            text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        resolve(&uncommented, MACHINE).unwrap_or_else(|error| panic!("configs/{name}, uncommented: {error}"));
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_place() {
    for (yaml, line, words) in [
        ("gpu_pol: {}", 1, "gpu_pol"),
        ("server:\n  listen: 127.0.0.1:8000\n  tls: { cert: a, key: b }", 3, "server.tls is not supported"),
        ("server:\n  listen: everywhere", 2, "server.listen: 'everywhere'"),
        ("server: { public_url: 'ftp://x' }", 1, "server.public_url"),
        ("server: { cors_origins: ['https://a/b'] }", 1, "server.cors_origins"),
        ("storage: { type: s3, bucket: b }", 1, "storage.type: s3 is not supported"),
        ("storage: { bucket: b }", 1, "storage.bucket"),
        ("storage: { type: tape }", 1, "tape"),
        ("defaults: { image: '../etc' }", 1, "model '../etc'"),
        ("egress: { allow: [10.0.0.0/40] }", 1, "egress.allow: '10.0.0.0/40'"),
        ("gpu_pool: { max_concurrent: -1 }", 1, "max_concurrent: must be a whole number"),
        ("log: { format: xml }", 1, "xml"),
    ] {
        let message = resolve(yaml, MACHINE).unwrap_err();
        assert!(message.starts_with(&format!("system_config.yaml:{line}:")), "{message}");
        assert!(message.contains(words), "{message}");
    }
    for (yaml, words) in [
        ("database: { url: 'postgres://u:p@h/d' }", "database.url: PostgreSQL is not supported"),
        ("model_cache: { max_ram_gb: -3 }", "model_cache.max_ram_gb: must be above 0"),
        ("retention_days: 0", "retention_days: must be at least 1"),
        ("models_dir: /no/such/directory", "models_dir: /no/such/directory is not a directory"),
        ("auth: { enabled: false }\nserver: { listen: '0.0.0.0:80' }", "auth.enabled: false is allowed on loopback only"),
    ] {
        let message = resolve(yaml, MACHINE).unwrap_err();
        assert!(message.starts_with(words), "{message}");
    }
}

#[test]
fn what_has_no_effect_yet_is_said() {
    let config = resolve(
        "retention_days: 30\negress: { allow: ['10.0.0.0/8', 'fd00::/8'] }\nmodel_cache: { idle_unload_seconds: 60, max_vram_gb: 20.5 }\n\
         defaults: { image: demo-sdxl, video: demo-svd }\n",
        MACHINE,
    )
    .unwrap();
    for setting in
        ["retention_days", "egress.allow", "model_cache.idle_unload_seconds", "model_cache.max_vram_gb", "defaults.video"]
    {
        assert!(config.notices.iter().any(|notice| notice.is_warning && notice.text.starts_with(setting)), "{setting}");
    }
    assert_eq!(config.models.default_image.unwrap().as_str(), "demo-sdxl");
}

//! The whole file, as users write it.

use super::*;
use crate::domain::{DeviceName, TenantPolicy};

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
    assert_eq!(config.database.location.to_string(), "data/framewright.db");
    assert_eq!((config.queue_limit, config.retention, config.tenants_directory), (10_000, None, None));
    assert_eq!(config.time_zone, TimeZone::UTC);
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
    assert_eq!(config.models.max_packed_bytes, Some(100_000_000_000));
    let [notice] = &config.notices[..] else { panic!("{:?}", config.notices) };
    assert!(!notice.is_warning && notice.text.starts_with("model_cache.max_size_gb: bounds the packed weights"), "{notice:?}");
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
        ("egress: { allow: [10.0.0.0/40] }", 1, "egress.allow: '10.0.0.0/40' is not a network; write 10.0.0.0/8"),
        ("egress: { allow: ['fd00::/129'] }", 1, "egress.allow: 'fd00::/129' is not a network"),
        ("egress: { allow: [localhost] }", 1, "egress.allow: 'localhost' is not a network"),
        ("egress:\n  allow: [10.0.0.1]", 2, "egress.allow: '10.0.0.1' is not a network"),
        ("egress: { deny: [8.8.8.8] }", 1, "egress.deny: '8.8.8.8' is not a network"),
        ("egress: { allow: [10.0.0.1/8] }", 1, "egress.allow: '10.0.0.1/8' is an address within a network; write 10.0.0.0/8"),
        ("gpu_pool: { max_concurrent: -1 }", 1, "max_concurrent: must be a whole number"),
        ("gpu_pool: { max_batch: 65 }", 1, "max_batch: must be a whole number of 1 to 64"),
        ("model_cache: { max_ram_gb: -3 }", 1, "max_ram_gb: must be above 0"),
        ("model_cache:\n  idle_unload_seconds: 0", 2, "idle_unload_seconds: must be a whole number of 1"),
        ("retention_days: 0", 1, "retention_days: must be a whole number of 1 to 36500"),
        ("queue_limit: 0", 1, "queue_limit: must be a whole number of 1 to 10000000"),
        ("time_zone: Europe/Atlantis", 1, "time_zone: 'Europe/Atlantis' is not a time zone"),
        ("time_zone: ../../etc/localtime", 1, "time_zone: '../../etc/localtime'"),
        ("database: { lease_seconds: 0 }", 1, "lease_seconds: must be a whole number of 1 to 600"),
        ("log: { format: xml }", 1, "xml"),
    ] {
        let message = resolve(yaml, MACHINE).unwrap_err();
        assert!(message.starts_with(&format!("system_config.yaml:{line}:")), "{message}");
        assert!(message.contains(words), "{message}");
    }
    for (yaml, words) in [
        ("database: { url: 'mysql://u:p@h/d' }", "database.url: must be sqlite:<file>"),
        ("models_dir: /no/such/directory", "models_dir: /no/such/directory is not a directory"),
        ("auth: { enabled: false }\nserver: { listen: '0.0.0.0:80' }", "auth.enabled: false is allowed on loopback only"),
    ] {
        let message = resolve(yaml, MACHINE).unwrap_err();
        assert!(message.starts_with(words), "{message}");
    }
}

#[test]
fn opened_and_closed_networks_are_read() {
    let config = resolve(
        "egress: { allow: ['10.0.0.0/8', 'fd00::/8'], deny: ['10.0.0.7/32'] }\ndefaults: { image: demo-sdxl, video: demo-svd }\n",
        MACHINE,
    )
    .unwrap();
    let notices: Vec<_> = config.notices.iter().map(|notice| (notice.is_warning, notice.text.as_str())).collect();
    assert_eq!(notices, []);
    let allowed: Vec<String> = config.egress.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(config.egress.deny, ["10.0.0.7/32".parse().unwrap()]);
    assert_eq!(config.models.default_image.unwrap().as_str(), "demo-sdxl");
    assert_eq!(config.models.default_video.unwrap().as_str(), "demo-svd");
}

#[test]
fn opening_everything_is_warned_of() {
    for everything in ["0.0.0.0/0", "::/0"] {
        let config = resolve(&format!("egress: {{ allow: ['{everything}'] }}"), MACHINE).unwrap();
        let expected = format!("egress.allow: {everything} lets users reach this machine");
        assert!(
            config.notices.iter().any(|notice| notice.is_warning && notice.text.starts_with(&expected)),
            "{:?}",
            config.notices
        );
    }
    assert!(resolve("", MACHINE).unwrap().egress.allow.is_empty());
}

#[test]
fn what_has_an_effect_is_handed_on_without_a_remark() {
    let config = resolve(
        "retention_days: 30\nqueue_limit: 20\ntime_zone: Europe/Berlin\ndatabase: { lease_seconds: 2 }\n\
         model_cache: { enabled: false, idle_unload_seconds: 60, max_vram_gb: 20.5, max_ram_gb: 3 }\n\
         gpu_pool: { devices: [cpu, cpu], max_batch: 4, workers: thread }\n",
        MACHINE,
    )
    .unwrap();
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    assert_eq!(config.retention, Some(Duration::from_hours(30 * 24)));
    assert_eq!((config.queue_limit, config.database.lease), (20, Duration::from_secs(2)));
    assert_eq!(config.time_zone.iana_name(), Some("Europe/Berlin"));
    let models = config.models;
    assert_eq!(
        (models.max_vram_bytes, models.max_ram_bytes, models.max_packed_bytes),
        (Some(20_500_000_000), Some(3_000_000_000), None)
    );
    assert_eq!((models.idle_unload, models.keep_loaded), (Some(Duration::from_mins(1)), false));
    assert_eq!((config.pool.max_batch, config.pool.workers), (4, Workers::Thread));
    assert_eq!(config.devices, [DeviceName::Cpu, DeviceName::Cpu]);
}

#[test]
fn tenants_lie_beside_the_system_file() {
    for (file, directory) in [("configs/system_config.yaml", "configs"), ("system_config.yaml", "."), ("/etc/f/s.yaml", "/etc/f")]
    {
        assert_eq!(directory_of(Path::new(file)), Path::new(directory));
    }
}

#[test]
fn the_tenants_in_configs_parse() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let policies = tenants::load(&root).unwrap();
    assert_eq!(policies.default_user, TenantPolicy::default(), "who only tries the server meets no limits");
    assert!(policies.users.contains_key(&"anna".parse().unwrap()));
    assert!(policies.projects.contains_key(&"example_film".parse().unwrap()));

    // And with everything that is commented out.
    let place = tempfile::tempdir().unwrap();
    for name in ["users/default.yaml", "users/anna.yaml", "projects/example_film.yaml"] {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        let uncommented: String =
            text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        assert_ne!(text.trim_end(), uncommented, "{name} shows nothing that is commented out");
        let path = place.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, uncommented).unwrap();
    }
    let all = tenants::load(place.path()).unwrap();
    assert!(all.default_user.quotas.images_per_day.is_some());
    let anna = &all.users[&"anna".parse().unwrap()];
    assert!(anna.limits.weight.is_some() && anna.limits.models.is_some() && anna.quotas.storage_bytes.is_some());
    assert!(all.projects[&"example_film".parse().unwrap()].style.is_some());
}

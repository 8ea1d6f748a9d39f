//! `framewright doctor`: looks at everything a server needs, and says what to do. It makes nothing but, in the user's cache, the
//! files of the bundled model.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::Path;

use clap::Args;
use framewright_device_worker::Pulse;
use framewright_device_worker::fake::Stage;
use framewright_device_worker::vitals::host_memory;
use framewright_engine::ops::KernelPath;
use framewright_engine::weights::PackedCache;

use super::failure::{Failure, OrFail, Outcome};
use super::options::CommonOptions;
use crate::app::{self, compute, stores};
use crate::config::{self, Config, DatabaseLocation, Machine};
use crate::domain::{DeviceName, ModelDescription, ModelKind, VideoCodec};
use crate::execution::ExecutorOptions;
use crate::execution::options::device_kind;
use crate::execution::remote::{Probe, ProbeResult};
use crate::media::video::{EncoderPreference, Installation, gpu_encoder_opens, installation};
use crate::providers::ProviderFailure;

/// Less free memory than this is not enough for a full-size model even in bf16, bytes.
const FULL_SIZE_MODEL_BYTES: u64 = 9 << 30;

/// Flags of `doctor`.
#[derive(Args, Debug)]
pub(super) struct DoctorArguments {
    /// Also ask every configured provider whether it can be reached and takes its keys; nothing is made there
    #[arg(long)]
    providers: bool,
    #[command(flatten)]
    common: CommonOptions,
}

/// What one look found.
struct Finding {
    verdict: Verdict,
    subject: &'static str,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Remark,
    Bad,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Remark => "note",
            Self::Bad => "FAIL",
        })
    }
}

fn finding(verdict: Verdict, subject: &'static str, text: impl Into<String>) -> Finding {
    Finding { verdict, subject, text: text.into() }
}

/// Prints one line per look; exit status 1 when something must be mended.
pub(super) async fn run(arguments: &DoctorArguments, out: &mut (dyn Write + Send)) -> Outcome {
    let config = arguments.common.load()?;
    let mut findings = vec![configuration(&config), processor(), memory(), gpus(), films(&installation()), networks(&config)];
    findings.extend(config.notices.iter().map(|notice| finding(Verdict::Remark, "setting", &notice.text)));
    let options = compute::executor_options(&config);
    findings.extend(config.devices.iter().map(|&device| self::device(device, &options)));
    findings.push(directory("data", &config.data_dir, "name another with --data-dir"));
    findings.push(directory("storage", &config.storage.base_path, "set storage.base_path"));
    findings.push(packed_weights(&config));
    findings.push(database(&config).await);
    findings.extend(tenants(&config));
    findings.extend(models(&config));
    findings.extend(providers(&config, arguments.providers).await);
    for Finding { verdict, subject, text } in &findings {
        writeln!(out, "{verdict:<5}{subject:<11}{text}").or_fail()?;
    }
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    if bad == 0 { Ok(()) } else { Err(Failure::Other(anyhow::anyhow!("{bad} of {} looks failed; see above", findings.len()))) }
}

fn configuration(config: &Config) -> Finding {
    let source = config.file.as_ref().map_or_else(|| "defaults (no --config)".to_owned(), |file| file.display().to_string());
    let auth = if config.auth.enabled { "keys needed" } else { "no keys needed" };
    finding(Verdict::Good, "config", format!("{source}; listens on {}, {auth}", config.server.listen))
}

fn processor() -> Finding {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let paths = KernelPath::available();
    let names: Vec<String> = paths.iter().map(|path| format!("{path:?}").to_lowercase()).collect();
    let text = format!("{threads} threads; kernels: {}", names.join(", "));
    match paths.first() {
        Some(KernelPath::Gemm) | None => {
            finding(Verdict::Remark, "processor", format!("{text}; without AVX-512 pictures take longer"))
        }
        Some(_) => finding(Verdict::Good, "processor", text),
    }
}

fn memory() -> Finding {
    let Some(available) = host_memory::available_bytes() else {
        return finding(Verdict::Remark, "memory", "this system does not say how much is free");
    };
    let text = format!("{:.1} GB available", available as f64 / 1e9);
    if available < FULL_SIZE_MODEL_BYTES {
        return finding(
            Verdict::Remark,
            "memory",
            format!("{text}; a full-size SDXL model needs about 16 GB in f32, 9 GB in bf16 (FRAMEWRIGHT_PRECISION=bf16)"),
        );
    }
    finding(Verdict::Good, "memory", text)
}

/// Opens a device; one of CUDA needs its own program, which is looked for.
fn device(device: DeviceName, options: &ExecutorOptions) -> Finding {
    if matches!(device, DeviceName::Cuda(_)) {
        return finding(Verdict::Remark, "device", format!("{device} is opened by its worker when the server starts"));
    }
    match framewright_device_worker::open(device_kind(device), &options.device_options(), Pulse::default(), Stage::Thread) {
        Ok(opened) => finding(Verdict::Good, "device", format!("{device} opens: {}", opened.description())),
        Err(error) => finding(Verdict::Bad, "device", error.to_string()),
    }
}

fn gpus() -> Finding {
    let machine = Machine::detect();
    match (machine.gpus, machine.cuda_built) {
        (0, false) => finding(Verdict::Good, "gpus", "none, and none needed"),
        (0, true) => finding(Verdict::Remark, "gpus", "there is a CUDA worker and the driver shows no GPU"),
        (count, true) => finding(Verdict::Good, "gpus", format!("{count}")),
        (count, false) => finding(
            Verdict::Remark,
            "gpus",
            format!(
                "{count}, unused: build their worker with 'cargo build --release -p framewright-device-worker --features cuda'"
            ),
        ),
    }
}

/// What the FFmpeg libraries can write.
fn films(found: &Installation) -> Finding {
    let library = &found.codec_library;
    let version = found.release.map_or_else(String::new, |release| format!(" {release}"));
    let names: Vec<&str> = found.encoders.iter().filter_map(|(_, encoder)| *encoder).collect();
    let gpu = if found.has_gpu_encoder { "; NVENC" } else { "" };
    let text = format!("FFmpeg{version} (libavcodec {library}); encoders: {}{gpu}", names.join(", "));
    let missing = |codec: VideoCodec| found.encoders.iter().any(|(known, encoder)| *known == codec && encoder.is_none());
    let absent: Vec<&str> = VideoCodec::ALL.into_iter().filter(|codec| missing(*codec)).map(VideoCodec::name).collect();
    if missing(VideoCodec::H264) || missing(VideoCodec::Ffv1) {
        return finding(Verdict::Bad, "films", format!("{text}; none for {}: no film can be made", absent.join(", ")));
    }
    if absent.is_empty() {
        return finding(Verdict::Good, "films", text);
    }
    finding(Verdict::Remark, "films", format!("{text}; none for {}: such films cannot be made", absent.join(", ")))
}

/// What finishes films.
fn networks(config: &Config) -> Finding {
    let (between, larger) = match (app::films::interpolation_network(config), app::films::upscaling_network(config)) {
        (Ok(between), Ok(larger)) => (between, larger),
        (Err(error), _) | (_, Err(error)) => return finding(Verdict::Bad, "networks", error.to_string()),
    };
    if let Err(error) = app::films::kernels_are_there(config) {
        return finding(Verdict::Bad, "networks", error.to_string());
    }
    let between = between.unwrap_or_else(|| "FFmpeg's filter".to_owned());
    let larger = larger.unwrap_or_else(|| "Lanczos".to_owned());
    let text = format!("films are interpolated by {between}, enlarged by {larger}, encoded by");
    match app::films::encoder(config) {
        EncoderPreference::Software => finding(Verdict::Good, "networks", format!("{text} the processor")),
        EncoderPreference::Hardware if !gpu_encoder_opens() => {
            let text = format!("{text} the processor: video.encoder is hardware, and NVENC does not open");
            finding(Verdict::Remark, "networks", text)
        }
        EncoderPreference::Auto | EncoderPreference::Hardware => finding(Verdict::Good, "networks", format!("{text} NVENC")),
    }
}

/// Writes and removes a file where the directory, or the nearest parent that exists, is.
fn directory(subject: &'static str, path: &Path, remedy: &str) -> Finding {
    let Some(existing) =
        path.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path }).find(|path| path.exists())
    else {
        return finding(Verdict::Bad, subject, format!("{} is nowhere; {remedy}", path.display()));
    };
    let probe = existing.join(format!(".framewright-doctor-{}", std::process::id()));
    let outcome = std::fs::write(&probe, b"probe").and_then(|()| std::fs::remove_file(&probe));
    match outcome {
        Ok(()) if existing == path => finding(Verdict::Good, subject, format!("{} can be written", path.display())),
        Ok(()) => finding(Verdict::Good, subject, format!("{} will be made at first start", path.display())),
        Err(error) => finding(Verdict::Bad, subject, format!("{} cannot be written ({error}); {remedy}", existing.display())),
    }
}

/// What the disk tier of weights holds; without a place for it every worker packs its own.
fn packed_weights(config: &Config) -> Finding {
    let path = compute::packed_directory(config);
    let listed = match PackedCache::new(path.clone()).list() {
        Ok(listed) => listed,
        Err(error) => return finding(Verdict::Bad, "packed", format!("{} cannot be read: {error}", path.display())),
    };
    let writable = directory("packed", &path, "without it every worker packs weights for itself");
    if writable.verdict != Verdict::Good || !path.exists() {
        return writable;
    }
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let bound = config.models.max_packed_bytes.map_or_else(String::new, |most| format!(" of at most {:.1}", gigabytes(most)));
    let taken = gigabytes(listed.iter().map(|listing| listing.bytes).sum());
    let text = format!("{} files of weights in {}, {taken:.1}{bound} GB", listed.len(), path.display());
    finding(Verdict::Good, "packed", text)
}

async fn database(config: &Config) -> Finding {
    let location = &config.database.location;
    if let DatabaseLocation::Sqlite(path) = location
        && !path.exists()
    {
        return finding(Verdict::Good, "database", format!("{} will be made at first start", path.display()));
    }
    match stores::open(location).await {
        Ok(_) => finding(Verdict::Good, "database", format!("{location} opens")),
        Err(error) => finding(Verdict::Bad, "database", error.to_string()),
    }
}

/// The files of users and projects, if there are any.
fn tenants(config: &Config) -> Option<Finding> {
    let directory = config.tenants_directory.as_deref()?;
    Some(match config::tenants::load(directory) {
        Ok(policies) => finding(
            Verdict::Good,
            "tenants",
            format!(
                "{} users and {} projects have a file below {}",
                policies.users.len(),
                policies.projects.len(),
                directory.display()
            ),
        ),
        Err(error) => finding(Verdict::Bad, "tenants", error.to_string()),
    })
}

/// What the files of providers and routes say; `ask`: and what the providers say to that.
async fn providers(config: &Config, ask: bool) -> Vec<Finding> {
    let settings = match config.providers.load() {
        Ok(settings) => settings,
        Err(error) => return vec![finding(Verdict::Bad, "providers", error.to_string())],
    };
    let mut findings = Vec::new();
    let routes = match config.routes.load() {
        Ok(routes) => routes,
        Err(error) => {
            findings.push(finding(Verdict::Bad, "routes", error.to_string()));
            BTreeMap::new()
        }
    };
    if !routes.is_empty() {
        findings.push(finding(Verdict::Good, "routes", format!("{} names stand for several models", routes.len())));
    }
    if settings.providers.is_empty() && routes.is_empty() {
        if ask {
            findings.push(finding(Verdict::Remark, "providers", "none is configured; see configs/providers.yaml"));
        }
        return findings;
    }
    // Opened as a server would open them, so that what a server refuses is refused here.
    let offline = match crate::cli::offline_providers::open(config).await {
        Ok(offline) => offline,
        Err(failure) => {
            findings.push(finding(Verdict::Bad, "providers", failure.message().trim_start_matches("error: ")));
            return findings;
        }
    };
    let of_routes = super::models::catalog(config).map(|models| app::remarks::of_routes(&routes, &offline.executor, &models));
    let remarks = offline.executor.remarks().into_iter().map(|remark| ("providers", remark));
    let remarks = remarks.chain(of_routes.into_iter().flatten().map(|remark| ("routes", remark)));
    findings.extend(remarks.map(|(subject, remark)| finding(Verdict::Remark, subject, remark)));
    let used: Vec<String> = settings
        .providers
        .iter()
        .filter(|(_, entry)| entry.is_enabled)
        .map(|(id, entry)| format!("{id} ({} keys)", entry.keys.len()))
        .collect();
    if used.is_empty() {
        return findings;
    }
    if !ask {
        let text = format!("{}; ask them with --providers", used.join(", "));
        findings.push(finding(Verdict::Good, "providers", text));
        return findings;
    }
    for Probe { provider, key, result } in offline.executor.probe().await {
        let (verdict, text) = match result {
            ProbeResult::Taken => (Verdict::Good, "answers, and takes the key".to_owned()),
            ProbeResult::Refused(failure) => (Verdict::Bad, failure.to_string()),
            ProbeResult::Strange { host, expected } => {
                (Verdict::Bad, format!("{host} answers, but not as {expected} does: is base_url right?"))
            }
            ProbeResult::Unreachable { host, failure } => (Verdict::Bad, unreachable(&host, &failure)),
            ProbeResult::Untold => (Verdict::Remark, "is off, or has no call that makes nothing".to_owned()),
        };
        findings.push(finding(verdict, "provider", format!("{provider}, key {key}: {text}")));
    }
    findings
}

/// Where a provider was looked for, and why nothing came of it.
fn unreachable(host: &str, failure: &ProviderFailure) -> String {
    let why = if failure.message.is_empty() { &failure.code } else { &failure.message };
    match failure.code.as_str() {
        "not_sent" | "no_answer" => format!("cannot be reached at {host}: {why}"),
        _ => format!("{host} is in trouble: {failure}: {why}"),
    }
}

fn models(config: &Config) -> Vec<Finding> {
    let installed = match super::models::catalog(config) {
        Ok(catalog) => catalog.list(),
        Err(failure) => return vec![finding(Verdict::Bad, "models", failure.message().trim_start_matches("error: "))],
    };
    if installed.is_empty() {
        let places: Vec<String> = config.models.search_directories.iter().map(|path| path.display().to_string()).collect();
        return vec![finding(
            Verdict::Bad,
            "models",
            format!("none; put a directory in the diffusers layout into one of {}", places.join(", ")),
        )];
    }
    let defaults = [
        ("defaults.image", config.models.default_image.as_ref(), ModelKind::Image),
        ("defaults.video", config.models.default_video.as_ref(), ModelKind::Video),
    ];
    let wrong = defaults.into_iter().filter_map(|(key, named, kind)| {
        let problem = match installed.iter().find(|model| Some(&model.id) == named) {
            None => "which is not installed",
            Some(model) if model.kind != kind => "which makes something else",
            Some(_) => return None,
        };
        Some(finding(Verdict::Bad, "models", format!("{key} names '{}', {problem}", named?)))
    });
    let wrong: Vec<Finding> = wrong.collect();
    if !wrong.is_empty() {
        return wrong;
    }
    installed.iter().map(|model| finding(Verdict::Good, "models", model_text(model))).collect()
}

fn model_text(model: &ModelDescription) -> String {
    let what = match model.kind {
        ModelKind::Image => "pictures",
        ModelKind::Video => "films",
    };
    format!("{} ({what}, {}, {:.1} M parameters)", model.id, model.family, model.parameters as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_encoded_is_said() {
        let all = |codec| Some(if codec == VideoCodec::Av1 { "libaom-av1" } else { "some" });
        let without = |absent: &[VideoCodec]| Installation {
            codec_library: "59.37.100".to_owned(),
            release: Some(5),
            encoders: VideoCodec::ALL.map(|codec| (codec, all(codec).filter(|_| !absent.contains(&codec)))).into(),
            has_gpu_encoder: false,
        };
        let found = films(&without(&[]));
        assert!(found.verdict == Verdict::Good && found.text.starts_with("FFmpeg 5 (libavcodec 59.37.100)"), "{}", found.text);
        let found = films(&without(&[VideoCodec::Av1]));
        assert!(found.verdict == Verdict::Remark && found.text.contains("none for av1"), "{}", found.text);
        assert_eq!(films(&without(&[VideoCodec::H264])).verdict, Verdict::Bad);
    }

    #[test]
    fn directories_are_tried_where_they_would_be_made() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(directory("data", place.path(), "").verdict, Verdict::Good);
        let absent = directory("data", &place.path().join("a/b"), "");
        assert!(absent.verdict == Verdict::Good && absent.text.contains("will be made"), "{}", absent.text);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}

//! `framewright models`, and how `--model` finds one.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use framewright_engine::weights::{Checkpoint, Variant};
use serde::Serialize;

use super::failure::{Failure, OrFail, Outcome};
use super::offered_models;
use super::options::CommonOptions;
use crate::config::Config;
use crate::domain::{ModelDescription, ModelId, ModelKind, Sha256Digest};
use crate::models::identity::file_sha256;
use crate::models::{ModelCatalog, ModelError};

/// What to do with models.
#[derive(Subcommand, Debug)]
pub(super) enum ModelsCommand {
    /// List the models that are installed, those of configured providers, and routes
    List(ListArguments),
    /// Print what a model is made of, or what a provider's can be asked for, as JSON
    Inspect(InspectArguments),
}

/// Flags of `models list`.
#[derive(Args, Debug)]
pub(super) struct ListArguments {
    #[command(flatten)]
    common: CommonOptions,
}

/// Flags of `models inspect`.
#[derive(Args, Debug)]
pub(super) struct InspectArguments {
    /// A model's or a route's id, or a directory in the diffusers layout
    #[arg(value_name = "ID|DIR")]
    model: String,
    /// Also hash every weight file (reads all of them)
    #[arg(long)]
    sha256: bool,
    #[command(flatten)]
    common: CommonOptions,
}

/// Runs one of them.
pub(super) fn run(command: &ModelsCommand, out: &mut (dyn Write + Send)) -> Outcome {
    match command {
        ModelsCommand::List(arguments) => list(&arguments.common.load()?, out),
        ModelsCommand::Inspect(arguments) => {
            let config = arguments.common.load()?;
            if let Some(facts) = offered(&config, &arguments.model)? {
                return writeln!(out, "{facts:#}").or_fail();
            }
            let facts = inspect(&find_among_all(&config, "model", &arguments.model)?, arguments.sha256)?;
            writeln!(out, "{}", serde_json::to_string_pretty(&facts).or_fail()?).or_fail()
        }
    }
}

/// A model that `--model` named.
#[derive(Debug)]
pub(super) struct FoundModel {
    /// What is known of it without loading it.
    pub(super) description: ModelDescription,
    /// Its directory, or its single file.
    pub(super) directory: PathBuf,
}

/// The model that `text` names: a directory, or a single file, if it looks like a path or is one, else an id. `flag` is where it was named.
pub(super) fn find(config: &Config, flag: &str, text: &str) -> Outcome<FoundModel> {
    find_or(config, flag, text, String::new)
}

/// The same where `text` may have been meant for a model of a provider, or a route: a refusal names those too.
pub(super) fn find_among_all(config: &Config, flag: &str, text: &str) -> Outcome<FoundModel> {
    // What is wrong with the files of providers must not hide what is wrong with the name.
    find_or(config, flag, text, || offered_models::read(config).map_or_else(|_| String::new(), |offered| offered.hint(text)))
}

/// `hint` stands behind the refusal of an id that nothing has.
fn find_or(config: &Config, flag: &str, text: &str, hint: impl FnOnce() -> String) -> Outcome<FoundModel> {
    let refused = |error: ModelError| Failure::input(flag, error);
    let path = Path::new(text);
    if path.components().count() > 1 || path.is_absolute() || path.join("model_index.json").is_file() {
        let is_single_file =
            path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
        if !path.is_dir() && !is_single_file {
            return Err(Failure::input(flag, format!("{text} is neither a directory nor a .safetensors file")));
        }
        let description = ModelCatalog::describe_directory(path).map_err(refused)?;
        return Ok(FoundModel { description, directory: path.to_owned() });
    }
    let id: ModelId = text.parse().map_err(|error| Failure::input(flag, error))?;
    let catalog = catalog(config)?;
    let description = catalog.describe(&id).map_err(|error| match error {
        ModelError::NotFound { .. } => Failure::input(flag, format!("{error}{}", hint())),
        ModelError::Broken { .. } => refused(error),
    })?;
    Ok(FoundModel { description, directory: catalog.directory(&id).map_err(refused)? })
}

/// What is known of a route, or of a provider's model, that `text` names; none where it names a model of this machine's, which go first.
fn offered(config: &Config, text: &str) -> Outcome<Option<serde_json::Value>> {
    let Some(id) = text.parse::<ModelId>().ok().filter(|_| !Path::new(text).exists()) else { return Ok(None) };
    if catalog(config)?.describe(&id).is_ok() {
        return Ok(None);
    }
    Ok(offered_models::read(config)?.inspect(&id))
}

/// The catalog under this configuration, the model inside the binary included.
pub(super) fn catalog(config: &Config) -> Outcome<ModelCatalog> {
    let places = &config.models;
    ModelCatalog::open_with_demo(places.search_directories.clone(), &places.unpack_directory)
        .with_context(|| {
            format!("cannot unpack the bundled model below {}; name a place with --data-dir", places.unpack_directory.display())
        })
        .or_fail()
}

fn list(config: &Config, out: &mut dyn Write) -> Outcome {
    let catalog = catalog(config)?;
    for model in catalog.list() {
        let millions = model.parameters as f64 / 1e6;
        let place = catalog.directory(&model.id).map(|path| path.display().to_string()).unwrap_or_default();
        let (id, family, limits) = (&model.id, &model.family, &model.limits);
        let (width, height) = (limits.default_width, limits.default_height);
        let clip = model.video.as_ref().map_or_else(String::new, |video| {
            format!("  clips of {} frames at {} a second", video.default_num_frames, video.default_fps)
        });
        writeln!(out, "{id}  {family}  {millions:.1} M parameters  {width}x{height}{clip}  {place}").or_fail()?;
    }
    offered_models::read(config)?.list(out)
}

#[derive(Serialize)]
struct Facts {
    #[serde(flatten)]
    description: ModelDescription,
    directory: PathBuf,
    scheduler: serde_json::Value,
    components: Vec<Component>,
}

#[derive(Serialize)]
struct Component {
    name: &'static str,
    class: serde_json::Value,
    files: Vec<WeightFile>,
}

#[derive(Serialize)]
struct WeightFile {
    path: PathBuf,
    bytes: u64,
    /// Stored precision → number of tensors.
    dtypes: std::collections::BTreeMap<String, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256Digest>,
}

/// Directories of a model that hold weights, and how their files' names begin.
const fn components(kind: ModelKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        ModelKind::Image => &[
            ("text_encoder", "model"),
            ("text_encoder_2", "model"),
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
        ],
        ModelKind::Video => {
            &[("image_encoder", "model"), ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")]
        }
    }
}

fn inspect(model: &FoundModel, with_sha256: bool) -> Outcome<Facts> {
    if model.directory.is_file() {
        let file = weight_file(model.directory.clone(), model.description.weight_file_bytes, with_sha256)?;
        let component = Component { name: "checkpoint", class: serde_json::Value::Null, files: vec![file] };
        return Ok(Facts {
            description: model.description.clone(),
            directory: model.directory.clone(),
            scheduler: serde_json::Value::Null,
            components: vec![component],
        });
    }
    let index = read_json(&model.directory.join("model_index.json"))?;
    let components = components(model.description.kind)
        .iter()
        .map(|&(name, stem)| {
            let checkpoint = Checkpoint::open(name, &model.directory.join(name), stem, Variant::default()).or_fail()?;
            let files = checkpoint.files().into_iter().map(|(path, bytes)| weight_file(path, bytes, with_sha256));
            Ok(Component { name, class: index[name][1].clone(), files: files.collect::<Outcome<_>>()? })
        })
        .collect::<Outcome<_>>()?;
    Ok(Facts {
        description: model.description.clone(),
        directory: model.directory.clone(),
        scheduler: read_json(&model.directory.join("scheduler/scheduler_config.json"))?,
        components,
    })
}

fn read_json(path: &Path) -> Outcome<serde_json::Value> {
    let text = read_prefix(path, 1 << 20).with_context(|| format!("cannot read {}", path.display())).or_fail()?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display())).or_fail()
}

fn read_prefix(path: &Path, most_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn weight_file(path: PathBuf, bytes: u64, with_sha256: bool) -> Outcome<WeightFile> {
    let dtypes = dtypes(&path).with_context(|| format!("cannot read {}", path.display())).or_fail()?;
    let sha256 = with_sha256
        .then(|| file_sha256(&path))
        .transpose()
        .with_context(|| format!("cannot read {}", path.display()))
        .or_fail()?;
    Ok(WeightFile { path, bytes, dtypes, sha256 })
}

/// Counts the header's tensors by dtype. [`Checkpoint::open`] has checked the header's length against the file's.
fn dtypes(path: &Path) -> anyhow::Result<std::collections::BTreeMap<String, usize>> {
    let mut file = std::fs::File::open(path)?;
    let mut length = [0_u8; 8];
    file.read_exact(&mut length)?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length)).read_to_end(&mut header)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&header)?;
    let mut dtypes = std::collections::BTreeMap::new();
    for dtype in header.values().filter_map(|tensor| tensor["dtype"].as_str()) {
        *dtypes.entry(dtype.to_owned()).or_default() += 1;
    }
    Ok(dtypes)
}

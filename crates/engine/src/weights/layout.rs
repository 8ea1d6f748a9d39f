//! Which files of a folder hold a component's weights.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::checkpoint::Variant;
use crate::error::{Error, Result, shortened};
use crate::small_file;

/// Indices of the largest published models have a few hundred kilobytes.
const MOST_INDEX_BYTES: u64 = 16 << 20;

/// The files, and what an index says about them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One file.
    Whole(PathBuf),
    /// Several, and an index that says which tensor is where.
    Sharded {
        /// The index file.
        index: PathBuf,
        /// Tensor → name of its file in the same folder.
        weight_map: BTreeMap<String, String>,
    },
}

/// Finds the weights called `stem` in `directory`, of the preferred variant if it is there, else of the other.
pub(super) fn find(directory: &Path, stem: &str, variant: Variant) -> Result<Layout> {
    let plain = [format!("{stem}.safetensors"), format!("{stem}.safetensors.index.json")];
    let half = [
        format!("{stem}.fp16.safetensors"),
        format!("{stem}.safetensors.index.fp16.json"),
        format!("{stem}.safetensors.fp16.index.json"),
        format!("{stem}.fp16.safetensors.index.json"),
    ];
    let preferred: Vec<&String> = match variant {
        Variant::Plain => plain.iter().chain(&half).collect(),
        Variant::Half => half.iter().chain(&plain).collect(),
    };
    let found = preferred.into_iter().map(|name| directory.join(name)).find(|path| path.exists());
    match found {
        Some(path) if path.extension().is_some_and(|extension| extension == "json") => read_index(&path),
        Some(path) => Ok(Layout::Whole(path)),
        None => Err(nothing_found(directory, stem)),
    }
}

fn nothing_found(directory: &Path, stem: &str) -> Error {
    let pickled = ["bin", "fp16.bin"].iter().any(|extension| directory.join(format!("{stem}.{extension}")).exists());
    let hint = if pickled { "; .bin files are not read, convert them to safetensors" } else { "" };
    Error::Malformed {
        path: directory.to_owned(),
        reason: format!("no weights here: expected {stem}.safetensors, {stem}.fp16.safetensors or shards with an index{hint}"),
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn read_index(path: &Path) -> Result<Layout> {
    let broken = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    let text = small_file::read(path, MOST_INDEX_BYTES)?.ok_or_else(|| broken("it is gone".to_owned()))?;
    let index: Index = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    if let Some(name) = index.weight_map.values().find(|name| !is_plain_file_name(name)) {
        return Err(broken(format!("weight_map names {:?}, which is not a .safetensors file beside the index", shortened(name))));
    }
    if index.weight_map.is_empty() {
        return Err(broken("weight_map is empty".to_owned()));
    }
    Ok(Layout::Sharded { index: path.to_owned(), weight_map: index.weight_map })
}

/// A name that cannot lead out of its folder.
fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let single = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    single && !name.contains(['/', '\\', '\0']) && Path::new(name).extension().is_some_and(|extension| extension == "safetensors")
}

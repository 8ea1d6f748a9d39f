//! Stable Video Diffusion in one file (`svd.safetensors`, `svd_xt.safetensors`), as its authors published it: their names for the same
//! tensors, some of which are stored in another form, and some of which nobody needs.
//!
//! - `names`: where each name belongs, or why it belongs nowhere;
//! - `unet`, `autoencoder`, `image_encoder`: the names of each network.

mod autoencoder;
mod image_encoder;
mod names;
mod unet;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Entry};
use super::safetensors_file::SafetensorsFile;
use crate::error::{Error, Result, shortened};
use names::{Fate, Form, Layout};

pub use names::SvdComponent;

/// An open file of Stable Video Diffusion.
#[derive(Debug)]
pub struct SvdFile {
    file: Arc<SafetensorsFile>,
    layout: Layout,
}

impl SvdFile {
    /// Opens `path`. A file that is not of this model is refused, and so is one with a tensor that has no place in it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = SafetensorsFile::open(path)?;
        let broken = |reason: String| Error::Malformed { path: path.to_owned(), reason };
        let layout = Layout::of(file.tensors().keys().map(String::as_str))
            .ok_or_else(|| broken("not a file of Stable Video Diffusion: it has no layers over frames".to_owned()))?;
        let unknown = file.tensors().keys().find(|name| matches!(names::fate(name, layout), Fate::Unknown));
        if let Some(name) = unknown {
            return Err(broken(format!("{} has no place in Stable Video Diffusion", shortened(name))));
        }
        Ok(Self { file: Arc::new(file), layout })
    }

    /// The weights of one component, under the names that diffusers has for them. The configuration follows from their shapes
    /// ([`crate::svd::shapes`]).
    pub fn checkpoint(&self, component: SvdComponent) -> Result<Checkpoint> {
        let mut tensors = BTreeMap::new();
        for (name, located) in self.file.tensors() {
            let Fate::Places(places) = names::fate(name, self.layout) else { continue };
            for place in places.into_iter().filter(|place| place.component == component) {
                let entry = match place.form {
                    Form::Whole => Some(Entry::new(0, located.clone())),
                    Form::Third(index) => located.third(index).map(|third| Entry::new(0, third)),
                    Form::Transposed => Entry::transposed(0, located.clone()),
                };
                let malformed = |reason: String| Error::Malformed { path: self.file.path().to_owned(), reason };
                let shape = &located.shape;
                let entry = entry.ok_or_else(|| malformed(format!("{} has shape {shape:?}", shortened(name))))?;
                if tensors.insert(place.name, entry).is_some() {
                    return Err(malformed(format!("{} is there under another name too", shortened(name))));
                }
            }
        }
        Ok(Checkpoint::of_tensors(component.name(), Arc::clone(&self.file), tensors))
    }
}

#[cfg(test)]
mod tests;

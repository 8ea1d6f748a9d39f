//! Where constructors take their tensors from.

use std::fmt::Display;

use super::packed::Packed;
use crate::error::Result;

/// A tensor on the host, as f32 whatever the file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum HostTensor {
    /// Values in the published (torch) order.
    Values {
        /// Dimensions.
        shape: Vec<usize>,
        /// As many values as the product of the dimensions.
        values: Vec<f32>,
    },
    /// Only declared: the constructor runs to see what it asks for.
    Declared {
        /// Dimensions.
        shape: Vec<usize>,
    },
}

impl HostTensor {
    /// The values, unless the tensor is only declared.
    pub fn into_values(self) -> Option<Vec<f32>> {
        match self {
            Self::Values { values, .. } => Some(values),
            Self::Declared { .. } => None,
        }
    }

    /// A tensor of `shape` made of this one's values.
    #[must_use]
    pub(crate) fn reshaped(&self, shape: &[usize], change: impl FnOnce(&[f32]) -> Vec<f32>) -> Self {
        match self {
            Self::Declared { .. } => Self::Declared { shape: shape.to_vec() },
            Self::Values { values, .. } => Self::Values { shape: shape.to_vec(), values: change(values) },
        }
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Values { shape, .. } | Self::Declared { shape } => shape,
        }
    }
}

/// Gives tensors by name. One source is one component (`unet`, `vae`, …).
pub trait TensorSource: Send + Sync {
    /// The component's name, for errors.
    fn component(&self) -> &str;
    /// Whether the component has this tensor (always, when declaring).
    fn has(&self, name: &str) -> bool;
    /// The tensor `name`, which must have `shape`; marks it as used. A missing tensor or another shape is an error that names it.
    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor>;
    /// [`Self::take`] of a tensor that has no effect on any result, so that its values need not be read.
    fn skip(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.take(name, shape).map(drop)
    }
}

/// A source and a place in its tree of names; perhaps with a file of packed weights beside it.
#[derive(Clone)]
pub struct Scope<'a> {
    source: &'a dyn TensorSource,
    prefix: String,
    packed: Option<Packed<'a>>,
}

impl<'a> Scope<'a> {
    /// The root of a component.
    pub fn root(source: &'a dyn TensorSource) -> Self {
        Self { source, prefix: String::new(), packed: None }
    }
    /// The same place, whose layers come packed from a file, or go into one.
    #[must_use]
    pub(crate) fn with_packed(self, packed: Option<Packed<'a>>) -> Self {
        Self { packed, ..self }
    }
    /// The file of packed weights.
    pub(crate) fn packed(&self) -> Option<Packed<'a>> {
        self.packed
    }
    /// The name of `name` under this scope among all components.
    pub(crate) fn full_name(&self, name: &str) -> String {
        format!("{}/{}{name}", self.component(), self.prefix)
    }
    /// One level down: `scope.enter("resnets").enter(0)`.
    #[must_use]
    pub fn enter(&self, name: impl Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..*self }
    }
    /// The tensor `name` under this scope.
    pub fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        self.source.take(&format!("{}{name}", self.prefix), shape)
    }
    /// Marks the tensor `name` under this scope as used: it must be there and have `shape`, and has no effect on any result.
    pub fn skip(&self, name: &str, shape: &[usize]) -> Result<()> {
        match self.packed {
            // What comes out of a file was accounted for when it went in.
            Some(Packed::Mapped(_)) => Ok(()),
            _ => self.source.skip(&format!("{}{name}", self.prefix), shape),
        }
    }
    /// Whether the tensor `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.source.has(&format!("{}{name}", self.prefix))
    }
    /// The component's name, for errors.
    pub fn component(&self) -> &str {
        self.source.component()
    }
    /// The full name of `name` under this scope.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scope({}:{})", self.source.component(), self.prefix)
    }
}

/// A source that has every tensor and allocates none: it writes down what it is asked for.
#[derive(Debug, Default)]
pub struct Declarations {
    asked: std::sync::Mutex<Vec<(String, Vec<usize>)>>,
}

impl Declarations {
    /// Every tensor asked for so far, in the order of asking.
    pub fn asked(&self) -> Vec<(String, Vec<usize>)> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

impl TensorSource for Declarations {
    fn component(&self) -> &'static str {
        "declarations"
    }
    fn has(&self, _name: &str) -> bool {
        true
    }
    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        if let Ok(mut asked) = self.asked.lock() {
            asked.push((name.to_owned(), shape.to_vec()));
        }
        Ok(HostTensor::Declared { shape: shape.to_vec() })
    }
}

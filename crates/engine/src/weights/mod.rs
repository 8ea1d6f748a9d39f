//! Reading checkpoints: safetensors files as published, plain, `.fp16` or sharded, and what `torch.save` writes; every key and every
//! setting accounted for; and files of packed weights that the processes of a machine share.

pub mod checkpoint;
mod interruptible;
mod layout;
mod names;
pub mod packed;
pub mod prepared;
pub mod random;
mod safetensors_file;
pub mod settings;
pub mod single_file;
pub mod source;
mod torch;
pub mod weight_file;

pub use checkpoint::{Checkpoint, Variant};
pub use interruptible::Interruptible;
pub use packed::{PackedCache, PackedListing, PackedUse};
pub use prepared::Prepared;
pub use random::RandomWeights;
pub use settings::Settings;
pub use single_file::{SvdComponent, SvdFile};
pub use source::{Declarations, HostTensor, Scope, TensorSource};
pub use weight_file::WeightFile;

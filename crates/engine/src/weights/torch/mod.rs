//! Files of `torch.save` (`.pth`, `.pt`, `.bin`, `.pkl`): a zip archive of one pickle that describes tensors, and their values.
//!
//! A pickle is a program that may call anything. Nothing is called here: the few objects that state dictionaries are made of are
//! recognised by name, everything else is a lump without meaning. The files come from strangers, so no number in them is believed
//! before it was compared with the length of what is really there.
//!
//! - `archive`: the zip archive: names, and where their bytes lie;
//! - `pickle`: the pickle's values, flat, so that no nesting is too deep;
//! - `file`: the state dictionary and its tensors, as places in the file.

mod archive;
mod file;
mod pickle;
#[cfg(test)]
mod tests;

pub(super) use file::TorchFile;

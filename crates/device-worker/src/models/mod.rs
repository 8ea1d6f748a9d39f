//! The models in a device's memory: what their files say they are, what they need, and which are loaded.

pub(crate) mod description;
pub(crate) mod need;
pub(crate) mod shelf;

//! How a camera moves through a scene: commands that a prompt carries, and the path that they make.

mod command;
mod path;
mod script;

pub use command::CameraCommand;
pub use path::{CameraPath, CameraPose};
pub use script::{CameraError, CameraScript, CameraShot, MAX_COMMANDS_AT_ONCE};

//! A1111's surface, `/sdapi/v1`: the same jobs in the words of Stable Diffusion web UI's clients.
//!
//! What its fields ask for is done, or refused by name; what cannot change a picture is accepted, unknown fields too, as the web UI
//! does. What the web UI has one of for everybody (the checkpoint, the progress, the button that interrupts) each caller has of its own.

mod answer;
mod checkpoints;
mod defaults;
mod extras;
mod interrupt;
mod live_previews;
mod memory;
mod models;
mod networks;
mod nothing;
mod options;
mod order;
mod picture_request;
mod pictures;
mod png_info;
mod progress;
mod prompt_tags;
mod recent;
mod remembered;
mod resize_mode;
mod routes;
mod running;
mod samplers;
mod scripts;
mod sent_file;
mod settings;
mod task_progress;
mod unsupported;
mod upscalers;

pub use remembered::A1111Memory;
pub(super) use routes::routes;

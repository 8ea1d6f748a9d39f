//! The HTTP API through its real router; the files mirror the routes.

mod a1111;
mod administration;
mod authentication;
mod bad_input;
mod content;
mod events;
mod images;
mod links;
mod minimax;
mod models;
mod openai_chat;
mod openai_edits;
mod openai_images;
mod openai_tasks;
mod openai_videos;
pub(crate) mod remote;
mod remote_metrics;
mod remote_pictures;
mod server;
mod tasks;
mod tenants;
mod unified;
mod unified_list;
mod video_networks;
mod videos;
mod webhooks;

use insta::Settings;

/// Snapshot settings that hide what differs from run to run.
fn stable() -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_sort_maps(true);
    settings.add_filter(r"job_[0-9a-f]{32}", "job_ID");
    settings.add_filter(r"token=[A-Za-z0-9_-]{43}", "token=TOKEN");
    settings
}

//! Links to what a job made, in answers that have links alone.

use crate::api::links::OPENAI_LINK_SECONDS;
use crate::api::native::task_document::content_path;
use crate::api::state::ApiState;
use crate::domain::{JobId, JobResult, UnixMs};

/// A link to each picture, or to the film, that needs no key for an hour.
pub(super) fn result_links(state: &ApiState, base_url: &str, id: JobId, result: &JobResult) -> Vec<String> {
    let expires = UnixMs(state.clock.now().0 + OPENAI_LINK_SECONDS * 1000);
    let id = id.to_string();
    let link = |index| state.links.sign(base_url, &content_path(&id, "result", index), "", expires);
    (0..result.artifacts.len()).map(link).collect()
}

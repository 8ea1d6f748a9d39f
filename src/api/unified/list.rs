//! The list of tasks in the envelope, by page numbers.
//!
//! `GET /api/v1/tasks/`: its clients write the slash, as those of Django and FastAPI do, and the native list has none in any document of
//! this server. So the slash tells the two lists apart, unless the query asks for what only the native one knows: whoever reads that with a
//! slash goes on as before.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{Method, Uri};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use url::form_urlencoded::{Serializer, parse};
use utoipa::ToSchema;

use super::document::{UnifiedAnswer, UnifiedStatus};
use crate::api::error::{ApiError, UnifiedError};
use crate::api::extract::{BaseUrl, Caller, QueryParameters};
use crate::api::state::ApiState;
use crate::domain::{JobState, ModelId, Principal};
use crate::jobs::store::{JobFilter, JobOrder, JobPage, JobWindow};

/// The list's path.
pub(in crate::api) const PATH: &str = "/api/v1/tasks/";
/// The parameters that only the native list has.
const NATIVE_PARAMETERS: [&str; 3] = ["limit", "before", "project_id"];

const DEFAULT_PAGE_SIZE: u32 = 10;
const MAX_PAGE_SIZE: u32 = 100;
/// How many tasks a user's list goes through. Pages are counted, which takes as long as what is counted: some hundredths of a second for
/// these, whose states lie in an index.
const MOST_TASKS: u32 = 100_000;
/// How many tasks an administrator's list goes through: an index of everybody's states would cost every task more than these lists are worth.
const MOST_TASKS_OF_EVERYBODY: u32 = 10_000;
/// Longest part of a value that a refusal quotes, characters.
const MOST_QUOTED: usize = 32;

/// Which part of the list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct UnifiedPage {
    /// Only tasks in this state: `pending`, `running`, `completed`, `failed` or `cancelled`; or `retrying`, those of the pending ones that
    /// have run before and wait to be tried again.
    #[serde(default, deserialize_with = "unless_empty")]
    status: Option<String>,
    /// Only tasks of this model.
    #[serde(default, deserialize_with = "unless_empty")]
    model: Option<String>,
    /// Which page, from 1; absent: 1. The last page that can be asked for ends with the list's 100,000th task, for
    /// administrators with the 10,000th.
    #[serde(default, deserialize_with = "unless_empty")]
    page: Option<u32>,
    /// Tasks on a page, 1 to 100; absent: 10.
    #[serde(default, deserialize_with = "unless_empty")]
    page_size: Option<u32>,
    /// `-created_at` (newest first) or `created_at`, also without `_at`; absent: newest first.
    #[serde(default, deserialize_with = "unless_empty")]
    ordering: Option<String>,
}

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UnifiedTaskList {
    /// How many tasks all pages have together. A list goes through your first 100,000 tasks in its order, an administrator's through the
    /// first 10,000 of everybody's, and says nothing of those behind.
    total: u64,
    /// Tasks on a page.
    page_size: u32,
    /// Which page this is, from 1.
    current_page: u32,
    /// How many pages there are; 1 where there are no tasks.
    total_pages: u64,
    /// A link to the next page; null on the last.
    #[schema(example = "http://localhost:8000/api/v1/tasks/?page=3&page_size=10")]
    next: Option<String>,
    /// A link to the page before; null on the first.
    previous: Option<String>,
    /// The tasks.
    tasks: Vec<UnifiedStatus>,
}

/// Gives a request for this list the slash that is taken from all paths.
pub(in crate::api) fn with_its_slash(mut request: Request) -> Request {
    let is_list = [Method::GET, Method::HEAD].contains(request.method())
        && request.extensions().get::<OriginalUri>().is_some_and(|OriginalUri(uri)| is_this_list(uri));
    if is_list {
        let with_query = request.uri().query().map_or_else(|| PATH.to_owned(), |query| format!("{PATH}?{query}"));
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = with_query.parse().ok().or(parts.path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Whether a list is asked for as clients of unified tasks ask for it.
fn is_this_list(uri: &Uri) -> bool {
    let parameters: Vec<_> = parse(uri.query().unwrap_or_default().as_bytes()).collect();
    let is_native = match &parameters[..] {
        [(name, words)] if name == "status" => are_native(words),
        _ => parameters.iter().any(|(name, _)| NATIVE_PARAMETERS.contains(&&**name)),
    };
    uri.path() == PATH && !is_native
}

/// Whether these are states as only the native list has them: `queued`, or several.
fn are_native(words: &str) -> bool {
    let is_state = |word: &str| JobState::ALL.iter().any(|state| state.as_str() == word);
    states_of(words).is_err() && words.split(',').all(is_state)
}

/// Reads what a form sends of a field: an empty one is none.
fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

/// How many tasks the caller's list goes through.
fn most_tasks(principal: &Principal) -> u32 {
    if principal.admin { MOST_TASKS_OF_EVERYBODY } else { MOST_TASKS }
}

/// List your tasks, in the envelope of unified tasks
///
/// This is the list with the slash at the end of its path; without it, with `limit`, `before` or `project_id`, or asked for nothing but the
/// native `status=queued` or several states, it is the native one. A key that is bound to a project sees that project's; administrators see
/// everybody's. A page behind the last one is empty.
#[utoipa::path(
    get, path = "/api/v1/tasks/", tag = "unified", params(UnifiedPage),
    responses(
        (status = 200, description = "A page of them", body = UnifiedAnswer<UnifiedTaskList>),
        (status = 422, description = "A parameter cannot be used", body = UnifiedError),
    )
)]
pub(in crate::api) async fn list_unified_tasks(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    QueryParameters(page): QueryParameters<UnifiedPage>,
) -> Result<Json<UnifiedAnswer<UnifiedTaskList>>, ApiError> {
    let look_through = most_tasks(&principal);
    let number = page.number(look_through)?;
    let window =
        JobWindow { order: page.order()?, look_through, skip: (number.page - 1) * number.page_size, limit: number.page_size };
    let JobPage { jobs, total } = state.jobs.page(&principal, page.filter(&state)?, window).await?;
    let tasks = jobs.iter().map(|job| UnifiedStatus::of(job, &state)).collect();
    let list = page.answer(number, total, &base_url, tasks);
    Ok(Json(UnifiedAnswer::success(format!("page {} of {}", list.current_page, list.total_pages), list)))
}

/// A page's place and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageNumber {
    /// From 1.
    page: u32,
    /// Tasks.
    page_size: u32,
}

impl UnifiedPage {
    /// The page's place in a list of up to `most_tasks` tasks.
    fn number(&self, most_tasks: u32) -> Result<PageNumber, ApiError> {
        let page_size = self.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
        if !(1..=MAX_PAGE_SIZE).contains(&page_size) {
            return Err(ApiError::invalid("page_size", format!("is {page_size}; allowed: 1 to {MAX_PAGE_SIZE}")));
        }
        let (page, last) = (self.page.unwrap_or(1), most_tasks.div_ceil(page_size));
        if !(1..=last).contains(&page) {
            let allowed = format!("allowed with a page_size of {page_size}: 1 to {last} (the list's first {most_tasks} tasks)");
            return Err(ApiError::invalid("page", format!("is {page}; {allowed}")));
        }
        Ok(PageNumber { page, page_size })
    }

    fn order(&self) -> Result<JobOrder, ApiError> {
        match self.ordering.as_deref() {
            None | Some("-created_at" | "-created") => Ok(JobOrder::NewestFirst),
            Some("created_at" | "created") => Ok(JobOrder::OldestFirst),
            Some(other) => Err(ApiError::invalid(
                "ordering",
                format!("is '{}'; allowed: -created_at, created_at, -created, created", quoted(other)),
            )),
        }
    }

    /// The tasks that are asked for.
    fn filter(&self, state: &ApiState) -> Result<JobFilter, ApiError> {
        let models = match &self.model {
            None => Vec::new(),
            Some(name) => {
                let id: ModelId = name
                    .parse()
                    .map_err(|error: crate::domain::IdError| ApiError::invalid("model", format!("cannot be used: {error}")))?;
                let offered = state.remote.describe();
                // Tasks have the name that lists of models show, also where they were asked for by another one.
                let meant = offered.into_iter().filter(|model| model.aliases.contains(&id.as_str())).map(|model| model.id);
                meant.chain([id.clone()]).collect()
            }
        };
        let (states, is_waiting_again) = match self.status.as_deref() {
            None => (Vec::new(), false),
            Some(word) => states_of(word)?,
        };
        Ok(JobFilter { states, models, is_waiting_again, ..JobFilter::default() })
    }

    fn answer(
        &self,
        PageNumber { page, page_size }: PageNumber,
        total: u64,
        base_url: &str,
        tasks: Vec<UnifiedStatus>,
    ) -> UnifiedTaskList {
        let total_pages = total.div_ceil(page_size.into()).max(1);
        let is_there = |other: u64| (1..=total_pages).contains(&other);
        // A page behind the last one leads back to that.
        let before = u64::from(page - 1).min(total_pages);
        let link = |other: u64| is_there(other).then(|| self.link(base_url, other, page_size));
        let (next, previous) = (link(u64::from(page) + 1), link(before));
        UnifiedTaskList { total, page_size, current_page: page, total_pages, next, previous, tasks }
    }

    /// The address of another page.
    fn link(&self, base_url: &str, page: u64, page_size: u32) -> String {
        let mut query = Serializer::new(String::new());
        let texts = [("status", &self.status), ("model", &self.model), ("ordering", &self.ordering)];
        query.extend_pairs(texts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
        query.append_pair("page", &page.to_string()).append_pair("page_size", &page_size.to_string());
        format!("{base_url}{PATH}?{}", query.finish())
    }
}

/// The states that a word means, and whether only of tasks that wait to be tried again.
fn states_of(word: &str) -> Result<(Vec<JobState>, bool), ApiError> {
    let state = match word {
        "pending" | "retrying" => JobState::Queued,
        "running" => JobState::Running,
        "completed" => JobState::Completed,
        "failed" => JobState::Failed,
        "cancelled" => JobState::Cancelled,
        other => {
            let allowed = "pending, running, completed, failed, cancelled, retrying";
            return Err(ApiError::invalid("status", format!("is '{}'; allowed: {allowed}", quoted(other))));
        }
    };
    Ok((vec![state], word == "retrying"))
}

fn quoted(text: &str) -> String {
    text.chars().take(MOST_QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api/v1/tasks/", true)]
    #[case("/api/v1/tasks/?", true)]
    #[case("/api/v1/tasks/?status=failed&page=2", true)]
    #[case("/api/v1/tasks/?status=limit", true)]
    #[case("/api/v1/tasks/?status=running", true)]
    #[case("/api/v1/tasks/?status=retrying,queued", true)]
    #[case("/api/v1/tasks/?status=queued&page=2", true)]
    #[case("/api/v1/tasks/?status=queued", false)]
    #[case("/api/v1/tasks/?status=completed%2Cfailed", false)]
    #[case("/api/v1/tasks/?status=failed&limit=5", false)]
    #[case("/api/v1/tasks/?limit=5", false)]
    #[case("/api/v1/tasks/?status=failed&%62efore=job_1", false)]
    #[case("/api/v1/tasks/?project_id=film", false)]
    #[case("/api/v1/tasks", false)]
    #[case("/api/v1/tasks?page=2", false)]
    #[case("/api/v1/tasks/job_1/", false)]
    fn lists_are_told_apart(#[case] uri: &str, #[case] expected: bool) {
        assert_eq!(is_this_list(&uri.parse().unwrap()), expected);
    }

    fn answer(total: u64, page: u32) -> (u64, Option<String>, Option<String>) {
        let asked = UnifiedPage { model: Some("a+b".to_owned()), ..UnifiedPage::default() };
        let list = asked.answer(PageNumber { page, page_size: 10 }, total, "http://x", Vec::new());
        (list.total_pages, list.next, list.previous)
    }

    #[test]
    fn pages_lead_to_their_neighbours() {
        let to = |page: u32| Some(format!("http://x/api/v1/tasks/?model=a%2Bb&page={page}&page_size=10"));
        assert_eq!(answer(0, 1), (1, None, None));
        assert_eq!(answer(10, 1), (1, None, None));
        assert_eq!(answer(11, 1), (2, to(2), None));
        assert_eq!(answer(25, 2), (3, to(3), to(1)));
        assert_eq!(answer(25, 3), (3, None, to(2)));
        assert_eq!(answer(25, 9), (3, None, to(3)));
    }

    #[test]
    fn the_deepest_page_ends_with_the_list() {
        let number = |page, page_size| {
            UnifiedPage { page: Some(page), page_size: Some(page_size), ..UnifiedPage::default() }.number(MOST_TASKS)
        };
        assert_eq!(number(10_000, 10).unwrap(), PageNumber { page: 10_000, page_size: 10 });
        assert_eq!(number(1_429, 70).unwrap(), PageNumber { page: 1_429, page_size: 70 });
        for (page, page_size, field) in [(10_001, 10, "page"), (0, 10, "page"), (u32::MAX, 1, "page"), (1, 0, "page_size")] {
            assert_eq!(number(page, page_size).unwrap_err().field(), Some(field));
        }
    }
}

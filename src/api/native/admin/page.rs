//! Lists of tenants, a page at a time.

use serde::Deserialize;

use crate::api::error::ApiError;

const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// Which part of a list that is in the order of names.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct NamePage {
    /// How many, 1 to 100; absent: 20.
    limit: Option<usize>,
    /// Only names behind this one: the `next` of the page before.
    after: Option<String>,
}

impl NamePage {
    /// The part of `items`, which are in the order of their names, that is asked for, and where the next one begins.
    pub(super) fn of<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("is {limit}; allowed: 1 to {MAX_PAGE}")));
        }
        let is_behind = |item: &T| self.after.as_deref().is_none_or(|after| name(item) > after);
        // One more than asked tells whether there is another page.
        let mut page: Vec<T> = items.into_iter().filter(is_behind).take(limit + 1).collect();
        let has_more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| has_more).map(|item| name(item).to_owned());
        Ok((page, next))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all(None, None, "abcd", None)]
    #[case::the_first(Some(2), None, "ab", Some("b"))]
    #[case::the_last(Some(2), Some("b"), "cd", None)]
    #[case::behind_one_that_is_not_there(Some(1), Some("bb"), "c", Some("c"))]
    #[case::behind_the_end(None, Some("d"), "", None)]
    fn pages(#[case] limit: Option<usize>, #[case] after: Option<&str>, #[case] names: &str, #[case] next: Option<&str>) {
        let page = NamePage { limit, after: after.map(str::to_owned) };
        let (found, found_next) = page.of(["a", "b", "c", "d"], |name| name).unwrap();
        assert_eq!((found.concat().as_str(), found_next.as_deref()), (names, next));
    }

    #[rstest]
    #[case(0)]
    #[case(101)]
    fn pages_have_a_size(#[case] limit: usize) {
        assert!(NamePage { limit: Some(limit), after: None }.of(["a"], |name| name).is_err());
    }
}

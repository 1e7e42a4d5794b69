//! Long lists come in pages: at most `limit` elements, and where to go on.

use serde::Deserialize;
use utoipa::IntoParams;

use super::error::AdminError;

/// Elements of a page, if nothing is said.
const DEFAULT_LIMIT: usize = 100;

/// Elements of a page, at most.
pub(super) const MAX_LIMIT: usize = 1_000;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Elements at most, 1 to 1,000. Default 100.
    pub(super) limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    pub(super) after: Option<String>,
}

/// Checks a `limit`.
pub(super) fn limit(limit: Option<usize>) -> Result<usize, AdminError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(AdminError::invalid(format!("limit = {limit} is not valid"))
            .expected(format!("a whole number from 1 to {MAX_LIMIT}")))
    }
}

/// Cuts a list that may have one element too many, and tells where to go on.
pub(super) fn cut<T>(
    mut elements: Vec<T>,
    limit: usize,
    position: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    if elements.len() <= limit {
        return (elements, None);
    }
    elements.truncate(limit);
    let next = elements.last().map(position);
    (elements, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_where_to_go_on_only_when_there_is_more() {
        let position = |number: &u32| number.to_string();

        assert_eq!(cut(vec![1, 2], 2, position), (vec![1, 2], None));
        let more = Some("2".to_owned());
        assert_eq!(cut(vec![1, 2, 3], 2, position), (vec![1, 2], more));
        assert_eq!(limit(None).unwrap(), 100);
        assert!(limit(Some(0)).is_err() && limit(Some(1_001)).is_err());
    }
}

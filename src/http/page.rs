//! Cursor pagination by key: the cursor is the last id of the previous page. Ids are UUIDv7, so pages are ordered by
//! time.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::error::{Error, Result};

/// The page that a request asks for.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items per page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the previous page; absent for the first page.
    pub cursor: Option<Uuid>,
}

impl PageQuery {
    /// The limit, checked.
    pub fn limit(&self) -> Result<i64> {
        match self.limit.unwrap_or(50) {
            limit @ 1..=200 => Ok(limit),
            _ => Err(Error::invalid("limit", ("1 to 200", "de 1 a 200"))),
        }
    }

    /// The id after which the page begins.
    #[must_use]
    pub fn after(&self) -> Uuid {
        self.cursor.unwrap_or(Uuid::nil())
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Cursor of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<Uuid>,
}

impl<T> Page<T> {
    /// A whole list as its only page.
    #[must_use]
    pub fn all(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }

    /// A page of `limit` items from rows that were queried with `limit + 1`; the extra row shows that a next page
    /// exists.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: i64, id: impl Fn(&T) -> Uuid) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(id) } else { None };
        Self { items, next_cursor }
    }
}

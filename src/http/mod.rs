//! Shared by all routes: JSON bodies, bounds, problems in the caller's language, ETags, pages, limits. Knows no noun.

pub mod body;
pub mod bounds;
pub mod etag;
pub mod lang;
pub mod page;
pub mod patch;
pub mod peer;

pub use body::Body;
pub use etag::IfMatch;
pub use page::{Page, PageQuery};
pub use patch::Patch;

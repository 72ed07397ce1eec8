//! What every route shares: JSON bodies, bounds, problems in the caller's language, ETags, idempotency, pages, limits, quotas. Knows no noun.

pub mod body;
pub mod bounds;
pub mod etag;
pub mod idempotency;
pub mod lang;
pub mod limits;
pub mod page;
pub mod patch;
pub mod peer;
pub mod quota;

pub use body::Body;
pub use etag::IfMatch;
pub use idempotency::{Answer, IdempotencyKey, once};
pub use page::{Page, PageQuery};
pub use patch::Patch;
pub use quota::Quota;

//! Routes of plans. Every answer that shows a version carries it as its `ETag`; every write below a plan needs it.

mod days;
mod items;
mod lifecycle;
mod meals;
mod plans;
mod revisions;

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, Responder};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::Plan;
use crate::cache::Ready;
use crate::error::Result;
use crate::http::etag;
use crate::http::etag::{Coding, Stamp};
use crate::idempotency::{Answer, to_json};
use crate::quota::{self, Quota};

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    plans::routes(config);
    lifecycle::routes(config);
    revisions::routes(config);
    days::routes(config);
    meals::routes(config);
    items::routes(config);
}

/// What a write that leaves nothing to show has made of the plan.
#[derive(Serialize, ToSchema)]
struct PlanWritten {
    /// The plan's version; `"<version>"` is its `ETag`.
    version: i64,
    /// The plan's current revision; 0 for a draft.
    revision: i32,
}

impl From<&Plan> for PlanWritten {
    fn from(plan: &Plan) -> Self {
        Self {
            version: plan.version,
            revision: plan.revision,
        }
    }
}

/// JSON with the `ETag` of a version.
fn tagged(version: i64, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, etag::tag(version)))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .json(body)
}

/// JSON that is ready, with the tag of its stamp; compressed with gzip once for all who take it so.
async fn tagged_bytes(request: &HttpRequest, stamp: Stamp, ready: Ready) -> Result<HttpResponse> {
    let mut response = HttpResponse::Ok();
    response
        // The middleware that compresses is inside the one that completes the tag.
        .insert_header((header::ETAG, stamp.tag(Coding::Identity)))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::VARY, "accept-encoding"))
        .content_type(header::ContentType::json());
    if Coding::of(request) != Coding::Gzip {
        return Ok(response.body(ready.body().clone()));
    }
    let body = ready.gzip().await?;
    response.insert_header(header::ContentEncoding::Gzip);
    Ok(response.body(body))
}

/// A list, with a tag made of its bytes. They are not kept: a list differs by caller, and with assignments and follows that
/// begin and end by the clock, so nothing cheaper than the list names what is in it. The tag spares the sending.
fn tagged_list(request: &HttpRequest, list: &impl Serialize) -> Result<HttpResponse> {
    let body = to_json(list)?;
    let tag = etag::of(body.as_bytes());
    let same = etag::none_match(request, &tag);
    let status = if same { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::ETAG, format!("W/{tag}")))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"));
    Ok(if same {
        response.finish()
    } else {
        response.content_type(header::ContentType::json()).body(body)
    })
}

/// The answer of a POST, with the `ETag` of the version in it.
struct Tagged(Answer);

impl Responder for Tagged {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        #[derive(Deserialize)]
        struct Versioned {
            version: i64,
        }
        let version = serde_json::from_str::<Versioned>(&self.0.body).ok();
        let mut response = self.0.respond_to(request);
        let tag = version.and_then(|v| header::HeaderValue::from_str(&etag::tag(v.version)).ok());
        if let Some(tag) = tag {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// How many plans an account may begin, as drafts of its own or as copies.
const CREATIONS: Quota = Quota {
    operation: "create_plan",
    times: 10,
    window: TimeDelta::hours(1),
};

/// The answer of a POST that counts, with what is left. A repeat of one did not count.
struct Counted(Tagged, Option<quota::Left>);

impl Responder for Counted {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = self.0.respond_to(request);
        if let Some(left) = self.1 {
            left.tell(&mut response);
        }
        response
    }
}

/// The answer of a request whose `If-None-Match` names the tag, with the fields that the whole answer would have (RFC 9110 §15.4.5).
fn not_modified(tag: String) -> HttpResponse {
    HttpResponse::build(StatusCode::NOT_MODIFIED)
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::VARY, "accept-encoding"))
        .finish()
}

//! Routes for plans. Every answer that shows a version carries it as its `ETag`; every write to an existing plan
//! requires it in `If-Match`.

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

/// The plan's version after a write that leaves nothing else to show, such as a deletion below it.
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

/// A JSON response with the version as its `ETag`.
fn tagged(version: i64, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, etag::tag(version)))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .json(body)
}

/// A response of serialised JSON with its stamp as `ETag`. A plan is gzipped once for all clients that accept gzip.
async fn tagged_bytes(request: &HttpRequest, stamp: Stamp, ready: Ready) -> Result<HttpResponse> {
    let mut response = HttpResponse::Ok();
    response
        // The middleware that completes the tag wraps the one that compresses, so the tag starts as the identity one.
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

/// A list, with an `ETag` computed from its bytes, which spares only the transfer. Lists are not cached: they differ by
/// caller and change as assignments and follows start and end with time, so no version identifies their content.
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

/// The answer to a POST, with the version in its body as `ETag`.
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

/// Quota of plans that an account may create, as new drafts or as copies.
const CREATIONS: Quota = Quota {
    operation: "create_plan",
    times: 10,
    window: TimeDelta::hours(1),
};

/// The answer to a POST that spends quota, with the rest of the quota. A repeat of an idempotency key spends nothing.
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

/// 304 for an `If-None-Match` that names the tag, with the headers that the full answer would have (RFC 9110 §15.4.5).
fn not_modified(tag: String) -> HttpResponse {
    HttpResponse::build(StatusCode::NOT_MODIFIED)
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::VARY, "accept-encoding"))
        .finish()
}

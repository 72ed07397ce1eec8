//! JSON bodies, query strings and paths whose errors are problems of ours.

use std::future::Future;
use std::pin::Pin;

use actix_web::error::{JsonPayloadError, PathError, QueryPayloadError};
use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use serde::de::DeserializeOwned;

use crate::error::{Code, Error};

/// Bytes that a JSON body may have.
pub const LIMIT_BYTES: usize = 512 * 1024;

/// A JSON body. Unlike `web::Json` it names the field that cannot be taken.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let json = web::Json::<T>::from_request(request, payload);
        Box::pin(async move {
            json.await
                .map(|json| Self(json.into_inner()))
                .map_err(|e| from_actix(&e))
        })
    }
}

fn from_actix(error: &actix_web::Error) -> Error {
    error
        .as_error::<JsonPayloadError>()
        .map_or_else(|| Error::new(Code::Malformed).with("reason", error), json_error)
}

fn json_error(error: &JsonPayloadError) -> Error {
    match error {
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
            Error::new(Code::TooLarge).with("limit", LIMIT_BYTES)
        }
        JsonPayloadError::ContentType => Error::new(Code::UnsupportedMediaType),
        JsonPayloadError::Deserialize(e) => Error::new(Code::Malformed).with("reason", e),
        other => Error::new(Code::Malformed).with("reason", other),
    }
}

/// Settings of actix's own extractors, so that they speak in problems too.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .app_data(web::JsonConfig::default().limit(LIMIT_BYTES))
        .app_data(web::QueryConfig::default().error_handler(|e, _| match e {
            QueryPayloadError::Deserialize(e) => Error::new(Code::Malformed).with("reason", e).into(),
            e => Error::new(Code::Malformed).with("reason", e).into(),
        }))
        // A path that cannot be read names nothing.
        .app_data(web::PathConfig::default().error_handler(|e, _| match e {
            PathError::Deserialize(_) => Error::not_found("page").into(),
            e => Error::new(Code::Malformed).with("reason", e).into(),
        }));
}

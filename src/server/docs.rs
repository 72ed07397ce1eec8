//! The API's description: the OpenAPI document, a JSON document on live channels, and an HTML page.

use std::fmt::Write as _;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::Modify;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use crate::error::{Code, Lang};

/// Adds the bearer scheme to the OpenAPI document.
pub struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The documents, rendered once at start.
pub struct Documents {
    openapi: Arc<str>,
    live: Arc<str>,
    page: Arc<str>,
    /// The content security policy of the page: only its own style sheet, by its hash.
    policy: Arc<str>,
}

impl Documents {
    /// Renders the documents from the OpenAPI document of the routes.
    #[must_use]
    pub fn new(openapi: &utoipa::openapi::OpenApi) -> Self {
        let value = serde_json::to_value(openapi).unwrap_or_default();
        let live = live();
        Self {
            page: page(&value, &live).into(),
            policy: format!(
                "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                BASE64_STANDARD.encode(Sha256::digest(STYLE))
            )
            .into(),
            openapi: value.to_string().into(),
            live: live.to_string().into(),
        }
    }
}

/// Mounts the documents.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/api/openapi.json", web::get().to(show_openapi))
        .route("/api/live.json", web::get().to(show_live))
        .route("/api/docs", web::get().to(show_docs))
        .route("/api/docs/problems", web::get().to(show_docs));
}

async fn show_openapi(documents: web::Data<Documents>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(documents.openapi.to_string())
}

async fn show_live(documents: web::Data<Documents>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(documents.live.to_string())
}

async fn show_docs(documents: web::Data<Documents>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, &*documents.policy))
        .body(documents.page.to_string())
}

/// Channels, events and commands, with the JSON Schema of an event. The schemas of snapshots and commands are in the
/// OpenAPI document.
#[must_use]
pub fn live() -> Value {
    let channels: Vec<Value> = crate::channels::DESCRIBED
        .iter()
        .map(|(name, who, shows, events)| {
            let state = crate::channels::STATES.iter().find(|(channel, _)| channel == name);
            let schema = state.map(|(_, schema)| schema_address(schema));
            json!({"channel": name, "who": who, "snapshot": shows, "events": events, "schema": schema})
        })
        .collect();
    let commands: Vec<Value> = crate::channels::COMMANDS
        .iter()
        .map(|(method, data, schema)| json!({"method": method, "data": data, "schema": schema_address(schema)}))
        .collect();
    json!({
        "endpoint": "/connection/websocket",
        "protocol": "Centrifuge client protocol, JSON",
        "event": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "required": ["v", "type", "patch"],
            "properties": {
                "v": {"const": 1}, "type": {"type": "string"}, "id": {"type": "string", "format": "uuid"},
                "at": {"type": "string", "format": "date-time"}, "actor": {"type": ["string", "null"], "format": "uuid"},
                "patch": {"type": "object", "description": "RFC 7396 merge patch on the channel's snapshot"},
            },
        },
        "channels": channels,
        "commands": commands,
    })
}

/// The address of a schema in the OpenAPI document, whose schemas are JSON Schema.
fn schema_address(name: &str) -> String {
    format!("/api/openapi.json#/components/schemas/{name}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The style sheet of the page.
const STYLE: &str = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;\
     color:#1a1f1c;background:#fff}code{font:14px ui-monospace,monospace}table{border-collapse:collapse;width:100%}\
     td,th{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #ddd}h2{margin-top:2.5rem}\
     @media(prefers-color-scheme:dark){body{color:#e6ebe8;background:#121614}td,th{border-color:#333}a{color:#8cc8ff}}";

fn page(openapi: &Value, live: &Value) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>liveplan API</title><style>",
    );
    out.push_str(STYLE);
    out.push_str(
        "</style><h1>liveplan API</h1><p>Machine-readable: <a href=\"/api/openapi.json\">OpenAPI 3.1</a>, \
         <a href=\"/api/live.json\">channels, events and commands</a>.</p><h2>REST</h2><table><tr><th>Route<th>What it does",
    );
    for (path, methods) in openapi["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let Some(id) = operation["operationId"].as_str() else {
                continue;
            };
            let summary = operation["summary"].as_str().unwrap_or(id);
            let method = method.to_uppercase();
            let _ = write!(
                out,
                "<tr id=\"{id}\"><td><code>{method} {}</code><td>{}",
                escape(path),
                escape(summary)
            );
        }
    }
    out.push_str("</table><h2>Live channels</h2><table><tr><th>Channel<th>Who<th>Shows<th>Events");
    for channel in live["channels"].as_array().into_iter().flatten() {
        let text = |key: &str| escape(channel[key].as_str().unwrap_or_default());
        let (name, who, shows, events) = (text("channel"), text("who"), text("snapshot"), text("events"));
        let _ = write!(out, "<tr><td><code>{name}</code><td>{who}<td>{shows}<td>{events}");
    }
    out.push_str("</table><h2>Commands over rpc</h2><table><tr><th>Method<th>Data");
    for command in live["commands"].as_array().into_iter().flatten() {
        let text = |key: &str| escape(command[key].as_str().unwrap_or_default());
        let _ = write!(
            out,
            "<tr><td><code>{}</code><td><code>{}</code>",
            text("method"),
            text("data")
        );
    }
    out.push_str("</table><h2>Problems</h2><table><tr><th>Code<th>Status<th>On the socket<th>Meaning");
    for code in Code::ALL {
        let (name, status, number) = (code.name(), code.status(), code.number());
        let (en, es) = (escape(code.sentence(Lang::En)), escape(code.sentence(Lang::Es)));
        let _ = write!(
            out,
            "<tr id=\"{name}\"><td><code>{name}</code><td>{status}<td>{number}<td>{en}<br><span lang=\"es\">{es}</span>"
        );
    }
    out.push_str("</table></html>");
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        serde_json::to_value(crate::server::openapi()).expect("the document is JSON")
    }

    /// Collects the names of all schemas that a part of the document refers to, directly or not.
    fn reached(document: &Value, part: &Value, found: &mut BTreeSet<String>) {
        match part {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let name = value.as_str().and_then(|to| to.strip_prefix("#/components/schemas/"));
                    match name.filter(|_| key == "$ref") {
                        Some(name) if found.insert(name.into()) => {
                            reached(document, &document["components"]["schemas"][name], found);
                        }
                        Some(_) => {}
                        None => reached(document, value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| reached(document, item, found)),
            _ => {}
        }
    }

    fn operations(document: &Value) -> impl Iterator<Item = &Value> {
        let paths = document["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(_, methods)| {
            methods
                .as_object()
                .into_iter()
                .flatten()
                .map(|(_, operation)| operation)
        })
    }

    #[test]
    fn the_committed_document_matches_the_routes() {
        let committed: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).expect("it is JSON");
        assert!(committed == document(), "docs/openapi.json is stale: run make openapi");
    }

    #[test]
    fn every_schema_reference_resolves() {
        let document = document();
        let mut named = BTreeSet::new();
        reached(&document, &document, &mut named);
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let missing: Vec<_> = named.iter().filter(|name| !schemas.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for (_, schema) in crate::channels::STATES {
            assert!(schemas.contains_key(*schema), "{schema}");
        }
        for (_, _, schema) in crate::channels::COMMANDS {
            assert!(schemas.contains_key(*schema), "{schema}");
        }
    }

    #[test]
    fn enum_values_are_lower_case_as_in_json() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
            for word in schema["enum"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                assert_eq!(word, word.to_lowercase(), "{name}");
            }
        }
    }

    #[test]
    fn responses_omit_unknown_values_and_never_contain_null() {
        let document = document();
        let mut sent = BTreeSet::new();
        for operation in operations(&document) {
            reached(&document, &operation["responses"], &mut sent);
        }
        assert!(sent.contains("Nutrients"), "{sent:?}");
        for name in sent {
            let schema = document["components"]["schemas"][&name].to_string();
            assert!(!schema.contains("\"null\""), "{name}: {schema}");
        }
    }

    #[test]
    fn every_request_with_a_json_body_has_its_schema() {
        let document = document();
        let without: Vec<_> = operations(&document)
            .filter(|operation| operation["requestBody"].is_null())
            .filter_map(|operation| operation["operationId"].as_str())
            .filter(|id| {
                ["create_", "update_", "change_", "switch_", "login", "refresh_"]
                    .iter()
                    .any(|verb| id.starts_with(verb))
            })
            .collect();
        assert!(without.is_empty(), "{without:?}");
    }
}

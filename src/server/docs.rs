//! The API's own description: OpenAPI, the live channels beside it, and a page for people.

use std::fmt::Write as _;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use crate::error::{Code, Lang};

/// Adds the bearer scheme.
pub struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The documents, written once.
pub struct Documents {
    openapi: Arc<str>,
    live: Arc<str>,
    page: Arc<str>,
}

impl Documents {
    /// From the OpenAPI document that the routes made.
    #[must_use]
    pub fn new(openapi: &utoipa::openapi::OpenApi) -> Self {
        let value = serde_json::to_value(openapi).unwrap_or_default();
        let live = live();
        Self {
            page: page(&value, &live).into(),
            openapi: value.to_string().into(),
            live: live.to_string().into(),
        }
    }
}

/// Mounts them.
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
        .body(documents.page.to_string())
}

/// Channels, events and commands, with the JSON Schema of an event.
#[must_use]
pub fn live() -> Value {
    let channels: Vec<Value> = crate::channels::DESCRIBED
        .iter()
        .map(|(name, who, shows, events)| json!({"channel": name, "who": who, "snapshot": shows, "events": events}))
        .collect();
    let commands: Vec<Value> = crate::channels::COMMANDS
        .iter()
        .map(|(method, data)| json!({"method": method, "data": data}))
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(openapi: &Value, live: &Value) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>liveplan API</title><style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;\
         color:#1a1f1c;background:#fff}code{font:14px ui-monospace,monospace}table{border-collapse:collapse;width:100%}\
         td,th{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #ddd}h2{margin-top:2.5rem}\
         @media(prefers-color-scheme:dark){body{color:#e6ebe8;background:#121614}td,th{border-color:#333}a{color:#8cc8ff}}\
         </style><h1>liveplan API</h1><p>Machine-readable: <a href=\"/api/openapi.json\">OpenAPI 3.1</a>, \
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

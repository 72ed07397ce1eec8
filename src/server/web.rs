//! The web app under `/app`, embedded in the binary. Its assets have a hash in their names, so caches may keep them
//! forever.

use actix_web::http::header;
use actix_web::middleware::Compress;
use actix_web::{HttpRequest, HttpResponse, web};
use rust_embed::RustEmbed;

use crate::error::{Error, Result};

#[derive(RustEmbed)]
#[folder = "static/dist"]
#[allow_missing = true]
struct Dist;

/// The content security policy of the app: all content from this origin. `'self'` in `connect-src` covers the socket
/// too, whose scheme is `ws` or `wss` (CSP 3 §6.7.2.8; Chrome since 70, Firefox, Safari since 16).
const POLICY: &str = "default-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; \
                      frame-ancestors 'none'; form-action 'self'";

/// Mounts the app, and redirects `/` to it.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(redirect))
        .route("/app", web::get().to(redirect))
        .service(
            web::resource("/app/{path:.*}")
                .wrap(Compress::default())
                .route(web::get().to(find_asset)),
        );
}

async fn redirect() -> HttpResponse {
    HttpResponse::Found()
        .insert_header((header::LOCATION, "/app/"))
        .finish()
}

/// 404, for paths that match no route.
pub async fn not_found() -> Result<HttpResponse> {
    Err(Error::not_found("page"))
}

async fn find_asset(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse> {
    let asset = Dist::get(&path).filter(|_| !path.is_empty());
    let is_page = asset.is_none();
    // A path without a file is a page of the single-page app.
    let Some(file) = asset.or_else(|| Dist::get("index.html")) else {
        return Ok(HttpResponse::ServiceUnavailable()
            .content_type("text/html; charset=utf-8")
            .body(NOT_BUILT));
    };
    if is_page && path.starts_with("assets/") {
        return Err(Error::not_found("page"));
    }
    let hash = u128::from_be_bytes(file.metadata.sha256_hash()[..16].try_into().unwrap_or_default());
    // A weak tag, since the same file is sent compressed or not, and no client writes files.
    let tag = format!("W/\"{hash:032x}\"");
    let caching = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    if crate::http::etag::none_match(&request, &tag) {
        // Caches replace the headers of the stored response with those of this one.
        return Ok(HttpResponse::NotModified()
            .insert_header((header::ETAG, tag))
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .finish());
    }
    let kind = if is_page { "text/html" } else { file.metadata.mimetype() };
    let kind = if kind.starts_with("text/") {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_owned()
    };
    Ok(HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, caching))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(file.data.into_owned()))
}

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>liveplan</title>\
    <h1>The web app is not built</h1><p>The server runs; its API is at <a href=\"/api/docs\">/api/docs</a>. \
    To build the pages, install Node 20 or later and run <code>make web</code>, then build the server again.</p>\
    <h2 lang=\"es\">La aplicación web no está construida</h2><p lang=\"es\">El servidor funciona. Para construir las \
    páginas, instala Node 20 o posterior y ejecuta <code>make web</code>, y vuelve a compilar el servidor.</p></html>";

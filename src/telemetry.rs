//! Logging: one line of text or JSON per event, filtered by `RUST_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// The filter without `RUST_LOG`.
const DEFAULT: &str = "info,actix_server=warn";
/// Applies unless `RUST_LOG` names the same module: actix logs an error for each malformed request, so that strangers
/// could fill a disk.
const BOUNDED: &str = "actix_http::h1=off";

/// Starts logging to standard error, as JSON if `format` is `json`, otherwise as text.
pub fn start(format: &str) {
    let wanted = std::env::var("RUST_LOG")
        .ok()
        .filter(|wanted| !wanted.trim().is_empty());
    let filter = |wanted: &str| EnvFilter::try_new(format!("{BOUNDED},{wanted}"));
    let filter = filter(wanted.as_deref().unwrap_or(DEFAULT)).or_else(|_| filter(DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_default())
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_writer(std::io::stderr);
    // In tests a second call changes nothing.
    let _ = match format {
        "json" => builder.json().try_init(),
        _ => builder.try_init(),
    };
}

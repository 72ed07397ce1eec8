//! Logging: one line of text or JSON per event, filtered by `RUST_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Starts logging to standard error, as JSON if `format` is `json`, otherwise as text.
pub fn start(format: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,actix_server=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_writer(std::io::stderr);
    // In tests a second call changes nothing.
    let _ = match format {
        "json" => builder.json().try_init(),
        _ => builder.try_init(),
    };
}

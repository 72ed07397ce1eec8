//! Runs the README's examples unchanged against a demo gym. Only the address is replaced, and what the README uses
//! without showing it is defined first.

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;

use super::document;
use crate::harness::{TestApp, until};
use crate::sdk::script::{Script, Sdk};

/// The demo's address in the README.
const ADDRESS: &str = "localhost:8080";

/// Node 20 has no `WebSocket` of its own.
const BEFORE_JAVASCRIPT: &str = "
import { WebSocket } from 'ws';
import { applyPatch } from '../../static/dist-test/live.mjs';
globalThis.WebSocket ??= WebSocket;
";

const BEFORE_PYTHON: &str = "
def apply_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply_patch(merged.get(key), value)
    return merged
";

async fn count(app: &TestApp, rows: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let counted = diesel::sql_query(format!("SELECT count(*) AS n FROM {rows}"));
    let count: Count = counted.get_result(&mut app.owner().await).await.expect("a count");
    count.n
}

/// Runs an example: it completes a meal under its own key, sees the change on its socket, and renews its token.
async fn the_example_runs(sdk: Sdk, language: &str, before: &str) {
    let app = TestApp::start_with(|config| {
        config.demo = true;
        config.access_token_seconds = 3;
    })
    .await;
    let blocks = document("README.md").blocks();
    let mut examples = blocks.iter().filter(|block| block.language == language);
    let (Some(example), None) = (examples.next(), examples.next()) else {
        panic!("the README must have one example in {language}");
    };
    assert!(
        example.code.contains(ADDRESS),
        "the example does not name the demo's address"
    );
    let code = example.code.replace(ADDRESS, &app.address.to_string());
    let mut script = Script::start_source(sdk, &format!("{before}{code}")).await;
    while !script.line().await.starts_with("meal.completed") {}
    assert_eq!(
        count(&app, "idempotency_keys").await,
        1,
        "the command was sent without its key"
    );
    until("the example's token is renewed", async || {
        count(&app, "sessions WHERE generation > 1").await > 0
    })
    .await;
    drop(script);
    app.stop().await;
}

#[tokio::test]
async fn the_readmes_example_in_javascript_runs() {
    the_example_runs(Sdk::JavaScript, "js", BEFORE_JAVASCRIPT).await;
}

#[tokio::test]
async fn the_readmes_example_in_python_runs() {
    the_example_runs(Sdk::Python, "python", BEFORE_PYTHON).await;
}

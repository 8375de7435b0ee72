//! Any line on the control socket gets one short object as answer, also while the daemon shuts down.

#![no_main]

use std::sync::LazyLock;

use hearth::api::{Api, DaemonInfo};
use hearth::config::PrivacyConfig;
use hearth::redact::Redactor;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime can be made"));

fuzz_target!(|bytes: &[u8]| {
    let (node, broker) = ("home".into(), "mqtt://127.0.0.1".into());
    let about = DaemonInfo {
        node,
        broker,
        hears: true,
        gathers: true,
        model: Some("nano".into()),
        page: None,
        holds: Default::default(),
    };
    let (asked, carried_out) = mpsc::channel(1);
    // No receiver: a valid command is answered at once with an error.
    drop(carried_out);
    let api = Api::new(about, Default::default(), Default::default(), Redactor::new(&PrivacyConfig::default()), asked);
    let answer = RUNTIME.block_on(api.line(bytes));
    let is_status = answer.get("version").is_some();
    assert!(is_status || answer["status"] == "error" && !answer["error"].as_str().unwrap_or_default().is_empty());
    let line = answer.to_string();
    assert!(line.len() <= 4096 && !line.contains('\n'), "{line}");
});

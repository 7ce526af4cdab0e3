//! The page for people: one file without anything from a network, that draws what `/status` says once a second.
//!
//! Style and charts are those of the load tester's report. Whatever a shard, a setting or a client may say, the page
//! runs only its own script, told by its hash, and talks only to its server.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::sync::LazyLock;

const TEMPLATE: &str = include_str!("page.html");
const CSS: &str = concat!(include_str!("../load/report/report.css"), include_str!("page.css"));
const SCRIPT: &str =
    concat!("(() => {\n", include_str!("../load/report/charts.js"), include_str!("page.js"), "})();\n");

static HTML: LazyLock<String> =
    LazyLock::new(|| TEMPLATE.replacen("{{css}}", CSS, 1).replacen("{{script}}", SCRIPT, 1));

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The whole file.
pub(super) fn html() -> &'static str {
    &HTML
}

/// Its `Content-Security-Policy`.
pub(super) fn policy() -> &'static str {
    &POLICY
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;

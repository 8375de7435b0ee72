//! The files of the page. Nobody needs the token for them: they show nothing but what they request with it.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/png";

/// The path, type and content of each file.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("page.html")),
    ("/page.css", STYLE, include_bytes!("page.css")),
    ("/alerts.js", SCRIPT, include_bytes!("alerts.js")),
    ("/day.js", SCRIPT, include_bytes!("day.js")),
    ("/dom.js", SCRIPT, include_bytes!("dom.js")),
    ("/figures.js", SCRIPT, include_bytes!("figures.js")),
    ("/graphs.js", SCRIPT, include_bytes!("graphs.js")),
    ("/hearth.js", SCRIPT, include_bytes!("hearth.js")),
    ("/notices.js", SCRIPT, include_bytes!("notices.js")),
    ("/page.js", SCRIPT, include_bytes!("page.js")),
    ("/said.js", SCRIPT, include_bytes!("said.js")),
    ("/search.js", SCRIPT, include_bytes!("search.js")),
    ("/service.js", SCRIPT, include_bytes!("service.js")),
    ("/shared.js", SCRIPT, include_bytes!("shared.js")),
    ("/stream.js", SCRIPT, include_bytes!("stream.js")),
    ("/manifest.webmanifest", "application/manifest+json", include_bytes!("manifest.webmanifest")),
    ("/icon.svg", "image/svg+xml", include_bytes!("icon.svg")),
    ("/icon-192.png", PICTURE, include_bytes!("icon-192.png")),
    ("/icon-512.png", PICTURE, include_bytes!("icon-512.png")),
    ("/icon-maskable-512.png", PICTURE, include_bytes!("icon-maskable-512.png")),
];

/// Serves each file.
pub(super) fn router() -> Router {
    FILES.iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(path, get(async move || ([(header::CONTENT_TYPE, *kind)], *content)))
    })
}

/// The scripts, one after the other.
#[cfg(test)]
pub(super) fn scripts() -> String {
    let scripts = FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT);
    scripts.map(|(_, _, text)| std::str::from_utf8(text).expect("a script is text")).collect::<Vec<_>>().join("\n")
}

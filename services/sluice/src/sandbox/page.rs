//! The page, which is one HTML file with its script and style, and the plain views of a message.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::Shared;
use super::api::{Params, Refusal};
use super::mime::Body;

const HTML: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");

/// The page loads nothing but its own files, and nobody may frame it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A message's HTML runs no script, loads nothing from elsewhere, and has an origin of its own. Links may open a
/// new window.
const MAIL_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
    img-src 'self' data:; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self'";

/// How a message's HTML is to be shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Embedding {
    embed: Option<String>,
}

/// The page's routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(page))
        .route("/view/{name}", get(view))
        .route("/page.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/page.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
}

async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], file("text/html; charset=utf-8", HTML)).into_response()
}

fn file(content_type: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], content).into_response()
}

/// `/view/ID` is the page with that message open, `/view/ID.html` and `/view/ID.txt` its parts alone.
async fn view(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    Query(embedding): Query<Embedding>,
) -> Response {
    if let Some(id) = name.strip_suffix(".html") {
        let embedded = embedding.embed.as_deref() == Some("1");
        return shared.open(id, &params).map_or_else(Refusal::into_response, |letter| {
            html(&letter.raw, &format!("/api/v1/message/{}", letter.id), embedded)
        });
    }
    if let Some(id) = name.strip_suffix(".txt") {
        return shared.open(id, &params).map_or_else(Refusal::into_response, |letter| text(&letter.raw));
    }
    page().await
}

fn html(raw: &[u8], base: &str, embedded: bool) -> Response {
    let body = Body::read(raw);
    if body.html.is_empty() {
        return (StatusCode::NOT_FOUND, "This message does not contain a HTML part\n").into_response();
    }
    let mut html = body.linked_html(base);
    if embedded {
        // Links open beside the page, not in its frame.
        html.push_str("<base target=\"_blank\">");
    }
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, MAIL_POLICY)];
    (headers, html).into_response()
}

fn text(raw: &[u8]) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::read(raw).text).into_response()
}

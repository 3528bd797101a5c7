//! Mailpit's API, version 1, as far as test helpers use it: messages, one message, its parts, search, info.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::letter::Letter;
use super::mime::{self, Body, File};
use super::search::Query;
use super::shapes::{Info, Item, Listing, Whole};

/// Messages listed when the request names no number.
const DEFAULT_LIMIT: usize = 50;

/// What a request may say in its URL. Numbers that are none count as absent, as they do in Mailpit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Params {
    start: Option<String>,
    limit: Option<String>,
    query: Option<String>,
    dl: Option<String>,
}

/// What a request may say in its body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Selection {
    #[serde(rename = "IDs")]
    ids: Vec<Arc<str>>,
    #[serde(rename = "Read")]
    read: bool,
    #[serde(rename = "Search")]
    search: String,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// There is no such message, or none at all.
    NoMessage,
    /// The message has no such part.
    NoPart,
    /// The body is not JSON of the expected shape.
    BadBody,
    /// A search without a query.
    NoQuery,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NoMessage => (StatusCode::NOT_FOUND, "message not found"),
            Self::NoPart => (StatusCode::NOT_FOUND, "the message has no such part"),
            Self::BadBody => {
                (StatusCode::BAD_REQUEST, "the body must be empty or JSON such as {\"IDs\": [\"…\"], \"Read\": true}")
            }
            Self::NoQuery => (StatusCode::BAD_REQUEST, "no search query"),
        };
        (status, Json(BTreeMap::from([("Error", text)]))).into_response()
    }
}

/// The API's routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/messages", get(list).delete(delete).put(mark))
        .route("/api/v1/search", get(search).delete(delete_found))
        .route("/api/v1/message/{id}", get(whole))
        .route("/api/v1/message/{id}/raw", get(raw))
        .route("/api/v1/message/{id}/headers", get(headers))
        .route("/api/v1/message/{id}/part/{part}", get(part))
        .route("/api/v1/info", get(info))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
}

impl Params {
    fn query(&self) -> Query {
        Query::parse(self.query.as_deref().unwrap_or_default())
    }

    fn page(&self) -> (usize, usize) {
        let number = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<usize>().ok()).filter(|n| *n > 0);
        (number(&self.start).unwrap_or(0), number(&self.limit).unwrap_or(DEFAULT_LIMIT))
    }

    fn has_query(&self) -> bool {
        self.query.as_deref().is_some_and(|query| !query.trim().is_empty())
    }
}

impl Shared {
    /// The message of that id, or `latest` (that matches the URL's query, when it has one).
    pub(super) fn letter(&self, id: &str, params: &Params) -> Result<Arc<Letter>, Refusal> {
        let entry = self.mailbox().open(id, &params.query()).map(|entry| entry.letter.clone());
        entry.ok_or(Refusal::NoMessage)
    }

    /// As [`Self::letter`]; the message counts as read from then on.
    pub(super) fn open(&self, id: &str, params: &Params) -> Result<Arc<Letter>, Refusal> {
        let letter = self.letter(id, params)?;
        self.mailbox().mark(&HashSet::from([letter.id.clone()]), true);
        Ok(letter)
    }

    fn listing(&self, query: &Query, (start, limit): (usize, usize)) -> Listing {
        let mailbox = self.mailbox();
        let totals = mailbox.totals();
        let messages: Vec<Item> = mailbox.find(query).skip(start).take(limit).map(Item::of).collect();
        Listing {
            total: totals.messages,
            unread: totals.unread,
            count: messages.len(),
            messages_count: mailbox.find(query).count(),
            messages_unread: mailbox.find(query).filter(|entry| !entry.read).count(),
            start,
            tags: [],
            messages,
        }
    }

    fn ids(&self, query: &Query) -> HashSet<Arc<str>> {
        self.mailbox().find(query).map(|entry| entry.letter.id.clone()).collect()
    }
}

async fn list(State(shared): State<Arc<Shared>>, UrlQuery(params): UrlQuery<Params>) -> Json<impl Serialize> {
    Json(shared.listing(&Query::default(), params.page()))
}

async fn search(
    State(shared): State<Arc<Shared>>,
    UrlQuery(params): UrlQuery<Params>,
) -> Result<Json<impl Serialize>, Refusal> {
    if !params.has_query() {
        return Err(Refusal::NoQuery);
    }
    Ok(Json(shared.listing(&params.query(), params.page())))
}

async fn delete(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<&'static str, Refusal> {
    let selection = Selection::read(&body)?;
    // No ids: all of them.
    let ids =
        if selection.ids.is_empty() { shared.ids(&Query::default()) } else { selection.ids.into_iter().collect() };
    shared.mailbox().delete(&ids);
    Ok("ok")
}

async fn delete_found(
    State(shared): State<Arc<Shared>>,
    UrlQuery(params): UrlQuery<Params>,
) -> Result<&'static str, Refusal> {
    if !params.has_query() {
        return Err(Refusal::NoQuery);
    }
    let ids = shared.ids(&params.query());
    shared.mailbox().delete(&ids);
    Ok("ok")
}

async fn mark(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<&'static str, Refusal> {
    let selection = Selection::read(&body)?;
    let ids = match selection.ids.is_empty() {
        true => shared.ids(&Query::parse(&selection.search)),
        false => selection.ids.into_iter().collect(),
    };
    shared.mailbox().mark(&ids, selection.read);
    Ok("ok")
}

async fn whole(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    UrlQuery(params): UrlQuery<Params>,
) -> Result<Json<impl Serialize>, Refusal> {
    Ok(Json(Whole::of(&*shared.open(&id, &params)?)))
}

async fn raw(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    UrlQuery(params): UrlQuery<Params>,
) -> Result<Response, Refusal> {
    let letter = shared.letter(&id, &params)?;
    let plain = (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
    let download = (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.eml\"", letter.id));
    let body = letter.raw.clone();
    Ok(match params.dl.as_deref() {
        Some("1") => ([plain, download], body).into_response(),
        _ => ([plain], body).into_response(),
    })
}

async fn headers(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    UrlQuery(params): UrlQuery<Params>,
) -> Result<Json<impl Serialize>, Refusal> {
    Ok(Json(mime::headers(&shared.letter(&id, &params)?.raw)))
}

async fn part(
    State(shared): State<Arc<Shared>>,
    Path((id, part)): Path<(String, String)>,
    UrlQuery(params): UrlQuery<Params>,
) -> Result<Response, Refusal> {
    let letter = shared.letter(&id, &params)?;
    let files = Body::read(&letter.raw).files;
    let file = files.into_iter().find(|file| file.part_id == part).ok_or(Refusal::NoPart)?;
    let (content_type, disposition) = presentation(&file);
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_DISPOSITION, disposition),
        // Opened by itself a part may still be a document with scripts, an SVG for one.
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; style-src 'unsafe-inline'".to_owned()),
    ];
    Ok((headers, file.content.into_owned()).into_response())
}

/// Content type and disposition of a part: pictures are shown, all else is downloaded.
fn presentation(file: &File<'_>) -> (String, String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-/".contains(c);
    let is_picture = file.content_type.starts_with("image/") && file.content_type.chars().all(plain);
    let (content_type, kind) =
        if is_picture { (file.content_type.as_str(), "inline") } else { ("application/octet-stream", "attachment") };
    let name: String = file.name.bytes().map(encoded).collect();
    (content_type.to_owned(), format!("{kind}; filename*=utf-8''{name}"))
}

/// An octet of a file name by RFC 8187.
fn encoded(octet: u8) -> String {
    match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    }
}

async fn info(State(shared): State<Arc<Shared>>) -> Json<impl Serialize> {
    let totals = shared.mailbox().totals();
    Json(Info::of(&totals, shared.clock.now().saturating_duration_since(shared.started)))
}

impl Selection {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|_| Refusal::BadBody)
    }
}

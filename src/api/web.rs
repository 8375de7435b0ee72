//! The web page with live events, and the metrics for Prometheus.
//!
//! Without the token nobody sees any data: the page itself is an empty form that requests everything it shows with the token.
//! Nothing is loaded from other hosts.

mod assets;
mod connections;
mod past;

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::{Stream, StreamExt, stream};
use rand::distr::{Alphanumeric, SampleString};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::connections::{ConnectionSlot, Peer};
use self::past::StoredPast;
use super::{Api, openmetrics};
use crate::commands;
use crate::live::LiveEvent;
use crate::store::OutboxLimits;

/// The file of the token in the state directory.
const TOKEN_FILE: &str = "page.token";
/// So many letters and digits have 190 bits.
const TOKEN_CHARS: usize = 32;
/// Interval of the `status` events.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// The content security policy: scripts, styles and connections only from and to this server. Home Assistant shows the page in a frame, under
/// its own address.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
/// A page of another site cannot send this header along, and so cannot act through the browser of somebody who is trusted.
const OWN_REQUEST: &str = "x-requested-with";

/// Why there is no web page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WebError {
    #[error("[page] listen = \"{listen}\": the page cannot listen there: {source}")]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error("the page's token in {path} cannot be used: {source}")]
    Token { path: PathBuf, source: std::io::Error },
}

/// The web server, listening but not yet serving.
pub(crate) struct WebServer {
    listener: TcpListener,
    token: String,
    past: Arc<StoredPast>,
    trusted: Vec<IpAddr>,
}

impl WebServer {
    /// Binds the address and reads the token in the state directory, or creates it. Those who are `trusted` need no token.
    ///
    /// # Errors
    /// The address is in use, or the token cannot be read or written.
    pub(crate) async fn open(
        listen: SocketAddr,
        trusted: Vec<IpAddr>,
        state: &Path,
        limits: OutboxLimits,
    ) -> Result<Self, WebError> {
        let past = StoredPast::new(state, limits);
        let path = state.join(TOKEN_FILE);
        let token = token(&path).map_err(|source| WebError::Token { path, source })?;
        let listener = TcpListener::bind(listen).await.map_err(|source| WebError::Listen { listen, source })?;
        Ok(Self { listener, token, past, trusted })
    }

    /// The address to open in a browser. The browser never sends the part after `#`.
    pub(crate) fn url(&self) -> String {
        let address = self.listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
        format!("http://{address}/#token={}", self.token)
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// The listening socket fails.
    pub(crate) async fn serve(self, api: Arc<Api>) -> std::io::Result<()> {
        connections::serve(self.listener, router(api, self.past, &self.token, self.trusted)).await
    }
}

fn token(path: &Path) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().into()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let token = Alphanumeric.sample_string(&mut rand::rng(), TOKEN_CHARS);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")?;
    Ok(token)
}

fn router(api: Arc<Api>, past: Arc<StoredPast>, token: &str, trusted: Vec<IpAddr>) -> Router {
    let known = Arc::new(PageAccess { token: Sha256::digest(token).into(), trusted });
    let protected = Router::new()
        .route("/status", get(async |State(api): ApiState| Json(redacted(&api, &api.status().for_the_page()))))
        .route("/events", get(events))
        .route(
            "/metrics",
            get(async |State(api): ApiState| {
                ([(header::CONTENT_TYPE, openmetrics::CONTENT_TYPE)], openmetrics::text(&api))
            }),
        )
        .route(
            "/command",
            post(async |State(api): ApiState, body: Bytes| Json(api.redactor.value(api.command(&body).await))),
        )
        .route("/search", post(past::search))
        .route("/day", post(past::day))
        .route_layer(middleware::from_fn_with_state(known, require_token))
        .layer(DefaultBodyLimit::max(commands::MAX_BYTES))
        .layer(Extension(past))
        .with_state(api);
    assets::router().merge(protected).layer(middleware::map_response(add_security_headers))
}

type ApiState = State<Arc<Api>>;
/// SHA-256 of the token: the time of comparing digests tells nothing about the token.
type TokenDigest = [u8; 32];

/// Who may see what was said.
struct PageAccess {
    token: TokenDigest,
    trusted: Vec<IpAddr>,
}

impl PageAccess {
    fn admits(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        if self.trusted.contains(&peer) && headers.contains_key(OWN_REQUEST) {
            return true;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| {
            // The scheme's name may be in any case.
            let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
        given.is_some_and(|given| TokenDigest::from(Sha256::digest(given)) == self.token)
    }
}

async fn add_security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    headers.extend(set.map(|(name, value)| (name, header::HeaderValue::from_static(value))));
    response
}

async fn require_token(
    State(known): State<Arc<PageAccess>>,
    Extension(slot): Extension<ConnectionSlot>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    if !known.admits(peer, &headers) {
        let bearer = [(header::WWW_AUTHENTICATE, "Bearer")];
        let error = error("the token is missing or wrong: `hearth status` prints the page's address with it");
        return (StatusCode::UNAUTHORIZED, bearer, error).into_response();
    }
    if !slot.serve() {
        let error = error("too many pages are open; close one and try again");
        return (StatusCode::SERVICE_UNAVAILABLE, error).into_response();
    }
    next.run(request).await
}

fn error(message: &str) -> Json<Value> {
    Json(json!({ "status": "error", "error": message }))
}

/// Server-sent events: first the recent past (`recent`), then each [`LiveEvent`] (`scene`), and every second `status`.
async fn events(State(api): ApiState) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (recent, live_feed) = api.live_feed.subscribe();
    let mut ticks = interval(STATUS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let first = event(&api, "recent", &recent);
    let first = stream::once(async move { first });
    let then =
        stream::unfold(EventStream { api, live_feed, ticks }, async |mut looker| Some((looker.next().await?, looker)));
    Sse::new(first.chain(then).map(Ok)).keep_alive(KeepAlive::default())
}

/// The events for one open page.
struct EventStream {
    api: Arc<Api>,
    live_feed: tokio::sync::broadcast::Receiver<Arc<LiveEvent>>,
    ticks: Interval,
}

impl EventStream {
    /// The next event; None when the daemon has ended.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            live_event = self.live_feed.recv() => match live_event {
                Ok(live_event) => Some(event(&self.api, "scene", &*live_event)),
                // The browser was too slow: send a new snapshot.
                Err(RecvError::Lagged(_)) => {
                    let (recent, live_feed) = self.api.live_feed.subscribe();
                    self.live_feed = live_feed;
                    Some(event(&self.api, "recent", &recent))
                }
                Err(RecvError::Closed) => None,
            },
            _ = self.ticks.tick() => Some(event(&self.api, "status", &self.api.status().for_the_page())),
        }
    }
}

fn event(api: &Api, name: &str, data: &impl Serialize) -> Event {
    Event::default().event(name).json_data(redacted(api, data)).expect("a value is JSON")
}

/// `data` as JSON, redacted as the config wants it.
fn redacted(api: &Api, data: &impl Serialize) -> Value {
    api.redactor.value(serde_json::to_value(data).expect("what is shown is JSON"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;
    use tokio::sync::mpsc;

    use super::*;
    use crate::api::DaemonInfo;
    use crate::config::PrivacyConfig;
    use crate::metrics::Metrics;
    use crate::redact::Redactor;

    #[test]
    fn the_page_reads_only_fields_that_the_status_has() {
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
        let metrics = Arc::new(Metrics::default());
        metrics.rooms.open(&"hall".into());
        let (asked, _commands) = mpsc::channel(1);
        let api = Api::new(about, metrics, Arc::default(), Redactor::new(&PrivacyConfig::default()), asked);
        let status = serde_json::to_value(api.status()).unwrap();
        let (hears, reads, tells) = (&status["hears"], &status["reads"], &status["tells"]);
        let given = [
            ("status", &status),
            ("hears", hears),
            ("reads", reads),
            ("tells", tells),
            ("surprise", &reads["state"]["surprise"]),
            ("renewal", &reads["state"]["renewal"]),
            ("room", &hears["rooms"]["hall"]),
        ];
        let script = assets::scripts();
        let mut shown = BTreeSet::new();
        for (name, value) in given {
            // `answer.status` is another one.
            let read = Regex::new(&format!(r"[^.\w]{name}\??\.(\w+)")).unwrap();
            for field in read.captures_iter(&script) {
                assert!(value.get(&field[1]).is_some(), "the page reads {name}.{}, and is given {value}", &field[1]);
                shown.insert(format!("{name}.{}", &field[1]));
            }
        }
        assert!(shown.len() > 15 && shown.contains("status.uptime_s"), "{shown:?}");
    }
}

//! Requests to one webhook.
//!
//! Redirects are not followed: what is said at home goes to the address that the config names, and to no other. Of the answer only the
//! status and `Retry-After` count. Neither messages nor `Debug` show the path of the address, or the secret.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PostVerdict;
use super::signature::{WebhookSecret, message_id};
use crate::config::WebhookConfig;

/// How long a receiver may take to accept a connection, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);
/// A connection that is not used for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// So much of an answer is read, so that the connection can be used again; of a longer one it is closed.
const LONGEST_ANSWER: usize = 64 << 10;

/// Why nothing can be posted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("the secret of a webhook cannot be read from {}: {source}; check secret_file, and who may read that file", path.display())]
    SecretFile { path: PathBuf, source: io::Error },
    #[error("{} begins with \"whsec_\", and what follows is no base64; a secret without that beginning is taken as it is", path.display())]
    NoSecret { path: PathBuf },
    #[error("this system trusts no certificates, so {url} cannot be verified: install ca-certificates")]
    NoRoots { url: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{url} {reason}")]
    NotTaken { url: String, reason: String },
}

/// What is posted.
#[derive(Serialize)]
struct WebhookBody<'a> {
    r#type: &'a str,
    node: &'a str,
    timestamp: &'a Value,
    data: &'a Value,
}

/// One webhook.
pub(crate) struct WebhookClient {
    url: Uri,
    shown: String,
    node: String,
    secret: Option<WebhookSecret>,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl WebhookClient {
    /// `hook` is one of [`crate::config::Config::webhook_paths`].
    ///
    /// # Errors
    /// The secret or the system's certificates cannot be read.
    pub(crate) fn new(hook: &WebhookConfig, node: &str) -> Result<Self, WebhookError> {
        let shown = hook.url.shown().to_string();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = if hook.url.is_encrypted() {
            tls.with_native_roots().map_err(|_| WebhookError::NoRoots { url: shown.clone() })?
        } else {
            tls.with_root_certificates(RootCertStore::empty())
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self {
            url: hook.url.whole().parse().expect("the config takes no url that is none"),
            shown,
            node: node.into(),
            secret: hook.secret_file.as_deref().map(WebhookSecret::read).transpose()?.flatten(),
            http,
        })
    }

    /// The address without its path, for messages.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn signs(&self) -> bool {
        self.secret.is_some()
    }

    /// Posts an event with its data, a JSON object as over MQTT.
    pub(crate) async fn post(&self, event: &str, data: &str) -> PostVerdict {
        let request = self.request(event, data);
        match timeout(ANSWER, self.exchange(request)).await {
            Ok(Ok((answer, retry_after))) => PostVerdict::of(answer.status(), retry_after.as_deref(), Timestamp::now()),
            Ok(Err(error)) => PostVerdict::later(explain(&*error)),
            Err(_) => PostVerdict::later(format!("does not answer within {} s", ANSWER.as_secs())),
        }
    }

    /// Connects to the receiver, and sends it nothing.
    ///
    /// # Errors
    /// It is away, or has no address.
    pub(crate) async fn reach(&self) -> Result<(), WebhookError> {
        let encrypted = self.url.scheme_str() == Some("https");
        // Without the brackets of an IPv6 address.
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let reason = match timeout(CONNECT, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => explain(&error),
            Err(_) => format!("does not answer within {} s", CONNECT.as_secs()),
        };
        Err(WebhookError::NotTaken { url: self.shown.clone(), reason })
    }

    /// Posts a message that tells nothing, to see whether it is taken.
    ///
    /// # Errors
    /// It is not.
    pub(crate) async fn try_out(&self) -> Result<(), WebhookError> {
        let data = serde_json::json!({ "time": Timestamp::now() }).to_string();
        match self.post("test", &data).await {
            PostVerdict::Delivered => Ok(()),
            PostVerdict::Later { reason, .. } | PostVerdict::Refused { reason } => {
                Err(WebhookError::NotTaken { url: self.shown.clone(), reason })
            }
        }
    }

    fn request(&self, event: &str, data: &str) -> Request<Full<Bytes>> {
        let data: Value = serde_json::from_str(data).unwrap_or_else(|_| data.into());
        let body = WebhookBody { r#type: event, node: &self.node, timestamp: &data["time"], data: &data };
        let body = serde_json::to_string(&body).expect("a value with string keys is JSON");
        let (id, timestamp) = (message_id(&body), Timestamp::now().as_second());
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("hearth/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = &self.secret {
            request = request.header("webhook-signature", secret.sign(&id, timestamp, &body));
        }
        request.body(Full::from(body)).expect("the headers are plain text")
    }

    /// The answer without its body, and its `Retry-After`.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<()>, Option<String>), Box<dyn std::error::Error + Send + Sync>> {
        let (answer, mut body) = self.http.request(request).await?.into_parts();
        let retry_after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(Into::into);
        let mut read = 0;
        // The status has come: what is wrong with the rest does not matter.
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > LONGEST_ANSWER {
                break;
            }
        }
        Ok((Response::from_parts(answer, ()), retry_after))
    }
}

/// Why there was no answer: the innermost reasons, and what helps.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut reasons = vec![error];
    while let Some(inner) = reasons.last().and_then(|error| error.source()) {
        reasons.push(inner);
    }
    let io = reasons.iter().rev().find_map(|error| error.downcast_ref::<io::Error>());
    let innermost = reasons.last().map(ToString::to_string).unwrap_or_default();
    match io.map(io::Error::kind) {
        // What systemd forbids a unit looks like this.
        Some(io::ErrorKind::PermissionDenied) => {
            "may not be reached from here: the service may talk to the networks at home only; see docs/webhooks.md"
                .into()
        }
        _ if reasons.iter().any(|&error| is_of_tls(error)) => format!("is not trusted: {innermost}"),
        _ => format!("cannot be reached: {innermost}"),
    }
}

/// Whether it is an error of TLS. One of a socket holds it within, which `source` passes over.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_of_tls(inner))
}

//! The Hugging Face hub over HTTP: requests, redirects, the access token, and what the hub's answers mean.
//!
//! The token is only sent to the endpoint that it was given for, whatever redirects say.
//!
//! The `hf-hub` crate (1.0.0) is not used: it starts every file again after a broken connection and compares no hash, which are the two
//! things needed here, and it brings an asynchronous HTTP stack. The part of the hub's protocol that is needed is small ("Download files
//! from the Hub", <https://huggingface.co/docs/hub/models-downloading>): `HEAD /{repo}/resolve/{revision}/{file}` gives size, hash and
//! commit, `GET` with `Range` gives the bytes.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::Body;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::FetchError;
use super::catalog::{self, CatalogEntry};
use super::origin::Origin;

/// At most so many redirects in a row; the hub makes one or two.
const HOPS: usize = 6;
const CONNECT: Duration = Duration::from_secs(20);
/// A connection that delivers nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// An access token. It is never printed.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// `origin` says where the text came from.
    ///
    /// # Errors
    /// [`FetchError::NoToken`]; it does not quote the text.
    pub fn new(text: &str, origin: &str) -> Result<Self, FetchError> {
        let text = text.trim();
        let word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let value = word.then(|| HeaderValue::from_str(&format!("Bearer {text}")).ok()).flatten();
        let mut value = value.ok_or_else(|| FetchError::NoToken { origin: origin.into() })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The hash of a file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    /// SHA-256, for large files.
    Sha256(String),
    /// SHA-1 of a git blob, for small files.
    Git(String),
}

impl Hash {
    /// Reads an entity tag; the hub's are hashes.
    fn from_etag(etag: &str) -> Option<Self> {
        let hex = etag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        match hex.len() {
            64 if is_hex => Some(Self::Sha256(hex)),
            40 if is_hex => Some(Self::Git(hex)),
            _ => None,
        }
    }

    pub(crate) fn hex(&self) -> &str {
        let (Self::Sha256(hex) | Self::Git(hex)) = self;
        hex
    }
}

/// A file on the hub, at one commit.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) file: String,
    /// Size in bytes.
    pub(crate) size: u64,
    pub(crate) hash: Hash,
    /// The commit of this description; the other files are fetched at the same one.
    pub(crate) commit: String,
    entry: CatalogEntry,
    url: String,
}

/// The bytes of a file from `from` on.
pub(crate) struct Download {
    pub(crate) from: u64,
    pub(crate) body: Box<dyn Read>,
}

/// A connection to one hub.
pub struct Hub {
    agent: ureq::Agent,
    endpoint: String,
    origin: Origin,
    token: Option<Token>,
}

impl Hub {
    /// # Errors
    /// [`FetchError::Endpoint`], [`FetchError::Unprotected`], [`FetchError::NoCertificates`].
    pub fn new(endpoint: &str, token: Option<Token>) -> Result<Self, FetchError> {
        let bad = || FetchError::Endpoint { endpoint: endpoint.into() };
        let origin = endpoint.parse().ok().and_then(|uri| Origin::of(&uri)).ok_or_else(bad)?;
        if token.is_some() && origin.scheme == "http" && !origin.is_this_machine() {
            return Err(FetchError::Unprotected { endpoint: endpoint.into() });
        }
        let roots = rustls_native_certs::load_native_certs().certs;
        if roots.is_empty() && origin.scheme == "https" {
            return Err(FetchError::NoCertificates);
        }
        let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
            // Without compression, size and hash are those of the file.
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Redirects are followed here, so that the token goes to no other host.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        Ok(Self { agent: config.new_agent(), endpoint: endpoint.into(), origin, token })
    }

    /// Size, hash and commit of a file.
    ///
    /// # Errors
    /// The error that the hub answers with, or [`FetchError::Odd`] if something is missing in its answer.
    pub(crate) fn describe(&self, entry: &CatalogEntry, revision: &str, file: &str) -> Result<Remote, FetchError> {
        let url = catalog::url(&self.endpoint, entry.repo, revision, file);
        let mut found = Description::default();
        self.follow(&Method::HEAD, &url, None, entry, file, &mut |response, elsewhere| {
            found.merge(response.headers(), !response.status().is_redirection());
            // The storage host of large files does not give the commit.
            elsewhere
        })?;
        let odd = |what: &str| FetchError::Odd { host: self.origin.host.clone(), file: file.into(), what: what.into() };
        let hash = found.hash.ok_or_else(|| odd("it names no hash"))?;
        let size = found.size.ok_or_else(|| odd("it names no size"))?;
        let commit = found.commit.unwrap_or_else(|| revision.into());
        let url = catalog::url(&self.endpoint, entry.repo, &commit, file);
        Ok(Remote { file: file.into(), size, hash, commit, entry: entry.clone(), url })
    }

    /// Requests the bytes of a file, from `from` on if the server can; see [`Download::from`].
    ///
    /// # Errors
    /// The error that the hub or its storage host answers with.
    pub(crate) fn open(&self, remote: &Remote, from: u64) -> Result<Download, FetchError> {
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let response =
            self.follow(&Method::GET, &remote.url, range.as_deref(), &remote.entry, &remote.file, &mut |_, _| false)?;
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let starts = match response.status().as_u16() {
            206 => range.and_then(first_byte),
            _ => Some(0),
        };
        match starts {
            Some(starts) if starts == from || starts == 0 => {
                Ok(Download { from: starts, body: Box::new(response.into_body().into_reader()) })
            }
            // Another range was asked for; the whole file can be used.
            _ if from > 0 => self.open(remote, 0),
            _ => Err(FetchError::Odd {
                host: self.origin.host.clone(),
                file: remote.file.clone(),
                what: format!("a part that was not asked for ({})", range.unwrap_or("no Content-Range")),
            }),
        }
    }

    /// Sends a request and follows redirects until an answer, or until `enough` says so of an answer and whether it leads to
    /// another host.
    fn follow(
        &self,
        method: &Method,
        url: &str,
        range: Option<&str>,
        entry: &CatalogEntry,
        file: &str,
        enough: &mut dyn FnMut(&Response<Body>, bool) -> bool,
    ) -> Result<Response<Body>, FetchError> {
        let mut url = url.to_string();
        for _ in 0..HOPS {
            let odd = |what: String| FetchError::Odd { host: self.origin.host.clone(), file: file.into(), what };
            let uri: Uri = url.parse().map_err(|_| odd("a redirect to nowhere".into()))?;
            let origin = Origin::of(&uri).ok_or_else(|| odd("a redirect to no web address".into()))?;
            let response = self.send(method, &uri, &origin, range)?;
            let status = response.status();
            if status.is_success() {
                enough(&response, false);
                return Ok(response);
            }
            if status.as_u16() == 416 && range.is_some() {
                // The range begins after the end of the file: the partial file is too long, or of another file.
                return self.follow(method, &url, None, entry, file, enough);
            }
            if !status.is_redirection() {
                return Err(self.refusal(&response, &origin, entry, file));
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = location
                .and_then(|location| origin.join(location))
                .ok_or_else(|| odd("a redirect to nowhere".into()))?;
            let elsewhere = next.parse().ok().and_then(|uri| Origin::of(&uri)).is_some_and(|next| next != self.origin);
            if enough(&response, elsewhere) {
                return Ok(response);
            }
            url = next;
        }
        Err(FetchError::Odd { host: self.origin.host.clone(), file: file.into(), what: "redirects without end".into() })
    }

    fn send(
        &self,
        method: &Method,
        uri: &Uri,
        origin: &Origin,
        range: Option<&str>,
    ) -> Result<Response<Body>, FetchError> {
        let mut request = Request::builder().method(method.clone()).uri(uri.clone());
        if let Some(Token(token)) = self.token.as_ref().filter(|_| *origin == self.origin) {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let request =
            request.body(()).expect("an address that was parsed and headers that were checked make a request");
        self.agent
            .run(request)
            .map_err(|source| FetchError::Unreachable { host: origin.host.clone(), source: Box::new(source) })
    }

    fn refusal(&self, response: &Response<Body>, origin: &Origin, entry: &CatalogEntry, file: &str) -> FetchError {
        let said =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_string();
        let (repo, file, host) = (entry.repo.to_string(), file.to_string(), origin.host.clone());
        let at_the_hub = *origin == self.origin;
        let gated = at_the_hub && (entry.gated || said("x-error-code") == "GatedRepo");
        match response.status().as_u16() {
            401 | 403 if gated && self.token.is_none() => FetchError::Gated { repo },
            401 if at_the_hub && self.token.is_some() => FetchError::BadToken,
            403 if gated => FetchError::NotAccepted { repo },
            404 if at_the_hub => FetchError::NotFound { repo, file },
            status @ (408 | 429 | 500..) => FetchError::Busy { host, status },
            status => FetchError::Refused { host, file, status, reason: said("x-error-message") },
        }
    }
}

/// What the answers to a `HEAD` say; of several answers the first that gives a value counts.
#[derive(Default)]
struct Description {
    size: Option<u64>,
    hash: Option<Hash>,
    commit: Option<String>,
}

impl Description {
    /// `last`: not a redirect, so that length and tag are those of the file.
    fn merge(&mut self, headers: &HeaderMap, last: bool) {
        let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let own = |name: &str| if last { get(name) } else { None };
        self.hash = self.hash.take().or_else(|| get("x-linked-etag").or(own("etag")).and_then(Hash::from_etag));
        self.size = self.size.or_else(|| get("x-linked-size").or(own("content-length")).and_then(|n| n.parse().ok()));
        let commit = get("x-repo-commit").filter(|commit| commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
        self.commit = self.commit.take().or_else(|| commit.map(String::from));
    }
}

/// The first byte of a `Content-Range` (RFC 9110, 14.4).
fn first_byte(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_of_the_hub_is_a_hash() {
        let (sha256, sha1) = ("a".repeat(64), "B".repeat(40));
        assert_eq!(Hash::from_etag(&format!("\"{sha256}\"")), Some(Hash::Sha256(sha256)));
        assert_eq!(Hash::from_etag(&format!("W/\"{sha1}\"")), Some(Hash::Git("b".repeat(40))));
        assert_eq!(Hash::from_etag("\"5f3-62\""), None);
        assert_eq!(Hash::from_etag(&"g".repeat(64)), None);
    }

    #[test]
    fn a_token_is_one_word_and_never_shown() {
        let token = Token::new(" hf_secret\n", "HF_TOKEN").unwrap();
        assert!(!format!("{token:?} {:?}", token.0).contains("secret"));
        for bad in ["", "two words", "a\r\nHost: b", "ü"] {
            let told = Token::new(bad, "the file t").unwrap_err().to_string();
            assert!(told.starts_with("the file t is no access token"), "{told}");
        }
    }

    #[test]
    fn a_token_is_only_sent_unencrypted_to_this_machine() {
        let hub = |endpoint| Hub::new(endpoint, Some(Token::new("t", "").unwrap()));
        assert!(matches!(hub("http://mirror.example"), Err(FetchError::Unprotected { .. })));
        for fine in ["http://127.0.0.1:80", "http://localhost:8080", "http://[::1]:8080"] {
            assert!(hub(fine).is_ok(), "{fine}");
        }
        for bad in ["", "huggingface.co", "ftp://huggingface.co", "https://"] {
            assert!(matches!(Hub::new(bad, None), Err(FetchError::Endpoint { .. })), "{bad}");
        }
    }

    #[test]
    fn a_range_says_where_it_starts() {
        assert_eq!(first_byte("bytes 100-199/200"), Some(100));
        assert_eq!(first_byte("bytes */200"), None);
        assert_eq!(first_byte(""), None);
    }
}

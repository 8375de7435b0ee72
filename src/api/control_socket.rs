//! The Unix socket over which commands on this machine reach the running daemon.
//!
//! One JSON object a line, answered by one; `{"command": "watch"}` is answered by lines without end (see `live_lines`). Only root and the user hearth runs as can open it. Lines are limited in length, an idle
//! client is dropped, and clients that send no whole line cannot keep out others.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, Lines};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use tracing::{debug, warn};

use super::client_slots::{ClientSlot, ClientSlots, SlotLimits};
use super::live_lines::LiveLines;
use super::{ANSWER_TIMEOUT, Api};
use crate::commands;

/// The file name of the socket.
const NAME: &str = "hearth.sock";
/// The directory of the socket under systemd.
const RUNTIME_DIR: &str = "/run/hearth";
/// Clients at once.
const LIMITS: SlotLimits = SlotLimits { waiting: 16, waiting_per_origin: 16, served: 16 };
/// So many of them may watch, so that others can still ask.
const MOST_WATCHERS: usize = 8;
/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = commands::MAX_BYTES;
/// A client that sends no whole line for this long is dropped.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that does not take its answer for this long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is answered to one watcher too many.
const TOO_MANY_WATCH: &str = "too many are watching already; end one of them";

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ControlSocketError {
    #[error("no hearth answers at {}: is it running? (`systemctl status hearth`)", .paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or "))]
    Nobody { paths: Vec<PathBuf> },
    #[error("{path} cannot be opened by this user: run the command as root, or as the user hearth runs as")]
    Forbidden { path: PathBuf },
    #[error("the connection to the daemon at {path} broke: {source}")]
    Broken { path: PathBuf, source: io::Error },
    #[error("the daemon at {path} answered with something that is no JSON object: {source}")]
    Garbled { path: PathBuf, source: serde_json::Error },
}

/// The path of the socket of a daemon with this state directory.
fn socket_path(state: &Path) -> PathBuf {
    match std::env::var_os("RUNTIME_DIRECTORY") {
        Some(dir) => Path::new(&dir).join(NAME),
        None => state.join(NAME),
    }
}

/// Opens the socket. Only one daemon uses a state directory, so an existing file is left over from a crash and is replaced.
///
/// # Errors
/// The path is longer than 107 bytes, or the directory cannot be written.
pub(crate) fn open(state: &Path) -> io::Result<UnixListener> {
    let path = socket_path(state);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves clients until it is dropped.
pub(crate) async fn serve(listener: UnixListener, api: Arc<Api>) {
    let slots = ClientSlots::new(LIMITS);
    let watchers = Arc::new(Semaphore::new(MOST_WATCHERS));
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let api = api.clone();
                    let slot = slots.enter(());
                    let watchers = watchers.clone();
                    clients.spawn(async move {
                        let served = serve_client(stream, &api, &slot, &watchers);
                        if let Some(Err(error)) = slot.expelled().run_until_cancelled_owned(served).await {
                            debug!(%error, "a client of the control socket disconnected");
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "the control socket cannot accept a client; trying again in a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn serve_client(
    mut stream: UnixStream,
    api: &Arc<Api>,
    slot: &ClientSlot<()>,
    watchers: &Semaphore,
) -> io::Result<()> {
    let (read, mut write) = stream.split();
    // Not LinesCodec: it ends the connection at a line that is not UTF-8, instead of an answer that says so.
    let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), b"\n".to_vec(), MAX_LINE_BYTES);
    let mut lines = FramedRead::new(read, codec);
    while let Ok(Some(line)) = timeout(IDLE_TIMEOUT, lines.next()).await {
        match line {
            Ok(line) => {
                let watcher = wants_to_watch(&line).then(|| watchers.try_acquire());
                let answer = match watcher {
                    Some(Err(_)) => json!({ "status": "error", "error": TOO_MANY_WATCH }),
                    _ if !slot.serve() => json!({ "status": "error", "error": commands::BUSY }),
                    Some(Ok(_permit)) => return watch_events(api, &mut write, &mut lines).await,
                    None => api.line(&line).await,
                };
                write_line(&mut write, &answer).await?;
                slot.wait();
            }
            Err(AnyDelimiterCodecError::MaxChunkLengthExceeded) => {
                let error = format!("a line has at most {MAX_LINE_BYTES} bytes");
                return write_line(&mut write, &json!({ "status": "error", "error": error })).await;
            }
            Err(AnyDelimiterCodecError::Io(error)) => return Err(error),
        }
    }
    Ok(())
}

fn wants_to_watch(line: &[u8]) -> bool {
    serde_json::from_slice::<Value>(line).is_ok_and(|line| line["command"] == "watch")
}

/// Tells a client what happens until it closes the connection, or says anything more.
async fn watch_events(
    api: &Arc<Api>,
    write: &mut (impl AsyncWriteExt + Unpin),
    client: &mut (impl StreamExt + Unpin),
) -> io::Result<()> {
    let mut events = LiveLines::new(api.clone());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => write_line(write, &event).await?,
                None => return Ok(()),
            },
            _ = client.next() => return Ok(()),
        }
    }
}

async fn write_line(write: &mut (impl AsyncWriteExt + Unpin), answer: &Value) -> io::Result<()> {
    let line = format!("{answer}\n");
    timeout(WRITE_TIMEOUT, write.write_all(line.as_bytes())).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Sends a question to the daemon with this state directory, or to the one under systemd, and returns its answer.
///
/// # Errors
/// No daemon answers, or the answer is not JSON.
pub(crate) fn ask(state: Option<&Path>, question: &Value) -> Result<Value, ControlSocketError> {
    let (stream, path) = connect(state)?;
    exchange(stream, &path, question)
}

fn connect(state: Option<&Path>) -> Result<(Blocking, PathBuf), ControlSocketError> {
    let paths: Vec<_> = state.map(socket_path).into_iter().chain([Path::new(RUNTIME_DIR).join(NAME)]).collect();
    for path in &paths {
        match Blocking::connect(path) {
            Ok(stream) => return Ok((stream, path.clone())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ControlSocketError::Forbidden { path: path.clone() });
            }
            Err(_) => {}
        }
    }
    Err(ControlSocketError::Nobody { paths })
}

/// The lines that a daemon tells without end.
pub(crate) type WatchedLines = Lines<tokio::io::BufReader<UnixStream>>;

/// As [`ask`], to follow what happens: see `live_lines`.
///
/// # Errors
/// No daemon answers.
pub(crate) async fn watch(state: Option<&Path>) -> Result<WatchedLines, ControlSocketError> {
    let (stream, path) = connect(state)?;
    let begin = async || {
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        stream.write_all(b"{\"command\": \"watch\"}\n").await?;
        Ok(tokio::io::BufReader::new(stream).lines())
    };
    begin().await.map_err(|source| ControlSocketError::Broken { path, source })
}

fn exchange(mut stream: Blocking, path: &Path, question: &Value) -> Result<Value, ControlSocketError> {
    let broken = |source| ControlSocketError::Broken { path: path.into(), source };
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(broken)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(broken)?;
    let mut line = String::new();
    // Limits the answer, in case another program answers.
    BufReader::new(stream.take(16 << 20)).read_line(&mut line).map_err(broken)?;
    serde_json::from_str(&line).map_err(|source| ControlSocketError::Garbled { path: path.into(), source })
}

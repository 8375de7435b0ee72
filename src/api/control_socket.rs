//! The Unix socket by which commands on this machine reach the running daemon.
//!
//! Owns the socket and its protocol: one JSON object a line, answered by one. Refuses to know what is asked. Invariant: only
//! the user hearth runs as, and root, can open it; a client that sends too much, too slowly or nonsense costs a line of text.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{Api, PATIENCE};
use crate::commands;

/// The socket's name in the directory it lies in.
const NAME: &str = "hearth.sock";
/// Where systemd puts it.
const RUNTIME: &str = "/run/hearth";
/// Clients at once; more wait.
const CLIENTS: usize = 8;
/// A line is as long as a command at most.
const LINE: usize = commands::MAX_BYTES;
/// How long a client may think before the next line.
const IDLE: Duration = Duration::from_secs(60);

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlSocketError {
    #[error("no hearth answers at {}: is it running? (`systemctl status hearth`)", .paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or "))]
    Nobody { paths: Vec<PathBuf> },
    #[error("{path} is not yours to open: ask as root, or as the user hearth runs as")]
    Forbidden { path: PathBuf },
    #[error("the daemon at {path} broke off: {source}")]
    Broken { path: PathBuf, source: std::io::Error },
    #[error("the daemon at {path} said what is no JSON object: {source}")]
    Garbled { path: PathBuf, source: serde_json::Error },
}

/// Where the socket of a house with this state directory lies.
fn place(state: &Path) -> PathBuf {
    match std::env::var_os("RUNTIME_DIRECTORY") {
        Some(dir) => Path::new(&dir).join(NAME),
        None => state.join(NAME),
    }
}

/// Opens the socket of a house. There is one house to a state directory, so what lies there is left of one that died.
///
/// # Errors
/// The path is longer than a socket's may be (107 bytes), or the directory cannot be written.
pub fn open(state: &Path) -> std::io::Result<UnixListener> {
    let path = place(state);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves clients until it is dropped.
pub async fn serve(listener: UnixListener, api: Arc<Api>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((stream, _)) => {
                    let api = api.clone();
                    clients.spawn(async move {
                        if let Err(error) = talk(stream, &api).await {
                            debug!(%error, "a client of the status socket went away");
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "the status socket takes nobody in for a moment");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn talk(mut stream: UnixStream, api: &Api) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = tokio::io::BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut read).take(LINE as u64 + 1);
        match tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            Ok(read) => read?,
        };
        if line.len() > LINE {
            let error = format!("a line has at most {LINE} bytes");
            return say(&mut write, &json!({ "status": "error", "error": error })).await;
        }
        let answer = api.line(&line).await;
        say(&mut write, &answer).await?;
    }
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), answer: &Value) -> std::io::Result<()> {
    write.write_all(format!("{answer}\n").as_bytes()).await
}

/// Asks the daemon with this state directory, or the one that systemd runs.
///
/// # Errors
/// Nobody answers, or not in JSON.
pub fn ask(state: Option<&Path>, question: &Value) -> Result<Value, ControlSocketError> {
    let paths: Vec<_> = state.map(place).into_iter().chain([Path::new(RUNTIME).join(NAME)]).collect();
    for path in &paths {
        match Blocking::connect(path) {
            Ok(stream) => return exchange(stream, path, question),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(ControlSocketError::Forbidden { path: path.clone() });
            }
            Err(_) => {}
        }
    }
    Err(ControlSocketError::Nobody { paths })
}

fn exchange(mut stream: Blocking, path: &Path, question: &Value) -> Result<Value, ControlSocketError> {
    let broken = |source| ControlSocketError::Broken { path: path.into(), source };
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(broken)?;
    let mut line = String::new();
    // No answer is longer: a daemon of another version is not trusted with our memory.
    BufReader::new(stream.take(16 << 20)).read_line(&mut line).map_err(broken)?;
    serde_json::from_str(&line).map_err(|source| ControlSocketError::Garbled { path: path.into(), source })
}

//! The other side: a hub and the store behind it, on two ports of this machine, speaking as much HTTP as the real ones do when
//! a file is fetched.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that `main` is.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the other side does wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Bytes after which the store's next answers break off, one for each answer.
    pub(crate) cuts: Vec<usize>,
    /// The hub names another hash than the file has.
    pub(crate) lies: bool,
    /// The hub names this size.
    pub(crate) size: Option<u64>,
    /// The store always sends all of a file.
    pub(crate) no_ranges: bool,
    /// The store sends a part from this byte on, whatever was asked for.
    pub(crate) part_from: Option<usize>,
    /// The store sends so many bytes more than the file has.
    pub(crate) surplus: usize,
    /// Who has no token of this text is refused.
    pub(crate) token: Option<String>,
    /// Whose token is right is refused all the same.
    pub(crate) not_accepted: bool,
    /// Answers of the hub that are "503" first.
    pub(crate) busy: usize,
    /// The hub redirects to itself.
    pub(crate) circles: bool,
    /// The hub says nothing of a file.
    pub(crate) silent: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: &'static str,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

struct World {
    /// By the path below a repository's revision.
    files: BTreeMap<String, Vec<u8>>,
    faults: Faults,
    requests: Vec<Request>,
    store: SocketAddr,
}

pub(crate) struct Hub {
    world: Arc<Mutex<World>>,
    hub: SocketAddr,
    store: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Hub {
    pub(crate) fn start(files: &[(&str, &[u8])], faults: Faults) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = (hub.local_addr().unwrap(), store.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        let world = Arc::new(Mutex::new(World { files, faults, requests: Vec::new(), store: addresses.1 }));
        let closed = Arc::new(AtomicBool::new(false));
        for (at, listener) in [("hub", hub), ("store", store)] {
            let (world, closed) = (world.clone(), closed.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if closed.load(Ordering::Relaxed) {
                        break;
                    }
                    // A client that goes away in the middle is its own affair.
                    let _ = serve(at, stream, &world);
                }
            });
        }
        Self { world, hub: addresses.0, store: addresses.1, closed }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    pub(crate) fn set(&self, name: &str, bytes: &[u8]) {
        self.world.lock().unwrap().files.insert(name.into(), bytes.into());
    }

    pub(crate) fn misbehave(&self, faults: Faults) {
        self.world.lock().unwrap().faults = faults;
    }

    /// What was asked since the last time.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.world.lock().unwrap().requests)
    }

    /// The `Range` of each `GET` that reached the store since the last time.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        let gets = self.requests().into_iter().filter(|request| request.at == "store" && request.method == "GET");
        gets.map(|request| request.headers.get("range").cloned()).collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        for address in [self.hub, self.store] {
            let _ = TcpStream::connect(address);
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn git_blob(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serve(at: &'static str, mut stream: TcpStream, world: &Mutex<World>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(String::from);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let request = Request { at, method, path, headers };
    let (head, body) = {
        let mut world = world.lock().unwrap();
        world.requests.push(request.clone());
        if at == "hub" { world.hub(&request) } else { world.store(&request) }
    };
    stream.write_all(format!("HTTP/1.1 {head}Connection: close\r\n\r\n").as_bytes())?;
    if request.method == "GET" { stream.write_all(&body) } else { Ok(()) }
}

type Answer = (String, Vec<u8>);

impl World {
    fn hub(&mut self, request: &Request) -> Answer {
        let refuse = |status: &str, more: &str| (format!("{status}\r\n{more}Content-Length: 0\r\n"), Vec::new());
        if self.faults.busy > 0 {
            self.faults.busy -= 1;
            return refuse("503 Service Unavailable", "");
        }
        if let Some(token) = &self.faults.token {
            let given = request.header("authorization");
            if given != Some(&format!("Bearer {token}")) {
                let code = if given.is_some() { "" } else { "X-Error-Code: GatedRepo\r\n" };
                return refuse("401 Unauthorized", code);
            }
            if self.faults.not_accepted {
                return refuse("403 Forbidden", "X-Error-Code: GatedRepo\r\n");
            }
        }
        if self.faults.circles {
            return refuse("307 Temporary Redirect", &format!("Location: {}\r\n", request.path));
        }
        if self.faults.silent {
            return refuse("200 OK", "");
        }
        let path = request.path.strip_prefix("/api").unwrap_or(&request.path);
        let (repo, rest) = path.split_once("/resolve/").unwrap_or_default();
        let (revision, name) = rest.split_once('/').unwrap_or_default();
        let known = ["main", COMMIT].contains(&revision) && repo.matches('/').count() == 2;
        let Some(bytes) = self.files.get(name).filter(|_| known) else {
            return refuse("404 Not Found", "X-Error-Code: EntryNotFound\r\n");
        };
        let commit = format!("X-Repo-Commit: {COMMIT}\r\n");
        if name.ends_with(".json") {
            // Small files are git's own, and lie with the hub, behind a redirect of its own.
            if !request.path.starts_with("/api") {
                return refuse("307 Temporary Redirect", &format!("{commit}Location: /api{}\r\n", request.path));
            }
            let etag = if self.faults.lies { "0".repeat(40) } else { git_blob(bytes) };
            let head = format!("200 OK\r\n{commit}ETag: \"{etag}\"\r\nContent-Length: {}\r\n", bytes.len());
            return (head, bytes.clone());
        }
        let etag = if self.faults.lies { "0".repeat(64) } else { sha256(bytes) };
        let size = self.faults.size.unwrap_or(bytes.len() as u64);
        let location = format!("http://{}/{name}?signature=s", self.store);
        let linked = format!("X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {size}\r\nLocation: {location}\r\n");
        refuse("302 Found", &format!("{commit}ETag: \"of the redirect\"\r\n{linked}"))
    }

    fn store(&mut self, request: &Request) -> Answer {
        let name = request.path.trim_start_matches('/').split('?').next().unwrap_or_default();
        let mut bytes = self.files[name].clone();
        bytes.resize(bytes.len() + self.faults.surplus, 0);
        let total = bytes.len();
        let asked =
            request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let from: Option<usize> = self.faults.part_from.or(asked).filter(|_| !self.faults.no_ranges);
        let mut head = match from {
            Some(from) if from >= total => {
                return (format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\n"), Vec::new());
            }
            Some(from) => {
                bytes.drain(..from);
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}\r\n", total - 1)
            }
            None => "200 OK\r\n".into(),
        };
        // As stores do: a tag of its own that is no hash.
        head.push_str(&format!("ETag: \"5f3-62\"\r\nContent-Length: {}\r\n", bytes.len()));
        if !self.faults.cuts.is_empty() {
            bytes.truncate(self.faults.cuts.remove(0));
        }
        (head, bytes)
    }
}

//! The socket of `hearth status` and the page, of a hearth that runs.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::harness::{HEARTH, Hearth, config, household};
use super::mosquitto::{Mosquitto, Subscriber, free_address};

fn status(dir: &Path, more: &[&str]) -> Output {
    Command::new(HEARTH).arg("status").arg("--config").arg(dir.join("hearth.toml")).args(more).output().unwrap()
}

/// What the control socket answers to one line.
fn say(socket: &mut BufReader<UnixStream>, line: &[u8]) -> Value {
    socket.get_mut().write_all(line).unwrap();
    let mut answer = String::new();
    socket.read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn the_control_socket_answers_status_and_commands_and_refuses_invalid_lines() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    let url = format!("mqtt://{}", broker.address);
    let settings = config(&household(), "real-time", &url, "");
    std::fs::write(dir.path().join("hearth.toml"), &settings).unwrap();
    let nobody = status(dir.path(), &[]);
    let error = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(!nobody.status.success() && error.contains("no hearth answers at"), "{error}");

    let hearth = Hearth::run(dir.path(), &settings);
    let said = listener.on("hearth/home/utterance").json();
    let told = String::from_utf8(status(dir.path(), &[]).stdout).unwrap();
    assert!(told.contains("listening; 1 utterances") && told.contains(&format!("connected to {url}")), "{told}");
    assert!(told.contains(said["text"].as_str().unwrap()), "{told}");
    assert!(told.contains("model    recurrentgemma-nano (demo model)\n"), "{told}");
    let told: Value = serde_json::from_slice(&status(dir.path(), &["--json"]).stdout).unwrap();
    assert_eq!((&told["node"], &told["reads"]["model"]), (&"home".into(), &"recurrentgemma-nano (demo model)".into()));
    assert!(
        told["reads"]["state_bytes"].as_u64().unwrap() > 0 && told["rss_bytes"].as_u64().unwrap() > 1 << 20,
        "{told}"
    );

    let path = dir.path().join("state/hearth.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut socket = BufReader::new(UnixStream::connect(&path).unwrap());
    let muted = say(&mut socket, b"{\"command\": \"listening\", \"value\": \"OFF\", \"transaction\": 3}\n");
    assert_eq!(muted, json!({ "command": "listening", "listening": false, "status": "ok", "transaction": 3 }));
    listener.wait_for("the room is muted", |h| h.topic == "hearth/home/listening" && h.json()["state"] == "OFF");
    let answer = say(&mut socket, b"{\"command\": \"ask\", \"value\": \"Is there a fire?\"}\n");
    assert!(answer["probability"].as_f64().unwrap() < 0.5, "{answer}");
    for (line, error) in [
        (&b"what?\n"[..], "a command is an object with a \"command\""),
        (b"{\"command\": \"dance\"}\n", "there is no command dance"),
        (b"{\"command\": \"ask\"}\n", "null is no question"),
        (b"{\"command\n", "this is no JSON object"),
        (b"\xff\xfe\n", "a command must be UTF-8 text"),
        (b"[[[[\n", "a command is an object"),
    ] {
        let answer = say(&mut socket, line);
        assert!(answer["status"] == "error" && answer["error"].as_str().unwrap().contains(error), "{answer}");
    }
    // A line without an end is cut, and answered.
    let answer = say(&mut socket, &[b'x'; 70_000]);
    assert!(answer["error"].as_str().unwrap().contains("a line has at most"), "{answer}");
    drop(UnixStream::connect(&path).unwrap());
    let told = String::from_utf8(status(dir.path(), &[]).stdout).unwrap();
    assert!(told.contains("muted"), "hearth goes on: {told}");

    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "{said}");
}

/// What the page answers: its status and its body.
fn fetch(request: ureq::RequestBuilder<ureq::typestate::WithoutBody>, token: Option<&str>) -> (u16, String) {
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    let mut response = request.config().http_status_as_error(false).build().call().unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

/// A hearth with a web page, and the way to it.
struct WebPage {
    hearth: Hearth,
    /// The address, with a slash at its end.
    base: String,
    token: String,
    dir: tempfile::TempDir,
}

impl WebPage {
    fn start() -> Self {
        Self::start_with("")
    }

    /// `settings` are further ones of the page.
    fn start_with(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = free_address();
        let more = format!("listen = \"{}\"\n[page]\nlisten = \"{listen}\"\n{settings}", free_address());
        let mut hearth = Hearth::run(dir.path(), &config(&household(), "real-time", "embedded", &more));
        hearth.until_said("listening");
        let told: Value = serde_json::from_slice(&status(dir.path(), &["--json"]).stdout).unwrap();
        let (base, token) = told["page"].as_str().unwrap().split_once("#token=").unwrap();
        assert_eq!(base, format!("http://{listen}/"));
        Self { hearth, base: base.into(), token: token.into(), dir }
    }

    fn get(&self, path: &str, token: Option<&str>) -> (u16, String) {
        fetch(ureq::get(format!("{}{path}", self.base)), token)
    }

    fn command(&self, body: &str) -> (u16, String) {
        self.post("command", body)
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let post = ureq::post(format!("{}{path}", self.base)).header("authorization", format!("Bearer {}", self.token));
        let sent = post.config().http_status_as_error(false).build().send(body).unwrap();
        let mut text = String::new();
        let code = sent.status().as_u16();
        sent.into_body().into_reader().read_to_string(&mut text).unwrap();
        (code, text)
    }

    fn end(self) {
        self.hearth.terminate();
        let (ended, log) = self.hearth.wait();
        assert!(ended.success(), "an open page delays no shutdown: {log}");
    }
}

#[test]
fn the_scheme_of_the_token_may_be_written_in_any_case() {
    let page = WebPage::start();
    let code = |path: &str, scheme: &str, token: &str| {
        let request = ureq::get(format!("{}{path}", page.base)).header("authorization", format!("{scheme} {token}"));
        request.config().http_status_as_error(false).build().call().unwrap().status().as_u16()
    };
    for path in ["status", "metrics"] {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(code(path, scheme, &page.token), 200, "{path} {scheme}");
            assert_eq!(code(path, scheme, "wrong"), 401, "{path} {scheme}");
        }
        assert_eq!(code(path, "Basic", &page.token), 401, "{path}");
    }
    page.end();
}

#[test]
fn the_page_shows_nothing_without_the_token() {
    let page = WebPage::start();
    let file = page.dir.path().join("state/page.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), page.token);
    for path in ["status", "events", "metrics"] {
        for wrong in [None, Some(""), Some("0123"), Some(&page.token[1..])] {
            let (code, body) = page.get(path, wrong);
            assert_eq!(code, 401, "{path}: {body}");
            assert!(body.contains("the token is missing or wrong") && !body.contains(&page.token), "{body}");
        }
    }
    for path in ["command", "search", "day"] {
        let refused = ureq::post(format!("{}{path}", page.base)).config().http_status_as_error(false).build();
        assert_eq!(refused.send(r#"{"command":"listening","value":"OFF"}"#).unwrap().status(), 401, "{path}");
    }
    let (code, form) = page.get("", None);
    assert!(code == 200 && form.contains("<script src=\"page.js\"") && !form.contains(&page.token));
    // Everything that the files of the page load is there.
    let (mut waiting, mut seen) = (vec![String::new()], BTreeSet::new());
    let named = Regex::new(r#"(?:href=|src=|from |SharedWorker\(|register\(|"src": )"(?:\./)?([\w.-]+)""#).unwrap();
    while let Some(path) = waiting.pop() {
        let address = format!("{}{path}", page.base);
        let mut answer = ureq::get(address).config().http_status_as_error(false).build().call().unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let Ok(text) = answer.body_mut().read_to_string() else { continue };
        let found = named.captures_iter(&text).map(|found| found[1].to_string());
        waiting.extend(found.filter(|name| seen.insert(name.clone())));
    }
    for file in ["page.css", "day.js", "shared.js", "stream.js", "service.js", "manifest.webmanifest", "icon-512.png"] {
        assert!(seen.contains(file), "{file} is loaded by none: {seen:?}");
    }
    page.end();
}

#[test]
fn who_is_trusted_needs_no_token_but_a_page_of_another_site_cannot_act_for_them() {
    let page = WebPage::start_with("trusted = [\"127.0.0.2\"]");
    let host = page.base.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let address: SocketAddr = host.parse().unwrap();
    let from = |ip: [u8; 4], headers: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        write!(stream, "GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[..12].to_string()
    };
    let (own, refused, shown) = ("X-Requested-With: hearth\r\n", "HTTP/1.1 401", "HTTP/1.1 200");
    assert_eq!(from([127, 0, 0, 2], own), shown);
    assert_eq!(from([127, 0, 0, 2], ""), refused, "a link or a form of another site");
    assert_eq!(from([127, 0, 0, 1], own), refused, "somebody else");
    assert_eq!(from([127, 0, 0, 1], &format!("Authorization: Bearer {}\r\n", page.token)), shown);
    page.end();
}

#[test]
fn the_page_shows_and_takes_everything_with_the_token() {
    let page = WebPage::start();
    let token = Some(page.token.as_str());
    // The stream begins with what was, and brings what is said as it is said.
    let stream = ureq::get(format!("{}events", page.base)).header("authorization", format!("Bearer {}", page.token));
    let mut lines = BufReader::new(stream.call().unwrap().into_body().into_reader()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "event: recent");
    let event = lines.find(|line| line.starts_with("data: {\"utterance\"")).unwrap();
    let event: Value = serde_json::from_str(&event["data: ".len()..]).unwrap();
    assert!(!event["utterance"]["text"].as_str().unwrap().is_empty(), "{event}");
    // The last of the rules that are asked after it.
    let reading = |line: &String| line.starts_with("data: {\"reading\"") && line.contains("left_on");
    assert!(lines.find(reading).is_some_and(|reading| reading.contains("\"probability\"")));

    let status: Value = serde_json::from_str(&page.get("status", token).1).unwrap();
    assert!(status["hears"]["utterances"].as_u64().unwrap() >= 1 && status["page"].is_null(), "{status}");
    let (_, metrics) = page.get("metrics", token);
    for line in
        ["hearth_listening 1.0", "# TYPE hearth_utterances counter", "hearth_rule_probability{rule=\"fire\"} ", "# EOF"]
    {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    let (code, answer) = page.command(r#"{"command":"listening","value":false}"#);
    assert!(code == 200 && answer.contains("\"listening\":false"), "{answer}");
    assert_eq!(page.command(&"x".repeat(70_000)).0, 413, "the size of a command is limited");
    page.end();
}

#[test]
fn the_page_searches_what_was_said_and_shows_a_day_without_what_is_hidden() {
    let page = WebPage::start_with("[privacy]\nredact = [\"Emma\"]");
    let asked = |path: &str, body: Value| {
        let (code, answer) = page.post(path, &body.to_string());
        (code, serde_json::from_str::<Value>(&answer).unwrap())
    };
    let found = |words: &str| {
        let (code, answer) = asked("search", json!({ "words": words, "since": "1h", "room": "home" }));
        assert_eq!(code, 200, "{answer}");
        let utterances = answer["utterances"].as_array().unwrap().clone();
        utterances.iter().map(|said| said["text"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let end = Instant::now() + Duration::from_secs(120);
    while found("morning").is_empty() {
        assert!(Instant::now() < end, "what was said is not found");
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = found("GOOD morning");
    assert!(said[0].contains("[name]") && !said[0].contains("Emma"), "{said:?}");
    assert_eq!(found("Emma"), [] as [String; 0], "a name that is hidden cannot be searched for");
    for (words, why) in [("", "there is no word to search for"), ("?", "there is no word to search for")] {
        let (code, answer) = asked("search", json!({ "words": words }));
        assert!(code == 400 && answer["error"].as_str().unwrap().contains(why), "{answer}");
    }

    let now = jiff::Timestamp::now();
    let ago = |hours| (now - jiff::SignedDuration::from_hours(hours)).to_string();
    let (code, answer) = asked("day", json!({ "from": ago(1), "to": ago(-1) }));
    assert_eq!(code, 200, "{answer}");
    let talk = &answer["day"]["talk"][0];
    assert!(talk["room"] == "home" && talk["utterances"].as_u64().unwrap() >= 1, "{answer}");
    let (_, answer) = asked("day", json!({ "from": ago(3), "to": ago(1) }));
    assert_eq!(answer["day"]["talk"], json!([]), "nothing was said then");
    for (body, why) in [
        (json!({ "from": ago(1), "to": ago(2) }), "from must be before to"),
        (json!({ "from": ago(40), "to": ago(1) }), "at most 26 hours"),
        (json!({ "from": "noon" }), "a day is an object with two times"),
    ] {
        let (code, answer) = asked("day", body);
        assert!(code == 400 && answer["error"].as_str().unwrap().contains(why), "{answer}");
    }
    page.end();
}

#[test]
fn silent_connections_keep_nobody_off_the_page() {
    let page = WebPage::start();
    let token = Some(page.token.as_str());
    let stream = ureq::get(format!("{}events", page.base)).header("authorization", format!("Bearer {}", page.token));
    let mut lines = BufReader::new(stream.call().unwrap().into_body().into_reader()).lines().map(Result::unwrap);
    let address = page.base.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut silent: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for stream in &mut silent {
        // Some may be closed already.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ");
    }
    // All are accepted before the next one, and the newest have not been closed yet.
    assert_eq!(page.get("metrics", token).0, 200);
    silent[149].set_nonblocking(true).unwrap();
    let newest = silent[149].read(&mut [0]);
    assert_eq!(newest.unwrap_err().kind(), ErrorKind::WouldBlock, "nobody had to wait until it was closed");
    assert_eq!(page.get("", None).0, 200, "the page is there for who has no token, too");
    assert!(lines.by_ref().take(100).any(|line| line == "event: status"), "an open page goes on");

    silent[149].set_nonblocking(false).unwrap();
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let closed = stream.read(&mut [0; 64]);
        assert!(
            matches!(&closed, Ok(0)) || closed.as_ref().is_err_and(|error| error.kind() != ErrorKind::WouldBlock),
            "a request whose header does not end is given up: {closed:?}"
        );
    }
    assert!(lines.by_ref().take(100).any(|line| line == "event: status"), "an open page goes on");
    page.end();
}

#[test]
fn half_lines_keep_nobody_off_the_control_socket() {
    let page = WebPage::start();
    let path = page.dir.path().join("state/hearth.sock");
    let mut half: Vec<UnixStream> = (0..40)
        .map(|_| {
            let mut stream = UnixStream::connect(&path).unwrap();
            // It may have been closed already.
            let _ = stream.write_all(b"{\"command\": ");
            stream
        })
        .collect();
    assert!(status(page.dir.path(), &[]).status.success());
    let mut newest = BufReader::new(half.pop().unwrap());
    assert_eq!(say(&mut newest, b"\"status\"}\n")["node"], "home", "nobody had to wait until it was closed");
    page.end();
}

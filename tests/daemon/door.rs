//! The socket of `hearth status` and the page, of a hearth that runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::house::{HEARTH, Hearth, config, household};
use super::mosquitto::{Mosquitto, Subscriber, free_address};

fn status(dir: &Path, more: &[&str]) -> Output {
    Command::new(HEARTH).arg("status").arg("--config").arg(dir.join("hearth.toml")).args(more).output().unwrap()
}

/// What the socket says to one line.
fn say(socket: &mut BufReader<UnixStream>, line: &[u8]) -> Value {
    socket.get_mut().write_all(line).unwrap();
    let mut answer = String::new();
    socket.read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn the_socket_tells_how_the_house_is_takes_commands_and_refuses_nonsense() {
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
    let told: Value = serde_json::from_slice(&status(dir.path(), &["--json"]).stdout).unwrap();
    assert_eq!(told["node"], "home");
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
    // A line without an end is cut, and its sender told.
    let answer = say(&mut socket, &[b'x'; 70_000]);
    assert!(answer["error"].as_str().unwrap().contains("a line has at most"), "{answer}");
    drop(UnixStream::connect(&path).unwrap());
    let told = String::from_utf8(status(dir.path(), &[]).stdout).unwrap();
    assert!(told.contains("muted"), "the house goes on: {told}");

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

#[test]
fn the_page_shows_everything_to_whoever_has_the_token_and_nothing_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let listen = free_address();
    let more = format!("listen = \"{}\"\n[page]\nlisten = \"{listen}\"", free_address());
    let mut hearth = Hearth::run(dir.path(), &config(&household(), "real-time", "embedded", &more));
    hearth.until_said("listening");
    let told: Value = serde_json::from_slice(&status(dir.path(), &["--json"]).stdout).unwrap();
    let address = told["page"].as_str().unwrap().to_string();
    let (base, token) = address.split_once("#token=").unwrap();
    assert_eq!(base, format!("http://{listen}/"));
    let file = dir.path().join("state/page.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), token);

    let get = |path: &str, token| fetch(ureq::get(format!("{base}{path}")), token);
    for path in ["status", "events", "metrics"] {
        for wrong in [None, Some(""), Some("0123"), Some(&token[1..])] {
            let (code, body) = get(path, wrong);
            assert_eq!(code, 401, "{path}: {body}");
            assert!(body.contains("the token is missing or wrong") && !body.contains(token), "{body}");
        }
    }
    let refused = ureq::post(format!("{base}command")).config().http_status_as_error(false).build();
    assert_eq!(refused.send(r#"{"command":"listening","value":"OFF"}"#).unwrap().status(), 401);
    let (code, page) = get("", None);
    assert!(code == 200 && page.contains("<script src=\"page.js\"") && !page.contains(token));
    for path in ["page.css", "page.js", "icon.svg"] {
        assert_eq!(get(path, None).0, 200, "{path}");
    }

    // The stream begins with what was, and brings what is said as it is said.
    let stream = ureq::get(format!("{base}events")).header("authorization", format!("Bearer {token}")).call().unwrap();
    let mut lines = BufReader::new(stream.into_body().into_reader()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "event: recent");
    let scene = lines.find(|line| line.starts_with("data: {\"utterance\"")).unwrap();
    let scene: Value = serde_json::from_str(&scene["data: ".len()..]).unwrap();
    assert!(!scene["utterance"]["text"].as_str().unwrap().is_empty(), "{scene}");
    // The last of the rules that are read after it.
    let reads = |line: &String| line.starts_with("data: {\"reading\"") && line.contains("left_on");
    assert!(lines.find(reads).is_some_and(|reading| reading.contains("\"probability\"")));

    let (_, status) = get("status", Some(token));
    let status: Value = serde_json::from_str(&status).unwrap();
    assert!(status["hears"]["utterances"].as_u64().unwrap() >= 1 && status["page"].is_null(), "{status}");
    let (_, metrics) = get("metrics", Some(token));
    for line in
        ["hearth_listening 1.0", "# TYPE hearth_utterances counter", "hearth_rule_probability{rule=\"fire\"} ", "# EOF"]
    {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    let command = |body: &str| {
        let post = ureq::post(format!("{base}command")).header("authorization", format!("Bearer {token}"));
        let sent = post.config().http_status_as_error(false).build().send(body).unwrap();
        let mut text = String::new();
        let code = sent.status().as_u16();
        sent.into_body().into_reader().read_to_string(&mut text).unwrap();
        (code, text)
    };
    let (code, answer) = command(r#"{"command":"listening","value":false}"#);
    assert!(code == 200 && answer.contains("\"listening\":false"), "{answer}");
    assert_eq!(command(&"x".repeat(70_000)).0, 413, "a command has its bounds");

    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "a page that is open holds nobody up: {said}");
}

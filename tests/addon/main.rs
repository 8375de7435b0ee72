//! The add-on of Home Assistant, with what the Supervisor hands over: the options in a file, and its API on loopback.

#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

#[path = "../support/mosquitto.rs"]
mod mosquitto;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::{Json, Router};
use hearth::config::{self, Config};
use mosquitto::{Mosquitto, Subscriber, free_address};
use regex::Regex;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const HEARTH: &str = env!("CARGO_BIN_EXE_hearth");
const ADDON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/addon");
const TOKEN: &str = "a-token-of-the-supervisor";

/// The API of the Supervisor that an add-on may use, with the answers that it gives on such requests.
struct Supervisor {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Supervisor {
    /// `mqtt` is the answer to `services/mqtt`.
    fn with(mqtt: (u16, Value)) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = async move |uri: Uri, headers: HeaderMap| {
            let allowed = headers.get(header::AUTHORIZATION).is_some_and(|given| given == &format!("Bearer {TOKEN}"));
            let (code, answer) = match uri.path() {
                _ if !allowed => (401, json!({ "result": "error", "message": "unauthorized" })),
                "/services/mqtt" => mqtt,
                "/addons/self/info" => (200, json!({ "result": "ok", "data": { "slug": "local_hearth" } })),
                _ => (404, json!({ "result": "error", "message": "no such path" })),
            };
            (StatusCode::from_u16(code).unwrap(), Json(answer))
        };
        runtime.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self { address, _runtime: runtime }
    }

    /// With the service of a Mosquitto add-on on `broker`.
    fn with_mosquitto(broker: SocketAddr) -> Self {
        let data = json!({
            "addon": "core_mosquitto", "host": broker.ip(), "port": broker.port(), "ssl": false, "username": "addons",
            "password": "se\"cret", "protocol": "3.1.1",
        });
        Self::with((200, json!({ "result": "ok", "data": data })))
    }
}

/// The add-on's script with `options` in its folder `data`.
fn script(data: &Path, options: &Value, supervisor: SocketAddr) -> Command {
    std::fs::write(data.join("options.json"), options.to_string()).unwrap();
    let mut command = Command::new(format!("{ADDON}/run.sh"));
    command
        .env("DATA", data)
        .env("OWN", data.join("config"))
        .env("SUPERVISOR", format!("http://{supervisor}"))
        .env("SUPERVISOR_TOKEN", TOKEN)
        .env("HEARTH", HEARTH)
        .env("INGRESS", "127.0.0.1")
        .env("PAGE_LISTEN", free_address().to_string())
        .env("MICROPHONES_LISTEN", free_address().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The options as the Supervisor writes them when nobody has changed any.
fn defaults() -> Value {
    let config = yaml(&format!("{ADDON}/config.yaml"));
    config["options"].clone()
}

/// A YAML file, read as the Supervisor reads it.
fn yaml(path: &str) -> Value {
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let read = Command::new("/usr/bin/python3").args(["-c", program, path]).output().unwrap();
    assert!(read.status.success(), "these tests need python3-yaml: {}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

fn with(mut options: Value, more: Value) -> Value {
    let (Value::Object(options), Value::Object(more)) = (&mut options, more) else { panic!("both are objects") };
    options.extend(more);
    options.clone().into()
}

/// The config that the script makes of `options`.
fn made_of(options: &Value) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::with_mosquitto(free_address());
    let made = script(dir.path(), options, supervisor.address).env("HEARTH", "/bin/true").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    config::load(&dir.path().join("options.toml")).unwrap()
}

/// A hearth that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_starts_with_the_brokers_user_and_shows_the_page_to_the_supervisor_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    let made =
        Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&passwords).args(["addons", "se\"cret"]).status();
    assert!(made.unwrap().success());
    let more = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &more);
    let subscriber = Subscriber::new(broker.address, "#", Some(("addons", "se\"cret")));
    let supervisor = Supervisor::with_mosquitto(broker.address);

    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let options = with(defaults(), json!({ "name": "kitchen", "microphone": false, "network_microphones": true }));
    let page = free_address();
    let mut command = script(&data, &options, supervisor.address);
    let mut hearth = Running(command.env("PAGE_LISTEN", page.to_string()).spawn().unwrap());
    let log = BufReader::new(hearth.0.stderr.take().unwrap()).lines();
    let log = std::thread::spawn(move || log.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
    let announced = subscriber.on("homeassistant/device/hearth_kitchen/config").json();
    assert_eq!(announced["dev"]["cu"], "homeassistant://app/local_hearth");
    assert_eq!(subscriber.on("hearth/kitchen/status").payload, "online");
    let mode = std::fs::metadata(data.join("mqtt.password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The Supervisor shows the page below a path of its own: every address on it is relative, and is there.
    let get = |path: &str, own: bool| {
        let request = ureq::get(format!("http://{page}/{path}"));
        let request = if own { request.header("x-requested-with", "hearth") } else { request };
        let mut answer = request.config().http_status_as_error(false).build().call().unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("frame-ancestors 'self'"), "Home Assistant shows it in a frame: {policy}");
        (answer.status().as_u16(), String::from_utf8_lossy(&answer.body_mut().read_to_vec().unwrap()).into_owned())
    };
    let (_, html) = get("", false);
    let named = Regex::new(r#"(?:href|src)="([^"]+)""#).unwrap();
    let absolute = Regex::new(r#"(?:fetch|import|Worker|register|url)\s*\(?\s*["'`]?/[a-z]"#).unwrap();
    let mut files = 0;
    for address in named.captures_iter(&html).map(|found| found[1].to_owned()) {
        assert!(!address.starts_with('/') && !address.contains("://"), "{address} is not relative");
        let (code, text) = get(&address, false);
        assert_eq!(code, 200, "{address}");
        assert!(!absolute.is_match(&text), "{address}: {}", absolute.find(&text).unwrap().as_str());
        files += 1;
    }
    assert!(files >= 3, "{html}");
    assert_eq!((get("status", true).0, get("status", false).0), (200, 401));

    let id = rustix::process::Pid::from_raw(hearth.0.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let ended = hearth.0.wait().unwrap();
    assert!(ended.success(), "the Supervisor's stop reaches hearth: {}", log.join().unwrap());
    assert_eq!(subscriber.on("hearth/kitchen/status").payload, "offline");
}

#[test]
fn options_become_the_config() {
    let untouched = made_of(&defaults());
    assert_eq!(untouched.rules, Config::default().rules, "no rules are those of hearth");
    assert_eq!(untouched.mqtt.username.as_deref(), Some("addons"));

    let rule = json!({ "name": "bell", "pattern": "ding \"dong\"\\b", "severity": "info", "enter": 0.9 });
    let options = json!({
        "keep": "nothing", "redact": ["Anna \"Änne\"", "O'Neill"], "redact_numbers": true, "minutes_between_summaries": 0.5,
        "rules": [rule], "mqtt_url": "mqtts://broker.local:8883", "mqtt_username": "me", "speech_model": "",
    });
    let made = made_of(&with(defaults(), options));
    assert_eq!(serde_json::to_value(&made).unwrap()["store"]["keep"], "nothing");
    assert_eq!(made.privacy.redact, ["Anna \"Änne\"", "O'Neill"]);
    assert!(made.privacy.redact_numbers);
    assert_eq!(made.mqtt.username.as_deref(), Some("me"));
    assert_eq!(made.mqtt.url.to_string(), "mqtts://broker.local:8883");
    let [bell] = &made.rules[..] else { panic!("{:?}", made.rules) };
    assert_eq!(
        (bell.name.as_str(), bell.pattern.as_deref(), &bell.question),
        ("bell", Some("ding \"dong\"\\b"), &None)
    );
}

#[test]
fn what_has_no_option_is_written_into_a_file_in_the_addons_own_folder() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "#", None);
    let supervisor = Supervisor::with_mosquitto(broker.address);
    let own = dir.path().join("config/hearth.toml");
    std::fs::create_dir(own.parent().unwrap()).unwrap();
    let options = with(defaults(), json!({ "name": "kitchen", "microphone": false, "network_microphones": true }));

    std::fs::write(&own, "[asr]\nhot_wrods = [\"Emma\"]\n").unwrap();
    let refused = script(dir.path(), &options, supervisor.address).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    let place = format!("{}:2:1: unknown key \"hot_wrods\": did you mean \"hot_words\"?", own.display());
    assert!(refused.status.code() == Some(78) && said.contains(&place), "{said}");

    let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\npattern = \"{name}\"\n");
    let settings = "[mqtt]\nbase_topic = \"ours\"\n";
    std::fs::write(&own, settings.to_owned() + &rule("bell")).unwrap();
    let _hearth = Running(script(dir.path(), &options, supervisor.address).spawn().unwrap());
    // The broker is the Supervisor's, the name an option, the topic and the rule are those of the file.
    assert_eq!(subscriber.on("ours/kitchen/status").payload, "online");
    subscriber.on("ours/kitchen/rule/bell");
    std::fs::write(&own, settings.to_owned() + &rule("knock")).unwrap();
    subscriber.publish("ours/kitchen/request/reload", "", false);
    let reloaded = subscriber.on("ours/kitchen/response/reload").json();
    assert_eq!((&reloaded["rules"], &reloaded["needs_restart"]), (&json!(["knock"]), &json!([])), "{reloaded}");
    // As in the container, whose environment names the folder.
    let mut status = Command::new(HEARTH);
    let status = status.arg("status").env("STATE_DIRECTORY", dir.path().join("state")).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn what_is_missing_is_told_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let told = |command: &mut Command| {
        let Output { status, stderr, .. } = command.output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    let none = Supervisor::with((400, json!({ "result": "error", "message": "Service not enabled" })));
    let (code, said) = told(&mut script(dir.path(), &defaults(), none.address));
    let way_out = "hearth: there is no MQTT service (Service not enabled): install the add-on \"Mosquitto broker\" and start it, or set mqtt_url\n";
    assert_eq!((code, said.as_str()), (Some(1), way_out));
    let (code, said) = told(script(dir.path(), &defaults(), none.address).env("SUPERVISOR_TOKEN", "wrong"));
    assert!(code == Some(1) && said.contains("(unauthorized)"), "{said}");
    let (code, said) = told(&mut script(dir.path(), &defaults(), free_address()));
    assert!(code == Some(1) && said.contains("the Supervisor does not answer at http://127."), "{said}");

    let any = Supervisor::with_mosquitto(free_address());
    let mut broken = script(dir.path(), &defaults(), any.address);
    std::fs::write(dir.path().join("options.json"), "[]").unwrap();
    let (code, said) = told(&mut broken);
    assert!(code == Some(1) && said.ends_with("options.json is no JSON object\n"), "{said}");
    std::fs::remove_file(dir.path().join("options.json")).unwrap();
    let (code, said) = told(&mut broken);
    assert!(code == Some(1) && said.starts_with("hearth: the Supervisor left no options in "), "{said}");

    let rule = json!({ "name": "bell" });
    let (code, said) = told(&mut script(dir.path(), &with(defaults(), json!({ "rules": [rule] })), any.address));
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("options.toml:") && said.contains("rule \"bell\" has neither a pattern nor a question"),
        "{said}"
    );
}

/// Checks an add-on's folder: whether all is well, and what was said.
fn lint(folder: &Path) -> (bool, String) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/addon/lint.py");
    let Output { status, stdout, stderr } = Command::new("/usr/bin/python3").arg(program).arg(folder).output().unwrap();
    assert!(stderr.is_empty(), "this needs python3-voluptuous: {}", String::from_utf8_lossy(&stderr));
    (status.success(), String::from_utf8(stdout).unwrap())
}

#[test]
fn the_folder_is_as_the_supervisor_wants_it() {
    let (fine, said) = lint(Path::new(ADDON));
    assert!(fine, "{said}");
    assert_eq!(yaml(&format!("{ADDON}/config.yaml"))["version"], env!("CARGO_PKG_VERSION"));
    let mut changes = String::new();
    std::fs::File::open(format!("{ADDON}/CHANGELOG.md")).unwrap().read_to_string(&mut changes).unwrap();
    assert!(changes.contains(concat!("## ", env!("CARGO_PKG_VERSION"))), "{changes}");
}

#[test]
fn a_folder_that_the_supervisor_would_refuse_is_told() {
    let right = std::fs::read_to_string(format!("{ADDON}/config.yaml")).unwrap();
    let cases = [
        ("backup: cold", "backup: warm", "for dictionary value @ data['backup']"),
        ("audio: true", "sound: true", "extra keys not allowed @ data['sound']"),
        ("  language: en\n", "", "config.yaml: language has no default and is not optional"),
        ("  - mqtt:want", "  - mqtt:please", "'mqtt:please' does not match"),
        ("keep: 30 days", "keep: 30", "config.yaml: the default of keep, 30, is not 'str'"),
        ("  keep: str\n", "  keep: text\n", "'text' does not match"),
        ("  speech_model: str?\n", "", "en.yaml: configuration and config.yaml differ in ['speech_model']"),
    ];
    for (what, by, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").args(["-r", &format!("{ADDON}/.")]).arg(dir.path()).status().unwrap();
        assert!(copied.success() && right.contains(what));
        std::fs::write(dir.path().join("config.yaml"), right.replacen(what, by, 1)).unwrap();
        let (fine, said) = lint(dir.path());
        assert!(!fine && said.contains(expected), "{what} -> {by}: {said}");
    }
}

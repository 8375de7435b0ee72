//! What `hearth check` says of webhooks, and which certificates are trusted.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::bad_input::{hearth, refuses, write};
use super::harness::{HEARTH, Hearth};
use super::mosquitto::{certificates, free_address};
use super::receiver::WebhookReceiver;
use super::webhooks::{CONFIG, SECRET, settings, verifies, webhook};

#[test]
fn check_names_what_is_wrong_and_tries_a_webhook_where_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let check = |more: &[&str]| {
        let output = hearth(dir.path(), &[&["check"], &CONFIG[..], more].concat());
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    for (text, told) in [
        (webhook("x", "example.org", "[\"alert\"]"), ":11:7: this is no address for a webhook"),
        (
            webhook("x", "https://example.org/", "[\"alrt\"]"),
            ":12:10: there is no event \"alrt\"; there are alert, summary",
        ),
        (webhook("x", "https://example.org/", "[]"), ":12:10: names no event"),
        ("[[webhook]]\nurl = \"https://example.org/\"\n".into(), "the key \"events\" is missing here"),
        (
            webhook("x", "https://a.org/", "[\"alert\"]") + &webhook("x", "https://b.org/", "[\"alert\"]"),
            "a second webhook is named \"x\"",
        ),
        (
            webhook("x", "https://a.org/", "[\"alert\"]") + "secret = \"s\"\n",
            "unknown key \"secret\": did you mean \"secret_file\"?",
        ),
    ] {
        write(dir.path(), "hearth.toml", settings(&text));
        refuses(dir.path(), &["check", CONFIG[0], CONFIG[1]], 78, &[told]);
    }
    let absent = settings(&(webhook("x", "https://example.org/", "[\"alert\"]") + "secret_file = \"none\"\n"));
    write(dir.path(), "hearth.toml", &absent);
    assert!(check(&[]).contains("✗ webhook x: the secret of a webhook cannot be read from"));
    let mut refused = Hearth::run(dir.path(), &absent);
    refused.until_said("the secret of a webhook cannot be read from");
    assert_eq!(refused.wait().0.code(), Some(78));

    let hook = WebhookReceiver::new(&[]);
    let secretive = format!("http://{}/T0/hidden?key=hidden", hook.address);
    write(dir.path(), "hearth.toml", settings(&webhook("x", &secretive, "[\"alert\", \"health\"]")));
    let told = check(&[]);
    let can = "it can be reached, and `hearth check --webhooks` sends it a test message";
    assert!(told.contains(&format!("✓ webhook x: http://{}, told of alert, health; {can}", hook.address)), "{told}");
    assert!(told.contains("! webhook x: there is no secret"), "{told}");
    assert!(hook.try_next(Duration::ZERO).is_none(), "nothing is sent unasked");
    write(dir.path(), "webhook.secret", SECRET);
    let secret = dir.path().join("webhook.secret");
    let may_read = |mode| std::fs::set_permissions(&secret, Permissions::from_mode(mode)).unwrap();
    may_read(0o644);
    let everybody =
        format!("! {0} holds a secret, and every user of this machine may read it: chmod 600 {0}", secret.display());
    assert!(check(&[]).contains(&everybody), "{}", check(&[]));
    may_read(0o600);
    let told = check(&["--webhooks"]);
    assert!(!told.contains("holds a secret"), "{told}");
    assert!(
        told.contains("it took a test message") && !told.contains("hidden") && !told.contains("aGVhcnRoIG"),
        "{told}"
    );
    let posted = hook.next();
    assert_eq!((&posted.json()["type"], posted.path.as_str()), (&"test".into(), "/T0/hidden?key=hidden"));
    assert!(verifies(&posted, SECRET));

    let away = format!("http://{}/T0/hidden", free_address());
    write(dir.path(), "hearth.toml", settings(&webhook("x", &away, "[\"alert\"]")));
    let told = check(&[]);
    assert!(
        told.contains("✗ webhook x: http://127.") && told.contains("cannot be reached: Connection refused"),
        "{told}"
    );
    write(dir.path(), "hearth.toml", settings(&webhook("x", "https://no-such-host.invalid/", "[\"alert\"]")));
    let told = check(&[]);
    assert!(told.contains("✗ webhook x: https://no-such-host.invalid cannot be reached: "), "{told}");
}

#[test]
fn a_certificate_of_the_system_is_trusted_and_another_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(dir.path());
    let server = "import http.server, ssl, sys\n\
        class Hook(http.server.BaseHTTPRequestHandler):\n    def do_POST(self):\n        \
        self.rfile.read(int(self.headers['Content-Length']))\n        self.send_response(200)\n        self.end_headers()\n\
        server = http.server.HTTPServer(('127.0.0.1', 0), Hook)\n\
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\ncontext.load_cert_chain(sys.argv[1], sys.argv[2])\n\
        server.socket = context.wrap_socket(server.socket, server_side=True)\n\
        print(server.server_port, flush=True)\nserver.serve_forever()\n";
    let mut child = Command::new("python3")
        .args(["-c", server])
        .args([&certificate, &key])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut port = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut port).unwrap();
    let url = format!("https://localhost:{}/", port.trim());
    write(dir.path(), "hearth.toml", settings(&webhook("x", &url, "[\"alert\"]")));
    let check = |roots: &Path| {
        let mut command = Command::new(HEARTH);
        command.args(["check", "--webhooks", CONFIG[0], CONFIG[1]]).current_dir(dir.path()).env("SSL_CERT_FILE", roots);
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    let (trusted, untrusted) = (check(&ca), check(Path::new("/etc/ssl/certs/ca-certificates.crt")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(trusted.contains("it took a test message"), "{trusted}");
    assert!(untrusted.contains("✗ webhook x") && untrusted.contains("is not trusted"), "{untrusted}");
}

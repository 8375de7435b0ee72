//! `hearth setup`: asks what an installation needs, writes it into the config, and opens the microphone.
//!
//! Nothing is written before everything was asked. What was in the file stays, comments included.

mod edit;

use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use dialoguer::console::Term;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, Password, Select};
use serde_json::json;

use self::edit::ConfigEdit;
use super::check::{self, CheckArgs, NotValid};
use super::daemon_client::DaemonClient;
use super::level;
use super::output::stdout;
use super::run::{self, SYSTEM_CONFIG, is_of_the_service};
use crate::audio;
use crate::config::{self, Broker, Config};

/// The exit status of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;
/// How long the service may take to load its models.
const START_LIMIT: Duration = Duration::from_secs(300);
/// What may be kept, and what it means.
const KEEPS: [(&str, &str); 4] = [
    ("30 days", "30 days: search, export, and answers about the past"),
    ("7 days", "7 days"),
    ("1 day", "1 day"),
    ("nothing", "nothing: no text is on the disk but what waits to be published"),
];

/// Sets up microphone, room, broker and storage, and begins to listen.
#[derive(Debug, clap::Args)]
pub(crate) struct SetupArgs {
    /// The config file to write
    #[arg(long, value_name = "FILE", default_value = SYSTEM_CONFIG)]
    config: PathBuf,
}

/// # Errors
/// There is no terminal, the file cannot be read or written, or the service does not start.
pub(crate) fn setup(args: &SetupArgs) -> anyhow::Result<()> {
    let path = &args.config;
    ensure!(
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        "`hearth setup` asks questions, so it needs a terminal; without one, edit {} and open the microphone with `hearth unmute`",
        path.display()
    );
    let edit = ConfigEdit::open(path)?;
    let runtime = run::runtime()?;
    let terminated = runtime.block_on(async { run::terminated() })?;
    runtime.spawn(async {
        terminated.await;
        leave()
    });
    let ended = ask_and_write(path, edit);
    match ended.as_ref().map_err(|error| error.downcast_ref()) {
        Err(Some(dialoguer::Error::IO(error))) if error.kind() == ErrorKind::Interrupted => leave(),
        _ => ended,
    }
}

/// Ctrl-C: a question may have hidden the cursor.
#[expect(clippy::disallowed_methods, reason = "what waits for a key or for the service cannot be told to return")]
fn leave() -> ! {
    let _ = Term::stderr().show_cursor();
    std::process::exit(INTERRUPTED)
}

fn ask_and_write(path: &Path, mut edit: ConfigEdit) -> anyhow::Result<()> {
    writeln!(
        stdout(),
        "This sets up {}. Nothing is changed before the end; Ctrl-C leaves it as it is.\n",
        path.display()
    )?;
    loop {
        if !ask_once(path, &mut edit)? {
            return Ok(());
        }
        writeln!(stdout())?;
        let Err(error) = check::run(CheckArgs::of(path)) else { break };
        writeln!(stdout(), "✗ {error}\n")?;
        let only_no_microphone = error.downcast_ref().is_some_and(|failed: &NotValid| failed.count() == 1)
            && audio::devices().unwrap_or_default().is_empty();
        if only_no_microphone {
            writeln!(stdout(), "Without a microphone hearth starts, waits for one, and says so.")?;
        }
        let chosen = Select::with_theme(&theme())
            .with_prompt("What now?")
            .items(["answer the questions again", "go on all the same", "stop here"])
            .default(usize::from(only_no_microphone))
            .interact()?;
        match chosen {
            0 => edit = ConfigEdit::open(path)?,
            1 => break,
            _ => bail!("{} is written; mend what is marked with ✗, then run `hearth setup` again", path.display()),
        }
    }
    begin(&config::load(path)?)
}

/// Asks everything and writes it. False: nothing is to be written.
fn ask_once(path: &Path, edit: &mut ConfigEdit) -> anyhow::Result<bool> {
    let password = asked(edit)?;
    let changes = edit.changes();
    let is_new = !path.exists();
    if changes.is_empty() && password.is_none() && !is_new {
        writeln!(stdout(), "\nNothing is to be changed.")?;
    } else {
        writeln!(stdout(), "\nTo be written into {}:", path.display())?;
        if is_new {
            writeln!(stdout(), "  every setting with its default, as a new file, and")?;
        }
        for line in changes {
            writeln!(stdout(), "  {line}")?;
        }
        if let Some((file, _)) = &password {
            writeln!(stdout(), "  the password, into {}, which its owner alone may read", file.display())?;
        }
        if !confirm("Write it?", true)? {
            writeln!(stdout(), "Nothing was changed.")?;
            return Ok(false);
        }
        write_all(path, edit, password.as_ref())?;
    }
    Ok(true)
}

/// Asks everything. Returns the file of the broker's password and its content, if one was given.
fn asked(edit: &mut ConfigEdit) -> anyhow::Result<Option<(PathBuf, String)>> {
    if edit.has_several_microphones() {
        writeln!(stdout(), "What is heard is not one microphone of this machine; the sources stay as they are.")?;
    } else {
        microphone(edit)?;
    }
    room(edit)?;
    let password = broker(edit)?;
    keep(edit)?;
    Ok(password)
}

fn microphone(edit: &mut ConfigEdit) -> anyhow::Result<()> {
    let devices = audio::devices().unwrap_or_default();
    if devices.is_empty() {
        writeln!(stdout(), "No microphone is plugged in now. hearth waits for one: \"{}\".", edit.device())?;
        return Ok(());
    }
    loop {
        let names: Vec<String> =
            devices.iter().map(|device| format!("{}  ({})", device.name, device.description)).collect();
        let current = devices.iter().position(|device| device.name == edit.device());
        let current = current.or(devices.iter().position(|device| device.default)).unwrap_or(0);
        let chosen =
            Select::with_theme(&theme()).with_prompt("Microphone").items(&names).default(current).interact()?;
        let device = &devices[chosen];
        match &device.format {
            Ok(_) => level::show(&device.name)?,
            Err(reason) => writeln!(stdout(), "It cannot be tried now: {reason}.")?,
        }
        if confirm("Use this microphone?", true)? {
            return edit.set(&["source", "microphone", "device"], &device.name).map_err(anyhow::Error::msg);
        }
    }
}

fn room(edit: &mut ConfigEdit) -> anyhow::Result<()> {
    let name: String = Input::with_theme(&theme())
        .with_prompt("Name of this room or machine, in topics and entities")
        .default(edit.config().node.to_string())
        .validate_with(|name: &String| edit.clone().set(&["node"], name))
        .interact_text()?;
    edit.set(&["node"], &name).map_err(anyhow::Error::msg)
}

fn broker(edit: &mut ConfigEdit) -> anyhow::Result<Option<(PathBuf, String)>> {
    let mqtt = edit.config().mqtt_paths();
    let embedded = mqtt.url == Broker::Embedded;
    let chosen = Select::with_theme(&theme())
        .with_prompt("MQTT broker")
        .items(["that of Home Assistant, or another one", "hearth's own, on this machine alone: for a first look"])
        .default(usize::from(embedded))
        .interact()?;
    if chosen == 1 {
        edit.set(&["mqtt", "url"], "embedded").map_err(anyhow::Error::msg)?;
        return Ok(None);
    }
    let current = if embedded { "mqtt://homeassistant.local:1883".into() } else { mqtt.url.to_string() };
    let url: String = Input::with_theme(&theme())
        .with_prompt("Its address: mqtt:// or, encrypted, mqtts://")
        .default(current)
        .validate_with(|url: &String| edit.clone().set(&["mqtt", "url"], &with_scheme(url)))
        .interact_text()?;
    edit.set(&["mqtt", "url"], &with_scheme(&url)).map_err(anyhow::Error::msg)?;
    let user: String = Input::with_theme(&theme())
        .with_prompt("User at the broker; empty for none")
        .with_initial_text(mqtt.username.as_deref().unwrap_or_default())
        .allow_empty(true)
        .interact_text()?;
    if user.is_empty() {
        // A password without a user is an error.
        edit.remove(&["mqtt", "password_file"]);
        edit.remove(&["mqtt", "username"]);
        return Ok(None);
    }
    edit.set(&["mqtt", "username"], &user).map_err(anyhow::Error::msg)?;
    let file = edit.password_file();
    let kept = if file.exists() { "; empty for the one that is stored" } else { "" };
    let password = Password::with_theme(&theme())
        .with_prompt(format!("Its password{kept}"))
        .allow_empty_password(file.exists())
        .interact()?;
    Ok(Some((file, password)).filter(|(_, password)| !password.is_empty()))
}

/// The address of a broker, which people also write without "mqtt://".
fn with_scheme(address: &str) -> String {
    let address = address.trim();
    if address.contains("://") { address.into() } else { format!("mqtt://{address}") }
}

fn keep(edit: &mut ConfigEdit) -> anyhow::Result<()> {
    let current = edit.config().store.keep.to_string();
    let mut choices: Vec<(String, String)> = KEEPS.map(|(value, told)| (value.into(), told.into())).to_vec();
    let at = choices.iter().position(|(value, _)| *value == current).unwrap_or_else(|| {
        choices.push((current.clone(), format!("{current}, as now")));
        choices.len() - 1
    });
    let told: Vec<&String> = choices.iter().map(|(_, told)| told).collect();
    let chosen =
        Select::with_theme(&theme()).with_prompt("Keep what was said for").items(&told).default(at).interact()?;
    edit.set(&["store", "keep"], &choices[chosen].0).map_err(anyhow::Error::msg)
}

fn write_all(path: &Path, edit: &ConfigEdit, password: Option<&(PathBuf, String)>) -> anyhow::Result<()> {
    let failed = |path: &Path| format!("{} cannot be written; run this as root (sudo)", path.display());
    if let Some((file, password)) = password {
        crate::atomic_file::replace(file, 0o600, |out| writeln!(out, "{password}")).with_context(|| failed(file))?;
    }
    let mode = std::fs::metadata(path).map_or(0o644, |file| file.permissions().mode() & 0o777);
    crate::atomic_file::replace(path, mode, |out| out.write_all(edit.text().as_bytes())).with_context(|| failed(path))
}

/// Starts the service with the new config, and opens the microphone.
fn begin(config: &Config) -> anyhow::Result<()> {
    let by_systemd = is_of_the_service(config) && Path::new("/run/systemd/system").exists();
    if by_systemd {
        if !confirm("Start hearth anew with these settings?", true)? {
            return Ok(());
        }
        let done = Command::new("systemctl").args(["restart", "hearth"]).status().context("systemctl cannot be run")?;
        ensure!(done.success(), "hearth did not start; `journalctl -u hearth -e` says why");
    }
    let daemon = DaemonClient::of(config);
    let end = Instant::now() + START_LIMIT;
    let status = loop {
        match daemon.status() {
            Ok(status) => break status,
            Err(error) if !by_systemd => {
                writeln!(stdout(), "hearth does not run with these settings now: {error}")?;
                writeln!(
                    stdout(),
                    "Start it with `hearth run`, and open the microphone with `hearth unmute` where it is closed."
                )?;
                return Ok(());
            }
            Err(error) if Instant::now() > end => {
                bail!("hearth does not answer: {error}; `journalctl -u hearth -e` says why")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    if !by_systemd {
        writeln!(stdout(), "hearth runs. It takes the new settings when it is started anew.")?;
    }
    if status.hears.ears && !status.hears.listening && confirm("Open the microphone now?", true)? {
        daemon.command(&json!({ "command": "listening", "value": "ON" }))?;
        writeln!(stdout(), "It listens. `hearth mute` closes the microphone, `hearth status` shows what is heard.")?;
    }
    Ok(())
}

fn confirm(question: &str, default: bool) -> anyhow::Result<bool> {
    // With Enter, as after every other question: without, the Enter of somebody's "y" would answer the next one unseen.
    Ok(Confirm::with_theme(&theme()).with_prompt(question).default(default).wait_for_newline(true).interact()?)
}

fn theme() -> ColorfulTheme {
    ColorfulTheme::default()
}

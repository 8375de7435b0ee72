//! The mute hook: runs a command of the user's when the microphone is muted or opened, for a lamp or a relay.
//!
//! The command is started without a shell. One that does not end is killed. Of quick changes the last one counts, and its
//! command is the last that ran.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::Context;
use crate::commands::microphone::MicrophoneState;
use crate::config::PrivacyConfig;
use crate::supervisor::Supervisor;

pub(crate) const NAME: &str = "mute hook";
/// How long a command may take; switching a lamp takes less.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the task. It ends when the sender of `microphone` is dropped.
pub(crate) fn spawn(supervisor: &mut Supervisor, context: &Context, microphone: watch::Receiver<MicrophoneState>) {
    let privacy = context.config.privacy.clone();
    supervisor.task(NAME, async move {
        run(privacy, microphone).await;
        Ok(())
    });
}

/// Runs a command now and at each change.
async fn run(privacy: PrivacyConfig, mut microphone: watch::Receiver<MicrophoneState>) {
    loop {
        let open = microphone.borrow_and_update().is_open();
        call(if open { &privacy.on_unmute } else { &privacy.on_mute }, TIMEOUT).await;
        if microphone.changed().await.is_err() {
            return;
        }
    }
}

async fn call(argv: &[String], limit: Duration) {
    let Some((program, arguments)) = argv.split_first() else { return };
    match timeout(limit, status(program, arguments)).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => warn!(program, %status, "the command of [privacy] failed"),
        Ok(Err(error)) => warn!(program, %error, "the command of [privacy] cannot be run"),
        Err(_) => warn!(program, "the command of [privacy] did not end within {} s and was ended", limit.as_secs()),
    }
}

/// Runs a program to its end, and kills it when this future is dropped before.
async fn status(program: &str, arguments: &[String]) -> std::io::Result<ExitStatus> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.status().await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn appends(file: &Path, word: &str) -> Vec<String> {
        let script = ["/bin/sh", "-c", "echo $0 >> $1", word, &file.display().to_string()];
        script.map(String::from).to_vec()
    }

    #[tokio::test]
    async fn the_last_change_is_shown_last_and_a_missing_program_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lamp");
        let privacy = PrivacyConfig {
            on_mute: appends(&file, "muted"),
            on_unmute: vec!["/nonexistent".into()],
            ..PrivacyConfig::default()
        };
        let (sender, microphone) = watch::channel(MicrophoneState::Open);
        sender.send_replace(MicrophoneState::Muted);
        sender.send_replace(MicrophoneState::Open);
        sender.send_replace(MicrophoneState::Muted);
        drop(sender);
        run(privacy, microphone).await;
        assert_eq!(std::fs::read_to_string(file).unwrap(), "muted\n");
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lamp");
        let script = format!("sleep 1; echo late > {}", file.display());
        let argv = ["/bin/sh", "-c", &script].map(String::from);
        call(&argv, Duration::from_millis(50)).await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert!(!file.exists(), "it was killed before it could write");
    }
}

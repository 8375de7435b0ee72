//! What the house does outside of itself when it is muted: a lamp, a relay.
//!
//! Owns the two commands of `[privacy]`. Refuses to know why. Invariants: no shell is asked; a command that does not end is
//! ended; of quick changes the last one counts, and its command is the last that ran.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::config::PrivacyConfig;

/// No lamp takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);

/// Runs a command now and at each change, until nobody can change it any more.
pub async fn run(privacy: PrivacyConfig, mut listening: watch::Receiver<bool>) {
    loop {
        let on = *listening.borrow_and_update();
        call(if on { &privacy.on_unmute } else { &privacy.on_mute }).await;
        if listening.changed().await.is_err() {
            return;
        }
    }
}

async fn call(argv: &[String]) {
    let Some((program, arguments)) = argv.split_first() else { return };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = match command.spawn() {
        Ok(child) => end(child).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(Some(status)) if status.success() => {}
        Ok(Some(status)) => warn!(program, %status, "the command of [privacy] failed"),
        Ok(None) => {
            warn!(program, "the command of [privacy] did not end within {} s and was ended", PATIENCE.as_secs())
        }
        Err(error) => warn!(program, %error, "the command of [privacy] cannot be run"),
    }
}

/// Waits for the end of a program; none when it had to be brought about.
async fn end(mut child: Child) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(GLANCE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(file: &std::path::Path, word: &str) -> Vec<String> {
        ["/bin/sh", "-c", "echo $0 >> $1", word]
            .map(String::from)
            .into_iter()
            .chain([file.display().to_string()])
            .collect()
    }

    #[tokio::test]
    async fn the_last_change_is_the_last_that_is_shown_and_a_missing_program_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lamp");
        let privacy = PrivacyConfig {
            on_mute: says(&file, "muted"),
            on_unmute: vec!["/nonexistent".into()],
            ..PrivacyConfig::default()
        };
        let (tell, told) = watch::channel(true);
        tell.send_replace(false);
        tell.send_replace(true);
        tell.send_replace(false);
        drop(tell);
        run(privacy, told).await;
        assert_eq!(std::fs::read_to_string(file).unwrap(), "muted\n");
    }
}

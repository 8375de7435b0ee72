//! The level of a microphone, shown while somebody speaks.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::audio::{self, SourceControl};
use crate::cli::output::stdout;
use crate::config::{MicrophoneConfig, SourceConfig};
use crate::event::RoomAudio;
use crate::metrics::Metrics;

/// How long it is shown.
const TIME: Duration = Duration::from_secs(6);
/// How often it is drawn.
const TICK: Duration = Duration::from_millis(50);
/// The bar begins here, in dB below full scale.
const FLOOR_DB: f32 = -70.0;
/// Speech that is never louder is heard badly.
const QUIET_DB: f32 = -50.0;
/// A room of its own, so that no other microphone is measured.
const ROOM: &str = "setup";

/// Listens to the microphone, draws its level, and says what it means.
///
/// # Errors
/// The output cannot be written.
pub(super) fn show(device: &str) -> std::io::Result<()> {
    listen(device, TIME, "Say something, as loud as you speak in this room:", |_| {})
}

/// The same for some time, with what to say; `take` gets the sound.
///
/// # Errors
/// As [`show`].
pub(super) fn listen(
    device: &str,
    time: Duration,
    request: &str,
    mut take: impl FnMut(RoomAudio),
) -> std::io::Result<()> {
    let control = SourceControl::default();
    let metrics = Metrics::default();
    let (sender, received) = sync_channel(1_000);
    let source = SourceConfig::Microphone(MicrophoneConfig { device: device.into(), room: None });
    let sources = [(ROOM.to_string(), source)];
    let style = ProgressStyle::with_template("{bar:40} {msg}").expect("the template is valid").progress_chars("█▌ ");
    let bar = ProgressBar::new(-FLOOR_DB as u64).with_style(style);
    let room = metrics.rooms.open(&ROOM.into());
    let (mut loudest, mut delivered) = (f32::NEG_INFINITY, false);
    writeln!(stdout(), "{request}")?;
    std::thread::scope(|threads| {
        threads.spawn(|| audio::run(&sources, Path::new(""), sender, &control, &metrics));
        let end = Instant::now() + time;
        while Instant::now() < end {
            // Nobody else takes the sound, and a full channel would count as dropped.
            for sound in received.try_iter() {
                delivered = true;
                take(sound);
            }
            let level = room.level.db();
            loudest = loudest.max(level);
            bar.set_message(format!("{level:.0} dB"));
            bar.set_position((level - FLOOR_DB).clamp(0.0, -FLOOR_DB) as u64);
            std::thread::sleep(TICK);
        }
        control.stop();
    });
    bar.finish_and_clear();
    if !delivered {
        writeln!(stdout(), "It delivers nothing: it may be in use by another program, or away.")
    } else if room.dead.get() || loudest < FLOOR_DB {
        writeln!(stdout(), "It delivers silence: see that it is not muted at itself or in `alsamixer`.")
    } else if loudest < QUIET_DB {
        writeln!(stdout(), "At most {loudest:.0} dB: that is quiet. Move it nearer, or raise its gain in `alsamixer`.")
    } else {
        writeln!(stdout(), "It hears you, at most {loudest:.0} dB.")
    }
}

//! A microphone without hardware: ALSA's `file` plugin reads what is written into a pipe as if a device delivered it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use hearth::config::MicrophoneConfig;
use hearth::event::{AudioGap, GapReason};

use super::*;

/// Set in the process that ALSA was configured for before it started.
const PIPE: &str = "HEARTH_TEST_PIPE";

/// Long enough for any machine. A test that waits for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_microphone_is_captured_muted_and_reopened() {
    let device = "type file\n slave.pcm { type null }\n file \"/dev/null\"\n infile \"PIPE\"\n format \"raw\"";
    with_microphone("a_microphone_is_captured_muted_and_reopened", device, captures_mutes_and_reopens);
}

#[test]
fn a_microphone_array_is_reported_dead_clipping_and_lost() {
    // `multi` has exactly as many channels as it binds. `file` must be on the outside, or it would not be read.
    let channels: String = (0..6).map(|n| format!("bindings.{n} {{ slave a channel {n} }}\n")).collect();
    let device = format!(
        "type file\n file \"/dev/null\"\n infile \"PIPE\"\n format \"raw\"\n slave.pcm {{\n type multi\n \
         slaves.a {{\n channels 6\n pcm {{ type null }}\n }}\n {channels} }}"
    );
    with_microphone("a_microphone_array_is_reported_dead_clipping_and_lost", &device, reports_dead_clipping_and_lost);
}

#[test]
fn a_hanging_driver_delays_neither_mute_nor_stop() {
    let device = "type file\n slave.pcm { type null }\n file \"/dev/null\"\n infile \"PIPE\"\n format \"raw\"";
    with_microphone("a_hanging_driver_delays_neither_mute_nor_stop", device, mutes_and_stops_while_the_driver_hangs);
}

#[test]
fn a_microphone_that_is_plugged_in_after_the_start_is_waited_for() {
    let device = "type file\n slave.pcm { type null }\n file \"/dev/null\"\n infile \"PIPE\"\n format \"raw\"";
    with_microphone("a_microphone_that_is_plugged_in_after_the_start_is_waited_for", device, waits_for_the_microphone);
}

/// Runs `scenario` in a process of its own that has one sound device, `pipe`, which delivers what is written into a named pipe.
fn with_microphone(test: &str, device: &str, scenario: impl FnOnce(&Path)) {
    if let Some(pipe) = std::env::var_os(PIPE) {
        return scenario(Path::new(&pipe));
    }
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("microphone");
    make_pipe(&pipe);
    let config = home.path().join("asound.conf");
    let device = device.replace("PIPE", &pipe.display().to_string());
    let device = format!("pcm.pipe {{\n {device}\n hint {{ show on\n description \"A pipe\" }}\n}}\n");
    std::fs::write(&config, device).unwrap();
    let said = tempfile::tempfile().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("microphone::{test}"), "--nocapture"])
        .env("ALSA_CONFIG_PATH", &config)
        .env(PIPE, &pipe)
        .stdout(said.try_clone().unwrap())
        .stderr(said.try_clone().unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if started.elapsed() > 3 * TIMEOUT {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut text = String::new();
    let mut said = said;
    said.seek(SeekFrom::Start(0)).unwrap();
    said.read_to_string(&mut text).unwrap();
    assert!(status.is_some_and(|status| status.success()) && text.contains("1 passed"), "{status:?}: {text}");
}

fn make_pipe(pipe: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// What the device plays, on a thread of its own. It must be ended even if the test fails, or the test would wait forever.
struct Device<'a> {
    control: &'a SourceControl,
    /// The peak of a tone. Below zero the device delivers nothing, and a read of it blocks.
    loud: AtomicU32,
    over: AtomicBool,
}

impl<'a> Device<'a> {
    fn new(control: &'a SourceControl) -> Self {
        Self { control, loud: AtomicU32::new(0f32.to_bits()), over: AtomicBool::new(false) }
    }

    fn play(&self, loud: f32) {
        self.loud.store(loud.to_bits(), Relaxed);
    }

    fn delivers_nothing(&self) {
        self.play(-1.0);
    }

    /// 20 ms of a tone on so many channels every 2 ms, ten times faster than real time.
    fn run(&self, pipe: &Path, channels: usize) {
        // Opened for reading and writing: opening a pipe for one of them blocks until the other side is open.
        let open = || {
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
                .open(pipe)
        };
        let mut writer = open().unwrap();
        let mut block = Vec::new();
        while !self.over.load(Relaxed) {
            let loud = f32::from_bits(self.loud.load(Relaxed));
            if block.is_empty() && loud >= 0.0 {
                let sample = |n: usize| if (n / 48).is_multiple_of(2) { loud } else { -loud };
                block = (0..960).flat_map(|n| sample(n).to_ne_bytes().repeat(channels)).collect();
            }
            // A device that was plugged in again is another pipe of the same name.
            let same =
                |file: &std::fs::File| pipe.metadata().is_ok_and(|at| at.ino() == file.metadata().unwrap().ino());
            if !same(&writer)
                && let Ok(again) = open()
            {
                writer = again;
                block = Vec::new();
            }
            if let Ok(written) = writer.write(&block) {
                block.drain(..written);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Ends the device and the source, however the test ends.
struct Ends<'a>(&'a Device<'a>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.control.stop();
        self.0.over.store(true, Relaxed);
    }
}

fn reports_dead_clipping_and_lost(pipe: &Path) {
    let control = SourceControl::default();
    let metrics = Metrics::default();
    let device = Device::new(&control);
    std::thread::scope(|threads| {
        let _ends = Ends(&device);
        threads.spawn(|| device.run(pipe, 6));
        // Listing the devices opens the pipe, which blocks until the other side is open.
        let format = self::device();
        assert_eq!((format.rate, format.channels, format.samples.as_str()), (48_000, 6, "f32"));
        let (sender, receiver) = sync_channel(100_000);
        let control = &control;
        let metrics = &metrics;
        let capture = threads.spawn(move || audio::run(&[microphone("pipe")], Path::new(""), sender, control, metrics));
        let room = metrics.rooms.open(&"kitchen".into());
        wait_for("a microphone that only says zero to be told dead", || room.dead.get());
        assert_eq!((room.level.db(), room.clipped_samples.get()), (-120.0, 0));
        assert!(metrics.microphone_ok.get(), "it delivers");

        device.play(0.1);
        wait_for("it to live", || !room.dead.get() && room.level.db() > -25.0);
        assert_eq!(room.clipped_samples.get(), 0);
        device.play(1.0);
        wait_for("clipping to be counted", || room.clipped_samples.get() > 1_000 && room.level.db() > -3.0);

        // Unplugged: it delivers nothing, and for a while there is no device of its name.
        device.delivers_nothing();
        std::fs::remove_file(pipe).unwrap();
        wait_for("the device to be given up", || !metrics.microphone_ok.get());
        device.play(0.1);
        make_pipe(pipe);
        wait_for("the device to deliver again", || metrics.microphone_ok.get());
        let gap = next_gap(&receiver);
        assert!(gap.reason == GapReason::DeviceLost && gap.to.duration_since(gap.from) > jiff::SignedDuration::ZERO);

        control.stop();
        capture.join().unwrap().unwrap();
    });
}

fn waits_for_the_microphone(pipe: &Path) {
    std::fs::remove_file(pipe).unwrap();
    let control = SourceControl::default();
    let metrics = Metrics::default();
    let device = Device::new(&control);
    std::thread::scope(|threads| {
        let _ends = Ends(&device);
        let (sender, receiver) = sync_channel(100_000);
        let control = &control;
        let metrics = &metrics;
        let began = jiff::Timestamp::now();
        let capture = threads.spawn(move || audio::run(&[microphone("pipe")], Path::new(""), sender, control, metrics));
        // By then it has been tried twice: the second attempt is a second after the first.
        std::thread::sleep(Duration::from_secs(2));
        assert!(!capture.is_finished() && !metrics.microphone_ok.get());
        device.play(0.1);
        make_pipe(pipe);
        threads.spawn(|| device.run(pipe, 2));
        wait_for("the device to deliver", || metrics.microphone_ok.get());
        let gap = next_gap(&receiver);
        assert_eq!(gap.reason, GapReason::DeviceLost);
        assert!(gap.from >= began && gap.to > gap.from, "{gap:?}");
        control.stop();
        capture.join().unwrap().unwrap();
    });
}

fn mutes_and_stops_while_the_driver_hangs(pipe: &Path) {
    let control = SourceControl::default();
    let metrics = Metrics::default();
    let device = Device::new(&control);
    std::thread::scope(|threads| {
        let _ends = Ends(&device);
        threads.spawn(|| device.run(pipe, 2));
        device.play(0.1);
        let (sender, receiver) = sync_channel(100_000);
        let control = &control;
        let metrics = &metrics;
        let capture = threads.spawn(move || audio::run(&[microphone("pipe")], Path::new(""), sender, control, metrics));
        wait_for("the device to deliver", || metrics.microphone_ok.get());

        // From here on the driver's read does not return, and the device cannot be closed.
        device.delivers_nothing();
        wait_for("the device to be given up", || !metrics.microphone_ok.get());
        control.set_listening(false);
        wait_for("listening to be off", || !metrics.listening.get());
        control.set_listening(true);
        wait_for("listening to be on", || metrics.listening.get());
        assert!(!metrics.microphone_ok.get() && readers(pipe) == 2, "the driver still holds the device");

        device.play(0.1);
        wait_for("the driver to let go, and the device to deliver again", || metrics.microphone_ok.get());
        let gaps = [(); 3].map(|()| next_gap(&receiver).reason);
        assert_eq!(gaps, [GapReason::DeviceLost, GapReason::Muted, GapReason::DeviceLost]);

        device.delivers_nothing();
        wait_for("the device to be given up again", || !metrics.microphone_ok.get());
        control.stop();
        capture.join().unwrap().unwrap();
        assert_eq!(readers(pipe), 2, "its end did not wait for the driver");
    });
}

fn captures_mutes_and_reopens(pipe: &Path) {
    // Opened for reading and writing: opening a pipe for one of them blocks until the other side is open.
    let mut writer = std::fs::OpenOptions::new().read(true).write(true).open(pipe).unwrap();
    let device = device();
    assert_eq!((device.rate, device.channels, device.samples.as_str()), (48_000, 2, "f32"));

    let control = SourceControl::default();
    let metrics = Metrics::default();
    let speaking = AtomicBool::new(true);
    let over = AtomicBool::new(false);
    let speech = speech();
    std::thread::scope(|threads| {
        // The device: 20 ms of sound every 5 ms, four times faster than real time. While nobody speaks, it delivers nothing.
        let playing = threads.spawn(|| {
            let mut chunks = speech.chunks(960 * 8).chain(std::iter::repeat(&[0; 960 * 8][..]));
            while !over.load(Relaxed) {
                if speaking.load(Relaxed) {
                    writer.write_all(chunks.next().unwrap()).unwrap();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let (sender, receiver) = sync_channel(100_000);
        let source = microphone("pipe");
        let control = &control;
        let metrics = &metrics;
        let capture = threads.spawn(move || audio::run(&[source], Path::new(""), sender, control, metrics));

        transcribe_first_words(&receiver);
        assert!(metrics.microphone_ok.get() && metrics.listening.get());
        assert_eq!(readers(pipe), 2, "the device and this test hold the pipe");

        control.set_listening(false);
        wait_for("the device to be closed", || readers(pipe) == 1);
        assert!(!metrics.listening.get());
        control.set_listening(true);
        assert_eq!(next_gap(&receiver).reason, GapReason::Muted);

        speaking.store(false, Relaxed);
        wait_for("the silent device to be given up", || !metrics.microphone_ok.get());
        speaking.store(true, Relaxed);
        assert_eq!(next_gap(&receiver).reason, GapReason::DeviceLost);
        wait_for("the device to deliver again", || metrics.microphone_ok.get());

        // While the device is still read: writing into a full pipe that nobody reads would block forever.
        over.store(true, Relaxed);
        playing.join().unwrap();
        control.stop();
        capture.join().unwrap().unwrap();
    });
}

fn microphone(device: &str) -> (String, SourceConfig) {
    ("kitchen".into(), SourceConfig::Microphone(MicrophoneConfig { device: device.into(), room: None }))
}

fn device() -> audio::DeviceFormat {
    let devices = audio::devices().unwrap();
    let [device] = &devices[..] else { panic!("one microphone: {devices:?}") };
    assert_eq!((device.name.as_str(), device.description.as_str(), device.default), ("pipe", "A pipe", false));
    device.format.clone().unwrap()
}

/// "Good morning, Emma. How are you?" as the device delivers it: 48 kHz, stereo, floats.
fn speech() -> Vec<u8> {
    let mono: Vec<f32> =
        frames(&root("examples/household.flac"))[..190].iter().flat_map(|frame| frame.samples).collect();
    let between = |pair: &[f32]| [pair[0], (2.0 * pair[0] + pair[1]) / 3.0, (pair[0] + 2.0 * pair[1]) / 3.0];
    mono.windows(2).flat_map(between).flat_map(|sample| sample.to_ne_bytes().repeat(2)).collect()
}

fn transcribe_first_words(receiver: &Receiver<RoomAudio>) {
    let mut pipeline = AsrPipeline::new(whisper());
    let metrics = Metrics::default();
    let mut position = 0;
    loop {
        let sound = receiver.recv_timeout(TIMEOUT).unwrap();
        let AudioEvent::Frame(frame) = &sound.event else { panic!("nothing was lost yet: {sound:?}") };
        assert_eq!(frame.at, position);
        position += 256;
        let heard = utterances(pipeline.push(sound, &metrics).unwrap());
        if let Some(first) = heard.first() {
            assert!(first.text.contains("Good morning"), "{first:?}");
            return;
        }
    }
}

fn next_gap(receiver: &Receiver<RoomAudio>) -> AudioGap {
    loop {
        if let AudioEvent::Gap(gap) = receiver.recv_timeout(TIMEOUT).unwrap().event {
            assert!(gap.from <= gap.to);
            return gap;
        }
    }
}

/// How often this process holds the pipe open.
fn readers(pipe: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.ok()?.path().read_link().ok());
    open.filter(|target| target == pipe).count()
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < TIMEOUT, "timed out waiting for {what}");
        std::thread::yield_now();
    }
}

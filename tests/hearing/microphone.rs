//! A microphone without hardware: ALSA's `file` plugin reads what is written into a pipe as if a device delivered it.

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use hearth::config::Microphone;
use hearth::event::{AudioGap, GapReason};

use super::*;

/// Set in the process that ALSA was configured for before it started.
const PIPE: &str = "HEARTH_TEST_PIPE";

/// Long enough for any machine; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_microphone_is_heard_closed_and_brought_back() {
    let device = "type file\n slave.pcm { type null }\n file \"/dev/null\"\n infile \"PIPE\"\n format \"raw\"";
    with_microphone("a_microphone_is_heard_closed_and_brought_back", device, in_a_house_with_a_microphone);
}

#[test]
fn an_array_is_told_dead_loud_and_gone() {
    let channels: String = (0..6).map(|n| format!("bindings.{n} {{ slave a channel {n} }}\n")).collect();
    let device = format!(
        "type multi\n slaves.a {{\n channels 6\n pcm {{\n type file\n slave.pcm {{ type null }}\n file \"/dev/null\"\n \
         infile \"PIPE\"\n format \"raw\"\n }}\n }}\n {channels}"
    );
    with_microphone("an_array_is_told_dead_loud_and_gone", &device, in_a_house_with_an_array);
}

/// Runs `house` in a process of its own, which has one sound device: `device`, which delivers what is written into a pipe.
fn with_microphone(test: &str, device: &str, house: impl FnOnce(&Path)) {
    if let Some(pipe) = std::env::var_os(PIPE) {
        return house(Path::new(&pipe));
    }
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("microphone");
    make_pipe(&pipe);
    let config = home.path().join("asound.conf");
    let device = device.replace("PIPE", &pipe.display().to_string());
    std::fs::write(&config, format!("pcm.pipe {{\n {device}\n hint {{ show on\n description \"A pipe\" }}\n}}\n"))
        .unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("microphone::{test}"), "--nocapture"])
        .env("ALSA_CONFIG_PATH", &config)
        .env(PIPE, &pipe)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

fn make_pipe(pipe: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// Opened for both, or opening it would wait for the other side.
fn open_pipe(pipe: &Path) -> std::fs::File {
    std::fs::OpenOptions::new().read(true).write(true).open(pipe).unwrap()
}

fn in_a_house_with_an_array(pipe: &Path) {
    let device = device();
    assert_eq!((device.rate, device.channels, device.samples.as_str()), (48_000, 6, "f32"));
    let (control, vitals) = (Control::default(), Vitals::default());
    let (sound, over) = (AtomicU32::new(0f32.to_bits()), AtomicBool::new(false));
    // The device plays a tone as loud as `sound` says, from −x to x; less than nothing is no device.
    let play = || {
        let (mut writer, mut gone) = (open_pipe(pipe), false);
        while !over.load(Relaxed) {
            let loud = f32::from_bits(sound.load(Relaxed));
            if loud < 0.0 {
                gone = true;
            } else {
                if std::mem::take(&mut gone) {
                    writer = open_pipe(pipe);
                }
                let sample = |n: usize| if (n / 48).is_multiple_of(2) { loud } else { -loud };
                let block: Vec<u8> = (0..960).flat_map(|n| sample(n).to_ne_bytes().repeat(6)).collect();
                writer.write_all(&block).unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(play);
        let (sender, receiver) = sync_channel(100_000);
        let (control, vitals) = (&control, &vitals);
        let source = [microphone("pipe")];
        let capture = threads.spawn(move || audio::run(&source, Path::new(""), sender, control, vitals));
        let room = vitals.rooms.open(&"kitchen".into());
        wait_for("a microphone that only says zero to be told dead", || room.dead.get());
        assert_eq!((room.level.db(), room.clipped_samples.get()), (-120.0, 0));
        assert!(vitals.microphone_ok.get(), "it delivers");

        sound.store(0.1f32.to_bits(), Relaxed);
        wait_for("it to live", || !room.dead.get() && room.level.db() > -25.0);
        assert_eq!(room.clipped_samples.get(), 0);
        sound.store(1f32.to_bits(), Relaxed);
        wait_for("clipping to be counted", || room.clipped_samples.get() > 1_000 && room.level.db() > -3.0);

        // Pulled out: for a while its name leads nowhere.
        std::fs::remove_file(pipe).unwrap();
        sound.store((-1f32).to_bits(), Relaxed);
        wait_for("the device to be given up", || !vitals.microphone_ok.get());
        assert!(room.moved.get().is_some());
        make_pipe(pipe);
        sound.store(0.1f32.to_bits(), Relaxed);
        wait_for("the device to deliver again", || vitals.microphone_ok.get());
        let gap = next_gap(&receiver);
        assert!(gap.reason == GapReason::DeviceLost && gap.to.duration_since(gap.from) > jiff::SignedDuration::ZERO);

        control.stop();
        capture.join().unwrap().unwrap();
        over.store(true, Relaxed);
    });
}

fn in_a_house_with_a_microphone(pipe: &Path) {
    let mut writer = open_pipe(pipe);
    let device = device();
    assert_eq!((device.rate, device.channels, device.samples.as_str()), (48_000, 2, "f32"));

    let (control, vitals) = (Control::default(), Vitals::default());
    let (speaking, over) = (AtomicBool::new(true), AtomicBool::new(false));
    let speech = speech();
    std::thread::scope(|threads| {
        // The device: 20 ms of sound every 5 ms, four times as fast as time; while nobody speaks, it delivers nothing.
        threads.spawn(|| {
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
        let (control, vitals) = (&control, &vitals);
        let capture = threads.spawn(move || audio::run(&[source], Path::new(""), sender, control, vitals));

        hears_speech(&receiver);
        assert!(vitals.microphone_ok.get() && vitals.listening.get());
        assert_eq!(readers(pipe), 2, "the device and this test hold the pipe");

        control.set_listening(false);
        wait_for("the device to be closed", || readers(pipe) == 1);
        assert!(!vitals.listening.get());
        control.set_listening(true);
        assert_eq!(next_gap(&receiver).reason, GapReason::Muted);

        speaking.store(false, Relaxed);
        wait_for("the silent device to be given up", || !vitals.microphone_ok.get());
        speaking.store(true, Relaxed);
        assert_eq!(next_gap(&receiver).reason, GapReason::DeviceLost);
        wait_for("the device to deliver again", || vitals.microphone_ok.get());

        control.stop();
        capture.join().unwrap().unwrap();
        over.store(true, Relaxed);
    });

    let gone = microphone("hw:CARD=Gone");
    let (sender, _receiver) = sync_channel(1);
    let error =
        audio::run(&[gone], Path::new(""), sender, &Control::default(), &Vitals::default()).unwrap_err().to_string();
    assert!(error.contains("\"hw:CARD=Gone\"") && error.contains("this machine has pipe"), "{error}");
}

fn microphone(device: &str) -> (String, Source) {
    ("kitchen".into(), Source::Microphone(Microphone { device: device.into(), room: None }))
}

fn device() -> audio::Format {
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

fn hears_speech(receiver: &Receiver<Sound>) {
    let mut hearing = Hearing::new(whisper());
    let vitals = Vitals::default();
    let mut position = 0;
    loop {
        let sound = receiver.recv_timeout(PATIENCE).unwrap();
        let Audio::Frame(frame) = &sound.audio else { panic!("nothing was lost yet: {sound:?}") };
        assert_eq!(frame.at, position);
        position += 256;
        let heard = utterances(hearing.push(sound, &vitals).unwrap());
        if let Some(first) = heard.first() {
            assert!(first.text.contains("Good morning"), "{first:?}");
            return;
        }
    }
}

fn next_gap(receiver: &Receiver<Sound>) -> AudioGap {
    loop {
        if let Audio::Gap(gap) = receiver.recv_timeout(PATIENCE).unwrap().audio {
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
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

//! A microphone without hardware: ALSA's `file` plugin reads what is written into a pipe as if a device delivered it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
    if let Some(pipe) = std::env::var_os(PIPE) {
        return in_a_house_with_a_microphone(Path::new(&pipe));
    }
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("microphone");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let config = home.path().join("asound.conf");
    let microphone = format!(
        "pcm.pipe {{\n type file\n slave.pcm {{ type null }}\n file \"/dev/null\"\n infile \"{}\"\n format \"raw\"\n \
         hint {{ show on\n description \"A pipe\" }}\n}}\n",
        pipe.display()
    );
    std::fs::write(&config, microphone).unwrap();
    let name = "microphone::a_microphone_is_heard_closed_and_brought_back";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("ALSA_CONFIG_PATH", &config)
        .env(PIPE, &pipe)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

fn in_a_house_with_a_microphone(pipe: &Path) {
    // Opened for both, or opening it would wait for the other side.
    let mut writer = std::fs::OpenOptions::new().read(true).write(true).custom_flags(0).open(pipe).unwrap();
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

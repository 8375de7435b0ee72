//! WAV and FLAC files of every format, intact and damaged.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

/// A WAV file: `kind` 1 for integers, 3 for floats. `tone` gives the sample in −1 … 1 at a second.
fn wav(kind: u16, bits: u16, rate: u32, channels: u16, seconds: f64, tone: impl Fn(f64) -> f64) -> Vec<u8> {
    let samples = (0..(seconds * f64::from(rate)) as u32).map(|n| tone(f64::from(n) / f64::from(rate)));
    let encode = |sample: f64| match (kind, bits) {
        (1, 8) => vec![(sample * 127.0 + 128.0) as u8],
        (1, bits) => {
            let whole = (sample * (2f64.powi(i32::from(bits) - 1) - 1.0)) as i32;
            whole.to_le_bytes()[..usize::from(bits / 8)].to_vec()
        }
        (3, 32) => (sample as f32).to_le_bytes().to_vec(),
        (3, 64) => sample.to_le_bytes().to_vec(),
        other => panic!("no such form: {other:?}"),
    };
    let data: Vec<u8> = samples.flat_map(|sample| encode(sample).repeat(channels.into())).collect();
    let align = channels * bits / 8;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend([kind.to_le_bytes(), channels.to_le_bytes()].concat());
    file.extend([rate.to_le_bytes(), (rate * u32::from(align)).to_le_bytes()].concat());
    file.extend([align.to_le_bytes(), bits.to_le_bytes()].concat());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn tone(second: f64) -> f64 {
    0.5 * (second * 300.0 * std::f64::consts::TAU).sin()
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn every_wav_format_gives_the_same_samples() {
    for (kind, bits, rate, channels) in [
        (1, 8, 16_000, 1),
        (1, 16, 16_000, 1),
        (1, 16, 48_000, 2),
        (1, 16, 44_100, 6),
        (1, 24, 16_000, 1),
        (1, 24, 96_000, 2),
        (1, 8, 192_000, 6),
        (1, 32, 8_000, 1),
        (3, 32, 22_050, 2),
        (3, 64, 16_000, 1),
    ] {
        let (_folder, path) = file("a.wav", &wav(kind, bits, rate, channels, 0.512, tone));
        let frames = frames(&path);
        assert_eq!(frames.len(), 32, "{kind} {bits} {rate} {channels}");
        assert_eq!(audio::seconds(&path).unwrap().map(|s| (s * 1e3).round()), Some(512.0));
        for (n, frame) in frames.iter().enumerate() {
            assert_eq!(frame.at, n as i64 * 256);
        }
        let samples: Vec<f32> = frames.iter().flat_map(|frame| frame.samples).collect();
        // The ends of a resampled tone ring; a filter of odd length puts it off by half a sample.
        for (n, sample) in samples.iter().enumerate().skip(800).take(6_600) {
            let wanted = tone(n as f64 / 16_000.0) as f32;
            assert!((sample - wanted).abs() < 0.035, "{kind} {bits} {rate} {channels}: {sample} for {wanted} at {n}");
        }
    }
}

#[test]
fn a_wrong_header_gives_the_samples_that_exist_or_an_error() {
    let whole = wav(1, 16, 16_000, 1, 0.512, tone);
    let lie = |at: usize, bytes: &[u8]| {
        let mut lying = whole.clone();
        lying[at..at + bytes.len()].copy_from_slice(bytes);
        let (_folder, path) = file("a.wav", &lying);
        play(&path).map(|heard| heard.len())
    };
    // Wrong lengths of the file and of the data, bytes per second, rates, channels, bits, and an unknown format.
    let lies: [(usize, &[u8]); 11] = [
        (4, &[0xff; 4]),
        (4, &[0; 4]),
        (40, &[0xff; 4]),
        (40, &[0xff, 0xff, 0xff, 0x7f]),
        (28, &[0xff; 4]),
        (24, &[0xff; 4]),
        (24, &[0; 4]),
        (22, &[0; 2]),
        (34, &[0; 2]),
        (34, &[7, 0]),
        (20, &[0x99, 0x99]),
    ];
    for (at, bytes) in lies {
        match lie(at, bytes) {
            Ok(frames) => assert_eq!(frames, 32, "{bytes:?} at {at}"),
            Err(told) => assert!(told.to_string().len() > 20, "{bytes:?} at {at}: {told}"),
        }
    }
    // More channels than samples must not panic.
    let _ = lie(22, &[0xff; 2]);
}

/// A WAV file with the lengths of its header replaced.
fn streamed(riff: u32, data: u32) -> Vec<u8> {
    let mut bytes = wav(1, 16, 16_000, 1, 0.512, tone);
    bytes[4..8].copy_from_slice(&riff.to_le_bytes());
    bytes[40..44].copy_from_slice(&data.to_le_bytes());
    bytes
}

/// RF64: the lengths are in a chunk of their own, `long` those of the file and of the data.
fn rf64(id: &[u8; 4], long: [u64; 2]) -> Vec<u8> {
    let whole = wav(1, 16, 16_000, 1, 0.512, tone);
    let mut bytes = [&id[..], &[0xff; 4], b"WAVEds64\x1c\0\0\0"].concat();
    bytes.extend(long.map(u64::to_le_bytes).concat());
    bytes.extend([0; 12]);
    bytes.extend(&whole[12..40]);
    bytes.extend([0xff; 4]);
    bytes.extend(&whole[44..]);
    bytes
}

#[test]
fn recordings_that_play_elsewhere_play_here() {
    let length = 36 + 16_384;
    let mut mono_with_list = streamed(u32::MAX, 16_384);
    mono_with_list.extend(b"LIST\x04\0\0\0INFO");
    let recordings = [
        ("the length of the file without its header", streamed(16_384, 16_384)),
        ("the length 8 too small", streamed(length - 8, 16_384)),
        ("no length of the file", streamed(0, 16_384)),
        ("a header that was never finished", streamed(0, 0)),
        ("a header of an empty file that was never corrected", streamed(36, 0)),
        ("a stream", streamed(u32::MAX, u32::MAX)),
        ("a stream, only the data", streamed(length, u32::MAX)),
        ("a stream of sox", streamed(0x7FFF_F024, 0x7FFF_F000)),
        ("a stream of arecord", streamed(0x8000_0024, 0x8000_0000)),
        ("a chunk after the sound", mono_with_list),
        ("RF64", rf64(b"RF64", [16_464, 16_384])),
        ("BW64", rf64(b"BW64", [16_464, 16_384])),
        ("RF64 of a stream", rf64(b"RF64", [0, 0])),
        ("RF64 of a stream, all ones", rf64(b"RF64", [u64::MAX, u64::MAX])),
    ];
    for (name, bytes) in recordings {
        let (_folder, path) = file("a.wav", &bytes);
        let (frames, log) = play_logged(&path);
        assert_eq!((frames, log.as_str()), (32, ""), "{name}");
        assert_eq!(audio::seconds(&path).unwrap().map(|s| (s * 1e3).round()), Some(512.0), "{name}");
    }
}

#[test]
fn a_flac_that_does_not_say_its_smallest_block_is_played() {
    let mut flac = std::fs::read(root("examples/household.flac")).unwrap();
    let sound = |path: &Path| frames(path).iter().map(|frame| (frame.at, frame.samples)).collect::<Vec<_>>();
    flac[8..10].fill(0);
    let (_folder, path) = file("stream.flac", &flac);
    assert!(sound(&path) == sound(&root("examples/household.flac")));
}

#[test]
fn inverted_stereo_is_not_silence() {
    let mut bytes = wav(1, 16, 16_000, 2, 0.512, tone);
    for pair in bytes[44..].chunks_exact_mut(4) {
        let inverted = -i16::from_le_bytes([pair[0], pair[1]]);
        pair[2..].copy_from_slice(&inverted.to_le_bytes());
    }
    let (_folder, path) = file("inverted.wav", &bytes);
    let (_, log) = play_logged(&path);
    assert!(log.contains("WARN") && log.contains("cancel each other"), "{log}");
    let loudest = |frame: &Frame| frame.samples.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    assert!(frames(&path).iter().all(|frame| loudest(frame) > 0.45));
}

#[test]
fn nan_and_infinity_become_silence() {
    let wild = |second: f64| if second < 0.25 { f64::NAN } else { f64::INFINITY };
    let (_folder, path) = file("a.wav", &wav(3, 32, 16_000, 1, 0.512, wild));
    assert!(frames(&path).iter().all(|frame| frame.samples == [0.0; 256]));
}

#[test]
fn a_file_that_is_not_audio_is_refused_with_the_reason() {
    let whole = wav(1, 16, 16_000, 1, 0.1, tone);
    let empty_wav = wav(1, 16, 16_000, 1, 0.0, tone);
    let slow = wav(1, 16, 100, 1, 1.0, tone);
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty.wav", b"", "is empty"),
        (
            "song.mp3",
            b"ID3\x04\0\0\0\0\0\0 not really a song, but long enough to look at",
            "not audio that hearth can read",
        ),
        (
            "notes.txt",
            "We need milk, eggs and tomatoes.".repeat(1_000).leak().as_bytes(),
            "not audio that hearth can read",
        ),
        ("header.wav", &whole[..30], "cannot be read as audio; it may be damaged"),
        ("nothing.wav", &empty_wav, "holds no sound"),
        ("slow.wav", &slow, "100 Hz"),
    ];
    for (name, bytes, message) in cases {
        let (_folder, path) = file(name, bytes);
        let error = play(&path).unwrap_err();
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let error = format!("{error}: {why}");
        assert!(error.contains(message) && error.contains(name), "{name}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(play(folder.path()).unwrap_err().to_string().contains("is a folder"));
    let missing = play(&folder.path().join("gone.wav")).unwrap_err();
    assert!(missing.to_string().contains("gone.wav"), "{missing}");
    assert!(std::error::Error::source(&missing).is_some());
}

/// Where a test's log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Plays a file on this thread. Returns the number of frames and what was logged.
fn play_logged(path: &Path) -> (usize, String) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let frames = tracing::subscriber::with_default(subscriber, || frames(path).len());
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (frames, text)
}

#[test]
fn a_truncated_file_is_read_as_far_as_it_goes() {
    let whole = wav(1, 16, 16_000, 1, 4.0, tone);
    let (_folder, path) = file("short.wav", &whole[..44 + 2 * 16_000 * 3 + 1]);
    let (frames, log) = play_logged(&path);
    assert_eq!(frames, 188);
    assert!(log.contains("WARN") && log.contains("cut short") && log.contains("short.wav"), "{log}");
    assert!(log.contains("second=\"3.0\""), "{log}");

    let flac = std::fs::read(root("examples/household.flac")).unwrap();
    let (_folder, path) = file("short.flac", &flac[..flac.len() / 2]);
    let (frames, log) = play_logged(&path);
    assert!((2_000..4_500).contains(&frames), "{frames}");
    assert!(log.contains("cut short") && log.contains("short.flac"), "{log}");
}

#[test]
fn a_damaged_flac_keeps_its_time() {
    let mut flac = std::fs::read(root("examples/household.flac")).unwrap();
    let whole = frames(&root("examples/household.flac")).len();
    let middle = flac.len() / 2;
    flac[middle..middle + 3_000].fill(0x55);
    let (_folder, path) = file("damaged.flac", &flac);
    let (heard, log) = play_logged(&path);
    assert_eq!(heard, whole, "{log}");
    assert!(log.contains("damaged.flac"), "{log}");
}

#[test]
fn a_whole_file_gives_no_warning() {
    let (frames, log) = play_logged(&root("examples/household.flac"));
    assert!(frames > 6_000);
    assert_eq!(log, "");
}

/// Starts a source of its own thread; returns what it delivers and how it ended.
fn start(
    pace: PlaybackPace,
    control: Arc<SourceControl>,
) -> (std::sync::mpsc::Receiver<RoomAudio>, std::thread::JoinHandle<bool>) {
    let (sender, receiver) = sync_channel(4);
    let source = playing(Path::new("examples/household.flac"), pace);
    let run = move || audio::run(&[source], &root(""), sender, &control, &Metrics::default()).is_ok();
    (receiver, std::thread::spawn(run))
}

#[test]
fn in_real_time_a_file_takes_its_time_and_can_be_stopped() {
    let control = Arc::new(SourceControl::default());
    let started = Instant::now();
    let (receiver, source) = start(PlaybackPace::RealTime, control.clone());
    assert_eq!(receiver.iter().take(20).count(), 20);
    assert!(started.elapsed() >= Duration::from_millis(20 * 16), "a frame came before it was over");
    control.stop();
    let rest = receiver.iter().count();
    assert!(source.join().unwrap());
    assert!(rest < 1_000, "{rest} frames after it was told to stop");
}

#[test]
fn a_source_ends_when_the_receiver_is_gone() {
    let (receiver, source) = start(PlaybackPace::Fast, Arc::default());
    assert!(receiver.recv().is_ok());
    drop(receiver);
    assert!(source.join().unwrap());
}

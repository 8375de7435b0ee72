//! Tells when standard input is not what the config says: a file with a header, or samples of another width.
//!
//! The hint is for the log alone. Whatever comes is played as the config says, so a wrong guess does no harm.

/// Bytes near silence are counted in blocks of at least so many bytes.
const LEAST: usize = 1 << 12;
/// Bytes as the highest of a sample: below an eighth of full scale, as most of every recording is.
const QUIET: f64 = 0.9;
/// The same for bytes without a meaning of their own. One in eight of evenly distributed bytes looks quiet.
const NOISE: f64 = 0.5;

/// What the stream begins with, if it is a file with a header.
pub(super) fn container(bytes: &[u8]) -> Option<String> {
    let at = |from: usize, text: &[u8]| bytes.get(from..).is_some_and(|rest| rest.starts_with(text));
    let riff = at(0, b"RIFF") || at(0, b"RF64") || at(0, b"BW64");
    if riff && at(8, b"WAVE") {
        return Some(wave(bytes));
    }
    let others: [(&[u8], &str); 4] =
        [(b"fLaC", "a FLAC file"), (b"OggS", "an Ogg file"), (b"ID3", "an MP3 file"), (b"FORM", "an AIFF file")];
    others.iter().find(|(mark, _)| at(0, mark)).map(|(_, name)| (*name).to_owned())
}

/// Describes a WAV file whose format comes first, as it does in nearly all.
fn wave(bytes: &[u8]) -> String {
    let (Some(b"fmt "), Some(format)) = (bytes.get(12..16), bytes.get(20..36)) else { return "a WAV file".into() };
    let short = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    let rate = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
    format!("a WAV file of {rate} Hz, {} channels and {} bits", short(2), short(14))
}

/// What the samples seem to be, if they are not signed 16-bit little-endian ones. `bytes` begins with a sample.
pub(super) fn other_width(bytes: &[u8], channels: usize) -> Option<&'static str> {
    // A microphone that delivers nothing yet says nothing of its width.
    if bytes.len() < LEAST || bytes.iter().filter(|byte| **byte != 0).count() < bytes.len() / 8 {
        return None;
    }
    let share = |period: usize, phase: usize, is: fn(u8) -> bool| {
        let of_phase = || bytes.iter().skip(phase).step_by(period);
        of_phase().filter(|byte| is(**byte)).count() as f64 / of_phase().count() as f64
    };
    // The highest byte of a quiet sample is near 0, from above or below.
    let quiet = |period: usize, phase: usize| share(period, phase, |byte| byte.wrapping_add(16) < 32);
    let zero = |phase: usize| share(4, phase, |byte| byte == 0);
    if is_float(bytes) {
        return Some("32-bit floating-point samples");
    }
    // Around 128 in every byte: 16-bit samples like that are at full scale.
    if share(1, 0, |byte| (96..160).contains(&byte)) > QUIET {
        return Some("8-bit samples");
    }
    let padded = channels == 1 && zero(0) > 0.99 && zero(1) > 0.99;
    let wide = quiet(4, 3) > QUIET && quiet(4, 1) < NOISE;
    if padded || wide {
        return Some("32-bit samples");
    }
    if (0..3).any(|last| quiet(3, last) > QUIET && quiet(3, (last + 1) % 3) < NOISE && quiet(3, (last + 2) % 3) < 0.8) {
        return Some("24-bit samples");
    }
    (quiet(2, 0) > QUIET && quiet(2, 1) < NOISE).then_some("big-endian samples")
}

/// Nearly every four bytes are a number of a recording: not above 1, and neither 0 nor tiny. As 16-bit samples they would be at least a
/// tenth of full scale, and never quiet.
fn is_float(bytes: &[u8]) -> bool {
    let (words, _) = bytes.as_chunks::<4>();
    let numbers = words.iter().map(|word| f32::from_le_bytes(*word).abs()).filter(|number| *number != 0.0);
    let (mut all, mut plausible) = (0, 0);
    for number in numbers {
        all += 1;
        plausible += usize::from((1e-7..=1.0).contains(&number));
    }
    all > LEAST / 16 && plausible as f64 > QUIET * all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice-like tone with noise, at a tenth of full scale, as every width holds it.
    fn samples(count: u32) -> Vec<f64> {
        let mut random = 1u32;
        let noise = |random: &mut u32| {
            *random ^= *random << 13;
            *random ^= *random >> 17;
            *random ^= *random << 5;
            f64::from(*random as i32) / f64::from(i32::MAX) * 0.002
        };
        (0..count)
            .map(|n| {
                let time = f64::from(n) / 16_000.0;
                let syllable = (time * 4.0 * std::f64::consts::TAU).sin().abs();
                0.1 * syllable * (time * 170.0 * std::f64::consts::TAU).sin() + noise(&mut random)
            })
            .collect()
    }

    fn encoded(encode: impl Fn(f64) -> Vec<u8>) -> Vec<u8> {
        samples(16_000).into_iter().flat_map(encode).collect()
    }

    #[test]
    fn samples_of_another_width_are_noticed() {
        let whole = |bits: u32| move |sample: f64| (sample * f64::from(1u32 << (bits - 1))) as i32;
        let widths: [(Vec<u8>, Option<&str>); 7] = [
            (encoded(|sample| (whole(16)(sample) as i16).to_le_bytes().to_vec()), None),
            (encoded(|sample| (whole(16)(sample) as i16).to_be_bytes().to_vec()), Some("big-endian samples")),
            (encoded(|sample| whole(24)(sample).to_le_bytes()[..3].to_vec()), Some("24-bit samples")),
            (encoded(|sample| whole(32)(sample).to_le_bytes().to_vec()), Some("32-bit samples")),
            (encoded(|sample| (whole(16)(sample) << 16).to_le_bytes().to_vec()), Some("32-bit samples")),
            (encoded(|sample| (sample as f32).to_le_bytes().to_vec()), Some("32-bit floating-point samples")),
            (encoded(|sample| vec![(sample * 127.0 + 128.0) as u8]), Some("8-bit samples")),
        ];
        for (bytes, width) in &widths {
            assert_eq!(other_width(bytes, 1), *width);
        }
        let stereo = encoded(|sample| [(whole(16)(sample) as i16).to_le_bytes(); 2].concat());
        assert_eq!(other_width(&stereo, 2), None);
        let one_side = encoded(|sample| [[0; 2], (whole(16)(sample) as i16).to_le_bytes()].concat());
        assert_eq!(other_width(&one_side, 2), None, "a channel without a microphone");
        assert_eq!(other_width(&[0; 10_000], 1), None);
    }

    #[test]
    fn quiet_and_loud_samples_of_the_right_width_give_no_hint() {
        for gain in [0.003, 0.05, 1.0, 9.0, 30.0] {
            let loud = |sample: f64| ((sample * gain).clamp(-1.0, 1.0) * 32_767.0) as i16;
            let bytes = encoded(|sample| loud(sample).to_le_bytes().to_vec());
            assert_eq!(other_width(&bytes, 1), None, "{gain}");
        }
    }

    #[test]
    fn a_file_with_a_header_is_named() {
        let mut wav =
            b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x02\0\x80\xbb\0\0\0\xee\x02\0\x04\0\x10\0data".to_vec();
        assert_eq!(container(&wav).unwrap(), "a WAV file of 48000 Hz, 2 channels and 16 bits");
        wav.truncate(18);
        assert_eq!(container(&wav).unwrap(), "a WAV file");
        assert_eq!(container(b"fLaC\0\0\0\x22").unwrap(), "a FLAC file");
        assert_eq!(container(&[0; 64]), None);
        assert_eq!(container(b"RI"), None);
    }
}

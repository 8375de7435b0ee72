//! From the samples of a source to frames: mixes down to one channel, resamples to 16 kHz, and cuts frames with their positions and
//! wall times.
//!
//! Every sample of a frame is a number in −1 … 1, and positions only count up.

use jiff::{SignedDuration, Timestamp};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _};

use super::AudioError;
use super::downmix::Downmix;
use crate::clock::{SAMPLE_RATE, SampleClock, SamplePos};
use crate::event::{FRAME_SAMPLES, Frame};

/// Sample rates that are accepted, in Hz. A rate outside is a mistake in the config.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Input samples that the resampler takes at a time, which is also the length of its filter: 21 ms at 48 kHz.
const CHUNK: usize = 1024;

/// Turns interleaved samples of a source into frames.
pub(super) struct Framer {
    downmix: Downmix,
    resampler: Option<Resampler>,
    clock: SampleClock,
    /// Position of the first sample of `pending`.
    position: SamplePos,
    /// Samples at 16 kHz that do not fill a frame yet.
    pending: Vec<f32>,
    mono: Vec<f32>,
}

impl Framer {
    /// A framer for a source at `rate` Hz, whose next sample is the one at `position` of `clock`.
    ///
    /// # Errors
    /// There are no channels, or the rate is out of range.
    pub(super) fn new(rate: u32, channels: usize, clock: SampleClock, position: SamplePos) -> Result<Self, AudioError> {
        if channels == 0 {
            return Err(AudioError::NoChannels);
        }
        if !RATES.contains(&rate) {
            return Err(AudioError::Rate { rate });
        }
        let resampler = (rate != SAMPLE_RATE).then(|| Resampler::new(rate)).transpose()?;
        let downmix = Downmix::new(channels, rate);
        Ok(Self { downmix, resampler, clock, position, pending: Vec::new(), mono: Vec::new() })
    }

    /// The position after the last sample that was taken.
    pub(super) fn position(&self) -> SamplePos {
        self.position + self.pending.len() as i64
    }

    pub(super) fn clock(&self) -> SampleClock {
        self.clock
    }

    /// Tells the clock that the last sample taken was recorded at `now`. Returns by how much the clock was moved, if it was.
    pub(super) fn observe(&mut self, now: Timestamp) -> Option<SignedDuration> {
        let position = self.position();
        self.clock.observe(position, now)
    }

    /// Leaves out `samples` at 16 kHz that were not recorded. Samples that do not fill a frame yet are lost with them.
    pub(super) fn skip(&mut self, samples: i64) {
        self.position += self.pending.len() as i64 + samples;
        self.pending.clear();
    }

    /// Takes interleaved samples of all channels. A frame comes out with every 256th sample at 16 kHz.
    pub(super) fn push(&mut self, interleaved: &[f32], mut out: impl FnMut(Frame)) {
        self.mono.clear();
        self.downmix.mix(interleaved, &mut self.mono);
        match &mut self.resampler {
            Some(resampler) => resampler.push(&self.mono, &mut self.pending),
            None => self.pending.extend_from_slice(&self.mono),
        }
        self.cut(&mut out);
    }

    /// The end of the stream: what is left comes out, the last frame filled up with silence.
    pub(super) fn finish(mut self, mut out: impl FnMut(Frame)) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.pending);
        }
        let whole = self.pending.len().next_multiple_of(FRAME_SAMPLES);
        self.pending.resize(whole, 0.0);
        self.cut(&mut out);
    }

    fn cut(&mut self, out: &mut impl FnMut(Frame)) {
        let (whole, _) = self.pending.as_chunks::<FRAME_SAMPLES>();
        for samples in whole {
            // The resampler's filter overshoots a little at full scale.
            let samples = samples.map(|sample| sample.clamp(-1.0, 1.0));
            out(Frame { at: self.position, time: self.clock.time(self.position), samples });
            self.position += FRAME_SAMPLES as i64;
        }
        let used = whole.len() * FRAME_SAMPLES;
        self.pending.drain(..used);
    }
}

/// Resamples one channel to 16 kHz without delay: the filter's delay is cut off at the start and made up for at the end. Sample `n` of
/// the input is sample `n · 16000 / rate` of the output, to within half a sample at the lower of the two rates.
struct Resampler {
    fft: Fft<f32>,
    rate: u32,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Output samples still to be cut off.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    fn new(rate: u32) -> Result<Self, AudioError> {
        let fft = Fft::new(rate as usize, SAMPLE_RATE as usize, CHUNK, 1, FixedSync::Input)
            .map_err(|_| AudioError::Rate { rate })?;
        let delay = fft.output_delay();
        let output = vec![0.0; fft.output_frames_max()];
        Ok(Self { fft, rate, input: Vec::new(), output, delay, taken: 0, given: 0 })
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        self.input.extend_from_slice(samples);
        let mut used = 0;
        while self.input.len() - used >= CHUNK {
            self.step(used, None, out);
            used += CHUNK;
        }
        self.input.drain(..used);
    }

    fn finish(&mut self, out: &mut Vec<f32>) {
        let due = self.taken * u64::from(SAMPLE_RATE) / u64::from(self.rate);
        let left = self.input.len();
        self.input.resize(CHUNK, 0.0);
        let mut partial = left;
        while self.given < due {
            self.step(0, Some(partial), out);
            partial = 0;
        }
        out.truncate(out.len() - (self.given - due) as usize);
    }

    fn step(&mut self, from: usize, partial: Option<usize>, out: &mut Vec<f32>) {
        const FITS: &str = "the buffers hold what the resampler asked for";
        let input = InterleavedSlice::new(&self.input[from..from + CHUNK], 1, CHUNK).expect(FITS);
        let capacity = self.output.len();
        let mut output = InterleavedSlice::new_mut(&mut self.output, 1, capacity).expect(FITS);
        let part = partial.map(|samples| Indexing::new().partial_len(samples));
        let (_, written) = self.fft.process_into_buffer(&input, &mut output, part.as_ref()).expect(FITS);
        let cut = self.delay.min(written);
        self.delay -= cut;
        self.given += (written - cut) as u64;
        out.extend_from_slice(&self.output[cut..written]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framer(rate: u32, channels: usize) -> Framer {
        Framer::new(rate, channels, SampleClock::starting_at(Timestamp::UNIX_EPOCH), 0).unwrap()
    }

    fn tone(rate: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| 0.5 * (n as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin()).collect()
    }

    fn run(mut framer: Framer, samples: &[f32], chunk: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        samples.chunks(chunk).for_each(|part| framer.push(part, |frame| frames.push(frame)));
        framer.finish(|frame| frames.push(frame));
        frames
    }

    #[test]
    fn resampling_keeps_the_time_of_every_sample() {
        for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000] {
            let frames = run(framer(rate, 1), &tone(rate, rate as usize * 2), 700);
            assert_eq!(frames.len(), 125, "{rate} Hz: two seconds are 125 frames");
            let heard: Vec<f32> = frames.iter().flat_map(|frame| frame.samples).collect();
            let wanted = tone(SAMPLE_RATE, heard.len());
            // The edges ring; between them the tone is where it was, to half a sample of the slower side.
            let slope = 0.5 * 440.0 * std::f32::consts::TAU / rate.min(SAMPLE_RATE) as f32;
            for n in 1_600..heard.len() - 1_600 {
                assert!(
                    (heard[n] - wanted[n]).abs() < 0.01 + slope / 2.0,
                    "{rate} Hz: sample {n} is {} for {}",
                    heard[n],
                    wanted[n]
                );
            }
        }
    }

    #[test]
    fn nan_and_infinity_become_silence_and_values_out_of_range_are_clipped() {
        let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -7.0, 0.25];
        let frames = run(framer(16_000, 1), &wild, 6);
        assert_eq!(frames[0].samples[..6], [0.0, 0.0, 0.0, 1.0, -1.0, 0.25]);
        let frames = run(framer(48_000, 2), &[f32::NAN; 9_600], 100);
        assert!(frames.iter().all(|frame| frame.samples == [0.0; FRAME_SAMPLES]));
    }

    #[test]
    fn channels_are_mixed_evenly() {
        let frames = run(framer(16_000, 2), &[1.0, 0.0, 0.5, -0.5], 2);
        assert_eq!(frames[0].samples[..3], [0.5, 0.0, 0.0]);
    }

    #[test]
    fn a_sample_rate_out_of_range_is_an_error() {
        for rate in [0, 1, 3_999, 1_000_000] {
            let error = Framer::new(rate, 1, SampleClock::starting_at(Timestamp::UNIX_EPOCH), 0).err().unwrap();
            assert!(matches!(error, AudioError::Rate { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_makes_the_same_frames(chunk in 1usize..3_000, rate in prop::sample::select(vec![16_000u32, 44_100])) {
            let samples = tone(rate, 20_000);
            prop_assert_eq!(run(framer(rate, 1), &samples, chunk), run(framer(rate, 1), &samples, 20_000));
        }

        #[test]
        fn positions_count_up_without_a_hole(samples in 0usize..9_000, rate in 4_000u32..50_000) {
            let frames = run(framer(rate, 1), &tone(rate, samples), 512);
            for (n, frame) in frames.iter().enumerate() {
                prop_assert_eq!(frame.at, (n * FRAME_SAMPLES) as i64);
                prop_assert_eq!(frame.time, SampleClock::starting_at(Timestamp::UNIX_EPOCH).time(frame.at));
            }
            let due = samples * SAMPLE_RATE as usize / rate as usize;
            prop_assert_eq!(frames.len(), due.div_ceil(FRAME_SAMPLES));
        }
    }
}

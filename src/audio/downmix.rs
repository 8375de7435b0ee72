//! From several channels to one.
//!
//! The channels are averaged. Where they cancel each other, as with a microphone whose two wires are swapped on one side, the average
//! is silence although somebody speaks: then the loudest channel is taken alone.

/// The powers are averaged over so many seconds.
const MEMORY_S: f32 = 0.1;
/// The channels cancel each other when the power of their average is below this share of what it is for channels that have nothing in
/// common …
const CANCELLED: f32 = 0.1;
/// … and do so no longer when it is above this.
const RESTORED: f32 = 0.3;

pub(super) struct Downmix {
    channels: usize,
    /// The weight of the newest sample in the averages.
    weight: f32,
    /// The power of each channel, and of their average.
    powers: Vec<f32>,
    mixed_power: f32,
    /// The channel that is taken alone.
    alone: Option<usize>,
    warned: bool,
}

impl Downmix {
    pub(super) fn new(channels: usize, rate: u32) -> Self {
        let weight = 1.0 / (MEMORY_S * rate as f32);
        Self { channels, weight, powers: vec![0.0; channels], mixed_power: 0.0, alone: None, warned: false }
    }

    /// Appends one sample for each of the interleaved samples of all channels. A driver or a broken file may deliver NaN, infinity or
    /// values out of range: the result is within −1 … 1.
    pub(super) fn mix(&mut self, interleaved: &[f32], mono: &mut Vec<f32>) {
        let scale = 1.0 / self.channels as f32;
        for samples in interleaved.chunks_exact(self.channels) {
            let sum: f32 = samples.iter().sum();
            let mean = if sum.is_finite() { (sum * scale).clamp(-1.0, 1.0) } else { 0.0 };
            if self.channels > 1 && sum.is_finite() {
                self.observe(samples, mean);
            }
            mono.push(match self.alone {
                Some(channel) if samples[channel].is_finite() => samples[channel].clamp(-1.0, 1.0),
                Some(_) => 0.0,
                None => mean,
            });
        }
    }

    fn observe(&mut self, samples: &[f32], mean: f32) {
        for (power, sample) in self.powers.iter_mut().zip(samples) {
            *power += self.weight * (sample.clamp(-1.0, 1.0).powi(2) - *power);
        }
        self.mixed_power += self.weight * (mean * mean - self.mixed_power);
        let unrelated = self.powers.iter().sum::<f32>() / (self.channels as f32).powi(2);
        let share = if unrelated > 0.0 { self.mixed_power / unrelated } else { 1.0 };
        if share < CANCELLED && self.alone.is_none() {
            self.alone = (0..self.channels).max_by(|a, b| self.powers[*a].total_cmp(&self.powers[*b]));
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(
                    "the channels of the sound cancel each other, so the loudest is taken alone; see whether one microphone is connected the wrong way round"
                );
            }
        } else if share > RESTORED {
            self.alone = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(channels: usize, interleaved: &[f32]) -> Vec<f32> {
        let mut mono = Vec::new();
        Downmix::new(channels, 16_000).mix(interleaved, &mut mono);
        mono
    }

    fn tone(n: usize, hz: f32) -> f32 {
        0.5 * (n as f32 * hz * std::f32::consts::TAU / 16_000.0).sin()
    }

    #[test]
    fn inverted_channels_give_the_louder_one() {
        let inverted: Vec<f32> = (0..16_000).flat_map(|n| [0.9 * tone(n, 300.0), -tone(n, 300.0)]).collect();
        let heard = mixed(2, &inverted);
        // Which one is louder is known after the first samples.
        assert!(heard.iter().enumerate().skip(16).all(|(n, sample)| *sample == -tone(n, 300.0)));
    }

    #[test]
    fn other_channels_are_averaged() {
        let alike: Vec<f32> = (0..16_000).flat_map(|n| [tone(n, 300.0); 2]).collect();
        assert!(mixed(2, &alike).iter().enumerate().all(|(n, sample)| *sample == tone(n, 300.0)));
        let one_of_six: Vec<f32> = (0..16_000).flat_map(|n| [tone(n, 300.0), 0.0, 0.0, 0.0, 0.0, 0.0]).collect();
        let sixth = |(n, sample): (usize, &f32)| (*sample - tone(n, 300.0) / 6.0).abs() < 1e-6;
        assert!(mixed(6, &one_of_six).iter().enumerate().all(sixth));
        let different: Vec<f32> = (0..16_000).flat_map(|n| [tone(n, 300.0), -tone(n, 470.0)]).collect();
        let mean = |(n, sample): (usize, &f32)| (*sample - (tone(n, 300.0) - tone(n, 470.0)) / 2.0).abs() < 1e-6;
        assert!(mixed(2, &different).iter().enumerate().skip(400).all(mean));
    }
}

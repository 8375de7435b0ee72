//! Measures the level of a room's audio: root mean square, clipping, and whether the microphone is dead.

use crate::clock::SAMPLE_RATE;
use crate::event::FRAME_SAMPLES;
use crate::metrics::RoomMetrics;

/// Frames over which the level is taken: a second.
const FRAMES: usize = SAMPLE_RATE as usize / FRAME_SAMPLES;
/// From this value on a sample counts as clipped. A clipped sample may be a little below 1: the resampler changes it, and an
/// integer format has one step less above zero than below.
const CLIPPED: f32 = 0.995;
/// Half a step of 16 bits. What varies by less is not sound, whatever its constant offset.
const STILL: f32 = 0.5 / 32_768.0;
/// So many frames without sound mean a dead microphone: ten seconds.
const DEAD: usize = 10 * FRAMES;

/// Measures one stream.
#[derive(Default)]
pub(super) struct LevelMeter {
    power: f32,
    frames: usize,
    still: usize,
    /// The last sample before the audio became still.
    still_value: f32,
}

impl LevelMeter {
    /// Takes the next frame. True when the microphone is found dead with this frame.
    pub(super) fn measure(&mut self, samples: &[f32; FRAME_SAMPLES], room: &RoomMetrics) -> bool {
        let clipped = samples.iter().filter(|sample| sample.abs() >= CLIPPED).count();
        if clipped > 0 {
            room.clipped_samples.add(clipped as u64);
        }
        let mean = samples.iter().sum::<f32>() / FRAME_SAMPLES as f32;
        self.power += samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f32>() / FRAME_SAMPLES as f32;
        self.frames += 1;
        if self.frames == FRAMES {
            room.level.set((self.power / FRAMES as f32).sqrt());
            self.power = 0.0;
            self.frames = 0;
        }
        let still = samples.iter().all(|sample| (sample - self.still_value).abs() < STILL);
        self.still = if still { self.still + 1 } else { 0 };
        if !still {
            self.still_value = samples[FRAME_SAMPLES - 1];
        }
        room.dead.set(self.still >= DEAD);
        self.still == DEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metrics of a room after so many frames of `sample`, and how often it was found dead.
    fn measure(frames: usize, sample: impl Fn(usize) -> f32) -> (RoomMetrics, usize) {
        let room = RoomMetrics::default();
        let mut level_meter = LevelMeter::default();
        let dead = (0..frames).filter(|n| {
            let samples = std::array::from_fn(|i| sample(n * FRAME_SAMPLES + i));
            level_meter.measure(&samples, &room)
        });
        let dead = dead.count();
        (room, dead)
    }

    fn sine(n: usize) -> f32 {
        (n as f32 * 0.1).sin()
    }

    #[test]
    fn the_level_is_the_rms_of_the_last_second_without_a_constant_offset() {
        let (room, _) = measure(2 * FRAMES, |n| 0.3 + 0.1 * sine(n));
        assert!((room.level.db() - (-23.0)).abs() < 0.2, "{} dB", room.level.db());
        assert_eq!(room.clipped_samples.get(), 0);
        assert_eq!(measure(FRAMES, |_| 0.0).0.level.db(), -120.0);
        assert_eq!(RoomMetrics::default().level.db(), -120.0);
    }

    #[test]
    fn clipped_samples_are_counted() {
        let (room, _) = measure(FRAMES, |n| (2.0 * sine(n)).clamp(-1.0, 1.0));
        let share = room.clipped_samples.get() as f32 / (FRAMES * FRAME_SAMPLES) as f32;
        assert!((share - 2.0 / 3.0).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_dead_microphone_is_reported_once_and_a_quiet_room_is_not_dead() {
        for offset in [0.0, 0.1] {
            let (room, told) = measure(3 * DEAD, |_| offset);
            assert!(room.dead.get() && told == 1, "offset {offset}: told {told} times");
        }
        // The noise of a good converter, a step of 16 bits now and then.
        let (room, told) = measure(3 * DEAD, |n| if n.is_multiple_of(5_000) { 1.0 / 32_768.0 } else { 0.0 });
        assert!(!room.dead.get() && told == 0);
        let (room, told) = measure(DEAD + 1, |n| if n < DEAD * FRAME_SAMPLES { 0.0 } else { 0.01 * sine(n) });
        assert!(!room.dead.get() && told == 1, "it delivers sound again");
    }
}

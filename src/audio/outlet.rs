//! The ways out of a source.
//!
//! Owns what becomes of a frame whose receiver is slow, and of frames nobody may hear. Refuses to know where they come from.
//! Invariant: what was not passed on is told as a gap before the next frame is.

use std::ops::ControlFlow;
use std::sync::mpsc::{SyncSender, TrySendError};

use jiff::Timestamp;

use super::Control;
use crate::event::{Audio, AudioGap, FRAME_SAMPLES, Frame, GapReason};
use crate::vitals::Vitals;

/// The way out of a source that can wait: passes frames on, or throws them away while the household does not listen.
pub(super) struct Gate<'a> {
    out: SyncSender<Audio>,
    control: &'a Control,
    vitals: &'a Vitals,
    muted_from: Option<Timestamp>,
}

impl<'a> Gate<'a> {
    pub(super) fn new(out: SyncSender<Audio>, control: &'a Control, vitals: &'a Vitals) -> Self {
        Self { out, control, vitals, muted_from: None }
    }

    /// Breaks when nobody receives any more.
    pub(super) fn pass(&mut self, frame: Frame) -> ControlFlow<()> {
        let listening = self.control.listening();
        self.vitals.capture_moved.mark();
        self.vitals.microphone_ok.set(true);
        self.vitals.listening.set(listening);
        if !listening {
            self.muted_from.get_or_insert(frame.time);
            return ControlFlow::Continue(());
        }
        if let Some(from) = self.muted_from.take() {
            self.send(Audio::Gap(AudioGap { from, to: frame.time, reason: GapReason::Muted }))?;
        }
        self.send(Audio::Frame(Box::new(frame)))
    }

    fn send(&self, audio: Audio) -> ControlFlow<()> {
        match self.out.send(audio) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// The way out of a source that cannot wait.
pub(super) struct Line<'a> {
    out: SyncSender<Audio>,
    vitals: &'a Vitals,
    /// Since when nothing was passed on, and why.
    gap: Option<(Timestamp, GapReason)>,
}

impl<'a> Line<'a> {
    pub(super) fn new(out: SyncSender<Audio>, vitals: &'a Vitals) -> Self {
        Self { out, vitals, gap: None }
    }

    /// Something is not heard at the moment, or was not until now.
    pub(super) fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Passes a frame on, after the gap before it; drops it when the receiver is behind. False when nobody receives any more.
    pub(super) fn pass(&mut self, frame: Frame) -> bool {
        if let Some((from, reason)) = self.gap {
            match self.out.try_send(Audio::Gap(AudioGap { from, to: frame.time, reason })) {
                Ok(()) => self.gap = None,
                Err(TrySendError::Full(_)) => {
                    self.drop_samples(FRAME_SAMPLES as u64, from);
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        let time = frame.time;
        match self.out.try_send(Audio::Frame(Box::new(frame))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.drop_samples(FRAME_SAMPLES as u64, time),
            Err(TrySendError::Disconnected(_)) => return false,
        }
        true
    }

    pub(super) fn drop_samples(&mut self, samples: u64, from: Timestamp) {
        self.vitals.dropped_samples.add(samples);
        if self.gap.is_none() {
            tracing::warn!("hearing is too slow for the microphone; sound is being dropped");
            self.gap = Some((from, GapReason::Overload));
        }
    }

    pub(super) fn lose(&mut self) {
        self.vitals.microphone_ok.set(false);
        self.begin_gap(GapReason::DeviceLost);
    }

    /// The end of the stream: what was not heard until now is told, if the receiver has room for it.
    pub(super) fn close(self) {
        if let Some((from, reason)) = self.gap {
            let _ = self.out.try_send(Audio::Gap(AudioGap { from, to: Timestamp::now(), reason }));
        }
    }

    /// From now on nothing is heard for another reason than before.
    pub(super) fn begin_gap(&mut self, reason: GapReason) {
        let now = Timestamp::now();
        match self.gap {
            Some((_, before)) if before == reason => {}
            Some((from, before)) => {
                let told = self.out.try_send(Audio::Gap(AudioGap { from, to: now, reason: before }));
                // A receiver that is too far behind to be told gets one gap for both.
                if told.is_ok() {
                    self.gap = Some((now, reason));
                }
            }
            None => self.gap = Some((now, reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SampleClock, SamplePos};
    use std::sync::mpsc::sync_channel;

    fn frame(at: SamplePos) -> Frame {
        let time = SampleClock::starting_at(Timestamp::UNIX_EPOCH).time(at);
        Frame { at, time, samples: [0.0; FRAME_SAMPLES] }
    }

    #[test]
    fn a_slow_receiver_loses_frames_and_is_told_which() {
        let vitals = Vitals::default();
        let (out, received) = sync_channel(2);
        let mut line = Line::new(out, &vitals);
        assert!((0..5).all(|n| line.pass(frame(n * 256))));
        assert_eq!(vitals.dropped_samples.get(), 3 * 256);
        assert_eq!(received.try_iter().count(), 2);
        assert!(line.pass(frame(5 * 256)));
        let expected = AudioGap { from: frame(512).time, to: frame(1_280).time, reason: GapReason::Overload };
        assert_eq!(received.recv().unwrap(), Audio::Gap(expected));
        assert_eq!(received.recv().unwrap(), Audio::Frame(Box::new(frame(1_280))));
        drop(received);
        assert!(!line.pass(frame(1_536)));
    }

    #[test]
    fn a_mute_in_a_lost_stretch_is_a_gap_of_its_own() {
        let vitals = Vitals::default();
        let (out, received) = sync_channel(8);
        let mut line = Line::new(out, &vitals);
        line.lose();
        line.begin_gap(GapReason::Muted);
        line.begin_gap(GapReason::Muted);
        line.pass(frame(0));
        let reasons: Vec<_> = received.try_iter().collect();
        let [Audio::Gap(lost), Audio::Gap(muted), Audio::Frame(_)] = &reasons[..] else { panic!("{reasons:?}") };
        assert_eq!((lost.reason, muted.reason), (GapReason::DeviceLost, GapReason::Muted));
        assert_eq!(lost.to, muted.from);
        line.begin_gap(GapReason::Muted);
        line.close();
        assert!(matches!(received.recv(), Ok(Audio::Gap(gap)) if gap.reason == GapReason::Muted));
        assert!(!vitals.microphone_ok.get());
    }

    #[test]
    fn what_is_muted_is_thrown_away_and_told_as_one_gap() {
        let (out, received) = sync_channel(8);
        let (control, vitals) = (Control::default(), Vitals::default());
        let mut gate = Gate::new(out, &control, &vitals);
        for (n, listening) in [(0, true), (1, false), (2, false), (3, true), (4, true)] {
            control.set_listening(listening);
            assert!(gate.pass(frame(n * 256)).is_continue());
            assert_eq!(vitals.listening.get(), listening);
        }
        let gap = AudioGap { from: frame(256).time, to: frame(3 * 256).time, reason: GapReason::Muted };
        let whole = |n: i64| Audio::Frame(Box::new(frame(n * 256)));
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [whole(0), Audio::Gap(gap), whole(3), whole(4)]);
        drop(received);
        assert!(gate.pass(frame(5 * 256)).is_break());
    }
}

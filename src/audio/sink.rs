//! The ways out of a source.
//!
//! Owns what becomes of a frame whose receiver is slow, and of frames nobody may hear. Refuses to know where they come from.
//! Invariant: what was not passed on is told as a gap before the next frame is, and that it ends is told at once.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use jiff::Timestamp;

use super::SourceControl;
use super::level_meter::LevelMeter;
use crate::event::{AudioEvent, AudioGap, FRAME_SAMPLES, Frame, GapReason, RoomAudio};
use crate::metrics::{Metrics, RoomMetrics};

/// Where nothing comes for so long, nothing is said: what was being said is whole.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// One room's sound on its way to hearing.
struct RoomSink<'a> {
    out: SyncSender<RoomAudio>,
    name: Arc<str>,
    metrics: &'a Metrics,
    room: Arc<RoomMetrics>,
    level_meter: LevelMeter,
}

impl<'a> RoomSink<'a> {
    fn new(out: SyncSender<RoomAudio>, name: &str, metrics: &'a Metrics) -> Self {
        let name = Arc::from(name);
        let room = metrics.rooms.open(&name);
        room.heartbeat.beat();
        let room_sink = Self { out, name, metrics, room, level_meter: LevelMeter::default() };
        room_sink.delivers(false);
        room_sink
    }

    fn sound(&self, event: AudioEvent) -> RoomAudio {
        RoomAudio { room: self.name.clone(), event }
    }

    /// Tells whether the source is open and delivers.
    fn delivers(&self, yes: bool) {
        self.room.delivers.set(yes);
        self.metrics.microphone_ok.set(self.metrics.rooms.all_deliver());
    }

    /// Waits until there is room for it. Breaks when nobody receives any more.
    fn send(&self, event: AudioEvent) -> ControlFlow<()> {
        match self.out.send(self.sound(event)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn measure(&mut self, frame: &Frame) {
        if self.level_meter.measure(&frame.samples, &self.room) {
            tracing::warn!(
                room = &*self.name,
                "the microphone delivers nothing but the same number; see that it is not muted at itself or in `alsamixer`"
            );
        }
    }
}

impl Drop for RoomSink<'_> {
    fn drop(&mut self) {
        self.delivers(false);
    }
}

/// The way out of a source that can wait: passes frames on, or throws them away while the household does not listen.
pub(super) struct BlockingSink<'a> {
    room_sink: RoomSink<'a>,
    control: &'a SourceControl,
    muted_from: Option<Timestamp>,
}

impl<'a> BlockingSink<'a> {
    pub(super) fn new(
        out: SyncSender<RoomAudio>,
        room: &str,
        control: &'a SourceControl,
        metrics: &'a Metrics,
    ) -> Self {
        Self { room_sink: RoomSink::new(out, room, metrics), control, muted_from: None }
    }

    /// Breaks when nobody receives any more.
    pub(super) fn pass(&mut self, frame: Frame) -> ControlFlow<()> {
        let listening = self.control.listening();
        self.room_sink.room.heartbeat.beat();
        self.room_sink.delivers(true);
        self.room_sink.metrics.listening.set(listening);
        if !listening {
            if self.muted_from.is_none() {
                self.muted_from = Some(frame.time);
                return self.room_sink.send(AudioEvent::End);
            }
            return ControlFlow::Continue(());
        }
        if let Some(from) = self.muted_from.take() {
            self.room_sink.send(AudioEvent::Gap(AudioGap { from, to: frame.time, reason: GapReason::Muted }))?;
        }
        self.room_sink.measure(&frame);
        self.room_sink.send(AudioEvent::Frame(Box::new(frame)))
    }

    /// Nothing comes at the moment, but the source is alive.
    pub(super) fn waits(&self) {
        self.room_sink.room.heartbeat.beat();
        self.room_sink.metrics.listening.set(self.control.listening());
    }

    /// Nothing comes any more where something should.
    pub(super) fn lose(&mut self) -> ControlFlow<()> {
        self.room_sink.delivers(false);
        self.end()
    }

    /// Since `from` until now nothing was heard: the source was away.
    pub(super) fn was_lost(&mut self, from: Timestamp) -> ControlFlow<()> {
        self.room_sink.send(AudioEvent::Gap(AudioGap { from, to: Timestamp::now(), reason: GapReason::DeviceLost }))
    }

    /// The stream has ended, or pauses.
    pub(super) fn end(&mut self) -> ControlFlow<()> {
        self.room_sink.send(AudioEvent::End)
    }
}

/// The way out of a source that cannot wait.
pub(super) struct DroppingSink<'a> {
    room_sink: RoomSink<'a>,
    /// Since when nothing was passed on, and why.
    gap: Option<(Timestamp, GapReason)>,
}

impl<'a> DroppingSink<'a> {
    pub(super) fn new(out: SyncSender<RoomAudio>, room: &str, metrics: &'a Metrics) -> Self {
        Self { room_sink: RoomSink::new(out, room, metrics), gap: None }
    }

    /// Something is not heard at the moment, or was not until now.
    pub(super) fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// The source is alive, whether it delivers or not.
    pub(super) fn moved(&self) {
        self.room_sink.room.heartbeat.beat();
    }

    /// The device delivers.
    pub(super) fn delivers(&self) {
        self.room_sink.delivers(true);
    }

    /// Passes a frame on, after the gap before it; drops it when the receiver is behind. False when nobody receives any more.
    pub(super) fn pass(&mut self, frame: Frame) -> bool {
        self.room_sink.measure(&frame);
        if let Some((from, reason)) = self.gap {
            match self.try_send(AudioEvent::Gap(AudioGap { from, to: frame.time, reason })) {
                Ok(()) => self.gap = None,
                Err(TrySendError::Full(_)) => {
                    self.drop_samples(FRAME_SAMPLES as u64, from);
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        let time = frame.time;
        match self.try_send(AudioEvent::Frame(Box::new(frame))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.drop_samples(FRAME_SAMPLES as u64, time),
            Err(TrySendError::Disconnected(_)) => return false,
        }
        true
    }

    pub(super) fn drop_samples(&mut self, samples: u64, from: Timestamp) {
        self.room_sink.metrics.dropped_samples.add(samples);
        if self.gap.is_none() {
            tracing::warn!(
                room = &*self.room_sink.name,
                "hearing is too slow for the microphone; sound is being dropped"
            );
            self.gap = Some((from, GapReason::Overload));
        }
    }

    /// The device is gone; what it delivered ends at `heard_to`, which may be long before anybody noticed.
    pub(super) fn lose(&mut self, heard_to: Timestamp) {
        self.room_sink.delivers(false);
        self.begin(GapReason::DeviceLost, heard_to);
    }

    /// The end of the stream: what was not heard until now is told, if the receiver has room for it.
    pub(super) fn close(self) {
        if let Some((from, reason)) = self.gap {
            let _ = self.try_send(AudioEvent::Gap(AudioGap { from, to: Timestamp::now(), reason }));
        }
    }

    /// From now on nothing is heard for another reason than before.
    pub(super) fn begin_gap(&mut self, reason: GapReason) {
        self.begin(reason, Timestamp::now());
    }

    /// The same; if all was heard until then, it was until `heard_to`.
    fn begin(&mut self, reason: GapReason, heard_to: Timestamp) {
        let now = Timestamp::now();
        match self.gap {
            Some((_, before)) if before == reason => {}
            Some((from, before)) => {
                let told = self.try_send(AudioEvent::Gap(AudioGap { from, to: now, reason: before }));
                // A receiver that is too far behind to be told gets one gap for both.
                if told.is_ok() {
                    self.gap = Some((now, reason));
                }
            }
            None => {
                // What was being said is not to wait for the end of the gap; the gap tells it again.
                let _ = self.try_send(AudioEvent::End);
                self.gap = Some((heard_to.min(now), reason));
            }
        }
    }

    fn try_send(&self, event: AudioEvent) -> Result<(), TrySendError<RoomAudio>> {
        self.room_sink.out.try_send(self.room_sink.sound(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SampleClock, SamplePos};
    use std::sync::mpsc::{Receiver, sync_channel};

    fn frame(at: SamplePos) -> Frame {
        let time = SampleClock::starting_at(Timestamp::UNIX_EPOCH).time(at);
        Frame { at, time, samples: [0.0; FRAME_SAMPLES] }
    }

    fn whole(n: i64) -> AudioEvent {
        AudioEvent::Frame(Box::new(frame(n * 256)))
    }

    fn delivered(received: &Receiver<RoomAudio>) -> Vec<AudioEvent> {
        let in_the_hall = |sound: RoomAudio| (&*sound.room == "hall").then_some(sound.event);
        received.try_iter().map(|sound| in_the_hall(sound).expect("there is one room")).collect()
    }

    #[test]
    fn a_slow_receiver_loses_frames_and_is_told_which() {
        let metrics = Metrics::default();
        let (out, received) = sync_channel(2);
        let mut sink = DroppingSink::new(out, "hall", &metrics);
        assert!((0..5).all(|n| sink.pass(frame(n * 256))));
        assert_eq!(metrics.dropped_samples.get(), 3 * 256);
        assert_eq!(delivered(&received).len(), 2);
        assert!(sink.pass(frame(5 * 256)));
        let gap = AudioGap { from: frame(512).time, to: frame(1_280).time, reason: GapReason::Overload };
        assert_eq!(delivered(&received), [AudioEvent::Gap(gap), whole(5)]);
        drop(received);
        assert!(!sink.pass(frame(1_536)));
    }

    #[test]
    fn a_mute_in_a_lost_stretch_is_a_gap_of_its_own() {
        let metrics = Metrics::default();
        let (out, received) = sync_channel(8);
        let mut sink = DroppingSink::new(out, "hall", &metrics);
        sink.delivers();
        assert!(metrics.microphone_ok.get());
        sink.lose(frame(0).time);
        sink.begin_gap(GapReason::Muted);
        sink.begin_gap(GapReason::Muted);
        sink.pass(frame(0));
        let told = delivered(&received);
        let [AudioEvent::End, AudioEvent::Gap(lost), AudioEvent::Gap(muted), AudioEvent::Frame(_)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((lost.reason, muted.reason), (GapReason::DeviceLost, GapReason::Muted));
        assert_eq!((lost.from, lost.to), (frame(0).time, muted.from), "it is lost since it was heard last");
        sink.begin_gap(GapReason::Muted);
        sink.close();
        let told = delivered(&received);
        assert!(
            matches!(&told[..], [AudioEvent::End, AudioEvent::Gap(gap)] if gap.reason == GapReason::Muted),
            "{told:?}"
        );
        assert!(!metrics.microphone_ok.get());
    }

    #[test]
    fn what_is_muted_is_thrown_away_and_told_as_one_gap() {
        let (out, received) = sync_channel(8);
        let (control, metrics) = (SourceControl::default(), Metrics::default());
        let mut sink = BlockingSink::new(out, "hall", &control, &metrics);
        for (n, listening) in [(0, true), (1, false), (2, false), (3, true), (4, true)] {
            control.set_listening(listening);
            assert!(sink.pass(frame(n * 256)).is_continue());
            assert_eq!(metrics.listening.get(), listening);
        }
        let gap = AudioGap { from: frame(256).time, to: frame(3 * 256).time, reason: GapReason::Muted };
        assert_eq!(delivered(&received), [whole(0), AudioEvent::End, AudioEvent::Gap(gap), whole(3), whole(4)]);
        drop(received);
        assert!(sink.pass(frame(5 * 256)).is_break());
    }

    #[test]
    fn the_microphones_are_well_when_each_of_them_is() {
        let (control, metrics) = (SourceControl::default(), Metrics::default());
        let (out, _received) = sync_channel(8);
        let mut hall = BlockingSink::new(out.clone(), "hall", &control, &metrics);
        let mut kitchen = BlockingSink::new(out, "kitchen", &control, &metrics);
        assert!(hall.pass(frame(0)).is_continue() && !metrics.microphone_ok.get());
        assert!(kitchen.pass(frame(0)).is_continue() && metrics.microphone_ok.get());
        drop(hall);
        assert!(!metrics.microphone_ok.get());
    }
}

//! Where a source puts its audio: a bounded channel to speech recognition.
//!
//! A source that can wait (file, standard input, network) uses a [`BlockingSink`], a microphone a [`DroppingSink`]. Both report
//! every stretch that was not passed on, as a gap, before the next frame. When a stream stops they report its end at once, so that
//! the segment in progress does not wait for the gap to be over.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use jiff::Timestamp;

use super::SourceControl;
use super::level_meter::LevelMeter;
use crate::event::{AudioEvent, AudioGap, FRAME_SAMPLES, Frame, GapReason, RoomAudio};
use crate::metrics::{Metrics, RoomMetrics};

/// A source that delivers nothing for so long has paused: the segment in progress is ended.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// What both sinks have in common: the channel and the metrics of one room.
struct RoomSink<'a> {
    out: SyncSender<RoomAudio>,
    room: Arc<str>,
    metrics: &'a Metrics,
    room_metrics: Arc<RoomMetrics>,
    level_meter: LevelMeter,
}

impl<'a> RoomSink<'a> {
    fn new(out: SyncSender<RoomAudio>, room: &str, metrics: &'a Metrics) -> Self {
        let room = Arc::from(room);
        let room_metrics = metrics.rooms.open(&room);
        room_metrics.heartbeat.beat();
        let sink = Self { out, room, metrics, room_metrics, level_meter: LevelMeter::default() };
        sink.set_delivers(false);
        sink
    }

    fn room_audio(&self, event: AudioEvent) -> RoomAudio {
        RoomAudio { room: self.room.clone(), event }
    }

    /// Records whether the source is open and delivers.
    fn set_delivers(&self, delivers: bool) {
        self.room_metrics.delivers.set(delivers);
        if !delivers {
            self.room_metrics.silence();
        }
        self.metrics.microphone_ok.set(self.metrics.rooms.all_deliver());
    }

    /// Waits until the channel has space. Breaks when the receiver is gone.
    fn send(&self, event: AudioEvent) -> ControlFlow<()> {
        match self.out.send(self.room_audio(event)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Does not wait for space in the channel.
    fn try_send(&self, event: AudioEvent) -> Result<(), TrySendError<RoomAudio>> {
        self.out.try_send(self.room_audio(event))
    }

    fn measure_level(&mut self, frame: &Frame) {
        if self.level_meter.measure(&frame.samples, &self.room_metrics) {
            tracing::warn!(
                room = &*self.room,
                "the microphone delivers nothing but the same number; see that it is not muted at itself or in `alsamixer`"
            );
        }
    }
}

impl Drop for RoomSink<'_> {
    fn drop(&mut self) {
        self.set_delivers(false);
    }
}

/// For a source that can wait. While listening is switched off, its frames are thrown away.
pub(super) struct BlockingSink<'a> {
    sink: RoomSink<'a>,
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
        Self { sink: RoomSink::new(out, room, metrics), control, muted_from: None }
    }

    /// Waits until the channel has space. Breaks when the receiver is gone.
    pub(super) fn send_frame(&mut self, frame: Frame) -> ControlFlow<()> {
        let listening = self.control.listening();
        self.sink.room_metrics.heartbeat.beat();
        self.sink.set_delivers(true);
        self.sink.metrics.listening.set(listening);
        if !listening {
            if self.muted_from.is_none() {
                self.muted_from = Some(frame.time);
                return self.sink.send(AudioEvent::End);
            }
            return ControlFlow::Continue(());
        }
        if let Some(from) = self.muted_from.take() {
            self.sink.send(AudioEvent::Gap(AudioGap { from, to: frame.time, reason: GapReason::Muted }))?;
        }
        self.sink.measure_level(&frame);
        self.sink.send(AudioEvent::Frame(Box::new(frame)))
    }

    /// The source is alive although it delivers nothing at the moment.
    pub(super) fn keep_alive(&self) {
        self.sink.room_metrics.heartbeat.beat();
        self.sink.metrics.listening.set(self.control.listening());
    }

    /// The source delivers nothing although it should. Breaks when the receiver is gone.
    pub(super) fn source_lost(&mut self) -> ControlFlow<()> {
        self.sink.set_delivers(false);
        self.end()
    }

    /// The source delivers again, after it was lost at `from`. Breaks when the receiver is gone.
    pub(super) fn source_back(&mut self, from: Timestamp) -> ControlFlow<()> {
        self.sink.send(AudioEvent::Gap(AudioGap { from, to: Timestamp::now(), reason: GapReason::DeviceLost }))
    }

    /// The stream has ended, or pauses. Breaks when the receiver is gone.
    pub(super) fn end(&mut self) -> ControlFlow<()> {
        self.sink.send(AudioEvent::End)
    }
}

/// For a source that cannot wait: what the channel has no space for is dropped and counted.
pub(super) struct DroppingSink<'a> {
    sink: RoomSink<'a>,
    /// Since when nothing was passed on, and why.
    open_gap: Option<(Timestamp, GapReason)>,
}

impl<'a> DroppingSink<'a> {
    pub(super) fn new(out: SyncSender<RoomAudio>, room: &str, metrics: &'a Metrics) -> Self {
        Self { sink: RoomSink::new(out, room, metrics), open_gap: None }
    }

    /// The source is alive, whether it delivers or not.
    pub(super) fn keep_alive(&self) {
        self.sink.room_metrics.heartbeat.beat();
    }

    /// The device delivers.
    pub(super) fn set_delivers(&self) {
        self.sink.set_delivers(true);
    }

    /// Reports the open gap, if there is one, and passes the frame on. Drops it where the channel is full. False when the receiver
    /// is gone.
    pub(super) fn send_frame(&mut self, frame: Frame) -> bool {
        self.sink.measure_level(&frame);
        if let Some((from, reason)) = self.open_gap {
            match self.sink.try_send(AudioEvent::Gap(AudioGap { from, to: frame.time, reason })) {
                Ok(()) => self.open_gap = None,
                Err(TrySendError::Full(_)) => {
                    self.count_dropped(FRAME_SAMPLES as u64, from);
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        let time = frame.time;
        match self.sink.try_send(AudioEvent::Frame(Box::new(frame))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.count_dropped(FRAME_SAMPLES as u64, time),
            Err(TrySendError::Disconnected(_)) => return false,
        }
        true
    }

    /// So many samples, from `from` on, were dropped.
    pub(super) fn count_dropped(&mut self, samples: u64, from: Timestamp) {
        self.sink.metrics.dropped_samples.add(samples);
        if self.open_gap.is_none() {
            tracing::warn!(
                room = &*self.sink.room,
                "speech recognition is too slow for the microphone; sound is being dropped"
            );
            self.open_gap = Some((from, GapReason::Overload));
        }
    }

    /// The device is gone. What it delivered ends at `delivered_until`, which may be long before the loss was noticed.
    pub(super) fn device_lost(&mut self, delivered_until: Timestamp) {
        self.sink.set_delivers(false);
        self.begin_gap(GapReason::DeviceLost, delivered_until);
    }

    /// Listening was switched off.
    pub(super) fn mute(&mut self) {
        self.begin_gap(GapReason::Muted, Timestamp::now());
    }

    /// The end of the stream. Reports the open gap, if the channel has space for it.
    pub(super) fn close(self) {
        if let Some((from, reason)) = self.open_gap {
            let _ = self.sink.try_send(AudioEvent::Gap(AudioGap { from, to: Timestamp::now(), reason }));
        }
    }

    /// From now on nothing is delivered, for this reason. If there was no gap before, everything up to `delivered_until` was.
    fn begin_gap(&mut self, reason: GapReason, delivered_until: Timestamp) {
        let now = Timestamp::now();
        match self.open_gap {
            Some((_, before)) if before == reason => {}
            Some((from, before)) => {
                let reported = self.sink.try_send(AudioEvent::Gap(AudioGap { from, to: now, reason: before }));
                // Where the channel is full, one gap is reported for both.
                if reported.is_ok() {
                    self.open_gap = Some((now, reason));
                }
            }
            None => {
                // The segment in progress is not to wait until the gap is over. If the channel is full, the gap ends it later.
                let _ = self.sink.try_send(AudioEvent::End);
                self.open_gap = Some((delivered_until.min(now), reason));
            }
        }
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

    fn frame_event(n: i64) -> AudioEvent {
        AudioEvent::Frame(Box::new(frame(n * 256)))
    }

    fn received_events(received: &Receiver<RoomAudio>) -> Vec<AudioEvent> {
        let of_the_hall = |sound: RoomAudio| (&*sound.room == "hall").then_some(sound.event);
        received.try_iter().map(|sound| of_the_hall(sound).expect("there is one room")).collect()
    }

    #[test]
    fn dropped_frames_are_reported_as_one_overload_gap() {
        let metrics = Metrics::default();
        let (out, received) = sync_channel(2);
        let mut sink = DroppingSink::new(out, "hall", &metrics);
        assert!((0..5).all(|n| sink.send_frame(frame(n * 256))));
        assert_eq!(metrics.dropped_samples.get(), 3 * 256);
        assert_eq!(received_events(&received).len(), 2);
        assert!(sink.send_frame(frame(5 * 256)));
        let gap = AudioGap { from: frame(512).time, to: frame(1_280).time, reason: GapReason::Overload };
        assert_eq!(received_events(&received), [AudioEvent::Gap(gap), frame_event(5)]);
        drop(received);
        assert!(!sink.send_frame(frame(1_536)));
    }

    #[test]
    fn muting_while_the_device_is_lost_is_a_gap_of_its_own() {
        let metrics = Metrics::default();
        let (out, received) = sync_channel(8);
        let mut sink = DroppingSink::new(out, "hall", &metrics);
        sink.set_delivers();
        assert!(metrics.microphone_ok.get());
        sink.device_lost(frame(0).time);
        sink.mute();
        sink.mute();
        sink.send_frame(frame(0));
        let events = received_events(&received);
        let [AudioEvent::End, AudioEvent::Gap(lost), AudioEvent::Gap(muted), AudioEvent::Frame(_)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((lost.reason, muted.reason), (GapReason::DeviceLost, GapReason::Muted));
        assert_eq!((lost.from, lost.to), (frame(0).time, muted.from), "it is lost since it was heard last");
        sink.mute();
        sink.close();
        let events = received_events(&received);
        assert!(
            matches!(&events[..], [AudioEvent::End, AudioEvent::Gap(gap)] if gap.reason == GapReason::Muted),
            "{events:?}"
        );
        assert!(!metrics.microphone_ok.get());
    }

    #[test]
    fn muted_frames_are_thrown_away_and_reported_as_one_gap() {
        let (out, received) = sync_channel(8);
        let control = SourceControl::default();
        let metrics = Metrics::default();
        let mut sink = BlockingSink::new(out, "hall", &control, &metrics);
        for (n, listening) in [(0, true), (1, false), (2, false), (3, true), (4, true)] {
            control.set_listening(listening);
            assert!(sink.send_frame(frame(n * 256)).is_continue());
            assert_eq!(metrics.listening.get(), listening);
        }
        let gap = AudioGap { from: frame(256).time, to: frame(3 * 256).time, reason: GapReason::Muted };
        assert_eq!(
            received_events(&received),
            [frame_event(0), AudioEvent::End, AudioEvent::Gap(gap), frame_event(3), frame_event(4)]
        );
        drop(received);
        assert!(sink.send_frame(frame(5 * 256)).is_break());
    }

    #[test]
    fn microphone_ok_is_true_only_when_every_room_delivers() {
        let control = SourceControl::default();
        let metrics = Metrics::default();
        let (out, _received) = sync_channel(8);
        let mut hall = BlockingSink::new(out.clone(), "hall", &control, &metrics);
        let mut kitchen = BlockingSink::new(out, "kitchen", &control, &metrics);
        assert!(hall.send_frame(frame(0)).is_continue() && !metrics.microphone_ok.get());
        assert!(kitchen.send_frame(frame(0)).is_continue() && metrics.microphone_ok.get());
        drop(hall);
        assert!(!metrics.microphone_ok.get());
    }
}

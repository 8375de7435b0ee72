//! What comes out of the pipeline.

use jiff::Timestamp;

use crate::event::{Gap, Hypothesis, Utterance, Voiceprint};

/// What the pipeline makes of audio.
#[derive(Clone, Debug, PartialEq)]
pub enum PipelineEvent {
    /// With the voice it was said with, where the pipeline tells voices apart and there is enough of it.
    Utterance(Utterance, Option<Box<Voiceprint>>),
    Gap(Gap),
    /// What is being said at the moment. It has no words when the segment is over.
    Hypothesis(Hypothesis),
    /// Nobody is speaking in any room, and everything up to this time has come out.
    Progress(Timestamp),
}

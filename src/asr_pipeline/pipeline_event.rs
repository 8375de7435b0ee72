//! What comes out of the pipeline.

use jiff::Timestamp;

use crate::event::{Gap, Hypothesis, Utterance};

/// What the pipeline makes of audio.
#[derive(Clone, Debug, PartialEq)]
pub enum PipelineEvent {
    Utterance(Utterance),
    Gap(Gap),
    /// What is being said at the moment. It has no words when the segment is over.
    Hypothesis(Hypothesis),
    /// Nobody is speaking in any room, and everything up to this time has come out.
    Progress(Timestamp),
}

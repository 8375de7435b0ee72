//! Gives utterances the name of who spoke, by the voices that are stored.
//!
//! All that is known is read from the store for each utterance: it is a millisecond beside the decode, and who was just enrolled, renamed
//! or forgotten, by this program or another, counts at once.

use tracing::warn;

use crate::event::{Speaker, Utterance, Voiceprint};
use crate::speakers::recognition::{self, Recognized};
use crate::store::{Store, StoreError};

/// So many of the last voices of people without a name are compared with.
const UNNAMED: usize = 1_000;
/// A new voice without a name is not sure to be one.
const NEW_CONFIDENCE: f32 = 0.5;

/// See the module.
#[derive(Default)]
pub(super) struct SpeakerNames {
    /// Voices without a name get a number.
    number_unknown: bool,
    /// Names of which something stored cannot be used, and that were told of.
    told: Vec<String>,
}

impl SpeakerNames {
    pub(super) fn new(number_unknown: bool) -> Self {
        Self { number_unknown, told: Vec::new() }
    }

    /// Sets who said the utterance, and returns the voice that is to be stored. While the store cannot be read or written, nobody is
    /// named. Where voices without a name get no number, none is stored: some are of people who never agreed to it.
    pub(super) fn name(
        &mut self,
        utterance: &mut Utterance,
        voice: Box<Voiceprint>,
        store: &mut Store,
    ) -> Option<Box<Voiceprint>> {
        match self.speaker(&voice, store) {
            Ok(speaker) => utterance.speaker = speaker,
            Err(error) => warn!(%error, "who speaks is not known: the store does not answer"),
        }
        self.number_unknown.then_some(voice)
    }

    fn speaker(&mut self, voice: &Voiceprint, store: &mut Store) -> Result<Option<Speaker>, StoreError> {
        let (enrolled, refused) = recognition::known(&store.enrolled_voices()?, &voice.model);
        for name in refused.into_iter().filter(|name| !self.told.contains(name)).collect::<Vec<_>>() {
            warn!(
                "some of {name}'s voice is damaged or was made by another voice encoder, and is not used: `hearth speakers list` shows it, \
                 `hearth speakers enroll` makes it anew"
            );
            self.told.push(name);
        }
        let unnamed = if self.number_unknown { store.unnamed_voices(UNNAMED)? } else { Vec::new() };
        let (unnamed, _) = recognition::known(&unnamed, &voice.model);
        Ok(match recognition::recognize(voice, &enrolled, &unnamed) {
            Recognized::Known(speaker) => Some(speaker),
            Recognized::New if self.number_unknown => {
                Some(Speaker { name: format!("voice {}", store.next_voice_number()?), confidence: NEW_CONFIDENCE })
            }
            Recognized::New | Recognized::Nobody => None,
        })
    }
}

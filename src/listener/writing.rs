//! What the model has still to write: the sentences of alerts and a digest.
//!
//! An alert is published before its sentence is written, and a digest is written while the next utterances are read, of the state that it
//! began with. The words that it covers stay pending until it is finished: a restart loses none.

use jiff::Timestamp;
use tracing::{debug, info};
use ulid::Ulid;

use super::digest::TalkSpan;
use super::draft::Draft;
use super::{ALERT_TALK, ALERT_TOKENS, Listener, ListenerError, ListenerOutcome, NO_SUMMARY, count, cut_quotes};
use crate::event::{Alert, AlertPhase, Digest, DigestReason, Evidence};
use crate::grounding::{Talk, text_of};

/// A digest that is being written.
pub(crate) struct DigestDraft {
    pub(crate) draft: Draft,
    reason: DigestReason,
    /// When it began.
    time: Timestamp,
    span: TalkSpan,
    /// The last utterance that it can know of.
    last: Option<Ulid>,
    /// It took the place of one that was given up. It is finished, so that a slow machine comes to a digest at last.
    must_end: bool,
}

/// The sentence of an alert that is being written.
pub(super) struct SentenceDraft {
    draft: Draft,
    /// As it was published.
    alert: Alert,
    /// What the sentence may rest on.
    talk: Vec<Evidence>,
}

/// A digest that somebody asked for.
pub(crate) enum RequestedDigest {
    /// Nothing was said, and it says so.
    Made(Digest),
    /// Whoever began it has it written, then calls [`Listener::finish_digest`] or [`Listener::give_up`].
    Begun(Box<DigestDraft>),
}

impl Listener {
    /// Begins the sentence of an alert.
    pub(super) fn begin_sentence(&mut self, alert: Alert) -> Result<(), ListenerError> {
        let question = self.rules.iter().find(|monitor| monitor.rule.name.as_str() == alert.rule);
        let Some(question) = question.and_then(|monitor| monitor.question.clone()) else { return Ok(()) };
        let draft = Draft::answer(&self.reader, question, ALERT_TOKENS)?;
        let talk = self.talk.last(ALERT_TALK).to_vec();
        self.sentences.retain(|before| before.alert.rule != alert.rule);
        let alert = Alert { room: self.room.clone(), ..alert };
        self.sentences.push_back(SentenceDraft { draft, alert, talk });
        Ok(())
    }

    /// Begins the digest that is due. One that is being written is given up for it.
    pub(super) fn begin_digest(&mut self, reason: DigestReason, now: Timestamp) -> Result<(), ListenerError> {
        let mut must_end = false;
        match self.digest.take() {
            // What was said since is told after it.
            Some(before) if before.must_end => {
                self.digest = Some(before);
                return Ok(());
            }
            Some(before) => {
                info!("a digest is given up: a newer one is due");
                self.given_up += 1;
                self.give_up(*before);
                must_end = true;
            }
            // Somebody asked for one and has it written.
            None if self.pending.is_telling() => return Ok(()),
            None => {}
        }
        let begun = self.draft_digest(reason, now)?.map(|digest| Box::new(DigestDraft { must_end, ..digest }));
        self.digest = begun;
        Ok(())
    }

    /// A digest of everything that is pending; none where nothing is.
    fn draft_digest(&mut self, reason: DigestReason, time: Timestamp) -> Result<Option<DigestDraft>, ListenerError> {
        let Some(from) = self.pending.from() else { return Ok(None) };
        let draft = self.begin_summary(from)?;
        debug!("a digest is begun");
        let last = self.talk.last(1).first().map(|newest| newest.utterance);
        let span = self.pending.begin().expect("words are pending");
        Ok(Some(DigestDraft { draft, reason, time, span, last, must_end: false }))
    }

    /// Begins a digest now, because somebody asked, however little was said.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub(crate) fn begin_requested(&mut self, now: Timestamp) -> Result<RequestedDigest, ListenerError> {
        if let Some(before) = self.digest.take() {
            self.give_up(*before);
        }
        Ok(match self.draft_digest(DigestReason::Requested, now)? {
            Some(draft) => RequestedDigest::Begun(Box::new(draft)),
            None => RequestedDigest::Made(self.empty_digest(now)),
        })
    }

    /// A digest is not written to its end: its words are part of the next one.
    pub(crate) fn give_up(&mut self, _digest: DigestDraft) {
        self.pending.give_up();
    }

    /// The digest whose text is written.
    pub(crate) fn finish_digest(&mut self, digest: DigestDraft) -> Digest {
        let DigestDraft { draft, reason, time, span, last, must_end: _ } = digest;
        let (parts, _) = draft.into_parts();
        let told = self.tell(span.from, last, &parts);
        self.pending.finish(time);
        let text = if told.is_empty() { NO_SUMMARY.into() } else { text_of(&told) };
        let sentences = told.into_iter().map(cut_quotes).collect();
        let (id, room) = (Ulid::generate(), self.room.clone());
        Digest { id, time, from: span.from, to: span.to, reason, words: span.words, room, text, sentences }
    }

    fn empty_digest(&self, now: Timestamp) -> Digest {
        let (from, text) = match self.pending.last_digest() {
            Some(last) => (last.min(now), "Nothing was said since the last summary."),
            None => (now, "Nothing has been said yet."),
        };
        let (id, room, reason) = (Ulid::generate(), self.room.clone(), DigestReason::Requested);
        Digest { id, time: now, from, to: now, reason, words: 0, room, text: text.into(), sentences: Vec::new() }
    }

    /// Whether a sentence of an alert is to be written.
    pub(super) fn has_sentences(&self) -> bool {
        !self.sentences.is_empty()
    }

    /// Whether a digest is being written.
    pub(super) fn has_digest(&self) -> bool {
        self.digest.is_some()
    }

    /// Goes on writing by a slice, at the sentence of an alert first. What is finished is added to `outcome`.
    pub(super) fn write_on(&mut self, outcome: &mut ListenerOutcome) -> Result<(), ListenerError> {
        if let Some(sentence) = self.sentences.front_mut() {
            if !sentence.draft.advance()? {
                let sentence = self.sentences.pop_front().expect("there is one");
                outcome.alerts.extend(self.told_alert(sentence));
            }
        } else if let Some(digest) = &mut self.digest
            && !digest.draft.advance()?
        {
            let digest = self.digest.take().expect("there is one");
            let digest = self.finish_digest(*digest);
            outcome.digests.push(digest);
        }
        Ok(())
    }

    /// The update of an alert that brings its sentence; none if nothing of the sentence was said, or the alert is over.
    fn told_alert(&self, SentenceDraft { draft, alert, talk }: SentenceDraft) -> Option<Alert> {
        let monitor = self.rules.iter().find(|monitor| monitor.rule.name.as_str() == alert.rule)?;
        let written = draft.into_parts().0.pop()?;
        let asked = monitor.rule.question.as_deref().unwrap_or_default();
        let grounded = self.ground(&Talk::new(&talk), &written, asked);
        count(&self.checked, &grounded);
        let answer = Some(grounded.text()).filter(|text| !text.is_empty())?;
        let is_on = monitor.watch.active() && !monitor.watch.acknowledged();
        let same = is_on && monitor.watch.last_alert() == Some(alert.id);
        same.then_some(Alert { phase: AlertPhase::Update, answer: Some(answer), ..alert })
    }

    /// Writes everything to its end, and adds it to `outcome`: the sentence of an alert that is in it to that alert.
    pub(super) fn write_out(&mut self, outcome: &mut ListenerOutcome) -> Result<(), ListenerError> {
        let mut written = ListenerOutcome::default();
        while self.has_sentences() || self.has_digest() {
            self.write_on(&mut written)?;
        }
        for told in written.alerts {
            match outcome.alerts.iter_mut().rev().find(|alert| alert.id == told.id && alert.phase != AlertPhase::End) {
                Some(alert) => alert.answer = told.answer,
                None => outcome.alerts.push(told),
            }
        }
        outcome.digests.extend(written.digests);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
